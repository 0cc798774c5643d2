"""`fakehw build`: bring a tree to what a spec says."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Final, TextIO

from fakehw import output, parser
from fakehw.commands import topology as topology_command
from fakehw.spec import check
from fakehw.tree.writer import FakeTree

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from fakehw.tree.plan import Plan

_SHOWN_LINES: Final = 40
_WORTH_WAITING: Final = 5000
_NOT_ALL: Final = 3
_EXAMPLES: Final = """\
  fakehw build --spec topology.yaml --root /tmp/fakehw
  fakehw build --spec topology.yaml --dry-run           # what would it do?
  fakehw build --spec topology.yaml --reset             # start over: health and what was added by hand go too
  fakehw build --spec topology.yaml --host kind-worker  # only this Kubernetes node's part
  cat topology.yaml | fakehw build --spec -"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "build",
        "bring a tree to what a spec says, and keep what people changed by hand",
        run=run,
        examples=_EXAMPLES,
    )
    topology_command.add_spec(command, "topology in YAML, - for stdin, or a name that `fakehw topology show` knows")
    parser.add_root(command)
    parser.add_flag(
        command,
        "--host",
        env="NODE_NAME",
        metavar="NAME",
        type=parser.host,
        help="build only the nodes that this Kubernetes node owns, and those that any may own (env NODE_NAME)",
    )
    command.add_argument("--reset", action="store_true", help="replace the whole tree: forget what was changed by hand")
    command.add_argument("--dry-run", action="store_true", help="say what would be done and write nothing")
    command.add_argument(
        "--tolerant",
        action="store_true",
        help="end with 0, not 3, if the rest was built but something could not be, which is named in any case",
    )


def run(arguments: argparse.Namespace) -> int:
    """Build, and say what that took; return 3 if it could not all be done."""
    host: str | None = arguments.host or None
    topology = check.load_topology(arguments.spec, host=host, flag=parser.origin(arguments.spec, "--spec"))
    if host and topology.document["nodes"] and not topology.nodes:
        whose = f"{host!r}: no node of {arguments.spec} is of this host"
        output.remark(f"{whose}: building an empty tree ({parser.origin(host, '--host')})")
    progress = _Progress(sys.stderr)
    try:
        plan = FakeTree(arguments.root, tell=output.remark).build(
            topology,
            reset=arguments.reset,
            dry_run=arguments.dry_run,
            progress=progress.show,
            may_narrow=not isinstance(host, parser.FromEnvironment),
        )
    finally:
        progress.clear()
    _report(plan, arguments.root, dry_run=arguments.dry_run)
    for conflict in plan.conflicts[:_SHOWN_LINES]:
        output.remark(f"{arguments.root}{conflict}")
    if len(plan.conflicts) > _SHOWN_LINES:
        output.remark(f"{arguments.root}: and {len(plan.conflicts) - _SHOWN_LINES} more")
    return _NOT_ALL if plan.conflicts and not arguments.tolerant else 0


def _report(plan: Plan, root: Path, *, dry_run: bool) -> None:
    say = output.say if dry_run else output.confirm
    lines = list(itertools.islice(plan.lines(), _SHOWN_LINES + 1))
    for line in lines[:_SHOWN_LINES]:
        say(f"{line.action:<8} {line.path}  {line.detail}".rstrip())
    if len(lines) > _SHOWN_LINES:
        say("...")
    counts = ", ".join(f"{count} {word}" for word, count in plan.counts().items())
    kept = f"; {len(plan.kept)} kept as changed by hand" if plan.kept else ""
    say(f"{root}: devices: {counts}{kept}{' (dry run: nothing written)' if dry_run else ''}")


class _Progress:
    """One line on a terminal that overwrites itself; silent anywhere else."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._is_dirty = False

    def show(self, done: int, total: int) -> None:
        """Show how far it has come, if it is worth it."""
        if total >= _WORTH_WAITING:
            self._write(f"\rmaking devices: {done} of {total}")
            self._is_dirty = True

    def clear(self) -> None:
        """Leave the line as it was."""
        if self._is_dirty:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal went; the build goes on
            self._stream = None
