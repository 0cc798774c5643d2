"""Which mounts concern a tree, and when somebody is told that they changed; in no time."""

from __future__ import annotations

import asyncio
import os
import select
from pathlib import Path
from typing import Any

import pytest

from fakehw_plugin.tree import mounts
from fakehw_plugin.tree.mounts import MountWatch, relevant
from tests.timeless import elapsed, settled, timeless, until


def line(number: int, point: str, source: str = "/") -> bytes:
    return f"{number} 1 0:{number} {source} {point} rw,relatime shared:1 - tmpfs tmpfs rw".encode()


def found(*points: str, root: bytes = b"/a/tree") -> list[str]:
    lines = b"\n".join(line(number, point) for number, point in enumerate(points))
    return sorted(one.split(b" ")[4].decode() for one in relevant(lines, root))


@pytest.mark.parametrize(
    ("point", "concerns"),
    [
        ("/", True), ("/a", True), ("/a/tree", True), ("/a/tree/node2", True), ("/a/tree/node2/x", True),
        ("/a/tree2", False), ("/a/tre", False), ("/b", False), ("/a/other", False),
    ],
)  # fmt: skip  # one mount point after the other
def test_a_mount_concerns_a_tree_at_above_and_below_it(point: str, concerns: bool) -> None:
    assert found(point) == ([point] if concerns else [])


def test_a_mount_is_known_by_what_tells_it_from_others() -> None:
    assert relevant(line(7, "/a/tree", "/x"), b"/a/tree") == {b"7 1 0:7 /x /a/tree"}


def test_any_of_several_roots_will_do_and_what_is_no_line_is_passed_over() -> None:
    lines = b"\n".join([line(1, "/a"), line(2, "/b"), line(3, "/c"), b"nonsense", b"1 2 3 4 /a", b""])
    assert {one.split(b" ")[4] for one in relevant(lines, b"/a", b"/b")} == {b"/a", b"/b"}
    assert relevant(lines) == frozenset()


@pytest.mark.parametrize(
    ("root", "escaped"),
    [(b"/a b", r"/a\040b"), (b"/a\tb", r"/a\011b"), (b"/a\nb", r"/a\012b"), (b"/a\\b", r"/a\134b")],
)
def test_a_path_is_found_as_the_kernel_writes_it(root: bytes, escaped: str) -> None:
    assert found(escaped, "/elsewhere", root=root) == [escaped]
    assert mounts._unescaped(escaped.encode()) == root


class Kernel:
    """A list of mounts that a test changes, and how often it was looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self.path = root.parent / "mountinfo"
        self.points: list[str] = ["/"]
        self.told = 0
        self.write()
        monkeypatch.setattr(mounts, "_LIST", str(self.path))
        monkeypatch.setattr(select, "epoll", self.make_epoll)
        self.registered: list[Any] = []
        self.ends = os.pipe2(os.O_NONBLOCK)
        self.polls: list[float] = []
        self.closed = 0

    def write(self) -> None:
        self.path.write_bytes(b"\n".join(line(number, point) for number, point in enumerate(self.points)) + b"\n")

    def make_epoll(self) -> Any:
        return self

    # What stands in for the epoll: a pipe that is readable when the kernel has something to say.

    def register(self, fd: int, events: int) -> None:
        self.registered.append((str(Path(f"/proc/self/fd/{fd}").readlink()), events))

    def fileno(self) -> int:
        return self.ends[0]

    def poll(self, timeout: float) -> None:
        self.polls.append(timeout)
        os.read(self.ends[0], 100)

    def close(self) -> None:
        self.closed += 1

    def tell(self, *points: str) -> None:
        self.points = ["/", *points]
        self.write()
        os.write(self.ends[1], b"x")

    def changed(self) -> None:
        self.told += 1

    def end(self) -> None:
        for fd in self.ends:
            os.close(fd)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@timeless
async def test_a_mount_in_the_tree_is_told_of_once_things_are_quiet(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(monkeypatch, root)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with MountWatch(root, kernel.changed) as watch:
        assert isinstance(watch, MountWatch)
        assert kernel.registered == [(str(kernel.path), select.EPOLLPRI)]
        for count in range(3):
            kernel.tell(*[f"{root}/{number}" for number in range(count + 1)])
            await settled()
        assert kernel.told == 0
        await until(lambda: kernel.told)
        assert (kernel.told, elapsed()) == (1, 0.05), "one look for all that came together"
        assert kernel.polls == [0, 0, 0]
    assert kernel.closed == 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    kernel.end()


@timeless
async def test_what_is_mounted_elsewhere_or_known_already_is_no_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    kernel = Kernel(monkeypatch, root)
    with MountWatch(root, kernel.changed) as watch:
        kernel.tell("/elsewhere")
        await asyncio.sleep(1)
        kernel.tell("/elsewhere", str(root))
        watch.take_note()
        await asyncio.sleep(1)
        assert kernel.told == 0
        kernel.tell("/elsewhere")
        await asyncio.sleep(1)
        assert kernel.told == 1, "it was taken off"
    kernel.end()


@timeless
async def test_after_the_end_nobody_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    kernel = Kernel(monkeypatch, root)
    with MountWatch(root, kernel.changed):
        kernel.tell(str(root))
        await settled()
    assert not asyncio.get_running_loop().remove_reader(kernel.ends[0]), "nobody listens any more"
    await asyncio.sleep(1)
    assert kernel.told == 0
    assert len(kernel.polls) == 1
    kernel.end()


@timeless
async def test_where_the_kernel_does_not_tell_nothing_is_known_and_nothing_stays_open(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(monkeypatch, root)
    before = len(list(Path("/proc/self/fd").iterdir()))

    def starved() -> Any:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(select, "epoll", starved)
    with MountWatch(root, kernel.changed) as watch:
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        watch.take_note()
        assert not watch.has_mounted_file
    monkeypatch.setattr(mounts, "_LIST", "/nowhere")
    with MountWatch(root, kernel.changed) as watch:
        assert not watch.has_mounted_file
    kernel.end()


@timeless
async def test_a_single_file_that_is_mounted_is_told_from_a_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(monkeypatch, root)
    (root / "a b").mkdir()
    (root / "a b/health").touch()
    (root.parent / "outside").touch()
    (root.parent / "link").symlink_to(root)
    for points, has_one in (
        ([], False),
        ([str(root)], False),
        ([f"{root}/a\\040b"], False),
        ([f"{root.parent}/outside"], False),
        ([f"{root}/a\\040b/health"], True),
    ):
        kernel.tell(*points)
        for place in (root, root.parent / "link"):
            with MountWatch(place, kernel.changed) as watch:
                assert watch.has_mounted_file is has_one
    kernel.end()


@timeless
async def test_a_long_list_is_read_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, root)
    kernel.tell(*(f"/elsewhere/{'x' * 90}/{number}" for number in range(2000)), str(root))
    with MountWatch(root, kernel.changed) as watch:
        assert len(watch._mounts) == 2
        watch.take_note()
        assert len(watch._mounts) == 2, "from its beginning again"
    kernel.end()
