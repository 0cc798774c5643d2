"""Pauses between attempts that grow, and differ from client to client. Pure but for the dice."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def pauses(*, first_s: float, longest_s: float) -> Iterator[float]:
    """Yield pauses in seconds, for ever: each from the half to the whole of what doubles up to `longest_s`."""
    pause = first_s
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, guards nothing
        pause = min(pause * 2, longest_s)
