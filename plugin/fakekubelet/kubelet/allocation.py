"""Which devices a container gets: the kubelet's choice, as arithmetic.

Mirrors `devicemanager/manager.go:devicesToAllocate` (contract AL-2, AL-3, GP-1 to GP-3). The one thing that is not
arithmetic, asking the plugin for a preference, is left to the caller: `choose` is a generator that yields the question
and is sent the answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Generator, Iterable, Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

Split = tuple[Set[str], Set[str], Set[str]]
"""Available devices by NUMA affinity: aligned with the hint, on other nodes, on no node (contract AL-3)."""


class AllocationError(Exception):
    """No devices for this container; the text is what the pod's status will quote (contract ADM-3)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What GetPreferredAllocation is to be asked (contract GP-2)."""

    available: frozenset[str]
    must_include: frozenset[str]
    size: int


Choice = Generator[Question, Collection[str], frozenset[str]]


def check(resource: str, *, healthy: Set[str] | None, held: Set[str]) -> None:
    """Refuse what cannot work whatever is free (contract ADM-3, ADM-6).

    *healthy* is None for a resource that is not registered; *held* is what the container has from before.
    """
    if healthy is None:
        raise AllocationError(f"cannot allocate unregistered device {resource}")
    if not healthy:
        raise AllocationError(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
    if not healthy >= held:
        raise AllocationError(
            f"previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
        )


def choose(
    resource: str,
    required: int,
    *,
    reusable: Set[str],
    free: Callable[[], Set[str]],
    split: Callable[[Set[str]], Split],
    reserve: Callable[[str], None],
    rng: random.Random,
) -> Choice:
    """Choose *required* devices: reusable ones first, then by NUMA split and preference, then at random.

    *free* is asked after reusable devices were taken. Every device taken goes through *reserve* at once, so that nobody
    else takes it while the plugin thinks (contract GP-5).
    """
    taken: set[str] = set()

    def fill_from(devices: Iterable[str]) -> bool:
        """Take what is needed from *devices*; tell whether that is enough now."""
        pool = sorted(set(devices) - taken)
        rng.shuffle(pool)  # a Go map is walked in random order, so nobody may count on the lowest ID (contract AL-2)
        for device_id in pool[: required - len(taken)]:
            reserve(device_id)
            taken.add(device_id)
        return len(taken) == required

    if required <= 0 or fill_from(reusable):
        return frozenset(taken)
    available = frozenset(free())
    needed = required - len(taken)
    if len(available) < needed:
        raise AllocationError(
            f"requested number of devices unavailable for {resource}. Requested: {needed}, Available: {len(available)}"
        )
    aligned, unaligned, without_topology = split(available)
    if needed < len(aligned):
        preferred = yield Question(frozenset(aligned | taken), frozenset(taken), required)
        fill_from(aligned & set(preferred))
    if fill_from(aligned):
        return frozenset(taken)
    preferred = yield Question(available | taken, frozenset(taken), required)
    if fill_from(available & set(preferred)) or fill_from(unaligned) or fill_from(without_topology):
        return frozenset(taken)
    raise AllocationError(
        f"unexpectedly allocated less resources than required. Requested: {required}, Got: {len(taken)}"
    )
