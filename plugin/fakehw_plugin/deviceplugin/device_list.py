"""The list that ListAndWatch sends, kept encoded while devices change.

A device in it takes the bytes that it would take unhealthy, the longer word: a list that fits once must fit when every
device of it has turned (contract PIT-9), because a device that was listed must stay listed (contract LW-13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakehw_plugin.deviceplugin import wire
from fakehw_plugin.wire import FragmentList
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from fakehw_plugin.device import Device, DeviceID


class DeviceList:
    """One resource's ListAndWatchResponse, of at most `max_bytes` (contract LW-11). An inventory.Listing."""

    def __init__(self, *, max_bytes: int = constants.MAX_MESSAGE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._worst_bytes = 0
        self._slots: dict[DeviceID, int] = {}
        """Where a device's fragment is."""
        self._fragments = FragmentList()
        self._shown: bytes | None = None
        """The list as it was published last, once something has changed that was not."""

    def put(self, device_id: DeviceID, device: Device) -> bool:
        """Encode a new or changed device; False, with nothing changed, where it does not fit."""
        fragment = wire.device_fragment(device_id, device)
        worst = wire.worst_size(fragment)
        slot = self._slots.get(device_id)
        was_worst = 0 if slot is None else wire.worst_size(self._fragments.get(slot))
        if self._worst_bytes + worst - was_worst > self._max_bytes:
            return False
        self._keep_shown()
        self._worst_bytes += worst - was_worst
        if slot is None:
            self._slots[device_id] = self._fragments.add(fragment)
        else:
            self._fragments.replace(slot, fragment)
        return True

    def remove(self, device_id: DeviceID) -> None:
        """Take a device out."""
        self._keep_shown()
        slot = self._slots.pop(device_id)
        self._worst_bytes -= wire.worst_size(self._fragments.get(slot))
        self._fragments.remove(slot)

    def publish(self) -> None:
        """Let `message` return what was put in and removed since it was last asked."""
        self._shown = None

    def message(self) -> bytes:
        """Return the encoded list as it was published last. It is not kept: the fragments are, which is half of it."""
        return self._fragments.message() if self._shown is None else self._shown

    def _keep_shown(self) -> None:
        if self._shown is None:
            self._shown = self._fragments.message()
