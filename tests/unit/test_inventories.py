"""Inventories opened and closed with the classes of the tree, with a rim that only remembers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import slices
from fakehw_plugin.device import Device, DeviceID, Health
from fakehw_plugin.devices import telemetry
from fakehw_plugin.devices.inventories import Inventories, Side
from fakehw_plugin.offer import Api, Offer
from fakehw_plugin.resource_name import ResourceName
from tests.factories import make_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakehw_plugin.devices.inventory import Inventory
    from fakehw_plugin.tree.known import Changes

R1, R2 = (Offer(ResourceName.parse(f"myplugin.io/mydevice-{number}")) for number in (1, 2))

DRA1, DRA2 = (Offer(resource.resource, "driver.io") for resource in (R1, R2))


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
        self.held_by_dra: set[str] | None = set()
        self.rims = {api: Rim() for api in Api}
        self.telemetry = telemetry.Telemetry()
        self.inventories = Inventories(
            {
                Api.DEVICE_PLUGIN: Side(self.rims[Api.DEVICE_PLUGIN], self._holders),
                Api.DRA: Side(self.rims[Api.DRA], self._dra_holders),
            },
            vanished_grace_s=0.0,
            telemetry=self.telemetry,
        )

    async def _holders(self) -> set[tuple[str, DeviceID]] | None:
        return None if self.held is None else {(R1, DeviceID(device_id)) for device_id in self.held}

    async def _dra_holders(self) -> set[tuple[str, DeviceID]] | None:
        return None if self.held_by_dra is None else {("", DeviceID(device_id)) for device_id in self.held_by_dra}

    async def take(self, *resources: Offer, at: float | None = None, **devices: Device | None) -> bool:
        changes: Changes = (
            {R1: {DeviceID(f"node2-dev3-{key[1:]}"): device for key, device in devices.items()}} if devices else {}
        )
        return await self.inventories.take(set(resources), changes, at=at)

    async def take_changes(self, offers: set[Offer], changes: Changes) -> None:
        await self.inventories.take(offers, changes, at=None)


async def test_a_rim_serves_what_its_api_offers_from_the_first_class_to_the_last() -> None:
    setup = Setup()

    await setup.take(R2, R1, DRA2)
    await setup.take(R1, DRA2)
    await setup.take()

    expected = [("open", R1), ("open", R2), ("close", R2), ("close", R1)]
    assert setup.rims[Api.DEVICE_PLUGIN].calls == expected
    assert setup.rims[Api.DRA].calls == [("open", R2), ("close", R2)]
    assert not setup.inventories.by_offer


async def test_only_what_changes_a_list_counts_as_a_change() -> None:
    setup = Setup()

    assert await setup.take(R1, d1=make_device(1))
    assert not await setup.take(R1, d1=make_device(1))
    assert await setup.take(R1, d1=make_device(1, health=Health.UNHEALTHY))
    assert setup.inventories.by_offer[R1].generation == 2


async def test_a_device_that_leaves_is_listed_unhealthy_and_keeps_its_resource_until_nobody_holds_it() -> None:
    setup = Setup(held={"node2-dev3-1"})
    await setup.take(R1, d1=make_device(1))
    inventory = setup.inventories.by_offer[R1]

    await setup.take(d1=None)
    device = inventory.get("node2-dev3-1")
    assert device is not None
    assert (device.health, device.reason) == (Health.UNHEALTHY, "unplugged")
    assert R1 in setup.inventories.by_offer

    setup.held = set()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(setup.inventories.run())
        while R1 in setup.inventories.by_offer:
            await asyncio.sleep(0)
        running.cancel()
    assert setup.rims[Api.DEVICE_PLUGIN].calls[-1] == ("close", R1)
    assert setup.telemetry.devices == {}


@pytest.mark.parametrize("offer", [R1, DRA1], ids=["device plugin", "DRA"])
async def test_a_class_of_many_devices_goes_as_a_whole_whoever_runs_in_between(
    monkeypatch: pytest.MonkeyPatch, offer: Offer
) -> None:
    """What nobody holds is released by another task, which must not show the half of the class that is gone by then."""
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    setup = Setup(held=set())
    devices: dict[DeviceID, Device | None] = {DeviceID(f"node2-dev3-{n}"): make_device(n) for n in range(50)}
    await setup.take_changes({offer}, {offer: devices})
    inventory = setup.inventories.by_offer[offer]
    shown: list[int] = []
    inventory.subscribe(lambda: shown.append(len(inventory.devices)))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(setup.inventories.run())
        await asyncio.sleep(0)
        await setup.take_changes({offer}, {offer: dict.fromkeys(devices)})
        while inventory.devices:
            await asyncio.sleep(0)
        running.cancel()
    assert set(shown) == {50, 0}


async def test_while_the_tree_is_being_read_nothing_is_closed() -> None:
    """What is released in between may be the last device of a resource, or one of a class not yet read."""
    setup = Setup(held=set())
    await setup.take(R1, d1=make_device(1))
    await setup.take(d1=None)
    setup.inventories.expect()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(setup.inventories.run())
        while setup.inventories.by_offer[R1].devices:
            await asyncio.sleep(0)
        running.cancel()
    assert R1 in setup.inventories.by_offer

    await setup.take()
    assert R1 not in setup.inventories.by_offer


async def test_the_first_reading_is_not_told_device_by_device() -> None:
    setup = Setup()
    with capture_logs() as logs:
        await setup.take(R1, d1=make_device(1))
        await setup.take(R1, at=1.0, d2=make_device(2))
        await asyncio.sleep(0)

    assert [entry["device_id"] for entry in logs if entry["event"] == "device_changed"] == ["node2-dev3-2"]


async def until(setup: Setup, condition: Callable[[], bool]) -> None:
    """Let devices go that nobody holds, until `condition` holds."""
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(setup.inventories.run())
        while not condition():
            await asyncio.sleep(0)
        running.cancel()


@pytest.mark.parametrize(("old", "new"), [(R1, DRA1), (DRA1, R1), (R1, R2)])
async def test_a_device_that_moves_is_offered_in_its_new_place_when_nobody_holds_it_in_the_old_one(
    old: Offer, new: Offer
) -> None:
    setup = Setup()
    held, free = make_device(1), make_device(2)
    setup.held = setup.held_by_dra = set()
    await setup.take_changes({old}, {old: {held.id: held, free.id: free}})
    setup.held, setup.held_by_dra = ({held.id}, set()) if old.api is Api.DEVICE_PLUGIN else (set(), {held.id})

    moved: Changes = {old: {held.id: None, free.id: None}, new: {held.id: held, free.id: free}}
    await setup.take_changes({new}, moved)
    assert not setup.inventories.by_offer[new].devices, "before it is known who holds what"
    await until(setup, lambda: free.id in setup.inventories.by_offer[new].devices)
    assert held.id not in setup.inventories.by_offer[new].devices
    assert setup.inventories.by_offer[old].devices[held.id].health is Health.UNHEALTHY

    setup.held = setup.held_by_dra = set()
    setup.inventories.look_again(old.api)
    await until(setup, lambda: held.id in setup.inventories.by_offer[new].devices)

    assert old not in setup.inventories.by_offer
    assert setup.inventories.by_offer[new].devices[held.id] == held


@pytest.mark.parametrize("offer", [R1, DRA1])
async def test_what_the_other_api_handed_out_before_we_began_is_not_offered_until_it_is_free(offer: Offer) -> None:
    setup = Setup()
    held, free = make_device(1), make_device(2)
    setup.held, setup.held_by_dra = (set(), {held.id}) if offer.api is Api.DEVICE_PLUGIN else ({held.id}, set())

    await setup.take_changes({offer}, {offer: {held.id: held, free.id: free}})
    assert set(setup.inventories.by_offer[offer].devices) == {free.id}

    setup.held = setup.held_by_dra = set()
    setup.inventories.look_again(Api.DRA)
    await until(setup, lambda: held.id in setup.inventories.by_offer[offer].devices)


async def test_a_device_that_goes_while_it_is_withheld_does_not_come_back() -> None:
    setup = Setup(held=set())
    held = make_device(1)
    setup.held_by_dra = {held.id}
    await setup.take_changes({R1}, {R1: {held.id: held}})
    await setup.take_changes({R1}, {R1: {held.id: None}})

    setup.held_by_dra = set()
    setup.inventories.look_again(Api.DRA)
    await until(setup, lambda: not any(setup.inventories._held_before.values()))

    assert not setup.inventories.by_offer[R1].devices
