"""What became of a change on each node, and on all of them. Pure; what was observed is handed in.

Times are in seconds from the moment at which the node's request was sent, on the clock of whoever asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fakehw import layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Level(StrEnum):
    """How far a change has to come; each comes after the one before."""

    TREE = "tree"
    """Written into the tree of the node."""
    PLUGIN = "plugin"
    """Listed by the plugin."""
    NODE = "node"
    """Where the scheduler sees it: in the allocatable of the Node object, which a kubelet tells every 10 s; for
    what DRA serves, as a taint in a ResourceSlice."""
    PODS = "pods"
    """In the status of the pods that hold the devices (Kubernetes 1.36: allocatedResourcesStatus)."""
    EVICTED = "evicted"
    """No pod holds a broken device by a claim any more (taints of effect NoExecute)."""


LEVELS = tuple(Level)


@dataclass(slots=True)
class Receipt:
    """What became of the change on one node."""

    node: str
    devices: int = 0
    changed: int = 0
    """Of the devices; the others were so already."""
    at: dict[Level, float] = field(default_factory=dict)
    problem: str = ""

    def has_landed(self, until: Level) -> bool:
        """Tell whether the change came as far as it was to."""
        return not self.problem and until in self.at

    def as_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "node": self.node,
            "devices": self.devices,
            "changed": self.changed,
            **{f"{level}_ms": round(seconds * 1000, 1) for level, seconds in self.at.items()},
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Sum:
    """All receipts together. Times are those of the last level, None where nothing landed."""

    landed: int
    asked: int
    devices: int
    p50_s: float | None
    p99_s: float | None
    slowest: Receipt | None
    missing: Sequence[Receipt]

    def as_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "landed": self.landed,
            "asked": self.asked,
            "devices": self.devices,
            "p50_ms": _milliseconds(self.p50_s),
            "p99_ms": _milliseconds(self.p99_s),
            "slowest": self.slowest and self.slowest.node,
            "missing": {receipt.node: receipt.problem for receipt in self.missing},
        }


def summed(receipts: Sequence[Receipt], until: Level) -> Sum:
    """Return the sum of receipts of a change that was to come as far as `until`."""
    landed = [receipt for receipt in receipts if receipt.has_landed(until)]
    times = sorted(receipt.at[until] for receipt in landed)
    return Sum(
        landed=len(landed),
        asked=len(receipts),
        devices=sum(receipt.devices for receipt in receipts),
        p50_s=percentile(times, 0.5),
        p99_s=percentile(times, 0.99),
        slowest=max(landed, key=lambda receipt: receipt.at[until], default=None),
        missing=[receipt for receipt in receipts if not receipt.has_landed(until)],
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of the ordered values do not pass; None of no values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def expected(records: Sequence[Mapping[str, Any]], *, node: str) -> dict[str, dict[str, int]]:
    """Return what nodes are to have: healthy devices by node and resource, of a tree that stands on `node`.

    A resource without devices, or with none that is healthy, is 0. A class that names no resource is nobody's.
    """
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        resource = record["resource"]
        if resource:
            of_node = counts.setdefault(record["host"] or node, {})
            of_node[resource] = of_node.get(resource, 0) + (record["health"] == "healthy")
    return counts


ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Goal:
    """What one node is to come to."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Healthy devices by resource."""
    health: Mapping[str, str] = field(default_factory=dict)
    """Healthy, Unhealthy or ABSENT, by the ID of each device that changed."""
    resource: Mapping[str, str] = field(default_factory=dict)
    """The resource of every device that is there, by ID."""


def goals(records: Sequence[Mapping[str, Any]], changed: Mapping[str, str], *, node: str) -> dict[str, Goal]:
    """Return what nodes are to come to: `records` is the tree on `node` now, `changed` which paths of whom."""
    counts = expected(records, node=node)
    resource: dict[str, dict[str, str]] = {}
    health: dict[str, dict[str, str]] = {}
    for path, of_node in changed.items():
        health.setdefault(of_node, {})[layout.TreePath.parse(path).id] = ABSENT
    for record in records:
        if record["id"] is None:
            continue
        of_node = record["host"] or node
        resource.setdefault(of_node, {})[record["id"]] = record["resource"] or ""
        if record["path"] in changed:
            health.setdefault(of_node, {})[record["id"]] = record["health"].capitalize()
    return {
        of_node: Goal(counts.get(of_node, {}), health.get(of_node, {}), resource.get(of_node, {}))
        for of_node in counts.keys() | health.keys()
    }


def told_otherwise(goal: Goal, told: Mapping[str, str]) -> bool:
    """Tell whether a device of `goal` is told to be something else; `told` is by device ID or name in a slice."""
    return any(
        told.get(device_id, told.get(layout.slice_name(device_id), health)) != health
        for device_id, health in goal.health.items()
    )


def unlike(goal: Goal, allocatable: Mapping[str, str] | None, slices: Mapping[str, str] | None) -> str:
    """Return in what a node differs from what it is to have, as the API server tells it; empty if in nothing.

    `slices` is Healthy or Unhealthy by the names of devices in its ResourceSlices, None if it has none. A resource of
    which they have a device is served by DRA, and no Node object shows it.
    """
    if allocatable is None and slices is None:
        return "there is no such node"
    found, listed = slices or {}, allocatable or {}
    by_dra = {resource for device_id, resource in goal.resource.items() if layout.slice_name(device_id) in found}
    words = []
    for device_id, health in goal.health.items():
        now = found.get(layout.slice_name(device_id), ABSENT)
        is_held = (health, now) == (ABSENT, "Unhealthy")  # by a claim: it stays, tainted, until that ends
        if now != health and not is_held and (health == ABSENT or goal.resource.get(device_id) in by_dra):
            words.append(f"{device_id} is {now} in its slice, not {health}")
    for resource, count in goal.counts.items():
        told = listed.get(resource, ABSENT if slices is None or count else "0")
        if told != str(count) and resource not in by_dra:
            words.append(f"allocatable of {resource} is {told}, not {count}")
    return "; ".join(words[:2])


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
