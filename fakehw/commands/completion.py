"""`fakehw completion`: the completion script of a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import output, parser

if TYPE_CHECKING:
    import argparse

_SHELLS: Final = ("bash", "zsh", "tcsh")
_EXAMPLES: Final = """\
  source <(fakehw completion bash)
  fakehw completion zsh > ~/.zfunc/_fakehw"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands, "completion", "print the completion script of a shell", run=run, examples=_EXAMPLES
    )
    command.add_argument("shell", choices=_SHELLS, help="the shell that is to complete")


def run(arguments: argparse.Namespace) -> None:
    """Print the script, made from the parser of all commands."""
    import shtab  # a sixth of every other command's start

    output.say(shtab.complete(arguments.parser, shell=arguments.shell))
