"""How a scenario is undone: what has to be put back, given how it was, what we left, and how it is now. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakehw.layout import TreePath
    from fakehw.tree.snapshot import FoundDevice


@dataclass(frozen=True, slots=True)
class Left:
    """What we left of a device: the attributes that we wrote (None: removed), or that it is out, with these in it."""

    values: Mapping[str, str | None] = field(default_factory=dict)
    is_out: bool = False

    def with_value(self, name: str, text: str | None) -> Left:
        """Return it with one attribute more, or another value of it, in a device that is in."""
        return Left({**self.values, name: text})

    def out(self) -> Left:
        """Return it as pulled out."""
        return replace(self, is_out=True)


@dataclass(frozen=True, slots=True)
class Undo:
    """What has to be done: devices to put in again, attributes to write (None: to remove).

    `others` are the devices of which somebody else has changed since what we left: that is left as it is.
    """

    devices: dict[TreePath, FoundDevice] = field(default_factory=dict)
    values: dict[TreePath, dict[str, str | None]] = field(default_factory=dict)
    others: tuple[TreePath, ...] = ()


def undo(
    before: Mapping[TreePath, FoundDevice], left: Mapping[TreePath, Left], now: Mapping[TreePath, FoundDevice]
) -> Undo:
    """Return what puts every device that we left changed, and nobody has changed since, back as it was before."""
    devices: dict[TreePath, FoundDevice] = {}
    values: dict[TreePath, dict[str, str | None]] = {}
    others = []
    for path in sorted(left, key=lambda path: path.sort_key):
        was, ours, found = before[path], left[path], now.get(path)
        if ours.is_out and found is None:
            devices[path] = was
            continue
        if ours.is_out or found is None:
            others.append(path)
            continue
        theirs = [name for name, text in ours.values.items() if found.text(name) != text]
        if theirs:
            others.append(path)
        todo = {name: was.text(name) for name, text in ours.values.items() if text != was.text(name)}
        if todo := {name: text for name, text in todo.items() if name not in theirs}:
            values[path] = todo
    return Undo(devices, values, tuple(others))
