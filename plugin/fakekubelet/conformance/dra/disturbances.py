"""What comes over a driver: a kubelet that restarts, slices that are wiped, SIGKILL, a reboot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakekubelet.conformance import reboot
from fakekubelet.conformance.dra import claims, drive, evidence, observed, rolling_update

if TYPE_CHECKING:
    from fakekubelet.conformance.dra.bench import Bench


async def restart_and_wipe(bench: Bench) -> None:
    """Restart the kubelet, which wipes the slices, and wipe them again while the driver's watch is lost."""
    if not bench.driver.is_running or not bench.is_usable:
        return
    bench.progress("the kubelet restarts and wipes the slices")
    seen, limits = bench.seen, bench.limits
    had_health = bool(bench.health.messages())
    await bench.kubelet.stop()
    began = time.monotonic()
    bench.slices.is_wiping = True
    await bench.kubelet.start()
    await bench.onlooker.until(lambda: bool(bench.dra.drivers.wiped), limits.recovery_s)
    bench.slices.is_wiping = False
    back = await bench.registered(began, limits.recovery_s)
    seen.comebacks[evidence.RESTARTED] = _came(bench, began, back, "no registration")
    seen.comebacks[evidence.PUBLISHED_AGAIN] = await _published_again(bench, began)
    if had_health and back:
        told = await bench.onlooker.until(lambda: bool(bench.health.messages(began)), limits.recovery_s)
        seen.comebacks[evidence.HEALTH_AGAIN] = _came(bench, began, told, "no health message")
    if not back and not await bench.revive():
        return
    bench.progress("the slices are wiped while the driver's watch is lost")
    began = time.monotonic()
    bench.slices.wipe()
    bench.api.forget_history()
    bench.api.cut_watches()
    seen.comebacks[evidence.WIPED] = await _published_again(bench, began)
    seen.slice_problems["after they were wiped"] = bench.slices.problem() if bench.slices.all() else ""


async def kill_and_return(bench: Bench) -> None:
    """SIGKILL the driver while it has a claim prepared, reboot the machine, and update the driver like a DaemonSet."""
    if not bench.driver.is_running or not bench.slices.devices():
        return
    bench.progress("SIGKILL, with a claim prepared")
    device = next((key for key, told in bench.slices.devices().items() if observed.can_be_claimed(told)), None)
    claim = None
    if device is not None:
        claim = bench.claims.make([device])
        await claims.prepare(bench, "before SIGKILL", [drive.told(claim)])
    await bench.driver.kill()
    await bench.onlooker.until(lambda: not bench.is_usable, bench.limits.recovery_s)
    began = time.monotonic()
    await bench.driver.start()
    back = await bench.registered(began, bench.limits.start_s) and await bench.becomes_usable()
    bench.seen.comebacks[evidence.KILLED] = _came(bench, began, back, "no registration")
    if not back or claim is None:
        return
    await claims.prepare(bench, "after SIGKILL", [drive.told(claim)], runtime=True)
    await _reboot(bench, claim)


async def _reboot(bench: Bench, claim: drive.Object) -> None:
    bench.progress("the machine reboots")
    await bench.driver.kill()
    bench.dra.forget_boot()
    bench.seen.has_new_boot_id = _change_boot_id(bench)
    for path in observed.sockets(bench.settings):
        path.unlink()
    began = time.monotonic()
    await bench.driver.start()
    if not await bench.registered(began, bench.limits.start_s):
        return
    await bench.becomes_usable()
    after = await claims.prepare(bench, "after a reboot", [drive.told(claim)], runtime=True)
    if after.first is not None and not after.first.error:
        bench.progress("a second instance is started, and the first one ended")
        await rolling_update.roll_over(bench, claim, after)
        if not bench.is_usable and not await bench.revive():
            return
    await claims.unprepare(bench, "of a dead process", [drive.told(claim)])
    claims.look_for_left_files(bench, [claim["metadata"]["uid"]])


def _change_boot_id(bench: Bench) -> bool:
    """Have the driver started on what seems a rebooted machine from now on; tell whether that can be had."""
    place = bench.settings.root
    if reboot.with_new_boot_id(["true"], place) is None:
        return False
    bench.driver.around = lambda command: reboot.with_new_boot_id(command, place) or command
    return True


async def _published_again(bench: Bench, began: float) -> evidence.Comeback:
    there = await bench.onlooker.until(
        lambda: bool(bench.slices.devices()) or not bench.driver.is_running, bench.limits.republish_s
    )
    return _came(bench, began, there and bool(bench.slices.devices()), "no slices with devices")


def _came(bench: Bench, began: float, came: bool, missing: str) -> evidence.Comeback:
    exit_code = None if bench.driver.is_running else bench.driver.exit_code
    return evidence.Comeback(time.monotonic() - began if came else None, exit_code, "" if came else missing)
