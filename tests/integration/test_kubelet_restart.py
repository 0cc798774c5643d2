"""Restarts of the kubelet, the machine and the node (contract section 10; scenarios 6, 7)."""

from __future__ import annotations

import asyncio
import json

import pytest

from plugin.api.deviceplugin.v1beta1 import api_pb2 as pluginapi
from plugin.testing import pod
from plugin.testing.stub_plugin import StubPlugin, devices

RESOURCE = "example.com/dongle"


@pytest.fixture
async def make_plugin(fake_kubelet):
    made = []

    async def make(*ids, **fields):
        plugin = StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices(*ids), endpoint=f"{len(made)}.sock", **fields)
        made.append(plugin)
        await plugin.serve()
        await plugin.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == len(ids))
        return plugin

    yield make
    for plugin in made:
        await plugin.stop()


async def test_after_a_restart_the_pod_keeps_its_device_without_a_second_allocate(fake_kubelet, make_plugin):
    first = await make_plugin("a", "b", "c")
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    await fake_kubelet.start_container(admitted)
    mine = admitted.containers["main"].device_ids

    await fake_kubelet.restart()

    assert not first.socket_path.exists()
    assert (fake_kubelet.capacity[RESOURCE], fake_kubelet.allocatable[RESOURCE]) == (0, 0)
    assert fake_kubelet.node_status.capacity == {RESOURCE: 0}
    assert admitted.phase == "Running"
    second = await make_plugin("a", "b", "c")
    others = await fake_kubelet.admit(pod.simple("q", {RESOURCE: 2}))
    assert admitted.containers["main"].device_ids == mine
    assert sorted(mine[RESOURCE] + others.containers["main"].device_ids[RESOURCE]) == ["a", "b", "c"]
    status = await fake_kubelet.start_container(admitted)
    assert status.env == {"DEVICES_DONGLE": mine[RESOURCE][0]}
    assert (first.count("Allocate"), second.count("Allocate")) == (1, 1)


async def test_after_a_restart_pre_start_is_skipped_until_the_plugin_is_back(fake_kubelet, make_plugin):
    options = pluginapi.DevicePluginOptions(pre_start_required=True)
    plugin = await make_plugin("a", options=options)
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    await fake_kubelet.start_container(admitted)

    await fake_kubelet.restart()
    status = await fake_kubelet.start_container(admitted)

    assert status.is_running
    assert plugin.count("PreStartContainer") == 1


async def test_a_restart_rejects_pods_whose_init_containers_held_devices(fake_kubelet, make_plugin):
    await make_plugin("a")
    spec = pod.Pod("p", (pod.Container("app", {RESOURCE: 1}),), (pod.Container("init", {RESOURCE: 1}),))
    admitted = await fake_kubelet.admit(spec)
    await fake_kubelet.start_container(admitted, "init")
    fake_kubelet.container_exited(admitted, "init")
    await fake_kubelet.start_container(admitted, "app")

    await fake_kubelet.restart()

    assert (admitted.phase, admitted.reason) == ("Failed", "UnexpectedAdmissionError")


async def test_after_a_reboot_a_pod_that_comes_before_its_plugin_has_failed(fake_kubelet, make_plugin):
    await make_plugin("a")
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    await fake_kubelet.start_container(admitted)

    await fake_kubelet.reboot()

    assert (admitted.phase, admitted.reason) == ("Failed", "UnexpectedAdmissionError")
    assert admitted.message == (
        "Pod was rejected: Allocate failed due to no healthy devices present; "
        f"cannot allocate unhealthy devices {RESOURCE}, which is unexpected"
    )
    with pytest.raises(ValueError, match="is Failed"):
        await fake_kubelet.start_container(admitted)


async def test_a_resource_that_does_not_come_back_is_forgotten_after_five_minutes(fake_node):
    kubelet = fake_node.kubelet
    async with StubPlugin(fake_node.plugin_dir, RESOURCE, devices("a")) as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
    await kubelet.restart()
    admitted = await kubelet.admit(pod.simple("early", {RESOURCE: 1}))
    assert "no healthy devices present" in admitted.message

    await fake_node.clock.advance(311)

    assert kubelet.node_status.capacity == {RESOURCE: 0}
    unknown = await kubelet.admit(pod.simple("late", {RESOURCE: 1}))
    assert unknown.is_active, "an unknown resource is ignored"


async def test_a_recreated_node_knows_nothing(fake_kubelet, make_plugin):
    await make_plugin("a")
    await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))

    await fake_kubelet.recreate_node()

    assert fake_kubelet.pods == []
    assert fake_kubelet.allocated(RESOURCE) == set()


async def test_the_checkpoint_has_the_kubelets_shape(fake_kubelet, make_plugin):
    await make_plugin("a")
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))

    content = json.loads((fake_kubelet.plugin_dir / "kubelet_internal_checkpoint").read_text())

    assert content["Data"]["RegisteredDevices"] == {RESOURCE: ["a"]}
    (entry,) = content["Data"]["PodDeviceEntries"]
    assert (entry["PodUID"], entry["ContainerName"], entry["ResourceName"]) == (admitted.uid, "main", RESOURCE)
    assert entry["DeviceIDs"] == {"-1": ["a"]}


async def test_a_killed_kubelet_leaves_a_socket_that_nobody_serves(fake_kubelet):
    path = fake_kubelet.plugin_dir / "kubelet.sock"
    await fake_kubelet.stop(leave_socket=True)

    assert path.is_socket()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(path)
    await fake_kubelet.start()
    _, writer = await asyncio.open_unix_connection(path)
    writer.close()
    await writer.wait_closed()


async def test_each_restart_makes_a_new_socket(fake_kubelet):
    path = fake_kubelet.plugin_dir / "kubelet.sock"
    seen = set()
    for _ in range(5):
        status = path.stat()
        seen.add((status.st_dev, status.st_ino, status.st_ctime_ns))
        await fake_kubelet.restart()

    assert len(seen) == 5


async def test_a_restart_in_the_middle_of_a_registration_cancels_it(fake_kubelet):
    plugin = StubPlugin(fake_kubelet.plugin_dir, RESOURCE)
    registering = asyncio.create_task(plugin.register())
    await fake_kubelet.wait_for(lambda: fake_kubelet.is_dialing(RESOURCE))

    await fake_kubelet.restart()

    (outcome,) = await asyncio.gather(registering, return_exceptions=True)
    assert isinstance(outcome, Exception)
    assert not fake_kubelet.is_dialing(RESOURCE)
