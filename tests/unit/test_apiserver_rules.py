"""What a fake API server refuses, in the words of the real one (Kubernetes 1.36)."""

import copy

import pytest

from fakekubelet.apiserver import claim_rules, gates, slice_rules

DRIVER = "gpu.example.com"
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character "
    "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


def slice_spec(*devices, **fields):
    pool = {"name": "worker", "generation": 1, "resourceSliceCount": 1}
    return {"driver": DRIVER, "nodeName": "worker", "pool": pool, "devices": list(devices), **fields}


def said(spec, old=None):
    return [str(error) for error in slice_rules.errors(spec, old)]


def named(number):
    return [{"name": f"d{index}"} for index in range(number)]


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        pytest.param(slice_spec({"name": "a"}), [], id="a sound slice"),
        pytest.param(slice_spec(*named(128)), [], id="128 devices"),
        pytest.param(slice_spec(*named(129)), ["spec.devices: Too many: 129: must have at most 128 items"], id="129 devices"),
        pytest.param(
            slice_spec({"name": "t", "taints": [{"key": "k", "effect": "None"}]}, *named(64)),
            ["spec.devices: Too many: 65: must have at most 64 items"],
            id="65 devices, one with a taint",
        ),
        pytest.param(slice_spec({"name": "Dev_1"}), [f'spec.devices[0].name: Invalid value: "Dev_1": {LABEL}'], id="no label"),
        pytest.param(slice_spec({"name": "a.b"}), ['spec.devices[0].name: Invalid value: "a.b": must not contain dots'], id="dots"),
        pytest.param(slice_spec({"name": "a"}, {"name": "a"}), ['spec.devices[1]: Duplicate value: "a"'], id="twice"),
        pytest.param(
            slice_spec({"name": "a", "attributes": {"x": {"string": "ü" * 33}}}),
            ["spec.devices[0].attributes[x].string: Too long: may not be more than 64 bytes"],
            id="66 bytes in 33 letters",
        ),
        pytest.param(
            slice_spec({"name": "a", "attributes": {"x": {"string": "s", "int": 1}}}),
            ['spec.devices[0].attributes[x]: Invalid value: {"string":"s","int":1}: exactly one value must be specified'],
            id="two values",
        ),
        pytest.param(
            slice_spec({"name": "a", "attributes": {"v": {"version": "1.2"}}}),
            ['spec.devices[0].attributes[v].version: Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0'],
            id="no semantic version",
        ),
        pytest.param(
            slice_spec({"name": "a", "attributes": {f"x{n}": {"int": n} for n in range(33)}}),
            ["spec.devices[0]: Invalid value: 33: the total number of attributes and capacities must not exceed 32"],
            id="33 attributes",
        ),
        pytest.param(
            slice_spec({"name": "a", "taints": [{"key": "k", "value": "over temperature", "effect": "NoSchedule"}]}),
            [
                'spec.devices[0].taints[0].value: Invalid value: "over temperature": a valid label must be an empty string or consist of alphanumeric '
                "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex "
                "used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ],
            id="a reason is no taint value",
        ),
        pytest.param(
            slice_spec({"name": "a", "taints": [{"key": "k", "effect": "Drain"}]}),
            ['spec.devices[0].taints[0].effect: Unsupported value: "Drain": supported values: "NoExecute", "NoSchedule", "None"'],
            id="an effect that there is not",
        ),
        pytest.param(
            {**slice_spec(), "pool": {"name": "worker", "generation": -1, "resourceSliceCount": 0}},
            [
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
            ],
            id="a pool without slices",
        ),
        pytest.param(
            {**slice_spec(), "allNodes": True},
            [
                'spec: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` '
                "is required, but multiple fields are set"
            ],
            id="two choices of nodes",
        ),
        pytest.param(
            {**slice_spec({"name": "a"}), "sharedCounters": [{"name": "c", "counters": {"x": {"value": "1"}}}]},
            ['spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed'],
            id="counters beside devices",
        ),
        pytest.param(
            slice_spec({"name": "a", "bindingConditions": ["x"]}),
            [
                "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions"
            ],
            id="conditions without an end",
        ),
    ],
)  # fmt: skip
def test_a_slice_is_refused_in_the_real_servers_words(spec, texts):
    assert said(spec) == texts


def test_a_slice_stays_with_its_driver_pool_and_node():
    old = slice_spec({"name": "a"})
    new = copy.deepcopy(old)
    new["pool"]["name"], new["driver"], new["nodeName"] = "other", "other.example.com", "other"

    assert said(new, old) == [
        'spec.pool.name: Invalid value: "other": field is immutable',
        'spec.driver: Invalid value: "other.example.com": field is immutable',
        'spec.nodeName: Invalid value: "other": field is immutable',
    ]


def test_a_claim_names_a_class_and_a_mode_that_there_is():
    spec = {"devices": {"requests": [{"name": "r", "exactly": {"allocationMode": "Some"}}]}}

    assert [str(error) for error in claim_rules.claim_errors(spec, None)] == [
        "spec.devices.requests[0].exactly.deviceClassName: Required value",
        'spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"',
    ]


def test_an_allocation_is_made_once():
    result = {"request": "r", "driver": DRIVER, "pool": "p", "device": "d"}
    spec = {"devices": {"requests": [{"name": "r", "exactly": {}}]}}
    old = {"allocation": {"devices": {"results": [result]}}}
    new = {"allocation": {"devices": {"results": [{**result, "device": "e"}]}}}

    errors = [str(error) for error in claim_rules.status_errors(new, old, spec, is_deleted=False)]

    assert len(errors) == 1
    assert errors[0].endswith("field is immutable")


@pytest.mark.parametrize(
    ("release", "kept"),
    [("1.34", set()), ("1.35", set()), ("1.36", {"taints", "consumesCounters", "allowMultipleAllocations", "bindsToNode"})],
)  # fmt: skip
def test_fields_of_gates_that_are_off_are_dropped(release, kept):
    device = {
        "name": "d", "taints": [{}], "consumesCounters": [{}], "allowMultipleAllocations": True, "bindsToNode": True,
        "nodeAllocatableResourceMappings": {"cpu": {}},
    }  # fmt: skip
    spec = slice_spec(device)

    gates.drop("ResourceSlice", spec, None, gates.enabled(release, {}))

    assert set(spec["devices"][0]) == {"name"} | kept


def test_a_field_that_is_in_use_already_is_not_dropped():
    old = slice_spec({"name": "d", "taints": [{"key": "k"}]})
    new = copy.deepcopy(old)

    dropped = gates.drop("ResourceSlice", new, copy.deepcopy(old), gates.enabled("1.34", {}))

    assert not dropped
    assert new == old


def test_a_gate_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="unrecognized feature gate: DRATaints; known here: DRAAdminAccess"):
        gates.enabled("1.36", {"DRATaints": True})


LIMIT = 10 * 1024
"""Of a driver's parameters, as JSON without spaces."""


@pytest.mark.parametrize(
    ("opaque", "texts"),
    [
        pytest.param({"driver": DRIVER, "parameters": {"a": 1}}, [], id="an object"),
        pytest.param({"driver": DRIVER, "parameters": {}}, [], id="an empty object"),
        pytest.param({"driver": DRIVER}, ["p.opaque.parameters: Required value"], id="none"),
        pytest.param(
            {"driver": DRIVER, "parameters": [1]},
            ['p.opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object'],
            id="a list",
        ),
        pytest.param({"driver": DRIVER, "parameters": {"a": "x" * (LIMIT - 8)}}, [], id="just as long as they may be"),
        pytest.param(
            {"driver": DRIVER, "parameters": {"a": "x" * (LIMIT - 7)}},
            [f"p.opaque.parameters: Too long: may not be more than {LIMIT} bytes"],
            id="a byte longer",
        ),
        pytest.param(None, ["p.opaque: Required value"], id="nothing at all"),
    ],
)
def test_parameters_of_a_driver_are_one_object_of_some_size(opaque, texts):
    assert [str(error) for error in claim_rules._opaque({"opaque": opaque}, "p")] == texts
