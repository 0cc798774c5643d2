"""The command line of `kubectl fakehw`: its list of commands.

Exit 0: done, and landed where that was waited for. 1: something did not land, or the cluster refused. 2: what was given
breaks a rule. 130: Ctrl-C.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.cli import carry_out
from kubectl_fakehw.commands import change, completion, events, hands, listing, scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME: Final = "kubectl fakehw"
COMMANDS: Final = (listing, change, events, scenario, hands, completion)
"""In the order in which help lists them."""

_DESCRIPTION: Final = """\
Hands on the fake devices of every node of a cluster, without a shell on any of them."""
_EXAMPLES: Final = """\
  kubectl fakehw hands                                  # once: a hand on each node
  kubectl fakehw list --summary
  kubectl fakehw break '*/dev3/*' --reason "over temperature" --wait
  kubectl fakehw mend '*/dev3/*' --wait
  kubectl fakehw unplug node2/dev3/2 --node kind-worker2
  kubectl fakehw scenario run storm --speed 10"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        return carry_out(NAME, make_parser, argv)
    except ImportError as error:
        output.remark(f"{error.name}: not installed: pip install 'fakehw[kubectl]'")
        return 1
    except asyncio.CancelledError:
        output.remark("interrupted")
        return 130


def make_parser() -> parser.Parser:
    """Return the parser of the whole command."""
    whole = parser.make_parser(NAME, description=_DESCRIPTION, examples=_EXAMPLES)
    whole.add_argument("--version", action=parser.Version, nargs=0, help="print the version and exit")
    commands = parser.add_commands(whole)
    for command in COMMANDS:
        command.add(commands)
    return whole
