"""Pods of the cluster brought in line with what the kubelets of a fleet make of them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from fakehw_fleet.cluster import pods
from fakehw_fleet.cluster.node import PodRecord, State
from kubeapi import errors
from kubeapi.client import Patch
from kubeapi.resources import PODS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakehw_fleet.cluster.events import Events
    from fakehw_fleet.cluster.node import FleetNode
    from fakehw_fleet.cluster.pods import PodKey
    from fakehw_fleet.cluster.sight import Sight
    from kubeapi.client import Client
    from kubeapi.resources import Object


class PodSync:
    """Brings pods in line, one at a time."""

    def __init__(self, client: Client, nodes: Mapping[str, FleetNode], sight: Sight, events: Events) -> None:
        self._client = client
        self._nodes = nodes
        self._sight = sight
        self._events = events
        self._holders: dict[PodKey, tuple[str, ...]] = {}
        """Which of our nodes a pod was last seen on."""

    def adopt(self, one: FleetNode, found: Object) -> None:
        """Take over a pod that runs, before its kubelet starts."""
        with contextlib.suppress(ValueError):
            record = PodRecord(found["metadata"]["uid"], one.kubelet.restore(pods.read(found)))
            one.pods[pods.key_of(found)] = record
            self._holders[pods.key_of(found)] = (one.name,)

    def compare(self, one: FleetNode, found: Object) -> None:
        """Look whether the cluster knows all of a pod that was adopted, so that it is not told again."""
        record = one.pods.get(pods.key_of(found))
        if record is not None and pods.says_the_same(found, record.admitted):
            record.posted = said(one, record)

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
            record = await self._start(one, key, found)
        if (now := said(one, record)) != record.posted:
            await self._tell(one, found, record, now)

    async def _start(self, one: FleetNode, key: PodKey, found: Object) -> PodRecord:
        """Admit a pod and start its containers, or refuse it as its kubelet says."""
        wanted = pods.read(found)
        admitted = await one.kubelet.admit(wanted)
        record = one.pods[key] = PodRecord(wanted.uid, admitted)
        if admitted.is_active:
            for container in (*wanted.init_containers, *wanted.containers):
                await one.kubelet.start_container(admitted, container.name)
                if container in wanted.init_containers and not container.is_sidecar:
                    one.kubelet.container_exited(admitted, container.name)
        else:
            message = admitted.message.removeprefix("Pod was rejected: ")
            await self._events.warn(found, one.name, admitted.reason, message)
        return record

    async def _tell(self, one: FleetNode, found: Object, record: PodRecord, now: object) -> None:
        health = one.kubelet.allocated_resources_status(record.admitted.pod)
        body = pods.status_patch(found, record.admitted, health, now=time.time())
        namespace, name = pods.key_of(found)
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):  # gone, or another of its name by now
            await self._client.patch(PODS, name, body, kind=Patch.STRATEGIC, namespace=namespace, subresource="status")
        record.posted = now

    async def _end(self, one: FleetNode, key: PodKey, found: Object) -> None:
        """End a pod that is being deleted; there is no process to wait for."""
        await self._forget(one, key)
        namespace, name = key
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):
            await self._client.delete(PODS, name, namespace=namespace, uid=found["metadata"]["uid"], grace_s=0)

    async def _forget(self, one: FleetNode, key: PodKey) -> None:
        if (record := one.pods.pop(key, None)) is not None:
            await one.kubelet.remove(record.admitted.pod)


def said(one: FleetNode, record: PodRecord) -> object:
    """Return what a pod's status comes to, without the times."""
    admitted = record.admitted
    health = one.kubelet.allocated_resources_status(admitted.pod)
    containers = [
        (status.name, status.is_running, status.waiting_reason, status.device_ids)
        for status in admitted.containers.values()
    ]
    return (admitted.phase, admitted.reason, admitted.message, health, containers)
