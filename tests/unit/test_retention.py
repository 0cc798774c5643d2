from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fakehw_plugin.device import DeviceID, Health
from fakehw_plugin.devices import retention
from fakehw_plugin.offer import Offer
from fakehw_plugin.resource_name import ResourceName
from tests.factories import make_device

if TYPE_CHECKING:
    from fakehw_plugin.tree.known import Changes

RESOURCE = Offer(ResourceName.parse("myplugin.io/mydevice-3"))
DEVICE = make_device(2)


class Desk:
    """A retention whose kubelet and clock are in the test's hands."""

    def __init__(self, grace_s: float = 30.0) -> None:
        self.now = 1000.0
        self.held: set[tuple[str, DeviceID]] | None = set()
        self.questions = 0
        self.released = asyncio.Event()
        self.retention = retention.Retention(
            holders=self._holders, release=self._release, grace_s=grace_s, clock=lambda: self.now
        )

    async def _holders(self) -> set[tuple[str, DeviceID]] | None:
        self.questions += 1
        return self.held

    def _release(self, changes: Changes) -> None:
        assert changes == {RESOURCE: {DEVICE.id: None}}
        self.released.set()

    async def review(self) -> float | None:
        return await self.retention._review()


@pytest.fixture
async def desk() -> Desk:
    return Desk()


def test_an_unplugged_device_is_listed_unhealthy_and_says_why() -> None:
    listed = Desk().retention.retain(RESOURCE, DEVICE)

    assert (listed.id, listed.health, listed.reason) == (DEVICE.id, Health.UNHEALTHY, "unplugged")


async def test_a_device_that_nobody_holds_is_released_at_once(desk: Desk) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(desk.retention.run())
        desk.retention.retain(RESOURCE, DEVICE)
        await desk.released.wait()
        task.cancel()


async def test_a_device_that_a_pod_holds_stays_until_the_pod_is_gone(desk: Desk) -> None:
    desk.held = {(RESOURCE, DEVICE.id)}
    desk.retention.retain(RESOURCE, DEVICE)
    desk.now += 3600

    assert await desk.review() == retention.ASK_EVERY_S
    assert not desk.released.is_set()
    desk.held = set()
    assert await desk.review() is None
    assert desk.released.is_set()


async def test_where_nobody_can_be_asked_the_grace_period_decides(desk: Desk) -> None:
    desk.held = None
    desk.retention.retain(RESOURCE, DEVICE)

    assert await desk.review() == 30.0
    desk.now += 29.9
    await desk.review()
    assert not desk.released.is_set()
    desk.now += 0.2
    await desk.review()
    assert desk.released.is_set()


async def test_a_device_handed_out_a_moment_ago_counts_as_held(desk: Desk) -> None:
    desk.retention.allocated([DEVICE.id])
    desk.retention.retain(RESOURCE, DEVICE)

    await desk.review()
    assert not desk.released.is_set()
    desk.now += retention.RECENTLY_S
    await desk.review()
    assert desk.released.is_set()


async def test_a_device_that_came_back_is_not_released(desk: Desk) -> None:
    desk.retention.retain(RESOURCE, DEVICE)
    desk.retention.returned(RESOURCE, DEVICE.id)

    assert await desk.review() is None
    assert not desk.released.is_set()


async def test_nobody_is_asked_while_nothing_is_retained(desk: Desk) -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(desk.retention.run())
        await asyncio.sleep(0)
        task.cancel()

    assert desk.questions == 0


async def test_the_same_id_held_of_another_resource_does_not_keep_ours(desk: Desk) -> None:
    """Two plugins may use the same IDs."""
    desk.held = {("example.org/other", DEVICE.id)}
    desk.retention.retain(RESOURCE, DEVICE)

    assert await desk.review() is None
    assert desk.released.is_set()


def test_a_retained_device_keeps_what_it_is_but_for_the_node_that_went_with_it() -> None:
    device = make_device(2, numa_node=1, has_device_node=True)

    listed = Desk().retention.retain(RESOURCE, device)

    assert (listed.numa_node, listed.has_device_node) == (1, False)


async def test_thousands_are_released_in_steps_each_once_and_others_run_in_between() -> None:
    steps: list[list[str]] = []

    async def nobody() -> set[tuple[str, DeviceID]]:
        return set()

    kept = retention.Retention(
        holders=nobody, release=lambda changes: steps.append(list(changes[RESOURCE])), grace_s=0.0
    )
    devices = [make_device(number) for number in range(2500)]
    for device in devices:
        kept.retain(RESOURCE, device)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert await kept._review() is None
    task.cancel()

    assert [len(step) for step in steps] == [1000, 1000, 500]
    assert [device_id for step in steps for device_id in step] == [device.id for device in devices]
    assert turns >= 2
    assert not kept.retained


async def test_one_that_comes_back_while_others_are_released_stays() -> None:
    steps: list[list[str]] = []

    async def nobody() -> set[tuple[str, DeviceID]]:
        return set()

    def release(changes: Changes) -> None:
        steps.append(list(changes.get(RESOURCE, ())))
        kept.returned(RESOURCE, make_device(1999).id)

    kept = retention.Retention(holders=nobody, release=release, grace_s=0.0)
    for number in range(2000):
        kept.retain(RESOURCE, make_device(number))
    await kept._review()

    assert [len(step) for step in steps] == [1000, 999]


def test_what_was_handed_out_is_remembered_for_a_second_and_no_ten_thousand_of_it() -> None:
    desk = Desk()
    for number in range(30_000):
        desk.now += 0.001
        desk.retention.allocated([make_device(number).id])

    assert len(desk.retention._allocated_at) <= 10_001
    assert make_device(29_999).id in desk.retention._allocated_at
