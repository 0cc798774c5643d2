"""The command `fakehw`: its list of commands, exit codes, and one line for what is wrong.

Exit 0: done. Exit 1: the system or the tree refused. Exit 2: what was given breaks a rule. Exit 3: a build did all but
what it names. Errors are one line each on stderr; a spec with many errors names them all.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.commands import (
    build,
    completion,
    demo,
    events,
    hand,
    list_devices,
    plug,
    scenario,
    set_attribute,
    set_health,
    top,
    topology,
    unplug,
)
from fakehw.errors import FakehwError, InputError, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS: Final = (
    build, list_devices, set_health, set_attribute, plug, unplug, events, top, scenario, topology, demo, hand,
    completion,
)  # fmt: skip  # one list
"""In the order in which help lists them."""

_DESCRIPTION: Final = """\
Hardware that does not exist: a tree of small text files.
Build it from a spec, look at it, break it, pull devices out."""
_EXAMPLES: Final = """\
  fakehw build --spec topology.yaml --root /tmp/fakehw
  export FAKEHW_ROOT=/tmp/fakehw
  fakehw list
  fakehw set-health node2/dev3/2 unhealthy --reason "over temperature"
  fakehw unplug node2/dev3/3
  fakehw plug node2/dev3/3"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    gc.freeze()  # what is loaded stays to the end, and need not be looked through for garbage when it comes
    return carry_out("fakehw", make_parser, argv)


def carry_out(name: str, make: Callable[[], parser.Parser], argv: Sequence[str] | None) -> int:
    """Run the command that `argv` names; return its exit code. Errors begin with `name`; `make` makes the parser."""
    output.prepare(name)
    try:
        whole = make()
        arguments = whole.parse_args(argv)
        arguments.parser = whole
        run: Callable[[object], int | None] = arguments.run
        code = run(arguments) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except FakehwError as error:
        for line in error.lines:
            # FILE:LINE first, as compilers do: editors jump to it
            (output.complain if isinstance(error, SpecError) else output.remark)(line)
        return 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:  # whoever read the output has read enough
        output.end()
        return 0
    except KeyboardInterrupt:
        output.remark("interrupted")
        return 130
    except OSError as error:
        output.remark(f"{error.strerror or error}")
        output.end()
        return 1
    return code


def make_parser() -> parser.Parser:
    """Return the parser of the whole command."""
    whole = parser.make_parser("fakehw", description=_DESCRIPTION, examples=_EXAMPLES)
    whole.add_argument("--version", action=parser.Version, nargs=0, help="print the version and exit")
    commands = parser.add_commands(whole)
    for command in COMMANDS:
        command.add(commands)
    return whole
