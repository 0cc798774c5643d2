"""The command `fakehw`: what its commands do, words for people, exit codes.

Exit 0: done. Exit 1: the system or the tree refused. Exit 2: what was given breaks a rule. Errors are one line each on
stderr; a spec with many errors names them all.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import sys
from typing import TYPE_CHECKING, Final, TextIO

from fakehw import layout, parser
from fakehw.errors import FakehwError, InputError, SpecError
from fakehw.spec import check
from fakehw.tree.writer import FakeTree
from fakehw.view import listing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fakehw.layout import TreePath
    from fakehw.tree.plan import Plan

_SHOWN_LINES: Final = 40
_WORTH_WAITING: Final = 5000


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    gc.freeze()  # what is loaded stays to the end, and need not be looked through for garbage when it comes
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
    except BrokenPipeError:  # whoever read the output has read enough
        _end_output()
        return 0
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130
    except OSError as error:
        _tell(f"{error.strerror or error}")
        _end_output()
        return 1
    return code


def _end_output() -> None:
    """Write what is left, or drop it: what cannot be written now must not fail once more, in other words, at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    return parser.make_parser(
        {
            "build": _build,
            "list": _list,
            "set-health": _set_health,
            "plug": _plug,
            "unplug": _unplug,
            "events": _events,
            "top": _top,
            "scenario": _no_command,
            "completion": _completion,
        }
    )


# The commands.


def _build(arguments: argparse.Namespace) -> None:
    host: str | None = arguments.host or None
    if arguments.spec == "-":
        topology = check.read_topology(sys.stdin.buffer, source="stdin", host=host)
    else:
        topology = check.load_topology(arguments.spec, host=host)
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

    from fakehw.view import events

    as_json = arguments.output == "json"
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(events.tell(arguments.root, follow=arguments.follow, as_json=as_json, say=_say_now))


def _top(arguments: argparse.Namespace) -> None:
    import asyncio

    from fakehw.view import events

    if sys.stdout.isatty() and sys.stdin.isatty():
        try:
            from fakehw.view import top
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
