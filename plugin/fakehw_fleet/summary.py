"""A fleet in numbers, at one moment. Pure arithmetic on what kubelets say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fakekubelet import FakeKubelet


@dataclass(slots=True)
class ResourceSum:
    """One resource over all nodes."""

    nodes: int = 0
    capacity: int = 0
    allocatable: int = 0
    allocated: int = 0


@dataclass(slots=True)
class Summary:
    """All that a table or a line shows."""

    nodes: int
    ready: int
    resources: dict[str, ResourceSum]
    pods: Counter[str] = field(default_factory=Counter)
    """By phase."""
    notes: list[str] = field(default_factory=list)
    """What else is worth a line."""


def summarize(
    kubelets: Mapping[str, FakeKubelet], *, ready: int, pods: Iterable[str], notes: Iterable[str] = ()
) -> Summary:
    """Return the sums; `pods` are the phases of the pods, `ready` how many nodes are as they should be."""
    sums: dict[str, ResourceSum] = {}
    for kubelet in kubelets.values():
        status = kubelet.node_status
        for resource, capacity in status.capacity.items():
            one = sums.setdefault(resource, ResourceSum())
            one.nodes += 1
            one.capacity += capacity
            one.allocatable += status.allocatable.get(resource, 0)
            one.allocated += len(kubelet.allocated(resource))
    return Summary(len(kubelets), ready, dict(sorted(sums.items())), Counter(pods), list(notes))
