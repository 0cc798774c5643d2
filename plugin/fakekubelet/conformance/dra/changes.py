"""A device is broken and mended, taken away and put back; how soon slices and health say so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakekubelet.conformance import subject
from fakekubelet.conformance.dra import evidence, observed

if TYPE_CHECKING:
    from fakekubelet.conformance.dra.bench import Bench


async def break_and_mend(bench: Bench) -> None:
    """Run the commands that break a device and mend it; HookError if one fails."""
    settings, limit = bench.settings, bench.limits.change_s
    slices, health, onlooker = bench.slices, bench.health, bench.onlooker
    before = slices.devices()
    clean = {key for key, device in before.items() if not device.get("taints")}
    has_health = bool(health.messages())
    began = time.monotonic()
    assert settings.break_command is not None
    await subject.run_hook(settings.break_command, settings)

    def lost() -> tuple[evidence.DeviceKey, str] | None:
        now = slices.devices()
        for key in before:
            if key not in now:
                return key, "it is gone"
            if now[key].get("taints", []) != before[key].get("taints", []) and key in clean:
                taint = now[key]["taints"][0]
                return key, f"{taint['key']}:{taint['effect']}"
        return None

    def unwell() -> evidence.DeviceKey | None:
        return next((key for key in before if health.of(key, began) == 2), None)

    slice_broken_s = health_broken_s = None
    if await onlooker.until(lambda: lost() is not None, limit):
        slice_broken_s = time.monotonic() - began
    if has_health and await onlooker.until(lambda: unwell() is not None, max(0.1, began + limit - time.monotonic())):
        health_broken_s = time.monotonic() - began
    found = lost()
    key = found[0] if found is not None else unwell()
    await bench.look_on("with a broken device")
    slice_mended_s = health_mended_s = None
    if settings.mend_command is not None and key is not None:
        again = time.monotonic()
        await subject.run_hook(settings.mend_command, settings)

        def is_clean() -> bool:
            device = slices.devices().get(key)
            return device is not None and device.get("taints", []) == before[key].get("taints", [])

        if found is not None and await onlooker.until(is_clean, limit):
            slice_mended_s = time.monotonic() - again
        if health_broken_s is not None and await onlooker.until(
            lambda: health.of(key, again) == 1, max(0.1, again + limit - time.monotonic())
        ):
            health_mended_s = time.monotonic() - again
        bench.seen.slice_problems["after a mended device"] = slices.problem()
    said = found[1] if found is not None else ""
    bench.seen.change = evidence.Change(
        key, slice_broken_s, said, health_broken_s, slice_mended_s, health_mended_s, has_health
    )


async def unplug_and_plug(bench: Bench) -> None:
    """Run the commands that take a device away and put it back; HookError if one fails."""
    settings, limit = bench.settings, bench.limits.change_s
    slices = bench.slices
    free = {key for key, device in slices.devices().items() if not observed.keeps_away(device)}
    began = time.monotonic()
    assert settings.unplug_command is not None
    await subject.run_hook(settings.unplug_command, settings)

    def gone() -> evidence.DeviceKey | None:
        now = slices.devices()
        return next((key for key in sorted(free) if key not in now or observed.keeps_away(now[key])), None)

    gone_s = back_s = None
    if await bench.onlooker.until(lambda: bool(slices.devices()) and gone() is not None, limit):
        gone_s = time.monotonic() - began
    key = gone()
    if settings.plug_command is not None:
        again = time.monotonic()
        await subject.run_hook(settings.plug_command, settings)
        if key is not None and await bench.onlooker.until(lambda: gone() is None, limit):
            back_s = time.monotonic() - again
        bench.seen.slice_problems["after a device was plugged in"] = slices.problem()
    bench.seen.hotplug = evidence.Hotplug(key, gone_s, back_s)
