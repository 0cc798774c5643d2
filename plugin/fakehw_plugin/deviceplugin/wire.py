"""ListAndWatch messages from cached pieces: only a device that changed is encoded again.

A message is the concatenation of one fragment for each device, which is what a repeated field is on the wire. Building
protobuf objects instead costs some forty times as much at 10,000 devices. The kubelet does not care about the order, so
a device keeps its slot for life and the slot of one that went is used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from fakehw_plugin.device import Device

CHUNK: Final = 128
"""Fragments joined beforehand: a change costs one chunk and one join of chunks."""

_GROWTH: Final = len(constants.UNHEALTHY) - len(constants.HEALTHY)


def varint(value: int) -> bytes:
    """Encode an integer of up to 64 bits; a negative one takes ten bytes, as protobuf has it."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(field: int, payload: bytes) -> bytes:
    """Encode a length-delimited field: a string, bytes or a message."""
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def device_fragment(device: Device) -> bytes:
    """Encode `device` as an entry of ListAndWatchResponse.devices (contract 1.1)."""
    body = delimited(1, device.id.encode()) + delimited(2, device.health.value.encode())
    if device.numa_node is not None:
        # proto3 leaves a zero out: NUMA node 0 is an empty NUMANode message
        numa_node = b"\x08" + varint(device.numa_node) if device.numa_node else b""
        body += delimited(3, delimited(1, numa_node))
    return delimited(1, body)


def register_request(*, endpoint: str, resource_name: str, options: bytes) -> bytes:
    """Encode a RegisterRequest (contract 1.1); `options` is an encoded DevicePluginOptions."""
    return (
        delimited(1, constants.VERSION.encode())
        + delimited(2, endpoint.encode())
        + delimited(3, resource_name.encode())
        + delimited(4, options)
    )


def plugin_options(*, pre_start_required: bool, preferred_allocation: bool) -> bytes:
    """Encode DevicePluginOptions (contract 1.1)."""
    return (b"\x08\x01" if pre_start_required else b"") + (b"\x10\x01" if preferred_allocation else b"")


def worst_size(fragment: bytes, device: Device) -> int:
    """Return the bytes that `device` takes in a list once it is unhealthy, the longer word (contract PIT-9)."""
    return len(fragment) + (_GROWTH if device.is_healthy else 0)


class FragmentList:
    """The fragments of one resource, in slots."""

    def __init__(self) -> None:
        self._fragments: list[bytes] = []
        self._chunks: list[bytes | None] = []
        self._free: list[int] = []

    def add(self, fragment: bytes) -> int:
        """Add a fragment and return its slot."""
        if self._free:
            slot = self._free.pop()
        else:
            slot = len(self._fragments)
            self._fragments.append(b"")
            if slot % CHUNK == 0:
                self._chunks.append(None)
        self.replace(slot, fragment)
        return slot

    def replace(self, slot: int, fragment: bytes) -> None:
        """Put `fragment` into `slot`."""
        self._fragments[slot] = fragment
        self._chunks[slot // CHUNK] = None

    def remove(self, slot: int) -> None:
        """Empty a slot."""
        self.replace(slot, b"")
        self._free.append(slot)

    def message(self) -> bytes:
        """Return the encoded ListAndWatchResponse."""
        for index, chunk in enumerate(self._chunks):
            if chunk is None:
                self._chunks[index] = b"".join(self._fragments[index * CHUNK : (index + 1) * CHUNK])
        return b"".join(chunk for chunk in self._chunks if chunk)
