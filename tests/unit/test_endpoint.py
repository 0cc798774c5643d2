"""A socket of ours: what it is called, in which order it is served and ended, and what is taken for a leftover."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from fakehw_plugin import endpoint, errors
from fakehw_plugin.endpoint import Endpoint
from tests.timeless import settled, timeless

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield


def dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("length", "purpose", "stem"),
    [
        (10, "myplugin.io/mydevice-3", "fakehw-myplugin-io-mydevice-3-"),
        (10, "GPU.Example/A__B", "fakehw-gpu-example-a-b-"),
        (10, "x" * 60, f"fakehw-{'x' * 40}-"),
        (107 - 1 - 20 - 1 - 5, "a.b/cdefgh", "fakehw-defgh-"),
        (107 - 1 - 20 - 1 - 7, "a.b/cdefgh", "fakehw-cdefgh-"),
        (107 - 1 - 20 - 1 - 1, "a.b/cdefgh", "fakehw-h-"),
        (107 - 1 - 20 - 1, "a.b/cdefgh", "fakehw-"),
        (107 - 1 - 20, "a.b/cdefgh", "fakehw-"),
    ],
)
def test_a_name_says_what_it_is_for_as_far_as_there_is_room(length: int, purpose: str, stem: str) -> None:
    directory = Path("/" + "d" * (length - 1))
    first, second = endpoint.new_name(directory, purpose), endpoint.new_name(directory, purpose)

    assert re.fullmatch(re.escape(stem) + r"[0-9a-f]{8}\.sock", first)
    assert first != second
    assert len(str(directory / first)) <= 107


def test_sockets_of_one_purpose_are_found_by_their_names(short_dir: Path) -> None:
    for name in (
        "fakehw-a-b-01234567.sock", "fakehw-a-b-89abcdef.sock", "fakehw-a-01234567.sock", "fakehw-a-b-x",
        "other-a-b-01234567.sock",
    ):  # fmt: skip  # in two lines
        (short_dir / name).touch()
    assert endpoint.names(short_dir, "a.b") == {"fakehw-a-b-01234567.sock", "fakehw-a-b-89abcdef.sock"}
    assert endpoint.names(short_dir / "gone", "a.b") == set()


def test_a_socket_that_nobody_listens_on_is_dead_and_nothing_else_is(short_dir: Path) -> None:
    dead(short_dir / "dead")
    (short_dir / "file").touch()
    (short_dir / "link").symlink_to("dead")
    with listening(short_dir / "alive"):
        found = {name: endpoint.is_dead(short_dir / name) for name in ("dead", "file", "link", "alive", "gone")}
    assert found == {"dead": True, "file": False, "link": False, "alive": False, "gone": False}


def test_leftovers_of_ours_are_removed_and_named(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["fakehw-a-01234567.sock", "fakehw-01234567.sock", "fakehw-a-0123456.sock", "fakehw-a-0123456g.sock"]
    for name in (*names, "other.sock"):
        dead(short_dir / name)
    with listening(short_dir / "fakehw-b-01234567.sock"):
        assert sorted(endpoint.remove_stale(short_dir)) == sorted(names[:2])
    assert sorted(path.name for path in short_dir.iterdir()) == sorted(
        [*names[2:], "other.sock", "fakehw-b-01234567.sock"]
    )


def test_a_leftover_that_cannot_be_removed_is_not_named_and_hides_no_other(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"fakehw-{number}-01234567.sock" for number in range(3)]
    for name in names:
        dead(short_dir / name)
    unlink = Path.unlink

    def stubborn(self: Path) -> None:
        if self.name == names[1]:
            raise PermissionError(1, "Operation not permitted")
        unlink(self)

    monkeypatch.setattr(Path, "unlink", stubborn)
    assert sorted(endpoint.remove_stale(short_dir)) == [names[0], names[2]]


# The life of a server.


class Server:
    """What stands in for a gRPC server, and for what it serves."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.options: Any = None
        self.starting = asyncio.Event()
        self.stopping = asyncio.Event()
        self.starting.set()
        self.stopping.set()
        self.fails: Exception | None = None

    def make(self, *, options: Any) -> Server:
        self.options = options
        return self

    def handlers(self) -> tuple[Any, ...]:
        return ("handlers",)

    def close(self) -> None:
        self.steps.append("streams")

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self.steps.append(handlers)

    def add_insecure_port(self, target: str) -> None:
        self.steps.append(target)
        if self.fails is not None:
            raise self.fails

    async def start(self) -> None:
        self.steps.append("start")
        await self.starting.wait()
        self.steps.append("started")

    async def stop(self, grace: float | None) -> None:
        self.steps.append(("stop", grace))
        await self.stopping.wait()
        self.steps.append("stopped")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    found: list[Server] = []

    def make(*, options: Any) -> Server:
        return found[0].make(options=options)

    monkeypatch.setattr(grpc.aio, "server", make)
    return found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names


@timeless
async def test_it_is_bound_then_served_and_ended_streams_first(short_dir: Path, made: list[Server]) -> None:
    server = Server()
    made.append(server)
    before = descriptors()
    one: Endpoint[Any] = Endpoint(short_dir, "a.b/c", server)
    assert (one.servicer, one.socket_path, one.stop_grace_s) == (server, short_dir / one.name, 0.2)
    async with one as serving:
        assert serving is one
        assert server.steps == [("handlers",), f"unix:{one.socket_path}", "start", "started"]
        assert server.options == (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", 2 * 4 * 1024 * 1024 + 65_536),
        )
        assert not one.is_in_place()
        dead(one.socket_path)
        assert one.is_in_place()
        server.steps.clear()
        one.stop_grace_s = 2.0
    assert server.steps == ["streams", ("stop", 2.0), "stopped"]
    assert not one.socket_path.exists()
    assert descriptors() == before


@timeless
async def test_a_file_in_the_place_of_the_socket_is_not_the_socket(short_dir: Path, made: list[Server]) -> None:
    one: Endpoint[Any] = Endpoint(short_dir, "a", Server())
    one.socket_path.touch()
    assert not one.is_in_place()
    one.socket_path.unlink()
    dead(short_dir / "other")
    one.socket_path.symlink_to("other")
    assert not one.is_in_place()


@timeless
async def test_the_socket_is_removed_from_the_directory_in_which_it_was_made(
    short_dir: Path, made: list[Server]
) -> None:
    made.append(Server())
    (short_dir / "dp").mkdir()
    one: Endpoint[Any] = Endpoint(short_dir / "dp", "a", made[0])
    async with one:
        dead(one.socket_path)
        (short_dir / "dp").rename(short_dir / "moved")
        (short_dir / "dp").mkdir()
        dead(one.socket_path)
    assert not (short_dir / "moved" / one.name).exists()
    assert one.socket_path.exists()


@timeless
async def test_a_socket_that_cannot_be_bound_is_stopped_and_named(short_dir: Path, made: list[Server]) -> None:
    server = Server()
    made.append(server)
    server.fails = RuntimeError("Failed to bind")
    one: Endpoint[Any] = Endpoint(short_dir, "a", server)
    dead(one.socket_path)
    before = descriptors()
    with pytest.raises(errors.EndpointError) as caught:
        await one.__aenter__()
    assert str(caught.value) == f"cannot serve {one.socket_path}: Failed to bind"
    assert server.steps[-2:] == [("stop", None), "stopped"]
    assert not one.socket_path.exists()
    assert descriptors() == before


@timeless
async def test_a_directory_that_is_gone_or_may_not_be_written_is_named(
    short_dir: Path, made: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    one: Endpoint[Any] = Endpoint(short_dir / "gone", "a", Server())
    with pytest.raises(errors.EndpointError) as caught:
        await one.__aenter__()
    assert str(caught.value) == f"cannot serve {one.socket_path}: the directory is not writable"

    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) == (short_dir / "gone", os.W_OK | os.X_OK))
    with pytest.raises(errors.EndpointError) as caught:
        await one.__aenter__()
    assert str(caught.value) == f"cannot serve {one.socket_path}: No such file or directory"


@timeless
async def test_one_that_is_cancelled_while_it_starts_is_started_and_stopped(
    short_dir: Path, made: list[Server]
) -> None:
    server = Server()
    made.append(server)
    server.starting.clear()
    one: Endpoint[Any] = Endpoint(short_dir, "a", server)
    before = descriptors()
    entering = asyncio.create_task(one.__aenter__())
    await settled()
    entering.cancel()
    await settled()
    assert not entering.done(), "a server that is half started could never be stopped"
    server.starting.set()
    await asyncio.wait([entering])
    assert entering.cancelled()
    assert server.steps[2:] == ["start", "started", "streams", ("stop", 0.2), "stopped"]
    assert descriptors() == before


@timeless
async def test_one_that_is_cancelled_while_it_stops_has_stopped_before_it_goes(
    short_dir: Path, made: list[Server]
) -> None:
    server = Server()
    made.append(server)
    server.stopping.clear()
    one: Endpoint[Any] = Endpoint(short_dir, "a", server)
    await one.__aenter__()
    dead(one.socket_path)
    leaving = asyncio.create_task(one.__aexit__(None, None, None))
    await settled()
    leaving.cancel()
    await settled()
    assert not leaving.done()
    assert one.socket_path.exists()
    server.stopping.set()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    assert not one.socket_path.exists()
