"""A second instance of a driver is started beside the first, and the first is ended: a DaemonSet's rolling update."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING

from fakekubelet.conformance import subject
from fakekubelet.conformance.dra import claims, drive, evidence, observed
from fakekubelet.conformance.dra.bench import LOOK_S

if TYPE_CHECKING:
    from pathlib import Path

    from fakekubelet.conformance.dra.bench import Bench


async def roll_over(bench: Bench, claim: drive.Object, before: evidence.Exchange) -> None:
    """Do it (contract DRA-REG-9), if each instance has its own sockets; *before* is what the first says of *claim*."""
    seen, drivers = bench.seen, bench.dra.drivers
    endpoints = {arrival.endpoint for arrival in bench.dra.arrivals if arrival.name == seen.driver}
    if len(endpoints) < 2:  # three lives by now
        seen.rollover = evidence.Rollover(tuple(map(str, endpoints)))
        return
    first = drivers.clients(seen.driver)[-1].endpoint
    since, slices = time.monotonic(), _slice_names(bench)
    old, bench.driver = bench.driver, subject.Subject(bench.settings)
    bench.driver.around, bench.driver.on_exit = old.around, bench.onlooker.wake
    try:
        await bench.driver.start()
        came = await bench.registered(since, bench.limits.start_s)
        clients = [client for client in drivers.clients(seen.driver) if client.endpoint != first]
        registered_s = time.monotonic() - since if came and clients else None
        exit_code = None if bench.driver.is_running else bench.driver.exit_code
        rollover = evidence.Rollover((str(first), "another"), registered_s, exit_code)
        if registered_s is not None:
            rollover = await _hand_over(bench, rollover, old, first, slices, claim, before)
        seen.rollover = rollover
    finally:
        if not bench.driver.is_running or seen.rollover is None or seen.rollover.registered_s is None:
            await bench.driver.close()
            bench.driver = old
        else:
            await old.close()


async def _hand_over(
    bench: Bench, rollover: evidence.Rollover, old: subject.Subject, first: Path, slices: set[str],
    claim: drive.Object, before: evidence.Exchange,
) -> evidence.Rollover:  # fmt: skip  # what was before
    """Ask the second instance for the first one's claim, end the first, and see what it takes with it."""
    drivers, driver = bench.dra.drivers, bench.seen.driver
    await asyncio.sleep(LOOK_S)  # a newcomer may clear away what it takes for left over
    known = [client for client in drivers.clients(driver) if client.endpoint == first]
    old_gone = "" if known and first.exists() else "the first one's sockets are gone though it still runs"
    exchange = await claims.prepare(bench, "by a second instance", [drive.told(claim)])
    own = {path for path in observed.sockets(bench.settings) if path.is_relative_to(bench.settings.root)}
    began = time.monotonic()
    in_time = await old.terminate(bench.limits.stop_s)
    await asyncio.sleep(LOOK_S)
    left = observed.sockets(bench.settings)
    second = [client.endpoint for client in drivers.clients(driver) if client.endpoint != first]
    taken = [f"the newer one's socket {path.name}" for path in second if path not in left and path in own]
    taken += [] if drivers.is_usable(driver) else ["the connection to the newer one"]
    lost = sorted(slices - _slice_names(bench))
    taken += [f"slice {name}" for name in lost] if not bench.slices.devices() else []
    same = exchange.first is not None and before.first is not None and exchange.first.devices == before.first.devices
    return dataclasses.replace(
        rollover, old_gone=old_gone, said=exchange.said(), is_same=same, taken=tuple(taken),
        ended_s=time.monotonic() - began if in_time else None,
    )  # fmt: skip  # what was seen


def _slice_names(bench: Bench) -> set[str]:
    return {told["metadata"]["name"] for told in bench.slices.all()}
