"""Reading one device: its health, its NUMA node and whether it has a device node."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fakehw_plugin.attribute import Details
from fakehw_plugin.device import Device, Health
from fakehw_plugin.offer import Api
from fakehw_plugin.tree import attributes, details
from fakehw_plugin.tree.complaints import Found
from fakehw_plugin.tree.entries import TaintsEntry

if TYPE_CHECKING:
    from fakehw_plugin import inotify
    from fakehw_plugin.tree.complaints import Complaints
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
        was, found = entry.device, Found()
        numa_node, has_device_node, is_whole = None, False, True
        extras: details.Reading | None = None
        try:
            fd = attributes.open_directory(str(entry.number), dir_fd=class_fd)
        except OSError as error:
            reason = f"directory cannot be opened: {error.strerror}"
            reading = attributes.HealthReading(Health.UNHEALTHY, reason, is_whole=True)
        else:
            try:
                reading = attributes.read_health(dir_fd=fd)
                extras = self._read_details(fd, entry)
                is_whole = extras is None or extras.is_whole
                has_device_node = self._has_device_node(fd, entry, found)
                numa_node = attributes.read_numa_node(dir_fd=fd)
            except attributes.AttributeFileError as error:
                if was is not None and may_wait:
                    numa_node, is_whole = was.numa_node, False
                else:
                    found[f"{entry.path}/numa_node", "numa_node_ignored"] = str(error)
            finally:
                os.close(fd)
        if is_whole and (found or not self._complaints.are_none):
            self._complaints.replace(f"{entry.path}/.", found)
        node, class_name = entry.parent.parent.name, entry.parent.name
        now = Device(node, class_name, entry.number, reading.health, reading.reason, numa_node, has_device_node)
        if extras is not None:
            now = self._with_details(now, was if may_wait else None, extras, entry)
        if may_wait and not reading.is_whole and now != was:
            return False
        if now != was:
            self._known.put(entry, now)
        if (taints := entry.taints) is not None:
            taints.has_changed = extras is None or not extras.is_whole
        return is_whole

    def _read_details(self, fd: int, entry: DeviceEntry) -> details.Reading | None:
        """Return what is read for DRA; None where another API serves the class.

        A flip of the health must not cost what reading all the other files does: they are read when something has
        changed but the health.
        """
        settings, was, taints = entry.parent.settings, entry.device, entry.taints
        if settings is None or settings.api is not Api.DRA:
            if taints is not None:
                self._complaints.replace(f"{entry.path}/.details", {})
            return None
        if was is not None and entry.wd is not None and taints is not None and not taints.has_changed:
            return details.Reading(was.details.attributes, was.details.taints, is_whole=True)
        self._watch_taints(entry)
        found = Found()
        extras = details.read(fd, entry.path, dict(settings.types), found)
        if extras.is_whole:
            self._complaints.replace(f"{entry.path}/.details", found)
        return extras

    @staticmethod
    def _with_details(now: Device, was: Device | None, extras: details.Reading, entry: DeviceEntry) -> Device:
        """Return the device with what was read for DRA; what may be half-written stays as it `was`."""
        assert entry.parent.settings is not None
        known = was.details if was is not None and not extras.is_whole else extras
        effect = entry.parent.settings.unhealthy_effect
        return now._replace(details=Details(known.attributes, known.taints, effect))

    def _watch_taints(self, entry: DeviceEntry) -> None:
        taints = entry.taints
        if taints is None:
            taints = entry.parent.taints[entry.number] = TaintsEntry(entry)
        if taints.wd is None:
            taints.wd = self._watch.add(f"{entry.path}/{details.TAINTS}", taints)

    @staticmethod
    def _has_device_node(fd: int, entry: DeviceEntry, found: Found) -> bool:
        try:
            return attributes.has_device_node(dir_fd=fd)
        except attributes.AttributeFileError as error:
            found[f"{entry.path}/node", "device_node_ignored"] = str(error)
            return False
