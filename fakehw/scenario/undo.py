"""How a scenario is undone: what has to be put back, given how it was, what we left, and how it is now. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fakehw import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakehw.layout import TreePath
    from fakehw.tree.snapshot import FoundDevice


@dataclass(frozen=True, slots=True)
class Left:
    """What we left of a device: the text of its health file (None: no such file), or that it is out."""

    text: str | None = None
    is_out: bool = False


OUT: Final = Left(is_out=True)


@dataclass(frozen=True, slots=True)
class Undo:
    """What has to be done: devices to put in again, health files to write (None: to remove).

    `others` are the devices that somebody else has changed since: they are left as they are.
    """

    devices: dict[TreePath, FoundDevice] = field(default_factory=dict)
    texts: dict[TreePath, str | None] = field(default_factory=dict)
    others: tuple[TreePath, ...] = ()


def undo(
    before: Mapping[TreePath, FoundDevice], left: Mapping[TreePath, Left], now: Mapping[TreePath, FoundDevice]
) -> Undo:
    """Return what puts every device that we left changed, and nobody has changed since, back as it was before."""
    devices: dict[TreePath, FoundDevice] = {}
    texts: dict[TreePath, str | None] = {}
    others = []
    for path in sorted(left, key=lambda path: path.sort_key):
        was, ours, found = before[path], left[path], now.get(path)
        if ours.is_out:
            if found is None:
                devices[path] = was
            else:
                others.append(path)
        elif found is None or health_of(found) != ours.text:
            others.append(path)
        elif ours.text != health_of(was):
            texts[path] = health_of(was)
    return Undo(devices, texts, tuple(others))


def health_of(device: FoundDevice) -> str | None:
    """Return the text of a device's health file; None where there is none, or none that can be read."""
    value = device.attributes.get(layout.HEALTH)
    return value if isinstance(value, str) else None
