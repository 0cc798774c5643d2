"""The values of a fake API server: quantities, selectors, patches, older shapes, bodies in protobuf."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet import quantity
from fakekubelet.apiserver import api_error, conversion, kinds, patches, protobuf_body, schema, selectors

PODS = kinds.BY_PLURAL["", "pods"]
SLICES = kinds.BY_PLURAL["resource.k8s.io", "resourceslices"]


@pytest.mark.parametrize(
    ("given_text", "text"),
    [
        ("1024Mi", "1Gi"), ("80Gi", "80Gi"), ("1500Mi", "1500Mi"), ("1023", "1023"), ("512", "512"), ("1000m", "1"), ("0.5", "500m"), ("1000", "1k"),
        ("100k", "100k"), ("1.5Gi", "1536Mi"), ("0", "0"), ("0Gi", "0"), ("1e3", "1e3"), ("12000000", "12M"), ("2048Ki", "2Mi"), ("-1Ki", "-1Ki"),
    ],
)  # fmt: skip
def test_a_quantity_is_written_in_the_servers_own_way(given_text, text):
    assert quantity.canonical(given_text) == text


@given(st.integers(min_value=-(10**15), max_value=10**15), st.sampled_from(["", "k", "M", "Ki", "Gi", "m"]))
def test_a_quantity_keeps_its_value_and_changes_its_text_once(number, suffix):
    text = quantity.canonical(f"{number}{suffix}")

    assert quantity.value(text) == quantity.value(f"{number}{suffix}")
    assert quantity.canonical(text) == text


def test_what_is_no_quantity_is_refused():
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantity.canonical("80 GB")


@pytest.mark.parametrize(
    ("selector", "labels", "taken"),
    [
        ("a=1", {"a": "1"}, True), ("a==1", {"a": "2"}, False), ("a!=1", {}, True), ("a in (1, 2)", {"a": "2"}, True),
        ("a notin (1,2)", {"a": "1"}, False), ("a", {"a": ""}, True), ("!a", {"a": ""}, False), ("a=1,b in (x,y)", {"a": "1", "b": "z"}, False),
    ],
)  # fmt: skip
def test_labels_are_selected(selector, labels, taken):
    assert selectors.of_labels(selector)({"metadata": {"labels": labels}}) is taken


def test_fields_are_selected_by_those_that_the_kind_has():
    test = selectors.of_fields(SLICES, "spec.driver=d,spec.nodeName!=a")

    assert test({"spec": {"driver": "d", "nodeName": "b"}})
    assert test({"spec": {"driver": "d"}})
    assert not test({"spec": {"driver": "d", "nodeName": "a"}})
    with pytest.raises(api_error.ApiError, match=r"field label not supported: status\.phase"):
        selectors.of_fields(kinds.BY_PLURAL["", "nodes"], "status.phase=x")


def test_a_merge_patch_replaces_lists_and_removes_nulls():
    old = {"metadata": {"labels": {"a": "1", "b": "2"}}, "status": {"conditions": [{"type": "X"}]}}

    new = patches.apply(patches.MERGE, old, {"metadata": {"labels": {"a": None}}, "status": {"conditions": []}})

    assert new == {"metadata": {"labels": {"b": "2"}}, "status": {"conditions": []}}


def test_a_strategic_patch_merges_conditions_by_type():
    old = {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Old"}]}}
    change = {"conditions": [{"type": "Ready", "status": "True"}, {"type": "New"}, {"type": "Old", "$patch": "delete"}]}

    new = patches.apply(patches.STRATEGIC, old, {"status": change})

    assert new == {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "New"}]}}


def test_applied_device_statuses_are_merged_by_device():
    one = {"driver": "d", "pool": "p", "device": "1", "data": {"a": 1}}
    other = {"driver": "d", "pool": "p", "device": "2"}

    new = patches.apply(patches.APPLY[0], {"status": {"devices": [one]}}, {"status": {"devices": [other]}})

    assert new["status"]["devices"] == [one, other]


def test_a_json_patch_that_does_not_fit_is_refused_with_422():
    with pytest.raises(api_error.ApiError) as caught:
        patches.apply(patches.JSON, {"a": 1}, [{"op": "test", "path": "/a", "value": 2}])

    assert caught.value.code == 422


def test_fields_nobody_knows_are_dropped_with_a_warning_and_wrong_types_refused():
    document = {
        "spec": {"driver": "d", "devices": [{"name": "a", "colour": "red", "capacity": {"m": {"value": "1024Mi"}}}]}
    }

    fitted, warnings = schema.fit("ResourceSlice", "v1", document)

    assert fitted["spec"]["devices"] == [{"name": "a", "capacity": {"m": {"value": "1Gi"}}}]
    assert warnings == ['unknown field "spec.devices[0].colour"']
    with pytest.raises(api_error.ApiError, match='ResourceSlice in version "v1" cannot be handled as a ResourceSlice'):
        schema.fit("ResourceSlice", "v1", {"spec": {"pool": {"generation": "1"}}})


def test_v1beta1_wraps_devices_and_lays_requests_open():
    stored = {"spec": {"devices": [{"name": "a", "attributes": {"x": {"int": 1}}}]}}
    claim = {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c", "count": 2}}]}}}

    shown = conversion.from_stored("v1beta1", "ResourceSlice", stored)
    shown_claim = conversion.from_stored("v1beta1", "ResourceClaim", claim)

    assert shown == {"spec": {"devices": [{"name": "a", "basic": {"attributes": {"x": {"int": 1}}}}]}}
    assert shown_claim["spec"]["devices"]["requests"] == [{"name": "r", "deviceClassName": "c", "count": 2}]
    assert conversion.to_stored("v1beta1", "ResourceSlice", shown) == stored
    assert conversion.to_stored("v1beta1", "ResourceClaim", shown_claim) == claim


def message(*fields):
    """Encode `(number, value)` pairs: bytes, text or numbers."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value & (2**64 - 1))
        else:
            content = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(content)) + content
    return out


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def envelope(api_version, kind, raw):
    return b"k8s\x00" + message((1, message((1, api_version), (2, kind))), (2, raw))


def test_a_slice_in_protobuf_is_read_as_one_in_json():
    attribute = message((1, "slot"), (2, message((2, -3))))
    memory = message((1, "memory"), (2, message((1, message((1, "80Gi"))))))
    taint = message((1, "k"), (3, "NoSchedule"), (4, message((1, 1_700_000_000))))
    device = message((1, "gpu-0"), (2, attribute), (3, memory), (8, taint))
    spec = message((1, "d"), (2, message((1, "p"), (2, 5), (3, 1))), (5, 0), (6, device))
    metadata = message((2, "00000-"), (11, message((1, "l"), (2, "v"))), (8, b""), (13, message((1, "Node"), (6, 1))))
    raw = message((1, metadata), (2, spec))

    document = protobuf_body.decode(envelope("resource.k8s.io/v1", "ResourceSlice", raw))

    assert document == {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {
            "generateName": "00000-", "labels": {"l": "v"}, "ownerReferences": [{"kind": "Node", "controller": True}],
        },
        "spec": {
            "driver": "d",
            "pool": {"name": "p", "generation": 5, "resourceSliceCount": 1},
            "allNodes": False,
            "devices": [
                {
                    "name": "gpu-0",
                    "attributes": {"slot": {"int": -3}},
                    "capacity": {"memory": {"value": "80Gi"}},
                    "taints": [{"key": "k", "effect": "NoSchedule", "timeAdded": "2023-11-14T22:13:20Z"}],
                }
            ],
        },
    }  # fmt: skip


@given(st.binary(max_size=200))
def test_a_body_that_is_no_protobuf_is_refused_and_never_breaks_the_server(content):
    with contextlib.suppress(protobuf_body.UndecodableError):
        protobuf_body.decode(envelope("resource.k8s.io/v1", "ResourceSlice", content))


@pytest.mark.parametrize("text", ["1e99", "1e999999999", "-1e70", "1e-999999999", "9" * 200, "1e9999999999"])
def test_a_number_that_no_machine_counts_is_no_quantity_and_costs_nothing(text):
    for read in (quantity.value, quantity.canonical):
        with pytest.raises(ValueError, match="quantities must match"):
            read(text)
    with pytest.raises(api_error.ApiError, match="cannot be handled as a ResourceSlice"):
        schema.fit("ResourceSlice", "v1", {"spec": {"devices": [{"capacity": {"a": {"value": text}}}]}})
