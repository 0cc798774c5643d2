#!/usr/bin/env python3
"""Write what in deploy/ is another file in another form: `make manifests`. A test says when it is time for it.

The Prometheus operator wants alert rules inside an object; promtool, and a Prometheus without the operator, want them
in a file of their own. That file is what people edit. And a chart can read no file but its own, so it has copies.
"""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).parents[1] / "deploy"
MONITORING = DEPLOY / "components/monitoring"
CHART = DEPLOY / "helm/fakehw"
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
    copied = (DEPLOY / "base/topology.yaml", MONITORING / "alerts.yaml", MONITORING / "dashboard.json")
    return {
        MONITORING / "prometheusrule.yaml": _HEAD + indented,
        **{CHART / "files" / path.name: path.read_text() for path in copied},
    }


if __name__ == "__main__":
    for path, text in written().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
