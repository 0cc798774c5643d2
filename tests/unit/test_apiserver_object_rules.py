"""What is wrong with the metadata of any object and with the claims of a pod: each rule, on both sides of its limit."""

import pytest

from fakekubelet.apiserver import field_errors, metadata_rules, pod_rules
from tests.unit.test_apiserver_errors import LABEL, NAME_PART, SUBDOMAIN, VALUE

LIMIT = 256 * 1024
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}


def said(metadata, old=None):
    return [str(error) for error in metadata_rules.errors(metadata, old, field_errors.dns_subdomain)]


@pytest.mark.parametrize(
    ("metadata", "texts"),
    [
        ({"name": "n"}, []),
        ({"name": "n", "labels": None, "annotations": None, "ownerReferences": None, "finalizers": None}, []),
        ({}, ["metadata.name: Required value: name or generateName is required"]),
        ({"name": ""}, ["metadata.name: Required value: name or generateName is required"]),
        ({"name": "N"}, [f'metadata.name: Invalid value: "N": {SUBDOMAIN}']),
        ({"name": "n", "labels": {"a/b": "c", "d": ""}}, []),
        (
            {"name": "n", "labels": {"a b": "c d"}},
            [f'metadata.labels: Invalid value: "a b": name part {NAME_PART}', f'metadata.labels: Invalid value: "c d": {VALUE}'],
        ),
        ({"name": "n", "annotations": {"Example.com/A": "what you like"}}, []),
        ({"name": "n", "annotations": {"a b": ""}}, [f'metadata.annotations: Invalid value: "a b": name part {NAME_PART}']),
        ({"name": "n", "annotations": {"a": "x" * (LIMIT - 1)}}, []),
        ({"name": "n", "annotations": {"a": "x" * LIMIT}}, [f"metadata.annotations: Too long: may not be more than {LIMIT} bytes"]),
        (
            {"name": "n", "annotations": {"a": "ü" * (LIMIT // 4), "b": "ü" * (LIMIT // 4)}},
            [f"metadata.annotations: Too long: may not be more than {LIMIT} bytes"],
        ),
        ({"name": "n", "ownerReferences": [OWNER, {**OWNER, "controller": True}, {**OWNER, "controller": False}]}, []),
        (
            {"name": "n", "ownerReferences": [{}]},
            [
                'metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty',
                *(f'metadata.ownerReferences.{field}: Invalid value: "": must not be empty' for field in ("kind", "name", "uid")),
            ],
        ),
        ({"name": "n", "finalizers": ["kubernetes", "orphan", "foregroundDeletion", "example.com/mine"]}, []),
        (
            {"name": "n", "finalizers": ["example.com/a", "a b"]},
            [
                f'metadata.finalizers: Invalid value: "a b": name part {NAME_PART}',
                'metadata.finalizers[1]: Invalid value: "a b": name is neither a standard finalizer name nor is it fully qualified',
            ],
        ),
    ],
)  # fmt: skip
def test_metadata_is_refused_for_each_rule_that_it_breaks(metadata, texts):
    assert said(metadata) == texts


def test_an_object_has_one_controller():
    owners = [{**OWNER, "controller": True}, {**OWNER, "name": "m", "controller": True}]

    (error,) = metadata_rules.errors({"name": "n", "ownerReferences": owners}, None, field_errors.dns_subdomain)

    assert (error.field, error.value) == ("metadata.ownerReferences", owners)
    assert error.detail == (
        'Only one reference can have Controller set to true. Found "true" in references for Node/n and Node/m'
    )


def test_two_owners_without_names_are_named_by_nothing():
    owners = [{"apiVersion": "v1", "uid": "u", "controller": True}] * 2

    *_, error = metadata_rules.errors({"name": "n", "ownerReferences": owners}, None, field_errors.dns_subdomain)

    assert error.detail.endswith("in references for / and /")


def test_the_name_of_what_is_there_already_is_not_looked_at_again():
    assert said({"name": "N"}, {"name": "N"}) == []
    assert said({}, {}) == []


@pytest.mark.parametrize(
    ("new", "old", "names"),
    [
        (["a/b"], {}, ""),
        (["a/b"], {"deletionTimestamp": "t", "finalizers": ["a/b", "a/c"]}, ""),
        ([], {"deletionTimestamp": "t", "finalizers": ["a/b"]}, ""),
        (["a/b"], {"deletionTimestamp": "t"}, '"a/b"'),
        (["a/b", "a/c", "a/d"], {"deletionTimestamp": "t", "finalizers": ["a/b"]}, '"a/c", "a/d"'),
    ],
)
def test_what_is_being_deleted_gets_no_new_finalizers(new, old, names):
    text = (
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        f"found new finalizers []string{{{names}}}"
    )

    assert said({"finalizers": new}, old) == ([text, text] if names else [])


def pod(*claims, used=(), group="containers"):
    return {"resourceClaims": list(claims), group: [{"name": "c", "resources": {"claims": list(used)}}]}


A, B = {"name": "a", "resourceClaimName": "x"}, {"name": "b", "resourceClaimTemplateName": "x"}
ONE_SOURCE = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
BOTH = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"resourceClaims": None, "containers": None, "initContainers": None}, [], id="null"),
        pytest.param({"containers": [{"name": "c"}, {"name": "d", "resources": None}, {"resources": {"claims": None}}]}, [], id="no claims"),
        pytest.param(pod(A, B, used=[{"name": "a"}, {"name": "b", "request": "r"}, {"name": "b", "request": "q"}]), [], id="sound"),
        pytest.param(pod(A, A), ['spec.resourceClaims[1].name: Duplicate value: "a"'], id="a name twice"),
        pytest.param(
            pod({"resourceClaimName": "x"}, A, used=[{"name": "a"}]), ["spec.resourceClaims[0].name: Required value"], id="no name"
        ),
        pytest.param(pod({**A, "name": "A"}), [f'spec.resourceClaims[0].name: Invalid value: "A": {LABEL}'], id="a name in capitals"),
        pytest.param(pod({"name": "a"}), [f'spec.resourceClaims[0]: Invalid value: {{"name":"a"}}: {ONE_SOURCE}'], id="no source"),
        pytest.param(
            pod({**A, "resourceClaimTemplateName": "Y"}),
            [
                'spec.resourceClaims[0]: Invalid value: {"name":"a","resourceClaimName":"x","resourceClaimTemplateName":"Y"}: ' + BOTH,
                f'spec.resourceClaims[0].resourceClaimTemplateName: Invalid value: "Y": {SUBDOMAIN}',
            ],
            id="both sources, one of them no name",
        ),
        pytest.param(
            pod(A, used=[{"name": "a", "request": "r"}, {"name": "a", "request": "r"}]),
            ['spec.containers[0].resources.claims[1]: Duplicate value: "a/r"'],
            id="a request twice",
        ),
        pytest.param(pod(A, used=[{}]), ["spec.containers[0].resources.claims[0]: Required value"], id="a claim without a name"),
        pytest.param(
            pod(A, B, used=[{"name": "a"}, {"name": "c"}], group="initContainers"),
            ['spec.initContainers[0].resources.claims[1]: Not found: "c": must be one of the names in pod.spec.resourceClaims: a, b'],
            id="a claim that the pod has not",
        ),
        pytest.param(
            pod(used=[{"name": "c"}]),
            ['spec.containers[0].resources.claims[0]: Not found: "c": must be one of the names in pod.spec.resourceClaims which is empty'],
            id="a claim of a pod without any",
        ),
        pytest.param(
            {"containers": [{"resources": {}}, {"resources": {"claims": [{"name": "a"}, {"name": "a"}]}}], "resourceClaims": [A, A]},
            ['spec.resourceClaims[1].name: Duplicate value: "a"', 'spec.containers[1].resources.claims[1]: Duplicate value: "a"'],
            id="in the second container",
        ),
    ],
)  # fmt: skip
def test_the_claims_of_a_pod_are_refused_for_each_rule_that_they_break(spec, texts):
    assert [str(error) for error in pod_rules.errors(spec)] == texts
