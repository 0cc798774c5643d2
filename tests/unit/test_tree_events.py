"""What each event of a tree makes us read, and for how long what is read may not be whole; on a fake file system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import inotify
from fakehw_plugin.device import Device, Health
from fakehw_plugin.offer import Api
from fakehw_plugin.tree import attributes, entries, reader, scanner
from tests.unit.test_discovery import ROOT, Watches, finished

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyfakefs.fake_filesystem import FakeFilesystem

R3 = "myplugin.io/mydevice-3"
CREATE, MODIFY, ATTRIB, DELETE = inotify.CREATE, inotify.MODIFY, inotify.ATTRIB, inotify.DELETE
CLOSE, FROM, TO, IGNORED = inotify.CLOSE_WRITE, inotify.MOVED_FROM, inotify.MOVED_TO, inotify.IGNORED


class Desk:
    """A scanner of a small tree, and what it reads when."""

    def __init__(self, fs: FakeFilesystem, *, api: Api = Api.DEVICE_PLUGIN, host: str = "") -> None:
        self.fs = fs
        fs.create_file(ROOT / "node2/host", contents="a-node\n")
        for number in (1, 2):
            fs.create_file(ROOT / f"node2/dev3/{number}/health", contents="healthy\n")
        self.now = 100.0
        self.watches = Watches()
        self.scanner = scanner.Scanner(
            ROOT,
            host=host,
            domain="myplugin.io",
            api=api,
            watch=self.watches,  # type: ignore[arg-type]  # the part of a Watcher that a scanner uses
            clock=lambda: self.now,
        )
        self.looks: list[tuple[str, str, bool]] = []
        look = self.scanner._reader.look

        def noted(entry: Any, name: str, *, may_wait: bool) -> Any:
            self.looks.append((entry.path.removeprefix(f"{ROOT}").lstrip("/"), name, may_wait))
            return look(entry, name, may_wait=may_wait)

        self.scanner._reader.look = noted  # type: ignore[method-assign]
        finished(self.scanner.scan())  # type: ignore[arg-type]
        self.scanner.take_changes()

    def events(self, *events: tuple[str, str, int]) -> Iterator[inotify.Event[Any]]:
        for directory, name, mask in events:
            yield inotify.Event(self.watches.targets[f"{ROOT}/{directory}".rstrip("/")], name, mask)

    def tell(self, *events: tuple[str, str, int]) -> bool:
        self.looks.clear()
        return finished(self.scanner.handle(self.events(*events)))

    @property
    def waits_s(self) -> float | None:
        deadline = self.scanner.next_deadline
        return None if deadline is None else round(deadline - self.now, 6)

    def changes(self) -> dict[str, Any]:
        found = self.scanner.take_changes()
        return {device_id: device for devices in found.values() for device_id, device in devices.items()}


@pytest.fixture
def desk(fs: FakeFilesystem) -> Desk:
    return Desk(fs)


HEALTH = "node2/dev3/1", "health"


@pytest.mark.parametrize(
    ("masks", "content", "waits_s", "believed"),
    [
        ([CREATE], "", 0.2, False),
        ([MODIFY], "", 0.2, False),
        ([ATTRIB], "", 0.2, False),
        ([CREATE, MODIFY, CLOSE], "", None, True),
        ([CLOSE], "", None, True),
        ([TO], "", None, True),
        ([MODIFY], "unh", 0.2, False),
        ([CLOSE], "unh", None, True),
        ([MODIFY], "unhealthy", None, True),
        ([DELETE], None, 0.025, False),
        ([FROM], None, 0.025, False),
        ([DELETE], "unhealthy", None, True),
        ([FROM, TO], "unhealthy", None, True),
    ],
)
def test_how_long_a_health_file_may_not_be_whole(
    desk: Desk, masks: list[int], content: str | None, waits_s: float | None, believed: bool
) -> None:
    path = ROOT / "/".join(HEALTH)
    path.unlink() if content is None else path.write_text(content)
    assert not desk.tell(*((*HEALTH, mask) for mask in masks))

    assert desk.waits_s == waits_s
    assert bool(desk.changes()) is believed
    if waits_s is not None:
        desk.now += waits_s - 0.001
        finished(desk.scanner.settle())  # type: ignore[arg-type]
        assert not desk.changes()
        desk.now += 0.001
        finished(desk.scanner.settle())  # type: ignore[arg-type]
        assert list(desk.changes()) == ["node2-dev3-1"]
        assert desk.waits_s is None


@pytest.mark.parametrize(
    ("directory", "name", "mask", "looks", "waits_s"),
    [
        ("node2/dev3/1", "health", CLOSE, [("node2/dev3/1", "health", False)], None),
        ("node2/dev3/1", "health", MODIFY, [("node2/dev3/1", "health", True)], None),
        ("node2/dev3/1", "numa_node", CLOSE, [("node2/dev3/1", "health", True)], None),
        ("node2/dev3/1", "node", DELETE, [("node2/dev3/1", "health", True)], None),
        ("node2/dev3/1", "model", CLOSE, [], None),
        ("node2/dev3/1", ".health.swp", CREATE, [], None),
        ("node2/dev3", "resource", CREATE, [], 0.2),
        ("node2/dev3", "resource", MODIFY, [], 0.2),
        ("node2/dev3", "resource", DELETE, [], 0.025),
        ("node2/dev3", "resource", CLOSE, [("node2/dev3", "resource", False)], None),
        ("node2/dev3", "resource", TO, [("node2/dev3", "resource", False)], None),
        ("node2/dev3", "api", MODIFY, [], 0.2),
        ("node2/dev3", "driver", MODIFY, [], 0.2),
        ("node2/dev3", "types", MODIFY, [], 0.2),
        ("node2/dev3", "unhealthy_effect", MODIFY, [], 0.2),
        ("node2/dev3", "notes", MODIFY, [], None),
        ("node2/dev3", "notes", CLOSE, [], None),
        ("node2/dev3", "notes", MODIFY | CLOSE, [], None),
        ("node2/dev3", "notes", ATTRIB, [("node2/dev3", "notes", False)], None),
        ("node2/dev3", "7", CREATE, [], 0.025),
        ("node2/dev3", "1", CREATE, [("node2/dev3", "1", False)], None),
        ("node2/dev3", "7", TO, [("node2/dev3", "7", False)], None),
        ("node2/dev3", "1", DELETE, [("node2/dev3", "1", False)], None),
        ("node2/dev3", ".7", CREATE, [], None),
        ("node2", "host", CREATE, [], 0.2),
        ("node2", "host", CLOSE, [("node2", "host", False)], None),
        ("node2", "dev9", CREATE, [], 0.025),
        ("node2", "dev3", CREATE, [("node2", "dev3", False)], None),
        ("", "node9", CREATE, [], 0.025),
        ("", "node2", CREATE, [("", "node2", False)], None),
        ("", "node2", FROM, [("", "node2", False)], None),
    ],
)
def test_what_an_event_makes_us_look_at_and_when(
    desk: Desk, directory: str, name: str, mask: int, looks: list[Any], waits_s: float | None
) -> None:
    assert not desk.tell((directory, name, mask))
    assert (desk.looks, desk.waits_s) == (looks, waits_s)
    if waits_s is not None:
        desk.now += waits_s
        finished(desk.scanner.settle())  # type: ignore[arg-type]
        assert desk.looks == [(directory, name, False)]
        assert desk.waits_s is None


def test_events_of_one_name_are_looked_at_once_by_the_last_of_them(desk: Desk) -> None:
    desk.tell((*HEALTH, MODIFY), ("node2/dev3/2", "health", CLOSE), (*HEALTH, CLOSE))
    assert desk.looks == [("node2/dev3/1", "health", False), ("node2/dev3/2", "health", False)]


def test_a_directory_that_was_made_and_written_to_has_its_moment_all_the_same(desk: Desk) -> None:
    desk.tell(("node2/dev3", "7", CREATE), ("node2/dev3", "7", ATTRIB))
    assert (desk.looks, desk.waits_s) == ([], 0.025)


def test_a_numa_node_does_not_make_a_health_file_believed_that_is_being_written(desk: Desk) -> None:
    desk.tell((*HEALTH, CLOSE), ("node2/dev3/1", "numa_node", CLOSE))
    assert desk.looks == [("node2/dev3/1", "health", False)], "the health file has an event of its own"
    desk.tell(("node2/dev3/1", "numa_node", CLOSE), (*HEALTH, CLOSE))
    assert desk.looks == [("node2/dev3/1", "health", False)]


@pytest.mark.parametrize("name", ["model", "slots"])
def test_other_files_of_a_device_matter_where_dra_serves_it(fs: FakeFilesystem, name: str) -> None:
    desk = Desk(fs, api=Api.DRA)
    desk.tell(("node2/dev3/1", name, CLOSE))
    assert desk.looks == [("node2/dev3/1", "health", True)]


def test_a_taint_that_changes_has_its_device_read(fs: FakeFilesystem) -> None:
    fs.create_file(ROOT / "node2/dev3/1/taints/drain", contents="NoExecute")
    desk = Desk(fs, api=Api.DRA)
    taints = desk.watches.targets[f"{ROOT}/node2/dev3/1/taints"]
    assert isinstance(taints, entries.TaintsEntry)
    assert taints.wd is not None
    desk.tell(("node2/dev3/1/taints", "drain", MODIFY))
    assert desk.looks == [("node2/dev3/1", "health", True)]
    fs.remove_object(str(ROOT / "node2/dev3/1/taints"))
    desk.watches.add = lambda path, target: None  # type: ignore[method-assign,assignment,return-value]
    desk.tell(("node2/dev3/1/taints", "", IGNORED))
    assert desk.looks == [("node2/dev3/1", "health", True)]
    assert taints.wd is None, "to be watched again when it is there"


@pytest.mark.parametrize(
    ("directory", "looks"),
    [
        ("node2/dev3/1", [("node2/dev3", "1", False)]),
        ("node2/dev3", [("node2", "dev3", False)]),
        ("node2", [("", "node2", False)]),
    ],
)
def test_a_directory_whose_watch_is_gone_is_looked_for_and_watched_again(
    desk: Desk, directory: str, looks: list[Any]
) -> None:
    entry = desk.watches.targets[f"{ROOT}/{directory}"]
    entry.wd = 7
    assert not desk.tell((directory, "", IGNORED))
    assert desk.looks == looks
    assert entry.wd not in (None, 7)


def test_what_is_gone_with_its_watch_is_not_looked_for(desk: Desk) -> None:
    target = desk.watches.targets[f"{ROOT}/node2/dev3/1"]
    desk.fs.remove_object(str(ROOT / "node2/dev3/1"))
    desk.tell(("node2/dev3", "1", DELETE))
    finished(desk.scanner.handle([inotify.Event(target, "", IGNORED)]))  # type: ignore[arg-type]
    assert desk.looks == [("node2/dev3", "1", False)]


@pytest.mark.parametrize(
    ("directory", "mask", "is_due"),
    [
        ("", IGNORED, True),
        ("", inotify.GONE, True),
        ("", inotify.UNMOUNT, True),
        ("node2", inotify.UNMOUNT, True),
        ("node2/dev3/1", inotify.UNMOUNT, True),
        ("node2/dev3/1", inotify.GONE & ~inotify.UNMOUNT, False),
        ("node2", ATTRIB, False),
        ("", ATTRIB, False),
    ],
)
def test_all_is_read_again_when_the_root_or_a_file_system_goes(
    desk: Desk, directory: str, mask: int, is_due: bool
) -> None:
    assert desk.tell((*HEALTH, CLOSE), (directory, "", mask), ("node2/dev3/2", "health", CLOSE)) is is_due
    assert (desk.looks == []) is is_due


def test_others_run_between_many_events_and_after_each_that_is_looked_at(desk: Desk) -> None:
    many = [("node2/dev3/1", f"file{number}", CLOSE) for number in range(513)]
    assert len(list(desk.scanner.handle(desk.events(*many)))) == 3
    assert len(list(desk.scanner.handle(desk.events((*HEALTH, CLOSE), ("node2/dev3/2", "health", CLOSE))))) == 3


def test_a_scan_forgets_what_was_waited_for(desk: Desk) -> None:
    desk.tell(("node2/dev3", "resource", MODIFY))
    finished(desk.scanner.scan())  # type: ignore[arg-type]
    assert desk.waits_s is None


def test_a_class_is_found_by_its_offer_in_the_order_of_nodes_and_names(fs: FakeFilesystem) -> None:
    for path in ("node3/dev4", "node3/dev3", "node1/dev3"):
        fs.create_dir(ROOT / path)
    fs.create_file(ROOT / "node1/dev9/resource", contents=R3)
    fs.create_file(ROOT / "node4/host", contents="other")
    fs.create_dir(ROOT / "node4/dev3")
    desk = Desk(fs, host="a-node")
    assert desk.scanner.class_paths(R3) == [
        f"{ROOT}/{path}" for path in ("node1/dev3", "node1/dev9", "node2/dev3", "node3/dev3")
    ]
    assert (desk.scanner.host, desk.scanner.is_empty, desk.scanner.is_orphaned) == ("a-node", False, False)


def test_a_root_without_a_node_is_empty(fs: FakeFilesystem) -> None:
    desk = Desk(fs)
    fs.remove_object(str(ROOT / "node2"))
    finished(desk.scanner.scan())  # type: ignore[arg-type]
    assert desk.scanner.is_empty
    assert desk.scanner.is_present


# What is said of a tree, word for word.


@pytest.mark.parametrize(
    ("path", "content", "line"),
    [
        ("node2/dev3/4", "x", ("device_passed_over", "node2/dev3/4", "is a regular file, no directory")),
        ("node2/dev3/07/", None, ("device_passed_over", "'node2/dev3/07'", "is not a valid name of a device")),
        ("node2/Dev/", None, ("class_passed_over", "'node2/Dev'", "is not a valid name of a class")),
        ("no node/", None, ("node_passed_over", "'no node'", "is not a valid name of a node")),
        ("node2/gpu/", None, ("class_passed_over", "node2/gpu", "has no resource and is not named devK")),
        ("node2/dev3/resource", "x", ("class_passed_over", "node2/dev3/resource", "must be of the form domain/name")),
        ("node3/host/", None, ("node_passed_over", "node3/host", "is a directory")),
        ("node2/dev3/1/numa_node", "x", ("numa_node_ignored", "node2/dev3/1/numa_node",
                                         "says 'x', not a whole number from -1 to 2147483647")),
        ("node2/notes", "x", None),
        ("notes", "x", None),
        ("node2/dev3/rpc/", None, None),
        (".hidden/", None, None),
        ("node2/dev3/1/rubbish", "x", None),
    ],
)  # fmt: skip  # one row a complaint
def test_what_is_wrong_is_said_in_one_line(
    fs: FakeFilesystem, path: str, content: str | None, line: tuple[str, str, str] | None
) -> None:
    if content is None:
        fs.create_dir(ROOT / path)
    else:
        fs.create_file(ROOT / path, contents=content)
    with capture_logs() as lines:
        Desk(fs)
    told = [(entry["event"], entry["path"].replace(f"{ROOT}/", ""), entry["reason"]) for entry in lines]
    assert told == ([line] if line else [])
    assert all(entry["log_level"] == "warning" for entry in lines)


class Closed:
    """Directories that cannot be opened, by their paths."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.error = PermissionError(13, "Permission denied")
        real = attributes.open_directory

        def opened(name: str, *, dir_fd: int | None = None) -> int:
            if name in self.names:
                raise self.error
            return real(name, dir_fd=dir_fd)

        monkeypatch.setattr(attributes, "open_directory", opened)


@pytest.mark.parametrize(
    ("name", "level", "path"),
    [("node2", "node", "node2"), ("dev3", "class", "node2/dev3")],
)
def test_devices_below_a_directory_that_is_closed_to_us_are_unhealthy_with_the_reason(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str, level: str, path: str
) -> None:
    closed = Closed(monkeypatch)
    closed.names.add(name)
    with capture_logs() as lines:
        finished(desk.scanner.scan())  # type: ignore[arg-type]
        finished(desk.scanner.scan())  # type: ignore[arg-type]
    reason = f"{level} directory cannot be opened: Permission denied"
    assert desk.changes() == {
        f"node2-dev3-{number}": Device("node2", "dev3", number, Health.UNHEALTHY, reason) for number in (1, 2)
    }
    assert [(line["event"], line["path"], line["reason"]) for line in lines] == [
        ("directory_not_opened", f"{ROOT}/{path}", "Permission denied")
    ]
    closed.names.clear()
    finished(desk.scanner.scan())  # type: ignore[arg-type]
    assert {device.health for device in desk.changes().values()} == {Health.HEALTHY}


@pytest.mark.parametrize("name", ["node2", "dev3"])
def test_a_directory_that_is_gone_when_it_is_opened_is_no_complaint(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    closed = Closed(monkeypatch)
    closed.names.add(name)
    closed.error = FileNotFoundError(2, "No such file or directory")  # type: ignore[assignment]
    with capture_logs() as lines:
        finished(desk.scanner.scan())  # type: ignore[arg-type]
    assert (desk.changes(), lines) == ({}, [])


def test_a_device_that_is_closed_to_us_is_unhealthy_with_the_reason(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    Closed(monkeypatch).names.add("1")
    finished(desk.scanner.scan())  # type: ignore[arg-type]
    reason = "directory cannot be opened: Permission denied"
    assert desk.changes() == {"node2-dev3-1": Device("node2", "dev3", 1, Health.UNHEALTHY, reason)}


@pytest.mark.parametrize(("level", "path"), [("", ""), ("node2", "/node2"), ("node2/dev3", "/node2/dev3")])
def test_a_directory_that_cannot_be_listed_is_said_and_what_was_known_of_it_stands(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, level: str, path: str
) -> None:
    real, wanted = os.scandir, (ROOT / level).stat().st_ino

    def failing(fd: int) -> Any:
        if os.fstat(fd).st_ino == wanted:
            raise OSError(5, "Input/output error")
        return real(fd)

    monkeypatch.setattr(reader.os, "scandir", failing)
    with capture_logs() as lines:
        finished(desk.scanner.scan())  # type: ignore[arg-type]
        finished(desk.scanner.scan())  # type: ignore[arg-type]
    assert [(line["event"], line["path"], line["reason"]) for line in lines] == [
        ("directory_not_listed", f"{ROOT}{path}", "Input/output error")
    ]
    assert desk.changes() == {}


def test_devices_are_read_in_the_order_of_their_numbers(fs: FakeFilesystem) -> None:
    for number in (10, 9, 100):
        fs.create_file(ROOT / f"node2/dev3/{number}/health", contents="healthy")
    desk = Desk(fs)
    devices = desk.scanner._known.root.nodes["node2"].classes["dev3"].devices
    assert list(devices) == [1, 2, 9, 10, 100]


def test_others_run_while_a_long_directory_is_listed(fs: FakeFilesystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_SCAN_STEP", 4)
    desk = Desk(fs)
    before = len(list(desk.scanner.scan()))
    for number in range(8):
        fs.create_file(ROOT / f"notes{number}")
    assert len(list(desk.scanner.scan())) == before + 2


@pytest.mark.parametrize(
    ("host", "content", "is_ours"),
    [("a-node", "a-node", True), ("a-node", "other", False), ("a-node", "", True), ("", "other", True)],
)
def test_a_node_is_of_its_host_or_of_everybody(fs: FakeFilesystem, host: str, content: str, is_ours: bool) -> None:
    fs.create_file(ROOT / "node5/host", contents=content)
    fs.create_dir(ROOT / "node5/dev5")
    desk = Desk(fs, host=host)
    assert ("myplugin.io/mydevice-5" in desk.scanner.offers) is is_ours


def test_a_root_that_is_no_directory_is_said_and_all_is_forgotten(desk: Desk) -> None:
    desk.fs.rename(str(ROOT), "/elsewhere")
    desk.fs.create_file(str(ROOT), contents="")
    with capture_logs() as lines:
        finished(desk.scanner.scan())  # type: ignore[arg-type]
    assert [(line["event"], line["path"], line["reason"]) for line in lines] == [
        ("tree_not_ready", str(ROOT), "Not a directory")
    ]
    assert not desk.scanner.is_present
    assert desk.scanner.offers == set()
    assert desk.changes() == {"node2-dev3-1": None, "node2-dev3-2": None}
    assert desk.watches.targets == {}


def test_a_root_that_was_deleted_under_its_mount_is_an_orphan(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fstat

    class Status:
        def __init__(self, found: os.stat_result) -> None:
            self.found = found

        st_nlink = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.found, name)

    monkeypatch.setattr(reader.os, "fstat", lambda fd: Status(real(fd)))
    with capture_logs() as lines:
        finished(desk.scanner.scan())  # type: ignore[arg-type]
    assert desk.scanner.is_orphaned
    assert not desk.scanner.is_present
    assert lines[0]["reason"] == "deleted under its mount; only a restart finds another"
    monkeypatch.undo()
    finished(desk.scanner.scan())  # type: ignore[arg-type]
    assert (desk.scanner.is_orphaned, desk.scanner.is_present) == (False, True)


def test_another_root_in_the_place_of_the_first_is_read_anew(desk: Desk) -> None:
    before = desk.scanner._known.root.nodes["node2"]
    desk.fs.rename(str(ROOT), "/elsewhere")
    desk.fs.create_file(ROOT / "node2/dev3/1/health", contents="healthy\n")
    finished(desk.scanner.scan())  # type: ignore[arg-type]
    assert desk.scanner._known.root.nodes["node2"] is not before
    assert {key: device and device.health for key, device in desk.changes().items()} == {
        "node2-dev3-1": Health.HEALTHY, "node2-dev3-2": None,
    }  # fmt: skip  # in one line
    assert str(ROOT) in desk.watches.targets
