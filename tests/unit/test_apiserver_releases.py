"""What each release of Kubernetes has: kinds, versions, what it says of them, and the fields that a gate lets through."""

import copy

import pytest

from fakekubelet.apiserver import discovery, gates, kinds

RESOURCE = "resource.k8s.io"


@pytest.mark.parametrize(
    ("release", "served", "with_older", "rules"),
    [
        ("1.32", ("v1beta1",), ("v1beta1",), "v1alpha3"),
        ("1.33", ("v1beta2", "v1beta1"), ("v1beta2", "v1beta1"), "v1alpha3"),
        ("1.34", ("v1",), ("v1", "v1beta2", "v1beta1"), "v1alpha3"),
        ("1.35", ("v1",), ("v1", "v1beta2", "v1beta1"), "v1alpha3"),
        ("1.36", ("v1",), ("v1", "v1beta2", "v1beta1"), "v1beta2"),
        ("1.37", ("v1",), ("v1", "v1beta2", "v1beta1"), "v1"),
    ],
)
def test_a_release_serves_its_versions_and_more_if_it_is_told_to(release, served, with_older, rules):
    assert kinds.resource_versions(release) == served
    assert kinds.resource_versions(release, more=True) == with_older
    assert kinds.taint_rule_version(release) == rules
    assert kinds.resource_versions(release, taint_rules=True) == (*served, *({rules} - set(served)))
    assert kinds.resource_versions(release, more=True, taint_rules=True) == (*with_older, *({rules} - set(with_older)))


def test_every_group_but_that_of_dra_is_served_in_version_1():
    groups = kinds.group_versions("1.36", more=True, taint_rules=True)

    assert list(groups.items()) == [
        ("", ("v1",)), ("apps", ("v1",)), ("coordination.k8s.io", ("v1",)), ("events.k8s.io", ("v1",)), (RESOURCE, ("v1", "v1beta2", "v1beta1")),
    ]  # fmt: skip
    assert kinds.group_versions("1.36")[RESOURCE] == ("v1",)
    assert kinds.group_versions("1.36", taint_rules=True)[RESOURCE] == ("v1", "v1beta2")


def test_a_plural_names_the_kind_of_the_oldest_group():
    assert kinds.of_plural("events") is kinds.BY_PLURAL["", "events"]
    assert kinds.of_plural("resourceslices") is kinds.BY_NAME[RESOURCE, "ResourceSlice"]
    with pytest.raises(KeyError, match="gadgets"):
        kinds.of_plural("gadgets")


def test_errors_name_a_kind_by_its_plural_and_its_group():
    assert kinds.BY_NAME["", "Pod"].resource == "pods"
    assert kinds.BY_NAME["apps", "DaemonSet"].resource == "daemonsets.apps"


def discovered(release="1.36", *, more=False, taint_rules=False):
    versions = kinds.group_versions(release, more=more, taint_rules=taint_rules)
    return discovery.Discovery(release, versions, taint_rules=taint_rules)


ALL = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def entries(name, kind, *short, namespaced, status=False):
    main = {"name": name, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind, "verbs": ALL}
    if short:
        main["shortNames"] = list(short)
    return [
        main,
        *(
            [{**main, "name": f"{name}/status", "singularName": "", "verbs": ["get", "patch", "update"]}]
            if status
            else []
        ),
    ]


POD_SUBS = [
    {"name": "pods/binding", "singularName": "", "namespaced": True, "kind": "Binding", "verbs": ["create"]},
    {"name": "pods/eviction", "singularName": "", "namespaced": True, "kind": "Eviction", "verbs": ["create"]},
]
DRA = [
    *entries("deviceclasses", "DeviceClass", namespaced=False),
    *entries("resourceclaims", "ResourceClaim", namespaced=True, status=True),
    *entries("resourceclaimtemplates", "ResourceClaimTemplate", namespaced=True),
    *entries("resourceslices", "ResourceSlice", namespaced=False),
]
RULES = entries("devicetaintrules", "DeviceTaintRule", namespaced=False, status=True)


@pytest.mark.parametrize(
    ("path", "group", "resources"),
    [
        (
            "/api/v1",
            "v1",
            [
                *entries("namespaces", "Namespace", "ns", namespaced=False, status=True),
                *entries("nodes", "Node", "no", namespaced=False, status=True),
                *entries("pods", "Pod", "po", namespaced=True, status=True), *POD_SUBS,
                *entries("events", "Event", "ev", namespaced=True),
                *entries("configmaps", "ConfigMap", "cm", namespaced=True),
                *entries("secrets", "Secret", namespaced=True),
                *entries("serviceaccounts", "ServiceAccount", "sa", namespaced=True),
            ],
        ),
        (
            "/apis/apps/v1",
            "apps/v1",
            [
                *entries("daemonsets", "DaemonSet", "ds", namespaced=True, status=True),
                *entries("deployments", "Deployment", "deploy", namespaced=True, status=True),
            ],
        ),
        ("/apis/coordination.k8s.io/v1", "coordination.k8s.io/v1", entries("leases", "Lease", namespaced=True)),
        ("/apis/events.k8s.io/v1/", "events.k8s.io/v1", entries("events", "Event", "ev", namespaced=True)),
        (f"/apis/{RESOURCE}/v1", f"{RESOURCE}/v1", DRA),
    ],
)  # fmt: skip
def test_a_version_says_which_resources_it_has(path, group, resources):
    assert discovered().document(path) == {
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("release", "version", "has_rules"),
    [
        ("1.36", "v1", False),
        ("1.36", "v1beta2", True),
        ("1.37", "v1", True),
        ("1.37", "v1beta2", False),
        ("1.35", "v1", False),
    ],
)
def test_taint_rules_are_in_the_version_that_has_them_and_only_if_they_are_on(release, version, has_rules):
    on, off = discovered(release, more=True, taint_rules=True), discovered(release, more=True)

    assert on.document(f"/apis/{RESOURCE}/{version}")["resources"] == [
        *DRA[:1],
        *(RULES if has_rules else []),
        *DRA[1:],
    ]
    assert off.document(f"/apis/{RESOURCE}/{version}")["resources"] == DRA


def test_the_version_that_is_only_there_for_taint_rules_has_nothing_else():
    assert discovered("1.35", taint_rules=True).document(f"/apis/{RESOURCE}/v1alpha3")["resources"] == RULES
    assert discovered("1.35").document(f"/apis/{RESOURCE}/v1alpha3") is None
    assert discovered("1.35").kinds_in(RESOURCE, "v1alpha3") == []


def a_group(name, *versions):
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": found, "preferredVersion": found[0]}


def test_the_server_says_who_it_is_and_which_groups_it_has():
    server = discovered("1.33")

    assert server.document("/version") == {
        "major": "1", "minor": "33", "gitVersion": "v1.33.0+fakehw", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
    }  # fmt: skip
    assert server.document("/api") == {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    assert server.document("/apis/") == {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            *(a_group(name, "v1") for name in ("apps", "coordination.k8s.io", "events.k8s.io")), a_group(RESOURCE, "v1beta2", "v1beta1"),
        ],
    }  # fmt: skip
    assert server.document(f"/apis/{RESOURCE}") == {
        "kind": "APIGroup",
        "apiVersion": "v1",
        **a_group(RESOURCE, "v1beta2", "v1beta1"),
    }


@pytest.mark.parametrize(
    "path",
    ["", "/", "/versions", "/api/v2", "/api/v1/pods", "/apis/gadgets.example.com", "/apis/apps/v2", "/apis/apps/v1/daemonsets", "/x/apps", "/x/apps/v1", "/x/v1"],
)  # fmt: skip
def test_of_other_paths_it_says_nothing(path):
    assert discovered().document(path) is None


GATES = {
    "1.32": set(),
    "1.33": {"DRAResourceClaimDeviceStatus"},
    "1.34": {"DRAResourceClaimDeviceStatus", "DRAAdminAccess", "DRAPrioritizedList"},
    "1.36": {
        "DRAResourceClaimDeviceStatus", "DRAAdminAccess", "DRAPrioritizedList", "DRAConsumableCapacity", "DRADeviceBindingConditions",
        "DRADeviceTaints", "DRAExtendedResource", "DRAPartitionableDevices",
    },
}  # fmt: skip
NEVER = {"DRAListTypeAttributes", "DRANodeAllocatableResources", "DRAOptionalNodeOperations"}
EVERY = GATES["1.36"] | NEVER | {"DRADeviceTaintRules"}


@pytest.mark.parametrize(
    ("release", "on"), [*GATES.items(), ("1.35", GATES["1.34"]), ("1.37", GATES["1.36"] | {"DRADeviceTaintRules"})]
)
def test_a_release_has_its_gates_on_and_each_can_be_turned(release, on):
    assert gates.enabled(release, {}) == on
    assert gates.enabled(release, dict.fromkeys(EVERY, True)) == EVERY
    assert gates.enabled(release, dict.fromkeys(EVERY, False)) == set()
    assert gates.enabled(release, {"DRAAdminAccess": True}) == on | {"DRAAdminAccess"}


def test_the_first_of_the_gates_nobody_knows_is_named_and_all_that_there_are():
    with pytest.raises(ValueError, match="unrecognized feature gate") as caught:
        gates.enabled("1.36", {"Z": True, "DRAAdminAccess": True, "B": False})

    text, _, known = str(caught.value).partition("; known here: ")
    assert text == "unrecognized feature gate: B"
    assert set(known.split(", ")) == EVERY


def a_slice():
    device = {
        "name": "d", "attributes": {"x": {"int": 1}, "l": {"ints": [1], "bools": [True], "strings": ["s"], "versions": ["1.2.3"]}},
        "capacity": {"c": {"value": "1", "requestPolicy": {}}, "e": {"value": "2"}}, "taints": [{"key": "k"}], "consumesCounters": [{}],
        "nodeName": "n", "nodeSelector": {}, "allNodes": True, "bindingConditions": ["a"], "bindingFailureConditions": ["b"], "bindsToNode": True,
        "allowMultipleAllocations": True, "nodeAllocatableResourceMappings": {"cpu": {}},
    }  # fmt: skip
    return {
        "driver": "d", "nodeName": "n", "devices": [{"name": "plain"}, device], "sharedCounters": [{}], "perDeviceNodeSelection": True,
        "skipNodeOperations": ["x"],
    }  # fmt: skip


def a_claim():
    fields = {"deviceClassName": "c", "adminAccess": False, "tolerations": [{}], "capacity": {}}
    requests = [
        {"name": "a", "exactly": {**fields}},
        {"name": "b", "firstAvailable": [{"name": "s", **fields}, {"name": "t"}]},
    ]
    return {"devices": {"requests": requests, "constraints": []}}


def a_class():
    return {"selectors": [], "extendedResourceName": "example.com/gpu"}


def less(make, *paths):
    """Return what *make* makes without what is at the paths."""
    whole = make()
    for path in paths:
        place = whole
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
    return whole


def of_device(*names):
    return [("devices", 1, name) for name in names]


def of_requests(name):
    first, second = ("devices", "requests", 0, "exactly", name), ("devices", "requests", 1, "firstAvailable", 0, name)
    return [first, second]


CASES = [
    ("ResourceSlice", "DRADeviceTaints", a_slice, of_device("taints")),
    (
        "ResourceSlice", "DRAPartitionableDevices", a_slice,
        [*of_device("consumesCounters", "nodeName", "nodeSelector", "allNodes"), ("sharedCounters",), ("perDeviceNodeSelection",)],
    ),
    ("ResourceSlice", "DRADeviceBindingConditions", a_slice, of_device("bindingConditions", "bindingFailureConditions", "bindsToNode")),
    (
        "ResourceSlice", "DRAConsumableCapacity", a_slice,
        [*of_device("allowMultipleAllocations"), ("devices", 1, "capacity", "c", "requestPolicy")],
    ),
    ("ResourceSlice", "DRANodeAllocatableResources", a_slice, of_device("nodeAllocatableResourceMappings")),
    (
        "ResourceSlice", "DRAListTypeAttributes", a_slice,
        [("devices", 1, "attributes", "l", name) for name in ("ints", "bools", "strings", "versions")],
    ),
    ("ResourceSlice", "DRAOptionalNodeOperations", a_slice, [("skipNodeOperations",)]),
    ("ResourceClaim", "DRAPrioritizedList", a_claim, [("devices", "requests", 1, "firstAvailable")]),
    ("ResourceClaim", "DRAAdminAccess", a_claim, of_requests("adminAccess")),
    ("ResourceClaim", "DRADeviceTaints", a_claim, of_requests("tolerations")),
    ("ResourceClaim", "DRAConsumableCapacity", a_claim, of_requests("capacity")),
    ("DeviceClass", "DRAExtendedResource", a_class, [("extendedResourceName",)]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "gate", "make", "paths"), CASES, ids=[f"{kind} {gate}" for kind, gate, *_ in CASES])
def test_a_gate_that_is_off_takes_its_fields_out_and_nothing_else(kind, gate, make, paths):
    spec, on = make(), EVERY - {gate}

    assert gates.drop(kind, spec, None, on) == [gate]
    assert spec == less(make, *paths)
    assert gates.drop(kind, spec, None, on) == []
    assert spec == less(make, *paths)


@pytest.mark.parametrize(("kind", "gate", "make", "paths"), CASES, ids=[f"{kind} {gate}" for kind, gate, *_ in CASES])
def test_each_field_of_a_gate_that_the_stored_object_has_keeps_all_of_them(kind, gate, make, paths):
    on = EVERY - {gate}
    for path in paths:
        old = less(make, *(other for other in paths if other != path))
        new = make()

        assert gates.drop(kind, new, old, on) == []
        assert new == make()
    bare = make()
    assert gates.drop(kind, bare, less(make, *paths), on) == [gate]
    assert bare == less(make, *paths)


@pytest.mark.parametrize("kind", ["ResourceSlice", "ResourceClaim", "DeviceClass", "Pod"])
def test_a_spec_without_any_of_the_fields_loses_nothing(kind):
    for spec in (
        {},
        {"devices": None},
        {"devices": []} if kind == "ResourceSlice" else {"devices": {"requests": None}},
    ):
        before = copy.deepcopy(spec)

        assert gates.drop(kind, spec, copy.deepcopy(spec), frozenset()) == []
        assert spec == before


@pytest.mark.parametrize(
    ("kind", "make"), [("ResourceSlice", a_slice), ("ResourceClaim", a_claim), ("DeviceClass", a_class)]
)
def test_with_all_gates_off_they_are_named_in_their_order(kind, make):
    assert gates.drop(kind, make(), None, frozenset()) == [gate for of, gate, *_ in CASES if of == kind]


def test_what_an_old_object_uses_is_looked_at_and_not_touched():
    old = a_claim()

    assert gates.drop("ResourceClaim", a_claim(), old, frozenset()) == []
    assert old == a_claim()
