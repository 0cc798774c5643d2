"""inotify as the tree needs it: which directory saw what, limits that run out, events that are lost; in no time."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from typing import TYPE_CHECKING

import inotify_simple
import pytest

from fakehw_plugin import inotify
from fakehw_plugin.inotify import Event, Watcher
from tests.timeless import elapsed, settled, timeless, until

if TYPE_CHECKING:
    from pathlib import Path


def seen(watcher: Watcher[str]) -> list[tuple[str, str, int]]:
    return [tuple(event) for event in watcher.events()]


def raw(wd: int, mask: int, name: str = "") -> bytes:
    """Encode an event as the kernel does."""
    text = name.encode() + b"\0" * (16 - len(name)) if name else b""
    return struct.pack("iIII", wd, mask, 0, len(text)) + text


def told(watcher: Watcher[str], monkeypatch: pytest.MonkeyPatch, *events: bytes) -> list[tuple[str, str, int]]:
    """Have the kernel say these."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", lambda fd, size: b"".join(events))
        return seen(watcher)


def test_reading_never_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, bool]] = []
    real = inotify_simple.INotify
    monkeypatch.setattr(inotify_simple, "INotify", lambda **how: asked.append(how) or real(**how))
    with Watcher[str]():
        assert asked == [{"nonblocking": True}]


def test_an_event_says_for_whom_under_which_name_what_happened(tmp_path: Path) -> None:
    with Watcher[str]() as watcher:
        assert isinstance(watcher.add(str(tmp_path), "here"), int)
        (tmp_path / "a").write_text("x")
        (tmp_path / "a").chmod(0o600)
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "b").unlink()
        assert seen(watcher) == [
            ("here", "a", inotify.CREATE),
            ("here", "a", inotify.MODIFY),
            ("here", "a", inotify.CLOSE_WRITE),
            ("here", "a", inotify.ATTRIB),
            ("here", "a", inotify.MOVED_FROM),
            ("here", "b", inotify.MOVED_TO),
            ("here", "b", inotify.DELETE),
        ]
        assert seen(watcher) == []
        assert not watcher.take_overflow()


def test_a_directory_that_goes_says_so_and_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with Watcher[str]() as watcher:
        wd = watcher.add(str(tmp_path / "d"), "d")
        (tmp_path / "d").rmdir()
        events = seen(watcher)
        assert [(target, name) for target, name, _ in events] == [("d", "")] * 2
        assert events[0][2] & inotify.GONE
        assert events[1][2] & inotify.IGNORED
        watcher.remove(wd, "d")
        assert not watcher._targets


def test_what_is_no_directory_or_gone_is_not_watched_and_no_limit(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with Watcher[str]() as watcher:
        assert [watcher.add(str(tmp_path / name), "x") for name in ("file", "link", "gone")] == [None] * 3
        assert watcher.exhausted is None
        assert watcher.add(str(tmp_path), "x") is not None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "No space left on device (ENOSPC)"),
        (errno.EMFILE, "Too many open files (EMFILE)"),
        (errno.ENFILE, "Too many open files in system (ENFILE)"),
        (errno.ENOMEM, "Cannot allocate memory (ENOMEM)"),
    ],
)
def test_a_limit_is_said_and_no_more_is_tried_until_somebody_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    tries: list[str] = []

    def refuse(self: object, path: str, mask: int) -> int:
        tries.append(path)
        raise OSError(code, os.strerror(code))

    with Watcher[str]() as watcher:
        with monkeypatch.context() as patch:
            patch.setattr(inotify_simple.INotify, "add_watch", refuse)
            assert watcher.add("/a", "a") is None
            assert watcher.exhausted == words
            assert watcher.add("/b", "b") is None
            assert tries == ["/a"]
        watcher.try_again()
        assert watcher.exhausted is None
        assert watcher.add(str(tmp_path), "here") is not None


@timeless
async def test_where_there_is_no_instance_nothing_is_watched_and_a_wait_lasts_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(inotify_simple, "INotify", refuse)
        watcher = Watcher[str]()
        watcher.open()
    assert watcher.exhausted == "Too many open files (EMFILE)"
    watcher.try_again()
    assert watcher.add(str(tmp_path), "x") is None
    watcher.remove(7, "x")
    assert seen(watcher) == []
    assert not await watcher.wait()
    assert elapsed() == 1
    assert not await watcher.wait(0.5)
    assert elapsed() == 1.5
    watcher.close()
    watcher.open()
    assert watcher.add(str(tmp_path), "x") is not None
    watcher.close()


def test_one_instance_is_opened_and_closed_once() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names
    watcher = Watcher[str]()
    assert watcher.add("/", "x") is None, "before it is opened"
    with watcher as entered:
        assert entered is watcher
        watcher.open()
        assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208  # names
        watcher.add("/", "x")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # names
    assert not watcher._targets
    watcher.close()


def test_what_is_removed_is_not_heard_of_any_more(tmp_path: Path) -> None:
    with Watcher[str]() as watcher:
        wd = watcher.add(str(tmp_path), "x")
        watcher.remove(None, "x")
        watcher.remove(wd, "somebody else")
        (tmp_path / "a").touch()
        assert len(seen(watcher)) > 0
        watcher.remove(wd, "x")
        (tmp_path / "b").touch()
        assert seen(watcher) == []
        watcher.remove(wd, "x")


def test_a_directory_that_was_moved_serves_who_asked_last(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with Watcher[str]() as watcher:
        first = watcher.add(str(tmp_path / "a"), "old")
        (tmp_path / "a").rename(tmp_path / "b")
        seen(watcher)
        assert watcher.add(str(tmp_path / "b"), "new") == first
        watcher.remove(first, "old")
        (tmp_path / "b/x").touch()
        assert {target for target, _, _ in seen(watcher)} == {"new"}


def test_lost_events_are_told_once_and_the_others_are_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watcher[str]() as watcher:
        wd = watcher.add(str(tmp_path), "here") or 0
        events = told(
            watcher,
            monkeypatch,
            raw(wd, inotify.CREATE, "a"),
            raw(-1, int(inotify_simple.flags.Q_OVERFLOW)),
            raw(99, inotify.CREATE, "of nobody"),
            raw(99, inotify.IGNORED),
            raw(wd, inotify.CREATE, "b"),
        )
        assert events == [("here", "a", inotify.CREATE), ("here", "b", inotify.CREATE)]
        assert watcher.take_overflow()
        assert not watcher.take_overflow()


def test_a_watch_that_the_kernel_took_away_is_nobody_s_when_its_number_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watcher[str]() as watcher:
        wd = watcher.add(str(tmp_path), "here") or 0
        events = told(watcher, monkeypatch, raw(wd, inotify.IGNORED), raw(wd, inotify.CREATE, "a"))
        assert events == [Event("here", "", inotify.IGNORED)]


@timeless
async def test_a_wait_ends_with_events_with_its_time_or_when_it_is_interrupted(tmp_path: Path) -> None:
    with Watcher[str]() as watcher:
        watcher.interrupt()
        watcher.add(str(tmp_path), "here")
        assert not await watcher.wait(2.0)
        assert elapsed() == 2
        waiting = asyncio.create_task(watcher.wait())
        await asyncio.sleep(1000)
        assert not waiting.done()
        watcher.interrupt()
        watcher.interrupt()
        assert not await waiting
        waiting = asyncio.create_task(watcher.wait(5.0))
        await settled()
        (tmp_path / "a").touch()
        assert await waiting
        assert elapsed() == 1002
        assert await watcher.wait(5.0), "nobody has read them"
        assert len(seen(watcher)) > 0
        assert not await watcher.wait(0.0)
        await asyncio.sleep(100)


@timeless
async def test_a_wait_that_is_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    with Watcher[str]() as watcher:
        watcher.add(str(tmp_path), "here")
        waiting = asyncio.create_task(watcher.wait(5.0))
        await settled()
        waiting.cancel()
        await asyncio.wait([waiting])
        (tmp_path / "a").touch()
        await settled()
        assert watcher._waiting is None
        done = asyncio.create_task(watcher.wait(1.0))
        await until(done.done)
        assert done.result()
