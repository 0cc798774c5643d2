"""What became of a change on each node, and on all of them. Pure; what was observed is handed in.

Times are in seconds from the moment at which the node's request was sent, on the clock of whoever asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Level(StrEnum):
    """How far a change has to come; each comes after the one before."""

    TREE = "tree"
    """Written into the tree of the node."""
    PLUGIN = "plugin"
    """Listed by the plugin."""
    NODE = "node"
    """In the allocatable of the Node object, which a kubelet tells every 10 s as a rule."""
    PODS = "pods"
    """In the status of the pods that hold the devices (Kubernetes 1.36: allocatedResourcesStatus)."""


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


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
