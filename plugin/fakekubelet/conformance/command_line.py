"""What the command line of the kit shares with all of them: durations, one line for what is wrong, completion."""

from __future__ import annotations

import argparse
import difflib
import math
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_S: Final = 86_400.0
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|us|µs|ns|s|m|h|d)")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_ARGUMENT_ERROR: Final = re.compile(r"argument ([^:]+): (.*)", re.DOTALL)
SHELLS: Final = ("bash", "zsh", "fish", "powershell", "tcsh")


class UsageError(Exception):
    """The command cannot do what it is asked to."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line: value, rule, option."""

    def __init__(self, *arguments: Any, **rest: Any) -> None:
        self.added: list[argparse.Action] = []
        """Every argument; argparse has no public way to look at what was added."""
        super().__init__(*arguments, **rest)

    def add_argument(self, *names: Any, **rest: Any) -> argparse.Action:
        """Add an argument, and remember it."""
        action = super().add_argument(*names, **rest)
        self.added.append(action)
        return action

    def error(self, message: str) -> NoReturn:
        """Raise it as a UsageError."""
        argument = _ARGUMENT_ERROR.fullmatch(message)
        raise UsageError(f"{argument[2]} ({argument[1]})" if argument else message)


class Version(argparse.Action):
    """Looks the version up only when it is asked for: that reads files."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and end."""
        from importlib import metadata

        sys.stdout.write(f"{parser.prog} {metadata.version('fakehw')}\n")
        parser.exit()


class Completion(argparse.Action):
    """Prints the script by which a shell completes the options."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, values: Any, __: object = None) -> None:
        """Print it and end."""
        import shtab

        assert isinstance(parser, Parser)
        for action in parser.added:
            if action.metavar in ("DIR", "FILE", "COMMAND"):
                kind = shtab.DIRECTORY if action.metavar == "DIR" else shtab.FILE
                action.complete = kind  # type: ignore[attr-defined]  # where shtab looks for it
        sys.stdout.write(f"{shtab.complete(parser, shell=values)}\n")
        parser.exit()


def duration(text: str) -> float:
    """Return a duration as Go writes it (`500ms`, `1m30s`), or a number of seconds; argparse's error with the rule."""
    seconds = math.nan
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    if not 0 < seconds < _MAX_S:
        rule = "must be a duration such as 500ms, 3s or 1m30s, or a number of seconds, above 0 and less than 24h"
        raise argparse.ArgumentTypeError(f"{text!r}: {rule}")
    return seconds


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """Return what takes one of these words; argparse's error says which there are, and which may have been meant."""
    words = list(known)

    def convert(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"{text!r}: must be one of {', '.join(words)}{did_you_mean(text, words)}")
        return text

    return convert


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question to end an error with, or nothing where no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.75)
    return f": did you mean {near[0]}?" if near else ""
