"""What the scanner remembers of the tree: one entry for each directory, linked both ways.

Entries are opened component by component and never through a link, so that what is read lies under the root.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Final

from fakehw_plugin.tree import attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakehw_plugin.device import Device
    from fakehw_plugin.logs import Logger
    from fakehw_plugin.resource_name import ResourceName

MAX_COMPLAINTS: Final = 1000
"""Remembered complaints; a tree full of rubbish must fill neither the memory nor the log."""


class RootEntry:
    """The root of the tree."""

    __slots__ = ("identity", "nodes", "path", "wd")

    is_attached: Final = True
    child_level: Final = "node"

    def __init__(self, path: str) -> None:
        self.path = path
        self.identity: int | None = None
        self.wd: int | None = None
        self.nodes: dict[str, NodeEntry] = {}

    def child(self, name: str) -> NodeEntry | None:
        """Return the node called `name`, if it is known."""
        return self.nodes.get(name)


class NodeEntry:
    """A fake node: a directory under the root."""

    child_level: Final = "class"

    __slots__ = ("classes", "identity", "is_attached", "is_ours", "name", "parent", "wd")

    def __init__(self, parent: RootEntry, name: str, identity: int) -> None:
        self.parent = parent
        self.name = name
        self.identity = identity
        self.is_attached = True
        self.is_ours = False
        self.wd: int | None = None
        self.classes: dict[str, ClassEntry] = {}

    @property
    def path(self) -> str:
        """Return the path in the file system."""
        return f"{self.parent.path}/{self.name}"

    def child(self, name: str) -> ClassEntry | None:
        """Return the class called `name`, if it is known."""
        return self.classes.get(name)


class ClassEntry:
    """A device class of a node."""

    child_level: Final = "device"

    __slots__ = ("devices", "identity", "is_attached", "name", "parent", "resource", "wd")

    def __init__(self, parent: NodeEntry, name: str, identity: int) -> None:
        self.parent = parent
        self.name = name
        self.identity = identity
        self.is_attached = True
        self.resource: ResourceName | None = None
        self.wd: int | None = None
        self.devices: dict[int, DeviceEntry] = {}

    @property
    def path(self) -> str:
        """Return the path in the file system."""
        return f"{self.parent.path}/{self.name}"

    def child(self, name: str) -> DeviceEntry | None:
        """Return the device numbered `name`, if it is known."""
        return self.devices.get(int(name)) if name.isdecimal() and name.isascii() and len(name) < 10 else None


class DeviceEntry:
    """A device of a class."""

    __slots__ = ("device", "identity", "is_attached", "number", "parent", "wd")

    def __init__(self, parent: ClassEntry, number: int, identity: int) -> None:
        self.parent = parent
        self.number = number
        self.identity = identity
        self.is_attached = True
        self.device: Device | None = None
        self.wd: int | None = None

    @property
    def path(self) -> str:
        """Return the path in the file system."""
        return f"{self.parent.path}/{self.number}"


Entry = RootEntry | NodeEntry | ClassEntry | DeviceEntry


def identity_of(status: os.stat_result) -> int:
    """Return device and inode as one number: what tells a directory from another of the same name."""
    return status.st_dev << 64 | status.st_ino


@contextlib.contextmanager
def opened(entry: RootEntry | NodeEntry | ClassEntry) -> Iterator[int | None]:
    """Open the directory of `entry` from the root down; None where it is gone or is a link now.

    Like all that opens here, it raises attributes.StarvedError where nothing can be opened.
    """
    if isinstance(entry, RootEntry):
        try:
            fd = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            attributes.raise_if_starved(error)
            yield None
            return
        try:
            yield fd
        finally:
            os.close(fd)
    else:
        with opened(entry.parent) as parent_fd:
            if parent_fd is None:
                yield None
            else:
                with opened_at(parent_fd, entry.name) as fd_or_none:
                    yield fd_or_none


@contextlib.contextmanager
def opened_at(dir_fd: int, name: str) -> Iterator[int | None]:
    """Open the directory `name` of `dir_fd`; None where that is not possible."""
    try:
        fd = attributes.open_directory(name, dir_fd=dir_fd)
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


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


class Complaints:
    """Warnings about the tree, each once until it changes or is mended."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._reasons: dict[str, str] = {}
        self._is_full = False

    def complain(self, event: str, path: str, reason: str) -> None:
        """Log `event` for `path`, unless that was the last thing said about it."""
        if self._reasons.get(path) == reason:
            return
        if len(self._reasons) >= MAX_COMPLAINTS:
            if not self._is_full:
                self._is_full = True
                self._log.warning("too_much_to_complain_about", limit=MAX_COMPLAINTS)
            return
        self._reasons[path] = reason
        self._log.warning(event, path=path, reason=reason)

    def mended(self, path: str) -> None:
        """Forget what was said about `path`."""
        if self._reasons and self._reasons.pop(path, None) is not None:
            self._is_full = False
