"""Pods that get devices, or do not (contract sections 7 to 9 and 11)."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from fakekubelet import pod
from fakekubelet.stub_plugin import Refusal, StubPlugin, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.podresources.v1 import api_pb2 as podresources
from tests.fidelity.conftest import Make
from tests.fidelity.node import NO_IMAGE, Node

PREFERS = pluginapi.DevicePluginOptions(get_preferred_allocation_available=True)
PRE_START = pluginapi.DevicePluginOptions(pre_start_required=True)


def rejected(text: str) -> str:
    return f"Pod was rejected: Allocate failed due to {text}, which is unexpected"


def requested(plugin: StubPlugin, method: str = "Allocate") -> list[list[str]]:
    """The device IDs of every call, sorted."""
    if method == "PreStartContainer":
        return [sorted(request.devices_ids) for name, request in plugin.requests if name == method]
    return [sorted(request.container_requests[0].devices_ids) for name, request in plugin.requests if name == method]


async def devices_of(node: Node, spec: pod.Pod, container: str = "main") -> list[str]:
    (value,) = (await node.env(spec, container)).values()
    return value.split(",")


async def test_al_1_every_container_and_resource_is_a_call_with_one_request(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a", "b", "c")
    await node.shows(resource, 3, 3)
    spec = pod.Pod("p", (pod.Container("one", {resource: 1}), pod.Container("two", {resource: 2})))
    await node.runs(spec)

    calls = [request for name, request in plugin.requests if name == "Allocate"]
    assert [len(exchange.container_requests) for exchange in calls] == [1, 1]
    assert [len(ids) for ids in requested(plugin)] == [1, 2]
    first, second = await devices_of(node, spec, "one"), await devices_of(node, spec, "two")
    assert sorted(first + second) == ["a", "b", "c"]
    assert requested(plugin) == [first, second]


async def test_al_12_what_two_resources_set_is_merged(node: Node, make_plugin: Make, resource: str) -> None:
    other = f"{resource}-other"
    await make_plugin("a")
    await make_plugin("o", resource=other)
    await node.shows(resource, 1, 1)
    await node.shows(other, 1, 1)
    spec = pod.simple("p", {resource: 1, other: 1})
    await node.runs(spec)

    assert sorted((await node.env(spec)).values()) == ["a", "o"]


async def test_adm_3_more_than_are_free_is_refused_for_good(node: Node, make_plugin: Make, resource: str) -> None:
    plugin = await make_plugin(listed=[*devices("sick", health="Unhealthy"), *devices("well")])
    await node.shows(resource, 2, 1)
    first, second = pod.simple("p", {resource: 1}), pod.simple("q", {resource: 1})
    await node.runs(first)
    assert await devices_of(node, first) == ["well"]

    seen = await node.fails(second)

    assert (seen.reason, seen.message) == (
        "UnexpectedAdmissionError",
        rejected(f"requested number of devices unavailable for {resource}. Requested: 1, Available: 0"),
    )
    assert requested(plugin) == [["well"]]


@pytest.mark.parametrize("count", [1, 0])
async def test_adm_6_with_no_healthy_device_even_none_is_refused(
    count: int, node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin(listed=devices("sick", health="Unhealthy"))
    await node.shows(resource, 1, 0)

    seen = await node.fails(pod.simple("p", {resource: count}))

    assert seen.message == rejected(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
    assert plugin.count("Allocate") == 0


async def test_adm_5_a_resource_that_the_kubelet_never_heard_of_is_ignored(node: Node, resource: str) -> None:
    spec = pod.simple("p", {resource: 1})
    await node.runs(spec)

    assert await node.env(spec) == {}


async def test_al_9_an_error_of_allocate_fails_the_pod_and_frees_the_device(
    node: Node, make_plugin: Make, resource: str
) -> None:
    async def refuse(_: object) -> None:
        raise Refusal("device is on fire", grpc.StatusCode.FAILED_PRECONDITION)

    plugin = await make_plugin("a", behaviors={"Allocate": refuse})
    await node.shows(resource, 1, 1)

    seen = await node.fails(pod.simple("p", {resource: 1}))

    assert seen.message == rejected("rpc error: code = FailedPrecondition desc = device is on fire")
    plugin.behaviors.clear()
    await node.runs(pod.simple("q", {resource: 1}))


async def test_al_9_what_another_plugin_gave_to_a_pod_that_is_refused_is_free_again(
    node: Node, make_plugin: Make, resource: str
) -> None:
    async def refuse(_: object) -> None:
        raise Refusal("device is on fire")

    other = f"{resource}-other"
    await make_plugin("a")
    await make_plugin("o", resource=other, behaviors={"Allocate": refuse})
    await node.shows(resource, 1, 1)
    await node.shows(other, 1, 1)

    await node.fails(pod.simple("p", {resource: 1, other: 1}))  # which of the two is asked first is random

    await node.runs(pod.simple("q", {resource: 1}))


@pytest.mark.alone  # the end of another pod frees the device
async def test_al_10_an_answer_without_containers_fails_the_pod_and_keeps_the_device(
    node: Node, make_plugin: Make, resource: str
) -> None:
    async def nothing(_: object) -> pluginapi.AllocateResponse:
        return pluginapi.AllocateResponse()

    plugin = await make_plugin("a", behaviors={"Allocate": nothing})
    await node.shows(resource, 1, 1)

    seen = await node.fails(pod.simple("p", {resource: 1}))

    said = rejected("no containers return in allocation response ").partition(",")[0]
    assert seen.message.startswith(said)
    plugin.behaviors.clear()
    second = await node.fails(pod.simple("q", {resource: 1}))
    assert "Requested: 1, Available: 0" in second.message


@pytest.mark.holds(since="1.34")
async def test_al_10_an_answer_without_containers_is_repeated_as_nothing(
    node: Node, make_plugin: Make, resource: str
) -> None:
    async def nothing(_: object) -> pluginapi.AllocateResponse:
        return pluginapi.AllocateResponse()

    await make_plugin("a", behaviors={"Allocate": nothing})
    await node.shows(resource, 1, 1)

    seen = await node.fails(pod.simple("p", {resource: 1}))

    assert seen.message == rejected("no containers return in allocation response ")


async def test_al_4_init_containers_hand_their_device_on_with_a_second_allocate(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a", "b", "c")
    await node.shows(resource, 3, 3)
    spec = pod.Pod("p", (pod.Container("main", {resource: 1}),), (pod.Container("init", {resource: 1}),))
    await node.runs(spec)

    assert await devices_of(node, spec, "init") == await devices_of(node, spec)
    assert requested(plugin) == [await devices_of(node, spec)] * 2


async def test_al_4_sidecars_keep_their_device_to_themselves(node: Node, make_plugin: Make, resource: str) -> None:
    await make_plugin("a", "b")
    await node.shows(resource, 2, 2)
    sidecar = pod.Container("side", {resource: 1}, is_sidecar=True)
    spec = pod.Pod("p", (pod.Container("main", {resource: 1}),), (sidecar,))
    await node.runs(spec)

    assert sorted(await devices_of(node, spec, "side") + await devices_of(node, spec)) == ["a", "b"]


async def test_al_5_a_deleted_pods_device_is_free_when_the_next_pod_comes(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a")
    await node.shows(resource, 1, 1)
    first, second = pod.simple("p", {resource: 1}), pod.simple("q", {resource: 1})
    await node.runs(first)
    await node.remove(first)
    await node.runs(second)

    assert requested(plugin) == [["a"], ["a"]]


PREFERENCES = {
    "unknown": ["x", "y"],
    "too many": ["a", "b", "c", "d"],
    "too few": ["d"],
    "empty": [],
    "exact": ["c", "d"],
    "twice": ["c", "c"],
}


@pytest.mark.parametrize("name", PREFERENCES)
async def test_gp_3_a_preference_is_followed_as_far_as_it_makes_sense(
    name: str, node: Node, make_plugin: Make, resource: str
) -> None:
    preferred = PREFERENCES[name]

    async def prefer(_: object) -> pluginapi.PreferredAllocationResponse:
        one = pluginapi.ContainerPreferredAllocationResponse(deviceIDs=preferred)
        return pluginapi.PreferredAllocationResponse(container_responses=[one])

    plugin = await make_plugin(*"abcde", options=PREFERS, behaviors={"GetPreferredAllocation": prefer})
    await node.shows(resource, 5, 5)
    spec = pod.simple("p", {resource: 2})
    await node.runs(spec)

    chosen, usable = set(await devices_of(node, spec)), set(preferred) & set("abcde")
    assert len(chosen) == 2
    assert chosen <= usable or usable <= chosen
    (request,) = [request for method, request in plugin.requests if method == "GetPreferredAllocation"]
    (asked,) = request.container_requests
    assert (sorted(asked.available_deviceIDs), list(asked.must_include_deviceIDs)) == (list("abcde"), [])
    assert asked.allocation_size == 2


async def test_gp_1_the_plugin_is_asked_even_when_there_is_nothing_to_choose(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a", "b", options=PREFERS)
    await node.shows(resource, 2, 2)
    await node.runs(pod.simple("p", {resource: 2}))

    assert plugin.count("GetPreferredAllocation") == 1


async def test_gp_1_for_a_reused_device_the_plugin_is_not_asked(node: Node, make_plugin: Make, resource: str) -> None:
    plugin = await make_plugin("a", "b", options=PREFERS)
    await node.shows(resource, 2, 2)
    await node.runs(pod.Pod("p", (pod.Container("main", {resource: 1}),), (pod.Container("init", {resource: 1}),)))

    assert plugin.count("GetPreferredAllocation") == 1


async def test_gp_2_what_was_reused_must_be_included(node: Node, make_plugin: Make, resource: str) -> None:
    plugin = await make_plugin("a", "b", "c", options=PREFERS)
    await node.shows(resource, 3, 3)
    await node.runs(pod.Pod("p", (pod.Container("main", {resource: 2}),), (pod.Container("init", {resource: 1}),)))

    first, second = (request for method, request in plugin.requests if method == "GetPreferredAllocation")
    ((given,), _) = requested(plugin)
    assert list(first.container_requests[0].must_include_deviceIDs) == []
    (asked,) = second.container_requests
    assert (list(asked.must_include_deviceIDs), asked.allocation_size) == ([given], 2)
    assert sorted(asked.available_deviceIDs) == ["a", "b", "c"]


async def test_gp_4_an_error_of_the_preference_fails_the_pod(node: Node, make_plugin: Make, resource: str) -> None:
    async def refuse(_: object) -> None:
        raise Refusal("no idea")

    await make_plugin("a", options=PREFERS, behaviors={"GetPreferredAllocation": refuse})
    await node.shows(resource, 1, 1)

    seen = await node.fails(pod.simple("p", {resource: 1}))

    assert seen.message == rejected(
        "device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Unknown desc = no idea"
    )


async def test_ps_1_pre_start_is_called_at_every_creation_and_allocate_once(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a", "b", options=PRE_START)
    await node.shows(resource, 2, 2)
    spec = pod.simple("p", {resource: 2})
    await node.runs(spec)
    await node.end_container(spec)
    await node.until(spec, lambda one: one.starts["main"] == 2 and "main" in one.running)

    assert requested(plugin, "PreStartContainer") == [["a", "b"], ["a", "b"]]
    assert requested(plugin) == [["a", "b"]]
    assert await devices_of(node, spec) == ["a", "b"]


async def test_ps_2_a_failing_pre_start_keeps_the_container_waiting_until_it_works(
    node: Node, make_plugin: Make, resource: str
) -> None:
    async def refuse(_: object) -> None:
        raise Refusal("not yet")

    plugin = await make_plugin("a", options=PRE_START, behaviors={"PreStartContainer": refuse})
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1})
    await node.run(spec)

    seen = await node.until(spec, lambda one: one.waiting and "not yet" in one.waiting["main"][1])

    assert seen.waiting["main"] == (
        "CreateContainerConfigError",
        "device plugin PreStartContainer rpc failed with err: rpc error: code = Unknown desc = not yet",
    )
    assert seen.phase == "Pending"
    plugin.behaviors.clear()
    await node.until(spec, lambda one: "main" in one.running)


@pytest.mark.holds(since="1.36")
async def test_hs_2_the_pods_status_says_the_health_of_what_it_holds(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a")
    await node.shows(resource, 1, 1)
    spec = pod.Pod("p", (pod.Container("main", {resource: 1}),), (pod.Container("init", {resource: 1}),))
    await node.runs(spec)
    await node.until(spec, lambda one: one.health == {"main": {"a": "Healthy"}})
    await plugin.send(devices("a", health="overheated"))
    await node.until(spec, lambda one: one.health == {"main": {"a": "Unhealthy"}})
    await plugin.send(devices("a"))
    await node.until(spec, lambda one: one.health == {"main": {"a": "Healthy"}})


@pytest.mark.holds(since="1.36")
async def test_hs_2_a_container_that_cannot_start_has_its_devices_and_their_health(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a", options=PRE_START)
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1}, image=NO_IMAGE)
    await node.run(spec)
    await node.until(spec, lambda one: one.health == {"main": {"a": "Healthy"}})
    await plugin.send(devices("a", health="Unhealthy"))
    await node.until(spec, lambda one: one.health == {"main": {"a": "Unhealthy"}})


@pytest.mark.holds(since="1.36")
async def test_hs_5_a_device_that_is_no_longer_listed_is_shown_as_healthy(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a", "b")
    await node.shows(resource, 2, 2)
    spec = pod.simple("p", {resource: 2})
    await node.runs(spec)
    await plugin.send(devices("a", "b", health="Unhealthy"))
    await node.until(spec, lambda one: one.health == {"main": {"a": "Unhealthy", "b": "Unhealthy"}})
    await plugin.send(devices("b"))  # a change of b brings the status up to date

    await node.until(spec, lambda one: one.health == {"main": {"a": "Healthy", "b": "Healthy"}})


@pytest.mark.holds(since="1.36")
async def test_hs_5_the_end_of_the_plugin_leaves_the_last_word(node: Node, make_plugin: Make, resource: str) -> None:
    plugin = await make_plugin("a")
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1})
    await node.runs(spec)
    await plugin.stop()
    await node.shows(resource, 1, 0)
    await node.end_container(spec)  # and a new look at the status

    seen = await node.until(spec, lambda one: one.starts["main"] == 2)
    assert seen.health == {"main": {"a": "Healthy"}}


async def test_ps_1_a_container_whose_image_is_missing_keeps_its_device_and_is_not_pre_started(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a", options=PRE_START)
    await node.shows(resource, 1, 1)
    await node.run(pod.simple("p", {resource: 1}, image=NO_IMAGE))
    await node.time_until(lambda: plugin.count("Allocate"))
    await node.pass_time(15)  # the kubelet tries the image again meanwhile

    assert "Requested: 1, Available: 0" in (await node.fails(pod.simple("q", {resource: 1}))).message
    assert (plugin.count("Allocate"), plugin.count("PreStartContainer")) == (1, 0)


async def listed(node: Node, spec: pod.Pod, resource: str) -> list[str] | None:
    """Return the devices of a pod as PodResources lists them, None if it does not list the pod."""
    async with node.pod_resources() as lister:
        pods = (await lister.List(podresources.ListPodResourcesRequest())).pod_resources
    found = [one for one in pods if (one.namespace, one.name) == (node.namespace, node.name_of(spec))]
    if not found:
        return None
    return [
        device_id
        for container in found[0].containers
        for device in container.devices
        if device.resource_name == resource
        for device_id in device.device_ids
    ]


async def test_pr_1_a_pod_that_has_failed_is_not_listed(node: Node, make_plugin: Make, resource: str) -> None:
    await make_plugin(listed=devices("sick", health="Unhealthy"))
    await node.shows(resource, 1, 0)
    refused = pod.simple("refused", {resource: 1})
    await node.fails(refused)

    for _ in range(30):  # a kubelet takes a moment to end its worker
        if (devices_shown := await listed(node, refused, resource)) is None:
            break
        await node.pass_time(0.5)
    assert devices_shown is None


async def test_pr_10_an_allocation_in_flight_is_hidden_and_its_pod_is_listed(
    node: Node, make_plugin: Make, resource: str
) -> None:
    thinking, go_on = asyncio.Event(), asyncio.Event()

    async def think(_: object) -> pluginapi.AllocateResponse:
        thinking.set()
        await go_on.wait()
        return pluginapi.AllocateResponse(container_responses=[pluginapi.ContainerAllocateResponse()])

    await make_plugin("a", behaviors={"Allocate": think})
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1})
    await node.run(spec)
    await thinking.wait()
    during = await listed(node, spec, resource)
    go_on.set()
    await node.until(spec, lambda one: "main" in one.running)

    assert (during, await listed(node, spec, resource)) == ([], ["a"])


async def test_pr_3_pod_resources_names_the_holder_in_an_entry_for_each_device_and_numa_node(
    node: Node, make_plugin: Make, resource: str
) -> None:
    nodes = {"a": [0], "b": [0, 1]}
    await make_plugin(
        listed=[
            pluginapi.Device(
                ID=device_id,
                health="Healthy",
                topology=pluginapi.TopologyInfo(nodes=[pluginapi.NUMANode(ID=n) for n in its]),
            )
            for device_id, its in nodes.items()
        ]
    )
    await node.shows(resource, 2, 2)
    spec = pod.Pod("p", (pod.Container("main", {resource: 2}),), (pod.Container("init", {resource: 1}),))
    await node.runs(spec)

    async with node.pod_resources() as lister:
        pods = (await lister.List(podresources.ListPodResourcesRequest())).pod_resources
    found: list[Any] = [
        (container.name, device)
        for holder in pods
        for container in holder.containers
        for device in container.devices
        if device.resource_name == resource
    ]

    shown = [(name, list(one.device_ids), [numa.ID for numa in one.topology.nodes]) for name, one in found]
    assert sorted(shown) == [("main", ["a"], [0]), ("main", ["b"], [0]), ("main", ["b"], [1])]


async def test_pr_4_allocatable_resources_are_all_healthy_devices_in_use_or_not(
    node: Node, make_plugin: Make, resource: str
) -> None:
    await make_plugin(listed=[*devices("a", "b"), *devices("c", health="Unhealthy")])
    await node.shows(resource, 3, 2)
    await node.runs(pod.simple("p", {resource: 1}))

    async with node.pod_resources() as lister:
        answer = await lister.GetAllocatableResources(podresources.AllocatableResourcesRequest())
    assert sorted(list(device.device_ids) for device in answer.devices if device.resource_name == resource) == [
        ["a"],
        ["b"],
    ]


@pytest.mark.holds(since="1.34")
async def test_pr_5_get_answers_for_one_pod_and_refuses_an_unknown_one(
    node: Node, make_plugin: Make, resource: str
) -> None:
    await make_plugin("a")
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1})
    await node.runs(spec)

    async with node.pod_resources() as lister:
        asked = podresources.GetPodResourcesRequest(pod_name=node.name_of(spec), pod_namespace=node.namespace)
        answer = await lister.Get(asked)
        (held,) = answer.pod_resources.containers[0].devices
        assert (held.resource_name, list(held.device_ids)) == (resource, ["a"])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await lister.Get(podresources.GetPodResourcesRequest(pod_name="nobody", pod_namespace=node.namespace))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert caught.value.details() == f"pod nobody in namespace {node.namespace} not found"


@pytest.mark.alone
async def test_pr_7_a_hundred_questions_a_second_are_too_many(node: Node) -> None:
    async with node.pod_resources() as lister:
        asked = [lister.List(podresources.ListPodResourcesRequest()) for _ in range(150)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(refused) > 20
    assert {(exchange.code(), exchange.details()) for exchange in refused} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
    }


async def test_adm_1_a_slow_allocate_holds_up_the_next_pod(node: Node, make_plugin: Make, resource: str) -> None:
    thinking, go_on = asyncio.Event(), asyncio.Event()

    async def think(_: object) -> pluginapi.AllocateResponse:
        thinking.set()
        await go_on.wait()
        return pluginapi.AllocateResponse(container_responses=[pluginapi.ContainerAllocateResponse()])

    plugin = await make_plugin("a", "b", behaviors={"Allocate": think})
    await node.shows(resource, 2, 2)
    first, second = pod.simple("p", {resource: 1}), pod.simple("q", {resource: 1})
    await node.run(first)
    await thinking.wait()
    await node.run(second)
    await node.pass_time(3)
    assert plugin.count("Allocate") == 1
    go_on.set()
    for spec in (first, second):
        await node.until(spec, lambda one: "main" in one.running)


@pytest.mark.alone
@pytest.mark.holds(since="1.34")
async def test_lw_13_a_device_that_vanishes_while_it_is_allocated_kills_the_kubelet(
    node: Node, make_plugin: Make, resource: str
) -> None:
    thinking, go_on = asyncio.Event(), asyncio.Event()

    async def think(_: object) -> pluginapi.AllocateResponse:
        thinking.set()
        await go_on.wait()
        return pluginapi.AllocateResponse(container_responses=[pluginapi.ContainerAllocateResponse()])

    plugin = await make_plugin("a", behaviors={"Allocate": think})
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1})
    await node.run(spec)
    await thinking.wait()
    await plugin.send([])
    await node.shows(resource, 0, 0)
    assert not node.has_crashed()
    go_on.set()

    async with asyncio.timeout(10):
        while not node.has_crashed():
            await asyncio.sleep(0.05)  # a process that dies rings no bell here


@pytest.mark.alone
@pytest.mark.topology_policy("restricted")
@pytest.mark.parametrize("numa_node", [-1, 64])
async def test_al_7_a_numa_node_that_no_mask_holds_fits_no_policy_and_refuses_the_pod(
    node: Node, make_plugin: Make, resource: str, numa_node: int
) -> None:
    await make_plugin(listed=devices("a", numa=numa_node))
    await node.shows(resource, 1, 1)

    refused = await node.fails(pod.simple("refused", {resource: 1}))

    assert refused.reason == "TopologyAffinityError"
    assert "Resources cannot be allocated with Topology locality" in refused.message
