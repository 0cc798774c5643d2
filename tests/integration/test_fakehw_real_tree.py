"""FakeTree on real directories: what a watcher sees, what a kill or a full disk leaves, what hostile entries do."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import inotify_simple
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fakehw
from fakehw import FakeTree
from tests.running import roomy_place

SEED = Path(__file__).parents[2] / "deploy/base/topology.yaml"


@pytest.fixture
def tree(tmp_path: Path) -> FakeTree:
    return FakeTree(tmp_path / "tree")


def make_topology(count: int, **fields: object) -> fakehw.Topology:
    return fakehw.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": count, **fields}}}}})


def visible(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
        if not path.relative_to(root).parts[0].startswith(".")
    }


@contextlib.contextmanager
def watching(*paths: Path):
    """Yields a function that returns what happened since: (directory, flag, name)."""
    flags = inotify_simple.flags
    mask = flags.CREATE | flags.MODIFY | flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE
    with inotify_simple.INotify() as inotify:
        names = {inotify.add_watch(path, mask): path.name for path in paths}
        yield lambda: [
            (names[event.wd], flags(event.mask & mask).name, event.name) for event in inotify.read(timeout=0)
        ]


def test_set_health_is_one_event_for_a_watcher(tree: FakeTree):
    """Staged beside the file, it would be four: a watcher could read a value half-written."""
    tree.build(make_topology(1))
    with watching(tree.root / "n/dev1/1") as events:
        tree.set_health("n/dev1/1", "unhealthy", reason="hot")

        assert events() == [("1", "MOVED_TO", "health")]


def test_devices_appear_and_go_whole(tree: FakeTree):
    """A watcher that reads a device on its first event must find all of it."""
    tree.build(make_topology(1))
    with watching(tree.root / "n/dev1") as events:
        tree.build(make_topology(2))
        tree.plug("n/dev1/3")
        tree.unplug("n/dev1/1")

        assert events() == [("dev1", "MOVED_TO", "2"), ("dev1", "MOVED_TO", "3"), ("dev1", "MOVED_FROM", "1")]


def test_build_that_changes_nothing_wakes_no_watcher(tree: FakeTree):
    topology = fakehw.load_topology(SEED)
    tree.build(topology)
    directories = [tree.root, *(path for path in tree.root.rglob("node*/**") if path.is_dir())]
    with watching(*directories) as events:
        tree.build(topology)

        assert events() == []


def test_killed_build_shows_nothing_half_made_and_the_next_one_mends_it(roomy_dir: Path):
    """SIGKILL at many moments of a build that adds, removes and updates."""
    tree = FakeTree(roomy_dir / "tree")
    first, last = make_topology(400, attributes={"a": "1"}), make_topology(5)
    code = (
        "import sys, fakehw; print('ready', flush=True); sys.stdin.readline();"
        "fakehw.FakeTree(sys.argv[1]).build(fakehw.make_topology("
        "{'nodes': {'n': {'classes': {'dev1': {'devices': {str(i): {'numa_node': 1} for i in range(300, 700)}}}}}}))"
    )
    killed = 0
    for delay_ms in (0, 5, 10, 20, 30, 60):
        shutil.rmtree(tree.root, ignore_errors=True)
        tree.build(first)
        with subprocess.Popen(
            [sys.executable, "-c", code, str(tree.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdout.readline()
            process.stdin.write(b"\n")
            process.stdin.flush()
            time.sleep(delay_ms / 1000)  # the moment of the kill is the subject
            process.kill()
        killed += process.returncode == -signal.SIGKILL

        for device in (tree.root / "n/dev1").iterdir():
            assert device.name == "resource" or (device / "health").read_text() == "healthy\n"
        tree.build(last)
        assert len(visible(tree.root)) == 3 + 2 * 5
        assert sorted(path.name for path in (tree.root / ".fakehw").iterdir()) == ["applied.json", "lock"]
    assert killed


def test_failing_move_takes_back_the_ones_before_it(tree: FakeTree, monkeypatch: pytest.MonkeyPatch):
    tree.build(make_topology(3, attributes={"a": "1"}))
    before = visible(tree.root)
    wanted = make_topology(2, attributes={"a": "2"}, numa_node=0, devices={"9": {}})
    for nth in range(1, 6):  # two attributes of two devices, and one new device
        with monkeypatch.context() as patch:
            moves = iter(range(1, 1000))
            real = os.replace

            def failing(source: str, target: str, moves=moves, nth=nth, real=real, **where: int) -> None:
                if source.isdigit() and next(moves) == nth:
                    raise OSError(28, "No space left on device")
                real(source, target, **where)

            patch.setattr(os, "replace", failing)
            with pytest.raises(fakehw.TreeError, match="No space left on device"):
                tree.build(wanted)
        assert visible(tree.root) == before
    tree.build(wanted)
    assert not tree.build(wanted).steps


@pytest.fixture
def small_disk(tmp_path: Path):
    """A tmpfs of 256 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting a small file system takes root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield mount
    subprocess.run(["umount", mount], check=True)


def test_full_disk_leaves_the_visible_tree_as_it_was(small_disk: Path):
    tree = FakeTree(small_disk)  # a mount point: it can be neither renamed nor removed
    tree.build(make_topology(5))
    before = visible(small_disk)

    with pytest.raises(fakehw.TreeError, match="No space left on device"):
        tree.build(make_topology(5000))
    assert visible(small_disk) == before
    tree.set_health("n/dev1/1", "unhealthy")
    tree.build(make_topology(2), reset=True)
    assert len(visible(small_disk)) == 3 + 2 * 2


def test_builders_at_a_time_take_turns(tree: FakeTree):
    told: list[str] = []
    errors: list[BaseException] = []

    def build(count: int) -> None:
        try:
            for _ in range(5):
                FakeTree(tree.root, tell=told.append).build(make_topology(count))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=build, args=(count,)) for count in (10, 40, 80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert (len(visible(tree.root)) - 3) / 2 in (10, 40, 80)
    assert set(told) == {f"{tree.root}: waiting for another fakehw to finish"}


def test_hostile_entries_neither_block_nor_crash_a_reader(tree: FakeTree):
    tree.build(make_topology(9))
    devices = tree.root / "n/dev1"
    for number in range(1, 8):
        (devices / f"{number}/health").unlink()
    os.mkfifo(devices / "1/health")
    (devices / "2/health").symlink_to("/dev/zero")
    (devices / "3/health").mkdir()
    with (devices / "4/health").open("wb") as sparse:
        sparse.truncate(1 << 30)
    (devices / "5/health").symlink_to("health")
    (devices / "6/health").write_bytes(b"\0\xff")
    (devices / "100").symlink_to("/")
    (devices / "101").write_text("x")
    os.mkfifo(tree.root / "fifo")
    (tree.root / os.fsdecode(b"\xff\xfe")).mkdir()
    (devices / "8/numa_node").write_text("-7")

    began = time.monotonic()
    read = tree.read()
    assert time.monotonic() - began < 1
    found = {path.number: device for path, device in read.devices()}
    assert sorted(found) == list(range(1, 10))
    assert {found[number].health[0] for number in range(1, 8)} == {fakehw.Health.UNHEALTHY}
    assert "is a FIFO" in found[1].health[1]
    assert "is longer than 4096 bytes" in found[4].health[1]
    assert found[8].numa_node is None
    tree.build(make_topology(9))  # what a person broke stays broken, and does not break the build


def test_links_out_of_the_tree_are_never_followed_by_a_writer(tree: FakeTree, tmp_path: Path):
    outside = tmp_path / "outside"
    (outside / "1").mkdir(parents=True)
    (outside / "1/health").write_text("precious")
    tree.build(make_topology(1))
    (tree.root / "n/dev2").symlink_to(outside)
    (tree.root / "m").symlink_to(outside)
    (tree.root / "n/dev1/1/link").symlink_to(outside)

    for act in (tree.unplug, tree.plug, lambda path: tree.set_health(path, "unhealthy")):
        with pytest.raises(fakehw.FakehwError):
            act("n/dev2/1")
    tree.unplug("n/dev1/1")
    assert (outside / "1/health").read_text() == "precious"
    shutil.rmtree(tree.root / ".fakehw")
    (tree.root / ".fakehw").symlink_to(outside)
    with pytest.raises(fakehw.FakehwError):
        tree.build(make_topology(1))
    assert sorted(path.name for path in outside.iterdir()) == ["1"]


def test_deep_nesting_made_by_hand_is_kept_when_unplugged_and_removed_all_the_same(roomy_dir: Path):
    tree = FakeTree(roomy_dir / "tree")
    tree.build(make_topology(1))
    fd = os.open(tree.root / "n/dev1/1", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)

    tree.unplug("n/dev1/1")
    assert (tree.root / ".fakehw/unplugged/n/dev1/1/d/d").is_dir()
    tree.build(make_topology(1), reset=True)
    assert sorted(path.name for path in (tree.root / ".fakehw").iterdir()) == ["applied.json", "lock"]


def test_character_device_is_made_where_mknod_is_allowed(tree: FakeTree):
    told: list[str] = []
    FakeTree(tree.root, tell=told.append).build(make_topology(2, device_node="zero"))
    if told:
        pytest.skip("mknod is not allowed here")

    status = (tree.root / "n/dev1/2/node").stat()
    assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (1, 5)
    assert not tree.build(make_topology(2, device_node="zero")).steps
    tree.build(make_topology(2))
    assert not (tree.root / "n/dev1/2/node").exists()


def test_faults_of_the_protocol_are_passed_over_and_kept_by_a_build(tmp_path: Path) -> None:
    topology = fakehw.make_topology({"nodes": {"node2": {"classes": {"dev3": {"count": 1}}}}})
    tree = fakehw.FakeTree(tmp_path / "tree")
    tree.build(topology)
    (tmp_path / "tree/node2/dev3/rpc").mkdir()
    (tmp_path / "tree/node2/dev3/rpc/allocate").write_text("hang\n")

    tree.build(topology)

    assert (tmp_path / "tree/node2/dev3/rpc/allocate").read_text() == "hang\n"
    assert [str(path) for path, _ in tree.read().devices()] == ["/node2/dev3/1"]
    tree.build(topology, reset=True)
    assert not (tmp_path / "tree/node2/dev3/rpc").exists()


_fields = st.fixed_dictionaries(
    {"count": st.integers(0, 3)},
    optional={
        "numa_node": st.integers(-1, 1),
        "health": st.sampled_from(["healthy", "unhealthy", "unhealthy hot"]),
        "attributes": st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "{id}"])),
        "devices": st.dictionaries(
            st.sampled_from(["0", "2", "7"]), st.just({"health": "unhealthy late", "numa_node": 0})
        ),
    },
)
_documents = st.fixed_dictionaries(
    {
        "nodes": st.dictionaries(
            st.sampled_from(["n1", "n2"]),
            st.fixed_dictionaries(
                {"classes": st.dictionaries(st.sampled_from(["dev1", "dev2"]), _fields)},
                optional={"host": st.sampled_from(["h1", "h2"])},
            ),
        )
    }
)


@given(specs=st.lists(_documents, min_size=2, max_size=4))
def test_builds_one_after_another_end_where_the_last_alone_would(specs: list[dict]):
    topologies = [fakehw.make_topology(document) for document in specs]
    with tempfile.TemporaryDirectory(dir=roomy_place()) as directory:
        many, one = FakeTree(f"{directory}/many"), FakeTree(f"{directory}/one")
        for topology in topologies:
            many.build(topology)
        one.build(topologies[-1])

        assert visible(many.root) == visible(one.root)
        assert not many.build(topologies[-1]).steps


OPENED = {
    "build": 1, "again": 2, "set-health": 7, "set-values": 12, "unplug": 0, "plug": 6, "unplug its devices": 13,
    "plug its devices": 22, "reset": 5,
}  # fmt: skip  # one list
"""So many files and directories are opened for one device more, at most; what is named one by one is looked for."""


def test_what_a_device_more_costs_a_writer_does_not_grow_with_the_tree(
    roomy_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    opened: list[object] = []

    def counted(*arguments: object, **more: object) -> int:
        opened.append(arguments)
        return os_open(*arguments, **more)  # type: ignore[arg-type]

    def opens(count: int) -> dict[str, int]:
        tree = FakeTree(roomy_dir / str(count))
        every = [f"n/dev1/{number}" for number in range(1, count + 1)]
        found = {}
        for name, act in {
            "build": lambda: tree.build(make_topology(count)),
            "again": lambda: tree.build(make_topology(count)),
            "set-health": lambda: tree.set_health("n/dev1", "unhealthy"),
            "set-values": lambda: tree.set_values([path for path, _ in tree.read().devices()], "numa_node", "1"),
            "unplug": lambda: tree.unplug("n/dev1"),
            "plug": lambda: tree.plug("n/dev1"),
            "unplug its devices": lambda: tree.unplug(every),
            "plug its devices": lambda: tree.plug(every),
            "reset": lambda: tree.build(make_topology(count), reset=True),
        }.items():
            opened.clear()
            act()
            found[name] = len(opened)
        return found

    os_open = os.open
    monkeypatch.setattr(os, "open", counted)
    few, more, most = opens(20), opens(40), opens(80)
    slope = {name: (more[name] - few[name]) / 20 for name in few}
    assert {name: (most[name] - more[name]) / 40 for name in few} == slope, "as many for each device"
    assert {name: count for name, count in slope.items() if count > OPENED[name]} == {}


def test_no_writer_or_reader_keeps_a_descriptor_whatever_came_of_it(roomy_dir: Path):
    tree = FakeTree(roomy_dir / "tree")
    tree.build(make_topology(2))
    (tree.root / "n/dev1/2/health").unlink()
    (tree.root / "n/dev1/2/health").mkdir()
    (tree.root / "n/dev1/3").symlink_to("/")
    (tree.root / "n/notes").mkdir()

    def everything() -> None:
        for act in (
            lambda: tree.read(),
            lambda: tree.listed(),
            lambda: tree.build(make_topology(3), dry_run=True),
            lambda: tree.build(make_topology(2, numa_node=1)),
            lambda: tree.build(make_topology(2), reset=True),
            lambda: tree.set_health("n/dev1/1", "unhealthy"),
            lambda: tree.set_health("n/dev1/9", "unhealthy"),
            lambda: tree.unplug("n/dev1/1"),
            lambda: tree.plug("n/dev1/1"),
            lambda: tree.plug("n9/dev1/1"),
            lambda: tree.unplug("n/notes"),
            lambda: FakeTree(tree.root / "nope").read(),
            lambda: FakeTree(tree.root / "n/dev1").build(make_topology(1)),
        ):
            with contextlib.suppress(fakehw.FakehwError):
                act()

    everything()
    before = sorted(Path("/proc/self/fd").iterdir())
    everything()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
