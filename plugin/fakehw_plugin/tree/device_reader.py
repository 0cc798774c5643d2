"""Reading one device: its health, its NUMA node and whether it has a device node."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fakehw_plugin.device import Device, Health
from fakehw_plugin.offer import Api
from fakehw_plugin.tree import attributes, details
from fakehw_plugin.tree.entries import TaintsEntry

if TYPE_CHECKING:
    from fakehw_plugin import inotify
    from fakehw_plugin.tree.complaints import Complaints, Found
    from fakehw_plugin.tree.details import Details
    from fakehw_plugin.tree.entries import DeviceEntry, Watched
    from fakehw_plugin.tree.known import KnownTree


class DeviceReader:
    """Reads devices into `known`."""

    def __init__(self, known: KnownTree, complaints: Complaints, watch: inotify.Watcher[Watched]) -> None:
        self._watch = watch
        self._known = known
        self._complaints = complaints

    def read(self, class_fd: int, entry: DeviceEntry, *, may_wait: bool) -> bool:
        """Read one device; False if what it says may be half-written.

        Where it `may_wait`, what was known stands until it is whole; else what it says counts.
        """
        was, found = entry.device, dict[tuple[str, str], str]()
        numa_node, has_device_node, is_whole = None, False, True
        settings = entry.parent.settings
        extras: Details | None = None
        try:
            fd = attributes.open_directory(str(entry.number), dir_fd=class_fd)
        except OSError as error:
            reason = f"directory cannot be opened: {error.strerror}"
            reading = attributes.HealthReading(Health.UNHEALTHY, reason, is_whole=True)
        else:
            try:
                reading = attributes.read_health(dir_fd=fd)
                if settings is not None and settings.api is Api.DRA:
                    self._watch_taints(entry)
                    extras = details.read(fd, entry.path, dict(settings.types), found)
                    is_whole = extras.is_whole
                has_device_node = self._has_device_node(fd, entry, found)
                numa_node = attributes.read_numa_node(dir_fd=fd)
            except attributes.AttributeFileError as error:
                if was is not None and may_wait:
                    numa_node, is_whole = was.numa_node, False
                else:
                    found[f"{entry.path}/numa_node", "numa_node_ignored"] = str(error)
            finally:
                os.close(fd)
        if is_whole:
            self._complaints.replace(f"{entry.path}/.", found)
        node, class_name = entry.parent.parent.name, entry.parent.name
        now = Device(node, class_name, entry.number, reading.health, reading.reason, numa_node, has_device_node)
        if extras is not None and settings is not None:
            now = now._replace(
                attributes=extras.attributes, taints=extras.taints, unhealthy_effect=settings.unhealthy_effect
            )
            if may_wait and was is not None and not extras.is_whole:
                now = now._replace(attributes=was.attributes, taints=was.taints)
        if now == was:
            return is_whole
        if may_wait and not reading.is_whole:
            return False
        self._known.put(entry, now)
        return is_whole

    def _watch_taints(self, entry: DeviceEntry) -> None:
        if entry.taints is None:
            entry.taints = TaintsEntry(entry)
        if entry.taints.wd is None:
            entry.taints.wd = self._watch.add(f"{entry.path}/{details.TAINTS}", entry.taints)

    @staticmethod
    def _has_device_node(fd: int, entry: DeviceEntry, found: Found) -> bool:
        try:
            return attributes.has_device_node(dir_fd=fd)
        except attributes.AttributeFileError as error:
            found[f"{entry.path}/node", "device_node_ignored"] = str(error)
            return False
