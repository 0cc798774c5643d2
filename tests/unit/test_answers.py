"""What Allocate answers for one container, read back with protobuf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin.deviceplugin import answers
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.factories import make_device


def container(*devices, host_root="/fakehw"):
    answer = pluginapi.AllocateResponse.FromString(answers.container(devices, host_root=host_root))
    (response,) = answer.container_responses
    assert answer.SerializeToString(deterministic=True)
    return response


def test_the_seeds_pod_gets_the_seeds_variables():
    assert container(make_device(3), make_device(2)).envs == {
        "DEV_3_ID_0": "/node2/dev3/2",
        "DEV_3_ID_1": "/node2/dev3/3",
    }


def test_variables_follow_the_device_number_and_not_its_text():
    assert container(make_device(10), make_device(9)).envs == {
        "DEV_3_ID_0": "/node2/dev3/9",
        "DEV_3_ID_1": "/node2/dev3/10",
    }


def test_a_device_that_is_given_out_again_may_have_another_variable():
    assert container(make_device(3)).envs == {"DEV_3_ID_0": "/node2/dev3/3"}
    assert container(make_device(3), make_device(2)).envs["DEV_3_ID_1"] == "/node2/dev3/3"
    assert container(make_device(3)).envs == {"DEV_3_ID_0": "/node2/dev3/3"}


@pytest.mark.parametrize("count", [8, 9])
def test_many_devices_are_answered_as_few_are_and_the_answer_for_few_is_kept(count):
    devices = tuple(make_device(number) for number in range(count))
    answer = answers.container(devices, host_root="/fakehw")

    assert answers._kept.cache_info().maxsize == 1024
    assert (answers.container(devices, host_root="/fakehw") is answer) is (count == 8)
    assert container(*devices).envs == {f"DEV_3_ID_{number}": f"/node2/dev3/{number}" for number in range(count)}
    assert container(*devices, host_root="/other").mounts[0].host_path == "/other/node2/dev3/0"


def test_two_classes_of_one_resource_count_apart():
    answer = container(make_device(1, class_name="gpu"), make_device(1))

    assert answer.envs == {"DEV_3_ID_0": "/node2/dev3/1", "GPU_ID_0": "/node2/gpu/1"}


def test_each_device_directory_is_mounted_read_only_from_the_tree_of_the_host():
    answer = container(make_device(2), make_device(4), host_root="/srv/fakehw/")

    assert list(answer.mounts) == [
        pluginapi.Mount(
            container_path=f"/node2/dev3/{number}", host_path=f"/srv/fakehw/node2/dev3/{number}", read_only=True
        )
        for number in (2, 4)
    ]
    assert not answer.devices
    assert not answer.annotations


def test_a_device_node_is_given_only_where_there_is_one():
    answer = container(make_device(1), make_device(2, has_device_node=True), host_root="/f")

    assert list(answer.devices) == [
        pluginapi.DeviceSpec(container_path="/node2/dev3/2/node", host_path="/f/node2/dev3/2/node", permissions="rw")
    ]
    assert [mount.host_path for mount in answer.mounts] == ["/f/node2/dev3/1", "/f/node2/dev3/2"]


def test_the_same_device_of_another_tree_is_mounted_from_there():
    assert container(make_device(1), host_root="/a").mounts[0].host_path == "/a/node2/dev3/1"
    assert container(make_device(1), host_root="/b").mounts[0].host_path == "/b/node2/dev3/1"


def test_a_container_without_devices_has_an_empty_answer():
    assert container() == pluginapi.ContainerAllocateResponse()


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.booleans(), st.sampled_from(["dev3", "gpu", "fpga_x"])),
        unique_by=lambda d: (d[0], d[2]),
    )
)
def test_every_device_has_its_variable_its_mount_and_perhaps_its_node(chosen):
    devices = [make_device(number, class_name=name, has_device_node=has_node) for number, has_node, name in chosen]

    answer = container(*devices, host_root="/long/" + "x" * 200)

    assert sorted(answer.envs.values()) == sorted(device.path for device in devices)
    assert sorted(mount.container_path for mount in answer.mounts) == sorted(device.path for device in devices)
    assert sorted(node.container_path for node in answer.devices) == sorted(
        f"{device.path}/node" for device in devices if device.has_device_node
    )
