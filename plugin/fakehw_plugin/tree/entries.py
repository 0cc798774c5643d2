"""What is remembered of the tree: one entry for each directory, linked both ways. See `descent` for opening them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from fakehw_plugin.attribute import AttributeType, Effect
from fakehw_plugin.offer import Api

if TYPE_CHECKING:
    import os

    from fakehw_plugin.device import Device
    from fakehw_plugin.offer import Offer


class RootEntry:
    """The root of the tree."""

    __slots__ = ("file_system", "identity", "nodes", "path", "wd")

    is_attached: Final = True
    child_level: Final = "node"

    def __init__(self, path: str) -> None:
        self.path = path
        self.file_system = 0
        """The number of the device that the root is on."""
        self.identity: int | None = None
        self.wd: int | None = None
        self.nodes: dict[str, NodeEntry] = {}

    def child(self, name: str) -> NodeEntry | None:
        """Return the node called `name`, if it is known."""
        return self.nodes.get(name)


class NodeEntry:
    """A fake node: a directory under the root."""

    child_level: Final = "class"

    __slots__ = ("classes", "identity", "is_attached", "is_ours", "name", "parent", "path", "wd")

    def __init__(self, parent: RootEntry, name: str, identity: int) -> None:
        self.parent = parent
        self.name = name
        self.path = f"{parent.path}/{name}"
        self.identity = identity
        self.is_attached = True
        self.is_ours = False
        self.wd: int | None = None
        self.classes: dict[str, ClassEntry] = {}

    @property
    def file_system(self) -> int:
        """Return that of the root."""
        return self.parent.file_system

    def child(self, name: str) -> ClassEntry | None:
        """Return the class called `name`, if it is known."""
        return self.classes.get(name)


class ClassSettings(NamedTuple):
    """What a class says of all its devices together. All but the API is for DRA."""

    api: Api = Api.DEVICE_PLUGIN
    driver: str = ""
    unhealthy_effect: Effect = Effect.NO_SCHEDULE
    types: tuple[tuple[str, AttributeType], ...] = ()
    """Of attributes that are no strings."""


class ClassEntry:
    """A device class of a node."""

    child_level: Final = "device"

    __slots__ = ("devices", "identity", "is_attached", "name", "offer", "parent", "path", "settings", "taints", "wd")

    def __init__(self, parent: NodeEntry, name: str, identity: int) -> None:
        self.parent = parent
        self.name = name
        self.path = f"{parent.path}/{name}"
        self.identity = identity
        self.is_attached = True
        self.offer: Offer | None = None
        self.settings: ClassSettings | None = None
        self.wd: int | None = None
        self.devices: dict[int, DeviceEntry] = {}
        self.taints: dict[int, TaintsEntry] = {}
        """By device, where they are read; not in each device: there may be 50,000, and most have none."""

    @property
    def file_system(self) -> int:
        """Return that of the root."""
        return self.parent.file_system

    def child(self, name: str) -> DeviceEntry | None:
        """Return the device numbered `name`, if it is known."""
        return self.devices.get(int(name)) if name.isdecimal() and name.isascii() and len(name) < 10 else None


class DeviceEntry:
    """A device of a class. What is kept here is kept for each of many: see docs/speed.md."""

    __slots__ = ("device", "identity", "number", "parent", "wd")

    def __init__(self, parent: ClassEntry, number: int, identity: int) -> None:
        self.parent = parent
        self.number = number
        self.identity = identity
        self.device: Device | None = None
        self.wd: int | None = None

    @property
    def is_attached(self) -> bool:
        """Tell whether it is a part of the tree still."""
        return self.parent.devices.get(self.number) is self

    @property
    def taints(self) -> TaintsEntry | None:
        """Return its directory `taints`, where that is read."""
        return self.parent.taints.get(self.number)

    @property
    def path(self) -> str:
        """Return the path in the file system."""
        return f"{self.parent.path}/{self.number}"


class TaintsEntry:
    """The directory `taints` of a device by DRA: watched, and read with its device."""

    __slots__ = ("device", "has_changed", "wd")

    is_attached: Final = True

    def __init__(self, device: DeviceEntry) -> None:
        self.device = device
        self.wd: int | None = None
        self.has_changed = True
        """Something may say otherwise than when the device was read last: a taint, or an attribute beside them."""


Entry = RootEntry | NodeEntry | ClassEntry | DeviceEntry
Watched = Entry | TaintsEntry
"""What an event can be about."""


def identity_of(status: os.stat_result, *, file_system: int) -> int:
    """Return device and inode as one number: what tells a directory from another of the same name.

    The device as it differs from `file_system`, so that it is a small number for nearly all.
    """
    return (status.st_dev ^ file_system) << 64 | status.st_ino
