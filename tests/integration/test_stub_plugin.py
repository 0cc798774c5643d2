"""The stub plugin: it serves what it is told to serve, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from fakekubelet import StubPlugin, stub_plugin
from fakekubelet.stub_plugin import Refusal, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from kubeletapi.pluginregistration.v1 import api_pb2 as watcherapi

X = "example.com/my-x.1"


class AbortedError(Exception):
    """What `abort` raises."""


class Context:
    async def abort(self, code, details):
        raise AbortedError(code, details)


def test_devices_are_alike_but_for_their_ids():
    topology = pluginapi.TopologyInfo(nodes=[pluginapi.NUMANode(ID=1)])

    assert devices("a", "b") == [pluginapi.Device(ID=name, health="Healthy") for name in "ab"]
    assert devices("a", health="sick", numa=1) == [pluginapi.Device(ID="a", health="sick", topology=topology)]
    assert devices("a", numa=0)[0].HasField("topology")
    assert not devices("a")[0].HasField("topology")
    assert devices() == []


def test_a_refusal_has_a_text_and_a_code():
    assert (Refusal("no").text, Refusal("no").code, str(Refusal("no"))) == ("no", grpc.StatusCode.UNKNOWN, "no")
    assert Refusal("no", grpc.StatusCode.INTERNAL).code is grpc.StatusCode.INTERNAL


OPTIONS = pluginapi.DevicePluginOptions(pre_start_required=True)


def allocate(*ids):
    return pluginapi.ContainerAllocateRequest(devices_ids=ids)


@pytest.mark.parametrize(
    ("method", "request_", "reply"),
    [
        ("GetDevicePluginOptions", pluginapi.Empty(), OPTIONS),
        ("GetPreferredAllocation", pluginapi.PreferredAllocationRequest(), pluginapi.PreferredAllocationResponse()),
        (
            "Allocate",
            pluginapi.AllocateRequest(container_requests=[allocate("b", "a"), allocate("c")]),
            pluginapi.AllocateResponse(container_responses=[
                pluginapi.ContainerAllocateResponse(envs={"DEVICES_MY_X_1": ids}) for ids in ("a,b", "c")
            ]),
        ),
        ("PreStartContainer", pluginapi.PreStartContainerRequest(devices_ids=["a"]), pluginapi.PreStartContainerResponse()),
        ("GetInfo", watcherapi.InfoRequest(), watcherapi.PluginInfo(type="DevicePlugin", name=X, supported_versions=["v1beta1"])),
        ("NotifyRegistrationStatus", watcherapi.RegistrationStatus(), watcherapi.RegistrationStatusResponse()),
    ],
)  # fmt: skip  # a table
async def test_every_question_is_remembered_and_answered_as_it_comes_or_as_told(tmp_path, method, request_, reply):
    plugin = StubPlugin(tmp_path, X, options=OPTIONS)
    call = getattr(plugin, method)

    assert await call(request_, Context()) == reply
    assert plugin.requests == [(method, request_)]
    told = []

    async def behave(asked):
        told.append(asked)
        return "as told"

    plugin.behaviors[method] = behave
    assert await call(request_, Context()) == "as told"
    assert told == [request_]

    async def refuse(_):
        raise Refusal("not today", grpc.StatusCode.ABORTED)

    plugin.behaviors = {method: refuse}
    with pytest.raises(AbortedError) as caught:
        await call(request_, Context())
    assert caught.value.args == (grpc.StatusCode.ABORTED, "not today")
    assert (plugin.count(method), plugin.count("other")) == (3, 0)


async def test_without_options_there_are_none(tmp_path):
    plugin = StubPlugin(tmp_path, X)

    assert await plugin.GetDevicePluginOptions(pluginapi.Empty(), Context()) == pluginapi.DevicePluginOptions()
    assert (plugin.resource, plugin.endpoint, plugin.socket_path) == (X, "stub.sock", tmp_path / "stub.sock")


class Reader:
    """A ListAndWatch stream, read as far as it goes."""

    def __init__(self, plugin):
        self.stream = plugin.ListAndWatch(pluginapi.Empty(), Context())
        self.task = None

    async def next(self):
        """Return the IDs of what comes at once, or None."""
        self.task = self.task or asyncio.ensure_future(anext(self.stream))
        for _ in range(20):
            await asyncio.sleep(0)
        if not self.task.done():
            return None
        task, self.task = self.task, None
        return [device.ID for device in task.result().devices]

    async def close(self):
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        await self.stream.aclose()


@pytest.fixture
async def reading():
    async with contextlib.AsyncExitStack() as stack:

        def read(plugin):
            reader = Reader(plugin)
            stack.push_async_callback(reader.close)
            return reader

        yield read


async def test_every_stream_is_sent_all_lists_one_by_one_and_then_each_new_one(tmp_path, reading):
    plugin = StubPlugin(tmp_path, X, devices("a"))
    first = reading(plugin)
    assert [await first.next(), await first.next()] == [["a"], None]
    await plugin.send(devices("b"))
    await plugin.send([])
    assert [await first.next(), await first.next(), await first.next()] == [["b"], [], None]

    late = reading(plugin)
    assert [await late.next() for _ in range(4)] == [["a"], ["b"], [], None]
    assert plugin.requests == [("ListAndWatch", pluginapi.Empty())] * 2


async def test_it_may_list_nothing_until_it_is_told_to(tmp_path, reading):
    plugin = StubPlugin(tmp_path, X, devices("a"), lists_nothing=True)
    reader = reading(plugin)
    assert await reader.next() is None
    await plugin.send(devices("b"))
    assert await reader.next() == ["b"]

    assert await reading(StubPlugin(tmp_path, X)).next() == [], "an empty list is a list"


@pytest.mark.parametrize("refusal", [None, Refusal("enough", grpc.StatusCode.ABORTED)])
async def test_streams_end_after_what_there_is_to_send_and_later_ones_too(tmp_path, reading, refusal):
    plugin = StubPlugin(tmp_path, X, devices("a"))
    open_one = reading(plugin)
    assert [await open_one.next(), await open_one.next()] == [["a"], None]

    await plugin.end_streams(refusal)

    late = reading(plugin)
    assert await late.next() == ["a"]
    for reader in (open_one, late):
        with pytest.raises(StopAsyncIteration if refusal is None else AbortedError) as caught:
            await reader.next()
        assert refusal is None or caught.value.args == (grpc.StatusCode.ABORTED, "enough")


class Kubelet(pluginapi_grpc.RegistrationServicer):
    """A registry that remembers what came, with the deadline."""

    def __init__(self):
        self.calls = []

    async def Register(self, request, context):
        self.calls.append((request, context.time_remaining()))
        return pluginapi.Empty()


@pytest.fixture
async def kubelet(short_dir):
    registry = Kubelet()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    pluginapi_grpc.add_RegistrationServicer_to_server(registry, server)
    server.add_insecure_port(f"unix:{short_dir}/kubelet.sock")
    await server.start()
    yield registry
    await server.stop(None)


async def test_it_registers_with_what_it_has_and_waits_longer_than_a_kubelet_dials(kubelet, short_dir):
    plugin = StubPlugin(short_dir, X, options=OPTIONS, endpoint="mine.sock")
    other = pluginapi.DevicePluginOptions(get_preferred_allocation_available=True)
    await plugin.register()
    await plugin.register(version="v1", endpoint="")
    await StubPlugin(short_dir, X, options=OPTIONS, request_options=other).register()

    def request(**fields):
        return pluginapi.RegisterRequest(resource_name=X, **fields)

    assert [asked for asked, _ in kubelet.calls] == [
        request(version="v1beta1", endpoint="mine.sock", options=OPTIONS),
        request(version="v1", endpoint="", options=OPTIONS),
        request(version="v1beta1", endpoint="stub.sock", options=other),
    ]
    assert all(10 < left < 16 for _, left in kubelet.calls)
    assert stub_plugin.REGISTER_TIMEOUT_S == 15.0


async def test_it_serves_while_it_is_entered_and_its_socket_goes_with_it(short_dir):
    plugin = StubPlugin(short_dir, X, devices("a"), options=OPTIONS)
    await plugin.stop()
    async with plugin as entered:
        assert entered is plugin
        channel = grpc.aio.insecure_channel(
            f"unix:{plugin.socket_path}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        async with channel:
            stub = pluginapi_grpc.DevicePluginStub(channel)
            assert await stub.GetDevicePluginOptions(pluginapi.Empty()) == OPTIONS
            stream = stub.ListAndWatch(pluginapi.Empty())
            assert [device.ID for device in (await stream.read()).devices] == ["a"]
            await plugin.stop()
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.read()
    assert not plugin.socket_path.exists()
    await plugin.stop()


async def test_its_channels_and_servers_share_nothing_with_those_of_others(short_dir, monkeypatch):
    made = []

    def recording(name):
        real = getattr(grpc.aio, name)

        def make(*given, options):
            made.append((name, dict(options)))
            return real(*given, options=options)

        monkeypatch.setattr(grpc.aio, name, make)

    recording("server")
    recording("insecure_channel")
    async with StubPlugin(short_dir, X) as plugin:
        with pytest.raises(grpc.aio.AioRpcError):
            await plugin.register()

    assert made == [
        ("server", {"grpc.so_reuseport": 0}),
        ("insecure_channel", {"grpc.default_authority": "localhost", "grpc.use_local_subchannel_pool": 1}),
    ]
