"""Which places of a tree a person means: paths as a shell completes them, and patterns as in scenarios.

`node2/dev3/2`, `/node2/dev3/2` and, below the root, `/tmp/tree/node2/dev3/2` are one device; `*/dev3/*`,
`node[12]/gpu/1` and `node2/*` are all that fit, of the depth that they have.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fakehw import parser
from fakehw.errors import InputError
from fakehw.layout import TreePath

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fakehw.tree.snapshot import Snapshot

_GLOB: Final = re.compile(r"[*?\[]")
_PARTS: Final = (
    re.compile(r"[A-Za-z0-9._*?\[\]!-]+"),
    re.compile(r"[a-z0-9_*?\[\]!-]+"),
    re.compile(r"[0-9*?\[\]!-]+"),
)
RULE: Final = "must be NODE, NODE/CLASS or NODE/CLASS/NUMBER, also as patterns: node2/dev3/2, node2/dev3/*, */gpu/*"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path in which `*`, `?` and `[...]` stand for others."""

    parts: tuple[str, ...]

    def fits(self, path: TreePath) -> bool:
        """Tell whether this is such a place, of the same depth."""
        return len(path.parts) == len(self.parts) and all(map(fnmatch.fnmatchcase, path.parts, self.parts))

    def __str__(self) -> str:
        return "/".join(self.parts)


Wanted = TreePath | Pattern


def parse(text: str, *, root: Path | None = None) -> Wanted:
    """Return what a person wrote; ValueError says the broken rule. A path below `root` loses what is before it."""
    text = below(text, root) if root is not None else text
    parts = tuple(text.removeprefix("/").rstrip("/").split("/"))
    if not _GLOB.search(text):
        return TreePath.parse("/".join(parts))
    if len(parts) > len(_PARTS) or not all(rule.fullmatch(part) for rule, part in zip(_PARTS, parts, strict=False)):
        raise ValueError(RULE)
    return Pattern(parts)


def below(text: str, root: Path) -> str:
    """Return what a person wrote without the root of the tree before it, as a shell completes a path."""
    for name in (str(root), str(root.absolute()), str(root.resolve())):
        if name != "/" and (text == name or text.startswith(f"{name}/")):
            return text[len(name) :].lstrip("/")
    return text


def places(tree: Snapshot) -> Iterable[TreePath]:
    """Yield every node, class and device of a tree."""
    for node_name, node in tree.nodes.items():
        yield TreePath(node_name)
        for class_name, reading in node.classes.items():
            yield TreePath(node_name, class_name)
            for number in reading.devices:
                yield TreePath(node_name, class_name, number)


def matching(wanted: Iterable[Wanted], known: Iterable[TreePath]) -> tuple[list[TreePath], list[Wanted]]:
    """Return the places of `known` that are wanted, in the order of people, and what was wanted and fits none."""
    known = list(known)
    found: set[TreePath] = set()
    missed: list[Wanted] = []
    for one in wanted:
        hits = {path for path in known if path == one} if isinstance(one, TreePath) else set(filter(one.fits, known))
        found |= hits
        if not hits:
            missed.append(one)
    return sorted(found, key=lambda path: path.sort_key), missed


def devices_of(wanted: Iterable[Wanted], devices: Sequence[TreePath]) -> tuple[list[TreePath], list[Wanted]]:
    """Return the devices that are wanted, or that are below a node or class that is, and what fits none."""
    found: set[TreePath] = set()
    missed: list[Wanted] = []
    for one in wanted:
        hits = {path for path in devices if covers(one, path)}
        found |= hits
        if not hits:
            missed.append(one)
    return sorted(found, key=lambda path: path.sort_key), missed


def covers(wanted: Wanted, device: TreePath) -> bool:
    """Tell whether a device, or a class or node above it, is wanted."""
    depth = len(wanted.parts)
    above = TreePath(device.node, device.class_name if depth > 1 else None, device.number if depth > 2 else None)
    return wanted == above if isinstance(wanted, TreePath) else wanted.fits(above)


def nearest(wanted: Wanted, known: Iterable[TreePath]) -> str:
    """Return what to end an error with about a place that is not there: the one that may have been meant."""
    name = "/".join(wanted.parts)
    names = dict.fromkeys("/".join(path.parts[: len(wanted.parts)]) for path in known)
    return parser.did_you_mean(name, names) or ": `fakehw list` shows what there is"


def parse_all(texts: Iterable[str], *, root: Path | None = None) -> list[Wanted]:
    """Return what a person wrote; InputError names the first that breaks the rule."""
    wanted = []
    for text in texts:
        try:
            wanted.append(parse(text, root=root))
        except ValueError as error:
            raise InputError(f"{text!r}: {error} (PATH)") from None
    return wanted
