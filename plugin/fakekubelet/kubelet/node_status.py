"""Capacity and allocatable as the Node object shows them, which is later than the kubelet knows.

Mirrors `nodestatus/setters.go:MachineInfo` and the kubelet's status loop (contract NS-1 to NS-9). A list changes memory
only; the Node object follows at the next tick.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING

from fakekubelet import clock

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping

UPDATE_PERIOD_S = 10.0
"""`nodeStatusUpdateFrequency` (contract NS-5)."""

JITTER = 0.04
"""Each period is longer by up to this factor (contract NS-5)."""


@dataclasses.dataclass(slots=True)
class Counts:
    """The device manager's answer to "what do you have?"."""

    capacity: dict[str, int] = dataclasses.field(default_factory=dict)
    allocatable: dict[str, int] = dataclasses.field(default_factory=dict)
    removed: set[str] = dataclasses.field(default_factory=set)
    """Resources whose grace period has just been found to be over."""


@dataclasses.dataclass(frozen=True, slots=True)
class NodeStatus:
    """The extended resources of a Node object."""

    capacity: Mapping[str, int] = dataclasses.field(default_factory=dict)
    allocatable: Mapping[str, int] = dataclasses.field(default_factory=dict)


def compute(before: NodeStatus, counts: Counts) -> NodeStatus:
    """Return the Node object after a pass over *counts*.

    Keys never go away: a removed resource is set to 0, so that the scheduler does not take it for one that belongs to
    the whole cluster (contract NS-3). What is in capacity without the device manager knowing, such as a resource that
    an administrator patched in, is copied to allocatable.
    """
    capacity = {**before.capacity, **counts.capacity, **dict.fromkeys(counts.removed, 0)}
    return NodeStatus(dict(sorted(capacity.items())), dict(sorted({**capacity, **counts.allocatable}.items())))


class Ticker:
    """Calls *tick* every period for as long as the context is open; the first time after one period."""

    def __init__(
        self, tick: Callable[[], Awaitable[None]], *, period_s: float, time_source: clock.Clock, rng: random.Random
    ) -> None:
        self._tick = tick
        self._period_s = period_s
        self._clock = time_source
        self._rng = rng

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await clock.sleep(self._clock, self._period_s * (1 + JITTER * self._rng.random()))
            await self._tick()


async def cancel_and_wait(task: asyncio.Task[None]) -> None:
    """End a task that runs for ever."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
