"""Durations as people write them, and moments as all commands print them."""

from __future__ import annotations

import math
import re
from typing import Final

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|µs|ns|s|m|h|d)")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+")
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_MAX_S: Final = 7 * 86_400.0
_MAX_MOMENT_S: Final = 100 * 366 * 86_400.0


def seconds(value: str | float) -> float:
    """Return a duration as Go writes it (`500ms`, `1m30s`), or a number of seconds; ValueError says the rule."""
    result = _parsed(str(value))
    if not 0 <= result <= _MAX_S:
        raise ValueError("must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 7 days")
    return result


def moment(text: str) -> float:
    """Return a duration of days or years, as `seconds` does one of up to a week; ValueError says the rule."""
    result = _parsed(text)
    if not 0 <= result <= _MAX_MOMENT_S:
        raise ValueError("must be a duration such as 3s, 2.5h or 349d, or a number of seconds, at most 100 years")
    return result


def timestamp(at: float) -> str:
    """Return a moment of the wall clock by RFC 3339, in UTC, with milliseconds."""
    import datetime  # which most commands can do without

    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parsed(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    if _WHOLE.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return math.nan


def shown(value_s: float) -> str:
    """Return a duration for people, in its largest unit."""
    for unit in ("d", "h", "m"):
        if value_s >= _UNITS[unit]:
            return f"{value_s / _UNITS[unit]:.1f}{unit}"
    return f"{value_s:.1f}s"
