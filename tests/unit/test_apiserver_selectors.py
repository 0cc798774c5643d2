"""What is chosen and what is changed: label and field selectors, the four kinds of patch."""

import copy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet.apiserver import api_error, kinds, patches, selectors

PODS, SLICES, CLASSES = (kinds.of_plural(plural) for plural in ("pods", "resourceslices", "deviceclasses"))
NODES, EVENTS, SECRETS = (kinds.of_plural(plural) for plural in ("nodes", "events", "secrets"))


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", ["none", "a=1", "a=2", "a=,b=1", "null"]), (" , ", ["none", "a=1", "a=2", "a=,b=1", "null"]),
        ("a=1", ["a=1"]), ("a==1", ["a=1"]), (" a = 1 ", ["a=1"]), ("a!=1", ["none", "a=2", "a=,b=1", "null"]), ("a=", ["a=,b=1"]),
        ("a!=", ["none", "a=1", "a=2", "null"]),
        ("a", ["a=1", "a=2", "a=,b=1"]), ("!a", ["none", "null"]), ("! a", ["none", "null"]),
        ("a in (1,2)", ["a=1", "a=2"]), ("a in ( 1 )", ["a=1"]), ("a in ()", ["a=,b=1"]), ("a notin (1,2)", ["none", "a=,b=1", "null"]),
        ("a,b=1", ["a=,b=1"]), ("a,!b", ["a=1", "a=2"]), ("a in (1,2),a!=1", ["a=2"]), ("a!=1,a!=2,b notin (1)", ["none", "null"]),
    ],
)  # fmt: skip
def test_labels_choose_objects(text, chosen):
    labels = {"none": {}, "a=1": {"a": "1"}, "a=2": {"a": "2"}, "a=,b=1": {"a": "", "b": "1"}, "null": None}
    test = selectors.of_labels(text)

    assert [name for name, value in labels.items() if test({"metadata": {"labels": value}})] == chosen


def test_what_has_no_metadata_has_no_labels():
    assert selectors.of_labels("!a")({}) is True
    assert selectors.of_labels("a")({"metadata": None}) is False


@pytest.mark.parametrize("text", ["=", "a b", "a in 1", "a in (1", "a=1=2", "a!", "(a)", "a=(1)", "a in (1) b"])
def test_a_label_selector_that_is_none_is_refused_with_its_part(text):
    with pytest.raises(api_error.ApiError) as caught:
        selectors.of_labels(f"ok=1,{text}")

    assert caught.value.code == 400
    assert caught.value.message == f"unable to parse requirement: found {text!r} in {f'ok=1,{text}'!r}"


@given(
    st.dictionaries(st.sampled_from("ab"), st.sampled_from(["", "1", "2"])),
    st.sampled_from("ab"),
    st.sampled_from(["1", "2"]),
)
def test_a_selector_and_its_contrary_divide_all_objects(labels, key, value):
    document = {"metadata": {"labels": labels}}

    for yes, no in (
        (f"{key}={value}", f"{key}!={value}"),
        (key, f"!{key}"),
        (f"{key} in ({value},x)", f"{key} notin ({value},x)"),
    ):
        assert selectors.of_labels(yes)(document) is not selectors.of_labels(no)(document)
    assert selectors.of_labels(f"{key}={value}")(document) is (labels.get(key) == value)


POD = {
    "metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "w", "restartPolicy": "Always", "schedulerName": "s"},
    "status": {"phase": "Running"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "document", "text", "is_chosen"),
    [
        (PODS, POD, "", True), (PODS, POD, ",", True), (PODS, POD, "metadata.name=p", True), (PODS, POD, "metadata.name==q", False),
        (PODS, POD, "metadata.namespace!=n", False), (PODS, POD, "spec.nodeName=w,status.phase=Running", True),
        (PODS, POD, "spec.nodeName=w,status.phase!=Running", False), (PODS, POD, "spec.restartPolicy=Always,spec.schedulerName=s", True),
        (PODS, {}, "spec.nodeName=", True), (PODS, {"spec": {"nodeName": None}}, "spec.nodeName!=", False), (PODS, {"spec": 7}, "spec.nodeName=", True),
        (NODES, {"spec": {"unschedulable": True}}, "spec.unschedulable=true", True), (NODES, {"spec": {"unschedulable": False}}, "spec.unschedulable=true", False),
        (NODES, {"spec": {"unschedulable": False}}, "spec.unschedulable=false", True),
        (SLICES, {"spec": {"driver": "d", "nodeName": "w"}}, "spec.driver=d,spec.nodeName=w", True),
        (EVENTS, {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "n", "uid": "u"}, "reason": "r", "type": "t"},
         "involvedObject.kind=Pod,involvedObject.name=p,involvedObject.namespace=n,involvedObject.uid=u,reason=r,type=t", True),
        (SECRETS, {"type": "t"}, "type=t", True), (CLASSES, {"metadata": {"name": "c"}}, "metadata.name=c", True),
    ],
)  # fmt: skip
def test_fields_choose_objects(kind, document, text, is_chosen):
    assert selectors.of_fields(kind, text)(document) is is_chosen


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (PODS, "spec.colour=red", "field label not supported: spec.colour"),
        (
            SLICES,
            "spec.colour=red",
            "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.colour",
        ),
        (
            SLICES,
            "metadata.namespace=n",
            "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: metadata.namespace",
        ),
        (
            CLASSES,
            "spec.driver=d",
            '"spec.driver" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (
            CLASSES,
            "metadata.namespace=n",
            '"metadata.namespace" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (PODS, "metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        (PODS, "=p", "invalid selector: '=p'; can't understand '=p'"),
        (PODS, "metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
    ],
)
def test_a_field_selector_that_is_none_is_refused(kind, text, why):
    with pytest.raises(api_error.ApiError, match=f"^{re.escape(why)}$") as caught:
        selectors.of_fields(kind, f"metadata.name=ok,{text}")

    assert caught.value.code == 400


# -- patches ------------------------------------------------------------------------------------------------------------


def patched(content_type, old, patch):
    before = copy.deepcopy(old)
    new = patches.apply(content_type, old, patch)
    assert old == before, "what is stored is not touched"
    return new


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}}, {"a": 1, "b": {"c": 4, "d": 3}}),
        ({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"c": None}, "x": None}, {"b": {}}),
        ({"a": 1}, {"a": {"b": {"c": None, "d": 1}}}, {"a": {"b": {"d": 1}}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": [{"name": "x"}]}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}}, {"metadata": {"finalizers": ["b"]}}),
        ({"$patch": "a"}, {"$patch": "replace"}, {"$patch": "replace"}),
        ({"a": 1}, {}, {"a": 1}),
    ],
)
def test_a_merge_patch_is_that_of_the_rfc(old, patch, new):
    assert patched(patches.MERGE, old, patch) == new


KEYED = [
    ("metadata.ownerReferences", ("uid",)), ("spec.containers", ("name",)), ("spec.initContainers", ("name",)), ("spec.resourceClaims", ("name",)),
    ("spec.volumes", ("name",)), ("status.conditions", ("type",)), ("status.addresses", ("type",)), ("status.reservedFor", ("uid",)),
    ("status.resourceClaimStatuses", ("name",)), ("status.devices", ("driver", "pool", "device", "shareID")),
]  # fmt: skip


@pytest.mark.parametrize("content_type", [patches.STRATEGIC, *patches.APPLY])
@pytest.mark.parametrize(("path", "keys"), KEYED, ids=[path for path, _ in KEYED])
def test_lists_that_have_keys_are_merged_by_them(path, keys, content_type):
    outer, inner = path.split(".")

    def whole(*items):
        return {outer: {inner: list(items)}}

    first, second = dict.fromkeys(keys, "1"), dict.fromkeys(keys, "2")
    old = whole({**first, "x": {"a": 1, "b": 2}, "y": 1}, {**second, "x": 2})

    assert patched(
        content_type, old, whole({**second, "x": 3}, {**first, "x": {"a": 4}, "y": None}, {**second, keys[-1]: "3"})
    ) == whole({**first, "x": {"a": 4, "b": 2}}, {**second, "x": 3}, {**second, keys[-1]: "3"})
    assert patched(
        content_type, old, whole({**first, "$patch": "delete"}, {**second, "$patch": "delete", keys[-1]: "9"})
    ) == whole({**second, "x": 2})


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        (
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"finalizers": ["b", "c"]}},
            {"metadata": {"finalizers": ["a", "b", "c"]}},
        ),
        (
            {"spec": {"devices": [{"name": "a"}]}},
            {"spec": {"devices": [{"name": "b"}]}},
            {"spec": {"devices": [{"name": "b"}]}},
        ),
        ({"status": {"devices": [{"a": 1}]}}, {"status": {"devices": [{"b": 1}]}}, {"status": {"devices": [{"b": 1}]}}),
        ({"status": {"devices": [{"driver": "a"}]}}, {"status": {"devices": ["x"]}}, {"status": {"devices": ["x"]}}),
        (
            {"status": {"conditions": ["x"]}},
            {"status": {"conditions": [{"type": "a"}]}},
            {"status": {"conditions": [{"type": "a"}]}},
        ),
        (
            {"status": {"conditions": [{"type": "a"}]}},
            {"status": {"conditions": ["x"]}},
            {"status": {"conditions": ["x"]}},
        ),
        (
            {"status": {"conditions": 7}},
            {"status": {"conditions": [{"type": "a"}]}},
            {"status": {"conditions": [{"type": "a"}]}},
        ),
        ({}, {"status": {"conditions": [{"type": "a"}]}}, {"status": {"conditions": [{"type": "a"}]}}),
        ({"a": {"b": 1}}, {"$setElementOrder/x": [], "a": {"$retainKeys": ["c"], "c": 2}}, {"a": {"b": 1, "c": 2}}),
    ],
)
def test_a_strategic_patch_merges_sets_and_replaces_all_other_lists(old, patch, new):
    assert patched(patches.STRATEGIC, old, patch) == new


def test_a_json_patch_does_its_steps_in_order_on_a_copy():
    old = {"a": {"b": [1]}}
    steps = [
        {"op": "test", "path": "/a/b/0", "value": 1}, {"op": "add", "path": "/a/b/-", "value": 2}, {"op": "move", "from": "/a/b", "path": "/c"},
    ]  # fmt: skip

    assert patched(patches.JSON, old, steps) == {"a": {}, "c": [1, 2]}


@pytest.mark.parametrize(
    ("content_type", "patch", "code", "reason", "message"),
    [
        (patches.JSON, {}, 400, "BadRequest", "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
        (patches.JSON, ["x"], 422, "Invalid", "the server rejected our request: "),
        (patches.JSON, [{"op": "replace", "path": "", "value": [1]}], 400, "BadRequest", "the patch leaves no object"),
        (patches.JSON, [{"op": "remove", "path": "/no"}], 422, "Invalid", "the server rejected our request: "),
        (patches.JSON, [{"op": "fly", "path": "/a"}], 422, "Invalid", "the server rejected our request: "),
        (patches.JSON, [{"op": "add", "path": "no", "value": 1}], 422, "Invalid", "the server rejected our request: "),
        *((kind, [], 400, "BadRequest", "a patch must be an object") for kind in (patches.MERGE, patches.STRATEGIC, *patches.APPLY)),
        (
            "application/json", {}, 415, "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
            "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml, application/apply-patch+json",
        ),
    ],
)  # fmt: skip
def test_a_patch_that_is_none_is_refused(content_type, patch, code, reason, message):
    with pytest.raises(api_error.ApiError) as caught:
        patches.apply(content_type, {"a": 1}, patch)

    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert caught.value.message.startswith(message)
    if not message.endswith(": "):
        assert caught.value.message == message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from("abc"), json_values, max_size=3)


def merged_by_the_rfc(target, patch):
    """Return what the pseudocode of RFC 7396 comes to."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merged_by_the_rfc(target.get(name), value)
    return target


@given(objects, objects)
def test_a_merge_patch_comes_to_what_the_rfc_says(old, patch):
    assert patched(patches.MERGE, old, patch) == merged_by_the_rfc(old, patch)
