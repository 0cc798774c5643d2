"""What is known of the tree: its entries, what its classes are offered as, and what changed since it was asked."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fakehw_plugin.device import Device, DeviceID
from fakehw_plugin.offer import Offer
from fakehw_plugin.tree.entries import DeviceEntry, RootEntry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakehw_plugin import inotify
    from fakehw_plugin.tree.complaints import Complaints
    from fakehw_plugin.tree.entries import ClassEntry, NodeEntry, Watched

Changes = dict[Offer, dict[DeviceID, Device | None]]
"""Devices by offer and ID; None for one that left the tree."""


class KnownTree:
    """The entries below `root`. What drops them takes away their watches and forgets what was said of them.

    What may concern many entries is a generator that yields after every one.
    """

    def __init__(self, path: str, *, watch: inotify.Watcher[Watched], complaints: Complaints) -> None:
        self.root = RootEntry(path)
        self._watch = watch
        self._complaints = complaints
        self._changes: Changes = defaultdict(dict)
        self._classes_of: defaultdict[Offer, int] = defaultdict(int)

    @property
    def offers(self) -> set[Offer]:
        """Return what classes are offered as, be it with no device at all."""
        return set(self._classes_of)

    def take_changes(self) -> Changes:
        """Return what changed since the last call."""
        changes, self._changes = self._changes, defaultdict(dict)
        return changes

    def put(self, entry: DeviceEntry, now: Device) -> None:
        """Take note of what a device's directory says."""
        entry.device = now
        self._record(entry, now)

    def assign(self, class_entry: ClassEntry, offer: Offer | None) -> Iterator[None]:
        """Offer a class and its devices as something else; None: they are passed over."""
        if offer == class_entry.offer:
            return
        for entry in class_entry.devices.values():
            self._record(entry, None)
            yield
        self._count(class_entry.offer, -1)
        class_entry.offer = offer
        self._count(offer, +1)
        for entry in class_entry.devices.values():
            self._record(entry, entry.device)
            yield

    def drop_device(self, entry: DeviceEntry) -> None:
        """Forget a device that is gone."""
        self._record(entry, None)
        self._let_go(entry)
        del entry.parent.devices[entry.number]
        if (taints := entry.parent.taints.pop(entry.number, None)) is not None:
            self._watch.remove(taints.wd, taints)

    def drop_class(self, class_entry: ClassEntry) -> Iterator[None]:
        """Forget a class that is gone, with its devices."""
        for entry in tuple(class_entry.devices.values()):
            self.drop_device(entry)
            yield
        self._count(class_entry.offer, -1)
        self._let_go(class_entry)
        del class_entry.parent.classes[class_entry.name]

    def drop_classes(self, node: NodeEntry) -> Iterator[None]:
        """Forget all classes of a node that is not ours."""
        for class_entry in tuple(node.classes.values()):
            yield from self.drop_class(class_entry)

    def drop_node(self, node: NodeEntry) -> Iterator[None]:
        """Forget a node that is gone, with its classes."""
        yield from self.drop_classes(node)
        self._let_go(node)
        del self.root.nodes[node.name]

    def drop_root(self) -> Iterator[None]:
        """Forget everything: the root is gone, or another directory stands in its place."""
        root = self.root
        for node in tuple(root.nodes.values()):
            yield from self.drop_node(node)
        self._complaints.forget_below(root.path)
        self._watch.remove(root.wd, root)
        root.identity, root.wd = None, None

    def _let_go(self, entry: DeviceEntry | ClassEntry | NodeEntry) -> None:
        if not isinstance(entry, DeviceEntry):
            entry.is_attached = False
        self._complaints.forget_below(entry.path)
        self._watch.remove(entry.wd, entry)

    def _count(self, offer: Offer | None, difference: int) -> None:
        if offer is not None:
            self._classes_of[offer] += difference
            if not self._classes_of[offer]:
                del self._classes_of[offer]

    def _record(self, entry: DeviceEntry, now: Device | None) -> None:
        offer = entry.parent.offer
        known = now or entry.device
        if offer is not None and known is not None:
            self._changes[offer][known.id] = now
