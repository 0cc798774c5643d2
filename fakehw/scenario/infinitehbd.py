"""The fault trace of InfiniteHBD: a year of 400 GPU servers (github.com/stepfun-ai/InfiniteHBD-Trace, Apache-2.0).

A JSON list of events: `node_id`, `event_time` in days, `event_type` fault_start or fault_end, `fault_type` with Level,
Class and Desc. A fault is of a server; which of its devices it was is not recorded.
"""

from __future__ import annotations

import json
from typing import Any, Final

from fakehw import output
from fakehw.errors import InputError, SpecError
from fakehw.scenario.outages import Outage, reason_of

_MAX_BYTES: Final = 256 << 20
_DAY_S: Final = 86_400.0
_PARTS: Final = {"GPU": "gpu", "NIC": "nic", "Parameter Plane Cable": "nic"}
_EVENTS: Final = ("fault_start", "fault_end")


def load(name: str) -> list[Outage]:
    """Read and check a trace, a file or `-`; InputError with the first thing that is wrong.

    What has no end ends with the trace.
    """
    try:
        with output.opened(name, "FILE") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{name!r}: {error.strerror}: must be a trace that can be read (FILE)") from None
    path = "stdin" if name == "-" else name
    if len(raw) > _MAX_BYTES:
        raise SpecError(f"{path}:1: must be at most {_MAX_BYTES >> 20} MiB long")
    try:
        events = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}:{getattr(error, 'lineno', 1)}: must be JSON: {error}") from None
    if not isinstance(events, list) or not events:
        raise SpecError(f"{path}:1: must be a list of events")
    return _outages([_checked(event, f"{path}: event {number}") for number, event in enumerate(events)], path)


def _checked(event: Any, where: str) -> dict[str, Any]:
    kind = event.get("fault_type") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(kind, dict):
        raise SpecError(f"{where}: must be an object with node_id, event_time, event_type and fault_type")
    moment = event.get("event_time")
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment <= 36_600:
        raise SpecError(f"{where}: event_time: {moment!r}: must be days from 0 to 36600")
    if event.get("event_type") not in _EVENTS:
        raise SpecError(f"{where}: event_type: {event.get('event_type')!r}: must be fault_start or fault_end")
    if not isinstance(event.get("node_id"), str) or not event["node_id"]:
        raise SpecError(f"{where}: node_id: {event.get('node_id')!r}: must be a text")
    return event


def _outages(events: list[dict[str, Any]], source: str) -> list[Outage]:
    open_faults: dict[tuple[str, str], list[float]] = {}
    found: list[Outage] = []
    events.sort(key=lambda event: event["event_time"])  # stable: the file's own order at one moment

    def end(server: str, kind: str, ends_s: float) -> None:
        begins_s = open_faults[server, kind].pop(0)
        fields = json.loads(kind)
        part = _PARTS.get(str(fields.get("Class")), "node")
        reason = reason_of(str(fields.get("Class", "")), str(fields.get("Desc", "")))
        found.append(Outage(begins_s, ends_s, server, part, reason))

    for event in events:
        key = event["node_id"], json.dumps(event["fault_type"], sort_keys=True)
        if event["event_type"] == "fault_start":
            open_faults.setdefault(key, []).append(event["event_time"] * _DAY_S)
        elif open_faults.get(key):
            end(*key, event["event_time"] * _DAY_S)
        else:
            raise SpecError(f"{source}: {key[0]}: a fault ends on day {event['event_time']} that did not start")
    last_s = events[-1]["event_time"] * _DAY_S
    for key in [key for key, starts in open_faults.items() for _ in starts]:
        end(*key, last_s)
    return found
