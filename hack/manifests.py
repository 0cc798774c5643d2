#!/usr/bin/env python3
"""Write what in deploy/ is another file in another form: `make manifests`. A test says when it is time for it.

The Prometheus operator wants alert rules inside an object; promtool, and a Prometheus without the operator, want them
in a file of their own. That file is what people edit.
"""

from __future__ import annotations

from pathlib import Path

MONITORING = Path(__file__).parents[1] / "deploy/components/monitoring"
_HEAD = """\
# alerts.yaml for the Prometheus operator. Made by `make manifests`: edit alerts.yaml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: fakehw
  namespace: fakehw
spec:
"""


def written() -> dict[Path, str]:
    """Return every file that is made of others, with what belongs into it."""
    rules = (MONITORING / "alerts.yaml").read_text()
    groups = rules[rules.index("groups:") :]
    indented = "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))
    return {MONITORING / "prometheusrule.yaml": _HEAD + indented}


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
