"""What inventories say and count, whom they ask and when again; in no time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin.device import DeviceID, Health
from fakehw_plugin.devices import change_log
from fakehw_plugin.devices.inventories import Inventories, Side
from fakehw_plugin.devices.inventory import Inventory
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.offer import Api, Offer
from fakehw_plugin.resource_name import ResourceName
from tests.factories import make_device
from tests.timeless import elapsed, running, settled, timeless

if TYPE_CHECKING:
    from fakehw_plugin.device import Device, Transition
    from fakehw_plugin.tree.known import Changes

R1, R2 = (Offer(ResourceName.parse(f"myplugin.io/mydevice-{number}")) for number in (1, 2))
DRA1, OTHER1 = Offer(R1.resource, "driver.io"), Offer(R1.resource, "other.io")
ONE, TWO = make_device(1), make_device(2)


class Listing:
    """Has room for so many devices."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.ids: set[DeviceID] = set()

    def put(self, device_id: DeviceID, device: Device) -> bool:
        if device_id not in self.ids and len(self.ids) >= self.room:
            return False
        self.ids.add(device_id)
        return True

    def remove(self, device_id: DeviceID) -> None:
        self.ids.remove(device_id)

    def publish(self) -> None:
        pass


class Scene:
    """Inventories between a tree and two rims that only remember."""

    room = 1 << 30

    def __init__(self, *, apis: tuple[Api, ...] = tuple(Api), grace_s: float = 30.0) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.asked: list[tuple[float, Api]] = []
        self.held: dict[Api, set[tuple[str, DeviceID]] | None] = {api: set() for api in Api}
        self.telemetry = Telemetry()
        sides = {api: Side(_Rim(self, api), self.holders(api)) for api in apis}
        self.inventories = Inventories(sides, vanished_grace_s=grace_s, telemetry=self.telemetry)
        for kept in self.inventories.retentions.values():
            kept._clock = lambda: asyncio.get_running_loop().time()

    def holders(self, api: Api) -> Any:
        async def ask() -> Any:
            self.asked.append((elapsed(), api))
            await asyncio.sleep(0)
            return self.held[api]

        return ask

    async def take(self, changes: Changes, *, offers: set[Offer] | None = None, at: float | None = None) -> bool:
        return await self.inventories.take(set(changes) if offers is None else offers, changes, at=at)

    def devices(self, offer: Offer) -> dict[str, str]:
        found = self.inventories.by_offer[offer].devices.values()
        return {device.id: device.reason if device.health is Health.UNHEALTHY else "" for device in found}


class _Rim:
    def __init__(self, scene: Scene, api: Api) -> None:
        self.scene, self.api = scene, api

    def open(self, inventory: Inventory) -> None:
        self.scene.calls.append(("open", self.api, inventory.resource_name, inventory.driver))
        inventory.keep(Listing(self.scene.room))

    def close(self, inventory: Inventory) -> None:
        self.scene.calls.append(("close", self.api, inventory.resource_name, inventory.driver))


def given(*devices: Device) -> dict[DeviceID, Device | None]:
    return {device.id: device for device in devices}


def gone(*devices: Device) -> dict[DeviceID, Device | None]:
    return {device.id: None for device in devices}


@timeless
async def test_a_resource_that_both_apis_serve_is_told_with_both() -> None:
    scene = Scene()
    with capture_logs() as lines:
        await scene.take({R1: given(ONE), R2: given(make_device(1, class_name="dev9"))})
        await scene.take({DRA1: {}, R1: {}, R2: {}})
    assert scene.calls == [
        ("open", Api.DEVICE_PLUGIN, R1, ""),
        ("open", Api.DEVICE_PLUGIN, R2, ""),
        ("open", Api.DRA, R1, "driver.io"),
    ]
    remark = f"{R1}; and {DRA1}"
    assert lines == [{"event": "resource_by_both_apis", "log_level": "warning", "resource": R1, "remark": remark}]


@timeless
async def test_a_resource_that_moves_to_the_other_api_is_not_said_to_be_by_both() -> None:
    scene = Scene()
    with capture_logs() as lines:
        await scene.take({R1: {}})
        scene.inventories.expect()
        await scene.take({DRA1: {}})
    assert lines == [{"event": "resource_left", "log_level": "info", "resource": R1}]


@timeless
async def test_an_api_without_a_side_here_is_passed_over() -> None:
    scene = Scene(apis=(Api.DEVICE_PLUGIN,))
    assert await scene.take({R1: given(ONE), DRA1: given(TWO)})
    assert not await scene.take({DRA1: gone(TWO)}, offers={R1, DRA1})
    assert set(scene.inventories.by_offer) == {R1}


@timeless
async def test_what_the_other_api_s_pods_hold_is_asked_before_the_first_offer_and_said() -> None:
    scene = Scene()
    scene.held[Api.DRA] = {("", ONE.id)}
    with capture_logs() as lines:
        await scene.take({R1: given(ONE, TWO), R2: {}})
        await scene.take({R1: {}, R2: {}, Offer(ResourceName.parse("a.b/c")): {}})
    assert scene.asked == [(0, Api.DRA)]
    assert lines == [{"event": "devices_held_by_other_api", "log_level": "info", "api": "dra", "devices": 1}]
    assert scene.devices(R1) == {TWO.id: ""}


@pytest.mark.parametrize("held", [None, set()])
@timeless
async def test_where_nobody_holds_anything_or_it_is_not_known_all_is_offered(held: Any) -> None:
    scene = Scene()
    scene.held[Api.DRA] = held
    with capture_logs() as lines:
        await scene.take({R1: given(ONE)})
        async with running(scene.inventories.run()):
            await asyncio.sleep(100)
    assert scene.devices(R1) == {ONE.id: ""}
    assert lines == []
    assert scene.asked == [(0, Api.DRA)]


@timeless
async def test_what_is_held_by_the_other_api_is_asked_for_every_ten_seconds_until_all_is_free() -> None:
    scene = Scene()
    scene.held[Api.DRA] = {("", ONE.id), ("", TWO.id)}
    await scene.take({R1: given(ONE, TWO)})
    async with running(scene.inventories.run()):
        await asyncio.sleep(5)
        scene.held[Api.DRA] = {("", TWO.id), ("", DeviceID("later"))}
        await asyncio.sleep(4)
        assert scene.devices(R1) == {}
        await asyncio.sleep(2)
        assert scene.devices(R1) == {ONE.id: ""}
        scene.held[Api.DRA] = None
        await asyncio.sleep(10)
        assert scene.devices(R1) == {ONE.id: ""}, "not known is not free"
        scene.held[Api.DRA] = {("", DeviceID("later"))}
        await asyncio.sleep(10)
        assert scene.devices(R1) == {ONE.id: "", TWO.id: ""}
        await asyncio.sleep(100)
    assert scene.asked == [(0, Api.DRA), (0, Api.DRA), (10, Api.DRA), (20, Api.DRA), (30, Api.DRA)]


@timeless
async def test_who_says_that_something_is_free_has_it_asked_at_once() -> None:
    scene = Scene()
    scene.held[Api.DRA] = {("", ONE.id)}
    await scene.take({R1: given(ONE)})
    async with running(scene.inventories.run()):
        await asyncio.sleep(3)
        scene.held[Api.DRA] = set()
        scene.inventories.look_again(Api.DRA)
        await settled()
        assert scene.devices(R1) == {ONE.id: ""}
        assert scene.asked[-1] == (3, Api.DRA)


@timeless
async def test_a_device_that_is_held_is_listed_with_the_reason_and_asked_for_every_ten_seconds() -> None:
    scene = Scene()
    scene.held[Api.DEVICE_PLUGIN] = {(R1, ONE.id)}
    await scene.take({R1: given(ONE, TWO)})
    scene.asked.clear()
    async with running(scene.inventories.run()):
        await scene.take({R1: gone(ONE, TWO)}, offers={R1})
        assert scene.devices(R1) == {ONE.id: "unplugged", TWO.id: "unplugged"}
        await settled()
        assert scene.devices(R1) == {ONE.id: "unplugged"}
        await asyncio.sleep(15)
        scene.held[Api.DEVICE_PLUGIN] = set()
        await asyncio.sleep(100)
        assert scene.devices(R1) == {}
    assert scene.asked == [(0, Api.DEVICE_PLUGIN), (10, Api.DEVICE_PLUGIN), (20, Api.DEVICE_PLUGIN)]


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (R2, "is myplugin.io/mydevice-2 now"),
        (DRA1, "is served by dra now"),
    ],
)
@timeless
async def test_a_device_that_is_held_as_something_else_says_what_it_is_now(new: Offer, reason: str) -> None:
    scene = Scene()
    scene.held[Api.DEVICE_PLUGIN] = {(R1, ONE.id)}
    await scene.take({R1: given(ONE, TWO)})
    async with running(scene.inventories.run()):
        await scene.take({R1: gone(ONE, TWO), new: given(ONE, TWO)}, offers={new})
        assert scene.devices(R1) == {ONE.id: reason, TWO.id: reason}
        assert scene.devices(new) == {}
        await settled()
        assert scene.devices(R1) == {ONE.id: reason}
        assert scene.devices(new) == {TWO.id: ""}
        assert R1 in scene.inventories.by_offer
        scene.held[Api.DEVICE_PLUGIN] = set()
        await asyncio.sleep(10.1)
        assert scene.devices(new) == {ONE.id: "", TWO.id: ""}
        assert R1 not in scene.inventories.by_offer


@timeless
async def test_of_two_drivers_one_says_that_the_other_has_its_device_now() -> None:
    scene = Scene()
    scene.held[Api.DRA] = {("", ONE.id)}
    await scene.take({DRA1: given(ONE)})
    async with running(scene.inventories.run()):
        await scene.take({DRA1: gone(ONE), OTHER1: given(ONE)}, offers={OTHER1})
        await settled()
        assert scene.devices(DRA1) == {ONE.id: f"is {OTHER1} now"}
        assert scene.devices(OTHER1) == {}


@timeless
async def test_a_device_that_comes_back_while_it_is_held_is_as_it_was() -> None:
    scene = Scene()
    scene.held[Api.DEVICE_PLUGIN] = {(R1, ONE.id)}
    await scene.take({R1: given(ONE)})
    async with running(scene.inventories.run()):
        await scene.take({R1: gone(ONE)}, offers={R1})
        await settled()
        await scene.take({R1: given(ONE)})
        assert scene.devices(R1) == {ONE.id: ""}
        scene.held[Api.DEVICE_PLUGIN] = set()
        await asyncio.sleep(100)
        assert scene.devices(R1) == {ONE.id: ""}


@timeless
async def test_where_nobody_can_be_asked_a_device_stays_for_its_grace() -> None:
    scene = Scene(grace_s=30.0)
    scene.held[Api.DEVICE_PLUGIN] = None
    await scene.take({R1: given(ONE)})
    async with running(scene.inventories.run()):
        await scene.take({R1: gone(ONE)}, offers={R1})
        await asyncio.sleep(29.9)
        assert scene.devices(R1) == {ONE.id: "unplugged"}
        await asyncio.sleep(0.2)
        assert scene.devices(R1) == {}


@timeless
async def test_every_change_is_counted_and_told_with_when_it_was_noticed() -> None:
    scene = Scene()
    ill = make_device(1, health=Health.UNHEALTHY, reason="worn out")
    with capture_logs() as lines:
        await scene.take({R1: given(ONE, TWO)})
        await settled()
        assert lines == []
        assert scene.inventories.by_offer[R1].changed_at is None
        await scene.take({R1: given(ill)}, at=999.5)
        await settled()
    assert scene.inventories.by_offer[R1].changed_at == 999.5
    assert lines == [
        {
            "event": "device_changed", "log_level": "info", "resource": R1, "device_id": ONE.id, "health": "Unhealthy",
            "was": "Healthy", "reason": "worn out", "generation": 2,
        }
    ]  # fmt: skip  # one line of the log
    assert scene.telemetry.devices == {(R1, "node2"): {"Healthy": 1, "Unhealthy": 1}}
    assert scene.telemetry.transitions == {(R1, "Healthy"): 2, (R1, "Unhealthy"): 1}


@timeless
async def test_what_is_released_is_counted_and_told_too() -> None:
    scene = Scene()
    await scene.take({R1: given(ONE)})
    with capture_logs() as lines:
        async with running(scene.inventories.run()):
            await scene.take({R1: gone(ONE)}, offers={R1}, at=1000.0)
            await settled()
    assert [(line["was"], line["health"]) for line in lines] == [("Healthy", "Unhealthy"), ("Unhealthy", "removed")]
    assert scene.telemetry.transitions == {(R1, "Healthy"): 1, (R1, "Unhealthy"): 1, (R1, "removed"): 1}
    assert scene.inventories.by_offer[R1].changed_at == 1000.0


@timeless
async def test_what_has_no_room_is_said_when_it_grows_and_let_in_when_there_is_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Scene, "room", 2)
    scene = Scene()
    devices = [make_device(number) for number in range(1, 6)]
    with capture_logs() as lines:
        await scene.take({R1: given(*devices[:4])}, at=1.0)
        await scene.take({R1: given(devices[0], devices[3])}, at=1.0)
        await scene.take({R1: given(devices[4])}, at=1.0)
        await settled()
        assert [line["event"] for line in lines].count("too_many_devices") == 2
        async with running(scene.inventories.run()):
            await scene.take({R1: gone(devices[0])}, offers={R1}, at=1.0)
            await settled()
    assert set(scene.devices(R1)) == {devices[1].id, devices[2].id}
    reason = "the kubelet takes lists of at most 4 MiB; spread the devices over several resources"
    base = {"event": "too_many_devices", "log_level": "error", "resource": R1, "listed": 2, "reason": reason}
    assert [line for line in lines if line["event"] == "too_many_devices"] == [
        {**base, "left_out": 2},
        {**base, "left_out": 3},
    ]
    told = [(line["device_id"], line["health"]) for line in lines if line["event"] == "device_changed"]
    assert told[-2:] == [(devices[0].id, "removed"), (devices[2].id, "Healthy")]
    assert scene.telemetry.devices == {(R1, "node2"): {"Healthy": 2, "Unhealthy": 0}}


@timeless
async def test_a_resource_is_forgotten_when_the_last_offer_of_it_is_closed() -> None:
    scene = Scene()
    await scene.take({R1: given(ONE), DRA1: {}})
    scene.telemetry.lists_sent[R1] = 5
    await scene.take({}, offers={R1})
    assert scene.telemetry.devices
    with capture_logs() as lines:
        async with running(scene.inventories.run()):
            await scene.take({R1: gone(ONE)}, offers=set())
            await settled()
    assert scene.telemetry.devices == {}
    assert scene.telemetry._former == {R1: None}
    left = [line for line in lines if line["event"] == "resource_left"]
    assert left == [{"event": "resource_left", "log_level": "info", "resource": R1}]
    await scene.take({R1: {}})
    assert scene.telemetry._former == {}, "and remembered when it is back"


@timeless
async def test_resources_are_opened_in_turn_by_node() -> None:
    scene = Scene()
    other = make_device(1, node="node10")
    await scene.take({R2: given(other), R1: given(ONE)})
    assert [call[2] for call in scene.calls] == [R1, R2]


# Lines of the log.


def appeared(count: int) -> list[Transition]:
    from fakehw_plugin.device import Transition

    return [Transition(None, make_device(number)) for number in range(count)]


@timeless
async def test_in_each_second_there_are_two_hundred_lines() -> None:
    log, inventory = change_log.ChangeLog(), Inventory("r")
    with capture_logs() as lines:
        for _ in range(8):
            log.tell_later(inventory, appeared(32))
        await settled()
        assert sum(line["event"] == "device_changed" for line in lines) == 200
        assert [line["devices"] for line in lines if line["event"] == "more_devices_changed"] == [24, 32]
        await asyncio.sleep(0.999)
        log.tell_later(inventory, appeared(1))
        await settled()
        assert lines[-1] == {"event": "more_devices_changed", "log_level": "info", "resource": "r", "devices": 1}
        await asyncio.sleep(0.001)
        log.tell_later(inventory, appeared(33))
        await settled()
    assert sum(line["event"] == "device_changed" for line in lines) == 232
    assert lines[-1]["devices"] == 1
