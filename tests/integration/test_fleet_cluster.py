"""Nodes that join a cluster: what the API server is told, what it asks for, and what is left when they go."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from fakehw import FakehwError, FakeTree, InputError, make_topology
from fakehw_fleet import state as states
from fakehw_fleet.cluster import control, leases, objects, orders, pods, recording
from fakehw_fleet.cluster.fleet import ClusterFleet
from fakehw_fleet.cluster.grumbles import Grumbles
from fakehw_fleet.cluster.options import Options
from fakehw_fleet.cluster.work import WorkQueue
from fakekubelet.apiserver.faults import Fault
from fakekubelet.apiserver.server import ApiServer
from kubeapi import errors, kubeconfig
from tests.running import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.lengthy

GPU = "a.b/gpu"
AT_ONCE = Options(status_every_s=None)


def topology(nodes: int = 2) -> Any:
    classes = {"gpu": {"count": 4, "resource": GPU, "devices": {"1-2": {"numa_node": 0}, "3-4": {"numa_node": 1}}}}
    return make_topology({"nodes": {f"n[1-{nodes}]": {"host": "w-{index}", "classes": classes}}})


@contextlib.asynccontextmanager
async def fleet(
    api: ApiServer, home: Path, *, options: Options = AT_ONCE, nodes: int = 2, told: list[str] | None = None
) -> AsyncIterator[ClusterFleet]:
    api.write_kubeconfig(home / "kc")
    tell = (told if told is not None else []).append
    async with ClusterFleet(
        topology(nodes), home / "tree", home / "s", kubeconfig.load([home / "kc"]), domain="myplugin.io",
        options=options, tell=tell,
    ) as running:  # fmt: skip  # where, whose, how
        await until(api, lambda: running.ready == nodes)
        yield running


async def until(api: ApiServer, predicate: Callable[[], Any]) -> Any:
    """Wait for something that a request, a change or a little time brings about."""
    async with asyncio.timeout(DEADLINE_S):
        while not (value := predicate()):
            with contextlib.suppress(TimeoutError):
                await api.wait_for(predicate, timeout=0.05)
        return value


def pod(name: str, gpus: int, node: str = "w-1", **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "i", "resources": {"limits": {GPU: str(gpus), "cpu": "1"}}}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [container], **spec},
    }  # fmt: skip  # one object


def status(api: ApiServer, name: str) -> dict[str, Any]:
    found = api.find("pods", name, "default")
    return {} if found is None else found.get("status") or {}


def allocated(api: ApiServer, name: str) -> dict[str, Any]:
    annotation = api.find("pods", name, "default")["metadata"]["annotations"][objects.ALLOCATED]
    return json.loads(annotation)["main"]


async def running(api: ApiServer, name: str) -> None:
    await until(api, lambda: status(api, name).get("phase") == "Running")


def extended(api: ApiServer, node: str) -> tuple[int, int]:
    found = api.find("nodes", node)
    return tuple(objects.extended(found["status"], field).get(GPU) for field in ("capacity", "allocatable"))


# Joining.


async def test_a_node_is_registered_as_a_kubelet_does_it_with_its_devices_label_taint_and_lease(
    api: ApiServer, home: Path
) -> None:
    async with fleet(api, home):
        node = api.find("nodes", "w-2")
        assert node["metadata"]["labels"] == {
            "kubernetes.io/hostname": "w-2", "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "type": "fakehw", "fakehw.io/fleet": "fakehw",
        }  # fmt: skip  # all of them
        assert node["spec"]["taints"] == [{"key": "fakehw.io/fake", "value": "fakehw", "effect": "NoSchedule"}]
        assert extended(api, "w-2") == (4, 4)
        assert objects.is_ready(node)
        assert "fake" in node["status"]["nodeInfo"]["osImage"]
        lease = await until(api, lambda: api.find("leases", "w-2", "kube-node-lease"))
        assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
        assert lease["spec"]["holderIdentity"] == "w-2"


async def test_the_controllers_taint_is_taken_away_at_once_and_others_stay(api: ApiServer, home: Path) -> None:
    async with fleet(api, home):
        node = api.find("nodes", "w-1")
        mine = {"key": "mine", "effect": "NoExecute"}
        controllers = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
        taints = [controllers, *node["spec"]["taints"], mine]
        api.update({"apiVersion": "v1", "kind": "Node", **node, "spec": {**node["spec"], "taints": taints}})
        await until(api, lambda: controllers not in api.find("nodes", "w-1")["spec"]["taints"])

        assert mine in api.find("nodes", "w-1")["spec"]["taints"]
        assert len(api.find("nodes", "w-1")["spec"]["taints"]) == 2


async def test_a_node_that_the_controller_gave_up_heals(api: ApiServer, home: Path) -> None:
    async with fleet(api, home):
        node = api.find("nodes", "w-1")
        unknown = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
        api.update(
            {"apiVersion": "v1", "kind": "Node", **node, "status": {**node["status"], "conditions": unknown}},
            subresource="status",
        )

        await until(api, lambda: objects.is_ready(api.find("nodes", "w-1")))


async def test_a_node_that_another_made_is_left_alone_and_said(api: ApiServer, home: Path) -> None:
    foreign = api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "w-2", "labels": {"x": "y"}}})
    with pytest.raises(FakehwError, match=r"w-2: there is a node of this name that no fleet made: it is left alone"):
        async with fleet(api, home):
            pass
    assert api.all("nodes") == [foreign]
    assert not (home / "tree").exists()


async def test_labels_and_taints_of_the_spec_are_on_the_node(api: ApiServer, home: Path) -> None:
    api.write_kubeconfig(home / "kc")
    fields = {"labels": {"zone": "z{index}"}, "taints": ["pool=gpu:NoExecute", "x:NoSchedule"]}
    spec = make_topology({"nodes": {"w-[1-1]": {**fields, "classes": {"gpu": {"count": 1, "resource": GPU}}}}})
    access = kubeconfig.load([home / "kc"])
    async with ClusterFleet(spec, home / "tree", home / "s", access, domain="d.io", options=AT_ONCE, tell=print) as up:
        await until(api, lambda: up.ready == 1)
        node = api.find("nodes", "w-1")
        assert node["metadata"]["labels"]["zone"] == "z1"
        assert [(one["key"], one.get("value", ""), one["effect"]) for one in node["spec"]["taints"]] == [
            ("pool", "gpu", "NoExecute"),
            ("x", "", "NoSchedule"),
            ("fakehw.io/fake", "fakehw", "NoSchedule"),
        ]


# Devices.


async def test_a_flip_reaches_the_node_object_and_the_pod_that_holds_the_device(api: ApiServer, home: Path) -> None:
    async with fleet(api, home):
        api.create(pod("p", 4))
        await running(api, "p")
        FakeTree(home / "tree").set_health("n1/gpu/2", "unhealthy", reason="hot")
        await until(api, lambda: extended(api, "w-1") == (4, 3))

        def states() -> dict[str, str]:
            (container,) = status(api, "p")["containerStatuses"]
            (resource,) = container["allocatedResourcesStatus"]
            return {one["resourceID"]: one["health"] for one in resource["resources"]}

        await until(api, lambda: states()["n1-gpu-2"] == "Unhealthy")
        assert states()["n1-gpu-1"] == "Healthy"
        FakeTree(home / "tree").unplug("n2/gpu/4")
        await until(api, lambda: extended(api, "w-2") == (3, 3))


async def test_a_status_is_told_at_the_pace_that_was_asked_for(api: ApiServer, home: Path) -> None:
    async with fleet(api, home, options=Options(status_every_s=1.0)) as up:
        FakeTree(home / "tree").set_health("n1/gpu/2", "unhealthy")
        await until(api, lambda: up.nodes["w-1"].kubelet.allocatable[GPU] == 3)  # the kubelet knows
        assert extended(api, "w-1") == (4, 4)  # and does not say it yet
        await until(api, lambda: extended(api, "w-1") == (4, 3))


# Pods.


async def test_a_pod_is_admitted_started_and_told_with_what_it_was_given(api: ApiServer, home: Path) -> None:
    value_from = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    wanted = pod("p", 2, initContainers=[{"name": "init", "image": "i"}])
    wanted["spec"]["containers"][0]["env"] = [value_from]
    async with fleet(api, home) as up:
        api.create(wanted)
        await running(api, "p")

        given = allocated(api, "p")
        assert len(given["devices"][GPU]) == 2
        assert set(given["env"]) == {"GPU_ID_0", "GPU_ID_1"}
        told = status(api, "p")
        conditions = {one["type"]: one["status"] for one in told["conditions"]}
        assert (conditions["Ready"], conditions["PodScheduled"]) == ("True", "True")
        assert told["containerStatuses"][0]["ready"]
        assert "terminated" in told["initContainerStatuses"][0]["state"]
        assert up.summary().resources[GPU].allocated == 2


async def test_a_pod_that_finds_no_devices_fails_as_its_kubelet_says(api: ApiServer, home: Path) -> None:
    async with fleet(api, home):
        api.create(pod("first", 3))
        await running(api, "first")
        api.create(pod("second", 2))
        await until(api, lambda: status(api, "second").get("phase") == "Failed")

        told = status(api, "second")
        assert told["reason"] == "UnexpectedAdmissionError"
        assert "requested number of devices unavailable for a.b/gpu. Requested: 2, Available: 1" in told["message"]
        (event,) = api.all("events")
        assert event["involvedObject"]["uid"] == api.find("pods", "second", "default")["metadata"]["uid"]
        assert (event["type"], event["reason"]) == ("Warning", "UnexpectedAdmissionError")
        assert told["message"] == f"Pod was rejected: {event['message']}"
        assert event["source"] == {"component": "kubelet", "host": "w-1"}


async def test_an_event_that_may_not_be_sent_keeps_no_status_back(api: ApiServer, home: Path) -> None:
    told: list[str] = []
    async with fleet(api, home, told=told):
        api.faults.play(Fault("error", code=403, resources=frozenset(("events",)), times=None))
        api.create(pod("p", 5))
        await until(api, lambda: status(api, "p").get("phase") == "Failed")
    assert not api.all("events")
    assert any("API server" in line for line in told)


async def test_a_container_that_could_not_start_is_tried_again(
    api: ApiServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakehw_fleet.cluster.pod_sync.RETRY_S", 0.05)
    async with fleet(api, home) as up:
        kubelet, tried = up.nodes["w-1"].kubelet, 0
        start = kubelet.start_container

        async def fail_twice(target: Any, name: str | None = None) -> Any:
            nonlocal tried
            tried += 1
            if tried > 2:
                return await start(target, name)
            failed = target.containers[name]
            failed.waiting_reason, failed.message = "CreateContainerConfigError", "not yet"
            return failed

        monkeypatch.setattr(kubelet, "start_container", fail_twice)
        api.create(pod("p", 1))
        await until(api, lambda: "waiting" in str(status(api, "p")))
        assert status(api, "p")["phase"] == "Pending"
        await running(api, "p")
        assert tried == 3


async def test_a_deleted_pod_goes_and_its_devices_are_given_out_again(api: ApiServer, home: Path) -> None:
    async with fleet(api, home):
        api.create(pod("p", 4))
        await running(api, "p")
        api.delete("pods", "p", "default")
        await until(api, lambda: api.find("pods", "p", "default") is None)
        api.create(pod("q", 4))
        await running(api, "q")


async def test_pods_of_other_nodes_are_not_touched(api: ApiServer, home: Path) -> None:
    async with fleet(api, home):
        api.create(pod("theirs", 1, node="their-node"))
        api.create(pod("waiting", 1, node=""))
        api.create(pod("ours", 1))
        await running(api, "ours")

        assert not status(api, "theirs").get("phase") or status(api, "theirs")["phase"] == "Pending"
        assert not any(request.name in ("theirs", "waiting") for request in api.requests)


# Crashes, restarts, silence.


async def test_a_fleet_that_comes_up_again_adopts_its_nodes_and_pods_keep_their_devices(
    api: ApiServer, home: Path
) -> None:
    keep = Options(status_every_s=None, keeps=True)
    async with fleet(api, home, options=keep):
        for number in (1, 2):
            api.create(pod(f"p{number}", 2, node=f"w-{number}"))
            await running(api, f"p{number}")
    before = {name: allocated(api, name)["devices"] for name in ("p1", "p2")}
    uids = {node["metadata"]["name"]: node["metadata"]["uid"] for node in api.all("nodes")}
    leased = {lease["metadata"]["uid"] for lease in api.all("leases")}
    seen = len(api.requests)
    listed: set[tuple[int, int]] = set()
    api.changes.subscribe(lambda: listed.update(extended(api, node) for node in ("w-1", "w-2")))
    async with fleet(api, home, options=keep) as again:
        assert listed == {(4, 4)}, "nobody hears of a node without its devices"
        api.create(pod("late", 2))
        await running(api, "late")

        assert {name: allocated(api, name)["devices"] for name in ("p1", "p2")} == before
        assert not set(allocated(api, "late")["devices"][GPU]) & set(before["p1"][GPU])
        assert again.summary().resources[GPU].allocated == 6
    assert {node["metadata"]["name"]: node["metadata"]["uid"] for node in api.all("nodes")} == uids
    assert {lease["metadata"]["uid"] for lease in api.all("leases")} == leased
    told = [
        request for request in list(api.requests)[seen:] if request.name in ("p1", "p2") and request.verb == "patch"
    ]
    assert told == [], "what the cluster knows is not told again"


async def test_a_kubelet_that_restarts_takes_its_devices_away_and_brings_them_back(api: ApiServer, home: Path) -> None:
    async with fleet(api, home) as up:
        api.create(pod("p", 2))
        await running(api, "p")
        before = allocated(api, "p")
        await up.restart("w-1")
        await until(api, lambda: extended(api, "w-1") == (4, 4) and up.ready == 2)

        assert allocated(api, "p") == before
        assert status(api, "p")["phase"] == "Running"


async def test_a_silent_node_tells_nothing_until_it_speaks_again(api: ApiServer, home: Path) -> None:
    async with fleet(api, home) as up:
        up.silence("w-1")
        FakeTree(home / "tree").set_health("n1/gpu/2", "unhealthy")
        api.create(pod("p", 1))
        api.create(pod("q", 1, node="w-2"))
        await running(api, "q")
        await until(api, lambda: up.nodes["w-1"].kubelet.node_status.allocatable[GPU] == 3)
        assert extended(api, "w-1") == (4, 4)
        assert status(api, "p").get("phase") != "Running"
        up.speak("w-1")
        await running(api, "p")
        await until(api, lambda: extended(api, "w-1") == (4, 3))


async def test_a_node_that_somebody_deletes_is_gone_and_the_others_stay(api: ApiServer, home: Path) -> None:
    told: list[str] = []
    async with fleet(api, home, told=told) as up:
        api.delete("nodes", "w-1")
        await until(api, lambda: any("w-1: its Node was deleted" in line for line in told))
        await until(api, lambda: up.ready == 1)
        api.create(pod("p", 1, node="w-2"))
        await running(api, "p")
        assert api.find("nodes", "w-1") is None


async def test_leaving_takes_nodes_and_leases_along_and_nothing_else(api: ApiServer, home: Path) -> None:
    theirs = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
              "metadata": {"name": "w-1-not", "namespace": "kube-node-lease"}, "spec": {}}  # fmt: skip  # one object
    api.create(theirs)
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "their-node"}})
    async with fleet(api, home) as up:
        api.create(pod("p", 1))
        await running(api, "p")
        await until(api, lambda: len(api.all("leases")) == 3)

    assert up.has_left
    assert [node["metadata"]["name"] for node in api.all("nodes")] == ["their-node"]
    assert [lease["metadata"]["name"] for lease in api.all("leases")] == ["w-1-not"]
    assert api.find("pods", "p", "default") is not None, "pods are the cluster's own"


async def test_a_lease_that_another_holds_is_left_alone_and_said(api: ApiServer, home: Path) -> None:
    told: list[str] = []
    theirs = api.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                         "metadata": {"name": "w-1", "namespace": "kube-node-lease"},
                         "spec": {"holderIdentity": "somebody"}})  # fmt: skip  # one object
    async with fleet(api, home, told=told):
        await until(api, lambda: any("lease w-1 is another's: left alone" in line for line in told))
        await until(api, lambda: api.find("leases", "w-2", "kube-node-lease"))
    assert api.find("leases", "w-1", "kube-node-lease") == theirs


async def test_without_the_right_to_look_a_fleet_does_not_begin(api: ApiServer, home: Path) -> None:
    api.faults.play(Fault("error", code=403, resources=frozenset(("nodes",)), times=None))
    with pytest.raises(errors.ForbiddenError):
        async with fleet(api, home):
            pass
    assert not (home / "tree").exists()


# An API server that is away, slow, or has too much to do.


@pytest.mark.parametrize("code", [429, 503])
async def test_what_happened_while_the_server_refused_arrives_afterwards(api: ApiServer, home: Path, code: int) -> None:
    told: list[str] = []
    async with fleet(api, home, told=told):
        api.faults.play(Fault("error", code=code, retry_after_s=1, verbs=frozenset(("patch",)), times=None))
        api.create(pod("p", 1))
        FakeTree(home / "tree").set_health("n2/gpu/1", "unhealthy")
        await until(api, lambda: sum(request.code == code for request in api.requests) >= 2)
        api.faults.stop()
        await running(api, "p")
        await until(api, lambda: extended(api, "w-2") == (4, 3))


async def test_a_node_speaks_while_pods_wait_for_a_slow_server(api: ApiServer, home: Path) -> None:
    async with fleet(api, home):
        slow = Fault("slow", delay_s=60, verbs=frozenset(("patch",)), resources=frozenset(("pods",)), times=None)
        api.faults.play(slow)
        for number in range(30):
            api.create(pod(f"p{number}", 0))
        await until(api, lambda: slow.met >= 10)
        FakeTree(home / "tree").set_health("n1/gpu/1", "unhealthy")
        await until(api, lambda: extended(api, "w-1") == (4, 3))
        api.faults.stop()


async def test_a_server_that_was_away_finds_everything_as_it_is_by_now(api: ApiServer, home: Path) -> None:
    told: list[str] = []
    async with fleet(api, home, told=told) as up:
        api.create(pod("p", 2))
        await running(api, "p")
        await api.stop()
        FakeTree(home / "tree").set_health("n1/gpu/1", "unhealthy")
        FakeTree(home / "tree").unplug("n2/gpu/4")
        await until(api, lambda: up.nodes["w-2"].kubelet.node_status.capacity[GPU] == 3)
        await until(api, lambda: told)
        await api.start()
        await until(api, lambda: extended(api, "w-1") == (4, 3) and extended(api, "w-2") == (3, 3))
        api.create(pod("q", 1))
        await running(api, "q")
    assert sum("API server" in line for line in told) <= 2, told


async def test_a_watch_that_lost_its_place_lists_again(api: ApiServer, home: Path) -> None:
    async with fleet(api, home):
        api.forget_history()
        api.cut_watches()
        api.create(pod("p", 1))
        await running(api, "p")


# Its parts.


async def test_work_is_done_once_for_each_key_however_often_it_is_asked_for() -> None:
    done: list[str] = []
    gate = asyncio.Event()

    async def do(key: str) -> None:
        await gate.wait()
        done.append(key)

    queue: WorkQueue[str] = WorkQueue(do, workers=3, errors=(), on_error=lambda *_: None)
    task = asyncio.create_task(queue.run())
    for _ in range(5):
        queue.add("a")
        queue.add("b")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queue.add("a")  # while it is being done: once more
    gate.set()
    async with asyncio.timeout(DEADLINE_S):
        while len(queue):
            await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert sorted(done) == ["a", "a", "b"]


async def test_what_is_to_be_done_first_waits_for_nothing_but_what_is_being_done() -> None:
    done: list[str] = []
    gate = asyncio.Event()

    async def do(key: str) -> None:
        await gate.wait()
        done.append(key)

    work: WorkQueue[str] = WorkQueue(do, workers=1, errors=(), on_error=lambda *_: None)
    task = asyncio.create_task(work.run())
    work.add("busy")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for key in ("a", "b", "c"):
        work.add(key)
    work.add("c", first=True)
    work.add("busy", first=True)
    work.add("c")
    assert len(work) == 4
    gate.set()
    async with asyncio.timeout(DEADLINE_S):
        while len(done) < 5:
            await asyncio.sleep(0)
    task.cancel()
    assert done == ["busy", "c", "busy", "a", "b"]


async def test_work_that_fails_is_tried_again_and_another_error_is_a_bug() -> None:
    tries, heard = [], []

    async def do(key: str) -> None:
        tries.append(key)
        if len(tries) < 3:
            raise OSError(key)

    queue: WorkQueue[str] = WorkQueue(do, workers=1, errors=(OSError,), on_error=lambda key, _: heard.append(key))
    task = asyncio.create_task(queue.run())
    queue.add("a")
    async with asyncio.timeout(DEADLINE_S):
        while len(tries) < 3:
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert heard == ["a", "a"]


def test_an_hour_of_errors_is_a_line_every_half_minute() -> None:
    now, told = [0.0], []
    grumbles = Grumbles(told.append, clock=lambda: now[0])
    for second in range(3600):
        now[0] = second + 1.0
        grumbles.hear(OSError("away"))
    assert len(told) == 120
    assert told[0] == "API server: away: trying again"
    assert told[1].endswith("(30 errors since the last such line)")


def test_a_lease_that_is_made_anew_has_no_version_of_the_old_one() -> None:
    lease = objects.lease("n", node_uid="u", now=0.0)
    lease["metadata"]["resourceVersion"] = "7"
    assert "resourceVersion" not in leases.wanted_anew(lease)["metadata"]


def test_one_fleet_at_a_time_has_a_state_and_it_is_its_users_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "LAST_MOMENTS_S", 0.0)
    with (
        states.opened(home / "x"),
        pytest.raises(FakehwError, match="a fleet runs here already"),
        states.opened(home / "x"),
    ):
        pass
    (home / "x").chmod(0o777)
    with pytest.raises(FakehwError, match="must be yours"), states.opened(home / "x"):
        pass
    with pytest.raises(InputError, match=r"bytes long.*--state"), states.opened(home / ("y" * 80)):
        pass


async def test_orders_reach_a_fleet_by_its_socket_and_bad_ones_are_said(api: ApiServer, home: Path) -> None:
    (home / "s").mkdir()
    with pytest.raises(InputError, match="no fleet runs here"):
        await control.ask(home / "s", {"order": "restart", "nodes": ["w-1"]})
    async with fleet(api, home) as up, control.serving(home / "s", orders.Orders(up).answer):
        assert await control.ask(home / "s", {"order": "restart", "nodes": ["w-1"]}) == {"nodes": ["w-1"]}
        with pytest.raises(FakehwError, match="w-9: is no node of this fleet"):
            await control.ask(home / "s", {"order": "silence", "nodes": ["w-9"]})
        with pytest.raises(FakehwError, match="'dance': is no order"):
            await control.ask(home / "s", {"order": "dance"})


async def test_a_fleet_at_rest_asks_the_server_for_nothing_but_its_leases(api: ApiServer, home: Path) -> None:
    async with fleet(api, home):
        api.create(pod("p", 1))
        await running(api, "p")
        await until(api, lambda: len(api.all("leases")) == 2)
        seen = len(api.requests)
        await asyncio.sleep(1.0)  # nothing is what is waited for
        assert [r for r in list(api.requests)[seen:] if r.kind.plural != "leases"] == []


async def test_failures_are_played_on_a_fleet_and_drawn(api: ApiServer, home: Path) -> None:
    """Two devices fail for a simulated hour each; the pod that holds one is replaced, as a controller would."""
    (home / "log.csv").write_text(
        "at,node,device,event,reason\n600,n1,gpu/*,break,hot\n1200,n2,gpu/1,break,hot\n"
        "4200,n1,gpu/*,mend,\n4800,n2,gpu/1,mend,\n"
    )
    async with fleet(api, home):
        api.create(pod("p", 1))
        await running(api, "p")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fakehw_fleet", "play", str(home / "log.csv"), "--speed", "1200",
            "--kubeconfig", str(home / "kc"), "--root", str(home / "tree"), "--every", "0.1s", "--settle", "1s",
            "--replace-pods", "--picture", str(home / "log.svg"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip  # a flag beside its value
        async with asyncio.timeout(2 * DEADLINE_S):
            out, err = await process.communicate()
        assert process.returncode == 0, err
        assert b"allocatable 8 at first, 3 at least" in out
        assert b"8 at last\npods disrupted 1" in out
        assert api.find("pods", "p", "default") is None
    assert (home / "log.csv").read_text().startswith("at,node,"), "the fault log is the user's own"
    root = ElementTree.parse(home / "log.svg").getroot()
    assert root.tag.endswith("svg")
    rows = list(csv.DictReader((home / "log-samples.csv").read_text().splitlines()))
    assert {row["allocatable"] for row in rows} >= {"8", "4", "3"}
    assert float(rows[-1]["days"]) > 0.055


@pytest.mark.parametrize("quantity", ["1000", "1k", "1e3", "1000000m"])
def test_devices_are_counted_however_a_server_writes_their_number(quantity: str) -> None:
    assert objects.extended({"capacity": {GPU: quantity, "a.b/c": "1.5", "cpu": "64"}}, "capacity") == {GPU: 1000}
    found = pods.kept({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, **pod_of(quantity)})
    assert pods.read(found).containers[0].limits == {GPU: 1000}


def pod_of(quantity: str) -> dict[str, Any]:
    return {"spec": {"nodeName": "n", "containers": [{"name": "c", "resources": {"limits": {GPU: quantity}}}]}}


def test_a_sample_counts_devices_and_pods_and_remembers_who_was_disrupted() -> None:
    node = {"status": {"capacity": {GPU: 4, "cpu": 3}, "allocatable": {GPU: 3}, "conditions": []}}

    def made(name: str, phase: str, health: str, **metadata: Any) -> dict[str, Any]:
        resources = [{"resourceID": "d", "health": health}]
        found = pod(name, 1)
        found["metadata"] |= {"uid": name, "resourceVersion": "1", **metadata}
        container = {"name": "main", "allocatedResourcesStatus": [{"name": GPU, "resources": resources}]}
        return recording.kept_pod({**found, "status": {"phase": phase, "containerStatuses": [container]}})

    recorder = recording.Recorder(speed=86_400)
    sick = made("a", "Running", "Unhealthy")
    assert recorder.add(0.0, [node], [sick, made("b", "Pending", "Healthy")]) == [sick]
    recorder.add(2.0, [node, node], [made("a", "Running", "Unhealthy", deletionTimestamp="x")])

    assert recorder.samples[0] == recording.Sample(0.0, 0.0, 4, 3, 0, 1, 1, 1, 1)
    assert recorder.samples[1] == recording.Sample(2.0, 2.0, 8, 6, 0, 0, 0, 0, 1)
