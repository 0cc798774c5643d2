"""What `fakehw events` says of a tree: what is broken and since when, and from the first line on everything that happens."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakehw.view import events
from tests.factories import make_tree
from tests.running import soon


def broken(root: Path, *paths: str) -> None:
    for number, path in enumerate(paths):
        (root / path / "health").write_text(f"unhealthy r{number}\n")
        os.utime(root / path / "health", (0, number + 0.5))


async def told(root: Path, **more: Any) -> list[str]:
    said: list[str] = []
    async with soon("the end of what is said"):
        await events.tell(root, say=said.append, **{"follow": False, "as_json": False, **more})
    return said


async def test_what_is_unhealthy_is_said_in_the_order_of_people_with_the_time_of_its_file(root: Path) -> None:
    make_tree(root, "node10/dev1/1", "node2/dev3/10")
    broken(root, "node10/dev1/1", "node2/dev3/10", "node2/dev3/2")
    (root / "node2/dev3/3/health").unlink()
    assert await told(root) == [
        "1970-01-01T00:00:02.500Z  /node2/dev3/2  unhealthy: r2",
        "1970-01-01T00:00:00.000Z  /node2/dev3/3  unhealthy: health file is missing",
        "1970-01-01T00:00:01.500Z  /node2/dev3/10  unhealthy: r1",
        "1970-01-01T00:00:00.500Z  /node10/dev1/1  unhealthy: r0",
    ]


async def test_for_programs_each_is_an_object_by_the_domain_that_was_given(root: Path) -> None:
    broken(root, "node2/dev3/2")
    for more, resource in (({}, "myplugin.io/mydevice-3"), ({"domain": "my.io"}, "my.io/mydevice-3")):
        (line,) = await told(root, as_json=True, **more)
        assert json.loads(line) == {
            "timestamp": "1970-01-01T00:00:00.500Z", "path": "/node2/dev3/2", "id": "node2-dev3-2", "resource": resource, "host": "kind-worker2",
            "was": "unhealthy", "health": "unhealthy", "reason": "r0", "numa_node": None,
        }  # fmt: skip


async def test_a_greeting_stands_in_for_what_is_broken(root: Path) -> None:
    broken(root, "node2/dev3/2")
    assert await told(root, greeting=lambda: "hello") == ["hello"]


async def followed(root: Path, act: Callable[[list[str]], None], count: int, **more: Any) -> list[str]:
    """Follow until `count` lines are said; `act` is called after each with all of them."""
    said: list[str] = []
    done = asyncio.Event()

    def say(line: str) -> None:
        said.append(line)
        act(said)
        if len(said) == count:
            done.set()

    task = asyncio.create_task(events.tell(root, follow=True, as_json=False, say=say, **more))
    try:
        async with soon(f"line {count}"):
            await done.wait()
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return said


async def test_whatever_happens_after_the_first_line_is_said_until_it_is_cancelled(root: Path) -> None:
    texts = ["unhealthy a", "healthy b", "unhealthy c"]

    def act(said: list[str]) -> None:
        if len(said) <= len(texts):
            (root / "node2/dev3/1/health").write_text(f"{texts[len(said) - 1]}\n")

    said = await followed(root, act, 4, greeting=lambda: "hello")
    assert [line.partition("Z  ")[2] or line for line in said] == [
        "hello", "/node2/dev3/1  healthy -> unhealthy: a", "/node2/dev3/1  unhealthy -> healthy: b", "/node2/dev3/1  healthy -> unhealthy: c",
    ]  # fmt: skip


async def test_a_tree_that_goes_is_remarked_on(root: Path) -> None:
    remarks: list[str] = []
    broken(root, "node2/dev2/1")

    def act(said: list[str]) -> None:
        if len(said) == 1:
            root.rename(root.parent / "elsewhere")

    said = await followed(root, act, 5, remark=remarks.append)
    assert [line.split()[1] for line in said[1:]] == [
        "/node2/dev2/1",
        "/node2/dev3/1",
        "/node2/dev3/2",
        "/node2/dev3/3",
    ]
    assert {line.split()[-1] for line in said[1:]} == {"absent"}
    assert remarks == [f"{root}: is gone: waiting for it to come back"]
