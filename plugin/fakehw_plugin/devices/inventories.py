"""The inventories of one node, kept in line with what was read of the tree.

An inventory is opened for each resource that has a class in the tree and handed to every rim. It stays open while a pod
may hold a device of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from fakehw_plugin import logs, slices
from fakehw_plugin.devices import change_log, retention
from fakehw_plugin.devices.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from fakehw_plugin.device import Device, DeviceID, Transition
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.resource_name import ResourceName
    from fakehw_plugin.tree.known import Changes


class Rim(Protocol):
    """One way in which inventories are served, such as the device plugin API."""

    def open(self, inventory: Inventory) -> None:
        """Serve this inventory from now on; it is empty, and a listing may be hung on it."""

    def close(self, inventory: Inventory) -> None:
        """Stop serving it: its resource has left the tree. The inventory is empty again by now."""


class Inventories:
    """Opens, fills and closes inventories. `run` lets devices go that left the tree, once nobody holds them."""

    def __init__(
        self, rims: Sequence[Rim], *, holders: retention.Holders, vanished_grace_s: float, telemetry: Telemetry
    ) -> None:
        self.by_resource: dict[ResourceName, Inventory] = {}
        self.retention = retention.Retention(holders=holders, release=self._release, grace_s=vanished_grace_s)
        self._rims = rims
        self._telemetry = telemetry
        self._resources: Collection[ResourceName] | None = None
        """Those with a class in the tree; None while more is read than has been taken in."""
        self._change_log = change_log.ChangeLog()
        self._log = logs.get_logger()

    async def run(self) -> None:
        """Let go of what nobody holds any more, for ever."""
        await self.retention.run()

    def expect(self) -> None:
        """Take note that the tree is being read: until `take`, it is not known what is unused."""
        self._resources = None

    async def take(self, resources: set[ResourceName], changes: Changes, *, at: float | None) -> bool:
        """Bring inventories in line with the tree; return True if one of them changed.

        `at` is when the change was noticed; None for the first reading, whose devices are not told one by one.
        """
        changed = False
        for resource in sorted(resources - self.by_resource.keys()):
            self._open(resource)
        for resource, devices in changes.items():
            if (inventory := self.by_resource.get(resource)) is not None:
                changed |= await slices.run(self._update(inventory, resource, devices, at))
        self._resources = resources
        self._close_unused()
        return changed

    def _open(self, resource: ResourceName) -> None:
        inventory = self.by_resource[resource] = Inventory(resource)
        for rim in self._rims:
            rim.open(inventory)

    def _update(
        self,
        inventory: Inventory,
        resource: ResourceName,
        devices: Mapping[DeviceID, Device | None],
        at: float | None,
    ) -> Generator[None, None, bool]:
        """Bring one inventory in line; the devices that left the tree stay, unhealthy, until nobody holds them."""
        left_out, transitions = len(inventory.left_out), []
        for device_id, device in devices.items():
            listed = device
            if device is not None:
                self.retention.returned(resource, device_id)
            elif (known := inventory.get(device_id)) is not None:
                listed = self.retention.retain(resource, known)
            if (transition := inventory.change(device_id, listed)) is not None:
                transitions.append(transition)
                self._count(inventory, transition)
            yield
        if transitions:
            for transition in (let_in := inventory.publish(at=at)):
                self._count(inventory, transition)
            if at is not None:
                self._change_log.tell_later(inventory, transitions + let_in)
        if len(inventory.left_out) > left_out:
            self._log.error(
                "too_many_devices",
                resource=inventory.resource_name,
                listed=len(inventory.devices),
                left_out=len(inventory.left_out),
                reason="the kubelet takes lists of at most 4 MiB; spread the devices over several resources",
            )
        return bool(transitions)

    def _release(self, changes: Changes) -> None:
        """Take devices out of the inventories that nobody holds any more."""
        now = time.monotonic()
        for resource, devices in changes.items():
            if (inventory := self.by_resource.get(resource)) is not None:
                transitions = inventory.apply(devices, at=now)
                for transition in transitions:
                    self._count(inventory, transition)
                self._change_log.tell_later(inventory, transitions)
        self._close_unused()

    def _count(self, inventory: Inventory, transition: Transition) -> None:
        was, now = transition.was, transition.now
        node = (now or was).node  # type: ignore[union-attr]  # one of the two is a device
        self._telemetry.count_change(
            inventory.resource_name, node, was.health.value if was else None, now.health.value if now else None
        )

    def _close_unused(self) -> None:
        """Close the inventories of resources without a class in the tree and without a device that a pod may hold."""
        if self._resources is None:
            return  # it will be known after the next `take`
        held = {resource for resource, _ in self.retention.retained}
        for resource in self.by_resource.keys() - set(self._resources) - held:
            self._log.info("resource_left", resource=resource)
            inventory = self.by_resource.pop(resource)
            for rim in self._rims:
                rim.close(inventory)
            self._telemetry.forget(resource)
