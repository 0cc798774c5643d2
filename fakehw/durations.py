"""Durations as people write them."""

from __future__ import annotations

import math
import re
from typing import Final

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(ms|s|m|h)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_MAX_S: Final = 7 * 86_400.0


def seconds(value: str | float) -> float:
    """Return a duration such as `500ms`, `3s`, `2m` or a number of seconds; ValueError says the rule."""
    match = _DURATION.fullmatch(str(value))
    result = float(match[1]) * _UNITS[match[2]] if match else math.nan
    if not 0 <= result <= _MAX_S:
        raise ValueError("must be a duration such as 500ms, 3s or 2m, or a number of seconds, at most 7 days")
    return result
