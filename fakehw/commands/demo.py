"""`fakehw demo`: the whole story on this machine. Another package tells it, in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Final

from fakehw import parser
from fakehw.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_TELLER: Final = "fakehw_fleet"


def add(commands: parser.Commands) -> None:
    """Add the command."""
    describe(commands, run, examples="  fakehw demo\n  fakehw demo --play            # stay, to break things by hand")


def describe(commands: parser.Commands, run: Callable[[argparse.Namespace], int | None], *, examples: str) -> None:
    """Add the command, which two packages have, to be carried out by `run`."""
    command = parser.add_command(
        commands,
        "demo",
        "tell the whole story on this machine: a tree, two nodes, pods, a broken device",
        run=run,
        examples=examples,
    )
    command.add_argument("--play", action="store_true", help="stay up afterwards, with a live table, until Ctrl-C")


def run(arguments: argparse.Namespace) -> None:
    """Become the demo."""
    if importlib.util.find_spec(_TELLER) is None:
        raise InputError("demo: fakehw was installed without its fleet")
    words = [sys.executable, "-m", _TELLER, "demo", *(["--play"] if arguments.play else [])]
    os.execv(sys.executable, words)  # noqa: S606  # our own interpreter and module
