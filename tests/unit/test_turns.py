"""Whose turn it is where there is no room for all: every node's first class before any node's second."""

from __future__ import annotations

from fakehw_plugin.device import DeviceID
from fakehw_plugin.devices.turns import in_turn
from fakehw_plugin.offer import Offer
from fakehw_plugin.resource_name import ResourceName
from fakehw_plugin.tree.known import Changes
from tests.factories import make_device


def offer(number: int) -> Offer:
    return Offer(ResourceName.parse(f"myplugin.io/mydevice-{number}"))


def changes(*paths: str) -> Changes:
    """`a/dev1` is a device of the first resource on the node a."""
    found: Changes = {}
    for path in paths:
        node, _, class_name = path.partition("/")
        device = make_device(1, node=node, class_name=class_name)
        found.setdefault(offer(int(class_name.removeprefix("dev"))), {})[DeviceID(device.id)] = device
    return found


def numbers(found: Changes, *more: Offer) -> list[int]:
    return [int(offered.rpartition("-")[2]) for offered in in_turn({*found, *more}, found)]


def test_a_node_with_classes_without_end_does_not_keep_out_the_others() -> None:
    found = changes(
        *(f"a/dev{number}" for number in range(100)), "b/dev1000", "b/dev1001", "node10/dev2000", "node2/dev3000"
    )

    in_order = numbers(found)

    assert in_order[:2] == [0, 1000]
    assert set(in_order[2:4]) == {2000, 3000}
    assert in_order[4:7] == [1, 1001, 2]
    assert len(in_order) == 104


def test_a_resource_of_several_nodes_comes_once_and_as_early_as_it_may() -> None:
    assert numbers(changes("a/dev1", "a/dev2", "b/dev2", "b/dev3")) in ([1, 2, 3], [2, 1, 3])


def test_what_has_no_device_comes_last() -> None:
    assert numbers(changes("b/dev9"), offer(1), offer(2)) == [9, 1, 2]


def test_a_resource_of_several_nodes_has_the_turn_of_the_first_of_them() -> None:
    assert numbers(changes("a/dev5", "z/dev5", "b/dev1")) == [5, 1]
