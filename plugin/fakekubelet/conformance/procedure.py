"""What is done to a plugin, in order; what is seen of it goes into the evidence.

    first life   started beside a dead kubelet.sock; the kubelet comes; asked, watched, its devices broken; SIGTERM
    second life  the kubelet restarts, is replaced, drops the stream, is away; SIGKILL
    third life   started beside its own dead sockets; ended

A plugin that does not come back is started again, so that one fault does not hide the next. One that runs already is
never signalled: it has one life.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

from fakekubelet.conformance import calls, evidence, observed, recovery_checks, subject
from fakekubelet.kubelet import checkpoint, kubelet
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fakekubelet.conformance.settings import Settings


async def run(settings: Settings, progress: Callable[[str], None] = lambda _: None) -> evidence.Evidence:
    """Do it all, and say to *progress* what comes next; OSError if the command cannot be run."""
    procedure = Procedure(settings, progress)
    try:
        await procedure.run()
    finally:
        await procedure.close()
    return procedure.seen


class Procedure:
    """One run."""

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self.seen = evidence.Evidence(settings)
        self._settings = settings
        self._limits = settings.limits
        self._kubelet = kubelet.FakeKubelet(
            settings.plugin_dir,
            pod_resources_socket=settings.pod_resources_socket,
            plugins_registry=settings.plugins_registry,
            mode=settings.mode,
            node_name="conformance",
        )
        self._observed = observed.Observed(settings, self._kubelet)
        self._plugin = subject.Subject(settings)
        self._plugin.on_exit = self._kubelet.changes.ring

    async def run(self) -> None:
        """Go through it as far as the plugin lets it."""
        if not await self._arrive():
            return
        self._progress(f"{len(self._observed.resources)} resource(s) registered; doing nothing for a while")
        await self._listen()
        self._progress("asking for allocations and preferences")
        await calls.ask_and_change(self.seen, self._observed, self._kubelet, self._plugin)
        if not self.seen.survived_unknown:
            await self._revive()
        if self._plugin.is_ours and self._observed.is_up():
            self._progress("SIGTERM")
            await self._stop()
        if self._settings.is_brief:
            return
        if self.seen.stop is not None:
            await self._new_life()
        await self._disturb()
        if self._plugin.is_ours and self._observed.is_up():
            self._progress("SIGKILL, and a new start")
            await self._kill_and_return()

    async def close(self) -> None:
        """End everything and put the directory back."""
        self.seen.output = self._plugin.output
        self._leave_life()
        await self._plugin.close()
        self._end_life()
        await self._kubelet.stop(remove_sockets=True)
        checkpoint.remove(self._settings.plugin_dir)

    # -- lives --------------------------------------------------------------------------------------------------------

    async def _arrive(self) -> bool:
        """Start beside a dead `kubelet.sock` and let the kubelet come; False if nothing is ever registered."""
        path = self._settings.plugin_dir / constants.KUBELET_SOCKET
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        await self._begin_life()
        self._progress(
            "the plugin is started beside a dead kubelet.sock" if self._plugin.is_ours else "a kubelet comes"
        )
        if self._plugin.is_ours:
            await self._observed.until(lambda: not self._plugin.is_running, self._limits.absent_s)
        came = time.monotonic()
        await self._kubelet.start()
        await self._observed.until(
            lambda: (
                bool(self._observed.accepted()) or not self._plugin.is_running or self._observed.is_refused_for_good()
            ),
            self._limits.recovery_s,
        )
        if self._observed.is_refused_for_good():  # another resource of the plugin may be in order, and come next
            await self._observed.until(lambda: bool(self._observed.accepted()), self._limits.quiet_s)
        self.seen.waited_until = time.monotonic()
        if self._observed.accepted():
            first = next(attempt for attempt in self._kubelet.registrations if attempt.error is None)
            waited = evidence.Recovery(max(0.0, first.time - came))
        else:
            exit_code = None if self._plugin.is_running else self._plugin.exit_code
            waited = evidence.Recovery(None, self._settings.resources or ("nothing came",), exit_code)
            if self._plugin.is_ours and not self._observed.is_refused_for_good():
                self._leave_life()
                await self._plugin.kill()
                self._observed.remove_sockets()
                await self._begin_life()
            if self._observed.is_refused_for_good() or not await self._observed.until(
                lambda: bool(self._observed.accepted()), self._limits.start_s
            ):
                self._observed.resources = list(self._settings.resources)
                return False
        self.seen.recoveries[recovery_checks.WAITING] = waited
        await self._observed.find_resources()
        await self._observed.until(
            lambda: self._observed.is_up() or bool(self._observed.stream_errors()), self._limits.list_s
        )
        self.seen.instances[-1].arrived_s = self._observed.arrivals()
        return True

    async def _begin_life(self) -> None:
        self._end_life()
        self.seen.instances.append(evidence.Instance(time.monotonic()))
        await self._plugin.start()

    def _leave_life(self) -> None:
        """Note that the process is about to be ended: a call that it made before may still come in after."""
        if self.seen.instances:
            self.seen.instances[-1].ended = time.monotonic()

    def _end_life(self) -> None:
        """Write down what belongs to the present life."""
        seen = self.seen
        seen.resources = self._observed.resources
        seen.stream_errors.update(self._observed.stream_errors())
        seen.list_sizes = self._observed.list_sizes()
        seen.files = tuple(sorted({*seen.files, *self._observed.files()}))
        if seen.instances:
            life = seen.instances[-1]
            attempts = self._kubelet.registrations
            life.registrations = [attempt for attempt in attempts if life.started <= attempt.time < life.ended]
            life.lists = {resource: self._observed.lists(resource, life.started) for resource in seen.resources}

    async def _new_life(self) -> bool:
        """Start the plugin; tell whether all its resources came up."""
        await self._begin_life()
        since = self.seen.instances[-1].started
        await self._observed.until(
            lambda: self._observed.is_up(since) or not self._plugin.is_running, self._limits.start_s
        )
        return self._observed.is_up(since)

    async def _revive(self) -> None:
        """Start a plugin again that did not come back; one that is not ours may still come."""
        if self._plugin.is_ours:
            self._leave_life()
            await self._plugin.kill()
            self._observed.remove_sockets()
            await self._new_life()

    async def _stop(self) -> None:
        began, resources = time.monotonic(), self._observed.resources
        listed = [resource for resource in resources if self._kubelet.history(resource)[-1].devices]
        self._leave_life()
        in_time = await self._plugin.terminate(self._limits.stop_s)
        took = time.monotonic() - began
        await self._observed.until(lambda: not any(map(self._kubelet.live_streams, resources)), self._limits.quiet_s)
        empty = [
            resource for resource in listed if any(not last.devices for last in self._observed.lists(resource, began))
        ]
        self.seen.stop = evidence.Stop(
            took if in_time else None, self._plugin.exit_code, tuple(self._observed.sockets()), tuple(empty)
        )
        self._observed.remove_sockets()

    async def _kill_and_return(self) -> None:
        self._leave_life()
        await self._plugin.kill()
        left, began = set(self._observed.sockets()), time.monotonic()
        came_up = await self._new_life()
        took = time.monotonic() - began
        exit_code = None if self._plugin.is_running else self._plugin.exit_code
        self.seen.revival = evidence.Recovery(
            took if came_up else None, tuple(self._observed.missing(began)), exit_code
        )
        if came_up:
            if left & set(self._observed.dead_sockets()):  # it may clear them a moment after it has registered
                await asyncio.sleep(self._limits.quiet_s)
            self.seen.stale_sockets = tuple(sorted(left & set(self._observed.dead_sockets())))

    # -- what is done to it -------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Do nothing and count what comes all the same."""
        before = {resource: len(self._kubelet.history(resource)) for resource in self._observed.resources}
        await asyncio.sleep(self._limits.quiet_s)
        for resource, seen in before.items():
            lists = self._kubelet.history(resource)
            repeats = sum(
                not lists[i].is_first and lists[i].devices == lists[i - 1].devices
                for i in range(max(seen, 1), len(lists))
            )
            if lists:
                self.seen.idle_repeats[resource] = repeats / self._limits.quiet_s

    async def _disturb(self) -> None:
        """Do to the kubelet what the recovery checks name, one after the other."""

        async def replace() -> None:
            await self._kubelet.stop()
            await self._kubelet.start(keep_sockets=True)

        async def drop() -> None:
            for resource in self._observed.resources:
                await self._kubelet.drop(resource)

        async def leave() -> None:
            await self._kubelet.stop()
            await asyncio.sleep(self._limits.absent_s)
            await self._kubelet.start()

        disturbances: dict[str, Callable[[], Awaitable[None]]] = {
            recovery_checks.RESTARTED: self._kubelet.restart,
            recovery_checks.REPLACED: replace,
            recovery_checks.DROPPED: drop,
            recovery_checks.ABSENT: leave,
        }
        for name, disturb in disturbances.items():
            if not self._observed.is_up():
                return
            self._progress(name)
            since = time.monotonic()
            await disturb()
            self.seen.recoveries[name] = recovery = await self._recovered(since, time.monotonic())
            if recovery.seconds is None:
                await self._revive()

    async def _recovered(self, since: float, back: float) -> evidence.Recovery:
        """Wait until the plugin is registered again after *since*; the kubelet was there from *back* on."""
        await self._observed.until(
            lambda: self._observed.is_up(since) or not self._plugin.is_running, self._limits.recovery_s
        )
        if self._observed.is_up(since):
            return evidence.Recovery(max(0.0, self._observed.last_list() - back))
        exit_code = None if self._plugin.is_running else self._plugin.exit_code
        return evidence.Recovery(None, tuple(self._observed.missing(since)), exit_code)
