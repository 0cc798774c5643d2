"""`fakehw set-health`: make devices healthy or unhealthy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import layout, output, parser
from fakehw.layout import Health
from fakehw.tree.writer import FakeTree

if TYPE_CHECKING:
    import argparse

_EXAMPLES: Final = """\
  fakehw set-health node2/dev3/2 unhealthy --reason "over temperature"
  fakehw set-health node2/dev3/2 healthy
  fakehw set-health node2/dev3 unhealthy                # all devices of the class; node2: all of the node
  echo unhealthy > $FAKEHW_ROOT/node2/dev3/2/health     # the same by hand"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands, "set-health", "make devices healthy or unhealthy", run=run, examples=_EXAMPLES
    )
    parser.add_paths(command)
    command.add_argument("health", choices=[word.value for word in Health], help="the new state")
    command.add_argument(
        "--reason", metavar="TEXT", default="", help="why: one line, which the plugin logs and fakehw events shows"
    )
    parser.add_root(command)


def run(arguments: argparse.Namespace) -> None:
    """Set the health, and say of how many devices."""
    health: str = arguments.health
    tree = FakeTree(arguments.root, tell=output.remark)
    count = tree.set_health(arguments.paths, health, reason=arguments.reason)
    reason = layout.one_line(arguments.reason)
    devices = f" ({count} devices)" if count != len(arguments.paths) else ""
    paths = ", ".join(map(str, arguments.paths))
    output.confirm(f"{paths} {health}{f': {reason}' if reason else ''}{devices}")
