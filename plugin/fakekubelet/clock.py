"""Time as the kubelet sees it, so that a test can spend five minutes in no time.

Every grace period, tick, back-off and deadline of the emulator asks a `Clock`; only waits for real sockets, which
belong to the test and not to the kubelet, use real time. `ManualClock` stands still until somebody calls `advance`.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_SETTLE_ROUNDS = 20
"""Turns of the event loop that `ManualClock.advance` grants to what a timer woke, before it fires the next one."""


class Timer(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> None:
        """Forget it; harmless when it has happened."""


class Clock(Protocol):
    """A monotonic clock in seconds that can also call back."""

    def time(self) -> float:
        """Return the present, in seconds since some fixed moment."""

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* once, *delay_s* from now."""


class RealClock:
    """The machine's monotonic clock."""

    def time(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call back through the running event loop."""
        return asyncio.get_running_loop().call_later(delay_s, callback)


class _ManualTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A clock that only moves when told to."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _ManualTimer]] = []

    def time(self) -> float:
        """Return the time that the clock has been moved to."""
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Timer:
        """Call back from within the `advance` that reaches the moment."""
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (self._now + delay_s, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Move on by *seconds*, firing timers in order, and let what they woke run before the next one."""
        target = self._now + seconds
        await _settle()
        while self._timers and self._timers[0][0] <= target:
            moment, _, timer = heapq.heappop(self._timers)
            if timer.callback is None:
                continue
            self._now = max(self._now, moment)
            timer.callback()
            await _settle()
        self._now = target


async def _settle() -> None:
    for _ in range(_SETTLE_ROUNDS):
        await asyncio.sleep(0)


async def sleep(clock: Clock, delay_s: float) -> None:
    """Wait for *delay_s* of the clock's time."""
    woken = asyncio.Event()
    timer = clock.call_later(delay_s, woken.set)
    try:
        await woken.wait()
    finally:
        timer.cancel()


@contextlib.asynccontextmanager
async def timeout(clock: Clock, delay_s: float) -> AsyncIterator[None]:
    """Raise TimeoutError in the body once *delay_s* of the clock's time has passed: `asyncio.timeout` on any clock."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as deadline:
        timer = clock.call_later(delay_s, lambda: deadline.reschedule(loop.time()))
        try:
            yield
        finally:
            timer.cancel()
