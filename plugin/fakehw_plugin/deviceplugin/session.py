"""One resource and its kubelet: the state machine that keeps exactly one registration alive.

    WAIT     until a kubelet listens on kubelet.sock
    SERVE    a new server on a new socket
    REGISTER one call, 15 s
    AWAIT    the kubelet opens ListAndWatch within 5 s
    LIVE     until the kubelet was replaced, our socket is gone, or there has been no stream for 2 s

and from everywhere back to WAIT, after the server has stopped completely: Register is never called while a stream is
alive, because a kubelet up to 1.36 then closes the wrong one (contract REG-13, PIT-4). A resource has a session of its
own, so that one the kubelet refuses does not take the others down.
"""

from __future__ import annotations

import asyncio
import random
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fakehw_plugin import errors, logs
from fakehw_plugin.deviceplugin import endpoint, registration, servicer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fakehw_plugin.config import Config
    from fakehw_plugin.deviceplugin import rpc_faults
    from fakehw_plugin.deviceplugin.directory import Identity, KubeletDirectory
    from fakehw_plugin.devices.device import DeviceID
    from fakehw_plugin.devices.inventory import Inventory
    from fakehw_plugin.devices.telemetry import Telemetry

STREAM_TIMEOUT_S: Final = 5.0
STREAM_LOSS_S: Final = 2.0
FIRST_BACKOFF_S: Final = 1.0
LAST_BACKOFF_S: Final = 30.0


class State(StrEnum):
    """Where a session stands."""

    WAIT = "wait"
    SERVE = "serve"
    REGISTER = "register"
    AWAIT_STREAM = "await_stream"
    LIVE = "live"


class Session:
    """Keeps `inventory` registered while `run` runs."""

    def __init__(
        self,
        inventory: Inventory,
        directory: KubeletDirectory,
        config: Config,
        telemetry: Telemetry,
        *,
        on_allocated: Callable[[Iterable[DeviceID]], None],
        on_live: Callable[[], None],
        faults: rpc_faults.ResourceFaults | None = None,
    ) -> None:
        self.inventory = inventory
        self.state = State.WAIT
        self._directory = directory
        self._config = config
        self._telemetry = telemetry
        self._on_allocated = on_allocated
        self._on_live = on_live
        self._faults = faults
        self._wake = asyncio.Event()
        self._service: servicer.DevicePluginServicer | None = None
        self._serving: endpoint.Endpoint | None = None
        self._log = logs.get_logger(resource=inventory.resource_name)

    @property
    def is_ready(self) -> bool:
        """Tell whether the resource is registered and its list is streamed to a kubelet at this moment."""
        return self.state is State.LIVE and self._service is not None and self._service.live_streams > 0

    def leave(self) -> None:
        """Let the last list arrive when `run` is cancelled, on a busy machine too: there will be no other (NS-2)."""
        if self._serving is not None:
            self._serving.stop_grace_s = endpoint.LEAVE_GRACE_S

    async def run(self) -> None:
        """Keep the resource registered until cancelled."""
        backoff = FIRST_BACKOFF_S
        self._directory.subscribe(self._wake.set)
        try:
            while True:
                self.state = State.WAIT
                identity = await self._directory.wait_listening()
                try:
                    await self._live_once(identity)
                    backoff = FIRST_BACKOFF_S
                except (errors.EndpointError, errors.RegistrationError) as error:
                    self._telemetry.registrations[self.inventory.resource_name, "failed"] += 1
                    if self._directory.identity() != identity:
                        self._log.info("kubelet_left_during_registration", error=str(error))
                        continue
                    delay = backoff * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, guards nothing
                    self._log.warning("registration_failed", error=str(error), retry_in_s=round(delay, 2))
                    self.state = State.WAIT
                    await self._until(lambda: self._directory.identity() != identity, timeout=delay)  # noqa: B023
                    backoff = min(backoff * 2, LAST_BACKOFF_S)
        finally:
            self.state = State.WAIT
            self._directory.unsubscribe(self._wake.set)

    async def _live_once(self, identity: Identity) -> None:
        """Serve, register and stay until something ends it; errors of the two first steps are raised."""
        self.state = State.SERVE
        service = servicer.DevicePluginServicer(
            self.inventory,
            root=str(self._config.root),
            host_root=str(self._config.host_root),
            pre_start_required=self._config.pre_start_check,
            telemetry=self._telemetry,
            log=self._log,
            on_streams=self._wake.set,
            on_allocated=self._on_allocated,
            faults=self._faults,
        )
        self._service = service
        async with endpoint.Endpoint(self._config.plugin_dir, self.inventory.resource_name, service) as serving:
            self._serving = serving
            self.state = State.REGISTER
            if (reason := await self._register(serving, identity)) is None:
                self._telemetry.registrations[self.inventory.resource_name, "ok"] += 1
                self.state = State.AWAIT_STREAM
                reason = await self._await_stream(serving, identity)
            if reason is not None:
                self._log.info("registration_interrupted", reason=reason, endpoint=serving.name)
                return
            self.state = State.LIVE
            self._log.info("registered", endpoint=serving.name, devices=len(self.inventory.devices))
            self._on_live()
            reason = await self._watch_over(serving, identity)
            self._telemetry.registrations_ended[self.inventory.resource_name, reason] += 1
            self._log.info("registration_ended", reason=reason, endpoint=serving.name)
            self.state = State.WAIT

    async def _call_register(self, serving: endpoint.Endpoint) -> None:
        if self._faults is not None:
            await self._faults.before_register()
        await registration.register(
            self._directory.socket_path,
            endpoint=serving.name,
            resource_name=self.inventory.resource_name,
            options=serving.servicer.options,
        )

    async def _register(self, serving: endpoint.Endpoint, identity: Identity) -> str | None:
        """Make the Register call; return why it is of no use any more, if that is so before it is answered.

        A kubelet that was replaced does not answer, and one that cannot find our socket looks for it for 10 s (REG-6).
        """
        call = asyncio.create_task(self._call_register(serving), name=f"register {self.inventory.resource_name}")
        call.add_done_callback(lambda _: self._wake.set())
        try:
            await self._until(lambda: call.done() or self._lost(serving, identity) is not None)
            if call.done():
                await call
                return None
            return self._lost(serving, identity)
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait([call])

    async def _await_stream(self, serving: endpoint.Endpoint, identity: Identity) -> str | None:
        """Wait for the kubelet's ListAndWatch; return why it will not come, RegistrationError if it does not."""
        service = serving.servicer
        await self._until(
            lambda: service.live_streams > 0 or self._lost(serving, identity) is not None, timeout=STREAM_TIMEOUT_S
        )
        if service.live_streams:
            return None
        if (reason := self._lost(serving, identity)) is None:
            raise errors.RegistrationError(f"the kubelet opened no ListAndWatch within {STREAM_TIMEOUT_S:g} s")
        return reason

    def _lost(self, serving: endpoint.Endpoint, identity: Identity) -> str | None:
        """Return why the registration on `serving` with the kubelet of `identity` is over, or None (contract RS-5)."""
        now = self._directory.identity()
        if now is not None and now != identity:
            return "kubelet_replaced"
        if not serving.is_in_place():
            return "socket_removed"
        if now is None and not serving.servicer.live_streams:
            return "kubelet_gone"
        return None

    async def _watch_over(self, serving: endpoint.Endpoint, identity: Identity) -> str:
        """Wait for the end of this registration and return why it ended (contract RS-5)."""
        service = serving.servicer

        def lost() -> str | None:
            return self._lost(serving, identity)

        while True:
            await self._until(lambda: lost() is not None or not service.live_streams)
            # A stream that ends announces a kubelet's restart, or is all that we ever learn of a dropped registration.
            if lost() is None:
                self._on_live()
                await self._until(lambda: lost() is not None or service.live_streams > 0, timeout=STREAM_LOSS_S)
                if service.live_streams:
                    continue
            return lost() or "stream_lost"

    async def _until(self, condition: Callable[[], bool], *, timeout: float | None = None) -> bool:
        """Wait until `condition` holds, looking again at every wake-up; False if `timeout` seconds were not enough."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self._wake.clear()
                    if condition():
                        return True
                    await self._wake.wait()
        except TimeoutError:
            return False
