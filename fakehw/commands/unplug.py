"""`fakehw unplug`: pull devices, classes or nodes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.tree.writer import FakeTree

if TYPE_CHECKING:
    import argparse

_EXAMPLES: Final = """\
  fakehw unplug node2/dev3/2
  fakehw unplug node2/dev3/2 node2/dev3/3
  fakehw unplug node2/dev3                              # the whole class; node2: the whole node"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "unplug",
        "pull devices, classes or nodes out, until they are plugged in or built again",
        run=run,
        examples=_EXAMPLES,
    )
    parser.add_paths(command)
    parser.add_root(command)


def run(arguments: argparse.Namespace) -> None:
    """Pull out, and name what went."""
    FakeTree(arguments.root, tell=output.remark).unplug(arguments.paths)
    for path in arguments.paths:
        output.confirm(f"{path} unplugged")
