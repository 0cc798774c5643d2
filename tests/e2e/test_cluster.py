"""The seed's story on the cluster in KUBECONFIG, then what a person, a rollout and a kubelet can do to it: `make e2e`.

The tests are one story and run in the order of this file. Node names, image and the way to restart a kubelet are
parameters (docs/deploy.md). Times are printed at the end; they compare clocks of the nodes with ours, so they mean
something on one machine only.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import lightkube
import pytest
import yaml
from lightkube import ApiError, KubeConfig
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Event, Namespace, Node, Pod
from lightkube.types import PatchType

from tests.e2e import cluster as eyes
from tests.e2e.cluster import HAND, NAMESPACE, NODE1, NODE2, PLUGIN_NAMESPACE, TICK_S, Cluster, devices, mydevice, shows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

KUBELET_RESTART = os.environ.get("KUBELET_RESTART", "")
IDS = [f"node2-dev3-{number}" for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def timings() -> Iterator[dict[str, float]]:
    """Seconds by what they were taken for; printed at the end."""
    times: dict[str, float] = {}
    yield times
    print("\n\ntimings")
    for name, seconds in times.items():
        shown = f"{seconds * 1000:9.1f} ms" if seconds < 1 else f"{seconds:9.2f} s "
        print(f"  {name:<78} {shown}")


@pytest.fixture(scope="module", autouse=True)
def _deployed(timings: dict[str, float]) -> Iterator[None]:
    """The plugin and hands on the trees, by the commands a user has; what was not there before goes again."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is missing")
    with lightkube.Client(KubeConfig.from_env()) as client:
        try:
            client.get(DaemonSet, "fakehw-plugin", namespace=PLUGIN_NAMESPACE)
            was_there = True
        except ApiError:
            was_there = False
        remove_pods(client)
        refuse_taken_devices(client)
        before = time.time()
        eyes.make("start")
        timings["make start: applied -> every plugin ready, both nodes advertise"] = time.time() - before
        eyes.make("hands")
        client.create(Namespace(metadata=ObjectMeta(name=NAMESPACE)))
        yield
        remove_pods(client)
        if not was_there:
            eyes.make("stop")


def refuse_taken_devices(client: lightkube.Client) -> None:
    """End the run at once if other pods want the devices of the story, as `make pods` does; it would wait in vain."""
    others = " ".join(
        f"{pod.metadata.namespace}/{pod.metadata.name}"
        for pod in client.list(Pod, namespace="*")
        if pod.status.phase not in ("Succeeded", "Failed")
        and any(
            name in ((one.resources and one.resources.limits) or {})
            for one in pod.spec.containers
            for name in map(mydevice, (1, 2, 3))
        )
    )
    if others:
        pytest.exit(f"make e2e needs all the devices, delete the pods that want some first: {others}", returncode=2)


def remove_pods(client: lightkube.Client) -> None:
    """Delete the namespace of the story's pods and wait until it is gone."""
    with contextlib.suppress(ApiError):
        client.delete(Namespace, NAMESPACE)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # a watch could miss the end
            client.get(Namespace, NAMESPACE)  # an error once it is gone
            time.sleep(0.2)
        raise TimeoutError(f"the namespace {NAMESPACE} does not end: kubectl describe namespace {NAMESPACE}")


@pytest.fixture
async def cluster(_deployed: None) -> AsyncIterator[Cluster]:
    """The cluster, through a client of the test's own event loop."""
    async with lightkube.AsyncClient(KubeConfig.from_env()) as client:
        yield Cluster(client)


@pytest.fixture
async def whole_tree(cluster: Cluster) -> AsyncIterator[None]:
    """Puts node2's tree back afterwards, whatever became of the test."""
    yield
    await cluster.shell(NODE2, "fakehw plug node2; fakehw set-health node2 healthy")
    async with cluster.node(NODE2) as node:
        await node.until(shows(mydevice(3), capacity=3, allocatable=3), timeout=TICK_S)


async def create(cluster: Cluster, *names: str) -> None:
    """Create pods of deploy/pods.yaml, the same file that users apply."""
    for document in yaml.safe_load_all((eyes.REPOSITORY / "deploy/pods.yaml").read_text()):
        if document["metadata"]["name"] in names:
            await cluster.client.create(Pod.from_dict(document), namespace=NAMESPACE)


async def test_the_workers_advertise_what_the_tree_has(cluster: Cluster) -> None:
    await cluster.shell(NODE2, "fakehw plug node2; fakehw set-health node2 healthy")
    for name, numbers in ((NODE1, (1, 0, 0)), (NODE2, (0, 1, 3))):
        async with cluster.node(name) as node:
            for kind, number in enumerate(numbers, 1):
                await node.until(shows(mydevice(kind), capacity=number, allocatable=number), timeout=TICK_S)


async def test_pods_run_where_their_devices_are(cluster: Cluster, timings: dict[str, float]) -> None:
    async with cluster.pod("dp1-1") as first, cluster.pod("dp1-2") as second:
        before = time.time()
        await create(cluster, "dp1-1", "dp1-2", "dp1-3")
        one = await first.until(eyes.runs, timeout=90)
        two = await second.until(eyes.runs, timeout=90)
    timings["pods created -> dp1-1 and dp1-2 seen Running"] = max(one.at, two.at) - before
    assert one.object.spec.nodeName == NODE1
    assert two.object.spec.nodeName == NODE2
    assert await cluster.logs("dp1-1", lines=2) == "Device vars:\nDEV_1_ID_0='/node1/dev1/1'\n"
    assert await cluster.logs("dp1-2", lines=2) == "Device vars:\nDEV_2_ID_0='/node2/dev2/1'\n"


async def test_the_third_pod_waits_and_the_scheduler_says_for_what(cluster: Cluster) -> None:
    def is_unschedulable(pod: Pod) -> bool:
        return any(one.reason == "Unschedulable" for one in pod.status.conditions or [])

    async with cluster.pod("dp1-3") as third:
        pod = (await third.until(is_unschedulable, timeout=20)).object
    events = [one async for one in cluster.client.list(Event, namespace=NAMESPACE)]
    said = [one.message for one in events if one.reason == "FailedScheduling" and one.involvedObject.name == "dp1-3"]
    for message in (pod.status.conditions[0].message, *said[:1]):
        assert "nodes are available: " in message
        assert f"Insufficient {mydevice(2)}" in message, "the one device of dp1-2 is what it lacks on NODE2"
        assert f"1 Insufficient {mydevice(3)}" in message, "NODE1 has none of these, NODE2 has enough"
    assert said, "no FailedScheduling event"


async def test_the_third_pod_runs_as_soon_as_its_device_is_free(cluster: Cluster, timings: dict[str, float]) -> None:
    async with cluster.pod("dp1-3") as third:
        before = time.time()
        await cluster.client.delete(Pod, "dp1-2", namespace=NAMESPACE)
        pod = await third.until(eyes.runs, timeout=90)
    timings["dp1-2 deleted -> dp1-3 seen Running (its end takes the kubelet a while)"] = pod.at - before
    assert pod.object.spec.nodeName == NODE2
    held = sorted(devices(pod.object)) or await held_by_variables(cluster)
    assert held[0] == "node2-dev2-1"
    assert len(held) == 3
    lines = (await cluster.logs("dp1-3", lines=4)).splitlines()
    assert lines[:2] == ["Device vars:", "DEV_2_ID_0='/node2/dev2/1'"]
    paths = [device.replace("-", "/") for device in held[1:]]
    assert lines[2:] == [f"DEV_3_ID_{place}='/{path}'" for place, path in enumerate(paths)], "by number, not at random"


async def held_by_variables(cluster: Cluster) -> list[str]:
    """Return the IDs that dp1-3 was given; its status does not say before 1.36 (contract HS-1)."""
    lines = (await cluster.logs("dp1-3", lines=4)).splitlines()[1:]
    return sorted(line.split("'")[1][1:].replace("/", "-") for line in lines)


async def test_a_held_device_is_mounted_read_only_at_its_own_path(cluster: Cluster) -> None:
    device = (await held_by_variables(cluster))[-1].replace("-", "/")
    script = f"cat /{device}/health; touch /{device}/x 2>/dev/null || echo refused"
    done = await cluster.client.exec(
        "dp1-3", namespace=NAMESPACE, command=["sh", "-c", script], stdout=True, stderr=True, timeout=20
    )
    assert done.stdout.split() == ["healthy", "refused"]


@pytest.mark.usefixtures("whole_tree")
async def test_a_sick_device_is_seen_in_allocatable_and_in_the_pod_that_holds_it(
    cluster: Cluster, timings: dict[str, float]
) -> None:
    sick = (await held_by_variables(cluster))[-1]
    health = f"/fakehw/{sick.replace('-', '/')}/health"
    async with cluster.node(NODE2) as node, cluster.pod("dp1-3") as pod:
        has_status = devices((await pod.until(eyes.runs, timeout=10)).object)
        for word, left in (("unhealthy", 2), ("healthy", 3)):
            at = await cluster.touch(NODE2, f"echo {word} over temperature > {health}")
            state = word.capitalize()
            sent = await cluster.plugin_line(
                NODE2, event="device_changed", device_id=sick, health=state, reason="over temperature", after=at
            )
            timings[f"{word}: written to the file -> list handed to the kubelet's stream"] = sent - at
            if has_status:
                seen = await pod.until(lambda one, state=state: devices(one)[sick] == state, timeout=TICK_S, after=at)
                timings[f"{word}: written to the file -> allocatedResourcesStatus seen"] = seen.at - at
            seen = await node.until(shows(mydevice(3), capacity=3, allocatable=left), timeout=TICK_S, after=at)
            timings[f"{word}: written to the file -> allocatable seen (the kubelet ticks every 10 s)"] = seen.at - at
        holder = (await pod.until(eyes.runs, timeout=10)).object
    assert holder.status.containerStatuses[0].restartCount == 0, "sickness kills no pod (contract LW-12)"


@pytest.mark.usefixtures("whole_tree")
async def test_unplugging_a_free_device_lowers_both_numbers_and_plugging_raises_them(
    cluster: Cluster, timings: dict[str, float]
) -> None:
    held = await held_by_variables(cluster)
    free = next(one for one in IDS if one not in held).replace("-", "/")
    async with cluster.node(NODE2) as node:
        at = await cluster.touch(NODE2, f"fakehw unplug {free}")
        seen = await node.until(shows(mydevice(3), capacity=2, allocatable=2), timeout=TICK_S, after=at)
        timings["a free device unplugged -> capacity seen"] = seen.at - at
        at = await cluster.touch(NODE2, f"fakehw plug {free}")
        seen = await node.until(shows(mydevice(3), capacity=3, allocatable=3), timeout=TICK_S, after=at)
        timings["plugged again -> capacity seen"] = seen.at - at


@pytest.mark.usefixtures("whole_tree")
async def test_a_device_unplugged_while_held_is_reported_sick_and_not_forgotten(cluster: Cluster) -> None:
    held = (await held_by_variables(cluster))[-1]
    async with cluster.node(NODE2) as node, cluster.pod("dp1-3") as pod:
        has_status = devices((await pod.until(eyes.runs, timeout=10)).object)
        at = await cluster.touch(NODE2, f"fakehw unplug {held.replace('-', '/')}")
        await node.until(shows(mydevice(3), capacity=3, allocatable=2), timeout=TICK_S, after=at)
        if has_status:  # a kubelet would show a device that left its list as Healthy (contract HS-5)
            await pod.until(lambda one: devices(one)[held] == "Unhealthy", timeout=TICK_S, after=at)


async def test_a_plugin_pod_that_is_deleted_comes_back_and_nobody_loses_a_device(
    cluster: Cluster, timings: dict[str, float]
) -> None:
    held, old = await held_by_variables(cluster), await cluster.pod_on(NODE2, eyes.PLUGIN)
    async with cluster.plugins() as plugins, cluster.pod("dp1-3") as pod, cluster.node(NODE2) as node:
        before = time.time()
        await cluster.client.delete(Pod, old, namespace=PLUGIN_NAMESPACE)
        new = await plugins.until(
            lambda one: one.spec.nodeName == NODE2 and one.metadata.name != old and eyes.is_ready(one), timeout=60
        )
        timings["plugin pod deleted -> its successor seen Ready"] = new.at - before
        await node.until(shows(mydevice(3), capacity=3, allocatable=3), timeout=TICK_S, after=new.at - TICK_S)
        holder = (await pod.until(eyes.runs, timeout=10)).object
    assert holder.status.containerStatuses[0].restartCount == 0
    assert await held_by_variables(cluster) == held
    assert await can_allocate(cluster, NODE2), "a pod gets the device that is left"


async def can_allocate(cluster: Cluster, node: str) -> bool:
    """Run a pod that takes one mydevice-3 to its end and tell whether it succeeded."""
    name = f"taker-{time.monotonic_ns()}"
    image = yaml.safe_load((eyes.REPOSITORY / "deploy/pods.yaml").read_text().split("---")[0])["spec"]["containers"][0]
    taker = {
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    **{key: image[key] for key in ("name", "image", "imagePullPolicy")},
                    "command": ["sh", "-c", 'test -e "$DEV_3_ID_0"/health'],
                    "resources": {"limits": {mydevice(3): 1}},
                }
            ],
        },
    }
    async with cluster.pod(name) as pod:
        await cluster.client.create(Pod.from_dict(taker), namespace=NAMESPACE)
        done = await pod.until(lambda one: one.status.phase in ("Succeeded", "Failed"), timeout=60)
    await cluster.client.delete(Pod, name, namespace=NAMESPACE)
    assert done.object.spec.nodeName == node
    return bool(done.object.status.phase == "Succeeded")


@pytest.mark.skipif(not KUBELET_RESTART, reason="KUBELET_RESTART does not say how to restart the kubelet of {node}")
async def test_a_kubelet_killed_and_restarted_finds_its_plugin_and_its_allocations_again(
    cluster: Cluster, timings: dict[str, float]
) -> None:
    held = await held_by_variables(cluster)
    async with cluster.pod("dp1-3") as pod, cluster.node(NODE2) as node:
        was = (await pod.until(eyes.runs, timeout=10)).object
        before = time.time()
        command = KUBELET_RESTART.replace("{node}", NODE2)
        await asyncio.to_thread(subprocess.run, command, shell=True, check=True, timeout=120)
        # No log can be read, and nothing asked, before the kubelet is up again.
        registered = [await registered_again(cluster, mydevice(kind), after=before) for kind in (1, 2, 3)]
        lost = await cluster.plugin_line(NODE2, event="registration_ended", after=before)
        timings["kubelet killed -> registered with the next one (its absence and start included)"] = (
            max(registered) - before
        )
        timings["kubelet restarted: old registration ended -> all three registered with the new one"] = (
            max(registered) - lost
        )
        seen = await node.until(
            lambda one: shows(mydevice(3), capacity=3, allocatable=3)(one) and is_reporting(one, after=max(registered)),
            timeout=60,
        )
        timings["kubelet restarted: registered -> the node, reporting again, shows 3 of 3"] = seen.at - max(registered)
        now = await cluster.client.get(Pod, "dp1-3", namespace=NAMESPACE)
    assert now.metadata.uid == was.metadata.uid
    assert (now.status.phase, now.status.containerStatuses[0].restartCount) == ("Running", 0)
    assert now.status.containerStatuses[0].containerID == was.status.containerStatuses[0].containerID
    assert await held_by_variables(cluster) == held
    assert await can_allocate(cluster, NODE2), "the devices of dp1-3 are still taken, the one that is left is given"


def is_reporting(node: Node, *, after: float) -> bool:
    """Tell whether the kubelet has written the node's Ready condition since."""
    ready = next(one for one in node.status.conditions if one.type == "Ready")
    heartbeat: datetime = ready.lastHeartbeatTime
    return ready.status == "True" and heartbeat.timestamp() >= int(after)


async def registered_again(cluster: Cluster, resource: str, *, after: float) -> float:
    """Return when the plugin of NODE2 had `resource` registered, asking until its kubelet serves logs again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await cluster.plugin_line(NODE2, event="registered", resource=resource, after=after)
            except (ApiError, TimeoutError):
                await asyncio.sleep(0.2)


async def test_a_rolling_update_never_has_two_plugins_on_one_node(cluster: Cluster, timings: dict[str, float]) -> None:
    old = {node: await cluster.pod_on(node, eyes.PLUGIN) for node in (NODE1, NODE2)}
    async with cluster.plugins() as plugins:
        before = time.time()
        stamp = {"fakehw-e2e/rolled": datetime.now(UTC).isoformat()}
        await cluster.client.patch(
            DaemonSet,
            "fakehw-plugin",
            {"spec": {"template": {"metadata": {"annotations": stamp}}}},
            namespace=PLUGIN_NAMESPACE,
            patch_type=PatchType.STRATEGIC,
        )
        ready = [
            await plugins.until(
                lambda one, node=node: (
                    one.spec.nodeName == node and one.metadata.name != old[node] and eyes.is_ready(one)
                ),
                timeout=120,
            )
            for node in (NODE1, NODE2)
        ]
        timings["rolling update: changed -> both successors seen Ready"] = max(one.at for one in ready) - before
        overlaps = running_at_once(plugins.seen)
    assert overlaps == {}, "two plugins of one node at once"
    for node in (NODE1, NODE2):
        events = [line["event"] for line in await cluster.plugin_log(node)]
        assert events.count("registered") == 3, "each resource registered once, and was not dropped (contract REG-13)"
        assert "registration_ended" not in events
    async with cluster.node(NODE2) as node:
        await node.until(shows(mydevice(3), capacity=3, allocatable=3), timeout=TICK_S)
    assert await can_allocate(cluster, NODE2)


def running_at_once(seen: list[eyes.Sighting]) -> dict[str, list[str]]:
    """Return the nodes on which two plugin containers ran at the same moment, by what the kubelets said of them."""
    spans: dict[str, dict[str, tuple[datetime, datetime]]] = {}
    for sighting in seen:
        for status in sighting.object.status.containerStatuses or []:
            if status.state.running:
                span = (status.state.running.startedAt, datetime.max.replace(tzinfo=UTC))
            elif status.state.terminated and status.state.terminated.startedAt:
                span = (status.state.terminated.startedAt, status.state.terminated.finishedAt)
            else:
                continue
            spans.setdefault(sighting.object.spec.nodeName, {})[sighting.object.metadata.name] = span
    return {
        node: [one[0], other[0]]
        for node, pods in spans.items()
        for one, other in itertools.combinations(pods.items(), 2)
        if max(one[1][0], other[1][0]) < min(one[1][1], other[1][1])
    }


async def test_the_plugin_tells_its_probes_and_prometheus(cluster: Cluster) -> None:
    hand = await cluster.pod_on(NODE2, HAND)
    plugin = await cluster.client.get(Pod, await cluster.pod_on(NODE2, eyes.PLUGIN), namespace=PLUGIN_NAMESPACE)
    script = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"
    for path, text in (("readyz", f"[+] {mydevice(3)} live"), ("metrics", 'fakehw_devices{fake_node="')):
        url = f"http://{plugin.status.podIP}:9115/{path}"
        done = await cluster.client.exec(
            hand, namespace=PLUGIN_NAMESPACE, command=["python3", "-c", script, url], stdout=True, stderr=True
        )
        assert text in done.stdout, json.dumps(done._asdict())
