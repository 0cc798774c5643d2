"""Checks of what a plugin answers."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fakekubelet.conformance import evidence, verdict

if TYPE_CHECKING:
    from fakekubelet.conformance.evidence import Evidence, Exchange
    from fakekubelet.conformance.verdict import Result
    from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

_CDI_NAME = re.compile(
    r"[a-zA-Z0-9][-._a-zA-Z0-9]*/[a-zA-Z0-9][-_a-zA-Z0-9]*=[a-zA-Z0-9]([-_.:a-zA-Z0-9]*[a-zA-Z0-9])?"
)
_TOLD = 110
_NOT_ASKED = verdict.unjudged("no healthy device to ask for")
_NO_PREFERENCE = verdict.unjudged("the options say that there is no preferred allocation")


@verdict.check("AL-10", "AL-11", "PIT-16")
def allocate_shape(seen: Evidence) -> Result:
    """Answers Allocate with one container response for each request."""
    asked = seen.of("Allocate", "first")
    if not asked:
        return _NOT_ASKED
    faults = []
    for exchange in asked:
        if exchange.error is not None:
            if not exchange.timed_out:  # which is told by replies-in-time
                faults.append(f"{exchange.resource}: {exchange.error}")
        elif len(exchange.reply.container_responses) != len(exchange.request.container_requests):
            faults.append(f"{exchange.resource}: {len(exchange.reply.container_responses)} responses to 1 request")
    if not faults and all(exchange.timed_out for exchange in asked):
        return verdict.unjudged("no answer in time")
    return verdict.judged(faults, f"one response for {', '.join(exchange.resource for exchange in asked)}")


@verdict.check("AL-4", "PIT-12")
def allocate_again(seen: Evidence) -> Result:
    """Allocates a device again that it has allocated before."""
    worked = {exchange.resource for exchange in seen.of("Allocate", "first") if exchange.error is None}
    asked = [exchange for exchange in seen.of("Allocate", "again") if exchange.resource in worked]
    if not asked:
        return _NOT_ASKED if not seen.of("Allocate", "first") else verdict.unjudged("the first Allocate failed")
    return verdict.judged(
        [f"{exchange.resource}: {exchange.error}" for exchange in asked if exchange.error is not None],
        "answered as before",
    )


@verdict.check("AL-9", "RS-3")
def allocate_unknown(seen: Evidence) -> Result:
    """Refuses or answers a request for a device that does not exist, and goes on."""
    asked = seen.of("Allocate", "unknown")
    if not asked:
        return verdict.unjudged("no list was received")
    faults = [f"{exchange.resource}: {exchange.error}" for exchange in asked if exchange.timed_out]
    if not seen.survived_unknown:
        faults.append("the plugin ended or dropped its stream over it")
    refused = [exchange.error for exchange in asked if exchange.error is not None]
    return verdict.judged(faults, verdict.start_of(f"refused: {refused[0]}", _TOLD) if refused else "answered")


@verdict.check("AL-14")
def host_paths(seen: Evidence) -> Result:
    """Names only paths of the host that exist when it answers."""
    answers = evidence.allocations(seen)
    paths = {place.host_path for _, answer in answers for place in _places(answer)}
    if not paths:
        return verdict.unjudged("no mounts and no device nodes" if answers else "no allocation was answered")
    missing = sorted(path for path in paths if not Path(path).exists())
    return verdict.judged([f"{verdict.some(missing)} not there"] if missing else [], f"{len(paths)} path(s)")


@verdict.check("AL-15")
def cdi_names(seen: Evidence) -> Result:
    """Writes the names of CDI devices as vendor/class=name."""
    answers = evidence.allocations(seen)
    names = {name.name for _, answer in answers for name in answer.cdi_devices}
    if not names:
        return verdict.unjudged("no CDI devices" if answers else "no allocation was answered")
    return verdict.judged(
        [f"{name!r}" for name in sorted(names) if not _CDI_NAME.fullmatch(name)], f"{len(names)} name(s)"
    )


@verdict.check("AL-12")
def distinct_names(seen: Evidence) -> Result:
    """Gives each resource environment names and container paths of its own."""
    given: dict[str, set[str]] = {}
    for resource, answer in evidence.allocations(seen):
        names = given.setdefault(resource, set())
        names |= {f"variable {name}" for name in answer.envs}
        names |= {f"path {place.container_path}" for place in _places(answer)}
    if len(given) < 2:
        return verdict.unjudged("fewer than two resources were allocated from")
    faults = [
        f"{resource} and {other} both set {verdict.some(sorted(given[resource] & given[other]))}"
        for resource, other in itertools.combinations(sorted(given), 2)
        if given[resource] & given[other]
    ]
    return verdict.judged(faults, f"{len(given)} resources compared")


def _places(answer: pluginapi.ContainerAllocateResponse) -> list[pluginapi.Mount | pluginapi.DeviceSpec]:
    return [*answer.mounts, *answer.devices]


@verdict.check("GP-2", "GP-3", "PIT-15")
def preferred_exact(seen: Evidence) -> Result:
    """Prefers exactly as many devices as asked for, all of them available, with all that must be among them."""
    asked = seen.of("GetPreferredAllocation", "choice")
    answered = [exchange for exchange in asked if exchange.error is None]
    if not answered:
        return verdict.unjudged("every call failed") if asked else _no_preference(seen)
    return verdict.judged(list(dict.fromkeys(filter(None, map(_flaw, answered)))), f"{len(answered)} choices")


def _flaw(exchange: Exchange) -> str:
    asked = exchange.request.container_requests[0]
    if len(exchange.reply.container_responses) != 1:
        return f"{exchange.resource}: {len(exchange.reply.container_responses)} responses to 1 request"
    chosen = list(exchange.reply.container_responses[0].deviceIDs)
    if len(set(chosen)) != len(chosen):
        return f"{exchange.resource}: names a device twice"
    if not set(chosen) <= set(asked.available_deviceIDs):
        return f"{exchange.resource}: chooses what is not available"
    if len(chosen) != asked.allocation_size:
        return f"{exchange.resource}: {len(chosen)} devices where {asked.allocation_size} were asked for"
    if not set(asked.must_include_deviceIDs) <= set(chosen):
        return f"{exchange.resource}: leaves out a device that must be included"
    return ""


@verdict.check("GP-4", "GP-5")
def preferred_no_error(seen: Evidence) -> Result:
    """Never answers GetPreferredAllocation with an error, not even about a device it has just dropped."""
    asked = [exchange for exchange in seen.of("GetPreferredAllocation") if not exchange.timed_out]
    if not asked:
        return _no_preference(seen)
    faults = [
        f"{exchange.resource} ({exchange.purpose}): {exchange.error}"
        for exchange in asked
        if exchange.error is not None
    ]
    return verdict.judged(faults[:3], f"{len(asked)} calls")


def _no_preference(seen: Evidence) -> Result:
    if any(options.preferred_allocation for options in seen.options.values()):
        return _NOT_ASKED
    return _NO_PREFERENCE if seen.options else verdict.unjudged("no options were received")


@verdict.check("ADM-1", "AL-8", "GP-1")
def replies_in_time(seen: Evidence) -> Result:
    """Answers Allocate and GetPreferredAllocation in time, because the whole node waits."""
    asked = [
        exchange
        for exchange in seen.exchanges
        if exchange.method != "PreStartContainer" and exchange.purpose != "unknown"
    ]
    if not asked:
        return _NOT_ASKED
    limit = seen.settings.limits.reply_s
    slow = [
        f"{exchange.method} of {exchange.resource}: none within {limit:g} s" for exchange in asked if exchange.timed_out
    ]
    return verdict.judged(
        list(dict.fromkeys(slow)), f"at most {max(exchange.duration_s for exchange in asked) * 1000:.0f} ms"
    )


@verdict.check("PS-1", "PS-2")
def pre_start(seen: Evidence) -> Result:
    """Answers PreStartContainer within 30 s, if it asked for it."""
    asked = seen.of("PreStartContainer")
    if not asked:
        wanted = any(options.pre_start_required for options in seen.options.values())
        return _NOT_ASKED if wanted else verdict.unjudged("the options do not ask for it")
    faults = [f"{exchange.resource}: {exchange.error}" for exchange in asked if exchange.error is not None]
    return verdict.judged(faults, f"at most {max(exchange.duration_s for exchange in asked) * 1000:.0f} ms")


CHECKS = (
    allocate_shape, allocate_again, allocate_unknown, host_paths, cdi_names, distinct_names, preferred_exact,
    preferred_no_error, replies_in_time, pre_start,
)  # fmt: skip  # in the order of the report
