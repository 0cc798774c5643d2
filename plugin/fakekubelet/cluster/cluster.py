"""A small cluster on one machine: nodes with a fake kubelet each, a scheduler's queue, pods as local processes.

It plays pod manifests that a real cluster plays too. It is no scheduler product and no container runtime: what is
missing is listed in docs/fake-kubelet.md. Everything is event-driven; the queue is looked at when a Node object
changes, a pod goes, or one comes.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, TypeVar

from fakekubelet import changes, clock, pod
from fakekubelet.cluster import pod_run, process, scheduler
from fakekubelet.cluster.life import Life
from fakekubelet.kubelet import kubelet, pod_status
from fakekubelet.kubelet.mode import Mode

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")


class NoSuchPodError(KeyError):
    """The cluster has no pod of that name."""

    def __str__(self) -> str:
        return str(self.args[0])


class ClusterPod:
    """A pod of the cluster, from apply to delete."""

    def __init__(self, spec: pod.Pod) -> None:
        self.spec = spec
        self.node: str | None = None
        self.admitted: pod_status.AdmittedPod | None = None
        self.events: list[tuple[str, str, str]] = []
        """`(type, reason, message)`, without repetitions in a row."""
        self.run: pod_run.PodRun | None = None
        self.printed: dict[str, process.Printed] = {}
        """What its containers have printed."""

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
        if self.node is not None:
            return f"waits for the kubelet of {self.node}, which this cluster has not"  # as on a real one, for ever
        return self.events[-1][2] if self.events else ""

    def note(self, kind: str, reason: str, message: str) -> None:
        """Add an event."""
        if not self.events or self.events[-1] != (kind, reason, message):
            self.events.append((kind, reason, message))


class LocalCluster(Life):
    """Nodes, pods and a queue, as an async context manager."""

    def __init__(
        self,
        node_names: Sequence[str] = ("kind-worker", "kind-worker2"),
        *,
        control_plane: str | None = None,
        node_status_period_s: float | None = None,
        time_source: clock.Clock | None = None,
        mode: Mode | str = Mode.V1_36,
        seed: int = 0,
    ) -> None:
        """Describe a cluster; *control_plane* names a node that is tainted and has no kubelet here.

        With *node_status_period_s* None a Node object follows its kubelet at once; a real one takes up to 10.4 s
        (NS-5).
        """
        super().__init__()
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
        self._stale_nodes: set[str] = set()
        """Where something happened since the last look: of a thousand nodes the next is at those."""
        self._scheduling = asyncio.Lock()

    async def apply(self, manifest: str | Path) -> list[ClusterPod]:
        """Create the pods of a YAML text or file, those that are there already excepted, and try to schedule them.

        Raise PodSpecError if any of them cannot be played; then none is created.
        """
        specs = pod.read(manifest)
        for spec in specs:  # all of them before any is created
            pod_run.check(spec)
        found = [self.pods.setdefault(spec.name, ClusterPod(spec)) for spec in specs]
        await self._schedule()
        return found

    async def delete(self, name: str) -> None:
        """End a pod's processes and let others have what it holds; raise NoSuchPodError for an unknown one."""
        async with self._scheduling:  # not in the middle of its admission
            target = self._pod(name)
        if target.run is not None:
            await target.run.stop(target.spec.grace_period_s)
        async with self._scheduling:
            if target.node in self.nodes:
                await self.nodes[target.node].remove(target.spec)
            self.pods.pop(name, None)
        self._changes.ring()
        await self._schedule()

    def logs(self, name: str, container: str | None = None) -> str:
        """Return what a pod's container has printed so far, over restarts too; by default the first one.

        Raise NoSuchPodError for an unknown pod.
        """
        target = self._pod(name)
        printed = target.printed.get(container or target.spec.containers[0].name)
        return "" if printed is None else printed.text

    def describe(self, name: str) -> str:
        """Return a pod's state and events, as `kubectl describe` would in short; raise NoSuchPodError."""
        target = self._pod(name)
        lines = [
            f"Name:       {target.name}",
            f"Namespace:  {target.spec.namespace}",
            f"Node:       {target.node or '<none>'}",
            f"Status:     {target.phase}",
        ]
        if target.admitted is not None and target.admitted.reason:
            lines += [f"Reason:     {target.admitted.reason}", f"Message:    {target.admitted.message}"]
        lines.append("Events:")
        lines += [f"  {kind:<8} {reason:<24} {message}" for kind, reason, message in target.events] or ["  <none>"]
        return "\n".join(lines)

    async def wait_for(self, predicate: Callable[[], T], *, timeout: float = 5.0) -> T:
        """Return the first true value of *predicate*, evaluated at every change of a node or pod; see FakeKubelet."""
        return await self._changes.wait_for(predicate, timeout_s=timeout, describe=self._describe_all)

    def _describe_all(self) -> str:
        parts = [node.describe() for node in self.nodes.values()] + [self.describe(name) for name in self.pods]
        return "\n".join(parts)

    def _node_changed(self, name: str) -> None:
        self._stale_nodes.add(name)
        self._stale.set()
        self._changes.ring()

    async def _bring_up(self, root: Path, life: contextlib.AsyncExitStack) -> None:
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
            node.changes.subscribe(functools.partial(self._node_changed, name))

    async def _look(self) -> None:
        """Bring Node objects up to date where nobody ticks, then look at the queue."""
        stale, self._stale_nodes = self._stale_nodes, set()
        for node in [self.nodes[name] for name in self.nodes if name in stale]:
            if self._period_s is None and node.is_up and not node.is_node_status_current:
                await node.tick()
        await self._schedule()

    async def _schedule(self) -> None:
        """Try every pod that has no node, in the order of arrival."""
        async with self._scheduling:
            for waiting in list(self.pods.values()):
                if waiting.node is None and self.pods.get(waiting.name) is waiting:
                    await self._try(waiting)

    async def _try(self, new: ClusterPod) -> None:
        try:
            target = new.spec.node_name or scheduler.place(new.spec.requests(), self._view())
        except scheduler.UnschedulableError as error:
            new.note("Warning", "FailedScheduling", str(error))
            self._changes.ring()
            return
        new.node = target
        if new.spec.node_name is None:
            text = f"Successfully assigned {new.spec.namespace}/{new.name} to {target}"
            new.note("Normal", "Scheduled", text)
        node = self.nodes.get(target)
        if node is not None:
            await self._admit(new, node)
        self._changes.ring()

    async def _admit(self, new: ClusterPod, node: kubelet.FakeKubelet) -> None:
        new.admitted = await node.admit(new.spec)
        if new.admitted.is_active:
            containers = (*new.spec.init_containers, *new.spec.containers)
            new.printed = {container.name: process.Printed(self._changes.ring) for container in containers}
            new.run = pod_run.PodRun(
                node,
                new.admitted,
                outputs={name: printed.add for name, printed in new.printed.items()},
                ring=self._changes.ring,
                note=new.note,
                time_source=self._clock,
                guard=self._guard,
            )
            new.run.start()
        else:
            new.note("Warning", new.admitted.reason, new.admitted.message.removeprefix("Pod was rejected: "))

    def _pod(self, name: str) -> ClusterPod:
        try:
            return self.pods[name]
        except KeyError:
            raise NoSuchPodError(f'pods "{name}" not found') from None

    def _view(self) -> list[scheduler.Node]:
        view = []
        for name, node in self.nodes.items():
            assigned = [known for known in self.pods.values() if known.node == name and known.phase in _HOLDING]
            requested = scheduler.total(known.spec.requests() for known in assigned)
            view.append(scheduler.Node(name, node.node_status.allocatable, requested, len(assigned)))
        if self._control_plane is not None:
            view.append(scheduler.Node(self._control_plane, {}, is_tainted=True))
        return view

    async def _end_pods(self) -> None:
        runs = [known.run for known in self.pods.values() if known.run is not None]
        await asyncio.gather(*(run.stop(_EXIT_GRACE_S) for run in runs))


_HOLDING = (pod_status.Phase.PENDING, pod_status.Phase.RUNNING)
"""Phases in which the scheduler counts a pod's requests."""

_EXIT_GRACE_S = 1.0
"""How long pods get to end when the whole cluster ends."""
