"""The tree as it is: a snapshot of what any hand, or no hand at all, has left there. Only reads; nothing stops it.

Whatever does not fit the layout is noted and passed over. What vanishes while it is read was not there.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fakehw import layout
from fakehw.errors import InputError
from fakehw.layout import Health, TreePath
from fakehw.tree import directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for the value of an attribute that is there and cannot be read."""

    reason: str
    is_directory: bool = False


Value = str | Unreadable


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device directory: its attributes (health among them), and its character device as (major, minor)."""

    attributes: dict[str, Value]
    device_node: tuple[int, int] | None = None
    foreign: tuple[str, ...] = ()
    """What is in it that is no attribute: other names (.git too), and directories. It may be a person's own."""

    @property
    def health(self) -> tuple[Health, str]:
        """Return the health and its reason; whatever does not say healthy is unhealthy."""
        value = self.attributes.get(layout.HEALTH)
        if value is None:
            return Health.UNHEALTHY, "health file is missing"
        if isinstance(value, Unreadable):
            return Health.UNHEALTHY, f"health file {value.reason}"
        health, reason = layout.parse_health(value)
        return (Health.UNHEALTHY, f"health file {reason}") if health is None else (health, reason)

    def text(self, name: str) -> str | None:
        """Return what an attribute says; None where there is none, or none that can be read."""
        value = self.attributes.get(name)
        return value if isinstance(value, str) else None

    @property
    def numa_node(self) -> int | None:
        """Return the NUMA node; None for -1, for no file and for a file that says something else."""
        value = self.attributes.get(layout.NUMA_NODE)
        if not isinstance(value, str) or not layout.NUMBER.fullmatch(value):
            return None
        return int(value) if 0 <= int(value) <= layout.MAX_NUMA_NODE else None


@dataclass(frozen=True, slots=True)
class FoundClass:
    """A class directory. `foreign` names what no class of a fake tree has in it."""

    resource: Value | None = None
    devices: dict[int, FoundDevice] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()
    settings: dict[str, Value] = field(default_factory=dict)
    """What the files of layout.SETTINGS say that are there."""

    def has_sign(self, name: str) -> bool:
        """Tell whether this says that it is a class of a fake tree: by resource, name, or the health of a device."""
        if self.resource is not None or layout.class_number(name) is not None:
            return True
        return any(layout.HEALTH in device.attributes for device in self.devices.values())

    def is_likely(self, name: str) -> bool:
        """Tell whether this may be a class of a fake tree, and not some directory that happens to fit the names."""
        return self.has_sign(name) or not (self.devices or self.foreign)

    def is_likely_device(self, number: int) -> bool:
        """Tell whether a device is one, and not some directory of that name; its health may have been removed."""
        device = self.devices[number]
        return (
            self.resource is not None or layout.HEALTH in device.attributes or not (device.attributes or device.foreign)
        )

    def all_foreign(self) -> Iterator[str]:
        """Yield everything in the class, by its path in it, that may be a person's own."""
        yield from self.foreign
        for number, device in self.devices.items():
            yield from (f"{number}/{name}" for name in device.foreign)
            if self.resource is None and device.attributes and layout.HEALTH not in device.attributes:
                yield f"{number} (it has no health)"


@dataclass(frozen=True, slots=True)
class FoundNode:
    """A node directory. `foreign` names what no node of a fake tree has in it."""

    host: Value | None = None
    classes: dict[str, FoundClass] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()

    @property
    def has_sign(self) -> bool:
        """Tell whether this says that it is a node of a fake tree: by its host, or by a class."""
        return self.host is not None or any(found.has_sign(name) for name, found in self.classes.items())

    @property
    def is_likely(self) -> bool:
        """Tell whether this may be a node of a fake tree, and not some directory that happens to fit the names."""
        return self.has_sign or not (self.classes or self.foreign)

    def all_foreign(self) -> Iterator[str]:
        """Yield everything in the node, by its path in it, that may be a person's own."""
        yield from self.foreign
        for name, found in self.classes.items():
            yield from (f"{name}/{foreign}" for foreign in found.all_foreign())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole tree. `obstacles` are well-named entries that are no directory that can be read, with what they are."""

    nodes: dict[str, FoundNode] = field(default_factory=dict)
    obstacles: dict[TreePath, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    """Entries of the root that are no nodes; those with a dot first are in `hidden`."""
    hidden: list[str] = field(default_factory=list)

    def find(self, path: TreePath) -> FoundNode | FoundClass | FoundDevice | None:
        """Return what is at `path`; None where that is nothing."""
        node = self.nodes.get(path.node)
        if node is None or path.class_name is None:
            return node
        found = node.classes.get(path.class_name)
        return found if found is None or path.number is None else found.devices.get(path.number)

    def devices(self) -> Iterator[tuple[TreePath, FoundDevice]]:
        """Yield every device with its path, in the order of people."""
        for node_name in sorted(self.nodes, key=layout.natural_key):
            classes = self.nodes[node_name].classes
            for class_name in sorted(classes, key=layout.natural_key):
                for number, device in sorted(classes[class_name].devices.items()):
                    yield TreePath(node_name, class_name, number), device


def read_tree(root: Path) -> Snapshot:
    """Read the tree at `root`, which may itself be a link; InputError if it is no directory."""
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{root}: {error.strerror}: must be the directory of a tree (--root, FAKEHW_ROOT)") from None
    try:
        return read_root(fd)
    finally:
        os.close(fd)


def read_root(root_fd: int) -> Snapshot:
    """Read the tree whose root is open."""
    tree = Snapshot()
    with directory.opened(".", dir_fd=root_fd) as fresh:  # what others made since `root_fd` was opened (btrfs)
        names = directory.listed(fresh)
    for name in names:
        path = TreePath(name)
        if name.startswith("."):
            if name != layout.PRIVATE_DIR:
                tree.hidden.append(name)
        elif not layout.NODE_NAME.fullmatch(name):
            tree.foreign.append(name)
        elif kind := _obstacle(name, root_fd):
            tree.foreign.append(name)
            tree.obstacles[path] = kind
        else:
            _read_node(tree, root_fd, path)
    return tree


def read_device(class_fd: int, path: TreePath) -> FoundDevice | None:
    """Read the device `path` in its class, which is open; None where there is no directory for it."""
    return _read_device(Snapshot(), class_fd, path)


def _read_node(tree: Snapshot, root_fd: int, path: TreePath) -> None:
    with _opened(tree, path, path.node, root_fd) as fd:
        if fd is None:
            return
        foreign: list[str] = []
        classes: dict[str, FoundClass] = {}
        for name in directory.listed(fd):
            class_path = TreePath(path.node, name)
            is_class = layout.CLASS_NAME.fullmatch(name)
            kind = _obstacle(name, fd)
            if kind and is_class:
                tree.obstacles[class_path] = kind
            if is_class and not kind:
                found = _read_class(tree, fd, class_path)
                if found is not None:
                    classes[name] = found
            elif name != layout.HOST:
                foreign.append(name)
        host = _value(layout.HOST, fd)
        foreign += [layout.HOST] * _is_directory(host)
        tree.nodes[path.node] = FoundNode(host, classes, tuple(foreign))


def _read_class(tree: Snapshot, node_fd: int, path: TreePath) -> FoundClass | None:
    assert path.class_name is not None
    with _opened(tree, path, path.class_name, node_fd) as fd:
        if fd is None:
            return None
        devices: dict[int, FoundDevice] = {}
        settings: dict[str, Value] = {}
        foreign: list[str] = []
        for name in directory.listed(fd):
            if layout.DEVICE_NUMBER.fullmatch(name):
                device_path = TreePath(path.node, path.class_name, int(name))
                found = _read_device(tree, fd, device_path)
                if found is not None:
                    devices[int(name)] = found
                elif device_path in tree.obstacles:
                    foreign.append(name)
            elif name in layout.SETTINGS and (value := _value(name, fd)) is not None:
                settings[name] = value
                foreign += [name] * _is_directory(value)
            elif name not in (layout.RESOURCE, layout.RPC_FAULTS):
                foreign.append(name)
        resource = _value(layout.RESOURCE, fd)
        foreign += [layout.RESOURCE] * _is_directory(resource)
        return FoundClass(resource, devices, tuple(foreign), settings)


def _read_device(tree: Snapshot, class_fd: int, path: TreePath) -> FoundDevice | None:
    if len(path.id) > layout.MAX_ID_LENGTH:
        tree.obstacles[path] = f"a directory whose ID would be longer than {layout.MAX_ID_LENGTH} characters"
        return None
    with _opened(tree, path, str(path.number), class_fd) as fd:
        if fd is None:
            return None
        attributes: dict[str, Value] = {}
        device_node = None
        foreign: list[str] = []
        for name in directory.listed(fd):
            if not layout.ATTRIBUTE_NAME.fullmatch(name):
                foreign.append(name)
            elif name == layout.TAINTS and directory.is_directory(name, dir_fd=fd):
                taints, others = _taints(fd)
                attributes |= taints
                foreign += others
            elif name == layout.DEVICE_NODE and (device_node := _device_node(fd)):
                continue
            elif (value := _value(name, fd)) is not None:
                attributes[name] = value
                foreign += [name] * _is_directory(value)
        return FoundDevice(attributes, device_node, tuple(foreign))


def _taints(device_fd: int) -> tuple[dict[str, Value], list[str]]:
    """Return the files of taints as attributes, and what else is there; a directory that cannot be read has none."""
    taints: dict[str, Value] = {}
    foreign: list[str] = []
    try:
        with directory.opened(layout.TAINTS, dir_fd=device_fd) as fd:
            for name in sorted(directory.listed(fd)):
                if name.startswith("."):
                    foreign.append(layout.taint_file(name))
                elif (value := _value(name, fd)) is not None:
                    taints[layout.taint_file(name)] = value
                    foreign += [layout.taint_file(name)] * _is_directory(value)
    except OSError:
        return {}, []
    return taints, foreign


class _opened:  # noqa: N801  # reads as a verb, as contextlib's own do; a class because it runs once per device
    """Opens a directory below another; gives None, with an obstacle noted, where it is something else."""

    __slots__ = ("_fd", "_name", "_parent_fd", "_path", "_tree")

    def __init__(self, tree: Snapshot, path: TreePath, name: str, parent_fd: int) -> None:
        self._tree, self._path, self._name, self._parent_fd = tree, path, name, parent_fd
        self._fd: int | None = None

    def __enter__(self) -> int | None:
        try:
            self._fd = directory.open_directory(self._name, dir_fd=self._parent_fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            kind = _obstacle(self._name, self._parent_fd) or f"a directory that cannot be opened: {error.strerror}"
            self._tree.obstacles[self._path] = kind
        return self._fd

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            os.close(self._fd)


def _obstacle(name: str, dir_fd: int) -> str:
    """Say what stands at `name` if it is no directory, else ''."""
    try:
        mode = os.lstat(name, dir_fd=dir_fd).st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISDIR(mode):
        return ""
    return "a symbolic link" if stat.S_ISLNK(mode) else "a file"


def _value(name: str, dir_fd: int) -> Value | None:
    try:
        return directory.read(name, dir_fd=dir_fd).strip()
    except FileNotFoundError:
        return None
    except directory.UnreadableError as error:
        return Unreadable(str(error), is_directory=directory.is_directory(name, dir_fd=dir_fd))


def _is_directory(value: Value | None) -> bool:
    """Tell whether a directory stands where a value belongs: what is in it is somebody's own."""
    return isinstance(value, Unreadable) and value.is_directory


def _device_node(dir_fd: int) -> tuple[int, int] | None:
    try:
        status = os.lstat(layout.DEVICE_NODE, dir_fd=dir_fd)
    except OSError:
        return None
    return (os.major(status.st_rdev), os.minor(status.st_rdev)) if stat.S_ISCHR(status.st_mode) else None
