"""Whether a directory looks like a part of a fake tree, or is some other that happens to fit the names.

Looked at before anything is written or moved away: `photos/2024/1` may be anybody's. What the names allow is a node,
class or device if it says so itself (a host, a resource, a health), if something in it does, or if it is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.tree import directory

if TYPE_CHECKING:
    import re

_LEVELS: Final = (
    (layout.HOST, layout.CLASS_NAME),
    (layout.RESOURCE, layout.DEVICE_NUMBER),
    (layout.HEALTH, None),
)


def is_likely(parts: tuple[str, ...], *, root_fd: int) -> bool:
    """Tell whether the directory `parts` below the root looks like the node, class or device that its place asks for.

    A device of a class with a resource is one whatever it holds: its health may have been removed by hand.
    """
    if len(parts) == len(_LEVELS):
        with directory.opened_below(root_fd, parts[:-1]) as fd:
            if directory.is_there(
                layout.RESOURCE, dir_fd=fd
            ):  # looked for, not listed: a class may have 10,000 devices
                return True
    with directory.opened_below(root_fd, parts) as fd:
        return _is_likely(fd, len(parts) - 1)


def _is_likely(fd: int, level: int) -> bool:
    label, below = _LEVELS[level]
    names = directory.names(fd)
    return not names or label in names or (below is not None and any(_is_child(fd, level + 1, below, n) for n in names))


def _is_child(fd: int, level: int, pattern: re.Pattern[str], name: str) -> bool:
    if not pattern.fullmatch(name):
        return False
    try:
        with directory.opened(name, dir_fd=fd) as child_fd:
            return _is_likely(child_fd, level)
    except OSError:
        return False
