"""A line for each device that changed, and never a storm of them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from fakehw_plugin.device import Health, Transition
from fakehw_plugin.devices import change_log
from fakehw_plugin.devices.inventory import Inventory
from tests.factories import make_device


async def told(*batches: list[Transition]) -> list[dict[str, object]]:
    log, inventory = change_log.ChangeLog(), Inventory("r")
    with capture_logs() as lines:
        for batch in batches:
            log.tell_later(inventory, batch)
        await asyncio.sleep(0)
    return [dict(line) for line in lines]


def appeared(count: int) -> list[Transition]:
    return [Transition(None, make_device(number)) for number in range(count)]


async def test_a_line_says_what_it_was_and_is_and_why() -> None:
    was = make_device(1)
    now = make_device(1, health=Health.UNHEALTHY, reason="over temperature")

    lines = await told([Transition(None, was), Transition(was, now), Transition(now, None)])

    assert [(line["was"], line["health"], line["reason"]) for line in lines] == [
        ("absent", "Healthy", ""),
        ("Healthy", "Unhealthy", "over temperature"),
        ("Unhealthy", "removed", ""),
    ]


async def test_many_changes_of_one_list_are_some_lines_and_a_count() -> None:
    lines = await told(appeared(1000))

    assert [line["event"] for line in lines] == ["device_changed"] * 32 + ["more_devices_changed"]
    assert lines[-1]["devices"] == 968


async def test_many_lists_of_one_second_are_no_more_than_two_hundred_lines_and_nothing_is_uncounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(change_log, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    lines = await told(*[appeared(32)] * 20)

    single = sum(line["event"] == "device_changed" for line in lines)
    assert single == 200
    assert single + sum(int(str(line.get("devices", 0))) for line in lines) == 640


async def test_the_next_second_has_lines_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([1000.0] * 10 + [1001.1] * 10)
    monkeypatch.setattr(change_log, "time", SimpleNamespace(monotonic=lambda: next(times)))
    lines = await told(*[appeared(32)] * 11)

    assert sum(line["event"] == "device_changed" for line in lines) == 200 + 32
