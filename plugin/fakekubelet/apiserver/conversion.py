"""The older shapes of resource.k8s.io: what is stored has that of v1, which v1beta2 shares.

v1beta1 wraps a device's fields in `basic`, and has a request's fields beside its name where v1 has them in `exactly`
(`pkg/apis/resource/v1beta1/conversion.go`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

Object = dict[str, Any]
_EXACT: Final = (
    "deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity",
)  # fmt: skip


def to_stored(version: str, kind: str, document: Object) -> Object:
    """Return a document of *version* in the shape that is stored."""
    return _convert(version, kind, document, _flat_device, _wrapped_request)


def from_stored(version: str, kind: str, document: Object) -> Object:
    """Return a stored document as *version* shows it."""
    return _convert(version, kind, document, _wrapped_device, _flat_request)


def _convert(
    version: str,
    kind: str,
    document: Object,
    device: Callable[[Object], Object],
    request: Callable[[Object], Object],
) -> Object:
    if version != "v1beta1":
        return document
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return document
    if kind == "ResourceSlice" and isinstance(spec.get("devices"), list):
        return {**document, "spec": {**spec, "devices": [device(one) for one in spec["devices"]]}}
    if kind == "ResourceClaim":
        return {**document, "spec": _claim(spec, request)}
    if kind == "ResourceClaimTemplate" and isinstance(spec.get("spec"), dict):
        return {**document, "spec": {**spec, "spec": _claim(spec["spec"], request)}}
    return document


def _claim(spec: Object, request: Callable[[Object], Object]) -> Object:
    devices = spec.get("devices")
    if not isinstance(devices, dict) or not isinstance(devices.get("requests"), list):
        return spec
    return {**spec, "devices": {**devices, "requests": [request(one) for one in devices["requests"]]}}


def _flat_device(device: Any) -> Any:
    if not isinstance(device, dict) or not isinstance(device.get("basic") or {}, dict):
        return device  # what it is not is said by the schema
    return {"name": device.get("name", ""), **(device.get("basic") or {})}


def _wrapped_device(device: Object) -> Object:
    return {"name": device["name"], "basic": {key: value for key, value in device.items() if key != "name"}}


def _wrapped_request(request: Any) -> Any:
    if not isinstance(request, dict):
        return request
    if request.get("firstAvailable"):
        return request
    exact = {key: value for key, value in request.items() if key in _EXACT}
    return {**{key: value for key, value in request.items() if key not in _EXACT}, "exactly": exact}


def _flat_request(request: Object) -> Object:
    return {**{key: value for key, value in request.items() if key != "exactly"}, **(request.get("exactly") or {})}
