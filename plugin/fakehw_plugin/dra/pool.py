"""The devices of one driver on one node, as they are to be published and as their health is to be told.

The inventories of the driver's classes are written down here as they change, device by device, so that a flip costs
what one device costs: one entry and one slice are made anew, one piece of the health list is encoded anew.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fakehw_plugin.dra import health_list, names, placement
from fakehw_plugin.dra.entry import Entry, entry, taints_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fakehw_plugin.device import Device, DeviceID


class DevicePool:
    """What `driver` has on `node`. `on_change` is called after each change that was published."""

    def __init__(self, *, driver: str, node: str) -> None:
        self.driver = driver
        self.node = node
        self.generation = 0
        """Grows by one with every published change. Not the generation of the slices."""
        self.changed_at: float | None = None
        self.health = health_list.HealthList(pool=node)
        self._devices: dict[str, Device] = {}
        """By name in the pool."""
        self._entries: dict[str, Entry] = {}
        """Made when slices are asked for, after the health streams, which need none."""
        self._place: dict[str, int] = {}
        self._members: dict[int, dict[str, None]] = {0: {}}
        self._built: dict[int, list[Entry]] = {}
        self._subscribers: set[Callable[[], None]] = set()

    @property
    def devices(self) -> Mapping[str, Device]:
        """Return the devices by their names in the pool. A live view: do not keep it."""
        return self._devices

    @property
    def tainted(self) -> int:
        """Return how many devices have a taint."""
        return sum(bool(taints_of(device)) for device in self._devices.values())

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake` after every change from now on."""
        self._subscribers.add(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Stop calling `wake`."""
        self._subscribers.discard(wake)

    def put(self, device: Device) -> None:
        """Take note of a new or changed device."""
        name = names.device_name(device.id)
        self._devices[name] = device
        self._entries.pop(name, None)
        self.health.put(name, device)
        if name not in self._place:
            index = placement.first_with_room(len(members) for _, members in sorted(self._members.items()))
            self._place[name] = index
            self._members.setdefault(index, {})[name] = None
        self._built.pop(self._place[name], None)

    def remove(self, device_id: DeviceID) -> None:
        """Forget a device."""
        name = names.device_name(device_id)
        if self._devices.pop(name, None) is None:
            return  # it came and went before it was published
        self._entries.pop(name, None)
        self.health.remove(name)
        index = self._place.pop(name)
        del self._members[index][name]
        self._built.pop(index, None)
        while len(self._members) > 1 and not self._members[len(self._members) - 1]:
            self._built.pop(len(self._members) - 1, None)
            del self._members[len(self._members) - 1]

    def publish(self, *, at: float | None = None) -> None:
        """Let what was put in and removed be seen."""
        self.generation += 1
        self.changed_at = time.monotonic() if at is None else at
        self.health.publish()
        for wake in tuple(self._subscribers):
            wake()

    def adopt(self, before: Mapping[str, int]) -> None:
        """Put devices where slices that are published already have them, so that nothing is written anew for order."""
        ordered = sorted(self._devices, key=lambda name: self._devices[name].sort_key)
        self._place = placement.place(ordered, before)
        count = max(self._place.values(), default=0) + 1
        self._members = {index: {} for index in range(count)}
        for name, index in self._place.items():
            self._members[index][name] = None
        self._built = {}

    def wanted(self) -> dict[str, list[Entry]]:
        """Return the slices as they should be, by name: at least one, be it empty (contract SL-4)."""
        result = {}
        for index in range(len(self._members)):
            if index not in self._built:
                ordered = sorted(self._members[index], key=lambda name: self._devices[name].sort_key)
                self._built[index] = [self._entry(name) for name in ordered]
            result[names.slice_name(index, driver=self.driver, node=self.node)] = self._built[index]
        return result

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            self._entries[name] = entry(self._devices[name], driver=self.driver)
        return self._entries[name]

    def places(self, slices: Mapping[str, dict[str, Any]]) -> dict[str, int]:
        """Return where `slices` of the API server have devices, by name."""
        indices = {names.slice_name(index, driver=self.driver, node=self.node): index for index in range(len(slices))}
        return {
            device["name"]: indices[name]
            for name, found in slices.items()
            if name in indices
            for device in found["spec"].get("devices") or []
        }


class PoolListing:
    """One inventory's part of a pool. An inventory.Listing.

    What is put in and removed waits for `publish`: a class of many devices comes and goes as a whole, whatever wakes
    the publisher in between.
    """

    def __init__(self, pool: DevicePool) -> None:
        self._pool = pool
        self._waiting: dict[DeviceID, Device | None] = {}

    def put(self, device_id: DeviceID, device: Device) -> bool:
        """Take note of a new or changed device; there is always room."""
        self._waiting[device_id] = device
        return True

    def remove(self, device_id: DeviceID) -> None:
        """Forget a device."""
        self._waiting[device_id] = None

    def publish(self) -> None:
        """Let what was put in and removed be seen."""
        waiting, self._waiting = self._waiting, {}
        for device_id, device in waiting.items():
            if device is not None:
                self._pool.put(device)
            else:
                self._pool.remove(device_id)
        self._pool.publish()
