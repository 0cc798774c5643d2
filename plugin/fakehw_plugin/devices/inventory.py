"""The devices of one resource as the kubelet is to see them: the one mutable thing between the tree and the streams.

It publishes state, not events: a generation and one encoded list. Every stream remembers the generation that it sent
last and asks for a newer one, so two streams both see the latest, and a slow one skips what is already history.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fakehw_plugin.deviceplugin import wire
from fakehw_plugin.devices.device import Device, DeviceID, Transition
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Inventory:
    """The devices of one resource, their encoded list, and who wants to know of changes."""

    def __init__(self, resource_name: str, *, max_bytes: int = constants.MAX_MESSAGE_BYTES) -> None:
        self.resource_name = resource_name
        self.generation = 0
        """Grows by one with every published change."""
        self.changed_at: float | None = None
        """When (on the monotonic clock) the change was noticed that made this generation, if that is known."""
        self.healthy = 0
        """Devices of the list that are healthy: what allocatable will be."""
        self.left_out: dict[DeviceID, Device] = {}
        """Devices that do not fit into a list of `max_bytes` (contract LW-11)."""
        self._max_bytes = max_bytes
        self._worst_bytes = 0
        self._devices: dict[DeviceID, Device] = {}
        self._slots: dict[DeviceID, int] = {}
        self._fragments = wire.FragmentList()
        self._message: bytes | None = None
        self._subscribers: set[Callable[[], None]] = set()

    @property
    def devices(self) -> Mapping[DeviceID, Device]:
        """Return the devices in the list, by ID. A live view: do not keep it."""
        return self._devices

    def get(self, device_id: str) -> Device | None:
        """Return the device with this ID, or None."""
        return self._devices.get(DeviceID(device_id))

    def message(self) -> bytes:
        """Return the encoded list of the present generation."""
        if self._message is None:
            self._message = self._fragments.message()
        return self._message

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake` after every change from now on."""
        self._subscribers.add(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Stop calling `wake`."""
        self._subscribers.discard(wake)

    def apply(self, changes: Mapping[DeviceID, Device | None], *, at: float | None = None) -> list[Transition]:
        """Put devices in (or None: take them out) and publish if anything really changed; return what did.

        `at` is when the change was noticed, for the latency that `servicer` measures.
        """
        transitions = [
            transition for device_id, now in changes.items() if (transition := self.change(device_id, now)) is not None
        ]
        return transitions + (self.publish(at=at) if transitions else [])

    def publish(self, *, at: float | None = None) -> list[Transition]:
        """Let the streams see what was changed; return which devices were let in because there is room now."""
        let_in = self._let_in() if self.left_out else []
        self.generation += 1
        self.changed_at = at
        self._message = None
        for wake in tuple(self._subscribers):
            wake()
        return let_in

    def change(self, device_id: DeviceID, now: Device | None) -> Transition | None:
        """Put one device in (or None: take it out); no stream sees it before `publish`."""
        was = self._devices.get(device_id)
        if was == now:
            if now is None:
                self.left_out.pop(device_id, None)
            return None
        if now is None:
            assert was is not None
            self.healthy -= was.is_healthy
            slot = self._slots.pop(device_id)
            self._worst_bytes -= self._worst(was)
            del self._devices[device_id]
            self._fragments.remove(slot)
            return Transition(was, None)
        fragment = wire.device_fragment(now)
        worst = self._worst_bytes + wire.worst_size(fragment, now) - (self._worst(was) if was else 0)
        if worst > self._max_bytes:
            if was is None:
                self.left_out[device_id] = now
                return None
            # A listed device stays listed (contract LW-13). Only a NUMA node that it did not have makes it longer.
            return self.change(device_id, replace(now, numa_node=was.numa_node))
        self._worst_bytes = worst
        self.healthy += now.is_healthy - (was.is_healthy if was else 0)
        self._devices[device_id] = now
        if was is None:
            self.left_out.pop(device_id, None)
            self._slots[device_id] = self._fragments.add(fragment)
        else:
            self._fragments.replace(self._slots[device_id], fragment)
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

    @staticmethod
    def _worst(device: Device) -> int:
        return wire.worst_size(wire.device_fragment(device), device)
