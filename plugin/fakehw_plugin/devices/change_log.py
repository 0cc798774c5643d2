"""A log line for each device that changed, after the kubelet has been told, and never a storm of them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from fakehw_plugin import logs
from fakehw_plugin.devices import telemetry

if TYPE_CHECKING:
    from fakehw_plugin.device import Transition
    from fakehw_plugin.devices.inventory import Inventory

MAX_LINES: Final = 32
"""For the devices that one list changed; a count stands for the rest."""

MAX_LINES_PER_S: Final = 200
"""The same for all lists of a second."""


class ChangeLog:
    """Logs what became of devices, of all resources together."""

    def __init__(self) -> None:
        self._lines_since, self._lines = 0.0, 0
        self._log = logs.get_logger()

    def tell_later(self, inventory: Inventory, transitions: list[Transition]) -> None:
        """Log after the streams that this woke: a line takes longer than all the rest of the way."""
        asyncio.get_running_loop().call_soon(self._tell, inventory, transitions, inventory.generation)

    def _tell(self, inventory: Inventory, transitions: list[Transition], generation: int) -> None:
        if (now_at := time.monotonic()) >= self._lines_since + 1.0:
            self._lines_since, self._lines = now_at, 0
        told = transitions[: min(MAX_LINES, MAX_LINES_PER_S - self._lines)]
        self._lines += len(told)
        for transition in told:
            was, now = transition.was, transition.now
            self._log.info(
                "device_changed",
                resource=inventory.resource_name,
                device_id=(now or was).id,  # type: ignore[union-attr]  # one of the two is a device
                health=now.health.value if now else telemetry.REMOVED,
                was=was.health.value if was else "absent",
                reason=now.reason if now else "",
                generation=generation,
            )
        if more := len(transitions) - len(told):
            self._log.info("more_devices_changed", resource=inventory.resource_name, devices=more)
