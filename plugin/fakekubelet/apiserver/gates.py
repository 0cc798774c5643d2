"""Feature gates of DRA: when a release has them on, and which fields it drops while they are off.

Mirrors `pkg/features/kube_features.go` and the strategies in `pkg/registry/resource` of 1.36: a field whose gate is off
is taken out silently, unless the stored object uses the feature already. What 1.37 has on is read in its change log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    Object = dict[str, Any]
    Fields = Iterator[tuple[Object, str]]

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


def _of(places: Iterable[Object], *names: str) -> Fields:
    return ((place, name) for place in places for name in names)


def _of_devices(*names: str) -> Callable[[Object], Fields]:
    return lambda spec: _of(_devices(spec), *names)


def _of_spec(*names: str) -> Callable[[Object], Fields]:
    return lambda spec: _of([spec], *names)


def _partitions(spec: Object) -> Fields:
    yield from _of([spec], "sharedCounters", "perDeviceNodeSelection")
    yield from _of(_devices(spec), "consumesCounters", "nodeName", "nodeSelector", "allNodes")


def _shares(spec: Object) -> Fields:
    for device in _devices(spec):
        yield device, "allowMultipleAllocations"
        yield from _of((device.get("capacity") or {}).values(), "requestPolicy")


def _lists(spec: Object) -> Fields:
    for device in _devices(spec):
        yield from _of((device.get("attributes") or {}).values(), *_LISTS)


def _requests(spec: Object) -> list[Object]:
    return (spec.get("devices") or {}).get("requests") or []


def _of_requests(*names: str) -> Callable[[Object], Fields]:
    def fields(spec: Object) -> Fields:
        for request in _requests(spec):
            if "exactly" in request:
                yield from _of([request["exactly"]], *names)
            yield from _of(request.get("firstAvailable") or [], *names)

    return fields


_SPEC_FIELDS: Final[dict[str, tuple[tuple[str, Callable[[Object], Fields]], ...]]] = {
    "ResourceSlice": (
        ("DRADeviceTaints", _of_devices("taints")),
        ("DRAPartitionableDevices", _partitions),
        ("DRADeviceBindingConditions", _of_devices("bindingConditions", "bindingFailureConditions", "bindsToNode")),
        ("DRAConsumableCapacity", _shares),
        ("DRANodeAllocatableResources", _of_devices("nodeAllocatableResourceMappings")),
        ("DRAListTypeAttributes", _lists),
        ("DRAOptionalNodeOperations", _of_spec("skipNodeOperations")),
    ),
    "ResourceClaim": (
        ("DRAPrioritizedList", lambda spec: _of(_requests(spec), "firstAvailable")),
        ("DRAAdminAccess", _of_requests("adminAccess")),
        ("DRADeviceTaints", _of_requests("tolerations")),
        ("DRAConsumableCapacity", _of_requests("capacity")),
    ),
    "DeviceClass": (("DRAExtendedResource", _of_spec("extendedResourceName")),),
}
"""Kind → gate → where its fields are in a `spec`: what holds each, and its name there."""


def drop(kind: str, spec: Object, old_spec: Object | None, on: Collection[str]) -> list[str]:
    """Take out of *spec* what its gates forbid; return the gates that did."""
    return [
        gate
        for gate, fields in _SPEC_FIELDS.get(kind, ())
        if gate not in on and not _uses(fields(old_spec or {})) and _take(fields(spec))
    ]


def _uses(fields: Fields) -> bool:
    return any(place.get(name) is not None for place, name in fields)


def _take(fields: Fields) -> bool:
    """Remove fields, and tell whether one was there."""
    found = [place.pop(name, None) is not None for place, name in fields]
    return any(found)
