"""NUMA hints: which nodes suit a request, and what that means for the choice of devices.

Mirrors `devicemanager/topology_hints.go`, `manager.go:filterByAffinity` and the policies of `topologymanager`, as far
as devices go: CPU and memory give no hints here. A mask is an int with one bit per NUMA node.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from typing import TYPE_CHECKING, Final

from fakekubelet.kubelet.pod_devices import WITHOUT_TOPOLOGY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from fakekubelet.kubelet import allocation
    from fakekubelet.kubelet.device import Device


class Policy(enum.StrEnum):
    """The kubelet's `topologyManagerPolicy`; scope is always `container`."""

    NONE = "none"
    BEST_EFFORT = "best-effort"
    RESTRICTED = "restricted"
    SINGLE_NUMA_NODE = "single-numa-node"


@dataclasses.dataclass(frozen=True, slots=True)
class Hint:
    """A set of NUMA nodes that would do."""

    mask: int | None
    """None means that any node will do."""
    preferred: bool


MASK_BITS: Final = 64
"""A mask of the kubelet's has no room for other NUMA nodes, whatever a plugin says (contract AL-7)."""

MOST_NODES: Final = 8
"""On a machine with more, a kubelet with a policy other than `none` does not start (contract AL-20)."""


def mask_of(nodes: Iterable[int]) -> int:
    """Return the mask of some NUMA nodes; those that have no bit in one are left out (contract AL-7)."""
    return sum(1 << node for node in set(nodes) if 0 <= node < MASK_BITS)


def checked(machine_nodes: Iterable[int]) -> tuple[int, ...]:
    """Return a machine's NUMA nodes in order, each once; raise ValueError for one that no machine can have."""
    nodes = tuple(sorted(set(machine_nodes)))
    for node in nodes:
        if not 0 <= node < MASK_BITS:
            raise ValueError(f"numa_nodes: {node} must be from 0 to {MASK_BITS - 1}")
    return nodes


def has_topology(devices: Iterable[Device]) -> bool:
    """Tell whether any device has a NUMA node; without one the resource has no say (contract AL-6)."""
    return any(device.numa_nodes for device in devices)


def hints(
    devices: Mapping[str, Device],
    *,
    available: Set[str],
    reusable: Set[str],
    request: int,
    machine_nodes: Sequence[int],
    bearing_only: bool = True,
) -> list[Hint]:
    """Return every set of NUMA nodes on which *request* devices can be had.

    With *bearing_only* only nodes that carry devices are combined, as since 1.35; nodes that the machine does not have
    are ignored (contract AL-7).
    Preferred are the sets that are as small as they could be if all devices were free.
    """
    bearing = {node for device in devices.values() for node in device.numa_nodes} & set(machine_nodes)
    nodes = sorted((bearing if bearing_only else None) or machine_nodes)
    device_masks = {device_id: mask_of(device.numa_nodes) for device_id, device in devices.items()}
    pinned = [device_id for device_id in reusable if device_id in devices and devices[device_id].has_topology]
    smallest = len(nodes)
    found: list[int] = []
    for size in range(1, len(nodes) + 1):
        for combination in itertools.combinations(nodes, size):
            mask = mask_of(combination)
            if sum(bool(mask & other) for other in device_masks.values()) >= request:
                smallest = min(smallest, size)
            if not all(mask & device_masks[device_id] for device_id in pinned):
                continue
            matching = len(pinned) + sum(bool(mask & device_masks.get(device_id, 0)) for device_id in available)
            if matching >= request:
                found.append(mask)
    return [Hint(mask, mask.bit_count() == smallest) for mask in found]


def merge(
    per_resource: Sequence[Sequence[Hint] | None], *, policy: Policy, machine_nodes: Sequence[int]
) -> tuple[Hint, bool]:
    """Return the one hint that suits all resources of a container best, and whether the policy admits it.

    None stands for a resource with no preference, an empty list for one that no node can satisfy.
    """
    everywhere = mask_of(machine_nodes)
    lists = [
        [Hint(None, True)] if hints_of_one is None else list(hints_of_one) or [Hint(None, False)]
        for hints_of_one in per_resource
    ]
    lists = lists or [[Hint(None, True)]]
    if policy is Policy.SINGLE_NUMA_NODE:
        lists = [
            [h for h in hints_of_one if h.preferred and (h.mask is None or h.mask.bit_count() == 1)]
            for hints_of_one in lists
        ]
    widest_need = max(
        (min((h.mask.bit_count() for h in hints_of_one if h.mask is not None), default=0) for hints_of_one in lists),
        default=0,
    )
    best: Hint | None = None
    for combination in itertools.product(*lists):
        best = _better(best, _intersect(everywhere, combination), widest_need)
    best = best or Hint(everywhere, False)
    if policy is Policy.SINGLE_NUMA_NODE and best.mask == everywhere:
        best = Hint(None, best.preferred)
    return best, best.preferred or policy in (Policy.NONE, Policy.BEST_EFFORT)


def split(devices: Mapping[str, Device], available: Set[str], hint: Hint | None) -> allocation.Split:
    """Split *available* into devices on the hinted nodes, on other nodes, and on none.

    With no hint, or when no device of the resource has topology, all are of the last kind (contract AL-6).
    """
    if hint is None or hint.mask is None or not has_topology(devices.values()):
        return set(), set(), available
    aligned, unaligned, without = set[str](), set[str](), set[str]()
    for device_id in available:
        nodes = set(devices[device_id].numa_nodes if device_id in devices else ())
        is_without = nodes <= {WITHOUT_TOPOLOGY}  # a plugin that says -1 says none
        kind = without if is_without else aligned if mask_of(nodes) & hint.mask else unaligned
        kind.add(device_id)
    return aligned, unaligned, without


def _intersect(everywhere: int, combination: Sequence[Hint]) -> Hint:
    masks = [hint.mask for hint in combination if hint.mask is not None]
    mask = everywhere
    for narrower in masks:
        mask &= narrower
    return Hint(mask, all(hint.preferred for hint in combination) and len(set(masks)) <= 1)


def _better(current: Hint | None, candidate: Hint, widest_need: int) -> Hint | None:
    """Compare as the kubelet does: preferred first, then narrow; unpreferred ones by nearness to what is needed."""
    assert candidate.mask is not None
    if candidate.mask == 0:
        return current
    if current is None or current.mask is None:
        return candidate
    if current.preferred != candidate.preferred:
        return candidate if candidate.preferred else current
    if current.preferred:
        return _narrower(current, candidate)
    have, offer = current.mask.bit_count(), candidate.mask.bit_count()
    if have > widest_need or have == offer:
        return _narrower(current, candidate)
    if have == widest_need or offer > widest_need or offer < have:
        return current
    return candidate


def _narrower(current: Hint, candidate: Hint) -> Hint:
    assert current.mask is not None
    assert candidate.mask is not None
    if (candidate.mask.bit_count(), candidate.mask) < (current.mask.bit_count(), current.mask):
        return candidate
    return current
