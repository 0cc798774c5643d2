"""What is done to a DRA driver, in order; what is seen of it goes into the evidence.

    first life    it registers and publishes; nothing is done; claims are prepared and unprepared, good and bad ones;
                  a device is broken and mended; SIGTERM
    second life   the kubelet restarts and wipes the slices; they are wiped again while the driver's watch is cut off
                  and cannot be resumed; SIGKILL, with a claim prepared
    third life    the claim of the dead process is prepared again; the machine reboots and loses /var/run/cdi;
                  a second instance takes over from the first

A driver that does not come back is started again, so that one fault does not hide the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakekubelet.conformance.dra import disturbances, first_life
from fakekubelet.conformance.dra.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakekubelet.conformance.dra import evidence
    from fakekubelet.conformance.dra.settings import Settings


async def run(settings: Settings, progress: Callable[[str], None] = lambda _: None) -> evidence.Evidence:
    """Do it all; OSError if the command cannot be run, HookError if a device cannot be broken or mended."""
    bench = Bench(settings, progress)
    try:
        await _go_through(bench)
    finally:
        await bench.close()
    return bench.seen


async def _go_through(bench: Bench) -> None:
    """Go as far as the driver lets it."""
    await bench.start()
    bench.progress("the driver is started")
    if not await bench.registered(0.0, bench.limits.start_s):
        return
    await first_life.live(bench)
    if bench.settings.is_brief:
        return
    if not bench.driver.is_running:
        await bench.revive()
    await disturbances.restart_and_wipe(bench)
    await disturbances.kill_and_return(bench)
