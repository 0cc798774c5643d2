"""What a DRA driver is tested on: an API server, a kubelet, and the driver's own process between them.

Beside it stand the words that every part of the procedure needs: wait for a registration, start it once more, see what
is written while nothing is done.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from fakekubelet.apiserver.server import ApiServer
from fakekubelet.conformance import subject
from fakekubelet.conformance.dra import drive, evidence, observed
from fakekubelet.conformance.dra.settings import NODE_NAME
from fakekubelet.kubelet import kubelet

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakekubelet.conformance.dra.settings import Settings
    from fakekubelet.dra.driver_client import DriverClient
    from fakekubelet.dra.dynamic_resources import DynamicResources

LOOK_S: Final = 0.25
"""How long something is given that follows at once, if it follows at all."""

_LOOKS: Final = 8


class Bench:
    """All that one run has, from `start` to `close`."""

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        self.seen = evidence.Evidence(settings)
        self.settings = settings
        self.limits = settings.limits
        self.progress = progress
        """Is told what comes next."""
        self.api = ApiServer(settings.mode)
        self.kubelet = kubelet.FakeKubelet(
            settings.root / "device-plugins",
            node_name=NODE_NAME,
            plugins_registry=settings.registry_dir,
            mode=settings.mode,
            node_status_period_s=None,
            api=self.api,
            cdi_dirs=[settings.cdi_dir],
        )
        self.slices = observed.Slices(self.api)
        self.health = observed.Health(self.kubelet)
        self.onlooker = observed.Onlooker(self.kubelet, self.api)
        self.claims = drive.Claims(self.api)
        self.driver = subject.Subject(settings)
        self.driver.on_exit = self.onlooker.wake
        self._cdi_watch: observed.CdiWatch | None = None

    @property
    def dra(self) -> DynamicResources:
        """Return the kubelet's half of DRA."""
        assert self.kubelet.dra is not None
        return self.kubelet.dra

    @property
    def is_usable(self) -> bool:
        """Tell whether the driver is registered and connected."""
        return self.dra.drivers.is_usable(self.seen.driver)

    @property
    def client(self) -> DriverClient | None:
        """Return the connection to call by; None if the driver has taken its registration back."""
        known = self.dra.drivers
        return known.get(self.seen.driver) if self.seen.driver in known.names else None

    async def start(self) -> None:
        """Bring up what a driver finds on a node, then the driver; OSError if its command cannot be run."""
        settings = self.settings
        for directory in (settings.plugins_dir, settings.registry_dir, settings.cdi_dir):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if settings.driver:
            (settings.plugins_dir / settings.driver).mkdir(mode=0o750, exist_ok=True)
        await self.api.start()
        node = self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME}})
        self.seen.node_uid = node["metadata"]["uid"]
        self.api.write_kubeconfig(settings.kubeconfig)
        self._cdi_watch = observed.CdiWatch(settings.cdi_dir)
        await self.kubelet.start()
        await self.driver.start()

    async def close(self) -> None:
        """End everything and note what is known at the end."""
        seen = self.seen
        seen.output = self.driver.output
        await self.driver.close()
        if self._cdi_watch is not None:
            self._cdi_watch.look()
            seen.cdi_written_in_place, seen.cdi_files_seen = self._cdi_watch.in_place, self._cdi_watch.arrived
            self._cdi_watch.close()
        seen.registrations = [attempt for attempt in self.kubelet.registrations if attempt.route == "watcher"]
        seen.arrivals = list(self.dra.arrivals)
        calls = self.kubelet.calls
        seen.info_s = [call.duration_s for call in calls.of("GetInfo") if call.duration_s is not None]
        seen.notify_errors = [str(call.error) for call in calls.of("NotifyRegistrationStatus") if call.error]
        seen.refused_writes = list(
            dict.fromkeys(
                request.error
                for request in self.api.requests
                if request.resource == "resourceslices" and request.code in (400, 422) and request.verb != "watch"
            )
        )
        await self.kubelet.stop(remove_sockets=True)
        await self.api.stop()

    async def registered(self, since: float, limit_s: float) -> bool:
        """Wait for a registration that came after *since*, of the driver that is looked at or of the first."""
        wanted = self.seen.driver or self.settings.driver

        def there() -> bool:
            return any(
                attempt.error is None and attempt.time >= since and wanted in ("", attempt.resource_name)
                for attempt in self.kubelet.registrations
            )

        await self.onlooker.until(lambda: there() or not self.driver.is_running, limit_s)
        if not there():
            return False
        if not self.seen.driver:
            names = [attempt.resource_name for attempt in self.kubelet.registrations if attempt.error is None]
            self.seen.driver = wanted or names[0]
            self.slices.driver = self.health.driver = self.claims.driver = self.seen.driver
        return await self.onlooker.until(lambda: self.is_usable or not self.driver.is_running, self.limits.recovery_s)

    async def becomes_usable(self) -> bool:
        """Wait until the driver can be called; tell whether it can."""
        return await self.onlooker.until(lambda: self.is_usable, self.limits.recovery_s)

    async def revive(self) -> bool:
        """Start it once more; tell whether it is registered and has slices."""
        await self.driver.kill()
        self.slices.wipe()  # what it has left, so that what comes is its own
        since = time.monotonic()
        await self.driver.start()
        if not await self.registered(since, self.limits.start_s):
            return False
        return await self.onlooker.until(lambda: bool(self.slices.devices()), self.limits.publish_s)

    async def look_on(self, situation: str) -> None:
        """Do nothing and count what is written all the same."""
        for _ in range(_LOOKS):  # until what was still under way has come, unless it never ends
            before = self.slices.writes
            await asyncio.sleep(LOOK_S)
            if self.slices.writes == before:
                break
        before = self.slices.writes
        await asyncio.sleep(self.limits.quiet_s)
        self.seen.idle_writes[situation] = self.slices.writes - before
