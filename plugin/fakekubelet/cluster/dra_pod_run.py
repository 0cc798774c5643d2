"""The life of one pod on a node whose devices come by DRA: claims prepared, containers as processes, claims unprepared.

What the kubelet decides is asked of the FakeKubelet; init containers and restarts are not played.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fakekubelet import clock
from fakekubelet.cluster import process
from fakekubelet.dra import cdi, preparation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakekubelet.cluster.guard import Guard
    from fakekubelet.cluster.pod_objects import Object, PodObjects
    from fakekubelet.dra.dynamic_resources import DynamicResources
    from fakekubelet.kubelet.kubelet import FakeKubelet

RETRY_S: Final = 1.0
"""How soon a pod that could not be prepared is tried again; a kubelet takes its time, about ten times as long."""


class DraPodRun:
    """Runs a pod that is bound to a node until it is deleted."""

    def __init__(
        self, running: FakeKubelet, objects: PodObjects, pod: Object, *, guard: Guard, closing: asyncio.Event
    ) -> None:
        """Describe it; once *closing* is set, what cannot be unprepared is not tried again: its driver may be gone."""
        self._kubelet = running
        self._objects = objects
        self._pod = pod
        self._guard = guard
        self._closing = closing
        self._processes: list[process.Process] = []
        self._outputs: list[process.Printed] = []

    @property
    def output(self) -> str:
        """Return what its containers have printed."""
        return "".join(printed.text for printed in self._outputs)

    async def run(self) -> None:
        """Go through it; the pod's object goes last."""
        pod, objects = self._pod, self._objects
        try:
            edits = await self._prepare()
            if edits is None:
                return
            if await self._start(edits):
                objects.set_status(pod, {"phase": "Running"})
            changed = asyncio.Event()
            objects.api.changes.subscribe(changed.set)
            while not objects.is_ending(pod):
                changed.clear()
                await changed.wait()
        finally:
            grace_s = pod["spec"]["terminationGracePeriodSeconds"]
            await asyncio.gather(*(started.stop(grace_s) for started in self._processes))
            await self._unprepare()
            self._leave_claims()
            objects.remove(pod)

    @property
    def _dra(self) -> DynamicResources:
        assert self._kubelet.dra is not None
        return self._kubelet.dra

    async def _prepare(self) -> dict[str, cdi.Edits] | None:
        """Return what each container gets, as soon as that is known; None if the pod is to end before."""
        pod, dra = self._pod, self._dra
        while not self._objects.is_ending(pod):
            try:
                await dra.prepare(pod)
                return {container["name"]: dra.edits(pod, container["name"]) for container in pod["spec"]["containers"]}
            except (preparation.PreparationError, cdi.CdiError) as error:
                self._objects.note(pod, str(error))
                await self._pause()
        return None

    async def _start(self, edits: Mapping[str, cdi.Edits]) -> bool:
        """Start every container that can be; tell whether all could, and note why one could not."""
        pod = self._pod
        for container in pod["spec"]["containers"]:
            own = [(variable["name"], str(variable.get("value", ""))) for variable in container.get("env", [])]
            env = process.environment(pod["metadata"]["name"], edits[container["name"]].env, own)
            printed = process.Printed(self._objects.api.changes.ring)
            try:
                command = _command(container)
                started = await process.Process.start(command, env, output=printed.add, guard=self._guard)
            except (OSError, ValueError) as error:  # no such command; what a process cannot be given
                self._objects.note(pod, str(error))
                continue
            self._processes.append(started)
            self._outputs.append(printed)
        return len(self._processes) == len(pod["spec"]["containers"])

    async def _unprepare(self) -> None:
        while True:
            try:
                await self._dra.unprepare(self._pod)
            except preparation.PreparationError as error:
                self._objects.note(self._pod, str(error))
                if self._closing.is_set():
                    return
                await self._pause()
            else:
                return

    def _leave_claims(self) -> None:
        """Delete the claims that were made for the pod, and reserve the others for it no more."""
        objects, uid = self._objects, self._pod["metadata"]["uid"]
        for claim in objects.claims_of(self._pod):
            if any(owner["uid"] == uid for owner in claim["metadata"].get("ownerReferences", [])):
                objects.api.delete("resourceclaims", claim["metadata"]["name"], claim["metadata"]["namespace"])
                continue
            users = [user for user in claim["status"].get("reservedFor", []) if user["uid"] != uid]
            allocation = claim["status"]["allocation"]
            objects.set_claim_status(claim, {"reservedFor": users, "allocation": allocation} if users else {})

    async def _pause(self) -> None:
        """Wait until something is tried again, or until the cluster ends."""
        waiting = [
            asyncio.create_task(clock.sleep(self._kubelet.clock, RETRY_S), name="retry"),
            asyncio.create_task(self._closing.wait(), name="end"),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


def _command(container: Object) -> list[str]:
    command = [*container.get("command", []), *container.get("args", [])]
    if not container.get("command"):
        raise ValueError(f"container {container['name']} needs a command: no image is run here")
    return command
