"""`fakehw events --follow --pod-resources`: who takes devices and who lets them go, claims by DRA among them."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

from fakehw import cli
from fakehw.layout import TreePath
from fakehw.view import events, holding, pod_resources
from fakehw.view.holding import Passing
from tests.factories import make_tree

if TYPE_CHECKING:
    from pathlib import Path

CLAIM = "default/dp1-2/main by claim-7x"


@pytest.fixture
def kubelet(monkeypatch):
    """Answer as a kubelet does, one thing after the other; the last one for ever."""
    answers = []

    async def holders(socket):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(pod_resources, "holders", holders)
    monkeypatch.setattr(holding, "ASK_EVERY_S", 0.01)
    return answers


async def followed(root: Path, lines: int, *, as_json: bool = False) -> tuple[list[str], list[str]]:
    """Return the first lines that are said, and the remarks up to then."""
    said, remarks, enough = [], [], asyncio.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == lines:
            enough.set()

    telling = asyncio.create_task(
        events.tell(root, follow=True, as_json=as_json, sockets=[root / "s"], say=say, remark=remarks.append)
    )
    try:
        await asyncio.wait_for(enough.wait(), 10)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    return said, remarks


async def test_a_device_that_is_taken_and_let_go_is_said_with_its_pod_and_claim(tmp_path, kubelet):
    make_tree(tmp_path, "node2/dev3/1", "node2/dev3/2")
    kubelet += [{"node2-dev3-1": "a/b/c"}, {"node2-dev3-1": "a/b/c", "node2-dev3-2": CLAIM}, {}]

    said, remarks = await followed(tmp_path, 3)

    assert [line.split("  ", 1)[1] for line in said] == [
        f"/node2/dev3/2  held by {CLAIM}",
        "/node2/dev3/1  free, was held by a/b/c",
        f"/node2/dev3/2  free, was held by {CLAIM}",
    ], "who held what before anybody looked is not news"
    assert remarks == []


async def test_programs_read_the_same_as_json(tmp_path, kubelet):
    make_tree(tmp_path, "node2/dev3/1", hosts={"node2": "worker"})
    kubelet += [{}, {"node2-dev3-1": CLAIM}]

    (line,), _ = await followed(tmp_path, 1, as_json=True)

    found = json.loads(line)
    assert found.pop("timestamp")
    assert found == {
        "path": "/node2/dev3/1",
        "id": "node2-dev3-1",
        "resource": "myplugin.io/mydevice-3",
        "host": "worker",
        "was_held_by": "",
        "held_by": CLAIM,
    }


async def test_a_kubelet_that_does_not_answer_is_said_once_and_forgets_nothing(tmp_path, kubelet):
    make_tree(tmp_path, "node2/dev3/1")
    away = pod_resources.UnknownError("nobody listens")
    kubelet += [{"node2-dev3-1": "a/b/c"}, away, away, away, {"node2-dev3-1": "a/b/c"}, away, {}]

    said, remarks = await followed(tmp_path, 1)

    assert [line.split("  ", 1)[1] for line in said] == ["/node2/dev3/1  free, was held by a/b/c"]
    assert remarks == ["nobody says who holds what: nobody listens"] * 2


async def test_a_bug_in_asking_is_not_lost(tmp_path, kubelet):
    make_tree(tmp_path, "node2/dev3/1")
    kubelet += [ZeroDivisionError("bug")]
    telling = asyncio.create_task(
        events.tell(
            tmp_path, follow=True, as_json=False, sockets=[tmp_path / "s"], say=lambda _: None, remark=lambda _: None
        )
    )
    deadline = time.monotonic() + 10
    while not telling.done() and time.monotonic() < deadline:
        (tmp_path / "node2/dev3/1/health").write_text(f"unhealthy {time.monotonic()}\n")
        await asyncio.wait([telling], timeout=0.02)

    with pytest.raises(ZeroDivisionError, match="bug"):
        await telling


def test_devices_that_pass_are_told_in_the_order_of_people_and_only_those_of_the_tree():
    paths = [TreePath("node2", "dev3", number) for number in (10, 9)]
    after = {"node2-dev3-9": "x", "node2-dev3-10": "y", "node9-dev1-1": "z"}

    assert holding.passed(paths, {}, after, at=7.0) == [
        Passing(7.0, paths[1], "", "x"),
        Passing(7.0, paths[0], "", "y"),
    ]
    assert holding.passed(paths, after, after, at=7.0) == []


def test_a_socket_without_follow_is_refused_with_what_to_do(tmp_path, capsys):
    make_tree(tmp_path, "node2/dev3/1")

    assert cli.main(["events", "--root", str(tmp_path), "--pod-resources", "/s"]) == 2

    assert capsys.readouterr().err == (
        "fakehw: --pod-resources: needs --follow; who holds what now is said by `fakehw list --pod-resources`\n"
    )
