"""A hand in this process: each request and its whole answer, which of them wait for which, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fakehw import FakeTree, make_topology
from fakehw.errors import InputError
from fakehw.hand import session
from fakehw.scenario import player
from fakehw.scenario.receipts import Receipt
from fakehw.scenario.timeline import Act, Change
from fakehw.view import events
from tests.running import soon

SPEC = {
    "nodes": {
        "a": {"host": "kind-a", "classes": {"dev1": {"count": 3}}},
        "b": {"classes": {"dev1": {"count": 1}, "dev2": {"count": 0}}},
    }
}
ONE, TWO, THREE, OTHER = ("/a/dev1/1", "/a/dev1/2", "/a/dev1/3", "/b/dev1/1")


@pytest.fixture
def root(roomy_dir: Path) -> Path:
    FakeTree(roomy_dir / "tree").build(make_topology(SPEC))
    return roomy_dir / "tree"


class Hand:
    """A hand that serves, and whoever talks to it."""

    def __init__(self, root: Path, **more: Any) -> None:
        self.answers: list[Any] = []
        self._more = asyncio.Event()
        self._reader = asyncio.StreamReader()
        self.serving = asyncio.create_task(session.serve(root, self._reader, self._take, **more))

    def _take(self, answer: Any) -> None:
        self.answers.append(json.loads(json.dumps(answer)))
        self._more.set()

    def send(self, request: object) -> None:
        self._reader.feed_data((request if isinstance(request, str) else json.dumps(request)).encode() + b"\n")

    async def has(self, count: int) -> list[Any]:
        async with soon(f"answer {count}, after {self.answers},"):
            while len(self.answers) < count:
                self._more.clear()
                await self._more.wait()
        return self.answers

    async def ask(self, request: object) -> Any:
        before = len(self.answers)
        self.send(request)
        return (await self.has(before + 1))[before]

    async def leave(self) -> None:
        if not self.serving.done():
            self._reader.feed_eof()
        async with soon("the end of the hand"):
            await self.serving


@pytest_asyncio.fixture
async def hand(root: Path) -> AsyncIterator[Hand]:
    hand = Hand(root)
    yield hand
    await hand.leave()


def done(changed: list[str], same: list[str], missed: list[str], *, hosts: list[str]) -> dict[str, Any]:
    return {"done": {"changed": changed, "same": same, "missed": missed, "hosts": dict.fromkeys(hosts, "kind-a")}}


def health(root: Path, path: str) -> str:
    return (root / path[1:] / "health").read_text()


async def test_devices_are_set_once_and_those_that_fit_nothing_are_missed(hand: Hand, root: Path) -> None:
    asked = {"do": "set", "wanted": [TWO, "*/dev1/1", "c", "*/dev9/*"], "name": "health", "value": "unhealthy hot"}
    assert await hand.ask(asked) == done([ONE, TWO, OTHER], [], ["c", "*/dev9/*"], hosts=[ONE, TWO])
    assert [health(root, path) for path in (ONE, TWO, OTHER, THREE)] == ["unhealthy hot\n"] * 3 + ["healthy\n"]
    inode = (root / "a/dev1/1/health").stat().st_ino
    assert await hand.ask(asked | {"wanted": ["a"]}) == done([THREE], [ONE, TWO], [], hosts=[ONE, TWO, THREE])
    assert (root / "a/dev1/1/health").stat().st_ino == inode, "what is so already is not written again"
    assert await hand.ask(asked | {"wanted": [ONE], "name": "fan", "value": 7}) == done([ONE], [], [], hosts=[ONE])
    assert (root / "a/dev1/1/fan").read_text() == "7\n"
    assert await hand.ask(asked | {"wanted": []}) == done([], [], [], hosts=[])


async def test_what_is_out_is_the_same_for_whoever_pulls_it_out_again(hand: Hand, root: Path) -> None:
    assert await hand.ask({"do": "unplug", "wanted": [TWO, "c"]}) == done([TWO], [], ["c"], hosts=[TWO])
    assert await hand.ask({"do": "unplug", "wanted": ["a/dev1", "/a/dev1/9"]}) == done([ONE, THREE], [TWO], ["a/dev1/9"], hosts=[ONE, TWO, THREE])  # fmt: skip
    assert await hand.ask({"do": "unplug", "wanted": [TWO]}) == done([], [TWO], [], hosts=[TWO])
    assert not list((root / "a/dev1").glob("[0-9]"))


async def test_what_is_plugged_in_is_what_is_listed_or_one_more_of_a_node_that_is_known(hand: Hand, root: Path) -> None:
    await hand.ask({"do": "unplug", "wanted": ["a"]})
    wanted = {"do": "plug", "wanted": ["*/*/[12]", ONE, "/a/dev1/7", "/c/dev1/1", "c", "/a/dev9", "*/dev9/*"]}
    assert await hand.ask(wanted) == done([ONE, TWO, "/a/dev1/7"], [OTHER], ["c/dev1/1", "c", "a/dev9", "*/dev9/*"], hosts=[ONE, TWO, "/a/dev1/7"])  # fmt: skip
    assert await hand.ask(wanted | {"wanted": ["/a/dev1/7"]}) == done([], ["/a/dev1/7"], [], hosts=["/a/dev1/7"])
    assert await hand.ask(wanted | {"wanted": ["c"]}) == done([], [], ["c"], hosts=[])
    assert health(root, "/a/dev1/7") == "healthy\n"


async def test_a_list_has_every_device_and_class_by_the_domain_that_was_given(root: Path) -> None:
    (root / "a/dev1/resource").unlink(missing_ok=True)
    (root / "b/dev2/resource").unlink(missing_ok=True)
    for more, domain in (({}, "myplugin.io"), ({"domain": "my.io"}, "my.io")):
        hand = Hand(root, **more)
        listed = (await hand.ask({"do": "list"}))["done"]
        await hand.leave()
        assert [record["path"] for record in listed] == [ONE, TWO, THREE, OTHER, "/b/dev2"]
        assert listed[0] == {
            "path": ONE, "id": "a-dev1-1", "resource": f"{domain}/mydevice-1", "health": "healthy", "numa_node": None, "host": "kind-a",
            "reason": "", "attributes": {},
        }  # fmt: skip
        assert (listed[4]["id"], listed[4]["resource"]) == (None, f"{domain}/mydevice-2")


async def test_a_host_steers_no_terminal_and_one_that_cannot_be_read_is_none(hand: Hand, root: Path) -> None:
    (root / "a/host").write_text("kind\x1b[2J a\n")
    (root / "b/host").mkdir()
    answer = await hand.ask({"do": "set", "wanted": [ONE, OTHER], "name": "fan", "value": "1"})
    assert answer["done"]["hosts"] == {ONE: "kind [2J a"}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("{", "not understood: JSONDecodeError("),
        ("3", "not understood: TypeError("),
        ({}, "not understood: KeyError('do')"),
        ({"do": ["list"]}, "not understood: TypeError("),
        ({"do": "fly"}, "'fly': is nothing that this hand can do: is its image older?"),
        ({"do": "set", "wanted": [ONE]}, "not understood: KeyError('name')"),
        ({"do": "set", "wanted": [ONE], "name": "fan", "value": "a\nb"}, f"{ONE}: fan: 'a\\nb': must be one line"),
        ({"do": "unplug", "wanted": ["../x"]}, "['../x']: are no paths: a node's name"),
        ({"do": "play", "changes": [], "speed": 1, "keep": False}, "not understood: KeyError('lasts_s')"),
    ],
)  # fmt: skip  # one row a mistake
async def test_what_cannot_be_done_is_an_error_of_one_line_and_nothing_is_touched(
    hand: Hand, root: Path, request_: object, said: str
) -> None:
    answer = await hand.ask(request_)
    assert list(answer) == ["error"]
    assert said.rpartition(": ")[2] in answer["error"]
    assert "\n" not in answer["error"]
    assert answer["error"].startswith(said) or "fan" in said
    assert len((await hand.ask({"do": "list"}))["done"]) == 5


async def test_errors_of_a_tree_and_of_a_disk_are_said_without_their_numbers(
    hand: Hand, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, said in (
        (InputError("a", "b"), "a; b"), (OSError(28, "No space left on device"), "No space left on device"), (OSError("odd"), "odd"),
    ):  # fmt: skip

        def fail(_: FakeTree, error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(FakeTree, "read", fail)
            assert await hand.ask({"do": "list"}) == {"error": said}


async def test_requests_are_answered_in_their_order_though_each_takes_its_time(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[str] = []
    gate = asyncio.Event()

    async def slow(_: session.Hand, told: dict[str, Any]) -> None:
        took.append(f"begins {told['n']}")
        if told["n"] == 1:
            await gate.wait()
        took.append(f"ends {told['n']}")

    monkeypatch.setattr(session.Hand, "_list", slow)
    for number in (1, 2):
        hand.send({"do": "list", "n": number})
    for _ in range(10):
        await asyncio.sleep(0)
    assert took == ["begins 1"]
    gate.set()
    assert await hand.has(2) == [{"done": None}] * 2
    assert took == ["begins 1", "ends 1", "begins 2", "ends 2"]


def play(*changes: Change, **fields: Any) -> dict[str, Any]:
    from fakehw.hand import requests

    told = [requests.change_to_json(change) for change in changes]
    return {"do": "play", "changes": told, "lasts_s": 3600, "speed": 1, "keep": False} | fields


def change(*paths: str, at_s: float = 0.0) -> Change:
    from fakehw.layout import TreePath

    return Change(at_s, "break", Act.SET, tuple(map(TreePath.parse, paths)), "unhealthy a while")


async def test_events_and_what_is_played_go_on_beside_other_requests_and_end_with_whoever_asked(
    hand: Hand, root: Path
) -> None:
    hand.send({"do": "events"})
    hand.send(play(change(ONE)))
    (receipt,) = [answer["receipt"] for answer in await hand.has(1) if "receipt" in answer]
    assert (receipt["number"], receipt["devices"]) == (1, [ONE])
    (event,) = [answer["event"] for answer in await hand.has(2) if "event" in answer]
    assert (event["path"], event["resource"], event["host"], event["reason"]) == (ONE, "myplugin.io/mydevice-1", "kind-a", "a while")  # fmt: skip
    assert len((await hand.ask({"do": "list"}))["done"]) == 5
    await hand.leave()
    restored = [answer for answer in hand.answers[3:] if "event" not in answer]
    assert [answer.get("receipt", {}).get("step", answer) for answer in restored] == ["restore", {"done": 2}]
    assert health(root, ONE) == "healthy\n"


async def test_a_run_that_ends_says_how_many_receipts_there_were(hand: Hand, root: Path) -> None:
    hand.send(play(change(ONE), change(TWO), lasts_s=0, keep=True))
    *receipts, last = await hand.has(3)
    assert [answer["receipt"]["devices"] for answer in receipts] == [[ONE], [TWO]]
    assert last == {"done": 2}
    assert health(root, ONE) == "unhealthy a while\n"


async def test_what_is_played_is_asked_of_the_player_as_it_was_told(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    async def run(root: Path, timeline: Any, before: Any, **more: Any) -> player.Outcome:
        asked.append((root, timeline, dict(before.devices()), {key: more[key] for key in ("lasts_s", "options")}))
        more["tell"]("a word")
        receipt = Receipt(1, timeline[0], 0.0)
        more["show"](receipt)
        assert not more["stop"].is_set()
        return player.Outcome([receipt])

    monkeypatch.setattr(player, "run", run)
    hand = Hand(root, domain="my.io")
    hand.send(play(change(ONE, TWO, at_s=3.0), lasts_s="7.5", speed="2", keep=1))
    assert await hand.has(3) == [
        {"remark": "a word"}, {"receipt": Receipt(1, change(ONE, TWO, at_s=3.0), 0.0).as_dict()}, {"done": 1},
    ]  # fmt: skip
    await hand.leave()
    before = dict(FakeTree(root).read().devices())
    options = player.Options(speed=2.0, keep=True, domain="my.io")
    assert asked == [(root, [change(ONE, TWO, at_s=3.0)], before, {"lasts_s": 7.5, "options": options})]


async def test_events_are_told_with_the_domain_and_in_full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    async def tell(root: Path, *, say: Callable[[str], None], **more: Any) -> None:
        asked.append({"root": root, **more})
        say('{"a": 1}')

    monkeypatch.setattr(events, "tell", tell)
    hand = Hand(root, domain="my.io")
    hand.send({"do": "events"})
    assert await hand.has(2) == [{"event": {"a": 1}}, {"done": None}]
    await hand.leave()
    assert asked == [{"root": root, "domain": "my.io", "follow": True, "as_json": True}]


async def test_what_the_tree_remarks_is_passed_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Callable[[str], None]] = []
    real = FakeTree.__init__

    def init(tree: FakeTree, root: Path, *, tell: Callable[[str], None]) -> None:
        given.append(tell)
        real(tree, root, tell=tell)

    monkeypatch.setattr(FakeTree, "__init__", init)
    answers: list[Any] = []
    session.Hand(root, answers.append)
    given[0]("waiting for a lock")
    assert answers == [{"remark": "waiting for a lock"}]


async def test_a_bug_in_a_request_ends_the_hand(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(session.Hand, "_list", broken)
    hand.send({"do": "list"})
    async with soon("the end of the hand"):
        with pytest.raises(ZeroDivisionError):
            await hand.serving
    hand.serving = asyncio.create_task(asyncio.sleep(0))


# Standard input.


async def served(root: Path, **more: Any) -> list[Any]:
    answers: list[Any] = []
    async with soon("the end of standard input"):
        await session.serve_stdin(root, answers.append, **more)
    return answers


async def test_a_pipe_is_served_until_it_ends(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.write(write, b'{"do": "list"}\n{"do": "list"}')
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        answers = await served(root, domain="my.io")
        assert stdin.buffer.raw.closed
    assert [len(answer["done"]) for answer in answers] == [5, 5]
    assert answers[0]["done"][0]["resource"].endswith("mydevice-1")
    monkeypatch.setattr(sys, "stdin", None)


async def test_a_file_is_served_to_its_end(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requests").write_text('{"do": "list"}\n{"do": "fly"}\n')
    with (tmp_path / "requests").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        answers = await served(root)
    assert [list(answer) for answer in answers] == [["done"], ["error"]]


async def test_standard_input_that_is_closed_or_nothing_to_read_from_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = "a pipe, a socket, a terminal or a file of requests"
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError) as caught:
        await served(root)
    assert str(caught.value) == f"standard input is closed: must be {kinds}"
    with os.fdopen(os.eventfd(0)) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(InputError) as caught:
            await served(root)
    assert str(caught.value) == f"standard input must be {kinds}"


async def test_a_request_may_be_as_long_as_a_timeline_of_a_hundred_thousand_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = asyncio.StreamReader

    def reader(*, limit: int) -> asyncio.StreamReader:
        made.append(limit)
        return real(limit=limit)

    monkeypatch.setattr(session.asyncio, "StreamReader", reader)
    with os.fdopen(os.open("/dev/null", os.O_RDONLY)) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert await served(root) == []
    assert made == [64 << 20]
