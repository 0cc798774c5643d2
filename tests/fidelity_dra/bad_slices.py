"""Slices that are not valid, or that are and look as if they were not: a change of a good one by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
DRIVER = "fidelity.example.com"

GOOD: Object = {
    "driver": DRIVER,
    "nodeName": "no-such-node",
    "pool": {"name": "pool", "generation": 1, "resourceSliceCount": 1},
    "devices": [{"name": "gem-1"}],
}
UID = "6e5a2f2c-2f4f-4c3d-9f5a-0123456789ab"


def _set(**fields: Any) -> Callable[[Object], None]:
    return lambda spec: spec.update(fields)


def _drop(*names: str) -> Callable[[Object], None]:
    def change(spec: Object) -> None:
        for name in names:
            del spec[name]

    return change


def _pool(**fields: Any) -> Callable[[Object], None]:
    return lambda spec: spec["pool"].update(fields)


def _device(**fields: Any) -> Callable[[Object], None]:
    return lambda spec: spec["devices"][0].update(fields)


def _attribute(name: str, **value: Any) -> Callable[[Object], None]:
    return _device(attributes={name: value})


def _devices(count: int, **fields: Any) -> Callable[[Object], None]:
    return _set(devices=[{"name": f"gem-{number}", **(fields if number == 1 else {})} for number in range(count)])


def _taint(**fields: Any) -> Callable[[Object], None]:
    return _device(taints=[{"key": "example.com/broken", "effect": "NoSchedule", **fields}])


def _policy(policy: Object, value: str = "10Gi", *, is_shared: bool = True) -> Callable[[Object], None]:
    shared = {"allowMultipleAllocations": True} if is_shared else {}
    return _device(capacity={"memory": {"value": value, "requestPolicy": policy}}, **shared)


def _counters(**fields: Any) -> Callable[[Object], None]:
    def change(spec: Object) -> None:
        del spec["devices"]
        spec["sharedCounters"] = [{"name": "set", "counters": {"memory": {"value": "1Gi"}}, **fields}]

    return change


def _nodes(**fields: Any) -> Callable[[Object], None]:
    def change(spec: Object) -> None:
        del spec["nodeName"]
        spec.update(perDeviceNodeSelection=True)
        spec["devices"][0].update(fields)

    return change


TERM: Object = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}
LONG = "x" * 64

CHANGES: dict[str, Callable[[Object], None]] = {
    "nothing is wrong": _set(),
    "no driver": _drop("driver"),
    "an empty driver": _set(driver=""),
    "a driver with an underscore": _set(driver="my_driver"),
    "a driver in capitals": _set(driver="Fidelity.Example.com"),
    "a driver of 64 bytes": _set(driver="x" * 64),
    "a driver with a slash": _set(driver="example.com/gpu"),
    "no pool": _drop("pool"),
    "a pool without a name": _pool(name=""),
    "a pool in capitals": _pool(name="Pool"),
    "a pool with slashes": _pool(name="node-1/rack.2"),
    "a pool with two slashes in a row": _pool(name="a//b"),
    "a pool of 254 bytes": _pool(name="/".join(["x" * 63] * 4)[:254]),
    "a pool of no slices": _pool(resourceSliceCount=0),
    "a pool of minus one slices": _pool(resourceSliceCount=-1),
    "generation minus one": _pool(generation=-1),
    "generation zero": _pool(generation=0),
    "no node": _drop("nodeName"),
    "an empty node": _set(nodeName=""),
    "a node in capitals": _set(nodeName="Node"),
    "a node and all nodes": _set(allNodes=True),
    "all nodes, not": _set(allNodes=False),
    "a node and a selector": _set(nodeSelector=TERM),
    "a selector without a term": lambda spec: (_drop("nodeName")(spec), _set(nodeSelector={"nodeSelectorTerms": []})(spec))[1],
    "nodes by device, and a node": _set(perDeviceNodeSelection=True),
    "a device with a node of its own, unasked": _device(nodeName="node"),
    "nodes by device, and the device has none": _nodes(),
    "nodes by device, and the device has one": _nodes(nodeName="node"),
    "nodes by device, and the device has two kinds": _nodes(nodeName="node", allNodes=True),
    "nodes by device, and an empty one": _nodes(nodeName=""),
    "no devices": _drop("devices"),
    "an empty list of devices": _set(devices=[]),
    "128 devices": _devices(128),
    "129 devices": _devices(129),
    "64 devices, one tainted": _devices(64, taints=[{"key": "a", "effect": "NoSchedule"}]),
    "65 devices, one tainted": _devices(65, taints=[{"key": "a", "effect": "NoSchedule"}]),
    "65 devices, one counted": _devices(65, consumesCounters=[{"counterSet": "a", "counters": {"b": {"value": "1"}}}]),
    "a device twice": _set(devices=[{"name": "gem"}, {"name": "other"}, {"name": "gem"}]),
    "a device without a name": _device(name=""),
    "a device in capitals": _device(name="Gem"),
    "a device with a dot": _device(name="gem.1"),
    "a device of 64 bytes": _device(name=LONG),
    "an attribute of a text": _attribute("color", string="red"),
    "an attribute without a value": _attribute("color"),
    "an attribute with two values": _attribute("color", string="red", int=1),
    "an attribute of 64 bytes": _attribute("color", string=LONG),
    "an attribute of 65 bytes": _attribute("color", string="x" * 65),
    "an attribute of 33 umlauts": _attribute("color", string="ü" * 33),
    "a version that is none": _attribute("firmware", version="1.2"),
    "a version with a v": _attribute("firmware", version="v1.2.3"),
    "a version with a leading zero": _attribute("firmware", version="1.02.3"),
    "a version with a build": _attribute("firmware", version="1.2.3-rc.1+build.5"),
    "an attribute's name with a dash": _attribute("my-color", int=1),
    "an attribute's name that begins with a digit": _attribute("2color", int=1),
    "an attribute's name of 33 bytes": _attribute("x" * 33, int=1),
    "an attribute's name with a domain": _attribute("example.com/color", bool=True),
    "an attribute's name with an empty domain": _attribute("/color", bool=True),
    "an attribute's name with a domain only": _attribute("example.com/", bool=True),
    "an attribute's domain of 64 bytes": _attribute(f"{LONG}/color", bool=True),
    "an attribute that is a list": _attribute("colors", strings=["red", "blue"]),
    "an attribute that is a list, and a text": _attribute("colors", strings=["red"], string="red"),
    "an attribute that is a large number": _attribute("serial", int=2**62),
    "32 attributes": _device(attributes={f"a{number}": {"int": number} for number in range(32)}),
    "33 attributes": _device(attributes={f"a{number}": {"int": number} for number in range(33)}),
    "20 attributes and 13 capacities": _device(
        attributes={f"a{number}": {"int": number} for number in range(20)},
        capacity={f"c{number}": {"value": "1"} for number in range(13)},
    ),
    "a capacity without a value": _device(capacity={"memory": {}}),
    "a capacity in another form": _device(capacity={"memory": {"value": "1024Mi"}}),
    "a capacity in thousands": _device(capacity={"memory": {"value": "1000k"}}),
    "a capacity of a half": _device(capacity={"memory": {"value": "0.5"}}),
    "a capacity in exponents": _device(capacity={"memory": {"value": "1e3"}}),
    "a capacity's name with a dash": _device(capacity={"my-memory": {"value": "1"}}),
    "a policy, and the device is not shared": _policy({"default": "1Gi"}, is_shared=False),
    "a policy with a default only": _policy({"default": "1Gi"}),
    "a policy with values and a range": _policy({"default": "1Gi", "validValues": ["1Gi"], "validRange": {"min": "1Gi"}}),
    "a policy with values and no default": _policy({"validValues": ["1Gi", "2Gi"]}),
    "a policy with values in no order": _policy({"default": "1Gi", "validValues": ["2Gi", "1Gi"]}),
    "a policy with a value twice": _policy({"default": "1Gi", "validValues": ["1Gi", "1Gi"]}),
    "a policy with a value that is too large": _policy({"default": "1Gi", "validValues": ["1Gi", "11Gi"]}),
    "a policy with a default that is no value": _policy({"default": "3Gi", "validValues": ["1Gi", "2Gi"]}),
    "a policy with 11 values": _policy({"default": "1", "validValues": [str(number) for number in range(1, 12)]}),
    "a policy with a range and no default": _policy({"validRange": {"min": "1Gi"}}),
    "a policy with a range without a least": _policy({"default": "1Gi", "validRange": {"max": "2Gi"}}),
    "a policy with a default below the least": _policy({"default": "1Gi", "validRange": {"min": "2Gi"}}),
    "a policy with a default above the most": _policy({"default": "3Gi", "validRange": {"min": "1Gi", "max": "2Gi"}}),
    "a policy with a least above the most": _policy({"default": "3Gi", "validRange": {"min": "3Gi", "max": "2Gi"}}),
    "a policy with a most above the capacity": _policy({"default": "1Gi", "validRange": {"min": "1Gi", "max": "11Gi"}}),
    "a policy with a step that does not fit": _policy({"default": "2Gi", "validRange": {"min": "1Gi", "step": "3Gi"}}),
    "a policy with a step that is too large": _policy({"default": "1Gi", "validRange": {"min": "1Gi", "step": "10Gi"}}),
    "a taint": _taint(),
    "a taint with a value": _taint(value="over-temperature"),
    "a taint with a value that is a sentence": _taint(value="over temperature"),
    "a taint with a value of 64 bytes": _taint(value=LONG),
    "a taint without a key": _taint(key=""),
    "a taint with a key in two parts": _taint(key="a/b/c"),
    "a taint without an effect": _taint(effect=""),
    "a taint with the effect None": _taint(effect="None"),
    "a taint with an effect that there is not": _taint(effect="PreferNoSchedule"),
    "a taint with a time": _taint(timeAdded="2024-01-02T03:04:05Z"),
    "16 taints": _device(taints=[{"key": f"a{number}", "effect": "None"} for number in range(16)]),
    "17 taints": _device(taints=[{"key": f"a{number}", "effect": "None"} for number in range(17)]),
    "a taint twice": _device(taints=[{"key": "a", "effect": "None"}] * 2),
    "counters": _counters(),
    "counters and devices": _set(sharedCounters=[{"name": "set", "counters": {"memory": {"value": "1Gi"}}}]),
    "counters without a name": _counters(name=""),
    "counters in capitals": _counters(name="Set"),
    "no counters in a set": _counters(counters={}),
    "a counter with an underscore": _counters(counters={"my_memory": {"value": "1"}}),
    "33 counters": _counters(counters={f"c{number}": {"value": "1"} for number in range(33)}),
    "9 sets": lambda spec: (_counters()(spec), _set(sharedCounters=[{"name": f"s{number}", "counters": {"a": {"value": "1"}}} for number in range(9)])(spec))[1],
    "a set twice": lambda spec: (_counters()(spec), _set(sharedCounters=[{"name": "s", "counters": {"a": {"value": "1"}}}] * 2)(spec))[1],
    "a consumption": _device(consumesCounters=[{"counterSet": "set", "counters": {"memory": {"value": "1Gi"}}}]),
    "a consumption of no set": _device(consumesCounters=[{"counters": {"memory": {"value": "1Gi"}}}]),
    "a consumption of nothing": _device(consumesCounters=[{"counterSet": "set"}]),
    "a consumption of one set twice": _device(consumesCounters=[{"counterSet": "set", "counters": {"a": {"value": "1"}}}] * 2),
    "three consumptions": _device(
        consumesCounters=[{"counterSet": f"s{number}", "counters": {"a": {"value": "1"}}} for number in range(3)]
    ),
    "conditions to bind": _device(bindingConditions=["a"], bindingFailureConditions=["b"], bindsToNode=True),
    "conditions to bind without those to fail": _device(bindingConditions=["a"]),
    "conditions to fail without those to bind": _device(bindingFailureConditions=["a"]),
    "conditions that are both": _device(bindingConditions=["a"], bindingFailureConditions=["a"]),
    "five conditions": _device(bindingConditions=list("abcde"), bindingFailureConditions=["f"]),
    "a condition twice": _device(bindingConditions=["a", "a"], bindingFailureConditions=["b"]),
    "a condition that is no name": _device(bindingConditions=["a b"], bindingFailureConditions=["b"]),
    "mappings to allocatable resources, whose gate is off": _device(
        nodeAllocatableResourceMappings={"cpu": {"allocationMultiplier": "1"}}
    ),
    "three mistakes": lambda spec: (_set(driver="", nodeName="")(spec), _pool(name="")(spec))[1],
}  # fmt: skip  # a table


def spec_of(change: Callable[[Object], None]) -> Object:
    """Return the changed slice's spec."""
    spec = copy.deepcopy(GOOD)
    change(spec)
    return spec


SECOND: dict[str, tuple[Callable[[Object], None], Callable[[Object], None]]] = {
    "another driver": (_set(), _set(driver="other.example.com")),
    "another pool": (_set(), _pool(name="other")),
    "another node": (_set(), _set(nodeName="other")),
    "no node any more": (_set(), lambda spec: (_drop("nodeName")(spec), _set(allNodes=True)(spec))[1]),
    "a higher generation": (_set(), _pool(generation=2)),
    "a lower generation": (_pool(generation=5), _pool(generation=4)),
    "a taint more": (_set(), _taint()),
    "a taint less": (_taint(), _set()),
    "a taint that is not valid any more": (_taint(), _taint(effect="Other")),
    "counters for devices": (_set(), _counters()),
}
"""What is stored, and what is to be stored in its place."""
