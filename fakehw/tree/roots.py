"""The root of a tree: made, opened, and refused where it is no fake tree: --root may have been given in haste."""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.errors import InputError, TreeError
from fakehw.tree import directory, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fakehw.tree.snapshot import Snapshot

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC
_TOLERATED: Final = frozenset({"lost+found"})


def make(root: Path) -> None:
    """Make the root and what is missing above it, with the modes that are promised whatever the umask."""
    missing = []
    place = root.absolute()
    while not place.is_dir():  # what is there may be no directory: opening it will tell
        missing.append(place)
        place = place.parent
    for directory_path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            directory_path.mkdir()
            directory_path.chmod(layout.DIR_MODE)


@contextlib.contextmanager
def opened(root: Path) -> Iterator[int]:
    """Open the root; InputError if it is no directory, or holds something that is no fake tree."""
    try:
        fd = os.open(root, _FLAGS)  # the root itself may be a link: it is the user's own
    except (FileNotFoundError, NotADirectoryError) as error:
        rule = "must be the directory of a tree (--root, FAKEHW_ROOT)"
        raise InputError(f"{root}: {error.strerror}: {rule}") from None
    try:
        _require_tree(fd, root)
        yield fd
    finally:
        os.close(fd)


def _require_tree(root_fd: int, root: Path) -> None:
    """Refuse a root that holds something, and nothing of ours, and does not look like a fake tree."""
    if directory.is_directory(layout.PRIVATE_DIR, dir_fd=root_fd):
        return
    actual = snapshot.read_root(root_fd)
    foreign = [name for name in actual.foreign if name not in _TOLERATED]
    # What stands in the way of a class or device of a tree that somebody made by hand is named later, one by one.
    in_the_way = {str(path).removeprefix("/") for path in actual.obstacles}
    foreign += [
        f"{name}/{more}"
        for name, node in actual.nodes.items()
        for more in node.all_foreign()
        if not node.is_likely or f"{name}/{more}" not in in_the_way
    ]
    if not any(node.has_sign for node in actual.nodes.values()):
        foreign += [*actual.nodes, *actual.hidden]  # a home may hold nothing else than .ssh
    if foreign:
        raise InputError(
            f"{root}: is not a fake tree: {min(foreign)} is no part of one: "
            "must be an empty directory, or a tree (--root, FAKEHW_ROOT)"
        )


def refuse_foreign(actual: Snapshot, *, root: Path) -> None:
    """Pass if a reset would delete nothing but a fake tree; else TreeError with a line for each thing in its way."""
    lines = [
        f"{root}/{name}: is not part of a fake tree: must be moved away before a reset (--reset)"
        for name in sorted(actual.foreign)
        if name not in _TOLERATED
    ]
    for name, node in sorted(actual.nodes.items()):
        lines += [
            f"{root}/{name}/{foreign}: is not part of a fake tree: must be moved away before a reset (--reset)"
            for foreign in itertools.islice(node.all_foreign(), 1)
        ]
    lines += [
        f"{root}{path}: is {kind}: must be moved away before a reset (--reset)"
        for path, kind in sorted(actual.obstacles.items(), key=lambda item: item[0].sort_key)
        if path.class_name is None and path.node not in actual.foreign
    ]
    if lines:
        raise TreeError(*lines)
