#!/usr/bin/env python3
"""Print deploy/kind/cluster.yaml, with the trees on the host where a folder is given: kind_config.py CLUSTER [DIR]."""

from __future__ import annotations

import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "deploy/kind/cluster.yaml"
WORKER = "  - role: worker\n"


def config(cluster: str, trees: str) -> str:
    """Return the configuration; under `trees`, if any, each worker of `cluster` has a folder of its own name."""
    text = SOURCE.read_text()
    if not trees:
        return text
    head, *rest = text.split(WORKER)
    parts = [head]
    for number, after in enumerate(rest, 1):
        folder = Path(trees).expanduser().absolute() / f"{cluster}-worker{number if number > 1 else ''}"
        parts += [f"{WORKER}    extraMounts:\n      - hostPath: {folder}\n        containerPath: /fakehw\n", after]
    return "".join(parts)


if __name__ == "__main__":
    print(config(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""), end="")
