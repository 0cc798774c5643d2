"""Where in a scenario we are: arithmetic on a clock that the test turns."""

from __future__ import annotations

import asyncio

import pytest

from fakehw.scenario.playhead import Playhead


class Time:
    """A clock, and a sleep that takes as long as asked, and what `late` says on top."""

    def __init__(self, *late: float) -> None:
        self.now = 1000.0
        self.asked: list[float] = []
        self.told: list[float] = []
        self._late = list(late)

    async def sleep(self, seconds: float) -> None:
        self.asked.append(round(seconds, 9))
        self.now += seconds + (self._late.pop(0) if self._late else 0.0)

    def head(self, speed: float, *, from_s: float = 0.0) -> Playhead:
        return Playhead(speed, from_s=from_s, tell=self.told.append, clock=lambda: self.now, sleep=self.sleep)


async def test_a_moment_is_reached_in_slices_of_half_a_second_and_told_after_each() -> None:
    time = Time()
    head = time.head(4.0)
    await head.reach(5.0)
    assert time.asked == [0.5, 0.5, 0.25]
    assert time.told == [2.0, 4.0, 5.0]
    assert (time.now, head.at_s) == (1001.25, 5.0)
    await head.reach(5.0)
    await head.reach(1.0)
    assert time.asked == [0.5, 0.5, 0.25], "what is past is there"
    time.now += 1.0
    assert head.at_s == 9.0
    await head.reach(10.0)
    assert time.asked[3:] == [0.25], "counted from the beginning, and not from the last moment"


async def test_a_scenario_may_begin_in_its_middle_and_be_slow() -> None:
    time = Time()
    head = time.head(0.5, from_s=100.0)
    assert head.at_s == 100.0
    await head.reach(99.0)
    await head.reach(100.0)
    assert time.asked == []
    await head.reach(100.25)
    assert time.asked == [0.5]


async def test_no_more_is_told_than_is_asked_for() -> None:
    time = Time(2.5)
    await time.head(1.0).reach(0.25)
    assert time.told == [0.25]


@pytest.mark.parametrize(("late_s", "at_s"), [(2.9, 3.4), (3.0, 3.5), (3.1, 0.5), (86_400.0, 0.5)])
async def test_a_sleep_of_more_than_three_seconds_too_many_is_time_that_stood_still(late_s: float, at_s: float) -> None:
    time = Time(late_s)
    head = time.head(1.0)
    await head.reach(0.5)
    assert head.at_s == pytest.approx(at_s)


async def test_a_playhead_that_is_given_no_clock_runs_by_that_of_the_loop() -> None:
    head = Playhead(1000.0)
    before = asyncio.get_running_loop().time()
    await head.reach(10.0)
    assert asyncio.get_running_loop().time() - before >= 0.009
    assert head.at_s >= 10.0
