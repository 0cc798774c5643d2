"""`fakehw list`: show the devices of a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.tree.writer import FakeTree
from fakehw.view import listing

if TYPE_CHECKING:
    import argparse

_SHOWN_LINES: Final = 40
_EXAMPLES: Final = """\
  fakehw list
  fakehw list -o json | jq -r '.[] | select(.health == "unhealthy") | .path'
  watch fakehw list"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(commands, "list", "show the devices of a tree", run=run, examples=_EXAMPLES)
    parser.add_root(command)
    parser.add_domain(command)
    command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")


def run(arguments: argparse.Namespace) -> None:
    """Show the devices, and remark on what stands in the way."""
    tree = FakeTree(arguments.root, tell=output.remark).read()
    shown = listing.as_json if arguments.output == "json" else listing.as_table
    output.say(shown(tree, domain=arguments.domain))
    for path, kind in list(tree.obstacles.items())[:_SHOWN_LINES]:
        output.remark(f"{arguments.root}{path}: is {kind}: passed over")
