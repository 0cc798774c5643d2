"""Messages from cached pieces: only what changed is encoded again.

A list is the concatenation of one fragment for each device, which is what a repeated field is on the wire. Building
protobuf objects instead costs some forty times as much at 10,000 devices. A kubelet does not care about the order, so
a device keeps its slot for life and the slot of one that went is used again.
"""

from __future__ import annotations

from array import array
from typing import Final

CHUNK: Final = 128
"""Fragments that lie together: a change moves what lies behind it in one chunk, and costs one join of chunks."""


_SMALL: Final = tuple(bytes((value,)) for value in range(0x80))
"""Nearly all that there is to encode: numbers of fields and lengths."""


def varint(value: int) -> bytes:
    """Encode an integer of up to 64 bits; a negative one takes ten bytes, as protobuf has it."""
    if 0 <= value < len(_SMALL):
        return _SMALL[value]
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(field: int, payload: bytes) -> bytes:
    """Encode a length-delimited field of a number up to 15: a string, bytes or a message."""
    length = len(payload)
    return _SMALL[field << 3 | 2] + (_SMALL[length] if length < len(_SMALL) else varint(length)) + payload


class FragmentList:
    """The fragments of one list, in slots."""

    def __init__(self) -> None:
        self._chunks: list[bytearray] = []
        self._lengths = array("I")
        """Of the fragments, by slot. As objects of their own they would take three times their bytes."""
        self._free: list[int] = []

    def add(self, fragment: bytes) -> int:
        """Add a fragment and return its slot."""
        if self._free:
            slot = self._free.pop()
            self.replace(slot, fragment)
            return slot
        slot = len(self._lengths)
        self._lengths.append(len(fragment))
        if slot % CHUNK == 0:
            self._chunks.append(bytearray())
        self._chunks[-1] += fragment
        return slot

    def get(self, slot: int) -> bytes:
        """Return the fragment in `slot`."""
        start = self._start(slot)
        return bytes(self._chunks[slot // CHUNK][start : start + self._lengths[slot]])

    def replace(self, slot: int, fragment: bytes) -> None:
        """Put `fragment` into `slot`."""
        start = self._start(slot)
        self._chunks[slot // CHUNK][start : start + self._lengths[slot]] = fragment
        self._lengths[slot] = len(fragment)

    def _start(self, slot: int) -> int:
        return sum(self._lengths[slot - slot % CHUNK : slot])

    def remove(self, slot: int) -> None:
        """Empty a slot."""
        self.replace(slot, b"")
        self._free.append(slot)

    def message(self) -> bytes:
        """Return the encoded list."""
        return b"".join(self._chunks)
