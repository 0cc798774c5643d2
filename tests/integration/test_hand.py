"""`fakehw hand`: what is asked by a line of JSON is done and answered, and ends with whoever asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fakehw import FakeTree, load_topology
from fakehw.hand import requests
from fakehw.layout import TreePath
from fakehw.scenario.timeline import Act, Change

SEED = Path(__file__).parents[2] / "deploy/base/topology.yaml"


@pytest.fixture
def tree(tmp_path: Path) -> FakeTree:
    tree = FakeTree(tmp_path / "tree")
    tree.build(load_topology(SEED))
    return tree


class Asked:
    """A hand, and the person at the other end."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fakehw", "hand", "--root", root],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip  # the command stays on one line
        assert self.answer() == {"hand": requests.VERSION, "fakehw": "0.1.0"}

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def ask(self, **request: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(request)}\n")

    def leave(self) -> int:
        self.process.communicate(timeout=30)
        return self.process.returncode


def test_each_request_is_done_once_and_may_be_repeated(tree: FakeTree) -> None:
    hand = Asked(tree.root)
    wanted = {"do": "set", "wanted": ["/node2/dev3/2", "/node2/dev3/3"], "name": "health", "value": "unhealthy too hot"}
    hand.ask(**wanted)
    done = hand.answer()["done"]
    assert (done["changed"], done["same"]) == (wanted["wanted"], [])
    hand.ask(**wanted)
    assert hand.answer()["done"]["same"] == wanted["wanted"]
    for word in ("unplug", "unplug", "plug", "plug"):
        hand.ask(do=word, wanted=["/node2/dev3/3"])
    assert [len(hand.answer()["done"]["changed"]) for _ in range(4)] == [1, 0, 1, 0]
    hand.ask(do="list")
    listed = {record["path"]: record["health"] for record in hand.answer()["done"]}
    assert listed["/node2/dev3/2"] == "unhealthy"
    assert listed["/node2/dev3/3"] == "healthy", "plugged in as the spec says"
    assert hand.leave() == 0


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "fly"}, "is nothing that this hand can do"),
        ({"do": "set", "wanted": ["/node2/dev3/1"], "name": "health", "value": "sick"}, "must be healthy or unhealthy"),
        ({"do": "set", "wanted": ["/node2/dev3/1"], "name": "../x", "value": "1"}, "must be the name of an attribute"),
        ({"do": "set", "wanted": ["/node2/dev3/1"], "name": "numa_node", "value": "1.0"}, "must be a whole number"),
        ({"do": "set", "wanted": ["../../etc"], "name": "a", "value": "1"}, "are no paths"),
        ({"do": "set"}, "are no paths"),
        ({"do": "play", "changes": [{}], "lasts_s": 0, "speed": 1, "keep": False}, "is no change"),
        ([], "not understood"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_next_request_is_heard(tree: FakeTree, request_: Any, said: str) -> None:
    hand = Asked(tree.root)
    assert hand.process.stdin is not None
    hand.process.stdin.write(f"{json.dumps(request_)}\n")
    assert said in hand.answer()["error"]
    hand.ask(do="list")
    assert len(hand.answer()["done"]) == 8, "5 devices and 3 classes without one"
    assert hand.leave() == 0


def test_patterns_are_resolved_where_the_tree_is_and_what_fits_nothing_there_is_no_error(tree: FakeTree) -> None:
    hand = Asked(tree.root)
    hand.ask(do="set", wanted=["*/dev3/*", "node9"], name="health", value="unhealthy x")
    done = hand.answer()["done"]
    assert done["changed"] == ["/node2/dev3/1", "/node2/dev3/2", "/node2/dev3/3"]
    assert done["missed"] == ["node9"]
    assert set(done["hosts"].values()) == {"kind-worker2"}
    hand.ask(do="unplug", wanted=["*/dev3/[12]"])
    hand.ask(do="plug", wanted=["*/dev3/*", "node9/dev1/1", "node2/dev3/7"])
    assert hand.answer()["done"]["changed"] == ["/node2/dev3/1", "/node2/dev3/2"]
    done = hand.answer()["done"]
    assert done["changed"] == ["/node2/dev3/1", "/node2/dev3/2", "/node2/dev3/7"], "listed before, and one more"
    assert (done["same"], done["missed"]) == (["/node2/dev3/3"], ["node9/dev1/1"])
    assert hand.leave() == 0


def test_what_is_played_is_put_back_when_whoever_asked_is_gone(tree: FakeTree) -> None:
    hand = Asked(tree.root)
    path = TreePath.parse("node2/dev3/1")
    change = Change(0.0, "break", Act.SET, (path,), "unhealthy for a while")
    hand.ask(do="play", changes=[requests.change_to_json(change)], lasts_s=3600, speed=1, keep=False)
    assert hand.answer()["receipt"]["devices"] == [str(path)]
    assert tree.root.joinpath(*path.parts, "health").read_text() == "unhealthy for a while\n"
    assert hand.leave() == 0
    assert tree.root.joinpath(*path.parts, "health").read_text() == "healthy\n"


def test_events_are_told_as_they_happen(tree: FakeTree) -> None:
    hand = Asked(tree.root)
    tree.set_health("node2/dev3/1", "unhealthy", reason="before")
    hand.ask(do="events")
    assert hand.answer()["event"]["reason"] == "before"
    tree.set_health("node2/dev3/1", "healthy")
    assert hand.answer()["event"]["health"] == "healthy"
    assert hand.leave() == 0


@pytest.mark.parametrize("requests", ["", '{"do": "list", "id": 7}\n', '{"do": "list", "id": 7}'])
def test_requests_may_come_from_a_file(tree: FakeTree, tmp_path: Path, requests: str) -> None:
    (tmp_path / "requests").write_text(requests)
    with (tmp_path / "requests").open() as file:
        ran = subprocess.run(
            [sys.executable, "-m", "fakehw", "hand", "--root", str(tree.root)],
            stdin=file, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip  # a flag beside its value
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(ran.stdout.splitlines()) == 1 + bool(requests)


def test_no_standard_input_is_one_line(tree: FakeTree) -> None:
    command = f"{sys.executable} -m fakehw hand --root {tree.root} <&-"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("fakehw: standard input is closed: must be")
    assert len(ran.stderr.splitlines()) == 1
