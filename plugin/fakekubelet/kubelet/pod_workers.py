"""The pod half of a kubelet: admission, containers, and the end of both.

Mirrors `kubelet/pod_workers.go` and the admission part of `kubelet.go`. What devices a container gets is decided in
device_allocation.py; what their plugin said is in device_manager.py.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fakekubelet import clock, pod
from fakekubelet.kubelet import device_allocation, device_manager, pod_status

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

WORKER_BACKOFF_S = 10.0
"""How long the kubelet waits before it tries a container again (`backOffPeriod`)."""


class UnknownPodError(LookupError):
    """A kubelet was asked about a pod that it was never given, or that has been removed."""


class PodEndedError(ValueError):
    """A container of a pod was to start that has failed or run to its end."""


class PodWorkers:
    """The pods of one node. They outlive the kubelet's process; `begin` hands over what belongs to a new one."""

    def __init__(self, *, time_source: clock.Clock, ring: Callable[[], None]) -> None:
        self._clock = time_source
        self._ring = ring
        self._pods: dict[str, pod_status.AdmittedPod] = {}
        self._seen_running: set[tuple[str, str]] = set()
        self._admission = asyncio.Lock()

    def begin(self, manager: device_manager.DeviceManager, allocation: device_allocation.DeviceAllocation) -> None:
        """Go on with the device manager and the allocation of a new life."""
        self._manager = manager
        self._allocation = allocation

    async def admit_again(self) -> None:
        """Admit the pods that are there already, as a kubelet does when it comes up (contract RS-6, RS-7)."""
        for admitted in list(self._pods.values()):
            if admitted.is_active:
                await self._admit(admitted)

    def active_uids(self) -> set[str]:
        """Return the pods that may still hold devices."""
        return {uid for uid, admitted in self._pods.items() if admitted.is_active}

    def stop_containers(self) -> None:
        """Note that nothing runs any more: the machine went down."""
        for admitted in self._pods.values():
            for container in admitted.containers.values():
                container.is_running = False

    def clear(self) -> None:
        """Forget all pods, as a node does that is made anew."""
        self._pods.clear()

    def look_at_runtime(self, rng: random.Random, *, answers: bool, whole: bool) -> None:
        """Note which containers run, as a kubelet does once, when it starts, and takes an error for none (RS-12).

        Up to 1.33 (not *whole*) it finds one of a pod's containers of the same name, and if that has been restarted it
        may be the one that has ended (contract RS-11).
        """
        self._seen_running = {
            (uid, name)
            for uid, admitted in self._pods.items()
            for name, container in admitted.containers.items()
            if answers and container.is_running and (whole or container.starts < 2 or rng.random() < 1 / 2)
        }

    def was_seen_running(self, uid: str, container: str) -> bool:
        """Tell whether a container of a pod ran when this kubelet started, as far as it could see."""
        return (uid, container) in self._seen_running

    @property
    def pods(self) -> Sequence[pod_status.AdmittedPod]:
        """All pods given to this kubelet and not removed, failed ones included."""
        return list(self._pods.values())

    def allocated_resources_status(
        self, target: pod.Pod | pod_status.AdmittedPod
    ) -> dict[str, dict[str, dict[str, str]]]:
        """Return app container → resource → device ID → health, as the pod's status says it (contract HS-2 to HS-5)."""
        return pod_status.allocated_resources_status(self._known(target), self._manager)

    async def admit(self, new: pod.Pod) -> pod_status.AdmittedPod:
        """Admit a pod: allocate for each container in order (contract ADM-1, AL-1). Refused pods are Failed for
        good.
        """
        specs = [*new.init_containers, *new.containers]
        admitted = pod_status.AdmittedPod(
            new, containers={spec.name: pod_status.ContainerStatus(spec.name) for spec in specs}
        )
        self._pods[new.uid] = admitted
        await self._admit(admitted)
        self._ring()
        return admitted

    def restore(self, known: pod.Pod) -> pod_status.AdmittedPod:
        """Take over a pod that ran when this kubelet's process ended; `admit_again` gives it its devices (RS-6)."""
        specs = [*known.init_containers, *known.containers]
        admitted = pod_status.AdmittedPod(
            known,
            pod_status.Phase.RUNNING,
            containers={
                spec.name: pod_status.ContainerStatus(
                    spec.name, is_running=spec in known.containers or spec.is_sidecar, starts=1
                )
                for spec in specs
            },
        )
        self._pods[known.uid] = admitted
        return admitted

    async def start_container(
        self, target: pod.Pod | pod_status.AdmittedPod, name: str | None = None, *, retry: bool = False
    ) -> pod_status.ContainerStatus:
        """Create a container, again if it ran before: PreStartContainer, then the merged options (contract PS-1,
        AL-18).

        A failure leaves it waiting with `CreateContainerConfigError` (contract PS-2); with *retry* the kubelet tries
        again after its back-off until it works. *name* may be left out for a pod with one container.

        Raise PodEndedError once the pod has failed, UnknownPodError for a pod that is not here, ValueError for a
        container that it has not.
        """
        admitted = self._known(target)
        spec = _container(admitted.pod, name)
        status = admitted.containers[spec.name]
        while True:
            if not admitted.is_active:
                raise PodEndedError(f"pod {admitted.pod.name} is {admitted.phase}: {admitted.message}")
            status.is_running = False
            try:
                status.options = await self._allocation.run_options(admitted.pod, spec, active=True)
            except device_allocation.DeviceError as error:
                status.waiting_reason, status.message = "CreateContainerConfigError", str(error)
                self._ring()
                if not retry:
                    return status
                await clock.sleep(self._clock, WORKER_BACKOFF_S)
                continue
            self._note_devices(admitted)
            status.is_running, status.waiting_reason, status.message = True, None, ""
            status.starts, status.started_at = status.starts + 1, time.time()
            if all(admitted.containers[app.name].is_running for app in admitted.pod.containers):
                admitted.phase = pod_status.Phase.RUNNING
            self._ring()
            return status

    def container_exited(
        self, target: pod.Pod | pod_status.AdmittedPod, name: str, exit_code: int | None = None, message: str = ""
    ) -> None:
        """Note that a container no longer runs, and how it ended if that is known; its devices stay with it."""
        status = self._known(target).containers[name]
        status.is_running = False
        if exit_code is not None:
            status.ended = pod_status.Ended(exit_code, status.started_at, time.time(), message)
        self._ring()

    def finish(self, target: pod.Pod | pod_status.AdmittedPod, phase: pod_status.Phase) -> None:
        """Note that a pod has run to its end."""
        admitted = self._known(target)
        admitted.phase = phase
        for container in admitted.containers.values():
            container.is_running = False
        self._ring()

    def remove(self, target: pod.Pod | pod_status.AdmittedPod) -> None:
        """Delete a pod. Its devices become free when the kubelet next looks, and no plugin is told (contract AL-5)."""
        self._pods.pop(target.uid, None)
        self._ring()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _known(self, target: pod.Pod | pod_status.AdmittedPod) -> pod_status.AdmittedPod:
        admitted = self._pods.get(target.uid)
        if admitted is None:
            raise UnknownPodError(f"no pod here has the UID {target.uid}; it was never admitted, or is removed")
        return admitted

    async def _admit(self, admitted: pod_status.AdmittedPod) -> None:
        async with self._admission:  # one pod at a time: a slow Allocate stalls the node (contract ADM-1)
            for container in (*admitted.pod.init_containers, *admitted.pod.containers):
                if not self._allocation.align(admitted.pod, container):
                    text = "Resources cannot be allocated with Topology locality"
                    admitted.reject("TopologyAffinityError", text)
                    return
                try:
                    await self._allocation.allocate(admitted.pod, container)
                except device_allocation.DeviceError as error:
                    admitted.reject("UnexpectedAdmissionError", f"Allocate failed due to {error}, which is unexpected")
                    return
            self._note_devices(admitted)

    def _note_devices(self, admitted: pod_status.AdmittedPod) -> None:
        for name, status in admitted.containers.items():
            held = self._manager.pod_devices.of_container(admitted.uid, name)
            status.device_ids = {resource: sorted(devices.device_ids) for resource, devices in sorted(held.items())}
            status.options = self._allocation.merged(admitted.uid, name)


def _container(owner: pod.Pod, name: str | None) -> pod.Container:
    if name is None and len(owner.containers) == 1:
        return owner.containers[0]
    for container in (*owner.init_containers, *owner.containers):
        if container.name == name:
            return container
    raise ValueError(f"pod {owner.name} has no container {name!r}")
