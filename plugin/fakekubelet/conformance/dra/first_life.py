"""A driver's first life: it registers and publishes, is left alone, serves claims, has devices change, and is ended."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc

from fakekubelet.conformance.dra import changes, claims, evidence, observed
from fakekubelet.conformance.dra.bench import LOOK_S
from kubeletapi.dra import constants

if TYPE_CHECKING:
    from fakekubelet.conformance.dra.bench import Bench


async def live(bench: Bench) -> None:
    """Go through it, from the registration that has just come to the answer to SIGTERM."""
    seen, limits, settings = bench.seen, bench.limits, bench.settings
    await asyncio.sleep(LOOK_S)  # a notice that it does not take undoes the registration
    await bench.becomes_usable()
    infos = [call.reply for call in bench.kubelet.calls.of("GetInfo") if call.reply is not None]
    seen.info = infos[-1]
    bench.progress(f"{seen.driver} is registered; waiting for its slices")
    began = time.monotonic()
    if await bench.onlooker.until(lambda: bool(bench.slices.devices()), limits.publish_s):
        seen.published_s = time.monotonic() - began
    await _ask_services(bench)
    await bench.look_on("at rest")
    seen.slices = bench.slices.all()
    seen.slice_problems["at rest"] = bench.slices.problem()
    _look_at_health(bench)
    if bench.slices.devices():
        bench.progress("claims: prepared, refused, unprepared")
        await claims.try_all(bench)
    if settings.break_command is not None and bench.slices.devices():
        bench.progress("a device is broken and mended")
        await changes.break_and_mend(bench)
    if settings.unplug_command is not None and bench.slices.devices():
        bench.progress("a device is unplugged and plugged in")
        await changes.unplug_and_plug(bench)
    await _wait_for_health(bench)
    seen.own_deletions = list(bench.slices.deleted)
    if bench.driver.is_running:
        bench.progress("SIGTERM")
        await _stop(bench)


async def _ask_services(bench: Bench) -> None:
    """Call what the driver says it serves (contract DRA-4)."""
    seen = bench.seen
    if (client := bench.client) is None:
        return
    for service in seen.info.supported_versions:
        if service in (constants.V1, constants.V1BETA1):
            seen.services[service] = await client.ask(service)
    if any("DRAResourceHealth" in service for service in seen.info.supported_versions):
        streams = bench.kubelet.calls.of("NodeWatchResources", seen.driver)
        errors = [call.error for call in streams if call.error is not None]
        missing = [error for error in errors if error.code is grpc.StatusCode.UNIMPLEMENTED]
        seen.services["DRAResourceHealth"] = str(missing[-1]) if missing and not bench.health.messages() else ""


def _look_at_health(bench: Bench) -> None:
    messages = bench.health.messages()
    if not messages:
        return
    seen = bench.seen
    seen.has_health = True
    _, newest = messages[-1]
    told = {(device.device.pool_name, device.device.device_name) for device in newest.devices}
    seen.health_missing = [f"{pool}/{device}" for pool, device in bench.slices.devices() if (pool, device) not in told]
    given = [
        device.health_check_timeout_seconds for device in newest.devices if device.health_check_timeout_seconds > 0
    ]
    seen.health_timeout_s = float(min(given, default=constants.HEALTH_STALE_S))


async def _wait_for_health(bench: Bench) -> None:
    """Wait for the message that keeps the kubelet from forgetting the last one (contract HL-2)."""
    seen, messages = bench.seen, bench.health.messages()
    if not messages or bench.settings.is_brief:
        return
    bench.progress(f"waiting up to {seen.health_timeout_s:g} s for health to be said again")
    last, number = messages[-1][0], len(messages)
    left = last + seen.health_timeout_s - time.monotonic()
    if await bench.onlooker.until(lambda: len(bench.health.messages()) > number, max(0.1, left)):
        seen.health_gap_s = bench.health.messages()[number][0] - last


async def _stop(bench: Bench) -> None:
    began = time.monotonic()
    before = observed.sockets(bench.settings)
    in_time = await bench.driver.terminate(bench.limits.stop_s)
    took = time.monotonic() - began
    left = sorted(path.name for path in observed.sockets(bench.settings) & before)
    bench.seen.stop = evidence.Stop(took if in_time else None, bench.driver.exit_code, tuple(left))
    for path in observed.sockets(bench.settings):
        path.unlink()
