"""Which drivers are registered and connected, and whose slices are wiped.

Mirrors `cm/dra/plugin/dra_plugin_manager.go` (contract DRA-5 to DRA-9). Up to 1.32 a new registration replaces the old
one, and slices go at once when a driver deregisters.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Final

from fakekubelet import clock
from fakekubelet.dra import driver_client
from fakekubelet.kubelet import registration
from kubeletapi.dra import constants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fakekubelet.dra.view import View
    from fakekubelet.kubelet import call_log
    from kubeletapi.drahealth.v1 import api_pb2 as healthapi

WIPING_DELAY_S: Final = 30.0
"""How long a driver may be gone before its slices are deleted (contract DRA-8)."""
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """A driver that was taken."""

    name: str
    endpoint: Path
    was_listening: bool
    """Whether somebody served on its endpoint at that moment."""
    at: float


class NotRegisteredError(Exception):
    """A driver is needed and not there; the text is the kubelet's."""


class RefusedError(Exception):
    """A driver cannot be registered; the text is the kubelet's."""


class Drivers:
    """The drivers of one life of a kubelet."""

    def __init__(
        self,
        api: View,
        node_name: str,
        *,
        minor: int,
        time_source: clock.Clock,
        calls: call_log.CallLog,
        ring: Callable[[], None],
        on_health: Callable[[str, healthapi.NodeWatchResourcesResponse | None], None],
        arrivals: list[Arrival],
        client: type[driver_client.DriverClient] = driver_client.DriverClient,
    ) -> None:
        """Describe them; *client* is what holds the connection to one instance."""
        self._arrivals = arrivals
        self._client = client
        self._api = api
        self._node_name = node_name
        self._minor = minor
        self._clock = time_source
        self._calls = calls
        self._ring = ring
        self._on_health = on_health
        self._clients: dict[str, list[driver_client.DriverClient]] = {}
        self._wipes: dict[str, clock.Timer] = {}
        self._wiping: set[asyncio.Task[None]] = set()
        self.wiped: list[str] = []
        """Whose slices were deleted, in order; "" for those of all drivers."""

    @property
    def services(self) -> tuple[str, ...]:
        """Return the services that this kubelet speaks."""
        return (constants.V1, constants.V1BETA1) if self._minor >= 34 else (constants.V1BETA1,)

    @property
    def health_services(self) -> tuple[str, ...]:
        """Return the health services that this kubelet asks for: none while the gate is off (contract DRA-HEALTH-2)."""
        if self._minor < 36:
            return ()
        return (constants.HEALTH_V1ALPHA1,) if self._minor == 36 else (constants.HEALTH_V1, constants.HEALTH_V1ALPHA1)

    # -- registration (the plugin watcher's handler) ------------------------------------------------------------------

    def refusal(self, name: str, endpoint: Path, versions: Sequence[str]) -> str | None:
        """Return why a driver with these *versions* is not taken (contract DRA-REG-3); None if it is."""
        try:
            self._service(name, endpoint, versions)
        except RefusedError as error:
            return str(error)
        return None

    async def connect(self, name: str, endpoint: Path, versions: Sequence[str]) -> None:
        """Register an instance of a driver; RefusedError if its endpoint is known already (contract DRA-6)."""
        service = self._service(name, endpoint, versions)
        self._arrivals.append(Arrival(name, endpoint, registration.is_listening(endpoint), self._clock.time()))
        known = self._clients.setdefault(name, [])
        if self._minor < 33:
            while known:
                await known.pop().close()
        elif any(client.endpoint == endpoint for client in known):
            raise RefusedError(f"endpoint {endpoint} already registered for DRA driver plugin {name}")
        client = self._client(
            name,
            endpoint,
            service,
            health_services=self.health_services,
            time_source=self._clock,
            calls=self._calls,
            on_connection=lambda: self._sync(name),
            on_health=lambda reply: self._on_health(name, reply),
        )
        known.append(client)
        client.start()
        self._sync(name)

    async def disconnect(self, name: str, endpoint: Path) -> None:
        """Forget an instance whose registration socket is gone."""
        known = self._clients.get(name, [])
        for client in [client for client in known if client.endpoint == endpoint]:
            known.remove(client)
            await client.close()
        if not known:
            self._clients.pop(name, None)
        self._sync(name)

    def _service(self, name: str, endpoint: Path, versions: Sequence[str]) -> str:
        about = f"invalid supported gRPC versions of DRA driver plugin {name} at endpoint {endpoint}"
        if not versions:
            raise RefusedError(f"{about}: empty list of supported gRPC services (aka supported versions)")
        ours = self.services
        order = ours if self._minor < 33 else versions
        chosen = next((service for service in order if service in ours and service in versions), None)
        if chosen is None:
            theirs = " ".join(f'"{version}"' for version in versions)
            spoken = " ".join(f'"{service}"' for service in ours)
            text = f"none of services supported by the plugin ([{theirs}]) are supported by the kubelet ([{spoken}])"
            raise RefusedError(f"{about}: {text}")
        return chosen

    # -- what is there ------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Return the registered drivers."""
        return sorted(self._clients)

    def clients(self, name: str) -> list[driver_client.DriverClient]:
        """Return the registered instances of a driver, the oldest first."""
        return list(self._clients.get(name, ()))

    def is_usable(self, name: str) -> bool:
        """Tell whether a connection to a driver stands."""
        return any(client.is_connected for client in self._clients.get(name, ()))

    def get(self, name: str) -> driver_client.DriverClient:
        """Return the instance to call: the newest one connected, else the newest (contract DRA-REG-7)."""
        known = self._clients.get(name)
        if not known:
            raise NotRegisteredError(f"DRA driver {name} is not registered")
        connected = [client for client in known if client.is_connected]
        return (connected or known)[-1]

    # -- wiping -------------------------------------------------------------------------------------------------------

    def wipe_all(self) -> None:
        """Delete the slices of this node, as a kubelet does when it starts (contract DRA-9)."""
        self._wipe("")

    async def stop(self) -> None:
        """Close all connections and forget what was to be wiped."""
        for timer in self._wipes.values():
            timer.cancel()
        self._wipes.clear()
        tasks = list(self._wiping)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        clients = [client for known in self._clients.values() for client in known]
        self._clients.clear()
        for client in clients:
            await client.close()

    def _sync(self, name: str) -> None:
        if self.is_usable(name):
            timer = self._wipes.pop(name, None)
            if timer is not None:
                timer.cancel()
        elif name not in self._wipes:
            delay_s = WIPING_DELAY_S if self._minor >= 33 else 0.0
            if self._minor >= 33 or name not in self._clients:
                self._wipes[name] = self._clock.call_later(delay_s, lambda: self._wipe(name))
        self._ring()

    def _wipe(self, name: str) -> None:
        self._wipes.pop(name, None)
        task = asyncio.get_running_loop().create_task(self._delete_slices(name), name=f"wipe {name}")
        self._wiping.add(task)
        task.add_done_callback(self._wiping.discard)

    async def _delete_slices(self, name: str) -> None:
        pause_s = _FIRST_RETRY_S
        while not await self._api.wipe(self._node_name, name):
            await clock.sleep(self._clock, pause_s)
            pause_s = min(2 * pause_s, _LAST_RETRY_S)
        self.wiped.append(name)
        self._ring()
