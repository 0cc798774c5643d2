"""Pods that ask for devices (contract sections 7 to 9; scenarios 5, 10 to 13)."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from plugin.api.deviceplugin.v1beta1 import api_pb2 as pluginapi
from plugin.testing import FakeKubelet, pod
from plugin.testing.container_options import DeviceNode, Mount
from plugin.testing.stub_plugin import Refusal, StubPlugin, devices

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


async def test_each_container_and_resource_is_one_call_with_one_request(fake_kubelet, make_plugin):
    plugin = await make_plugin("a", "b", "c")
    containers = (pod.Container("one", {RESOURCE: 1}), pod.Container("two", {RESOURCE: 2}))

    admitted = await fake_kubelet.admit(pod.Pod("p", containers))

    requests = [request for name, request in plugin.requests if name == "Allocate"]
    assert [len(request.container_requests) for request in requests] == [1, 1]
    assert [len(request.container_requests[0].devices_ids) for request in requests] == [1, 2]
    assert sorted(held(admitted, "one") + held(admitted, "two")) == ["a", "b", "c"]
    assert admitted.containers["two"].env == {"DEVICES_DONGLE": ",".join(held(admitted, "two"))}


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


async def test_unhealthy_devices_are_never_chosen(fake_kubelet, make_plugin):
    await make_plugin(listed=[*devices("sick", health="Unhealthy"), *devices("well")])

    assert held(await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))) == ["well"]
    second = await fake_kubelet.admit(pod.simple("q", {RESOURCE: 1}))

    assert (second.phase, second.reason) == ("Failed", "UnexpectedAdmissionError")
    assert second.message == rejected(
        f"requested number of devices unavailable for {RESOURCE}. Requested: 1, Available: 0"
    )


async def test_no_healthy_device_fails_the_pod_for_good(fake_kubelet, make_plugin):
    plugin = await make_plugin(listed=devices("a", health="Unhealthy"))

    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 0}))  # even a limit of 0 is checked

    assert admitted.message == rejected(f"no healthy devices present; cannot allocate unhealthy devices {RESOURCE}")
    assert plugin.count("Allocate") == 0


async def test_a_resource_nobody_registered_is_ignored(fake_kubelet):
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))

    assert admitted.is_active
    assert held(admitted) is None


async def test_an_allocate_error_fails_the_pod_and_frees_what_was_chosen(fake_kubelet, make_plugin):
    async def refuse(_):
        raise Refusal("device is on fire", grpc.StatusCode.FAILED_PRECONDITION)

    plugin = await make_plugin("a", behaviors={"Allocate": refuse})
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))

    assert admitted.message == rejected("rpc error: code = FailedPrecondition desc = device is on fire")
    assert fake_kubelet.allocated(RESOURCE) == set()
    plugin.behaviors.clear()
    assert held(await fake_kubelet.admit(pod.simple("q", {RESOURCE: 1}))) == ["a"]


async def test_an_empty_allocate_answer_fails_the_pod_and_leaks_the_device(fake_kubelet, make_plugin):
    async def nothing(_):
        return pluginapi.AllocateResponse()

    plugin = await make_plugin("a", behaviors={"Allocate": nothing})
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))

    assert admitted.message.startswith(rejected("no containers return in allocation response")[:70])
    assert fake_kubelet.allocated(RESOURCE) == {"a"}
    plugin.behaviors.clear()
    assert not (await fake_kubelet.admit(pod.simple("q", {RESOURCE: 1}))).is_active


async def test_a_stopped_endpoint_is_refused_without_a_call(fake_kubelet, make_plugin):
    plugin = await make_plugin("a", options=PRE_START)
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    await plugin.end_streams()
    await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable[RESOURCE] == 0)

    status = await fake_kubelet.start_container(admitted)

    assert status.waiting_reason == "CreateContainerConfigError"
    assert "has been stopped" in status.message
    assert plugin.count("PreStartContainer") == 0


async def test_devices_of_a_deleted_pod_are_free_when_the_next_one_comes(fake_kubelet, make_plugin):
    plugin = await make_plugin("a")
    first = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    await fake_kubelet.remove(first)
    assert fake_kubelet.allocated(RESOURCE) == {"a"}

    assert held(await fake_kubelet.admit(pod.simple("q", {RESOURCE: 1}))) == ["a"]
    assert plugin.count("Allocate") == 2


async def test_a_running_pod_is_untouched_by_its_plugins_end_and_keeps_its_device_after(fake_kubelet, make_plugin):
    plugin = await make_plugin("a", "b", "c")
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    await fake_kubelet.start_container(admitted)
    mine = held(admitted)
    await plugin.stop()
    await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable[RESOURCE] == 0)
    assert admitted.phase == "Running"

    again = await make_plugin("a", "b", "c")
    await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable[RESOURCE] == 3)
    await fake_kubelet.start_container(admitted)
    others = await fake_kubelet.admit(pod.simple("q", {RESOURCE: 2}))

    assert held(admitted) == mine
    assert sorted(mine + held(others)) == ["a", "b", "c"]
    assert again.count("Allocate") == 1


async def test_init_containers_hand_their_device_on_with_a_second_allocate(fake_kubelet, make_plugin):
    plugin = await make_plugin("a", "b", "c")
    spec = pod.Pod("p", (pod.Container("app", {RESOURCE: 1}),), (pod.Container("init", {RESOURCE: 1}),))

    admitted = await fake_kubelet.admit(spec)

    assert held(admitted, "init") == held(admitted, "app")
    assert plugin.count("Allocate") == 2
    assert len(fake_kubelet.allocated(RESOURCE)) == 1


async def test_sidecars_keep_their_device_to_themselves(fake_kubelet, make_plugin):
    await make_plugin("a", "b")
    sidecar = pod.Container("side", {RESOURCE: 1}, is_sidecar=True)

    admitted = await fake_kubelet.admit(pod.Pod("p", (pod.Container("app", {RESOURCE: 1}),), (sidecar,)))

    assert sorted(held(admitted, "side") + held(admitted, "app")) == ["a", "b"]


PREFERENCES = {
    "unknown IDs": ["x", "y"],
    "too many": ["a", "b", "c", "d"],
    "too few": ["d"],
    "empty": [],
    "exact": ["c", "d"],
}


@pytest.mark.parametrize("name", PREFERENCES)
async def test_preferred_allocation_is_followed_as_far_as_it_makes_sense(fake_kubelet, make_plugin, name):
    preferred = PREFERENCES[name]

    async def prefer(_):
        response = pluginapi.ContainerPreferredAllocationResponse(deviceIDs=preferred)
        return pluginapi.PreferredAllocationResponse(container_responses=[response])

    plugin = await make_plugin("a", "b", "c", "d", "e", options=PREFERS, behaviors={"GetPreferredAllocation": prefer})
    chosen = set(held(await fake_kubelet.admit(pod.simple("p", {RESOURCE: 2}))))

    assert len(chosen) == 2
    usable = set(preferred) & set("abcde")
    assert chosen <= usable or usable <= chosen
    ((_, request),) = [one for one in plugin.requests if one[0] == "GetPreferredAllocation"]
    (asked,) = request.container_requests
    assert (sorted(asked.available_deviceIDs), list(asked.must_include_deviceIDs)) == (list("abcde"), [])
    assert asked.allocation_size == 2


async def test_a_preferred_allocation_error_fails_the_pod(fake_kubelet, make_plugin):
    async def refuse(_):
        raise Refusal("no idea")

    await make_plugin("a", options=PREFERS, behaviors={"GetPreferredAllocation": refuse})

    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))

    assert admitted.message == rejected(
        "device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Unknown desc = no idea"
    )


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


async def test_pods_are_admitted_one_at_a_time(fake_kubelet, make_plugin):
    thinking, go_on = asyncio.Event(), asyncio.Event()

    async def think(request):
        thinking.set()
        await go_on.wait()
        return pluginapi.AllocateResponse(container_responses=[pluginapi.ContainerAllocateResponse()])

    plugin = await make_plugin("a", "b", behaviors={"Allocate": think})
    first = asyncio.create_task(fake_kubelet.admit(pod.simple("p", {RESOURCE: 1})))
    second = asyncio.create_task(fake_kubelet.admit(pod.simple("q", {RESOURCE: 1})))
    await thinking.wait()
    assert plugin.count("Allocate") == 1
    go_on.set()

    assert sorted(held(await first) + held(await second)) == ["a", "b"]


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


async def test_pre_start_is_called_at_every_creation_with_all_devices_and_allocate_is_not(fake_kubelet, make_plugin):
    plugin = await make_plugin("a", "b", options=PRE_START)
    admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 2}))
    for _ in range(2):
        status = await fake_kubelet.start_container(admitted)

    requests = [sorted(request.devices_ids) for name, request in plugin.requests if name == "PreStartContainer"]
    assert requests == [["a", "b"], ["a", "b"]]
    assert plugin.count("Allocate") == 1
    assert (status.is_running, status.starts) == (True, 2)


async def test_a_failing_pre_start_keeps_the_container_waiting_until_it_works(fake_node, make_plugin):
    kubelet = fake_node.kubelet

    async def refuse(_):
        raise Refusal("not yet")

    plugin = await make_plugin("a", kubelet=kubelet, options=PRE_START, behaviors={"PreStartContainer": refuse})
    admitted = await kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    starting = asyncio.create_task(kubelet.start_container(admitted, retry=True))
    status = admitted.containers["main"]
    await kubelet.wait_for(lambda: status.waiting_reason == "CreateContainerConfigError")
    assert status.message == (
        "device plugin PreStartContainer rpc failed with err: rpc error: code = Unknown desc = not yet"
    )
    assert admitted.is_active

    plugin.behaviors.clear()
    await fake_node.clock.advance(10)
    await starting

    assert status.is_running
    assert plugin.count("PreStartContainer") == 2


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


async def test_a_plugin_gone_for_five_minutes_blocks_container_restarts_until_it_is_back(fake_node, make_plugin):
    kubelet = fake_node.kubelet
    plugin = await make_plugin("a", kubelet=kubelet)
    admitted = await kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    await kubelet.start_container(admitted)
    await plugin.stop()
    await kubelet.wait_for(lambda: kubelet.allocatable[RESOURCE] == 0)
    await fake_node.clock.advance(200)
    assert (await kubelet.start_container(admitted)).is_running, "within the grace period all is well"
    await fake_node.clock.advance(120)

    status = await kubelet.start_container(admitted)

    assert status.message == f"endpoint not found in cache for a registered resource: {RESOURCE}"
    await make_plugin("a", kubelet=kubelet)
    await kubelet.wait_for(lambda: kubelet.allocatable[RESOURCE] == 1)
    assert (await kubelet.start_container(admitted)).is_running


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
