"""The places in the tree that commands are about, as people name them: paths, patterns, and what a shell completed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakehw.errors import InputError
from fakehw.tree import selection
from fakehw.tree.selection import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from fakehw import parser
    from fakehw.layout import TreePath

HELP = "a device (node2/dev3/2), a class (node2/dev3), a node (node2), or a pattern (*/dev3/*)"


def add(command: parser.Parser, *, required: bool = True) -> None:
    """Add the argument."""
    nargs = "+" if required else "*"
    command.add_argument("paths", metavar="PATH", nargs=nargs, help=HELP)


def resolve(texts: Iterable[str], root: Path, known: Callable[[], Iterable[TreePath]]) -> list[TreePath]:
    """Return the places that are meant; `known` is asked for what there is if there are patterns.

    InputError for what breaks the rule, and for a pattern that fits nothing.
    """
    wanted = selection.parse_all(texts, root=root)
    if not any(isinstance(one, Pattern) for one in wanted):
        return [one for one in wanted if not isinstance(one, Pattern)]
    found: dict[TreePath, None] = {}
    there = list(known())
    for one in wanted:
        if isinstance(one, Pattern):
            paths, missed = selection.matching([one], there)
            if missed:
                raise InputError(f"{str(one)!r}: fits nothing in {root}{selection.nearest(one, there)} (PATH)")
            found |= dict.fromkeys(paths)
        else:
            found[one] = None
    return list(found)
