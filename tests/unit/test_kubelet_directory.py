"""The kubelet's directory: who is woken when, what is said of it, and when a kubelet counts as listening; in no time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import inotify
from fakehw_plugin.deviceplugin import directory
from fakehw_plugin.deviceplugin.directory import KubeletDirectory
from tests.timeless import elapsed, running, settled, timeless, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def listening(path: Path, *, is_deaf: bool = False) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        if not is_deaf:
            server.listen()
        yield server


class Watched:
    """A directory that is watched, and how often somebody was woken."""

    def __init__(self, path: Path) -> None:
        self.directory = KubeletDirectory(path)
        self.stocks = self.woken = 0
        take_stock = self.directory.newcomers.take_stock

        def counted() -> None:
            self.stocks += 1
            take_stock()

        self.directory.newcomers.take_stock = counted  # type: ignore[method-assign]
        self.directory.subscribe(self.wake)

    def wake(self) -> None:
        self.woken += 1

    async def counts(self) -> tuple[int, int]:
        """Return how often it was looked at whole, and somebody woken, since this was last asked."""
        await settled()
        found, self.stocks, self.woken = (self.stocks, self.woken), 0, 0
        return found


def said(lines: list[Any], path: Path) -> list[dict[str, Any]]:
    assert all(line["plugin_dir"] == str(path) for line in lines)
    return [{key: value for key, value in line.items() if key != "plugin_dir"} for line in lines]


def test_a_kubelet_is_told_by_device_inode_and_time_of_its_socket(short_dir: Path) -> None:
    found = KubeletDirectory(short_dir)
    assert found.path == short_dir
    assert found.identity() is None
    (short_dir / "kubelet.sock").write_text("no socket")
    assert found.identity() is None
    (short_dir / "kubelet.sock").unlink()
    with listening(short_dir / "elsewhere"):
        status = (short_dir / "elsewhere").stat()
        (short_dir / "kubelet.sock").symlink_to("elsewhere")
        assert found.identity() == (status.st_dev, status.st_ino, status.st_ctime_ns)


def test_a_directory_that_was_deleted_under_its_mount_is_an_orphan_and_one_that_is_missing_is_not(
    short_dir: Path,
) -> None:
    (short_dir / "gone").mkdir()
    fd = os.open(short_dir / "gone", os.O_RDONLY)
    try:
        held = KubeletDirectory(Path(f"/proc/self/fd/{fd}"))
        assert not held.is_orphaned
        (short_dir / "gone").rmdir()
        assert held.is_orphaned
        assert not KubeletDirectory(short_dir / "gone").is_orphaned
    finally:
        os.close(fd)


def test_who_subscribed_is_woken_until_they_do_so_no_more(short_dir: Path) -> None:
    watched = Watched(short_dir)
    watched.directory.wake_all()
    watched.directory.unsubscribe(watched.wake)
    watched.directory.unsubscribe(watched.wake)
    watched.directory.wake_all()
    assert watched.woken == 1


@timeless
async def test_everything_that_happens_in_the_directory_wakes_and_newcomers_hear_of_it(short_dir: Path) -> None:
    watched = Watched(short_dir)
    present = watched.directory.newcomers.present
    async with running(watched.directory.run()):
        assert await watched.counts() == (1, 1)
        with listening(short_dir / "other.sock"):
            assert await watched.counts() == (0, 1)
            assert set(present) == {"other.sock"}
            (short_dir / "other.sock").rename(short_dir / "renamed.sock")
            await settled()
            assert set(present) == {"renamed.sock"}
            (short_dir / "renamed.sock").unlink()
            await settled()
            assert set(present) == set()
        await asyncio.sleep(1000)
        watched.woken = 0
        await asyncio.sleep(1000)
        assert await watched.counts() == (0, 0), "nothing happened"


@timeless
async def test_a_missing_directory_is_looked_for_once_a_second_and_said_once(short_dir: Path) -> None:
    path = short_dir / "dp"
    watched = Watched(path)
    with capture_logs() as lines:
        async with running(watched.directory.run()):
            await asyncio.sleep(9.5)
            assert await watched.counts() == (9, 9)
            path.mkdir()
            await asyncio.sleep(1)
            assert await watched.counts() == (2, 2), "after the second, and when it is watched"
            (path / "x").touch()
            assert await watched.counts() == (0, 1)
            (path / "x").unlink()
            await settled()
            path.rmdir()
            await settled()
            await asyncio.sleep(5)

    missing = {"event": "plugin_dir_not_ready", "log_level": "warning", "reason": "no such directory"}
    assert said(lines, path) == [missing, missing]


@timeless
async def test_a_directory_that_is_replaced_is_taken_up_a_second_later(short_dir: Path) -> None:
    path = short_dir / "dp"
    path.mkdir()
    watched = Watched(path)
    async with running(watched.directory.run()):
        await watched.counts()
        path.rename(short_dir / "old")
        path.mkdir()
        assert await watched.counts() == (0, 1)
        await asyncio.sleep(1)
        assert await watched.counts() == (2, 2)
        (path / "x").touch()
        assert await watched.counts() == (0, 1)
        (short_dir / "old/x").touch()
        assert await watched.counts() == (0, 0)


@timeless
async def test_where_nothing_can_be_watched_it_is_looked_once_a_second_and_said_once(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify.Watcher, "open", lambda self: self._give_up(OSError(errno.EMFILE, "")))
    watched = Watched(short_dir)
    with capture_logs() as lines:
        async with running(watched.directory.run()):
            await asyncio.sleep(9.5)
            assert await watched.counts() == (9, 9)

    reason = "Too many open files (EMFILE)"
    assert said(lines, short_dir) == [
        {"event": "not_watched", "log_level": "warning", "reason": reason, "looking_every_s": 1.0}
    ]


@timeless
async def test_after_lost_events_the_whole_directory_is_looked_at(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(short_dir)
    lost = iter([False, True, False, False])
    monkeypatch.setattr(inotify.Watcher, "take_overflow", lambda self: next(lost))
    async with running(watched.directory.run()):
        await watched.counts()
        (short_dir / "a").touch()
        assert await watched.counts() == (0, 1)
        (short_dir / "b").touch()
        assert await watched.counts() == (1, 1)


@timeless
async def test_what_is_mounted_over_the_directory_is_taken_up_at_once_and_said(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    class MountWatch:
        def __init__(self, path: Path, changed: Any) -> None:
            made.append((path, changed))

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(directory, "MountWatch", MountWatch)
    watched = Watched(short_dir)
    with capture_logs() as lines:
        async with running(watched.directory.run()):
            await watched.counts()
            ((path, changed),) = made
            assert path == short_dir
            changed()
            assert await watched.counts() == (1, 1)
            assert elapsed() == 0
            (short_dir / "x").touch()
            assert await watched.counts() == (0, 1)
    assert said(lines, short_dir) == [{"event": "plugin_dir_remounted", "log_level": "info"}]
    assert len(made) == 2


@timeless
async def test_a_kubelet_that_listens_is_known_at_once(short_dir: Path) -> None:
    found = KubeletDirectory(short_dir)
    with listening(found.socket_path), capture_logs() as lines:
        assert await found.wait_listening() == found.identity()
    assert elapsed() == 0
    assert lines == []
    assert not found._subscribers


@timeless
async def test_that_there_is_no_socket_is_said_once_and_an_event_ends_the_wait(short_dir: Path) -> None:
    found = KubeletDirectory(short_dir)
    with capture_logs() as lines:
        waiting = [asyncio.create_task(found.wait_listening()) for _ in range(2)]
        await asyncio.sleep(10.5)
        with listening(found.socket_path):
            found.wake_all()
            await until(lambda: all(task.done() for task in waiting))
            assert elapsed() == 10.5
        waiting.append(asyncio.create_task(found.wait_listening()))
        await settled()
        found.socket_path.unlink()
        found.wake_all()
        await settled()
        waiting[-1].cancel()

    path = str(short_dir / "kubelet.sock")
    missing = {"event": "waiting_for_kubelet", "log_level": "warning", "socket": path, "reason": "no socket is there"}
    assert said(lines, short_dir) == [missing, missing]
    await asyncio.wait(waiting)
    assert not found._subscribers


@timeless
async def test_a_link_that_leads_to_a_kubelet_only_later_is_found_within_a_second(short_dir: Path) -> None:
    found = KubeletDirectory(short_dir)
    found.socket_path.symlink_to("later")
    waiting = asyncio.create_task(found.wait_listening())
    await asyncio.sleep(9.5)
    with listening(short_dir / "later"):
        await waiting
    assert elapsed() == 10


@timeless
async def test_a_socket_that_nobody_listens_on_is_tried_ever_less_often_and_said_once_that_is_long(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = KubeletDirectory(short_dir)
    tried: list[float] = []
    accepts = found._accepts

    async def noted() -> bool:
        tried.append(elapsed())
        return await accepts()

    monkeypatch.setattr(found, "_accepts", noted)
    with capture_logs() as lines, listening(found.socket_path, is_deaf=True) as server:
        waiting = asyncio.create_task(found.wait_listening())
        await asyncio.sleep(1)
        assert lines == []
        await asyncio.sleep(9)
        server.listen()
        assert await waiting == found.identity()

    delays = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 1.0]
    assert [round(b - a, 3) for a, b in itertools.pairwise(tried)][:12] == delays
    assert [line["reason"] for line in lines] == ["nobody listens on the socket"]


@timeless
async def test_the_tries_begin_anew_with_another_socket(short_dir: Path) -> None:
    found = KubeletDirectory(short_dir)
    with listening(found.socket_path, is_deaf=True):
        waiting = asyncio.create_task(found.wait_listening())
        await asyncio.sleep(100)
    found.socket_path.unlink()
    with listening(found.socket_path, is_deaf=True) as server:
        found.wake_all()
        await settled()
        began = elapsed()
        server.listen()
        await waiting
        assert elapsed() - began <= 0.002


@timeless
async def test_a_kubelet_that_is_replaced_while_we_knock_is_not_the_one_that_answered(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = KubeletDirectory(short_dir)
    identities = iter([(1, 1, 1), (1, 1, 2), (1, 1, 2), (1, 1, 2)])
    monkeypatch.setattr(found, "identity", lambda: next(identities))

    async def accepts() -> bool:
        return True

    monkeypatch.setattr(found, "_accepts", accepts)
    assert await found.wait_listening() == (1, 1, 2)


@timeless
async def test_of_a_directory_that_was_deleted_under_its_mount_that_is_said(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = KubeletDirectory(short_dir)
    monkeypatch.setattr(KubeletDirectory, "is_orphaned", True)
    with capture_logs() as lines:
        async with running(found.wait_listening()):
            pass
    assert [line["reason"] for line in lines] == [
        "the directory was deleted under its mount; only a restart finds another"
    ]
