"""One resource and its kubelet: the state machine that keeps exactly one registration alive.

    WAIT     until a kubelet listens on kubelet.sock
    SERVE    a new server on a new socket
    REGISTER one call, 15 s
    AWAIT    the kubelet opens ListAndWatch within 5 s
    LIVE     until the kubelet was replaced or dropped us, our socket is gone, or there has been no stream for 2 s

and from everywhere back to WAIT, after the server has stopped completely: Register is never called while a stream is
alive, because a kubelet up to 1.36 then closes the wrong one (contract REG-13, PIT-4).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from fakehw_plugin import endpoint, errors
from fakehw_plugin.deviceplugin import registration
from fakehw_plugin.deviceplugin.attempt import Attempt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fakehw_plugin.deviceplugin.directory import Identity, KubeletDirectory
    from fakehw_plugin.deviceplugin.servicer import MakeServicer
    from fakehw_plugin.devices.inventory import Inventory
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.logs import Logger

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
    """Keeps `inventory` registered while `run` runs. `before_register` is awaited before each Register call."""

    def __init__(
        self,
        inventory: Inventory,
        directory: KubeletDirectory,
        *,
        make_servicer: MakeServicer,
        before_register: Callable[[], Awaitable[None]] | None,
        telemetry: Telemetry,
        on_live: Callable[[], None],
        log: Logger,
    ) -> None:
        self.inventory = inventory
        self.state = State.WAIT
        self.asked_at = 0.0
        self.live_since: float | None = None
        """When (on the monotonic clock) it was registered, while it is."""
        self._directory = directory
        self._make_servicer = make_servicer
        self._before_register = before_register
        self._telemetry = telemetry
        self._on_live = on_live
        self._wake = asyncio.Event()
        self._attempt: Attempt | None = None
        self._log = log

    @property
    def is_ready(self) -> bool:
        """Tell whether the resource is registered and its list is streamed to a kubelet at this moment."""
        return self.state is State.LIVE and self._attempt is not None and self._attempt.has_stream

    def leave(self) -> None:
        """Let the last list arrive when `run` is cancelled, on a busy machine too: there will be no other (NS-2)."""
        if self._attempt is not None:
            self._attempt.endpoint.stop_grace_s = endpoint.LEAVE_GRACE_S

    def drop(self, reason: str) -> None:
        """Give the present registration up, which the kubelet does not have any more, and make another."""
        if self._attempt is not None:
            self._attempt.dropped = reason
            self._wake.set()

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
                    self._count("failed")
                    if self._directory.identity() != identity:
                        self._log.info("kubelet_left_during_registration", error=str(error))
                        continue
                    delay = backoff * (0.5 + os.urandom(1)[0] / 512)  # between half and all of it: spreads load
                    self._log.warning("registration_failed", error=str(error), retry_in_s=round(delay, 2))
                    self.state = State.WAIT
                    await self._until(lambda: self._directory.identity() != identity, timeout=delay)  # noqa: B023
                    backoff = min(backoff * 2, LAST_BACKOFF_S)
        finally:
            self.state, self.live_since = State.WAIT, None
            self._directory.unsubscribe(self._wake.set)

    async def _live_once(self, identity: Identity) -> None:
        """Serve, register and stay until something ends it; errors of the two first steps are raised."""
        self.state = State.SERVE
        resource = self.inventory.resource_name
        servicer = self._make_servicer(on_streams=self._wake.set)
        own = endpoint.Endpoint(self._directory.path, resource, servicer)
        self._directory.newcomers.claim(own.name)
        async with own as serving:
            attempt = self._attempt = Attempt(serving, self._directory, identity)
            self.state, self.asked_at = State.REGISTER, time.monotonic()
            reason = await self._register(attempt)
            if reason is None:
                self.state = State.AWAIT_STREAM
                reason = await self._await_stream(attempt)
            if reason is not None:
                self._count("interrupted")
                self._log.info("registration_interrupted", reason=reason, endpoint=serving.name)
                return
            self.state, self.live_since = State.LIVE, time.monotonic()
            self._count("ok")
            self._log.info("registered", endpoint=serving.name, devices=len(self.inventory.devices))
            self._on_live()
            reason = await self._watch_over(attempt)
            self._telemetry.registrations_ended[resource, reason] += 1
            self._log.info("registration_ended", reason=reason, endpoint=serving.name)
            self.state, self.live_since = State.WAIT, None

    async def _call_register(self, attempt: Attempt) -> None:
        if self._before_register is not None:
            await self._before_register()
        await registration.register(
            self._directory.socket_path,
            endpoint=attempt.endpoint.name,
            resource_name=self.inventory.resource_name,
            options=attempt.endpoint.servicer.options,
        )

    async def _register(self, attempt: Attempt) -> str | None:
        """Make the Register call; return why it is of no use any more, if that is so before it is answered.

        A kubelet that was replaced does not answer, and one that cannot find our socket looks for it for 10 s (REG-6).
        """
        call = asyncio.create_task(self._call_register(attempt), name=f"register {self.inventory.resource_name}")
        call.add_done_callback(self._registering_ended)
        try:
            await self._until(lambda: call.done() or attempt.lost() is not None)
            if call.done():
                await call
                return None
            return attempt.lost()
        finally:
            if not call.done():
                call.cancel()
                await asyncio.wait([call])

    def _registering_ended(self, call: asyncio.Task[None]) -> None:
        if not call.cancelled():
            call.exception()  # looked at, even if the session ends in this very turn and awaits it no more
        self._wake.set()

    async def _await_stream(self, attempt: Attempt) -> str | None:
        """Wait for the kubelet's ListAndWatch; return why it will not come, RegistrationError if it does not."""
        await self._until(lambda: attempt.has_stream or attempt.lost() is not None, timeout=STREAM_TIMEOUT_S)
        if attempt.has_stream:
            return None
        if (reason := attempt.lost()) is None:
            raise errors.RegistrationError(f"the kubelet opened no ListAndWatch within {STREAM_TIMEOUT_S:g} s")
        return reason

    async def _watch_over(self, attempt: Attempt) -> str:
        """Wait for the end of this registration and return why it ended (contract RS-5)."""
        while True:
            await self._until(lambda: attempt.lost() is not None or not attempt.has_stream)
            # A stream that ends announces a kubelet's restart, or is all that we ever learn of a dropped registration.
            if attempt.lost() is None:
                self._on_live()
                await self._until(lambda: attempt.lost() is not None or attempt.has_stream, timeout=STREAM_LOSS_S)
                if attempt.has_stream:
                    continue
            return attempt.lost() or "stream_lost"

    async def _until(self, condition: Callable[[], bool], *, timeout: float | None = None) -> None:
        """Wait until `condition` holds, looking again at every wake-up, for `timeout` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not condition():
                    await self._wake.wait()
                    self._wake.clear()

    def _count(self, outcome: str) -> None:
        self._telemetry.registrations[self.inventory.resource_name, outcome] += 1
