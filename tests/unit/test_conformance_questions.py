"""What the kit asks a plugin beside the kubelet's own calls, and what it keeps of the answers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path

import grpc
import pytest

from fakekubelet import clock
from fakekubelet.conformance import direct_client
from fakekubelet.conformance.settings import Limits
from fakekubelet.kubelet import call_log, plugin_client
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.kit_evidence import X, options
from tests.running import DEADLINE_S

UNKNOWN = "no-such-device-of-the-conformance-kit"


class Client:
    """A connection to a plugin, that remembers what was asked."""

    resource = X

    def __init__(self, *, fails=(), hangs=()):
        self.asked = []
        self.fails, self.hangs = fails, hangs

    async def answer(self, method, request, reply):
        self.asked.append((method, request))
        if method in self.hangs:
            await asyncio.Event().wait()
        if method in self.fails:
            raise call_log.RpcError(grpc.StatusCode.INTERNAL, "oh dear")
        return reply

    def allocate(self, request):
        return self.answer("Allocate", request, pluginapi.AllocateResponse())

    def get_preferred_allocation(self, request):
        return self.answer("GetPreferredAllocation", request, pluginapi.PreferredAllocationResponse())

    def pre_start_container(self, request, *, timeout_s):
        self.pre_start_s = timeout_s
        return self.answer("PreStartContainer", request, pluginapi.PreStartContainerResponse())


def shown(exchange):
    """Return a question in a few words."""
    request = exchange.request
    if exchange.method == "PreStartContainer":
        return exchange.method, exchange.purpose, list(request.devices_ids)
    (asked,) = request.container_requests
    if exchange.method == "Allocate":
        return exchange.method, exchange.purpose, list(asked.devices_ids)
    must = list(asked.must_include_deviceIDs)
    return exchange.method, exchange.purpose, list(asked.available_deviceIDs), must, asked.allocation_size


def prefers(*ids):
    return [
        ("GetPreferredAllocation", "choice", [*ids], [], 1),
        ("GetPreferredAllocation", "choice", [*ids], [ids[-1]], min(2, len(ids))),
        ("GetPreferredAllocation", "choice", [*ids], [], len(ids)),
        ("GetPreferredAllocation", "unknown", [*ids, UNKNOWN], [], 1),
    ]


LAST = [("Allocate", "unknown", [UNKNOWN])]


def allocates(*ids):
    return [("Allocate", "first", [*ids]), ("Allocate", "again", [*ids])]


@pytest.mark.parametrize(
    ("healthy", "said", "expected"),
    [
        ("", options(pre_start=True, preferred=True), LAST),
        ("a", options(), [*allocates("a"), *LAST]),
        ("cba", options(), [*allocates("a", "b"), *LAST]),
        ("a", options(preferred=True), [*prefers("a"), *allocates("a"), *LAST]),
        ("ba", options(preferred=True), [*prefers("a", "b"), *allocates("a", "b"), *LAST]),
        (
            "dcba", options(pre_start=True, preferred=True),
            [*prefers(*"abcd"), *allocates("a", "b"), ("PreStartContainer", "first", ["a", "b"]), *LAST],
        ),
    ],
)  # fmt: skip  # a table
async def test_every_question_is_asked_that_the_options_allow(healthy, said, expected):
    client = Client()

    exchanges = await direct_client.ask_all(client, list(healthy), said, Limits())

    assert [shown(exchange) for exchange in exchanges] == expected
    assert client.asked == [(exchange.method, exchange.request) for exchange in exchanges]
    assert {exchange.resource for exchange in exchanges} == {X}
    assert [exchange.error for exchange in exchanges] == [None] * len(exchanges)
    assert not any(exchange.reply is None for exchange in exchanges)
    assert all(0 <= exchange.duration_s < DEADLINE_S for exchange in exchanges)


async def test_of_very_many_devices_64_are_enough_to_choose_from():
    ids = [f"d{number:02}" for number in range(66)]
    client = Client()

    exchanges = await direct_client.ask_all(client, ids, options(preferred=True), Limits())

    assert [shown(exchange) for exchange in exchanges] == [*prefers(*ids[:64]), *allocates("d00", "d01"), *LAST]


async def test_an_answer_that_does_not_come_or_is_an_error_is_kept_as_such():
    limits = Limits(reply_s=0.01, pre_start_s=0.02)
    client = Client(fails=["Allocate"], hangs=["GetPreferredAllocation", "PreStartContainer"])

    exchanges = await direct_client.ask_all(client, ["a"], options(pre_start=True, preferred=True), limits)

    error = "rpc error: code = Internal desc = oh dear"
    assert [(exchange.method, exchange.error) for exchange in exchanges] == [
        *[("GetPreferredAllocation", "no answer in time")] * 4,
        *[("Allocate", error)] * 2,
        ("PreStartContainer", "no answer in time"),
        ("Allocate", error),
    ]
    assert [exchange.reply for exchange in exchanges] == [None] * 8
    assert all(exchange.duration_s >= 0.01 for exchange in exchanges if exchange.timed_out)
    assert client.pre_start_s == 30.0


async def test_a_connection_is_the_kubelets_with_a_log_of_its_own_and_is_closed_in_any_case(monkeypatch):
    made = []

    class Plugin:
        def __init__(self, *given, **named):
            self.given, self.named, self.done = given, named, []
            made.append(self)

        async def connect(self):
            self.done.append("connect")
            if self.given[1] == Path("/dp/dead"):
                raise plugin_client.DialError("nobody")

        async def close(self):
            self.done.append("close")

    monkeypatch.setattr(plugin_client, "PluginClient", Plugin)

    async with direct_client.connected(X, Path("/dp/x.sock")) as client:
        assert client is made[0]
        assert client.done == ["connect"]
    with pytest.raises(plugin_client.DialError):
        async with direct_client.connected(X, Path("/dp/dead")):
            pytest.fail("nobody is there")

    assert [plugin.done for plugin in made] == [["connect", "close"]] * 2
    assert made[0].given == (X, Path("/dp/x.sock"))
    named = made[0].named
    assert named["directory"] == Path("/dp")
    assert isinstance(named["time_source"], clock.RealClock)
    assert list(named["calls"]) == []
    call = named["calls"].open(X, "Allocate", pluginapi.AllocateRequest())
    assert list(named["calls"]) == [call]


class Stream:
    """A second ListAndWatch, played by a test."""

    def __init__(self, monkeypatch, error=None):
        self.error = error
        self.opened = []
        self.news = asyncio.Queue()
        self.ends = asyncio.Event()
        monkeypatch.setattr(direct_client, "connected", self.connected)

    @contextlib.asynccontextmanager
    async def connected(self, resource, path):
        self.opened.append((resource, path))
        if self.error is not None:
            raise self.error
        yield self
        self.opened.append("closed")

    async def list_and_watch(self, on_list):
        self.on_list = on_list
        self.opened.append("watched")
        await self.ends.wait()

    def send(self, **health):
        devices = [pluginapi.Device(ID=name, health=word) for name, word in health.items()]
        self.on_list(pluginapi.ListAndWatchResponse(devices=devices))


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0)


async def at_once(awaitable):
    """Return what comes of it without a wait."""
    task = asyncio.ensure_future(awaitable)
    for _ in range(10):
        await asyncio.sleep(0)
    assert task.done(), "it waits"
    return await task


async def test_a_second_stream_keeps_the_first_ids_the_last_list_and_the_fewest_healthy(monkeypatch):
    stream, rings = Stream(monkeypatch), []
    watcher = direct_client.Watcher(X, Path("/dp/x.sock"), lambda: rings.append(dict(watcher.health)))
    assert (watcher.resource, watcher.error, watcher.at, watcher.health) == (X, "", 0.0, {})
    assert watcher.fewest_healthy == sys.maxsize

    async with watcher:
        await until(lambda: "watched" in stream.opened)
        assert stream.opened == [(X, Path("/dp/x.sock")), "watched"]
        assert await watcher.first_ids(0.001) is None
        before = time.monotonic()
        stream.send(a="Healthy", b="Healthy", c="sick")
        assert before <= watcher.at <= time.monotonic()
        assert await watcher.first_ids(DEADLINE_S) == frozenset("abc")
        assert watcher.fewest_healthy == 2
        stream.send(a="Unhealthy", b="Healthy")
        stream.send(a="Healthy", b="Healthy")
        assert watcher.health == {"a": "Healthy", "b": "Healthy"}
        assert watcher.fewest_healthy == 1
        assert await watcher.first_ids(DEADLINE_S) == frozenset("abc")
        assert (watcher.error, len(rings)) == ("", 3)
        assert rings[1] == {"a": "Unhealthy", "b": "Healthy"}

    assert "closed" not in stream.opened, "it is cancelled"


async def test_a_second_stream_that_ends_or_cannot_be_opened_says_so(monkeypatch):
    stream = Stream(monkeypatch)
    stream.ends.set()
    async with direct_client.Watcher(X, Path("/dp/x"), lambda: None) as watcher:
        assert await at_once(watcher.first_ids(DEADLINE_S)) is None
        assert watcher.error == "(the stream ended)"

    Stream(monkeypatch, plugin_client.DialError("nobody there"))
    async with direct_client.Watcher(X, Path("/dp/x"), lambda: None) as watcher:
        assert await at_once(watcher.first_ids(DEADLINE_S)) is None
        assert watcher.error == "(nobody there)"


async def test_what_came_before_the_end_of_a_second_stream_stays(monkeypatch):
    stream = Stream(monkeypatch)
    async with direct_client.Watcher(X, Path("/dp/x"), lambda: None) as watcher:
        await until(lambda: "watched" in stream.opened)
        stream.send(a="Healthy")
        stream.ends.set()
        await until(lambda: watcher.error)

        assert await watcher.first_ids(DEADLINE_S) == frozenset("a")


async def test_no_stream_outlives_its_context(monkeypatch):
    stream = Stream(monkeypatch)
    watcher = await direct_client.Watcher(X, Path("/dp/x"), lambda: None).__aenter__()
    await until(lambda: "watched" in stream.opened)
    (task,) = (one for one in asyncio.all_tasks() if one.get_name() == f"second stream {X}")

    await at_once(watcher.__aexit__())

    assert task.cancelled()
