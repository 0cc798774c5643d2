"""Checks of what a driver publishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakekubelet.conformance import verdict
from fakekubelet.conformance.dra.registration_checks import NOT_REGISTERED
from fakekubelet.conformance.dra.settings import NODE_NAME

if TYPE_CHECKING:
    from fakekubelet.conformance.dra.evidence import Evidence
    from fakekubelet.conformance.verdict import Result

_NONE = verdict.unjudged("there were no slices with devices")


@verdict.check("SL-1", "SL-4")
def publishes(seen: Evidence) -> Result:
    """Publishes slices with devices in time"""
    if not seen.driver:
        return NOT_REGISTERED
    if seen.published_s is None:
        what = "only slices without devices" if seen.slices else "no slices"
        return verdict.broken(f"{what} within {seen.settings.limits.publish_s:g} s of the registration")
    number = sum(len(one["spec"].get("devices", ())) for one in seen.slices)
    return verdict.kept(f"{number} device(s) in {len(seen.slices)} slice(s), after {seen.published_s:.1f} s")


@verdict.check("SL-1", "SL-2", "SL-5", "SL-6")
def valid_slices(seen: Evidence) -> Result:
    """Writes no slice that the API server refuses"""
    if not seen.driver:
        return NOT_REGISTERED
    return verdict.judged([verdict.start_of(text, 300) for text in seen.refused_writes[:3]], "none was refused")


@verdict.check("SL-1", "DRA-2")
def own_node(seen: Evidence) -> Result:
    """Publishes under the name that it registered with, for its own node"""
    if not seen.slices:
        return _NONE
    faults = []
    for one in seen.slices:
        spec = one["spec"]
        if spec.get("nodeName") not in (NODE_NAME, None):
            faults.append(f"{one['metadata']['name']}: nodeName {spec['nodeName']!r} is not {NODE_NAME!r}")
    return verdict.judged(faults, f"{seen.driver} on {NODE_NAME}")


@verdict.check("SL-3", "DRA-SL-5")
def complete_pools(seen: Evidence) -> Result:
    """Leaves every pool complete: as many slices of the newest generation as it says, no device twice"""
    if not seen.slices:
        return _NONE
    faults = [f"{moment}: {problem}" for moment, problem in seen.slice_problems.items() if problem]
    return verdict.judged(faults, f"looked at {', '.join(seen.slice_problems)}")


@verdict.check("SL-4", "DRA-SL-10")
def owned_by_node(seen: Evidence) -> Result:
    """Names the Node as the owner of its slices, so that they go with it"""
    if not seen.slices:
        return _NONE
    faults = []
    for one in seen.slices:
        owners = one["metadata"].get("ownerReferences") or []
        if one["spec"].get("nodeName") and not any(owner["uid"] == seen.node_uid for owner in owners):
            faults.append(f"{one['metadata']['name']}: no ownerReference to the Node")
    return verdict.judged(faults[:3], f"{len(seen.slices)} slice(s)")


@verdict.check("DRA-TAINT-1", "DRA-SL-13")
def no_rewriting(seen: Evidence) -> Result:
    """Writes nothing while nothing changes, not even because the server has added a time to a taint"""
    if not seen.idle_writes or not seen.slices:
        return _NONE
    faults = [f"{number} write(s) {situation}" for situation, number in seen.idle_writes.items() if number]
    return verdict.judged(faults, f"looked {', '.join(seen.idle_writes)} for {seen.settings.limits.quiet_s:g} s each")


@verdict.check("SL-4", "DRA-SL-6")
def changes_in_place(seen: Evidence) -> Result:
    """Changes a slice by an update, not by deleting it and making it again"""
    if not seen.slices:
        return _NONE
    gone = [name for name in seen.own_deletions if any(one["metadata"]["name"] == name for one in seen.slices)]
    return verdict.judged([f"{name} was deleted" for name in gone[:3]], "none was deleted")


CHECKS = (
    publishes, valid_slices, own_node, complete_pools, owned_by_node, no_rewriting, changes_in_place,
)  # fmt: skip  # in the order of the report
