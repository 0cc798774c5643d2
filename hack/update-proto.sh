#!/usr/bin/env bash
# Regenerate the committed protobuf code of plugin/kubeletapi from proto/. Run it after a change to a .proto file.
# Usage: hack/update-proto.sh [OUTPUT_ROOT]   (hack/verify-proto.sh passes a scratch folder)
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-.}
python=${PYTHON:-.venv/bin/python}
# The generator is pinned here, apart from the other development tools: what it stamps into the code is the floor that
# pyproject.toml declares for grpcio and protobuf, so it is the oldest release that we are content with.
pins="grpcio-tools==1.76.0 mypy-protobuf==5.1.0 setuptools==80.9.0"
venv=${PROTO_VENV:-.venv-proto}
if [ "$(cat "$venv/.pins" 2>/dev/null)" != "$pins" ]; then
  "$python" -m venv --clear "$venv"
  # shellcheck disable=SC2086  # a list of words on purpose
  "$venv/bin/pip" install --quiet --disable-pip-version-check $pins
  echo "$pins" > "$venv/.pins"
fi
mkdir -p "$out/plugin/kubeletapi"
# The virtual path makes the generated imports absolute (kubeletapi...) and gives every descriptor a name of its own:
# two modules that both call themselves api.proto cannot be loaded in one process (contract PB-1).
PATH="$venv/bin:$PATH" "$venv/bin/python" -m grpc_tools.protoc -Ikubeletapi=proto \
  --python_out="$out/plugin" --grpc_python_out="$out/plugin" --mypy_out="$out/plugin" --mypy_grpc_out="$out/plugin" \
  proto/deviceplugin/v1beta1/api.proto proto/pluginregistration/v1/api.proto proto/podresources/v1/api.proto \
  proto/dra/v1/api.proto proto/dra/v1beta1/api.proto proto/drahealth/v1/api.proto proto/drahealth/v1alpha1/api.proto
