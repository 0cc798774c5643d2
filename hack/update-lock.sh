#!/usr/bin/env bash
# Pin every dependency with the hashes of its files. Two files: what the image runs, and that plus the development tools.
# The image serves DRA too. setuptools is pinned with the first, because an installation without build isolation needs it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-lock
[ -x "$venv/bin/uv" ] || { .venv/bin/python -m venv "$venv"; "$venv/bin/pip" install --quiet --disable-pip-version-check uv==0.13.9; }
lock() {
  "$venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
    --upgrade "$@"
}
printf 'setuptools>=77\n' | lock pyproject.toml - --extra dra -o deploy/requirements.txt
lock pyproject.toml --extra dev -c deploy/requirements.txt -o hack/requirements-dev.txt
for f in deploy/requirements.txt hack/requirements-dev.txt; do
  printf '%s\n%s\n' "# Made by 'make lock'; do not edit." "$(cat "$f")" > "$f"
  if grep -nE 'index-url|://' "$f"; then echo "$f holds an address" >&2; exit 1; fi
done
