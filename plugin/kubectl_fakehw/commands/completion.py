"""`kubectl fakehw completion`: the completion script of a shell, for the name kubectl-fakehw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.commands import completion

if TYPE_CHECKING:
    import argparse

_NAME: Final = "kubectl-fakehw"
"""By which a shell knows it."""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    added = parser.add_command(
        commands, "completion", f"print the completion script of a shell, for the name {_NAME}", run=run,
        examples="  source <(kubectl fakehw completion bash)",
    )  # fmt: skip  # the description stays on one line
    completion.add_shell(added)


def run(arguments: argparse.Namespace) -> None:
    """Print it."""
    whole = arguments.parser
    whole.prog = _NAME
    output.say(completion.script(whole, arguments.shell))
