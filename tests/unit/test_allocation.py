from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin import allocation
from fakehw_plugin.device import Device
from tests.factories import make_device


def on_nodes(*numa_nodes: int | None) -> list[Device]:
    return [make_device(number, numa_node=numa_node) for number, numa_node in enumerate(numa_nodes, 1)]


def numbers(devices: list[Device]) -> list[int]:
    return sorted(device.number for device in devices)


def test_one_numa_node_is_preferred_over_lower_numbers() -> None:
    assert numbers(allocation.prefer(on_nodes(0, 1, 1, 0, 1), [], 3)) == [2, 3, 5]


def test_of_two_numa_nodes_that_fit_the_lower_numbers_win() -> None:
    assert numbers(allocation.prefer(on_nodes(1, 0, 0, 1), [], 2)) == [1, 4]


def test_a_numa_node_of_exactly_the_size_that_is_asked_for_is_large_enough() -> None:
    assert numbers(allocation.prefer(on_nodes(1, 1, 0, 0, 0), [], 2)) == [1, 2]


def test_the_numa_node_of_a_device_that_must_be_included_comes_first() -> None:
    devices = on_nodes(0, 0, 1, 1)

    assert numbers(allocation.prefer(devices, [devices[2]], 2)) == [3, 4]


def test_as_few_numa_nodes_as_possible_when_one_does_not_do() -> None:
    assert numbers(allocation.prefer(on_nodes(0, 1, 1, 2, 2, 2), [], 5)) == [2, 3, 4, 5, 6]


def test_too_few_devices_are_all_given() -> None:
    assert numbers(allocation.prefer(on_nodes(0, None), [], 5)) == [1, 2]


def fewest_nodes(devices: list[Device], must: list[Device], size: int) -> int:
    """How many NUMA nodes are needed at the least: nodes of `must`, then the largest groups."""
    used = {device.numa_node for device in must}
    rest = [device for device in devices if device not in must]
    missing = size - len(must) - sum(device.numa_node in used for device in rest)
    groups = sorted(
        (sum(d.numa_node == node for d in rest) for node in {d.numa_node for d in rest} - used), reverse=True
    )
    count = len(used)
    for group in groups:
        if missing <= 0:
            break
        missing -= group
        count += 1
    return count


@given(
    st.lists(st.sampled_from([None, 0, 1, 2, 3]), min_size=1, max_size=24),
    st.data(),
)
def test_the_preferred_are_exact_include_what_they_must_and_use_the_fewest_numa_nodes(
    numa_nodes: list[int | None], data: st.DataObject
) -> None:
    devices = on_nodes(*numa_nodes)
    must = data.draw(st.lists(st.sampled_from(devices), unique=True, max_size=len(devices)))
    size = data.draw(st.integers(len(must), len(devices)))

    chosen = allocation.prefer(devices, must, size)

    assert len(chosen) == len(set(chosen)) == size
    assert set(must) <= set(chosen) <= set(devices)
    assert len({device.numa_node for device in chosen}) <= max(fewest_nodes(devices, must, size), 0)
