"""Checks of what a driver writes for the runtime."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from fakekubelet.conformance import verdict
from fakekubelet.dra import cdi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakekubelet.conformance.dra.evidence import Evidence, Prepared
    from fakekubelet.conformance.verdict import Result

_NO_IDS = verdict.unjudged("no answer had a CDI id")


def _answers(seen: Evidence) -> Iterator[tuple[str, str, Prepared]]:
    """Give the purpose, the claim and each device of every answer that has ids."""
    for exchange in seen.exchanges:
        for uid, entry in (exchange.entries or {}).items():
            for device in entry.devices:
                if device.cdi_ids:
                    yield exchange.purpose, uid, device


@verdict.check("CDI-1")
def cdi_names(seen: Evidence) -> Result:
    """Writes CDI ids as vendor/class=name"""
    ids = {cdi_id for _, _, device in _answers(seen) for cdi_id in device.cdi_ids}
    if not ids:
        return _NO_IDS
    return verdict.judged([repr(cdi_id) for cdi_id in sorted(ids) if not cdi.ID.fullmatch(cdi_id)], f"{len(ids)} id(s)")


@verdict.check("CDI-1", "DRA-CDI-4")
def cdi_files(seen: Evidence) -> Result:
    """Writes files that runtimes can load"""
    if not seen.cdi_files_seen and not seen.cdi_problems:
        return verdict.unjudged("no file was written")
    return verdict.judged(seen.cdi_problems[:3], f"{seen.cdi_files_seen} file(s)")


@verdict.check("CDI-1", "DRA-CDI-3")
def cdi_resolvable(seen: Evidence) -> Result:
    """Describes every id in its answer by then, so that the container can start"""
    purposes = [purpose for purpose in seen.cdi_edits if purpose != "after a reboot"]
    if not any(seen.cdi_edits[purpose] or purpose in seen.cdi_unresolvable for purpose in purposes):
        return _NO_IDS
    if seen.cdi_problems:
        return verdict.unjudged("its files cannot be loaded")
    malformed = [device for _, _, device in _answers(seen) if not all(map(cdi.ID.fullmatch, device.cdi_ids))]
    if malformed:
        return verdict.unjudged("its ids are none")
    faults = [
        f"{purpose}: {seen.cdi_unresolvable[purpose]}" for purpose in purposes if purpose in seen.cdi_unresolvable
    ]
    return verdict.judged(faults[:3], f"{sum(len(seen.cdi_edits[purpose]) for purpose in purposes)} id(s) injected")


@verdict.check("CDI-1")
def cdi_atomic(seen: Evidence) -> Result:
    """Writes a file under another name and renames it, so that no runtime reads half of it"""
    if not seen.cdi_files_seen:
        return verdict.unjudged("no file was written")
    return verdict.judged(
        [f"{name} was written in place" for name in seen.cdi_written_in_place[:3]], f"{seen.cdi_files_seen} file(s)"
    )


@verdict.check("HL-4", "DRA-HEALTH-8")
def cdi_unique(seen: Evidence) -> Result:
    """Gives each device of a claim a first id of its own, by which the pod's status knows it"""
    firsts: dict[str, set[tuple[str, str]]] = collections.defaultdict(set)
    for _, uid, device in _answers(seen):
        firsts[f"{uid} {device.cdi_ids[0]}"].add((device.pool, device.device))
    if not firsts:
        return _NO_IDS
    shared = [(name.partition(" ")[2], devices) for name, devices in firsts.items() if len(devices) > 1]
    return verdict.judged(
        [f"{name} is that of {len(devices)} devices" for name, devices in shared], f"{len(firsts)} id(s)"
    )


@verdict.check("CDI-2")
def cdi_fresh(seen: Evidence) -> Result:
    """Never gives a name that it has used to other content, which a runtime would not see"""
    known: dict[str, object] = {}
    for purpose, edits in seen.cdi_edits.items():
        for cdi_id, found in edits.items():
            if known.setdefault(cdi_id, found) != found:
                return verdict.broken(f"{cdi_id} has other content {purpose}")
    return verdict.kept(f"{len(known)} id(s)") if known else _NO_IDS


@verdict.check("CDI-3", "DRA-15")
def cdi_removed(seen: Evidence) -> Result:
    """Leaves no file of a claim when it is unprepared"""
    if not any(seen.cdi_edits.values()):
        return _NO_IDS
    return verdict.judged([f"{name} is left" for name in seen.cdi_left[:3]], "nothing is left")


CHECKS = (
    cdi_names, cdi_files, cdi_resolvable, cdi_atomic, cdi_unique, cdi_fresh, cdi_removed,
)  # fmt: skip  # in the order of the report
