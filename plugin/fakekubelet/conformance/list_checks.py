"""Checks of what a plugin lists."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fakekubelet.conformance import verdict
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakekubelet.conformance.evidence import Evidence
    from fakekubelet.conformance.verdict import Result
    from fakekubelet.kubelet import device

MAX_ID_BYTES = 128
"""No rule of the kubelet; the longest for which the contract measured how many devices fit (section 12)."""

_CHATTER_HZ = 0.9
_NO_LIST = verdict.unjudged("no list was received")


@verdict.check("LW-1", "LW-6")
def first_list(seen: Evidence) -> Result:
    """Sends a list of every resource in time after its registration."""
    expected = [resource for resource in seen.resources if resource in {done.resource_name for done in seen.accepted}]
    unreadable = seen.stream_errors.keys() & set(expected)
    expected = [resource for resource in expected if resource not in unreadable]
    if not expected:
        return verdict.unjudged("its list cannot be read" if unreadable else "no registration was accepted")
    arrived = next((life.arrived_s for life in seen.instances if life.arrived_s), {})
    limit, faults = seen.settings.limits.list_s, []
    for resource in expected:
        if resource not in arrived:
            faults.append(f"no list of {resource} within {limit:g} s")
        elif arrived[resource] > limit:
            faults.append(f"the list of {resource} took {arrived[resource]:.1f} s, over {limit:g} s")
    return verdict.judged(
        faults, f"after at most {max(arrived.get(resource, 0) for resource in expected) * 1000:.0f} ms"
    )


@verdict.check("LW-4", "PB-3", "LIM-1")
def device_ids(seen: Evidence) -> Result:
    """Lists every device once, under an ID of 1 to 128 bytes that is UTF-8."""
    faults = [
        f"{resource}: {said}" for resource, said in sorted(seen.stream_errors.items()) if "larger than max" not in said
    ]

    def look(resource: str, received: device.DeviceList) -> list[str]:
        found = [f"{device_id!r} is listed twice" for device_id in received.repeated_ids]
        found += ["an ID is empty"] if "" in received.devices else []
        long = [device_id for device_id in received.devices if len(device_id.encode()) > MAX_ID_BYTES]
        return found + [f"the ID {device_id[:20]}... has {len(device_id.encode())} bytes" for device_id in long]

    return _over_lists(seen, look, "no fault in {lists} list(s) of {devices} device(s)", faults)


@verdict.check("LW-3")
def health_words(seen: Evidence) -> Result:
    """Says Healthy or Unhealthy, to the letter."""

    def look(resource: str, received: device.DeviceList) -> list[str]:
        words = {health for health, _ in received.devices.values()} - {constants.HEALTHY, constants.UNHEALTHY}
        return [f"{word!r} counts as unhealthy" for word in sorted(words)]

    return _over_lists(seen, look, "no other word in {lists} list(s)")


@verdict.check("LW-11", "LIM-1", "PIT-9")
def list_size(seen: Evidence) -> Result:
    """Sends lists that stay under 4 MiB even when every device is unhealthy."""
    faults = [
        f"{resource}: {said}" for resource, said in sorted(seen.stream_errors.items()) if "larger than max" in said
    ]
    if not seen.list_sizes and not faults:
        return _NO_LIST
    for resource, size in sorted(seen.list_sizes.items()):
        if size > constants.MAX_MESSAGE_BYTES:
            faults.append(f"{resource} would send {size} bytes with every device unhealthy")
    return verdict.judged(faults, f"at most {max(seen.list_sizes.values(), default=0)} of 4194304 bytes")


@verdict.check("LW-2", "LW-13", "PIT-14")
def full_lists(seen: Evidence) -> Result:
    """Keeps listing a device for as long as it lives, healthy or not."""
    faults, lists = [], 0
    for resource in seen.resources:
        for life in seen.instances:
            received = list(life.lists.get(resource, ()))
            while received and not received[-1].devices:
                received.pop()  # an empty list at the end is told by no-empty-list
            lists = max(lists, len(received))
            for before, after in itertools.pairwise(received):
                gone = sorted(before.devices.keys() - after.devices.keys())
                if gone:
                    faults.append(f"{resource}: {verdict.some(gone)} no longer listed")
    if not faults and seen.change is None and lists < 2:
        return verdict.unjudged("the list never changed; --break and --mend would change it")
    return verdict.judged(sorted(set(faults)), "no ID was dropped")


@verdict.check("LW-2", "LW-3")
def health_updates(seen: Evidence) -> Result:
    """Lists a device as unhealthy when it breaks and as healthy when it is mended, in time."""
    change, limit = seen.change, seen.settings.limits.list_s
    if change is None:
        return verdict.unjudged("needs --break and --mend, and a healthy device")
    if change.resource is None or change.broken_s is None:
        return verdict.broken(f"no list with fewer healthy devices within {limit:g} s of --break")
    if change.mended_s is None and seen.settings.mend_command is not None:
        return verdict.broken(
            f"{change.resource}: {verdict.some(sorted(change.ids))} not healthy again within {limit:g} s of --mend"
        )
    times = [f"{took * 1000:.0f} ms" for took in (change.broken_s, change.mended_s) if took is not None]
    return verdict.kept(f"{change.resource}: {' and '.join(times)}, commands included")


@verdict.check("LW-1", "REG-12")
def every_stream(seen: Evidence) -> Result:
    """Serves a second ListAndWatch stream like the first."""
    if not seen.second_streams:
        return verdict.unjudged("no second stream was opened")
    faults, updates = [], False
    for resource, second in sorted(seen.second_streams.items()):
        if second.first_ids is None:
            faults.append(f"{resource}: no list on the second stream {second.error}".rstrip())
        elif second.saw_break is False:
            faults.append(f"{resource}: an update went to one stream only")
        updates = updates or second.saw_break is True
    return verdict.judged(faults, "list and update on both" if updates else "list on both; an update needs --break")


@verdict.check("LW-14")
def ids_across_resources(seen: Evidence) -> Result:
    """Gives no two resources the same device ID."""
    if len(seen.resources) < 2:
        return verdict.unjudged("there is one resource only")
    ids = {
        resource: {key for received in seen.lists(resource) for key in received.devices} for resource in seen.resources
    }
    faults = [
        f"{resource} and {other} both list {verdict.some(sorted(ids[resource] & ids[other]))}"
        for resource, other in itertools.combinations(sorted(ids), 2)
        if ids[resource] & ids[other]
    ]
    return verdict.judged(faults, f"{len(ids)} resources compared")


@verdict.check("LW-7", "LW-8")
def no_chatter(seen: Evidence) -> Result:
    """Sends nothing new only when there is something new, not every second."""
    if not seen.idle_repeats:
        return _NO_LIST
    faults = [
        f"{resource}: {rate:.1f} a second" for resource, rate in sorted(seen.idle_repeats.items()) if rate > _CHATTER_HZ
    ]
    return verdict.judged(faults, f"quiet for {seen.settings.limits.quiet_s:g} s")


def _over_lists(
    seen: Evidence, look: Callable[[str, device.DeviceList], list[str]], good: str, faults: list[str] | None = None
) -> Result:
    found, lists, devices = list(faults or ()), 0, 0
    for resource in seen.resources:
        for received in seen.lists(resource):
            lists, devices = lists + 1, max(devices, len(received.devices))
            found += [f"{resource}: {flaw}" for flaw in look(resource, received)]
    if not lists and not found:
        return _NO_LIST
    return verdict.judged(list(dict.fromkeys(found))[:5], good.format(lists=lists, devices=devices))


CHECKS = (
    first_list, device_ids, health_words, list_size, full_lists, health_updates, every_stream, ids_across_resources,
    no_chatter,
)  # fmt: skip  # in the order of the report
