"""The shape of documents: which fields a kind has and of which type, what its older versions make of them, times."""

import copy
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet.apiserver import api_error, conversion, expressions, schema

SLICE = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceSlice",
    "metadata": {
        "name": "n", "labels": {"a": "b"}, "finalizers": ["f/g"], "generation": 2, "managedFields": [{"x": 1}],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": False, "blockOwnerDeletion": True}],
    },
    "spec": {
        "driver": "d",
        "pool": {"name": "p", "generation": 0, "resourceSliceCount": 1},
        "nodeName": "",
        "nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a"}], "matchFields": []}]},
        "allNodes": False,
        "perDeviceNodeSelection": True,
        "sharedCounters": [{"name": "s", "counters": {"c": {"value": "1Gi"}}}],
        "skipNodeOperations": ["Prepare"],
        "devices": [
            {
                "name": "a",
                "attributes": {
                    "i": {"int": 0}, "b": {"bool": False}, "s": {"string": ""}, "v": {"version": "1.0.0"},
                    "l": {"ints": [1], "bools": [True], "strings": ["x"], "versions": ["1.0.0"]},
                },
                "capacity": {
                    "m": {
                        "value": "1Gi",
                        "requestPolicy": {
                            "default": "1", "validValues": ["1", "2"], "validRange": {"min": "1", "max": "2", "step": "1"},
                        },
                    }
                },
                "consumesCounters": [{"counterSet": "s", "counters": {"c": {"value": "2k"}}}],
                "nodeName": "n", "nodeSelector": {"nodeSelectorTerms": [{}]}, "allNodes": True, "bindsToNode": True,
                "taints": [{"key": "k", "value": "v", "effect": "None", "timeAdded": "2024-01-02T03:04:05Z"}],
                "bindingConditions": ["x"], "bindingFailureConditions": ["y"], "allowMultipleAllocations": False,
                "nodeAllocatableResourceMappings": {"cpu": {"capacityKey": "m", "allocationMultiplier": "2"}},
            }
        ],
    },
}  # fmt: skip
REQUEST = {
    "deviceClassName": "c", "selectors": [{"cel": {"expression": "true"}}], "allocationMode": "All", "count": 1, "adminAccess": True,
    "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "None", "tolerationSeconds": 0}],
    "capacity": {"requests": {"m": "1Gi"}},
}  # fmt: skip
OPAQUE = {"driver": "d", "parameters": {"any": [1, None]}}
CLAIM_SPEC = {
    "devices": {
        "requests": [{"name": "r", "exactly": REQUEST, "firstAvailable": [{"name": "s", **REQUEST}]}],
        "constraints": [{"requests": ["r"], "matchAttribute": "a/b", "distinctAttribute": "a/c"}],
        "config": [{"requests": ["r"], "opaque": OPAQUE}],
    }
}
CLAIM = {
    "spec": CLAIM_SPEC,
    "status": {
        "allocation": {
            "devices": {
                "results": [
                    {
                        "request": "r", "driver": "d", "pool": "p", "device": "x", "adminAccess": False, "tolerations": REQUEST["tolerations"],
                        "bindingConditions": ["a"], "bindingFailureConditions": ["b"], "shareID": "s", "consumedCapacity": {"m": "1"},
                    }
                ],
                "config": [{"source": "FromClass", "requests": ["r"], "opaque": OPAQUE}],
            },
            "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [{}]}]},
            "allocationTimestamp": "2024-01-02T03:04:05Z",
        },
        "reservedFor": [{"apiGroup": "g", "resource": "r", "name": "n", "uid": "u"}],
        "devices": [
            {
                "driver": "d", "pool": "p", "device": "x", "shareID": "s", "conditions": [{"type": "T"}], "data": {"any": 1},
                "networkData": {"interfaceName": "eth1", "ips": ["10.0.0.1/8"], "hardwareAddress": "m"},
            }
        ],
    },
}  # fmt: skip
WHOLE = {
    "ResourceSlice": SLICE,
    "ResourceClaim": CLAIM,
    "ResourceClaimTemplate": {"spec": {"metadata": {"labels": {}}, "spec": CLAIM_SPEC}},
    "DeviceClass": {"spec": {"selectors": REQUEST["selectors"], "config": [{"opaque": OPAQUE}], "extendedResourceName": ""}},
    "DeviceTaintRule": {
        "spec": {"deviceSelector": {"driver": "", "pool": "", "device": ""}, "taint": SLICE["spec"]["devices"][0]["taints"][0]},
        "status": {"conditions": [{"type": "T"}]},
    },
    "Pod": {
        "spec": {
            "nodeName": "n", "schedulerName": "s", "terminationGracePeriodSeconds": 0, "anything": None,
            "containers": [{"name": "c", "image": "i", "resources": {"limits": {"a/b": 1}, "claims": [{"name": "a", "request": "r"}]}}],
            "initContainers": [{"name": "d"}],
            "resourceClaims": [{"name": "a", "resourceClaimName": "x", "resourceClaimTemplateName": ""}],
        },
        "status": {"anything": [None, {}]},
    },
    "ConfigMap": {"data": {}, "anything": None},
}  # fmt: skip


def fit(kind, document):
    return schema.fit(kind, "v1", copy.deepcopy(document))


@pytest.mark.parametrize("kind", WHOLE)
def test_each_field_that_a_kind_has_is_kept(kind):
    assert fit(kind, WHOLE[kind]) == (WHOLE[kind], [])


def leaves(value, path=()):
    """Yield the path to each value that holds no others, and the value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inside:
        yield path, value
    for key, item in inside:
        yield from leaves(item, (*path, key))


def put(document, path, value):
    changed = json.loads(json.dumps(document))
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


ANYTHING = {
    "apiVersion", "kind", "managedFields", "matchExpressions", "matchFields", "conditions", "data", "parameters", "image", "limits", "anything",
}  # fmt: skip
"""Fields that nobody looks into."""


@pytest.mark.parametrize("kind", WHOLE)
def test_a_value_of_another_type_is_refused_where_it_stands(kind):
    for path, value in leaves(WHOLE[kind]):
        if value == {} or ANYTHING & set(path) or "metadata" in path[1:]:
            continue
        where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")

        with pytest.raises(api_error.ApiError) as caught:
            fit(kind, put(WHOLE[kind], path, {"no": "leaf"}))

        found = caught.value.message
        assert caught.value.code == 400
        assert found.startswith(
            f'{kind} in version "v1" cannot be handled as a {kind}: json: cannot unmarshal object into Go struct field '
        )
        plain = re.sub(r"\[([a-z]+)\]", r".\1", found)
        assert f" field {where} of type " in plain, (where, found, value)


@pytest.mark.parametrize(
    ("path", "value", "found", "go_name"),
    [
        (("spec", "driver"), 5, "number", "string"), (("spec", "driver"), 1.5, "number", "string"), (("spec", "driver"), True, "bool", "string"),
        (("spec", "driver"), [], "array", "string"), (("spec", "driver"), {}, "object", "string"),
        (("spec", "pool", "generation"), "1", "string", "int64"), (("spec", "pool", "generation"), True, "bool", "int64"),
        (("spec", "pool", "generation"), 1.0, "number", "int64"),
        (("spec", "allNodes"), 0, "number", "bool"), (("spec", "allNodes"), "yes", "string", "bool"),
        (("spec", "devices"), {}, "object", "[]"), (("spec", "devices", 0), "gem", "string", "object"), (("spec", "devices", 0), None, "null", "object"),
        (("spec", "devices", 0, "attributes"), [], "array", "object"), (("spec", "pool"), 7, "number", "object"),
        (("spec", "devices", 0, "bindingConditions", 0), None, "null", "string"),
        (("spec", "devices", 0, "capacity", "m", "value"), [], "array", "Quantity"),
        (("spec", "devices", 0, "capacity", "m", "value"), True, "bool", "Quantity"),
        (("spec", "devices", 0, "taints", 0, "timeAdded"), 5, "number", "Time"),
        (("spec",), "x", "string", "object"), (("metadata",), "x", "string", "object"), (("metadata", "labels"), ["x"], "array", "object"),
    ],
)  # fmt: skip
def test_what_is_of_another_type_is_named_as_go_does(path, value, found, go_name):
    where = "".join(f"[{key}]" if isinstance(key, int) or key == "m" else f".{key}" for key in path).removeprefix(".")

    with pytest.raises(api_error.ApiError) as caught:
        schema.fit("ResourceSlice", "v1beta1", put(SLICE, path, value))

    assert caught.value.message == (
        'ResourceSlice in version "v1beta1" cannot be handled as a ResourceSlice: '
        f"json: cannot unmarshal {found} into Go struct field {where} of type {go_name}"
    )


def test_the_fields_of_a_pod_that_are_looked_at_are_refused_too():
    with pytest.raises(
        api_error.ApiError, match=r"unmarshal number into Go struct field spec\.containers\[0\]\.name of type string"
    ):
        fit("Pod", {"spec": {"containers": [{"name": 5}]}})
    with pytest.raises(api_error.ApiError, match=r"unmarshal array into Go struct field status of type object"):
        fit("Pod", {"status": [1]})


@pytest.mark.parametrize(
    ("kind", "document", "fitted", "warnings"),
    [
        ("ResourceSlice", {"colour": 1, "spec": {"colour": 2, "driver": "d"}}, {"spec": {"driver": "d"}}, ["colour", "spec.colour"]),
        ("ResourceSlice", {"status": {}}, {}, ["status"]),
        (
            "ResourceSlice",
            {"spec": {"devices": [{"name": "a"}, {"name": "b", "attributes": {"x": {"colour": 1}}}]}},
            {"spec": {"devices": [{"name": "a"}, {"name": "b", "attributes": {"x": {}}}]}},
            ["spec.devices[1].attributes[x].colour"],
        ),
        ("ResourceSlice", {"metadata": {"colour": 1, "name": "n"}}, {"metadata": {"name": "n"}}, ["metadata.colour"]),
        ("ResourceSlice", {"spec": None, "metadata": None}, {"metadata": {}}, []),
        ("ResourceSlice", {"spec": {"driver": None, "pool": {"name": None}}}, {"spec": {"pool": {}}}, []),
        (
            "ResourceSlice",
            {"spec": {"devices": [], "sharedCounters": [], "driver": ""}, "metadata": {"name": "", "labels": {}, "generation": 0}},
            {"spec": {"driver": ""}, "metadata": {"generation": 0}},
            [],
        ),
        (
            "ResourceClaim",
            {"spec": {"devices": {"requests": [{"name": "", "exactly": {"count": 0, "allocationMode": "", "deviceClassName": ""}}]}}},
            {"spec": {"devices": {"requests": [{"name": "", "exactly": {"deviceClassName": ""}}]}}},
            [],
        ),
        ("Pod", {"spec": None, "status": None, "more": 1}, {"spec": {}, "status": {}, "more": 1}, []),
        (
            "Pod",
            {"spec": {"nodeName": None, "hostNetwork": None, "containers": [{"name": "c", "resources": None}], "resourceClaims": []}},
            {"spec": {"hostNetwork": None, "containers": [{"name": "c"}], "resourceClaims": []}},
            [],
        ),
        ("Node", {"spec": {"x": 1}, "status": None}, {"spec": {"x": 1}, "status": {}}, []),
        ("ConfigMap", {"data": None}, {"data": None}, []),
    ],
)  # fmt: skip
def test_what_go_would_not_write_goes_and_what_nobody_knows_is_warned_of(kind, document, fitted, warnings):
    assert fit(kind, document) == (fitted, [f'unknown field "{path}"' for path in warnings])


def test_numbers_are_quantities_and_times_are_written_in_utc():
    device = {
        "capacity": {"a": {"value": 1}, "b": {"value": 1.5}},
        "taints": [{"timeAdded": "2024-01-02T03:04:05.9+01:00"}],
    }

    fitted, _ = fit("ResourceSlice", {"spec": {"devices": [device]}})

    (found,) = fitted["spec"]["devices"]
    assert found == {
        "capacity": {"a": {"value": "1"}, "b": {"value": "1500m"}}, "taints": [{"timeAdded": "2024-01-02T02:04:05Z"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"), ("2024-01-02T03:04:05.999999Z", "2024-01-02T03:04:05Z"),
        ("2024-01-02T00:30:00+01:00", "2024-01-01T23:30:00Z"), ("2024-12-31T23:30:00-01:30", "2025-01-01T01:00:00Z"),
    ],
)  # fmt: skip
def test_a_time_is_given_back_in_utc_to_the_second(text, written):
    assert schema.timestamp(text) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "2024-01-02",
        "2024-01-02 03:04:05Z",
        "2024-01-02T03:04:05",
        "2024-01-02T03:04Z",
        "2024-01-02T03:04:05Z\n",
    ],
)
def test_what_is_no_time_is_refused_in_gos_words(text):
    with pytest.raises(ValueError, match="parsing time") as caught:
        schema.timestamp(text)

    assert str(caught.value) == f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"'
    with pytest.raises(api_error.ApiError) as refused:
        fit("ResourceSlice", {"spec": {"devices": [{"taints": [{"timeAdded": text}]}]}})
    assert (
        refused.value.message == f'ResourceSlice in version "v1" cannot be handled as a ResourceSlice: {caught.value}'
    )


# -- older versions -----------------------------------------------------------------------------------------------------


FLAT = {
    "deviceClassName": "c",
    "selectors": [],
    "allocationMode": "All",
    "count": 1,
    "adminAccess": True,
    "tolerations": [],
    "capacity": {},
}
V1_REQUESTS = [{"name": "r", "exactly": FLAT}, {"name": "q", "firstAvailable": [{"name": "s", "count": 1}]}]
OLD_REQUESTS = [{"name": "r", **FLAT}, {"name": "q", "firstAvailable": [{"name": "s", "count": 1}]}]
SHAPES = [
    (
        "ResourceSlice",
        {
            "metadata": {"name": "n"},
            "spec": {"driver": "d", "devices": [{"name": "a", "taints": [], "bindsToNode": True}, {"name": "b"}]},
        },
        {
            "metadata": {"name": "n"},
            "spec": {
                "driver": "d",
                "devices": [{"name": "a", "basic": {"taints": [], "bindsToNode": True}}, {"name": "b", "basic": {}}],
            },
        },
    ),
    (
        "ResourceClaim",
        {"spec": {"devices": {"requests": V1_REQUESTS, "config": []}}, "status": {"devices": []}},
        {"spec": {"devices": {"requests": OLD_REQUESTS, "config": []}}, "status": {"devices": []}},
    ),
    (
        "ResourceClaimTemplate",
        {"spec": {"metadata": {}, "spec": {"devices": {"requests": V1_REQUESTS}}}},
        {"spec": {"metadata": {}, "spec": {"devices": {"requests": OLD_REQUESTS}}}},
    ),
]


@pytest.mark.parametrize(("kind", "stored", "shown"), SHAPES, ids=[kind for kind, *_ in SHAPES])
def test_v1beta1_has_shapes_of_its_own_and_v1beta2_those_of_v1(kind, stored, shown):
    assert conversion.from_stored("v1beta1", kind, stored) == shown
    assert conversion.to_stored("v1beta1", kind, shown) == stored
    for version in ("v1", "v1beta2"):
        assert conversion.from_stored(version, kind, stored) is stored
        assert conversion.to_stored(version, kind, shown) is shown
    for other in ("DeviceClass", "Pod"):
        assert conversion.from_stored("v1beta1", other, stored) is stored


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        *((kind, document) for kind, *_ in SHAPES for document in ({}, {"spec": None}, {"spec": 7}, {"spec": {}}, {"spec": {"devices": 7, "spec": 7}})),
        ("ResourceClaim", {"spec": {"devices": {"requests": "many"}}}),
        ("ResourceClaim", {"spec": {"devices": {"requests": ["one", None]}}}),
        ("ResourceClaimTemplate", {"spec": {"spec": {"devices": {"requests": [7]}}}}),
        ("ResourceSlice", {"spec": {"devices": ["gem", {"name": "a", "basic": "gem"}]}}),
    ],
)  # fmt: skip
def test_what_has_no_shape_is_left_for_the_schema_to_refuse(kind, document):
    assert conversion.to_stored("v1beta1", kind, document) == document


def test_a_device_of_v1beta1_without_anything_is_one_with_a_name():
    devices = [{}, {"name": "a"}, {"name": "b", "basic": None}, {"name": "c", "basic": {}, "colour": 1}]

    stored = conversion.to_stored("v1beta1", "ResourceSlice", {"spec": {"devices": devices}})

    assert stored == {"spec": {"devices": [{"name": ""}, {"name": "a"}, {"name": "b"}, {"name": "c"}]}}


# -- CEL ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "true", "false", "device.driver == 'a'", ' device.driver=="gpu.example.com" ', "device.driver != 'a'", "device.attributes['a'].b == 1",
        "device.capacity['a'].b.compareTo(quantity('1Gi')) >= 0", "device.allowMultipleAllocations", "1 < 2", "!(device.driver == 'a')",
        "'a' in device.attributes", "device.attributes['a'].exists(x, x == 'b')", "[1, 2].all(n, n > 0)", "device.driver.startsWith('a')",
        "device.attributes['a'].b", "type(1) == int", "has(device.attributes)",
    ],
)  # fmt: skip
def test_an_expression_that_can_be_stored_has_no_problem(expression):
    assert expressions.problem(expression) == ""


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("gadget.driver == 'a'", "compilation failed: undeclared reference to 'gadget' (in container '')"),
        ("a && b", "compilation failed: undeclared reference to 'a' (in container '')"),
        ("device.color == 'a'", "compilation failed: undefined field 'color'"),
        ("device.driver == 'a' && device.size == 1", "compilation failed: undefined field 'size'"),
        ("device.driver", "must evaluate to bool or the unknown type, not string"), ("'true'", "must evaluate to bool or the unknown type, not string"),
        ("1 + 1", "must evaluate to bool or the unknown type, not int"), ("1.5", "must evaluate to bool or the unknown type, not double"),
        ("[1]", "must evaluate to bool or the unknown type, not list"), ("device.attributes", "must evaluate to bool or the unknown type, not map"),
        ("b'a'", "must evaluate to bool or the unknown type, not bytes"),
    ],
)  # fmt: skip
def test_an_expression_is_refused_for_its_names_and_for_what_it_comes_to(expression, problem):
    assert expressions.problem(expression) == problem


@pytest.mark.parametrize(
    "expression", ["", " ", "device.driver ==", "device.driver == 'a", "a b", "truefalse)", "device.driver == 'a\""]
)
def test_what_is_no_expression_does_not_compile(expression):
    assert expressions.problem(expression).startswith("compilation failed: ")


@given(st.text("abc.=' \"&|()[]", max_size=12))
def test_any_text_is_an_expression_or_not_and_never_breaks_the_server(text):
    assert expressions.problem(text) == "" or expressions.problem(text).startswith(
        ("compilation failed: ", "must evaluate to bool ")
    )
