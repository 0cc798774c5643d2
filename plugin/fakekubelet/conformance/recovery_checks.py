"""Checks of how a plugin comes back, and how it goes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from fakekubelet.conformance import verdict

if TYPE_CHECKING:
    from fakekubelet.conformance.evidence import Evidence, Recovery
    from fakekubelet.conformance.verdict import Result

WAITING, RESTARTED, REPLACED, DROPPED, ABSENT = "waiting", "restarted", "replaced", "dropped", "absent"
"""Names of what is done to a plugin, as keys of `Evidence.recoveries`."""

_NOT_OURS = verdict.unjudged("the kit did not start the process")


def _judge(seen: Evidence, name: str) -> Result:
    recovery = seen.recoveries.get(name)
    if recovery is None:
        return _not_tried(seen)
    return _recovered(recovery, seen.settings.limits.recovery_s)


def _not_tried(seen: Evidence) -> Result:
    return verdict.unjudged(
        "not tried, being brief" if seen.settings.is_brief else "the plugin was not registered before"
    )


def _recovered(recovery: Recovery, limit: float) -> Result:
    if recovery.exit_code is not None:
        return verdict.broken(f"the process ended with {_exit(recovery.exit_code)} instead of registering again")
    if recovery.seconds is None:
        return verdict.broken(f"not registered and listed again within {limit:g} s: {', '.join(recovery.missing)}")
    return verdict.kept(f"after {recovery.seconds:.2f} s")


def _exit(code: int) -> str:
    return f"status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


@verdict.check("RS-8", "REG-2")
def waits_for_the_kubelet(seen: Evidence) -> Result:
    """Started before the kubelet, beside a dead kubelet.sock, waits and registers when it comes."""
    if WAITING not in seen.recoveries:
        return verdict.unjudged("the plugin never registered")
    return _judge(seen, WAITING)


@verdict.check("RS-4", "RS-5", "RS-6")
def survives_kubelet_restart(seen: Evidence) -> Result:
    """Registers again when the kubelet restarts and deletes its sockets."""
    return _judge(seen, RESTARTED)


@verdict.check("RS-5", "PIT-2")
def survives_replaced_socket(seen: Evidence) -> Result:
    """Registers again when only kubelet.sock is replaced and its own socket stays."""
    return _judge(seen, REPLACED)


@verdict.check("RS-5", "REG-13", "PIT-3")
def survives_dropped_stream(seen: Evidence) -> Result:
    """Registers again when the kubelet drops its stream and nothing else happens."""
    return _judge(seen, DROPPED)


@verdict.check("RS-4", "RS-8")
def survives_absent_kubelet(seen: Evidence) -> Result:
    """Registers again when the kubelet comes back after some seconds."""
    return _judge(seen, ABSENT)


@verdict.check("RS-1", "PIT-23")
def survives_kill(seen: Evidence) -> Result:
    """Registers after a SIGKILL and a new start, with its old sockets still there."""
    if seen.revival is None:
        return _not_tried(seen) if seen.settings.command else _NOT_OURS
    return _recovered(seen.revival, seen.settings.limits.start_s)


@verdict.check("PIT-23")
def clears_stale_sockets(seen: Evidence) -> Result:
    """Started after a SIGKILL, removes the sockets that the killed process left."""
    if seen.stale_sockets is None:
        return _not_tried(seen) if seen.settings.command else _NOT_OURS
    return verdict.judged([f"{name} is left" for name in seen.stale_sockets], "none left")


@verdict.check("RS-3", "PIT-13")
def same_ids(seen: Evidence) -> Result:
    """Lists the same device IDs after every start."""
    faults, compared = [], 0
    for resource in seen.resources:
        lives = [ids for ids in (instance.first_ids(resource) for instance in seen.instances) if ids]
        compared = max(compared, len(lives))
        if any(ids != lives[0] for ids in lives):
            different = sorted(set().union(*(ids ^ lives[0] for ids in lives)))
            faults.append(f"{resource}: {verdict.some(different)}")
    if compared < 2:
        return verdict.unjudged("only one process was seen to list devices")
    return verdict.judged(faults, f"{compared} processes compared")


@verdict.check("PIT-8", "PIT-23")
def stops_cleanly(seen: Evidence) -> Result:
    """Ends on SIGTERM in time, by itself and with status 0."""
    if seen.stop is None:
        return _not_stopped(seen)
    if seen.stop.seconds is None:
        return verdict.broken(f"still running {seen.settings.limits.stop_s:g} s after SIGTERM")
    code, took = seen.stop.exit_code or 0, f"after {seen.stop.seconds:.2f} s"
    if code == -signal.SIGTERM:
        return verdict.broken("SIGTERM killed it: it does not handle the signal")
    return verdict.broken(f"ended with {_exit(code)} {took}") if code else verdict.kept(f"status 0 {took}")


@verdict.check("PIT-23")
def removes_sockets(seen: Evidence) -> Result:
    """Leaves no socket behind when it ends on SIGTERM."""
    if seen.stop is None:
        return _not_stopped(seen)
    if seen.stop.seconds is None or seen.stop.exit_code == -signal.SIGTERM:
        return verdict.unjudged("it was killed by the signal")
    return verdict.judged([f"{name} is left" for name in seen.stop.sockets_left], "none left")


@verdict.check("RS-2")
def no_empty_list(seen: Evidence) -> Result:
    """Sends no empty list when it ends, which would take capacity away too."""
    if seen.stop is None:
        return _not_stopped(seen)
    return verdict.judged([f"sent one for {resource}" for resource in seen.stop.empty_lists], "none sent")


def _not_stopped(seen: Evidence) -> Result:
    return verdict.unjudged("the plugin was not registered before") if seen.settings.command else _NOT_OURS


@verdict.check("REG-3", "PIT-17")
def keeps_no_files(seen: Evidence) -> Result:
    """Keeps no files but sockets in the kubelet's directory, where kubelets up to 1.32 delete them."""
    if not seen.registrations:
        return verdict.unjudged("the plugin never registered")
    return verdict.judged([f"{name} is there" for name in seen.files], "none seen")


CHECKS = (
    waits_for_the_kubelet, survives_kubelet_restart, survives_replaced_socket, survives_dropped_stream,
    survives_absent_kubelet, survives_kill, clears_stale_sockets, same_ids, stops_cleanly, removes_sockets,
    no_empty_list, keeps_no_files,
)  # fmt: skip  # in the order of the report
