"""What a scheduler, the maker of claims and the evictor write to an API server, object by object."""

import datetime

import pytest

from fakekubelet.apiserver.server import ApiServer
from fakekubelet.cluster import dra_scheduler, pod_objects, taint_eviction

DRIVER = "gem.example.com"


class Cluster:
    """An API server that nobody needs to reach, with a class and a slice of gems on a node."""

    def __init__(self):
        self.api = ApiServer(feature_gates={"DRADeviceTaints": True})
        self.objects = pod_objects.PodObjects(self.api)
        selectors = [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]
        self.make(
            "resource.k8s.io/v1",
            "DeviceClass",
            "gem",
            spec={"selectors": selectors, "extendedResourceName": "example.com/gem"},
        )

    def make(self, api_version, kind, name, namespace="", **fields):
        metadata = fields.pop("metadata", {})
        return self.api.create(
            {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}, **fields}, namespace
        )

    def gems(self, node, *names, **taints):
        devices = [{"name": name, "taints": taints.get(name.replace("-", "_"), [])} for name in names]
        spec = {
            "driver": DRIVER,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": devices,
        }
        return self.make("resource.k8s.io/v1", "ResourceSlice", f"slice-{node}", spec=spec)

    def claim(self, name, namespace="ns", **exactly):
        requests = [{"name": "r", "exactly": {"deviceClassName": "gem", **exactly}}]
        return self.make(
            "resource.k8s.io/v1", "ResourceClaim", name, namespace, spec={"devices": {"requests": requests}}
        )

    def pod(self, name, *claims, **spec):
        entries = [{"name": f"e-{claim}", "resourceClaimName": claim} for claim in claims]
        spec = {"containers": [{"name": "main"}], "resourceClaims": entries, **spec}
        return self.make("v1", "Pod", name, "ns", spec=spec)

    def schedule(self, name, *nodes):
        dra_scheduler.schedule(self.objects, self.now(name), nodes)
        return self.now(name)

    def now(self, name):
        return self.api.find("pods", name, "ns")

    def status(self, name):
        return self.api.find("resourceclaims", name, "ns")["status"]


@pytest.fixture
def cluster():
    return Cluster()


def allocation(node, *devices, request="r"):
    results = [{"request": request, "driver": DRIVER, "pool": node, "device": device} for device in devices]
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"devices": {"results": results}, "nodeSelector": {"nodeSelectorTerms": [term]}}


def user(pod):
    return {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}


def test_a_pod_gets_devices_and_the_first_node_that_has_them(cluster):
    cluster.gems("b", "gem-1", "gem-2")
    cluster.gems("a", "gem-1")
    cluster.claim("claim", count=2)
    cluster.pod("p", "claim")

    pod = cluster.schedule("p", "c", "b", "a")

    assert pod["spec"]["nodeName"] == "b"
    assert cluster.status("claim") == {"allocation": allocation("b", "gem-1", "gem-2"), "reservedFor": [user(pod)]}
    assert cluster.objects.events == {"p": ["Successfully assigned default/p to b"]}


def test_a_second_pod_shares_a_claim_that_is_allocated(cluster):
    cluster.gems("a", "gem-1", "gem-2")
    cluster.claim("claim")
    for name in ("p", "q"):
        cluster.pod(name, "claim")
    first, second = cluster.schedule("p", "a"), cluster.schedule("q", "a")

    assert cluster.status("claim") == {
        "allocation": allocation("a", "gem-1"),
        "reservedFor": [user(first), user(second)],
    }


def test_what_others_have_is_not_given_again_but_what_administrators_have_is(cluster):
    cluster.make("v1", "Namespace", "ns", metadata={"labels": {"resource.kubernetes.io/admin-access": "true"}})
    cluster.gems("a", "gem-1", "gem-2")
    cluster.claim("one")
    cluster.claim("admin", adminAccess=True)
    cluster.claim("two")
    for name, claim in (("p", "one"), ("q", "admin"), ("r", "two")):
        cluster.pod(name, claim)
        cluster.schedule(name, "a")

    assert [
        cluster.status(name)["allocation"]["devices"]["results"][0]["device"] for name in ("one", "admin", "two")
    ] == ["gem-1", "gem-1", "gem-2"]


def test_why_no_node_will_do_is_counted_and_said_once(cluster):
    cluster.gems("a", "gem-1")
    cluster.claim("claim", count=2)
    cluster.pod("p", "claim")
    cluster.claim("odd", deviceClassName="none")
    cluster.pod("q", "odd")

    for _ in range(2):
        cluster.schedule("p", "a", "b", "c")
    cluster.schedule("q", "a")
    cluster.pod("r")
    cluster.schedule("r")

    assert cluster.now("p")["spec"].get("nodeName") is None
    assert cluster.status("claim") == {}
    assert cluster.objects.events == {
        "p": ["0/3 nodes are available: 3 cannot allocate all claims."],
        "q": ["0/1 nodes are available: 1 device class none does not exist."],
        "r": ["0/0 nodes are available: ."],
    }


def test_a_pod_without_claims_goes_to_the_first_node(cluster):
    cluster.pod("p")

    assert cluster.schedule("p", "b", "a")["spec"]["nodeName"] == "a"


def test_a_claim_of_a_template_is_made_once_and_is_the_pods_own(cluster):
    template = {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gem", "count": 2}}]}}}
    cluster.make("resource.k8s.io/v1", "ResourceClaimTemplate", "template", "ns", spec=template)
    entries = [
        {"name": "e", "resourceClaimTemplateName": "template"},
        {"name": "f", "resourceClaimTemplateName": "missing"},
    ]
    cluster.pod("p", resourceClaims=entries)

    cluster.schedule("p", "a")
    (made,) = cluster.api.all("resourceclaims")
    assert made["metadata"]["name"].startswith("p-e-")
    assert made["metadata"]["namespace"] == "ns"
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "p",
        "uid": cluster.now("p")["metadata"]["uid"],
        "controller": True,
    }
    assert made["metadata"]["ownerReferences"] == [owner]
    assert made["spec"]["devices"]["requests"][0]["exactly"]["count"] == 2
    assert cluster.now("p")["status"]["resourceClaimStatuses"] == [
        {"name": "e", "resourceClaimName": made["metadata"]["name"]}
    ]

    cluster.gems("a", "gem-1", "gem-2")
    pod = cluster.schedule("p", "a")
    assert [one["metadata"]["name"] for one in cluster.api.all("resourceclaims")] == [made["metadata"]["name"]]
    assert cluster.status(made["metadata"]["name"])["reservedFor"] == [user(pod)]
    assert pod["spec"]["nodeName"] == "a"


def test_several_templates_make_several_claims_whatever_stands_between_them(cluster):
    template = {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gem"}}]}}}
    cluster.make("resource.k8s.io/v1", "ResourceClaimTemplate", "template", "ns", spec=template)
    cluster.claim("named")
    entries = [
        {"name": "a", "resourceClaimName": "named"}, {"name": "b", "resourceClaimTemplateName": "missing"},
        {"name": "e", "resourceClaimTemplateName": "template"}, {"name": "c", "resourceClaimName": "named"},
        {"name": "f", "resourceClaimTemplateName": "template"},
    ]  # fmt: skip
    cluster.pod("p", resourceClaims=entries)
    cluster.schedule("p")
    cluster.gems("a", "gem-1", "gem-2", "gem-3")
    pod = cluster.schedule("p", "a")

    made = {status["name"]: status["resourceClaimName"] for status in pod["status"]["resourceClaimStatuses"]}
    names = {"a": "named", **made}
    assert list(names) == ["a", "e", "f"]
    assert {entry: cluster.status(name)["allocation"]["devices"]["results"][0]["device"] for entry, name in made.items()} == {
        "e": "gem-2", "f": "gem-3",
    }  # fmt: skip
    assert len(cluster.api.all("resourceclaims")) == 3
    assert cluster.status("named")["reservedFor"] == [user(pod)], "though two entries name it"


def limits(*, gem):
    return [{"name": "main", "resources": {"limits": {"example.com/gem": gem}}}]


def test_extended_resources_get_a_claim_only_once_a_node_has_the_devices(cluster):
    cluster.pod("p", containers=limits(gem="2"))
    cluster.schedule("p", "a")
    assert cluster.api.all("resourceclaims") == []

    cluster.gems("a", "gem-1", "gem-2")
    pod = cluster.schedule("p", "a")
    (made,) = cluster.api.all("resourceclaims")
    name = made["metadata"]["name"]
    assert name.startswith("p-extended-resources-")
    mapping = {"containerName": "main", "resourceName": "example.com/gem", "requestName": "container-0-request-0"}
    assert pod["status"]["extendedResourceClaimStatus"] == {"resourceClaimName": name, "requestMappings": [mapping]}
    assert made["status"] == {
        "allocation": allocation("a", "gem-1", "gem-2", request="container-0-request-0"),
        "reservedFor": [user(pod)],
    }


@pytest.mark.parametrize(("quantity", "count"), [("1", 1), (2, 2), ("2000m", 2), ("2e0", 2)])
def test_a_number_of_extended_resources_is_a_quantity(cluster, quantity, count):
    cluster.gems("a", "gem-1", "gem-2", "gem-3")
    cluster.pod("p", containers=limits(gem=quantity))

    cluster.schedule("p", "a")

    (made,) = cluster.api.all("resourceclaims")
    assert made["spec"]["devices"]["requests"][0]["exactly"]["count"] == count


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        ("1.5", "'1.5' must be a whole number"),
        ("many", "'many' must be a whole number, such as 2, 1k or 10Mi"),
        (-1, "'-1' must not be negative"),
    ],
)
def test_a_number_that_is_none_is_said_and_keeps_only_its_pod(cluster, quantity, text):
    cluster.gems("a", "gem-1")
    cluster.pod("bad", containers=limits(gem=quantity))
    cluster.pod("good", containers=limits(gem="1"))

    assert "nodeName" not in cluster.schedule("bad", "a")["spec"]
    assert cluster.schedule("good", "a")["spec"]["nodeName"] == "a"
    assert cluster.objects.events["bad"] == [text]


# -- eviction -----------------------------------------------------------------------------------------------------------


def taint(key="k", effect="NoExecute", *, age_s=100, **fields):
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age_s)
    return {"key": key, "effect": effect, "timeAdded": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), **fields}


@pytest.mark.parametrize(
    ("taints", "tolerations", "event"),
    [
        ([], [], None), ([taint(value="v")], [], "device gem-1 is tainted: k=v"), ([taint()], [], "device gem-1 is tainted: k="),
        ([taint(effect="NoSchedule")], [{"key": "k", "effect": "NoSchedule", "operator": "Exists"}], None), ([taint(effect="None")], [], None),
        ([taint(value="v")], [{"key": "k", "operator": "Exists"}], None), ([taint(value="v")], [{"key": "k", "value": "w"}], "device gem-1 is tainted: k=v"),
        ([taint(age_s=100)], [{"key": "k", "operator": "Exists", "tolerationSeconds": 1000}], None),
        ([taint(age_s=100)], [{"key": "k", "operator": "Exists", "tolerationSeconds": 50}], "device gem-1 is tainted: k="),
        ([taint(age_s=100)], [{"key": "k", "operator": "Exists", "tolerationSeconds": 0}], "device gem-1 is tainted: k="),
        ([taint("a"), taint("b")], [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}], None),
        ([taint("a"), taint("b")], [{"key": "b", "operator": "Exists"}], "device gem-1 is tainted: a="),
        ([taint("a"), taint("b")], [{"key": "a", "operator": "Exists"}], "device gem-1 is tainted: b="),
    ],
)  # fmt: skip
def test_a_pod_goes_with_the_first_taint_that_its_claim_does_not_bear(cluster, taints, tolerations, event):
    made = cluster.gems("a", "gem-1", "gem-2")
    cluster.claim("claim", tolerations=tolerations)
    cluster.pod("p", "claim")
    pod = cluster.schedule("p", "a")
    devices = [{"name": "gem-1", "taints": taints}, {"name": "gem-2"}]
    cluster.api.update(
        {
            **made,
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "spec": {**made["spec"], "devices": devices},
        }
    )

    taint_eviction.evict(cluster.objects, pod)

    assert cluster.objects.events["p"][1:] == ([] if event is None else [event])
    assert ("deletionTimestamp" in cluster.now("p")["metadata"]) is (event is not None)


def test_a_pod_whose_devices_are_sound_stays_whatever_others_have(cluster):
    cluster.gems("a", "gem-1", "gem-2", gem_2=[taint()])
    cluster.gems("b", "gem-1", gem_1=[taint()])
    cluster.claim("claim")
    cluster.pod("p", "claim")
    pod = cluster.schedule("p", "a")
    cluster.pod("idle")

    taint_eviction.evict(cluster.objects, pod)
    taint_eviction.evict(cluster.objects, cluster.now("idle"))

    assert "deletionTimestamp" not in cluster.now("p")["metadata"]
    assert cluster.now("idle")["metadata"].get("deletionTimestamp") is None


# -- pods and their claims ------------------------------------------------------------------------------------------------


def test_a_pod_is_ending_when_it_is_marked_gone_or_another(cluster):
    pod = cluster.pod("p", nodeName="a")
    assert not cluster.objects.is_ending(pod)
    cluster.api.delete("pods", "p", "ns")
    assert cluster.objects.is_ending(pod)
    cluster.objects.remove(pod)
    assert cluster.now("p") is None
    assert cluster.objects.is_ending(pod)
    cluster.objects.remove(pod)
    again = cluster.pod("p", nodeName="a")
    assert cluster.objects.is_ending(pod)
    assert not cluster.objects.is_ending(again)


def test_a_pod_that_is_not_to_end_is_not_removed(cluster):
    pod = cluster.pod("p")
    cluster.objects.remove(pod)

    assert cluster.now("p") is not None


def test_a_pods_claims_are_those_that_there_are(cluster):
    claim = cluster.claim("claim")
    pod = cluster.pod("p", "claim", "missing")
    unmade = cluster.pod(
        "q",
        resourceClaims=[{"name": "e", "resourceClaimTemplateName": "t"}, {"name": "f", "resourceClaimName": "claim"}],
    )

    assert cluster.objects.claims_of(pod) == [claim]
    assert cluster.objects.claims_of(unmade) == []


def test_some_fields_of_a_status_are_written_and_a_pod_that_has_gone_is_left(cluster):
    pod = cluster.pod("p")
    after = cluster.objects.set_status(pod, {"phase": "Running", "more": 1})

    assert after["status"] == {"phase": "Running", "qosClass": "BestEffort", "more": 1}
    assert cluster.now("p") is after
    cluster.api.delete("pods", "p", "ns")
    assert cluster.objects.set_status(pod, {"phase": "Failed"}) is pod


def test_events_are_kept_without_repetitions_in_a_row_and_ring(cluster):
    rings = []
    cluster.api.changes.subscribe(lambda: rings.append(1))
    pod = {"metadata": {"name": "p", "namespace": "ns"}}
    for text in ("a", "a", "b", "a"):
        cluster.objects.note(pod, text)

    assert cluster.objects.events == {"p": ["a", "b", "a"]}
    assert len(rings) == 3


@pytest.mark.parametrize(
    "claim", [{}, {"status": None}, {"status": {"allocation": None}}, {"status": {"allocation": {"devices": None}}}, {"status": {"allocation": {"devices": {"results": None}}}}]
)  # fmt: skip
def test_a_claim_without_an_allocation_has_no_results(claim):
    assert pod_objects.results(claim) == []
