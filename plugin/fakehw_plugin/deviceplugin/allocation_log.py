"""A log line for each container that was given devices, a moment after the kubelet has its answer.

Several at a time: the first line costs three times what one more does, because by then nothing of what writes lines is
in the processor's caches any more.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakehw_plugin.device import DeviceID
    from fakehw_plugin.logs import Logger

MAX_TOLD: Final = 64
"""Device IDs in a line."""

TELL_S: Final = 0.01
"""How long a line waits for others; what a SIGKILL in this time costs."""


class AllocationLog:
    """Writes to `log`; lines have the time of the allocation, not of their writing."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._untold: list[tuple[float, Sequence[DeviceID]]] = []

    def tell_later(self, device_ids: Sequence[DeviceID]) -> None:
        """Log that these were handed out to one container just now."""
        if not self._untold:
            asyncio.get_running_loop().call_later(TELL_S, self.tell)
        self._untold.append((time.time(), device_ids))

    def tell(self) -> None:
        """Write what waits."""
        untold, self._untold = self._untold, []
        for at, device_ids in untold:
            more = {"more": len(device_ids) - MAX_TOLD} if len(device_ids) > MAX_TOLD else {}
            self._log.info("allocated", device_ids=list(device_ids[:MAX_TOLD]), **more, timestamp=at)
