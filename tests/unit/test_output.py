"""What the commands print, and how: one door each for products, confirmations and remarks."""

from __future__ import annotations

import io
import sys

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
