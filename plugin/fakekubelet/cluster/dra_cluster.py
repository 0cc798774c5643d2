"""A small cluster whose devices come by DRA: API server, kubelets, and what lies between them and a driver.

The scheduler, the controller that makes claims of templates and the one that evicts pods from tainted devices are
played here as far as devices go. Pods are local processes, as in `cluster.py`. Drivers are whatever registers in a
node's `plugins_registry`.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import yaml

from fakekubelet.apiserver import server
from fakekubelet.cluster import dra_pod_run, dra_scheduler, pod_objects, taint_eviction
from fakekubelet.cluster.life import Life
from fakekubelet.kubelet import kubelet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fakekubelet import clock as fakekubelet_clock
    from fakekubelet.cluster.pod_objects import Object

T = TypeVar("T")
SCHEDULER: Final = "default-scheduler"
"""Whose pods are scheduled; those of others wait until somebody binds them."""


class DraNode:
    """One node and the places that its driver needs to know."""

    def __init__(
        self, root: Path, name: str, api: server.ApiServer, release: str, time_source: fakekubelet_clock.Clock | None
    ) -> None:
        self.name = name
        self.plugins_registry = root / "reg"
        self.state_dir = root / "state"
        self.cdi_dir = root / "cdi"
        self.plugin_dir = root / "device-plugins"
        self.kubelet = kubelet.FakeKubelet(
            self.plugin_dir,
            node_name=name,
            plugins_registry=self.plugins_registry,
            mode=release,
            node_status_period_s=None,
            clock=time_source,
            api=api,
            cdi_dirs=[self.cdi_dir],
        )


class DraCluster(Life):
    """Nodes and pods, as an async context manager."""

    def __init__(
        self,
        node_names: Sequence[str] = ("kind-worker", "kind-worker2"),
        *,
        release: str = "1.36",
        clock: fakekubelet_clock.Clock | None = None,
    ) -> None:
        """Describe one; *clock* is that of its kubelets, and of what tries again."""
        super().__init__()
        self.api = server.ApiServer(release)
        self.nodes: dict[str, DraNode] = {}
        self._node_names = tuple(node_names)
        self._release = release
        self._clock = clock
        self._objects = pod_objects.PodObjects(self.api)
        self._runs: dict[str, dra_pod_run.DraPodRun] = {}
        """By pod, also of those that have gone: what they have printed can still be read."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()

    @property
    def events(self) -> Mapping[str, list[str]]:
        """Return the messages of each pod's events, without repetitions in a row."""
        return self._objects.events

    def apply(self, manifest: str | Path) -> None:
        """Create the objects of a YAML text or file: pods, claims, templates, classes."""
        text = manifest.read_text() if isinstance(manifest, Path) else manifest
        for document in yaml.safe_load_all(text):
            if document is not None:
                self.api.create(document)

    def delete(self, name: str) -> None:
        """Delete a pod; it goes when its processes have ended and its claims are unprepared."""
        self.api.delete("pods", name)

    def pod(self, name: str) -> Object | None:
        """Return a pod, if it is there."""
        return self.api.find("pods", name)

    def phase(self, name: str) -> str:
        """Return a pod's phase; "" if it is not there."""
        pod = self.pod(name)
        return "" if pod is None else str(pod["status"]["phase"])

    def logs(self, name: str) -> str:
        """Return what a pod has printed."""
        return self._runs[name].output if name in self._runs else ""

    async def wait_for(self, predicate: Callable[[], T], *, timeout: float = 10.0) -> T:
        """Return the first true value of *predicate*, evaluated at every change; TimeoutError after *timeout*."""
        return await self.api.wait_for(predicate, timeout=timeout)

    async def _bring_up(self, root: Path, life: contextlib.AsyncExitStack) -> None:
        await life.enter_async_context(self.api)
        self.kubeconfig = root / "kubeconfig"
        self.api.write_kubeconfig(self.kubeconfig)
        for number, name in enumerate(self._node_names):
            self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
            node = self.nodes[name] = DraNode(root / str(number), name, self.api, self._release, self._clock)
            for directory in (node.cdi_dir, node.state_dir, node.plugins_registry):
                directory.mkdir(parents=True)
            await life.enter_async_context(node.kubelet)
            node.kubelet.changes.subscribe(self.api.changes.ring)
        self.api.changes.subscribe(self._stale.set)

    async def _look(self) -> None:
        for pod in self.api.all("pods"):
            if pod["metadata"].get("deletionTimestamp"):
                continue
            if pod["spec"].get("nodeName"):
                taint_eviction.evict(self._objects, pod)
            elif pod["spec"].get("schedulerName") == SCHEDULER:
                dra_scheduler.schedule(self._objects, pod, self.nodes)
        for pod in self.api.all("pods"):
            name = pod["metadata"]["name"]
            if pod["spec"].get("nodeName") in self.nodes and name not in self._tasks:
                self._tasks[name] = asyncio.create_task(self._run(pod), name=f"pod {name}")

    async def _run(self, pod: Object) -> None:
        name, node = pod["metadata"]["name"], self.nodes[pod["spec"]["nodeName"]]
        self._runs[name] = dra_pod_run.DraPodRun(
            node.kubelet, self._objects, pod, guard=self._guard, closing=self._closing
        )
        try:
            await self._runs[name].run()
        finally:
            del self._tasks[name]

    async def _end_pods(self) -> None:
        tasks = list(self._tasks.values())
        self._closing.set()
        for pod in self.api.all("pods"):
            with contextlib.suppress(Exception):
                self.api.delete("pods", pod["metadata"]["name"], pod["metadata"]["namespace"], grace_s=1)
        done, late = await asyncio.wait(tasks, timeout=5) if tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*done, *late, return_exceptions=True)
