"""Pods of a joined fleet as processes of this machine (`--run`): what they get, how they end, what is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakehw_fleet.cluster import commands, pod_status, pods, processes
from fakehw_fleet.cluster.options import Options
from fakekubelet import pod as fake_pods
from fakekubelet.apiserver.server import ApiServer
from fakekubelet.kubelet.pod_status import AdmittedPod, ContainerStatus, Ended, Phase
from tests.integration.test_fleet_cluster import allocated, fleet, running, status, until
from tests.integration.test_fleet_cluster import pod as made
from tests.running import DEADLINE_S, has_ended

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.lengthy

RUNS = Options(status_every_s=None, runs=True)
KILLED = 128 + signal.SIGKILL
STAYS = "echo up; sleep 1000 & wait"


def pod(
    name: str, script: str, gpus: int = 1, *, node: str = "w-1", env: list[Any] | None = None, **spec: Any
) -> dict[str, Any]:
    wanted = made(name, gpus, node, **{"terminationGracePeriodSeconds": 0, **spec})
    wanted["spec"]["containers"][0] |= {"command": ["sh", "-c", script], "env": env or []}
    return wanted


def container(api: ApiServer, name: str, number: int = 0, which: str = "containerStatuses") -> dict[str, Any]:
    statuses = status(api, name).get(which) or []
    return statuses[number] if len(statuses) > number else {"state": {}}


def output(home: Path, name: str, file: str = "main.log") -> str:
    return "".join(path.read_text() for path in (home / "s/pods").glob(f"default_{name}_*/{file}"))


async def printed(api: ApiServer, home: Path, name: str, text: str) -> str:
    return str(await until(api, lambda: text in (found := output(home, name)) and found))


async def phase(api: ApiServer, name: str, expected: str) -> None:
    await until(api, lambda: status(api, name).get("phase") == expected)


async def gone(api: ApiServer, pid: int) -> None:
    await until(api, lambda: has_ended(pid))


def events(api: ApiServer, reason: str) -> list[str]:
    return [event["message"] for event in api.all("events") if event["reason"] == reason]


async def test_a_command_runs_with_the_variables_of_its_devices_its_own_and_no_others(
    api: ApiServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "mine")
    node = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    key = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    async with fleet(api, home, options=RUNS):
        api.create(pod("p", f"env; {STAYS}", 2, env=[node, {"name": "MINE", "value": "on $(NODE)"}, key]))
        lines = (await printed(api, home, "p", "up\n")).splitlines()
        await running(api, "p")
        given = allocated(api, "p")["env"]

    assert len(given) == 2
    assert {f"{name}={value}" for name, value in given.items()} <= set(lines)
    assert {"NODE=w-1", "MINE=on w-1", "HOSTNAME=p"} <= set(lines)
    assert not any(line.startswith(("KEY=", "SECRET=")) for line in lines)
    assert events(api, "VariablesLeftOut") == ["container main: left out, for what they come from is not here: KEY"]


@pytest.mark.parametrize(("code", "expected"), [(0, "Succeeded"), (7, "Failed")])
async def test_a_pod_that_is_never_restarted_ends_with_its_exit_code_and_its_devices_are_free(
    api: ApiServer, home: Path, code: int, expected: str
) -> None:
    async with fleet(api, home, options=RUNS):
        api.create(pod("p", f"echo done; exit {code}", 4, restartPolicy="Never"))
        await phase(api, "p", expected)
        ended = container(api, "p")["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (code, "Error" if code else "Completed")
        assert container(api, "p")["restartCount"] == 0
        conditions = {one["type"]: one["status"] for one in status(api, "p")["conditions"]}
        assert (conditions["Ready"], conditions["PodScheduled"]) == ("False", "True")
        assert output(home, "p") == "done\n", "it stays while the pod does"
        api.create(pod("q", STAYS, 4))
        await running(api, "q")
        api.delete("pods", "p")
        await until(api, lambda: not output(home, "p"))


async def test_a_container_is_restarted_at_once_then_backs_off_and_says_so(api: ApiServer, home: Path) -> None:
    async with fleet(api, home, options=RUNS):
        api.create(pod("p", "echo $GPU_ID_0; exit 3", restartPolicy="OnFailure"))
        await until(api, lambda: container(api, "p")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff")
        told = container(api, "p")

        assert told["restartCount"] == 1
        assert told["lastState"]["terminated"]["exitCode"] == 3
        assert told["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=main pod=p_")
        assert status(api, "p")["phase"] == "Running"
        assert len(set(output(home, "p").splitlines())) == 1, "with the same device"
        assert events(api, "BackOff")[0].startswith("Back-off restarting failed container main in pod p_default(")


async def test_a_pod_ends_when_all_its_containers_have_done_what_they_had_to(api: ApiServer, home: Path) -> None:
    wanted = pod("p", "until [ -e $FLAG ]; do sleep 0.02; done", restartPolicy="OnFailure",
                 env=[{"name": "FLAG", "value": str(home / "flag")}])  # fmt: skip  # one pod
    wanted["spec"]["containers"].append({"name": "quick", "image": "i", "command": ["true"]})
    wanted["spec"]["initContainers"] = [
        {"name": "side", "image": "i", "restartPolicy": "Always", "command": ["sh", "-c", STAYS]},
        {"name": "init", "image": "i", "command": ["sh", "-c", "echo first"]},
    ]
    async with fleet(api, home, options=RUNS):
        api.create(wanted)
        await until(api, lambda: "terminated" in container(api, "p", 1)["state"])
        assert status(api, "p")["phase"] == "Running"
        assert not container(api, "p", 1)["ready"]
        assert container(api, "p")["ready"]
        side, init = status(api, "p")["initContainerStatuses"]
        assert (side["ready"], "running" in side["state"]) == (True, True)
        assert (init["ready"], init["state"]["terminated"]["exitCode"]) == (True, 0)
        assert output(home, "p", "init.log") == "first\n"
        (home / "flag").touch()
        await phase(api, "p", "Succeeded")
        assert container(api, "p", 0, "initContainerStatuses")["state"]["terminated"]["exitCode"] == 128 + 15


async def test_a_deleted_pod_is_asked_to_end_and_killed_after_its_grace_with_all_it_started(
    api: ApiServer, home: Path
) -> None:
    polite = f"trap 'echo asked > {home}/asked; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    stubborn = "trap '' TERM; sleep 1000 & echo child $!; while :; do wait; done"
    async with fleet(api, home, options=RUNS):
        api.create(pod("polite", polite, terminationGracePeriodSeconds=30))
        api.create(pod("stubborn", stubborn, terminationGracePeriodSeconds=1))
        await printed(api, home, "polite", "up\n")
        child = int((await printed(api, home, "stubborn", "\n")).split()[1])
        api.delete("pods", "polite")
        api.delete("pods", "stubborn")
        told: list[dict[str, Any]] = []
        api.changes.subscribe(lambda: told.append(status(api, "stubborn") or told[-1]))
        await until(api, lambda: api.find("pods", "polite") is None)
        assert (home / "asked").read_text() == "asked\n"
        await until(api, lambda: api.find("pods", "stubborn") is None)
        await gone(api, child)
        assert told[-1]["phase"] == "Failed", "the cluster hears how it ended before it goes"
        assert told[-1]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == KILLED


async def test_a_pod_that_takes_long_to_end_keeps_no_other_waiting_and_can_be_hurried(
    api: ApiServer, home: Path
) -> None:
    async with fleet(api, home, options=RUNS):
        for number in range(20):  # more than there are workers
            api.create(pod(f"s{number}", "trap '' TERM; echo up; sleep 1000 & while :; do wait; done", 0,
                           terminationGracePeriodSeconds=1000))  # fmt: skip  # one pod
        for number in range(20):
            await printed(api, home, f"s{number}", "up\n")
            api.delete("pods", f"s{number}")
        api.create(pod("p", STAYS))
        await running(api, "p")
        for number in range(20):
            api.delete("pods", f"s{number}", grace_s=1)
        await until(api, lambda: len(api.all("pods")) == 1)


async def test_a_container_without_a_command_runs_without_a_process_and_that_is_said_once(
    api: ApiServer, home: Path
) -> None:
    async with fleet(api, home, options=RUNS):
        api.create(made("p", 1, terminationGracePeriodSeconds=30, initContainers=[{"name": "init", "image": "i"}]))
        await running(api, "p")
        assert container(api, "p")["ready"]
        assert "terminated" in container(api, "p", 0, "initContainerStatuses")["state"]
        assert len(events(api, "NoProcess")) == 2
        assert "container main has no command, and images are not run" in events(api, "NoProcess")[1]
        api.delete("pods", "p")
        await until(api, lambda: api.find("pods", "p") is None)


async def test_a_command_that_there_is_not_is_said_in_the_status(api: ApiServer, home: Path) -> None:
    wanted = pod("p", "")
    wanted["spec"]["containers"][0]["command"] = ["/no/such"]
    async with fleet(api, home, options=RUNS):
        api.create(wanted)
        await until(api, lambda: container(api, "p")["state"].get("waiting", {}).get("reason") == "RunContainerError")
        ended = (await until(api, lambda: container(api, "p").get("lastState")))["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
        assert "/no/such" in ended["message"]


async def test_processes_end_with_the_fleet_and_begin_anew_with_the_next_on_the_same_devices(
    api: ApiServer, home: Path
) -> None:
    keep = Options(status_every_s=None, runs=True, keeps=True)
    async with fleet(api, home, options=keep):
        api.create(pod("p", f"echo $$$$ $GPU_ID_0 $GPU_ID_1; {STAYS}", 2))
        api.create(pod("once", STAYS, 0, restartPolicy="Never"))
        first = (await printed(api, home, "p", "up\n")).splitlines()[0].split()
        await running(api, "p")
        await running(api, "once")
        began = container(api, "p")["state"]["running"]["startedAt"]
    await gone(api, int(first[0]))
    assert status(api, "p")["phase"] == "Running", "as with a kubelet's machine that is off"
    async with fleet(api, home, options=keep):
        await until(api, lambda: output(home, "p").count("up\n") == 2)
        again = output(home, "p").splitlines()[2].split()
        assert again[1:] == first[1:]
        await until(api, lambda: container(api, "p").get("restartCount") == 1 and container(api, "p")["ready"])
        ended = container(api, "p")["lastState"]["terminated"]
        assert (ended["exitCode"], ended["startedAt"]) == (KILLED, began)
        await phase(api, "once", "Failed")
        assert container(api, "once")["state"]["terminated"]["exitCode"] == KILLED


async def test_a_kubelet_that_restarts_leaves_processes_running(api: ApiServer, home: Path) -> None:
    async with fleet(api, home, options=RUNS) as up:
        api.create(pod("p", f"echo $$$$; {STAYS}"))
        pid = int((await printed(api, home, "p", "up\n")).split()[0])
        await running(api, "p")
        await up.restart("w-1")
        await until(api, lambda: up.ready == 2)
        os.kill(pid, 0)
        assert container(api, "p")["restartCount"] == 0


@pytest.mark.parametrize("how", ["node", "pod"])
async def test_processes_end_with_a_node_or_pod_that_somebody_takes_away(api: ApiServer, home: Path, how: str) -> None:
    async with fleet(api, home, options=RUNS):
        api.create(pod("p", f"echo $$$$; trap '' TERM; {STAYS}; wait", terminationGracePeriodSeconds=1000))
        pid = int((await printed(api, home, "p", "up\n")).split()[0])
        api.delete("nodes", "w-1") if how == "node" else api.delete("pods", "p", grace_s=0)
        await gone(api, pid)


async def test_what_pods_of_a_life_before_have_printed_goes_if_they_have_gone(api: ApiServer, home: Path) -> None:
    old = home / "s/pods/default_old_uid"
    old.mkdir(parents=True)
    (old / "main.log").touch()
    async with fleet(api, home, options=RUNS):
        assert not old.exists()


async def test_processes_of_a_fleet_that_is_killed_are_gone_before_the_next_one_begins(
    api: ApiServer, home: Path
) -> None:
    api.write_kubeconfig(home / "kc")
    command = (sys.executable, "-m", "fakehw_fleet", "up", "inference-card", "--nodes", "1", "--run", "--plain",
               "--kubeconfig", str(home / "kc"), "--state", str(home / "s"), "--status-every", "0s")  # fmt: skip

    async def up() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None
        async with asyncio.timeout(2 * DEADLINE_S):
            while b"ready after" not in (line := await process.stdout.readline()):
                assert line
        return process

    killed = await up()
    api.create(pod("p", f"echo $$$$; trap '' TERM; {STAYS}; wait", 0, node="infer-1"))
    pid = int((await printed(api, home, "p", "up\n")).split()[0])
    await running(api, "p")
    killed.kill()
    again = await up()
    try:
        assert has_ended(pid)
        await until(api, lambda: container(api, "p").get("restartCount") == 1)
    finally:
        again.send_signal(signal.SIGINT)
        await again.communicate()
        await killed.communicate()


# What it is made of.


def test_a_variable_is_found_in_its_pod_or_left_out() -> None:
    def variable(path: str) -> dict[str, Any]:
        return {"name": path, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    given = ["metadata.name", "metadata.uid", "metadata.labels['a/b']", "metadata.labels['no']", "status.podIP"]
    found = {"metadata": {"name": "p", "uid": "u", "labels": {"a/b": "c"}}, "spec": {}}
    env = [*map(variable, given), {"name": "EMPTY"}, {"name": "R", "valueFrom": {"resourceFieldRef": {}}}]
    kept = commands.kept({"name": "main", "env": env, "envFrom": [{}], "args": ["a"]}, found)

    assert [value for _, value in kept["env"]] == ["p", "u", "c", "", ""]
    assert kept["left_out"] == ["envFrom", "status.podIP", "R"]
    assert (kept["command"], kept["args"]) == ([], ["a"])


def test_output_is_two_files_of_limited_length_and_a_full_disk_stops_nobody(tmp_path: Path) -> None:
    taking = processes.Output(tmp_path / "d/main.log", most=10)
    for chunk in (b"12345", b"67890", b"abc", b"x" * 50, b"y"):
        taking.add(chunk)
    assert (tmp_path / "d/main.log").read_bytes() == b"y"
    assert (tmp_path / "d/main.log.1").read_bytes() == b"x" * 50
    (tmp_path / "file").touch()
    processes.Output(tmp_path / "file/main.log").add(b"lost")


def test_names_of_directories_are_short_and_stay_where_they_belong() -> None:
    assert processes.directory_name(("default", "p"), "u") == "default_p_u"
    names = {processes.directory_name(("n" * 63, "p" * 253), uid) for uid in ("u", "v")}
    assert len(names) == 2
    assert max(map(len, names)) < 200
    assert "/" not in processes.directory_name(("..", "../x"), "u")


@pytest.mark.parametrize(("deleted_with", "expected"), [(None, 30.0), (0, 0.0), (5, 5.0)])
def test_grace_is_what_a_pod_was_deleted_with_or_its_own(deleted_with: int | None, expected: float) -> None:
    metadata = {} if deleted_with is None else {"deletionGracePeriodSeconds": deleted_with}
    assert pods.grace_s({"metadata": metadata, "spec": {"terminationGracePeriodSeconds": 30}}) == expected


@pytest.mark.parametrize(
    ("known", "phase", "expected"),
    [
        (ContainerStatus("c"), Phase.PENDING, "waiting"),
        (ContainerStatus("c", starts=1, is_running=True), Phase.RUNNING, "running"),
        (ContainerStatus("c", starts=1, ended=Ended(1, 0, 0)), Phase.RUNNING, "terminated"),
        (ContainerStatus("c", starts=1, ended=Ended(1, 0, 0), waiting_reason="X"), Phase.RUNNING, "waiting"),
        (ContainerStatus("c", starts=1, ended=Ended(1, 0, 0), waiting_reason="X"), Phase.FAILED, "terminated"),
        (ContainerStatus("c"), Phase.FAILED, "waiting"),
    ],
)
def test_a_container_is_in_one_state(known: ContainerStatus, phase: Phase, expected: str) -> None:
    spec = fake_pods.simple("p")
    admitted = AdmittedPod(spec, phase, containers={"c": known})
    assert list(pod_status._state(known, admitted, "t", is_init=False)) == [expected]
