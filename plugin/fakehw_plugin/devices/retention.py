"""Devices that left the tree while a pod may hold them: listed as Unhealthy, not dropped, until they are free.

Dropping an allocated ID makes the pod's status say Healthy, and a kubelet may trip over it (contract LW-13, HS-5,
PIT-14). Who holds what is the kubelet's to say (PodResources, contract PR-2). Where nobody can be asked, a grace period
has to do. A device that was handed out a moment ago counts as held: the kubelet lists it only a little later.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from fakehw_plugin import logs
from fakehw_plugin.attribute import Effect
from fakehw_plugin.device import Device, DeviceID, Health

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from fakehw_plugin.offer import Offer
    from fakehw_plugin.tree.known import Changes

    Holders = Callable[[], Awaitable[set[tuple[str, DeviceID]] | None]]

RECENTLY_S: Final = 1.0
"""How long after its Allocate call a device counts as held without asking; the kubelet lists it within milliseconds."""

ASK_EVERY_S: Final = 10.0
RELEASE_STEP: Final = 1000
"""Devices released before others may run."""

UNPLUGGED: Final = "unplugged"
ANY_RESOURCE: Final = ""
"""Stands for the resource of a device of which only the ID is known."""


def is_held(held: Collection[tuple[str, DeviceID]], offer: Offer, device_id: DeviceID) -> bool:
    """Tell whether a device of `offer` is among those that pods hold, given by resource and ID."""
    return (offer.resource, device_id) in held or (ANY_RESOURCE, device_id) in held


class Retention:
    """Decides when a device that left the tree leaves the list.

    `holders` returns resource and ID of what pods hold, or None where it cannot be known; `release` takes devices out,
    while `turn` is held.
    """

    def __init__(
        self,
        *,
        holders: Holders,
        release: Callable[[Changes], None],
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
        turn: asyncio.Lock | None = None,
    ) -> None:
        self._holders = holders
        self._release = release
        self._grace_s = grace_s
        self._clock = clock
        self._turn = turn or asyncio.Lock()
        self._vanished: dict[tuple[Offer, DeviceID], float] = {}
        self.retained_ids: Counter[DeviceID] = Counter()
        """The IDs of the devices that are listed though they left the tree, and as how many offers each."""
        self._allocated_at: dict[DeviceID, float] = {}
        self._wake = asyncio.Event()
        self._log = logs.get_logger()

    @property
    def retained(self) -> Collection[tuple[Offer, DeviceID]]:
        """Return the devices that are listed though they left the tree."""
        return self._vanished.keys()

    def look_again(self) -> None:
        """Ask again who holds what, without waiting for the time to do so."""
        self._wake.set()

    def allocated(self, device_ids: Iterable[DeviceID]) -> None:
        """Note that these were handed out just now."""
        now = self._clock()
        self._allocated_at.update(dict.fromkeys(device_ids, now))
        if len(self._allocated_at) > 10_000:
            recent = {key: at for key, at in self._allocated_at.items() if now - at < RECENTLY_S}
            self._allocated_at = recent

    def retain(self, offer: Offer, device: Device, reason: str = UNPLUGGED) -> Device:
        """Take note that `device` left the tree; return what is listed in its place, which is not to be had."""
        if (offer, device.id) not in self._vanished:
            self._vanished[offer, device.id] = self._clock()
            self.retained_ids[device.id] += 1
        self._wake.set()
        details = device.details
        if details.unhealthy_effect is Effect.NONE:
            details = details._replace(unhealthy_effect=Effect.NO_SCHEDULE)
        return device._replace(health=Health.UNHEALTHY, reason=reason, has_device_node=False, details=details)

    def returned(self, offer: Offer, device_id: DeviceID) -> None:
        """Take note that a device is back in the tree."""
        self._forget(offer, device_id)

    def _forget(self, offer: Offer, device_id: DeviceID) -> bool:
        if self._vanished.pop((offer, device_id), None) is None:
            return False
        self.retained_ids[device_id] -= 1
        if not self.retained_ids[device_id]:
            del self.retained_ids[device_id]
        return True

    async def run(self) -> None:
        """Release what nobody holds any more, as soon as that is known; asks nobody while nothing is retained."""
        while True:
            self._wake.clear()
            if not self._vanished:
                await self._wake.wait()
                continue
            next_look = await self._review()
            try:
                async with asyncio.timeout(next_look):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _review(self) -> float | None:
        """Release what is free and return the seconds until the next look, None if nothing is left."""
        async with self._turn:  # what left together is asked about together, and goes together
            asked_about = dict(self._vanished)
        held = await self._holders()
        now = self._clock()
        free = []
        waits = []
        for (offer, device_id), since in asked_about.items():
            if (offer, device_id) not in self._vanished:
                continue  # it came back while we asked
            recent = self._allocated_at.get(device_id, -RECENTLY_S) + RECENTLY_S - now
            if held is None:
                wait = max(since + self._grace_s - now, recent)
            else:
                wait = ASK_EVERY_S if is_held(held, offer, device_id) else recent
            if wait > 0:
                waits.append(wait)
            else:
                free.append((offer, device_id))
        for start in range(0, len(free), RELEASE_STEP):
            if start:
                await asyncio.sleep(0)
            async with self._turn:
                changes: Changes = {}
                for offer, device_id in free[start : start + RELEASE_STEP]:
                    if self._forget(offer, device_id):  # else it came back while others ran
                        changes.setdefault(offer, {})[device_id] = None
                self._release(changes)
        return min(waits, default=None)
