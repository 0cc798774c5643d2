"""What the kubelet's calls return, asked over the plugin's own socket."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import grpc
import pytest

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from tests.factories import make_config
from tests.running import devices_are, listed, running_daemon, shell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fakekubelet import FakeKubelet

R3 = "myplugin.io/mydevice-3"


@contextlib.asynccontextmanager
async def plugin_stub(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, **changes: object
) -> AsyncIterator[pluginapi_grpc.DevicePluginAsyncStub]:
    async with running_daemon(make_config(root, plugin_dir, **changes)):
        await listed(kubelet, [R3])
        endpoint = next(
            registration.endpoint for registration in kubelet.registrations if registration.resource_name == R3
        )
        async with grpc.aio.insecure_channel(f"unix:{plugin_dir / endpoint}") as channel:
            yield pluginapi_grpc.DevicePluginStub(channel)


def allocate(*device_ids: str) -> pluginapi.AllocateRequest:
    return pluginapi.AllocateRequest(container_requests=[pluginapi.ContainerAllocateRequest(devices_ids=device_ids)])


async def test_allocate_gives_the_seeds_variables_and_read_only_mounts(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    from pathlib import Path

    async with plugin_stub(root, plugin_dir, kubelet, host_root=Path("/fakehw")) as stub:
        response = await stub.Allocate(allocate("node2-dev3-3", "node2-dev3-2"))

    (container,) = response.container_responses
    assert dict(container.envs) == {"DEV_3_ID_0": "/node2/dev3/2", "DEV_3_ID_1": "/node2/dev3/3"}
    assert [(mount.container_path, mount.host_path, mount.read_only) for mount in container.mounts] == [
        ("/node2/dev3/2", "/fakehw/node2/dev3/2", True),
        ("/node2/dev3/3", "/fakehw/node2/dev3/3", True),
    ]
    assert not container.devices


async def test_every_container_is_answered_and_the_same_device_may_be_asked_for_again(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Contract AL-4, AL-10, PIT-12."""
    request = pluginapi.AllocateRequest(
        container_requests=[
            pluginapi.ContainerAllocateRequest(devices_ids=["node2-dev3-1"]),
            pluginapi.ContainerAllocateRequest(),
            pluginapi.ContainerAllocateRequest(devices_ids=["node2-dev3-1"]),
        ]
    )
    async with plugin_stub(root, plugin_dir, kubelet) as stub:
        for _ in range(2):
            response = await stub.Allocate(request)
            assert [len(one.mounts) for one in response.container_responses] == [1, 0, 1]


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device node needs root")
async def test_a_character_device_comes_with_its_directory(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    try:
        os.mknod(root / "node2/dev3/1/node", 0o20666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device node is not permitted here")
    async with plugin_stub(root, plugin_dir, kubelet) as stub:
        response = await stub.Allocate(allocate("node2-dev3-1"))

    (node,) = response.container_responses[0].devices
    assert (node.container_path, node.permissions) == ("/node2/dev3/1/node", "rw")
    assert node.host_path == f"{root}/node2/dev3/1/node"


async def test_an_unknown_device_is_refused_by_name(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    async with plugin_stub(root, plugin_dir, kubelet) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Allocate(allocate("node2-dev3-9"))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "device 'node2-dev3-9' is not a device of myplugin.io/mydevice-3"


async def test_an_unhealthy_device_is_refused_with_its_reason(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with plugin_stub(root, plugin_dir, kubelet) as stub:
        await shell("echo unhealthy over temperature > node2/dev3/1/health", root)
        await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 2)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Allocate(allocate("node2-dev3-1"))

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "device node2-dev3-1 is Unhealthy: over temperature"


async def test_a_request_that_is_no_protobuf_is_an_error_and_the_next_one_is_served(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        endpoint = next(
            registration.endpoint for registration in kubelet.registrations if registration.resource_name == R3
        )
        async with grpc.aio.insecure_channel(f"unix:{plugin_dir / endpoint}") as channel:
            for method in ("Allocate", "GetPreferredAllocation", "PreStartContainer"):
                raw = channel.unary_unary(f"/v1beta1.DevicePlugin/{method}")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await raw(b"\xff\xff\xff")
                assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            stub = pluginapi_grpc.DevicePluginStub(channel)
            assert (await stub.Allocate(allocate("node2-dev3-1"))).container_responses


async def test_preferred_allocation_stays_on_one_numa_node(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    for number, numa_node in ((1, 1), (2, 0), (3, 1)):
        (root / f"node2/dev3/{number}/numa_node").write_text(f"{numa_node}\n")
    async with plugin_stub(root, plugin_dir, kubelet) as stub:
        await kubelet.wait_for(lambda: kubelet.history(R3)[-1].devices["node2-dev3-3"][1] == (1,))
        container = pluginapi.ContainerPreferredAllocationRequest(
            available_deviceIDs=[f"node2-dev3-{number}" for number in (3, 2, 1)], allocation_size=2
        )
        response = await stub.GetPreferredAllocation(
            pluginapi.PreferredAllocationRequest(container_requests=[container])
        )

    assert list(response.container_responses[0].deviceIDs) == ["node2-dev3-1", "node2-dev3-3"]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"available_deviceIDs": ["nobody"], "allocation_size": 1}, id="unknown device"),
        pytest.param({"allocation_size": 5}, id="nothing available"),
        pytest.param({"available_deviceIDs": ["node2-dev3-1"], "allocation_size": -1}, id="negative size"),
        pytest.param({"must_include_deviceIDs": ["gone"], "allocation_size": 1}, id="unknown must-include"),
        pytest.param({}, id="empty"),
    ],
)
async def test_preferred_allocation_never_answers_with_an_error(
    request_: dict[str, object], root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Contract GP-4, PIT-15: an error would fail the pod's admission."""
    container = pluginapi.ContainerPreferredAllocationRequest(**request_)
    async with plugin_stub(root, plugin_dir, kubelet) as stub:
        response = await stub.GetPreferredAllocation(
            pluginapi.PreferredAllocationRequest(container_requests=[container])
        )

    assert len(response.container_responses) == 1


async def test_pre_start_refuses_a_device_that_fell_ill_and_lets_a_healthy_one_start(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Contract PS-1, PS-2."""
    request = pluginapi.PreStartContainerRequest(devices_ids=["node2-dev3-1"])
    async with plugin_stub(root, plugin_dir, kubelet, pre_start_check=True) as stub:
        await stub.PreStartContainer(request)
        await shell("echo unhealthy > node2/dev3/1/health", root)
        await devices_are(
            kubelet, R3, {"node2-dev3-1": "Unhealthy", "node2-dev3-2": "Healthy", "node2-dev3-3": "Healthy"}
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.PreStartContainer(request)

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
