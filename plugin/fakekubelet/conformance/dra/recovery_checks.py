"""Checks of how a driver comes back, and how it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakekubelet.conformance import verdict
from fakekubelet.conformance.dra import claim_checks, evidence

if TYPE_CHECKING:
    from fakekubelet.conformance.dra.evidence import Evidence
    from fakekubelet.conformance.verdict import Result

_NOT_TRIED = verdict.unjudged("it did not come to that")


def _came_back(seen: Evidence, name: str) -> Result:
    comeback = seen.comebacks.get(name)
    if comeback is None:
        return _NOT_TRIED
    if comeback.seconds is not None:
        return verdict.kept(f"after {comeback.seconds:.1f} s")
    if comeback.exit_code is not None:
        return verdict.broken(f"it ended with status {comeback.exit_code}")
    return verdict.broken(f"{comeback.missing} in time")


@verdict.check("DRA-3", "DRA-REG-11")
def survives_kubelet_restart(seen: Evidence) -> Result:
    """Answers a kubelet that restarts and finds its registration socket again"""
    return _came_back(seen, evidence.RESTARTED)


@verdict.check("DRA-9", "DRA-SL-8")
def republishes(seen: Evidence) -> Result:
    """Publishes again after a kubelet that started has deleted its slices"""
    return _came_back(seen, evidence.PUBLISHED_AGAIN)


@verdict.check("DRA-9", "DRA-SL-9")
def survives_lost_watch(seen: Evidence) -> Result:
    """Notices slices that were deleted while its watch was lost and its resource version forgotten (410)"""
    return _came_back(seen, evidence.WIPED)


@verdict.check("HL-1")
def health_again(seen: Evidence) -> Result:
    """Says its health to a kubelet that has restarted"""
    return _came_back(seen, evidence.HEALTH_AGAIN)


@verdict.check("DRA-7", "PIT-23")
def survives_kill(seen: Evidence) -> Result:
    """Registers after a SIGKILL and a new start, with its old sockets still there"""
    return _came_back(seen, evidence.KILLED)


@verdict.check("DRA-14", "DRA-17")
def same_answer_after_kill(seen: Evidence) -> Result:
    """Prepares a claim that a dead process of it has prepared, with the same answer"""
    return claim_checks.same_answer(seen, "before SIGKILL", "after SIGKILL")


@verdict.check("DRA-17", "CDI-1")
def cdi_after_reboot(seen: Evidence) -> Result:
    """Writes its CDI files again after a reboot has lost them and kept its own state"""
    exchange = seen.of("after a reboot")
    if exchange is None:
        return _NOT_TRIED
    if exchange.said():
        return verdict.broken(verdict.start_of(exchange.said(), 200))
    if "after a reboot" in seen.cdi_unresolvable:
        if not seen.has_new_boot_id:
            return verdict.unjudged(
                "they were not; but the boot id was the old one, for want of root: it may look at that"
            )
        return verdict.broken(seen.cdi_unresolvable["after a reboot"])
    edits = seen.cdi_edits.get("after a reboot")
    return verdict.kept(f"{len(edits)} id(s) injected") if edits else verdict.unjudged("no answer had a CDI id")


@verdict.check("DRA-15", "DRA-17")
def unprepares_for_the_dead(seen: Evidence) -> Result:
    """Unprepares a claim that a dead process of it has prepared"""
    exchange = seen.of("of a dead process")
    if exchange is None:
        return _NOT_TRIED
    said = exchange.said()
    return verdict.broken(verdict.start_of(said, 200)) if said else verdict.kept("no error")


@verdict.check("PIT-23")
def stops_cleanly(seen: Evidence) -> Result:
    """Ends after SIGTERM, in time, with status 0"""
    if seen.stop is None:
        return _NOT_TRIED
    if seen.stop.seconds is None:
        return verdict.broken(f"it still ran {seen.settings.limits.stop_s:g} s after SIGTERM")
    good = f"status 0 after {seen.stop.seconds:.1f} s"
    return verdict.judged([f"status {seen.stop.exit_code}"] if seen.stop.exit_code else [], good)


@verdict.check("DRA-1", "DRA-REG-9", "PIT-23")
def removes_sockets(seen: Evidence) -> Result:
    """Removes its sockets when it ends, so that no kubelet tries them for ever"""
    if seen.stop is None or seen.stop.seconds is None or (seen.stop.exit_code or 0) < 0:
        return _NOT_TRIED if seen.stop is None else verdict.unjudged("it did not end by itself")
    return verdict.judged([f"{name} is left" for name in seen.stop.sockets_left], "none is left")


@verdict.check("DRA-1", "DRA-6", "DRA-REG-9")
def takes_over(seen: Evidence) -> Result:
    """Started beside an instance that runs, registers too, and answers for that one's claims as that did"""
    rollover = seen.rollover
    if rollover is None:
        return _NOT_TRIED
    if len(rollover.endpoints) < 2 and rollover.endpoints:
        return verdict.unjudged("all its instances use one socket: it does not mean to be updated so")
    if rollover.registered_s is None:
        why = "no registration" if rollover.exit_code is None else f"it ended with status {rollover.exit_code}"
        return verdict.broken(f"the second instance: {why}")
    if rollover.old_gone:
        return verdict.broken(rollover.old_gone)
    if rollover.said:
        return verdict.broken(verdict.start_of(rollover.said, 200))
    if rollover.said is None:
        return verdict.unjudged("there was no claim to ask for")
    if not rollover.is_same and same_answer_after_kill(seen).verdict is verdict.Verdict.BROKEN:
        return verdict.unjudged("its answers are others after each start")
    faults = [] if rollover.is_same else ["another answer than that of the first instance"]
    return verdict.judged(faults, f"after {rollover.registered_s:.1f} s, with the same answer")


@verdict.check("DRA-8", "DRA-REG-9")
def leaves_the_rest(seen: Evidence) -> Result:
    """Ended beside a newer instance, leaves that one's sockets and the slices as they are"""
    rollover = seen.rollover
    if rollover is None or rollover.registered_s is None:
        return _NOT_TRIED
    if rollover.ended_s is None:
        return verdict.unjudged("it did not end by itself")
    return verdict.judged([f"{what} is gone with it" for what in rollover.taken], "nothing is gone with it")


CHECKS = (
    survives_kubelet_restart, republishes, survives_lost_watch, health_again, survives_kill, same_answer_after_kill,
    cdi_after_reboot, unprepares_for_the_dead, takes_over, leaves_the_rest, stops_cleanly, removes_sockets,
)  # fmt: skip  # in the order of the report
