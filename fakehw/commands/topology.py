"""`fakehw topology`: show the specs that come with fakehw, and write a spec out device by device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.errors import InputError
from fakehw.spec import check, expanded, profiles

if TYPE_CHECKING:
    import argparse

_EXAMPLES: Final = """\
  fakehw topology show                                  # which there are
  fakehw topology show gpu-server > my.yaml             # one's own begins with one of them
  fakehw topology expand my.yaml | less                 # what does it mean, device by device?"""


def add(commands: parser.Commands) -> None:
    """Add the command, and those below it."""
    topology = parser.add_command(
        commands, "topology", "show the specs that come with fakehw, or write a spec out", run=run, examples=_EXAMPLES
    )
    below = parser.add_commands(topology, required=False)
    show = parser.add_command(
        below,
        "show",
        "show a spec that comes with fakehw, to begin one's own with; without a name, say which there are",
        run=_show,
        examples="\n".join(_EXAMPLES.splitlines()[:2]),
    )
    show.add_argument("name", metavar="NAME", nargs="?", help="one of them, such as gpu-server")
    expand = parser.add_command(
        below,
        "expand",
        "write a spec out: every node and device, with no ranges, counts or placeholders",
        run=_expand,
        examples=_EXAMPLES.splitlines()[2],
    )
    expand.add_argument("spec", metavar="SPEC", help="a topology in YAML, - for stdin, or a name that show knows")
    parser.add_flag(
        expand,
        "--host",
        env="NODE_NAME",
        metavar="NAME",
        type=parser.host,
        help="only the nodes that this Kubernetes node owns, and those that any may own (env NODE_NAME)",
    )


def run(_: argparse.Namespace) -> None:
    """Say that a command is missing."""
    raise InputError("show, expand: one of them must follow (topology)")


def _show(arguments: argparse.Namespace) -> None:
    name: str | None = arguments.name
    if name is None:
        for known in profiles.names():
            output.say(f"{known}\n    {profiles.meaning(known)}")
    elif name in profiles.names():
        output.say(profiles.text(name).removesuffix("\n"))
    else:
        raise InputError(f"{name!r}: must be one of {', '.join(profiles.names())} (NAME)")


def _expand(arguments: argparse.Namespace) -> None:
    if arguments.spec == "-":
        topology = check.read_topology(output.given("SPEC -"), source="stdin", host=arguments.host)
    else:
        topology = check.load_topology(arguments.spec, host=arguments.host)
    for line in expanded.lines(topology):
        output.say(line)
