"""The follower event by event: what is seen at once and what is given a moment, what is told of it, and what it holds."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakehw import inotify
from fakehw.errors import InputError
from fakehw.layout import Health, TreePath
from fakehw.tree import snapshot
from fakehw.view import follower as following
from fakehw.view.follower import Follower, Happening, Sight
from tests.factories import make_tree
from tests.open_files import open_below
from tests.running import soon

ONE, TWO, THREE = (TreePath("node2", "dev3", number) for number in (1, 2, 3))
CLASS, NODE = TreePath("node2", "dev3"), TreePath("node2")
GOOD, BAD = Sight(Health.HEALTHY), Sight(Health.UNHEALTHY, "hot")
MISSING = Sight(Health.UNHEALTHY, "health file is missing")
NEVER = 3600.0


async def happens(follower: Follower) -> list[Happening]:
    async with soon("what happens"):
        return await follower.happenings()


async def nothing_happens(follower: Follower, root: Path) -> None:
    """Have something happen that is told at once, and nothing before it."""
    text = f"healthy {time.monotonic_ns()}"
    (root / "node2/dev2/1/health").write_text(f"{text}\n")
    (happening,) = await happens(follower)
    assert happening.path == TreePath("node2", "dev2", 1)


def watches(follower: Follower) -> int:
    """Return how many directories the kernel watches for us."""
    count = 0
    for path in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile, by another thread
            count += path.read_text().count("inotify wd:")
    return count


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def set_to(seconds: float) -> None:
        monkeypatch.setattr(following, "PATIENCE_S", seconds)

    set_to(NEVER)
    return set_to


def test_a_tree_is_seen_whole_as_it_is_entered(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "t", "a/dev1/1", "a/dev1/10", "a/dev1/2", "a/gpu/3", "a/x/", "b/dev2/", "b/dev3/", "c/dev4/", ".d/dev1/1", "e/dev1/07")  # fmt: skip
    (root / "a/dev1/2/health").write_text("unhealthy hot\n")
    (root / "a/dev1/2/numa_node").write_text("1\n")
    (root / "a/dev1/10/health").unlink()
    (root / "a/gpu/resource").write_text("a.b/gpu\x1b\n")
    (root / "a/dev1/4").write_text("no directory")
    (root / "a/host").write_text("  kind-a\n")
    (root / "b/host").write_text("\n")
    (root / "b/dev3/resource").mkdir()
    (root / "c/host").mkdir()
    (root / "f").write_text("no directory")
    with Follower(root, domain="my.io") as follower:
        assert follower.devices == {
            TreePath("a", "dev1", 1): GOOD, TreePath("a", "dev1", 2): Sight(Health.UNHEALTHY, "hot", 1), TreePath("a", "dev1", 10): MISSING,
            TreePath("a", "gpu", 3): GOOD,
        }  # fmt: skip
        assert follower.hosts == {
            TreePath("a"): "kind-a",
            TreePath("b"): None,
            TreePath("c"): None,
            TreePath("e"): None,
        }
        assert follower.resources == {
            TreePath("a", "dev1"): "my.io/mydevice-1", TreePath("a", "gpu"): "a.b/gpu\\x1b", TreePath("a", "x"): None,
            TreePath("b", "dev2"): "my.io/mydevice-2", TreePath("b", "dev3"): None, TreePath("c", "dev4"): "my.io/mydevice-4",
            TreePath("e", "dev1"): "my.io/mydevice-1",
        }  # fmt: skip
        assert follower.root == root
        assert follower.host_of(TreePath("a", "dev1", 1)) == "kind-a"
        assert follower.host_of(TreePath("z", "dev1", 1)) is None
        assert follower.resource_of(TreePath("a", "gpu", 3)) == "a.b/gpu\\x1b"
        assert follower.resource_of(TreePath("a", "z", 1)) is None
    with Follower(root) as follower:
        assert follower.resource_of(TreePath("a", "dev1", 1)) == "myplugin.io/mydevice-1"


async def test_a_change_is_told_once_with_its_time_and_what_was_before(root: Path) -> None:
    now = [4.0]
    with Follower(root, clock=lambda: now[0]) as follower:
        now[0] = 5.0
        (root / "node2/dev3/2/health").write_text("unhealthy hot\n")
        assert await happens(follower) == [Happening(5.0, TWO, GOOD, BAD)]
        now[0] = 6.0
        (root / "node2/dev3/2/health").write_text("Unhealthy   hot\n")  # the same
        (root / "node2/dev3/2/numa_node").write_text("1\n")
        assert await happens(follower) == [Happening(6.0, TWO, BAD, Sight(Health.UNHEALTHY, "hot", 1))]
        now[0] = 7.0
        shutil.rmtree(root / "node2/dev3/2")
        assert await happens(follower) == [Happening(7.0, TWO, Sight(Health.UNHEALTHY, "hot", 1), None)]
        assert TWO not in follower.devices


async def test_what_is_no_news_is_not_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[TreePath] = []
    real = snapshot.read_device
    monkeypatch.setattr(snapshot, "read_device", lambda fd, path: (read.append(path), real(fd, path))[1])
    with Follower(root) as follower:
        assert read == [TreePath("node2", "dev2", 1), ONE, TWO, THREE]
        read.clear()
        (root / "node2/dev3/2/model").write_text("x\n")
        (root / "node2/dev3/notes").mkdir()
        (root / "node2/Dev").mkdir()
        (root / ".hidden").mkdir()
        (root / "node2/dev3/1").chmod(0o700)
        await nothing_happens(follower, root)
        assert read == [TreePath("node2", "dev2", 1)], "and nothing else was looked at"


async def test_a_host_or_a_resource_that_changes_wakes_whoever_waits_without_a_happening(root: Path) -> None:
    with Follower(root) as follower:
        for file, value, found in (
            ("node2/host", "kind-x\n", lambda: follower.hosts[NODE] == "kind-x"),
            ("node2/dev3/resource", "a.b/c\n", lambda: follower.resources[CLASS] == "a.b/c"),
        ):
            (root / file).write_text(value)
            assert await happens(follower) == []
            assert found()
            (root / file).write_text(value)
        await nothing_happens(follower, root)
        (root / "node2/host").unlink()
        assert await happens(follower) == []
        assert follower.hosts[NODE] is None
        (root / "node2/dev3/resource").unlink()
        assert await happens(follower) == []
        assert follower.resources[CLASS] == "myplugin.io/mydevice-3"
        (root / "node2/dev9").mkdir()
        assert await happens(follower) == []
        assert follower.resources[TreePath("node2", "dev9")] == "myplugin.io/mydevice-9"
        (root / "node2/dev9").rmdir()
        assert await happens(follower) == []
        assert TreePath("node2", "dev9") not in follower.resources
        shutil.rmtree(root / "node2/dev1")
        assert await happens(follower) == []
        assert set(follower.resources) == {TreePath("node2", "dev2"), CLASS}


async def test_what_goes_is_told_at_once_each_device_in_the_order_of_people(root: Path, patience: Any) -> None:
    make_tree(root, "node2/dev3/10", "node2/dev3/7")
    with Follower(root) as follower:
        (root / "node2/dev3/2").rename(root / ".aside")
        assert [(one.path, one.now) for one in await happens(follower)] == [(TWO, None)]
        (root / "node2").rename(root / ".node2")
        gone = [one.path for one in await happens(follower)]
        assert gone == [TreePath("node2", "dev2", 1), *(TreePath("node2", "dev3", number) for number in (1, 3, 7, 10))]
        assert (follower.hosts, follower.resources) == ({}, {})
        assert watches(follower) == 1, "the root alone"


async def test_what_is_moved_in_whole_or_written_whole_is_seen_at_once(root: Path, patience: Any) -> None:
    make_tree(root, ".new/node3/dev1/1", ".new/dev5/1", ".new/9")
    (root / ".new/9/health").write_text("unhealthy hot\n")
    (root / ".new/health").write_text("unhealthy hot\n")
    with Follower(root) as follower:
        for name, place in (("9", "node2/dev3/9"), ("dev5", "node2/dev5"), ("node3", "node3")):
            (root / ".new" / name).rename(root / place)
        seen = []
        while len(seen) < 3:
            seen += await happens(follower)
        assert [(one.path, one.was, one.now) for one in seen] == [
            (TreePath("node2", "dev3", 9), None, BAD), (TreePath("node2", "dev5", 1), None, GOOD), (TreePath("node3", "dev1", 1), None, GOOD),
        ]  # fmt: skip
        (root / ".new/health").rename(root / "node2/dev3/1/health")
        assert [(one.path, one.now) for one in await happens(follower)] == [(ONE, BAD)]
        (root / "node3/dev1/1/health").write_text("unhealthy hot\n")
        assert [one.path for one in await happens(follower)] == [TreePath("node3", "dev1", 1)]


async def test_a_file_that_is_missing_and_a_directory_that_is_empty_are_given_a_moment(
    root: Path, patience: Any
) -> None:
    with Follower(root) as follower:
        (root / "node2/dev3/1/health").unlink()
        (root / "node2/dev3/8").mkdir()
        await nothing_happens(follower, root)
        (root / "node2/dev3/1/health").write_text("healthy\n")
        await nothing_happens(follower, root)
        patience(0.0)
        (root / "node2/dev3/2/health").unlink()
        assert [(one.path, one.now) for one in await happens(follower)] == [(TWO, MISSING)]
        (root / "node2/dev3/2").rename(root / "node2/dev3/20")
        seen = {one.path: one.now for one in [*await happens(follower), *([] if len(follower.devices) == 4 else await happens(follower))]}  # fmt: skip
        assert seen == {TWO: None, TreePath("node2", "dev3", 20): MISSING}


async def test_the_moment_ends_though_nothing_else_happens_and_is_no_longer_than_that(
    root: Path, patience: Any
) -> None:
    patience(0.05)
    with Follower(root) as follower:
        began = time.monotonic()
        (root / "node2/dev3/1/health").unlink()
        assert [(one.path, one.now) for one in await happens(follower)] == [(ONE, MISSING)]
        assert time.monotonic() - began >= 0.05


async def test_whoever_waits_sleeps_until_something_is_due(
    root: Path, monkeypatch: pytest.MonkeyPatch, patience: Any
) -> None:
    asked: list[float | None] = []
    real = inotify.Watch.wait

    async def wait(watch: Any, timeout: float | None = None) -> None:
        asked.append(timeout)
        await real(watch, timeout)

    monkeypatch.setattr(inotify.Watch, "wait", wait)
    monkeypatch.setattr(following, "CHECK_ROOT_S", 1000.0)
    patience(0.1)
    with Follower(root) as follower:
        (root / "node2/dev3/1/health").unlink()
        await happens(follower)
    assert asked[0] is not None
    assert 900 < asked[0] <= 1000
    assert all(timeout is not None and 0.0 <= timeout <= 0.1 for timeout in asked[1:])
    assert len(asked) < 6, "it was woken by nothing else"


async def test_where_events_were_lost_everything_is_looked_at_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inotify.Watch.events

    def lost(watch: Any) -> list[inotify.Event[Any]]:
        found = real(watch)
        return [*found[:1], inotify.Event(None, "", 0), *found[1:]] if found else []

    with Follower(root) as follower:
        monkeypatch.setattr(inotify.Watch, "events", lost)
        (root / "node2/dev3/1/health").write_text("unhealthy hot\n")
        shutil.rmtree(root / "node2/dev3/2")
        make_tree(root, "node3/dev1/1")
        seen = {one.path: one.now for one in await happens(follower)}
        assert seen == {ONE: BAD, TWO: None, TreePath("node3", "dev1", 1): GOOD}


async def test_a_directory_that_took_the_place_of_another_is_the_one_that_is_watched(root: Path, patience: Any) -> None:
    with Follower(root) as follower:
        before = watches(follower)
        make_tree(root, ".new/2")
        (root / "node2/dev3/2").rename(root / ".old")
        (root / ".new/2").rename(root / "node2/dev3/2")
        await nothing_happens(follower, root)
        assert watches(follower) == before
        (root / ".old/health").write_text("unhealthy hot\n")
        await nothing_happens(follower, root)
        (root / "node2/dev3/2/health").write_text("unhealthy hot\n")
        assert [(one.path, one.now) for one in await happens(follower)] == [(TWO, BAD)]


async def test_every_directory_is_watched_once_and_none_after_the_end(root: Path) -> None:
    with Follower(root) as follower:
        assert watches(follower) == 1 + 1 + 3 + 4
        shutil.rmtree(root / "node2/dev3/2")
        await happens(follower)
        (root / "node2/dev3").rename(root / "node2/.dev3")
        await happens(follower)
        assert watches(follower) == 1 + 1 + 2 + 1
    assert watches(follower) == 0
    assert str(root) not in open_below(root)


async def test_a_tree_that_goes_and_comes_is_told_of_in_so_many_words(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "CHECK_ROOT_S", 0.01)
    told: list[str] = []
    with Follower(root, tell=told.append) as follower:
        root.rename(root.parent / "aside")
        gone = await happens(follower)
        assert [one.path for one in gone] == [TreePath("node2", "dev2", 1), ONE, TWO, THREE]
        assert told == [f"{root}: is gone: waiting for it to come back"]
        root.write_text("no directory")
        task = asyncio.create_task(follower.happenings())
        for _ in range(5):
            await asyncio.sleep(0.01)
        root.unlink()
        make_tree(root, "node2/dev3/1")
        async with soon("the tree that came back"):
            assert [(one.path, one.was, one.now) for one in await task] == [(ONE, None, GOOD)]
        assert told[1:] == [f"{root}: is another directory now: going on with that"]
        (root / "node2/dev3/1/health").write_text("unhealthy hot\n")
        assert [one.now for one in await happens(follower)] == [BAD]
        assert watches(follower) == 4


async def test_a_tree_that_stays_is_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "CHECK_ROOT_S", 0.001)
    told: list[str] = []
    with Follower(root, tell=told.append) as follower:
        reads: list[TreePath] = []
        real = snapshot.read_device
        monkeypatch.setattr(snapshot, "read_device", lambda fd, path: (reads.append(path), real(fd, path))[1])
        task = asyncio.create_task(happens(follower))
        for _ in range(5):
            await asyncio.sleep(0.005)
        (root / "node2/dev3/1/health").write_text("unhealthy hot\n")
        assert [one.path for one in await task] == [ONE]
        assert (reads, told) == ([ONE], [])


def test_a_root_that_is_no_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, why in (("none", "No such file or directory"), ("file", "Not a directory")):
        with pytest.raises(InputError) as caught:
            Follower(tmp_path / name).__enter__()
        assert str(caught.value) == f"{tmp_path}/{name}: {why}: must be the directory of a tree (--root, FAKEHW_ROOT)"
