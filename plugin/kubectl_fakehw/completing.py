"""`kubectl_complete-fakehw`: what kubectl runs where somebody presses TAB after `kubectl fakehw`, in any shell.

It is given the words so far, the last of them unfinished, and answers with a line for each that may stand there, then a
colon and what else the shell may do (Kubernetes cli-runtime, completion of plugins since 1.26).
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from kubectl_fakehw import cli
from kubectl_fakehw.commands import listing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

_WAIT_S: Final = 2.0
"""Somebody waits with a finger on the key."""
_FILES, _NO_FILES = 0, 4
"""ShellCompDirectiveDefault and ShellCompDirectiveNoFileComp of cobra."""
_FILE_NAMES: Final = ("FILE", "DIR")
_DEVICES: Final = ("PATH", "WORD")


def main(argv: Sequence[str] | None = None) -> int:
    """Print what may stand in the place of the last word."""
    output.prepare(cli.NAME)
    *before, word = (list(sys.argv[1:] if argv is None else argv)) or [""]
    words, directive = _offered(before, word)
    for found in words:
        if found.startswith(word):
            output.say(found)
    output.say(f":{directive}")
    return 0


def _offered(before: Sequence[str], word: str) -> tuple[Iterable[str], int]:
    command, waiting, places = _place(before)
    if waiting is not None:
        return _of(command, waiting)
    if word.startswith("-"):
        return [name for action in command.added for name in action.option_strings if name.startswith("--")], _NO_FILES
    positional = [action for action in command.added if not action.option_strings]
    if not positional:
        return [], _NO_FILES
    return _of(command, positional[min(places, len(positional) - 1)])


def _place(before: Sequence[str]) -> tuple[parser.Parser, argparse.Action | None, int]:
    """Return the command that is being typed, the option whose value is next, and how many arguments there are."""
    command, waiting, places = cli.make_parser(), None, 0
    for word in before:
        options = {name: action for action in command.added for name in action.option_strings}
        below = next((action.choices for action in command.added if isinstance(action.choices, dict)), {})
        if waiting is not None:
            waiting = None
        elif word in options:
            waiting = None if parser.is_flag(options[word]) else options[word]
        elif word in below and not places:
            command = below[word]
        elif not word.startswith("-"):
            places += 1
    return command, waiting, places


def _of(command: parser.Parser, action: argparse.Action) -> tuple[Iterable[str], int]:
    """Return the words that an argument may be, and whether it may be a file."""
    if offer := command.offers.get(action):
        return offer.words(), _FILES if offer.has_files else _NO_FILES
    if action.choices is not None:
        return map(str, action.choices), _NO_FILES
    if action.metavar in _DEVICES:
        return _devices(), _NO_FILES
    return [], _FILES if action.metavar in _FILE_NAMES else _NO_FILES


def _devices() -> list[str]:
    """Return the devices of the cluster; none where it does not answer, for there is nobody to tell."""
    arguments = cli.make_parser().parse_args(["list", "--timeout", f"{_WAIT_S:g}"])
    try:
        return asyncio.run(asyncio.wait_for(listing.device_names(arguments), _WAIT_S * 2))
    except Exception:  # whatever it is, it must not run into the line that is being typed
        return []
