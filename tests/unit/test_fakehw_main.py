"""The command as a whole: which code it ends with, and in which words, whatever becomes of a command."""

from __future__ import annotations

import argparse
import errno
import gc
import io
import re
import sys
from collections.abc import Callable
from importlib import metadata

import pytest

from fakehw import cli, output, parser
from fakehw.commands import completion
from fakehw.errors import FakehwError, InputError, SpecError, TreeError

COMMANDS = [
    "build", "list", "set-health", "set", "plug", "unplug", "events", "top", "scenario", "topology", "demo",
    "hand", "completion",
]  # fmt: skip  # one list


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_name", "fakehw")


def carried_out(run: Callable[[argparse.Namespace], int | None], *words: str) -> int:
    """What the command `tool` ends with, whose work is `run`."""

    def make() -> parser.Parser:
        made = parser.make_parser("tool", description="", examples="")
        made.add_argument("words", nargs="*")
        made.set_defaults(run=run)
        return made

    return cli.carry_out("tool", make, words)


def failing(error: BaseException) -> Callable[[argparse.Namespace], int | None]:
    def run(_: argparse.Namespace) -> int | None:
        raise error

    return run


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3), (130, 130)])
def test_the_code_is_what_the_command_says(returned: int | None, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert carried_out(lambda _: returned) == code
    assert capsys.readouterr() == ("", "")


def test_a_command_is_given_its_words_and_the_whole_parser() -> None:
    seen: list[argparse.Namespace] = []
    assert carried_out(lambda arguments: seen.append(arguments), "a", "b") == 0
    arguments = seen[0]
    assert arguments.words == ["a", "b"]
    assert isinstance(arguments.parser, parser.Parser)
    assert arguments.parser.prog == "tool"


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (InputError("bad", "worse"), 2, "tool: bad\ntool: worse\n"),
        (SpecError("t.yaml:1: bad", "t.yaml:2: worse"), 2, "t.yaml:1: bad\nt.yaml:2: worse\n"),
        (TreeError("/t: in the way"), 1, "tool: /t: in the way\n"),
        (FakehwError("x"), 1, "tool: x\n"),
        (KeyboardInterrupt(), 130, "tool: interrupted\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0, ""),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "tool: No space left on device\n"),
        (OSError("odd"), 1, "tool: odd\n"),
    ],
)
def test_every_end_has_its_code_and_its_lines(
    error: BaseException, code: int, lines: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carried_out(failing(error)) == code
    assert capsys.readouterr() == ("", lines)


def test_a_bug_is_no_line_but_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        carried_out(failing(ZeroDivisionError()))


class Full(io.StringIO):
    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fileno(self) -> int:
        return 1000  # nobody's


def test_what_was_asked_for_and_cannot_be_written_at_the_end_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = []
    monkeypatch.setattr(output, "end", lambda: ended.append(True))
    monkeypatch.setattr(sys, "stdout", Full())
    assert carried_out(lambda _: 0) == 1
    assert ended == [True], "what is left is dropped"
    assert carried_out(failing(BrokenPipeError())) == 0
    assert ended == [True, True]
    monkeypatch.setattr(sys, "stdout", None)
    assert carried_out(lambda _: 0) == 0
    monkeypatch.undo()
    assert capsys.readouterr().err == "tool: No space left on device\n"


def test_all_commands_are_there_in_the_order_of_help() -> None:
    made = cli.make_parser()
    (commands,) = (action for action in made.added if isinstance(action, argparse._SubParsersAction))

    assert made.prog == "fakehw"
    assert list(commands.choices) == COMMANDS
    text = made.format_help()
    assert [line.split()[0] for line in text.splitlines() if line.startswith("    ") and line[4] != " "] == COMMANDS
    assert (
        "\nHardware that does not exist: a tree of small text files.\n"
        "Build it from a spec, look at it, break it, pull devices out.\n\n" in text
    )
    assert re.search(r"\n  --version +print the version and exit\n", text)
    assert text.endswith(
        """
examples:
  fakehw build --spec topology.yaml --root /tmp/fakehw
  export FAKEHW_ROOT=/tmp/fakehw
  fakehw list
  fakehw set-health node2/dev3/2 unhealthy --reason "over temperature"
  fakehw unplug node2/dev3/3
  fakehw plug node2/dev3/3
"""
    )
    assert cli.COMMANDS[-1] is completion


def test_the_version_may_be_asked_for_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.make_parser().parse_args(["--version"])
    assert not ended.value.code
    assert capsys.readouterr().out == f"fakehw {metadata.version('fakehw')}\n"


def test_main_runs_the_command_and_keeps_what_is_loaded_from_the_garbage_collector(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    assert cli.main(["topology", "expand", "seed", "--host", "nobody"]) == 0
    assert capsys.readouterr() == ("nodes: {}\n", "")
    assert frozen == [True]
    monkeypatch.setattr(sys, "argv", ["fakehw", "brake"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("fakehw: 'brake': must be one of build, list, ")


def test_an_error_is_its_lines() -> None:
    assert FakehwError("a", "b").lines == ("a", "b")
    assert str(FakehwError("a", "b")) == "a\nb"
    assert issubclass(SpecError, InputError)
    assert issubclass(InputError, FakehwError)
    assert issubclass(TreeError, FakehwError)
    assert not issubclass(TreeError, InputError)
