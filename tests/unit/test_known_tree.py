"""What is forgotten of a tree is forgotten whole: nothing of it is watched, counted or complained of any more."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from fakehw_plugin.device import Device, Health
from fakehw_plugin.offer import Offer
from fakehw_plugin.resource_name import ResourceName
from fakehw_plugin.tree import entries
from fakehw_plugin.tree.complaints import Complaints
from fakehw_plugin.tree.known import KnownTree

OFFER = Offer(ResourceName("myplugin.io/mydevice-3"))


class Watched:
    """Notes which watches are let go."""

    def __init__(self) -> None:
        self.let_go: list[int | None] = []

    def remove(self, wd: int | None, target: Any) -> None:
        assert target.wd == wd
        self.let_go.append(wd)


@pytest.fixture
def watch() -> Watched:
    return Watched()


@pytest.fixture
def tree(watch: Watched) -> KnownTree:
    """/node2/dev3 with two devices, taints in each; the watches are numbered from 0 downwards."""
    known = KnownTree("/fakehw", watch=watch, complaints=Complaints(structlog.get_logger()))  # type: ignore[arg-type]
    known.root.wd = 0
    node = known.root.nodes["node2"] = entries.NodeEntry(known.root, "node2", 1)
    node.wd = 1
    parent = node.classes["dev3"] = entries.ClassEntry(node, "dev3", 2)
    parent.wd = 2
    list(known.assign(parent, OFFER))
    for number in (1, 2):
        device = parent.devices[number] = entries.DeviceEntry(parent, number, 2 + number)
        device.wd = 10 * number
        taints = parent.taints[number] = entries.TaintsEntry(device)
        taints.wd = 10 * number + 1
        known.put(device, Device("node2", "dev3", number, Health.HEALTHY))
    known.take_changes()
    return known


def test_a_device_that_is_gone_is_watched_no_more_nor_are_its_taints(tree: KnownTree, watch: Watched) -> None:
    parent = tree.root.nodes["node2"].classes["dev3"]
    device = parent.devices[1]
    tree.drop_device(device)

    assert watch.let_go == [10, 11]
    assert not device.is_attached
    assert list(parent.devices) == [2]
    assert tree.take_changes() == {OFFER: {"node2-dev3-1": None}}
    assert tree.offers == {OFFER}


@pytest.mark.parametrize("what", ["root", "node", "class"])
def test_what_is_gone_takes_everything_below_along(tree: KnownTree, watch: Watched, what: str) -> None:
    node = tree.root.nodes["node2"]
    parent = node.classes["dev3"]
    if what == "root":
        list(tree.drop_root() or ())
    else:
        list(tree.drop_node(node) if what == "node" else tree.drop_class(parent))

    below = {10, 11, 20, 21, 2} | ({1} if what != "class" else set()) | ({0} if what == "root" else set())
    assert sorted(watch.let_go) == sorted(below)
    assert not parent.is_attached
    assert tree.offers == set()
    assert tree.take_changes() == {OFFER: {"node2-dev3-1": None, "node2-dev3-2": None}}
    assert (tree.root.nodes if what != "class" else node.classes) == {}


def test_a_class_that_is_offered_as_something_else_takes_its_devices_along_one_at_a_time(tree: KnownTree) -> None:
    parent = tree.root.nodes["node2"].classes["dev3"]
    other = Offer(ResourceName("nvidia.com/gpu"))
    assert len(list(tree.assign(parent, other))) == 4, "a turn for each device that goes, and for each that comes"
    changes = tree.take_changes()
    assert changes[OFFER] == {"node2-dev3-1": None, "node2-dev3-2": None}
    assert set(changes[other]) == {"node2-dev3-1", "node2-dev3-2"}
    assert tree.offers == {other}
    assert list(tree.assign(parent, other)) == []
    assert tree.take_changes() == {}
    list(tree.assign(parent, None))
    assert tree.offers == set()
