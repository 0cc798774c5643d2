"""The same fifty pods on two real kubelets and on two nodes of a fleet, in one cluster: refused alike, told alike.

Run as root on the machine of both: NODES="kind-worker=DIR kind-worker2=DIR", where DIR is that kubelet's own
/var/lib/kubelet for this process (docs/fake-kubelet.md). Both pairs serve the same tree of devices by the real plugin.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakehw import FakeTree, make_topology
from fakehw.spec.topology import Topology
from fakehw_fleet.cluster.fleet import ClusterFleet
from fakehw_fleet.cluster.options import Options
from kubeapi import errors, kubeconfig
from kubeapi.client import Client
from kubeapi.resources import CORE_EVENTS, NAMESPACES, NODES, PODS

NODES_GIVEN = [one.partition("=") for one in (os.environ.get("NODES") or "").split()]
IMAGE = os.environ.get("POD_IMAGE") or "busybox:1.36"
NAMESPACE = "fakehw-fidelity-fleet"
GPU, NIC = "fidelity.example/gpu", "fidelity.example/nic"
FAKE = ("fidelity-1", "fidelity-2")
PODS_IN_ALL = 50
DEADLINE_S = 120.0
PACE_S = 15.0
"""A status comes within a kubelet's pace of 10.4 s (contract NS-5)."""

Object = dict[str, Any]
OF_ALL = {
    "terminationGracePeriodSeconds": 0,
    "automountServiceAccountToken": False,
    "tolerations": [{"operator": "Exists"}],
}

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(len(NODES_GIVEN) != 2, reason="needs NODES, two of them"),
]


def topology(hosts: tuple[str, ...]) -> Topology:
    classes = {
        "gpu": {"count": 4, "resource": GPU, "devices": {"1-2": {"numa_node": 0}, "3-4": {"numa_node": 1}}},
        "nic": {"count": 2, "resource": NIC},
    }
    return make_topology(
        {"nodes": {f"node{place}": {"host": host, "classes": classes} for place, host in enumerate(hosts, 1)}}
    )


def specs(seed: int) -> list[tuple[int, Object]]:
    """Draw the pods: which node of a pair, and the specification without it. Some want more than there is."""
    chance = random.Random(seed)
    drawn = []
    for number in range(PODS_IN_ALL):
        limits = {GPU: str(chance.choice((0, 1, 1, 2, 2, 3, 5)))} if chance.random() < 0.9 else {}
        containers = [container("main", limits)]
        if chance.random() < 0.6:  # one resource a container: which of two a kubelet asks for first is chance
            containers.append(container("second", chance.choice([{GPU: "1"}, {NIC: "1"}, {NIC: "2"}, {NIC: "3"}])))
        spec: Object = {"containers": containers, "restartPolicy": chance.choice(("Always", "Never"))}
        if chance.random() < 0.2:
            spec["initContainers"] = [container("init", {GPU: "1"}, command="true")]
        if chance.random() < 0.1:
            sidecar = container("sidecar", {NIC: "1"})
            spec["initContainers"] = [*spec.get("initContainers", []), sidecar | {"restartPolicy": "Always"}]
        spec["x-by-scheduler"] = chance.random() < 0.5
        drawn.append((number % 2, spec))
    return drawn


def container(name: str, limits: Object, *, command: str = "sleep 100000") -> Object:
    return {
        "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", command],
        "resources": {"limits": limits},
    }  # fmt: skip  # a field beside its value


@contextlib.asynccontextmanager
async def real_plugins(root: Path) -> AsyncIterator[None]:
    """Run the plugin of each real node, as its DaemonSet would."""
    running = []
    for name, _, kubelet in NODES_GIVEN:
        command = [
            "-m", "fakehw_plugin", "--root", root, "--host", name, "--plugin-dir", f"{kubelet}/device-plugins",
            "--pod-resources", f"{kubelet}/pod-resources/kubelet.sock",
        ]  # fmt: skip  # a flag beside its value
        running.append(await asyncio.create_subprocess_exec(sys.executable, *command, "--log-level", "error"))
    try:
        yield
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
            await process.wait()


class Pair:
    """Two nodes; both pairs get the same pods, under the same names but for a prefix."""

    def __init__(self, client: Client, names: tuple[str, ...], prefix: str) -> None:
        self.names = names
        self._client = client
        self._prefix = prefix

    async def has_devices(self) -> None:
        async def shown() -> bool:
            status = [(await self._client.get(NODES, name))["status"] for name in self.names]
            return all((one["allocatable"].get(GPU), one["allocatable"].get(NIC)) == ("4", "2") for one in status)

        await until(shown)

    async def shows(self, place: int, *, allocatable: int) -> None:
        async def shown() -> bool:
            status = (await self._client.get(NODES, self.names[place]))["status"]
            return bool(status["allocatable"].get(GPU) == str(allocatable))

        await until(shown)

    async def create(self, number: int, place: int, spec: Object) -> None:
        """Bind it to its node, or have the scheduler do so, which has no other choice."""
        is_by_scheduler = spec["x-by-scheduler"]
        spec = {key: value for key, value in spec.items() if not key.startswith("x-")} | OF_ALL
        if is_by_scheduler:
            spec["nodeSelector"] = {"kubernetes.io/hostname": self.names[place]}
        else:
            spec["nodeName"] = self.names[place]
        await self._client.create(PODS, {"metadata": {"name": self.name(number)}, "spec": spec}, namespace=NAMESPACE)

    def name(self, number: int) -> str:
        return f"{self._prefix}-{number}"

    async def settled(self, number: int) -> None:
        """Wait until a pod runs, was refused by its kubelet, or by the scheduler."""

        async def over() -> bool:
            status = (await self._client.get(PODS, self.name(number), namespace=NAMESPACE))["status"]
            reasons = {one.get("reason") for one in status.get("conditions") or []}
            return status["phase"] in ("Running", "Failed") or "Unschedulable" in reasons

        await until(over)

    async def remove(self, number: int) -> None:
        await self._client.delete(PODS, self.name(number), namespace=NAMESPACE, grace_s=0)

        async def gone() -> bool:
            try:
                await self._client.get(PODS, self.name(number), namespace=NAMESPACE)
            except errors.NotFoundError:
                return True
            return False

        await until(gone)

    async def told(self) -> dict[int, Object]:
        """Return all that is told of the pods, as far as devices have a part in it."""
        listed = (await self._client.list(PODS, namespace=NAMESPACE))["items"]
        events = (await self._client.list(CORE_EVENTS, namespace=NAMESPACE))["items"]
        found = {}
        for pod in listed:
            prefix, _, number = pod["metadata"]["name"].rpartition("-")
            if prefix == self._prefix:
                found[int(number)] = told_of(pod) | {
                    "events": sorted(
                        {
                            (event["type"], event["reason"], event["message"])
                            for event in events
                            if event["involvedObject"].get("uid") == pod["metadata"]["uid"]
                            and (event.get("source") or {}).get("component") == "kubelet" and event["type"] == "Warning"
                        }
                    )
                }  # fmt: skip  # one value
        return found


def told_of(pod: Object) -> Object:
    """Return a pod's status without times, addresses and what only a container runtime knows."""
    status = pod["status"]
    return {
        "phase": status["phase"],
        "reason": status.get("reason"),
        "message": status.get("message"),
        "is placed": bool(pod["spec"].get("nodeName")),
        "conditions": {
            one["type"]: (one["status"], one.get("reason"), one.get("message"))
            for one in status.get("conditions") or []
        },
        "containers": {
            one["name"]: {
                "ready": one["ready"],
                "started": one.get("started"),
                "restarts": one["restartCount"],
                "state": {
                    kind: {key: state.get(key) for key in ("reason", "message", "exitCode")}
                    for kind, state in one["state"].items()
                },
                "devices": {
                    resource["name"]: {device["resourceID"]: device["health"] for device in resource["resources"]}
                    for resource in one.get("allocatedResourcesStatus") or []
                },
            }
            for one in (*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or []))
        },
    }


async def until(holds: Any, *, within_s: float = DEADLINE_S) -> None:
    began = time.monotonic()
    while not await holds():
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.2)


@pytest.fixture
async def pairs() -> AsyncIterator[tuple[Pair, Pair, list[FakeTree]]]:
    access = kubeconfig.find()
    with tempfile.TemporaryDirectory(prefix="fd-", dir="/tmp") as scratch:
        home = Path(scratch)
        real_names = tuple(name for name, _, _ in NODES_GIVEN)
        FakeTree(home / "real", tell=print).build(topology(real_names))
        async with (
            Client(access) as client,
            real_plugins(home / "real"),
            ClusterFleet(
                topology(FAKE), home / "fake", home / "s", access,
                domain="myplugin.io", options=Options(name="fidelity"), tell=print,
            ),
        ):  # fmt: skip  # whose, then how
            with contextlib.suppress(errors.ConflictError):
                await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
            trees = [FakeTree(home / place, tell=print) for place in ("real", "fake")]
            pair = Pair(client, real_names, "real"), Pair(client, FAKE, "fake")
            try:
                for one in pair:
                    await one.has_devices()
                yield (*pair, trees)
            finally:
                selector = "status.phase!=Unknown"
                await client.delete_collection(PODS, namespace=NAMESPACE, field_selector=selector, grace_s=0)
                await client.delete(NAMESPACES, NAMESPACE)


async def test_fifty_pods_are_refused_run_and_told_alike_by_real_kubelets_and_by_a_fleet(
    pairs: tuple[Pair, Pair, list[FakeTree]],
) -> None:
    real, fake, trees = pairs
    drawn = specs(seed=int(os.environ.get("SEED") or 21))
    held: list[int] = []
    outcomes: list[tuple[str, str | None]] = []
    unlike: dict[int, list[str]] = {}
    chance = random.Random(1)

    async def compare(numbers: list[int]) -> None:
        """Give what is told the time of a kubelet's pace; then remember where the two differ."""

        async def alike() -> bool:
            told = [await pair.told() for pair in (real, fake)]
            return all(told[0][number] == told[1][number] for number in numbers)

        with contextlib.suppress(AssertionError):
            await until(alike, within_s=PACE_S)
        told = await real.told(), await fake.told()
        for number in numbers:
            outcomes.append((told[0][number]["phase"], told[0][number]["reason"]))
            if differences := list(differing(told[0][number], told[1][number])):
                unlike.setdefault(number, []).extend(differences)

    for number, (place, spec) in enumerate(drawn):
        for pair in (real, fake):
            await pair.create(number, place, spec)
        for pair in (real, fake):
            await pair.settled(number)
        held.append(number)
        if number % 8 == 7:  # room for others
            leaving = [held.pop(chance.randrange(len(held))) for _ in range(4)]
            await compare(leaving)
            for gone in leaving:
                for pair in (real, fake):
                    await pair.remove(gone)
        if number in (20, 35):
            for tree in trees:
                tree.set_health(f"node{1 + number % 2}/gpu/1", "unhealthy", reason="hot")
            for pair in (real, fake):  # what the scheduler goes by
                await pair.shows(number % 2, allocatable=3)
    await compare(held)

    print({outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes), key=str)})
    assert len(outcomes) == PODS_IN_ALL
    assert {("Running", None), ("Failed", "UnexpectedAdmissionError"), ("Pending", None)} <= set(outcomes)
    assert not unlike, "\n".join(f"pod {number}: {line}" for number, lines in unlike.items() for line in lines)


def differing(real: Any, fake: Any, where: str = "") -> Iterator[str]:
    """Give a line for each value that is another one."""
    if isinstance(real, dict) and isinstance(fake, dict):
        for key in sorted({*real, *fake}):
            yield from differing(real.get(key), fake.get(key), f"{where}/{key}")
    elif real != fake:
        yield f"{where}: real {real!r}, fake {fake!r}"
