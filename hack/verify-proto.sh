#!/usr/bin/env bash
# Check that the committed protobuf code is what proto/ generates. Works on a scratch copy, so a dirty tree is safe.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
hack/update-proto.sh "$scratch"
generated() { (cd "$1" && find plugin/kubeletapi tests/own_stubs -name '*_pb2*.py*' -not -path '*/__pycache__/*' | sort); }
status=0
diff -u <(generated .) <(generated "$scratch") || status=1  # none missing, and none left of a .proto that is gone
for file in $(generated "$scratch"); do
  diff -u "$file" "$scratch/$file" || status=1
done
[ "$status" = 0 ] || { echo "the generated code is not what proto/ generates: run hack/update-proto.sh and commit the result" >&2; exit 1; }
echo "the generated code matches proto/"
