"""What a kubelet does for the claims of pods, and notes: its words, its calls, its file, in their order."""

import json
import re
import zlib
from typing import NamedTuple

import pytest

from fakekubelet.clock import ManualClock
from fakekubelet.dra import claim_cache, drivers, dynamic_resources, preparation, view
from fakekubelet.kubelet import call_log
from kubeletapi.dra.v1 import api_pb2 as v1
from kubeletapi.drahealth.v1 import api_pb2 as healthapi

NS = "ns"


# -- the cache and its file -----------------------------------------------------------------------------------------------


GEM = claim_cache.PreparedDevice("pool", "gem-1", None, ("a", "b"), ("v/c=1", "v/c=2"))
SHARE = claim_cache.PreparedDevice("pool", "gem-2", "share", (), ())


def info(name="claim", uid="u1", pods=("p1",), **drivers_):
    return claim_cache.ClaimInfo(uid, name, NS, set(pods), drivers_ or {"d": [GEM, SHARE]})


STATE = (
    '{"kind":"DRACheckpoint","apiVersion":"checkpoint.dra.kubelet.k8s.io/v1","ClaimInfoStateList":[{"ClaimUID":"u1","ClaimName":"claim",'
    '"Namespace":"ns","PodUIDs":{"p1":{},"p2":{}},"DriverState":{"d":{"Devices":[{"PoolName":"pool","DeviceName":"gem-1","ShareID":null,'
    '"RequestNames":["a","b"],"CDIDeviceIDs":["v/c=1","v/c=2"]},{"PoolName":"pool","DeviceName":"gem-2","ShareID":"share","RequestNames":[],'
    '"CDIDeviceIDs":[]}]},"e":{"Devices":null}}}]}'
)


@pytest.fixture
def cache(tmp_path):
    return claim_cache.ClaimCache(tmp_path)


def test_the_file_is_the_kubelets_own_with_its_checksum(cache, tmp_path):
    cache.add(info(pods=("p2", "p1"), d=[GEM, SHARE], e=[]))
    cache.save()

    assert json.loads((tmp_path / "dra_manager_state").read_text()) == {
        "Data": STATE,
        "Checksum": zlib.crc32(STATE.encode()),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["dra_manager_state"]


def test_the_next_kubelet_knows_what_the_file_says_but_not_what_was_prepared(cache, tmp_path):
    known = info(d=[GEM, SHARE], e=[])
    known.is_prepared = True
    cache.add(known)
    cache.save()

    after = claim_cache.ClaimCache(tmp_path)
    after.add(info("forgotten"))
    after.load()

    assert after.all() == [info(d=[GEM, SHARE], e=[])]
    assert after.get(NS, "claim").is_prepared is False
    assert after.get(NS, "forgotten") is None


def write(path, state):
    data = json.dumps(state)
    path.write_text(json.dumps({"Data": data, "Checksum": zlib.crc32(data.encode())}))


ENTRY = {"ClaimUID": "u", "ClaimName": "c", "Namespace": NS, "PodUIDs": None, "DriverState": None}


@pytest.mark.parametrize(
    ("entries", "known"),
    [
        (None, []), ([], []), ([ENTRY], [claim_cache.ClaimInfo("u", "c", NS)]),
        (
            [{**ENTRY, "DriverState": {"d": {}, "e": {"Devices": [{"PoolName": "p", "DeviceName": "x", "RequestNames": None}]}}}],
            [claim_cache.ClaimInfo("u", "c", NS, drivers={"d": [], "e": [claim_cache.PreparedDevice("p", "x")]})],
        ),
    ],
)  # fmt: skip
def test_what_is_null_or_left_out_in_the_file_is_nothing(cache, tmp_path, entries, known):
    write(tmp_path / "dra_manager_state", {"ClaimInfoStateList": entries})
    cache.load()

    assert cache.all() == known


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "7", "{}", '{"Data": "{}"}', '{"Data": 7, "Checksum": 0}', b"\xff",
        json.dumps({"Data": "{", "Checksum": zlib.crc32(b"{")}), json.dumps({"Data": "[]", "Checksum": zlib.crc32(b"[]")}),
        json.dumps({"Data": "{}", "Checksum": zlib.crc32(b"{}")}),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_and_left_as_it_is(cache, tmp_path, content):
    path = tmp_path / "dra_manager_state"
    content = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(content)

    with pytest.raises(claim_cache.DamagedCheckpointError, match=f"^{re.escape(str(path))}: "):
        cache.load()
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "entry",
    [
        {},
        7,
        {**ENTRY, "PodUIDs": 7},
        {**ENTRY, "DriverState": {"d": {"Devices": [{}]}}},
        {**ENTRY, "DriverState": {"d": 7}},
    ],
)
def test_an_entry_that_is_none_damages_the_file(cache, tmp_path, entry):
    write(tmp_path / "dra_manager_state", {"ClaimInfoStateList": [entry]})

    with pytest.raises(claim_cache.DamagedCheckpointError):
        cache.load()


def test_a_wrong_checksum_is_said(cache, tmp_path):
    (tmp_path / "dra_manager_state").write_text(json.dumps({"Data": "{}", "Checksum": 1}))

    with pytest.raises(
        claim_cache.DamagedCheckpointError, match=f"^{tmp_path}/dra_manager_state: checkpoint is corrupted$"
    ):
        cache.load()


def test_a_node_that_had_no_kubelet_knows_nothing(cache, tmp_path):
    cache.load()
    assert cache.all() == []
    cache.delete_file()
    cache.save()
    cache.delete_file()
    assert list(tmp_path.iterdir()) == []


def test_claims_are_known_by_namespace_and_name(cache):
    mine, other = info(), info("other")
    cache.add(mine)
    cache.add(other)
    cache.add(claim_cache.ClaimInfo("u9", "claim", "elsewhere"))

    assert cache.get(NS, "claim") is mine
    assert cache.get("elsewhere", "other") is None
    cache.remove(mine)
    cache.remove(mine)
    assert [(known.namespace, known.name) for known in cache.all()] == [(NS, "other"), ("elsewhere", "claim")]


@pytest.mark.parametrize(
    ("request_name", "ids"), [("", ["v/c=1", "v/c=2", "v/c=3", "v/c=1"]), ("a", ["v/c=1", "v/c=2", "v/c=3"]), ("b", ["v/c=1", "v/c=2", "v/c=3", "v/c=1"]), ("x", ["v/c=3"])]
)  # fmt: skip
def test_ids_are_those_of_a_request_and_of_devices_that_name_none(request_name, ids):
    anybody = claim_cache.PreparedDevice("pool", "x", None, (), ("v/c=3",))
    again = claim_cache.PreparedDevice("pool", "y", None, ("b",), ("v/c=1",))

    assert info(d=[GEM, anybody], e=[again]).cdi_device_ids(request_name) == ids


# -- preparation ----------------------------------------------------------------------------------------------------------


class Api:
    """A View with what a test puts into it."""

    def __init__(self):
        self.claims, self.uids, self.asked = {}, set(), []

    def add(self, name="claim", uid="u1", *, users=("p1",), devices=(("d", "gem-1"),), owners=(), **status):
        results = [{"request": "r", "driver": driver, "pool": "pool", "device": device} for driver, device in devices]
        self.claims[name] = {
            "metadata": {"name": name, "uid": uid, "ownerReferences": [{"uid": owner} for owner in owners]},
            "status": {"allocation": {"devices": {"results": results}}, "reservedFor": [{"uid": user} for user in users], **status},
        }  # fmt: skip

    async def claim(self, namespace, name):
        self.asked.append((namespace, name))
        if name not in self.claims:
            raise view.FetchError(f"{name} is not there")
        return self.claims[name]

    async def pods(self, node):
        self.asked.append(node)
        return self.uids

    async def wipe(self, node, driver):
        self.asked.append(("wipe", node, driver))
        return True


class Known:
    """Registered drivers with memory: each answers for every claim, or what a test has set."""

    def __init__(self, cache, *names):
        self.names, self.calls, self.answers, self.file = set(names), [], {}, []
        self._cache = cache

    def get(self, name):
        if name not in self.names:
            raise drivers.NotRegisteredError(f"DRA driver {name} is not registered")
        return Client(self, name)

    def asked(self, what, driver, claims):
        self.calls.append((what, driver, [(claim.namespace, claim.name, claim.uid) for claim in claims]))
        self.file.append([(known.uid, known.is_prepared, sorted(known.drivers)) for known in self._cache.all()])
        answer = self.answers.get(driver)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Client(NamedTuple):
    known: Known
    name: str

    async def prepare(self, claims):
        answer = self.known.asked("prepare", self.name, claims)
        if answer is not None:
            return answer
        device = v1.Device(
            pool_name="pool", device_name=f"{self.name}-1", request_names=["r"], cdi_device_ids=[f"v/{self.name}=1"]
        )
        return v1.NodePrepareResourcesResponse(
            claims={claim.uid: v1.NodePrepareResourceResponse(devices=[device]) for claim in claims}
        )

    async def unprepare(self, claims):
        answer = self.known.asked("unprepare", self.name, claims)
        if answer is not None:
            return answer
        return v1.NodeUnprepareResourcesResponse(
            claims={claim.uid: v1.NodeUnprepareResourceResponse() for claim in claims}
        )


class Node:
    def __init__(self, cache):
        self.api, self.cache = Api(), cache
        self.known = Known(cache, "d", "e")
        self.preparation = preparation.Preparation(self.api, self.known, cache)

    async def fails(self, method, pod):
        with pytest.raises(preparation.PreparationError) as caught:
            await getattr(self.preparation, method)(pod)
        return str(caught.value)


@pytest.fixture
def node(cache):
    return Node(cache)


def pod(*claims, uid="p1", **status):
    entries = [{"name": f"e-{name}", "resourceClaimName": name} for name in claims]
    return {
        "metadata": {"name": "pod", "namespace": NS, "uid": uid},
        "spec": {"resourceClaims": entries},
        "status": status,
    }


def prepared(driver, share=None):
    return claim_cache.PreparedDevice("pool", f"{driver}-1", share, ("r",), (f"v/{driver}=1",))


async def test_all_claims_of_a_pod_go_in_one_call_to_each_driver_and_what_they_say_is_noted(node, tmp_path):
    node.api.add("a", "u1", devices=[("d", "x"), ("e", "y"), ("d", "z")])
    node.api.add("b", "u2")

    await node.preparation.prepare(pod("a", "b"))

    assert node.known.calls == [
        ("prepare", "d", [(NS, "a", "u1"), (NS, "b", "u2")]),
        ("prepare", "e", [(NS, "a", "u1")]),
    ]
    assert node.known.file[0] == [("u1", False, ["d", "e"]), ("u2", False, ["d"])]
    expected = [
        claim_cache.ClaimInfo("u1", "a", NS, {"p1"}, {"d": [prepared("d")], "e": [prepared("e")]}, is_prepared=True),
        claim_cache.ClaimInfo("u2", "b", NS, {"p1"}, {"d": [prepared("d")]}, is_prepared=True),
    ]
    assert node.cache.all() == expected
    after = claim_cache.ClaimCache(tmp_path)
    after.load()
    assert [known.drivers for known in after.all()] == [known.drivers for known in expected]


async def test_what_is_prepared_is_not_prepared_again_and_a_second_pod_is_noted(node, tmp_path):
    node.api.add(users=("p1", "p2"))
    await node.preparation.prepare(pod("claim"))
    await node.preparation.prepare(pod("claim"))
    await node.preparation.prepare(pod("claim", uid="p2"))

    assert len(node.known.calls) == 1
    after = claim_cache.ClaimCache(tmp_path)
    after.load()
    assert after.get(NS, "claim").pod_uids == {"p1", "p2"}


async def test_the_file_has_the_claim_before_the_call_and_the_devices_only_after_it(node, tmp_path):
    node.api.add()
    seen = []
    asked = node.known.asked

    def look(*arguments):
        after = claim_cache.ClaimCache(tmp_path)
        after.load()
        seen.extend(after.all())
        return asked(*arguments)

    node.known.asked = look
    await node.preparation.prepare(pod("claim"))

    assert seen == [claim_cache.ClaimInfo("u1", "claim", NS, {"p1"}, {"d": []})]


async def test_the_share_of_a_device_is_noted_if_there_is_one(node):
    node.api.add()
    device = v1.Device(pool_name="pool", device_name="d-1", share_id="")
    node.known.answers["d"] = v1.NodePrepareResourcesResponse(
        claims={"u1": v1.NodePrepareResourceResponse(devices=[device])}
    )

    await node.preparation.prepare(pod("claim"))

    assert node.cache.get(NS, "claim").drivers == {"d": [claim_cache.PreparedDevice("pool", "d-1", "", (), ())]}


NOT_ALLOWED = "prepare dynamic resources: pod pod (p1) is not allowed to use ResourceClaim claim (u1)"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda node: node.api.claims.pop("claim"), "prepare dynamic resources: fetch ResourceClaim claim: claim is not there"),
        (lambda node: node.api.add(users=()), NOT_ALLOWED), (lambda node: node.api.add(users=("p2",)), NOT_ALLOWED),
        (lambda node: node.api.add(reservedFor=None), NOT_ALLOWED),
        (lambda node: node.api.claims["claim"].pop("status"), NOT_ALLOWED),
        (lambda node: node.api.add(allocation=None), "prepare dynamic resources: ResourceClaim claim: claim not allocated"),
        (lambda node: node.api.add(devices=[("x", "y")]), "prepare dynamic resources: DRA driver x is not registered"),
        (lambda node: node.api.add(devices=[("d", "y"), ("x", "y")]), "prepare dynamic resources: DRA driver x is not registered"),
    ],
)  # fmt: skip
async def test_a_claim_that_a_pod_may_not_use_yet_is_said_and_nothing_is_noted(node, tmp_path, change, text):
    node.api.add()
    node.api.add("sound", "u2")
    change(node)

    assert await node.fails("prepare", pod("sound", "claim")) == text
    assert node.cache.all() == node.known.calls == list(tmp_path.iterdir()) == []


async def test_an_allocation_of_nothing_calls_nobody(node):
    node.api.add(allocation={"devices": None})

    with pytest.raises(preparation.PreparationError):
        await node.preparation.prepare(pod("missing"))
    node.api.add(allocation={"nodeSelector": {}})
    await node.preparation.prepare(pod("claim"))

    assert node.known.calls == []
    assert node.cache.get(NS, "claim").is_prepared is True


async def test_a_claim_made_for_the_pod_has_to_be_its_own(node):
    made = pod(resourceClaimStatuses=[{"name": "t", "resourceClaimName": "claim"}])
    made["spec"]["resourceClaims"] = [{"name": "t", "resourceClaimTemplateName": "template"}]
    node.api.add(owners=("p2",))

    text = "prepare dynamic resources: ResourceClaim ns/claim was not created for Pod ns/pod (Pod is not owner)"
    assert await node.fails("prepare", made) == text
    node.api.add(owners=("p2", "p1"))
    await node.preparation.prepare(made)
    assert node.cache.get(NS, "claim").pod_uids == {"p1"}


async def test_a_claim_of_the_same_name_with_another_uid_is_refused(node):
    node.api.add()
    await node.preparation.prepare(pod("claim"))
    node.api.add(uid="u2", users=("p2",))

    assert await node.fails("prepare", pod("claim", uid="p2")) == (
        "prepare dynamic resources: old ResourceClaim with same name claim and different UID u1 still exists (previous pod force-deleted?!)"
    )
    assert node.cache.get(NS, "claim").pod_uids == {"p1"}


def answer(**claims):
    return v1.NodePrepareResourcesResponse(
        claims={uid: v1.NodePrepareResourceResponse(error=error) for uid, error in claims.items()}
    )


def farewell(**claims):
    return v1.NodeUnprepareResourcesResponse(
        claims={uid: v1.NodeUnprepareResourceResponse(error=error) for uid, error in claims.items()}
    )


LOST = call_log.RpcError.deadline()


@pytest.mark.parametrize(
    ("make", "method", "call"),
    [(answer, "prepare", "NodePrepareResources"), (farewell, "unprepare", "NodeUnprepareResources")],
)
@pytest.mark.parametrize(
    ("claims", "text"),
    [
        (None, "{}: rpc error: code = DeadlineExceeded desc = context deadline exceeded"),
        ({"u1": "", "u2": "no"}, "{} failed for ResourceClaim b: no"), ({"u3": ""}, "{} returned result for unknown claim UID u3"),
        ({}, "{} skipped 2 ResourceClaims"), ({"u1": ""}, "{} skipped 1 ResourceClaims"),
    ],
)  # fmt: skip
async def test_an_answer_that_is_wrong_is_said_and_the_claim_stays_to_be_tried_again(
    node, make, method, call, claims, text
):
    node.api.add("a", "u1")
    node.api.add("b", "u2")
    if method == "unprepare":
        await node.preparation.prepare(pod("a", "b"))
    node.known.answers["d"] = LOST if claims is None else make(**claims)

    assert await node.fails(method, pod("a", "b")) == f"{method} dynamic resources: {text.format(call)}"
    assert [known.name for known in node.cache.all()] == ["a", "b"]
    node.known.answers.clear()
    await getattr(node.preparation, method)(pod("a", "b"))
    assert [known.is_prepared for known in node.cache.all()] == ([True, True] if method == "prepare" else [])


async def test_the_last_pod_of_a_claim_has_it_unprepared_by_all_its_drivers(node, tmp_path):
    node.api.add("a", "u1", users=("p1", "p2"), devices=[("d", "x"), ("e", "y")])
    node.api.add("b", "u2", users=("p1", "p2"))
    for uid in ("p1", "p2"):
        await node.preparation.prepare(pod("a", "b", uid=uid))
    node.known.calls.clear()

    await node.preparation.unprepare(pod("a", "b"))
    assert node.known.calls == []
    assert [known.pod_uids for known in node.cache.all()] == [{"p2"}, {"p2"}]
    after = claim_cache.ClaimCache(tmp_path)
    after.load()
    assert [known.pod_uids for known in after.all()] == [{"p2"}, {"p2"}]
    await node.preparation.unprepare(pod("a", "missing", "b", uid="p2"))
    assert node.known.calls == [
        ("unprepare", "d", [(NS, "a", "u1"), (NS, "b", "u2")]),
        ("unprepare", "e", [(NS, "a", "u1")]),
    ]
    after.load()
    assert node.cache.all() == after.all() == []


async def test_a_driver_that_is_not_there_keeps_the_pod(node):
    node.api.add()
    await node.preparation.prepare(pod("claim"))
    node.known.names.clear()

    assert await node.fails("unprepare", pod("claim")) == "unprepare dynamic resources: DRA driver d is not registered"
    assert node.cache.get(NS, "claim").pod_uids == {"p1"}


async def test_what_vanished_pods_have_left_is_unprepared_and_what_fails_stops_nobody(node):
    node.api.add("a", "u1", users=("gone",), devices=[("e", "y")])
    node.api.add("b", "u2", users=("gone2", "stays"))
    node.api.add("c", "u3", users=("gone2",))
    node.api.add("d", "u4", users=("gone2",))
    await node.preparation.prepare(pod("a", uid="gone"))
    await node.preparation.prepare(pod("b", uid="stays"))
    await node.preparation.prepare(pod("b", "c", "d", uid="gone2"))
    node.known.calls.clear()
    node.known.answers["e"] = LOST

    await node.preparation.reconcile(["stays"])

    assert node.known.calls == [
        ("unprepare", "e", [(NS, "a", "u1")]),
        ("unprepare", "d", [(NS, "c", "u3"), (NS, "d", "u4")]),
    ]
    assert [(known.name, known.pod_uids) for known in node.cache.all()] == [("a", {"gone"}), ("b", {"stays"})]
    node.known.answers.clear()
    await node.preparation.reconcile(["stays"])
    assert [known.name for known in node.cache.all()] == ["b"]


@pytest.mark.parametrize(
    ("entries", "status", "claims"),
    [
        ([], {}, []), (None, None, []),
        ([{"name": "a", "resourceClaimName": "x"}], {}, [("a", "x", False)]),
        ([{"name": "a", "resourceClaimTemplateName": "t"}], {"resourceClaimStatuses": [{"name": "a", "resourceClaimName": "x"}]}, [("a", "x", True)]),
        ([{"name": "a", "resourceClaimTemplateName": "t"}], {"resourceClaimStatuses": [{"name": "a"}]}, []),
        ([], {"extendedResourceClaimStatus": {"resourceClaimName": "x"}}, [("", "x", False)]),
        (
            [{"name": "a", "resourceClaimName": "x"}, {"name": "b", "resourceClaimName": "y"}],
            {"extendedResourceClaimStatus": {"resourceClaimName": "z"}, "resourceClaimStatuses": None},
            [("a", "x", False), ("b", "y", False), ("", "z", False)],
        ),
    ],
)  # fmt: skip
def test_a_pods_claims_are_named_by_it_made_for_it_or_stand_for_extended_resources(entries, status, claims):
    found = preparation.pod_claims({"metadata": {"name": "pod"}, "spec": {"resourceClaims": entries}, "status": status})

    assert [tuple(claim) for claim in found] == claims


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"name": "a"}, 'pod "default/pod", spec.resourceClaim "a": none of the supported fields are set'),
        ({"name": "a", "resourceClaimTemplateName": "t"}, 'pod "default/pod": ResourceClaim not created yet'),
    ],
)
async def test_a_claim_that_is_not_made_yet_is_said(node, entry, text):
    made = {"metadata": {"name": "pod", "uid": "p1"}, "spec": {"resourceClaims": [entry]}}

    with pytest.raises(preparation.PreparationError, match=f"^{re.escape(text)}$"):
        list(preparation.pod_claims(made))
    assert await node.fails("prepare", made) == f"prepare dynamic resources: {text}"
    assert await node.fails("unprepare", made) == f"unprepare dynamic resources: {text}"


async def test_a_pod_without_a_namespace_is_in_the_default_one(node):
    node.api.add()
    made = pod("claim")
    del made["metadata"]["namespace"]

    await node.preparation.prepare(made)
    assert (node.api.asked, [known.namespace for known in node.cache.all()]) == ([("default", "claim")], ["default"])
    await node.preparation.unprepare(made)
    assert node.cache.all() == []


# -- the half as a whole, without a driver ----------------------------------------------------------------------------------


class Half:
    def __init__(self, root, release="1.36"):
        self.clock, self.api, self.rings = ManualClock(), Api(), 0
        self.cdi = [root / "etc", root / "run"]
        self.dra = dynamic_resources.DynamicResources(
            root / "state" / "deep", self.api, node_name="worker", release=release, cdi_dirs=self.cdi, time_source=self.clock,
            calls=call_log.CallLog(self.clock, self.ring), ring=self.ring,
        )  # fmt: skip

    def ring(self):
        self.rings += 1


@pytest.fixture
def half(tmp_path):
    return Half(tmp_path)


@pytest.fixture
async def running(half):
    await half.dra.start()
    yield half
    await half.dra.stop()


def device(name, *ids, requests=()):
    return claim_cache.PreparedDevice("pool", name, None, requests, ids)


def a_pod(*containers, init=(), **status):
    entries = [{"name": "one", "resourceClaimName": "c1"}, {"name": "two", "resourceClaimName": "c2"}]
    spec = {"resourceClaims": entries, "containers": list(containers), "initContainers": list(init)}
    return {"metadata": {"name": "pod", "namespace": NS, "uid": "p1"}, "spec": spec, "status": status}


def container(name, *claims):
    return {
        "name": name,
        "resources": {"claims": [dict(zip(("name", "request"), claim.split(":"), strict=False)) for claim in claims]},
    }


@pytest.mark.parametrize(
    ("claims", "ids"),
    [
        ((), []), (("one",), ["v/c=1", "v/c=2"]), (("one:r",), ["v/c=1"]), (("one:r", "one:q"), ["v/c=1", "v/c=2"]), (("two",), ["v/c=3"]),
        (("two", "one:q"), ["v/c=2", "v/c=3"]), (("one:x",), []),
    ],
)  # fmt: skip
def test_a_container_gets_the_ids_of_what_it_asks_for_in_the_pods_order(half, claims, ids):
    half.dra.claims.add(
        info("c1", "u1", d=[device("a", "v/c=1", requests=("r",)), device("b", "v/c=2", requests=("q",))])
    )
    half.dra.claims.add(info("c2", "u2", d=[device("c", "v/c=3")]))

    assert half.dra.cdi_device_ids(a_pod(container("main", *claims), container("other", "one")), "main") == ids
    assert half.dra.cdi_device_ids(a_pod(init=[container("main", *claims)]), "main") == ids


def test_a_container_gets_the_ids_of_its_extended_resources(half):
    half.dra.claims.add(info("x", d=[device("a", "v/c=1", requests=("r0",)), device("b", "v/c=2", requests=("r1",))]))
    mappings = [{"containerName": "main", "requestName": "r1"}, {"containerName": "other", "requestName": "r0"}]
    made = a_pod(
        {"name": "main"},
        {"name": "other", "resources": None},
        extendedResourceClaimStatus={"resourceClaimName": "x", "requestMappings": mappings},
    )

    assert half.dra.cdi_device_ids(made, "main") == ["v/c=2"]
    assert half.dra.cdi_device_ids(made, "other") == ["v/c=1"]


def test_a_claim_that_is_not_known_and_a_container_that_there_is_not_are_errors(half):
    with pytest.raises(preparation.PreparationError) as caught:
        half.dra.cdi_device_ids(a_pod(container("main", "one")), "main")
    assert str(caught.value) == "internal error: unable to get claim info for ResourceClaim c1 in namespace ns"
    with pytest.raises(ValueError, match=r"^pod pod has no container 'x'$"):
        half.dra.cdi_device_ids(a_pod(container("main")), "x")


def test_what_the_runtime_adds_is_what_the_ids_stand_for(half):
    half.cdi[1].mkdir()
    spec = {"cdiVersion": "0.3.0", "kind": "v/c", "devices": [{"name": "1", "containerEdits": {"env": ["A=b"]}}]}
    spec["devices"][0]["name"] = "one"
    (half.cdi[1] / "x.json").write_text(json.dumps(spec))
    half.dra.claims.add(info("c1", d=[device("a", "v/c=one")]))

    assert half.dra.edits(a_pod(container("main", "one")), "main").env == {"A": "b"}


def said(half, *words, driver="d"):
    devices = [
        healthapi.DeviceHealth(
            device=healthapi.DeviceIdentifier(pool_name="pool", device_name=name), health=health, message=message
        )
        for name, health, message in words
    ]
    half.dra.health.update(driver, devices)


def test_a_status_has_the_health_of_each_device_of_each_app_container(half):
    half.dra.claims.add(
        info(
            "c1",
            d=[device("a", "v/c=1", "v/c=9", requests=("r",)), device("b", requests=("q",))],
            e=[device("x", "v/c=3"), device("y", "v/c=3")],
        )
    )
    said(half, ("a", healthapi.UNHEALTHY, "hot"), ("b", healthapi.HEALTHY, ""))
    said(half, ("y", healthapi.HEALTHY, ""), driver="e")
    hot = {"resourceID": "v/c=1", "health": "Unhealthy", "message": "hot"}
    fine, unknown = {"resourceID": "d/pool/b", "health": "Healthy"}, {"resourceID": "v/c=3", "health": "Unknown"}

    made = a_pod(
        container("main", "one", "two", "one:r", "one:q/sub"),
        {"name": "idle", "resources": None},
        init=[container("init", "one")],
    )
    assert half.dra.allocated_resources_status(made) == {
        "main": [
            {"name": "claim:one", "resources": [hot, fine, unknown]}, {"name": "claim:one/r", "resources": [hot, unknown]},
            {"name": "claim:one/q/sub", "resources": [fine, unknown]},
        ]
    }  # fmt: skip


@pytest.mark.parametrize(("release", "is_told"), [("1.35", False), ("1.36", True), ("1.37", True)])
def test_releases_without_health_say_nothing_of_it(tmp_path, release, is_told):
    half = Half(tmp_path, release)
    half.dra.claims.add(info("c1", d=[device("a")]))

    assert bool(half.dra.allocated_resources_status(a_pod(container("main", "one")))) is is_told


async def test_a_kubelet_that_comes_up_reads_its_file_and_wipes_its_slices(half, tmp_path):
    (tmp_path / "state" / "deep").mkdir(parents=True)
    write(tmp_path / "state" / "deep" / "dra_manager_state", {"ClaimInfoStateList": [ENTRY]})

    await half.dra.start()
    await half.clock.advance(0)

    assert half.dra.claims.all() == [claim_cache.ClaimInfo("u", "c", NS)]
    assert half.api.asked == [("wipe", "worker", "")]
    assert half.dra.drivers.wiped == [""]
    await half.dra.stop()


async def test_it_does_not_come_up_with_a_damaged_file_and_goes_down_twice(half, tmp_path):
    (tmp_path / "state" / "deep").mkdir(parents=True)
    (tmp_path / "state" / "deep" / "dra_manager_state").write_text("{")

    with pytest.raises(claim_cache.DamagedCheckpointError):
        await half.dra.start()
    assert half.api.asked == []
    await half.dra.stop()
    await half.dra.stop()


async def test_vanished_pods_are_looked_for_every_minute_while_it_is_up_and_an_answer_is_there(running):
    half = running
    await half.clock.advance(0)
    half.dra.claims.add(claim_cache.ClaimInfo("u", "c", NS, {"gone"}))
    half.api.asked.clear()
    half.api.uids = None

    await half.clock.advance(59.9)
    assert half.api.asked == []
    await half.clock.advance(0.1)
    assert (half.api.asked, len(half.dra.claims.all())) == (["worker"], 1)
    half.api.uids = {"other"}
    await half.clock.advance(60)
    assert half.dra.claims.all() == []
    await half.dra.stop()
    await half.clock.advance(600)
    assert half.api.asked == ["worker", "worker"]


async def test_who_waits_is_told_of_pods_that_were_prepared_or_not(running):
    half = running
    await half.clock.advance(0)
    half.api.add(allocation={"devices": {}})
    before = half.rings

    await half.dra.prepare(pod("claim"))
    assert half.rings == before + 1
    with pytest.raises(preparation.PreparationError):
        await half.dra.prepare(pod("missing"))
    assert half.rings == before + 2
    await half.dra.unprepare(pod("claim"))
    assert half.rings == before + 3
    with pytest.raises(preparation.PreparationError):
        await half.dra.unprepare(
            {"metadata": {"name": "pod", "uid": "p1"}, "spec": {"resourceClaims": [{"name": "a"}]}}
        )
    assert half.rings == before + 4


async def test_a_restart_begins_with_the_file_and_knows_no_health(running):
    half = running
    half.dra.claims.add(info("c1", d=[device("a")]))
    half.dra.claims.save()
    half.dra.claims.add(info("unsaved"))
    said(half, ("a", healthapi.HEALTHY, ""))
    await half.dra.stop()
    await half.dra.start()

    assert [known.name for known in half.dra.claims.all()] == ["c1"]
    assert half.dra.health.of("d", "pool", "a").health == "Unknown"


def test_a_reboot_loses_what_the_runtimes_last_directory_holds(half, tmp_path):
    for directory in half.cdi:
        directory.mkdir()
        for name in ("a.json", "b.yaml", "c.txt", "json"):
            (directory / name).touch()
    half.dra.forget_boot()

    assert sorted(path.name for path in half.cdi[0].iterdir()) == ["a.json", "b.yaml", "c.txt", "json"]
    assert sorted(path.name for path in half.cdi[1].iterdir()) == ["c.txt", "json"]


async def test_a_new_node_knows_nothing_of_the_old_ones_claims(half, tmp_path):
    await half.dra.start()
    half.dra.claims.save()
    half.cdi[1].mkdir()
    (half.cdi[1] / "a.json").touch()
    await half.dra.stop()

    half.dra.forget_node()

    assert list((tmp_path / "state" / "deep").iterdir()) == list(half.cdi[1].iterdir()) == []
    half.dra.forget_node()


def test_a_node_without_cdi_directories_has_none_to_lose(tmp_path):
    clock = ManualClock()
    dra = dynamic_resources.DynamicResources(
        tmp_path,
        Api(),
        node_name="worker",
        release="1.36",
        cdi_dirs=[],
        time_source=clock,
        calls=call_log.CallLog(clock, lambda: None),
        ring=lambda: None,
    )

    dra.forget_boot()
