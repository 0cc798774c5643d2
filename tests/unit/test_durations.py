"""Durations as people write and read them, and moments of the wall clock."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw import durations

WEEK_RULE = "must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, at most 7 days"
CENTURY_RULE = "must be a duration such as 3s, 2.5h or 349d, or a number of seconds, at most 100 years"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1d", 86400.0),
        ("1h", 3600.0),
        ("1m", 60.0),
        ("1s", 1.0),
        ("1ms", 0.001),
        ("1us", 0.000001),
        ("1µs", 0.000001),
        ("1ns", 0.000000001),
        ("1d2h3m4s5ms", 93784.005),
        ("1.5h", 5400.0),
        (".5h", 1800.0),
        ("2.m", 120.0),
        ("1s1s", 2.0),
        ("0s", 0.0),
        ("0", 0.0),
        ("3", 3.0),
        ("2.25", 2.25),
        (".25", 0.25),
        ("604800", 604800.0),
        ("7d", 604800.0),
    ],
)
def test_a_duration_is_what_go_reads_or_a_number_of_seconds(text: str, expected: float) -> None:
    assert durations.seconds(text) == pytest.approx(expected, rel=1e-12)
    assert durations.moment(text) == pytest.approx(expected, rel=1e-12)


def test_a_duration_may_be_given_as_a_number() -> None:
    assert durations.seconds(2) == 2.0
    assert durations.seconds(0.5) == 0.5


@pytest.mark.parametrize(
    "text", ["", "s", ".", ".s", "1.5.2s", "-1", "+1", "1e3", "1 m", "1w", "1S", "1m30", "3\n", "٣"]
)
def test_what_is_no_duration_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(WEEK_RULE)}$"):
        durations.seconds(text)
    with pytest.raises(ValueError, match=f"^{re.escape(CENTURY_RULE)}$"):
        durations.moment(text)


def test_a_duration_ends_at_a_week_and_a_moment_at_a_century() -> None:
    for text in ("7d1ns", "604801", "7.00001d"):
        with pytest.raises(ValueError, match="at most 7 days"):
            durations.seconds(text)
        assert durations.moment(text) > 604800
    assert durations.moment("36600d") == 3162240000.0
    for text in ("36601d", "3162240001"):
        with pytest.raises(ValueError, match="at most 100 years"):
            durations.moment(text)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.1239, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000, "2023-11-14T22:13:20.000Z"),
    ],
)
def test_a_moment_is_printed_in_utc_with_milliseconds(at: float, expected: str) -> None:
    assert durations.timestamp(at) == expected


@pytest.mark.parametrize(
    ("value_s", "expected"),
    [
        (0.0, "0.0s"),
        (0.04, "0.0s"),
        (59.9, "59.9s"),
        (60.0, "1.0m"),
        (90.0, "1.5m"),
        (3599.0, "60.0m"),
        (3600.0, "1.0h"),
        (86399.0, "24.0h"),
        (86400.0, "1.0d"),
        (860000.0, "10.0d"),
    ],
)
def test_a_duration_is_shown_in_its_largest_unit(value_s: float, expected: str) -> None:
    assert durations.shown(value_s) == expected


@given(st.integers(0, 6 * 24), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_parts_of_a_duration_are_added_up(hours: int, minutes: int, seconds: int, millis: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s{millis}ms"

    assert durations.seconds(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + millis / 1000)
