"""A run of a scenario from its first change to its last receipt: what is asked of whom, what is told, and what is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import fakehw
from fakehw import FakeTree
from fakehw.errors import InputError, TreeError
from fakehw.layout import TreePath
from fakehw.scenario import player, receipts
from fakehw.scenario.player import Hands, Options, Restored
from fakehw.scenario.receipts import Receipt, State
from fakehw.scenario.timeline import Act, Change
from tests.running import soon

ONE, TWO, THREE = (TreePath("n", "dev1", number) for number in (1, 2, 3))
GPU = TreePath("m", "gpu", 1)
BAD = "unhealthy by a scenario"
GOOD, BROKEN, GONE = State("Healthy"), State("Unhealthy", "by a scenario"), State("removed")


@pytest.fixture
def root(roomy_dir: Path) -> Path:
    root = roomy_dir / "tree"
    classes = {"dev1": {"count": 3}}
    gpus = {"gpu": {"count": 1, "resource": "a.b/gpu", "api": "dra"}}
    FakeTree(root).build(fakehw.make_topology({"nodes": {"n": {"classes": classes}, "m": {"classes": gpus}}}))
    return root


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def hands(root: Path, told: list[str]) -> Hands:
    return Hands(root, FakeTree(root).read(), tell=told.append)


def change(act: Act, *paths: TreePath, text: str = "", name: str = "health", at_s: float = 0.0) -> Change:
    return Change(at_s, "x", act, paths, text, name)


def health(root: Path, path: TreePath) -> str:
    return root.joinpath(*path.parts, "health").read_text()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# Hands.


def test_hands_say_how_devices_were_as_the_plugin_would(root: Path) -> None:
    (root / "n/dev1/1/health").write_text("unhealthy hot\n")
    (root / "n/dev1/2/health").unlink()
    hands = Hands(root, FakeTree(root).read(), tell=lambda _: None)
    assert hands.states() == {
        GPU: GOOD, ONE: State("Unhealthy", "hot"), TWO: State("Unhealthy", "health file is missing"), THREE: GOOD,
    }  # fmt: skip


def test_a_change_says_what_its_devices_are_to_become_and_leaves_out_those_that_it_is_nothing_to(
    hands: Hands, root: Path
) -> None:
    assert hands.make(change(Act.PLUG, ONE, TWO)) == {}, "they are in"
    assert hands.make(change(Act.SET, ONE, TWO, text=BAD)) == {ONE: BROKEN, TWO: BROKEN}
    assert hands.make(change(Act.SET, ONE, text="healthy warm")) == {ONE: State("Healthy", "warm")}
    assert hands.make(change(Act.UNPLUG, TWO, THREE)) == {TWO: GONE, THREE: GONE}
    assert not (root / "n/dev1/2").exists()
    assert hands.make(change(Act.UNPLUG, TWO)) == {}, "it is out"
    assert hands.make(change(Act.SET, ONE, TWO, text=BAD)) == {ONE: BROKEN}
    assert hands.make(change(Act.RESET, ONE, TWO)) == {ONE: GOOD}
    assert hands.make(change(Act.TEAR, ONE, TWO, text=BAD)) == {}
    assert health(root, ONE) == "unhe"
    assert hands.make(change(Act.FINISH, ONE, TWO, text=BAD)) == {ONE: BROKEN}
    assert hands.make(change(Act.PLUG, ONE, TWO)) == {TWO: GOOD}, "as it was before all this"
    assert health(root, TWO) == "healthy\n"
    assert hands.make(change(Act.SET, ONE, text="7", name="fan")) == {}
    assert hands.make(change(Act.RESET, ONE, name="fan")) == {}
    assert not (root / "n/dev1/1/fan").exists()


def test_what_was_restored_is_told_with_how_each_device_is(hands: Hands, root: Path, told: list[str]) -> None:
    hands.make(change(Act.SET, ONE, text=BAD))
    hands.make(change(Act.SET, TWO, text="7", name="fan"))
    hands.make(change(Act.UNPLUG, THREE))
    assert hands.restore() == Restored((THREE, ONE, TWO), {THREE: GOOD, ONE: GOOD}, [], 0)
    assert (hands.restore(), told) == (Restored((), {}, [], 0), []), "once more there is nothing to do"


def test_nothing_was_restored_where_the_tree_is_gone(hands: Hands, root: Path) -> None:
    hands.make(change(Act.SET, ONE, TWO, text=BAD))
    root.rename(root.parent / "elsewhere")
    assert hands.restore() == Restored((), {}, [f"{root}: No such file or directory: must be the directory of a tree (--root, FAKEHW_ROOT)"], 2)  # fmt: skip


@pytest.mark.parametrize("call", ["ftruncate", "write"])
def test_a_write_that_is_torn_by_the_disk_is_put_back_too(
    hands: Hands, root: Path, monkeypatch: pytest.MonkeyPatch, call: str, told: list[str]
) -> None:
    before = descriptors()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            hands.make(change(Act.TEAR, ONE, text=BAD))
    assert health(root, ONE) == {"ftruncate": "healthy\n", "write": ""}[call]
    assert descriptors() == before
    assert hands.restore().problems == []
    assert (health(root, ONE), told) == ("healthy\n", [])


def test_a_half_that_cannot_be_written_is_said_once_and_its_file_let_go_of(
    hands: Hands, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    hands.make(change(Act.TEAR, ONE, text=BAD))
    assert descriptors() == before + 1

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(player.os, "write", full)
        restored = hands.restore()
    assert restored.problems[0] == "/n/dev1/1: [Errno 28] No space left on device"
    assert descriptors() == before
    hands.restore()
    assert health(root, ONE) == "healthy\n"


def test_a_health_file_that_always_has_a_second_name_is_not_torn(
    hands: Hands, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root.parent / "other").hardlink_to(root / "n/dev1/1/health")
    copied: list[Any] = []
    monkeypatch.setattr(FakeTree, "write_values", lambda _, values: copied.append(values))
    before = descriptors()
    with pytest.raises(
        InputError, match=r"^/n/dev1/1: its health file has a second name, which would be written through$"
    ):
        hands.make(change(Act.TEAR, ONE, text=BAD))
    assert copied == [{ONE: {"health": "healthy"}}] * 2
    assert health(root, ONE) == "healthy\n"
    assert descriptors() == before


def test_a_torn_file_is_not_opened_by_a_program_that_is_started_meanwhile(
    hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    real = os.open

    def note(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        fd = real(path, flags, *rest, **more)
        if path == "health" and flags & os.O_WRONLY:
            opened.append(flags)
        return fd

    monkeypatch.setattr(player.os, "open", note)
    hands.make(change(Act.TEAR, ONE, text=BAD))
    assert opened == [os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC]
    hands.make(change(Act.FINISH, ONE, text=BAD))


# Runs.


class Head:
    """A playhead that is there at once, and remembers where it was sent."""

    def __init__(self, speed: float, *, from_s: float, tell: Callable[[float], None]) -> None:
        self.made = (speed, from_s)
        self.reached: list[float] = []
        self.on_reach: Callable[[float], None] = lambda _: None
        self._tell = tell

    async def reach(self, at_s: float) -> None:
        self.reached.append(at_s)
        self.on_reach(at_s)
        self._tell(at_s)
        for _ in range(5):  # as long as it takes whoever waits for a stop to notice
            await asyncio.sleep(0)


class Run:
    """A run, and everything that it says."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.shown: list[Receipt] = []
        self.told: list[str] = []
        self.progress: list[tuple[float, int]] = []
        self.stop = asyncio.Event()
        self.heads: list[Head] = []
        self.on_reach: Callable[[float], None] = lambda _: None
        monkeypatch.setattr(player, "Playhead", self._head)

    def _head(self, speed: float, **more: Any) -> Head:
        self.heads.append(Head(speed, **more))
        self.heads[0].on_reach = self.on_reach
        return self.heads[0]

    async def __call__(self, *changes: Change, lasts_s: float = 0.0, **options: Any) -> player.Outcome:
        async with soon("the end of the run"):
            return await player.run(
                self.root, changes, FakeTree(self.root).read(), lasts_s=lasts_s, options=Options(**options), stop=self.stop,
                show=self.shown.append, tell=self.told.append, progress=lambda at_s, done: self.progress.append((at_s, done)),
            )  # fmt: skip


@pytest.fixture
async def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(root, monkeypatch)


async def test_each_change_is_made_at_its_moment_and_all_is_put_back_at_the_end(run: Run, root: Path) -> None:
    seen: list[str] = []
    run.on_reach = lambda _: seen.append(health(root, ONE).strip())
    began = time.time()
    made = (change(Act.SET, ONE, text=BAD, at_s=2.0), change(Act.SET, ONE, text="healthy", at_s=3.5), change(Act.SET, ONE, TWO, text=BAD, at_s=4.0))  # fmt: skip
    outcome = await run(*made, lasts_s=60.0, speed=7.0, from_s=1.5)

    assert run.heads[0].made == (7.0, 1.5)
    assert run.heads[0].reached == [2.0, 3.5, 4.0, 60.0]
    assert seen == ["healthy", BAD, "healthy", BAD]
    assert run.progress == [(2.0, 0), (3.5, 1), (4.0, 2), (60.0, 3)]
    restore = Change(0.0, "restore", Act.SET, (ONE, TWO))
    assert [(receipt.number, receipt.change, receipt.problem) for receipt in outcome.receipts] == [
        *((number, change, "") for number, change in enumerate(made, 1)), (4, restore, ""),
    ]  # fmt: skip
    assert run.shown == outcome.receipts
    assert (outcome.is_stopped, outcome.left, run.told) == (False, 0, [])
    times = [receipt.written_at for receipt in outcome.receipts]
    assert times == sorted(times)
    assert began <= times[0] <= times[-1] <= time.time()
    assert health(root, ONE) == health(root, TWO) == "healthy\n"


async def test_where_nothing_was_left_changed_there_is_no_receipt_of_putting_back(run: Run) -> None:
    outcome = await run(change(Act.SET, ONE, text=BAD), change(Act.SET, ONE, text="healthy"))
    assert len(outcome.receipts) == 2
    assert (await run()).receipts == []


async def test_what_is_kept_is_left_as_it_is(run: Run, root: Path) -> None:
    outcome = await run(change(Act.SET, ONE, text=BAD), keep=True)
    assert (len(outcome.receipts), outcome.left, health(root, ONE)) == (1, 0, f"{BAD}\n")


async def test_a_stop_ends_what_is_played_puts_back_and_says_so(run: Run, root: Path) -> None:
    run.on_reach = lambda at_s: run.stop.set() if at_s == 5.0 else None
    outcome = await run(change(Act.SET, ONE, text=BAD), change(Act.SET, TWO, text=BAD, at_s=5.0), lasts_s=9.0)
    assert run.heads[0].reached == [0.0, 5.0]
    assert [receipt.change.paths for receipt in outcome.receipts] == [(ONE,), (ONE,)]
    assert (outcome.is_stopped, outcome.left, health(root, ONE)) == (True, 0, "healthy\n")


@pytest.mark.parametrize("error", [TreeError("locked"), OSError(28, "No space left on device")])
async def test_a_change_that_cannot_be_made_has_a_receipt_that_says_why_and_the_next_is_made(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = Hands.make

    def make(hands: Hands, change: Change) -> Any:
        if change.paths == (ONE,):
            raise error
        return real(hands, change)

    monkeypatch.setattr(Hands, "make", make)
    outcome = await run(change(Act.SET, ONE, text=BAD), change(Act.SET, TWO, text=BAD), keep=True)
    assert [receipt.problem for receipt in outcome.receipts] == [str(error), ""]


async def test_a_bug_ends_the_run_with_its_traceback_and_all_is_put_back_first(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(at_s: float) -> None:
        if at_s:
            raise ZeroDivisionError

    run.on_reach = breaks
    with pytest.raises(ZeroDivisionError):
        await run(change(Act.SET, ONE, text=BAD), change(Act.SET, TWO, text=BAD, at_s=1.0))
    assert health(root, ONE) == "healthy\n"
    await asyncio.sleep(0)
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()} == set()


async def test_what_could_not_be_put_back_is_a_problem_of_the_last_receipt_and_counted(run: Run, root: Path) -> None:
    def meddle(at_s: float) -> None:
        if at_s:
            for path in (ONE, TWO):
                root.joinpath(*path.parts).rmdir() if root.joinpath(*path.parts).exists() else None
                root.joinpath(*path.parts).write_text("in the way")

    run.on_reach = meddle
    outcome = await run(change(Act.UNPLUG, ONE, TWO), change(Act.SET, THREE, text=BAD, at_s=1.0))
    last = outcome.receipts[-1]
    assert (last.change.step, last.change.paths, outcome.left) == ("restore", (THREE,), 2)
    first, second = last.problem.split("; ")
    assert first.startswith("/n/dev1/1: ")
    assert second.startswith("/n/dev1/2: ")


async def test_files_that_could_not_be_restored_are_all_named_before_anything_is_touched(run: Run, root: Path) -> None:
    (root / "n/dev1/1/fan").mkdir()
    (root / "n/dev1/2/health").unlink()
    (root / "n/dev1/2/health").symlink_to("x")
    with pytest.raises(InputError) as caught:
        await run(change(Act.SET, ONE, TWO, text="1", name="fan"), change(Act.SET, ONE, TWO, text=BAD), change(Act.SET, TWO, text=BAD))  # fmt: skip
    rule = "must be a file of one value, or it could not be restored"
    assert caught.value.lines == (
        f"/n/dev1/1: fan file is a directory: {rule}",
        f"/n/dev1/2: health file is a symbolic link, which is not followed: {rule}",
    )
    assert (run.heads, run.shown) == ([], [])
    assert health(root, ONE) == "healthy\n"


class Witnesses:
    """Stands for all witnesses: remembers what it was given, and says what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, has_any: bool = True) -> None:
        self.given: dict[str, Any] = {}
        self.ledger: Any = None
        self._has_any = has_any
        self.is_over = False
        monkeypatch.setattr(player.witnesses, "listening", self._listening)

    @contextlib.asynccontextmanager
    async def _listening(
        self, ledger: Any, logs: Sequence[str], sockets: Sequence[Path], **more: Any
    ) -> AsyncIterator[bool]:
        self.ledger = ledger
        self.given = {"logs": logs, "sockets": sockets, **more}
        try:
            yield self._has_any
        finally:
            self.is_over = True


async def test_witnesses_are_told_of_resources_and_the_ledger_of_who_watches_and_what_dra_serves(
    run: Run, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    witnesses = Witnesses(monkeypatch)
    made: list[dict[str, Any]] = []
    real = receipts.Ledger

    def ledger(states: Any, **more: Any) -> receipts.Ledger:
        made.append({"states": states, **more})
        return real(states, **more)

    monkeypatch.setattr(player.receipts, "Ledger", ledger)
    (root / "n/dev1/resource").unlink(missing_ok=True)
    all_good = dict.fromkeys((GPU.id, ONE.id, TWO.id, THREE.id), GOOD)
    await run(plugin_logs=["a.log"], pod_resources=[], domain="my.io")
    assert witnesses.given == {
        "logs": ["a.log"], "sockets": [], "tell": run.told.append,
        "resources": {GPU.id: "a.b/gpu", **dict.fromkeys((ONE.id, TWO.id, THREE.id), "my.io/mydevice-1")},
    }  # fmt: skip
    assert made[0] | {"tell": None} == {"states": all_good, "has_plugin": True, "has_kubelet": False, "by_dra": {GPU.id}, "tell": None}  # fmt: skip
    await run(pod_resources=[Path("/s")], api="dra")
    assert made[1] | {"tell": None} == {"states": all_good, "has_plugin": False, "has_kubelet": True, "by_dra": set(all_good), "tell": None}  # fmt: skip
    assert witnesses.given["resources"][ONE.id] == "myplugin.io/mydevice-1"


async def test_receipts_are_waited_for_before_putting_back_and_after_and_given_up_when_patience_ends(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    witnesses = Witnesses(monkeypatch)
    run.on_reach = lambda at_s: witnesses.ledger.observe_plugin(time.time(), TWO.id, BROKEN) if at_s else None
    outcome = await run(change(Act.SET, ONE, TWO, text=BAD), lasts_s=1.0, plugin_logs=["x"], patience_s=0.05)
    assert [(hop.expected, hop.arrived, hop.passed_over, hop.missing) for hop in (one.seen for one in outcome.receipts)] == [
        (2, 1, 0, 1), (2, 0, 1, 1),
    ]  # fmt: skip
    assert run.shown == outcome.receipts
    assert witnesses.is_over


async def test_a_stop_waits_for_no_receipt(run: Run, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    Witnesses(monkeypatch)
    run.on_reach = lambda at_s: run.stop.set() if at_s else None
    outcome = await run(change(Act.SET, ONE, text=BAD), lasts_s=1.0, plugin_logs=["x"], patience_s=3600.0)
    assert [receipt.is_complete for receipt in outcome.receipts] == [False, False]
    assert (outcome.is_stopped, health(root, ONE), run.shown) == (True, "healthy\n", [])


def test_options_stand_for_a_run_at_its_own_speed_that_puts_everything_back() -> None:
    assert Options() == Options(
        speed=1.0, keep=False, patience_s=5.0, plugin_logs=(), pod_resources=(), domain="myplugin.io", api="device-plugin", from_s=0.0,
    )  # fmt: skip
