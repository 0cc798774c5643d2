"""The command `fakehw-fleet`: its list of commands. Exit codes and errors are those of `fakehw`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import parser
from fakehw.cli import carry_out
from fakehw.commands import completion
from fakehw_fleet.commands import demo, down, export, orders, play, up

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = (up, down, orders, play, export, demo, completion)
"""In the order in which help lists them."""

_DESCRIPTION: Final = """\
A fleet of fake nodes: a fake kubelet and the real plugin for every node of a topology,
with a scheduler of its own, or as nodes of a real cluster."""
_EXAMPLES: Final = """\
  fakehw-fleet up gpu-server                            # four servers with 8 GPUs each, no cluster needed
  fakehw-fleet up gpu-server --nodes 100 --plain
  fakehw-fleet up gpu-server --nodes 1000 --kubeconfig ~/.kube/config"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return carry_out("fakehw-fleet", make_parser, argv)


def make_parser() -> parser.Parser:
    """Return the parser of the whole command."""
    whole = parser.make_parser("fakehw-fleet", description=_DESCRIPTION, examples=_EXAMPLES)
    whole.add_argument("--version", action=parser.Version, nargs=0, help="print the version and exit")
    commands = parser.add_commands(whole)
    for command in COMMANDS:
        command.add(commands)
    return whole
