"""Long work lets others run every ten milliseconds, and no more often."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fakehw_plugin import slices
from tests.timeless import timeless

if TYPE_CHECKING:
    from collections.abc import Generator

    import pytest


@timeless
async def test_others_run_once_for_every_ten_milliseconds_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now, turns = 100.0, 0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def work() -> Generator[None, None, str]:
        nonlocal now
        for _ in range(100):
            now += 0.001
            yield
        return "done"

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    turns = 0
    assert await slices.run(work()) == "done"
    task.cancel()
    await asyncio.wait([task])
    assert turns == 10


@timeless
async def test_short_work_is_done_in_one_turn_and_gives_what_it_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def work() -> Generator[None, None, list[str]]:
        yield
        yield
        return [*turns]

    task = asyncio.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: turns.append("another"))
    assert await slices.run(work()) == []
    await task
