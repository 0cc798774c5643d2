"""What ListAndWatch sends, without an inventory around it."""

from __future__ import annotations

from fakehw_plugin.device import Device, Health
from fakehw_plugin.deviceplugin.device_list import DeviceList
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.factories import make_device


def ids(devices: DeviceList) -> list[str]:
    return [device.ID for device in pluginapi.ListAndWatchResponse.FromString(devices.message()).devices]


def put(devices: DeviceList, device: Device) -> bool:
    return devices.put(device.id, device)


def test_nobody_sees_a_change_before_it_is_published() -> None:
    devices = DeviceList()
    put(devices, make_device(1))
    devices.publish()
    before = devices.message()

    put(devices, make_device(2))
    assert devices.message() == before
    devices.publish()
    assert ids(devices) == ["node2-dev3-1", "node2-dev3-2"]


def test_what_does_not_fit_changes_nothing() -> None:
    one = len(
        pluginapi.ListAndWatchResponse(
            devices=[pluginapi.Device(ID="node2-dev3-1", health="Unhealthy")]
        ).SerializeToString()
    )
    devices = DeviceList(max_bytes=2 * one)
    assert put(devices, make_device(1))
    assert put(devices, make_device(2))
    devices.publish()
    before = devices.message()

    assert not put(devices, make_device(3))
    assert not put(devices, make_device(2, health=Health.UNHEALTHY, numa_node=1))

    devices.publish()
    assert devices.message() == before


def test_a_device_that_leaves_makes_room_for_exactly_one_like_it() -> None:
    one = len(
        pluginapi.ListAndWatchResponse(
            devices=[pluginapi.Device(ID="node2-dev3-1", health="Unhealthy")]
        ).SerializeToString()
    )
    devices = DeviceList(max_bytes=2 * one)
    put(devices, make_device(1))
    put(devices, make_device(2))

    devices.remove(make_device(1).id)

    assert put(devices, make_device(3))
    assert not put(devices, make_device(4))
    devices.publish()
    assert ids(devices) == ["node2-dev3-3", "node2-dev3-2"], "the free slot is used again"
