"""Reading the tree, level by level, into what is known of it.

Nothing in the tree can stop the reader: what is not a device is passed over with one log line, and a device that cannot
be read is Unhealthy with the reason. It never follows a link and never blocks on a file (see `attributes`).

What is wrong is handed in by the path that was read; a leading dot, which no child has, tells a directory's own list
(`.`) and attributes (`.host`, `.resource`) from what stands in it. What may concern many entries is a generator that
yields after every one, so that the caller can let others run. Any of them raises attributes.StarvedError where nothing
can be opened; what was known stands then.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Final

from fakehw_plugin import device, logs
from fakehw_plugin.device import Health
from fakehw_plugin.offer import Offer
from fakehw_plugin.resource_name import ResourceName
from fakehw_plugin.tree import attributes, class_settings, descent, entries, names
from fakehw_plugin.tree.complaints import Complaints, Found
from fakehw_plugin.tree.device_reader import DeviceReader
from fakehw_plugin.tree.known import KnownTree

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Iterator, Mapping

    from fakehw_plugin import inotify
    from fakehw_plugin.offer import Api
    from fakehw_plugin.tree.entries import ClassEntry, DeviceEntry, Entry, NodeEntry, RootEntry, Watched

_SCAN_STEP: Final = 256
"""Directory entries between two offers to let others run."""


class TreeReader:
    """Reads the tree at `path` for the Kubernetes node `host` (empty: the whole tree) into `known`.

    With `nodes`, whatever their host, fake nodes of other names are passed over.
    """

    def __init__(
        self,
        path: str,
        *,
        host: str,
        domain: str,
        api: Api,
        watch: inotify.Watcher[Watched],
        nodes: Container[str] | None = None,
    ) -> None:
        self.is_present = False
        """The root is there, is a directory and can be read."""
        self.is_orphaned = False
        """The root was deleted while it is mounted here: whatever is made in its place elsewhere is never seen."""
        self.root_moved = False
        """The root was moved while it was opened and watched: no event will tell what stands in its place now."""
        self.host: Final = host
        self._nodes = nodes
        self._domain = domain
        self._api = api
        self._watch = watch
        self._complaints = Complaints(logs.get_logger())
        self.known: Final = KnownTree(path, watch=watch, complaints=self._complaints)
        self._devices = DeviceReader(self.known, self._complaints, watch)
        self._incomplete: list[DeviceEntry] = []

    def take_incomplete(self) -> list[DeviceEntry]:
        """Return the known devices that were met in the middle of a write since the last call: look again later."""
        incomplete, self._incomplete = self._incomplete, []
        return incomplete

    def scan(self) -> Iterator[None]:
        """Read everything."""
        self._watch.open()
        root = self.known.root
        try:
            # The root itself may be a link: it is the user's own.
            fd = os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            attributes.raise_if_starved(error)
            self.is_orphaned = False
            yield from self._lose_root(error.strerror or str(error))
            return
        try:
            status = os.fstat(fd)
            self.is_orphaned = status.st_nlink == 0
            if self.is_orphaned:
                yield from self._lose_root("deleted under its mount; only a restart finds another")
                return
            if root.identity != (identity := entries.identity_of(status, file_system=0)):
                yield from self.known.drop_root()
                root.identity, root.file_system = identity, status.st_dev
            if root.wd is None:
                root.wd = self._watch.add(os.path.realpath(root.path), root)
                is_root = self._is_root(identity)
                self.root_moved = not is_root or (root.wd is None and self._watch.exhausted is None)
                if not is_root:  # and the watch, if there is one, is another directory's
                    self._watch.remove(root.wd, root)
                    root.wd = None
                    return
            self.is_present = True
            self._complaints.replace(root.path, {})
            yield from self._list(fd, root, root.nodes, self._examine_node)
        finally:
            os.close(fd)

    def _is_root(self, identity: int) -> bool:
        """Tell whether the directory that was opened stands there still."""
        try:
            status = os.stat(self.known.root.path)  # noqa: PTH116  # a Path for each look is slower
        except OSError:
            return False
        return entries.identity_of(status, file_system=0) == identity

    def _lose_root(self, reason: str) -> Iterator[None]:
        self.is_present = self.root_moved = False
        self._complaints.replace(self.known.root.path, {(self.known.root.path, "tree_not_ready"): reason})
        yield from self.known.drop_root()

    def look(self, entry: Entry, name: str, *, may_wait: bool) -> Generator[None, None, bool]:
        """Read again what stands under `name`; False if it may not be whole yet, and what was known stands."""
        if not entry.is_attached:
            return True
        with descent.opened(entry.parent if isinstance(entry, entries.DeviceEntry) else entry) as fd:
            if fd is None:
                return True  # the directory is gone, a link or closed to us: its parent has an event of its own
            if isinstance(entry, entries.DeviceEntry):
                return self._devices.read(fd, entry, may_wait=may_wait)
            yield from self._examine(fd, entry, name)
        return True

    def _examine(self, fd: int, entry: RootEntry | NodeEntry | ClassEntry, name: str) -> Iterator[None]:
        if isinstance(entry, entries.RootEntry):
            yield from self._examine_node(fd, name)
        elif isinstance(entry, entries.NodeEntry):
            if name == "host":
                yield from self._read_node(fd, entry)
            elif entry.is_ours:
                yield from self._examine_class(entry, fd, name)
        elif name in names.ATTRIBUTES:
            was = entry.settings
            yield from self._read_offer(fd, entry)
            if entry.settings != was:  # its devices are read in another way now
                yield from self._list_devices(fd, entry)
        else:
            yield from self._examine_device(entry, fd, name)

    def _list(
        self,
        fd: int,
        entry: RootEntry | NodeEntry | ClassEntry,
        children: Mapping[str, Entry] | Mapping[int, Entry],
        examine: Callable[[int, str], Iterator[None]],
    ) -> Iterator[None]:
        """Examine every name of a directory, every child that it had and what there was to complain about."""
        found: Found = {}
        present = {str(name) for name in children}
        present.update(name for name in self._complaints.names(entry.path) if not name.startswith("."))
        try:
            with os.scandir(fd) as items:
                for count, item in enumerate(items):
                    if not item.name.startswith("."):
                        present.add(item.name)
                    if count % _SCAN_STEP == 0:
                        yield
        except OSError as error:  # a file system that fails half-way: what was known is looked at by name
            attributes.raise_if_starved(error)
            found[entry.path, "directory_not_listed"] = error.strerror or str(error)
        self._complaints.replace(f"{entry.path}/.", found)
        # Shorter names first: that is the order of numbers, at a twentieth of the cost of a natural sort of 50,000.
        for name in sorted(sorted(present), key=len):
            yield from examine(fd, name)

    # One level each: a name that may have appeared, changed, been replaced or gone.

    def _examine_node(self, root_fd: int, name: str) -> Iterator[None]:
        root, found = self.known.root, Found()
        node = root.nodes.get(name)
        identity = names.identify(root_fd, root, name, found)
        if node is not None and node.identity != identity:
            yield from self.known.drop_node(node)
            node = None
        if identity is not None:
            if node is None:
                node = root.nodes[name] = entries.NodeEntry(root, name, identity)
            if node.wd is None:
                node.wd = self._watch.add(node.path, node)
            try:
                fd = attributes.open_directory(name, dir_fd=root_fd)
            except OSError as error:
                if not descent.is_gone(error):
                    found[node.path, "directory_not_opened"] = error.strerror or str(error)
                    for class_entry in tuple(node.classes.values()):
                        yield from self._shut(class_entry, f"node directory cannot be opened: {error.strerror}")
            else:
                try:
                    yield from self._read_node(fd, node)
                finally:
                    os.close(fd)
        self._complaints.replace(f"{root.path}/{name}", found)

    def _read_node(self, fd: int, node: NodeEntry) -> Iterator[None]:
        found = Found()
        host: str | None = ""
        try:
            host = attributes.read("host", dir_fd=fd)
        except attributes.MissingAttributeError:
            pass
        except attributes.AttributeFileError as error:
            found[f"{node.path}/host", "node_passed_over"] = str(error)
            host = None
        self._complaints.replace(f"{node.path}/.host", found)
        node.is_ours = host is not None and (not host or not self.host or host == self.host)
        node.is_ours &= self._nodes is None or node.name in self._nodes
        if node.is_ours:
            yield from self._list(fd, node, node.classes, functools.partial(self._examine_class, node))
        else:
            yield from self.known.drop_classes(node)

    def _examine_class(self, node: NodeEntry, node_fd: int, name: str) -> Iterator[None]:
        found = Found()
        class_entry = node.classes.get(name)
        identity = names.identify(node_fd, node, name, found)
        if class_entry is not None and class_entry.identity != identity:
            yield from self.known.drop_class(class_entry)
            class_entry = None
        if identity is not None:
            if class_entry is None:
                class_entry = node.classes[name] = entries.ClassEntry(node, name, identity)
            if class_entry.wd is None:
                class_entry.wd = self._watch.add(class_entry.path, class_entry)
            try:
                fd = attributes.open_directory(name, dir_fd=node_fd)
            except OSError as error:
                if not descent.is_gone(error):
                    found[class_entry.path, "directory_not_opened"] = error.strerror or str(error)
                    yield from self._shut(class_entry, f"class directory cannot be opened: {error.strerror}")
            else:
                try:
                    yield from self._read_class(fd, class_entry)
                finally:
                    os.close(fd)
        self._complaints.replace(f"{node.path}/{name}", found)

    def _read_class(self, fd: int, class_entry: ClassEntry) -> Iterator[None]:
        yield from self._read_offer(fd, class_entry)
        yield from self._list_devices(fd, class_entry)

    def _list_devices(self, fd: int, class_entry: ClassEntry) -> Iterator[None]:
        examine = functools.partial(self._examine_device, class_entry)
        yield from self._list(fd, class_entry, class_entry.devices, examine)

    def _shut(self, class_entry: ClassEntry, reason: str) -> Iterator[None]:
        """Take note that nothing of a class can be read any more: no device of it can be given out."""
        for entry in tuple(class_entry.devices.values()):
            if entry.device is not None:
                now = entry.device._replace(health=Health.UNHEALTHY, reason=reason, has_device_node=False)
                if now != entry.device:
                    self.known.put(entry, now)
            yield

    def _read_offer(self, fd: int, class_entry: ClassEntry) -> Iterator[None]:
        """Read as what a class is offered, and by which API."""
        found = Found()
        settings = class_settings.read(
            fd, class_entry.path, class_entry.settings, found, api=self._api, domain=self._domain
        )
        class_entry.settings = settings
        resource = self._read_resource(fd, class_entry, found)
        self._complaints.replace(f"{class_entry.path}/.resource", found)
        yield from self.known.assign(class_entry, None if resource is None else Offer(resource, settings.driver))

    def _read_resource(self, fd: int, class_entry: ClassEntry, found: Found) -> ResourceName | None:
        number = device.class_number(class_entry.name)
        try:
            return ResourceName.parse(attributes.read("resource", dir_fd=fd))
        except attributes.MissingAttributeError:
            if number is not None:
                return ResourceName.parse(f"{self._domain}/mydevice-{number}")
            found[class_entry.path, "class_passed_over"] = "has no resource and is not named devK"
        except (attributes.AttributeFileError, ValueError) as error:
            found[f"{class_entry.path}/resource", "class_passed_over"] = str(error)
        return None

    def _examine_device(self, class_entry: ClassEntry, class_fd: int, name: str) -> Iterator[None]:
        found = Found()
        number = int(name) if device.DEVICE_NUMBER.fullmatch(name) else -1
        entry = class_entry.devices.get(number)
        identity = names.identify(class_fd, class_entry, name, found)
        if found or not self._complaints.are_none:
            self._complaints.replace(f"{class_entry.path}/{name}", found)
        if entry is not None and entry.identity != identity:
            self.known.drop_device(entry)
            entry = None
        if identity is None:
            return
        if entry is None:
            entry = class_entry.devices[number] = entries.DeviceEntry(class_entry, number, identity)
        if entry.wd is None:
            entry.wd = self._watch.add(entry.path, entry)
        if (taints := entry.taints) is not None:
            taints.has_changed = True
        # A known device may be in the middle of a write at this moment: that is for its own event, or for later.
        if not self._devices.read(class_fd, entry, may_wait=entry.device is not None):
            self._incomplete.append(entry)
        yield
