"""The command `fakehw`: flags and their environment twins, words for people, exit codes.

Exit 0: done. Exit 1: the system or the tree refused. Exit 2: what was given breaks a rule. Errors are one line each on
stderr; a spec with many errors names them all.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

from fakehw import layout, listing, resource_name, scenario_cli, spec
from fakehw.errors import FakehwError, InputError, SpecError
from fakehw.layout import Health, TreePath
from fakehw.tree import FakeTree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fakehw.plan import Plan

_SHOWN_LINES: Final = 40
_WORTH_WAITING: Final = 5000
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        arguments = make_parser().parse_args(argv)
        run: Callable[[argparse.Namespace], int | None] = arguments.run
        code = run(arguments) or 0
        sys.stdout.flush()
    except FakehwError as error:
        for line in error.lines:
            if isinstance(error, SpecError):
                sys.stderr.write(f"{line}\n")  # FILE:LINE first, as compilers do: editors jump to it
            else:
                _tell(line)
        return 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:
        # Whoever read the output has read enough; what is left must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130
    except OSError as error:
        _tell(f"{error.strerror or error}")
        return 1
    return code


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = _make(_Parser, "", prog="fakehw", description=_DESCRIPTION)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)

    def add(name: str, run: Callable[[argparse.Namespace], int | None], help_text: str) -> argparse.ArgumentParser:
        command = _make(
            commands.add_parser, name, name=name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}."
        )
        command.set_defaults(run=run)
        return command

    build = add("build", _build, "bring a tree to what a spec says, and keep what people changed by hand")
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

    show = add("list", _list, "show the devices of a tree")
    _add_root(show)
    show.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")

    flip = add("set-health", _set_health, "make devices healthy or unhealthy")
    _add_paths(flip)
    flip.add_argument("health", choices=[word.value for word in Health], help="the new state")
    flip.add_argument("--reason", metavar="TEXT", default="", help="why; carried to logs and metrics")
    _add_root(flip)

    plug = add("plug", _plug, "plug devices in: back as the spec lists them, or more of their class")
    _add_paths(plug)
    _add_root(plug)

    unplug = add("unplug", _unplug, "pull devices, classes or nodes out, until they are plugged in or built again")
    _add_paths(unplug)
    _add_root(unplug)

    events = add("events", _events, "say what is unhealthy, and with --follow whatever happens from now on")
    _add_root(events)
    events.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    events.add_argument("-o", "--output", choices=("lines", "json"), default="lines", help="default: lines")

    top = add("top", _top, "live view of a tree, with keys to break, mend, plug and unplug (pip install 'fakehw[top]')")
    _add_root(top)
    top.add_argument(
        "--pod-resources",
        metavar="SOCKET",
        type=Path,
        action="append",
        default=[],
        help="a kubelet's PodResources socket, asked every 2 s who holds what; may be given for several kubelets",
    )

    scenario_cli.add_to(add("scenario", _no_command, "run timed faults, each with a receipt"), _Parser, _add_root)

    completion = add("completion", _completion, "print the completion script of a shell")
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


# The commands.


def _build(arguments: argparse.Namespace) -> None:
    host: str | None = arguments.host or None
    if arguments.spec == "-":
        topology = spec.read_topology(sys.stdin.buffer, source="stdin", host=host)
    else:
        topology = spec.load_topology(arguments.spec, host=host)
    if host and topology.document["nodes"] and not topology.nodes:
        _tell(f"{host!r}: no node of {arguments.spec} is of this host: building an empty tree (--host, NODE_NAME)")
    progress = _Progress(sys.stderr)
    try:
        plan = FakeTree(arguments.root, tell=_tell).build(
            topology, reset=arguments.reset, dry_run=arguments.dry_run, progress=progress.show
        )
    finally:
        progress.clear()
    _report(plan, arguments.root, dry_run=arguments.dry_run)


def _list(arguments: argparse.Namespace) -> None:
    tree = FakeTree(arguments.root, tell=_tell).read()
    _say(listing.as_json(tree) if arguments.output == "json" else listing.as_table(tree))
    for path, kind in list(tree.obstacles.items())[:_SHOWN_LINES]:
        _tell(f"{arguments.root}{path}: is {kind}: passed over")


def _set_health(arguments: argparse.Namespace) -> None:
    health: str = arguments.health
    count = FakeTree(arguments.root, tell=_tell).set_health(arguments.paths, health, reason=arguments.reason)
    reason = layout.one_line(arguments.reason)
    devices = f" ({count} devices)" if count != len(arguments.paths) else ""
    _say(f"{_joined(arguments.paths)} {health}{f': {reason}' if reason else ''}{devices}")


def _plug(arguments: argparse.Namespace) -> None:
    plugged = FakeTree(arguments.root, tell=_tell).plug(arguments.paths)
    for path in plugged:
        _say(f"{path} plugged in")
    if not plugged:
        _say(f"{_joined(arguments.paths)} already there")


def _unplug(arguments: argparse.Namespace) -> None:
    FakeTree(arguments.root, tell=_tell).unplug(arguments.paths)
    for path in arguments.paths:
        _say(f"{path} unplugged")


def _events(arguments: argparse.Namespace) -> None:
    import asyncio  # it and what follows would cost every other command half its time

    from fakehw import events

    as_json = arguments.output == "json"
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(events.tell(arguments.root, follow=arguments.follow, as_json=as_json, say=_say_now))


def _top(arguments: argparse.Namespace) -> None:
    import asyncio

    from fakehw import events

    if sys.stdout.isatty() and sys.stdin.isatty():
        try:
            from fakehw import top
        except ImportError as error:
            raise InputError(f"{error.name}: not installed: pip install 'fakehw[top]'") from None
        top.run(arguments.root, arguments.pod_resources)
        return

    def table() -> str:
        return listing.as_table(FakeTree(arguments.root).read())

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(events.tell(arguments.root, follow=True, as_json=False, say=_say_now, greeting=table))


def _no_command(_: argparse.Namespace) -> None:
    raise InputError("run, list: one of them must follow (scenario)")


def _completion(arguments: argparse.Namespace) -> None:
    import shtab  # a sixth of every other command's start

    _say(shtab.complete(make_parser(), shell=arguments.shell))


# Words.


def _joined(paths: Sequence[TreePath]) -> str:
    return ", ".join(str(path) for path in paths)


def _report(plan: Plan, root: Path, *, dry_run: bool) -> None:
    lines = list(itertools.islice(plan.lines(), _SHOWN_LINES + 1))
    for line in lines[:_SHOWN_LINES]:
        _say(f"{line.action:<8} {line.path}  {line.detail}".rstrip())
    if len(lines) > _SHOWN_LINES:
        _say("...")
    counts = ", ".join(f"{count} {word}" for word, count in plan.counts().items())
    kept = f"; {len(plan.kept)} kept as changed by hand" if plan.kept else ""
    _say(f"{root}: devices: {counts}{kept}{' (dry run: nothing written)' if dry_run else ''}")


def _say(text: str) -> None:
    """Print for the person or program that called us."""
    sys.stdout.write(f"{text}\n")


def _say_now(text: str) -> None:
    """Print for somebody who is watching."""
    _say(text)
    sys.stdout.flush()


def _tell(line: str) -> None:
    """Print a remark or an error."""
    sys.stderr.write(f"fakehw: {line}\n")


class _Progress:
    """One line on a terminal that overwrites itself; silent anywhere else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_shown = stream.isatty()
        self._is_dirty = False

    def show(self, done: int, total: int) -> None:
        """Show how far it has come, if it is worth it."""
        if self._is_shown and total >= _WORTH_WAITING:
            self._write(f"\rmaking devices: {done} of {total}")
            self._is_dirty = True

    def clear(self) -> None:
        """Leave the line as it was."""
        if self._is_dirty:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
