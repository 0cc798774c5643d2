"""The follower of a tree, and `fakehw events` and `fakehw top` where there is no terminal."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fakehw import FakeTree, cli, inotify, make_topology
from fakehw.errors import FakehwError, InputError
from fakehw.layout import Health, TreePath
from fakehw.view import follower
from fakehw.view.follower import Follower, Sight
from tests.factories import make_tree
from tests.running import running_fakehw, shell, soon

if TYPE_CHECKING:
    from collections.abc import Callable

TWO = TreePath("node2", "dev3", 2)
GOOD = Sight(Health.HEALTHY)


async def until(follower: Follower, holds: Callable[[], bool]) -> None:
    async with soon("what is waited for"):
        while not holds():
            await follower.happenings()


@pytest.mark.parametrize(
    "command",
    [
        "echo unhealthy hot > node2/dev3/2/health",
        "printf 'unhealthy\\nhot\\n' > x; mv x node2/dev3/2/health",
        "cp node2/dev3/2/health node2/dev3/2/health~; rm node2/dev3/2/health; echo unhealthy hot > node2/dev3/2/health",
        ": > node2/dev3/2/health; echo unhealthy hot > node2/dev3/2/health",
        "mv node2/dev3/2 node2/dev3/.aside; echo unhealthy hot > node2/dev3/.aside/health; mv node2/dev3/.aside node2/dev3/2",
    ],
)
async def test_however_a_file_is_saved_the_view_ends_with_what_it_says(command: str, root: Path) -> None:
    with Follower(root) as follower:
        assert follower.devices[TWO] == GOOD
        await shell(command, root)
        await until(follower, lambda: follower.devices.get(TWO) == Sight(Health.UNHEALTHY, "hot"))


async def test_writing_in_place_never_shows_an_empty_file(root: Path) -> None:
    seen = []
    with Follower(root) as follower:
        for number in range(20):
            (root / "node2/dev3/2/health").write_text(f"healthy {number}\n")
            await until(follower, lambda: follower.devices[TWO].reason == str(number))  # noqa: B023  # waited for at once
            seen.append(follower.devices[TWO].health)
    assert set(seen) == {Health.HEALTHY}


async def test_devices_classes_and_nodes_come_and_go(root: Path) -> None:
    with Follower(root) as follower:
        await shell("mkdir node2/dev3/9 && echo healthy > node2/dev3/9/health && echo 1 > node2/dev3/9/numa_node", root)
        nine = TreePath("node2", "dev3", 9)
        await until(follower, lambda: follower.devices.get(nine) == Sight(Health.HEALTHY, "", 1))
        FakeTree(root).unplug("node2/dev3")
        await until(follower, lambda: set(follower.devices) == {TreePath("node2", "dev2", 1)})
        assert TreePath("node2", "dev3") not in follower.resources
        FakeTree(root).build(
            make_topology(
                {"nodes": {"rack": {"host": "h", "classes": {"gpu": {"count": 2, "resource": "nvidia.com/gpu"}}}}}
            )
        )
        gpu = TreePath("rack", "gpu", 2)
        await until(follower, lambda: gpu in follower.devices)
        assert (follower.host_of(gpu), follower.resource_of(gpu)) == ("h", "nvidia.com/gpu")
        (root / "rack/gpu/resource").write_text("amd.com/gpu\n")
        await until(follower, lambda: follower.resource_of(gpu) == "amd.com/gpu")
        await shell("rm -r rack", root)
        await until(follower, lambda: gpu not in follower.devices)


async def test_a_hostile_tree_does_not_stop_it(root: Path) -> None:
    with Follower(root) as follower:
        await shell(
            "rm node2/dev3/1/health; mkfifo node2/dev3/1/health; ln -s / node2/dev3/7; ln -sfn /etc node9; rm -r node2/dev3/3; touch node2/dev3/3",
            root,
        )
        await until(follower, lambda: TreePath("node2", "dev3", 3) not in follower.devices)
        await until(follower, lambda: follower.devices[TreePath("node2", "dev3", 1)].health is Health.UNHEALTHY)
        assert follower.devices.keys() == {TreePath("node2", "dev2", 1), TreePath("node2", "dev3", 1), TWO}


def test_a_tree_that_is_not_there_is_said(root: Path) -> None:
    with pytest.raises(InputError, match="must be the directory of a tree"):
        Follower(root / "nowhere").__enter__()


@pytest.mark.parametrize("way", ["removed", "renamed", "a link that points elsewhere"])
async def test_a_tree_that_goes_away_and_is_built_again_is_followed_again(root: Path, way: str) -> None:
    told: list[str] = []
    place = root.parent / "link"
    place.symlink_to(root)
    with Follower(root if way != "a link that points elsewhere" else place, tell=told.append) as follower:
        if way == "removed":
            shutil.rmtree(root)
        elif way == "renamed":
            root.rename(root.parent / "elsewhere")
        else:
            place.unlink()
        await until(follower, lambda: not follower.devices)
        assert follower.hosts == follower.resources == {}
        other = root.parent / "other"
        FakeTree(other).build(make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 1}}}}}))
        other.rename(root) if way != "a link that points elsewhere" else place.symlink_to(other)
        one = TreePath("n", "dev1", 1)
        await until(follower, lambda: one in follower.devices)
        FakeTree(follower.root).set_health("n", "unhealthy", reason="hot")
        await until(follower, lambda: follower.devices[one] == Sight(Health.UNHEALTHY, "hot"))
    words = [line.partition(": ")[2] for line in told]
    assert words[-1] == "is another directory now: going on with that"
    assert way == "removed" or words[0] == "is gone: waiting for it to come back"


def test_the_root_is_looked_at_twice_a_second() -> None:
    assert follower.CHECK_ROOT_S == 0.5


async def test_a_tree_that_was_removed_and_built_at_once_is_followed(root: Path) -> None:
    with Follower(root) as follower:
        shutil.rmtree(root)
        FakeTree(root).build(make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 1}}}}}))
        await until(follower, lambda: set(follower.devices) == {TreePath("n", "dev1", 1)})


@pytest.mark.parametrize("fails", ["root", "instance", "watch"])
def test_a_follower_that_cannot_start_keeps_no_descriptor(
    root: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    if fails == "instance":
        monkeypatch.setattr("inotify_simple.INotify.__init__", refuse)
    elif fails == "watch":
        monkeypatch.setattr("inotify_simple.INotify.add_watch", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(FakehwError):
            Follower(root if fails != "root" else root / "nowhere").__enter__()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_ten_thousand_devices_are_followed_one_by_one(roomy_dir: Path) -> None:
    FakeTree(roomy_dir).build(make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 10_000}}}}}))
    with Follower(roomy_dir) as follower:
        assert len(follower.devices) == 10_000
        (roomy_dir / "n/dev1/7777/health").write_text("unhealthy\n")
        (happening,) = await follower.happenings()
        assert happening.path == TreePath("n", "dev1", 7777)


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with soon("a line"):
        return (await process.stdout.readline()).decode().rstrip("\n")


async def test_events_say_what_is_broken_and_go_on_with_what_happens(root: Path) -> None:
    (root / "node2/dev3/1/health").write_text("unhealthy since yesterday\n")
    async with running_fakehw("events", "--follow", "-o", "json", "--root", str(root)) as process:
        first = json.loads(await line(process))
        assert (first["path"], first["was"], first["health"], first["reason"]) == (
            "/node2/dev3/1",
            "unhealthy",
            "unhealthy",
            "since yesterday",
        )
        (root / "node2/dev3/2/health").write_text("unhealthy over temperature\n")
        event = json.loads(await line(process))
        event.pop("timestamp")
        assert event == {
            "path": "/node2/dev3/2", "id": "node2-dev3-2", "resource": "myplugin.io/mydevice-3", "host": "kind-worker2",
            "was": "healthy", "health": "unhealthy", "reason": "over temperature", "numa_node": None,
        }  # fmt: skip  # one row
        FakeTree(root).unplug("node2/dev3/2")
        assert json.loads(await line(process))["health"] == "absent"
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


def test_events_without_follow_end(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "node2/dev3/1/health").write_text("unhealthy since yesterday\n")
    assert cli.main(["events", "--root", str(root)]) == 0
    (text,) = capsys.readouterr().out.splitlines()
    assert text.endswith("Z  /node2/dev3/1  unhealthy: since yesterday")


async def test_top_prints_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "t", "node1/dev1/1")
    async with running_fakehw("top", "--root", str(root)) as process:
        assert (await line(process)).startswith("PATH")
        assert "/node1/dev1/1" in await line(process)
        (root / "node1/dev1/1/health").write_text("unhealthy hot\n")
        assert (await line(process)).endswith("/node1/dev1/1  healthy -> unhealthy: hot")


async def test_a_wait_leaves_no_reader_of_the_loop_behind(root: Path) -> None:
    with inotify.Watch[str]() as watch:
        watch.add(str(root), "root")
        await watch.wait(0.0)
        (root / "x").touch()
        await watch.wait()
        assert watch._inotify is not None
        assert not asyncio.get_running_loop().remove_reader(watch._inotify.fileno())
        assert [(event.target, event.name) for event in watch.events()][:1] == [("root", "x")]
