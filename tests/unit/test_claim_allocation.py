"""Which devices claims get, as the scheduler gives them."""

import pytest

from fakekubelet.cluster import claim_allocation, extended_claims, selector

DRIVER = "gem.example.com"
CLASSES = {
    "gem": {"spec": {"selectors": [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]}},
    "red": {"spec": {"selectors": [{"cel": {"expression": f'device.attributes["{DRIVER}"].colour == "red"'}}]}},
}


def device(name, **fields):
    return {"name": name, "attributes": {"colour": {"string": "red"}, "size": {"int": 3}}, **fields}


def a_slice(*devices, name="s", node="worker", generation=1, count=1, pool="p"):
    spec = {
        "driver": DRIVER,
        "nodeName": node,
        "pool": {"name": pool, "generation": generation, "resourceSliceCount": count},
    }
    return {"metadata": {"name": name}, "spec": {**spec, "devices": list(devices)}}


def claim(*requests, **devices):
    return {"spec": {"devices": {"requests": list(requests), **devices}}}


def exactly(name="r", class_name="gem", count=1, **fields):
    return {
        "name": name,
        "exactly": {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": count, **fields},
    }


def given(claims, slices, in_use=(), node="worker"):
    allocations = claim_allocation.allocate(claims, CLASSES, slices, in_use, node)
    return [[(one["request"], one["device"]) for one in one_claim["devices"]["results"]] for one_claim in allocations]


def test_the_first_that_fit_are_given_in_the_order_of_slices_and_devices():
    slices = [a_slice(device("c"), name="1", count=2), a_slice(device("b"), device("a"), name="0", count=2)]

    assert given([claim(exactly(count=2)), claim(exactly())], slices) == [[("r", "b"), ("r", "a")], [("r", "c")]]


@pytest.mark.parametrize(
    "slices",
    [
        [a_slice(device("a"), count=2)],
        [a_slice(device("a"), device("a"))],
        [a_slice(device("a"), node="elsewhere")],
        [a_slice(device("a"), name="0"), a_slice(name="1", generation=2)],
        [a_slice(device("a", taints=[{"key": "k", "effect": "NoSchedule"}]))],
        [a_slice(device("a", consumesCounters=[{}]))],
        [],
    ],
    ids=["incomplete", "a name twice", "another node", "an older generation", "a taint", "not emulated", "nothing"],
)
def test_from_a_pool_that_is_not_sound_nothing_is_given(slices):
    with pytest.raises(claim_allocation.UnallocatableError, match="cannot allocate all claims"):
        given([claim(exactly())], slices)


def test_a_taint_that_is_tolerated_or_has_no_effect_keeps_nobody_away():
    tainted = device("a", taints=[{"key": "k", "value": "v", "effect": "NoExecute"}])
    toleration = {"key": "k", "operator": "Equal", "value": "v"}

    assert given([claim(exactly(tolerations=[toleration]))], [a_slice(tainted)]) == [[("r", "a")]]
    assert given([claim(exactly())], [a_slice(device("a", taints=[{"key": "k", "effect": "None"}]))]) == [[("r", "a")]]


def test_a_request_that_takes_what_another_needs_is_served_by_something_else():
    slices = [a_slice(device("a"), device("b", attributes={"colour": {"string": "blue"}}))]

    assert given([claim(exactly("any"), exactly("red", "red"))], slices) == [[("any", "b"), ("red", "a")]]


def test_the_first_alternative_that_can_be_had_is_given_and_named():
    alternatives = [
        {"name": "many", "deviceClassName": "gem", "count": 5},
        {"name": "one", "deviceClassName": "gem", "count": 1},
    ]

    assert given([claim({"name": "r", "firstAvailable": alternatives})], [a_slice(device("a"))]) == [[("r/one", "a")]]


def test_an_administrator_gets_what_others_have_and_all_is_all():
    slices = [a_slice(device("a"), device("b"))]
    used = [(DRIVER, "p", "a")]

    assert given([claim(exactly(adminAccess=True))], slices, used) == [[("r", "a")]]
    with pytest.raises(claim_allocation.UnallocatableError):
        given([claim({"name": "r", "exactly": {"deviceClassName": "gem", "allocationMode": "All"}})], slices, used)


def test_devices_agree_where_they_have_to():
    slices = [a_slice(device("a"), device("b", attributes={"colour": {"string": "blue"}}), device("c"))]
    constraint = {"matchAttribute": f"{DRIVER}/colour"}

    assert given([claim(exactly(count=2), constraints=[constraint])], slices) == [[("r", "a"), ("r", "c")]]


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        (f'device.driver == "{DRIVER}" && device.attributes["{DRIVER}"].size >= 3', True),
        (f'"colour" in device.attributes["{DRIVER}"]', True),
        ('"colour" in device.attributes["other.example.com"]', False),
        (f'device.capacity["{DRIVER}"].memory.isGreaterThan(quantity("40Gi"))', True),
        (f'device.attributes["{DRIVER}"].firmware.compareTo(semver("1.10.0")) < 0', True),
        ("device.allowMultipleAllocations", False),
    ],
)
def test_selectors_say_what_kubernetes_says(expression, selected):
    attributes = {"colour": {"string": "red"}, "size": {"int": 3}, "firmware": {"version": "1.9.2"}}

    found = {"name": "a", "attributes": attributes, "capacity": {"memory": {"value": "80Gi"}}}

    assert selector.matches(expression, DRIVER, found) is selected


@pytest.mark.parametrize("expression", ["device.", 'device.attributes["x"].nothing == 1', "1"])
def test_a_selector_that_says_neither_is_an_error(expression):
    with pytest.raises(selector.SelectorError, match="CEL expression"):
        selector.matches(expression, DRIVER, device("a"))


def test_extended_resources_become_a_claim_with_the_schedulers_names():
    limits = {"cpu": "1", "example.com/gem": "2", "example.com/other": "1"}
    containers = [{"name": "first"}, {"name": "main", "resources": {"limits": limits}}]
    pod = {"metadata": {"name": "p", "namespace": "default", "uid": "u"}, "spec": {"containers": containers}}

    made, mappings = extended_claims.claim_for(pod, {"example.com/gem": "gem"})

    assert made["metadata"]["generateName"] == "p-extended-resources-"
    assert made["spec"]["devices"]["requests"][0]["name"] == "container-1-request-1"
    assert mappings == [
        {"containerName": "main", "resourceName": "example.com/gem", "requestName": "container-1-request-1"}
    ]


def test_of_two_classes_with_one_resource_the_newer_counts():
    def a_class(name, created):
        return {
            "metadata": {"name": name, "creationTimestamp": created},
            "spec": {"extendedResourceName": "example.com/gem"},
        }

    found = extended_claims.classes_by_resource(
        [a_class("old", "2026-01-01T00:00:00Z"), a_class("new", "2026-01-02T00:00:00Z")]
    )

    assert found["example.com/gem"] == "new"
    assert found["deviceclass.resource.kubernetes.io/old"] == "old"
