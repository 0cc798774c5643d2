"""The seed's story by DRA, on the cluster in KUBECONFIG, then what breaks and comes back: `make e2e API=dra`.

The tests are one story and run in the order of this file. Nodes must know CDI (containerd 2, or 1.7 with enable_cdi). What
needs a feature gate that is off before 1.36 is skipped there with the gate's name. docs/deploy.md has the parameters.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import lightkube
import pytest
import yaml
from lightkube import ApiError, KubeConfig
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Pod
from lightkube.resources.resource_v1 import ResourceClaim, ResourceClaimTemplate, ResourceSlice

from tests.e2e import cluster as eyes
from tests.e2e import node_shell
from tests.e2e.cluster import NAMESPACE, NODE1, NODE2, Cluster
from tests.e2e.test_cluster import remove_pods, timings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["timings"]  # a fixture

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

DRIVER = "myplugin.io"
STORY = ("dp1-1", "dp1-2", "dp1-3")
KUBELET_RESTART = os.environ.get("KUBELET_RESTART", "")
API_SERVER_STOP = os.environ.get("API_SERVER_STOP", "")
API_SERVER_START = os.environ.get("API_SERVER_START", "")
SEED = {NODE1: {"node1-dev1-1"}, NODE2: {"node2-dev2-1", "node2-dev3-1", "node2-dev3-2", "node2-dev3-3"}}


@pytest.fixture(scope="module")
def minor() -> int:
    """The minor version of the cluster."""
    done = subprocess.run(["kubectl", "version", "-o", "yaml"], capture_output=True, text=True, timeout=30, check=True)
    return int(yaml.safe_load(done.stdout)["serverVersion"]["minor"].rstrip("+"))


def needs(minor: int, *, gate: str) -> None:
    if minor < 36:
        pytest.skip(f"feature gate {gate} is off before Kubernetes 1.36")


@pytest.fixture(scope="module", autouse=True)
def _deployed(timings: dict[str, float]) -> Iterator[None]:
    """The plugin and hands on the trees, by the commands a user has."""
    with lightkube.Client(KubeConfig.from_env()) as client:
        remove_pods(client)
        before = time.time()
        eyes.make("start")
        timings["make start API=dra: applied -> every plugin ready, both nodes published"] = time.time() - before
        eyes.make("hands")
        client.create(Namespace(metadata=ObjectMeta(name=NAMESPACE)))
        yield
        remove_pods(client)
        eyes.make("stop")


@pytest.fixture
async def cluster(_deployed: None) -> AsyncIterator[Cluster]:
    """The cluster, through a client of the test's own event loop."""
    async with lightkube.AsyncClient(KubeConfig.from_env()) as client:
        yield Cluster(client)


@pytest.fixture
async def whole_tree(cluster: Cluster) -> AsyncIterator[None]:
    """Puts node2's tree back afterwards, whatever became of the test."""
    yield
    await cluster.shell(
        NODE2,
        "cd /fakehw/node2; rm -rf */api */unhealthy_effect dev3/[4-9] dev3/[1-9][0-9]*; "
        "fakehw plug node2; fakehw set-health node2 healthy",
    )
    await pool_has(cluster, NODE2, SEED[NODE2])


async def slices(cluster: Cluster, node: str) -> list[Any]:
    found = [one async for one in cluster.client.list(ResourceSlice, fields={"spec.nodeName": node})]
    return sorted((one for one in found if one.spec.driver == DRIVER), key=lambda one: str(one.metadata.name))


async def pool(cluster: Cluster, node: str) -> dict[str, Any]:
    """Return the devices of a node by name, as the scheduler sees them; {} while the pool is incomplete."""
    found = await slices(cluster, node)
    newest = max((one.spec.pool.generation for one in found), default=0)
    found = [one for one in found if one.spec.pool.generation == newest]
    if not found or found[0].spec.pool.resourceSliceCount != len(found):
        return {}
    return {device.name: device for one in found for device in one.spec.devices or []}


def run(command: str) -> str:
    """Run a command of the one who drives the cluster, and return what it printed."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout


def taints(devices: dict[str, Any], name: str) -> list[tuple[str, str]]:
    return [(taint.value or "", taint.effect) for taint in (devices[name].taints if name in devices else None) or []]


async def until(look: Callable[[], Any], *, timeout: float = 30.0, every: float = 0.02) -> Any:
    """Return the first true answer of `look`; the API server is asked, for what has many objects."""
    async with asyncio.timeout(timeout):
        while True:
            with contextlib.suppress(ApiError, TimeoutError):  # a kubelet that has just started knows no pod yet
                if answer := await look():
                    return answer
            await asyncio.sleep(every)


async def pool_has(cluster: Cluster, node: str, names: set[str], timeout: float = 30.0) -> None:
    async def look() -> bool:
        return set(await pool(cluster, node)) == names

    await until(look, timeout=timeout)


async def tainted(cluster: Cluster, device: str, expected: list[tuple[str, str]]) -> float:
    """Wait until a device of node2 has these taints; return when that was seen."""

    async def look() -> bool:
        return taints(await pool(cluster, NODE2), device) == expected

    await until(look)
    return time.time()


async def create(cluster: Cluster, file: str, *names: str) -> None:
    """Create pods of a file in deploy/, with what they need of it."""
    for document in yaml.safe_load_all((eyes.REPOSITORY / "deploy" / file).read_text()):
        if document["kind"] == "ResourceClaimTemplate":
            try:
                await cluster.client.create(ResourceClaimTemplate.from_dict(document), namespace=NAMESPACE)
            except ApiError as error:
                assert error.status.code == 409  # it is there from an earlier test
        elif document["metadata"]["name"] in names:
            await cluster.client.create(Pod.from_dict(document), namespace=NAMESPACE)


async def no_pods(cluster: Cluster) -> None:
    """Delete the pods of the story, and wait until their claims are gone too."""
    for name in STORY:
        with contextlib.suppress(ApiError):
            await cluster.client.delete(Pod, name, namespace=NAMESPACE)

    async def look() -> bool:
        pods = [one async for one in cluster.client.list(Pod, namespace=NAMESPACE) if one.metadata.name in STORY]
        claims = [one async for one in cluster.client.list(ResourceClaim, namespace=NAMESPACE)]
        return not pods and not claims

    await until(look, timeout=60, every=0.2)


async def runs(cluster: Cluster, name: str, timeout: float = 90.0) -> tuple[Any, float]:
    async with cluster.pod(name) as pod:
        seen = await pod.until(eyes.runs, timeout=timeout)
    return seen.object, seen.at


async def runs_when_nudged(cluster: Cluster, name: str) -> None:
    """Wait until a pod runs whose prepare failed: a kubelet tries again after 60 to 90 s, or when the pod changes."""

    async def look() -> bool:
        pod = await cluster.client.patch(
            Pod, name, {"metadata": {"annotations": {"nudged": str(time.time())}}}, namespace=NAMESPACE
        )
        return eyes.runs(pod)

    await until(look, timeout=120, every=1)


async def waits(cluster: Cluster, name: str) -> str:
    """Wait until the scheduler says that a pod has to wait; return why."""

    def is_unschedulable(pod: Any) -> bool:
        return any(one.reason == "Unschedulable" for one in pod.status.conditions or [])

    async with cluster.pod(name) as pod:
        seen = await pod.until(is_unschedulable, timeout=30)
    return str(next(one.message for one in seen.object.status.conditions if one.reason == "Unschedulable"))


async def hears(cluster: Cluster, node: str, timeout: float = 150.0) -> None:
    """Wait until a kubelet acts on what the API server says: after a while without one, its watches come back slowly."""
    name = f"probe-{time.time_ns()}"
    (probe,) = [
        one for one in yaml.safe_load_all((eyes.REPOSITORY / "deploy/pods.yaml").read_text())
        if one["metadata"]["name"] == "dp1-1"
    ]  # fmt: skip
    probe["metadata"]["name"] = name
    probe["spec"]["nodeName"] = node
    del probe["spec"]["containers"][0]["resources"]
    await until(lambda: cluster.client.create(Pod.from_dict(probe), namespace=NAMESPACE), timeout=timeout, every=0.2)
    await runs(cluster, name, timeout=timeout)
    assert await cluster.logs(name, lines=1)
    await cluster.client.delete(Pod, name, namespace=NAMESPACE, grace_period=0)


async def restart_kubelet() -> None:
    command = KUBELET_RESTART.format(node=NODE2)
    done = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.DEVNULL)
    assert await asyncio.wait_for(done.wait(), 60) == 0


async def plugin_uid(cluster: Cluster, node: str) -> str:
    """Return the UID of the plugin's pod on a node, once it is registered."""

    async def look() -> str:
        try:
            pod = await cluster.client.get(
                Pod, await cluster.pod_on(node, eyes.PLUGIN), namespace=eyes.PLUGIN_NAMESPACE
            )
            started = pod.status.containerStatuses[0].state.running.startedAt.timestamp()
            await cluster.plugin_line(node, event="registered", after=started, timeout=1)
            return str(pod.metadata.uid)
        except (AssertionError, AttributeError):
            return ""

    return str(await until(look, timeout=60, every=0.2))


def health(pod: Any) -> dict[str, tuple[str, str]]:
    """Return health and message by device, as the pod's status says it."""
    return {
        device.resourceID.rpartition("=")[2][37:]: (device.health, getattr(device, "message", None) or "")
        for container in pod.status.containerStatuses or []
        for resource in container.allocatedResourcesStatus or []
        for device in resource.resources or []
    }


async def test_every_node_publishes_its_part_of_the_tree(cluster: Cluster) -> None:
    for node, names in SEED.items():
        await pool_has(cluster, node, names)
        (found,) = await slices(cluster, node)
        assert found.metadata.ownerReferences[0].kind == "Node"
    assert "myplugin.io/dev3 (DRA)" in eyes.make("status")


@pytest.mark.parametrize("file", ["pods.yaml", "claims.yaml"])
async def test_the_seed_s_transcript(cluster: Cluster, timings: dict[str, float], minor: int, file: str) -> None:
    if file == "pods.yaml":
        needs(minor, gate="DRAExtendedResource")
    before = time.time()
    await create(cluster, file, "dp1-1", "dp1-2")
    (one, at_one), (two, at_two) = await runs(cluster, "dp1-1"), await runs(cluster, "dp1-2")
    timings[f"{file}: pods created -> dp1-1 and dp1-2 seen Running"] = max(at_one, at_two) - before
    assert (one.spec.nodeName, two.spec.nodeName) == (NODE1, NODE2)
    await create(cluster, file, "dp1-3")
    assert "cannot allocate all claims" in await waits(cluster, "dp1-3")
    assert await cluster.logs("dp1-1", lines=2) == "Device vars:\nDEV_1_ID_0='/node1/dev1/1'\n"
    assert await cluster.logs("dp1-2", lines=2) == "Device vars:\nDEV_2_ID_0='/node2/dev2/1'\n"

    before = time.time()
    await cluster.client.delete(Pod, "dp1-2", namespace=NAMESPACE)
    _, at = await runs(cluster, "dp1-3")

    timings[f"{file}: dp1-2 deleted -> dp1-3 seen Running"] = at - before
    assert await cluster.logs("dp1-3", lines=4) == (
        "Device vars:\nDEV_2_ID_0='/node2/dev2/1'\nDEV_3_ID_0='/node2/dev3/1'\nDEV_3_ID_1='/node2/dev3/2'\n"
    )
    done = await cluster.client.exec(
        "dp1-3",
        namespace=NAMESPACE,
        command=["sh", "-c", "cat /node2/dev3/2/health; touch /node2/dev3/2/x 2>/dev/null || echo refused"],
        stdout=True,
        stderr=True,
        timeout=20,
    )
    assert done.stdout.split() == ["healthy", "refused"]
    if file == "pods.yaml":
        await no_pods(cluster)


@pytest.mark.usefixtures("whole_tree")
async def test_a_broken_device_is_a_taint_and_a_line_in_the_pod_s_status_and_back(
    cluster: Cluster, timings: dict[str, float], minor: int
) -> None:
    needs(minor, gate="DRADeviceTaints")
    async with cluster.pod("dp1-3") as pod:
        await pod.until(lambda pod: health(pod).get("node2-dev3-2") == ("Healthy", ""), timeout=30)
        at = await cluster.touch(NODE2, "echo unhealthy over temperature > /fakehw/node2/dev3/2/health")
        timings["health written -> taint at the API server"] = (
            await tainted(cluster, "node2-dev3-2", [("over-temperature", "NoSchedule")]) - at
        )
        sick = await pod.until(
            lambda pod: health(pod).get("node2-dev3-2") == ("Unhealthy", "over temperature"), timeout=30
        )
        timings["health written -> health and reason in the pod's status"] = sick.at - at
        await cluster.touch(NODE2, "echo healthy > /fakehw/node2/dev3/2/health")
        await tainted(cluster, "node2-dev3-2", [])
        await pod.until(lambda pod: health(pod).get("node2-dev3-2") == ("Healthy", ""), after=sick.at, timeout=30)
    pod_now = await cluster.client.get(Pod, "dp1-3", namespace=NAMESPACE)
    assert pod_now.metadata.deletionTimestamp is None, "NoSchedule and the way back evict nobody"


@pytest.mark.usefixtures("whole_tree")
async def test_what_an_effect_does_to_pods(cluster: Cluster, timings: dict[str, float], minor: int) -> None:
    needs(minor, gate="DRADeviceTaints")
    await cluster.touch(
        NODE2, "echo None > /fakehw/node2/dev3/unhealthy_effect; echo unhealthy > /fakehw/node2/dev3/1/health"
    )
    await tainted(cluster, "node2-dev3-1", [("", "None")])
    await asyncio.sleep(1)
    found = await cluster.client.get(Pod, "dp1-3", namespace=NAMESPACE)
    assert found.metadata.deletionTimestamp is None, "None does nothing"

    async with cluster.pod("dp1-3") as pod:
        at = await cluster.touch(NODE2, "echo NoExecute > /fakehw/node2/dev3/unhealthy_effect")
        await tainted(cluster, "node2-dev3-1", [("", "NoExecute")])
        evicted = await pod.until(lambda pod: pod.metadata.deletionTimestamp, timeout=30)
    timings["effect NoExecute written -> the claim's pod has its deletion"] = evicted.at - at
    assert any(one.type == "DisruptionTarget" for one in evicted.object.status.conditions)
    await no_pods(cluster)

    await cluster.touch(NODE2, "rm /fakehw/node2/dev3/unhealthy_effect; echo unhealthy > /fakehw/node2/dev3/2/health")
    await tainted(cluster, "node2-dev3-2", [("", "NoSchedule")])
    await create(cluster, "claims.yaml", "dp1-3")
    await waits(cluster, "dp1-3")
    at = await cluster.touch(
        NODE2, "echo healthy > /fakehw/node2/dev3/1/health; echo healthy > /fakehw/node2/dev3/2/health"
    )
    _, running = await runs(cluster, "dp1-3")
    timings["devices mended -> the pod that waited seen Running"] = running - at


async def held(cluster: Cluster) -> set[str]:
    """Return the devices of dev3 that claims have; dp1-3 has two of the three."""
    claims = [one async for one in cluster.client.list(ResourceClaim, namespace=NAMESPACE)]
    results = [result for one in claims for result in one.status.allocation.devices.results]
    return {str(result.device) for result in results if "-dev3-" in result.device}


@pytest.mark.usefixtures("whole_tree")
async def test_devices_are_unplugged_and_plugged_in(cluster: Cluster, timings: dict[str, float], minor: int) -> None:
    await restarts(cluster)
    taken = await held(cluster)
    assert len(taken) == 2
    (free,) = {name for name in SEED[NODE2] if "-dev3-" in name} - taken
    at = await cluster.touch(NODE2, f"fakehw unplug {free.replace('-', '/')}")
    await pool_has(cluster, NODE2, SEED[NODE2] - {free})
    timings["device unplugged -> gone from the slice"] = time.time() - at
    name = sorted(taken)[0]
    await cluster.touch(NODE2, f"fakehw unplug {name.replace('-', '/')}")
    if minor >= 36:
        await tainted(cluster, name, [("unplugged", "NoSchedule")])  # dp1-3 holds it
    await asyncio.sleep(1)
    assert set(await pool(cluster, NODE2)) == SEED[NODE2] - {free}, "it stays while it is held"
    await cluster.touch(NODE2, "fakehw plug node2")
    await tainted(cluster, name, [])
    await pool_has(cluster, NODE2, SEED[NODE2])


@pytest.mark.usefixtures("whole_tree")
async def test_pools_of_many_sizes_are_whole_and_a_flip_writes_one_slice(cluster: Cluster) -> None:
    for count in (63, 64, 65, 128, 129):
        script = "cd /fakehw/node2/dev3; for i in $(seq 4 COUNT); do [ -d $i ] || { mkdir .$i; echo healthy > .$i/health; mv .$i $i; }; done"
        await cluster.shell(NODE2, script.replace("COUNT", str(count - 1)))  # one is dev2's

        async def look(count: int = count) -> bool:
            return len(await pool(cluster, NODE2)) == count

        await until(look)
        sizes = [len(one.spec.devices) for one in await slices(cluster, NODE2)]
        assert sizes == [*[64] * (count // 64), *([count % 64] if count % 64 else [])]
    before = {one.metadata.name: one.metadata.resourceVersion for one in await slices(cluster, NODE2)}
    await cluster.touch(NODE2, "echo unhealthy > /fakehw/node2/dev3/100/health")

    async def changed() -> list[str]:
        now = {one.metadata.name: one.metadata.resourceVersion for one in await slices(cluster, NODE2)}
        return [name for name in before if now[name] != before[name]]

    assert len(await until(changed)) == 1


async def test_partly_written_pools_give_nothing(cluster: Cluster) -> None:
    """A watch sees every state there is: at none of them is a pool complete that is neither the old nor the new one."""
    seen: list[int] = []

    async def follow() -> None:
        current: dict[str, Any] = {}
        # From version 0, as in cluster.Watch: a consistent start may not come with an old etcd.
        watch = cluster.client.watch(ResourceSlice, fields={"spec.nodeName": NODE2}, resource_version="0")
        async for kind, one in watch:
            current[one.metadata.name] = one.spec
            if kind == "DELETED":
                del current[one.metadata.name]
            newest = max((spec.pool.generation for spec in current.values()), default=0)
            now = [spec for spec in current.values() if spec.pool.generation == newest]
            if now and now[0].pool.resourceSliceCount == len(now):
                seen.append(sum(len(spec.devices or []) for spec in now))

    watching = asyncio.create_task(follow())
    try:
        await until(lambda: asyncio.sleep(0, result=bool(seen)))
        script = "cd /fakehw/node2; for i in $(seq 1 150); do mkdir -p .bulk/$i; echo healthy > .bulk/$i/health; done; echo x.io/bulk > .bulk/resource; mv .bulk bulk"
        await cluster.shell(NODE2, script)
        await until(lambda: asyncio.sleep(0, result=seen and seen[-1] == 154))
        await cluster.shell(NODE2, "cd /fakehw/node2; mv bulk .bulk; rm -r .bulk")
        await until(lambda: asyncio.sleep(0, result=seen and seen[-1] == 4))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert set(seen) <= {4, 154}


async def restarts(cluster: Cluster) -> tuple[int, str]:
    """Return how often dp1-3 was restarted, and its UID; an earlier test may have left none, so it is made then."""
    try:
        await cluster.client.get(Pod, "dp1-3", namespace=NAMESPACE)
    except ApiError:
        await create(cluster, "claims.yaml", "dp1-3")
    await runs(cluster, "dp1-3")
    pod = await cluster.client.get(Pod, "dp1-3", namespace=NAMESPACE)
    return pod.status.containerStatuses[0].restartCount, pod.metadata.uid


async def test_a_plugin_that_is_killed_comes_back_and_claims_are_taken_back_by_the_next(
    cluster: Cluster, timings: dict[str, float]
) -> None:
    before = await restarts(cluster)
    old = await cluster.pod_on(NODE2, eyes.PLUGIN)
    at = time.time()
    await cluster.client.delete(Pod, old, namespace=eyes.PLUGIN_NAMESPACE, grace_period=0)

    async def registered() -> bool:
        try:
            return await cluster.pod_on(NODE2, eyes.PLUGIN) != old and bool(
                await cluster.plugin_line(NODE2, event="registered", after=at, timeout=1)
            )
        except (AssertionError, TimeoutError, ApiError):
            return False

    await until(registered, timeout=60, every=0.2)
    timings["plugin's pod killed -> the next one registered"] = time.time() - at
    await pool_has(cluster, NODE2, SEED[NODE2])
    assert await restarts(cluster) == before
    await cluster.client.delete(Pod, "dp1-3", namespace=NAMESPACE)
    await no_pods(cluster)
    await create(cluster, "claims.yaml", "dp1-3")
    await runs(cluster, "dp1-3")


@pytest.mark.skipif(not KUBELET_RESTART, reason="KUBELET_RESTART says how a kubelet is killed and started")
async def test_a_kubelet_killed_and_restarted_finds_slices_and_claims_again(
    cluster: Cluster, timings: dict[str, float]
) -> None:
    before = await restarts(cluster)
    (old,) = await slices(cluster, NODE2)
    await restart_kubelet()
    at = time.time()

    async def look() -> bool:
        found = await slices(cluster, NODE2)
        return len(found) == 1 and found[0].metadata.uid != old.metadata.uid

    await until(look, timeout=60)
    timings["kubelet restarted (its start wipes all slices) -> slices made anew"] = time.time() - at
    await pool_has(cluster, NODE2, SEED[NODE2])
    await until(lambda: cluster.plugin_line(NODE2, event="registered", after=at - 10, timeout=1), timeout=60, every=0.2)
    await hears(cluster, NODE2)
    assert await restarts(cluster) == before
    await no_pods(cluster)
    await create(cluster, "claims.yaml", "dp1-3")
    await runs(cluster, "dp1-3")


async def new_plugin(cluster: Cluster) -> str:
    """Replace the plugin's pod of node2 and return the UID of the next: a new pod is started without back-off."""
    old = await cluster.pod_on(NODE2, eyes.PLUGIN)
    await cluster.client.delete(Pod, old, namespace=eyes.PLUGIN_NAMESPACE, grace_period=0)

    async def is_another() -> bool:
        try:
            return await cluster.pod_on(NODE2, eyes.PLUGIN) != old
        except AssertionError:
            return False

    await until(is_another, timeout=60, every=0.2)
    return await plugin_uid(cluster, NODE2)


@pytest.mark.timeout(900)
async def test_a_plugin_killed_at_every_step_of_prepare_and_unprepare_leaves_what_the_next_one_finishes(
    cluster: Cluster,
) -> None:
    await no_pods(cluster)
    print()
    async with node_shell.on(cluster, NODE2, DRIVER) as shell:
        for step, seen_by in node_shell.STEPS.items():
            uid = await new_plugin(cluster)
            async with shell.killing(uid, seen_by) as left:
                await create(cluster, "claims.yaml", "dp1-3")
            await runs_when_nudged(cluster, "dp1-3")
            print(f"  killed at: {step}; there was then: {', '.join(short(left)) or 'nothing'}")
            assert await cluster.logs("dp1-3", lines=4) == (
                "Device vars:\nDEV_2_ID_0='/node2/dev2/1'\nDEV_3_ID_0='/node2/dev3/1'\nDEV_3_ID_1='/node2/dev3/2'\n"
            )
            assert short(await shell.files()) == ["CDI file", "checkpoint"]
            await no_pods(cluster)
            assert await shell.files() == []
        for step, seen_by in node_shell.STEPS_BACK.items():
            await create(cluster, "claims.yaml", "dp1-3")
            await runs_when_nudged(cluster, "dp1-3")
            uid = await new_plugin(cluster)
            async with shell.killing(uid, seen_by) as left:
                await cluster.client.delete(Pod, "dp1-3", namespace=NAMESPACE)
            await no_pods(cluster)
            print(f"  killed at: {step}; there was then: {', '.join(short(left)) or 'nothing'}")
            assert await shell.files() == []
    await create(cluster, "claims.yaml", "dp1-3")
    await runs_when_nudged(cluster, "dp1-3")


def short(names: list[str]) -> list[str]:
    """Return what files are, for people, without those that are always there."""
    words = {
        name: ("CDI file" if "claim_" in name else "checkpoint") + (" half-written" if name.endswith(".tmp") else "")
        for name in names
        if name.endswith((".json", ".tmp"))
    }
    return sorted(words.values())


@pytest.mark.skipif(not KUBELET_RESTART, reason="KUBELET_RESTART says how a kubelet is killed and started")
async def test_a_reboot_that_wipes_the_cdi_files_and_ends_all_processes_starts_the_same_pod_again(
    cluster: Cluster, timings: dict[str, float]
) -> None:
    """As nearly as it can be played: the files go, the pod's processes end, and the kubelet is another one."""
    count, uid = await restarts(cluster)
    async with node_shell.on(cluster, NODE2, DRIVER) as shell:
        wipe = "import pathlib\nfor path in pathlib.Path('/cdi').iterdir(): path.unlink(); print(path.name)"
        assert "k8s.myplugin.io-claim_" in await shell.python(wipe)
        await restart_kubelet()
        await hears(cluster, NODE2)
        at = time.time()
        assert int(await shell.python(node_shell.KILL_ALL, uid)) > 0
        async with cluster.pod("dp1-3") as pod:
            again = await pod.until(
                lambda pod: pod.status.containerStatuses[0].restartCount > count and eyes.runs(pod), timeout=120
            )
        timings["reboot played (CDI wiped, processes ended, kubelet anew) -> the same pod Running"] = again.at - at
        assert again.object.metadata.uid == uid
        assert short(await shell.files()) == ["CDI file", "checkpoint"]
    assert (await until(lambda: cluster.logs("dp1-3", lines=4), timeout=60)).count("DEV_") == 3


async def test_a_rolling_update_keeps_claims_and_slices(cluster: Cluster, timings: dict[str, float]) -> None:
    before = await restarts(cluster)
    uids = {node: [one.metadata.uid for one in await slices(cluster, node)] for node in SEED}
    at = time.time()
    run("kubectl -n fakehw rollout restart daemonset/fakehw-plugin")
    run("kubectl -n fakehw rollout status daemonset/fakehw-plugin --timeout=120s")
    timings["rollout restart -> every plugin ready again"] = time.time() - at
    for node, names in SEED.items():
        await pool_has(cluster, node, names)
    assert {node: [one.metadata.uid for one in await slices(cluster, node)] for node in SEED} == uids
    assert await restarts(cluster) == before


@pytest.mark.usefixtures("whole_tree")
@pytest.mark.skipif(not (API_SERVER_STOP and API_SERVER_START), reason="API_SERVER_STOP and API_SERVER_START say how")
async def test_an_api_server_that_was_stopped_for_a_minute_gets_what_has_changed(
    cluster: Cluster, timings: dict[str, float], minor: int
) -> None:
    needs(minor, gate="DRADeviceTaints")
    # The tree is reached through the API server, so the flip is left to a process on the node.
    await cluster.shell(NODE2, "(sleep 20; echo unhealthy while away > /fakehw/node2/dev3/2/health) >/dev/null 2>&1 &")
    run(API_SERVER_STOP)
    await asyncio.sleep(60)
    run(API_SERVER_START)
    at = time.time()

    async def look() -> bool:
        try:
            return taints(await pool(cluster, NODE2), "node2-dev3-2") == [("while-away", "NoSchedule")]
        except Exception:  # it is still coming up
            return False

    await until(look, timeout=60)
    timings["API server back after a minute -> the taint of meanwhile seen"] = time.time() - at
    await hears(cluster, NODE2)
    timings["API server back after a minute -> the kubelet starts a pod again (its own watches)"] = time.time() - at


@pytest.mark.usefixtures("whole_tree")
async def test_a_class_moves_from_one_api_to_the_other_and_back_while_pods_hold_its_devices(
    cluster: Cluster, timings: dict[str, float], minor: int
) -> None:
    """Either way what is free moves at once, and what a pod holds when it ends; no device is had twice."""

    def has(number: int) -> Callable[[Any], bool]:
        return lambda node: int((node.status.allocatable or {}).get(eyes.mydevice(3)) or 0) == number

    await restarts(cluster)
    taken = await held(cluster)
    assert len(taken) == 2
    async with cluster.node(NODE2) as node:
        await cluster.touch(NODE2, "echo device-plugin > /fakehw/node2/dev3/api")
        await pool_has(cluster, NODE2, {"node2-dev2-1", *taken})
        at = (await node.until(has(1), timeout=eyes.TICK_S)).at
        await no_pods(cluster)
        await pool_has(cluster, NODE2, {"node2-dev2-1"})
        at = (await node.until(has(3), timeout=eyes.TICK_S, after=at)).at
        running = await runs_by_device_plugin(cluster, minor)
        timings["dev3 by device plugin: its three devices allocatable -> dp1-3 seen Running"] = running - at
        lines = (await cluster.logs("dp1-3", lines=3)).splitlines()
        names = {line.partition("=")[2].strip("'").strip("/").replace("/", "-") for line in lines if "DEV_3_ID" in line}
        assert len(names) == 2

        at = time.time()
        await cluster.touch(NODE2, "rm /fakehw/node2/dev3/api")
        free = {name for name in SEED[NODE2] if "-dev3-" in name} - names
        await pool_has(cluster, NODE2, {"node2-dev2-1", *free})
        timings["api back to dra -> the free device is in the slice"] = time.time() - at
        uid = (await cluster.client.get(Pod, "dp1-3", namespace=NAMESPACE)).metadata.uid
        await asyncio.sleep(1)
        assert set(await pool(cluster, NODE2)) == {"node2-dev2-1", *free}, "what the pod holds is offered by nobody"
        await no_pods(cluster)
        at = time.time()
        await pool_has(cluster, NODE2, SEED[NODE2])
        timings["its pod gone -> the other devices are in the slice"] = time.time() - at
        await node.until(has(0), timeout=eyes.TICK_S, after=at)
    assert uid
    for file in ("claims.yaml", *(["pods.yaml"] if minor >= 36 else [])):
        await no_pods(cluster)
        await create(cluster, file, "dp1-3")
        await runs(cluster, "dp1-3")
        assert (await cluster.logs("dp1-3", lines=4)).count("DEV_3_ID") == 2


async def runs_by_device_plugin(cluster: Cluster, minor: int) -> float:
    """Run dp1-3 and return when it was seen Running.

    A scheduler that has not heard of the Node's new allocatable yet takes the class for DRA's, finds no device, and does
    not look again when it hears of it: then the pod is made again, as a person would.
    """
    for timeout in (20.0, 20.0, 90.0):
        await create_by_device_plugin(cluster, minor)
        try:
            return (await runs(cluster, "dp1-3", timeout=timeout))[1]
        except AssertionError as error:
            if "cannot allocate all claims" not in str(error):
                raise
            await no_pods(cluster)
    raise AssertionError("dp1-3 is never scheduled")


async def create_by_device_plugin(cluster: Cluster, minor: int) -> None:
    """Create dp1-3 of pods.yaml; without its device of dev2, which is still DRA's, where that needs a gate."""
    pods = yaml.safe_load_all((eyes.REPOSITORY / "deploy/pods.yaml").read_text())
    (pod,) = [one for one in pods if one["metadata"]["name"] == "dp1-3"]
    if minor < 36:
        del pod["spec"]["containers"][0]["resources"]["limits"][eyes.mydevice(2)]
    await cluster.client.create(Pod.from_dict(pod), namespace=NAMESPACE)


async def test_the_plugin_may_write_no_other_node_s_slices(cluster: Cluster) -> None:
    plugin = await cluster.pod_on(NODE2, eyes.PLUGIN)
    token = await cluster.client.exec(
        plugin, namespace=eyes.PLUGIN_NAMESPACE, container="plugin", stdout=True, timeout=20,
        command=["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"],
    )  # fmt: skip
    (other,) = await slices(cluster, NODE1)

    refused = run(
        f"kubectl --kubeconfig {anonymous()} --token {token.stdout} delete resourceslice {other.metadata.name} 2>&1 || true"
    )

    assert "the slice is of node" in refused


def anonymous() -> str:
    """Return a kubeconfig of the same cluster without a user, so that a token counts."""
    shown = subprocess.run(
        ["kubectl", "config", "view", "--raw", "--minify", "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    document = yaml.safe_load(shown)
    document["users"] = []
    document["contexts"][0]["context"].pop("user", None)
    path = eyes.REPOSITORY / "build/e2e-anonymous.kubeconfig"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return str(path)
