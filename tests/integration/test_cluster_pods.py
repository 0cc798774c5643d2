"""The local cluster: pods from YAML, scheduled by devices, run as processes; and deploy/pods.yaml in every shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
import yaml

from fakekubelet import ManualClock, pod
from fakekubelet.cluster import cluster, guard, guard_process, pod_run, process
from fakekubelet.kubelet import pod_workers
from fakekubelet.stub_plugin import Refusal, StubPlugin, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.running import DEADLINE_S, grpc_ended

DOMAIN = "myplugin.io/mydevice-"
PODS = Path(__file__).parents[2] / "deploy" / "pods.yaml"
STAY = "sleep 1000 & wait"


def manifest(name, script, *, limits=None, **spec):
    container = {"name": "main", "command": ["sh", "-c", script], "resources": {"limits": limits or {}}}
    fields = {"terminationGracePeriodSeconds": 0, **spec}
    return yaml.safe_dump({"kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container], **fields}})


async def answer_with_seed_names(request):
    """Answer Allocate as the seed does: DEV_K_ID_i for node2-devK-n."""
    envs = {}
    for index, one in enumerate(sorted(request.container_requests[0].devices_ids)):
        node, kind, number = one.split("-")
        envs[f"DEV_{kind.removeprefix('dev')}_ID_{index}"] = f"/{node}/{kind}/{number}"
    return pluginapi.AllocateResponse(container_responses=[pluginapi.ContainerAllocateResponse(envs=envs)])


@contextlib.asynccontextmanager
async def plugins(node, ids_by_number, **fields):
    """Serve and register one plugin per resource on *node*."""
    async with contextlib.AsyncExitStack() as stack:
        for number, ids in ids_by_number.items():
            plugin = StubPlugin(
                node.plugin_dir,
                f"{DOMAIN}{number}",
                devices(*ids),
                endpoint=f"{number}.sock",
                behaviors=fields.get("behaviors", {"Allocate": answer_with_seed_names}),
            )
            await stack.enter_async_context(plugin)
            await plugin.register()
        await node.wait_for(lambda: all(f"{DOMAIN}{number}" in node.node_status.capacity for number in ids_by_number))
        yield


@pytest.fixture
async def seed_cluster():
    """Two workers with the devices of the seed's story, and a control plane."""
    async with cluster.LocalCluster(control_plane="kind-control-plane") as running:
        one, two = running.nodes.values()
        async with (
            plugins(one, {1: ["node1-dev1-1"], 2: [], 3: []}),
            plugins(two, {1: [], 2: ["node2-dev2-1"], 3: ["node2-dev3-1", "node2-dev3-2", "node2-dev3-3"]}),
        ):
            yield running


async def test_the_seeds_story_is_played(seed_cluster):
    await seed_cluster.apply(PODS)
    for name in ("dp1-1", "dp1-2"):
        await seed_cluster.wait_for(lambda name=name: seed_cluster.logs(name).count("\n") == 2)

    assert seed_cluster.logs("dp1-1") == "Device vars:\nDEV_1_ID_0='/node1/dev1/1'\n"
    assert seed_cluster.logs("dp1-2") == "Device vars:\nDEV_2_ID_0='/node2/dev2/1'\n"
    pending = seed_cluster.pods["dp1-3"]
    assert (seed_cluster.pods["dp1-1"].node, seed_cluster.pods["dp1-2"].node) == ("kind-worker", "kind-worker2")
    assert (pending.phase, pending.node) == ("Pending", None)
    assert pending.message.startswith(
        "0/3 nodes are available: 1 Insufficient myplugin.io/mydevice-3, 1 node(s) had untolerated taint(s), "
        "2 Insufficient myplugin.io/mydevice-2. "
    )
    assert "FailedScheduling" in seed_cluster.describe("dp1-3")

    await seed_cluster.delete("dp1-2")
    await seed_cluster.wait_for(lambda: seed_cluster.logs("dp1-3").count("\n") == 4)

    first, second, *third = seed_cluster.logs("dp1-3").splitlines()
    assert (first, second) == ("Device vars:", "DEV_2_ID_0='/node2/dev2/1'")
    assert [one.partition("=")[0] for one in third] == ["DEV_3_ID_0", "DEV_3_ID_1"]
    assert pending.phase == "Running"


async def test_a_pending_pod_is_placed_when_its_devices_appear(seed_cluster):
    await seed_cluster.apply(manifest("late", STAY, limits={f"{DOMAIN}4": 1}))
    assert seed_cluster.pods["late"].node is None

    async with plugins(seed_cluster.nodes["kind-worker2"], {4: ["node2-dev4-1"]}):
        await seed_cluster.wait_for(lambda: seed_cluster.pods["late"].phase == "Running")
    assert seed_cluster.pods["late"].node == "kind-worker2"


async def test_applying_again_changes_nothing(seed_cluster):
    (first,) = await seed_cluster.apply(manifest("one", STAY))
    (again,) = await seed_cluster.apply(manifest("one", STAY))

    assert again is first
    assert list(seed_cluster.pods) == ["one"]


async def test_a_pod_that_its_node_refuses_has_failed_and_holds_nothing_in_the_scheduler():
    async def refuse(_):
        raise Refusal("on fire")

    limits = {f"{DOMAIN}1": 1}
    async with cluster.LocalCluster(["n"]) as running:
        behaviors = {"Allocate": refuse}
        async with plugins(running.nodes["n"], {1: ["node1-dev1-1"]}, behaviors=behaviors):
            await running.apply(manifest("bad", STAY, limits=limits))
            assert running.pods["bad"].phase == "Failed"
            assert "on fire" in running.describe("bad")

            behaviors["Allocate"] = answer_with_seed_names
            await running.apply(manifest("good", STAY, limits=limits))
            await running.wait_for(lambda: running.pods["good"].phase == "Running")


async def test_the_environment_is_minimal_and_the_pods_own_comes_last(seed_cluster, monkeypatch):
    monkeypatch.setenv("SECRET", "of the host")
    text = yaml.safe_load(manifest("env", "env | sort; " + STAY, limits={f"{DOMAIN}1": 1}))
    text["spec"]["containers"][0]["env"] = [{"name": "DEV_1_ID_0", "value": "mine"}, {"name": "B", "value": "$(A)"}]
    await seed_cluster.apply(yaml.safe_dump(text))
    await seed_cluster.wait_for(lambda: "PWD" in seed_cluster.logs("env") or "SHLVL" in seed_cluster.logs("env"))

    lines = seed_cluster.logs("env").splitlines()
    assert "DEV_1_ID_0=mine" in lines
    assert "B=$(A)" in lines
    assert "HOSTNAME=env" in lines
    assert not any(line.startswith("SECRET") for line in lines)


async def test_deleting_a_pod_ends_it_and_what_it_started(seed_cluster):
    await seed_cluster.apply(manifest("p", "trap '' TERM; sleep 1000 & echo $!; wait; wait"))
    await seed_cluster.wait_for(lambda: seed_cluster.logs("p").endswith("\n"))
    child = int(seed_cluster.logs("p"))
    os.kill(child, 0)

    await seed_cluster.delete("p")

    assert "p" not in seed_cluster.pods
    with pytest.raises(ProcessLookupError):
        await _gone(child)


async def _gone(pid):
    """Raise ProcessLookupError once *pid* is gone or a zombie that only waits for a parent's attention."""
    async with asyncio.timeout(5):
        while True:
            state = Path(f"/proc/{pid}/stat")
            if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
                raise ProcessLookupError
            await asyncio.sleep(0)


async def test_init_containers_run_before_the_app_and_their_failure_fails_a_pod_that_is_never_restarted():
    text = """
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  initContainers: [{name: init, command: [sh, -c, "echo init; exit %d"]}]
  containers: [{name: main, command: [sh, -c, "echo main"]}]
"""
    async with cluster.LocalCluster(["n"]) as running:
        await running.apply(text % ("good", 0))
        await running.apply(text % ("bad", 3))
        await running.wait_for(lambda: running.pods["good"].phase == "Succeeded")
        await running.wait_for(lambda: running.pods["bad"].phase == "Failed")

        assert (running.logs("good", "init"), running.logs("good")) == ("init\n", "main\n")
        assert (running.logs("bad", "init"), running.logs("bad")) == ("init\n", "")


async def test_a_container_that_ends_is_started_again_after_its_back_off_with_the_same_devices():
    clock = ManualClock()
    async with cluster.LocalCluster(["n"], time_source=clock) as running:
        node = running.nodes["n"]
        async with plugins(node, {1: ["node1-dev1-1"]}):
            await running.apply(manifest("p", "echo $DEV_1_ID_0", limits={f"{DOMAIN}1": 1}))
            status = running.pods["p"].admitted.containers["main"]
            await running.wait_for(lambda: status.waiting_reason == "CrashLoopBackOff")  # the first time at once
            assert (status.starts, status.ended.exit_code, status.ended.reason) == (2, 0, "Completed")
            assert status.message.startswith("back-off 10s restarting failed container=main pod=p_default(")

            await clock.advance(10)
            await running.wait_for(lambda: status.starts == 3 and "back-off 20s" in status.message)

            assert running.logs("p") == "/node1/dev1/1\n" * 3
            assert len(node.calls.of("Allocate")) == 1


async def test_a_command_that_does_not_exist_keeps_the_container_waiting():
    async with cluster.LocalCluster(["n"]) as running:
        await running.apply("{kind: Pod, metadata: {name: p}, spec: {containers: [{name: main, command: [/no/such]}]}}")
        status = running.pods["p"].admitted.containers["main"]
        message = await running.wait_for(lambda: status.waiting_reason == "RunContainerError" and status.message)

        assert "/no/such" in message


async def test_a_command_that_a_process_cannot_be_given_keeps_the_container_waiting():
    async with cluster.LocalCluster(["n"]) as running:
        spec = pod.Pod("p", (pod.Container("main", command=("sh", "a\0b")),))
        admitted = await running.nodes["n"].admit(spec)
        run = pod_run.PodRun(
            running.nodes["n"], admitted, outputs={"main": process.Printed().add}, ring=lambda: None,
            note=lambda *_: None, time_source=ManualClock(),
        )  # fmt: skip  # whose, then who hears
        run.start()
        status = admitted.containers["main"]
        await running.wait_for(lambda: status.waiting_reason == "RunContainerError")
        await run.stop(0)


async def test_a_pod_that_its_kubelet_refuses_later_ends_with_all_its_processes():
    clock = ManualClock()
    async with cluster.LocalCluster(["n"], time_source=clock) as running:
        node = running.nodes["n"]
        async with plugins(node, {1: ["node1-dev1-1", "node1-dev1-2"]}):
            spec = yaml.safe_load(manifest("p", "exit 3", limits={f"{DOMAIN}1": 1}))
            stays = {"name": "stays", "command": ["sh", "-c", "echo $$$$; " + STAY]}
            spec["spec"]["containers"].append(stays)
            await running.apply(yaml.safe_dump(spec))
            status = running.pods["p"].admitted.containers["main"]
            await running.wait_for(lambda: status.starts == 2 and not status.is_running and running.logs("p", "stays"))
            pid = int(running.logs("p", "stays"))

            await (
                node.restart()
            )  # and no plugin is there yet, so that the container that does not run cannot be admitted
            await running.wait_for(lambda: running.pods["p"].phase == "Failed")
            await running.wait_for(lambda: running.pods["p"].events[-1][1] == "UnexpectedAdmissionError")
            await running.wait_for(lambda: not is_alive(pid))

            assert "UnexpectedAdmissionError" in running.describe("p")
            await running.delete("p")


async def test_a_pod_on_a_node_that_there_is_not_waits_and_can_be_deleted():
    async with cluster.LocalCluster(["n"]) as running:
        await running.apply(
            "{kind: Pod, metadata: {name: p}, spec: {nodeName: gone, containers: [{name: c, command: [x]}]}}"
        )
        await running.apply("{kind: Pod, metadata: {name: q}, spec: {containers: [{name: c, command: [sleep, 9]}]}}")
        await running.wait_for(lambda: running.pods["q"].phase == "Running")

        assert (running.pods["p"].phase, running.pods["p"].node) == ("Pending", "gone")
        assert running.pods["p"].message == "waits for the kubelet of gone, which this cluster has not"
        assert "Node:       gone" in running.describe("p")
        await running.delete("p")
        assert list(running.pods) == ["q"]


async def test_a_manifest_with_a_bad_pod_creates_none():
    async with cluster.LocalCluster(["n"]) as running:
        good = "{kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, command: [x]}]}}"
        with pytest.raises(pod.PodSpecError):
            await running.apply(good + "\n---\n{kind: Pod, metadata: {name: q}, spec: {containers: [{name: c}]}}")

        assert running.pods == {}


async def test_a_pod_that_there_is_not_is_a_named_error(short_dir):
    async with cluster.LocalCluster(["n"]) as running:
        for ask in (running.logs, running.describe):
            with pytest.raises(cluster.NoSuchPodError, match=r'^pods "p" not found$'):
                ask("p")
        with pytest.raises(cluster.NoSuchPodError):
            await running.delete("p")
        with pytest.raises(pod_workers.UnknownPodError, match="no pod here has the UID"):
            await running.nodes["n"].start_container(pod.simple("p"))


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_a_pod_without_a_command_is_refused_because_no_image_is_run():
    async with cluster.LocalCluster(["n"]) as running:
        with pytest.raises(pod.PodSpecError, match="pod p: container main needs a command"):
            await running.apply("{kind: Pod, metadata: {name: p}, spec: {containers: [{name: main, image: busybox}]}}")


async def test_a_pod_is_described_with_its_events_whether_it_has_a_node_or_not():
    waits = """
    apiVersion: v1
    kind: Pod
    metadata: {name: waits, namespace: ns}
    spec: {containers: [{name: c, image: none, command: [sleep, "60"], resources: {limits: {example.com/gem: 1}}}]}
    """
    async with cluster.LocalCluster(["a", "b"], control_plane="master") as running:
        (found,) = await running.apply(waits)
        again, runs = *await running.apply(waits), *await running.apply(manifest("runs", "echo up; sleep 60"))
        await running.wait_for(lambda: running.logs("runs") == "up\n")
        text = (
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient example.com/gem. no new claims to deallocate, "
            "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        )

        assert again is found
        assert (found.name, found.node, found.phase, found.message) == ("waits", None, "Pending", text)
        assert running.describe("waits").splitlines() == [
            "Name:       waits", "Namespace:  ns", "Node:       <none>", "Status:     Pending", "Events:", f"  Warning  FailedScheduling         {text}",
        ]  # fmt: skip
        assert running.describe("runs").splitlines() == [
            "Name:       runs", "Namespace:  default", "Node:       a", "Status:     Running", "Events:",
            "  Normal   Scheduled                Successfully assigned default/runs to a",
        ]  # fmt: skip
        assert runs.message == ""
        with pytest.raises(TimeoutError) as caught:
            await running.wait_for(lambda: None, timeout=0.01)
        assert running.describe("waits") in str(caught.value)
        await running.delete("runs")
        with pytest.raises(cluster.NoSuchPodError) as missing:
            running.describe("runs")
        assert str(missing.value) == 'pods "runs" not found'


async def test_a_container_that_a_pod_has_not_has_printed_nothing():
    async with cluster.LocalCluster(["a"]) as running:
        await running.apply(manifest("p", "echo up; sleep 60"))
        await running.wait_for(lambda: running.logs("p") == "up\n")

        assert running.logs("p", "other") == ""
        assert list(running.nodes) == ["a"]


async def test_with_a_period_the_node_object_lags_as_a_real_one_does():
    clock = ManualClock()
    async with cluster.LocalCluster(["n"], time_source=clock, node_status_period_s=10.0) as running:
        node = running.nodes["n"]
        async with StubPlugin(node.plugin_dir, f"{DOMAIN}1", devices("node1-dev1-1")) as plugin:
            await plugin.register()
            await node.wait_for(lambda: node.allocatable.get(f"{DOMAIN}1") == 1)
            await running.apply(manifest("p", STAY, limits={f"{DOMAIN}1": 1}))
            assert running.pods["p"].node is None

            await clock.advance(10.4)
            await running.wait_for(lambda: running.pods["p"].phase == "Running")


async def test_leaving_the_cluster_leaves_no_process_task_or_directory():
    before = asyncio.all_tasks()
    async with cluster.LocalCluster(["n"]) as running:
        root = running.nodes["n"].plugin_dir.parents[1]
        await running.apply(manifest("p", "echo $$$$; " + STAY, terminationGracePeriodSeconds=30))
        await running.wait_for(lambda: running.logs("p").endswith("\n"))
        pid = int(running.logs("p"))

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not root.exists()
    await grpc_ended(before)
    assert asyncio.all_tasks() == before


async def test_a_process_is_asked_to_end_before_it_is_made_to(tmp_path):
    printed = asyncio.Event()
    script = "trap 'echo asked; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    output = process.Printed(printed.set)
    started = await process.Process.start(["sh", "-c", script], {"PATH": os.environ["PATH"]}, output=output.add)
    async with asyncio.timeout(DEADLINE_S):
        while "up" not in output.text:
            await printed.wait()
            printed.clear()

    assert await started.stop(DEADLINE_S) == 3
    assert "asked\n" in output.text


async def test_a_process_that_is_being_stopped_can_be_stopped_with_less_grace():
    up = asyncio.Event()
    output = process.Printed(up.set)
    started = await process.Process.start(["sh", "-c", "trap '' TERM; echo up; sleep 1000"], {}, output=output.add)
    await asyncio.wait_for(up.wait(), DEADLINE_S)
    patiently = asyncio.create_task(started.stop(1000))
    await asyncio.sleep(0)

    assert await started.stop(0) == -signal.SIGKILL
    assert await asyncio.wait_for(patiently, DEADLINE_S) == -signal.SIGKILL


async def test_a_process_that_prints_without_end_lets_others_be_served_and_of_its_output_the_end_is_kept(monkeypatch):
    monkeypatch.setattr(process, "MOST_KEPT", 100_000)
    output = process.Printed()
    started = await process.Process.start(["sh", "-c", "while :; do printf %01000d 1; done"], {}, output=output.add)
    try:
        async with asyncio.timeout(DEADLINE_S):
            most = 0
            while most < 150_000:
                await asyncio.sleep(0)  # which would never end if reading did not
                most = max(most, len(output.text))
            while len(output.text) >= most:
                await asyncio.sleep(0)
                most = max(most, len(output.text))
    finally:
        await started.stop(0)
    assert most <= 200_000


async def test_processes_of_one_that_is_killed_are_ended_and_what_they_started(tmp_path):
    """The pod's shell ignores SIGHUP and SIGTERM and has a child; neither would end by itself."""
    manifest_path = tmp_path / "pods.yaml"
    manifest_path.write_text(
        manifest("p", f"trap '' TERM HUP; sleep 1000 & echo $! > {tmp_path}/child; echo up; wait; wait")
    )
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom fakekubelet import LocalCluster\n"
        "async def main():\n    async with LocalCluster(['n']) as running:\n"
        "        await running.apply(Path(sys.argv[1]))\n"
        "        await running.wait_for(lambda: running.logs('p'), timeout=1000)\n"
        "        print(flush=True)\n        await asyncio.sleep(1000)\nasyncio.run(main())\n"
    )
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(manifest_path), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE_S):
        await killed.stdout.readline()  # output is read once the process is guarded
    child = int((tmp_path / "child").read_text())
    killed.kill()
    await killed.wait()
    with pytest.raises(ProcessLookupError):
        await _gone(child)


async def test_a_guard_that_was_killed_is_there_again_for_all_it_guarded():
    async def sleeping(own):
        return await process.Process.start(["sleep", "1000"], {}, output=lambda _: None, guard=own)

    async with guard.Guard() as own:
        first = await sleeping(own)
        own._process.kill()
        await own._process.wait()
        second = await sleeping(own)
        own._process.stdin.close()
        codes = await asyncio.wait_for(asyncio.gather(first.wait(), second.wait()), DEADLINE_S)
        assert codes == [-signal.SIGKILL] * 2
        for ended in (first, second):
            await ended.stop(0)


async def test_a_guard_kills_no_group_whose_number_it_did_not_read_whole():
    groups = [await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True) for _ in range(3)]
    told = f"+{groups[0].pid}\n+{groups[1].pid}\n-{groups[1].pid}\n+{groups[2].pid}".encode()
    own = await asyncio.create_subprocess_exec(sys.executable, guard_process.__file__, stdin=asyncio.subprocess.PIPE)
    await asyncio.wait_for(own.communicate(told), DEADLINE_S)

    assert await asyncio.wait_for(groups[0].wait(), DEADLINE_S) == -signal.SIGKILL
    assert [group.returncode for group in groups[1:]] == [None, None]
    for group in groups[1:]:
        group.kill()
        await group.wait()


@pytest.mark.parametrize(
    ("backoff_s", "ran_s", "expected"),
    [(None, 1, 0), (0, 1, 10), (10, 1, 20), (160, 1, 300), (300, 1, 300), (300, 601, 0)],
)
def test_back_off_begins_after_the_first_restart_doubles_and_is_forgotten_after_ten_minutes(backoff_s, ran_s, expected):
    assert pod_run.next_backoff_s(backoff_s, ran_s=ran_s) == expected


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
@pytest.mark.parametrize("spec", list(yaml.safe_load_all(PODS.read_text())), ids=lambda one: one["metadata"]["name"])
async def test_the_pods_script_prints_the_same_in_every_shell_and_ends_at_once_on_term(shell, spec):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    _, flag, script = spec["spec"]["containers"][0]["command"]
    words = [program, "ash"] if shell == "busybox" else [program]
    env = {"PATH": os.environ["PATH"], "DEV_3_ID_1": "/node2/dev3/3", "DEV_3_ID_0": "/a=b c", "NOT_DEV_1": "x"}
    printed = asyncio.Event()
    output = process.Printed(printed.set)
    started = await process.Process.start([*words, flag, script], env, output=output.add)
    try:
        async with asyncio.timeout(5):
            while output.text.count("\n") < 3:
                await printed.wait()
                printed.clear()
            os.kill(started.pid, signal.SIGTERM)
            code = await started.wait()
    finally:
        await started.stop(0)

    assert output.text == "Device vars:\nDEV_3_ID_0='/a=b c'\nDEV_3_ID_1='/node2/dev3/3'\n"
    assert code == 0
