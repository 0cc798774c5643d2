"""Pods that ask for devices (contract sections 7 to 9; scenarios 5, 10 to 13)."""

from __future__ import annotations

import asyncio

import pytest

from fakekubelet import FakeKubelet, pod
from fakekubelet.kubelet.container_options import DeviceNode, Mount
from fakekubelet.stub_plugin import StubPlugin, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

RESOURCE = "example.com/dongle"
OTHER = "example.com/gadget"
PREFERS = pluginapi.DevicePluginOptions(get_preferred_allocation_available=True)
PRE_START = pluginapi.DevicePluginOptions(pre_start_required=True)


async def registered(kubelet, plugin):
    """Serve, register and wait until the devices count."""
    await plugin.serve()
    await plugin.register()
    await kubelet.wait_for(lambda: kubelet.history(plugin.resource) and kubelet.live_streams(plugin.resource))
    return plugin


@pytest.fixture
async def make_plugin(fake_kubelet):
    made = []

    async def make(*ids, resource=RESOURCE, kubelet=fake_kubelet, endpoint=None, **fields):
        name = endpoint or f"{len(made)}.sock"
        plugin = StubPlugin(kubelet.plugin_dir, resource, fields.pop("listed", devices(*ids)), endpoint=name, **fields)
        made.append(plugin)
        return await registered(kubelet, plugin)

    yield make
    for plugin in made:
        await plugin.stop()


def rejected(text):
    return f"Pod was rejected: Allocate failed due to {text}, which is unexpected"


def held(admitted, container="main"):
    return admitted.containers[container].device_ids.get(RESOURCE)


async def test_what_several_resources_say_is_merged_for_the_container(fake_kubelet, make_plugin):
    async def answer(_):
        response = pluginapi.ContainerAllocateResponse(
            mounts=[pluginapi.Mount(container_path="/m", host_path="/h", read_only=True)],
            devices=[pluginapi.DeviceSpec(container_path="/dev/x", host_path="/dev/null", permissions="rw")],
            annotations={"k": "v"},
            cdi_devices=[pluginapi.CDIDevice(name="v/c=1")],
        )
        ignored = pluginapi.ContainerAllocateResponse(envs={"IGNORED": "1"})
        return pluginapi.AllocateResponse(container_responses=[response, ignored])

    await make_plugin("a")
    await make_plugin("g", resource=OTHER, behaviors={"Allocate": answer})

    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1, OTHER: 1}))

    options = admitted.containers["main"].options
    assert options.envs == {"DEVICES_DONGLE": "a"}
    assert options.mounts == {"/m": Mount("/m", "/h", True)}
    assert options.devices == {"/dev/x": DeviceNode("/dev/x", "/dev/null", "rw")}
    assert (options.annotations, options.cdi_devices) == ({"k": "v"}, ("v/c=1",))


async def test_a_stopped_endpoint_is_refused_without_a_call(fake_kubelet, make_plugin):
    plugin = await make_plugin("a", options=PRE_START)
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    await plugin.end_streams()
    await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable[RESOURCE] == 0)

    status = await fake_kubelet.start_container(admitted)

    assert status.waiting_reason == "CreateContainerConfigError"
    assert "has been stopped" in status.message
    assert plugin.count("PreStartContainer") == 0


PREFERENCES = {
    "unknown IDs": ["x", "y"],
    "too many": ["a", "b", "c", "d"],
    "too few": ["d"],
    "empty": [],
    "exact": ["c", "d"],
}


async def test_lists_go_on_arriving_while_a_plugin_thinks_about_its_preference(fake_kubelet, make_plugin):
    thinking, go_on = asyncio.Event(), asyncio.Event()

    async def think(_):
        thinking.set()
        await go_on.wait()
        return pluginapi.PreferredAllocationResponse()

    plugin = await make_plugin("a", options=PREFERS, behaviors={"GetPreferredAllocation": think})
    admission = asyncio.create_task(fake_kubelet.admit(pod.simple("p", {RESOURCE: 1})))
    await thinking.wait()
    await plugin.send(devices("a", "b"))
    await fake_kubelet.wait_for(lambda: fake_kubelet.capacity[RESOURCE] == 2)
    go_on.set()

    assert held(await admission) == ["a"]


async def test_a_device_that_vanishes_during_allocate_is_reported_as_a_crash_of_the_real_kubelet(
    fake_kubelet, make_plugin
):
    thinking, go_on = asyncio.Event(), asyncio.Event()

    async def think(_):
        thinking.set()
        await go_on.wait()
        return pluginapi.AllocateResponse(container_responses=[pluginapi.ContainerAllocateResponse()])

    plugin = await make_plugin("a", behaviors={"Allocate": think})
    admission = asyncio.create_task(fake_kubelet.admit(pod.simple("p", {RESOURCE: 1})))
    await thinking.wait()
    await plugin.send([])
    await fake_kubelet.wait_for(lambda: fake_kubelet.capacity[RESOURCE] == 0)
    go_on.set()
    await admission

    assert fake_kubelet.hazards == [f"{RESOURCE}: device a vanished while it was being allocated (contract LW-13)"]


async def test_pre_start_has_thirty_seconds(fake_node, make_plugin):
    kubelet = fake_node.kubelet
    thinking = asyncio.Event()

    async def think(_):
        thinking.set()
        await asyncio.Event().wait()

    await make_plugin("a", kubelet=kubelet, options=PRE_START, behaviors={"PreStartContainer": think})
    admitted = await kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    starting = asyncio.create_task(kubelet.start_container(admitted))
    await thinking.wait()
    await fake_node.clock.advance(29)
    assert not starting.done()
    await fake_node.clock.advance(2)

    status = await starting
    assert "code = DeadlineExceeded desc = context deadline exceeded" in status.message


async def test_pod_status_shows_health_and_calls_a_vanished_device_healthy(fake_kubelet, make_plugin):
    plugin = await make_plugin("a")
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))

    def health():
        return fake_kubelet.allocated_resources_status(admitted)["main"][RESOURCE]["a"]

    assert health() == "Healthy"
    await plugin.send(devices("a", health="Unhealthy"))
    await fake_kubelet.wait_for(lambda: health() == "Unhealthy")
    assert fake_kubelet.synced_pods == [admitted.uid]
    await plugin.send([])
    await fake_kubelet.wait_for(lambda: fake_kubelet.capacity[RESOURCE] == 0)
    assert health() == "Healthy"
    assert len(fake_kubelet.synced_pods) == 1
    await plugin.send(devices("a"))
    await fake_kubelet.wait_for(lambda: len(fake_kubelet.synced_pods) == 2)
    await plugin.stop()
    await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable[RESOURCE] == 0)
    assert health() == "Healthy"


@pytest.mark.parametrize("policy", ["best-effort", "restricted", "single-numa-node"])
async def test_with_a_topology_policy_devices_come_from_one_numa_node(socket_dir, policy):
    listed = [*devices("a0", "b0", numa=0), *devices("a1", numa=1), *devices("free")]
    async with (
        FakeKubelet(socket_dir, topology_policy=policy) as kubelet,
        StubPlugin(socket_dir, RESOURCE, listed) as plugin,
    ):
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 4)

        assert held(await kubelet.admit(pod.simple("p", {RESOURCE: 2}))) == ["a0", "b0"]


async def test_restricted_refuses_what_has_to_span_nodes_though_it_would_fit_on_one(socket_dir):
    listed = [*devices("a0", "b0", numa=0), *devices("a1", "b1", numa=1)]
    async with (
        FakeKubelet(socket_dir, topology_policy="restricted") as kubelet,
        StubPlugin(socket_dir, RESOURCE, listed) as plugin,
    ):
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 4)
        for name in ("p", "q"):
            assert (await kubelet.admit(pod.simple(name, {RESOURCE: 1}))).is_active
        # The kubelet is free to take both from one node, or one from each.
        spread = {one[-1] for one in kubelet.allocated(RESOURCE)}
        admitted = await kubelet.admit(pod.simple("r", {RESOURCE: 2}))

        assert admitted.is_active is (len(spread) == 1)
        assert admitted.is_active or admitted.reason == "TopologyAffinityError"


@pytest.mark.parametrize("numa_node", [-1, 64, 2**62])
@pytest.mark.parametrize(
    ("policy", "phase"), [("best-effort", "Pending"), ("restricted", "Failed"), ("none", "Pending")]
)
async def test_a_numa_node_that_no_mask_holds_is_no_node_and_topology_all_the_same(
    socket_dir, policy, phase, numa_node
):
    async with (
        FakeKubelet(socket_dir, topology_policy=policy) as kubelet,
        StubPlugin(socket_dir, RESOURCE, devices("a", numa=numa_node)) as plugin,
    ):
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)

        admitted = await kubelet.admit(pod.simple("p", {RESOURCE: 1}))

        assert (admitted.phase, admitted.reason) == (phase, "TopologyAffinityError" if phase == "Failed" else "")


async def test_a_policy_on_a_machine_with_more_than_8_nodes_is_a_hazard_and_costs_no_time(socket_dir):
    async with (
        FakeKubelet(socket_dir, topology_policy="restricted", numa_nodes=range(64)) as kubelet,
        StubPlugin(
            socket_dir, RESOURCE, [each for node in range(64) for each in devices(f"d{node}", numa=node)]
        ) as plugin,
    ):
        assert "does not start with the policy restricted" in kubelet.hazards[0]
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 64)
        assert (await kubelet.admit(pod.simple("p", {RESOURCE: 40}))).phase == "Pending"

    assert FakeKubelet(socket_dir, numa_nodes=range(64)).hazards == []
