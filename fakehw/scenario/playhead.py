"""Where in a scenario we are: real time, so many times as fast, in which the process runs.

While it is stopped (Ctrl-Z, `kill -STOP`, a machine asleep) time stands still: what should have happened meanwhile
happens after it goes on, at its own pace, and not all at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_SLICE_S: Final = 0.5
"""Between two looks at the clock; `tell` is called as often."""

_STOPPED_S: Final = 3.0
"""A sleep that lasts so much longer than asked for is one in which the process was stopped, not a slow machine."""


class Playhead:
    """Scenario time, from `from_s` on. `tell` is called with it while nothing happens, a few times a second."""

    def __init__(
        self,
        speed: float,
        *,
        from_s: float = 0.0,
        tell: Callable[[float], None] | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._sleep = sleep or asyncio.sleep
        self._speed = speed
        self._tell = tell
        self._zero = self._clock() - from_s / speed

    @property
    def at_s(self) -> float:
        """Return the moment of the scenario that it is."""
        return (self._clock() - self._zero) * self._speed

    async def reach(self, at_s: float) -> None:
        """Sleep until it is this moment."""
        while (left_s := self._zero + at_s / self._speed - self._clock()) > 0:
            asked, before = min(left_s, _SLICE_S), self._clock()
            await self._sleep(asked)
            if (late_s := self._clock() - before - asked) > _STOPPED_S:
                self._zero += late_s
            if self._tell is not None:
                self._tell(min(at_s, self.at_s))
