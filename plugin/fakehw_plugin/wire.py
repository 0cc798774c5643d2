"""Messages from cached pieces: only what changed is encoded again.

A list is the concatenation of one fragment for each device, which is what a repeated field is on the wire. Building
protobuf objects instead costs some forty times as much at 10,000 devices. A kubelet does not care about the order, so
a device keeps its slot for life and the slot of one that went is used again.
"""

from __future__ import annotations

from typing import Final

CHUNK: Final = 128
"""Fragments joined beforehand: a change costs one chunk and one join of chunks."""


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


class FragmentList:
    """The fragments of one list, in slots."""

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
        """Return the encoded list."""
        for index, chunk in enumerate(self._chunks):
            if chunk is None:
                self._chunks[index] = b"".join(self._fragments[index * CHUNK : (index + 1) * CHUNK])
        return b"".join(chunk for chunk in self._chunks if chunk)
