"""What is done to a DRA driver, in order; what is seen of it goes into the evidence.

    first life    it registers and publishes; nothing is done; claims are prepared and unprepared, good and bad ones;
                  a device is broken and mended; SIGTERM
    second life   the kubelet restarts and wipes the slices; they are wiped again while the driver's watch is cut off
                  and cannot be resumed; SIGKILL, with a claim prepared
    third life    the claim of the dead process is prepared again; the machine reboots and loses /var/run/cdi

A driver that does not come back is started again, so that one fault does not hide the next.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Any, Final

import grpc

from fakekubelet.apiserver.server import ApiServer
from fakekubelet.conformance import reboot, subject
from fakekubelet.conformance.dra import drive, evidence, observed
from fakekubelet.conformance.dra.settings import NODE_NAME
from fakekubelet.dra import cdi
from fakekubelet.kubelet import kubelet
from kubeletapi.dra import constants
from kubeletapi.dra.v1 import api_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fakekubelet.conformance.dra.settings import Settings
    from fakekubelet.dra.driver_client import DriverClient
    from fakekubelet.dra.dynamic_resources import DynamicResources

_LOOK_S: Final = 0.25
_LOOKS: Final = 8


async def run(settings: Settings, progress: Callable[[str], None] = lambda _: None) -> evidence.Evidence:
    """Do it all; OSError if the command cannot be run, HookError if a device cannot be broken or mended."""
    procedure = Procedure(settings, progress)
    try:
        await procedure.run()
    finally:
        await procedure.close()
    return procedure.seen


class Procedure:
    """One run."""

    def __init__(self, settings: Settings, progress: Callable[[str], None]) -> None:
        self.seen = evidence.Evidence(settings)
        self._settings = settings
        self._limits = settings.limits
        self._progress = progress
        self._api = ApiServer(settings.mode)
        self._kubelet = kubelet.FakeKubelet(
            settings.root / "device-plugins",
            node_name=NODE_NAME,
            plugins_registry=settings.registry_dir,
            mode=settings.mode,
            node_status_period_s=None,
            api=self._api,
            cdi_dirs=[settings.cdi_dir],
        )
        self._slices = observed.Slices(self._api)
        self._health = observed.Health(self._kubelet)
        self._onlooker = observed.Onlooker(self._kubelet, self._api)
        self._driver = subject.Subject(settings)
        self._driver.on_exit = self._onlooker.wake
        self._claims_made = drive.Claims(self._api)
        self._cdi_watch: observed.CdiWatch | None = None

    @property
    def _dra(self) -> DynamicResources:
        assert self._kubelet.dra is not None
        return self._kubelet.dra

    async def run(self) -> None:
        """Go through it as far as the driver lets it."""
        settings, seen = self._settings, self.seen
        for directory in (settings.plugins_dir, settings.registry_dir, settings.cdi_dir):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if settings.driver:
            (settings.plugins_dir / settings.driver).mkdir(mode=0o750, exist_ok=True)
        await self._api.start()
        node = self._api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME}})
        seen.node_uid = node["metadata"]["uid"]
        self._api.write_kubeconfig(settings.kubeconfig)
        self._cdi_watch = observed.CdiWatch(settings.cdi_dir)
        await self._kubelet.start()
        await self._driver.start()
        self._progress("the driver is started")
        if not await self._registered(0.0, self._limits.start_s):
            return
        await self._first_life()
        if settings.is_brief:
            return
        if not self._driver.is_running:
            await self._revive()
        await self._disturb()
        await self._kill_and_return()

    async def close(self) -> None:
        """End everything and note what is known at the end."""
        seen = self.seen
        seen.output = self._driver.output
        await self._driver.close()
        if self._cdi_watch is not None:
            self._cdi_watch.look()
            seen.cdi_written_in_place, seen.cdi_files_seen = self._cdi_watch.in_place, self._cdi_watch.arrived
            self._cdi_watch.close()
        seen.registrations = [one for one in self._kubelet.registrations if one.route == "watcher"]
        seen.arrivals = list(self._dra.arrivals)
        calls = self._kubelet.calls
        seen.info_s = [call.duration_s for call in calls.of("GetInfo") if call.duration_s is not None]
        seen.notify_errors = [str(call.error) for call in calls.of("NotifyRegistrationStatus") if call.error]
        seen.refused_writes = list(
            dict.fromkeys(
                request.error
                for request in self._api.requests
                if request.resource == "resourceslices" and request.code in (400, 422) and request.verb != "watch"
            )
        )
        await self._kubelet.stop(remove_sockets=True)
        await self._api.stop()

    # -- first life ---------------------------------------------------------------------------------------------------

    async def _first_life(self) -> None:
        seen, limits = self.seen, self._limits
        await asyncio.sleep(_LOOK_S)  # a notice that it does not take undoes the registration
        await self._onlooker.until(lambda: self._dra.drivers.is_usable(seen.driver), limits.recovery_s)
        infos = [call.reply for call in self._kubelet.calls.of("GetInfo") if call.reply is not None]
        seen.info = infos[-1]
        self._progress(f"{seen.driver} is registered; waiting for its slices")
        began = time.monotonic()
        if await self._onlooker.until(lambda: bool(self._slices.devices()), limits.publish_s):
            seen.published_s = time.monotonic() - began
        await self._ask_services()
        await self._look_on("at rest")
        seen.slices = self._slices.all()
        seen.slice_problems["at rest"] = self._slices.problem()
        self._look_at_health()
        if self._slices.devices():
            self._progress("claims: prepared, refused, unprepared")
            await self._claims()
        if self._settings.break_command is not None and self._slices.devices():
            self._progress("a device is broken and mended")
            await self._break_and_mend()
        if self._settings.unplug_command is not None and self._slices.devices():
            self._progress("a device is unplugged and plugged in")
            await self._unplug_and_plug()
        await self._wait_for_health()
        seen.own_deletions = list(self._slices.deleted)
        if self._driver.is_running:
            self._progress("SIGTERM")
            await self._stop()

    async def _ask_services(self) -> None:
        """Call what the driver says it serves (contract DRA-4)."""
        client = self._client()
        if client is None:
            return
        for service in self.seen.info.supported_versions:
            if service in (constants.V1, constants.V1BETA1):
                self.seen.services[service] = await client.ask(service)
        if any("DRAResourceHealth" in service for service in self.seen.info.supported_versions):
            streams = self._kubelet.calls.of("NodeWatchResources", self.seen.driver)
            errors = [call.error for call in streams if call.error is not None]
            missing = [error for error in errors if error.code is grpc.StatusCode.UNIMPLEMENTED]
            self.seen.services["DRAResourceHealth"] = (
                str(missing[-1]) if missing and not self._health.messages() else ""
            )

    async def _look_on(self, situation: str) -> None:
        """Do nothing and count what is written all the same."""
        for _ in range(_LOOKS):  # until what was still under way has come, unless it never ends
            before = self._slices.writes
            await asyncio.sleep(_LOOK_S)
            if self._slices.writes == before:
                break
        before = self._slices.writes
        await asyncio.sleep(self._limits.quiet_s)
        self.seen.idle_writes[situation] = self._slices.writes - before

    def _look_at_health(self) -> None:
        messages = self._health.messages()
        if not messages:
            return
        seen = self.seen
        seen.has_health = True
        _, newest = messages[-1]
        told = {(device.device.pool_name, device.device.device_name) for device in newest.devices}
        seen.health_missing = [
            f"{pool}/{device}" for pool, device in self._slices.devices() if (pool, device) not in told
        ]
        given = [
            device.health_check_timeout_seconds for device in newest.devices if device.health_check_timeout_seconds > 0
        ]
        seen.health_timeout_s = float(min(given, default=constants.HEALTH_STALE_S))

    async def _wait_for_health(self) -> None:
        """Wait for the message that keeps the kubelet from forgetting the last one (contract HL-2)."""
        messages = self._health.messages()
        if not messages or self._settings.is_brief:
            return
        self._progress(f"waiting up to {self.seen.health_timeout_s:g} s for health to be said again")
        last, number = messages[-1][0], len(messages)
        left = last + self.seen.health_timeout_s - time.monotonic()
        if await self._onlooker.until(lambda: len(self._health.messages()) > number, max(0.1, left)):
            self.seen.health_gap_s = self._health.messages()[number][0] - last

    # -- claims -------------------------------------------------------------------------------------------------------

    async def _claims(self) -> None:
        devices = [key for key, device in self._slices.devices().items() if _can_be_claimed(device)]
        if not devices:
            return
        one = devices[0]
        claims = self._claims_made
        await self._prepare("no claims", [])
        first = claims.make([one], with_stranger=True)
        await self._prepare("first", [drive.told(first)], runtime=True)
        await self._prepare("again", [drive.told(first)], runtime=True)
        second = claims.make(devices[1:3] or [one])
        missing = v1.Claim(namespace="default", name="conformance-missing", uid=_no_uid(1))
        if len(devices) == 1:
            await self._unprepare("freed", [drive.told(first)])
        await self._prepare("one good, one bad", [drive.told(second), missing], runtime=True)
        await self._unprepare("second", [drive.told(second)])
        await self._prepare("replaced", [drive.told(second, uid=_no_uid(2))])
        await self._prepare("unallocated", [drive.told(claims.make([], is_allocated=False))])
        await self._unprepare("first unprepared", [drive.told(first)])
        third = claims.make([one], request="alternatives/first")
        await self._prepare("alternative", [drive.told(third)], runtime=True)
        claims.delete(third)
        await self._unprepare("object deleted", [drive.told(third)])
        await self._unprepare("unknown", [v1.Claim(namespace="default", name="conformance-unknown", uid=_no_uid(3))])
        self._look_for_left_files([claim["metadata"]["uid"] for claim in (first, second, third)])

    async def _prepare(self, purpose: str, claims: list[Any], *, runtime: bool = False) -> evidence.Exchange:
        """Call, and with *runtime* see what a runtime makes of the ids in the answer for the first claim."""
        client = self._client()
        if client is None:
            exchange = drive.not_registered(purpose, "NodePrepareResources", claims)
        else:
            exchange = await drive.prepare(client, purpose, claims, self._limits.reply_s)
        self.seen.exchanges.append(exchange)
        if runtime and exchange.first is not None and not exchange.first.error:
            self._inject(purpose, exchange.first)
        return exchange

    async def _unprepare(self, purpose: str, claims: list[Any]) -> evidence.Exchange:
        client = self._client()
        if client is None:
            exchange = drive.not_registered(purpose, "NodeUnprepareResources", claims)
        else:
            exchange = await drive.unprepare(client, purpose, claims, self._limits.reply_s)
        self.seen.exchanges.append(exchange)
        return exchange

    def _inject(self, purpose: str, entry: evidence.Entry) -> None:
        """Do what the runtime does with each device's ids, now that the answer is there."""
        _, problems = self._dra.cdi.specs()
        self.seen.cdi_problems += [problem for problem in problems if problem not in self.seen.cdi_problems]
        found: dict[str, Any] = {}
        for device in entry.devices:
            for cdi_id in device.cdi_ids:
                try:
                    found[cdi_id] = self._dra.cdi.inject([cdi_id])
                except cdi.CdiError as error:
                    self.seen.cdi_unresolvable[purpose] = str(error)
        self.seen.cdi_edits[purpose] = found

    def _look_for_left_files(self, uids: list[str]) -> None:
        specs, _ = self._dra.cdi.specs()
        of_claims = {cdi_id for edits in self.seen.cdi_edits.values() for cdi_id in edits}
        for spec in specs:
            ids = {f"{spec.kind}={name}" for name in spec.devices}
            if any(uid in path for uid in uids for path in (spec.path.name, *ids)) and ids & of_claims:
                self.seen.cdi_left.append(spec.path.name)

    # -- changes ------------------------------------------------------------------------------------------------------

    async def _break_and_mend(self) -> None:
        settings, limit = self._settings, self._limits.change_s
        before = self._slices.devices()
        clean = {key for key, device in before.items() if not device.get("taints")}
        has_health = bool(self._health.messages())
        began = time.monotonic()
        assert settings.break_command is not None
        await subject.run_hook(settings.break_command, settings)

        def lost() -> tuple[evidence.DeviceKey, str] | None:
            now = self._slices.devices()
            for key in before:
                if key not in now:
                    return key, "it is gone"
                if now[key].get("taints", []) != before[key].get("taints", []) and key in clean:
                    taint = now[key]["taints"][0]
                    return key, f"{taint['key']}:{taint['effect']}"
            return None

        def unwell() -> evidence.DeviceKey | None:
            return next((key for key in before if self._health.of(key, began) == 2), None)

        slice_broken_s = health_broken_s = None
        if await self._onlooker.until(lambda: lost() is not None, limit):
            slice_broken_s = time.monotonic() - began
        if has_health and await self._onlooker.until(
            lambda: unwell() is not None, max(0.1, began + limit - time.monotonic())
        ):
            health_broken_s = time.monotonic() - began
        found = lost()
        key = found[0] if found is not None else unwell()
        await self._look_on("with a broken device")
        slice_mended_s = health_mended_s = None
        if settings.mend_command is not None and key is not None:
            again = time.monotonic()
            await subject.run_hook(settings.mend_command, settings)

            def is_clean() -> bool:
                device = self._slices.devices().get(key)
                return device is not None and device.get("taints", []) == before[key].get("taints", [])

            if found is not None and await self._onlooker.until(is_clean, limit):
                slice_mended_s = time.monotonic() - again
            if health_broken_s is not None and await self._onlooker.until(
                lambda: self._health.of(key, again) == 1, max(0.1, again + limit - time.monotonic())
            ):
                health_mended_s = time.monotonic() - again
            self.seen.slice_problems["after a mended device"] = self._slices.problem()
        said = found[1] if found is not None else ""
        self.seen.change = evidence.Change(
            key, slice_broken_s, said, health_broken_s, slice_mended_s, health_mended_s, has_health
        )

    async def _unplug_and_plug(self) -> None:
        settings, limit = self._settings, self._limits.change_s
        before = self._slices.devices()
        free = {key for key, device in before.items() if not _keeps_away(device)}
        began = time.monotonic()
        assert settings.unplug_command is not None
        await subject.run_hook(settings.unplug_command, settings)

        def gone() -> evidence.DeviceKey | None:
            now = self._slices.devices()
            return next((key for key in sorted(free) if key not in now or _keeps_away(now[key])), None)

        gone_s = back_s = None
        if await self._onlooker.until(lambda: bool(self._slices.devices()) and gone() is not None, limit):
            gone_s = time.monotonic() - began
        key = gone()
        if settings.plug_command is not None:
            again = time.monotonic()
            await subject.run_hook(settings.plug_command, settings)
            if key is not None and await self._onlooker.until(lambda: gone() is None, limit):
                back_s = time.monotonic() - again
            self.seen.slice_problems["after a device was plugged in"] = self._slices.problem()
        self.seen.hotplug = evidence.Hotplug(key, gone_s, back_s)

    # -- ends and new lives -------------------------------------------------------------------------------------------

    async def _stop(self) -> None:
        began = time.monotonic()
        before = observed.sockets(self._settings)
        in_time = await self._driver.terminate(self._limits.stop_s)
        took = time.monotonic() - began
        left = sorted(path.name for path in observed.sockets(self._settings) & before)
        self.seen.stop = evidence.Stop(took if in_time else None, self._driver.exit_code, tuple(left))
        for path in observed.sockets(self._settings):
            path.unlink()

    async def _revive(self) -> bool:
        """Start it once more; tell whether it is registered and has slices."""
        await self._driver.kill()
        self._slices.wipe()  # what it has left, so that what comes is its own
        since = time.monotonic()
        await self._driver.start()
        if not await self._registered(since, self._limits.start_s):
            return False
        return await self._onlooker.until(lambda: bool(self._slices.devices()), self._limits.publish_s)

    async def _disturb(self) -> None:
        if not self._driver.is_running or not self._dra.drivers.is_usable(self.seen.driver):
            return
        self._progress("the kubelet restarts and wipes the slices")
        seen = self.seen
        had_health = bool(self._health.messages())
        await self._kubelet.stop()
        began = time.monotonic()
        self._slices.is_wiping = True
        await self._kubelet.start()
        await self._onlooker.until(lambda: bool(self._dra.drivers.wiped), self._limits.recovery_s)
        self._slices.is_wiping = False
        back = await self._registered(began, self._limits.recovery_s)
        seen.comebacks[evidence.RESTARTED] = self._came(began, back, "no registration")
        seen.comebacks[evidence.PUBLISHED_AGAIN] = await self._published_again(began)
        if had_health and back:
            told = await self._onlooker.until(lambda: bool(self._health.messages(began)), self._limits.recovery_s)
            seen.comebacks[evidence.HEALTH_AGAIN] = self._came(began, told, "no health message")
        if not back and not await self._revive():
            return
        self._progress("the slices are wiped while the driver's watch is lost")
        began = time.monotonic()
        self._slices.wipe()
        self._api.forget_history()
        self._api.cut_watches()
        seen.comebacks[evidence.WIPED] = await self._published_again(began)
        seen.slice_problems["after they were wiped"] = self._slices.problem() if self._slices.all() else ""

    async def _published_again(self, began: float) -> evidence.Comeback:
        there = await self._onlooker.until(
            lambda: bool(self._slices.devices()) or not self._driver.is_running, self._limits.republish_s
        )
        return self._came(began, there and bool(self._slices.devices()), "no slices with devices")

    async def _kill_and_return(self) -> None:
        if not self._driver.is_running or not self._slices.devices():
            return
        self._progress("SIGKILL, with a claim prepared")
        seen = self.seen
        device = next((key for key, one in self._slices.devices().items() if _can_be_claimed(one)), None)
        claim = None
        if device is not None:
            claim = self._claims_made.make([device])
            await self._prepare("before SIGKILL", [drive.told(claim)])
        await self._driver.kill()
        await self._onlooker.until(lambda: not self._dra.drivers.is_usable(seen.driver), self._limits.recovery_s)
        began = time.monotonic()
        await self._driver.start()
        back = await self._registered(began, self._limits.start_s)
        if back:
            back = await self._onlooker.until(lambda: self._dra.drivers.is_usable(seen.driver), self._limits.recovery_s)
        seen.comebacks[evidence.KILLED] = self._came(began, back, "no registration")
        if not back or claim is None:
            return
        await self._prepare("after SIGKILL", [drive.told(claim)], runtime=True)
        self._progress("the machine reboots")
        await self._driver.kill()
        self._dra.forget_boot()
        seen.has_new_boot_id = self._change_boot_id()
        for path in observed.sockets(self._settings):
            path.unlink()
        began = time.monotonic()
        await self._driver.start()
        if await self._registered(began, self._limits.start_s):
            await self._onlooker.until(lambda: self._dra.drivers.is_usable(seen.driver), self._limits.recovery_s)
            after = await self._prepare("after a reboot", [drive.told(claim)], runtime=True)
            if after.first is not None and not after.first.error:
                self._progress("a second instance is started, and the first one ended")
                await self._roll_over(claim, after)
                if not self._dra.drivers.is_usable(seen.driver) and not await self._revive():
                    return
            await self._unprepare("of a dead process", [drive.told(claim)])
            self._look_for_left_files([claim["metadata"]["uid"]])

    async def _roll_over(self, claim: Any, before: evidence.Exchange) -> None:
        """Do what a rolling update of a DaemonSet does (contract DRA-REG-9), if each instance has its own sockets."""
        seen, drivers = self.seen, self._dra.drivers
        endpoints = {arrival.endpoint for arrival in self._dra.arrivals if arrival.name == seen.driver}
        if len(endpoints) < 2:  # three lives by now
            seen.rollover = evidence.Rollover(tuple(map(str, endpoints)))
            return
        first = drivers.clients(seen.driver)[-1].endpoint
        since, slices = time.monotonic(), {one["metadata"]["name"] for one in self._slices.all()}
        old, self._driver = self._driver, subject.Subject(self._settings)
        self._driver.around, self._driver.on_exit = old.around, self._onlooker.wake
        try:
            await self._driver.start()
            came = await self._registered(since, self._limits.start_s)
            clients = [client for client in drivers.clients(seen.driver) if client.endpoint != first]
            registered_s = time.monotonic() - since if came and clients else None
            exit_code = None if self._driver.is_running else self._driver.exit_code
            rollover = evidence.Rollover((str(first), "another"), registered_s, exit_code)
            if registered_s is not None:
                rollover = await self._hand_over(rollover, old, first, slices, claim, before)
            seen.rollover = rollover
        finally:
            if not self._driver.is_running or seen.rollover is None or seen.rollover.registered_s is None:
                await self._driver.close()
                self._driver = old
            else:
                await old.close()

    async def _hand_over(
        self, rollover: evidence.Rollover, old: subject.Subject, first: Path, slices: set[str], claim: Any,
        before: evidence.Exchange,
    ) -> evidence.Rollover:  # fmt: skip  # what was before
        """Ask the second instance for the first one's claim, end the first, and see what it takes with it."""
        drivers, driver = self._dra.drivers, self.seen.driver
        await asyncio.sleep(_LOOK_S)  # a newcomer may clear away what it takes for left over
        known = [client for client in drivers.clients(driver) if client.endpoint == first]
        old_gone = "" if known and first.exists() else "the first one's sockets are gone though it still runs"
        exchange = await self._prepare("by a second instance", [drive.told(claim)])
        own = {path for path in observed.sockets(self._settings) if path.is_relative_to(self._settings.root)}
        began = time.monotonic()
        in_time = await old.terminate(self._limits.stop_s)
        await asyncio.sleep(_LOOK_S)
        left = observed.sockets(self._settings)
        second = [client.endpoint for client in drivers.clients(driver) if client.endpoint != first]
        taken = [f"the newer one's socket {path.name}" for path in second if path not in left and path in own]
        taken += [] if drivers.is_usable(driver) else ["the connection to the newer one"]
        now = {one["metadata"]["name"] for one in self._slices.all()}
        taken += [f"slice {name}" for name in sorted(slices - now)] if not self._slices.devices() else []
        same = (
            exchange.first is not None and before.first is not None and exchange.first.devices == before.first.devices
        )
        return dataclasses.replace(
            rollover, old_gone=old_gone, said=exchange.said(), is_same=same, taken=tuple(taken),
            ended_s=time.monotonic() - began if in_time else None,
        )  # fmt: skip  # what was seen

    def _change_boot_id(self) -> bool:
        """Have the driver started on what seems a rebooted machine from now on; tell whether that can be had."""
        place = self._settings.root
        if reboot.with_new_boot_id(["true"], place) is None:
            return False
        self._driver.around = lambda command: reboot.with_new_boot_id(command, place) or command
        return True

    # -- what is there ------------------------------------------------------------------------------------------------

    async def _registered(self, since: float, limit_s: float) -> bool:
        """Wait for a registration that came after *since*, of the driver that is looked at or of the first."""
        wanted = self.seen.driver or self._settings.driver

        def there() -> bool:
            return any(
                one.error is None and one.time >= since and wanted in ("", one.resource_name)
                for one in self._kubelet.registrations
            )

        await self._onlooker.until(lambda: there() or not self._driver.is_running, limit_s)
        if not there():
            return False
        if not self.seen.driver:
            names = [one.resource_name for one in self._kubelet.registrations if one.error is None]
            self.seen.driver = wanted or names[0]
            self._slices.driver = self._health.driver = self._claims_made.driver = self.seen.driver
        return await self._onlooker.until(
            lambda: self._dra.drivers.is_usable(self.seen.driver) or not self._driver.is_running,
            self._limits.recovery_s,
        )

    def _came(self, began: float, came: bool, missing: str) -> evidence.Comeback:
        exit_code = None if self._driver.is_running else self._driver.exit_code
        return evidence.Comeback(time.monotonic() - began if came else None, exit_code, "" if came else missing)

    def _client(self) -> DriverClient | None:
        """Return the connection to call by; None if the driver has taken its registration back."""
        known = self._dra.drivers
        return known.get(self.seen.driver) if self.seen.driver in known.names else None


def _keeps_away(device: dict[str, Any]) -> bool:
    return any(taint["effect"] in ("NoSchedule", "NoExecute") for taint in device.get("taints", ()))


def _can_be_claimed(device: dict[str, Any]) -> bool:
    """Tell whether a claim can have a device as a whole: of a shared one it has a share, which the kit cannot give."""
    return not _keeps_away(device) and not device.get("allowMultipleAllocations")


def _no_uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"
