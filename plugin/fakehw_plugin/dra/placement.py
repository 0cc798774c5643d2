"""Which device stands in which slice: at most 64 in each, and where it was, so that a change writes one slice. Pure.

A slice may hold 128 devices, but 64 as soon as one of them has a taint (contract SL-2). A pool that is full beyond that
would have to be split at the very moment a device breaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_DEVICES: Final = 64


def place(ordered: Iterable[str], before: Mapping[str, int]) -> dict[str, int]:
    """Return for each device the index of its slice: the one before if it had one, else the first with room.

    There is always a slice 0, perhaps empty; slices that have become empty count until they are the last ones.
    """
    names = list(ordered)
    placed: dict[str, int] = {}
    counts: dict[int, int] = {}
    for name in names:
        index = before.get(name)
        if index is not None and index >= 0 and counts.get(index, 0) < MAX_DEVICES:
            placed[name] = index
            counts[index] = counts.get(index, 0) + 1
    first = 0
    for name in names:
        if name in placed:
            continue
        while counts.get(first, 0) >= MAX_DEVICES:
            first += 1
        placed[name] = first
        counts[first] = counts.get(first, 0) + 1
    return placed


def first_with_room(counts: Iterable[int]) -> int:
    """Return the index of the first slice that takes one more device; the next new one if all are full."""
    index = -1
    for index, count in enumerate(counts):  # used after the loop
        if count < MAX_DEVICES:
            return index
    return index + 1
