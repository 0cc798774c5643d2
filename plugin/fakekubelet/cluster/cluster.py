"""A small cluster on one machine: nodes with a fake kubelet each, a scheduler's queue, pods as local processes.

It plays pod manifests that a real cluster plays too. It is no scheduler product and no container runtime: what is
missing is listed in docs/fake-kubelet.md. Everything is event-driven; the queue is looked at when a Node object
changes, a pod goes, or one comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from fakekubelet import changes, clock, pod
from fakekubelet.cluster import pod_run, scheduler
from fakekubelet.kubelet import kubelet, pod_status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

T = TypeVar("T")


class ClusterPod:
    """A pod of the cluster, from apply to delete."""

    def __init__(self, spec: pod.Pod) -> None:
        self.spec = spec
        self.node: str | None = None
        self.admitted: pod_status.AdmittedPod | None = None
        self.events: list[tuple[str, str, str]] = []
        """`(type, reason, message)`, without repetitions in a row."""
        self.run: pod_run.PodRun | None = None

    @property
    def name(self) -> str:
        """The pod's name."""
        return self.spec.name

    @property
    def phase(self) -> pod_status.Phase:
        """`status.phase`; Pending until a node has it."""
        return pod_status.Phase.PENDING if self.admitted is None else self.admitted.phase

    @property
    def message(self) -> str:
        """Why the pod is not running: the last scheduling message, or why its node refused it."""
        if self.admitted is not None:
            return self.admitted.message
        return self.events[-1][2] if self.events else ""

    def note(self, kind: str, reason: str, message: str) -> None:
        """Add an event."""
        if not self.events or self.events[-1] != (kind, reason, message):
            self.events.append((kind, reason, message))


class LocalCluster:
    """Nodes, pods and a queue, as an async context manager."""

    def __init__(
        self,
        node_names: Sequence[str] = ("kind-worker", "kind-worker2"),
        *,
        control_plane: str | None = None,
        node_status_period_s: float | None = None,
        time_source: clock.Clock | None = None,
        mode: kubelet.Mode | str = kubelet.Mode.V1_36,
        seed: int = 0,
    ) -> None:
        """Describe a cluster; *control_plane* names a node that is tainted and has no kubelet here.

        With *node_status_period_s* None a Node object follows its kubelet at once; a real one takes up to 10.4 s
        (NS-5).
        """
        self.nodes: dict[str, kubelet.FakeKubelet] = {}
        """The kubelets by node name, once the context is entered."""
        self.pods: dict[str, ClusterPod] = {}
        """Pods by name."""
        self._node_names = tuple(node_names)
        self._control_plane = control_plane
        self._period_s = node_status_period_s
        self._clock = time_source if time_source is not None else clock.RealClock()
        self._mode = mode
        self._seed = seed
        self._changes = changes.Changes()
        self._stale = asyncio.Event()
        self._scheduling = asyncio.Lock()
        self._life = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as life:
            # Under /tmp, because a socket's path has 107 bytes at most (contract PATH-4).
            short = tempfile.TemporaryDirectory(prefix="fk-", dir="/tmp")
            root = Path(life.enter_context(short))
            for number, name in enumerate(self._node_names):
                node = kubelet.FakeKubelet(
                    root / str(number) / "dp",
                    node_name=name,
                    pod_resources_socket=root / str(number) / "pr" / "kubelet.sock",
                    clock=self._clock,
                    mode=self._mode,
                    seed=self._seed + number,
                    node_status_period_s=self._period_s,
                )
                self.nodes[name] = await life.enter_async_context(node)
                node.changes.subscribe(self._node_changed)
            task = asyncio.create_task(self._follow(), name="cluster")
            life.push_async_callback(_cancel_and_wait, task)
            life.push_async_callback(self._stop_pods)
            self._life = life.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._life.aclose()

    async def apply(self, manifest: str | Path) -> list[ClusterPod]:
        """Create the pods of a YAML text or file, those that are there already excepted, and try to schedule them."""
        text = manifest.read_text() if isinstance(manifest, Path) else manifest
        found = []
        for spec in pod.parse(text):
            pod_run.check(spec)
            found.append(self.pods.setdefault(spec.name, ClusterPod(spec)))
        await self._schedule()
        return found

    async def delete(self, name: str) -> None:
        """End a pod's processes, free what it holds, and let others have it; raise KeyError for an unknown one."""
        async with self._scheduling:  # not in the middle of its admission
            one = self.pods[name]
        if one.run is not None:
            await one.run.stop(one.spec.grace_period_s)
        async with self._scheduling:
            if one.node is not None:
                await self.nodes[one.node].remove(one.spec)
            self.pods.pop(name, None)
        self._changes.ring()
        await self._schedule()

    def logs(self, name: str, container: str | None = None) -> str:
        """Return what a pod's container has printed so far, over restarts too; by default the first one."""
        one = self.pods[name]
        return "" if one.run is None else one.run.logs(container or one.spec.containers[0].name)

    def describe(self, name: str) -> str:
        """Return a pod's state and events, as `kubectl describe` would in short."""
        one = self.pods[name]
        lines = [
            f"Name:       {one.name}",
            f"Namespace:  {one.spec.namespace}",
            f"Node:       {one.node or '<none>'}",
            f"Status:     {one.phase}",
        ]
        if one.admitted is not None and one.admitted.reason:
            lines += [f"Reason:     {one.admitted.reason}", f"Message:    {one.admitted.message}"]
        lines.append("Events:")
        lines += [f"  {kind:<8} {reason:<24} {message}" for kind, reason, message in one.events] or ["  <none>"]
        return "\n".join(lines)

    async def wait_for(self, predicate: Callable[[], T], *, timeout: float = 5.0) -> T:
        """Return the first true value of *predicate*, evaluated at every change of a node or pod; see FakeKubelet."""
        return await self._changes.wait_for(predicate, timeout_s=timeout, describe=self._describe_all)

    def _describe_all(self) -> str:
        parts = [node.describe() for node in self.nodes.values()] + [self.describe(name) for name in self.pods]
        return "\n".join(parts)

    def _node_changed(self) -> None:
        self._stale.set()
        self._changes.ring()

    async def _follow(self) -> None:
        """Bring Node objects up to date where nobody ticks, then look at the queue; wait for the next change."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            for node in self.nodes.values():
                if self._period_s is None and node.is_up and not node.is_node_status_current:
                    await node.tick()
            await self._schedule()

    async def _schedule(self) -> None:
        """Try every pod that has no node, in the order of arrival."""
        async with self._scheduling:
            for one in list(self.pods.values()):
                if one.node is None and self.pods.get(one.name) is one:
                    await self._try(one)

    async def _try(self, one: ClusterPod) -> None:
        try:
            target = one.spec.node_name or scheduler.place(one.spec.requests(), self._view())
        except scheduler.UnschedulableError as error:
            one.note("Warning", "FailedScheduling", str(error))
            self._changes.ring()
            return
        one.node = target
        if one.spec.node_name is None:
            text = f"Successfully assigned {one.spec.namespace}/{one.name} to {target}"
            one.note("Normal", "Scheduled", text)
        node = self.nodes[target]
        one.admitted = await node.admit(one.spec)
        if one.admitted.is_active:
            one.run = pod_run.PodRun(node, one.admitted, ring=self._changes.ring, time_source=self._clock)
            one.run.start()
        else:
            one.note("Warning", one.admitted.reason, one.admitted.message.removeprefix("Pod was rejected: "))
        self._changes.ring()

    def _view(self) -> list[scheduler.Node]:
        view = []
        for name, node in self.nodes.items():
            assigned = [one for one in self.pods.values() if one.node == name and one.phase in _HOLDING]
            requested = scheduler.total(one.spec.requests() for one in assigned)
            view.append(scheduler.Node(name, node.node_status.allocatable, requested, len(assigned)))
        if self._control_plane is not None:
            view.append(scheduler.Node(self._control_plane, {}, is_tainted=True))
        return view

    async def _stop_pods(self) -> None:
        runs = [one.run for one in self.pods.values() if one.run is not None]
        await asyncio.gather(*(run.stop(_EXIT_GRACE_S) for run in runs))


_HOLDING = (pod_status.Phase.PENDING, pod_status.Phase.RUNNING)
"""Phases in which the scheduler counts a pod's requests."""

_EXIT_GRACE_S = 1.0
"""How long pods get to end when the whole cluster ends."""


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
