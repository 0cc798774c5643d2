"""What makes a ResourceSlice valid, in the real server's order and words.

Mirrors `validateResourceSliceSpec` and what it calls in `pkg/apis/resource/validation/validation.go` of 1.36 (contract
DRA-SL-1, DRA-SL-3, DRA-SL-4).
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, Final

from fakekubelet import quantity
from fakekubelet.apiserver import field_errors
from fakekubelet.apiserver.field_errors import FieldError, all_wrong, duplicate, forbidden, required, too_long, wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Errors = Iterator[FieldError]
    Object = Mapping[str, Any]

MAX_DEVICES: Final = 128
MAX_DEVICES_WITH_MORE: Final = 64
"""If any of them has taints, counters or lists as attributes (contract DRA-SL-1)."""
EFFECTS: Final = ("NoExecute", "NoSchedule", "None")
_MAX_ATTRIBUTES: Final = 32
_MAX_VALUES: Final = 48
_MAX_VALUE_BYTES: Final = 64
_MAX_ID_BYTES: Final = 32
_MAX_TAINTS: Final = 16
_MAX_POOL_NAME: Final = 253
_NODE_CHOICE: Final = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_DEVICE_CHOICE: Final = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NOT_BY_DEVICE: Final = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)
_SCALARS: Final = ("int", "bool", "string", "version")
_LISTS: Final = ("bools", "ints", "strings", "versions")
_SEMVER: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?"
)


def errors(spec: Object, old: Object | None = None) -> Errors:
    """Say what is wrong with the `spec` of a slice that is to be stored in the place of *old*."""
    yield from driver_name(spec.get("driver", ""), "spec.driver")
    yield from _pool(spec.get("pool") or {})
    if old is not None:
        yield from _immutable(spec, old)
    yield from _node_choice(spec)
    if "sharedCounters" in spec and "devices" in spec:
        yield wrong("spec", "", "only one of `sharedCounters` or `devices` is allowed")
    devices = spec.get("devices") or []
    olds = {device.get("name"): device for device in (old or {}).get("devices") or []}
    most = MAX_DEVICES_WITH_MORE if any(map(_has_more, devices)) else MAX_DEVICES
    per_device = spec.get("perDeviceNodeSelection") is True
    yield from as_set(
        devices,
        most,
        lambda device, path: _device(device, olds.get(device.get("name")), path, per_device=per_device),
        lambda device: device.get("name", ""),
        "spec.devices",
    )
    yield from as_set(
        spec.get("sharedCounters") or [], 8, _counter_set, lambda one: one.get("name", ""), "spec.sharedCounters"
    )


def as_list(
    items: Sequence[Any], most: int, item_errors: Callable[[Any, str], Iterable[FieldError]], path: str
) -> Errors:
    """Check a list's length and its items; one that is too long is not looked into."""
    if len(items) > most:
        yield field_errors.too_many(path, len(items), most)
        return
    for index, item in enumerate(items):
        yield from item_errors(item, f"{path}[{index}]")


def as_set(
    items: Sequence[Any],
    most: int,
    item_errors: Callable[[Any, str], Iterable[FieldError]],
    key: Callable[[Any], Any],
    path: str,
) -> Errors:
    """Check a list as `as_list` does, and that no key is there twice."""
    yield from as_list(items, most, item_errors, path)
    if len(items) > most:
        return
    seen = set()
    for index, item in enumerate(items):
        if key(item) in seen:
            yield duplicate(f"{path}[{index}]", key(item))
        seen.add(key(item))


def driver_name(name: str, path: str) -> Errors:
    """Check the name of a driver: a DNS subdomain of at most 63 bytes, in any case."""
    if not name:
        yield required(path)
        return
    if field_errors.size(name) > 63:
        yield too_long(path, 63)
    yield from all_wrong(path, name, field_errors.dns_subdomain(name.lower()))


def pool_name(name: str, path: str) -> Errors:
    """Check the name of a pool: DNS subdomains with slashes between them."""
    if not name:
        yield required(path)
        return
    if field_errors.size(name) > _MAX_POOL_NAME:
        yield too_long(path, _MAX_POOL_NAME)
    for part in name.split("/"):
        yield from all_wrong(path, part, field_errors.dns_subdomain(part))


def taint(one: Object, path: str, old_effect: str | None = None) -> Errors:
    """Check a taint of a device."""
    yield from all_wrong(f"{path}.key", one.get("key", ""), field_errors.qualified_name(one.get("key", "")))
    if one.get("value"):
        yield from all_wrong(f"{path}.value", one["value"], field_errors.label_value(one["value"]))
    effect = one.get("effect", "")
    if old_effect is not None and old_effect == effect:
        return
    if not effect:
        yield required(f"{path}.effect")
    elif effect not in EFFECTS:
        yield field_errors.not_supported(f"{path}.effect", effect, EFFECTS)


def label(name: str, path: str) -> Errors:
    """Check a DNS label."""
    yield from all_wrong(path, name, field_errors.dns_label(name))


def _pool(pool: Object) -> Errors:
    yield from pool_name(pool.get("name", ""), "spec.pool.name")
    if pool.get("resourceSliceCount", 0) <= 0:
        yield wrong("spec.pool.resourceSliceCount", pool.get("resourceSliceCount", 0), "must be greater than zero")
    if pool.get("generation", 0) < 0:
        yield wrong("spec.pool.generation", pool["generation"], "must be greater than or equal to zero")


def _immutable(spec: Object, old: Object) -> Errors:
    pool, old_pool = spec.get("pool") or {}, old.get("pool") or {}
    for path, new, before in (
        ("spec.pool.name", pool.get("name", ""), old_pool.get("name", "")),
        ("spec.driver", spec.get("driver", ""), old.get("driver", "")),
        ("spec.nodeName", spec.get("nodeName"), old.get("nodeName")),
    ):
        if new != before:
            yield wrong(path, new, "field is immutable")


def _node_choice(spec: Object) -> Errors:
    chosen = []
    if "nodeName" in spec:
        if spec["nodeName"]:
            chosen.append("`nodeName`")
            yield from all_wrong("spec.nodeName", spec["nodeName"], field_errors.dns_subdomain(spec["nodeName"]))
        else:
            yield wrong("spec.nodeName", "", "must be either unset or set to a non-empty string")
    if "nodeSelector" in spec:
        chosen.append("`nodeSelector`")
        terms = (spec["nodeSelector"] or {}).get("nodeSelectorTerms") or []
        if not terms:
            yield required("spec.nodeSelector.nodeSelectorTerms", "must have at least one node selector term")
        if len(terms) != 1:
            yield wrong("spec.nodeSelector.nodeSelectorTerms", terms, "must have exactly one node selector term")
    for name in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(name) is True:
            chosen.append(f"`{name}`")
        elif spec.get(name) is False:
            yield wrong(f"spec.{name}", False, "must be either unset or set to true")
    if not chosen:
        yield required("spec", _NODE_CHOICE)
    elif len(chosen) > 1:
        yield wrong("spec", f"{{{', '.join(chosen)}}}", f"{_NODE_CHOICE}, but multiple fields are set")


def _has_more(device: Object) -> bool:
    attributes = (device.get("attributes") or {}).values()
    return bool(
        device.get("taints")
        or device.get("consumesCounters")
        or any(name in value for value in attributes for name in _LISTS)
    )


def _device(device: Object, old: Object | None, path: str, *, per_device: bool) -> Errors:
    yield from label(device.get("name", ""), f"{path}.name")
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    number = len(attributes) + len(capacity)
    if number > _MAX_ATTRIBUTES:
        yield wrong(path, number, f"the total number of attributes and capacities must not exceed {_MAX_ATTRIBUTES}")
    values = sum(sum(len(value.get(name) or ()) for name in _LISTS) or 1 for value in attributes.values())
    if values > _MAX_VALUES:
        yield wrong(path, values, f"the total number of attribute values must not exceed {_MAX_VALUES}")
    for name, value in attributes.items():
        yield from qualified(name, f"{path}.attributes")
        yield from _attribute(value, f"{path}.attributes[{_short(name)}]")
    shared = device.get("allowMultipleAllocations") is True
    for name, value in capacity.items():
        yield from qualified(name, f"{path}.capacity")
        where = f"{path}.capacity[{_short(name)}].requestPolicy"
        if "requestPolicy" in value and shared:
            yield from _policy(value["requestPolicy"], value.get("value", "0"), where)
        elif "requestPolicy" in value:
            yield forbidden(where, "allowMultipleAllocations must be true")
    if old is None or old.get("taints") != device.get("taints"):
        yield from as_list(device.get("taints") or [], _MAX_TAINTS, taint, f"{path}.taints")
    consumed = device.get("consumesCounters") or []
    yield from as_set(consumed, 2, _consumption, lambda one: one.get("counterSet", ""), f"{path}.consumesCounters")
    yield from _device_nodes(device, path, per_device=per_device)
    yield from bindings(device, path)


def _device_nodes(device: Object, path: str, *, per_device: bool) -> Errors:
    chosen = [f"`{name}`" for name in ("nodeName", "nodeSelector", "allNodes") if device.get(name)]
    given = any(name in device for name in ("nodeName", "nodeSelector", "allNodes"))
    if not per_device:
        if given:
            yield wrong(path, None, _NOT_BY_DEVICE)
        return
    if "nodeName" in device and not device["nodeName"]:
        yield wrong(f"{path}.nodeName", "", "must not be empty")
    if device.get("allNodes") is False:
        yield wrong(f"{path}.allNodes", False, "must be either unset or set to true")
    if not chosen:
        yield required(path, _DEVICE_CHOICE)
    elif len(chosen) > 1:
        yield wrong(path, f"{{{', '.join(chosen)}}}", _DEVICE_CHOICE)


def qualified(name: str, path: str) -> Errors:
    """Check the name of an attribute or a capacity: an identifier, with a domain or without."""
    domain, slash, rest = name.partition("/")
    if "/" in rest:
        return  # not looked at there either: see the TODO in validateQualifiedName
    if slash:
        if domain:
            yield from driver_name(domain, path)
        else:
            yield wrong(path, "", "the domain must not be empty")
        if not rest:
            yield wrong(path, "", "the name must not be empty")
            return
    identifier = rest if slash else domain
    if field_errors.size(identifier) > _MAX_ID_BYTES:
        yield too_long(path, _MAX_ID_BYTES)
    yield from all_wrong(path, identifier, field_errors.c_identifier(identifier))


def _short(name: str) -> str:
    most = 63 + 1 + _MAX_ID_BYTES
    if len(name) <= most:
        return name
    left = most - 3
    return f"{name[: (left + 1) // 2]}...{name[len(name) - left // 2 :]}"


def _attribute(value: Object, path: str) -> Errors:
    kinds = [name for name in (*_SCALARS, *_LISTS) if name in value]
    texts = [("string", value.get("string")), ("version", value.get("version"))]
    for name in ("strings", "versions"):
        texts += [(f"{name}[{index}]", item) for index, item in enumerate(value.get(name) or [])]
    for name, text in texts:
        if text is None:
            continue
        if name.startswith("version") and not _SEMVER.fullmatch(text):
            yield wrong(f"{path}.{name}", text, "must be a string compatible with semver.org spec 2.0.0")
        if field_errors.size(text) > _MAX_VALUE_BYTES:
            yield too_long(f"{path}.{name}", _MAX_VALUE_BYTES)
    for name in _LISTS:
        if name in value and not value[name]:
            yield wrong(f"{path}.{name}", value[name], "must not be empty if specified")
    if len(kinds) != 1:
        yield wrong(path, dict(value) if kinds else "", "exactly one value must be specified")


def _consumption(one: Object, path: str) -> Errors:
    if not one.get("counterSet"):
        yield required(f"{path}.counterSet")
    else:
        yield from label(one["counterSet"], f"{path}.counterSet")
    yield from _counters(one, path)


def _counter_set(one: Object, path: str) -> Errors:
    if not one.get("name"):
        yield required(f"{path}.name")
    else:
        yield from label(one["name"], f"{path}.name")
    yield from _counters(one, path)


def _counters(one: Object, path: str) -> Errors:
    counters = one.get("counters") or {}
    if not counters:
        yield required(f"{path}.counters")
    elif len(counters) > 32:
        yield field_errors.too_many(f"{path}.counters", len(counters), 32)
    else:
        for name in counters:
            yield from label(name, f"{path}.counters")


def bindings(one: Object, path: str) -> Errors:
    """Check the conditions that a device, or the result of an allocation, waits for."""
    wanted, failing = one.get("bindingConditions") or [], one.get("bindingFailureConditions") or []
    for name, conditions in (("bindingConditions", wanted), ("bindingFailureConditions", failing)):
        where = f"{path}.{name}"
        yield from as_set(
            conditions,
            4,
            lambda condition, at: all_wrong(at, condition, field_errors.qualified_name(condition)),
            lambda condition: condition,
            where,
        )
    for index, condition in enumerate(failing):
        if condition in wanted:
            text = "bindingFailureConditions must not overlap with bindingConditions"
            yield wrong(f"{path}.bindingFailureConditions[{index}]", condition, text)
    if failing and not wanted:
        text = "bindingConditions are required to use bindingFailureConditions"
        yield wrong(f"{path}.bindingConditions", None, text)
    if wanted and not failing:
        text = "bindingFailureConditions are required to use bindingConditions"
        yield wrong(f"{path}.bindingFailureConditions", None, text)


def _policy(policy: Object, most: str, path: str) -> Errors:
    values, within, default = policy.get("validValues") or [], policy.get("validRange"), policy.get("default")
    if values and within is not None:
        text = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        yield forbidden(path, text)
    elif values:
        if default is None:
            yield required(f"{path}.default", "required when validValues is defined")
        else:
            yield from _policy_values(values, default, most, f"{path}.validValues")
    elif within is not None:
        if default is None:
            yield required(f"{path}.default", "required when validRange is defined")
        else:
            yield from _policy_range(within, default, most, f"{path}.validRange")


def _policy_values(values: Sequence[str], default: str, most: str, path: str) -> Errors:
    numbers = [quantity.value(value) for value in values]
    for index, (before, number) in enumerate(itertools.pairwise(numbers), 1):
        if before > number:
            yield wrong(f"{path}[{index}]", values[index], "values must be sorted in ascending order")
    larger = f"option is larger than capacity value: {most}"
    yield from as_set(
        values,
        10,
        lambda option, at: [wrong(at, option, larger)] if quantity.value(option) > quantity.value(most) else [],
        lambda option: str(int(quantity.value(option))),
        path,
    )
    if len(values) > 10 or quantity.value(default) not in numbers:
        yield wrong(path, default, "default value is not valid according to the requestPolicy")


def _policy_range(within: Object, default: str, most: str, path: str) -> Errors:
    if "min" not in within:
        yield required(f"{path}.min", "required when validRange is defined")
        return
    low, high, step = within["min"], within.get("max"), within.get("step")
    number = quantity.value
    if number(low) > number(most):
        yield wrong(f"{path}.min", low, f"min is larger than capacity value: {most}")
    if number(default) < number(low):
        yield wrong(f"{path}.min", default, f"default is less than min: {low}")
    if high is not None:
        if number(low) > number(high):
            yield wrong(f"{path}.max", low, f"min is larger than max: {high}")
        if number(high) > number(most):
            yield wrong(f"{path}.max", high, f"max is larger than capacity value: {most}")
        if number(default) > number(high):
            yield wrong(f"{path}.max", default, f"default is more than max: {high}")
    if step is not None:
        if number(low) + number(step) > number(most):
            added = quantity.plus(low, step)
            yield wrong(f"{path}.step", step, f"one step {added} is larger than capacity value: {most}")
        for value in (default, *([high] if high is not None else [])):
            if number(step) and (number(value) - number(low)) % number(step):
                yield wrong(f"{path}.step", value, f"value is not a multiple of a given step ({step}) from ({low})")
