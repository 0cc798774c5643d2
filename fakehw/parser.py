"""The command line of `fakehw`: commands, flags and their environment twins, and one line for whatever is wrong."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from fakehw import layout, resource_name
from fakehw.layout import Health, TreePath
from fakehw.scenario import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Command = Callable[[argparse.Namespace], int | None]

_SHELLS: Final = ("bash", "zsh", "tcsh")
_ARGUMENT_ERROR: Final = re.compile(r"argument ([^:]+): (.*)", re.DOTALL)
_CHOICE_ERROR: Final = re.compile(r"invalid choice: (.*) \(choose from (.*)\)", re.DOTALL)

_DESCRIPTION: Final = """\
Hardware that does not exist: a tree of small text files.
Build it from a spec, look at it, break it, pull devices out."""

_EXAMPLES: Final = {
    "": """\
  fakehw build --spec topology.yaml --root /tmp/fakehw
  export FAKEHW_ROOT=/tmp/fakehw
  fakehw list
  fakehw set-health node2/dev3/2 unhealthy --reason "over temperature"
  fakehw unplug node2/dev3/3
  fakehw plug node2/dev3/3""",
    "build": """\
  fakehw build --spec topology.yaml --root /tmp/fakehw
  fakehw build --spec topology.yaml --dry-run           # what would it do?
  fakehw build --spec topology.yaml --reset             # start over: health and what was added by hand go too
  fakehw build --spec topology.yaml --host kind-worker  # only this Kubernetes node's part
  cat topology.yaml | fakehw build --spec -""",
    "list": """\
  fakehw list
  fakehw list -o json | jq -r '.[] | select(.health == "unhealthy") | .path'
  watch fakehw list""",
    "set-health": """\
  fakehw set-health node2/dev3/2 unhealthy --reason "over temperature"
  fakehw set-health node2/dev3/2 healthy
  fakehw set-health node2/dev3 unhealthy                # all devices of the class; node2: all of the node
  echo unhealthy > $FAKEHW_ROOT/node2/dev3/2/health     # the same by hand""",
    "plug": """\
  fakehw plug node2/dev3/2                              # comes back as the spec says, healthy or not
  fakehw plug node2/dev3/4                              # one more than the spec lists, after its class
  fakehw plug node2/dev3                                # all that the spec lists and that is missing""",
    "unplug": """\
  fakehw unplug node2/dev3/2
  fakehw unplug node2/dev3/2 node2/dev3/3
  fakehw unplug node2/dev3                              # the whole class; node2: the whole node""",
    "events": """\
  fakehw events                                         # what is broken, since when and why
  fakehw events --follow -o json | jq 'select(.health == "unhealthy")'""",
    "top": """\
  fakehw top
  fakehw top --pod-resources /var/lib/kubelet/pod-resources/kubelet.sock
  fakehw top | tee what-happened.txt                    # lines, where there is no terminal""",
    "scenario": """\
  fakehw scenario list                                  # the gallery
  fakehw scenario run flapping-link --dry-run           # what would happen, and when?
  fakehw scenario run flapping-link --speed 10 --plugin-log /tmp/plugin.log
  fakehw scenario run my-faults.yaml --pod-resources /var/lib/kubelet/pod-resources/kubelet.sock""",
    "completion": """\
  source <(fakehw completion bash)
  fakehw completion zsh > ~/.zfunc/_fakehw""",
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line: value, rule, flag."""

    def error(self, message: str) -> NoReturn:
        argument = _ARGUMENT_ERROR.fullmatch(message)
        if argument:
            flag, rule = argument.groups()
            choice = _CHOICE_ERROR.fullmatch(rule)
            if choice:
                known = choice[2].replace("'", "")
                rule = f"{choice[1]}: must be one of {known}"
            message = f"{rule} ({flag})"
        self.exit(2, f"fakehw: {message}\n")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that reads files."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        sys.stdout.write(f"{parser.prog} {metadata.version('fakehw')}\n")
        parser.exit()


def make_parser(run: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Return the parser of the whole command; `run` has what each of its commands does."""
    parser = _make(_Parser, "", prog="fakehw", description=_DESCRIPTION)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    def add(name: str, help_text: str) -> argparse.ArgumentParser:
        command = _make(
            commands.add_parser, name, name=name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}."
        )
        command.set_defaults(run=run[name])
        return command

    build = add("build", "bring a tree to what a spec says, and keep what people changed by hand")
    spec_file = os.environ.get("FAKEHW_SPEC")
    build.add_argument(
        "--spec",
        metavar="FILE",
        default=spec_file,
        required=not spec_file,
        help="topology in YAML, - for stdin (env FAKEHW_SPEC); fields: docs/topology.md",
    )
    _add_root(build)
    build.add_argument(
        "--host",
        metavar="NAME",
        type=_host,
        default=os.environ.get("NODE_NAME") or None,
        help="build only the nodes that this Kubernetes node owns, and those that any may own (env NODE_NAME)",
    )
    build.add_argument("--reset", action="store_true", help="replace the whole tree: forget what was changed by hand")
    build.add_argument("--dry-run", action="store_true", help="say what would be done and write nothing")

    show = add("list", "show the devices of a tree")
    _add_root(show)
    show.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")

    flip = add("set-health", "make devices healthy or unhealthy")
    _add_paths(flip)
    flip.add_argument("health", choices=[word.value for word in Health], help="the new state")
    flip.add_argument("--reason", metavar="TEXT", default="", help="why; carried to logs and metrics")
    _add_root(flip)

    plug = add("plug", "plug devices in: back as the spec lists them, or more of their class")
    _add_paths(plug)
    _add_root(plug)

    unplug = add("unplug", "pull devices, classes or nodes out, until they are plugged in or built again")
    _add_paths(unplug)
    _add_root(unplug)

    events = add("events", "say what is unhealthy, and with --follow whatever happens from now on")
    _add_root(events)
    events.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    events.add_argument("-o", "--output", choices=("lines", "json"), default="lines", help="default: lines")

    top = add("top", "live view of a tree, with keys to break, mend, plug and unplug (pip install 'fakehw[top]')")
    _add_root(top)
    top.add_argument(
        "--pod-resources",
        metavar="SOCKET",
        type=Path,
        action="append",
        default=[],
        help="a kubelet's PodResources socket, asked every 2 s who holds what; may be given for several kubelets",
    )

    cli.add_to(add("scenario", "run timed faults, each with a receipt"), _Parser, _add_root)

    completion = add("completion", "print the completion script of a shell")
    completion.add_argument("shell", choices=_SHELLS)
    return parser


def _make(
    factory: Callable[..., argparse.ArgumentParser], command: str, *, name: str | None = None, **rest: str
) -> argparse.ArgumentParser:
    return factory(
        *(() if name is None else (name,)),
        epilog=f"examples:\n{_EXAMPLES[command]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        **rest,
    )


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=_root,
        default=os.environ.get("FAKEHW_ROOT") or layout.DEFAULT_ROOT,
        help=f"the tree (env FAKEHW_ROOT; default {layout.DEFAULT_ROOT})",
    )


def _add_paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        type=_path,
        help="a device (node2/dev3/2), a class (node2/dev3) or a node (node2)",
    )


def _host(text: str) -> str:
    try:
        resource_name.check_host(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    return text


def _root(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a directory")
    return Path(text)


def _path(text: str) -> TreePath:
    try:
        return TreePath.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
