"""Long work in short turns: whatever concerns many devices is a generator, and lets others run in between."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")

SLICE_S: Final = 0.01
"""How long others may have to wait."""


async def run(steps: Generator[None, None, T]) -> T:
    """Run `steps` to their end, letting others run every SLICE_S; return what they return."""
    slice_end = time.monotonic() + SLICE_S
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if time.monotonic() >= slice_end:
            await asyncio.sleep(0)
            slice_end = time.monotonic() + SLICE_S
