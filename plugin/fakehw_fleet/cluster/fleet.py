"""All nodes of a fleet that has joined a cluster, put together.

Nothing is done where something happens: what has changed is put into a queue by name, and whoever works on it compares
what the cluster has with what the node has, and brings the two together. So a server that is away, slow or busy loses
nothing; when it is back there is one thing to do for each node and pod, however much happened.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fakehw import FakeTree
from fakehw_fleet.cluster import foreign, leaving, objects, orders
from fakehw_fleet.cluster.counted import CountedClient
from fakehw_fleet.cluster.dra import Drivers, KubeletView
from fakehw_fleet.cluster.events import Events
from fakehw_fleet.cluster.grumbles import Grumbles
from fakehw_fleet.cluster.kubelets import Kubelets
from fakehw_fleet.cluster.leases import CONNECTIONS, TIMEOUT_S, Leases
from fakehw_fleet.cluster.looking import Looking
from fakehw_fleet.cluster.node import State
from fakehw_fleet.cluster.node_sync import NodeSync
from fakehw_fleet.cluster.part import WHOLE, Part
from fakehw_fleet.cluster.pod_sync import PodSync
from fakehw_fleet.cluster.processes import PODS, Processes
from fakehw_fleet.cluster.report import Report
from fakehw_fleet.cluster.sight import Sight
from fakehw_fleet.cluster.slices import Slices
from fakehw_fleet.cluster.tasks import Tasks
from fakehw_fleet.cluster.work import WorkQueue
from fakehw_fleet.members import members_of, owners, served_by_dra
from fakehw_fleet.metrics import Counts, counts_of
from fakehw_fleet.plugins import Plugins
from fakehw_fleet.summary import Summary, summarize
from fakekubelet.cluster.guard import Guard
from kubeapi import errors
from kubeapi.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

    from fakehw.spec.topology import Topology
    from fakehw_fleet.cluster.node import FleetNode
    from fakehw_fleet.cluster.options import Options
    from fakehw_fleet.cluster.pods import PodKey
    from kubeapi.access import Access
    from kubeapi.resources import Object

Key = TypeVar("Key")

_NODE_WORKERS: Final = 8
_POD_WORKERS: Final = 16
"""Apart from nodes: a thousand pods that wait for a slow server must not keep a node from saying that it is well."""


class ClusterFleet:
    """Builds the tree at `root`, and has its nodes join the cluster of `access` while it is entered.

    `state` is where kubelets have their sockets and checkpoints: with the same one again, pods keep their devices.
    `lock` is the descriptor of its lock, which is held until the last process of a pod has ended. What is a `part` of
    a fleet finds the tree built, and leaves Nodes and leases to whoever has the whole.
    """

    def __init__(
        self,
        topology: Topology,
        root: Path,
        state: Path,
        access: Access,
        *,
        domain: str,
        options: Options,
        tell: Callable[[str], None],
        lock: int | None = None,
        part: Part = WHOLE,
    ) -> None:
        self.members = part.of(members_of(topology))
        self.root = root
        self.options = options
        self.nodes: dict[str, FleetNode] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        """What the API server was asked for, by verb and resource."""
        self.has_left = False
        """Whether nothing of the fleet is left in the cluster."""
        self._topology = topology
        self._part = part
        self._tell = tell
        self._grumbles = grumbles = Grumbles(tell)
        credentials = Credentials(access)
        self._client = CountedClient(
            access, counts=self.requests, credentials=credentials, connections=_NODE_WORKERS + _POD_WORKERS
        )
        self._lane = CountedClient(
            access, counts=self.requests, credentials=credentials,
            connections=CONNECTIONS, timeout_s=TIMEOUT_S, retry_for_s=0.0,
        )  # fmt: skip  # the server's, then ours
        self._working, self._watching = Tasks(), Tasks()
        self._leases = Leases(self._lane, self._working.group, on_late=self._heal, on_error=grumbles.hear)
        self._node_work: WorkQueue[str] = self._work(lambda name: self._node_sync.bring(name), _NODE_WORKERS)
        self._pod_work: WorkQueue[PodKey] = self._work(lambda key: self._pod_sync.bring(key), _POD_WORKERS)
        self._sight = Sight(
            self._client, options.name, {member.name for member in self.members}, runs=options.runs,
            on_node=self._note_node, on_pod=self._pod_work.add, on_error=grumbles.hear,
        )  # fmt: skip  # what is to be seen, then who hears
        self._node_sync = NodeSync(
            self._client, self.nodes, self._leases, options,
            again=self._node_work.add_later, on_joined=self._note_joined, tell=tell,
        )  # fmt: skip  # what it works with, then who hears
        self._guard = Guard(keep_open=[] if lock is None else [lock])
        self._processes = Processes(state / PODS, self._guard, again=self._pod_work.add) if options.runs else None
        self._pod_sync = PodSync(
            self._client, self.nodes, self._sight, Events(self._client, on_error=grumbles.hear), self._processes,
            again=self._pod_work.add_later,
        )  # fmt: skip  # what it works with, then who hears
        names = {member.name for member in self.members}
        self._slices = Slices(self._watching.group, names)
        self._drivers = Drivers(self._client, self._slices, state, root) if served_by_dra(topology) else None
        self.plugins = Plugins(root, owners(self.members), domain=domain, drivers=self._drivers)
        self._looking = Looking(
            self.nodes,
            at_once=options.status_every_s is None,
            on_node=self._note_changed,
            on_due=self._node_work.add,
            on_pod=self._pod_work.add,
        )
        view = KubeletView(self._client, uids_on=self._sight.uids_on) if self._drivers is not None else None
        self._kubelets = Kubelets(self.nodes, state, options, view=view)
        self._is_leaving = False
        self._life = contextlib.AsyncExitStack()

    # Its life.

    async def __aenter__(self) -> ClusterFleet:
        async with contextlib.AsyncExitStack() as life:
            await life.enter_async_context(self._client)
            await life.enter_async_context(self._lane)
            if self._part.is_whole:
                await foreign.refuse(self._client, self.members, fleet=self.options.name, on_error=self._grumbles.hear)
                await asyncio.to_thread(FakeTree(self.root, tell=self._tell).build, self._topology)
            await life.enter_async_context(self._watching)
            for watch in self._sight.runs:
                self._watching.start(watch, "watch")
            life.callback(self._slices.stop)
            await self._sight.is_whole()
            life.push_async_callback(self._kubelets.stop)
            await self._kubelets.start(self.members, self._sight, self._pod_sync, on_change=self._looking.touch)
            await life.enter_async_context(self.plugins)
            for one in self.nodes.values():
                one.plugin = self.plugins.add(one.member, one.kubelet.plugin_dir, one.kubelet.pod_resources_socket)
            self.plugins.start()
            life.push_async_callback(self._leave)
            if self._processes is not None:
                self._processes.keep_only(found for _, found in self._sight.pods_of_nodes())
                await life.enter_async_context(self._guard)
                life.push_async_callback(self._pod_sync.end_processes)
            await life.enter_async_context(self._working)
            life.callback(self._leases.drop_all)
            self._working.start(self._node_work.run(), "nodes")
            self._working.start(self._pod_work.run(), "pods")
            self._working.start(self._looking.look(), "look")
            self._working.start(self._looking.trim(), "trim")
            for name in self.nodes:
                self._node_work.add(name)
            self._life = life.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._is_leaving = True
        await self._life.__aexit__(kind, error, tb)

    async def _leave(self) -> None:
        """Take Nodes and leases along, unless they are to stay."""
        if self._part.is_whole and not self.options.keeps:
            uids = {name: one.found["metadata"]["uid"] for name, one in self.nodes.items() if one.found is not None}
            self.has_left = await leaving.leave(self._client, uids, on_error=self._grumbles.hear, tell=self._tell)

    # What it is told to do.

    async def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; FakehwError says why not."""
        return await orders.Orders(self).answer(order)

    async def restart(self, name: str) -> None:
        """Restart the kubelet of a node; its pods run on."""
        await self.nodes[name].kubelet.restart()
        self._add_pods(name)

    def silence(self, name: str) -> None:
        """Have a node tell the cluster nothing any more; it runs on."""
        one = self.nodes[name]
        if one.state is State.UP:
            one.state = State.SILENT
            self._leases.drop(name)

    def speak(self, name: str) -> None:
        """Have a node that was silent tell everything again."""
        one = self.nodes[name]
        if one.state is State.SILENT and one.found is not None:
            one.state = State.UP
            one.must_post = True
            self._leases.keep(name, one.found["metadata"]["uid"])
            self._node_work.add(name)
            self._add_pods(name)

    # What it looks like.

    @property
    def ready(self) -> int:
        """Count the nodes that the cluster takes for ready, with all their devices."""
        return sum(
            one.state is State.UP
            and one.is_posted
            and objects.is_ready(one.found or {})
            and one.is_plugin_ready
            and one.is_published
            for one in self.nodes.values()
        )

    @property
    def counts(self) -> Counts:
        """Return what its plugins have counted."""
        return counts_of(self.plugins.counts)

    def summary(self) -> Summary:
        """Return it in numbers."""
        return self.report().whole_summary

    def report(self) -> Report:
        """Return all that is told of it."""
        kubelets = {name: one.kubelet for name, one in self.nodes.items()}
        phases = [record.admitted.phase.value for one in self.nodes.values() for record in one.pods.values()]
        return Report(
            summarize(kubelets, ready=self.ready, pods=phases),
            Counter(one.state.value for one in self.nodes.values()),
            len(self._node_work) + len(self._pod_work),
            self.requests,
            self.counts,
        )

    # What happens.

    def _note_node(self, name: str, found: Object | None) -> None:
        if (one := self.nodes.get(name)) is not None:
            one.found = found
            self._node_work.add(name)

    def _note_changed(self, name: str) -> None:
        self._node_work.add(name, first=True)

    def _heal(self, name: str) -> None:
        self.nodes[name].must_post = True
        self._node_work.add(name)

    def _note_joined(self, name: str) -> None:
        if self._drivers is not None:
            self._drivers.joined(name)
        self._add_pods(name)

    def _add_pods(self, name: str) -> None:
        for key in self._sight.pods_on(name):
            self._pod_work.add(key)

    def _work(self, do: Callable[[Key], Awaitable[None]], workers: int) -> WorkQueue[Key]:
        async def do_unless_leaving(key: Key) -> None:
            if not self._is_leaving:
                await do(key)

        return WorkQueue(
            do_unless_leaving,
            workers=workers,
            errors=(errors.ApiError,),
            on_error=lambda _, error: self._grumbles.hear(error),
        )
