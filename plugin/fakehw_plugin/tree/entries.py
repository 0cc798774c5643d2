"""What is remembered of the tree: one entry for each directory, linked both ways. See `descent` for opening them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os

    from fakehw_plugin.device import Device
    from fakehw_plugin.resource_name import ResourceName


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
