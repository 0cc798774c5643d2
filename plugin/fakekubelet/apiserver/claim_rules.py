"""What makes claims, their status, classes and taint rules valid, in the real server's words.

Mirrors `pkg/apis/resource/validation/validation.go` of 1.36 (contract DRA-SL-2). CEL expressions are looked at when
something is allocated, not here.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any, Final

from fakekubelet.apiserver import expressions, field_errors
from fakekubelet.apiserver.field_errors import FieldError, all_wrong, forbidden, required, too_long, wrong
from fakekubelet.apiserver.slice_rules import as_list, as_set, driver_name, label, pool_name, qualified, taint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Errors = Iterator[FieldError]
    Object = Mapping[str, Any]

_MAX_DATA: Final = 10 * 1024
"""Bytes of opaque parameters, and of what a driver says of a device in a claim's status."""
_MODES: Final = ("All", "ExactCount")
_EFFECTS: Final = ("NoExecute", "NoSchedule", "None")
_OPERATORS: Final = ("Equal", "Exists")
_REFERENCE: Final = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)


def claim_errors(spec: Object, old: Object | None, path: str = "spec") -> Errors:
    """Say what is wrong with the `spec` of a claim; one that is there already does not change."""
    if old is not None:
        if old != spec:
            yield wrong(path, dict(spec), "field is immutable")
        return
    devices = spec.get("devices") or {}
    names = _request_names(spec)
    where = f"{path}.devices"
    yield from as_set(devices.get("requests") or [], 32, _request, lambda one: one.get("name", ""), f"{where}.requests")
    yield from as_list(
        devices.get("constraints") or [], 32, lambda one, at: _constraint(one, at, names), f"{where}.constraints"
    )
    yield from as_list(devices.get("config") or [], 32, lambda one, at: _config(one, at, names), f"{where}.config")


def status_errors(status: Object, old: Object, spec: Object, *, is_deleted: bool) -> Errors:
    """Say what is wrong with the `status` of a claim that is to be stored in the place of *old*."""
    users = status.get("reservedFor") or []
    allocation = status.get("allocation")
    yield from as_set(users, 256, _user, lambda one: one.get("uid", ""), "status.reservedFor")
    results = ((allocation or {}).get("devices") or {}).get("results") or []
    allocated = {(one.get("driver"), one.get("pool"), one.get("device"), one.get("shareID")) for one in results}
    yield from as_set(
        status.get("devices") or [],
        10**6,
        lambda one, at: _device_status(one, at, allocated),
        _device_key,
        "status.devices",
    )
    if users and allocation is None:
        yield forbidden("status.reservedFor", "may not be specified when `allocated` is not set")
    elif users and is_deleted and any(one not in (old.get("reservedFor") or []) for one in users):
        text = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        yield forbidden("status.reservedFor", text)
    if old.get("allocation") is not None and allocation is not None:
        if allocation != old["allocation"]:
            yield wrong("status.allocation", allocation, "field is immutable")
    elif allocation is not None:
        names = _request_names(spec)
        where = "status.allocation.devices.results"
        yield from as_list(results, 32, lambda one, at: _result(one, at, names), where)


def class_errors(spec: Object) -> Errors:
    """Say what is wrong with the `spec` of a device class."""
    yield from as_list(spec.get("selectors") or [], 32, _selector, "spec.selectors")
    yield from as_list(spec.get("config") or [], 32, _opaque, "spec.config")
    name = spec.get("extendedResourceName")
    if name is not None and not is_extended_resource(name):
        yield wrong("spec.extendedResourceName", name, "must be a valid extended resource name")


def taint_rule_errors(spec: Object, old: Object | None) -> Errors:
    """Say what is wrong with the `spec` of a taint rule."""
    selector = spec.get("deviceSelector") or {}
    for name, rule in (("driver", driver_name), ("pool", pool_name), ("device", label)):
        if name in selector:
            yield from rule(selector[name], f"spec.deviceSelector.{name}")
    old_effect = ((old or {}).get("taint") or {}).get("effect")
    yield from taint(spec.get("taint") or {}, "spec.taint", old_effect)


def is_extended_resource(name: str) -> bool:
    """Tell whether the scheduler takes a name for that of an extended resource (`IsExtendedResourceName`)."""
    domain, slash, _ = name.partition("/")
    if not slash or "kubernetes.io/" in f"{domain}/" or name.startswith("requests."):
        return False
    return not any(field_errors.qualified_name(f"requests.{name}"))


def _request_names(spec: Object) -> set[str]:
    names = set()
    for request in (spec.get("devices") or {}).get("requests") or []:
        name = request.get("name", "")
        names.add(name)
        names.update(f"{name}/{one.get('name', '')}" for one in request.get("firstAvailable") or [])
    return names


def _reference(name: str, path: str, names: set[str]) -> Errors:
    parts = name.split("/")
    if len(parts) <= 2:
        for part in parts:
            yield from label(part, path)
    if len(parts) > 2 or name not in names:
        yield wrong(path, name, _REFERENCE)


def _request(request: Object, path: str) -> Errors:
    yield from label(request.get("name", ""), f"{path}.name")
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is None and not alternatives:
        yield required(path, "exactly one of `exactly` or `firstAvailable` is required")
    elif exactly is not None and alternatives:
        text = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
        yield wrong(path, None, text)
    elif exactly is not None:
        yield from _exact(exactly, f"{path}.exactly")
    else:
        where = f"{path}.firstAvailable"
        yield from as_set(alternatives, 8, _alternative, lambda one: one.get("name", ""), where)


def _alternative(request: Object, path: str) -> Errors:
    yield from label(request.get("name", ""), f"{path}.name")
    yield from _exact(request, path)


def _exact(request: Object, path: str) -> Errors:
    class_name = request.get("deviceClassName", "")
    if class_name:
        yield from all_wrong(f"{path}.deviceClassName", class_name, field_errors.dns_subdomain(class_name))
    else:
        yield required(f"{path}.deviceClassName")
    yield from as_list(request.get("selectors") or [], 32, _selector, f"{path}.selectors")
    mode, count = request.get("allocationMode", ""), request.get("count", 0)
    if mode == "All":
        if count:
            yield wrong(f"{path}.count", count, f"must not be specified when allocationMode is '{mode}'")
    elif mode == "ExactCount":
        if count <= 0:
            yield wrong(f"{path}.count", count, "must be greater than zero")
    else:
        yield field_errors.not_supported(f"{path}.allocationMode", mode, _MODES)
    for index, one in enumerate(request.get("tolerations") or []):
        yield from _toleration(one, f"{path}.tolerations[{index}]")


def _selector(selector: Object, path: str) -> Errors:
    cel = selector.get("cel")
    if cel is None:
        yield required(f"{path}.cel")
    elif field_errors.size(cel.get("expression", "")) > 10 * 1024:
        yield too_long(f"{path}.cel.expression", 10 * 1024)
    else:
        problem = expressions.problem(cel.get("expression", ""))
        if problem:
            yield wrong(f"{path}.cel.expression", cel.get("expression", ""), problem)


def _constraint(constraint: Object, path: str, names: set[str]) -> Errors:
    yield from as_set(
        constraint.get("requests") or [], 32, lambda one, at: _reference(one, at, names), str, f"{path}.requests"
    )
    for name in ("matchAttribute", "distinctAttribute"):
        value = constraint.get(name)
        if value is not None and "/" not in value:
            text = "a fully qualified name must be a domain and a name separated by a slash"
            yield wrong(f"{path}.{name}", value, text)
        elif value is not None:
            yield from qualified(value, f"{path}.{name}")
    if "matchAttribute" not in constraint and "distinctAttribute" not in constraint:
        text = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
        yield required(path, text)


def _config(config: Object, path: str, names: set[str]) -> Errors:
    yield from as_set(
        config.get("requests") or [], 32, lambda one, at: _reference(one, at, names), str, f"{path}.requests"
    )
    yield from _opaque(config, path)


def _opaque(config: Object, path: str) -> Errors:
    opaque = config.get("opaque")
    if opaque is None:
        yield required(f"{path}.opaque")
        return
    yield from driver_name(opaque.get("driver", ""), f"{path}.opaque.driver")
    if opaque.get("parameters") is None:
        yield required(f"{path}.opaque.parameters")
    elif field_errors.size(json.dumps(opaque["parameters"], separators=(",", ":"), ensure_ascii=False)) > _MAX_DATA:
        yield too_long(f"{path}.opaque.parameters", _MAX_DATA)
    elif not isinstance(opaque["parameters"], dict):
        yield wrong(f"{path}.opaque.parameters", "<value omitted>", "must be a valid JSON object")


def _toleration(one: Object, path: str) -> Errors:
    operator, value = one.get("operator", ""), one.get("value", "")
    if one.get("key"):
        yield from all_wrong(f"{path}.key", one["key"], field_errors.qualified_name(one["key"]))
    if operator == "Exists":
        if value:
            yield wrong(f"{path}.value", value, "must be empty for operator `Exists`")
    elif operator == "Equal":
        yield from all_wrong(f"{path}.value", value, field_errors.label_value(value))
    elif operator:
        yield field_errors.not_supported(f"{path}.operator", operator, _OPERATORS)
    if one.get("effect") and one["effect"] not in _EFFECTS:
        yield field_errors.not_supported(f"{path}.effect", one["effect"], _EFFECTS)


def _user(user: Object, path: str) -> Errors:
    for name in ("resource", "name", "uid"):
        if not user.get(name):
            yield required(f"{path}.{name}")


def _result(result: Object, path: str, names: set[str]) -> Errors:
    yield from _reference(result.get("request", ""), f"{path}.request", names)
    yield from driver_name(result.get("driver", ""), f"{path}.driver")
    yield from pool_name(result.get("pool", ""), f"{path}.pool")
    yield from label(result.get("device", ""), f"{path}.device")
    share = result.get("shareID")
    if share is not None and len(share) not in (32, 36, 38, 45):
        yield wrong(f"{path}.shareID", share, f"error validating uid: invalid UUID length: {len(share)}")
    elif share is not None and not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", share):
        yield wrong(f"{path}.shareID", share, "uid must be in RFC 4122 normalized form")


def _device_status(one: Object, path: str, allocated: set[tuple[Any, ...]]) -> Errors:
    yield from driver_name(one.get("driver", ""), f"{path}.driver")
    yield from pool_name(one.get("pool", ""), f"{path}.pool")
    yield from label(one.get("device", ""), f"{path}.device")
    if (one.get("driver"), one.get("pool"), one.get("device"), one.get("shareID")) not in allocated:
        yield wrong(path, _device_key(one), "must be an allocated device in the claim")
    data = one.get("data")
    if data is not None and not isinstance(data, dict):
        yield wrong(f"{path}.data", "<value omitted>", "must be a valid JSON object")
    for index, address in enumerate((one.get("networkData") or {}).get("ips") or []):
        if not _is_interface(address):
            text = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
            yield wrong(f"{path}.networkData.ips[{index}]", address, text)
    if len(one.get("conditions") or []) > 8:
        yield field_errors.too_many(f"{path}.conditions", len(one["conditions"]), 8)


def _device_key(one: Object) -> _Key:
    return _Key(
        Driver=one.get("driver"), Pool=one.get("pool"), Device=one.get("device"), ShareID=one.get("shareID", "")
    )


class _Key(dict[str, Any]):
    """A device as the real server names it in errors; a dict that can be looked for in sets."""

    def __hash__(self) -> int:  # type: ignore[override]  # it is never changed
        return hash(tuple(self.items()))


def _is_interface(address: str) -> bool:
    try:
        ipaddress.ip_interface(address)
    except ValueError:
        return False
    return "/" in address


def admin_access_errors(spec: Object) -> Errors:
    """Say which requests want what only namespaces with a label may have (contract DRA-ADM-1)."""
    for index, request in enumerate((spec.get("devices") or {}).get("requests") or []):
        if (request.get("exactly") or {}).get("adminAccess"):
            yield forbidden(f"spec.devices.requests[{index}].adminAccess", ADMIN_ACCESS_RULE)


def admin_results_errors(status: Object, old: Object) -> Errors:
    """Say the same of the results of an allocation that is new."""
    if old.get("allocation") is not None:
        return
    for index, result in enumerate(((status.get("allocation") or {}).get("devices") or {}).get("results") or []):
        if result.get("adminAccess"):
            yield forbidden(f"status.allocation.devices.results[{index}].adminAccess", ADMIN_ACCESS_RULE)


ADMIN_ACCESS: Final = "resource.kubernetes.io/admin-access"
ADMIN_ACCESS_RULE: Final = (
    f"admin access to devices requires the `{ADMIN_ACCESS}: true` label on the containing namespace"
)
