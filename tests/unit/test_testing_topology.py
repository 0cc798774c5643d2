"""NUMA hints and policies as far as devices go (contract AL-6, AL-7)."""

from __future__ import annotations

import pytest

from fakekubelet.kubelet import numa
from fakekubelet.kubelet.device import Device
from fakekubelet.kubelet.numa import Hint, Policy

TWO_NODES = (0, 1)


def make_devices(**numa_nodes):
    return {one: Device(one, "Healthy", nodes) for one, nodes in numa_nodes.items()}


def hints(devices, request, *, available=None, reusable=frozenset(), nodes=TWO_NODES):
    free = set(devices) if available is None else set(available)
    return numa.hints(devices, available=free, reusable=set(reusable), request=request, machine_nodes=nodes)


def test_one_device_prefers_a_single_node():
    devices = make_devices(a=(0,), b=(1,))

    assert hints(devices, 1) == [Hint(0b01, True), Hint(0b10, True), Hint(0b11, False)]


def test_preference_is_measured_as_if_all_devices_were_free():
    devices = make_devices(a=(0,), b=(0,), c=(1,))

    assert hints(devices, 2, available="ac") == [Hint(0b11, False)]


def test_nodes_without_devices_are_not_combined():
    devices = make_devices(a=(1,))

    assert hints(devices, 1, nodes=(0, 1, 2, 3)) == [Hint(0b10, True)]


def test_nodes_unknown_to_the_machine_are_ignored():
    devices = make_devices(a=(7,), b=(1,))

    assert hints(devices, 1) == [Hint(0b10, True)]


def test_reusable_devices_pin_the_mask():
    devices = make_devices(a=(0,), b=(1,))

    assert hints(devices, 1, available="b", reusable="a") == [Hint(0b01, True), Hint(0b11, False)]


def test_split_keeps_all_as_without_topology_when_nobody_has_any():
    devices = make_devices(a=(), b=())

    assert numa.split(devices, {"a", "b"}, Hint(0b01, True)) == (set(), set(), {"a", "b"})


def test_split_sorts_devices_by_the_hint():
    devices = make_devices(a=(0,), b=(1,), c=(), d=(0, 1))

    assert numa.split(devices, set("abcd"), Hint(0b01, True)) == ({"a", "d"}, {"b"}, {"c"})


def test_split_without_hint_offers_everything_alike():
    devices = make_devices(a=(0,), b=(1,))

    assert numa.split(devices, {"a", "b"}, None) == (set(), set(), {"a", "b"})


@pytest.mark.parametrize(
    ("policy", "admitted"),
    [(Policy.BEST_EFFORT, True), (Policy.RESTRICTED, False), (Policy.SINGLE_NUMA_NODE, False)],
)
def test_two_resources_on_different_nodes_are_admitted_only_by_best_effort(policy, admitted):
    here, there = [Hint(0b01, True)], [Hint(0b10, True)]

    _, admit = numa.merge([here, there], policy=policy, machine_nodes=TWO_NODES)

    assert admit is admitted


def test_resources_meet_on_a_common_node():
    both = [Hint(0b01, True), Hint(0b10, True), Hint(0b11, False)]
    one = [Hint(0b10, True), Hint(0b11, False)]

    assert numa.merge([both, one], policy=Policy.RESTRICTED, machine_nodes=TWO_NODES) == (Hint(0b10, True), True)


def test_single_numa_node_refuses_what_spans_two_while_restricted_takes_it():
    spanning = [Hint(0b11, True)]

    assert not numa.merge([spanning], policy=Policy.SINGLE_NUMA_NODE, machine_nodes=TWO_NODES)[1]
    assert numa.merge([spanning], policy=Policy.RESTRICTED, machine_nodes=TWO_NODES) == (Hint(0b11, True), True)


@pytest.mark.parametrize("policy", [Policy.BEST_EFFORT, Policy.RESTRICTED, Policy.SINGLE_NUMA_NODE])
def test_a_pod_without_devices_is_admitted_by_every_policy(policy):
    assert numa.merge([], policy=policy, machine_nodes=TWO_NODES)[1]
    assert numa.merge([None], policy=policy, machine_nodes=TWO_NODES)[1]


def test_an_impossible_request_is_refused_by_restricted_only():
    assert numa.merge([[]], policy=Policy.BEST_EFFORT, machine_nodes=TWO_NODES)[1]
    assert not numa.merge([[]], policy=Policy.RESTRICTED, machine_nodes=TWO_NODES)[1]


def test_a_mask_has_64_bits_and_no_room_for_others():
    assert numa.mask_of([0, 63, -1, 64, 2**62]) == 1 | 1 << 63


def test_nodes_that_no_mask_holds_are_on_no_mask():
    devices = make_devices(a=(-1,), b=(2**62,), c=(64,))

    assert hints(devices, 1) == []
    assert numa.split(devices, set("abc"), Hint(0b01, True)) == (set(), {"b", "c"}, {"a"})
    assert numa.split(make_devices(a=(-1, 0), b=(-1, 1)), set("ab"), Hint(0b01, True)) == ({"a"}, {"b"}, set())


def test_a_reusable_device_pins_the_mask_if_its_plugin_said_anything_of_nodes():
    devices = make_devices(a=(), b=(1,), c=(-1,)) | {"e": Device("e", "Healthy", (), has_empty_topology=True)}

    assert hints(devices, 1, available="b", reusable="a") == [Hint(0b10, True)]
    assert hints(devices, 1, available="b", reusable="c") == []
    assert hints(devices, 1, available="b", reusable="e") == []
    assert hints(devices, 1, available="b", reusable={"gone"}) == [Hint(0b10, True)]


@pytest.mark.parametrize("node", [-1, 64])
def test_a_machine_has_no_such_node(node):
    with pytest.raises(ValueError, match=f"numa_nodes: {node} must be from 0 to 63"):
        numa.checked([0, node])


def test_a_machines_nodes_are_in_order_and_each_once():
    assert numa.checked([1, 0, 1]) == (0, 1)


def test_a_single_node_that_is_the_whole_machine_pins_nothing():
    assert numa.merge([[Hint(0b1, True)]], policy=Policy.SINGLE_NUMA_NODE, machine_nodes=(0,)) == (
        Hint(None, True),
        True,
    )
