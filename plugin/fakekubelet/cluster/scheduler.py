"""Which node a pod goes to, by extended resources alone, and the scheduler's words when there is none.

Mirrors `noderesources/fit.go:fitsRequest` and `framework/types.go:FitError.Error` of 1.36 (contract SCH-1). Of all the
filters only this one and the taint of a control plane exist; of all the scores only "fewest pods, then by name".
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_UNTOLERATED = "node(s) had untolerated taint(s)"
_NOT_HELPFUL = "Preemption is not helpful for scheduling"
_NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A node as the scheduler sees it: the Node object and the pods assigned to it."""

    name: str
    allocatable: Mapping[str, int]
    requested: Mapping[str, int] = dataclasses.field(default_factory=dict)
    pods: int = 0
    is_tainted: bool = False
    """Whether it has a taint that no pod here tolerates, as a control plane has."""


class UnschedulableError(Exception):
    """No node fits; the text is that of the FailedScheduling event."""


def place(requests: Mapping[str, int], nodes: Sequence[Node]) -> str:
    """Return the name of the node for a pod with *requests*; raise UnschedulableError."""
    if not nodes:
        raise UnschedulableError("no nodes available to schedule pods")
    reasons = {node.name: _reasons(requests, node) for node in nodes}
    fitting = [node for node in nodes if not reasons[node.name]]
    if fitting:
        return min(fitting, key=lambda node: (node.pods, node.name)).name
    helpless = Counter(_NOT_HELPFUL if _is_unresolvable(requests, node) else _NO_VICTIMS for node in nodes)
    counted = Counter(reason for found in reasons.values() for reason in found)
    total = len(nodes)
    raise UnschedulableError(
        f"{_fit_error(total, counted)} no new claims to deallocate, preemption: {_fit_error(total, helpless)}"
    )


def total(requests: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add up what several pods request."""
    counted: Counter[str] = Counter()
    for requested in requests:
        counted.update(requested)
    return dict(counted)


def _reasons(requests: Mapping[str, int], node: Node) -> list[str]:
    if node.is_tainted:
        return [_UNTOLERATED]  # filters run in order, and the first to refuse a node is the only one to say why
    return [
        f"Insufficient {resource}"
        for resource, count in requests.items()
        if count > 0 and count > node.allocatable.get(resource, 0) - node.requested.get(resource, 0)
    ]


def _is_unresolvable(requests: Mapping[str, int], node: Node) -> bool:
    """Tell whether not even an empty node would do."""
    return node.is_tainted or any(count > node.allocatable.get(resource, 0) for resource, count in requests.items())


def _fit_error(total_nodes: int, reasons: Mapping[str, int]) -> str:
    # Sorted as strings with their counts, so "10 x" comes before "2 x".
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{total_nodes} nodes are available: {listed}."
