"""`fakehw set`: give an attribute of devices a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.commands import places
from fakehw.errors import InputError
from fakehw.tree import selection
from fakehw.tree.writer import FakeTree

if TYPE_CHECKING:
    import argparse

_LEAST_WORDS: Final = 3
_EXAMPLES: Final = """\
  fakehw set node2/dev3/2 temperature 91
  fakehw set '*/gpu/*' firmware 1.2.3
  fakehw set node2/gpu/1 numa_node 1                    # read by the plugin at once"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(commands, "set", "give an attribute of devices a value", run=run, examples=_EXAMPLES)
    command.add_argument("words", metavar="WORD", nargs="+", help="PATH... ATTRIBUTE VALUE; PATH: " + places.HELP)
    command.usage = "fakehw set [-h] [--root DIR] PATH [PATH ...] ATTRIBUTE VALUE"
    parser.add_root(command)


def run(arguments: argparse.Namespace) -> None:
    """Write it, and say what was written."""
    if len(arguments.words) < _LEAST_WORDS:
        raise InputError(f"{' '.join(arguments.words)!r}: PATH, ATTRIBUTE and VALUE must follow (set)")
    *texts, name, value = arguments.words
    tree = FakeTree(arguments.root, tell=output.remark)
    known = tree.read()
    there = list(selection.places(known))
    chosen = places.resolve(texts, arguments.root, lambda: there)
    devices, missed = selection.devices_of(chosen, [path for path, _ in known.devices()])
    if missed:
        raise InputError(f"{missed[0]}: no such device in {arguments.root}{selection.nearest(missed[0], there)} (PATH)")
    tree.set_values(devices, name, value)
    output.confirm(f"{', '.join(texts)} {name} {value}{f' ({len(devices)} devices)' if len(devices) > 1 else ''}")
