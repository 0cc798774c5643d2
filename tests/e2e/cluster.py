"""Eyes and hands on a real cluster: what happened, when it was seen, and a way to touch a node's tree."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import lightkube
from lightkube.resources.core_v1 import Node, Pod

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "fakehw-e2e"
PLUGIN_NAMESPACE = "fakehw"
PLUGIN = {"app.kubernetes.io/name": "fakehw-plugin"}
HAND = {"app.kubernetes.io/name": "fakehw-hand"}
NODE1 = os.environ.get("NODE1", "kind-worker")
NODE2 = os.environ.get("NODE2", "kind-worker2")
TICK_S = 30.0
"""A kubelet tells the API server within 10.4 s (contract NS-5), and a loaded machine is given time."""


def mydevice(number: int) -> str:
    """Return the name of one of the seed's resources."""
    return f"myplugin.io/mydevice-{number}"


def make(target: str) -> str:
    """Do what `make TARGET` does and return what it said."""
    done = subprocess.run(
        [REPOSITORY / "hack/cluster.sh", target], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"make {target}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Sighting:
    """An object as it was seen, and when (Unix time)."""

    at: float
    kind: str
    object: Any


class Watch:
    """Follows objects while it is entered, remembers every sighting, and waits for the one that matters."""

    def __init__(self, client: lightkube.AsyncClient, kind: type, name: str | None, **options: Any) -> None:
        self.seen: list[Sighting] = []
        self._fields = {"metadata.name": name} if name else None
        self._client, self._kind, self._options = client, kind, options
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name=f"watch {self._kind.__name__}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _follow(self) -> None:
        # From version 0: what the API server has at hand, at once. A consistent start waits for its cache to catch up,
        # which with an old etcd and quiet objects does not happen.
        watch = self._client.watch(self._kind, fields=self._fields, resource_version="0", **self._options)
        try:
            async for kind, thing in watch:
                self.seen.append(Sighting(time.time(), kind, thing))
                async with self._news:
                    self._news.notify_all()
        finally:
            await watch.aclose()

    async def until(self, predicate: Callable[[Any], object], *, timeout: float, after: float = 0.0) -> Sighting:
        """Return the first sighting, at `after` or later, of a living object for which `predicate` is true."""
        checked = 0
        try:
            async with asyncio.timeout(timeout), self._news:
                while True:
                    for sighting in self.seen[checked:]:
                        if sighting.at >= after and sighting.kind != "DELETED" and predicate(sighting.object):
                            return sighting
                    checked = len(self.seen)
                    if self._task.done():
                        self._task.result()
                        raise RuntimeError("the API server ended the watch")
                    await self._news.wait()
        except TimeoutError:
            last = self.seen[-1].object.status.to_dict() if self.seen else None
            text = json.dumps(last, default=str)
            raise AssertionError(f"not seen within {timeout:g} s, {len(self.seen)} sightings; last: {text}") from None


class Cluster:
    """One API server and the two nodes of the story."""

    def __init__(self, client: lightkube.AsyncClient) -> None:
        self.client = client

    def node(self, name: str) -> Watch:
        """Follow a node."""
        return Watch(self.client, Node, name)

    def pod(self, name: str) -> Watch:
        """Follow a pod of the story."""
        return Watch(self.client, Pod, name, namespace=NAMESPACE)

    def plugins(self) -> Watch:
        """Follow the plugin's pods on all nodes."""
        return Watch(self.client, Pod, None, namespace=PLUGIN_NAMESPACE, labels=PLUGIN)

    async def pod_on(self, node: str, labels: dict[str, str]) -> str:
        """Return the name of the running pod of a DaemonSet on a node."""
        names = [
            pod.metadata.name
            async for pod in self.client.list(Pod, namespace=PLUGIN_NAMESPACE, labels=labels)
            if pod.spec.nodeName == node and pod.status.phase == "Running" and not pod.metadata.deletionTimestamp
        ]
        assert len(names) == 1, f"{labels} on {node}: {names or 'none'}"
        return str(names[0])

    async def shell(self, node: str, script: str) -> str:
        """Run a script where the node's tree is writable, and return what it printed."""
        hand = await self.pod_on(node, HAND)
        done = await self.client.exec(
            hand, namespace=PLUGIN_NAMESPACE, command=["sh", "-euc", script], stdout=True, stderr=True, timeout=30
        )
        assert done.exit_code == 0, f"{script}: {done.stdout}{done.stderr}"
        return str(done.stdout)

    async def touch(self, node: str, script: str) -> float:
        """Run a script on the node's tree; return the node's time right before it."""
        return float((await self.shell(node, f"date +%s.%N; {{ {script}; }} >&2")).split()[0])

    async def plugin_log(self, node: str) -> list[dict[str, Any]]:
        """Return the lines of the node's plugin, `at` being the Unix time of each."""
        name = await self.pod_on(node, PLUGIN)
        lines = [
            json.loads(line)
            async for line in self.client.log(name, namespace=PLUGIN_NAMESPACE, container="plugin")
            if line.startswith("{")
        ]
        return [{**line, "at": datetime.fromisoformat(line["timestamp"]).timestamp()} for line in lines]

    async def plugin_line(self, node: str, *, event: str, after: float, timeout: float = 10.0, **fields: Any) -> float:
        """Return when the node's plugin first said `event` with these fields, `after` or later."""
        async with asyncio.timeout(timeout):
            while True:
                for line in await self.plugin_log(node):
                    if line["at"] >= after and line["event"] == event and fields.items() <= line.items():
                        return float(line["at"])
                await asyncio.sleep(0.1)  # a log has no watch

    async def logs(self, pod: str, *, lines: int) -> str:
        """Return what a pod of the story printed, once it has printed `lines` lines: Running comes before the first."""
        async with asyncio.timeout(60):
            while True:
                text = "".join([line async for line in self.client.log(pod, namespace=NAMESPACE)])
                if text.count("\n") >= lines:
                    return text
                await asyncio.sleep(0.1)  # the API server is asked, not waited for: following would not end


def shows(resource: str, *, capacity: int, allocatable: int) -> Callable[[Any], bool]:
    """Return a predicate: the node has these numbers of a resource."""

    def predicate(node: Any) -> bool:
        numbers = (node.status.capacity or {}).get(resource), (node.status.allocatable or {}).get(resource)
        return numbers == (str(capacity), str(allocatable))

    return predicate


def runs(pod: Any) -> bool:
    """Tell whether a pod is Running with all containers ready."""
    return pod.status.phase == "Running" and is_ready(pod)


def is_ready(pod: Any) -> bool:
    """Tell whether a pod is Ready."""
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or [])


def devices(pod: Any) -> dict[str, str]:
    """Return device ID to health of all that a pod's containers hold, as its status says it (contract HS-2)."""
    return {
        device.resourceID: device.health
        for container in pod.status.containerStatuses or []
        for resource in container.allocatedResourcesStatus or []
        for device in resource.resources or []
    }
