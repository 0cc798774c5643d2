"""The fake kubelet's connections to plugins: calls and how they end, the table of clients and its known flaw."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from fakekubelet import clock
from fakekubelet.kubelet import call_log, client_table, plugin_client
from fakekubelet.kubelet.call_log import Call, CallLog, RpcError
from fakekubelet.kubelet.endpoint import Endpoint
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

X, Y = "example.com/x", "example.com/y"
DP = Path("/dp")


# -- the log of calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("OK", "OK"), ("CANCELLED", "Canceled"), ("UNKNOWN", "Unknown"), ("INVALID_ARGUMENT", "InvalidArgument"), ("DEADLINE_EXCEEDED", "DeadlineExceeded"),
        ("NOT_FOUND", "NotFound"), ("RESOURCE_EXHAUSTED", "ResourceExhausted"), ("UNAVAILABLE", "Unavailable"), ("UNIMPLEMENTED", "Unimplemented"),
    ],
)  # fmt: skip  # a table
def test_an_error_is_told_in_the_words_of_grpc_go(code, name):
    error = RpcError(grpc.StatusCode[code], "why")

    assert str(error) == f"rpc error: code = {name} desc = why"
    assert (error.code, error.details) == (grpc.StatusCode[code], "why")


def raised(code, details):
    metadata = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, metadata, metadata, details)


@pytest.mark.parametrize(
    ("code", "details", "text"),
    [
        ("UNAVAILABLE", "no connection", "rpc error: code = Unavailable desc = no connection"),
        ("UNKNOWN", None, "rpc error: code = Unknown desc = "),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "rpc error: code = DeadlineExceeded desc = context deadline exceeded"),
    ],
)  # fmt: skip
def test_what_grpcio_raises_is_translated(code, details, text):
    assert str(RpcError.of(raised(grpc.StatusCode[code], details))) == text


def test_a_passed_deadline_and_a_closed_connection_have_words_of_their_own():
    assert str(RpcError.deadline()) == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
    assert str(RpcError.closing()) == "rpc error: code = Canceled desc = grpc: the client connection is closing"


async def test_a_call_is_in_the_log_from_the_moment_it_is_made():
    time_source, rings = clock.ManualClock(start=100), []
    log = CallLog(time_source, lambda: rings.append(len(log)))
    request, reply, error = pluginapi.Empty(), pluginapi.AllocateResponse(), RpcError.deadline()

    call = log.open(X, "Allocate", request)
    assert (list(log), len(log), call.is_open, rings) == ([call], 1, True, [1])
    assert call == Call(X, "Allocate", request, 100)
    await time_source.advance(2.5)
    log.close(call, reply=reply)
    assert call == Call(X, "Allocate", request, 100, reply, None, 2.5)
    assert (call.is_open, rings) == (False, [1, 1])
    log.close(call, error=error)
    assert call == Call(X, "Allocate", request, 100, reply, error, 2.5), "what was answered before stays"


def test_calls_are_found_by_method_and_resource():
    log = CallLog(clock.ManualClock(), lambda: None)
    one = log.open(X, "Allocate", pluginapi.Empty())
    two = log.open(Y, "Allocate", pluginapi.Empty())
    three = log.open(X, "ListAndWatch", pluginapi.Empty())

    assert log.of("Allocate") == [one, two]
    assert log.of("Allocate", Y) == [two]
    assert log.of("ListAndWatch", Y) == []
    assert log.calls == [one, two, three]


# -- one call ---------------------------------------------------------------------------------------------------------


class Method:
    """A method of a stub."""

    def __init__(self, answer=None, *, never=False):
        self.answer, self.never, self.calls = answer, never, []

    async def __call__(self, request, **named):
        self.calls.append((request, named))
        if self.never:
            await asyncio.Event().wait()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


REPLY = pluginapi.AllocateResponse(container_responses=[pluginapi.ContainerAllocateResponse()])


def calling(method, *, timeout_s=None, time_source=None):
    source = time_source or clock.ManualClock()
    log = CallLog(source, lambda: None)
    record = log.open(X, "Allocate", pluginapi.AllocateRequest())
    return record, plugin_client.unary(record, method, calls=log, time_source=source, timeout_s=timeout_s)


@pytest.mark.parametrize(("timeout_s", "named"), [(None, {}), (3.5, {"timeout": 3.5})])
async def test_a_call_is_answered_and_its_deadline_told_if_it_has_one(timeout_s, named):
    method = Method(REPLY)
    record, call = calling(method, timeout_s=timeout_s)

    assert await call is REPLY
    assert method.calls == [(record.request, named)]
    assert (record.reply, record.error, record.duration_s) == (REPLY, None, 0.0)


async def test_a_deadline_passes_on_the_kubelets_own_clock():
    time_source = clock.ManualClock(start=0)
    record, call = calling(Method(never=True), timeout_s=3.5, time_source=time_source)
    task = asyncio.create_task(call)
    await time_source.advance(3.4)
    assert not task.done()
    await time_source.advance(0.2)

    with pytest.raises(RpcError) as caught:
        await task
    assert caught.value is record.error
    assert str(record.error) == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
    assert record.duration_s == pytest.approx(3.5, abs=0.2)


@pytest.mark.parametrize("timeout_s", [None, 3.5])
@pytest.mark.parametrize(
    ("raises", "text"),
    [
        (raised(grpc.StatusCode.UNKNOWN, "no"), "rpc error: code = Unknown desc = no"),
        (grpc.aio.UsageError("Channel is closed."), "rpc error: code = Canceled desc = grpc: the client connection is closing"),
        (asyncio.CancelledError(), "rpc error: code = Canceled desc = grpc: the client connection is closing"),
    ],
)  # fmt: skip
async def test_how_a_call_fails_is_raised_and_kept(raises, text, timeout_s):
    record, call = calling(Method(raises), timeout_s=timeout_s)

    with pytest.raises(RpcError) as caught:
        await call
    assert (str(caught.value), record.error, record.reply) == (text, caught.value, None)
    assert not record.is_open


async def test_whoever_is_cancelled_while_he_waits_is_cancelled():
    record, call = calling(Method(never=True))
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert (record.is_open, record.error) == (False, None)


# -- one client -------------------------------------------------------------------------------------------------------


class Channel:
    """A connection; whether anybody is there."""

    def __init__(self, target, options):
        self.target, self.options, self.closed = target, dict(options), 0
        self.ready = asyncio.Event()

    async def channel_ready(self):
        await self.ready.wait()

    async def close(self):
        self.closed += 1


class Network:
    """What clients connect to."""

    def __init__(self, monkeypatch):
        self.channels, self.stub = [], None
        monkeypatch.setattr(grpc.aio, "insecure_channel", self.connect)
        monkeypatch.setattr(plugin_client.pluginapi_grpc, "DevicePluginStub", lambda channel: self.stub)
        self.serves = True

    def connect(self, target, options):
        channel = Channel(target, options)
        self.channels.append(channel)
        if self.serves:
            channel.ready.set()
        return channel


@pytest.fixture
def network(monkeypatch):
    return Network(monkeypatch)


async def test_a_plugin_is_dialed_as_localhost_with_the_limits_of_a_kubelet(network):
    client = plugin_client.PluginClient(
        X, DP / "x.sock", directory=DP, time_source=clock.ManualClock(), calls=CallLog(clock.ManualClock(), print)
    )
    await client.close()  # nothing to close yet
    await client.connect()

    (channel,) = network.channels
    assert channel.target == "unix:/dp/x.sock"
    assert channel.options == {
        "grpc.default_authority": "localhost",
        "grpc.use_local_subchannel_pool": 1,
        "grpc.max_receive_message_length": 4 * 1024 * 1024,
        "grpc.max_send_message_length": -1,
        "grpc.enable_http_proxy": 0,
    }
    await client.close()
    assert channel.closed == 1


async def test_nobody_is_dialed_for_longer_than_ten_seconds(network):
    network.serves, time_source = False, clock.ManualClock(start=0)
    task = asyncio.create_task(plugin_client.dial(DP / "x", directory=DP, authority="a%2Fb", time_source=time_source))
    await time_source.advance(9.9)
    assert not task.done()
    await time_source.advance(0.2)

    with pytest.raises(plugin_client.DialError, match=r"^context deadline exceeded$"):
        await task
    assert (network.channels[0].closed, network.channels[0].options["grpc.default_authority"]) == (1, "a%2Fb")


async def test_a_dialing_that_is_cancelled_closes_what_it_began(network):
    network.serves = False
    task = asyncio.create_task(
        plugin_client.dial(DP / "x", directory=DP, authority="a", time_source=clock.ManualClock())
    )
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert (task.cancelled(), network.channels[0].closed) == (True, 1)


async def test_a_name_that_no_address_can_be_made_of_is_not_dialed(network):
    with pytest.raises(plugin_client.DialError) as caught:
        await plugin_client.dial(DP / "100%", directory=DP, authority="a", time_source=clock.ManualClock())

    assert str(caught.value) == 'parse "passthrough:////dp/100%": invalid URL escape "%"'
    assert network.channels == []


class Stub:
    """The methods of a plugin."""

    def __init__(self, stream=None):
        self.methods = {}
        self.stream = stream

    def __getattr__(self, name):
        return self.methods[name]

    def ListAndWatch(self, request):
        if isinstance(self.stream, Exception):
            raise self.stream
        return self.stream


class Stream:
    """A ListAndWatch: messages, ends and errors in order; at the end of them it goes on for ever."""

    def __init__(self, *items):
        self.items = list(items)

    async def read(self):
        if not self.items:
            await asyncio.Event().wait()
        item = self.items.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item() if callable(item) else item


def lists(*ids):
    return pluginapi.ListAndWatchResponse(devices=[pluginapi.Device(ID=one) for one in ids])


async def connected(network, stub):
    network.stub = stub
    log = CallLog(clock.ManualClock(), lambda: None)
    client = plugin_client.PluginClient(X, DP / "x.sock", directory=DP, time_source=clock.ManualClock(), calls=log)
    await client.connect()
    return client, log


async def test_each_question_is_put_by_its_own_method_and_noted(network):
    stub = Stub()
    client, log = await connected(network, stub)
    allocate, prefer, start = (
        pluginapi.AllocateRequest(container_requests=[pluginapi.ContainerAllocateRequest()]),
        pluginapi.PreferredAllocationRequest(container_requests=[pluginapi.ContainerPreferredAllocationRequest()]),
        pluginapi.PreStartContainerRequest(devices_ids=["a"]),
    )
    names = ("GetDevicePluginOptions", "GetPreferredAllocation", "Allocate", "PreStartContainer")
    replies = {name: getattr(pluginapi, reply)() for name, reply in zip(
        names, ("DevicePluginOptions", "PreferredAllocationResponse", "AllocateResponse", "PreStartContainerResponse"), strict=True,
    )}  # fmt: skip  # name to answer
    stub.methods = {name: Method(reply) for name, reply in replies.items()}

    assert await client.get_device_plugin_options() is replies["GetDevicePluginOptions"]
    assert await client.get_preferred_allocation(prefer) is replies["GetPreferredAllocation"]
    assert await client.allocate(allocate) is replies["Allocate"]
    assert await client.pre_start_container(start, timeout_s=2.5) is replies["PreStartContainer"]

    requests = (pluginapi.Empty(), prefer, allocate, start)
    assert [(call.resource, call.method, call.request, call.reply) for call in log] == [
        (X, name, request, replies[name]) for name, request in zip(names, requests, strict=True)
    ]
    assert [method.calls for method in stub.methods.values()] == [
        [(request, {"timeout": 2.5} if name == "PreStartContainer" else {})]
        for name, request in zip(names, requests, strict=True)
    ]


async def test_every_list_is_handed_on_until_the_stream_ends(network):
    one, two = lists("a"), lists("b")
    client, log = await connected(network, Stub(Stream(one, two, grpc.aio.EOF)))
    received = []

    def on_list(reply):
        (call,) = log
        received.append((reply, client.is_streaming, call.is_open, call.reply))

    assert not client.is_streaming
    await client.list_and_watch(on_list)

    assert received == [(one, True, True, one), (two, True, True, two)]
    (call,) = log
    assert (call.resource, call.method, call.request) == (X, "ListAndWatch", pluginapi.Empty())
    assert (call.is_open, call.error, call.reply, client.is_streaming) == (False, None, two, False)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (Stream(raised(grpc.StatusCode.UNAVAILABLE, "gone")), "rpc error: code = Unavailable desc = gone"),
        (grpc.aio.UsageError("Channel is closed."), "rpc error: code = Canceled desc = grpc: the client connection is closing"),
        (Stream(asyncio.CancelledError()), "rpc error: code = Canceled desc = grpc: the client connection is closing"),
        (Stream(None, lists("a")), "rpc error: code = Internal desc = grpc: failed to unmarshal the received message: string field contains invalid UTF-8"),
    ],
)  # fmt: skip  # a table
async def test_a_stream_that_fails_ends_and_says_how(network, stream, text):
    client, log = await connected(network, Stub(stream))

    await client.list_and_watch(lambda reply: pytest.fail(f"{reply} came"))

    (call,) = log
    assert (str(call.error), call.is_open, client.is_streaming) == (text, False, False)


async def test_what_comes_after_the_connection_was_closed_is_no_list(network):
    def closes():
        client._is_closed = True
        return lists("late")

    client, _ = await connected(network, Stub(Stream(lists("a"), closes)))
    received = []

    await client.list_and_watch(received.append)

    assert received == [lists("a")]
    assert not client.is_streaming


async def test_a_stream_that_is_cancelled_is_cancelled(network):
    client, log = await connected(network, Stub(Stream()))
    task = asyncio.create_task(client.list_and_watch(print))
    await asyncio.sleep(0)
    assert client.is_streaming
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert [(call.is_open, call.error) for call in log] == [(False, None)]
    assert not client.is_streaming


# -- the table --------------------------------------------------------------------------------------------------------


class Client:
    """A client in the table; its stream runs until a test ends it."""

    def __init__(self, table, resource, path, directory):
        self.table, self.resource, self.socket_path, self.directory = table, resource, path, directory
        self.ended, self.is_streaming, self.closed = asyncio.Event(), False, 0
        self.options = pluginapi.DevicePluginOptions(pre_start_required=True)

    async def connect(self):
        await self.table.step("connect", self)

    async def get_device_plugin_options(self):
        await self.table.step("options", self)
        return self.options

    async def list_and_watch(self, on_list):
        self.on_list, self.is_streaming = on_list, True
        if self.table.breaks is not None:
            raise self.table.breaks
        await self.ended.wait()
        self.is_streaming = False

    async def close(self):
        self.closed += 1
        self.table.log.append(f"close {self.name}")

    @property
    def name(self):
        return f"{self.resource[-1]} {self.socket_path.name}"


class Table:
    """The table of clients, and what the device manager is told."""

    def __init__(self, monkeypatch, *, by_socket_path):
        self.log, self.clients, self.fails, self.rings = [], [], {}, 0
        self.holds, self.breaks = set(), None
        self.go_on = asyncio.Event()
        monkeypatch.setattr(plugin_client, "PluginClient", self.client)
        self.time_source = clock.ManualClock()
        self.calls = CallLog(self.time_source, print)
        self.table = client_table.ClientTable(
            self, DP, by_socket_path=by_socket_path, time_source=self.time_source, calls=self.calls, ring=self.ring,
        )  # fmt: skip  # it tells us, as it would the device manager

    def ring(self):
        self.rings += 1

    def client(self, resource, path, *, directory, time_source, calls):
        assert (time_source, calls) == (self.time_source, self.calls)
        self.clients.append(Client(self, resource, path, directory))
        return self.clients[-1]

    async def step(self, name, client):
        self.log.append(f"{name} {client.name}")
        if name in self.holds:
            await self.go_on.wait()
        if (error := self.fails.get(name)) is not None:
            raise error

    # the device manager

    def plugin_connected(self, resource, endpoint):
        assert isinstance(endpoint, Endpoint)
        assert (endpoint.resource, endpoint.options) == (resource, endpoint.client.options)
        self.log.append(f"connected {endpoint.client.name}")

    def plugin_disconnected(self, resource, client):
        self.log.append(f"disconnected {resource[-1]} of {client.name if client else 'whoever has it'}")

    def list_received(self, resource, messages, *, is_first):
        self.log.append(f"list {resource[-1]} {','.join(one.ID for one in messages)}{' first' * is_first}")

    async def settle(self):
        for _ in range(20):
            await asyncio.sleep(0)

    async def stop(self):
        """Stop the table, which waits for nobody."""
        stopping = asyncio.create_task(self.table.stop())
        await self.settle()
        assert stopping.done(), "it waits"

    async def connect(self, resource=X, name="one", **named):
        await self.table.connect(resource, DP / name, **named)
        await self.settle()
        return self.clients[-1]


@pytest.fixture(params=[False, True], ids=["to 1.36", "from 1.37"])
async def table(request, monkeypatch):
    made = Table(monkeypatch, by_socket_path=request.param)
    made.by_path = request.param
    yield made
    await made.stop()


async def test_a_plugin_is_dialed_asked_for_its_options_and_then_its_lists_come(table):
    client = await table.connect()
    client.on_list(lists("a", "b"))
    client.on_list(lists())
    client.on_list(lists("c"))

    assert table.log == ["connect x one", "options x one", "connected x one", "list x a,b first", "list x ", "list x c"]
    assert client.directory == DP
    assert table.table.live_streams(X) == 1
    assert table.table.live_streams(Y) == 0
    assert [task.get_name() for task in asyncio.all_tasks() if "list-and" in task.get_name()] == [
        f"list-and-watch {X} one"
    ]


async def test_the_directory_may_be_another_one(table):
    assert (await table.connect(directory=Path("/reg"))).directory == Path("/reg")


@pytest.mark.parametrize("step", ["connect", "options"])
async def test_a_registration_is_under_way_until_the_options_are_there(table, step):
    table.holds = {step}
    task = asyncio.create_task(table.table.connect(X, DP / "one"))
    await table.settle()
    assert (table.table.is_connecting(X), table.table.is_connecting(Y), table.rings) == (True, False, 1)
    table.go_on.set()
    await task

    assert (table.table.is_connecting(X), table.rings) == (False, 2)


@pytest.mark.parametrize(
    ("step", "error", "text"),
    [
        ("connect", plugin_client.DialError("nobody"), "failed to dial device plugin: nobody"),
        ("options", RpcError(grpc.StatusCode.UNKNOWN, "no"), "failed to get device plugin options: rpc error: code = Unknown desc = no"),
    ],
)  # fmt: skip
async def test_a_plugin_that_cannot_be_connected_is_told_why_and_is_in_no_table(table, step, error, text):
    table.fails[step] = error

    with pytest.raises(client_table.ConnectError) as caught:
        await table.connect()

    assert (str(caught.value), caught.value.__cause__) == (text, error)
    assert table.log[-1] == "close x one"
    assert (table.table.is_connecting(X), table.rings) == (False, 2)
    table.fails.clear()
    table.log.clear()
    await table.table.drop(X)
    await table.table.disconnect(X, DP / "one")
    assert table.log == [], "nobody is there"


async def test_a_bug_is_raised_as_it_is(table):
    table.fails["connect"] = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        await table.connect()
    assert table.log == ["connect x one", "close x one"]


async def test_the_end_of_a_stream_is_the_end_of_its_plugin(table):
    client = await table.connect()
    table.log.clear()
    rings = table.rings
    client.ended.set()
    await table.settle()

    of = "x one" if table.by_path else "whoever has it"
    assert table.log == ["close x one", f"disconnected x of {of}", "close x one"]
    assert table.table.live_streams(X) == 0
    assert table.rings > rings
    table.log.clear()
    await table.table.drop(X)
    assert table.log == []


async def test_the_end_of_an_old_stream_takes_the_newcomer_down_up_to_1_36_and_only_itself_from_1_37_on(table):
    old = await table.connect(name="old")
    new = await table.connect(name="new")
    assert table.table.live_streams(X) == 2
    table.log.clear()
    old.ended.set()
    await table.settle()

    if table.by_path:
        assert table.log == ["close x old", "disconnected x of x old", "close x old"]
        assert (new.closed, table.table.live_streams(X)) == (0, 1)
    else:
        assert table.log == ["close x new", "disconnected x of whoever has it", "close x old"]


async def test_the_end_of_one_that_was_taken_out_tells_nobody(table):
    client = await table.connect()
    await table.table.drop(X)
    table.log.clear()
    client.ended.set()
    await table.settle()

    assert table.log == ["close x one"]


async def test_a_newcomer_that_cannot_be_connected_takes_the_entry_of_its_neighbour_with_it_up_to_1_36(table):
    await table.connect(name="old")
    table.fails["connect"] = plugin_client.DialError("nobody")
    with pytest.raises(client_table.ConnectError):
        await table.connect(name="new")
    table.log.clear()

    await table.table.drop(X)

    assert table.log == (["close x old", "disconnected x of x old"] if table.by_path else [])


async def test_a_client_is_dropped_with_its_registration_socket(table):
    await table.connect(name="one")
    await table.connect(Y, name="two")
    table.log.clear()

    await table.table.disconnect(Y, DP / "other")
    expected = [] if table.by_path else ["close y two", "disconnected y of whoever has it"]
    assert table.log == expected
    await table.table.disconnect(X, DP / "one")
    of = "x one" if table.by_path else "whoever has it"
    assert table.log == [*expected, "close x one", f"disconnected x of {of}"]


async def test_all_clients_of_a_resource_are_dropped_and_no_others(table):
    for resource, name in ((X, "one"), (Y, "two"), (X, "three")):
        await table.connect(resource, name)
    table.log.clear()

    await table.table.drop(X)

    dropped = ["one", "three"] if table.by_path else ["three"]
    assert [line for line in table.log if line.startswith("close")] == [f"close x {name}" for name in dropped]
    assert table.clients[1].closed == 0


async def test_when_the_kubelet_dies_every_connection_is_cut_and_nobody_is_told(table):
    for resource, name in ((X, "one"), (X, "two"), (Y, "three")):
        await table.connect(resource, name)
    table.holds = {"connect"}
    connecting = asyncio.create_task(table.table.connect("example.com/z", DP / "four"))
    await table.settle()
    table.log.clear()

    await table.stop()

    assert sorted(table.log) == ["close x one", "close x two", "close y three", "close z four"]
    assert [table.table.live_streams(resource) for resource in (X, Y)] == [0, 0]
    assert not [task for task in asyncio.all_tasks() if "list-and-watch" in task.get_name()]
    connecting.cancel()
    await asyncio.wait([connecting])


async def test_a_bug_in_a_stream_is_not_swallowed(table):
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    table.breaks = ZeroDivisionError("one")

    await table.connect()

    assert failures == [table.breaks]


def test_the_words_of_a_deadline_are_gos():
    assert call_log.DEADLINE_TEXT == "context deadline exceeded"
