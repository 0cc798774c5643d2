"""`fakehw unplug`: pull devices, classes or nodes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.commands import places
from fakehw.tree import selection
from fakehw.tree.writer import FakeTree

if TYPE_CHECKING:
    import argparse

_EXAMPLES: Final = """\
  fakehw unplug node2/dev3/2
  fakehw unplug node2/dev3/2 node2/dev3/3
  fakehw unplug '*/dev3/3'                              # a pattern, as in scenarios
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
    places.add(command)
    parser.add_root(command)


def run(arguments: argparse.Namespace) -> None:
    """Pull out, and name what went."""
    tree = FakeTree(arguments.root, tell=output.remark)
    paths = places.resolve(arguments.paths, arguments.root, lambda: selection.places(tree.read()))
    tree.unplug(paths)
    for path in paths:
        output.confirm(f"{path} unplugged")
