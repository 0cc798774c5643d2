"""The fake kubelet's plugin watcher: what it finds, in which order it registers, when it tries again, what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import inotify_simple
import pytest

from fakekubelet import clock
from fakekubelet.kubelet import client_table, plugin_client, plugin_watcher
from fakekubelet.kubelet.call_log import CallLog
from fakekubelet.kubelet.registration import Registration
from kubeletapi.pluginregistration.v1 import api_pb2 as watcherapi
from tests.running import DEADLINE_S

X = "example.com/x"
NOT_VALID = "RegisterPlugin error -- plugin validation failed with err: "
NOT_CONNECTED = "RegisterPlugin error -- plugin registration failed with err: "


def info(name=X, *, kind="DevicePlugin", endpoint="", versions=("v1beta1",)):
    return watcherapi.PluginInfo(type=kind, name=name, endpoint=endpoint, supported_versions=versions)


class Answer:
    """An RPC to a plugin."""

    def __init__(self, world, name, answer):
        self.world, self.name, self.answer = world, name, answer

    async def __call__(self, request, *, timeout):
        said = f" {request.plugin_registered} {request.error}".rstrip() if self.name == "Notify" else ""
        self.world.log.append(f"{self.name}{said} within {timeout:g} s")
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def failure(text):
    metadata = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNKNOWN, metadata, metadata, text)


class World:
    """A registry with one plugin behind every socket, and the table that it is to be entered in."""

    def __init__(self, directory, monkeypatch, *, takes_back=True, drivers=None, look_every_s=None):
        self.log, self.records = [], []
        self.directory, self.clock = directory, clock.ManualClock(start=0)
        self.info, self.notice = info(), watcherapi.RegistrationStatusResponse()
        self.dials, self.connects = None, None
        self.calls = CallLog(self.clock, lambda: None)
        monkeypatch.setattr(plugin_client, "dial", self.dial)
        monkeypatch.setattr(plugin_watcher.watcherapi_grpc, "RegistrationStub", self.stub)
        self.watcher = plugin_watcher.PluginWatcher(
            directory, self, time_source=self.clock, calls=self.calls, takes_failures_back=takes_back,
            on_registration=self.note, drivers=drivers, look_every_s=look_every_s,
        )  # fmt: skip  # we are its table
        self.watcher.prepare()

    async def dial(self, path, *, directory, authority, time_source):
        assert (directory, time_source) == (self.directory, self.clock)
        assert authority == plugin_watcher.authority_of(path)
        assert len(self.log) < 100, "it tries without end"
        self.log.append(f"dial {path.relative_to(self.directory)}")
        if self.dials is not None:
            raise self.dials
        return self

    def stub(self, channel):
        assert channel is self
        return SimpleNamespace(
            GetInfo=Answer(self, "GetInfo", self.info), NotifyRegistrationStatus=Answer(self, "Notify", self.notice)
        )

    async def close(self):
        self.log.append("close")

    async def connect(self, resource, target, *, directory):
        assert directory == self.directory
        self.log.append(f"connect {resource} at {self.shown(target)}")
        if self.connects is not None:
            raise self.connects

    async def disconnect(self, resource, target):
        self.log.append(f"disconnect {resource} at {self.shown(target)}")

    def shown(self, path):
        return path.relative_to(self.directory) if path.is_relative_to(self.directory) else path

    def note(self, record):
        self.records.append(record)
        self.log.append("noted")

    def bind(self, name):
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
        return path

    @contextlib.asynccontextmanager
    async def running(self):
        task = asyncio.create_task(self.watcher.run())
        try:
            await asyncio.sleep(0)
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, *lines):
        """Wait for what is logged next, and forget it."""
        wanted = list(lines)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while len(self.log) < len(wanted):
                    await asyncio.sleep(0.001)
        except TimeoutError:
            pass
        await self.settle()
        assert self.log == wanted
        self.log.clear()

    async def settle(self):
        for _ in range(30):
            await asyncio.sleep(0)


@pytest.fixture
def make(short_dir, monkeypatch):
    return lambda **named: World(short_dir / "reg", monkeypatch, **named)


@pytest.fixture
def world(make):
    return make()


ASKED = ["dial x.sock", "GetInfo within 1 s"]
TOLD = "Notify True within 5 s"
REGISTERED = [*ASKED, f"connect {X} at x.sock", "noted", TOLD, "close"]


def refused(text):
    return f"Notify False {text} within 5 s"


# -- one registration -------------------------------------------------------------------------------------------------


async def test_a_socket_that_is_there_already_is_asked_connected_noted_and_told(world):
    path, before = world.bind("x.sock"), time.monotonic()

    async with world.running():
        await world.until(*REGISTERED)

    (record,) = world.records
    assert before <= record.time <= time.monotonic()
    assert 0 <= record.duration_s < DEADLINE_S
    assert record == Registration(X, str(path), record.time, None, record.duration_s, route="watcher")
    assert (record.version, record.was_listening, record.streams_before, record.deadline_s) == (
        "v1beta1",
        True,
        0,
        None,
    )
    assert [(call.resource, call.method, type(call.request).__name__) for call in world.calls] == [
        ("x.sock", "GetInfo", "InfoRequest"),
        ("x.sock", "NotifyRegistrationStatus", "RegistrationStatus"),
    ]
    assert world.log == [], "what is registered stays so when the kubelet ends"


async def test_a_plugin_may_serve_elsewhere_than_it_registers(world):
    world.info = info(endpoint="/elsewhere/p.sock")
    world.bind("x.sock")

    async with world.running() as running:
        await world.until(*ASKED, f"connect {X} at /elsewhere/p.sock", "noted", TOLD, "close")
        (world.directory / "x.sock").unlink()
        await world.until(f"disconnect {X} at /elsewhere/p.sock")
        assert not running.done()
    assert world.records[0].endpoint == "/elsewhere/p.sock"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (info(kind="CSIPlugin"), "RegisterPlugin error -- no handler registered for plugin type: CSIPlugin at socket {path}"),
        (info(kind="DRAPlugin"), "RegisterPlugin error -- no handler registered for plugin type: DRAPlugin at socket {path}"),
        (info(versions=("v1", "v2")), NOT_VALID + "manager version, v1beta1, is not among plugin supported versions [v1 v2]"),
        (info(versions=()), NOT_VALID + "manager version, v1beta1, is not among plugin supported versions []"),
        (info("x"), NOT_VALID + 'invalid name of device plugin socket: the ResourceName "x" is invalid'),
        (info("x", kind="other", versions=()), "RegisterPlugin error -- no handler registered for plugin type: other at socket {path}"),
    ],
)  # fmt: skip  # a table
@pytest.mark.parametrize("takes_back", [True, False])
async def test_what_is_refused_is_not_connected_is_told_why_and_is_tried_again(make, said, text, takes_back):
    world = make(takes_back=takes_back)
    world.info, path = said, world.bind("x.sock")
    text = text.format(path=path)
    once = [*ASKED, "noted", refused(text), "close"]

    async with world.running():
        await world.until(*once)
        await world.clock.advance(0.5)
        await world.until(*once)

    assert [(record.error, record.resource_name) for record in world.records] == [(text, said.name)] * 2


async def test_one_of_several_versions_is_enough(world):
    world.info = info(versions=("v1", "v1beta1"))
    world.bind("x.sock")

    async with world.running():
        await world.until(*REGISTERED)


@pytest.mark.parametrize("takes_back", [True, False])
async def test_one_that_cannot_be_connected_is_tried_again_from_1_36_on(make, takes_back):
    world = make(takes_back=takes_back)
    world.connects = client_table.ConnectError("failed to dial device plugin: nobody")
    world.bind("x.sock")
    text = f"{NOT_CONNECTED}failed to dial device plugin: nobody"
    once = [*ASKED, f"connect {X} at x.sock", "noted", refused(text), "close"]

    async with world.running():
        await world.until(*once)
        await world.clock.advance(1000)
        world.connects = None
        await world.clock.advance(1000)
        await world.settle()
        assert (len(world.log) > len(REGISTERED)) is takes_back
        assert (world.log[-6:] == REGISTERED) is takes_back
    assert world.records[0].error == text


@pytest.mark.parametrize("takes_back", [True, False])
async def test_a_notice_that_is_refused_takes_the_registration_back_from_1_36_on(make, takes_back):
    world = make(takes_back=takes_back)
    world.notice = failure("no thanks")
    world.bind("x.sock")
    once = REGISTERED[:-1]

    async with world.running():
        await world.until(*once, *([f"disconnect {X} at x.sock"] if takes_back else []), "close")
        world.notice = watcherapi.RegistrationStatusResponse()
        await world.clock.advance(0.5)
        await world.settle()
        assert world.log == (REGISTERED if takes_back else [])
        world.log.clear()
        (world.directory / "x.sock").unlink()
        await world.until(f"disconnect {X} at x.sock")


async def test_a_refusal_that_cannot_be_told_is_a_refusal_all_the_same(world):
    world.info, world.notice = info(kind="other"), failure("no thanks")
    world.bind("x.sock")
    async with world.running():
        await world.until(*ASKED, "noted", refused(
            f"RegisterPlugin error -- no handler registered for plugin type: other at socket {world.directory}/x.sock"
        ), "close")  # fmt: skip  # one call


async def test_one_that_does_not_answer_or_is_not_there_is_told_nothing_and_tried_again(world):
    world.info = failure("busy")
    world.bind("x.sock")

    async with world.running():
        await world.until(*ASKED, "close")
        world.dials = plugin_client.DialError("context deadline exceeded")
        await world.clock.advance(0.5)
        await world.until("dial x.sock")
        world.dials, world.info = None, info()
        await world.clock.advance(1.0)
        await world.until(*REGISTERED)
    assert len(world.records) == 1


# -- trying again -----------------------------------------------------------------------------------------------------


async def test_each_try_comes_twice_as_late_as_the_one_before_up_to_two_minutes(world):
    world.dials = plugin_client.DialError("nobody")
    world.bind("x.sock")
    waits = [0.5, 1, 2, 4, 8, 16, 32, 64, 122, 122]

    async with world.running():
        await world.until("dial x.sock")
        due = 0.0
        for wait_s in waits:
            due += wait_s
            await world.clock.advance(due - 0.01 - world.clock.time())
            assert world.log == [], wait_s
            await world.clock.advance(0.011)
            assert world.log == ["dial x.sock"], wait_s
            world.log.clear()


async def test_a_socket_that_is_made_again_has_to_wait_like_the_one_before(world):
    world.dials = plugin_client.DialError("nobody")
    world.bind("x.sock")

    async with world.running():
        await world.until("dial x.sock")
        await world.clock.advance(0.6)
        await world.until("dial x.sock")
        world.dials = None
        world.bind("x.sock")
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert world.log == []
        await world.clock.advance(1.0)
        await world.until(*REGISTERED)
        world.bind("x.sock")
        await world.until(f"disconnect {X} at x.sock", *REGISTERED)  # at once: the failures are forgotten


async def test_a_socket_that_goes_is_not_tried_any_more(world):
    world.dials = plugin_client.DialError("nobody")
    world.bind("x.sock")

    async with world.running():
        await world.until("dial x.sock")
        (world.directory / "x.sock").unlink()
        for _ in range(50):
            await asyncio.sleep(0.001)
        await world.clock.advance(10)
        assert world.log == []


# -- finding sockets --------------------------------------------------------------------------------------------------


FOUND = [None, 0.001]
"""By inotify, or by looking every thousandth of a second."""


@contextlib.asynccontextmanager
async def looking(world):
    """Let a looking watcher's time pass."""

    async def pass_time():
        while True:
            await world.clock.advance(0.001)
            await asyncio.sleep(0.001)

    async with world.running() as task:
        passing = asyncio.create_task(pass_time())
        try:
            yield task
        finally:
            passing.cancel()
            await asyncio.wait([passing])


@pytest.mark.parametrize("every_s", FOUND)
async def test_sockets_are_found_wherever_they_come_and_followed_until_they_go(make, every_s):
    world = make(look_every_s=every_s)
    registered = {name: [line.replace("x.sock", name) for line in REGISTERED] for name in ("d/x.sock", "e/f/y.sock")}
    world.bind("d/x.sock")
    for hidden in (".hidden.sock", ".d/z.sock"):
        world.bind(hidden)
    (world.directory / "file").touch()
    (world.directory / "link").symlink_to(world.directory / "nowhere")

    async with looking(world):
        await world.until(*registered["d/x.sock"])
        (world.directory / "e" / "f").mkdir(parents=True)
        world.bind(".again.sock")
        world.bind("e/f/y.sock")
        await world.until(*registered["e/f/y.sock"])
        (world.directory / "new").touch()
        (world.directory / "d/x.sock").unlink()
        await world.until(f"disconnect {X} at d/x.sock")
        world.bind("d/x.sock")
        await world.until(*registered["d/x.sock"])
        world.bind("d/x.sock")
        await world.until(f"disconnect {X} at d/x.sock", *registered["d/x.sock"])


async def test_a_socket_that_is_moved_in_is_found(world, short_dir):
    world.bind("../elsewhere")

    async with world.running():
        await asyncio.sleep(0.01)
        (short_dir / "elsewhere").rename(world.directory / "x.sock")
        await world.until(*REGISTERED)


async def test_sockets_that_are_there_are_tried_in_order(world):
    for name in ("c.sock", "a.sock", "b.sock"):
        world.bind(name)
    world.dials = plugin_client.DialError("nobody")

    async with world.running():
        await world.until("dial a.sock", "dial b.sock", "dial c.sock")
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert {"plugin a.sock", "plugin b.sock", "plugin c.sock"} <= names

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("plugin ")]


async def test_what_is_under_way_is_given_up_when_the_kubelet_ends_and_waited_for(world, monkeypatch):
    given_up = []

    async def hang(*_, **__):
        try:
            world.log.append("dial")
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            given_up.append("x.sock")

    monkeypatch.setattr(plugin_client, "dial", hang)
    world.bind("x.sock")

    async with world.running() as task:
        await world.until("dial")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert given_up == ["x.sock"]


async def test_looking_now_and_then_takes_the_time_that_was_given_and_no_inotify(make, monkeypatch):
    monkeypatch.setattr(plugin_watcher, "new_inotify", lambda: pytest.fail("an instance was taken"))
    world = make(look_every_s=2.0)
    world.dials = plugin_client.DialError("nobody")

    async with world.running():
        await world.settle()
        for name in ("b.sock", "a.sock"):
            world.bind(name)
        await world.clock.advance(1.9)
        assert world.log == []
        await world.clock.advance(0.2)
        await world.until("dial a.sock", "dial b.sock")


def test_the_directory_is_made_with_those_above_it(short_dir, monkeypatch):
    world = World(short_dir / "a" / "b", monkeypatch)
    world.watcher.prepare()

    assert (world.directory.stat().st_mode & 0o777) == 0o750 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def test_the_inotify_instance_is_given_back(world, monkeypatch):
    made = []
    real = plugin_watcher.new_inotify
    monkeypatch.setattr(plugin_watcher, "new_inotify", lambda: made.append(real()) or made[-1])

    async with world.running():
        await asyncio.sleep(0)

    assert [one.closed for one in made] == [True]


def test_what_allows_no_more_instances_is_named(monkeypatch):
    def none(number):
        def fails():
            raise OSError(number, "no")

        return fails

    monkeypatch.setattr(inotify_simple, "INotify", none(errno.EMFILE))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - what it says is told below
        plugin_watcher.new_inotify()
    assert (caught.value.errno, caught.value.strerror) == (
        errno.EMFILE,
        "no more inotify instances for this user, or no more open files (fs.inotify.max_user_instances, ulimit -n)",
    )
    monkeypatch.setattr(inotify_simple, "INotify", none(errno.ENFILE))
    with pytest.raises(OSError) as caught:  # noqa: PT011 - likewise
        plugin_watcher.new_inotify()
    assert (caught.value.errno, caught.value.strerror) == (errno.ENFILE, "no")


@pytest.mark.parametrize(
    ("path", "authority"),
    [
        ("/a b/c.sock", "%2Fa%20b%2Fc.sock"),
        ("/!$&'()*+,;=[]:@-._~", "%2F!$&'()*+,;=[]:@-._~"),
        ('/#?%"<>\\^`{|}', "%2F%23%3F%25%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/ü", "%2F%C3%BC"),
    ],
)
def test_the_authority_is_the_path_as_go_escapes_it(path, authority):
    assert plugin_watcher.authority_of(Path(path)) == authority


# -- DRA drivers ------------------------------------------------------------------------------------------------------


class Drivers:
    """Who takes DRA drivers."""

    def __init__(self):
        self.refuses, self.fails, self.log = None, None, []

    def refusal(self, name, endpoint, versions):
        self.log.append(("refusal", name, str(endpoint), versions))
        return self.refuses

    async def connect(self, name, endpoint, versions):
        self.log.append(("connect", name, str(endpoint), versions))
        if self.fails is not None:
            raise self.fails

    async def disconnect(self, name, endpoint):
        self.log.append(("disconnect", name, str(endpoint)))


DRIVER = info("gpu.example.com", kind="DRAPlugin", endpoint="/p/dra.sock", versions=("v1.DRAPlugin", "1.0.0"))
OF_IT = ("gpu.example.com", "/p/dra.sock", ["v1.DRAPlugin", "1.0.0"])


async def test_a_driver_is_taken_by_those_who_take_drivers_and_given_back_with_its_socket(make):
    drivers = Drivers()
    world = make(drivers=drivers)
    world.info = DRIVER
    world.bind("x.sock")

    async with world.running():
        await world.until(*ASKED, "noted", TOLD, "close")
        (world.directory / "x.sock").unlink()
        async with asyncio.timeout(DEADLINE_S):
            while len(drivers.log) < 3:
                await asyncio.sleep(0.001)

    assert drivers.log == [("refusal", *OF_IT), ("connect", *OF_IT), ("disconnect", *OF_IT[:2])]
    assert (world.records[0].resource_name, world.records[0].endpoint) == OF_IT[:2]


async def test_a_driver_that_is_not_taken_is_told_why(make):
    drivers = Drivers()
    drivers.refuses = "no such version"
    world = make(drivers=drivers)
    world.info = DRIVER
    world.bind("x.sock")

    async with world.running():
        await world.until(*ASKED, "noted", refused(f"{NOT_VALID}no such version"), "close")
        drivers.refuses, drivers.fails = None, RuntimeError("it hung up")
        await world.clock.advance(0.5)
        await world.until(*ASKED, "noted", refused(f"{NOT_CONNECTED}it hung up"), "close")

    assert [entry[0] for entry in drivers.log] == ["refusal", "refusal", "connect"]


async def test_a_device_plugin_is_no_matter_of_drivers(make):
    drivers = Drivers()
    world = make(drivers=drivers)
    world.bind("x.sock")

    async with world.running():
        await world.until(*REGISTERED)
    assert drivers.log == []
