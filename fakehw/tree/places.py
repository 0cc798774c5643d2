"""What a person's paths stand for: nodes, classes and devices that are there, and look like parts of a fake tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.errors import InputError
from fakehw.layout import TreePath
from fakehw.tree import directory, likeness, selection, snapshot

if TYPE_CHECKING:
    from pathlib import Path

Paths = TreePath | str | Sequence[TreePath | str]

_KINDS: Final = ("node", "class", "device")


def parsed(paths: Paths) -> list[TreePath]:
    """Return the paths, each once and none below another of them; InputError for what is none."""
    given = [paths] if isinstance(paths, TreePath | str) else paths
    each = dict.fromkeys(path if isinstance(path, TreePath) else _parsed_one(path) for path in given)
    parts = {path.parts for path in each}
    return [path for path in each if not any(path.parts[:length] in parts for length in range(1, len(path.parts)))]


def _parsed_one(text: str) -> TreePath:
    try:
        return TreePath.parse(text)
    except ValueError as error:
        raise InputError(f"{text!r}: {error} (PATH)") from None


def devices_at(root_fd: int, path: TreePath, *, root: Path) -> list[TreePath]:
    """Return the device at `path`, or all devices below it; InputError, which names `root`, if there is none."""
    require(root_fd, path, root=root)
    found = [path]
    for pattern in (layout.CLASS_NAME, layout.DEVICE_NUMBER)[len(path.parts) - 1 :]:
        children = []
        for parent in found:
            with directory.opened_below(root_fd, parent.parts) as fd:
                children += [
                    TreePath.parse("/".join((*parent.parts, name)))
                    for name in directory.names(fd)
                    if pattern.fullmatch(name) and directory.is_directory(name, dir_fd=fd)
                ]
        found = children
    if path.number is not None:
        require_likely(root_fd, path, root=root)
    else:
        found = [device for device in found if likeness.is_likely(device.parts, root_fd=root_fd)]
    if not found:
        raise InputError(f"{path}: has no devices in {root}")
    return sorted(found, key=lambda device: device.sort_key)


def require(root_fd: int, path: TreePath, *, root: Path) -> None:
    """Pass if there is a directory at `path`, through no link; else InputError with the nearest name that there is."""
    kind = _KINDS[len(path.parts) - 1]
    try:
        with directory.opened_below(root_fd, path.parts):
            pass
    except FileNotFoundError:
        hint = selection.nearest(path, selection.places(snapshot.read_root(root_fd)))
        raise InputError(f"{path}: no such {kind} in {root}{hint}") from None
    except NotADirectoryError:
        raise InputError(f"{path}: is not a directory in {root}: must be a {kind}, and not behind a link") from None


def require_likely(root_fd: int, path: TreePath, *, root: Path) -> None:
    """Pass if what is there looks like a part of a fake tree; else InputError."""
    require(root_fd, path, root=root)
    if not likeness.is_likely(path.parts, root_fd=root_fd):
        kind = _KINDS[len(path.parts) - 1]
        raise InputError(f"{path}: does not look like a {kind} of a fake tree: is left alone (in {root})")


def require_likely_device(root_fd: int, path: TreePath, *, root: Path) -> None:
    """Pass if there is a device of a fake tree; else InputError."""
    if path.number is None:
        raise InputError(f"{path}: must be a device (PATH)")
    require_likely(root_fd, path, root=root)
