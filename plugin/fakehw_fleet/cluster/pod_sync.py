"""Pods of the cluster brought in line with what the kubelets of a fleet make of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from fakehw_fleet.cluster import claims, pod_status, pods, processes
from fakehw_fleet.cluster.claims import Step
from fakehw_fleet.cluster.node import PodRecord, State
from kubeapi import errors
from kubeapi.client import Patch
from kubeapi.resources import PODS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fakehw_fleet.cluster.events import Events
    from fakehw_fleet.cluster.node import FleetNode
    from fakehw_fleet.cluster.pods import PodKey
    from fakehw_fleet.cluster.processes import Processes
    from fakehw_fleet.cluster.sight import Sight
    from fakekubelet.cluster.pod_run import PodRun
    from kubeapi.client import Client
    from kubeapi.resources import Object

RETRY_S: Final = 10.0
"""Before a pod that could not start or end is tried again, as the kubelet does it (contract PS-2, DRA-12)."""


class PodSync:
    """Brings pods in line, one at a time. `again` is asked to have a pod looked at later.

    With `running` containers are processes; without it they run as far as anybody is told.
    """

    def __init__(
        self,
        client: Client,
        nodes: Mapping[str, FleetNode],
        sight: Sight,
        events: Events,
        running: Processes | None,
        *,
        again: Callable[[PodKey, float], None],
    ) -> None:
        self._client = client
        self._nodes = nodes
        self._sight = sight
        self._events = events
        self._running = running
        self._ending: set[asyncio.Task[None]] = set()
        self._again = again
        self._holders: dict[PodKey, tuple[str, ...]] = {}
        """Which of our nodes a pod was last seen on."""

    def adopt(self, one: FleetNode, found: Object) -> None:
        """Take over a pod that runs, before its kubelet starts."""
        with contextlib.suppress(ValueError):
            record = PodRecord(found["metadata"]["uid"], one.kubelet.restore(pods.read(found)), is_adopted=True)
            one.pods[pods.key_of(found)] = record
            self._holders[pods.key_of(found)] = (one.name,)

    def compare(self, one: FleetNode, found: Object) -> None:
        """Look whether the cluster knows all of a pod that was adopted, so that it is not told again."""
        if (record := one.pods.get(pods.key_of(found))) is None:
            return
        record.by_claims = claims.given(one, found)
        if pod_status.says_the_same(found, record.admitted, record.by_claims):
            record.posted = _said(one, found, record)

    async def bring(self, key: PodKey) -> None:
        """Bring a pod's node and its status in line with it."""
        found = self._sight.pod(key)
        name = found["spec"]["nodeName"] if found is not None else ""
        for other in self._holders.pop(key, ()):  # a pod of the same name may be on another node by now
            if other != name:
                await self._forget(self._nodes[other], key)
        if found is None or (one := self._nodes.get(name)) is None:
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
            record = await self._admit(one, key, found)
        is_to_start = not record.has_started if self._running is None else record.run is None
        if record.admitted.is_active and is_to_start:
            await self._start(one, key, found, record)
        await self._tell(one, found, record)
        if record.run is not None and record.run.has_ended and not record.has_claims_back:
            record.has_claims_back = await self._has_claims(one, key, found, record, Step.UNPREPARE)

    async def _admit(self, one: FleetNode, key: PodKey, found: Object) -> PodRecord:
        """Admit a pod, or refuse it as its kubelet says."""
        wanted = pods.read(found)
        admitted = await one.kubelet.admit(wanted)
        record = one.pods[key] = PodRecord(wanted.uid, admitted)
        if not admitted.is_active:
            message = admitted.message.removeprefix("Pod was rejected: ")
            await self._events.warn(found, one.name, admitted.reason, message)
        return record

    async def _start(self, one: FleetNode, key: PodKey, found: Object, record: PodRecord) -> None:
        """Have its claims prepared and its containers started; what fails is tried again, and said meanwhile."""
        if not await self._has_claims(one, key, found, record, Step.PREPARE):
            return
        record.by_claims = claims.given(one, found)
        if self._running is not None:
            self._running.begin(one, found, record)
            return
        wanted = record.admitted.pod
        for container in (*wanted.init_containers, *wanted.containers):
            status = record.admitted.containers[container.name]
            if status.starts:
                continue  # before a try that failed later on
            await one.kubelet.start_container(record.admitted, container.name)
            if status.waiting_reason is not None:
                self._again(key, RETRY_S)
                return
            if container in wanted.init_containers and not container.is_sidecar:
                one.kubelet.container_exited(record.admitted, container.name)

    async def _has_claims(
        self, one: FleetNode, key: PodKey, found: Object, record: PodRecord | None, step: Step
    ) -> bool:
        """Have claims prepared or taken back; what cannot be done is said, and tried again later."""
        problem = await claims.bring(one, found, step)
        if problem:
            if record is not None and record.complaint != problem:  # said once
                record.complaint = problem
                await self._events.warn(found, one.name, step.reason, problem)
            self._again(key, RETRY_S)
        return not problem

    async def _tell(self, one: FleetNode, found: Object, record: PodRecord) -> None:
        """Tell the cluster of a pod what it does not know."""
        while record.notes:
            reason, message = record.notes.pop(0)
            await self._events.warn(found, one.name, reason, message)
        if (said := _said(one, found, record)) == record.posted:
            return
        body = pod_status.status_patch(
            found, record.admitted, claims.resources_status(one, found, record), record.by_claims, now=time.time()
        )
        namespace, name = pods.key_of(found)
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):  # gone, or another of its name by now
            await self._client.patch(PODS, name, body, kind=Patch.STRATEGIC, namespace=namespace, subresource="status")
        record.posted = said

    async def _end(self, one: FleetNode, key: PodKey, found: Object) -> None:
        """End a pod that is being deleted: its processes, then its claims are taken back."""
        record = one.pods.get(key)
        if record is not None and record.run is not None:
            if not record.run.has_ended:
                self._end_processes(record, record.run, pods.grace_s(found))
                return
            await self._tell(one, found, record)
        if not await self._has_claims(one, key, found, record, Step.UNPREPARE):
            return
        await self._forget(one, key, found["metadata"]["uid"])
        namespace, name = key
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):
            await self._client.delete(PODS, name, namespace=namespace, uid=found["metadata"]["uid"], grace_s=0)

    def _end_processes(self, record: PodRecord, run: PodRun, grace_s: float) -> None:
        """End them meanwhile: others are not to wait for thirty seconds of grace. The run rings when it has ended."""
        if record.ends_within_s is not None and record.ends_within_s <= grace_s:
            return  # they were told; somebody may be in more of a hurry later
        record.ends_within_s = grace_s
        task = asyncio.create_task(run.stop(grace_s), name="end of a pod")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end_processes(self) -> None:
        """End all that run: the fleet ends."""
        records = [record for one in self._nodes.values() for record in one.pods.values()]
        await processes.end_all(records, processes.EXIT_GRACE_S)
        await asyncio.gather(*self._ending)

    async def _forget(self, one: FleetNode, key: PodKey, uid: str = "") -> None:
        """Forget a pod that is gone; `uid` tells which, if the node may not know it."""
        if (record := one.pods.pop(key, None)) is not None:
            uid = record.uid
            await processes.end_all([record], processes.FORCED_GRACE_S)
            await one.kubelet.remove(record.admitted.pod)
        if self._running is not None:
            self._running.forget(key, uid)


def _said(one: FleetNode, found: Object, record: PodRecord) -> object:
    """Return what a pod's status comes to, without the times."""
    admitted = record.admitted
    containers = [
        (known.name, known.is_running, known.waiting_reason, known.message, known.device_ids, known.starts, known.ended)
        for known in admitted.containers.values()
    ]
    health = claims.resources_status(one, found, record)
    return (admitted.phase, admitted.reason, admitted.message, health, containers)
