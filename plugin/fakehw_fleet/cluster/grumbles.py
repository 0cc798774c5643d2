"""What goes wrong with the API server, told at once and then now and then: an hour away is no thousand lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S: Final = 30.0


class Grumbles:
    """Hands errors on to `tell`, one every half a minute, with the number of those in between."""

    def __init__(self, tell: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._next = 0.0
        self._count = 0
        self.total = 0

    def hear(self, error: Exception) -> None:
        """Take note of an error, which is being dealt with."""
        self.total += 1
        self._count += 1
        if self._clock() < self._next:
            return
        more = f" ({self._count} errors since the last such line)" if self._count > 1 else ""
        self._tell(f"API server: {error}: trying again{more}")
        self._next, self._count = self._clock() + EVERY_S, 0
