"""Fault logs to the letter: what a file may look like, each mistake in its whole line, and what `lines` writes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fakehw.errors import InputError, SpecError
from fakehw.layout import TreePath
from fakehw.scenario import fault_log
from fakehw.scenario.fault_log import FaultLog, Row
from fakehw.scenario.timeline import Act, Change

HEAD = "at,node,device,event,reason\n"
GPUS = [TreePath(node, name, number) for node in ("n1", "n2") for name in ("gpu", "gpx") for number in (1, 2, 11)]


def read(text: str | bytes) -> FaultLog:
    return fault_log.read(io.BytesIO(text.encode() if isinstance(text, str) else text), source="f.csv")


def refused(text: str | bytes) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text)
    return list(caught.value.lines)


@pytest.mark.parametrize(
    ("raw", "is_log"),
    [
        (b"at,node\n", True),
        (b"\n  \n# a remark, with at, node\n Event , REASON\r\n", True),
        (b"at,at\n", False),
        (b"at\n", False),
        (b"steps:\n  - break: {at, node}\n", False),
        (b"# at,node\n", False),
        (b"", False),
        (b"x,y,z\nat,node\n", False),
    ],
)
def test_a_file_is_a_log_by_its_first_line(raw: bytes, is_log: bool) -> None:
    assert fault_log.is_one(raw) is is_log


def test_a_log_is_read_whole() -> None:
    text = (
        "\ufeff# made by hand\n"
        " AT , Event,node,Reason,device\r\n"
        "1.5h, Break , n1,  fan\tslow  ,gpu/1\n"
        "\n"
        "  \n"
        "90s,mend,n1,,\n"
        '90s,unplug,n2,"a, b",gp?/[12]\n'
        "0,PLUG,n2,,*/*\n"
    )
    log = read(text)
    assert log == FaultLog(
        "f.csv",
        [
            Row(0.0, "n2", "*/*", "plug", "", 8),
            Row(90.0, "n1", "", "mend", "", 6),
            Row(90.0, "n2", "gp?/[12]", "unplug", "a, b", 7),
            Row(5400.0, "n1", "gpu/1", "break", "fan slow", 3),
        ],
    )
    assert (log.name, log.lasts_s) == ("f.csv", 5400.0)
    of = {name: tuple(path for path in GPUS if path.node == name) for name in ("n1", "n2")}
    assert log.timeline(GPUS) == (
        Change(0.0, "plug", Act.PLUG, of["n2"]),
        Change(90.0, "mend", Act.SET, of["n1"], "healthy"),
        Change(90.0, "unplug", Act.UNPLUG, tuple(path for path in of["n2"] if path.number != 11)),
        Change(5400.0, "break", Act.SET, (TreePath("n1", "gpu", 1),), "unhealthy fan slow"),
    )


def test_a_mend_may_have_a_reason_and_a_device_is_named_by_patterns_of_class_and_number() -> None:
    log = read(HEAD + "1,n1,gpu/1,mend,new fan\n2,n1,*/2,break,\n3,n1,gpu/*,plug,why\n")
    assert [(change.text, [path.id for path in change.paths]) for change in log.timeline(GPUS)] == [
        ("healthy new fan", ["n1-gpu-1"]),
        ("unhealthy", ["n1-gpu-2", "n1-gpx-2"]),
        ("", ["n1-gpu-1", "n1-gpu-2", "n1-gpu-11"]),
    ]


def test_a_log_with_a_head_alone_is_empty() -> None:
    log = read(HEAD)
    assert (list(log.rows), log.lasts_s, log.timeline(GPUS)) == ([], 0.0, ())


def test_dates_may_stand_in_any_zone_and_are_utc_where_they_say_none() -> None:
    text = HEAD + "2026-01-01T02:00:00+01:00,n1,,mend,\n2026-01-01T00:30:00,n1,,break,\n2026-01-01,n1,,plug,\n"
    assert [(row.at_s, row.event, row.line) for row in read(text).rows] == [
        (0.0, "plug", 4), (1800.0, "break", 3), (3600.0, "mend", 2),
    ]  # fmt: skip


RULE = "must name the columns at,node,device,event,reason, each once"
DURATION = "must be a duration such as 3s, 2.5h or 349d, or a number of seconds, at most 100 years"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["f.csv:1: is empty: must begin with the line at,node,device,event,reason"]),
        ("# nothing\n\n", ["f.csv:1: is empty: must begin with the line at,node,device,event,reason"]),
        ("\nat,node,x\n1,n1,\n", [f"f.csv:2: 'at,node,x': the first line {RULE}"]),
        ("at,event\n", [f"f.csv:1: 'at,event': the first line {RULE}"]),
        ("at,node,event,AT\n", [f"f.csv:1: 'at,node,event,AT': the first line {RULE}"]),
        (f"{'x' * 90}\n", [f"f.csv:1: '{'x' * 80}': the first line {RULE}"]),
        (HEAD + "1,n1,,break\n1,n1,,break,,\n", ["f.csv:2: 4 values: must be as many as there are columns, 5", "f.csv:3: 6 values: must be as many as there are columns, 5"]),
        (HEAD + "soon,n1,,break,\n", [f"f.csv:2: at: 'soon': {DURATION}, or a date and time such as 2026-11-26T12:00:00Z"]),
        (HEAD + "1,n1,,break,\n2026-01-01,n1,,mend,\n", ["f.csv:3: at: '2026-01-01': must be a duration, as in the first row"]),
        (HEAD + "2026-01-01,n1,,break,\n7,n1,,mend,\n", ["f.csv:3: at: '7': must be a date, as in the first row"]),
        (HEAD + "1,-x,,break,\n", ["f.csv:2: node: '-x': a node's name must be letters, digits, '.', '_' or '-', with a letter or digit at both ends"]),
        *((HEAD + f"1,n1,{text},break,\n", [f"f.csv:2: device: '{text}': must be CLASS/NUMBER, such as gpu/3 or gpu/*, or empty for all devices"]) for text in ("gpu", "a/b/1", "/1", "gpu/")),
        (HEAD + "1,n1,,fix,\n", ["f.csv:2: event: 'fix': must be one of break, mend, unplug, plug"]),
        (HEAD + f"1,n1,,break,{'abcd' * 50}e\n", [f"f.csv:2: reason: '{'abcd' * 10}'...: must be at most 200 characters"]),
        (HEAD + '1,n1,,break,"x\n3,n1,,break,\n', ["f.csv:2: unexpected end of data"]),
        (HEAD.encode() + b"1,n1,,break,\n2,n1,,break,\xff\n", ["f.csv:3: must be UTF-8 text"]),
    ],
)  # fmt: skip  # one row a mistake
def test_each_mistake_is_a_line_with_its_place_value_and_rule(text: str | bytes, lines: list[str]) -> None:
    assert refused(text) == lines


def test_a_reason_of_200_characters_is_not_too_long() -> None:
    assert len(read(HEAD + f"1,n1,,break,{'x' * 200}\n").rows[0].reason) == 200


@pytest.mark.parametrize(("wrong", "more"), [(20, []), (21, ["... and 1 more lines like these"]), (25, ["... and 5 more lines like these"])])  # fmt: skip
def test_twenty_mistakes_are_told_and_the_others_counted(wrong: int, more: list[str]) -> None:
    lines = refused(HEAD + "x\n" * wrong)
    rule = "1 values: must be as many as there are columns, 5"
    assert lines == [*(f"f.csv:{number}: {rule}" for number in range(2, 22)), *more]


def test_every_row_that_names_nothing_of_the_tree_is_told_with_its_line() -> None:
    log = read(HEAD + "9,n1,gpu/7,break,\n1,n3,,mend,\n2,n1,gpu/1,mend,\n3,n1,gpu/7,mend,\n")
    with pytest.raises(SpecError) as caught:
        log.timeline(GPUS)
    rule = "must be of the tree: see fakehw list"
    assert caught.value.lines == (
        f"f.csv:3: n3 (all devices): {rule}", f"f.csv:5: n1 gpu/7: {rule}", f"f.csv:2: n1 gpu/7: {rule}",
    )  # fmt: skip


def test_a_log_has_so_many_rows_and_bytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_log, "MAX_ROWS", 3)
    row = "1,n1,,break,\n"
    assert len(read(HEAD + row * 3).rows) == 3
    assert refused(HEAD + row * 9) == ["f.csv:5: must have at most 3 rows"]

    monkeypatch.setattr(fault_log, "MAX_BYTES", 2 << 20)
    filled = HEAD + "#" * ((2 << 20) - len(HEAD))
    assert read(filled).lasts_s == 0.0
    assert refused(filled + "#") == ["f.csv:1: must be at most 2 MiB long"]


def test_a_file_is_called_what_the_person_called_it(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(HEAD + "1,n1,,fix,\n")
    with pytest.raises(SpecError, match=r"^mine:2: event: 'fix'"):
        fault_log.load(tmp_path / "f.csv", name="mine")
    with pytest.raises(InputError) as caught:
        fault_log.load(tmp_path / "none.csv", name="other")
    assert not isinstance(caught.value, SpecError)
    assert str(caught.value) == (
        "'other': No such file or directory: must be a fault log, a CSV file that can be read (FILE)"
    )


def test_a_log_is_written_with_remarks_a_head_and_as_few_digits_as_its_moments_need() -> None:
    rows = [
        Row(0.0, "n1", "gpu/1", "break", 'a "b", c', 7), Row(1.5, "n1", "", "mend"), Row(100.0, "n2", "gpu/1", "plug"),
        Row(2.0004, "n1", "", "plug"), Row(3.0006, "n1", "", "plug"),
    ]  # fmt: skip
    assert list(fault_log.lines(rows, remarks=["about", "two\nlines"])) == [
        "# about",
        "# two lines",
        "at,node,device,event,reason",
        '0,n1,gpu/1,break,"a ""b"", c"',
        "1.5,n1,,mend,",
        "100,n2,gpu/1,plug,",
        "2,n1,,plug,",
        "3.001,n1,,plug,",
    ]
    assert list(fault_log.lines([])) == ["at,node,device,event,reason"]
