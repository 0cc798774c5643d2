"""What becomes of an object on its way into the store: whole documents, for each kind and each way of writing."""

import copy
import datetime
import re

import pytest

from fakekubelet.apiserver import api_error, kinds, patches, registry

NOW, THEN = "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"
(NAMESPACES, NODES, PODS, CONFIG_MAPS, LEASES, SLICES, CLAIMS, TEMPLATES, CLASSES, RULES) = (
    kinds.of_plural(plural)
    for plural in (
        "namespaces", "nodes", "pods", "configmaps", "leases", "resourceslices", "resourceclaims", "resourceclaimtemplates", "deviceclasses",
        "devicetaintrules",
    )
)  # fmt: skip


@pytest.fixture
def api():
    made = registry.Registry()
    moment = datetime.datetime(2026, 1, 2, 4, 4, 5, 999, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    made.now = lambda: moment
    return made


def later(api):
    before = api.now()
    api.now = lambda: before + datetime.timedelta(seconds=1)


def plain(stored):
    """Return a document without its UID, which has to be one."""
    document = copy.deepcopy(stored.document)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", document["metadata"].pop("uid"))
    return document


def refused(call, *arguments, **options):
    with pytest.raises(api_error.ApiError) as caught:
        call(*arguments, **options)
    return caught.value.code, caught.value.message


def meta(name, version=1001, **more):
    return {"name": name, "resourceVersion": str(version), "creationTimestamp": NOW, **more}


def slice_of(*devices, name="s", **metadata):
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    return {
        "metadata": {"name": name, **metadata}, "spec": {"driver": "d.example.com", "nodeName": "n", "pool": pool, "devices": list(devices)},
    }  # fmt: skip


def claim_of(*requests, name="c", **metadata):
    return {"metadata": {"name": name, **metadata}, "spec": {"devices": {"requests": list(requests)}}}


REQUEST = {"name": "r", "exactly": {"deviceClassName": "gpu"}}
FULL_REQUEST = {"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}}
RESULT = {"request": "r", "driver": "d.example.com", "pool": "p", "device": "x"}
ALLOCATED = {"allocation": {"devices": {"results": [RESULT]}}}


@pytest.mark.parametrize("release", ["1.31", "1.38", "", "1.36.3"])
def test_a_release_that_is_not_played_is_refused_with_those_that_are(release):
    with pytest.raises(ValueError, match=f"^no such release: {release}; there are 1.32, 1.33, 1.34, 1.35, 1.36, 1.37$"):
        registry.Registry(release)


def test_a_registry_is_of_1_36_unless_it_is_told_and_has_its_gates():
    assert registry.Registry().release == "1.36"
    assert "DRADeviceTaints" in registry.Registry().gates
    assert "DRADeviceTaints" not in registry.Registry(feature_gates={"DRADeviceTaints": False}).gates
    assert registry.Registry("1.32").gates == frozenset()


def test_the_time_is_that_of_the_machine():
    before = datetime.datetime.now(datetime.UTC)

    assert before <= registry.Registry().now() <= datetime.datetime.now(datetime.UTC)


# -- creation -----------------------------------------------------------------------------------------------------------


def made(metadata, **rest):
    return {"metadata": metadata, **rest}


CREATED = [
    (NAMESPACES, {"metadata": {"name": "n", "labels": {"a": "b"}}, "status": {"phase": "X"}}, made(
        meta("n", labels={"a": "b", "kubernetes.io/metadata.name": "n"}), status={"phase": "Active"},
    )),
    (NODES, {"metadata": {"name": "n"}, "spec": {"x": 1}, "status": {"y": 2}}, made(meta("n"), spec={"x": 1}, status={"y": 2})),
    (PODS, {"metadata": {"name": "p"}}, made(
        meta("p", namespace="default", generation=1),
        spec={"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler"},
        status={"phase": "Pending", "qosClass": "BestEffort"},
    )),
    (
        PODS,
        {
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "schedulerName": "s"}, "status": {"phase": "Running"},
        },
        made(
            meta("p", namespace="default", generation=1),
            spec={"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "schedulerName": "s"},
            status={"phase": "Pending", "qosClass": "BestEffort"},
        ),
    ),
    (CONFIG_MAPS, {"metadata": {"name": "m"}, "data": {"a": "b"}, "apiVersion": "v1", "kind": "ConfigMap"}, made(
        meta("m", namespace="default"), data={"a": "b"},
    )),
    (
        SLICES,
        slice_of(
            {
                "name": "a", "capacity": {"m": {}, "n": {"value": "1"}}, "taints": [{"key": "k", "effect": "None"}, {"key": "l", "effect": "None", "timeAdded": THEN}],
                "consumesCounters": [{"counterSet": "s", "counters": {"x": {}, "y": {"value": "2"}}}],
            }
        ),
        made(
            meta("s", generation=1),
            spec={
                **slice_of()["spec"],
                "devices": [
                    {
                        "name": "a", "capacity": {"m": {"value": "0"}, "n": {"value": "1"}},
                        "taints": [{"key": "k", "effect": "None", "timeAdded": NOW}, {"key": "l", "effect": "None", "timeAdded": THEN}],
                        "consumesCounters": [{"counterSet": "s", "counters": {"x": {"value": "0"}, "y": {"value": "2"}}}],
                    }
                ],
            },
        ),
    ),
    (
        SLICES,
        {"metadata": {"name": "s"}, "spec": {
            **{key: value for key, value in slice_of()["spec"].items() if key != "devices"}, "sharedCounters": [{"name": "c", "counters": {"x": {}}}],
        }},
        made(meta("s", generation=1), spec={
            **{key: value for key, value in slice_of()["spec"].items() if key != "devices"}, "sharedCounters": [{"name": "c", "counters": {"x": {"value": "0"}}}],
        }),
    ),
    (
        CLAIMS,
        claim_of(
            {"name": "r", "exactly": {"deviceClassName": "gpu", "tolerations": [{"key": "k"}, {"key": "l", "operator": "Exists"}]}},
            {"name": "q", "exactly": {"deviceClassName": "gpu", "allocationMode": "All"}},
            {"name": "p", "firstAvailable": [{"name": "s", "deviceClassName": "gpu"}, {"name": "t", "deviceClassName": "gpu", "count": 2}]},
        ),
        made(
            meta("c", namespace="default"),
            spec={
                "devices": {
                    "requests": [
                        {
                            "name": "r", "exactly": {
                                "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1,
                                "tolerations": [{"key": "k", "operator": "Equal"}, {"key": "l", "operator": "Exists"}],
                            },
                        },
                        {"name": "q", "exactly": {"deviceClassName": "gpu", "allocationMode": "All"}},
                        {
                            "name": "p",
                            "firstAvailable": [
                                {"name": "s", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
                                {"name": "t", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2},
                            ],
                        },
                    ]
                }
            },
            status={},
        ),
    ),
    (CLAIMS, {"metadata": {"name": "c"}, "spec": {"devices": {}}, "status": ALLOCATED}, made(
        meta("c", namespace="default"), spec={"devices": {"requests": None}}, status={},
    )),
    (TEMPLATES, {"metadata": {"name": "t"}, "spec": {"spec": {"devices": {"requests": [REQUEST]}}}}, made(
        meta("t", namespace="default"), spec={"metadata": {}, "spec": {"devices": {"requests": [FULL_REQUEST]}}},
    )),
    (TEMPLATES, {"metadata": {"name": "t"}, "spec": {"metadata": {"labels": {"a": "b"}}}}, made(
        meta("t", namespace="default"), spec={"metadata": {"labels": {"a": "b"}}, "spec": {}},
    )),
    (CLASSES, {"metadata": {"name": "gpu"}}, made(meta("gpu", generation=1))),
    (RULES, {"metadata": {"name": "r"}, "spec": {"taint": {"key": "k", "effect": "None"}}}, made(
        meta("r", generation=1), spec={"taint": {"key": "k", "effect": "None", "timeAdded": NOW}}, status={},
    )),
    (RULES, {"metadata": {"name": "r"}, "spec": {"taint": {"key": "k", "effect": "None", "timeAdded": THEN}}}, made(
        meta("r", generation=1), spec={"taint": {"key": "k", "effect": "None", "timeAdded": THEN}}, status={},
    )),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "given", "document"), CREATED, ids=[f"{kind.name} {index}" for index, (kind, *_) in enumerate(CREATED)]
)
def test_a_new_object_is_dated_counted_and_filled_up(api, kind, given, document):
    before = copy.deepcopy(given)

    stored = api.create(kind, given)

    assert plain(stored) == document
    assert given == before, "what the caller has stays as it is"
    assert api.get(kind, document["metadata"]["name"], "default") is stored


def test_what_a_client_cannot_set_of_metadata_is_set_by_the_server(api):
    theirs = {
        "uid": "u", "creationTimestamp": "x", "generation": 7, "deletionTimestamp": "x", "deletionGracePeriodSeconds": 7, "managedFields": [{}],
        "labels": {}, "annotations": {"a": "b"}, "finalizers": [], "resourceVersion": "",
    }  # fmt: skip

    assert plain(api.create(CLASSES, {"metadata": {"name": "gpu", **theirs}})) == {
        "metadata": meta("gpu", generation=1, annotations={"a": "b"})
    }


def test_two_objects_are_two_and_each_has_a_uid(api):
    first, second = (api.create(CLASSES, {"metadata": {"name": name}}).document["metadata"]["uid"] for name in "ab")

    assert first != second


@pytest.mark.parametrize(("prefix", "kept"), [("a-", "a-"), ("x" * 58, "x" * 58), ("x" * 70, "x" * 58)])
def test_a_generated_name_is_its_prefix_and_five_letters_that_spell_nothing(api, prefix, kept):
    found = [api.create(CLASSES, {"metadata": {"generateName": prefix}}).document["metadata"] for _ in range(20)]

    assert all(re.fullmatch(f"{kept}[bcdfghjklmnpqrstvwxz2456789]{{5}}", metadata["name"]) for metadata in found)
    assert {metadata["generateName"] for metadata in found} == {prefix}
    assert len({metadata["name"] for metadata in found}) > 10


def test_a_name_that_is_given_counts_before_one_that_would_be_made(api):
    assert api.create(CLASSES, {"metadata": {"name": "a", "generateName": "b-"}}).document["metadata"]["name"] == "a"


def test_a_namespace_is_that_of_the_request_or_of_the_object_or_the_default(api):
    def where(body, asked):
        return api.create(CONFIG_MAPS, {"metadata": {"generateName": "a-", **body}}, asked).key[0]

    assert where({}, "") == "default"
    assert where({}, "x") == "x"
    assert where({"namespace": "y"}, "") == "y"
    assert where({"namespace": "y"}, "y") == "y"
    text = "the namespace of the provided object does not match the namespace sent on the request"
    assert refused(where, {"namespace": "y"}, "x") == (400, text)
    assert refused(api.create, CLASSES, {"metadata": {"name": "a", "namespace": "y"}}) == (
        400,
        "namespace is not allowed on this type",
    )


def test_a_creation_is_refused(api):
    api.create(CLASSES, {"metadata": {"name": "a"}})

    assert refused(api.create, CLASSES, {"metadata": {"name": "a"}}) == (
        409,
        'deviceclasses.resource.k8s.io "a" already exists',
    )
    assert refused(api.create, CLASSES, {"metadata": {"name": "b", "resourceVersion": "7"}}) == (
        500, "resourceVersion should not be set on objects to be created",
    )  # fmt: skip
    assert refused(api.create, CLASSES, {"metadata": 7})[0] == 400
    assert refused(api.create, CLASSES, {}) == (
        422, 'DeviceClass.resource.k8s.io "" is invalid: metadata.name: Required value: name or generateName is required',
    )  # fmt: skip
    assert refused(api.create, NAMESPACES, {"metadata": {"name": "a.b"}}) == (
        422, 'Namespace "a.b" is invalid: metadata.name: Invalid value: "a.b": must not contain dots',
    )  # fmt: skip
    assert api.create(CLASSES, {"metadata": {"name": "a.b"}}).revision == 1002
    assert api.store.revision == 1002


BAD = [
    (PODS, {"spec": {"resourceClaims": [{}]}}, "spec.resourceClaims[0].name: Required value"),
    (SLICES, {"spec": {}}, "spec.driver: Required value"), (CLASSES, {"spec": {"selectors": [{}]}}, "spec.selectors[0].cel: Required value"),
    (RULES, {"spec": {"taint": {"key": "k"}}}, "spec.taint.effect: Required value"),
    (CLAIMS, {"spec": {"devices": {"requests": [{"name": "r"}]}}}, "spec.devices.requests[0]: Required value"),
    (TEMPLATES, {"spec": {"spec": {"devices": {"requests": [{"name": "r"}]}}}}, "spec.spec.devices.requests[0]: Required value"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "text"), BAD, ids=[kind.name for kind, *_ in BAD])
def test_each_kind_has_its_rules(api, kind, body, text):
    code, message = refused(api.create, kind, {"metadata": {"name": "x"}, **body})

    assert code == 422
    assert text in message
    assert api.store.all(kind) == []


def test_a_dry_run_says_what_would_be_stored_and_stores_nothing(api):
    stored = api.create(CLASSES, {"metadata": {"name": "a"}}, dry_run=True)

    assert stored.document["metadata"]["generation"] == 1
    assert "resourceVersion" not in stored.document["metadata"]
    assert stored.revision == api.store.revision == 1000
    assert refused(api.get, CLASSES, "a") == (404, 'deviceclasses.resource.k8s.io "a" not found')


def test_a_write_says_what_it_would_have_warned_of(api):
    api.create(CLASSES, {"metadata": {"name": "a"}, "spec": {"colour": 1}})
    assert api.warnings == ['unknown field "spec.colour"']
    api.create(CLASSES, {"metadata": {"name": "b"}})
    assert api.warnings == []


def test_fields_of_gates_that_are_off_are_dropped_from_claims_templates_and_status():
    api = registry.Registry("1.32")
    request = {
        "name": "r",
        "exactly": {"deviceClassName": "gpu", "adminAccess": True, "capacity": {"requests": {"m": "1"}}},
    }

    claim = api.create(CLAIMS, claim_of(request))
    template = api.create(
        TEMPLATES, {"metadata": {"name": "t"}, "spec": {"spec": {"devices": {"requests": [request]}}}}
    )
    status = {**ALLOCATED, "devices": [{"driver": "d.example.com", "pool": "p", "device": "x"}]}
    written, _ = api.update(CLAIMS, "c", {**claim.document, "status": status}, "default", subresource="status")

    assert claim.document["spec"]["devices"]["requests"] == [FULL_REQUEST]
    assert template.document["spec"]["spec"]["devices"]["requests"] == [FULL_REQUEST]
    assert written.document["status"] == ALLOCATED


# -- admin access -------------------------------------------------------------------------------------------------------


RULE = (
    "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
)
ADMIN = {"name": "r", "exactly": {"deviceClassName": "gpu", "adminAccess": True}}


@pytest.mark.parametrize(
    ("labels", "is_let"),
    [
        ({"resource.kubernetes.io/admin-access": "true"}, True),
        ({"resource.kubernetes.io/admin-access": "yes"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_admin_access_is_for_namespaces_with_the_label(api, labels, is_let):
    if labels is not None:
        api.create(NAMESPACES, {"metadata": {"name": "ns", "labels": labels}})
    template = {"metadata": {"name": "t"}, "spec": {"spec": {"devices": {"requests": [ADMIN]}}}}
    api.create(CLAIMS, claim_of(REQUEST, name="plain"), "ns")
    plain_claim = api.get(CLAIMS, "plain", "ns").document
    status = {"allocation": {"devices": {"results": [{**RESULT, "adminAccess": True}]}}}
    calls = [
        ("create", (CLAIMS, claim_of(ADMIN), "ns"), {}, "spec.devices.requests[0].adminAccess"),
        ("create", (TEMPLATES, template, "ns"), {}, "spec.devices.requests[0].adminAccess"),
        (
            "update", (CLAIMS, "plain", {**plain_claim, "status": status}, "ns"), {"subresource": "status"},
            "status.allocation.devices.results[0].adminAccess",
        ),
    ]  # fmt: skip

    for method, arguments, options, where in calls:
        if is_let:
            getattr(api, method)(*arguments, **options)
        else:
            code, message = refused(getattr(api, method), *arguments, **options)
            assert (code, message.partition("is invalid: ")[2]) == (422, f"{where}: Forbidden: {RULE}")


def test_what_has_admin_access_keeps_it_when_the_namespace_loses_the_label(api):
    api.create(NAMESPACES, {"metadata": {"name": "ns", "labels": {"resource.kubernetes.io/admin-access": "true"}}})
    claim = api.create(CLAIMS, claim_of(ADMIN), "ns").document
    template = api.create(
        TEMPLATES, {"metadata": {"name": "t"}, "spec": {"spec": {"devices": {"requests": [ADMIN]}}}}, "ns"
    ).document
    status = {"allocation": {"devices": {"results": [{**RESULT, "adminAccess": True}]}}}
    claim = api.update(CLAIMS, "c", {**claim, "status": status}, "ns", subresource="status")[0].document
    api.patch(NAMESPACES, "ns", patches.MERGE, {"metadata": {"labels": None}})

    for kind, document in ((CLAIMS, claim), (TEMPLATES, template)):
        labelled = {**document, "metadata": {**document["metadata"], "labels": {"a": "b"}}}
        assert api.update(kind, document["metadata"]["name"], labelled, "ns")[0].document["metadata"]["labels"] == {
            "a": "b"
        }
    user = {"resource": "pods", "name": "p", "uid": "u"}
    current = api.get(CLAIMS, "c", "ns").document
    api.update(CLAIMS, "c", {**current, "status": {**status, "reservedFor": [user]}}, "ns", subresource="status")
    assert api.get(CLAIMS, "c", "ns").document["status"]["reservedFor"] == [user]


# -- updates ------------------------------------------------------------------------------------------------------------


def test_an_update_replaces_what_a_client_may_and_counts_changes_of_the_spec(api):
    first = api.create(SLICES, slice_of({"name": "a"}, labels={"a": "b"}, generateName="s-")).document
    later(api)
    new = slice_of({"name": "b", "taints": [{"key": "k", "effect": "None"}]}, annotations={"c": "d"})

    stored, is_new = api.update(
        SLICES, "s", {**new, "metadata": {**new["metadata"], "uid": first["metadata"]["uid"], "generation": 9}}
    )

    assert is_new is False
    assert plain(stored) == {
        "metadata": meta("s", 1002, generation=2, annotations={"c": "d"}, generateName="s-"),
        "spec": {
            **new["spec"],
            "devices": [{"name": "b", "taints": [{"key": "k", "effect": "None", "timeAdded": THEN}]}],
        },
    }
    assert stored.document["metadata"]["uid"] == first["metadata"]["uid"]
    relabelled, _ = api.update(
        SLICES, "s", {**stored.document, "metadata": {**stored.document["metadata"], "labels": {"x": "y"}}}
    )
    assert (relabelled.document["metadata"]["generation"], relabelled.revision) == (2, 1003)


def test_kinds_that_do_not_count_have_no_generation(api):
    stored = api.create(CONFIG_MAPS, {"metadata": {"name": "m"}})
    changed, _ = api.update(CONFIG_MAPS, "m", {"metadata": {"name": "m"}, "spec": {"a": 1}}, "default")

    assert "generation" not in stored.document["metadata"]
    assert plain(changed) == {"metadata": meta("m", 1002, namespace="default"), "spec": {"a": 1}}


@pytest.mark.parametrize(
    "plural",
    [kind.plural for kind in kinds.KINDS if kind.plural not in ("resourceclaims", "resourceclaimtemplates", "events")],
)
def test_a_generation_counts_where_kubernetes_counts(api, plural):
    kind = kinds.of_plural(plural)
    spec = {
        "resourceslices": slice_of()["spec"], "devicetaintrules": {"taint": {"key": "k", "effect": "None"}}, "deviceclasses": {},
    }.get(plural, {"a": 1})  # fmt: skip
    other = {
        "resourceslices": slice_of({"name": "a"})["spec"], "devicetaintrules": {"taint": {"key": "l", "effect": "None"}},
        "deviceclasses": {"extendedResourceName": "a.b/c"},
    }.get(plural, {"a": 2})  # fmt: skip
    api.create(kind, {"metadata": {"name": "x"}, "spec": spec})

    stored, _ = api.update(kind, "x", {"metadata": {"name": "x"}, "spec": other}, "default")

    counts = {"pods", "daemonsets", "deployments", "deviceclasses", "devicetaintrules", "resourceslices"}
    assert stored.document["metadata"].get("generation") == (2 if plural in counts else None)


def test_an_update_that_changes_nothing_is_none(api):
    first = api.create(SLICES, slice_of({"name": "a", "taints": [{"key": "k", "effect": "None"}]}))

    again, is_new = api.update(SLICES, "s", first.document)
    without_version = copy.deepcopy(first.document)
    del without_version["metadata"]["resourceVersion"]

    assert (again, is_new, api.store.revision) == (first, False, 1001)
    assert api.update(SLICES, "s", without_version)[0] is first
    assert api.update(SLICES, "s", first.document, dry_run=True)[0].document == first.document


def test_an_update_is_refused(api):
    first = api.create(SLICES, slice_of())
    uid = first.document["metadata"]["uid"]

    def update(at="s", **metadata):
        return refused(
            api.update, SLICES, at, {**first.document, "metadata": {**first.document["metadata"], **metadata}}
        )

    assert update(resourceVersion="1000") == (
        409,
        'Operation cannot be fulfilled on resourceslices.resource.k8s.io "s": the object has been modified; please apply your changes to the latest '
        "version and try again",
    )
    assert update(uid="other", resourceVersion="1000") == (
        409,
        'Operation cannot be fulfilled on resourceslices.resource.k8s.io "s": StorageError: invalid object, Code: 4, Key: /registry/resourceslices/s, '
        f"ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: other, UID in object meta: {uid}",
    )
    assert update("t") == (400, "the name of the object (s) does not match the name on the URL (t)")
    assert update("t", name="t") == (404, 'resourceslices.resource.k8s.io "t" not found')
    assert update(namespace="ns") == (400, "namespace is not allowed on this type")
    assert update(labels={"a b": "c"})[0] == 422
    assert api.get(SLICES, "s") is first


def test_the_key_of_a_namespaced_object_has_its_namespace(api):
    first = api.create(CONFIG_MAPS, {"metadata": {"name": "m"}}, "ns").document

    code, message = refused(api.update, CONFIG_MAPS, "m", {"metadata": {"name": "m", "uid": "other"}}, "ns")

    assert code == 409
    assert (
        f"Key: /registry/configmaps/ns/m, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: other, UID in object meta: {first['metadata']['uid']}"
        in message
    )
    assert refused(api.update, CONFIG_MAPS, "m", {"metadata": {"name": "m"}}, "elsewhere")[0] == 404


@pytest.mark.parametrize(
    "body", [{}, {"metadata": None}, {"metadata": {"name": ""}}, {"metadata": {"labels": {"a": "b"}}}]
)
def test_a_body_without_a_name_is_about_nothing(api, body):
    api.create(CLASSES, {"metadata": {"name": "a"}})

    text = "the name of the object (a based on URL) was undeterminable: name must be provided"
    assert refused(api.update, CLASSES, "a", body) == (400, text)
    assert refused(api.update, LEASES, "a", body, "ns") == (400, text)


@pytest.mark.parametrize("plural", sorted({kind.plural for kind in kinds.KINDS}))
def test_an_update_makes_events_and_leases_and_nothing_else(api, plural):
    kind = kinds.of_plural(plural)
    if plural in ("events", "leases"):
        stored, is_new = api.update(kind, "x", {"metadata": {"name": "x"}}, "ns")
        assert (is_new, stored.key, stored.document["metadata"]["creationTimestamp"]) == (True, ("ns", "x"), NOW)
        assert refused(api.update, kind, "y", {"metadata": {"name": "y"}}, "ns", subresource="status")[0] == 404
        assert api.update(kind, "z", {"metadata": {"name": "z"}}, "ns", dry_run=True)[1] is True
        assert len(api.store.all(kind)) == 1
    else:
        assert refused(api.update, kind, "x", {"metadata": {"name": "x"}}, "ns") == (
            404,
            f'{kind.resource} "x" not found',
        )


def test_the_newer_events_are_made_by_an_update_too(api):
    assert api.update(kinds.BY_PLURAL["events.k8s.io", "events"], "x", {"metadata": {"name": "x"}}, "ns")[1] is True


def test_a_dry_run_of_an_update_says_what_would_be_and_changes_nothing(api):
    first = api.create(CLASSES, {"metadata": {"name": "a"}})

    stored, _ = api.update(
        CLASSES, "a", {"metadata": {"name": "a"}, "spec": {"extendedResourceName": "a.b/c"}}, dry_run=True
    )

    assert (stored.document["spec"], stored.document["metadata"]["generation"]) == (
        {"extendedResourceName": "a.b/c"},
        2,
    )
    assert (stored.revision, stored.document["metadata"]["resourceVersion"]) == (1001, "1001")
    assert api.get(CLASSES, "a") is first


# -- status -------------------------------------------------------------------------------------------------------------


def test_a_status_is_written_apart_from_all_else(api):
    first = api.create(CLAIMS, claim_of(REQUEST, labels={"a": "b"})).document
    body = {
        "metadata": {"name": "c", "labels": {"x": "y"}, "finalizers": ["a/b"]},
        "spec": {},
        "status": ALLOCATED,
        "more": 1,
    }

    stored, _ = api.update(CLAIMS, "c", body, "default", subresource="status")

    assert stored.document == {
        **first,
        "metadata": {**first["metadata"], "resourceVersion": "1002"},
        "status": ALLOCATED,
    }
    emptied, _ = api.update(CLAIMS, "c", {"metadata": {"name": "c"}}, "default", subresource="status")
    assert emptied.document["status"] == {}


def test_a_write_of_the_rest_leaves_the_status(api):
    api.create(CLAIMS, claim_of(REQUEST))
    api.update(CLAIMS, "c", {"metadata": {"name": "c"}, "status": ALLOCATED}, "default", subresource="status")

    stored, _ = api.update(
        CLAIMS,
        "c",
        {
            "metadata": {"name": "c", "labels": {"a": "b"}},
            "spec": {"devices": {"requests": [FULL_REQUEST]}},
            "status": {},
        },
        "default",
    )

    assert (stored.document["metadata"]["labels"], stored.document["status"]) == ({"a": "b"}, ALLOCATED)


def test_the_status_of_kinds_outside_dra_takes_labels_and_annotations_along(api):
    api.create(NODES, {"metadata": {"name": "n", "labels": {"a": "b"}, "finalizers": ["f/g"]}, "spec": {"x": 1}})
    body = {
        "metadata": {"name": "n", "labels": {"c": "d"}, "annotations": {"e": "f"}, "finalizers": ["x/y"]},
        "spec": {"x": 2},
        "status": {"y": 3},
    }

    stored, _ = api.update(NODES, "n", body, subresource="status")

    assert plain(stored) == {
        "metadata": meta("n", 1002, labels={"c": "d"}, annotations={"e": "f"}, finalizers=["f/g"]), "spec": {"x": 1}, "status": {"y": 3},
    }  # fmt: skip


def test_an_object_without_a_status_gets_none_from_a_write_of_the_rest(api):
    api.create(NODES, {"metadata": {"name": "n"}})

    stored, _ = api.update(NODES, "n", {"metadata": {"name": "n"}, "spec": {"x": 1}, "status": {"y": 1}})

    assert plain(stored) == {"metadata": meta("n", 1002), "spec": {"x": 1}}


def test_a_status_has_its_defaults(api):
    api.create(CLAIMS, claim_of(REQUEST))
    device = {"driver": "d.example.com", "pool": "p", "device": "x"}
    status = {
        "allocation": {"devices": {"results": [{**RESULT, "tolerations": [{"key": "k"}]}]}}, "devices": [{**device, "data": {}}],
    }  # fmt: skip

    stored, _ = api.update(CLAIMS, "c", {"metadata": {"name": "c"}, "status": status}, "default", subresource="status")

    assert stored.document["status"] == {
        "allocation": {"devices": {"results": [{**RESULT, "tolerations": [{"key": "k", "operator": "Equal"}]}]}},
        "devices": [{**device, "conditions": None, "data": {}}],
    }


def test_a_status_is_held_to_its_rules(api):
    api.create(CLAIMS, claim_of(REQUEST))
    user = {"resource": "pods", "name": "p", "uid": "u"}

    def write(status):
        return api.update(CLAIMS, "c", {"metadata": {"name": "c"}, "status": status}, "default", subresource="status")

    assert refused(write, {"reservedFor": [user]}) == (
        422,
        'ResourceClaim.resource.k8s.io "c" is invalid: status.reservedFor: Forbidden: may not be specified when `allocated` is not set',
    )
    write({**ALLOCATED, "reservedFor": [user]})
    api.patch(CLAIMS, "c", patches.MERGE, {"metadata": {"finalizers": ["a/b"]}}, "default")
    api.delete(CLAIMS, "c", "default")
    code, message = refused(write, {**ALLOCATED, "reservedFor": [user, {**user, "uid": "v"}]})
    assert (
        code,
        message.endswith("new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"),
    ) == (422, True)
    write({})


def test_a_status_that_changes_nothing_is_no_change(api):
    api.create(CLAIMS, claim_of(REQUEST))
    first, _ = api.update(
        CLAIMS, "c", {"metadata": {"name": "c"}, "status": ALLOCATED}, "default", subresource="status"
    )

    again, _ = api.update(
        CLAIMS, "c", {"metadata": {"name": "c"}, "status": ALLOCATED}, "default", subresource="status"
    )
    patched, _ = api.patch(CLAIMS, "c", patches.MERGE, {"status": ALLOCATED}, "default", subresource="status")

    assert again is patched is first
    assert api.store.revision == first.revision


def test_a_dry_run_of_a_status_has_the_version_that_is_stored(api):
    api.create(CLAIMS, claim_of(REQUEST))

    body = {"metadata": {"name": "c"}, "status": ALLOCATED}
    stored, _ = api.update(CLAIMS, "c", body, "default", subresource="status", dry_run=True)

    assert (stored.document["status"], stored.document["metadata"]["resourceVersion"]) == (ALLOCATED, "1001")
    assert api.get(CLAIMS, "c", "default").document["status"] == {}


# -- patches ------------------------------------------------------------------------------------------------------------


def test_a_patch_changes_what_is_there(api):
    api.create(CLASSES, {"metadata": {"name": "a"}, "spec": {"extendedResourceName": "a.b/c"}})

    stored, is_new = api.patch(
        CLASSES, "a", patches.MERGE, {"metadata": {"labels": {"x": "y"}}, "spec": {"extendedResourceName": None}}
    )

    assert is_new is False
    assert plain(stored) == {"metadata": meta("a", 1002, generation=2, labels={"x": "y"}), "spec": {}}


def test_a_patch_may_test_the_kind_and_its_own_version(api):
    api.create(CLASSES, {"metadata": {"name": "a"}})
    steps = [
        {"op": "test", "path": "/kind", "value": "DeviceClass"},
        {"op": "test", "path": "/metadata/resourceVersion", "value": "1001"},
    ]

    assert api.patch(CLASSES, "a", patches.JSON, steps)[0].revision == 1001
    assert refused(api.patch, CLASSES, "a", patches.MERGE, {"metadata": {"resourceVersion": "1000"}})[0] == 409


def test_a_patch_is_of_the_status_or_of_the_rest(api):
    api.create(CLAIMS, claim_of(REQUEST))

    stored, _ = api.patch(
        CLAIMS,
        "c",
        patches.MERGE,
        {"status": ALLOCATED, "metadata": {"labels": {"x": "y"}}},
        "default",
        subresource="status",
    )
    assert (stored.document["status"], "labels" in stored.document["metadata"]) == (ALLOCATED, False)
    stored, _ = api.patch(CLAIMS, "c", patches.MERGE, {"status": None, "metadata": {"labels": {"x": "y"}}}, "default")
    assert (stored.document["status"], stored.document["metadata"]["labels"]) == (ALLOCATED, {"x": "y"})


def test_a_patch_of_what_is_not_there_is_refused_unless_it_is_applied(api):
    assert refused(api.patch, CLASSES, "a", patches.MERGE, {}) == (404, 'deviceclasses.resource.k8s.io "a" not found')
    assert refused(api.patch, CLASSES, "a", patches.APPLY[0], [])[0] == 404
    assert refused(api.patch, CLASSES, "a", patches.APPLY[0], {}, subresource="status")[0] == 404
    assert refused(api.patch, CLASSES, "a", "text/plain", {})[0] == 404

    for number, content_type in enumerate(patches.APPLY):
        stored, is_new = api.patch(
            CONFIG_MAPS,
            f"m{number}",
            content_type,
            {"metadata": {"labels": {"x": "y"}, "name": "z"}, "data": {"a": "b"}},
            "ns",
        )
        assert is_new is True
        assert plain(stored) == {
            "metadata": meta(f"m{number}", 1001 + number, namespace="ns", labels={"x": "y"}),
            "data": {"a": "b"},
        }
    assert api.patch(CONFIG_MAPS, "dry", patches.APPLY[0], {}, "ns", dry_run=True)[1] is True
    assert len(api.store.all(CONFIG_MAPS)) == 2


def test_a_patch_that_is_run_dry_changes_nothing(api):
    first = api.create(CLASSES, {"metadata": {"name": "a"}})

    stored, _ = api.patch(CLASSES, "a", patches.MERGE, {"metadata": {"labels": {"x": "y"}}}, dry_run=True)

    assert stored.document["metadata"]["labels"] == {"x": "y"}
    assert api.get(CLASSES, "a") is first


def test_a_patch_is_of_what_the_version_shows(api):
    api.create(SLICES, slice_of({"name": "a"}))
    devices = [{"name": "a", "basic": {"attributes": {"x": {"int": 1}}}}, {"name": "b", "basic": {}}]
    steps = [{"op": "add", "path": "/spec/devices/0/basic/bindsToNode", "value": True}]

    merged, _ = api.patch(SLICES, "s", patches.MERGE, {"spec": {"devices": devices}}, version="v1beta1")
    assert merged.document["spec"]["devices"] == [{"name": "a", "attributes": {"x": {"int": 1}}}, {"name": "b"}]
    stepped, _ = api.patch(SLICES, "s", patches.JSON, steps, version="v1beta1")
    assert stepped.document["spec"]["devices"] == [
        {"name": "a", "attributes": {"x": {"int": 1}}, "bindsToNode": True},
        {"name": "b"},
    ]
    tested = [{"op": "test", "path": "/apiVersion", "value": "resource.k8s.io/v1beta2"}]
    assert api.patch(SLICES, "s", patches.JSON, tested, version="v1beta2")[0] is stepped
    assert refused(api.patch, SLICES, "s", patches.JSON, tested)[0] == 422


def test_what_is_applied_has_the_shape_of_the_version(api):
    spec = {"devices": {"requests": [{"name": "r", "deviceClassName": "gpu"}]}}

    stored, _ = api.patch(CLAIMS, "c", patches.APPLY[0], {"spec": spec}, "default", version="v1beta1")

    assert stored.document["spec"]["devices"]["requests"] == [FULL_REQUEST]


# -- deletions ----------------------------------------------------------------------------------------------------------


def test_what_nothing_holds_is_gone_at_once(api):
    first = api.create(CLASSES, {"metadata": {"name": "a"}})

    last, is_gone = api.delete(CLASSES, "a")

    assert is_gone is True
    assert last.document == {**first.document, "metadata": {**first.document["metadata"], "resourceVersion": "1002"}}
    assert refused(api.delete, CLASSES, "a") == (404, 'deviceclasses.resource.k8s.io "a" not found')


def test_what_has_finalizers_is_marked_once_and_gone_with_the_last_of_them(api):
    api.create(SLICES, slice_of(finalizers=["a/b", "a/c"]))
    later(api)

    marked, is_gone = api.delete(SLICES, "s")
    assert is_gone is False
    assert plain(marked)["metadata"] == meta(
        "s", 1002, generation=2, finalizers=["a/b", "a/c"], deletionTimestamp=THEN, deletionGracePeriodSeconds=0
    )
    later(api)
    assert api.delete(SLICES, "s") == (marked, False)

    body = copy.deepcopy(marked.document)
    body["metadata"]["finalizers"] = ["a/c"]
    held, _ = api.update(SLICES, "s", body)
    assert (held.revision, held.document["metadata"]["deletionTimestamp"]) == (1003, THEN)
    body["metadata"] |= {"finalizers": [], "resourceVersion": "1003"}
    heard = []
    api.store.listen(SLICES, heard.append)
    last, _ = api.update(SLICES, "s", body)
    assert [change.type for change in heard] == ["MODIFIED", "DELETED"]
    assert (last.revision, "finalizers" in last.document["metadata"]) == (1005, False)
    assert api.store.all(SLICES) == []


def a_pod(api, phase="Running", **spec):
    api.create(PODS, {"metadata": {"name": "p"}, "spec": spec})
    if spec.get("nodeName"):
        api.update(PODS, "p", {"metadata": {"name": "p"}, "status": {"phase": phase}}, "default", subresource="status")


@pytest.mark.parametrize(
    ("spec", "phase", "asked", "grace"),
    [
        ({}, "Pending", None, 0), ({}, "Pending", 60, 0), ({"nodeName": "n"}, "Running", None, 30), ({"nodeName": "n"}, "Running", 60, 60),
        ({"nodeName": "n"}, "Running", 0, 0), ({"nodeName": "n"}, "Succeeded", 60, 0), ({"nodeName": "n"}, "Failed", None, 0),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 7}, "Pending", None, 7), ({"nodeName": "n", "terminationGracePeriodSeconds": 0}, "Running", None, 0),
    ],
)  # fmt: skip
def test_a_pod_on_a_node_has_its_time_unless_it_is_over(api, spec, phase, asked, grace):
    a_pod(api, phase, **spec)

    stored, is_gone = api.delete(PODS, "p", "default", grace_s=asked)

    assert is_gone is (grace == 0)
    metadata = stored.document["metadata"]
    if grace:
        end = datetime.datetime.fromisoformat(NOW) + datetime.timedelta(seconds=grace)
        assert (metadata["deletionGracePeriodSeconds"], metadata["generation"]) == (grace, 2)
        assert metadata["deletionTimestamp"] == end.strftime("%Y-%m-%dT%H:%M:%SZ")
    else:
        assert "deletionTimestamp" not in metadata


def test_a_second_deletion_makes_the_time_shorter_and_never_longer(api):
    a_pod(api, nodeName="n")
    first, _ = api.delete(PODS, "p", "default")

    assert api.delete(PODS, "p", "default", grace_s=30) == (first, False)
    assert api.delete(PODS, "p", "default", grace_s=31) == (first, False)
    shorter, is_gone = api.delete(PODS, "p", "default", grace_s=29)
    assert (shorter.document["metadata"]["deletionGracePeriodSeconds"], is_gone) == (29, False)
    assert api.delete(PODS, "p", "default", grace_s=0)[1] is True


def test_a_pod_that_was_marked_and_has_ended_stays_for_its_finalizers_and_goes_with_them(api):
    api.create(PODS, {"metadata": {"name": "p", "finalizers": ["a/b"]}, "spec": {"nodeName": "n"}})
    marked, _ = api.delete(PODS, "p", "default")
    ended, _ = api.update(
        PODS, "p", {"metadata": {"name": "p"}, "status": {"phase": "Succeeded"}}, "default", subresource="status"
    )
    assert "finalizers" in ended.document["metadata"]

    api.patch(PODS, "p", patches.MERGE, {"metadata": {"finalizers": None}}, "default")

    assert marked.document["metadata"]["deletionGracePeriodSeconds"] == 30
    assert api.store.all(PODS) == []


def test_a_pod_that_was_marked_stays_with_its_kubelet_when_its_finalizers_are_gone(api):
    api.create(PODS, {"metadata": {"name": "p", "finalizers": ["a/b"]}, "spec": {"nodeName": "n"}})
    api.delete(PODS, "p", "default")

    api.patch(PODS, "p", patches.MERGE, {"metadata": {"finalizers": None}}, "default")

    assert len(api.store.all(PODS)) == 1


def test_a_deletion_of_something_else_than_was_meant_is_refused(api):
    uid = api.create(CLASSES, {"metadata": {"name": "a"}}).document["metadata"]["uid"]
    text = 'Operation cannot be fulfilled on DeviceClass.resource.k8s.io "a": the {} in the precondition ({}) does not match the {} in record ({}). '

    code, message = refused(api.delete, CLASSES, "a", preconditions={"uid": "u"})
    assert (code, message) == (
        409,
        text.format("UID", "u", "UID", uid) + "The object might have been deleted and then recreated",
    )
    code, message = refused(api.delete, CLASSES, "a", preconditions={"uid": uid, "resourceVersion": "1"})
    assert (code, message) == (
        409,
        text.format("ResourceVersion", "1", "ResourceVersion", "1001") + "The object might have been modified",
    )
    assert api.delete(CLASSES, "a", preconditions={"uid": uid, "resourceVersion": "1001"})[1] is True


def test_a_dry_run_of_a_deletion_deletes_nothing(api):
    first = api.create(CLASSES, {"metadata": {"name": "a"}})

    assert api.delete(CLASSES, "a", dry_run=True) == (first, False)
    assert api.get(CLASSES, "a") is first


def test_an_object_is_found_in_its_namespace(api):
    stored = api.create(CONFIG_MAPS, {"metadata": {"name": "m"}}, "ns")
    node = api.create(NODES, {"metadata": {"name": "n"}})

    assert api.get(CONFIG_MAPS, "m", "ns") is stored
    assert refused(api.get, CONFIG_MAPS, "m") == (404, 'configmaps "m" not found')
    assert api.get(NODES, "n", "ns") is node


# -- binding ------------------------------------------------------------------------------------------------------------


def test_a_pod_is_given_its_node_once(api):
    api.create(PODS, {"metadata": {"name": "p"}})
    old = {"type": "PodScheduled", "status": "False"}
    api.update(
        PODS,
        "p",
        {"metadata": {"name": "p"}, "status": {"phase": "Pending", "conditions": [{"type": "Ready"}, old]}},
        "default",
        subresource="status",
    )

    stored = api.bind("default", "p", "worker")

    assert stored.document["spec"]["nodeName"] == "worker"
    assert stored.document["status"] == {
        "phase": "Pending",
        "conditions": [{"type": "Ready"}, {"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW}],
    }
    assert stored.revision == 1003
    assert refused(api.bind, "default", "p", "other") == (
        409, 'Operation cannot be fulfilled on pods "p/binding": pod p is already assigned to node "worker"',
    )  # fmt: skip
    assert refused(api.bind, "default", "q", "worker") == (404, 'pods "q" not found')
