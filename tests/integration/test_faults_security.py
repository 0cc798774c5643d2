"""Nothing outside the tree reaches a container, and nobody on the network holds the plugin up."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import grpc
import pytest

from fakehw_plugin import web
from fakehw_plugin.tree import attributes
from fakekubelet import FakeKubelet
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from tests.factories import make_config
from tests.running import DEADLINE_S, listed, running_daemon

R3 = "myplugin.io/mydevice-3"

NODES = {
    "memory of the kernel": lambda path: os.mknod(path, 0o20666, os.makedev(1, 1)),
    "a disk": lambda path: os.mknod(path, 0o60666, os.makedev(8, 0)),
    "fuse": lambda path: os.mknod(path, 0o20666, os.makedev(10, 229)),
    "a link to a real one": lambda path: path.symlink_to("/dev/null"),
    "a link to a disk": lambda path: path.symlink_to("/dev/sda"),
    "a file": lambda path: path.write_text("x"),
}


async def allocate(plugin_dir: Path, kubelet: FakeKubelet, device_id: str) -> pluginapi.ContainerAllocateResponse:
    endpoint = next(registration.endpoint for registration in kubelet.registrations if registration.resource_name == R3)
    request = pluginapi.AllocateRequest(
        container_requests=[pluginapi.ContainerAllocateRequest(devices_ids=[device_id])]
    )
    async with grpc.aio.insecure_channel(f"unix:{plugin_dir / endpoint}") as channel:
        return (await pluginapi_grpc.DevicePluginStub(channel).Allocate(request)).container_responses[0]


@pytest.mark.parametrize("what", NODES)
async def test_no_device_node_but_a_harmless_one_is_given_to_a_container(
    what: str, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    try:
        NODES[what](root / "node2/dev3/1/node")
    except PermissionError:
        pytest.skip("mknod is not allowed here")
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        answer = await allocate(plugin_dir, kubelet, "node2-dev3-1")

    assert not answer.devices
    assert [mount.host_path for mount in answer.mounts] == [f"{root}/node2/dev3/1"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mknod needs a capability")
async def test_a_device_node_swapped_for_a_link_is_refused_before_its_event_is_read(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container runtime resolves the link, and the pod would have the disk."""
    from fakehw_plugin import inotify

    os.mknod(root / "node2/dev3/1/node", 0o20666, os.makedev(1, 3))
    monkeypatch.setattr(inotify, "_MASK", inotify.DELETE)  # a kernel that tells nothing of what happens here
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        assert (await allocate(plugin_dir, kubelet, "node2-dev3-1")).devices
        (root / "node2/dev3/1/.new").symlink_to("/dev/sda")
        (root / "node2/dev3/1/.new").rename(root / "node2/dev3/1/node")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await allocate(plugin_dir, kubelet, "node2-dev3-1")

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_every_mount_that_is_sent_is_a_real_directory_under_the_root_however_the_tree_is_swapped_about(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """A thread swaps the device for a link to / and back as fast as it can; what is answered was true when looked at.

    The window between the look and the mount is the container runtime's (docs/security.md); what is checked here is
    that no answer names anything but the device's own directory, and that the link's target never appears.
    """
    device, aside = root / "node2/dev3/2", root / "node2/dev3/.aside"
    (root / "node2/dev3/.link").symlink_to("/")
    going = True

    def swap() -> int:
        swaps = 0
        while going:
            device.rename(aside)
            (root / "node2/dev3/.link").rename(device)
            device.rename(root / "node2/dev3/.link")
            aside.rename(device)
            swaps += 1
        return swaps

    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        swapping = asyncio.create_task(asyncio.to_thread(swap))
        given = refused = 0
        try:
            async with asyncio.timeout(DEADLINE_S):
                while given + refused < 100:
                    try:
                        answer = await allocate(plugin_dir, kubelet, "node2-dev3-2")
                    except grpc.aio.AioRpcError as error:
                        assert error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT)
                        refused += 1
                    else:
                        assert [mount.host_path for mount in answer.mounts] == [str(device)]
                        assert all(mount.read_only for mount in answer.mounts)
                        given += 1
        finally:
            going = False
            swaps = await swapping
        assert swaps
        assert refused


async def test_a_client_that_does_not_read_its_answer_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "FLUSH_TIMEOUT_S", 0.05)
    monkeypatch.setattr(web, "REQUEST_TIMEOUT_S", 0.05)
    server = web.WebServer(("127.0.0.1", 0), {"/metrics": lambda: web.Answer(200, b"x" * (16 << 20))})
    async with server:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", server.port))
            await loop.sock_sendall(client, b"GET /metrics HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(DEADLINE_S):
                while not server._connections:
                    await asyncio.sleep(0)
                while server._connections:
                    await asyncio.sleep(0)


def test_reading_never_opens_what_is_no_regular_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a FIFO wakes whoever waits at its other end; opening a device may do anything."""
    os.mkfifo(tmp_path / "health")
    dir_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        monkeypatch.setattr(os, "open", lambda *_, **__: pytest.fail("it was opened"))
        with pytest.raises(attributes.AttributeFileError, match="is a FIFO"):
            attributes.read("health", dir_fd=dir_fd)
    finally:
        monkeypatch.undo()
        os.close(dir_fd)
