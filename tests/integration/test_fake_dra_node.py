"""A node for DRA drivers: what it is made of, the claims and pods that it makes, and how it ends."""

from __future__ import annotations

import asyncio

import pytest

from fakekubelet import FakeDraNode, ManualClock, RealClock
from fakekubelet.apiserver import server
from fakekubelet.kubelet import kubelet
from fakekubelet.kubelet.mode import Mode

DRIVER = "gpu.example.com"


@pytest.fixture
def node(short_dir):
    return FakeDraNode(short_dir, node_name="n1")


def without_server_fields(made):
    metadata = {key: value for key, value in made["metadata"].items() if key in ("name", "namespace")}
    return {**made, "metadata": metadata}


async def test_everything_is_below_its_directory_and_its_time_stands_still(short_dir):
    node = FakeDraNode(short_dir)

    assert (node.name, node.kubelet.node_name, node.kubelet.mode) == ("worker", "worker", Mode.V1_36)
    assert isinstance(node.clock, ManualClock)
    assert node.kubelet.clock is node.clock
    assert node.kubelet.plugin_dir == short_dir / "device-plugins"
    assert node.environ == {
        "KUBECONFIG": f"{short_dir}/kubeconfig", "NODE_NAME": "worker", "PLUGINS_DIR": f"{short_dir}/plugins",
        "REGISTRY_DIR": f"{short_dir}/plugins_registry", "CDI_DIR": f"{short_dir}/cdi",
    }  # fmt: skip  # name to value
    assert list(short_dir.iterdir()) == []
    real = RealClock()
    other = FakeDraNode(short_dir, release="1.35", node_name="n2", clock_=real)
    assert (other.clock, other.kubelet.mode, other.kubelet.node_name) == (real, "1.35", "n2")


async def test_it_comes_up_with_its_directories_a_node_and_a_kubeconfig(node, short_dir):
    async with node as entered:
        assert entered is node
        names = {path.name for path in short_dir.iterdir()}
        assert {"cdi", "plugins", "plugins_registry", "kubeconfig", "device-plugins"} <= names
        assert [made["metadata"]["name"] for made in node.api.all("nodes")] == ["n1"]
        assert (node.kubelet.is_up, node.api.is_up) == (True, True)
        assert node.dra is node.kubelet.dra
        assert [
            name for task in asyncio.all_tasks() if (name := task.get_name()).startswith(("node-status", "plugin-w"))
        ] == ["plugin-watcher n1"]
    assert (node.kubelet.is_up, node.api.is_up) == (False, False)


@pytest.mark.parametrize("fails", [ZeroDivisionError("one"), asyncio.CancelledError()])
async def test_one_that_cannot_come_up_whole_leaves_no_server(node, monkeypatch, fails):
    stopped = []
    real = server.ApiServer.stop

    async def stop(api):
        stopped.append(api)
        await real(api)

    async def start(_):
        raise fails

    monkeypatch.setattr(server.ApiServer, "stop", stop)
    monkeypatch.setattr(kubelet.FakeKubelet, "__aenter__", start)

    with pytest.raises(type(fails)):
        await node.__aenter__()
    assert stopped == [node.api]


async def test_its_server_ends_even_if_its_kubelet_cannot(node, monkeypatch):
    ended = []

    async def fails(_, kind, error, trace):
        ended.append((kind, error, trace))
        raise OSError("in the way")

    async def stop(_):
        ended.append("server")

    await node.__aenter__()
    await node.kubelet.stop(remove_sockets=True)
    monkeypatch.setattr(kubelet.FakeKubelet, "__aexit__", fails)
    real, error = node.api.stop, ZeroDivisionError("one")
    monkeypatch.setattr(server.ApiServer, "stop", stop)
    with pytest.raises(OSError, match="in the way"):
        await node.__aexit__(ZeroDivisionError, error, None)
    assert ended == [(ZeroDivisionError, error, None), "server"]
    await real()


def publish(api, driver, name):
    return api.create({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name},
        "spec": {"driver": driver, "nodeName": "n1", "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1}, "devices": [{"name": "d"}]},
    })  # fmt: skip  # one object


async def test_slices_are_those_of_a_driver(node):
    publish(node.api, DRIVER, "one")
    publish(node.api, "nic.example.com", "two")

    assert [made["metadata"]["name"] for made in node.slices(DRIVER)] == ["one"]
    assert node.slices("none") == []


async def test_a_driver_is_waited_for_until_it_is_usable_and_has_published(node, monkeypatch):
    waits = []

    async def usable(predicate, *, timeout):
        waits.append(("usable", predicate(), timeout))

    async def published(predicate, *, timeout):
        waits.append(("published", [made["metadata"]["name"] for made in predicate()], timeout))
        return "the slices"

    monkeypatch.setattr(node.dra.drivers, "is_usable", lambda name: f"{name} is")
    monkeypatch.setattr(node.kubelet, "wait_for", usable)
    monkeypatch.setattr(node.api, "wait_for", published)
    publish(node.api, DRIVER, "one")

    assert await node.wait_for_driver(DRIVER) == "the slices"
    await node.wait_for_driver(DRIVER, timeout=2.0)
    assert waits == [
        ("usable", f"{DRIVER} is", 30.0), ("published", ["one"], 30.0), ("usable", f"{DRIVER} is", 2.0), ("published", ["one"], 2.0),
    ]  # fmt: skip  # in order


def result(device, pool="n1", request="devices"):
    return {"request": request, "driver": DRIVER, "pool": pool, "device": device}


async def test_a_claim_has_its_devices_as_a_scheduler_would_have_given_them(node):
    made = node.claim(DRIVER, ["a", "b"])

    assert without_server_fields(made) == {
        "metadata": {"name": "claim", "namespace": "default"},
        "spec": {"devices": {"requests": [{"name": "devices", "exactly": {
            "deviceClassName": DRIVER, "count": 2, "allocationMode": "ExactCount",
        }}]}},
        "status": {"allocation": {"devices": {"results": [result("a"), result("b")]}}},
    }  # fmt: skip  # as the server has it
    assert node.api.find("resourceclaims", "claim") == made
    other = node.claim(DRIVER, ["c"], name="other", pool="far", request="one")
    assert other["metadata"]["name"] == "other"
    assert other["spec"]["devices"]["requests"][0]["name"] == "one"
    assert other["status"]["allocation"]["devices"]["results"] == [result("c", "far", "one")]


async def test_a_pod_uses_its_claims_which_are_reserved_for_it_and_for_others_before(node):
    first, second = node.claim(DRIVER, ["a"], name="first"), node.claim(DRIVER, ["b"], name="second")

    one = node.pod(first, second)
    two = node.pod(second, name="two", container="side")

    spec = one["spec"]
    assert spec["nodeName"] == "n1"
    assert spec["resourceClaims"] == [
        {"name": "claim-0", "resourceClaimName": "first"}, {"name": "claim-1", "resourceClaimName": "second"},
    ]  # fmt: skip  # by number
    assert [(one["name"], one["resources"]["claims"]) for one in spec["containers"]] == [
        ("main", [{"name": "claim-0"}, {"name": "claim-1"}])
    ]
    assert (one["metadata"]["name"], two["metadata"]["name"], two["spec"]["containers"][0]["name"]) == (
        "pod",
        "two",
        "side",
    )

    def user(pod):
        return {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}

    def users(name):
        status = node.api.find("resourceclaims", name)["status"]
        assert status["allocation"]["devices"]["results"], "it keeps its devices"
        return status["reservedFor"]

    assert users("first") == [user(one)]
    assert users("second") == [user(one), user(two)]
    assert node.pod(name="bare")["spec"]["containers"][0]["name"] == "main"


async def test_a_pod_is_prepared_before_it_runs_and_unprepared_before_it_goes(node, monkeypatch):
    done = []

    async def prepare(pod):
        done.append(("prepare", pod["metadata"]["name"]))

    async def unprepare(pod):
        done.append(("unprepare", pod["metadata"]["name"], len(node.api.all("pods"))))

    def edits(pod, container):
        done.append(("edits", pod["metadata"]["name"], container))
        return "the edits"

    for name, call in (("prepare", prepare), ("unprepare", unprepare), ("edits", edits)):
        monkeypatch.setattr(node.dra, name, call)
    pod = node.pod(node.claim(DRIVER, ["a"]))

    assert await node.start_pod(pod) == "the edits"
    assert await node.start_pod(pod, container="side") == "the edits"
    await node.end_pod(pod)

    assert done == [
        ("prepare", "pod"), ("edits", "pod", "main"), ("prepare", "pod"), ("edits", "pod", "side"), ("unprepare", "pod", 1),
    ]  # fmt: skip  # in order
    assert node.api.all("pods") == []
