"""What drivers said of their devices' health, and for how long it is believed.

Mirrors `cm/dra/healthinfo.go` (contract HL-2, HL-3): the kubelet's own time of receipt counts, a device that is left
out ages, and the end of a stream forgets all of its driver. The file that the kubelet keeps of it is left out.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from kubeletapi.dra import constants

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fakekubelet import clock
    from kubeletapi.drahealth.v1 import api_pb2 as healthapi

UNKNOWN: Final = "Unknown"
_WORDS: Final = {1: "Healthy", 2: "Unhealthy"}

DeviceKey = tuple[str, str]
"""Pool and device."""


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceHealth:
    """One device as its driver described it."""

    health: str
    """`Healthy`, `Unhealthy` or `Unknown`, as a pod's status has it."""
    message: str = ""
    timeout_s: float = constants.HEALTH_STALE_S
    at: float = 0.0
    """When it came, by the kubelet's clock."""


_NOTHING: Final = DeviceHealth(UNKNOWN)


class HealthCache:
    """The latest word on each device of each driver."""

    def __init__(self, time_source: clock.Clock) -> None:
        self._clock = time_source
        self._drivers: dict[str, dict[DeviceKey, DeviceHealth]] = {}

    def update(self, driver: str, devices: Iterable[healthapi.DeviceHealth]) -> set[DeviceKey]:
        """Take in a message, and return the devices for which something is new."""
        now = self._clock.time()
        known = self._drivers.setdefault(driver, {})
        changed, reported = set(), set()
        for device in devices:
            key = (device.device.pool_name, device.device.device_name)
            seconds = device.health_check_timeout_seconds
            timeout_s = float(seconds) if seconds > 0 else constants.HEALTH_STALE_S
            new = DeviceHealth(_WORDS.get(device.health, UNKNOWN), _cut(device.message), timeout_s, now)
            reported.add(key)
            if key not in known or dataclasses.replace(known[key], at=now) != new:
                changed.add(key)
            known[key] = new
        for key, old in known.items():
            if key not in reported and old.health != UNKNOWN and now - old.at > old.timeout_s:
                known[key] = dataclasses.replace(_NOTHING, timeout_s=old.timeout_s, at=now)
                changed.add(key)
        return changed

    def forget(self, driver: str) -> None:
        """Forget a driver, whose stream has ended (contract HL-3)."""
        self._drivers.pop(driver, None)

    def of(self, driver: str, pool: str, device: str) -> DeviceHealth:
        """Return what holds now: Unknown for a device never heard of, or not for too long."""
        known = self._drivers.get(driver, {}).get((pool, device))
        if known is None or self._clock.time() - known.at > known.timeout_s:
            return _NOTHING
        return known


def _cut(message: str) -> str:
    content = message.encode()
    if len(content) <= constants.MAX_HEALTH_MESSAGE_BYTES:
        return message
    return content[: constants.MAX_HEALTH_MESSAGE_BYTES - 3].decode(errors="replace") + "..."
