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
mapfile -t protos < <(find proto -name '*.proto' | sort)
mkdir -p "$out/plugin/kubeletapi" "$out/tests/own_stubs"
# The virtual path makes the generated imports absolute (kubeletapi...).
PATH="$venv/bin:$PATH" "$venv/bin/python" -m grpc_tools.protoc -Ikubeletapi=proto \
  --python_out="$out/plugin" --grpc_python_out="$out/plugin" --mypy_out="$out/plugin" --mypy_grpc_out="$out/plugin" \
  "${protos[@]}"
# Messages in a pool of our own (plugin/kubeletapi/private_pool.py says why).
find "$out/plugin/kubeletapi" -name '*_pb2.py' | while read -r generated; do
  sed -i \
    -e 's/^from google\.protobuf import descriptor_pool as _descriptor_pool$/from kubeletapi import private_pool as _private_pool/' \
    -e 's/^DESCRIPTOR = _descriptor_pool\.Default()\./DESCRIPTOR = _private_pool.POOL./' \
    -e '/^from google\.protobuf import symbol_database as /d' -e '/^_sym_db = /d' \
    -e '/^from google\.protobuf\.internal import builder as /d' -e '/^_builder\.BuildMessageAndEnumDescriptors(/d' \
    -e 's/^_builder\.BuildTopDescriptorsAndMessages(/_private_pool.build(/' "$generated"
  if [ "$(grep -c '_private_pool' "$generated")" != 3 ] || grep -qE '_builder|_sym_db|_descriptor_pool' "$generated"; then
    echo "$generated is not laid out as this script knows it: its messages would be in the pool of the whole process" >&2
    exit 1
  fi
done
# What somebody has who generates from the public file himself, for the tests that both can live in one process.
"$venv/bin/python" -m grpc_tools.protoc -Iproto/deviceplugin/v1beta1 \
  --python_out="$out/tests/own_stubs" --grpc_python_out="$out/tests/own_stubs" proto/deviceplugin/v1beta1/api.proto
