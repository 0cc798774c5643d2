"""`fakehw list`: show the devices of a tree."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.commands import places
from fakehw.errors import InputError
from fakehw.layout import TreePath
from fakehw.tree import selection
from fakehw.tree.writer import FakeTree
from fakehw.view import listing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from fakehw.tree.selection import Wanted
    from fakehw.view.listing import Record

_SHOWN_LINES: Final = 40
_EXAMPLES: Final = """\
  fakehw list
  fakehw list '*/dev3/*' -o wide                        # ID, host and attributes too
  fakehw list --summary                                 # how many, by host and resource
  fakehw list --pod-resources /var/lib/kubelet/pod-resources/kubelet.sock        # who holds what
  fakehw list -o json | jq -r '.[] | select(.health == "unhealthy") | .path'
  fakehw list node2 -o name | xargs fakehw unplug"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(commands, "list", "show the devices of a tree", run=run, examples=_EXAMPLES)
    places.add(command, required=False)
    parser.add_root(command)
    parser.add_domain(command)
    add_format(command)
    parser.add_pod_resources(command, "asked who holds what")


def add_format(command: parser.Parser) -> None:
    """Add what says how devices are shown."""
    command.add_argument("-o", "--output", choices=listing.FORMATS, default="table", help="default: table")
    command.add_argument("--summary", action="store_true", help="count them, by host and resource")
    command.add_argument("--no-headers", action="store_true", help="leave out the line of headings")


def run(arguments: argparse.Namespace) -> None:
    """Show the devices, and remark on what stands in the way."""
    tree = FakeTree(arguments.root, tell=output.remark).read()
    wanted = selection.parse_all(arguments.paths, root=arguments.root)
    chosen = choose(list(listing.rows(tree, domain=arguments.domain)), wanted, where=str(arguments.root))
    if arguments.pod_resources:
        chosen = with_holders(chosen, arguments.pod_resources)
    show(chosen, arguments, has_holders=bool(arguments.pod_resources))
    for path, kind in list(tree.obstacles.items())[:_SHOWN_LINES]:
        output.remark(f"{arguments.root}{path}: is {kind}: passed over")


def choose(records: list[Record], wanted: Sequence[Wanted], *, where: str) -> list[Record]:
    """Return the records that are wanted, all if nothing is said; InputError for what fits none."""
    if not wanted:
        return records
    paths = [TreePath.parse(record.path) for record in records]
    for one in wanted:
        if not any(selection.covers(one, path) for path in paths):
            hint = selection.nearest(one, paths)
            raise InputError(f"{str(one).lstrip('/')!r}: fits nothing in {where}{hint} (PATH)")
    return [
        record
        for record, path in zip(records, paths, strict=True)
        if any(selection.covers(one, path) for one in wanted)
    ]


def with_holders(records: Sequence[Record], sockets: Sequence[Path]) -> list[Record]:
    """Return records with who holds each device; remarks on a kubelet that does not answer."""
    import asyncio  # it and what follows would cost every other list half its time

    from fakehw.view import pod_resources

    async def ask() -> dict[str, str]:
        found: dict[str, str] = {}
        for answer in await asyncio.gather(*map(pod_resources.holders, sockets), return_exceptions=True):
            if isinstance(answer, pod_resources.UnknownError):
                output.remark(f"nobody says who holds what: {answer}")
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found |= answer
        return found

    holders = asyncio.run(ask())
    return [replace(one, held_by=pod_resources.holder(holders, one.id or "")) for one in records]


def show(records: Sequence[Record], arguments: argparse.Namespace, *, has_holders: bool = False) -> None:
    """Print records as the flags of `add_format` say."""
    has_headings = not arguments.no_headers
    if arguments.summary:
        output.say(listing.summary(records, has_headings=has_headings))
        return
    width = os.get_terminal_size(sys.stdout.fileno()).columns if output.is_terminal() else 0
    text = listing.shown(records, arguments.output, has_headings=has_headings, width=width, has_holders=has_holders)
    if text:
        output.say(text)
