"""Registering with the fake kubelet, rightly and wrongly (contract section 3; scenarios 1, 8, 14 of section 16)."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest

from fakekubelet import FakeKubelet, ManualClock, Mode, clock
from fakekubelet.kubelet.call_log import CallLog
from fakekubelet.kubelet.plugin_client import PluginClient
from fakekubelet.stub_plugin import StubPlugin, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.running import DEADLINE_S, grpc_ended

RESOURCE = "example.com/dongle"
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""An empty HTTP/2 SETTINGS frame: enough of a server for a client to send its request."""


async def test_in_1_37_a_new_plugin_with_its_own_socket_takes_over_without_a_gap(socket_dir):
    async with (
        FakeKubelet(socket_dir, mode=Mode.V1_37) as kubelet,
        StubPlugin(socket_dir, RESOURCE, devices("a"), endpoint="old.sock") as old,
        StubPlugin(socket_dir, RESOURCE, devices("a", "b"), endpoint="new.sock") as new,
    ):
        await old.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
        await new.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 2)

        await old.stop()

        await kubelet.wait_for(lambda: kubelet.live_streams(RESOURCE) == 1)
        assert kubelet.allocatable[RESOURCE] == 2


@pytest.mark.parametrize(
    ("mode", "left"),
    [
        pytest.param(Mode.V1_36, ["kubelet.sock", "kubelet_internal_checkpoint", "lock", "sub"], id="sockets only"),
        pytest.param(Mode.V1_32, ["kubelet.sock", "kubelet_internal_checkpoint", "sub"], id="all files"),
    ],
)
async def test_starting_cleans_the_directory(socket_dir, mode, left):
    (socket_dir / "sub").mkdir()
    (socket_dir / "lock").touch()
    (socket_dir / "kubelet_internal_checkpoint").touch()
    for name in ("plugin.sock", "kubelet.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(socket_dir / name))

    async with FakeKubelet(socket_dir, mode=mode):
        assert sorted(path.name for path in socket_dir.iterdir()) == left


async def test_a_plugin_that_came_before_its_kubelet_registers_once_it_is_there(socket_dir):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_dir / "kubelet.sock"))
    async with StubPlugin(socket_dir, RESOURCE, devices("a"), endpoint="early.sock") as early:
        with pytest.raises(grpc.aio.AioRpcError):
            await early.register()
        async with FakeKubelet(socket_dir) as kubelet:
            assert not early.socket_path.exists()
            async with StubPlugin(socket_dir, RESOURCE, devices("a"), endpoint="again.sock") as again:
                await again.register()
                await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)


async def test_nothing_happens_before_start_and_nothing_is_left_after_stop(socket_dir):
    kubelet = FakeKubelet(socket_dir / "dp", clock=ManualClock())
    assert not kubelet.plugin_dir.exists()
    before = asyncio.all_tasks()

    async with kubelet, StubPlugin(kubelet.plugin_dir, RESOURCE, devices("a")) as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.live_streams(RESOURCE) == 1)
        await kubelet.stop()
        assert kubelet.live_streams(RESOURCE) == 0

    assert not (kubelet.plugin_dir / "kubelet.sock").exists()
    await grpc_ended(before)
    assert asyncio.all_tasks() == before


async def test_a_plugin_that_is_replaced_before_its_stream_is_opened_ends_in_order(socket_dir):
    time_source = clock.RealClock()
    calls = CallLog(time_source, lambda: None)
    async with StubPlugin(socket_dir, RESOURCE, devices("a"), endpoint="one.sock") as stub:
        place = socket_dir / stub.endpoint
        client = PluginClient(RESOURCE, place, directory=socket_dir, time_source=time_source, calls=calls)
        await client.connect()
        await client.close()
        await client.list_and_watch(lambda _: pytest.fail("nothing was asked"))

    assert not client.is_streaming
    assert [call.error.code for call in calls if call.error] == [grpc.StatusCode.CANCELLED]


@pytest.mark.parametrize("rpc", ["ListAndWatch", "Allocate"])
@pytest.mark.parametrize("end", ["closed", "cancelled"])
async def test_a_call_whose_channel_is_closed_ends_in_order_and_one_that_is_cancelled_is_cancelled(
    socket_dir, rpc: str, end: str
):
    """grpcio cancels the calls of a channel that is closed; that is no cancelling of whoever waits for them."""
    called = asyncio.Event()

    async def never(_: object) -> object:
        called.set()
        return await asyncio.Event().wait()

    time_source = clock.RealClock()
    calls = CallLog(time_source, called.set)
    stub = StubPlugin(socket_dir, RESOURCE, devices("a"), endpoint="one.sock", behaviors={"Allocate": never})
    async with stub:
        place = socket_dir / stub.endpoint
        client = PluginClient(RESOURCE, place, directory=socket_dir, time_source=time_source, calls=calls)
        await client.connect()
        listed = asyncio.Event()
        waiting = client.list_and_watch(lambda _: listed.set())
        if rpc == "Allocate":
            waiting.close()
            waiting = client.allocate(pluginapi.AllocateRequest())
        task = asyncio.create_task(waiting)
        called.clear()
        await asyncio.wait_for(listed.wait() if rpc == "ListAndWatch" else called.wait(), DEADLINE_S)
        if end == "closed":
            await client.close()
        else:
            task.cancel()
        await asyncio.wait([task])
        await client.close()

    assert task.cancelled() == (end == "cancelled")
    if end == "closed":
        (error,) = [call.error for call in calls]
        assert error is not None
        assert (error.code, error.details) == (
            grpc.StatusCode.CANCELLED,
            "grpc: the client connection is closing",
        )
        assert task.exception() is (None if rpc == "ListAndWatch" else error)
