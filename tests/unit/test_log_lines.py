"""What a line of the log is, to the last character, and how long one waits for whoever reads it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import select
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fakehw_plugin import log_sink, logs
from fakehw_plugin.log_sink import LogSink
from tests.timeless import timeless

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    sink = logs._sink
    yield
    logs._waiting = logs._final = None
    logs._sink = sink


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_a_level_lets_through_what_is_as_grave(level: str, told: list[str]) -> None:
    out = io.StringIO()
    logs.configure(level=level, format_="json", stream=out)
    log = logs.get_logger(resource="r")
    for name in logs.LEVELS:
        getattr(log, name)(f"a_{name}", number=1)
    found = lines(out)
    assert [line["level"] for line in found] == told
    for line in found:
        assert line.pop("timestamp").endswith("Z")
        name = line["level"]
        assert line == {"event": f"a_{name}", "level": name, "resource": "r", "number": 1}


def test_what_json_does_not_know_is_text() -> None:
    out = io.StringIO()
    logs.configure(format_="json", stream=out)
    logs.get_logger().info("x", path={"a": os.path.normpath}, error=ValueError("v"))
    assert lines(out)[0]["error"] == "v"


@pytest.mark.parametrize(
    ("format_", "is_tty", "is_console"),
    [("auto", True, True), ("auto", False, False), ("console", False, True), ("json", True, False)],
)
def test_a_person_reads_words_and_a_program_json(
    monkeypatch: pytest.MonkeyPatch, format_: str, is_tty: bool, is_console: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: is_tty)
    logs.configure(format_=format_, stream=out)
    logs.get_logger().info("x", a="b\n\x1b", number=17)
    text = out.getvalue()
    assert (not text.startswith("{")) is is_console
    assert "17" in text
    if is_console:
        assert "a='b\\\\n\\\\x1b'" in text or "a=b\\n\\x1b" in text


def test_lines_that_wait_are_written_with_their_own_times_and_level(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(logs.time, "time", lambda: 0.5)
    logs.defer(level="warning", format_="json")
    log = logs.get_logger(resource="r")
    log.info("a")
    log.warning("b", key=1)
    log.error("c")
    assert out.getvalue() == ""
    logs.load()
    log.warning("d")
    found = lines(out)
    assert found[:2] == [
        {"event": "b", "level": "warning", "resource": "r", "key": 1, "timestamp": "1970-01-01T00:00:00.500000Z"},
        {"event": "c", "level": "error", "resource": "r", "timestamp": "1970-01-01T00:00:00.500000Z"},
    ]
    assert found[2]["event"] == "d"
    assert found[2]["timestamp"] > "2020"


def test_nothing_is_preloaded_where_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_is_console", lambda *_: pytest.fail("asked for nothing"))
    logs.preload()
    logs.load()


@pytest.mark.parametrize(("format_", "hides"), [("json", True), ("console", False)])
def test_rich_is_hidden_while_structlog_loads_for_programs(
    monkeypatch: pytest.MonkeyPatch, format_: str, hides: bool
) -> None:
    hidden: list[bool] = []
    real = logs._without_rich

    def noted() -> Any:
        hidden.append(True)
        return real()

    monkeypatch.setattr(logs, "_without_rich", noted)
    logs.defer(level="info", format_=format_)
    logs.preload()
    assert bool(hidden) is hides


def test_what_stood_for_rich_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rich", raising=False)
    with logs._without_rich():
        assert sys.modules["rich"] is None
    assert "rich" not in sys.modules
    monkeypatch.setitem(sys.modules, "rich", json)
    with logs._without_rich():
        assert sys.modules["rich"] is json


def test_standard_error_is_a_sink_that_counts_unless_a_program_put_its_own_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logs._sink = None
    assert logs.lines_lost() == 0
    own = io.StringIO()
    monkeypatch.setattr(sys, "stderr", own)
    assert logs._standard_error() is own
    monkeypatch.setattr(sys, "stderr", None)
    sink = logs._standard_error()
    assert isinstance(sink, LogSink)
    assert logs._standard_error() is sink
    sink.write("x\n")
    assert logs.lines_lost() == 1


# The sink.


class Poll:
    """Whoever reads: takes what it is told to take, after it was waited for."""

    def __init__(self) -> None:
        self.ready: list[bool] = []
        self.waited: list[float] = []

    def register(self, fd: int, events: int) -> None:
        self.registered = fd, events

    def poll(self, timeout_ms: float) -> list[int]:
        self.waited.append(timeout_ms)
        return [1] if self.ready.pop(0) else []


@pytest.fixture
def poll(monkeypatch: pytest.MonkeyPatch) -> Poll:
    made = Poll()
    monkeypatch.setattr(select, "poll", lambda: made)
    return made


@timeless
async def test_a_line_waits_a_moment_and_then_none_waits_for_a_second(
    poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:

    written: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda fd, data: (written.append(bytes(data)), len(data))[1])
    sink = LogSink(7)
    assert poll.registered == (7, select.POLLOUT)
    poll.ready = [True]
    sink.write("a\n")
    assert (written, poll.waited) == ([b"a\n"], [0])
    poll.ready = [False, True]
    sink.write("b\n")
    assert poll.waited[1:] == [0, 20.0]
    poll.ready = [False, False]
    sink.write("c\n")
    assert sink.lost == 1
    poll.waited.clear()
    poll.ready = [False]
    sink.write("d\n")
    assert (poll.waited, sink.lost) == ([0], 2), "not even a moment"
    await asyncio.sleep(0.999)
    poll.ready = [False]
    sink.write("e\n")
    assert sink.lost == 3
    await asyncio.sleep(0.001)
    poll.ready = [False, True]
    sink.write("f\n")
    assert written == [b"a\n", b"b\n", b"f\n"]


def test_a_long_line_goes_in_pieces_and_one_that_was_cut_is_ended_before_the_next(
    poll: Poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda fd, data: (written.append(bytes(data)), len(data))[1])
    monkeypatch.setattr(log_sink, "_PIECE", 4)
    sink = LogSink(7)
    poll.ready = [True, True, True]
    sink.write("0123456789\n")
    assert (written, sink.lost) == ([b"0123", b"4567", b"89\n"], 0)
    written.clear()
    poll.ready = [True, False, False]
    sink.write("0123456789\n")
    assert (written, sink.lost) == ([b"0123"], 1)
    poll.ready = [False]
    sink.write("lost\n")
    assert sink.lost == 2
    written.clear()
    poll.ready = [True]
    sink.write("ab\n")
    assert written == [b"\nab\n"]
    poll.ready = [True]
    sink.write("cd\n")
    assert written[1] == b"cd\n"


def test_whether_a_person_reads_is_asked_of_the_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 1)
    assert LogSink(1).isatty()
    assert not LogSink(2).isatty()
    assert not LogSink(None).isatty()
    LogSink(None).flush()


def test_a_line_of_an_earlier_moment_has_that_time_also_where_it_waited_for_structlog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    logs.defer(level="info", format_="json")
    logs.get_logger().info("waited", timestamp=1790000000.25)
    logs.load()
    logs.get_logger().info("written", timestamp=1790000000.25)
    assert [line["timestamp"] for line in lines(out)] == ["2026-09-21T14:13:20.250000Z"] * 2
