"""Receipts as people and programs read them, to the letter, and the line that says how far a long scenario is."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from fakehw.layout import TreePath
from fakehw.scenario import shown
from fakehw.scenario.receipts import Hop, Receipt
from fakehw.scenario.timeline import Act, Change

PATHS = tuple(TreePath("n", "dev1", number) for number in (1, 2))
AT = 1_764_151_200.25
BROKEN = Change(1.5, "break", Act.SET, PATHS, "unhealthy hot")


def receipt(seen: Hop | None = None, landed: Hop | None = None, in_slice: Hop | None = None, **fields: Any) -> Receipt:
    return Receipt(
        fields.pop("number", 3), fields.pop("change", BROKEN), fields.pop("at", AT), fields.pop("problem", ""),
        seen or Hop(), landed or Hop(), in_slice or Hop(),
    )  # fmt: skip


HEAD = "2025-11-26T10:00:00.250Z  break       set    n/dev1/1, n/dev1/2: unhealthy hot"


@pytest.mark.parametrize(
    ("given", "rest"),
    [
        (receipt(), ""),
        (receipt(problem="/n/dev1/1: No space left"), "  | not written: /n/dev1/1: No space left"),
        (receipt(Hop(2, 2, last_at=AT + 0.0126)), "  | seen 2 +12.6 ms"),
        (receipt(Hop(1, 1, last_at=AT + 1)), "  | seen +1000.0 ms"),
        (receipt(Hop(1, 1, last_at=AT - 0.0004)), "  | seen +0.0 ms"),
        (receipt(Hop(4, 1, 2, 1, AT + 0.5)), "  | seen 1 +500.0 ms, 2 passed over, 1 missing"),
        (receipt(Hop(2, 0, 1, 1)), "  | seen 1 passed over, 1 missing"),
        (receipt(Hop(1, 0, 1)), "  | seen passed over"),
        (receipt(Hop(1, 0, 0, 1)), "  | seen missing"),
        (receipt(Hop(1, 1, last_at=AT), Hop(1, 1, last_at=AT + 0.03), Hop(2, 2, last_at=AT + 0.04)), "  | seen +0.0 ms  | landed +30.0 ms  | slice written 2 +40.0 ms"),
    ],
)  # fmt: skip  # one row a receipt
def test_a_receipt_is_one_line_for_people(given: Receipt, rest: str) -> None:
    assert shown.text_line(given) == HEAD + rest


def test_a_receipt_has_every_field_for_programs() -> None:
    change = Change(1.123456789, "set", Act.RESET, PATHS[:1], "", "fan")
    given = receipt(Hop(3, 1, 1, 1, AT + 1), Hop(2, 2, last_at=AT + 2), Hop(1, 0, 1), change=change, problem="full")
    assert json.loads(shown.json_line(given)) == {
        "number": 3, "at_s": 1.123457, "step": "set", "act": "reset", "devices": ["/n/dev1/1"], "name": "fan", "text": "",
        "written_at": AT, "problem": "full",
        "seen": {"expected": 3, "arrived": 1, "passed_over": 1, "missing": 1, "last_at": AT + 1},
        "landed": {"expected": 2, "arrived": 2, "passed_over": 0, "missing": 0, "last_at": AT + 2},
        "in_slice": {"expected": 1, "arrived": 0, "passed_over": 1, "missing": 0, "last_at": None},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ([], ["0 of 0 changes written"]),
        ([receipt()], ["1 of 1 changes written"]),
        ([receipt(problem="full"), receipt(), receipt()], ["2 of 3 changes written"]),
        ([receipt(Hop(2, 0, 1, 1))], ["1 of 1 changes written", "0 of 2 device changes seen by the plugin, 1 passed over, 1 missing"]),
        (
            [receipt(Hop(2, 2, last_at=AT + 0.01)), receipt(Hop(3, 1, 2, last_at=AT + 0.04)), receipt(Hop(1, 1, last_at=AT + 0.02)), receipt(Hop())],
            ["4 of 4 changes written", "4 of 6 device changes seen by the plugin, in 20.0 ms (median), 40.0 ms at most, 2 passed over"],
        ),
        (
            [receipt(None, Hop(1, 1, last_at=AT + 0.1)), receipt(None, Hop(1, 1, last_at=AT + 0.2), Hop(4, 3, 0, 1, AT + 3))],
            [
                "2 of 2 changes written",
                "2 of 2 device changes landed in allocatable, in 200.0 ms (median), 200.0 ms at most",
                "3 of 4 device changes written into a slice, in 3000.0 ms (median), 3000.0 ms at most, 1 missing",
            ],
        ),
    ],
)  # fmt: skip  # one row a run
def test_a_summary_has_a_line_for_each_place_where_something_had_to_arrive(
    given: list[Receipt], lines: list[str]
) -> None:
    assert shown.summary(given).splitlines() == lines


def test_totals_are_of_one_place() -> None:
    given = [receipt(Hop(2, 1), Hop(5, 4)), receipt(Hop(3, 3), Hop(1, 0))]
    assert [shown.totals(given, hop) for hop in shown.HOPS] == [(5, 4), (6, 4), (0, 0)]


class Stream(io.StringIO):
    """What a process writes its errors to; remembers each line, once it is flushed."""

    def __init__(self, *, is_terminal: bool, is_broken: bool = False) -> None:
        super().__init__()
        self._is_terminal = is_terminal
        self.is_broken = is_broken
        self.flushed: list[str] = []

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        if self.is_broken:
            raise OSError(5, "Input/output error")
        return super().write(text)

    def flush(self) -> None:
        self.flushed.append(self.getvalue())
        self.seek(0)
        self.truncate()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(shown.time, "monotonic", lambda: now[0])
    return now


def test_on_a_terminal_progress_overwrites_itself_and_is_cleared_before_anything_else_is_said(now: list[float]) -> None:
    stream, said = Stream(is_terminal=True), []
    progress = shown.Progress(stream, 7, 3600.0, 2.0)
    assert progress.at_s == 0.0
    progress.clear()
    assert stream.flushed == [], "there is nothing to clear"

    progress.show(900.0, 3)
    assert progress.at_s == 900.0
    assert stream.flushed == ["\r\x1b[K15.0m of 1.0h (25 %), 3 of 7 changes, 22.5m left"], "at twice the speed"
    progress.around(lambda: said.append(list(stream.flushed[1:])))
    progress.clear()
    assert said == [["\r\x1b[K"]], "first cleared, then said"
    assert stream.flushed[1:] == ["\r\x1b[K"], "once"

    progress.show(4000.0, 7)
    assert stream.flushed[-1] == "\r\x1b[K1.1h of 1.0h (111 %), 7 of 7 changes, 0.0s left"


def test_elsewhere_there_is_a_line_every_ten_seconds_and_the_moment_is_known_all_the_same(now: list[float]) -> None:
    stream = Stream(is_terminal=False)
    progress = shown.Progress(stream, 7, 200.0, 1.0)
    for at_s in (0.0, 9.9, 10.0, 12.0, 19.9, 20.0):
        now[0] = 1000.0 + at_s
        progress.show(at_s, 1)
        progress.clear()
        assert progress.at_s == at_s
    assert stream.flushed == [
        "fakehw: 10.0s of 3.3m (5 %), 1 of 7 changes, 3.2m left\n",
        "fakehw: 20.0s of 3.3m (10 %), 1 of 7 changes, 3.0m left\n",
    ]


@pytest.mark.parametrize(
    ("lasts_s", "speed", "is_shown"), [(20.0, 1.0, True), (19.9, 1.0, False), (200.0, 10.0, True), (200.0, 10.1, False), (10.0, 0.5, True)]
)  # fmt: skip
def test_what_takes_less_than_twenty_seconds_has_no_progress(lasts_s: float, speed: float, is_shown: bool) -> None:
    stream = Stream(is_terminal=True)
    progress = shown.Progress(stream, 1, lasts_s, speed)
    progress.show(1.0, 0)
    assert bool(stream.flushed) is is_shown
    assert progress.at_s == 1.0


def test_a_terminal_that_went_and_a_stream_that_never_was_stop_nothing() -> None:
    stream, said = Stream(is_terminal=True, is_broken=True), []
    progress = shown.Progress(stream, 1, 100.0, 1.0)
    progress.show(1.0, 0)
    stream.is_broken = False
    progress.show(2.0, 0)
    progress.around(lambda: said.append("x"))
    assert (stream.flushed, said) == ([], ["x"]), "it is not written to again"

    nowhere = shown.Progress(None, 1, 100.0, 1.0)
    nowhere.show(3.0, 0)
    nowhere.clear()
    assert nowhere.at_s == 3.0
