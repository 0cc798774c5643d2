"""What tasks leave behind when they end: an error that is heard, a successor that waited."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fakehw_plugin.deviceplugin import plugin
from fakekubelet.kubelet import client_table


async def outcome(how: str) -> None:
    if how == "fails":
        raise ValueError("a bug")
    if how == "is cancelled":
        raise asyncio.CancelledError


@pytest.mark.parametrize("how", ["ends", "fails", "is cancelled"])
async def test_a_stream_of_a_fake_kubelet_ends_in_silence_unless_it_is_a_bug(how: str) -> None:
    rung: list[int] = []
    table: Any = object.__new__(client_table.ClientTable)
    table._ring = lambda: rung.append(1)
    task = asyncio.create_task(outcome(how))
    table._running = {task: None}
    await asyncio.wait([task])

    if how == "fails":
        with pytest.raises(ValueError, match="a bug"):
            table._forget(task)
    else:
        table._forget(task)
        assert rung == [1]
    assert table._running == {}


async def test_a_session_begins_when_the_earlier_one_of_its_resource_has_ended() -> None:
    """Two at once would cut each other off (contract REG-13)."""
    told: list[str] = []
    may_end = asyncio.Event()

    async def earlier() -> None:
        await may_end.wait()
        told.append("the earlier one ended")

    class Session:
        async def run(self) -> None:
            told.append("the later one began")

    one: Any = Session()
    before = asyncio.create_task(earlier())
    later = asyncio.create_task(plugin.DevicePlugin._run_session(one, after=(before,)))
    for _ in range(10):
        await asyncio.sleep(0)
    may_end.set()
    await later
    assert told == ["the earlier one ended", "the later one began"]
    await plugin.DevicePlugin._run_session(one, after=())
