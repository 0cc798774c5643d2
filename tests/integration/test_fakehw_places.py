"""Trees in places that refuse: other owners, mounts, btrfs, image layers, locks that are held, builds that were killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fakehw
from fakehw import FakeTree
from fakehw.tree import applied, directory, stage

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners and mounts take root")


def make_topology(count: int, **fields: object) -> fakehw.Topology:
    return fakehw.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": count, **fields}}}}})


def visible(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
        if not path.relative_to(root).parts[0].startswith(".")
    }


def private(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".fakehw").iterdir())


@pytest.fixture
def tree(tmp_path: Path) -> FakeTree:
    return FakeTree(tmp_path / "tree")


SPEC = "nodes: {n: {classes: {dev1: {count: %d, numa_node: %d}}}}"


def as_powerless_root(root: Path, *arguments: str, spec: str = "") -> subprocess.CompletedProcess[str]:
    """Run fakehw as the init container of the manifests does: root, with no capability."""
    command = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", sys.executable, "-m", "fakehw", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FAKEHW_", "NODE_NAME"))}
    return subprocess.run(
        command, input=spec, check=False, capture_output=True, text=True, timeout=60, env={**clean, "FAKEHW_ROOT": str(root)}
    )  # fmt: skip


@needs_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")
def test_an_owner_who_shuts_his_device_stops_nobody_else(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    assert as_powerless_root(root, "build", "--spec", "-", spec=SPEC % (4, 0)).returncode == 0
    os.chown(root / "n/dev1/1", 1000, 1000)
    (root / "n/dev1/1").chmod(0)
    os.chown(root / "n/dev1/2", 1000, 1000)  # his own: its numa_node can be replaced by nobody else

    for flags, code in ((), 3), (("--tolerant",), 0):
        done = as_powerless_root(root, "build", "--spec", "-", *flags, spec=SPEC % (5, 1))
        assert done.returncode == code
        assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [
            f"{root}/n/dev1/1: is a directory that cannot be opened: Permission denied: is passed over: must be a directory or nothing",
            f"{root}/n/dev1/2/numa_node: Permission denied: is passed over",
        ]  # fmt: skip
    assert [(root / f"n/dev1/{number}/numa_node").read_text() for number in (2, 3, 4, 5)] == [
        "0\n",
        "1\n",
        "1\n",
        "1\n",
    ]


@needs_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")
def test_what_could_not_be_taken_away_is_taken_away_when_it_can(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    as_powerless_root(root, "build", "--spec", "-", spec=SPEC % (3, 0))
    os.chown(root / "n/dev1", 1000, 1000)

    done = as_powerless_root(root, "build", "--spec", "-", spec=SPEC % (1, 0))
    assert (done.returncode, done.stderr.count("is passed over")) == (3, 2)
    os.chown(root / "n/dev1", 0, 0)
    done = as_powerless_root(root, "build", "--spec", "-", spec=SPEC % (1, 0))
    assert (done.returncode, done.stdout.count("removed  /n/dev1/")) == (0, 2)
    assert private(root) == ["applied.json", "lock"]


@needs_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")
def test_leftovers_are_named_left_and_in_nobodys_way(tmp_path: Path) -> None:
    """Another owner's closed directory inside a device that left the spec: a root without capabilities cannot empty it."""
    root = tmp_path / "tree"
    as_powerless_root(root, "build", "--spec", "-", spec=SPEC % (2, 0))
    hostile = root / ".fakehw/stage/old/1/theirs"  # as a writer of an earlier version left it
    hostile.mkdir(parents=True)
    (hostile / "file").write_text("")
    os.chown(hostile, 1000, 1000)
    hostile.chmod(0o700)

    for arguments in (("set-health", "n", "unhealthy"), ("build", "--reset", "--spec", "-"), ("unplug", "n/dev1/1")):
        done = as_powerless_root(root, *arguments, spec=SPEC % (2, 0))
        assert done.returncode == 0
        assert "/.fakehw: cannot be cleared away, and is left: stage/" in done.stderr
        assert done.stderr.count("\n") == 1
        assert ";" not in done.stderr, "each thing that is left is named once"
    assert sorted(visible(root)) == [
        "n",
        "n/dev1",
        "n/dev1/2",
        "n/dev1/2/health",
        "n/dev1/2/numa_node",
        "n/dev1/resource",
    ]
    hostile_now = next((root / ".fakehw").rglob("theirs"), None) or next((root / ".fakehw/stage").rglob("file")).parent
    os.chown(hostile_now, 0, 0)
    assert as_powerless_root(root, "set-health", "n", "healthy").stderr == ""
    assert "stage" not in private(root)


def test_somebody_who_keeps_making_files_does_not_keep_a_writer(tree: FakeTree) -> None:
    tree.build(make_topology(2))
    (tree.root / "n/dev1/1/theirs").mkdir()
    fd = os.open(tree.root / "n/dev1/1/theirs", os.O_RDONLY)
    stop = threading.Event()

    def keep_making() -> None:
        number = 0
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            number += 1

    thread = threading.Thread(target=keep_making)
    thread.start()
    try:
        shutil.move(tree.root / "n/dev1/1/theirs", tree.root / ".fakehw/stage")
        tree.set_health("n/dev1/2", "unhealthy")
        tree.build(make_topology(2), reset=True)
    finally:
        stop.set()
        thread.join()
        os.close(fd)
    assert (tree.root / "n/dev1/1/health").read_text() == "healthy\n"


@contextlib.contextmanager
def mounted(*arguments: object, at: Path, within: Path | None = None) -> Iterator[None]:
    done = subprocess.run(["mount", *map(str, arguments), str(at)], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        for line in Path("/proc/self/mounts").read_text().splitlines():
            place = Path(line.split()[1])  # what was mounted moves with the directory that it is in
            if place.is_relative_to(within or at):
                subprocess.run(["umount", "--lazy", place], check=True)


@needs_root
@pytest.mark.parametrize("place", ["n/dev1/2/d", "n/dev1/2", "n/dev1"])
def test_nothing_is_ever_deleted_through_a_mount(tree: FakeTree, tmp_path: Path, place: str) -> None:
    data = tmp_path / "data"
    for number in (1, 2):
        (data / str(number)).mkdir(parents=True)
        (data / f"{number}/health").write_text("healthy\n")
    (data / "health").write_text("healthy\n")
    before = visible(data)
    tree.build(make_topology(3))
    (tree.root / place).mkdir(exist_ok=True)

    with mounted("--bind", data, at=tree.root / place, within=tree.root):
        for path in ("n/dev1/2", "n/dev1", "n"):
            with contextlib.suppress(fakehw.FakehwError):
                tree.unplug(path)
            with contextlib.suppress(fakehw.FakehwError):
                tree.plug(path)
        for act in (
            lambda: tree.build(make_topology(1)),
            lambda: tree.build(fakehw.make_topology({"nodes": {}})),
            lambda: tree.build(make_topology(3), reset=True),
            lambda: tree.build(make_topology(3)),
        ):
            with contextlib.suppress(fakehw.FakehwError):
                act()
    assert visible(data) == before


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if os.geteuid() or not shutil.which("mkfs.btrfs"):
        pytest.skip("no mkfs.btrfs, or no root")
    place = tmp_path_factory.mktemp("btrfs")
    image, mount = Path(f"/tmp/fakehw-btrfs-{os.getpid()}.img"), place / "mount"
    mount.mkdir()
    try:
        with image.open("wb") as file:
            file.truncate(120 << 20)
        subprocess.run(["mkfs.btrfs", "--quiet", image], check=True, capture_output=True)
        with mounted("-o", "loop", image, at=mount):
            yield mount
    finally:
        image.unlink(missing_ok=True)


def test_a_tree_on_btrfs(btrfs: Path) -> None:
    """Its directories, listed by a descriptor from before their entries were made, look empty."""
    told: list[str] = []
    tree = FakeTree(btrfs / "tree", tell=told.append)
    tree.build(make_topology(50))
    tree.build(make_topology(20, attributes={"a": "1"}))
    tree.set_health("n", "unhealthy")
    tree.unplug("n/dev1/3")
    tree.plug("n/dev1/3")
    tree.plug("n/dev1/99")
    tree.build(make_topology(2), reset=True)

    assert told == []
    assert len(visible(tree.root)) == 3 + 2 * 2
    assert private(tree.root) == ["applied.json", "lock"]


def test_a_writer_that_waited_sees_what_the_one_before_it_made(btrfs: Path) -> None:
    root = btrfs / "turns"
    FakeTree(root).build(make_topology(1))
    waiting = threading.Event()
    second = FakeTree(root, tell=lambda line: waiting.set() if "waiting" in line else None)
    thread = threading.Thread(target=lambda: second.build(make_topology(9)))
    root_fd = os.open(root, os.O_RDONLY)
    with stage.writing(root_fd, name="tree", waiting=lambda: None, tell=lambda _: None) as writer:
        thread.start()
        assert waiting.wait(20)
        document = {"nodes": {"by_hand": {"classes": {"dev1": {"count": 1}}}}}
        topology = fakehw.make_topology(document)
        writer.add(fakehw.TreePath("by_hand"), topology.nodes["by_hand"], lambda: None)
        writer.commit()
    thread.join()
    os.close(root_fd)
    assert sorted(path.name for path in root.glob("[!.]*")) == ["by_hand", "n"]
    assert FakeTree(root).build(make_topology(9)).kept, "what the other made was seen"


@pytest.fixture
def layered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tree in a layer of an image: overlayfs renames no directory of a lower layer."""
    if os.geteuid():
        pytest.skip("mounting takes root")
    place = tmp_path_factory.mktemp("layers")
    for name in ("lower", "upper", "work", "merged"):
        (place / name).mkdir()
    FakeTree(place / "lower/tree").build(make_topology(4, attributes={"a": "1"}))
    options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    with mounted("-t", "overlay", "overlay", "-o", options, at=place / "merged"):
        with pytest.raises(OSError, match="cross-device"):
            (place / "merged/tree/n/dev1/4").rename(place / "merged/tree/n/dev1/5")
        yield place / "merged/tree"


def test_a_tree_in_the_layer_of_an_image(layered: Path) -> None:
    told: list[str] = []
    tree = FakeTree(layered, tell=told.append)
    before = visible(layered)
    tree.unplug("n/dev1/1")
    assert "n/dev1/1" not in visible(layered)
    tree.plug("n/dev1/1")
    assert visible(layered) == before
    tree.unplug("n")
    assert visible(layered) == {}
    tree.plug("n")
    assert visible(layered) == before
    tree.build(make_topology(2, attributes={"a": "2"}))
    assert len(visible(layered)) == 3 + 3 * 2
    tree.build(make_topology(3), reset=True)
    assert len(visible(layered)) == 3 + 2 * 3
    assert told == []
    assert private(layered) == ["applied.json", "lock"]


def test_a_reset_of_a_tree_in_the_layer_of_an_image(layered: Path) -> None:
    tree = FakeTree(layered)
    assert tree.build(make_topology(2), reset=True).counts()["removed"] == 4
    assert len(visible(layered)) == 3 + 2 * 2


# The lock.


def test_a_lock_that_is_held_is_waited_for_so_long_and_its_holder_named(tree: FakeTree) -> None:
    tree.build(make_topology(1))
    told: list[str] = []
    holder = subprocess.Popen(["flock", tree.root / ".fakehw/lock", "-c", "echo held; exec sleep 60"], stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(fakehw.TreeError) as caught:
            FakeTree(tree.root, tell=told.append, lock_wait_s=0.1).set_health("n", "unhealthy")
    finally:
        subprocess.run(["pkill", "-P", str(holder.pid)], check=False)
        holder.kill()
        holder.communicate()
    assert f".fakehw/lock: is held by process {holder.pid} (flock" in str(caught.value)
    assert str(caught.value).endswith("for more than 0.1 s: try again, or end that")
    assert told == [f"{tree.root}: waiting for another fakehw to finish"]
    tree.set_health("n", "unhealthy")


def test_a_wait_for_the_lock_is_bounded_at_half_a_minute() -> None:
    assert stage.lock.WAIT_S == 30


def test_the_lock_is_nobody_elses_to_hold(tree: FakeTree) -> None:
    """Whoever may open it may hold it: one of an earlier version is closed to others by the next writer."""
    tree.build(make_topology(1))
    lock = tree.root / ".fakehw/lock"
    assert lock.stat().st_mode & 0o777 == 0o600
    lock.chmod(0o644)
    tree.set_health("n", "healthy")
    assert lock.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_a_lock_that_is_no_file_is_refused_and_not_followed(tree: FakeTree, tmp_path: Path, kind: str) -> None:
    tree.build(make_topology(1))
    lock = tree.root / ".fakehw/lock"
    lock.unlink()
    if kind == "link":
        (tmp_path / "target").write_text("precious")
        (tmp_path / "target").chmod(0o644)
        lock.symlink_to(tmp_path / "target")
    elif kind == "directory":
        lock.mkdir()
    else:
        os.mkfifo(lock)

    if kind == "fifo":
        tree.set_health("n", "unhealthy")  # it can be held as well as a file
        return
    with pytest.raises(fakehw.TreeError):
        tree.set_health("n", "unhealthy")
    assert (tree.root / "n/dev1/1/health").read_text() == "healthy\n"
    if kind == "link":
        assert (tmp_path / "target").stat().st_mode & 0o777 == 0o644
        with (tmp_path / "target").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Builds that are killed, at the moment that matters.


class Killed(BaseException):
    """Stands for the end of the process: nothing that catches exceptions catches it."""


def killed_build(tree: FakeTree, topology: fakehw.Topology, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Build, and die before the commit, after it, or between the two files that remember it."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if when == "before the commit":
            patch.setattr(stage.Stage, "commit", die)
        elif when == "after the commit":
            patch.setattr(applied, "conclude", die)
        else:
            patch.setattr(directory, "remove", lambda name, **_: die() if name == "pending.json" else None)
        with pytest.raises(Killed):
            tree.build(topology)


@pytest.mark.parametrize("when", ["before the commit", "after the commit", "between applied and pending"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_killed_builds_brought_is_taken_away_by_the_next(
    tree: FakeTree, monkeypatch: pytest.MonkeyPatch, when: str, times: int
) -> None:
    """Of first builds, too: two that were killed left devices that counted as added by hand for ever."""
    for number in range(times):
        document = {
            "nodes": {"n": {"classes": {"dev1": {"devices": {str(number): {}}}, f"dev{number + 2}": {"count": 1}}}}
        }
        killed_build(tree, fakehw.make_topology(document), monkeypatch, when)
    plan = tree.build(make_topology(2))

    assert plan.kept == []
    assert {name for name in visible(tree.root) if name.endswith("health")} == {"n/dev1/1/health", "n/dev1/2/health"}
    assert sorted(path.name for path in (tree.root / "n").iterdir()) == ["dev1"]
    assert private(tree.root) == ["applied.json", "lock"]


def test_a_first_build_over_a_device_that_was_made_by_hand_keeps_its_health(tree: FakeTree) -> None:
    (tree.root / "n/dev1/1").mkdir(parents=True)
    (tree.root / "n/dev1/1/health").write_text("unhealthy by hand\n")
    tree.build(make_topology(2))

    assert (tree.root / "n/dev1/1/health").read_text() == "unhealthy by hand\n"
    assert (tree.root / "n/dev1/2/health").read_text() == "healthy\n"


def test_a_device_that_was_plugged_in_meanwhile_is_not_put_over(tree: FakeTree) -> None:
    tree.build(make_topology(2))
    devices = dict(tree.read().devices())
    two = fakehw.TreePath("n", "dev1", 2)
    (tree.root / "n/dev1/2/health").write_text("unhealthy somebody's\n")

    with pytest.raises(fakehw.InputError, match="/n/dev1/2: is there already"):
        tree.put({two: devices[two]})
    assert (tree.root / "n/dev1/2/health").read_text() == "unhealthy somebody's\n"


# Character devices.


def test_where_mknod_is_not_allowed_a_dry_run_says_what_a_build_does(
    tree: FakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    tree.build(make_topology(2))
    wanted = make_topology(3, device_node="zero")
    with monkeypatch.context() as patch:
        patch.setattr(os, "mknod", refuse)
        dry = tree.build(wanted, dry_run=True)
        assert list(dry.lines()) == list(tree.build(wanted).lines())
        assert dry.counts() == {"added": 1, "removed": 0, "updated": 0, "unchanged": 2}
        assert not tree.build(wanted, dry_run=True).steps


@needs_root
def test_a_character_device_that_is_there_stays_where_a_later_build_may_not_make_one(
    tree: FakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = make_topology(1, device_node="zero")
    old = os.umask(0o077)
    try:
        tree.build(wanted)
    finally:
        os.umask(old)
    node = tree.root / "n/dev1/1/node"
    if not node.exists():
        pytest.skip("mknod is not allowed here")
    assert node.stat().st_mode & 0o777 == 0o666, "whatever the umask"

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", refuse)
    assert not tree.build(wanted).steps
    assert node.is_char_device()
