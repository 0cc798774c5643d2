"""When the tree is read, whole or in part, when inventories hear of it, and what is said of it; in no time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin.devices import pump as pump_module
from fakehw_plugin.devices.pump import Pump
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.offer import Api
from fakehw_plugin.tree.attributes import StarvedError
from tests.timeless import elapsed, running, settled, timeless

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

ROOT = Path("/tree")


class Watch:
    """What stands in for inotify."""

    def __init__(self) -> None:
        self.exhausted: str | None = None
        self.pending: list[str] = []
        self.overflowed = False
        self.is_open = False
        self.tries = 0
        self._woken = asyncio.Event()
        self._interrupted = False

    def __enter__(self) -> Watch:
        self.is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False

    def happen(self, *names: str) -> None:
        self.pending += names
        self._woken.set()

    def try_again(self) -> None:
        self.tries += 1

    def events(self) -> list[str]:
        found, self.pending = self.pending, []
        return found

    def take_overflow(self) -> bool:
        found, self.overflowed = self.overflowed, False
        return found

    def interrupt(self) -> None:
        self._interrupted = True
        self._woken.set()

    async def wait(self, timeout: float | None = None) -> bool:
        self._woken.clear()
        self._interrupted = False
        if self.pending or self.overflowed:
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._woken.wait()
        except TimeoutError:
            return False
        return not self._interrupted


class Scanner:
    """What stands in for what reads the tree."""

    def __init__(self, scene: Scene, root: Path, **how: Any) -> None:
        self.scene = scene
        scene.made = (root, how)
        self.host = how["host"]
        self.is_present, self.is_empty, self.is_orphaned, self.root_moved = True, False, False, False
        self.offers = {"an offer"}
        self.next_deadline: float | None = None
        self.starving: dict[str, StarvedError] = {}
        self.is_scan_due = False
        self.changes = 0

    def _step(self, what: str, *more: Any) -> Generator[None, None, bool]:
        self.scene.note(what, *more)
        yield
        if (error := self.starving.get(what)) is not None:
            raise error
        return self.is_scan_due

    def scan(self) -> Generator[None, None, None]:
        assert self.scene.pump.is_reading
        yield from self._step("scan")

    def handle(self, events: Iterable[str]) -> Generator[None, None, bool]:
        return (yield from self._step("handle", *events))

    def settle(self) -> Generator[None, None, None]:
        if self.next_deadline is not None and self.next_deadline <= asyncio.get_running_loop().time():
            self.next_deadline = None
        yield from self._step("settle")

    def take_changes(self) -> str:
        self.changes += 1
        return f"changes {self.changes}"


class Scene:
    """A pump between a tree and inventories that are played."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
        self.noted: list[tuple[float, Any]] = []
        self.made: Any = None
        self.watch = Watch()
        self.mount_changed: Callable[[], None] = lambda: None
        self.has_mounted_file = False
        self.taken_changes: list[Any] = []
        self.changes_something = False
        self.takes_s = 0.0
        self.by_offer: dict[str, str] = {"an offer": "an inventory"}
        monkeypatch.setattr(pump_module.inotify, "Watcher", lambda: self.watch)
        monkeypatch.setattr(pump_module, "Scanner", lambda *values, **how: Scanner(self, *values, **how))
        monkeypatch.setattr(pump_module.mounts, "MountWatch", self.mount_watch)
        self.telemetry = Telemetry()
        how: dict[str, Any] = {"host": "", "domain": "myplugin.io", "reconcile_s": 0.0, "quiet_s": 0.005, **more}
        self.pump = Pump(
            ROOT,
            self,  # type: ignore[arg-type]  # it plays the inventories
            telemetry=self.telemetry,
            on_taken=lambda: self.note("taken"),
            **how,
        )
        self.scanner: Any = self.pump.scanner

    def note(self, *what: Any) -> None:
        self.noted.append((elapsed(), what[0] if len(what) == 1 else what))

    def mount_watch(self, root: Path, changed: Callable[[], None]) -> Any:
        assert root == ROOT
        self.mount_changed = changed
        scene = self

        class MountWatch:
            has_mounted_file = property(lambda _: scene.has_mounted_file)

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                scene.note("mounts are watched no more")

            def take_note(self) -> None:
                scene.note("mounts")

        return MountWatch()

    async def take(self, offers: Any, changes: Any, *, at: float | None) -> bool:
        assert offers == {"an offer"}
        await asyncio.sleep(self.takes_s)
        self.taken_changes.append((changes, None if at is None else round(at - 1000, 6)))
        return self.changes_something

    def expect(self) -> None:
        self.note("expect")

    def run(self) -> Any:
        return running(self.pump.run())

    def taken(self) -> list[Any]:
        noted, self.noted = self.noted, []
        return noted

    def scans(self) -> list[float]:
        return [at for at, what in self.taken() if what == "scan"]


@timeless
async def test_the_tree_is_read_once_and_then_what_events_name(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, host="a-node", api=Api.DRA)
    pump = scene.pump
    how = {"host": "a-node", "domain": "myplugin.io", "api": Api.DRA, "watch": scene.watch, "nodes": None}
    assert scene.made == (ROOT, how)
    assert (pump.tree_is_present, pump.unwatched, pump.is_reading) == (False, None, False)
    async with scene.run():
        assert scene.taken() == [(0, "mounts"), (0, "scan"), (0, "taken")]
        assert (pump.tree_is_present, pump.is_reading, scene.watch.is_open) == (True, False, True)
        await asyncio.sleep(1000)
        scene.watch.happen("a", "b")
        await settled()
        assert scene.taken() == [(1000, "expect"), (1000, ("handle", "a", "b")), (1000, "settle"), (1000, "taken")]
        assert scene.taken_changes == [("changes 1", None), ("changes 2", 1000)]

    assert scene.taken() == [(1000, "mounts are watched no more")]
    assert not scene.watch.is_open
    assert scene.telemetry.rescans == {"start": 1}
    assert scene.watch.tries == 1


@timeless
async def test_all_is_read_again_after_every_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, reconcile_s=60.0)
    async with scene.run():
        await asyncio.sleep(30)
        scene.watch.happen("a")
        await asyncio.sleep(100)
    assert scene.scans() == [0, 60, 120]
    assert scene.telemetry.rescans == {"start": 1, "interval": 2}


@timeless
async def test_a_tree_that_is_not_there_is_looked_for_four_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.scanner.is_present = False
    with capture_logs() as lines:
        async with scene.run():
            assert not scene.pump.tree_is_present
            await asyncio.sleep(0.6)
            scene.scanner.is_present = True
            await asyncio.sleep(100)
            assert scene.pump.tree_is_present
    assert scene.scans() == [0, 0.25, 0.5, 0.75]
    assert scene.telemetry.rescans == {"start": 1, "root_changed": 3}
    assert lines == []


@timeless
async def test_a_tree_that_moved_while_it_was_read_is_read_again_four_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch)
    scene.scanner.root_moved = True
    async with scene.run():
        assert scene.pump.tree_is_present
        await asyncio.sleep(0.6)
        scene.scanner.root_moved = False
        await asyncio.sleep(100)
    assert scene.scans() == [0, 0.25, 0.5, 0.75]
    assert scene.telemetry.rescans == {"start": 1, "root_changed": 3}


@timeless
async def test_an_empty_tree_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.scanner.is_empty = True
    async with scene.run():
        await asyncio.sleep(2.5)
        scene.scanner.is_empty = False
        await asyncio.sleep(100)
    assert scene.scans() == [0, 1, 2, 3]
    assert scene.telemetry.rescans == {"start": 1, "root_changed": 3}


@timeless
async def test_a_tree_with_a_mounted_file_is_read_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, reconcile_s=60.0)
    scene.has_mounted_file = True
    async with scene.run():
        await asyncio.sleep(2.5)
        scene.has_mounted_file = False
        await asyncio.sleep(10)
    assert scene.scans() == [0, 1, 2, 3]
    assert scene.telemetry.rescans == {"start": 1, "mounts": 3}


@pytest.mark.parametrize("starved", [False, True], ids=["no watches", "no descriptors"])
@timeless
async def test_a_tree_that_is_not_watched_whole_is_read_once_a_second_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, starved: bool
) -> None:
    scene = Scene(monkeypatch)
    reason = "Too many open files (EMFILE)"
    if starved:
        scene.scanner.starving["scan"] = StarvedError(reason)
    else:
        scene.watch.exhausted = reason
    with capture_logs() as lines:
        async with scene.run():
            assert scene.pump.unwatched == reason
            await asyncio.sleep(2.5)
            assert len(lines) == 1
            scene.watch.exhausted = None
            scene.scanner.starving.clear()
            await asyncio.sleep(10)
            assert scene.pump.unwatched is None

    assert scene.scans() == [0, 1, 2, 3]
    assert scene.telemetry.rescans == {"start": 1, "limits": 3}
    assert scene.watch.tries == 4
    remedy = "raise fs.inotify.max_user_watches, max_user_instances or the limit of open files"
    assert lines == [
        {
            "event": "not_all_watched", "log_level": "warning", "reason": reason, "remedy": remedy,
            "reading_all_every_s": 1.0,
        },
        {"event": "all_watched_again", "log_level": "info"},
    ]  # fmt: skip  # one line of the log after the other


@pytest.mark.parametrize("what", ["handle", "settle"])
@timeless
async def test_descriptors_that_run_out_while_events_are_read_have_all_read_a_second_later(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    scene = Scene(monkeypatch)
    async with scene.run():
        await asyncio.sleep(10)
        scene.scanner.starving[what] = StarvedError("none left")
        scene.watch.happen("a")
        await settled()
        scene.scanner.starving.clear()
        await asyncio.sleep(10)
    assert scene.scans() == [0, 10], "the last one was longer ago than a second"
    assert scene.telemetry.rescans == {"start": 1, "limits": 1}


@timeless
async def test_events_that_are_lost_or_about_the_root_have_all_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    with capture_logs() as lines:
        async with scene.run():
            await asyncio.sleep(10)
            scene.watch.overflowed = True
            scene.watch.happen("a")
            await asyncio.sleep(10)
            scene.scanner.is_scan_due = True
            scene.watch.happen("a")
            await settled()
            scene.scanner.is_scan_due = False
            await asyncio.sleep(10)
    assert scene.scans() == [0, 10, 20]
    assert scene.telemetry.rescans == {"start": 1, "overflow": 1, "root_changed": 1}
    reason = "the inotify queue overflowed; reading the whole tree"
    assert lines == [{"event": "events_lost", "log_level": "warning", "reason": reason}]


@timeless
async def test_a_mount_over_the_tree_has_all_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    async with scene.run():
        await asyncio.sleep(10)
        scene.mount_changed()
        await asyncio.sleep(10)
        scene.takes_s = 1.0
        scene.watch.happen("a")
        await settled()
        scene.mount_changed()  # while nobody waits
        await asyncio.sleep(10)
    assert scene.scans() == [0, 10, 21]
    assert scene.telemetry.rescans == {"start": 1, "mounts": 2}


@timeless
async def test_what_may_not_be_whole_is_looked_at_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, reconcile_s=60.0)
    scene.scanner.next_deadline = 1000.2
    async with scene.run():
        scene.taken()
        await asyncio.sleep(10)
        assert scene.taken() == [(0.2, "expect"), (0.2, "settle"), (0.2, "taken")]
    assert scene.telemetry.rescans == {"start": 1}


@pytest.mark.parametrize(
    ("quiet_s", "takes_s", "pause_s"),
    [(0.005, 0.0, 0.005), (0.02, 0.001, 0.02), (0.005, 0.01, 0.02), (0.005, 0.06, 0.1), (5.0, 0.0, 0.1)],
)
@timeless
async def test_between_two_lists_lies_the_quiet_time_or_twice_what_the_last_one_took(
    monkeypatch: pytest.MonkeyPatch, quiet_s: float, takes_s: float, pause_s: float
) -> None:
    scene = Scene(monkeypatch, quiet_s=quiet_s)
    async with scene.run():
        await asyncio.sleep(10)
        scene.changes_something, scene.takes_s = True, takes_s
        scene.taken()
        scene.watch.happen("a")
        await settled()
        scene.watch.happen("b")
        await asyncio.sleep(1)
    assert [at for at, what in scene.taken() if what == "expect"] == [10, pytest.approx(10 + takes_s + pause_s)]


@timeless
async def test_after_what_changes_no_list_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, quiet_s=0.1)
    async with scene.run():
        await asyncio.sleep(10)
        scene.takes_s = 0.01
        scene.watch.happen("a")
        await settled()
        scene.watch.happen("b")
        await asyncio.sleep(1)
    assert [at for at, what in scene.taken() if what == "expect"] == [10, pytest.approx(10.01)]


@timeless
async def test_after_the_first_reading_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, quiet_s=0.1)
    scene.changes_something = True
    scene.watch.pending = ["a"]
    async with scene.run():
        await settled()
        assert [at for at, what in scene.taken() if what == "expect"] == [0]


@pytest.mark.parametrize(("host", "shown"), [("", "any"), ("a-node", "a-node")])
@timeless
async def test_a_tree_without_a_resource_for_this_node_is_said_when_it_appears(
    monkeypatch: pytest.MonkeyPatch, host: str, shown: str
) -> None:
    scene = Scene(monkeypatch, host=host)
    scene.by_offer = {}
    with capture_logs() as lines:
        async with scene.run():
            scene.watch.happen("a")
            await settled()
    assert lines == [{"event": "no_resources", "log_level": "warning", "root": str(ROOT), "host": shown}]


def test_whoever_does_not_want_to_know_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module.inotify, "Watcher", SimpleNamespace)
    made: dict[str, Any] = {}
    monkeypatch.setattr(pump_module, "Scanner", lambda root, **how: made.update(how))
    how: dict[str, Any] = {"host": "", "domain": "d.io", "reconcile_s": 0, "quiet_s": 0}
    pump = Pump(ROOT, None, telemetry=Telemetry(), **how)  # type: ignore[arg-type]  # not reached
    pump._on_taken()
    assert made["api"] is Api.DEVICE_PLUGIN
