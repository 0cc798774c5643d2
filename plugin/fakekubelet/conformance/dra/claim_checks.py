"""Checks of how a driver prepares and unprepares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakekubelet.conformance import verdict
from fakekubelet.conformance.dra import drive, evidence

if TYPE_CHECKING:
    from fakekubelet.conformance.dra.evidence import Evidence, Exchange
    from fakekubelet.conformance.verdict import Result

_NOT_ASKED = verdict.unjudged("there was no device to make a claim for")


def _prepared(exchange: Exchange | None) -> bool:
    return exchange is not None and exchange.first is not None and not exchange.first.error


@verdict.check("DRA-10", "DRA-13")
def prepares(seen: Evidence) -> Result:
    """Prepares a claim: the devices of its allocation, by pool and name"""
    exchange = seen.of("first")
    if exchange is None:
        return _NOT_ASKED
    if exchange.said():
        return verdict.broken(exchange.said())
    assert exchange.first is not None
    faults = []
    own = [device for device in exchange.first.devices if device.pool != "elsewhere"]
    if not own:
        faults.append("the answer has no device")
    faults += ["a device without pool_name or device_name" for one in own if not (one.pool and one.device)]
    published = {
        (one["spec"]["pool"]["name"], device["name"])
        for one in seen.slices
        for device in one["spec"].get("devices", ())
    }
    faults += [
        f"{one.pool}/{one.device} is none of its devices" for one in own if (one.pool, one.device) not in published
    ]
    return verdict.judged(faults, ", ".join(f"{one.pool}/{one.device}" for one in own))


@verdict.check("DRA-11", "DRA-PREP-6")
def foreign_entries(seen: Evidence) -> Result:
    """Leaves out the devices of other drivers in the same claim"""
    exchange = seen.of("first")
    if exchange is None:
        return _NOT_ASKED
    if exchange.first is None or exchange.first.error:
        is_about_it = exchange.first is not None and "stranger" in exchange.first.error
        return verdict.broken(exchange.said()) if is_about_it else verdict.unjudged("the claim was not prepared")
    foreign = [device for device in exchange.first.devices if device.pool == "elsewhere"]
    return verdict.judged([f"it prepared {one.pool}/{one.device}" for one in foreign], f"{drive.STRANGER} was left out")


@verdict.check("DRA-14")
def prepares_again(seen: Evidence) -> Result:
    """Prepares a claim again with the same answer"""
    return _same_answer(seen, "first", "again")


def _same_answer(seen: Evidence, before: str, after: str) -> Result:
    old, new = seen.of(before), seen.of(after)
    if old is None or new is None:
        return verdict.unjudged("it did not come to that")
    if not _prepared(old):
        return verdict.unjudged("the claim was not prepared the first time")
    if new.said():
        return verdict.broken(new.said())
    assert old.first is not None
    assert new.first is not None
    same = set(old.first.devices) == set(new.first.devices) and len(old.first.devices) == len(new.first.devices)
    return verdict.judged([] if same else ["the second answer differs from the first"], "the same answer")


@verdict.check("DRA-12")
def one_entry_each(seen: Evidence) -> Result:
    """Answers with one entry for every claim that was asked for, and no other"""
    asked = [exchange for exchange in seen.exchanges if exchange.entries is not None]
    if not asked:
        return _NOT_ASKED
    faults = []
    for exchange in asked:
        assert exchange.entries is not None
        missing, strange = set(exchange.asked) - exchange.entries.keys(), exchange.entries.keys() - set(exchange.asked)
        if missing or strange:
            what = f"{len(missing)} entries missing" if missing else f"an entry for {min(strange)!r}"
            faults.append(f"{exchange.method} ({exchange.purpose}): {what}")
    return verdict.judged(faults[:3], f"{len(asked)} calls")


@verdict.check("DRA-12", "DRA-PREP-4")
def bad_beside_good(seen: Evidence) -> Result:
    """Refuses a claim that is bad, and says of no good one in the same call that it failed"""
    exchange = seen.of("one good, one bad")
    if exchange is None:
        return _NOT_ASKED
    if exchange.error == evidence.TIMED_OUT:
        return verdict.unjudged("no answer in time")
    if exchange.entries is None:  # which a kubelet allows: all claims of one call are those of one pod
        return verdict.kept(f"the call as a whole was refused: {verdict.start_of(exchange.error, 150)}")
    good, bad = (exchange.entries.get(uid) for uid in exchange.asked)
    faults = []
    if good is not None and good.error:
        faults.append(f"the good one failed too: {verdict.start_of(good.error, 150)}")
    if bad is not None and not bad.error:
        faults.append("a claim that does not exist was prepared")
    return verdict.judged(faults, f"refused: {verdict.start_of(bad.error, 100)}" if bad is not None else "one entry")


@verdict.check("DRA-11")
def replaced_claim(seen: Evidence) -> Result:
    """Refuses a claim whose object has another UID by now"""
    return _refused(seen.of("replaced"))


@verdict.check("DRA-11")
def unallocated_claim(seen: Evidence) -> Result:
    """Refuses a claim without an allocation"""
    return _refused(seen.of("unallocated"))


def _refused(exchange: Exchange | None) -> Result:
    if exchange is None:
        return _NOT_ASKED
    if exchange.error == evidence.TIMED_OUT:
        return verdict.unjudged("no answer in time")
    said = exchange.error or exchange.said()
    return verdict.kept(f"refused: {verdict.start_of(said, 120)}") if said else verdict.broken("it was prepared")


@verdict.check("DRA-13", "DRA-PREP-10")
def base_request_names(seen: Evidence) -> Result:
    """Names requests without the alternative that was chosen, as containers do"""
    exchange = seen.of("alternative")
    if exchange is None:
        return _NOT_ASKED
    if not _prepared(exchange):
        return verdict.unjudged(f"it was not prepared: {exchange.said()}")
    assert exchange.first is not None
    names = {name for device in exchange.first.devices for name in device.requests}
    return verdict.judged(
        [f"{name!r}, which matches no container" for name in sorted(names - {"alternatives"})],
        ", ".join(sorted(names)) or "no names, which means all requests",
    )


@verdict.check("DRA-10", "DRA-15")
def replies_in_time(seen: Evidence) -> Result:
    """Answers every call within 45 s"""
    if not seen.exchanges:
        return _NOT_ASKED
    late = [one for one in seen.exchanges if one.error == evidence.TIMED_OUT]
    limit = seen.settings.limits.reply_s
    return verdict.judged(
        [f"{one.method} ({one.purpose}): none within {limit:g} s" for one in late],
        f"at most {max(one.duration_s for one in seen.exchanges) * 1000:.0f} ms",
    )


@verdict.check("DRA-15")
def unprepares(seen: Evidence) -> Result:
    """Unprepares what it has prepared"""
    return _went(seen.of("second"), seen.of("first unprepared"))


@verdict.check("DRA-15")
def unprepares_deleted(seen: Evidence) -> Result:
    """Unprepares a claim whose object is gone"""
    return _went(seen.of("object deleted"))


@verdict.check("DRA-16")
def unprepares_unknown(seen: Evidence) -> Result:
    """Unprepares a claim that it has never seen, without an error"""
    return _went(seen.of("unknown"))


def _went(*exchanges: Exchange | None) -> Result:
    made = [exchange for exchange in exchanges if exchange is not None]
    if not made:
        return _NOT_ASKED
    faults = [one.said() for one in made if one.said() and one.error != evidence.TIMED_OUT]
    if not faults and all(one.error == evidence.TIMED_OUT for one in made):
        return verdict.unjudged("no answer in time")
    faults = [fault for fault in faults if fault != "no entry for the claim"]  # told by one-entry-each
    return verdict.judged([verdict.start_of(fault, 200) for fault in faults], "no error")


same_answer = _same_answer

CHECKS = (
    prepares, prepares_again, foreign_entries, base_request_names, one_entry_each, bad_beside_good, replaced_claim,
    unallocated_claim, unprepares, unprepares_deleted, unprepares_unknown, replies_in_time,
)  # fmt: skip  # in the order of the report
