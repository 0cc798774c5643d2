"""Durations as people write them."""

from __future__ import annotations

import math
import re
from typing import Final

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(ms|s|m|h|d)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, None: 1.0}
_MAX_S: Final = 7 * 86_400.0
_MAX_MOMENT_S: Final = 100 * 366 * 86_400.0


def seconds(value: str | float) -> float:
    """Return a duration such as `500ms`, `3s`, `2m` or a number of seconds; ValueError says the rule."""
    match = _DURATION.fullmatch(str(value))
    result = float(match[1]) * _UNITS[match[2]] if match else math.nan
    if not 0 <= result <= _MAX_S:
        raise ValueError("must be a duration such as 500ms, 3s or 2m, or a number of seconds, at most 7 days")
    return result


def moment(text: str) -> float:
    """Return a duration of days or years, as `seconds` does one of up to a week; ValueError says the rule."""
    match = _DURATION.fullmatch(text)
    result = float(match[1]) * _UNITS[match[2]] if match else math.nan
    if not 0 <= result <= _MAX_MOMENT_S:
        raise ValueError("must be a duration such as 3s, 2.5h or 349d, or a number of seconds, at most 100 years")
    return result


def shown(value_s: float) -> str:
    """Return a duration for people, in its largest unit."""
    for unit in ("d", "h", "m"):
        if value_s >= _UNITS[unit]:
            return f"{value_s / _UNITS[unit]:.1f}{unit}"
    return f"{value_s:.1f}s"
