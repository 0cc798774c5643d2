"""Whether a directory looks like a part of a fake tree, or is some other that happens to fit the names.

Looked at before anything is written or moved away: `photos/holidays/1` may be anybody's. A sign of a fake tree is a
host, a resource, a health, or a class that is called devK; a directory that has none, and is in none that has one, is
let be.
"""

from __future__ import annotations

from fakehw import layout
from fakehw.tree import directory


def is_likely(parts: tuple[str, ...], *, root_fd: int) -> bool:
    """Tell whether the directory `parts` below the root looks like the node, class or device that its place asks for.

    A device of a class with a resource is one whatever it holds: its health may have been removed by hand. An empty
    directory is a node, since a spec may have brought one like that.
    """
    with directory.opened_below(root_fd, parts) as fd:
        if len(parts) == 1:
            names = directory.listed(fd)
            return not names or layout.HOST in names or any(_is_class(fd, name) for name in names)
        if len(parts) == 2:
            return _has_sign(fd, parts[-1])
        names = directory.listed(fd)
    if layout.HEALTH in names:
        return True
    with directory.opened_below(root_fd, parts[:-1]) as fd:
        # A resource is looked for first, and the class not listed: it may have 10,000 devices.
        if directory.is_there(layout.RESOURCE, dir_fd=fd) or layout.class_number(parts[1]) is not None:
            return True
        return not names and _has_sign(fd, parts[1])


def _is_class(node_fd: int, name: str) -> bool:
    if not layout.CLASS_NAME.fullmatch(name):
        return False
    try:
        with directory.opened(name, dir_fd=node_fd) as fd:
            return _has_sign(fd, name)
    except OSError:
        return False


def _has_sign(class_fd: int, name: str) -> bool:
    """Tell whether a class says that it is one: by its resource, by its name, or by the health of a device."""
    if layout.class_number(name) is not None or directory.is_there(layout.RESOURCE, dir_fd=class_fd):
        return True
    return any(
        layout.DEVICE_NUMBER.fullmatch(device) and _has_health(class_fd, device) for device in directory.names(class_fd)
    )


def _has_health(class_fd: int, device: str) -> bool:
    try:
        with directory.opened(device, dir_fd=class_fd) as fd:
            return directory.is_there(layout.HEALTH, dir_fd=fd)
    except OSError:
        return False
