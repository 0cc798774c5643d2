"""What the commands print, and how: one door each for products, confirmations and remarks."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from fakehw import output, parser
from fakehw.errors import InputError
from fakehw.layout import TreePath
from fakehw.scenario import shown
from fakehw.scenario.receipts import Hop, Receipt
from fakehw.scenario.timeline import Act, Change


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ü", "plain ü"),
        ("", ""),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\udcff", "\\udcff"),
        ("\u202e", "\\u202e"),
        ("\x85\u2028", "\\x85\\u2028"),
    ],
)
def test_what_could_steer_a_terminal_is_an_escape(text: str, expected: str) -> None:
    assert output.printable(text) == expected
    assert output.printable(text).isprintable()


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")

    def fileno(self) -> int:
        return 1000  # nobody's


def test_a_product_that_cannot_be_written_is_an_error_and_a_remark_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    monkeypatch.setattr(sys, "stderr", Broken())
    output.remark("lost")
    with pytest.raises(OSError, match="No space left"):
        output.say("x")


def test_closed_streams_are_said_or_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with pytest.raises(OSError, match="standard output is closed"):
        output.say("x")
    with pytest.raises(InputError, match=r"standard input is closed \(--spec -\)"):
        output.given("--spec -")
    output.confirm("x")
    output.remark("x")
    output.end()


def given_streams(monkeypatch: pytest.MonkeyPatch) -> dict[str, io.TextIOWrapper]:
    """Have standard streams that take ASCII, and keep what they are given until it is flushed."""
    made = {name: io.TextIOWrapper(io.BytesIO(), encoding="ascii") for name in ("stdout", "stderr")}
    for name, stream in made.items():
        monkeypatch.setattr(sys, name, stream)
    return made


def written(stream: io.TextIOWrapper) -> str:
    """What has arrived, past the buffer."""
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


def test_a_product_is_written_as_it_is_and_shown_at_once_only_to_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = given_streams(monkeypatch)
    output.say("a\x1b[1m")
    assert written(streams["stdout"]) == ""
    output.say_now("b")
    assert written(streams["stdout"]) == "a\x1b[1m\nb\n"
    assert written(streams["stderr"]) == ""


def test_what_was_done_and_what_is_wrong_are_written_at_once_and_steer_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = given_streams(monkeypatch)
    monkeypatch.setattr(output, "_name", "fakehw")
    output.confirm("done\x1b[1m")
    assert written(streams["stdout"]) == "done\\x1b[1m\n"
    output.remark("bad\x07")
    output.complain("t.yaml:1: \x07")
    assert written(streams["stderr"]) == "fakehw: bad\\x07\nt.yaml:1: \\x07\n"


def test_remarks_begin_with_the_name_that_was_given_and_what_has_no_letter_is_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = given_streams(monkeypatch)
    monkeypatch.setattr(output, "_name", "fakehw")
    output.prepare("kubectl fakehw")
    output.remark("é")
    output.say_now("é")
    assert written(streams["stderr"]) == "kubectl fakehw: \\xe9\n"
    assert written(streams["stdout"]) == "\\xe9\n"


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_what_the_shell_closed_is_the_null_device_from_then_on(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        if fd == closed:
            raise OSError(9, "Bad file descriptor")
        return real(fd)

    monkeypatch.setattr(output, "_name", "fakehw")
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        patch.setattr(os, "open", lambda *arguments: calls.append(arguments))
        output.prepare("x")
    assert calls == [(os.devnull, os.O_RDWR)]


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_at_the_end_what_is_left_is_written_where_there_is_something_to_write_to(
    closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = given_streams(monkeypatch)
    monkeypatch.setattr(sys, closed, None)
    left = streams["stderr" if closed == "stdout" else "stdout"]
    left.write("left")
    output.end()
    assert written(left) == "left"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_cannot_be_written_is_dropped_and_does_not_fail_once_more(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a reader that went, or a full disk: else the interpreter would end with 120."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = open(writing, "w", encoding="ascii")  # noqa: PTH123, SIM115  # of a descriptor; closed below
    other = "stderr" if name == "stdout" else "stdout"
    beside = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, name, stream)
    monkeypatch.setattr(sys, other, beside)
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names
    beside.write("kept")
    {"stdout": output.confirm, "stderr": output.remark}[name]("lost")

    assert os.fstat(writing).st_rdev == Path(os.devnull).stat().st_rdev
    assert stat.S_ISCHR(os.fstat(writing).st_mode)
    assert written(beside) == "kept"
    stream.write("gone")
    stream.close()
    new = set(os.listdir("/proc/self/fd")) - before  # noqa: PTH208  # names
    for fd in new:
        assert not os.get_inheritable(int(fd))
        os.close(int(fd))
    assert len(new) <= 1


def test_a_person_looks_where_the_output_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, expected in ((None, False), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stdout", stream)
        assert output.is_terminal() is expected
    ours, theirs = os.openpty()
    with open(theirs, "w", encoding="ascii") as terminal:  # noqa: PTH123  # of a descriptor
        monkeypatch.setattr(sys, "stdout", terminal)
        assert output.is_terminal() is True
    os.close(ours)


def test_a_dash_is_standard_input_and_anything_else_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = io.BytesIO(b"given")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))
    for name in ("-", Path("-")):
        with output.opened(name, "--spec") as stream:
            assert stream is given
    assert not given.closed, "it is lent"
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError) as caught, output.opened("-", "--spec"):
        pytest.fail("there is none")
    assert caught.value.lines == ("-: standard input is closed (--spec -)",)
    (tmp_path / "spec").write_bytes(b"\xff\r\n")
    with output.opened(tmp_path / "spec", "--spec") as stream:
        assert stream.read() == b"\xff\r\n"
    assert stream.closed
    with pytest.raises(FileNotFoundError), output.opened(str(tmp_path / "none"), "--spec"):
        pytest.fail("there is none")


def test_a_flag_wins_over_its_variable_and_each_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("X_HOST", "from-env")

    def parse(*arguments: str) -> str:
        whole = parser.make_parser("x", description="", examples="")
        parser.add_flag(whole, "--host", env="X_HOST", type=parser.host)
        value: str = whole.parse_args(arguments).host
        return value

    assert parse() == "from-env"
    assert parser.origin(parse(), "--host") == "X_HOST"
    assert parse("--host", "from-flag") == "from-flag"
    assert parser.origin(parse("--host", "from-flag"), "--host") == "--host"
    monkeypatch.setenv("X_HOST", "Bad_")
    assert parse("--host", "good") == "good"
    with pytest.raises(InputError, match=r"'Bad_': .* \(X_HOST\)"):
        parse()
    with pytest.raises(SystemExit):
        parse("--host", "Worse_")
    assert capsys.readouterr().err.endswith("(--host)\n")
    monkeypatch.setenv("X_HOST", "")
    assert parse() is None


def test_receipts_are_summed_up() -> None:
    change = Change(0.0, "break", Act.SET, (TreePath("n", "dev1", 1),), "unhealthy")
    receipts = [
        Receipt(1, change, 10.0, "", Hop(1, 1, 0, 0, 10.002), Hop(1, 1, 0, 0, 10.030)),
        Receipt(2, change, 11.0, "", Hop(2, 1, 1, 0, 11.004), Hop(1, 0, 0, 1)),
        Receipt(3, change, 12.0, "disk full", Hop(), Hop()),
    ]
    assert shown.summary(receipts).splitlines() == [
        "2 of 3 changes written",
        "2 of 3 device changes seen by the plugin, in 4.0 ms (median), 4.0 ms at most, 1 passed over",
        "1 of 2 device changes landed in allocatable, in 30.0 ms (median), 30.0 ms at most, 1 missing",
    ]
    assert shown.totals(receipts, "seen") == (3, 2)
    assert "not written: disk full" in shown.text_line(receipts[2])
    assert shown.text_line(receipts[1]).endswith("| seen 1 +4.0 ms, 1 passed over  | landed missing")
