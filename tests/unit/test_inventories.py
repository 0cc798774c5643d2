"""Inventories opened and closed with the classes of the tree, with a rim that only remembers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from fakehw_plugin.device import Device, DeviceID, Health
from fakehw_plugin.devices import telemetry
from fakehw_plugin.devices.inventories import Inventories
from fakehw_plugin.resource_name import ResourceName
from tests.factories import make_device

if TYPE_CHECKING:
    from fakehw_plugin.devices.inventory import Inventory

R1, R2 = (ResourceName.parse(f"myplugin.io/mydevice-{number}") for number in (1, 2))


class Rim:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def open(self, inventory: Inventory) -> None:
        assert not inventory.devices, "a rim may hang a listing on it"
        self.calls.append(("open", inventory.resource_name))

    def close(self, inventory: Inventory) -> None:
        assert not inventory.devices, "the empty list is the last one"
        self.calls.append(("close", inventory.resource_name))


class Setup:
    def __init__(self, held: set[str] | None = None) -> None:
        self.held = held
        self.rims = [Rim(), Rim()]
        self.telemetry = telemetry.Telemetry()
        self.inventories = Inventories(
            self.rims, holders=self._holders, vanished_grace_s=0.0, telemetry=self.telemetry
        )  # fmt: skip

    async def _holders(self) -> set[tuple[str, DeviceID]] | None:
        return None if self.held is None else {(R1, DeviceID(device_id)) for device_id in self.held}

    async def take(self, *resources: ResourceName, at: float | None = None, **devices: Device | None) -> bool:
        changes = (
            {R1: {DeviceID(f"node2-dev3-{key[1:]}"): device for key, device in devices.items()}} if devices else {}
        )
        return await self.inventories.take(set(resources), changes, at=at)


async def test_every_rim_serves_a_resource_from_its_first_class_to_its_last() -> None:
    setup = Setup()

    await setup.take(R2, R1)
    await setup.take(R1)
    await setup.take()

    expected = [("open", R1), ("open", R2), ("close", R2), ("close", R1)]
    assert [rim.calls for rim in setup.rims] == [expected, expected]
    assert not setup.inventories.by_resource


async def test_only_what_changes_a_list_counts_as_a_change() -> None:
    setup = Setup()

    assert await setup.take(R1, d1=make_device(1))
    assert not await setup.take(R1, d1=make_device(1))
    assert await setup.take(R1, d1=make_device(1, health=Health.UNHEALTHY))
    assert setup.inventories.by_resource[R1].generation == 2


async def test_a_device_that_leaves_is_listed_unhealthy_and_keeps_its_resource_until_nobody_holds_it() -> None:
    setup = Setup(held={"node2-dev3-1"})
    await setup.take(R1, d1=make_device(1))
    inventory = setup.inventories.by_resource[R1]

    await setup.take(d1=None)
    device = inventory.get("node2-dev3-1")
    assert device is not None
    assert (device.health, device.reason) == (Health.UNHEALTHY, "unplugged")
    assert R1 in setup.inventories.by_resource

    setup.held = set()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(setup.inventories.run())
        while R1 in setup.inventories.by_resource:
            await asyncio.sleep(0)
        running.cancel()
    assert setup.rims[0].calls[-1] == ("close", R1)
    assert setup.telemetry.devices == {}


async def test_while_the_tree_is_being_read_nothing_is_closed() -> None:
    """What is released in between may be the last device of a resource, or one of a class not yet read."""
    setup = Setup(held=set())
    await setup.take(R1, d1=make_device(1))
    await setup.take(d1=None)
    setup.inventories.expect()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(setup.inventories.run())
        while setup.inventories.by_resource[R1].devices:
            await asyncio.sleep(0)
        running.cancel()
    assert R1 in setup.inventories.by_resource

    await setup.take()
    assert R1 not in setup.inventories.by_resource


async def test_the_first_reading_is_not_told_device_by_device() -> None:
    setup = Setup()
    with capture_logs() as logs:
        await setup.take(R1, d1=make_device(1))
        await setup.take(R1, at=1.0, d2=make_device(2))
        await asyncio.sleep(0)

    assert [entry["device_id"] for entry in logs if entry["event"] == "device_changed"] == ["node2-dev3-2"]
