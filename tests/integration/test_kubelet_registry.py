"""The fake kubelet's registry socket: what Register is answered, what is noted, what is cleaned away before."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from fakekubelet import clock
from fakekubelet.kubelet import client_table, pod_resources, registration, socket_server
from fakekubelet.kubelet.registration import Registration
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.podresources.v1 import api_pb2 as podresourcesapi
from kubeletapi.podresources.v1 import api_pb2_grpc as podresourcesapi_grpc
from tests.running import DEADLINE_S

X = "example.com/x"


class Table:
    """The table that plugins are entered in."""

    def __init__(self):
        self.connected, self.fails, self.streams = [], None, 0
        self.waits = asyncio.Event()
        self.waits.set()

    def live_streams(self, resource):
        return self.streams if resource == X else 99

    async def connect(self, resource, path):
        self.connected.append((resource, str(path)))
        try:
            await self.waits.wait()
        except asyncio.CancelledError:
            await _settle()
            self.connected.append("given up")
            raise
        if self.fails is not None:
            raise self.fails


class Call:
    """A Register call from the kubelet's side."""

    def __init__(self, remaining=None):
        self.remaining, self.aborted = remaining, None

    def time_remaining(self):
        return self.remaining

    async def abort(self, code, details):
        self.aborted = (code, details)
        raise asyncio.InvalidStateError  # grpc.aio raises as well


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def records():
    return []


def server(directory, table, records, **named):
    given = {"sockets_only": True, **named}
    return registration.RegistrationServer(directory, table, on_registration=records.append, **given)


def request(endpoint="x.sock", resource=X, version="v1beta1", **options):
    return pluginapi.RegisterRequest(
        version=version, endpoint=endpoint, resource_name=resource, options=pluginapi.DevicePluginOptions(**options)
    )


async def test_a_plugin_that_is_accepted_is_connected_noted_and_answered(short_dir, table, records):
    table.streams, before = 2, time.monotonic()
    registry = server(short_dir, table, records)

    answer = await registry.Register(request(pre_start_required=True), Call(12.5))

    assert answer == pluginapi.Empty()
    assert table.connected == [(X, f"{short_dir}/x.sock")]
    (record,) = records
    assert before <= record.time <= time.monotonic()
    assert 0 <= record.duration_s < DEADLINE_S
    assert record == Registration(
        X, "x.sock", record.time, None, record.duration_s, "v1beta1", (True, False), "Register", False, 2, 12.5
    )


async def test_it_is_noted_whether_somebody_listens_and_which_options_were_sent(short_dir, table, records):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(short_dir / "x.sock"))
        listening.listen()
        await server(short_dir, table, records).Register(request(get_preferred_allocation_available=True), Call())

    (record,) = records
    assert (record.was_listening, record.request_options, record.deadline_s) == (True, (False, True), None)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (request(version="v1"), 'requested API version "v1" is not supported by kubelet. Supported version is ["v1beta1"]'),
        (request(version="", resource="x"), 'requested API version "" is not supported by kubelet. Supported version is ["v1beta1"]'),
        (request(resource="x"), 'the ResourceName "x" is invalid'),
    ],
)  # fmt: skip
async def test_what_no_kubelet_accepts_is_refused_without_a_look(short_dir, table, records, sent, text):
    call = Call()
    with pytest.raises(asyncio.InvalidStateError):
        await server(short_dir, table, records).Register(sent, call)

    assert call.aborted == (grpc.StatusCode.UNKNOWN, text)
    assert table.connected == []
    assert [(record.error, record.version, record.resource_name) for record in records] == [
        (text, sent.version, sent.resource_name)
    ]


async def test_one_that_cannot_be_connected_is_told_why(short_dir, table, records):
    table.fails, call = client_table.ConnectError("failed to dial device plugin: nobody"), Call()
    with pytest.raises(asyncio.InvalidStateError):
        await server(short_dir, table, records).Register(request(), call)

    assert call.aborted == (grpc.StatusCode.UNKNOWN, "failed to dial device plugin: nobody")
    assert records[0].error == "failed to dial device plugin: nobody"


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        ("a.sock", "/dp/a.sock"), ("/abs/a.sock", "/dp/abs/a.sock"), ("../a.sock", "/a.sock"), ("./b/../a.sock", "/dp/a.sock"), ("", "/dp"), ("../../../a", "/a"),
    ],
)  # fmt: skip  # a table
async def test_an_endpoint_is_joined_as_go_joins_paths(table, records, endpoint, path):
    await server(Path("/dp"), table, records).Register(request(endpoint), Call())

    assert table.connected == [(X, path)]
    assert records[0].endpoint == endpoint


@pytest.mark.parametrize("within", [True, False])
async def test_a_plugin_that_gives_its_call_up_ends_the_dialing_from_1_35_on(short_dir, table, records, within):
    registry = server(short_dir, table, records, dials_within_the_call=within)
    table.waits.clear()
    call = asyncio.create_task(registry.Register(request(), Call()))
    await _settle()
    assert [task.get_name() for task in asyncio.all_tasks() if "register" in task.get_name()] == ["register x.sock"]
    call.cancel()
    await _settle()
    table.waits.set()
    await _settle()

    assert call.cancelled()
    assert len(records) == (0 if within else 1)
    assert [task for task in asyncio.all_tasks() if "register" in task.get_name()] == []


async def test_a_kubelet_that_ends_gives_up_what_it_dials(short_dir, table, records):
    registry = server(short_dir, table, records, dials_within_the_call=False)
    table.waits.clear()
    call = asyncio.create_task(registry.Register(request(), Call()))
    await _settle()

    stopping = asyncio.create_task(registry.stop())
    done, _ = await asyncio.wait([stopping], timeout=2)
    assert done, "it waits for what it should give up"
    assert table.connected[1:] == ["given up"], "and waits until it has"
    assert records == []
    await asyncio.wait([call])
    assert [task for task in asyncio.all_tasks() if "register" in task.get_name()] == []


async def _settle():
    for _ in range(10):
        await asyncio.sleep(0)


# -- the directory ----------------------------------------------------------------------------------------------------


def bind(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.fixture
def directory(short_dir):
    """One with something of everything in it."""
    place = short_dir / "dp"
    (place / "sub").mkdir(parents=True)
    for name in ("plugin.sock", "kubelet.sock", "sub/inner.sock"):
        bind(place / name)
    bind(short_dir / "outside.sock")
    (short_dir / "outside").touch()
    for name in ("file", "kubelet_internal_checkpoint"):
        (place / name).touch()
    (place / "to-socket").symlink_to("../outside.sock")
    (place / "to-file").symlink_to("../outside")
    (place / "to-directory").symlink_to("sub")
    (place / "to-nowhere").symlink_to("nowhere")
    return place


ALWAYS = ["kubelet_internal_checkpoint", "sub", "to-directory", "to-nowhere"]


@pytest.mark.parametrize(("sockets_only", "left"), [(True, sorted([*ALWAYS, "file", "to-file"])), (False, ALWAYS)])
def test_sockets_are_removed_and_before_1_33_other_files(directory, sockets_only, left):
    registration.clean_directory(directory, sockets_only=sockets_only)

    assert sorted(path.name for path in directory.iterdir()) == left
    assert (directory / "sub" / "inner.sock").is_socket()
    assert (directory.parent / "outside.sock").is_socket()
    assert (directory.parent / "outside").is_file()


def test_what_vanishes_while_it_is_cleaned_is_gone(directory, monkeypatch):
    real = os.listdir

    def listdir(place):
        names = [*real(place), "gone.sock"]
        (directory / "plugin.sock").unlink()
        return names

    monkeypatch.setattr(registration.os, "listdir", listdir)
    registration.clean_directory(directory, sockets_only=True)

    assert not (directory / "kubelet.sock").exists()


@pytest.mark.parametrize("keep", [True, False])
async def test_a_registry_makes_its_directory_and_cleans_it_unless_told_otherwise(short_dir, table, records, keep):
    place = short_dir / "a" / "dp"
    registry = server(place, table, records)
    await registry.start()
    assert stat.S_IMODE(place.stat().st_mode) == 0o755 & ~_umask()
    await registry.stop()
    assert (place / "kubelet.sock").is_socket(), "it stays"
    (place / "file").touch()
    bind(place / "x.sock")

    await registry.start(keep_sockets=keep)

    assert (place / "x.sock").exists() is keep
    assert (place / "file").exists()
    assert registration.is_listening(place / "kubelet.sock")
    await registry.stop()
    assert not registration.is_listening(place / "kubelet.sock")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_somebody_listens_who_has_his_hands_full_too(short_dir):
    path = short_dir / "s"
    assert registration.is_listening(path) is False
    assert registration.is_listening(Path("/" + "x" * 200)) is False
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert registration.is_listening(path) is False, "bound, and no more"
        listening.listen(0)
        waiting = []
        try:
            for _ in range(5):
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                if waiting[-1].connect_ex(str(path)) == errno.EAGAIN:
                    break
            else:
                pytest.fail("its queue has no end")
            answers = []
            asking = threading.Thread(target=lambda: answers.append(registration.is_listening(path)), daemon=True)
            asking.start()
            asking.join(2)
            assert answers == [True], "at once"
        finally:
            for one in waiting:
                one.close()


# -- the server -------------------------------------------------------------------------------------------------------


async def test_a_socket_stays_where_it_is_when_its_server_ends(short_dir, monkeypatch):
    added, ways = [], []
    real = socket_server.tempfile.mkdtemp
    monkeypatch.setattr(
        socket_server.tempfile, "mkdtemp", lambda **named: ways.append((real(**named), named)) or ways[-1][0]
    )
    path = short_dir / "k.sock"
    server = socket_server.SocketServer(path, added.append)
    await server.stop()  # nothing was started
    await server.start()
    before = path.stat()
    ((way, named),) = ways
    assert named == {"prefix": "fk-", "dir": "/tmp"}
    assert [child.name for child in Path(way).iterdir()] == ["d"]
    assert (Path(way) / "d").readlink() == short_dir
    assert [isinstance(one, grpc.aio.Server) for one in added] == [True]
    assert registration.is_listening(path)

    await server.stop()

    assert (path.stat().st_ino, path.stat().st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert not registration.is_listening(path)
    assert not Path(way).exists()
    await server.stop()
    await server.start()
    assert registration.is_listening(path)
    assert path.stat().st_ino != before.st_ino or path.stat().st_ctime_ns != before.st_ctime_ns
    await server.stop()


async def test_a_place_where_nobody_can_listen_is_named(short_dir, monkeypatch):
    ways = []
    real = socket_server.tempfile.mkdtemp
    monkeypatch.setattr(socket_server.tempfile, "mkdtemp", lambda **named: ways.append(real(**named)) or ways[-1])
    path = short_dir / "k.sock"
    path.mkdir()
    server = socket_server.SocketServer(path, lambda _: None)

    with pytest.raises(OSError, match="a kubelet cannot listen there") as caught:
        await server.start()

    assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, str(path))
    await server.stop()
    assert [way for way in ways if Path(way).exists()] == []


async def test_pod_resources_make_their_directory_and_their_socket_stays(short_dir):
    manager = SimpleNamespace(update_allocated=lambda: None)
    api = pod_resources.PodResourcesServer(
        short_dir / "pr" / "kubelet.sock", manager, pods=list, time_source=clock.ManualClock()
    )
    await api.start()
    assert (short_dir / "pr").stat().st_mode & 0o027 == 0
    target = f"unix:{short_dir}/pr/kubelet.sock"
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = podresourcesapi_grpc.PodResourcesListerStub(channel)
        assert list((await stub.List(podresourcesapi.ListPodResourcesRequest())).pod_resources) == []
    await api.stop()

    assert (short_dir / "pr" / "kubelet.sock").is_socket()
    assert not registration.is_listening(short_dir / "pr" / "kubelet.sock")
