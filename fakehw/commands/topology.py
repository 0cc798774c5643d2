"""`fakehw topology`: show the specs that come with fakehw, and write a spec out device by device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.errors import InputError
from fakehw.spec import check, expanded, profiles

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_EXAMPLES: Final = """\
  fakehw topology show                                  # which there are
  fakehw topology show gpu-server > my.yaml             # one's own begins with one of them
  fakehw topology expand my.yaml | less                 # what does it mean, device by device?"""

_LOOKS: Final = """\
  kubectl label node kind-worker $(fakehw topology labels nvidia-a100)
  fakehw set-health any/gpu/1 unhealthy "$(fakehw topology reasons nvidia-a100 79)\""""


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
    show.add_argument(
        "name", metavar="NAME", nargs="?", offer=parser.Offer(profiles.names, False), help="such as gpu-server"
    )
    for word, text, shown in (
        ("labels", "print the labels of nodes that have such hardware, as the vendor's discovery writes them", _labels),
        ("reasons", "print why such devices break, by the vendor's code, or the text of one code", _reasons),
    ):
        look = parser.add_command(below, word, text, run=shown, examples=_LOOKS)
        look.add_argument(
            "name", metavar="NAME", offer=parser.Offer(_vendors, False), help="a vendor's profile, such as nvidia-a100"
        )
        if word == "reasons":
            look.add_argument("code", metavar="CODE", nargs="?", help="one of them, such as 79")
    expand = parser.add_command(
        below,
        "expand",
        "write a spec out: every node and device, with no ranges, counts or placeholders",
        run=_expand,
        examples=_EXAMPLES.splitlines()[2],
    )
    expand.add_argument(
        "spec", metavar="SPEC", offer=offer(), help="a topology in YAML, - for stdin, or a name that show knows"
    )
    parser.add_flag(
        expand,
        "--host",
        env="NODE_NAME",
        metavar="NAME",
        type=parser.host,
        help="only the nodes that this Kubernetes node owns, and those that any may own (env NODE_NAME)",
    )


def offer() -> parser.Offer:
    """Return what may stand for a topology: the names that come with fakehw, and files."""
    return parser.Offer(profiles.names)


def add_spec(command: parser.Parser, what: str) -> None:
    """Add the flag that names a topology, which must be given; `what` says what it is for."""
    parser.add_flag(
        command, "--spec", env="FAKEHW_SPEC", metavar="FILE", required=True, offer=offer(),
        help=f"{what} (env FAKEHW_SPEC)",
    )  # fmt: skip  # what all have in common in one line


def run(_: argparse.Namespace) -> None:
    """Say that a command is missing."""
    raise InputError("show, labels, reasons, expand: one of them must follow (topology)")


def _show(arguments: argparse.Namespace) -> None:
    name: str | None = arguments.name
    if name is None:
        for known in profiles.names():
            output.say(f"{known}\n    {profiles.meaning(known)}")
    elif name in profiles.names():
        output.say(profiles.text(name).removesuffix("\n"))
    else:
        raise InputError(f"{parser.not_one_of(name, profiles.names())} (NAME)")


def _labels(arguments: argparse.Namespace) -> None:
    for key, value in _known(arguments.name, profiles.labels).items():
        output.say(f"{key}={value}")


def _reasons(arguments: argparse.Namespace) -> None:
    found = _known(arguments.name, profiles.reasons)
    if arguments.code is None:
        width = max(map(len, found))
        for code, text in found.items():
            output.say(f"{code:<{width}}  {text}")
    elif arguments.code in found:
        output.say(found[arguments.code])
    else:
        raise InputError(f"{parser.not_one_of(arguments.code, found)} (CODE)")


def _vendors() -> list[str]:
    return [known for known in profiles.names() if profiles.labels(known)]


def _known(name: str, read: Callable[[str], dict[str, str]]) -> dict[str, str]:
    """Return what a vendor's profile says; InputError for a name that is none."""
    vendors = _vendors()
    if name not in vendors:
        raise InputError(f"{parser.not_one_of(name, vendors)} (NAME)")
    return read(name)


def _expand(arguments: argparse.Namespace) -> None:
    topology = check.load_topology(arguments.spec, host=arguments.host, flag="SPEC")
    for line in expanded.lines(topology):
        output.say(line)
