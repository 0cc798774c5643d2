"""Restarts of the kubelet, the machine and the node (contract section 10; scenarios 6, 7)."""

from __future__ import annotations

import asyncio

import pytest

from fakekubelet import pod
from fakekubelet.kubelet.pod_status import Phase
from fakekubelet.stub_plugin import Refusal, StubPlugin, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

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


async def test_a_pod_that_ends_runs_no_more_and_an_unknown_one_never_did(fake_kubelet):
    admitted = await fake_kubelet.admit(pod.simple("p"))
    status = await fake_kubelet.start_container(admitted)
    assert status.is_running

    fake_kubelet.finish(admitted, Phase.SUCCEEDED)

    assert not status.is_running
    with pytest.raises(ValueError, match="pod p is Succeeded"):
        await fake_kubelet.start_container(admitted)
    await fake_kubelet.remove(admitted)
    assert list(fake_kubelet.pods) == []


async def test_a_container_that_cannot_be_created_is_tried_once_unless_told_otherwise(fake_kubelet):
    async def refuse(_):
        raise Refusal("not now")

    options = pluginapi.DevicePluginOptions(pre_start_required=True)
    behaviors = {"PreStartContainer": refuse}
    async with StubPlugin(
        fake_kubelet.plugin_dir, RESOURCE, devices("a"), options=options, behaviors=behaviors
    ) as plugin:
        await plugin.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == 1)
        admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))

        status = await fake_kubelet.start_container(admitted)

        assert (status.is_running, status.waiting_reason) == (False, "CreateContainerConfigError")
        assert plugin.count("PreStartContainer") == 1
