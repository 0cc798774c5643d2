"""The list that ListAndWatch sends, kept encoded while devices change.

A device in it takes the bytes that it would take unhealthy, the longer word: a list that fits once must fit when every
device of it has turned (contract PIT-9), because a device that was listed must stay listed (contract LW-13).
"""

from __future__ import annotations

from array import array
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
        self._worst = array("I")
        """The bytes that it takes at the worst, by slot."""
        self._fragments = FragmentList()
        self._message: bytes | None = None

    def put(self, device_id: DeviceID, device: Device) -> bool:
        """Encode a new or changed device; False, with nothing changed, where it does not fit."""
        fragment = wire.device_fragment(device)
        worst = wire.worst_size(fragment, device)
        slot = self._slots.get(device_id)
        was_worst = 0 if slot is None else self._worst[slot]
        if self._worst_bytes + worst - was_worst > self._max_bytes:
            return False
        self._worst_bytes += worst - was_worst
        if slot is None:
            slot = self._slots[device_id] = self._fragments.add(fragment)
            if slot == len(self._worst):
                self._worst.append(0)
        else:
            self._fragments.replace(slot, fragment)
        self._worst[slot] = worst
        return True

    def remove(self, device_id: DeviceID) -> None:
        """Take a device out."""
        slot = self._slots.pop(device_id)
        self._worst_bytes -= self._worst[slot]
        self._fragments.remove(slot)

    def publish(self) -> None:
        """Let `message` return what was put in and removed since it was last asked."""
        self._message = None

    def message(self) -> bytes:
        """Return the encoded list as it was published last."""
        if self._message is None:
            self._message = self._fragments.message()
        return self._message
