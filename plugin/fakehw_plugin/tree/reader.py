"""Reading the tree, level by level, into entries that remember what was there.

Nothing in the tree can stop the reader: what is not a device is passed over with one log line, and a device that cannot
be read is Unhealthy with the reason. It never follows a link and never blocks on a file (see `attributes`).

What may concern many entries is a generator that yields after every one, so that the caller can let others run.
Any of them raises attributes.StarvedError where nothing can be opened; what was known stands then.
"""

from __future__ import annotations

import functools
import os
import stat
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from fakehw_plugin import device, logs
from fakehw_plugin.device import Device, DeviceID, Health
from fakehw_plugin.resource_name import ResourceName
from fakehw_plugin.tree import attributes, entries

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from fakehw_plugin import inotify
    from fakehw_plugin.tree.entries import ClassEntry, DeviceEntry, Entry, NodeEntry, RootEntry

FAULTS: Final = "rpc"
"""A directory of a class that is no device: see rpc_faults."""

ATTRIBUTES: Final = ("host", "resource")
"""Files that stand among the directories of nodes and classes."""

_NAME_RULES: Final = {
    "node": device.NODE_NAME.fullmatch,
    "class": device.CLASS_NAME.fullmatch,
    "device": device.DEVICE_NUMBER.fullmatch,
}
_SCAN_STEP: Final = 256
"""Directory entries between two offers to let others run."""

Changes = dict[ResourceName, dict[DeviceID, Device | None]]


class TreeReader:
    """Reads the tree at `root` for the Kubernetes node `host` (empty: the whole tree) and notes what changed."""

    def __init__(self, root: str, *, host: str, domain: str, watch: inotify.Watcher[Entry]) -> None:
        self.is_present = False
        """The root is there and is a directory."""
        self.root = entries.RootEntry(root)
        self.host: Final = host
        self._domain = domain
        self._watch = watch
        self._changes: Changes = defaultdict(dict)
        self._unfinished: list[DeviceEntry] = []
        self._classes_of: defaultdict[ResourceName, int] = defaultdict(int)
        self._told = entries.Complaints(logs.get_logger())

    @property
    def resources(self) -> set[ResourceName]:
        """Return the resources that have a class on this host, be it with no device at all."""
        return {resource for resource, count in self._classes_of.items() if count > 0}

    def take_changes(self) -> Changes:
        """Return what changed since the last call: devices by resource and ID, None for one that left the tree."""
        changes, self._changes = self._changes, defaultdict(dict)
        return changes

    def take_unfinished(self) -> list[DeviceEntry]:
        """Return the known devices that were met in the middle of a write since the last call: look again later."""
        unfinished, self._unfinished = self._unfinished, []
        return unfinished

    def scan(self) -> Iterator[None]:
        """Read everything."""
        self._watch.open()
        root = self.root
        try:
            status = os.stat(root.path)  # noqa: PTH116  # the root itself may be a link: it is the user's own
        except OSError as error:
            yield from self._lose_root(error.strerror or str(error))
            return
        if not stat.S_ISDIR(status.st_mode):
            yield from self._lose_root("not a directory")
            return
        if root.identity != (identity := entries.identity_of(status)):
            for node in tuple(root.nodes.values()):
                yield from self._drop_node(node)
            self._watch.remove(root.wd, root)
            root.identity, root.wd = identity, None
        if root.wd is None:
            root.wd = self._watch.add(os.path.realpath(root.path), root)
        self.is_present = True
        self._told.mended(root.path)
        with entries.opened(root) as fd:
            if fd is not None:
                yield from self._list(fd, root, root.nodes, self._examine_node)

    def look(self, entry: Entry, name: str, *, settled: bool) -> Generator[None, None, bool]:
        """Read again what stands under `name`; returns False if it is unfinished and was not believed."""
        if not entry.is_attached:
            return True
        with entries.opened(entry.parent if isinstance(entry, entries.DeviceEntry) else entry) as fd:
            if fd is None:
                return True  # the directory is gone, or a link now: its parent has an event of its own
            if isinstance(entry, entries.DeviceEntry):
                return self._read_device(fd, entry, settled=settled)
            if isinstance(entry, entries.RootEntry):
                yield from self._examine_node(fd, name)
            elif isinstance(entry, entries.NodeEntry):
                if name == "host":
                    yield from self._read_node(fd, entry)
                elif entry.is_ours:
                    yield from self._examine_class(entry, fd, name)
            elif name == "resource":
                yield from self._read_resource(fd, entry)
            else:
                yield from self._examine_device(entry, fd, name)
        return True

    def _list(
        self,
        fd: int,
        entry: RootEntry | NodeEntry | ClassEntry,
        children: Mapping[str, Entry] | Mapping[int, Entry],
        examine: Callable[[int, str], Iterator[None]],
    ) -> Iterator[None]:
        """Examine every name of a directory and every child that it had."""
        names = {str(name) for name in children}
        try:
            with os.scandir(fd) as items:
                for count, item in enumerate(items):
                    if not item.name.startswith("."):
                        names.add(item.name)
                    if count % _SCAN_STEP == 0:
                        yield
        except OSError as error:  # a file system that fails half-way: what was known is looked at by name
            attributes.raise_if_starved(error)
            self._told.complain("directory_not_listed", entry.path, error.strerror or str(error))
        # Shorter names first: that is the order of numbers, at a twentieth of the cost of a natural sort of 50,000.
        for name in sorted(sorted(names), key=len):
            yield from examine(fd, name)

    def _identify(self, fd: int, parent: RootEntry | NodeEntry | ClassEntry, name: str) -> int | None:
        """Return the identity of the directory `name`; None, with a complaint if need be, where it is no child."""
        path = f"{parent.path}/{name}"
        level = (
            "node"
            if isinstance(parent, entries.RootEntry)
            else "class"
            if isinstance(parent, entries.NodeEntry)
            else "device"
        )
        is_well_named = _NAME_RULES[level](name)
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            self._told.mended(path)
            return None
        if not stat.S_ISDIR(status.st_mode):
            if is_well_named and name not in ATTRIBUTES and (level == "device" or stat.S_ISLNK(status.st_mode)):
                self._told.complain(f"{level}_passed_over", path, f"is {attributes.kind(status.st_mode)}, no directory")
            return None
        if not is_well_named:
            if level == "device" and name == FAULTS:
                return None
            self._told.complain(f"{level}_passed_over", repr(path), f"is not a valid name of a {level}")
            return None
        self._told.mended(path)
        return entries.identity_of(status)

    # One level each: a name that may have appeared, changed, been replaced or gone.

    def _examine_node(self, root_fd: int, name: str) -> Iterator[None]:
        node = self.root.nodes.get(name)
        identity = self._identify(root_fd, self.root, name)
        if node is not None and node.identity != identity:
            yield from self._drop_node(node)
            node = None
        if identity is None:
            return
        if node is None:
            node = self.root.nodes[name] = entries.NodeEntry(self.root, name, identity)
        if node.wd is None:
            node.wd = self._watch.add(node.path, node)
        with entries.opened_at(root_fd, name) as fd:
            if fd is not None:
                yield from self._read_node(fd, node)

    def _read_node(self, fd: int, node: NodeEntry) -> Iterator[None]:
        try:
            host = attributes.read("host", dir_fd=fd)
        except attributes.MissingAttributeError:
            host = ""
        except attributes.AttributeFileError as error:
            self._told.complain("node_passed_over", f"{node.path}/host", str(error))
            host = None
        node.is_ours = host is not None and (not host or not self.host or host == self.host)
        if node.is_ours:
            yield from self._list(fd, node, node.classes, functools.partial(self._examine_class, node))
        else:
            for class_entry in tuple(node.classes.values()):
                yield from self._drop_class(class_entry)

    def _examine_class(self, node: NodeEntry, node_fd: int, name: str) -> Iterator[None]:
        class_entry = node.classes.get(name)
        identity = self._identify(node_fd, node, name)
        if class_entry is not None and class_entry.identity != identity:
            yield from self._drop_class(class_entry)
            class_entry = None
        if identity is None:
            return
        if class_entry is None:
            class_entry = node.classes[name] = entries.ClassEntry(node, name, identity)
        if class_entry.wd is None:
            class_entry.wd = self._watch.add(class_entry.path, class_entry)
        with entries.opened_at(node_fd, name) as fd:
            if fd is not None:
                yield from self._read_resource(fd, class_entry)
                yield from self._list(
                    fd, class_entry, class_entry.devices, functools.partial(self._examine_device, class_entry)
                )

    def _read_resource(self, fd: int, class_entry: ClassEntry) -> Iterator[None]:
        resource: ResourceName | None = None
        number = device.class_number(class_entry.name)
        try:
            resource = ResourceName.parse(attributes.read("resource", dir_fd=fd))
        except attributes.MissingAttributeError:
            if number is not None:
                resource = ResourceName.parse(f"{self._domain}/mydevice-{number}")
            else:
                self._told.complain("class_passed_over", class_entry.path, "has no resource and is not named devK")
        except (attributes.AttributeFileError, ValueError) as error:
            self._told.complain("class_passed_over", f"{class_entry.path}/resource", str(error))
        if resource != class_entry.resource:
            yield from self._assign(class_entry, resource)

    def _assign(self, class_entry: ClassEntry, resource: ResourceName | None) -> Iterator[None]:
        """Move a class and its devices to another resource."""
        for entry in class_entry.devices.values():
            self._record(entry, None)
            yield
        if class_entry.resource is not None:
            self._classes_of[class_entry.resource] -= 1
        class_entry.resource = resource
        if resource is not None:
            self._classes_of[resource] += 1
        for entry in class_entry.devices.values():
            self._record(entry, entry.device)
            yield

    def _examine_device(self, class_entry: ClassEntry, class_fd: int, name: str) -> Iterator[None]:
        number = int(name) if device.DEVICE_NUMBER.fullmatch(name) else -1
        entry = class_entry.devices.get(number)
        identity = self._identify(class_fd, class_entry, name)
        if identity and len(f"{class_entry.parent.name}-{class_entry.name}-{name}") > device.MAX_ID_LENGTH:
            reason = f"its ID would be longer than {device.MAX_ID_LENGTH} characters"
            self._told.complain("device_passed_over", f"{class_entry.path}/{name}", reason)
            return
        if entry is not None and entry.identity != identity:
            self._drop_device(entry)
            entry = None
        if identity is None:
            return
        if entry is None:
            entry = class_entry.devices[number] = entries.DeviceEntry(class_entry, number, identity)
        if entry.wd is None:
            entry.wd = self._watch.add(entry.path, entry)
        # A known device may be in the middle of a write at this moment: that is for its own event, or for later.
        if not self._read_device(class_fd, entry, settled=True, patient=entry.device is not None):
            self._unfinished.append(entry)
        yield

    def _read_device(self, class_fd: int, entry: DeviceEntry, *, settled: bool, patient: bool = False) -> bool:
        """Read one device; False if what it says may be half-written and is not to be believed yet."""
        was = entry.device
        numa_node, has_device_node, is_settled = None, False, True
        try:
            fd = attributes.open_directory(str(entry.number), dir_fd=class_fd)
        except OSError as error:
            reading = attributes.HealthReading(
                Health.UNHEALTHY, f"directory cannot be opened: {error.strerror}", is_settled=True
            )
        else:
            try:
                reading = attributes.read_health(dir_fd=fd)
                has_device_node = self._has_device_node(fd, entry)
                numa_node = attributes.read_numa_node(dir_fd=fd)
            except attributes.AttributeFileError as error:
                if was is not None and (patient or not settled):
                    numa_node, is_settled = was.numa_node, False
                else:
                    self._told.complain("numa_node_ignored", f"{entry.path}/numa_node", str(error))
            finally:
                os.close(fd)
        node, class_name = entry.parent.parent.name, entry.parent.name
        now = Device(node, class_name, entry.number, reading.health, reading.reason, numa_node, has_device_node)
        if now == was:
            return is_settled
        if not reading.is_settled and (patient or not settled):
            return False
        entry.device = now
        self._record(entry, now)
        return is_settled

    def _has_device_node(self, fd: int, entry: DeviceEntry) -> bool:
        path = f"{entry.path}/node"
        try:
            has_device_node = attributes.has_device_node(dir_fd=fd)
        except attributes.AttributeFileError as error:
            self._told.complain("device_node_ignored", path, str(error))
            return False
        self._told.mended(path)
        return has_device_node

    # Taking note and letting go.

    def _record(self, entry: DeviceEntry, now: Device | None) -> None:
        resource = entry.parent.resource
        known = now or entry.device
        if resource is not None and known is not None:
            self._changes[resource][known.id] = now

    def _drop_device(self, entry: DeviceEntry) -> None:
        self._record(entry, None)
        entry.is_attached = False
        self._watch.remove(entry.wd, entry)
        del entry.parent.devices[entry.number]

    def _drop_class(self, class_entry: ClassEntry) -> Iterator[None]:
        for entry in tuple(class_entry.devices.values()):
            self._drop_device(entry)
            yield
        if class_entry.resource is not None:
            self._classes_of[class_entry.resource] -= 1
        class_entry.is_attached = False
        self._watch.remove(class_entry.wd, class_entry)
        del class_entry.parent.classes[class_entry.name]

    def _drop_node(self, node: NodeEntry) -> Iterator[None]:
        for class_entry in tuple(node.classes.values()):
            yield from self._drop_class(class_entry)
        node.is_attached = False
        self._watch.remove(node.wd, node)
        del self.root.nodes[node.name]

    def _lose_root(self, reason: str) -> Iterator[None]:
        self.is_present = False
        self._told.complain("tree_not_ready", self.root.path, reason)
        for node in tuple(self.root.nodes.values()):
            yield from self._drop_node(node)
        self._watch.remove(self.root.wd, self.root)
        self.root.identity, self.root.wd = None, None
