"""The list that NodeWatchResources sends, kept encoded while devices change (contract 1.5 and HL-2).

Every message is the whole list. The two versions of the service have messages of the same shape.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fakehw_plugin.wire import FragmentList, delimited, varint
from kubeletapi.dra import constants

if TYPE_CHECKING:
    from fakehw_plugin.device import Device

_HEALTHY: Final = 1
_UNHEALTHY: Final = 2


class HealthList:
    """The health of a pool's devices."""

    def __init__(self, *, pool: str) -> None:
        self._pool = pool
        self._slots: dict[str, int] = {}
        self._fragments = FragmentList()
        self._message: bytes | None = None

    def put(self, name: str, device: Device) -> None:
        """Take note of how a device is."""
        fragment = health_fragment(self._pool, name, device, at=int(time.time()))
        if name in self._slots:
            self._fragments.replace(self._slots[name], fragment)
        else:
            self._slots[name] = self._fragments.add(fragment)

    def remove(self, name: str) -> None:
        """Take a device out."""
        self._fragments.remove(self._slots.pop(name))

    def publish(self) -> None:
        """Let `message` return what was put in and removed since it was last asked."""
        self._message = None

    def message(self) -> bytes:
        """Return the encoded list as it was published last."""
        if self._message is None:
            self._message = self._fragments.message()
        return self._message


def health_fragment(pool: str, name: str, device: Device, *, at: int) -> bytes:
    """Encode one device as an entry of NodeWatchResourcesResponse.devices; `at` is in seconds since 1970."""
    identifier = delimited(1, pool.encode()) + delimited(2, name.encode())
    body = delimited(1, identifier)
    body += b"\x10" + varint(_HEALTHY if device.is_healthy else _UNHEALTHY)
    body += b"\x18" + varint(at)
    if device.reason:
        body += delimited(5, cut(device.reason, constants.MAX_HEALTH_MESSAGE_BYTES))
    return delimited(1, body)


def cut(text: str, limit: int) -> bytes:
    """Return at most `limit` bytes of `text`, whole characters."""
    return text.encode()[:limit].decode("utf-8", "ignore").encode()
