"""The scanner on a fake file system, with events told by hand; real inotify is in integration/."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import inotify
from fakehw_plugin.device import Device, Health
from fakehw_plugin.tree import entries, scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pyfakefs.fake_filesystem import FakeFilesystem

ROOT = Path("/fakehw")
R1, R2, R3 = (f"myplugin.io/mydevice-{number}" for number in (1, 2, 3))


class Watches:
    """Remembers what is watched, by path, so that a test can tell an event of it."""

    exhausted: str | None = None

    def __init__(self) -> None:
        self.targets: dict[str, entries.Entry] = {}
        self.before_add: Callable[[str], bool] = lambda path: True
        """Called with each path; False if it cannot be watched."""

    def open(self) -> None:
        pass

    def add(self, path: str, target: entries.Entry) -> int | None:
        if not self.before_add(path):
            return None
        self.targets[path] = target
        return len(self.targets)

    def remove(self, wd: int | None, target: entries.Entry) -> None:
        self.targets = {path: other for path, other in self.targets.items() if other is not target}


def finished(steps: Generator[None, None, bool]) -> bool:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return bool(stop.value)


class Desk:
    """A scanner, its clock and what it has found so far."""

    def __init__(self, host: str = "") -> None:
        self.now = 100.0
        self.watches = Watches()
        self.scanner = scanner.Scanner(
            ROOT,
            host=host,
            domain="myplugin.io",
            watch=self.watches,  # type: ignore[arg-type]  # the part of a Watcher that a scanner uses
            clock=lambda: self.now,
        )
        self.devices: dict[str, dict[str, Device]] = {}
        self.scan()

    def scan(self) -> None:
        for _ in self.scanner.scan():
            pass
        self.take()

    def tell(self, path: str, *masks: int) -> bool:
        directory, _, name = path.rpartition("/")
        target = self.watches.targets[f"{ROOT}/{directory}".rstrip("/")]
        due = finished(self.scanner.handle([inotify.Event(target, name, mask) for mask in masks]))
        self.take()
        return due

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for _ in self.scanner.settle():
            pass
        self.take()

    def take(self) -> None:
        for resource, changes in self.scanner.take_changes().items():
            for device_id, device in changes.items():
                if device is None:
                    self.devices.setdefault(resource, {}).pop(device_id, None)
                else:
                    self.devices.setdefault(resource, {})[device_id] = device

    def health(self, device_id: str, resource: str = R3) -> Health | None:
        device = self.devices.get(resource, {}).get(device_id)
        return device and device.health


@pytest.fixture
def seed(fs: FakeFilesystem) -> FakeFilesystem:
    """The seed's node2, and node1 for another host."""
    for node, host in (("node1", "kind-worker"), ("node2", "kind-worker2")):
        fs.create_file(ROOT / node / "host", contents=f"{host}\n")
    fs.create_file(ROOT / "node1/dev1/1/health", contents="healthy\n")
    fs.create_dir(ROOT / "node2/dev1")
    for path in ("dev2/1", "dev3/1", "dev3/2", "dev3/3"):
        fs.create_file(ROOT / "node2" / path / "health", contents="healthy\n")
    return fs


def test_only_the_nodes_of_this_host_are_read(seed: FakeFilesystem) -> None:
    desk = Desk("kind-worker2")

    assert desk.scanner.offers == {R1, R2, R3}
    assert {resource: sorted(devices) for resource, devices in desk.devices.items()} == {
        R2: ["node2-dev2-1"],
        R3: ["node2-dev3-1", "node2-dev3-2", "node2-dev3-3"],
    }


def test_a_node_without_a_host_belongs_to_every_host(seed: FakeFilesystem) -> None:
    seed.remove(ROOT / "node1/host")

    assert "node1-dev1-1" in Desk("kind-worker2").devices[R1]


def test_without_a_host_the_whole_tree_is_served(seed: FakeFilesystem) -> None:
    assert "node1-dev1-1" in Desk().devices[R1]


def test_a_node_moves_to_another_host_when_its_host_file_says_so(seed: FakeFilesystem) -> None:
    desk = Desk("kind-worker2")
    (ROOT / "node1/host").write_text("kind-worker2\n")

    desk.tell("node1/host", inotify.MODIFY, inotify.CLOSE_WRITE)

    assert desk.health("node1-dev1-1", R1) is Health.HEALTHY


def test_a_resource_file_names_any_resource(seed: FakeFilesystem) -> None:
    seed.create_file(ROOT / "node2/gpu/resource", contents="nvidia.com/gpu\n")
    seed.create_file(ROOT / "node2/gpu/0/health", contents="healthy")

    assert "node2-gpu-0" in Desk().devices["nvidia.com/gpu"]


def test_a_class_takes_its_devices_along_to_another_resource(seed: FakeFilesystem) -> None:
    desk = Desk()
    seed.create_file(ROOT / "node2/dev3/resource", contents="vendor.example/npu\n")

    desk.tell("node2/dev3/resource", inotify.CREATE)
    assert desk.devices[R3], "a file that is still being written is not believed"
    desk.tell("node2/dev3/resource", inotify.CLOSE_WRITE)

    assert not desk.devices[R3]
    assert len(desk.devices["vendor.example/npu"]) == 3
    assert R3 not in desk.scanner.offers


@pytest.mark.parametrize(
    ("path", "event"),
    [
        pytest.param("No Spaces/dev1/1/health", "node_passed_over", id="node with a space"),
        pytest.param("node2/Dev-1/1/health", "class_passed_over", id="class with a dash"),
        pytest.param("node2/dev_1/1/health", "class_passed_over", id="class whose variables are another's"),
        pytest.param("node2/dev3/01/health", "device_passed_over", id="leading zero"),
        pytest.param("node2/dev3/x/health", "device_passed_over", id="no number"),
        pytest.param(f"{'n' * 60}/dev1/1/health", "device_passed_over", id="ID over 63 characters"),
        pytest.param("node2/gpu/1/health", "class_passed_over", id="no resource and no number"),
    ],
)
def test_what_is_no_device_is_passed_over_with_a_word_and_the_others_are_served(
    path: str, event: str, seed: FakeFilesystem
) -> None:
    seed.create_file(ROOT / path, contents="healthy\n")

    with capture_logs() as logs:
        desk = Desk("kind-worker2")

    assert [entry["event"] for entry in logs] == [event]
    assert len(desk.devices[R3]) == 3


def test_a_bad_resource_name_takes_only_its_own_class_down(seed: FakeFilesystem) -> None:
    seed.create_file(ROOT / "node2/dev2/resource", contents="my-kubernetes.io/x\n")

    with capture_logs() as logs:
        desk = Desk()

    assert [(entry["event"], entry["path"]) for entry in logs] == [("class_passed_over", "/fakehw/node2/dev2/resource")]
    assert R2 not in desk.scanner.offers
    assert len(desk.devices[R3]) == 3


def test_a_root_that_was_replaced_is_watched_in_the_place_of_the_old_one(seed: FakeFilesystem) -> None:
    desk = Desk()
    added: list[str] = []
    desk.watches.before_add = lambda path: not added.append(path)  # type: ignore[func-returns-value]  # None: it can
    (ROOT.parent / "other/node2/dev2/7").mkdir(parents=True)
    ROOT.rename(ROOT.parent / "moved")
    (ROOT.parent / "other").rename(ROOT)

    assert desk.tell("", inotify.GONE), "it tells of itself that it moved, and keeps its watch"
    desk.scan()

    assert added[0] == str(ROOT)
    assert set(desk.watches.targets) == {str(ROOT / place) for place in ("", "node2", "node2/dev2", "node2/dev2/7")}


def test_a_root_that_vanishes_while_it_is_watched_is_looked_for_again(seed: FakeFilesystem) -> None:
    desk = Desk()

    def take_away(path: str) -> bool:
        ROOT.rename(ROOT.parent / "moved")
        return True

    desk.watches.before_add = take_away
    desk.tell("", inotify.IGNORED)
    desk.scan()

    assert desk.scanner.root_moved
    assert str(ROOT) not in desk.watches.targets


@pytest.mark.parametrize("can_be_watched", [True, False], ids=["the other one is watched", "nothing is watched"])
def test_a_tree_put_in_the_place_of_the_one_being_read_is_read_next(can_be_watched: bool, seed: FakeFilesystem) -> None:
    (ROOT.parent / "other/node2/dev2/7").mkdir(parents=True)
    (ROOT.parent / "other/node2/dev2/7/health").write_text("healthy\n")
    desk = Desk()
    known = {resource: dict(devices) for resource, devices in desk.devices.items()}

    def put_the_other_there(path: str) -> bool:
        if path == str(ROOT):
            ROOT.rename(ROOT.parent / "moved")
            (ROOT.parent / "other").rename(ROOT)
            desk.watches.before_add = lambda path: True
            return can_be_watched
        return True

    desk.watches.before_add = put_the_other_there
    assert desk.tell("", inotify.IGNORED), "the root's watch is lost, so that it is watched anew"
    desk.scan()

    assert desk.scanner.root_moved
    assert desk.devices == known, "neither the old one's nodes nor the other's are taken for what stands there"
    assert str(ROOT) not in desk.watches.targets, "or a later event would be taken for the old one's"
    desk.scan()

    assert not desk.scanner.root_moved
    assert desk.health("node2-dev2-7", R2) is Health.HEALTHY
    assert not desk.devices[R3]
    desk.tell("node2/dev2/7/health", inotify.MODIFY, inotify.CLOSE_WRITE)


def test_a_root_that_was_gone_for_the_moment_of_watching_is_read_and_looked_at_again(seed: FakeFilesystem) -> None:
    desk = Desk()
    desk.tell("", inotify.IGNORED)
    desk.watches.before_add = lambda path: path != str(ROOT)
    desk.scan()

    assert desk.scanner.root_moved
    assert desk.scanner.is_present
    assert len(desk.devices[R3]) == 3
    desk.watches.before_add = lambda path: True
    desk.scan()

    assert not desk.scanner.root_moved


def test_a_root_that_no_limit_lets_us_watch_has_not_moved(seed: FakeFilesystem) -> None:
    desk = Desk()
    desk.tell("", inotify.IGNORED)
    desk.watches.before_add = lambda path: False
    desk.watches.exhausted = "No space left on device (ENOSPC)"
    desk.scan()

    assert not desk.scanner.root_moved


def test_a_root_that_moves_and_is_gone_has_not_moved_any_more(seed: FakeFilesystem) -> None:
    desk = Desk()
    desk.tell("", inotify.IGNORED)
    desk.watches.before_add = lambda path: path != str(ROOT)
    desk.scan()
    shutil.rmtree(ROOT)
    desk.scan()

    assert not desk.scanner.root_moved
    assert not desk.scanner.is_present


def test_the_same_complaint_is_made_once(seed: FakeFilesystem) -> None:
    seed.create_dir(ROOT / "node2/dev3/x")
    with capture_logs() as logs:
        desk = Desk()
        desk.scan()
        desk.scan()

    assert len(logs) == 1


def test_private_entries_are_not_looked_at(seed: FakeFilesystem) -> None:
    seed.create_file(ROOT / ".fakehw/stage/health", contents="healthy\n")
    with capture_logs() as logs:
        desk = Desk()
        desk.tell(".fakehw", inotify.CREATE)

    assert logs == []
    assert desk.scanner.next_deadline is None


def test_a_truncated_health_file_keeps_its_last_state_until_it_is_closed(seed: FakeFilesystem) -> None:
    desk = Desk()
    health = ROOT / "node2/dev3/2/health"

    health.write_text("")
    desk.tell("node2/dev3/2/health", inotify.MODIFY)
    assert desk.health("node2-dev3-2") is Health.HEALTHY
    health.write_text("unhealthy\n")
    desk.tell("node2/dev3/2/health", inotify.MODIFY, inotify.CLOSE_WRITE)

    assert desk.health("node2-dev3-2") is Health.UNHEALTHY
    assert desk.scanner.next_deadline is None


def test_a_known_word_is_believed_before_the_file_is_closed(seed: FakeFilesystem) -> None:
    desk = Desk()
    (ROOT / "node2/dev3/2/health").write_text("unhealthy\n")

    desk.tell("node2/dev3/2/health", inotify.MODIFY)

    assert desk.health("node2-dev3-2") is Health.UNHEALTHY


def test_an_empty_health_file_is_believed_once_it_is_closed(seed: FakeFilesystem) -> None:
    desk = Desk()
    (ROOT / "node2/dev3/2/health").write_text("")

    desk.tell("node2/dev3/2/health", inotify.MODIFY, inotify.CLOSE_WRITE)

    assert desk.health("node2-dev3-2") is Health.UNHEALTHY


def test_an_empty_health_file_that_stays_open_is_believed_after_a_while(seed: FakeFilesystem) -> None:
    desk = Desk()
    (ROOT / "node2/dev3/2/health").write_text("")
    desk.tell("node2/dev3/2/health", inotify.MODIFY)

    desk.wait(scanner.WRITING_S - 0.01)
    assert desk.health("node2-dev3-2") is Health.HEALTHY
    desk.wait(0.02)
    assert desk.health("node2-dev3-2") is Health.UNHEALTHY


def test_an_editor_that_swaps_the_file_shows_no_missing_one(seed: FakeFilesystem) -> None:
    desk = Desk()
    health = ROOT / "node2/dev3/2/health"
    health.rename(ROOT / "node2/dev3/2/health~")
    desk.tell("node2/dev3/2/health", inotify.MOVED_FROM)
    assert desk.health("node2-dev3-2") is Health.HEALTHY

    health.write_text("unhealthy\n")
    desk.tell("node2/dev3/2/health", inotify.CREATE, inotify.MODIFY, inotify.CLOSE_WRITE)

    assert desk.health("node2-dev3-2") is Health.UNHEALTHY


def test_a_health_file_that_stays_away_makes_the_device_unhealthy(seed: FakeFilesystem) -> None:
    desk = Desk()
    seed.remove(ROOT / "node2/dev3/2/health")
    desk.tell("node2/dev3/2/health", inotify.DELETE)

    desk.wait(scanner.APPEARING_S + 0.001)

    assert desk.devices[R3]["node2-dev3-2"].reason == "health file is missing"


def test_a_numa_node_that_is_being_written_keeps_its_last_value(seed: FakeFilesystem) -> None:
    seed.create_file(ROOT / "node2/dev3/2/numa_node", contents="1\n")
    desk = Desk()
    (ROOT / "node2/dev3/2/numa_node").write_text("")

    desk.tell("node2/dev3/2/numa_node", inotify.MODIFY)
    assert desk.devices[R3]["node2-dev3-2"].numa_node == 1
    (ROOT / "node2/dev3/2/numa_node").write_text("0\n")
    desk.tell("node2/dev3/2/numa_node", inotify.CLOSE_WRITE)
    assert desk.devices[R3]["node2-dev3-2"].numa_node == 0


def test_a_numa_node_that_stays_nonsense_is_none_after_a_moment(seed: FakeFilesystem) -> None:
    """It used to keep its last value until the next reading of the whole tree."""
    seed.create_file(ROOT / "node2/dev3/2/numa_node", contents="1\n")
    desk = Desk()
    (ROOT / "node2/dev3/2/numa_node").write_text("nonsense")

    desk.tell("node2/dev3/2/numa_node", inotify.MODIFY, inotify.CLOSE_WRITE)
    desk.wait(scanner.WRITING_S)

    assert desk.devices[R3]["node2-dev3-2"].numa_node is None


def test_a_whole_reading_in_the_middle_of_a_write_shows_no_state_that_nobody_wrote(seed: FakeFilesystem) -> None:
    desk = Desk()
    (ROOT / "node2/dev3/2/health").write_text("")

    desk.scan()
    assert desk.health("node2-dev3-2") is Health.HEALTHY
    desk.wait(scanner.WRITING_S)
    assert desk.health("node2-dev3-2") is Health.UNHEALTHY


def test_a_device_that_is_moved_in_is_there_at_once(seed: FakeFilesystem) -> None:
    desk = Desk()
    seed.create_file(ROOT / "node2/dev3/4/health", contents="healthy\n")

    desk.tell("node2/dev3/4", inotify.MOVED_TO)

    assert desk.health("node2-dev3-4") is Health.HEALTHY


def test_a_device_made_by_hand_has_a_moment_to_be_filled(seed: FakeFilesystem) -> None:
    desk = Desk()
    seed.create_dir(ROOT / "node2/dev3/4")
    desk.tell("node2/dev3/4", inotify.CREATE)
    assert desk.health("node2-dev3-4") is None

    seed.create_file(ROOT / "node2/dev3/4/health", contents="healthy\n")
    desk.wait(scanner.APPEARING_S + 0.001)

    assert desk.health("node2-dev3-4") is Health.HEALTHY


def test_a_whole_class_and_a_whole_node_come_and_go(seed: FakeFilesystem) -> None:
    desk = Desk()
    seed.create_file(ROOT / "node9/dev7/1/health", contents="healthy\n")
    desk.tell("node9", inotify.MOVED_TO)
    assert desk.health("node9-dev7-1", "myplugin.io/mydevice-7") is Health.HEALTHY

    seed.remove_object(str(ROOT / "node9"))
    desk.tell("node9", inotify.MOVED_FROM)

    assert desk.devices["myplugin.io/mydevice-7"] == {}
    assert "myplugin.io/mydevice-7" not in desk.scanner.offers
    assert not [path for path in desk.watches.targets if "node9" in path]


def test_a_device_replaced_by_another_directory_is_read_anew(seed: FakeFilesystem) -> None:
    desk = Desk()
    before = desk.watches.targets["/fakehw/node2/dev3/2"]
    seed.remove_object(str(ROOT / "node2/dev3/2"))
    seed.create_file(ROOT / "node2/dev3/2/health", contents="unhealthy worn out\n")

    desk.tell("node2/dev3/2", inotify.MOVED_TO)

    assert desk.devices[R3]["node2-dev3-2"].reason == "worn out"
    assert desk.watches.targets["/fakehw/node2/dev3/2"] is not before


def test_a_tree_that_goes_takes_its_devices_and_comes_back_with_them(seed: FakeFilesystem) -> None:
    desk = Desk()
    seed.rename(str(ROOT), "/elsewhere")
    assert desk.tell("", inotify.GONE)
    desk.scan()
    assert not desk.scanner.is_present
    assert not any(desk.devices.values())

    seed.rename("/elsewhere", str(ROOT))
    desk.scan()

    assert len(desk.devices[R3]) == 3


def complaints_of(desk: Desk) -> list[tuple[str, str, str]]:
    with capture_logs() as logs:
        desk.scan()
    return [(entry["event"], entry["path"].removeprefix(f"{ROOT}/"), entry["reason"]) for entry in logs]


def test_every_complaint_about_a_tree_is_told_once_for_as_long_as_it_stands(seed: FakeFilesystem) -> None:
    seed.create_file(ROOT / "node2/dev3/4", contents="no directory")
    seed.create_file(ROOT / "node2/dev3/notes/x")
    seed.create_dir(ROOT / "node2/Camera")
    seed.create_dir(ROOT / "node2/camera")
    seed.create_file(ROOT / "node2/dev2/resource", contents="no name")
    seed.create_file(ROOT / "node2/dev3/2/numa_node", contents="here")
    seed.create_dir(ROOT / "node3/host")
    with capture_logs() as logs:
        desk = Desk()
    told = {(entry["event"], entry["path"].removeprefix(f"{ROOT}/")) for entry in logs}

    assert told == {
        ("device_passed_over", "node2/dev3/4"),
        ("device_passed_over", repr(f"{ROOT}/node2/dev3/notes")),
        ("class_passed_over", repr(f"{ROOT}/node2/Camera")),
        ("class_passed_over", "node2/camera"),
        ("class_passed_over", "node2/dev2/resource"),
        ("numa_node_ignored", "node2/dev3/2/numa_node"),
        ("node_passed_over", "node3/host"),
    }
    assert len(logs) == len(told)
    desk.wait(scanner.WRITING_S + 0.001)
    for _ in range(3):
        assert complaints_of(desk) == []

    seed.remove_object(str(ROOT / "node2/dev3/notes"))
    assert complaints_of(desk) == []
    seed.create_dir(ROOT / "node2/dev3/notes")
    assert [event for event, *_ in complaints_of(desk)] == ["device_passed_over"], "it came back"


def test_a_tree_that_stays_away_is_told_once_and_again_after_it_was_there(seed: FakeFilesystem) -> None:
    desk = Desk()
    seed.rename(str(ROOT), "/elsewhere")
    assert [event for event, *_ in complaints_of(desk)] == ["tree_not_ready"]
    assert complaints_of(desk) == []
    seed.rename("/elsewhere", str(ROOT))
    assert complaints_of(desk) == []

    seed.rename(str(ROOT), "/elsewhere")
    assert [event for event, *_ in complaints_of(desk)] == ["tree_not_ready"]


def test_what_was_waited_for_is_waited_for_once(seed: FakeFilesystem) -> None:
    """A deadline that stood would have the tree read without a pause."""
    desk = Desk()
    assert desk.scanner.next_deadline is None
    (ROOT / "node2/dev3/2/health").write_text("")
    desk.tell("node2/dev3/2/health", inotify.MODIFY)
    assert desk.scanner.next_deadline == desk.now + scanner.WRITING_S

    desk.wait(scanner.WRITING_S)

    assert desk.health("node2-dev3-2") is Health.UNHEALTHY
    assert desk.scanner.next_deadline is None


def test_the_next_deadline_is_the_first_of_all(seed: FakeFilesystem) -> None:
    desk = Desk()
    (ROOT / "node2/dev3/2/health").write_text("")
    desk.tell("node2/dev3/2/health", inotify.MODIFY)
    seed.remove_object(str(ROOT / "node2/dev3/1/health"))
    desk.tell("node2/dev3/1/health", inotify.DELETE)

    assert desk.scanner.next_deadline == desk.now + scanner.APPEARING_S
    desk.wait(scanner.APPEARING_S)
    assert desk.health("node2-dev3-1") is Health.UNHEALTHY
    assert desk.health("node2-dev3-2") is Health.HEALTHY
    assert desk.scanner.next_deadline == desk.now - scanner.APPEARING_S + scanner.WRITING_S
