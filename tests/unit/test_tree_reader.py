"""Parts of the reading that the scanner's tests see only from afar: names, one device, and the last descriptors."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from fakehw_plugin.device import Health
from fakehw_plugin.offer import Api
from fakehw_plugin.tree import attributes, entries, names, reader
from fakehw_plugin.tree.complaints import Complaints
from fakehw_plugin.tree.device_reader import DeviceReader
from fakehw_plugin.tree.known import KnownTree
from tests.factories import make_tree
from tests.open_files import open_below

if TYPE_CHECKING:
    from collections.abc import Iterator


class NoWatch:
    exhausted = None

    def open(self) -> None: ...

    def add(self, path: str, target: Any) -> None: ...

    def remove(self, wd: int | None, target: Any) -> None: ...


@pytest.fixture
def class_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(make_tree(tmp_path, "node2/dev3/1") / "node2/dev3", os.O_RDONLY)
    yield fd
    os.close(fd)


def make_class(root: Path) -> tuple[KnownTree, Complaints, entries.ClassEntry]:
    complaints = Complaints(structlog.get_logger())
    known = KnownTree(str(root), watch=NoWatch(), complaints=complaints)  # type: ignore[arg-type]
    return known, complaints, entries.ClassEntry(entries.NodeEntry(known.root, "node2", 1), "dev3", 2)


@pytest.mark.parametrize(
    ("name", "is_directory", "complaint"),
    [
        pytest.param("1", True, None, id="a device"),
        pytest.param("7", False, "is a regular file, no directory", id="a file of a device's name"),
        pytest.param("07", True, "is not a valid name of a device", id="a number written otherwise"),
        pytest.param("notes", False, None, id="any file"),
        pytest.param("rpc", True, None, id="the directory of faults"),
        pytest.param("rpc2", True, "is not a valid name of a device", id="any other directory"),
    ],
)
def test_what_is_no_device_is_told_only_where_it_looks_like_one(
    tmp_path: Path, class_fd: int, name: str, is_directory: bool, complaint: str | None
) -> None:
    path = tmp_path / "node2/dev3" / name
    if is_directory:
        path.mkdir(exist_ok=True)
    else:
        path.write_text("")
    _, _, parent = make_class(tmp_path)
    found: dict[tuple[str, str], str] = {}

    identity = names.identify(class_fd, parent, name, found)

    assert list(found.values()) == ([complaint] if complaint else [])
    assert (identity is not None) == (name == "1")


def test_an_id_of_just_the_longest_length_is_taken_and_one_character_more_is_not(tmp_path: Path) -> None:
    node = "n" * (63 - len("-dev3-1"))
    for name in (node, f"{node}n"):
        (tmp_path / name / "dev3/1").mkdir(parents=True)
        known, _, _ = make_class(tmp_path)
        parent = entries.ClassEntry(entries.NodeEntry(known.root, name, 1), "dev3", 2)
        fd, found = os.open(tmp_path / name / "dev3", os.O_RDONLY), dict[tuple[str, str], str]()
        identity = names.identify(fd, parent, "1", found)
        os.close(fd)
        assert (identity is None) == bool(found) == (name != node)


def test_a_device_half_written_keeps_its_state_only_where_it_may_wait(tmp_path: Path, class_fd: int) -> None:
    known, complaints, parent = make_class(tmp_path)
    entry = entries.DeviceEntry(parent, 1, 3)
    reading = DeviceReader(known, complaints, NoWatch())  # type: ignore[arg-type]
    assert reading.read(class_fd, entry, may_wait=False)
    health = tmp_path / "node2/dev3/1/health"

    health.write_text("")
    assert not reading.read(class_fd, entry, may_wait=True)
    assert entry.device is not None
    assert entry.device.health is Health.HEALTHY
    assert reading.read(class_fd, entry, may_wait=False)
    assert (entry.device.health, entry.device.reason) == (Health.UNHEALTHY, "health file is empty")


def test_fake_nodes_that_are_not_named_are_passed_over_whatever_their_host(tmp_path: Path) -> None:
    root = make_tree(tmp_path, "a/dev1/1", "b/dev1/1", "c/dev1/1", hosts={"a": "h", "b": "h", "c": "other"})
    read = reader.TreeReader(
        str(root), host="h", domain="d.io", api=Api.DEVICE_PLUGIN, watch=NoWatch(), nodes={"a", "c"}  # type: ignore[arg-type]
    )  # fmt: skip  # in one line
    list(read.scan())
    assert [name for name, node in read.known.root.nodes.items() if node.classes] == ["a"]


@pytest.mark.parametrize("left", range(7))
def test_with_the_last_descriptors_a_device_is_read_right_or_not_at_all(tmp_path: Path, left: int) -> None:
    """Our own shortage is not a broken device, whichever of its files is the one that cannot be opened."""
    root = make_tree(tmp_path, "node2/dev3/1", "node2/dev3/2", hosts={"node2": "kind-worker2"})
    (root / "node2/dev3/1/numa_node").write_text("1\n")
    (root / "node2/dev3/resource").write_text("example.org/gpu\n")
    read = reader.TreeReader(
        str(root), host="kind-worker2", domain="myplugin.io", api=Api.DEVICE_PLUGIN, watch=NoWatch()  # type: ignore[arg-type]
    )  # fmt: skip  # in one line
    list(read.scan())
    before = {key: entry.device for key, entry in read.known.root.nodes["node2"].classes["dev3"].devices.items()}
    read.known.take_changes()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))  # noqa: PTH208  # names
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        for _ in range(min(left, len(taken))):
            os.close(taken.pop())
        if len(taken) < left:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + left, hard))
        try:
            for _ in read.scan():
                pass
        except attributes.StarvedError:
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)

    assert {
        key: entry.device for key, entry in read.known.root.nodes["node2"].classes["dev3"].devices.items()
    } == before
    assert read.known.take_changes() == {}
    assert read.known.offers == {"example.org/gpu"}
    list(read.scan())
    assert read.known.take_changes() == {}


@pytest.mark.parametrize("numa_node", ["0", "nonsense"])
@pytest.mark.parametrize("settings", [None, entries.ClassSettings(Api.DRA)], ids=["device plugin", "dra"])
def test_a_device_that_was_read_is_closed_again(
    tmp_path: Path, class_fd: int, numa_node: str, settings: entries.ClassSettings | None
) -> None:
    device_dir = tmp_path / "node2/dev3/1"
    (device_dir / "numa_node").write_text(numa_node)
    (device_dir / "taints").mkdir()
    (device_dir / "taints/odd").write_text("no taint")
    known, complaints, parent = make_class(tmp_path)
    parent.settings = settings
    one = DeviceReader(known, complaints, NoWatch())  # type: ignore[arg-type]
    entry = entries.DeviceEntry(parent, 1, 3)
    before = open_below(tmp_path)
    for may_wait in (False, True, True):
        one.read(class_fd, entry, may_wait=may_wait)

    assert open_below(tmp_path) == before


def test_a_reading_of_everything_leaves_nothing_open(tmp_path: Path) -> None:
    root = make_tree(tmp_path, "node2/dev3/1", "node2/dev2/1", "node1/dev3/1")
    (root / "node2/notes").mkdir()
    read = reader.TreeReader(
        str(root), host="", domain="myplugin.io", api=Api.DEVICE_PLUGIN, watch=NoWatch(), nodes=None  # type: ignore[arg-type]
    )  # fmt: skip
    for _ in read.scan():
        pass
    assert len(read.known.take_changes()) == 2
    assert open_below(tmp_path) == []
