"""Claims, their status, and classes that are not valid, or that look as if they were not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tests.fidelity_dra.bad_slices import DRIVER, LONG, UID

Object = dict[str, Any]
EXACTLY: Object = {"deviceClassName": "fidelity"}
Change = Callable[[Object], None]


def good() -> Object:
    """Return the spec of a claim that is in order."""
    return {"devices": {"requests": [{"name": "gem", "exactly": dict(EXACTLY)}]}}


def _exactly(**fields: Any) -> Change:
    return lambda spec: spec["devices"]["requests"][0]["exactly"].update(fields)


def _requests(*requests: Object) -> Change:
    return lambda spec: spec["devices"].update(requests=copy.deepcopy(list(requests)))


def _devices(**fields: Any) -> Change:
    return lambda spec: spec["devices"].update(fields)


def _cel(expression: Any) -> Change:
    return _exactly(selectors=[{"cel": {"expression": expression}}])


def _toleration(**fields: Any) -> Change:
    return _exactly(tolerations=[{"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule", **fields}])


def _first(count: int, **fields: Any) -> Change:
    return _requests(
        {"name": "gem", "firstAvailable": [{"name": f"s{number}", **EXACTLY, **fields} for number in range(count)]}
    )


def _opaque(**fields: Any) -> Change:
    return _devices(config=[{"opaque": {"driver": DRIVER, "parameters": {"a": 1}, **fields}}])


CHANGES: dict[str, Change] = {
    "nothing is wrong": _exactly(),
    "no requests": _requests(),
    "32 requests": _requests(*({"name": f"r{number}", "exactly": EXACTLY} for number in range(32))),
    "33 requests": _requests(*({"name": f"r{number}", "exactly": EXACTLY} for number in range(33))),
    "a request twice": _requests(*({"name": "gem", "exactly": EXACTLY} for _ in range(2))),
    "a request without a name": _requests({"name": "", "exactly": EXACTLY}),
    "a request in capitals": _requests({"name": "Gem", "exactly": EXACTLY}),
    "a request for nothing": _requests({"name": "gem"}),
    "a request for one thing and another": _requests({"name": "gem", "exactly": EXACTLY, "firstAvailable": [{"name": "a", **EXACTLY}]}),
    "no class": _exactly(deviceClassName=""),
    "a class in capitals": _exactly(deviceClassName="Fidelity"),
    "no count": _exactly(allocationMode="ExactCount"),
    "a count of zero": _exactly(count=0),
    "a count of minus one": _exactly(count=-1),
    "a count of all": _exactly(allocationMode="All", count=2),
    "all": _exactly(allocationMode="All"),
    "a mode that there is not": _exactly(allocationMode="Some"),
    "an expression": _cel("device.driver == 'a'"),
    "no expression": _cel(""),
    "a selector that is none": _exactly(selectors=[{}]),
    "an expression that does not parse": _cel("device.driver =="),
    "an expression that is no yes or no": _cel("device.driver"),
    "an expression with an unknown variable": _cel("gadget.driver == 'a'"),
    "an expression with an unknown field": _cel("device.color == 'a'"),
    "an expression of 10 KiB and more": _cel(f"device.driver == '{'x' * 10240}'"),
    "33 selectors": _exactly(selectors=[{"cel": {"expression": "true"}}] * 33),
    "a toleration": _toleration(),
    "a toleration that exists, with a value": _toleration(operator="Exists"),
    "a toleration without an operator": _toleration(operator=""),
    "a toleration with an operator that there is not": _toleration(operator="Like"),
    "a toleration with an effect that there is not": _toleration(effect="Never"),
    "a toleration with a key that is none": _toleration(key="a b"),
    "a toleration with a value that is none": _toleration(value="a b"),
    "a toleration without a key, for what is equal": _toleration(key=""),
    "17 tolerations": _exactly(tolerations=[{"key": "a", "operator": "Exists"}] * 17),
    "admin access in a namespace without it": _exactly(adminAccess=True),
    "eight alternatives": _first(8),
    "nine alternatives": _first(9),
    "an alternative twice": _requests({"name": "gem", "firstAvailable": [{"name": "a", **EXACTLY}] * 2}),
    "an alternative without a name": _requests({"name": "gem", "firstAvailable": [EXACTLY]}),
    "alternatives without a class": _first(1, deviceClassName=""),
    "a constraint": _devices(constraints=[{"matchAttribute": f"{DRIVER}/color"}]),
    "a constraint on nothing": _devices(constraints=[{}]),
    "a constraint without a domain": _devices(constraints=[{"matchAttribute": "color"}]),
    "a constraint of a request that there is not": _devices(constraints=[{"requests": ["ruby"], "matchAttribute": "a/color"}]),
    "a constraint of a request twice": _devices(constraints=[{"requests": ["gem", "gem"], "matchAttribute": "a/color"}]),
    "a constraint of a subrequest that there is not": _devices(
        constraints=[{"requests": ["gem/a"], "matchAttribute": "a/color"}]
    ),
    "a constraint on an attribute that is no identifier": _devices(constraints=[{"matchAttribute": "a/my-color"}]),
    "33 constraints": _devices(constraints=[{"matchAttribute": "a/color"}] * 33),
    "parameters": _opaque(),
    "parameters of nobody": _opaque(driver=""),
    "parameters that are a text": _opaque(parameters="text"),
    "parameters that are a list": _opaque(parameters=[1]),
    "no parameters": _opaque(parameters=None),
    "parameters of 10 KiB and more": _opaque(parameters={"a": "x" * 10240}),
    "parameters for a request that there is not": _devices(
        config=[{"requests": ["ruby"], "opaque": {"driver": DRIVER, "parameters": {}}}]
    ),
    "a capacity": _exactly(capacity={"requests": {"memory": "1Gi"}}),
    "33 config entries": _devices(config=[{"opaque": {"driver": DRIVER, "parameters": {}}}] * 33),
}  # fmt: skip  # a table


def spec_of(change: Change) -> Object:
    """Return the changed claim's spec."""
    spec = good()
    change(spec)
    return spec


def _status(results: list[Object] | None, users: list[Object], **more: Any) -> Object:
    allocation = {} if results is None else {"allocation": {"devices": {"results": results}}}
    return {**allocation, "reservedFor": users, **more}


RESULT: Object = {"request": "gem", "driver": DRIVER, "pool": "pool", "device": "gem-1"}
USER: Object = {"apiGroup": "example.com", "resource": "gadgets", "name": "gadget", "uid": UID}
"""No pod: a controller takes back what is reserved for pods that there are not."""
NODE: Object = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]}
CONDITION: Object = {
    "type": "Ready", "status": "True", "reason": "Because", "message": "", "lastTransitionTime": "2024-01-02T03:04:05Z",
}  # fmt: skip
DEVICE: Object = {"driver": DRIVER, "pool": "pool", "device": "gem-1"}

STATUS: dict[str, Object] = {
    "allocated and reserved": _status([RESULT], [USER]),
    "allocated with a node selector": _status([RESULT], [], allocation={"devices": {"results": [RESULT]}, "nodeSelector": NODE}),
    "reserved and not allocated": _status(None, [USER]),
    "reserved twice for one": _status([RESULT], [USER, USER]),
    "reserved for nobody's uid": _status([RESULT], [{"resource": "gadgets", "name": "gadget"}]),
    "reserved for 257": _status([RESULT], [{**USER, "uid": f"{number:08x}-0000-4000-8000-000000000000"} for number in range(257)]),
    "a result for no request": _status([{**RESULT, "request": "ruby"}], []),
    "a result without a driver": _status([{**RESULT, "driver": ""}], []),
    "a result without a pool": _status([{**RESULT, "pool": ""}], []),
    "a result with a device in capitals": _status([{**RESULT, "device": "Gem"}], []),
    "a result twice": _status([RESULT, RESULT], []),
    "33 results": _status([{**RESULT, "device": f"gem-{number}"} for number in range(33)], []),
    "a result with a share": _status([{**RESULT, "shareID": UID}], []),
    "a result with a share that is none": _status([{**RESULT, "shareID": "one"}], []),
    "a result with a toleration": _status([{**RESULT, "tolerations": [{"key": "a", "operator": "Exists"}]}], []),
    "a result with admin access": _status([{**RESULT, "adminAccess": True}], []),
    "a device's status": _status([RESULT], [], devices=[{**DEVICE, "conditions": [CONDITION]}]),
    "a device's status with data": _status([RESULT], [], devices=[{**DEVICE, "data": {"a": [1, 2]}}]),
    "a device's status with data that is a text": _status([RESULT], [], devices=[{**DEVICE, "data": "text"}]),
    "a status of a device that is not allocated": _status([RESULT], [], devices=[{**DEVICE, "device": "gem-2"}]),
    "a status of a device twice": _status([RESULT], [], devices=[DEVICE, DEVICE]),
    "a device's status with nine conditions": _status(
        [RESULT], [], devices=[{**DEVICE, "conditions": [{**CONDITION, "type": f"T{number}"} for number in range(9)]}]
    ),
    "a device's status with a network": _status(
        [RESULT], [], devices=[{**DEVICE, "networkData": {"interfaceName": "eth1", "ips": ["10.0.0.1/24"], "hardwareAddress": "a"}}]
    ),
    "a device's status with an address that is none": _status(
        [RESULT], [], devices=[{**DEVICE, "networkData": {"ips": ["10.0.0.1"]}}]
    ),
}  # fmt: skip  # a table
"""A claim's status, written to one that is in order."""


def _class(**fields: Any) -> Object:
    return dict(fields)


CLASSES: dict[str, Object] = {
    "nothing": _class(),
    "a selector": _class(selectors=[{"cel": {"expression": "device.driver == 'a'"}}]),
    "an expression that does not parse": _class(selectors=[{"cel": {"expression": "device.driver =="}}]),
    "an extended resource": _class(extendedResourceName="example.com/fidelity-gem"),
    "an extended resource without a domain": _class(extendedResourceName="gem"),
    "an extended resource of Kubernetes": _class(extendedResourceName="kubernetes.io/gem"),
    "an extended resource that is a quota": _class(extendedResourceName="requests.example.com/gem"),
    "an extended resource that is too long": _class(extendedResourceName=f"example.com/{LONG}"),
    "an empty extended resource": _class(extendedResourceName=""),
    "parameters of nobody": _class(config=[{"opaque": {"driver": "", "parameters": {}}}]),
    "parameters that are none": _class(config=[{}]),
    "33 selectors": _class(selectors=[{"cel": {"expression": "true"}}] * 33),
}
