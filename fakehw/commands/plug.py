"""`fakehw plug`: plug devices in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.commands import places
from fakehw.tree.writer import FakeTree

if TYPE_CHECKING:
    import argparse

_EXAMPLES: Final = """\
  fakehw plug node2/dev3/2                              # comes back as the spec says, healthy or not
  fakehw plug node2/dev3/4                              # one more than the spec lists, after its class
  fakehw plug --create node2/dev7/1                     # with a new class
  fakehw plug node2/dev3                                # all that the spec lists and that is missing
  fakehw plug '*/dev3/[23]'                             # a pattern, of what the spec lists or was pulled out"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "plug",
        "plug devices in: back as the spec lists them, or more of their class",
        run=run,
        examples=_EXAMPLES,
    )
    places.add(command)
    command.add_argument("--create", action="store_true", help="make the node or class too, if there is none")
    parser.add_root(command)


def run(arguments: argparse.Namespace) -> None:
    """Plug in, and name what came."""
    tree = FakeTree(arguments.root, tell=output.remark)
    plugged = tree.plug(places.resolve(arguments.paths, arguments.root, tree.listed), create=arguments.create)
    for path in plugged:
        output.confirm(f"{path} plugged in")
    if not plugged:
        output.confirm(f"{', '.join(arguments.paths)} already there")
