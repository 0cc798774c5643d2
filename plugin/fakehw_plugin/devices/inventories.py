"""The inventories of one node, kept in line with what was read of the tree.

An inventory is opened for each offer that has a class in the tree and handed to the rim of its API. It stays open while
a pod may hold a device of it.

A device is in one inventory at a time. When its class moves to another resource or API, it stays where it was, not to
be had, until nobody holds it there (see retention), and is withheld from the new place until then. So is a device that
was handed out by the other API before this process began: that API's side is asked before one is offered.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fakehw_plugin import logs, slices
from fakehw_plugin.devices import change_log, retention, turns
from fakehw_plugin.devices.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping

    from fakehw_plugin.device import Device, DeviceID, Transition
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.offer import Api, Offer
    from fakehw_plugin.tree.known import Changes


class Rim(Protocol):
    """One API by which inventories are served."""

    def open(self, inventory: Inventory) -> None:
        """Serve this inventory from now on; it is empty, and a listing may be hung on it."""

    def close(self, inventory: Inventory) -> None:
        """Stop serving it: its offer has left the tree. The inventory is empty again by now."""


class Side(NamedTuple):
    """One API on this node: what serves it, and who knows which devices pods hold by it (None: not known)."""

    rim: Rim
    holders: retention.Holders


class Inventories:
    """Opens, fills and closes inventories. `run` lets devices go that left the tree, once nobody holds them."""

    def __init__(self, sides: Mapping[Api, Side], *, vanished_grace_s: float, telemetry: Telemetry) -> None:
        self.by_offer: dict[Offer, Inventory] = {}
        self._turn = asyncio.Lock()
        """Held while devices are put in and taken out: none of the tasks here shows what another has half done."""
        self.retentions = {
            api: retention.Retention(
                holders=side.holders, release=self._release, grace_s=vanished_grace_s, turn=self._turn
            )
            for api, side in sides.items()
        }
        self._sides = sides
        self._telemetry = telemetry
        self._offers: Collection[Offer] | None = None
        """Those with a class in the tree; None while more is read than has been taken in."""
        self._withheld: defaultdict[Offer, dict[DeviceID, Device]] = defaultdict(dict)
        """Devices that somebody may still hold as something else."""
        self._held_before: dict[Api, set[tuple[str, DeviceID]]] = {}
        """By each API that was asked, what pods hold by it since before this process served a class by another one."""
        self._freed = asyncio.Event()
        self._change_log = change_log.ChangeLog()
        self._log = logs.get_logger()

    async def run(self) -> None:
        """Let go of what nobody holds any more, for ever."""
        async with asyncio.TaskGroup() as group:
            for api, kept in self.retentions.items():
                group.create_task(kept.run(), name=f"retention of {api}")
            group.create_task(self._review_held_before(), name="devices held before")

    def expect(self) -> None:
        """Take note that the tree is being read: until `take`, it is not known what is unused."""
        self._offers = None

    async def take(self, offers: set[Offer], changes: Changes, *, at: float | None) -> bool:
        """Bring inventories in line with the tree; return True if one of them changed.

        What is offered by an API that has no side here is passed over.

        `at` is when the change was noticed; None for the first reading, whose devices are not told one by one.
        """
        changed = False
        offers = {offer for offer in offers if offer.api in self._sides}
        for offer in turns.in_turn(offers - self.by_offer.keys(), changes):
            await self._ask_the_others(offer.api)
            self._open(offer)
        async with self._turn:
            for offer, devices in changes.items():
                if (inventory := self.by_offer.get(offer)) is not None:
                    changed |= await slices.run(self._update(inventory, offer, devices, changes, at))
            self._offers = offers
            self._close_unused()
        return changed

    def _open(self, offer: Offer) -> None:
        for other in self.by_offer:
            if other.resource == offer.resource and other in (self._offers or ()):
                self._log.warning("resource_by_both_apis", resource=offer.resource, remark=f"{other}; and {offer}")
        inventory = self.by_offer[offer] = Inventory(offer.resource, driver=offer.driver)
        self._telemetry.remember(offer.resource)
        self._sides[offer.api].rim.open(inventory)

    async def _ask_the_others(self, api: Api) -> None:
        """Learn which devices pods hold by other APIs, before the first is offered by `api`."""
        for other, side in self._sides.items():
            if other is not api and other not in self._held_before:
                kept = self.retentions[other].retained_ids
                held = {found for found in await side.holders() or () if found[1] not in kept}
                self._held_before[other] = held
                if held:
                    self._freed.set()
                    self._log.info("devices_held_by_other_api", api=other.value, devices=len(held))

    async def _review_held_before(self) -> None:
        while True:
            try:
                async with asyncio.timeout(retention.ASK_EVERY_S if any(self._held_before.values()) else None):
                    await self._freed.wait()
            except TimeoutError:
                pass
            self._freed.clear()
            for api in self._held_before:
                await self._review_held_by(api)

    async def _review_held_by(self, api: Api) -> None:
        if not self._held_before.get(api):
            return
        still = await self._sides[api].holders()
        if still is not None:
            async with self._turn:
                free, self._held_before[api] = self._held_before[api] - still, self._held_before[api] & still
                self._offer_freed({device_id for _, device_id in free})

    def look_again(self, api: Api) -> None:
        """Take note that pods may hold less by `api` than they did."""
        self.retentions[api].look_again()
        self._freed.set()

    def _is_held_elsewhere(self, offer: Offer, device_id: DeviceID) -> bool:
        """Tell whether a pod may hold a device as something else than `offer`."""
        return any(
            retention.is_held(held, offer, device_id) for api, held in self._held_before.items() if api is not offer.api
        ) or any(
            device_id in kept.retained_ids and (offer, device_id) not in kept.retained
            for kept in self.retentions.values()
        )

    def _update(
        self,
        inventory: Inventory,
        offer: Offer,
        devices: Mapping[DeviceID, Device | None],
        changes: Changes,
        at: float | None,
    ) -> Generator[None, None, bool]:
        """Bring one inventory in line; the devices that left the tree stay, unhealthy, until nobody holds them."""
        left_out, transitions = len(inventory.left_out), []
        withheld, kept = self._withheld.get(offer, {}), self.retentions[offer.api]
        for device_id, device in devices.items():
            listed = device
            if device is not None:
                kept.returned(offer, device_id)
                if self._is_held_elsewhere(offer, device_id):
                    self._withheld[offer][device_id] = device
                    yield
                    continue
            elif withheld.pop(device_id, None) is None and (known := inventory.get(device_id)) is not None:
                moved_to = next((other for other, there in changes.items() if there.get(device_id)), None)
                reason = _moved(offer, moved_to) if moved_to else retention.UNPLUGGED
                listed = kept.retain(offer, known, reason)
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
        """Take devices out of the inventories that nobody holds any more, and offer them where they were withheld."""
        for offer, devices in changes.items():
            self._apply(offer, devices)
        self._offer_freed({device_id for devices in changes.values() for device_id in devices})
        self._close_unused()

    def _offer_freed(self, free: set[DeviceID]) -> None:
        for offer, withheld in tuple(self._withheld.items()):
            now = [device_id for device_id in free & withheld.keys() if not self._is_held_elsewhere(offer, device_id)]
            self._apply(offer, {device_id: withheld.pop(device_id) for device_id in now})
            if not withheld:
                del self._withheld[offer]

    def _apply(self, offer: Offer, devices: Mapping[DeviceID, Device | None]) -> None:
        if (inventory := self.by_offer.get(offer)) is not None and devices:
            transitions = inventory.apply(devices, at=time.monotonic())
            for transition in transitions:
                self._count(inventory, transition)
            self._change_log.tell_later(inventory, transitions)

    def _count(self, inventory: Inventory, transition: Transition) -> None:
        was, now = transition.was, transition.now
        node = (now or was).node  # type: ignore[union-attr]  # one of the two is a device
        self._telemetry.count_change(
            inventory.resource_name, node, was.health.value if was else None, now.health.value if now else None
        )

    def _close_unused(self) -> None:
        """Close the inventories of offers without a class in the tree and without a device that a pod may hold."""
        if self._offers is None:
            return  # it will be known after the next `take`
        held = {offer for kept in self.retentions.values() for offer, _ in kept.retained}
        for offer in self.by_offer.keys() - set(self._offers) - held:
            self._log.info("resource_left", resource=offer)
            inventory = self.by_offer.pop(offer)
            self._withheld.pop(offer, None)
            self._sides[offer.api].rim.close(inventory)
            if not any(other.resource == offer.resource for other in self.by_offer):
                self._telemetry.forget(offer.resource)


def _moved(offer: Offer, to: Offer) -> str:
    """Return the reason of a device that is offered otherwise by now, for whoever holds it still."""
    return f"is {to} now" if to.api is offer.api else f"is served by {to.api.value} now"
