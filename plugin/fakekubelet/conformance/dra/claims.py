"""Claims are prepared and unprepared, good and bad ones, and a runtime reads what the answers name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fakekubelet.conformance.dra import drive, observed
from fakekubelet.dra import cdi
from kubeletapi.dra.v1 import api_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakekubelet.conformance.dra import evidence
    from fakekubelet.conformance.dra.bench import Bench


async def try_all(bench: Bench) -> None:
    """Make every call that a claim check reads, if a claim can have any device."""
    devices = [key for key, device in bench.slices.devices().items() if observed.can_be_claimed(device)]
    if not devices:
        return
    device = devices[0]
    claims = bench.claims
    await prepare(bench, "no claims", [])
    first = claims.make([device], with_stranger=True)
    await prepare(bench, "first", [drive.told(first)], runtime=True)
    await prepare(bench, "again", [drive.told(first)], runtime=True)
    second = claims.make(devices[1:3] or [device])
    missing = v1.Claim(namespace="default", name="conformance-missing", uid=_no_uid(1))
    if len(devices) == 1:
        await unprepare(bench, "freed", [drive.told(first)])
    await prepare(bench, "one good, one bad", [drive.told(second), missing], runtime=True)
    await unprepare(bench, "second", [drive.told(second)])
    await prepare(bench, "replaced", [drive.told(second, uid=_no_uid(2))])
    await prepare(bench, "unallocated", [drive.told(claims.make([], is_allocated=False))])
    await unprepare(bench, "first unprepared", [drive.told(first)])
    third = claims.make([device], request="alternatives/first")
    await prepare(bench, "alternative", [drive.told(third)], runtime=True)
    claims.delete(third)
    await unprepare(bench, "object deleted", [drive.told(third)])
    await unprepare(bench, "unknown", [v1.Claim(namespace="default", name="conformance-unknown", uid=_no_uid(3))])
    look_for_left_files(bench, [claim["metadata"]["uid"] for claim in (first, second, third)])


async def prepare(
    bench: Bench, purpose: str, claims: Sequence[v1.Claim], *, runtime: bool = False
) -> evidence.Exchange:
    """Call, and with *runtime* see what a runtime makes of the ids in the answer for the first claim."""
    if (client := bench.client) is None:
        exchange = drive.not_registered(purpose, "NodePrepareResources", claims)
    else:
        exchange = await drive.prepare(client, purpose, claims, bench.limits.reply_s)
    bench.seen.exchanges.append(exchange)
    if runtime and exchange.first is not None and not exchange.first.error:
        _inject(bench, purpose, exchange.first)
    return exchange


async def unprepare(bench: Bench, purpose: str, claims: Sequence[v1.Claim]) -> evidence.Exchange:
    """Call and note what comes."""
    if (client := bench.client) is None:
        exchange = drive.not_registered(purpose, "NodeUnprepareResources", claims)
    else:
        exchange = await drive.unprepare(client, purpose, claims, bench.limits.reply_s)
    bench.seen.exchanges.append(exchange)
    return exchange


def look_for_left_files(bench: Bench, uids: Sequence[str]) -> None:
    """Note the CDI specs that are still there for claims that were unprepared."""
    specs, _ = bench.dra.cdi.specs()
    of_claims = {cdi_id for edits in bench.seen.cdi_edits.values() for cdi_id in edits}
    for spec in specs:
        ids = {f"{spec.kind}={name}" for name in spec.devices}
        if any(uid in path for uid in uids for path in (spec.path.name, *ids)) and ids & of_claims:
            bench.seen.cdi_left.append(spec.path.name)


def _inject(bench: Bench, purpose: str, entry: evidence.Entry) -> None:
    """Do what the runtime does with each device's ids, now that the answer is there."""
    seen = bench.seen
    _, problems = bench.dra.cdi.specs()
    seen.cdi_problems += [problem for problem in problems if problem not in seen.cdi_problems]
    found: dict[str, Any] = {}
    for device in entry.devices:
        for cdi_id in device.cdi_ids:
            try:
                found[cdi_id] = bench.dra.cdi.inject([cdi_id])
            except cdi.CdiError as error:
                seen.cdi_unresolvable[purpose] = str(error)
    seen.cdi_edits[purpose] = found


def _no_uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"
