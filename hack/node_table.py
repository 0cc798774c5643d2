#!/usr/bin/env python3
"""Print what nodes advertise beyond CPU and memory, as a table: `kubectl get nodes -o json | hack/node_table.py`."""

from __future__ import annotations

import json
import sys
from typing import Any

HEADER = ("NODE", "RESOURCE", "CAPACITY", "ALLOCATABLE")


def rows(nodes: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return one row for each extended resource of each node, in the order of their names."""
    return [
        (node["metadata"]["name"], name, capacity, node["status"].get("allocatable", {}).get(name, "-"))
        for node in sorted(nodes["items"], key=lambda node: str(node["metadata"]["name"]))
        for name, capacity in sorted(node["status"].get("capacity", {}).items())
        if "/" in name
    ]


def table(lines: list[tuple[str, ...]]) -> str:
    """Return `lines` under the header, in columns."""
    cells = [HEADER, *lines]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


if __name__ == "__main__":
    found = rows(json.load(sys.stdin))
    print(table(found) if found else "no node advertises an extended resource: make start")
