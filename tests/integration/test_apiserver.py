"""The fake API server over HTTP, as client-go and Python clients use one."""

import asyncio
import contextlib
import json

import aiohttp
import pytest

from fakekubelet.apiserver import faults
from fakekubelet.apiserver.server import ApiServer
from kubeapi import access, follow, resources
from kubeapi import client as kubeclient

SLICES = "/apis/resource.k8s.io/v1/resourceslices"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
DRIVER = "gpu.example.com"


@pytest.fixture
async def api():
    async with ApiServer() as running:
        yield running


@pytest.fixture
async def http(api):
    async with aiohttp.ClientSession(api.url) as session:
        yield session


def a_slice(name="s", node="worker", *, driver=DRIVER, devices=({"name": "a"},), **metadata):
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": driver, "nodeName": node, "pool": pool, "devices": list(devices)}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


async def post(http, path, document, status=201):
    async with http.post(path, json=document) as response:
        assert response.status == status, await response.text()
        return await response.json()


async def get(http, path, status=200, **params):
    async with http.get(path, params=params) as response:
        assert response.status == status, await response.text()
        return await response.json()


@contextlib.asynccontextmanager
async def watching(http, path, **params):
    """Give a function that returns the next events as `(type, name or resource version, object)`."""
    async with http.get(path, params={"watch": "true", **params}) as response:
        assert response.status == 200, await response.text()

        async def events(number):
            found = []
            async with asyncio.timeout(10):
                for _ in range(number):
                    event = json.loads(await response.content.readline())
                    found.append((event["type"], event["object"].get("metadata", {}).get("name"), event["object"]))
            return found

        yield events


async def test_it_says_what_it_serves(http):
    assert (await get(http, "/version"))["minor"] == "36"
    groups = await get(http, "/apis")
    resources = await get(http, "/apis/resource.k8s.io/v1")

    assert "resource.k8s.io" in [group["name"] for group in groups["groups"]]
    assert {"resourceslices", "resourceclaims", "resourceclaims/status"} <= {
        one["name"] for one in resources["resources"]
    }
    assert "devicetaintrules" not in {one["name"] for one in resources["resources"]}
    await get(http, "/apis/resource.k8s.io/v1beta1/resourceslices", status=404)


@pytest.mark.parametrize(
    ("release", "gates", "served"),
    [
        ("1.32", {}, ["v1beta1"]),
        ("1.33", {}, ["v1beta2", "v1beta1"]),
        ("1.34", {}, ["v1"]),
        ("1.36", {"DRADeviceTaintRules": True}, ["v1", "v1beta2"]),
        ("1.37", {}, ["v1"]),
    ],
)
async def test_each_release_serves_its_versions(release, gates, served):
    async with ApiServer(release, feature_gates=gates) as api, aiohttp.ClientSession(api.url) as http:
        group = await get(http, "/apis/resource.k8s.io")

    assert [version["version"] for version in group["versions"]] == served


async def test_an_object_is_named_dated_and_counted(http):
    document = a_slice(generateName="00000-")
    del document["metadata"]["name"]

    made = await post(http, SLICES, document)
    metadata = made["metadata"]
    changed = {**made, "spec": {**made["spec"], "devices": [{"name": "b"}]}}
    async with http.put(f"{SLICES}/{metadata['name']}", json=changed) as response:
        after = (await response.json())["metadata"]

    assert metadata["name"].startswith("00000-")
    assert len(metadata["name"]) == 11
    assert metadata["uid"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert (metadata["generation"], after["generation"]) == (1, 2)
    assert int(after["resourceVersion"]) > int(metadata["resourceVersion"])


async def test_a_write_based_on_something_old_is_a_conflict(http):
    made = await post(http, SLICES, a_slice())
    await post(http, SLICES, a_slice(), status=409)
    newer = {**made, "spec": {**made["spec"], "devices": []}}
    async with http.put(f"{SLICES}/s", json=newer) as response:
        assert response.status == 200
    async with http.put(f"{SLICES}/s", json=made) as response:
        refused = await response.json()

    assert (refused["code"], refused["reason"]) == (409, "Conflict")
    assert refused["message"] == (
        'Operation cannot be fulfilled on resourceslices.resource.k8s.io "s": the object has been modified; please '
        "apply your changes to the latest version and try again"
    )


async def test_a_write_that_changes_nothing_is_no_change(api, http):
    made = await post(http, SLICES, a_slice())
    async with http.put(f"{SLICES}/s", json=made) as response:
        again = await response.json()

    assert again == made


async def test_a_bad_slice_is_refused_with_the_rule(http):
    refused = await post(http, SLICES, a_slice(devices=[{"name": "a"}, {"name": "a"}]), status=422)

    assert refused["message"] == ('ResourceSlice.resource.k8s.io "s" is invalid: spec.devices[1]: Duplicate value: "a"')
    assert refused["details"]["causes"] == [
        {"reason": "FieldValueDuplicate", "message": 'Duplicate value: "a"', "field": "spec.devices[1]"}
    ]


async def test_a_taint_without_a_time_gets_one_at_every_write(api, http):
    taint = {"key": "k", "effect": "NoSchedule"}
    made = await post(http, SLICES, a_slice(devices=[{"name": "a", "taints": [taint]}]))

    assert made["spec"]["devices"][0]["taints"][0]["timeAdded"].endswith("Z")


async def test_what_a_release_has_not_is_dropped():
    async with ApiServer("1.34") as api, aiohttp.ClientSession(api.url) as http:
        devices = [{"name": "a", "taints": [{"key": "k", "effect": "NoSchedule"}]}]
        made = await post(http, SLICES, a_slice(devices=devices))

    assert made["spec"]["devices"] == [{"name": "a"}]


async def test_a_watch_goes_on_from_a_resource_version_and_sees_what_leaves_its_selection(http):
    listed = await get(http, SLICES)
    made = await post(http, SLICES, a_slice(labels={"l": "1"}))
    async with watching(
        http, SLICES, resourceVersion=listed["metadata"]["resourceVersion"], labelSelector="l=1"
    ) as events:
        first = await events(1)
        made["metadata"]["labels"] = {"l": "2"}
        async with http.put(f"{SLICES}/s", json=made) as response:
            assert response.status == 200
        second = await events(1)

    assert [(kind, name) for kind, name, _ in first + second] == [("ADDED", "s"), ("DELETED", "s")]


async def test_a_watch_list_ends_its_initial_events_with_a_bookmark(http):
    await post(http, SLICES, a_slice("a", "n1"))
    await post(http, SLICES, a_slice("b", "n2"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with watching(http, SLICES, fieldSelector="spec.nodeName=n1", **query) as events:
        found = await events(2)
        await post(http, SLICES, a_slice("c", "n1"))
        found += await events(1)

    assert [(kind, name) for kind, name, _ in found] == [("ADDED", "a"), ("BOOKMARK", None), ("ADDED", "c")]
    assert found[1][2]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert found[1][2]["kind"] == "ResourceSlice"


async def test_a_watch_from_before_what_is_known_begins_with_410(api, http):
    listed = await get(http, SLICES)
    await post(http, SLICES, a_slice())
    api.forget_history()
    async with watching(http, SLICES, resourceVersion=listed["metadata"]["resourceVersion"]) as events:
        ((kind, _, status),) = await events(1)

    assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
    assert status["message"].startswith("too old resource version: ")


async def test_a_quiet_watch_gets_bookmarks_and_ends_when_its_time_is_over():
    async with ApiServer(bookmark_period_s=0.01) as api, aiohttp.ClientSession(api.url) as http:
        async with watching(http, SLICES, resourceVersion="1000", allowWatchBookmarks="true") as events:
            ((kind, _, bookmark),) = await events(1)
        params = {"watch": "true", "resourceVersion": "1000", "timeoutSeconds": "0.05"}
        async with asyncio.timeout(10), http.get(SLICES, params=params) as response:
            left = await response.read()

    assert (kind, bookmark["metadata"]["resourceVersion"]) == ("BOOKMARK", "1000")
    assert left == b""


async def test_a_list_comes_in_parts(http):
    for name in "abc":
        await post(http, SLICES, a_slice(name))
    first = await get(http, SLICES, limit="2")
    rest = await get(http, SLICES, limit="2", **{"continue": first["metadata"]["continue"]})

    assert [one["metadata"]["name"] for one in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert "continue" not in rest["metadata"]


async def test_a_collection_is_deleted_by_node_and_driver(http):
    await post(http, SLICES, a_slice("a", "n1"))
    await post(http, SLICES, a_slice("b", "n1", driver="other.example.com"))
    await post(http, SLICES, a_slice("c", "n2"))
    async with http.delete(SLICES, params={"fieldSelector": f"spec.nodeName=n1,spec.driver={DRIVER}"}) as response:
        assert response.status == 200

    assert [one["metadata"]["name"] for one in (await get(http, SLICES))["items"]] == ["b", "c"]


async def test_the_status_of_a_claim_is_written_apart_from_its_spec(http):
    exactly = {"deviceClassName": "gpu"}
    claim = {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}},
             "status": {"reservedFor": []}}  # fmt: skip
    made = await post(http, CLAIMS, claim)
    result = {"request": "r", "driver": DRIVER, "pool": "p", "device": "a"}
    made["status"] = {"allocation": {"devices": {"results": [result]}}}
    made["spec"] = {}
    async with http.put(f"{CLAIMS}/c/status", json=made) as response:
        after = await response.json()

    assert after["spec"]["devices"]["requests"][0]["exactly"] == {**exactly, "allocationMode": "ExactCount", "count": 1}
    assert after["status"]["allocation"]["devices"]["results"] == [result]


async def test_a_pod_on_a_node_waits_for_its_kubelet_and_a_finalizer_for_its_owner(api, http):
    pods = "/api/v1/namespaces/default/pods"
    await post(http, pods, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}})
    await post(http, f"{pods}/p/binding", {"target": {"kind": "Node", "name": "worker"}})
    async with http.delete(f"{pods}/p") as response:
        marked = await response.json()
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    async with http.delete(f"{pods}/p", json={"gracePeriodSeconds": 0}) as response:
        assert response.status == 200
    assert not api.all("pods")

    await post(http, SLICES, a_slice(finalizers=["example.com/mine"]))
    async with http.delete(f"{SLICES}/s") as response:
        assert response.status == 200
    assert api.find("resourceslices", "s")["metadata"]["deletionTimestamp"]
    patch = {"metadata": {"finalizers": None}}
    headers = {"Content-Type": "application/merge-patch+json"}
    async with http.patch(f"{SLICES}/s", data=json.dumps(patch), headers=headers) as response:
        assert response.status == 200
    assert api.find("resourceslices", "s") is None


async def test_only_those_with_a_token_are_let_in(api):
    api.tokens["secret"] = "system:serviceaccount:default:driver"
    async with aiohttp.ClientSession(api.url) as http:
        assert (await get(http, SLICES, status=401))["reason"] == "Unauthorized"
        async with http.get(SLICES, headers={"Authorization": "Bearer secret"}) as response:
            assert response.status == 200

    assert api.asked("list", "resourceslices")[-1].user == "system:serviceaccount:default:driver"
    assert '"token": "secret"' in api.kubeconfig()


@pytest.mark.parametrize(("effect", "outcome"), [("error", (429, "3")), ("slow", (200, None)), ("gone", (410, None))])
async def test_faults_are_played_as_often_as_they_say(api, http, effect, outcome):
    fault = api.faults.play(faults.Fault(effect, code=429, retry_after_s=3, delay_s=0.01, verbs=frozenset({"list"})))
    async with http.get(SLICES) as response:
        assert (response.status, response.headers.get("Retry-After")) == outcome

    assert fault.met == 1
    await get(http, SLICES)


async def test_a_request_that_is_cut_was_not_done(api, http):
    api.faults.play(faults.Fault("cut", verbs=frozenset({"create"})))
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(http, SLICES, a_slice())

    assert api.find("resourceslices", "s") is None


async def test_an_answer_that_is_lost_was_work_that_was_done(api, http):
    api.faults.play(faults.Fault("lost", verbs=frozenset({"create"})))
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(http, SLICES, a_slice())

    assert api.find("resourceslices", "s")


async def test_it_goes_away_and_comes_back_on_the_same_port_with_what_it_had(api, http):
    await post(http, SLICES, a_slice())
    async with http.get(SLICES, params={"watch": "true"}) as response:
        await response.content.readline()
        await api.stop()
        assert await response.content.read() == b""
    await api.start()

    assert len((await get(http, SLICES))["items"]) == 1


async def test_rubbish_gets_an_answer_that_says_why(http):
    headers = {"Content-Type": "application/json"}
    for body, code in (
        (b"{", 400),
        (b"[]", 400),
        (b'{"spec": 7}', 400),
        (b'{"metadata": 7}', 400),
        (b'{"kind": "Pod"}', 400),
    ):
        async with http.post(SLICES, data=body, headers=headers) as response:
            assert response.status == code, (body, await response.text())
            assert (await response.json())["message"]
    async with http.post(SLICES, data=b"x", headers={"Content-Type": "application/cbor"}) as response:
        assert response.status == 415
    async with http.post(
        SLICES, data=b"x", headers={"Content-Type": "application/vnd.kubernetes.protobuf"}
    ) as response:
        assert response.status == 400
    async with http.put(SLICES, json={}) as response:
        assert response.status == 405
    await get(http, "/apis/resource.k8s.io/v1/nothing", status=404)
    await get(http, SLICES, status=400, fieldSelector="spec.colour=red")


async def test_our_client_tells_of_a_deletion_that_it_missed_with_a_version_newer_than_the_last(api):
    seen = []
    async with kubeclient.Client(access.Access(api.url)) as client:
        following = follow.Follow(client, resources.RESOURCE_SLICES, on_event=seen.append)
        task = asyncio.create_task(following.run())
        api.create(a_slice())
        await api.wait_for(lambda: api.open_watches)
        await until(lambda: any(event.type == "ADDED" for event in seen))
        last = int(api.find("resourceslices", "s")["metadata"]["resourceVersion"])
        api.delete("resourceslices", "s")
        api.forget_history()
        api.cut_watches()
        await until(lambda: any(event.type == "DELETED" for event in seen))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    (gone,) = [event for event in seen if event.type == "DELETED"]
    assert int(gone.object["metadata"]["resourceVersion"]) > last


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
