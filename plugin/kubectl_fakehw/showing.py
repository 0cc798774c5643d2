"""Receipts, devices and events of many nodes, as people and programs read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fakehw import layout
from fakehw.view import listing
from kubectl_fakehw.receipts import LEVELS, Level, Receipt, Sum

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN_NODES: Final = 20
"""So many receipts people see one by one; of more, the SHOWN_SLOWEST. All of them are in the sum, and in JSON."""

SHOWN_SLOWEST: Final = 10

SHOWN_MISSING: Final = 10


def receipts_text(receipts: Sequence[Receipt], until: Level) -> str:
    """Return receipts as a table: what is missing first, then the slowest."""
    ordered = sorted(receipts, key=lambda receipt: (receipt.has_landed(until), -receipt.at.get(until, 0.0)))
    shown = len(receipts) if len(receipts) <= SHOWN_NODES else SHOWN_SLOWEST
    if shown == len(receipts):
        ordered = sorted(receipts, key=lambda receipt: layout.natural_key(receipt.node))
    levels = LEVELS[: LEVELS.index(until) + 1]
    headings = ("NODE", "DEVICES", "CHANGED", *(level.upper() for level in levels), "")
    lines = [
        (
            receipt.node,
            str(receipt.devices or "-"),
            str(receipt.changed),
            *(duration(receipt.at.get(level)) for level in levels),
            "" if receipt.has_landed(until) else "MISSING",
        )
        for receipt in ordered[:shown]
    ]
    text = listing.table(headings, lines)
    return f"{text}\n... and {len(receipts) - shown} more" if len(receipts) > shown else text


def sum_text(found: Sum, until: Level) -> str:
    """Return the sum in a line, and a line for each node that is missing."""
    words = [f"landed on {found.landed} of {found.asked}"]
    if found.slowest is not None:
        slowest = f"slowest {found.slowest.node} {duration(found.slowest.at[until])}"
        words.append(f"p50 {duration(found.p50_s)}, p99 {duration(found.p99_s)}, {slowest}")
    lines = [": ".join(words)]
    lines += [f"missing: {receipt.node}: {receipt.problem}" for receipt in found.missing[:SHOWN_MISSING]]
    more = len(found.missing) - SHOWN_MISSING
    return "\n".join([*lines, f"missing: {more} more"] if more > 0 else lines)


def as_json(receipts: Sequence[Receipt], found: Sum) -> str:
    """Return all of it for programs."""
    return json.dumps({"sum": found.as_dict(), "receipts": [receipt.as_dict() for receipt in receipts]}, indent=2)


def duration(seconds: float | None) -> str:
    """Return a duration for people: milliseconds up to a second, then seconds."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def record(told: dict[str, Any], node: str) -> listing.Record:
    """Return a record of a hand, with the node that it stands on where the tree names none."""
    return listing.Record(**{**told, "host": told["host"] or node})


def event_line(event: dict[str, Any], node: str) -> str:
    """Return an event for people."""
    health = event["health"] if event["was"] == event["health"] else f"{event['was']} -> {event['health']}"
    reason = f": {event['reason']}" if event["reason"] else ""
    return f"{event['timestamp']}  {event['host'] or node}  {event['path']}  {health}{reason}"
