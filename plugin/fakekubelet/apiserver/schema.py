"""Which fields the kinds of resource.k8s.io have, so that what nobody knows is dropped and what cannot be is refused.

Mirrors `staging/src/k8s.io/api/resource/v1/types.go` of 1.36 (with what 1.37 adds). A schema is a type for a value: a
mapping of fields, a list with its item, a map with any keys, or a leaf.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any, Final

from fakekubelet import quantity
from fakekubelet.apiserver import api_error

if TYPE_CHECKING:
    from collections.abc import Callable


class Leaf:
    """A scalar: what JSON may hold there, and what Go calls it."""

    def __init__(
        self,
        types: tuple[type, ...],
        go_name: str,
        *,
        omits_zero: bool = False,
        turn: Callable[[Any], Any] | None = None,
    ) -> None:
        self.types = types
        self.go_name = go_name
        self.omits_zero = omits_zero
        """Whether a zero value is as good as none (`omitempty` on a value that is no pointer)."""
        self.turn = turn


class MapOf:
    """A map from any key to one schema."""

    def __init__(self, item: Any) -> None:
        self.item = item


class Open:
    """A mapping of which some fields are looked at; all others are kept as they are."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields


class Any_:  # noqa: N801 - a type that is called any
    """Whatever JSON holds."""


STR: Final = Leaf((str,), "string")
STR_0: Final = Leaf((str,), "string", omits_zero=True)
INT: Final = Leaf((int,), "int64")
INT_0: Final = Leaf((int,), "int64", omits_zero=True)
BOOL: Final = Leaf((bool,), "bool")
TIME: Final = Leaf((str,), "Time", turn=lambda value: timestamp(value))
QUANTITY: Final = Leaf((str, int, float), "Quantity", turn=lambda value: quantity.canonical(str(value)))
ANY: Final = Any_()

NODE_SELECTOR: Final = {"nodeSelectorTerms": [{"matchExpressions": ANY, "matchFields": ANY}]}
_TAINT = {"key": STR, "value": STR_0, "effect": STR, "timeAdded": TIME}
_TOLERATION = {"key": STR_0, "operator": STR_0, "value": STR_0, "effect": STR_0, "tolerationSeconds": INT}
_ATTRIBUTE = {
    "int": INT, "bool": BOOL, "string": STR, "version": STR,
    "ints": [INT], "bools": [BOOL], "strings": [STR], "versions": [STR],
}  # fmt: skip
_POLICY = {
    "default": QUANTITY,
    "validValues": [QUANTITY],
    "validRange": {"min": QUANTITY, "max": QUANTITY, "step": QUANTITY},
}
_COUNTERS = MapOf({"value": QUANTITY})
DEVICE: Final = {
    "name": STR,
    "attributes": MapOf(_ATTRIBUTE),
    "capacity": MapOf({"value": QUANTITY, "requestPolicy": _POLICY}),
    "consumesCounters": [{"counterSet": STR, "counters": _COUNTERS}],
    "nodeName": STR,
    "nodeSelector": NODE_SELECTOR,
    "allNodes": BOOL,
    "taints": [_TAINT],
    "bindsToNode": BOOL,
    "bindingConditions": [STR],
    "bindingFailureConditions": [STR],
    "allowMultipleAllocations": BOOL,
    "nodeAllocatableResourceMappings": MapOf({"capacityKey": STR, "allocationMultiplier": QUANTITY}),
}
_SELECTORS = [{"cel": {"expression": STR}}]
_REQUEST = {
    "deviceClassName": STR,
    "selectors": _SELECTORS,
    "allocationMode": STR_0,
    "count": INT_0,
    "adminAccess": BOOL,
    "tolerations": [_TOLERATION],
    "capacity": {"requests": MapOf(QUANTITY)},
}
_OPAQUE = {"driver": STR, "parameters": ANY}
_CLAIM_SPEC = {
    "devices": {
        "requests": [{"name": STR, "exactly": _REQUEST, "firstAvailable": [{"name": STR, **_REQUEST}]}],
        "constraints": [{"requests": [STR], "matchAttribute": STR, "distinctAttribute": STR}],
        "config": [{"requests": [STR], "opaque": _OPAQUE}],
    }
}
_RESULT = {
    "request": STR, "driver": STR, "pool": STR, "device": STR, "adminAccess": BOOL, "tolerations": [_TOLERATION],
    "bindingConditions": [STR], "bindingFailureConditions": [STR], "shareID": STR, "consumedCapacity": MapOf(QUANTITY),
}  # fmt: skip
_CLAIM_STATUS = {
    "allocation": {
        "devices": {
            "results": [_RESULT],
            "config": [{"source": STR, "requests": [STR], "opaque": _OPAQUE}],
        },
        "nodeSelector": NODE_SELECTOR,
        "allocationTimestamp": TIME,
    },
    "reservedFor": [{"apiGroup": STR_0, "resource": STR, "name": STR, "uid": STR}],
    "devices": [
        {
            "driver": STR, "pool": STR, "device": STR, "shareID": STR, "conditions": [ANY], "data": ANY,
            "networkData": {"interfaceName": STR_0, "ips": [STR], "hardwareAddress": STR_0},
        }
    ],
}  # fmt: skip

METADATA: Final = {
    "name": STR_0, "generateName": STR_0, "namespace": STR_0, "uid": STR_0, "resourceVersion": STR_0, "selfLink": STR_0,
    "generation": INT, "creationTimestamp": ANY, "deletionTimestamp": ANY, "deletionGracePeriodSeconds": ANY,
    "labels": MapOf(STR), "annotations": MapOf(STR), "finalizers": [STR], "managedFields": ANY,
    "ownerReferences": [
        {"apiVersion": STR, "kind": STR, "name": STR, "uid": STR, "controller": BOOL, "blockOwnerDeletion": BOOL}
    ],
}  # fmt: skip  # a table
_CONTAINER = Open(name=STR, resources=Open(claims=[{"name": STR, "request": STR_0}]))
_POD = Open(
    nodeName=STR_0,
    schedulerName=STR_0,
    terminationGracePeriodSeconds=INT,
    containers=[_CONTAINER],
    initContainers=[_CONTAINER],
    resourceClaims=[{"name": STR, "resourceClaimName": STR, "resourceClaimTemplateName": STR}],
)
_STATUS = Open()
_EVERYBODY: Final = frozenset({"apiVersion", "kind", "metadata"})
SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "ResourceSlice": {
        "spec": {
            "driver": STR,
            "pool": {"name": STR, "generation": INT, "resourceSliceCount": INT},
            "nodeName": STR,
            "nodeSelector": NODE_SELECTOR,
            "allNodes": BOOL,
            "devices": [DEVICE],
            "perDeviceNodeSelection": BOOL,
            "sharedCounters": [{"name": STR, "counters": _COUNTERS}],
            "skipNodeOperations": [STR],
        }
    },
    "ResourceClaim": {"spec": _CLAIM_SPEC, "status": _CLAIM_STATUS},
    "ResourceClaimTemplate": {"spec": {"metadata": ANY, "spec": _CLAIM_SPEC}},
    "DeviceClass": {
        "spec": {"selectors": _SELECTORS, "config": [{"opaque": _OPAQUE}], "extendedResourceName": STR},
    },
    "DeviceTaintRule": {
        "spec": {"deviceSelector": {"driver": STR, "pool": STR, "device": STR}, "taint": _TAINT},
        "status": {"conditions": [ANY]},
    },
}


def fit(kind: str, version: str, document: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return *document* with the fields of its kind alone, and a warning for each field that is none.

    Empty lists and maps go, as Go leaves them out; quantities are written in their own way. ApiError 400 for a value
    of the wrong type.
    """
    schema = SCHEMAS.get(kind)
    warnings: list[str] = []
    fitted: dict[str, Any] = {}
    try:
        for key, value in document.items():
            if key == "metadata":
                fitted[key] = _fit(value or {}, METADATA, key, warnings)
            elif key == "spec" and kind == "Pod":
                fitted[key] = _fit(value or {}, _POD, key, warnings)
            elif key == "status" and schema is None:
                fitted[key] = _fit(value or {}, _STATUS, key, warnings)
            elif schema is None or key in _EVERYBODY:
                fitted[key] = value
            elif key not in schema:
                warnings.append(f'unknown field "{key}"')
            elif value is not None:
                fitted[key] = _fit(value, schema[key], key, warnings)
    except _TypeError as error:
        text = f'{kind} in version "{version}" cannot be handled as a {kind}: {error}'
        raise api_error.bad_request(text) from error
    return fitted, warnings


def timestamp(text: str) -> str:
    """Return a time as the API server gives it back: in UTC, to the second; ValueError for a text that is none."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text):
        layout = "2006-01-02T15:04:05Z07:00"
        raise ValueError(f'parsing time "{text}" as "{layout}": cannot parse "{text}" as "2006"')
    moment = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class _TypeError(Exception):
    pass


def _fit(value: Any, schema: Any, path: str, warnings: list[str]) -> Any:
    if isinstance(schema, Any_):
        return value
    if isinstance(schema, Leaf):
        if not isinstance(value, schema.types) or (isinstance(value, bool) and bool not in schema.types):
            raise _wrong(value, path, schema.go_name)
        try:
            return value if schema.turn is None else schema.turn(value)
        except ValueError as error:
            raise _TypeError(str(error)) from error
    if isinstance(schema, list):
        if not isinstance(value, list):
            raise _wrong(value, path, "[]")
        return [_fit(item, schema[0], f"{path}[{index}]", warnings) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        raise _wrong(value, path, "object")
    if isinstance(schema, Open):
        return {
            key: _fit(item, schema.fields[key], f"{path}.{key}", warnings) if key in schema.fields else item
            for key, item in value.items()
            if item is not None or key not in schema.fields
        }
    if isinstance(schema, MapOf):
        return {key: _fit(item, schema.item, f"{path}[{key}]", warnings) for key, item in value.items()}
    fitted = {}
    for key, item in value.items():
        if key not in schema:
            warnings.append(f'unknown field "{path}.{key}"')
        elif item is not None:
            new = _fit(item, schema[key], f"{path}.{key}", warnings)
            if not _is_omitted(new, schema[key]):
                fitted[key] = new
    return fitted


def _is_omitted(value: Any, schema: Any) -> bool:
    if isinstance(schema, Leaf):
        return schema.omits_zero and not value
    return isinstance(schema, list | MapOf) and not value


def _wrong(value: Any, path: str, go_name: str) -> _TypeError:
    names = {dict: "object", list: "array", bool: "bool", str: "string", type(None): "null"}
    found = names.get(type(value), "number")
    return _TypeError(f"json: cannot unmarshal {found} into Go struct field {path} of type {go_name}")
