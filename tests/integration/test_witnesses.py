"""What witnesses carry to the ledger: each line of a log, each round of questions, and what is told when one ends."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakehw.errors import InputError
from fakehw.layout import slice_name
from fakehw.scenario import witnesses
from fakehw.scenario.receipts import State
from fakehw.scenario.witnesses import Kubelets, PluginLog
from fakehw.view import pod_resources
from tests.open_files import open_below
from tests.running import soon

RESOURCES = {"n-dev1-1": "a.b/one", "n-dev1-2": "a.b/one", "n-dev2-1": "a.b/two", "N.X-dev1-1": None}
AT = datetime.datetime(2026, 11, 26, 10, 0, 0, 250_000, datetime.UTC).timestamp()
STAMP = "2026-11-26T10:00:00.250000Z"


class Ledger:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.is_waiting = True
        self._looks = 0
        self._more = asyncio.Event()

    @property
    def is_waiting_to_land(self) -> bool:
        self._looks += 1
        assert self._looks < 10_000, "somebody looks again and again, and never rests"
        return self.is_waiting

    def _note(self, *what: Any) -> None:
        self.told.append(what)
        self._more.set()

    def hear_plugin(self, at: float) -> None:
        self._note("heard", at)

    def observe_plugin(self, at: float, device_id: str, state: State) -> None:
        self._note("plugin", at, device_id, state)

    def observe_slice(self, at: float, device_id: str, health: str) -> None:
        self._note("slice", at, device_id, health)

    def observe_unnamed(self, at: float, count: int, fits: Any) -> None:
        self._note("unnamed", at, count, [known for known in RESOURCES if fits(known)])

    def observe_kubelet(
        self, asked_at: float, answered_at: float, allocatable: frozenset[str], *, is_whole: bool
    ) -> None:
        assert asked_at <= answered_at
        self._note("kubelet", allocatable, is_whole)

    async def has(self, count: int) -> list[tuple[Any, ...]]:
        """Wait until so much was told."""
        async with soon(f"{count} of what is told, after {self.told},"):
            while len(self.told) < count:
                self._more.clear()
                await self._more.wait()
        return self.told


@contextlib.contextmanager
def opened(path: Path | str) -> Iterator[PluginLog]:
    log = PluginLog(str(path), resources=RESOURCES)
    log.open()
    try:
        yield log
    finally:
        log.close()


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def line(event: str, **fields: Any) -> str:
    return json.dumps({"timestamp": STAMP, "level": "info", "event": event, **fields})


LINES = [
    (line("started"), []),
    (line("device_changed", device_id="n-dev1-1", health="Unhealthy", reason="hot"), [("plugin", AT, "n-dev1-1", State("Unhealthy", "hot"))]),
    (line("device_changed", device_id="n-dev1-1", health="Unhealthy"), []),
    (line("more_devices_changed", resource="a.b/one", devices=7), [("unnamed", AT, 7, ["n-dev1-1", "n-dev1-2"])]),
    (line("more_devices_changed", resource=None, devices=1), [("unnamed", AT, 1, ["N.X-dev1-1"])]),
    (line("more_devices_changed", resource="a.b/one"), []),
    (
        line("slice_written", healthy="n-dev1-1", unhealthy=f"n-dev1-2, {slice_name('N.X-dev1-1')}", removed="n-dev9-9, "),
        [
            ("slice", AT, "n-dev1-1", "Healthy"), ("slice", AT, "n-dev1-2", "Unhealthy"), ("slice", AT, "N.X-dev1-1", "Unhealthy"),
            ("slice", AT, "n-dev9-9", "removed"),
        ],
    ),
    (line("slice_written", generation=3), []),
]  # fmt: skip  # one line a row
FOREIGN = [
    "",
    "no JSON",
    "{",
    "[1]",
    "{}",
    '{"timestamp": "soon", "event": "x"}',
    '{"timestamp": 3, "event": "x"}',
    "3",
    '"{"',
]


async def test_every_line_of_the_plugin_is_heard_and_those_of_others_are_passed_over(tmp_path: Path) -> None:
    path, ledger = tmp_path / "log", Ledger()
    path.write_text(line("device_changed", device_id="n-dev1-1", health="Unhealthy", reason="before we came") + "\n")
    with opened(path) as log:
        task = asyncio.create_task(log.run(ledger))  # type: ignore[arg-type]  # what it tells
        told = [[("heard", AT), *more] for _, more in LINES]
        with path.open("a") as stream:
            for text, _ in LINES:
                stream.write(f"{text}\n")
                stream.write("\n".join(FOREIGN) + "\n")
        assert await ledger.has(sum(map(len, told))) == [entry for entries in told for entry in entries]
        await ended(task)


async def test_a_line_counts_once_it_is_whole_and_whatever_stands_before_its_object(tmp_path: Path) -> None:
    path, ledger = tmp_path / "log", Ledger()
    path.touch()
    with opened(path) as log, path.open("a") as stream:
        task = asyncio.create_task(log.run(ledger))  # type: ignore[arg-type]  # what it tells
        text = f"[pod/plugin-x7] {line('a')}\n{line('b')}\n{line('c')}"
        stream.write(text[:30])
        stream.flush()
        stream.write(text[30:])
        stream.flush()
        assert await ledger.has(2) == [("heard", AT)] * 2
        stream.write("\n")
        stream.flush()
        assert await ledger.has(3) == [("heard", AT)] * 3
        await ended(task)


async def test_a_log_may_be_standard_input_which_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    ledger = Ledger()
    with os.fdopen(read, "rb") as stdin, os.fdopen(write, "wb", buffering=0) as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
        with opened("-") as log:
            task = asyncio.create_task(log.run(ledger))  # type: ignore[arg-type]  # what it tells
            stream.write(f"{line('a')}\n{line('b')}".encode())
            assert await ledger.has(1) == [("heard", AT)]
            stream.write(b"\n")
            stream.close()
            async with soon("the end of the log"):
                await task
            assert ledger.told == [("heard", AT)] * 2
        monkeypatch.setattr(sys, "stdin", None)


def test_a_log_that_is_not_there_and_a_standard_input_that_is_closed_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError) as caught:
        PluginLog(f"{tmp_path}/log", resources={}).open()
    assert str(caught.value) == f"{tmp_path}/log: No such file or directory: must be the plugin's log (--plugin-log)"
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError) as caught:
        PluginLog("-", resources={}).open()
    assert str(caught.value) == "-: standard input is closed (--plugin-log -)"


def test_a_log_is_let_go_of_when_it_is_closed_and_standard_input_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[int] = []
    (tmp_path / "log").touch()
    log = PluginLog(str(tmp_path / "log"), resources={})
    log.close()
    log.open()
    descriptors = {path.resolve(): int(path.name) for path in Path("/proc/self/fd").iterdir() if path.exists()}
    fd = descriptors[(tmp_path / "log").resolve()]
    assert not os.get_inheritable(fd)
    real = os.close
    monkeypatch.setattr(witnesses.os, "close", lambda fd: (closed.append(fd), real(fd)))
    log.close()
    assert closed == [fd]
    read, write = os.pipe()
    with os.fdopen(read) as stdin, os.fdopen(write):
        monkeypatch.setattr(sys, "stdin", stdin)
        standard = PluginLog("-", resources={})
        standard.open()
        standard.close()
        assert closed == [fd]


def test_a_pipe_has_no_end_to_go_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    held = os.open(tmp_path / "log", os.O_RDWR)
    with opened(tmp_path / "log"):
        os.close(held)


# Kubelets.


class Asked:
    """Kubelets that answer by turns: each what its list says, the last of it for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: list[object]) -> None:
        self.count = 0
        self._answers = answers
        monkeypatch.setattr(pod_resources, "allocatable", self._ask)
        monkeypatch.setattr(witnesses, "ASK_EVERY_S", 0.001)

    async def _ask(self, socket: Path) -> frozenset[str]:
        self.count += 1
        answers = self._answers[socket.name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, set)
        return frozenset(answer)


async def test_what_all_kubelets_have_is_one_answer_which_is_whole_if_all_gave_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = pod_resources.UnknownError("nobody there")
    Asked(monkeypatch, a=[{"x"}, {"x", "y"}, silent], b=[{"z"}, silent, silent])
    ledger = Ledger()
    task = asyncio.create_task(Kubelets([Path("a"), Path("b")]).run(ledger))  # type: ignore[arg-type]  # what it tells
    assert (await ledger.has(3))[:3] == [
        ("kubelet", {"x", "z"}, True), ("kubelet", {"x", "y"}, False), ("kubelet", set(), False),
    ]  # fmt: skip
    await ended(task)


async def test_nobody_is_asked_while_nothing_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ledger = Asked(monkeypatch, a=[{"x"}]), Ledger()
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        ledger.is_waiting = len(slept) == 3
        await real(0)

    ledger.is_waiting = False
    monkeypatch.setattr(witnesses.asyncio, "sleep", sleep)
    monkeypatch.setattr(witnesses, "ASK_EVERY_S", 0.25)
    task = asyncio.create_task(Kubelets([Path("a")]).run(ledger))  # type: ignore[arg-type]  # what it tells
    await ledger.has(1)
    async with soon("the sixth sleep"):
        while len(slept) < 6:
            await real(0)
    monkeypatch.setattr(witnesses.asyncio, "sleep", real)
    await ended(task)
    assert asked.count == 1
    assert set(slept) == {0.25}


# All of them.


async def listen(logs: list[str], sockets: list[Path], told: list[str], *, until_told: bool = False) -> bool:
    """Listen for as long as it takes until something is told; return whether there was anybody to listen to."""
    ledger: Any = Ledger()
    async with (
        soon("what is told"),
        witnesses.listening(ledger, logs, sockets, resources=RESOURCES, tell=told.append) as has_any,
    ):
        while until_told and not told:
            await asyncio.sleep(0)
        return has_any


async def test_nobody_listens_where_nobody_was_named_and_every_witness_ends_with_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    assert await listen([], [], told) is False
    Asked(monkeypatch, a=[{"x"}])
    assert await listen([], [Path("a")], told) is True
    before = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    path = tmp_path / "log"
    path.touch()
    ledger = Ledger()
    async with witnesses.listening(ledger, [str(path)], [Path("a")], resources=RESOURCES, tell=told.append) as has_any:  # type: ignore[arg-type]  # what it tells
        assert has_any is True
        names = {task.get_name() for task in asyncio.all_tasks() - before} - {asyncio.current_task().get_name()}  # type: ignore[union-attr]  # there is one
        assert names == {f"plugin log {path}", "PodResources"}
        with path.open("a") as stream:
            stream.write(f"{line('a')}\n")
        async with soon("what both witnesses say"):
            while not {("heard", AT), ("kubelet", frozenset({"x"}), True)} <= {*ledger.told}:
                await asyncio.sleep(0.001)
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == before
    assert str(path) not in open_below(path)
    assert told == [], "one that is cancelled is no news"


async def test_a_witness_that_ends_by_itself_is_told_of_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    (tmp_path / "log").touch()

    async def breaks(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(PluginLog, "run", breaks)
    assert await listen([f"{tmp_path}/log"], [], told, until_told=True)
    assert told == [f"plugin log {tmp_path}/log: is not listened to any more: a bug"]
    told.clear()

    async def ends(*_: object) -> None:
        return

    monkeypatch.setattr(PluginLog, "run", ends)
    Asked(monkeypatch, a=[RuntimeError("another")])
    assert await listen([f"{tmp_path}/log"], [Path("a")], told, until_told=True)
    assert told == ["PodResources: is not listened to any more: another"], "a log that has an end says nothing"


async def test_the_logs_that_were_opened_are_closed_where_the_next_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with pytest.raises(InputError):
        await listen([f"{tmp_path}/log", f"{tmp_path}/none"], [], [])
    assert f"{tmp_path}/log" not in open_below(tmp_path)
