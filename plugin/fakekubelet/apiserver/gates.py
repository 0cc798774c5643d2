"""Feature gates of DRA: when a release has them on, and which fields it drops while they are off.

Mirrors `pkg/features/kube_features.go` and the strategies in `pkg/registry/resource` of 1.36: a field whose gate is off
is taken out silently, unless the stored object uses the feature already. What 1.37 has on is read in its change log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    Object = dict[str, Any]

_ON_SINCE: Final = {
    "DRAAdminAccess": 34,
    "DRAConsumableCapacity": 36,
    "DRADeviceBindingConditions": 36,
    "DRADeviceTaintRules": 37,
    "DRADeviceTaints": 36,
    "DRAExtendedResource": 36,
    "DRAListTypeAttributes": None,
    "DRANodeAllocatableResources": None,
    "DRAPartitionableDevices": 36,
    "DRAPrioritizedList": 34,
    "DRAResourceClaimDeviceStatus": 33,
    "DRAOptionalNodeOperations": None,
}
"""Gate → minor version that has it on by default; None: not yet."""


_LISTS: Final = ("ints", "bools", "strings", "versions")


def enabled(release: str, changed: Mapping[str, bool]) -> frozenset[str]:
    """Return the gates that are on in a *release*, with *changed* set by hand; ValueError for an unknown one."""
    unknown = sorted(changed.keys() - _ON_SINCE.keys())
    if unknown:
        raise ValueError(f"unrecognized feature gate: {unknown[0]}; known here: {', '.join(_ON_SINCE)}")
    minor = int(release.partition(".")[2])
    default = {gate: since is not None and minor >= since for gate, since in _ON_SINCE.items()}
    return frozenset(gate for gate, on in {**default, **changed}.items() if on)


def _devices(spec: Object) -> list[Object]:
    return spec.get("devices") or []


def _take(places: Iterable[Object], *names: str) -> bool:
    """Remove fields from all of *places*, and tell whether one was there."""
    found = [place.pop(name, None) is not None for place in places for name in names]
    return any(found)


def _from_devices(*names: str) -> Callable[[Object], bool]:
    return lambda spec: _take(_devices(spec), *names)


def _partitions(spec: Object) -> bool:
    in_slice = _take([spec], "sharedCounters", "perDeviceNodeSelection")
    return _from_devices("consumesCounters", "nodeName", "nodeSelector", "allNodes")(spec) or in_slice


def _shares(spec: Object) -> bool:
    in_devices = _from_devices("allowMultipleAllocations")(spec)
    capacities = [capacity for device in _devices(spec) for capacity in (device.get("capacity") or {}).values()]
    return _take(capacities, "requestPolicy") or in_devices


def _lists(spec: Object) -> bool:
    attributes = [value for device in _devices(spec) for value in (device.get("attributes") or {}).values()]
    return _take(attributes, *_LISTS)


def _requests(spec: Object) -> Iterator[Object]:
    for request in (spec.get("devices") or {}).get("requests") or []:
        if "exactly" in request:
            yield request["exactly"]
        yield from request.get("firstAvailable") or []


def _from_requests(*names: str) -> Callable[[Object], bool]:
    return lambda spec: _take(_requests(spec), *names)


def _alternatives(spec: Object) -> bool:
    return _take((spec.get("devices") or {}).get("requests") or [], "firstAvailable")


_SPEC_FIELDS: Final[dict[str, tuple[tuple[str, Callable[[Object], bool]], ...]]] = {
    "ResourceSlice": (
        ("DRADeviceTaints", _from_devices("taints")),
        ("DRAPartitionableDevices", _partitions),
        ("DRADeviceBindingConditions", _from_devices("bindingConditions", "bindingFailureConditions", "bindsToNode")),
        ("DRAConsumableCapacity", _shares),
        ("DRANodeAllocatableResources", _from_devices("nodeAllocatableResourceMappings")),
        ("DRAListTypeAttributes", _lists),
        ("DRAOptionalNodeOperations", lambda spec: _take([spec], "skipNodeOperations")),
    ),
    "ResourceClaim": (
        ("DRAPrioritizedList", _alternatives),
        ("DRAAdminAccess", _from_requests("adminAccess")),
        ("DRADeviceTaints", _from_requests("tolerations")),
        ("DRAConsumableCapacity", _from_requests("capacity")),
    ),
    "DeviceClass": (("DRAExtendedResource", lambda spec: _take([spec], "extendedResourceName")),),
}


def drop(kind: str, spec: Object, old_spec: Object | None, on: Collection[str]) -> list[str]:
    """Take out of *spec* what its gates forbid; return the gates that did."""
    dropped = []
    for gate, take in _SPEC_FIELDS.get(kind, ()):
        in_use = old_spec is not None and take(old_spec)  # a copy, which may be emptied
        if gate not in on and not in_use and take(spec):
            dropped.append(gate)
    return dropped
