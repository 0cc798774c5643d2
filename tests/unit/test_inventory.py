from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin.device import Device, DeviceID, Health, Transition
from fakehw_plugin.deviceplugin.device_list import DeviceList
from fakehw_plugin.devices.inventory import Inventory
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.factories import make_device


class Listed(Inventory):
    """An inventory whose devices are listed for a kubelet, in at most `max_bytes`."""

    def __init__(self, max_bytes: int = 4 * 1024 * 1024) -> None:
        self.list = DeviceList(max_bytes=max_bytes)
        super().__init__("r", self.list)


def decode(inventory: Listed) -> dict[str, str]:
    devices = pluginapi.ListAndWatchResponse.FromString(inventory.list.message()).devices
    assert len({device.ID for device in devices}) == len(devices)
    return {device.ID: device.health for device in devices}


def put(inventory: Inventory, *devices: Device) -> list[Transition]:
    return inventory.apply({device.id: device for device in devices})


def test_an_empty_inventory_is_an_empty_list() -> None:
    assert decode(Listed()) == {}


def test_a_change_that_changes_nothing_is_not_published() -> None:
    inventory = Listed()
    put(inventory, make_device(1))

    assert put(inventory, make_device(1)) == []
    assert inventory.generation == 1


def test_many_changes_at_once_are_one_generation_and_one_wake_up() -> None:
    inventory, wakes = Listed(), []
    inventory.subscribe(lambda: wakes.append(inventory.generation))

    put(inventory, *(make_device(number) for number in range(100)))

    assert wakes == [1]


def test_health_can_go_and_come_back() -> None:
    inventory = Listed()
    put(inventory, make_device(1))

    put(inventory, make_device(1, health=Health.UNHEALTHY, reason="over temperature"))
    assert decode(inventory) == {"node2-dev3-1": "Unhealthy"}
    put(inventory, make_device(1))
    assert decode(inventory) == {"node2-dev3-1": "Healthy"}


def test_devices_beyond_the_limit_are_left_out_and_come_in_when_there_is_room() -> None:
    inventory = Listed(max_bytes=100)
    put(inventory, *(make_device(number) for number in range(1, 6)))
    listed = set(decode(inventory))

    assert len(inventory.list.message()) <= 100
    assert len(listed) == 3
    assert {f"node2-dev3-{number}" for number in range(1, 6)} == listed | set(inventory.left_out)

    inventory.apply({DeviceID("node2-dev3-1"): None})
    assert len(decode(inventory)) == 3
    assert len(inventory.left_out) == 1


def test_a_full_list_still_fits_when_every_device_turns_unhealthy() -> None:
    inventory = Listed(max_bytes=100)
    put(inventory, *(make_device(number) for number in range(1, 6)))

    put(inventory, *(make_device(number, health=Health.UNHEALTHY) for number in range(1, 6)))

    assert len(inventory.list.message()) <= 100


def test_a_numa_node_that_does_not_fit_any_more_is_not_told_and_the_device_stays() -> None:
    inventory = Listed(max_bytes=100)
    put(inventory, *(make_device(number) for number in range(1, 4)))

    put(inventory, *(make_device(number, health=Health.UNHEALTHY, numa_node=1) for number in range(1, 4)))

    assert decode(inventory) == {f"node2-dev3-{number}": "Unhealthy" for number in range(1, 4)}
    assert len(inventory.list.message()) <= 100


CHANGES = st.lists(
    st.dictionaries(
        st.integers(0, 40),
        st.none() | st.tuples(st.sampled_from(Health), st.none() | st.integers(0, 3)),
        max_size=10,
    ),
    max_size=20,
)


@given(CHANGES, st.sampled_from([150, 4 * 1024 * 1024]))
def test_the_list_is_always_what_was_put_in_as_far_as_it_fits(
    rounds: list[dict[int, tuple[Health, int | None] | None]], max_bytes: int
) -> None:
    inventory, model = Listed(max_bytes=max_bytes), {}
    for changes in rounds:
        devices: dict[DeviceID, Device | None] = {}
        for number, state in changes.items():
            device = state and make_device(number, health=state[0], numa_node=state[1])
            devices[make_device(number).id] = device
            model[make_device(number).id] = device

        inventory.apply(devices)

        present = {device_id: device.health.value for device_id, device in model.items() if device}
        listed = decode(inventory)
        assert listed.items() <= present.items()
        assert listed.keys() | inventory.left_out.keys() == present.keys()
        assert not listed.keys() & inventory.left_out.keys()
        assert inventory.healthy == sum(health == "Healthy" for health in listed.values())
        assert len(inventory.list.message()) <= max_bytes
        if max_bytes > 1000:
            assert listed == present


def test_without_a_listing_every_device_is_in_and_none_is_left_out() -> None:
    inventory = Inventory("r")

    put(inventory, *(make_device(number) for number in range(1000)))

    assert len(inventory.devices) == 1000
    assert not inventory.left_out


def test_as_many_of_those_left_out_come_in_as_there_is_room_for() -> None:
    inventory = Listed(max_bytes=100)
    put(inventory, *(make_device(number) for number in range(1, 7)))
    assert len(inventory.left_out) == 3

    let_in = inventory.apply({DeviceID("node2-dev3-1"): None, DeviceID("node2-dev3-2"): None})

    assert len(decode(inventory)) == 3
    assert len(inventory.left_out) == 1
    assert [transition.was is None for transition in let_in] == [False, False, True, True]
    inventory.apply({DeviceID(device_id): None for device_id in list(decode(inventory))})
    assert not inventory.left_out


def test_one_that_was_left_out_and_leaves_the_tree_does_not_come_in() -> None:
    inventory = Listed(max_bytes=100)
    put(inventory, *(make_device(number) for number in range(1, 5)))
    (left_out,) = inventory.left_out

    inventory.apply({left_out: None})
    inventory.apply({DeviceID("node2-dev3-1"): None})

    assert left_out not in decode(inventory)
