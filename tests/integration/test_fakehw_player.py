"""The hands of a scenario on a real tree: what is noted, what is put back, and what is said when it cannot be."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import fakehw
from fakehw import FakeTree
from fakehw.errors import InputError, TreeError
from fakehw.layout import TreePath
from fakehw.scenario import player, witnesses
from fakehw.scenario.player import Hands
from fakehw.scenario.receipts import Ledger, State
from fakehw.scenario.timeline import Act, Change
from tests.running import soon

ONE, TWO, THREE = (TreePath("n", "dev1", number) for number in (1, 2, 3))
BAD = "unhealthy by a scenario"


@pytest.fixture
def root(roomy_dir: Path) -> Path:
    root = roomy_dir / "tree"
    FakeTree(root).build(fakehw.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 3}}}}}))
    return root


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def hands(root: Path, told: list[str]) -> Hands:
    return Hands(root, FakeTree(root).read(), tell=told.append)


def change(act: Act, *paths: TreePath, text: str = "", name: str = "health") -> Change:
    return Change(0.0, "x", act, paths, text, name)


def content(root: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in sorted(root.glob("[!.]*/**/*")) if path.is_file()}


def test_what_could_not_be_written_is_not_taken_for_somebody_elses(
    hands: Hands, root: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full in the middle: the device was left broken, as changed by somebody else."""
    before = content(root)
    hands.make(change(Act.SET, ONE, text=BAD))
    for act, text in ((Act.SET, "healthy"), (Act.UNPLUG, ""), (Act.TEAR, "healthy")):
        with monkeypatch.context() as patch:

            def full(*_: object, **__: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(os, "replace", full)
            patch.setattr(os, "rename", full)
            patch.setattr(os, "ftruncate", full)
            with pytest.raises((TreeError, OSError), match="No space left"):
                hands.make(change(act, ONE, text=text))

    restored = hands.restore()
    assert (restored.problems, restored.left, told) == ([], 0, [])
    assert content(root) == before


def test_one_device_that_cannot_be_put_back_keeps_no_other_from_it(hands: Hands, root: Path) -> None:
    before = content(root)
    hands.make(change(Act.SET, ONE, TWO, text=BAD))
    hands.make(change(Act.UNPLUG, THREE))
    health = root / "n/dev1/1/health"
    health.unlink()
    health.symlink_to("elsewhere")  # somebody else's
    (root / "n/dev1/3").write_text("in the way")
    restored = hands.restore()

    assert restored.states == {TWO: State("Healthy")}
    assert restored.left == 2
    assert len(restored.problems) == 1
    assert restored.problems[0].startswith("/n/dev1/3: ")
    assert content(root)[str(root / "n/dev1/2/health")] == before[str(root / "n/dev1/2/health")]


def test_what_can_be_put_back_at_once_is(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock and a stage for each of 10,000 devices would take long."""
    calls = []
    real = FakeTree.write_values
    hands.make(change(Act.SET, ONE, TWO, THREE, text=BAD))
    monkeypatch.setattr(FakeTree, "write_values", lambda tree, values: (calls.append(len(values)), real(tree, values)))
    assert hands.restore().left == 0
    assert calls == [3]


def test_a_device_without_a_health_is_put_back_without_one(hands: Hands, root: Path, told: list[str]) -> None:
    (root / "n/dev1/1/health").unlink()
    (root / "n/dev1/1/numa_node").write_text("0\n")
    (root / "n/dev1/1/photos").mkdir()
    (root / "n/dev1/1/photos/a b").write_text("mine")
    before = content(root)
    hands = Hands(root, FakeTree(root).read(), tell=told.append)
    hands.make(change(Act.UNPLUG, ONE))
    hands.make(change(Act.PLUG, ONE))
    assert content(root) == before
    hands.make(change(Act.SET, ONE, text=BAD))
    hands.restore()
    hands.make(change(Act.UNPLUG, ONE))
    hands.restore()
    assert content(root) == before
    assert told == []


def test_attributes_are_set_reset_and_put_back_as_they_were(hands: Hands, root: Path, told: list[str]) -> None:
    (root / "n/dev1/1/temperature").write_text("40\n")
    before = content(root)
    hands = Hands(root, FakeTree(root).read(), tell=told.append)
    heat = change(Act.SET, ONE, TWO, text="91", name="temperature")
    assert hands.make(heat) == {}, "the plugin is not asked about what it does not list"
    assert (root / "n/dev1/1/temperature").read_text() == (root / "n/dev1/2/temperature").read_text() == "91\n"
    hands.make(change(Act.RESET, ONE, TWO, name="temperature"))
    assert content(root) == before

    hands.make(heat)
    hands.make(change(Act.SET, ONE, text=BAD))
    hands.make(change(Act.UNPLUG, TWO))
    assert hands.make(change(Act.PLUG, TWO)) == {TWO: State("Healthy")}
    assert not (root / "n/dev1/2/temperature").exists(), "what is plugged in again is as it was"
    hands.make(change(Act.UNPLUG, ONE))
    assert hands.make(heat) == {}
    hands.make(change(Act.SET, TWO, THREE, text="2", name="fan"))
    (root / "n/dev1/3/fan").write_text("3\n")
    restored = hands.restore()
    assert (restored.paths, restored.left, restored.problems) == ((ONE, TWO), 1, [])
    assert restored.states == {ONE: State("Healthy")}, "of TWO, the plugin lists what it did"
    assert told == [f"{THREE}: was changed by somebody else meanwhile: left as it is"]
    (root / "n/dev1/3/fan").unlink()
    assert content(root) == before


async def test_an_attribute_that_could_not_be_restored_is_not_touched(root: Path, told: list[str]) -> None:
    (root / "n/dev1/1/temperature").mkdir()
    with pytest.raises(InputError, match=r"/n/dev1/1: temperature file .*must be a file of one value"):
        await run(root, change(Act.SET, ONE, text="91", name="temperature"), told=told)
    assert (root / "n/dev1/1/temperature").is_dir()


def test_a_torn_write_is_torn_in_the_file_itself_and_through_no_second_name(
    hands: Hands, root: Path, tmp_path: Path
) -> None:
    health, other = root / "n/dev1/1/health", root.parent / "other"
    other.hardlink_to(health)
    hands.make(change(Act.TEAR, ONE, text=BAD))
    assert health.read_text() == "unhe"
    assert other.read_text() == "healthy\n"
    inode = health.stat().st_ino
    hands.make(change(Act.FINISH, ONE, text=BAD))
    assert (health.read_text(), health.stat().st_ino) == (f"{BAD}\n", inode)
    assert hands.restore().left == 0
    assert health.read_text() == "healthy\n"


@pytest.mark.parametrize("then", ["restore", "unplug", "tear"])
def test_a_torn_write_is_finished_before_anything_else(hands: Hands, root: Path, then: str) -> None:
    before = content(root)
    hands.make(change(Act.TEAR, ONE, text=BAD))
    if then == "unplug":
        hands.make(change(Act.UNPLUG, ONE))
    elif then == "tear":
        hands.make(change(Act.TEAR, ONE, text="unhealthy again"))
    assert hands.restore().left == 0
    assert content(root) == before


def test_a_health_that_is_no_file_is_not_torn(hands: Hands, root: Path) -> None:
    health = root / "n/dev1/1/health"
    health.unlink()
    os.mkfifo(health)
    with pytest.raises((InputError, TreeError, OSError, Exception), match="FIFO"):
        hands.make(change(Act.TEAR, ONE, text=BAD))


async def run(root: Path, *changes: Change, told: list[str], **options: object) -> player.Outcome:
    async with soon("the end of the run"):
        return await player.run(
            root, changes, FakeTree(root).read(), lasts_s=0.0, options=player.Options(patience_s=0.2, **options),  # type: ignore[arg-type]
            stop=asyncio.Event(), show=lambda _: None, tell=told.append,
        )  # fmt: skip


async def test_an_outcome_says_how_many_devices_are_not_as_they_were(root: Path, told: list[str]) -> None:
    assert (await run(root, change(Act.SET, ONE, text=BAD), told=told)).left == 0
    outcome = await run(root, change(Act.SET, ONE, text=BAD), told=told, keep=True)
    assert (outcome.left, outcome.is_stopped) == (0, False)


async def test_a_log_that_says_nothing_gives_no_receipt(root: Path, told: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    outcome = await run(
        root, change(Act.SET, ONE, text=BAD), change(Act.SET, ONE, text="healthy"),
        told=told, plugin_logs=[str(log)], pod_resources=[tmp_path / "nope.sock"],
    )  # fmt: skip
    assert [(r.seen.missing, r.seen.passed_over, r.landed.missing, r.landed.passed_over) for r in outcome.receipts] == [
        (1, 0, 1, 0)
    ] * 2


async def test_a_witness_that_ends_is_told_of(
    root: Path, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def torn(_: Path) -> frozenset[str]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(witnesses.pod_resources, "allocatable", torn)
    outcome = await run(root, change(Act.SET, ONE, text=BAD), told=told, pod_resources=[tmp_path / "a.sock"])
    assert told == ["PodResources: is not listened to any more: a bug"]
    assert outcome.receipts[0].landed.missing == 1


async def test_an_answer_that_is_no_message_ends_no_witness(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([b"\x0a\x7f", b"\x0a\x04\x12\x02\xff\xfe", b"\x07", b"\xff" * 100])
    whole = b"\x0a\x0d\x12\x0bn-dev1-1-xx"
    asked = 0

    async def ask(_: Path, __: str) -> bytes:
        nonlocal asked
        asked += 1
        return next(answers, whole)

    monkeypatch.setattr(witnesses.pod_resources, "_ask", ask)
    ledger = Ledger({ONE.id: State("Healthy")}, has_plugin=False, has_kubelet=True, tell=lambda _: None)
    receipt = ledger.enter(change(Act.SET, ONE), 0.0, {ONE: State("Unhealthy")})
    task = asyncio.create_task(witnesses.Kubelets([tmp_path / "a.sock"]).run(ledger))
    async with soon("the receipt"):
        while not receipt.is_complete:
            await asyncio.sleep(0.01)
            assert not task.done()
    task.cancel()
    assert asked == 5
