"""Other plugins in the kubelet's directory. When one of them ends, the kubelet may have dropped us with it.

The newcomer to a resource always wins, and when it ends, the resource has nobody, while our stream is still open: the
kubelet tells us nothing (contract REG-12, REG-13). So when a neighbour's socket goes, or nobody listens on it any more,
we ask the kubelet which devices it takes for healthy (contract PR-4). Where it has none of a resource of which we list
some, that is registered again; and so it is where the kubelet cannot be asked. While another plugin serves the
resource we leave it to it: two that take it from each other in turn would serve nobody.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from fakehw_plugin import endpoint, logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakehw_plugin.deviceplugin.directory import KubeletDirectory
    from fakehw_plugin.deviceplugin.newcomers import Departure
    from fakehw_plugin.deviceplugin.pod_resources import Device, PodResources
    from fakehw_plugin.deviceplugin.session import Session

FIRST_LOOK_S: Final = 1.0
LOOK_EVERY_S: Final = 60.0
"""A plugin can come and go without a socket in this directory, by the kubelet's plugin watcher (contract PW-9)."""

PROBE_EVERY_S: Final = 10.0
"""How often it is tried whether a newcomer still listens, where the kubelet cannot be asked: one that is killed leaves
its socket."""

SETTLING_S: Final = (0.5, 1.5, 5.0)
"""When we look after a neighbour went: its socket goes first, its stream a little later."""

YOUNG_S: Final = 5.0
"""For how long the kubelet may not have read the list of a new registration, and is not to be suspected."""

TOGETHER_S: Final = 10.0
"""How long before us a plugin may have made the socket that it registered after us: all start with the kubelet."""

CONFIRM_S: Final = 0.25
"""Between two questions that must agree: a list of ours may be on its way."""


class Neighbours:
    """Has sessions register again that the kubelet dropped when another plugin ended, while `run` runs."""

    def __init__(
        self, directory: KubeletDirectory, sessions: Mapping[str, Session], pod_resources: PodResources
    ) -> None:
        self._directory = directory
        self._newcomers = directory.newcomers
        self._sessions = sessions
        self._pod_resources = pod_resources
        self._can_ask = True
        self._displaced: set[str] = set()
        self._log = logs.get_logger()

    async def run(self) -> None:
        """Look after every neighbour that goes, and once a minute, for ever."""
        await asyncio.sleep(FIRST_LOOK_S)
        while True:
            await self._look(None)
            departure = await self._departure(LOOK_EVERY_S)
            while departure is not None:
                for delay_s in SETTLING_S:
                    await asyncio.sleep(delay_s)
                    await self._look(departure)
                departure = await self._departure(0)

    async def _departure(self, timeout_s: float) -> Departure | None:
        """Wait until a newcomer is gone; None if none went within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            is_probing = not self._can_ask and len(self._newcomers.present) > 0
            if is_probing:
                self._probe()
            if (departure := self._newcomers.take_departure()) is not None:
                return departure
            if (rest_s := deadline - time.monotonic()) <= 0:
                return None
            await self._newcomers.wait_departure(min(rest_s, PROBE_EVERY_S) if is_probing else rest_s)

    def _probe(self) -> None:
        for name in tuple(self._newcomers.present):
            if endpoint.is_dead(self._directory.path / name):
                self._newcomers.went(name)

    async def _look(self, departure: Departure | None) -> None:
        """Have those register again that were registered when a neighbour went and that the kubelet does not have."""
        allocatable = await self._pod_resources.allocatable()
        self._can_ask = allocatable is not None
        dropped = self._dropped(allocatable, departure)
        if dropped and allocatable is not None:
            await asyncio.sleep(CONFIRM_S)
            dropped &= self._dropped(await self._pod_resources.allocatable(), departure)
        for resource in sorted(dropped):
            if (session := self._sessions.get(resource)) is not None:
                session.drop("displaced")

    def _dropped(self, allocatable: set[Device] | None, departure: Departure | None) -> set[str]:
        if allocatable is None and departure is None:
            return set()
        dropped = set()
        served = {resource for resource, _ in allocatable or ()}
        for resource, session in self._sessions.items():
            if session.live_since is None:
                continue
            if departure is None:
                if time.monotonic() - session.live_since < YOUNG_S:
                    continue
            elif not _concerns(departure, session.asked_at):
                continue
            if allocatable is None:
                dropped.add(resource)
                continue
            healthy = [device.id for device in session.inventory.devices.values() if device.is_healthy]
            if healthy and resource not in served:
                dropped.add(resource)
            elif healthy:
                is_ours = any((resource, device_id) in allocatable for device_id in healthy)
                self._note(resource, is_displaced=not is_ours)
        return dropped

    def _note(self, resource: str, *, is_displaced: bool) -> None:
        if is_displaced and resource not in self._displaced:
            self._displaced.add(resource)
            self._log.warning("displaced", resource=resource, reason="the kubelet lists another plugin's devices")
        elif not is_displaced:
            self._displaced.discard(resource)


def _concerns(departure: Departure, asked_at: float) -> bool:
    """Tell whether one that came and went so may have taken a registration that was asked for at `asked_at`.

    One that was there before it has been replaced by it, and the kubelet, if it errs, closes our stream when that ends.
    One that goes between our asking and our stream may have been the last whom the kubelet heard.
    """
    return departure.arrived_at > asked_at - TOGETHER_S and departure.left_at > asked_at
