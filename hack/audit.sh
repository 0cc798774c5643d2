#!/usr/bin/env bash
# The locked versions against the databases of known vulnerabilities. Without a network it says so and fails: not having
# looked is not the same as having found nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv-prove}
status=0
for lock in deploy/requirements.txt hack/requirements-dev.txt; do
  output=$("$venv/bin/pip-audit" --requirement "$lock" --require-hashes --disable-pip --progress-spinner off 2>&1) || status=$?
  if grep -qE 'ConnectionError|Max retries|NameResolutionError|Connection refused|ProxyError|SSLError|timed out|ServiceError|HTTPError' <<< "$output"; then
    echo "make audit: not done: the database of vulnerabilities cannot be reached from here (it needs the network):" >&2
    tail -n 1 <<< "$output" | cut -c 1-200 >&2
    exit 3
  fi
  unknown=$(grep -c 'could not be audited' <<< "$output" || true)
  if [ "$unknown" -gt 0 ]; then
    echo "make audit: not done: $unknown packages of $lock are not in the database that can be reached from here" >&2
    exit 3
  fi
  echo "$lock: $output"
done
exit "$status"
