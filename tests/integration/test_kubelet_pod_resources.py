"""PodResources v1 (contract section 11)."""

from __future__ import annotations

import grpc
import pytest

from fakekubelet import pod
from fakekubelet.kubelet import pod_status
from fakekubelet.stub_plugin import StubPlugin, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.podresources.v1 import api_pb2 as podresourcesapi
from kubeletapi.podresources.v1 import api_pb2_grpc as podresourcesapi_grpc

RESOURCE = "example.com/dongle"


@pytest.fixture
async def stub(fake_node):
    target = f"unix:{fake_node.pod_resources_socket}"
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield podresourcesapi_grpc.PodResourcesListerStub(channel)


@pytest.fixture
async def plugin(fake_node):
    two_nodes = pluginapi.TopologyInfo(nodes=[pluginapi.NUMANode(ID=0), pluginapi.NUMANode(ID=1)])
    listed = [pluginapi.Device(ID="wide", health="Healthy", topology=two_nodes), *devices("sick", health="Unhealthy")]
    async with StubPlugin(fake_node.plugin_dir, RESOURCE, listed) as running:
        await running.register()
        await fake_node.kubelet.wait_for(lambda: fake_node.kubelet.capacity.get(RESOURCE) == 2)
        yield running


def entries(devices):
    return [(one.resource_name, list(one.device_ids), [n.ID for n in one.topology.nodes]) for one in devices]


async def test_list_shows_active_pods_with_one_entry_per_device_and_numa_node(fake_node, stub, plugin):
    spec = pod.Pod(
        "p",
        (pod.Container("app", {RESOURCE: 1}),),
        (pod.Container("init"), pod.Container("side", is_sidecar=True)),
        namespace="lab",
    )
    await fake_node.kubelet.admit(spec)
    await fake_node.kubelet.admit(pod.simple("bare"))

    reply = await stub.List(podresourcesapi.ListPodResourcesRequest())

    shown = {(one.namespace, one.name): one for one in reply.pod_resources}
    assert set(shown) == {("lab", "p"), ("default", "bare")}
    side, app = shown["lab", "p"].containers
    assert (side.name, app.name) == ("side", "app")
    assert entries(side.devices) == []
    assert entries(app.devices) == [(RESOURCE, ["wide"], [0]), (RESOURCE, ["wide"], [1])]


async def test_list_frees_the_devices_of_pods_that_are_gone(fake_node, stub, plugin):
    kubelet = fake_node.kubelet
    admitted = await kubelet.admit(pod.simple("p", {RESOURCE: 1}))
    kubelet.finish(admitted, pod_status.Phase.SUCCEEDED)
    assert kubelet.allocated(RESOURCE) == {"wide"}

    reply = await stub.List(podresourcesapi.ListPodResourcesRequest())

    assert list(reply.pod_resources) == []
    assert kubelet.allocated(RESOURCE) == set()


async def test_allocatable_is_empty_until_the_plugin_is_back(fake_node, stub, plugin):
    await plugin.stop()
    await fake_node.kubelet.wait_for(lambda: fake_node.kubelet.allocatable[RESOURCE] == 0)

    reply = await stub.GetAllocatableResources(podresourcesapi.AllocatableResourcesRequest())

    assert list(reply.devices) == []


async def test_more_than_a_hundred_a_second_are_rejected(fake_node, stub):
    for _ in range(10):
        await stub.List(podresourcesapi.ListPodResourcesRequest())

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.List(podresourcesapi.ListPodResourcesRequest())

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == "rejected by rate limit"
    await fake_node.clock.advance(0.02)
    await stub.List(podresourcesapi.ListPodResourcesRequest())
