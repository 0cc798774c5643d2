"""inotify for whoever looks on: what is watched, what is told of it, and what becomes of limits of the kernel."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import inotify_simple
import pytest

from fakehw import inotify
from fakehw.errors import TreeError
from fakehw.inotify import Event, Watch
from tests.running import DEADLINE_S


def test_masks_are_those_of_the_kernel() -> None:
    """linux/inotify.h."""
    assert (inotify.MODIFY, inotify.CLOSE_WRITE, inotify.MOVED_TO, inotify.ISDIR) == (0x2, 0x8, 0x80, 0x40000000)
    assert inotify.VANISHING == 0x40 | 0x200
    assert inotify.APPEARING == 0x80 | 0x100
    assert inotify.DIRECTORY == 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800 | 0x01000000 | 0x02000000 | 0x04000000


def seen(watch: Watch[str]) -> list[tuple[str | None, str, int]]:
    return [tuple(event) for event in watch.events()]


def test_what_happens_in_a_directory_is_told_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with Watch[str]() as watch:
        wd = watch.add(str(tmp_path / "a"), "A")
        assert isinstance(wd, int)
        assert watch.add(str(tmp_path / "b"), "B") not in (None, wd)
        assert seen(watch) == []
        (tmp_path / "a/x").write_text("")
        (tmp_path / "a/d").mkdir()
        (tmp_path / "a/x").rename(tmp_path / "b/y")
        (tmp_path / "b/y").unlink()
        (tmp_path / "a/d").rmdir()
        (tmp_path / "a").rmdir()
        assert seen(watch) == [
            ("A", "x", 0x100),
            ("A", "x", 0x8),
            ("A", "d", 0x40000100),
            ("A", "x", 0x40),
            ("B", "y", 0x80),
            ("B", "y", 0x200),
            ("A", "d", 0x40000200),
            ("A", "", 0x400),
        ]
        assert seen(watch) == [], "and that the kernel has dropped the watch is not told"
        (tmp_path / "b").rename(tmp_path / "c")
        assert seen(watch) == [("B", "", 0x800)]


def test_a_mask_of_ones_own_hears_what_it_asks_for(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with Watch[str]() as watch:
        watch.add(str(tmp_path / "log"), "log", inotify.MODIFY)
        with (tmp_path / "log").open("a") as file:
            file.write("x")
        assert seen(watch) == [("log", "", 0x2)]


@pytest.mark.parametrize("what", ["gone", "a file", "a link"])
def test_what_is_no_directory_is_not_watched(tmp_path: Path, what: str) -> None:
    (tmp_path / "real").mkdir()
    if what == "a file":
        (tmp_path / "x").touch()
    elif what == "a link":
        (tmp_path / "x").symlink_to("real")
    with Watch[str]() as watch:
        assert watch.add(str(tmp_path / "x"), "x") is None
        (tmp_path / "real/file").touch()
        assert seen(watch) == []


def test_what_is_not_watched_any_more_is_not_told_of(tmp_path: Path) -> None:
    with Watch[str]() as watch:
        wd = watch.add(str(tmp_path), "A")
        assert wd is not None
        watch.remove(wd, "B")
        (tmp_path / "x").mkdir()
        assert [event.name for event in watch.events()] == ["x"], "it serves another target"
        watch.remove(wd, "A")
        (tmp_path / "y").mkdir()
        assert seen(watch) == []
        watch.remove(wd, "A")  # once more is no error
        gone = watch.add(str(tmp_path / "x"), "X")
        assert gone is not None
        (tmp_path / "x").rmdir()
        watch.remove(gone, "X")  # the kernel has dropped it already
        assert seen(watch) == []


def test_a_watch_ends_with_its_block_and_leaves_no_descriptor(tmp_path: Path) -> None:
    def descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names

    before = descriptors()
    watch = Watch[str]()
    assert descriptors() == before, "nothing is opened yet"
    with watch as entered:
        assert entered is watch
        watch.add(str(tmp_path), "A")
        assert len(descriptors() - before) == 1
    assert descriptors() == before


class Kernel:
    """An inotify instance whose events a test writes down."""

    def __init__(self) -> None:
        self.queue: list[tuple[int, int, int, str]] = []
        self.asked: list[float | None] = []
        self.fails: OSError | None = None
        self.removed: list[int] = []

    def read(self, timeout: float | None = None) -> list[tuple[int, int, int, str]]:
        self.asked.append(timeout)
        queue, self.queue = self.queue, []
        return queue

    def add_watch(self, path: str, mask: int) -> int:
        if self.fails is not None:
            raise self.fails
        return int(path)

    def rm_watch(self, wd: int) -> None:
        self.removed.append(wd)
        if self.fails is not None:
            raise self.fails

    def close(self) -> None:
        pass


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(inotify_simple, "INotify", lambda: made)
    return made


def test_events_that_were_lost_are_told_and_those_of_nobody_are_not(kernel: Kernel) -> None:
    with Watch[str]() as watch:
        assert watch.add("7", "A") == 7
        kernel.queue = [
            (7, 0x100, 0, "x"),
            (-1, 0x4000, 0, ""),
            (8, 0x100, 0, "of a watch that was removed"),
            (7, 0x100, 0, "y"),
            (7, 0x8000, 0, ""),
            (7, 0x100, 0, "after the kernel had dropped it"),
            (7, 0x8000, 0, ""),
        ]
        assert watch.events() == [Event("A", "x", 0x100), Event(None, "", 0x4000), Event("A", "y", 0x100)]
        assert kernel.asked == [0], "without waiting"


def test_the_kernel_watches_no_longer_what_nobody_wants_to_hear_of(kernel: Kernel) -> None:
    with Watch[str]() as watch:
        watch.add("7", "A")
        watch.add("8", "B")
        watch.remove(7, "B")
        assert kernel.removed == []
        watch.remove(7, "A")
        kernel.fails = OSError(errno.EINVAL, "Invalid argument")
        watch.remove(8, "B")  # it has gone with its directory
        assert kernel.removed == [7, 8]


LIMITS = [errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM]


@pytest.mark.parametrize("number", LIMITS)
def test_a_limit_of_the_kernel_is_one_line_that_says_what_to_do(
    number: int, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"inotify: {os.strerror(number)}: raise fs.inotify.max_user_watches or max_user_instances (sysctl)"
    with Watch[str]() as watch:
        kernel.fails = OSError(number, os.strerror(number))
        with pytest.raises(TreeError) as caught:
            watch.add("1", "A")
        assert caught.value.lines == (said,)

    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(inotify_simple, "INotify", refuse)
    with pytest.raises(TreeError) as caught, Watch[str]():
        pytest.fail("it was opened")
    assert caught.value.lines == (said,)


def test_what_is_no_limit_is_an_error_of_an_instance_and_nothing_to_watch(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watch[str]() as watch:
        for number in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
            kernel.fails = OSError(number, os.strerror(number))
            assert watch.add("1", "A") is None

    def refuse() -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(inotify_simple, "INotify", refuse)
    with pytest.raises(PermissionError), Watch[str]():
        pytest.fail("it was opened")


async def test_a_wait_ends_with_an_event_or_with_its_time(tmp_path: Path) -> None:
    with Watch[str]() as watch:
        watch.add(str(tmp_path), "A")
        async with asyncio.timeout(DEADLINE_S):
            await watch.wait(0.001)
        assert seen(watch) == []
        waiting = asyncio.create_task(watch.wait())
        done, _ = await asyncio.wait([waiting], timeout=0.01)
        assert not done, "nothing has happened yet"
        (tmp_path / "x").mkdir()
        done, _ = await asyncio.wait([waiting], timeout=DEADLINE_S)
        waiting.cancel()
        assert done, "an event ends a wait"
        async with asyncio.timeout(DEADLINE_S):
            await watch.wait()  # what was not fetched ends the next one too
        assert [event.name for event in watch.events()] == ["x"]


async def test_a_wait_that_is_cancelled_leaves_no_reader_behind(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    with Watch[str]() as watch:
        watch.add(str(tmp_path), "A")
        waiting = asyncio.create_task(watch.wait())
        await asyncio.wait([waiting], timeout=0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert watch._inotify is not None
        assert not loop.remove_reader(watch._inotify.fileno())
