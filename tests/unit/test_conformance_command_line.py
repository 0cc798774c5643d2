"""The command line of the kit: durations, words, what is wrong in one line."""

from __future__ import annotations

import argparse
from importlib import metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet.conformance import command_line
from fakekubelet.conformance.command_line import Parser, UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1.0), ("0.5", 0.5), (".5", 0.5), ("1s", 1.0), ("500ms", 0.5), ("1m30s", 90.0), ("1h", 3600.0), ("0.5d", 43200.0), ("2us", 2e-6), ("2µs", 2e-6), ("3ns", 3e-9),
        ("1.5h30m1s1ms", 7201.001), ("1.s", 1.0), (".5m", 30.0), ("86399.9", 86399.9), ("23h59m59s", 86399.0), ("1s1s", 2.0), ("0.000001", 1e-6),
    ],
)  # fmt: skip  # a table
def test_a_duration_is_what_go_writes_or_a_number_of_seconds(text, seconds):
    assert command_line.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-1", "-1s", "86400", "24h", "1d", "soon", "1 s", "s", "1s ", "1.", "1x", "1m30", "nan", "inf", "1e3", ".", ".s", "1s1"]
)  # fmt: skip  # a table
def test_what_is_no_duration_is_refused_with_the_rule(text):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        command_line.duration(text)

    assert str(caught.value) == (
        f"{text!r}: must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, above 0 and less than 24h"
    )


@given(st.integers(0, 22), st.integers(0, 59), st.integers(1, 59), st.integers(0, 999))
def test_parts_of_a_duration_add_up(hours, minutes, seconds, milliseconds):
    total = 3600 * hours + 60 * minutes + seconds + milliseconds / 1000

    assert command_line.duration(f"{hours}h{minutes}m{seconds}s{milliseconds}ms") == pytest.approx(total)


def test_one_of_some_words_is_taken_and_another_is_refused_with_the_nearest():
    convert = command_line.one_of(iter(["device-plugin", "dra"]))

    assert [convert("dra"), convert("device-plugin")] == ["dra", "device-plugin"]
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        convert("device_plugin")
    assert str(caught.value) == ("'device_plugin': must be one of device-plugin, dra: did you mean device-plugin?")
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        convert("x")
    assert str(caught.value) == "'x': must be one of device-plugin, dra"


def test_a_word_is_suggested_only_where_it_is_near():
    assert command_line.did_you_mean("--brif", ["--break", "--brief"]) == ": did you mean --brief?"
    assert command_line.did_you_mean("--flag", ["--plug"]) == ""
    assert command_line.did_you_mean("--flag", []) == ""
    assert command_line.did_you_mean("abcd", ["abce"]) == ": did you mean abce?"  # three of four letters
    assert command_line.did_you_mean("abcd", ["abef"]) == ""


def test_what_argparse_says_is_said_as_value_rule_and_option():
    parser = Parser(prog="kit")
    parser.add_argument("--quiet", "-q", type=command_line.duration)
    parser.add_argument("--needed", required=True)

    with pytest.raises(UsageError) as caught:
        parser.parse_args(["--needed", "x", "--quiet", "0"])
    assert str(caught.value) == (
        "'0': must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, above 0 and less than 24h (--quiet/-q)"
    )
    with pytest.raises(UsageError) as caught:
        parser.parse_args([])
    assert str(caught.value) == "the following arguments are required: --needed"
    with pytest.raises(UsageError) as caught:
        parser.error("argument --x: one\ntwo")
    assert str(caught.value) == "one\ntwo (--x)"


def test_a_parser_remembers_what_was_added():
    parser = Parser(prog="kit")
    first = parser.add_argument("--first")
    second = parser.add_argument("second", metavar="DIR")

    assert [action.dest for action in parser.added] == ["help", "first", "second"]
    assert parser.added[1:] == [first, second]


def test_the_version_is_printed_and_that_is_all(capsys):
    parser = Parser(prog="kit")
    parser.add_argument("--version", action=command_line.Version, nargs=0)

    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--version", "--no-such-option"])

    assert ended.value.code == 0
    assert capsys.readouterr() == (f"kit {metadata.version('fakehw')}\n", "")


@pytest.mark.parametrize("shell", command_line.SHELLS)
def test_a_shell_completes_directories_where_directories_are_wanted(shell, capsys, monkeypatch):
    shtab = pytest.importorskip("shtab")
    parser = Parser(prog="kit")
    wanted = {
        name: parser.add_argument(f"--{name}", metavar=metavar)
        for name, metavar in (("dir", "DIR"), ("file", "FILE"), ("word", "NAME"))
    }
    wanted["command"] = parser.add_argument("command", metavar="COMMAND")
    parser.add_argument("--completion", action=command_line.Completion, type=command_line.one_of(command_line.SHELLS))
    asked = []
    monkeypatch.setattr(shtab, "complete", lambda *words, **named: asked.append((words, named)) or "the script")

    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--completion", shell])

    assert (ended.value.code, capsys.readouterr().out) == (0, "the script\n")
    assert asked == [((parser,), {"shell": shell})]
    kinds = {name: getattr(action, "complete", None) for name, action in wanted.items()}
    assert kinds == {"dir": shtab.DIRECTORY, "file": shtab.FILE, "word": None, "command": shtab.FILE}
