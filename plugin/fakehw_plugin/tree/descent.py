"""Opening the tree's directories component by component and never through a link, so that all lies under the root."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from fakehw_plugin.tree import attributes
from fakehw_plugin.tree.entries import RootEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakehw_plugin.device import Device
    from fakehw_plugin.tree.entries import ClassEntry, NodeEntry


@contextlib.contextmanager
def opened(entry: RootEntry | NodeEntry | ClassEntry) -> Iterator[int | None]:
    """Open the directory of `entry` from the root down; None where it is gone, a link now, or closed to us.

    Like all that opens here, it raises attributes.StarvedError where nothing can be opened.
    """
    fd = _open(entry)
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _open(entry: RootEntry | NodeEntry | ClassEntry) -> int | None:
    names: list[str] = []
    while not isinstance(entry, RootEntry):
        names.append(entry.name)
        entry = entry.parent
    try:
        # The root itself may be a link: it is the user's own.
        fd = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        attributes.raise_if_starved(error)
        return None
    for name in reversed(names):
        above = fd
        try:
            fd = attributes.open_directory(name, dir_fd=above)
        except OSError:
            return None
        finally:
            os.close(above)
    return fd


def is_gone(error: OSError) -> bool:
    """Tell whether a directory could not be opened because it is none any more: an event of its parent says so too."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def is_real_device(root: str, device: Device) -> bool:
    """Tell whether `device` is a real directory under `root` at this moment, reached through no link.

    The same of its device node, if it has one. Asked before a path goes to the kubelet: a link to / must not become a
    mount of the host in a pod, and a link to a disk no device of it. Names hold no slash, so that three looks
    are enough.
    """
    path = root
    try:
        for name in (device.node, device.class_name, str(device.number)):
            path = f"{path}/{name}"
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return False
        return not device.has_device_node or _has_node_still(path)
    except OSError:
        return False


def _has_node_still(path: str) -> bool:
    fd = attributes.open_directory(path)
    try:
        return attributes.has_device_node(dir_fd=fd)
    except attributes.AttributeFileError:
        return False
    finally:
        os.close(fd)
