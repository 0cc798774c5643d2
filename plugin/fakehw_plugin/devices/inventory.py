"""The devices of one resource as they are to be served: the one mutable thing between the tree and the rims.

It publishes state, not events: a generation that grows. Whoever serves remembers the generation that it told last and
asks for a newer one, so two streams both see the latest, and a slow one skips what is already history. How the devices
are written down, and how many of them fit, is the business of a rim: see Listing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fakehw_plugin.device import Device, DeviceID, Transition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Listing(Protocol):
    """A rim's record of an inventory, kept while devices change so that a list of many is at hand at once."""

    def put(self, device_id: DeviceID, device: Device) -> bool:
        """Take note of a new or changed device; False, with nothing changed, where it does not fit.

        Its ID comes along so that one text of it serves all who keep it.
        """

    def remove(self, device_id: DeviceID) -> None:
        """Forget a device."""

    def publish(self) -> None:
        """Let what was put in and removed be seen."""


class Inventory:
    """The devices of one resource, and who wants to know of changes."""

    def __init__(self, resource_name: str, listing: Listing | None = None, *, driver: str = "") -> None:
        self.resource_name = resource_name
        self.driver = driver
        """The DRA driver that serves it; empty: the device plugin API does."""
        self.generation = 0
        """Grows by one with every published change."""
        self.changed_at: float | None = None
        """When (on the monotonic clock) the change was noticed that made this generation, if that is known."""
        self.healthy = 0
        """Devices of the inventory that are healthy: what allocatable will be."""
        self.left_out: dict[DeviceID, Device] = {}
        """Devices that the listing has no room for."""
        self._listing = listing
        self._devices: dict[DeviceID, Device] = {}
        self._subscribers: set[Callable[[], None]] = set()

    @property
    def devices(self) -> Mapping[DeviceID, Device]:
        """Return the devices that are listed, by ID. A live view: do not keep it."""
        return self._devices

    def get(self, device_id: str) -> Device | None:
        """Return the device with this ID, or None."""
        return self._devices.get(DeviceID(device_id))

    def keep(self, listing: Listing) -> None:
        """Have `listing` follow this inventory, which must be empty still."""
        assert not self._devices
        assert self._listing is None
        self._listing = listing

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake` after every change from now on."""
        self._subscribers.add(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Stop calling `wake`."""
        self._subscribers.discard(wake)

    def apply(self, changes: Mapping[DeviceID, Device | None], *, at: float | None = None) -> list[Transition]:
        """Put devices in (or None: take them out) and publish if anything really changed; return what did.

        `at` is when the change was noticed, for the latency that whoever serves it measures.
        """
        transitions = [
            transition for device_id, now in changes.items() if (transition := self.change(device_id, now)) is not None
        ]
        return transitions + (self.publish(at=at) if transitions else [])

    def publish(self, *, at: float | None = None) -> list[Transition]:
        """Let everybody see what was changed; return which devices were let in because there is room now."""
        let_in = self._let_in() if self.left_out else []
        self.generation += 1
        self.changed_at = at
        if self._listing is not None:
            self._listing.publish()
        for wake in tuple(self._subscribers):
            wake()
        return let_in

    def change(self, device_id: DeviceID, now: Device | None) -> Transition | None:
        """Put one device in (or None: take it out); nobody is told before `publish`."""
        was = self._devices.get(device_id)
        if was == now:
            if now is None:
                self.left_out.pop(device_id, None)
            return None
        if now is None:
            assert was is not None
            self.healthy -= was.is_healthy
            del self._devices[device_id]
            if self._listing is not None:
                self._listing.remove(device_id)
            return Transition(was, None)
        if self._listing is not None and not self._listing.put(device_id, now):
            if was is None:
                self.left_out[device_id] = now
                return None
            # A listed device stays listed (contract LW-13). Only a NUMA node that it did not have makes it longer.
            return self.change(device_id, now._replace(numa_node=was.numa_node))
        self.healthy += now.is_healthy - (was.is_healthy if was else 0)
        self._devices[device_id] = now
        if was is None:
            self.left_out.pop(device_id, None)
        return Transition(was, now)

    def _let_in(self) -> list[Transition]:
        """Admit devices that were left out, as far as there is room now."""
        admitted = []
        for device_id, device in tuple(self.left_out.items()):
            transition = self.change(device_id, device)
            if transition is None:
                break
            admitted.append(transition)
        return admitted
