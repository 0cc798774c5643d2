"""All nodes of a fleet that has joined a cluster, and the two watches that feed them.

Nothing is done where something happens: what has changed is put into a queue by name, and whoever works on it compares
what the cluster has with what the node has, and brings the two together. So a server that is away, slow or busy loses
nothing; when it is back there is one thing to do for each node and pod, however much happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fakehw import FakeTree
from fakehw.errors import FakehwError
from fakehw_fleet.cluster import leaving, node, objects, pods
from fakehw_fleet.cluster.counted import CountedClient
from fakehw_fleet.cluster.grumbles import Grumbles
from fakehw_fleet.cluster.leases import CONNECTIONS, TIMEOUT_S, Leases
from fakehw_fleet.cluster.node import FleetNode, PodRecord, State
from fakehw_fleet.cluster.work import WorkQueue
from fakehw_fleet.members import members_of, owners
from fakehw_fleet.plugins import Plugins
from fakehw_fleet.summary import Summary, summarize
from fakekubelet import FakeKubelet
from kubeapi import errors
from kubeapi.client import Patch
from kubeapi.credentials import Credentials
from kubeapi.follow import Event, EventType, Follow
from kubeapi.resources import NODES, PODS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType

    from fakehw.spec.topology import Topology
    from fakehw_fleet.members import Member
    from kubeapi.access import Access
    from kubeapi.resources import Object

Key = TypeVar("Key")
PodKey = tuple[str, str]
"""Namespace and name."""

STATUS_EVERY_S: Final = 10.0
REPORT_EVERY_S: Final = 300.0
"""A status is told so often though nothing has changed, as kubelets do (nodeStatusReportFrequency)."""

LEAVE_WITHIN_S: Final = 60.0
"""How long a server may take to let all nodes go."""

_NODE_WORKERS: Final = 8
_POD_WORKERS: Final = 16
"""Apart from nodes: a thousand pods that wait for a slow server must not keep a node from saying that it is well."""

_STARTS: Final = 32
"""Kubelets that start at once."""
_LOOK_S: Final = 0.02
"""Between two looks at kubelets in which something happened."""
_TRIM_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a fleet behaves towards its cluster."""

    name: str = "fakehw"
    """The fleet's: what its Nodes are labelled with."""
    status_every_s: float | None = STATUS_EVERY_S
    """A node tells what changed so often, as a kubelet does; None: at once."""
    keeps: bool = False
    """Leave Nodes and leases when the fleet ends, for the next one."""
    has_taint: bool = True
    kubelet_version: str = "v1.36.0-fakehw"


class ClusterFleet:
    """Builds the tree at `root`, and has its nodes join the cluster of `access` while it is entered.

    `state` is where kubelets have their sockets and checkpoints: with the same one again, pods keep their devices.
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
    ) -> None:
        self.members = members_of(topology)
        self.root = root
        self.options = options
        self.plugins = Plugins(root, owners(self.members), domain=domain)
        self.nodes: dict[str, FleetNode] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        """What the API server was asked for, by verb and resource."""
        self.has_left = False
        """Whether nothing of the fleet is left in the cluster."""
        self._names = {member.name for member in self.members}
        self._topology = topology
        self._state = state
        self._tell = tell
        self._grumbles = Grumbles(tell)
        credentials = Credentials(access)
        self._client = CountedClient(
            access, counts=self.requests, credentials=credentials, connections=_NODE_WORKERS + _POD_WORKERS
        )
        self._lane = CountedClient(
            access, counts=self.requests, credentials=credentials,
            connections=CONNECTIONS, timeout_s=TIMEOUT_S, retry_for_s=0.0,
        )  # fmt: skip  # the server's, then ours
        self._pods = Follow(
            self._client, PODS, field_selector="spec.nodeName!=", keep=self._keep_pod,
            on_event=self._pod_event, on_error=self._grumbles.hear,
        )  # fmt: skip  # what, then who hears
        self._found_nodes = Follow(
            self._client, NODES, label_selector=f"{objects.FLEET_LABEL}={options.name}", keep=kept_node,
            on_event=self._node_event, on_error=self._grumbles.hear,
        )  # fmt: skip  # likewise
        self._node_work = self._work(self._bring_node_named, _NODE_WORKERS)
        self._pod_work = self._work(self._bring_pod, _POD_WORKERS)
        self._holders: dict[tuple[str, str], tuple[str, ...]] = {}
        """Which of our nodes a pod was last seen on, by namespace and name."""
        self._touched: set[str] = set()
        self._has_touched = asyncio.Event()
        self._synced: dict[str, asyncio.Event] = {"pods": asyncio.Event(), "nodes": asyncio.Event()}
        self._is_leaving = False
        self._life = contextlib.AsyncExitStack()
        self._leases: Leases | None = None

    # Its life.

    async def __aenter__(self) -> ClusterFleet:
        async with contextlib.AsyncExitStack() as life:
            await life.enter_async_context(self._client)
            await life.enter_async_context(self._lane)
            await self._patiently(self._refuse_foreign_nodes)
            await asyncio.to_thread(FakeTree(self.root, tell=self._tell).build, self._topology)
            watching = await life.enter_async_context(_Tasks())
            for follow in (self._pods, self._found_nodes):
                watching.start(follow.run(), "watch")
            await asyncio.gather(*(event.wait() for event in self._synced.values()))
            life.push_async_callback(self._stop_kubelets)
            await self._start_kubelets()
            await life.enter_async_context(self.plugins)
            for one in self.nodes.values():
                one.plugin = self.plugins.add(one.member, one.kubelet.plugin_dir, one.kubelet.pod_resources_socket)
            self.plugins.start()
            life.push_async_callback(self._leave)
            working = await life.enter_async_context(_Tasks())
            leases = self._leases = Leases(self._lane, working.group, on_late=self._heal, on_error=self._grumbles.hear)
            life.callback(leases.drop_all)
            working.start(self._node_work.run(), "nodes")
            working.start(self._pod_work.run(), "pods")
            working.start(self._look(), "look")
            working.start(self._trim(), "trim")
            for name in self.nodes:
                self._node_work.add(name)
            self._life = life.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._is_leaving = True
        await self._life.__aexit__(kind, error, tb)

    async def _patiently(self, do: Callable[[], Any]) -> None:
        """Do something that needs the server, however long it is away."""
        while True:
            try:
                await do()
                return
            except errors.UnavailableError as error:
                self._grumbles.hear(error)
                await asyncio.sleep(1.0)

    async def _refuse_foreign_nodes(self) -> None:
        """Touch no node that another has made."""
        found = {one["metadata"]["name"]: one for one in (await self._client.list(NODES)).get("items") or []}
        lines = []
        for member in self.members:
            labels = (found.get(member.name, {}).get("metadata") or {}).get("labels") or {}
            if member.name in found and labels.get(objects.FLEET_LABEL) != self.options.name:
                owner = labels.get(objects.FLEET_LABEL)
                whose = f"of the fleet {owner!r}" if owner else "that no fleet made"
                lines.append(f"{member.name}: there is a node of this name {whose}: it is left alone (SPEC, --name)")
        if lines:
            raise FakehwError(*lines[:20])

    async def _start_kubelets(self) -> None:
        running: dict[str, list[Object]] = {}
        for found in self._pods.objects.values():
            if found["spec"]["nodeName"] and pods.is_started(found):
                running.setdefault(found["spec"]["nodeName"], []).append(found)
        gate = asyncio.Semaphore(_STARTS)

        async def start(member: Member) -> None:
            one = self.nodes[member.name] = FleetNode(member, self._kubelet(member))
            one.found = self._found_nodes.objects.get(("", member.name))
            for found in running.get(member.name, []):
                with contextlib.suppress(ValueError):
                    admitted = one.kubelet.restore(pods.read(found))
                    one.pods[_key(found)] = PodRecord(found["metadata"]["uid"], admitted)
                    self._holders[_key(found)] = (member.name,)
            async with gate:
                one.kubelet.plugin_dir.mkdir(parents=True, exist_ok=True)
                await one.kubelet.start()
            for found in running.get(member.name, []):
                record = one.pods.get(_key(found))
                if record is not None and pods.says_the_same(found, record.admitted):
                    record.posted = self._said(one, record)
            one.kubelet.changes.subscribe(lambda: self._touch(member.name))

        await asyncio.gather(*(start(member) for member in self.members))

    def _kubelet(self, member: Member) -> FakeKubelet:
        return FakeKubelet(
            node.plugin_dir(self._state, member.name),
            node_name=member.name,
            pod_resources_socket=node.pod_resources_socket(self._state, member.name),
            node_status_period_s=self.options.status_every_s,
        )

    async def _stop_kubelets(self) -> None:
        await asyncio.gather(*(one.kubelet.stop(remove_sockets=True) for one in self.nodes.values()))

    async def _leave(self) -> None:
        """Take Nodes and leases along, unless they are to stay; what a server that is away keeps, `down` takes."""
        if self.options.keeps:
            return
        uids = {name: one.found["metadata"]["uid"] for name, one in self.nodes.items() if one.found is not None}
        gone = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_WITHIN_S):
                gone = await leaving.remove(self._client, uids, on_error=self._grumbles.hear)
        self.has_left = gone == len(uids)
        if not self.has_left:
            self._tell(f"{len(uids) - gone} nodes are left behind: `fakehw-fleet down` takes them away")

    # What it is told to do.

    async def restart(self, name: str) -> None:
        """Restart the kubelet of a node; its pods run on."""
        await self.nodes[name].kubelet.restart()

    def silence(self, name: str) -> None:
        """Have a node tell the cluster nothing any more; it runs on."""
        one = self.nodes[name]
        if one.state is State.UP:
            one.state = State.SILENT
            assert self._leases is not None
            self._leases.drop(name)

    def speak(self, name: str) -> None:
        """Have a node that was silent tell everything again."""
        one = self.nodes[name]
        if one.state is State.SILENT and one.found is not None:
            one.state = State.UP
            one.must_post = True
            assert self._leases is not None
            self._leases.keep(name, one.found["metadata"]["uid"])
            self._node_work.add(name)
            for key, found in self._pods.objects.items():
                if found["spec"]["nodeName"] == name:
                    self._pod_work.add(key)

    # What it looks like.

    @property
    def ready(self) -> int:
        """Count the nodes that the cluster takes for ready, with all their devices."""
        return sum(
            one.state is State.UP and one.is_posted and objects.is_ready(one.found or {}) and one.is_plugin_ready
            for one in self.nodes.values()
        )

    def summary(self) -> Summary:
        """Return it in numbers."""
        kubelets = {name: one.kubelet for name, one in self.nodes.items()}
        phases = [record.admitted.phase.value for one in self.nodes.values() for record in one.pods.values()]
        states = Counter(one.state.value for one in self.nodes.values())
        notes = [", ".join(f"{count} {state}" for state, count in states.items() if state != State.UP.value)]
        to_do = len(self._node_work) + len(self._pod_work)
        notes.append(f"{sum(self.requests.values())} requests to the API server, {to_do} things to do")
        return summarize(kubelets, ready=self.ready, pods=phases, notes=filter(None, notes))

    # What happens.

    def _keep_pod(self, found: Object) -> Object:
        if (found.get("spec") or {}).get("nodeName") in self._names:
            return pods.kept(found)
        return {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "spec": {"nodeName": ""}}

    def _pod_event(self, event: Event) -> None:
        if event.type is EventType.SYNCED:
            self._synced["pods"].set()
        elif (found := event.was or event.object)["spec"].get("nodeName") or event.object["spec"].get("nodeName"):
            metadata = (event.object if "name" in event.object["metadata"] else found)["metadata"]
            self._pod_work.add((metadata["namespace"], metadata["name"]))

    def _node_event(self, event: Event) -> None:
        if event.type is EventType.SYNCED:
            self._synced["nodes"].set()
            return
        name = event.object["metadata"]["name"]
        if (one := self.nodes.get(name)) is None:
            return
        one.found = None if event.type is EventType.DELETED else event.object
        self._node_work.add(name)

    def _touch(self, name: str) -> None:
        self._touched.add(name)
        self._has_touched.set()

    def _heal(self, name: str) -> None:
        self.nodes[name].must_post = True
        self._node_work.add(name)

    async def _look(self) -> None:
        """Look at kubelets in which something happened, a few at a time."""
        while True:
            await self._has_touched.wait()
            await asyncio.sleep(_LOOK_S)
            self._has_touched.clear()
            touched, self._touched = self._touched, set()
            for name in touched:
                one = self.nodes[name]
                kubelet = one.kubelet
                if self.options.status_every_s is None and kubelet.is_up and not kubelet.is_node_status_current:
                    await kubelet.tick()
                if not one.is_posted:
                    self._node_work.add(name)
                if kubelet.synced_pods:
                    uids, kubelet.synced_pods[:] = set(kubelet.synced_pods), []
                    for key, record in one.pods.items():
                        if record.uid in uids:
                            self._pod_work.add(key)

    async def _trim(self) -> None:
        """Let kubelets forget what only tests look at, and say now and then that nodes are well."""
        while True:
            await asyncio.sleep(_TRIM_S)
            now = time.monotonic()
            for name, one in self.nodes.items():
                kubelet = one.kubelet
                for resource in kubelet.capacity:
                    del kubelet.history(resource)[:-1]
                kubelet.calls.calls[:] = [call for call in kubelet.calls.calls if call.is_open]
                del kubelet.registrations[:-1]
                if one.state is State.UP and now - one.posted_at > REPORT_EVERY_S:
                    one.must_post = True
                    self._node_work.add(name)
            await asyncio.sleep(0)

    # What is done.

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

    async def _bring_node_named(self, name: str) -> None:
        await self._bring_node(self.nodes[name])

    async def _bring_node(self, one: FleetNode) -> None:
        """Bring a Node in line with its node."""
        if one.state is State.JOINING:
            if not one.is_plugin_ready and time.monotonic() < one.join_by:
                self._node_work.add_later(one.name, 0.2)
                return
            await self._join(one)
        elif one.state is State.UP and one.found is None:
            await self._lose(one)
        if one.state is not State.UP or one.found is None:
            return
        if one.must_post or not one.is_posted or not objects.is_ready(one.found):
            await self._post(one)
        if objects.controllers_taints(one.found) and objects.is_ready(one.found):
            # The controller would take them away too, at five nodes a second.
            await self._untaint(one)

    async def _join(self, one: FleetNode) -> None:
        await one.kubelet.tick()
        one.ready_since = time.time()
        one.must_post = one.found is not None
        if one.found is None:
            taints = [taint._asdict() for taint in one.member.taints]
            if self.options.has_taint:
                taints.append({"key": objects.TAINT_KEY, "value": self.options.name, "effect": "NoSchedule"})
            body = objects.node(
                one.name,
                fleet=self.options.name,
                labels=one.member.labels,
                taints=taints,
                status=one.kubelet.node_status,
                kubelet_version=self.options.kubelet_version,
                now=time.time(),
            )
            one.found = kept_node(await self._client.create(NODES, body))
            one.posted_at = time.monotonic()
        one.state = State.UP
        assert self._leases is not None
        self._leases.keep(one.name, one.found["metadata"]["uid"])
        for key, found in self._pods.objects.items():
            if found["spec"]["nodeName"] == one.name:
                self._pod_work.add(key)

    async def _lose(self, one: FleetNode) -> None:
        """Take note that somebody deleted the Node; a real kubelet would go on in vain."""
        one.state = State.GONE
        assert self._leases is not None
        self._leases.drop(one.name)
        self._tell(f"{one.name}: its Node was deleted: it is no node of the fleet any more")
        await one.kubelet.stop()

    async def _post(self, one: FleetNode) -> None:
        body = {"status": objects.node_status(one.kubelet.node_status, now=time.time(), since=one.ready_since)}
        one.must_post = False
        try:
            found = await self._client.patch(NODES, one.name, body, kind=Patch.STRATEGIC, subresource="status")
        except errors.NotFoundError:
            return  # the watch tells
        except errors.ApiError:
            one.must_post = True
            raise
        one.found, one.posted_at = kept_node(found), time.monotonic()

    async def _untaint(self, one: FleetNode) -> None:
        assert one.found is not None
        body = {
            "metadata": {"resourceVersion": one.found["metadata"]["resourceVersion"]},
            "spec": {"taints": objects.without_controllers_taints(one.found)},
        }
        try:
            one.found = kept_node(await self._client.patch(NODES, one.name, body))
        except errors.ConflictError:
            one.found = kept_node(await self._client.get(NODES, one.name))
            self._node_work.add(one.name)
        except errors.NotFoundError:
            return  # the watch tells

    async def _bring_pod(self, key: PodKey) -> None:
        """Bring a pod's node and its status in line with it."""
        found = self._pods.objects.get(key)
        name = found["spec"]["nodeName"] if found is not None else ""
        for other in self._holders.pop(key, ()):  # a pod of the same name may be on another node by now
            if other != name:
                await self._forget(self.nodes[other], key)
        if found is None or (one := self.nodes.get(name)) is None:
            return
        self._holders[key] = (name,)
        record = one.pods.get(key)
        if record is not None and record.uid != found["metadata"]["uid"]:
            await self._forget(one, key)
            record = None
        if one.state is not State.UP or not one.kubelet.is_up:
            return  # its pods are looked at again when it is
        if "deletionTimestamp" in found["metadata"]:
            await self._end(one, key, found)
            return
        if record is None:
            if pods.is_ended(found):
                return
            record = await self._start(one, key, found)
        if (said := self._said(one, record)) != record.posted:
            await self._tell_pod(one, found, record, said)

    async def _start(self, one: FleetNode, key: tuple[str, str], found: Object) -> PodRecord:
        """Admit a pod and start its containers, or refuse it as its kubelet says."""
        wanted = pods.read(found)
        admitted = await one.kubelet.admit(wanted)
        record = one.pods[key] = PodRecord(wanted.uid, admitted)
        if admitted.is_active:
            for container in (*wanted.init_containers, *wanted.containers):
                await one.kubelet.start_container(admitted, container.name)
                if container in wanted.init_containers and not container.is_sidecar:
                    one.kubelet.container_exited(admitted, container.name)
        return record

    def _said(self, one: FleetNode, record: PodRecord) -> object:
        """Return what a pod's status comes to, without the times."""
        admitted = record.admitted
        health = one.kubelet.allocated_resources_status(admitted.pod)
        containers = [
            (status.name, status.is_running, status.waiting_reason, status.device_ids)
            for status in admitted.containers.values()
        ]
        return (admitted.phase, admitted.reason, admitted.message, health, containers)

    async def _tell_pod(self, one: FleetNode, found: Object, record: PodRecord, said: object) -> None:
        health = one.kubelet.allocated_resources_status(record.admitted.pod)
        body = pods.status_patch(found, record.admitted, health, now=time.time())
        namespace, name = _key(found)
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):  # gone, or another of its name by now
            await self._client.patch(PODS, name, body, kind=Patch.STRATEGIC, namespace=namespace, subresource="status")
        record.posted = said

    async def _end(self, one: FleetNode, key: tuple[str, str], found: Object) -> None:
        """End a pod that is being deleted; there is no process to wait for."""
        await self._forget(one, key)
        namespace, name = key
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):
            await self._client.delete(PODS, name, namespace=namespace, uid=found["metadata"]["uid"], grace_s=0)

    async def _forget(self, one: FleetNode, key: tuple[str, str]) -> None:
        if (record := one.pods.pop(key, None)) is not None:
            await one.kubelet.remove(record.admitted.pod)


def _key(found: Object) -> tuple[str, str]:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def kept_node(found: Object) -> Object:
    """Return the part of a Node that is needed here."""
    metadata, status = found["metadata"], found.get("status") or {}
    return {
        "metadata": {key: metadata[key] for key in ("name", "uid", "resourceVersion") if key in metadata},
        "spec": {"taints": (found.get("spec") or {}).get("taints") or []},
        "status": {
            **{name: objects.extended(status, name) for name in ("capacity", "allocatable")},
            "conditions": [one for one in status.get("conditions") or [] if one.get("type") == objects.READY],
        },
    }


class _Tasks:
    """Tasks that run for ever, and end with this context."""

    def __init__(self) -> None:
        self.group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> _Tasks:
        await self.group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        # Any other error is its own, and no part of a group.
        await self.group.__aexit__(*((kind, error, tb) if is_cancelled else (None, None, None)))

    def start(self, work: Any, name: str) -> None:
        """Begin one."""
        self._tasks.append(self.group.create_task(work, name=name))
