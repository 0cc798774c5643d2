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


def refused(*arguments, **options):
    with pytest.raises(claim_allocation.UnallocatableError) as caught:
        given(*arguments, **options)
    return str(caught.value)


def test_an_allocation_says_which_devices_and_on_which_node():
    toleration = {"key": "k", "operator": "Exists"}
    claims = [
        claim(exactly(count=2, tolerations=[toleration])),
        claim(exactly("admin", adminAccess=True), exactly("mine")),
    ]

    def result(request, name, **more):
        return {"request": request, "driver": DRIVER, "pool": "p", "device": name, **more}

    def selected(*results):
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["worker"]}]}
        return {"devices": {"results": list(results)}, "nodeSelector": {"nodeSelectorTerms": [term]}}

    found = claim_allocation.allocate(claims, CLASSES, [a_slice(*map(device, "abc"))], [], "worker")

    tolerated = {"tolerations": [toleration]}
    assert found == [
        selected(result("r", "a", **tolerated), result("r", "b", **tolerated)), selected(result("admin", "a", adminAccess=True), result("mine", "c")),
    ]  # fmt: skip
    assert claim_allocation.allocate([], CLASSES, [], [], "worker") == []
    assert claim_allocation.allocate([claim()], CLASSES, [], [], "worker") == [selected()]
    assert claim_allocation.allocate([{"spec": {"devices": {"requests": None}}}], CLASSES, [], [], "worker") == [
        selected()
    ]


def everywhere(*devices, name="s", **fields):
    made = a_slice(*devices, name=name)
    del made["spec"]["nodeName"]
    return {**made, "spec": {**made["spec"], **fields}}


@pytest.mark.parametrize(
    ("slices", "ids"),
    [
        ([], []), ([a_slice()], []), ([a_slice(device("b"), device("a"))], ["p/b", "p/a"]),
        ([a_slice(device("a"), name="1", pool="q"), a_slice(device("a"), name="0")], ["p/a", "q/a"]),
        ([a_slice(device("b"), name="1", count=2), a_slice(device("a"), name="0", count=2)], ["p/a", "p/b"]),
        ([a_slice(device("a"), count=2)], []), ([a_slice(device("a"), name="0"), a_slice(device("b"), name="1")], []),
        ([a_slice(device("a"), name="0", generation=1), a_slice(device("b"), name="1", generation=2)], ["p/b"]),
        ([a_slice(device("a"), name="1", generation=1, count=7), a_slice(device("b"), name="0", generation=2)], ["p/b"]),
        ([a_slice(device("a"), name="0", count=2), a_slice(device("a"), name="1", count=2)], []),
        ([a_slice(device("a"), node="other")], []), ([everywhere(device("a"), allNodes=True)], ["p/a"]), ([everywhere(device("a"))], []),
        ([everywhere(device("a"), allNodes=False)], []),
        ([a_slice(device("a"), name="0", count=2), a_slice(device("b"), name="1", count=2, node="other")], []),
        ([a_slice(device("a"), device("b", consumesCounters=[{}]), device("c", allowMultipleAllocations=True), device("d", consumesCounters=[], allowMultipleAllocations=False))],
         ["p/a", "p/d"]),
        ([everywhere(nodeName="worker", sharedCounters=[{}], devices=())], []),
    ],
)  # fmt: skip
def test_a_node_has_the_devices_of_its_whole_and_newest_pools(slices, ids):
    found = claim_allocation.candidates(slices, "worker")

    assert [f"{one.id[1]}/{one.id[2]}" for one in found] == ids
    assert all(one.id[0] == DRIVER and one.device["name"] == one.id[2] for one in found)


TAINT = {"key": "k", "value": "v", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"key": "k", "value": "v"}, True), ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}, True), ({"key": "k", "value": "w"}, False),
        ({"key": "k"}, False), ({"key": "k", "operator": "Exists"}, True), ({"operator": "Exists"}, True), ({"key": "", "operator": "Exists"}, True),
        ({"key": "l", "operator": "Exists"}, False), ({"operator": "Exists", "effect": "NoSchedule"}, False), ({"operator": "Exists", "effect": ""}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, True), ({"value": "v"}, True), ({}, False),
    ],
)  # fmt: skip
def test_a_toleration_covers_a_taint_by_key_value_and_effect(toleration, covers):
    assert claim_allocation.tolerates(TAINT, [toleration]) is (toleration if covers else None)
    other = {"key": "other"}
    assert claim_allocation.tolerates(TAINT, [other, toleration]) is (toleration if covers else None)


def test_a_taint_without_a_value_is_covered_without_one():
    assert claim_allocation.tolerates({"key": "k", "effect": "NoSchedule"}, [{"key": "k"}]) == {"key": "k"}
    assert claim_allocation.tolerates({"key": "k", "effect": "NoSchedule"}, []) is None


@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_each_taint_of_a_device_has_to_be_tolerated(effect):
    both = [a_slice(device("a", taints=[{"key": "k", "effect": effect}, {"key": "l", "effect": effect}]))]
    one, other = {"key": "k"}, {"key": "l"}

    assert refused([claim(exactly(tolerations=[one]))], both) == "cannot allocate all claims"
    assert given([claim(exactly(tolerations=[one, other]))], both) == [[("r", "a")]]


@pytest.mark.parametrize(
    ("request_", "devices"),
    [
        (exactly(count=1), "a"), (exactly(count=3), "abc"), (exactly(count=4), None), (exactly(count=0), None),
        ({"name": "r", "exactly": {"deviceClassName": "gem"}}, "a"), ({"name": "r", "exactly": {"deviceClassName": "gem", "allocationMode": "All"}}, "abc"),
        (exactly(selectors=[{"cel": {"expression": f'device.attributes["{DRIVER}"].size > 3'}}]), None),
        (exactly(selectors=[{"cel": {"expression": "true"}}, {"cel": {"expression": "false"}}]), None),
        ({"name": "r", "firstAvailable": []}, None), ({"name": "r"}, None),
    ],
)  # fmt: skip
def test_a_request_gets_as_many_as_it_asks_for_or_nothing(request_, devices):
    slices = [a_slice(*map(device, "abc"))]

    if devices is None:
        assert refused([claim(request_)], slices) == "cannot allocate all claims"
    else:
        assert given([claim(request_)], slices) == [[("r", name) for name in devices]]


def test_all_of_nothing_is_nothing():
    assert (
        refused([claim({"name": "r", "exactly": {"deviceClassName": "gem", "allocationMode": "All"}})], [])
        == "cannot allocate all claims"
    )


def test_an_administrator_leaves_the_devices_to_others():
    slices = [a_slice(device("a"))]

    assert given([claim(exactly("admin", adminAccess=True), exactly("mine"))], slices) == [
        [("admin", "a"), ("mine", "a")]
    ]
    assert given([claim(exactly("admin", adminAccess=True)), claim(exactly("mine"))], slices) == [
        [("admin", "a")],
        [("mine", "a")],
    ]
    assert refused([claim(exactly("mine")), claim(exactly("other"))], slices) == "cannot allocate all claims"
    assert refused([claim(exactly("mine"), exactly("other"))], slices) == "cannot allocate all claims"


def test_a_class_that_is_not_there_and_a_selector_that_fails_are_said():
    slices = [a_slice(device("a"))]

    assert refused([claim(exactly(class_name="none"))], slices) == "device class none does not exist"
    bad = exactly(selectors=[{"cel": {"expression": 'device.attributes["x"].y == 1'}}])
    text = refused([claim(bad)], slices)
    assert text.startswith("CEL expression 'device.attributes[\"x\"].y == 1' on device a: ")


@pytest.mark.parametrize(
    ("constraints", "devices"),
    [
        ([], "ab"), ([{"matchAttribute": f"{DRIVER}/colour"}], "ac"), ([{"matchAttribute": f"{DRIVER}/size"}], "ab"),
        ([{"matchAttribute": f"{DRIVER}/none"}], None), ([{"matchAttribute": "other.example.com/colour"}], None), ([{"distinctAttribute": f"{DRIVER}/colour"}], "ab"),
        ([{"matchAttribute": f"{DRIVER}/colour", "requests": ["r"]}], "ac"), ([{"matchAttribute": f"{DRIVER}/colour", "requests": ["q"]}], "ab"),
        ([{"matchAttribute": f"{DRIVER}/colour", "requests": ["q", "r"]}], "ac"), ([{"matchAttribute": f"{DRIVER}/colour", "requests": []}], "ac"),
        ([{"matchAttribute": f"{DRIVER}/size"}, {"matchAttribute": f"{DRIVER}/colour"}], "ac"),
        ([{"matchAttribute": "vendor.example.com/rack"}], "bc"),
    ],
)  # fmt: skip
def test_two_devices_of_a_request_agree_on_what_a_constraint_names(constraints, devices):
    def coloured(name, colour, rack):
        return device(
            name,
            attributes={"colour": {"string": colour}, "size": {"int": 3}, "vendor.example.com/rack": {"int": rack}},
        )

    slices = [a_slice(coloured("a", "red", 1), coloured("b", "blue", 2), coloured("c", "red", 2))]
    wanted = [claim(exactly(count=2), constraints=constraints)]

    if devices is None:
        assert refused(wanted, slices) == "cannot allocate all claims"
    else:
        assert given(wanted, slices) == [[("r", name) for name in devices]]


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        (f'device.attributes["{DRIVER}"].ready', True), (f'!device.attributes["{DRIVER}"].ready', False), (f'device.attributes["{DRIVER}"].empty == ""', True),
        ('device.attributes["vendor.io"].rack == 7', True), ('has(device.attributes["vendor.io"].none)', False), ('"vendor.io" in device.attributes', True),
        (f'device.capacity["{DRIVER}"].memory.compareTo(quantity("1024Mi")) == 0', True), (f'device.capacity["{DRIVER}"].memory.compareTo(quantity("2Gi")) < 0', True),
        (f'device.capacity["{DRIVER}"].memory.isLessThan(quantity("1025Mi"))', True), (f'device.capacity["{DRIVER}"].memory.isLessThan(quantity("1Gi"))', False),
        (f'device.capacity["{DRIVER}"].memory.isGreaterThan(quantity("1Gi"))', False), ("device.allowMultipleAllocations", True),
        *((f'device.attributes["{DRIVER}"].firmware.isLessThan(semver("{other}"))', less) for other, less in (
            ("1.9.3", True), ("1.10.0", True), ("2.0.0", True), ("1.9.2", True), ("1.9.2-rc.3", True), ("1.9.2-rc.10", True), ("1.9.2-rc.2.1", True), ("1.9.2-rc.x", True),
            ("1.9.2-rc.2", False), ("1.9.2-rc.2+build", False), ("1.9.2-rc.1", False), ("1.9.2-beta", False), ("1.9.2-2", False), ("1.9.1", False),
        )),
    ],
)  # fmt: skip
def test_a_selector_reads_every_kind_of_value(expression, selected):
    attributes = {
        "ready": {"bool": True}, "empty": {"string": ""}, "vendor.io/rack": {"int": 7}, "firmware": {"version": "1.9.2-rc.2"},
    }  # fmt: skip
    found = {
        "name": "a",
        "attributes": attributes,
        "capacity": {"memory": {"value": "1Gi"}},
        "allowMultipleAllocations": True,
    }

    assert selector.matches(expression, DRIVER, found) is selected


def test_a_device_without_anything_is_selected_by_its_driver():
    assert selector.matches("device.driver == 'd'", "d", {"attributes": None, "capacity": None})
    assert not selector.matches("device.driver == 'd'", "e", {})


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("device.", "CEL expression 'device.': "), ("1", "CEL expression '1' must return a bool"), ("device.driver", "CEL expression 'device.driver' must return a bool"),
        ("nobody == 1", "CEL expression 'nobody == 1' on device a: "),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_selector_is_said_with_it(expression, text):
    with pytest.raises(selector.SelectorError) as caught:
        selector.matches(expression, DRIVER, device("a"))

    assert str(caught.value).startswith(text)


def container(name, **quantities):
    return {"name": name, "resources": quantities}


def test_the_claim_for_extended_resources_is_whole():
    containers = [
        container("main", limits={"z.io/b": "3", "cpu": "1", "a.io/a": 2}, requests={"a.io/a": "1"}), container("none", limits=None, requests=None),
        {"name": "empty", "resources": None}, container("zero", requests={"a.io/a": "0"}),
    ]  # fmt: skip
    spec = {"initContainers": [container("init", requests={"a.io/a": "4"})], "containers": containers}
    pod = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec}

    def request(index, number, class_name, count):
        name = f"container-{index}-request-{number}"
        return {
            "name": name,
            "exactly": {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": count},
        }

    made, mappings = extended_claims.claim_for(pod, {"a.io/a": "ca", "z.io/b": "cb"})

    assert made == {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "generateName": "p-extended-resources-", "namespace": "ns", "annotations": {"resource.kubernetes.io/extended-resource-claim": "true"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": True}],
        },
        "spec": {"devices": {"requests": [request(0, 0, "ca", 4), request(1, 0, "ca", 1), request(1, 2, "cb", 3)]}},
    }  # fmt: skip
    assert mappings == [
        {"containerName": "init", "resourceName": "a.io/a", "requestName": "container-0-request-0"},
        {"containerName": "main", "resourceName": "a.io/a", "requestName": "container-1-request-0"},
        {"containerName": "main", "resourceName": "z.io/b", "requestName": "container-1-request-2"},
    ]
    assert extended_claims.claim_for(pod, {}) is None
    assert (
        extended_claims.claim_for({**pod, "spec": {"initContainers": None, "containers": None}}, {"a.io/a": "ca"})
        is None
    )


def test_classes_have_their_resource_and_a_name_of_their_own():
    def a_class(name, resource, created="2026-01-01T00:00:00Z"):
        return {
            "metadata": {"name": name, "creationTimestamp": created},
            "spec": {"extendedResourceName": resource} if resource else {},
        }

    classes = [
        a_class("b", "x.io/x"), a_class("a", "x.io/x"), a_class("c", "y.io/y", "2026-01-02T00:00:00Z"), a_class("d", "y.io/y"), a_class("e", None),
    ]  # fmt: skip

    implicit = {f"deviceclass.resource.kubernetes.io/{name}": name for name in "abcde"}
    for given_classes in (classes, classes[::-1]):
        assert extended_claims.classes_by_resource(given_classes) == {**implicit, "x.io/x": "a", "y.io/y": "c"}
    assert extended_claims.classes_by_resource([]) == {}


def test_of_the_ways_to_choose_devices_a_thousand_are_tried():
    """Only the last two agree: of 45 devices that is the 990th way, of 46 the 1035th."""

    def slices(number):
        sizes = [*range(number - 1), number - 2]
        return [
            a_slice(*(device(f"d{index:02}", attributes={"size": {"int": size}}) for index, size in enumerate(sizes)))
        ]

    wanted = [claim(exactly(count=2), constraints=[{"matchAttribute": f"{DRIVER}/size"}])]

    assert given(wanted, slices(45)) == [[("r", "d43"), ("r", "d44")]]
    assert refused(wanted, slices(46)) == "cannot allocate all claims"
