#!/usr/bin/env bash
# Check that the committed protobuf code is what proto/ generates. Works on a scratch copy, so a dirty tree is safe.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
hack/update-proto.sh "$scratch"
status=0
for new in $(cd "$scratch" && find plugin -name '*_pb2*'); do
  diff -u "$new" "$scratch/$new" || status=1
done
[ "$status" = 0 ] || { echo "plugin/kubeletapi is not what proto/ generates: run hack/update-proto.sh and commit the result" >&2; exit 1; }
echo "plugin/kubeletapi matches proto/"
