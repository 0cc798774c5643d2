"""Checks of what a driver says of its devices' health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakekubelet.conformance import verdict

if TYPE_CHECKING:
    from fakekubelet.conformance.dra.evidence import Change, Evidence
    from fakekubelet.conformance.verdict import Result

_NO_HEALTH = verdict.unjudged("it sends no health, which it need not")


@verdict.check("HL-2", "DRA-HEALTH-4")
def complete_health(seen: Evidence) -> Result:
    """Lists every device that it publishes in each health message"""
    if not seen.has_health:
        return _NO_HEALTH
    return verdict.judged(
        [f"{verdict.some(seen.health_missing)} left out"] if seen.health_missing else [], "all devices were listed"
    )


@verdict.check("HL-2")
def health_in_time(seen: Evidence) -> Result:
    """Says its health again before the kubelet stops believing it"""
    if not seen.has_health:
        return _NO_HEALTH
    if seen.settings.is_brief:
        return verdict.unjudged("--brief does not wait for it")
    if seen.health_gap_s is None:
        return verdict.broken(f"nothing for {seen.health_timeout_s:g} s, after which devices are Unknown")
    return verdict.kept(f"again after {seen.health_gap_s:.1f} s, and it is believed for {seen.health_timeout_s:g} s")


@verdict.check("SL-6", "HL-5")
def break_in_slices(seen: Evidence) -> Result:
    """Taints a device that breaks, or takes it out of its slice, in time: health alone keeps no pod away"""
    return _seen(seen, lambda change: (change.slice_broken_s, change.slice_said))


@verdict.check("HL-1", "HL-2")
def break_in_health(seen: Evidence) -> Result:
    """Says that a device is unhealthy when it breaks, in time"""
    if not seen.has_health:
        return _NO_HEALTH
    return _seen(seen, lambda change: (change.health_broken_s, "UNHEALTHY"))


def _seen(seen: Evidence, look: object) -> Result:
    if seen.change is None:
        return verdict.unjudged("no --break command was given")
    assert callable(look)
    seconds, said = look(seen.change)
    if seconds is None:
        return verdict.broken(f"nothing within {seen.settings.limits.change_s:g} s of the --break command")
    return verdict.kept(f"{said}, after {seconds * 1000:.0f} ms")


@verdict.check("SL-6", "HL-2")
def mended(seen: Evidence) -> Result:
    """Takes both back when the device is mended, in time"""
    change = seen.change
    if change is None or seen.settings.mend_command is None:
        return verdict.unjudged("no --mend command was given")
    if change.slice_broken_s is None and change.health_broken_s is None:
        return verdict.unjudged("the break was not seen")
    faults = _not_taken_back(change)
    took = [seconds for seconds in (change.slice_mended_s, change.health_mended_s) if seconds is not None]
    return verdict.judged(faults, f"after {max(took, default=0.0) * 1000:.0f} ms")


def _not_taken_back(change: Change) -> list[str]:
    faults = []
    if change.slice_broken_s is not None and change.slice_mended_s is None:
        faults.append(f"slices: {change.slice_said} stayed")
    if change.health_broken_s is not None and change.health_mended_s is None:
        faults.append("health: UNHEALTHY stayed")
    return faults


@verdict.check("SL-3", "SL-4")
def unplugged(seen: Evidence) -> Result:
    """Takes a device out of its slices, or taints it, when it is unplugged, in time"""
    if seen.hotplug is None:
        return verdict.unjudged("no --unplug command was given")
    if seen.hotplug.gone_s is None:
        return verdict.broken(f"nothing within {seen.settings.limits.change_s:g} s of the --unplug command")
    return verdict.kept(f"after {seen.hotplug.gone_s * 1000:.0f} ms")


@verdict.check("SL-3", "SL-4")
def plugged(seen: Evidence) -> Result:
    """Publishes a device that is plugged in again, in time"""
    if seen.hotplug is None or seen.settings.plug_command is None:
        return verdict.unjudged("no --plug command was given")
    if seen.hotplug.gone_s is None:
        return verdict.unjudged("it was never seen to be gone")
    if seen.hotplug.back_s is None:
        return verdict.broken(f"nothing within {seen.settings.limits.change_s:g} s of the --plug command")
    return verdict.kept(f"after {seen.hotplug.back_s * 1000:.0f} ms")


CHECKS = (complete_health, health_in_time, break_in_slices, break_in_health, mended, unplugged, plugged)
