#!/usr/bin/env python3
"""Print what nodes have beyond CPU and memory, as a table; standard input is what kubectl says of them as JSON.

kubectl get nodes,resourceslices,resourceclaims -A -o json | hack/node_table.py        nodes alone will do, too

A device plugin's devices are in the status of their Node. Those of a DRA driver are in no Node's: they are counted
here from the slices, and what is free of them from the claims.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

HEADER = ("NODE", "RESOURCE", "CAPACITY", "ALLOCATABLE", "FREE")


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return one row for each extended resource and each DRA class of each node, in the order of their names."""
    by_plugin = [
        (node["metadata"]["name"], name, capacity, node["status"].get("allocatable", {}).get(name, "-"), "-")
        for node in found["items"]
        if node.get("kind", "Node") == "Node"
        for name, capacity in node["status"].get("capacity", {}).items()
        if "/" in name
    ]
    return sorted([*by_plugin, *dra_rows(found["items"])])


def dra_rows(objects: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return one row for each driver and class of each pool that belongs to a node and can be allocated from."""
    taken = {
        (result["driver"], result["pool"], result["device"])
        for claim in objects
        if claim.get("kind") == "ResourceClaim"
        for result in ((claim.get("status") or {}).get("allocation") or {}).get("devices", {}).get("results") or []
        if not result.get("adminAccess")
    }
    capacity, allocatable, free = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for spec in newest([one["spec"] for one in objects if one.get("kind") == "ResourceSlice"]):
        for device in spec.get("devices") or []:
            driver, pool = spec["driver"], spec["pool"]["name"]
            attributes = device.get("attributes") or {}
            class_name = (attributes.get("class") or {}).get("string", "*")
            row = spec["nodeName"], f"{driver}/{class_name} (DRA)"
            is_good = all(taint["effect"] == "None" for taint in device.get("taints") or [])
            capacity[row] += 1
            allocatable[row] += is_good
            free[row] += is_good and (driver, pool, device["name"]) not in taken
    return [(*row, str(capacity[row]), str(allocatable[row]), str(free[row])) for row in capacity]


def newest(specs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the slices of complete pools of nodes; a scheduler takes nothing from others."""
    pools: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for spec in specs:
        if spec.get("nodeName"):
            pools.setdefault((spec["driver"], spec["pool"]["name"]), []).append(spec)
    complete = []
    for slices in pools.values():
        generation = max(spec["pool"]["generation"] for spec in slices)
        current = [spec for spec in slices if spec["pool"]["generation"] == generation]
        if len(current) == current[0]["pool"]["resourceSliceCount"]:
            complete += current
    return complete


def table(lines: list[tuple[str, ...]]) -> str:
    """Return `lines` under the header, in columns; without what is free where that is not known of any."""
    columns = len(HEADER) - all(row[-1] == "-" for row in lines)
    cells = [row[:columns] for row in (HEADER, *lines)]
    widths = [max(len(row[column]) for row in cells) for column in range(columns)]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


if __name__ == "__main__":
    found = rows(json.load(sys.stdin))
    print(table(found) if found else "no node advertises an extended resource: make start")
