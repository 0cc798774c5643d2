"""Which devices a claim gets on a node: the first that fit, in the order of slices and devices.

Mirrors `dynamic-resource-allocation/structured` as far as counts, selectors, taints, alternatives and constraints go
(contract SL-3, DRA-TAINT-2, DRA-SL-5, DRA-SL-7). Devices that share counters or are shared are not emulated: they are
given to nobody. Pure but for the selectors.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from fakekubelet.cluster import selector

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

Object = dict[str, Any]
DeviceId = tuple[str, str, str]
"""Driver, pool and device."""


class UnallocatableError(Exception):
    """A claim cannot be served here; the text is for the pod's event."""


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """A device of a complete pool."""

    id: DeviceId
    device: Mapping[str, Any]


def candidates(slices: Sequence[Mapping[str, Any]], node: str) -> list[Candidate]:
    """Return the devices that a node has, of pools that are complete and name no device twice, in their order."""
    pools: dict[tuple[str, str], list[Mapping[str, Any]]] = collections.defaultdict(list)
    for one in sorted(slices, key=lambda one: one["metadata"]["name"]):
        pools[one["spec"]["driver"], one["spec"]["pool"]["name"]].append(one["spec"])
    found = []
    for (driver, pool), specs in pools.items():
        newest = max(spec["pool"]["generation"] for spec in specs)
        current = [spec for spec in specs if spec["pool"]["generation"] == newest]
        devices = [device for spec in current for device in spec.get("devices", ())]
        is_whole = len(current) == current[0]["pool"]["resourceSliceCount"]
        is_here = all(spec.get("nodeName") == node or spec.get("allNodes") for spec in current)
        if is_whole and is_here and len({device["name"] for device in devices}) == len(devices):
            found += [Candidate((driver, pool, device["name"]), device) for device in devices if _is_plain(device)]
    return found


def _is_plain(device: Mapping[str, Any]) -> bool:
    return not device.get("consumesCounters") and not device.get("allowMultipleAllocations")


def tolerates(taint: Mapping[str, Any], tolerations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the toleration that covers a taint, if one does."""
    for toleration in tolerations:
        is_effect = toleration.get("effect") in (None, "", taint["effect"])
        is_key = toleration.get("key") in (None, "", taint["key"])
        exists = toleration.get("operator", "Equal") == "Exists"
        if is_effect and is_key and (exists or toleration.get("value", "") == taint.get("value", "")):
            return toleration
    return None


def allocate(
    claims: Sequence[Object],
    classes: Mapping[str, Object],
    slices: Sequence[Mapping[str, Any]],
    in_use: Collection[DeviceId],
    node: str,
) -> list[Object]:
    """Return the `status.allocation` of each claim on *node*; UnallocatableError if not all of them can be served."""
    available = candidates(slices, node)
    taken = set(in_use)
    allocations = []
    for claim in claims:
        devices = claim["spec"]["devices"]
        results = next(_served(devices.get("requests") or [], devices, classes, available, taken), None)
        if results is None:
            raise UnallocatableError("cannot allocate all claims")
        taken |= {(one["driver"], one["pool"], one["device"]) for one in results if not one.get("adminAccess")}
        selected = {"key": "metadata.name", "operator": "In", "values": [node]}
        terms = [{"matchFields": [selected]}]
        allocations.append({"devices": {"results": results}, "nodeSelector": {"nodeSelectorTerms": terms}})
    return allocations


def _served(
    requests: Sequence[Object],
    devices: Object,
    classes: Mapping[str, Object],
    available: Sequence[Candidate],
    taken: set[DeviceId],
) -> Iterator[list[Object]]:
    """Give ways to serve the requests, the first that fits first."""
    if not requests:
        yield []
        return
    request, rest = requests[0], requests[1:]
    for name, exact in _alternatives(request):
        fitting = [one for one in available if _fits(one, exact, classes)]
        is_admin = exact.get("adminAccess", False)
        free = fitting if is_admin else [one for one in fitting if one.id not in taken]
        count = len(fitting) if exact.get("allocationMode") == "All" else exact.get("count", 1)
        if len(free) < count or not count:
            continue
        for chosen in itertools.islice(itertools.combinations(free, count), 1000):
            results = [_result(name, one, exact) for one in chosen]
            if not _agree(request["name"], chosen, devices.get("constraints", [])):
                continue
            now = taken if is_admin else taken | {one.id for one in chosen}
            for more in _served(rest, devices, classes, available, now):
                yield results + more


def _alternatives(request: Object) -> list[tuple[str, Object]]:
    if "exactly" in request:
        return [(request["name"], request["exactly"])]
    return [(f"{request['name']}/{one['name']}", one) for one in request.get("firstAvailable", [])]


def _fits(candidate: Candidate, exact: Object, classes: Mapping[str, Object]) -> bool:
    device_class = classes.get(exact["deviceClassName"])
    if device_class is None:
        raise UnallocatableError(f"device class {exact['deviceClassName']} does not exist")
    selectors = [*(device_class["spec"].get("selectors") or []), *(exact.get("selectors") or [])]
    tolerations = exact.get("tolerations") or []
    for taint in candidate.device.get("taints") or []:
        if taint["effect"] in ("NoSchedule", "NoExecute") and tolerates(taint, tolerations) is None:
            return False
    try:
        driver = candidate.id[0]
        return all(selector.matches(one["cel"]["expression"], driver, candidate.device) for one in selectors)
    except selector.SelectorError as error:
        raise UnallocatableError(str(error)) from error


def _agree(request: str, chosen: Sequence[Candidate], constraints: Sequence[Object]) -> bool:
    """Tell whether the devices of one request agree where they have to; between requests it is not looked at."""
    for constraint in constraints:
        name = constraint.get("matchAttribute")
        if name is None or (constraint.get("requests") and request not in constraint["requests"]):
            continue
        values = [_attribute(one, name) for one in chosen]
        if None in values or any(value != values[0] for value in values):
            return False
    return True


def _attribute(candidate: Candidate, name: str) -> Any:
    attributes = candidate.device.get("attributes") or {}
    domain, _, identifier = name.rpartition("/")
    return attributes.get(name, attributes.get(identifier) if domain == candidate.id[0] else None)


def _result(name: str, candidate: Candidate, exact: Object) -> Object:
    driver, pool, device = candidate.id
    result: Object = {"request": name, "driver": driver, "pool": pool, "device": device}
    if exact.get("adminAccess"):
        result["adminAccess"] = True
    if exact.get("tolerations"):
        result["tolerations"] = exact["tolerations"]
    return result
