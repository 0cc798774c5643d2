"""Giving devices to containers: the RPCs of admission and of container creation, on the device manager's state.

Mirrors `manager.go:Allocate, allocateContainerResources, GetDeviceRunContainerOptions` (contract AL-1 to AL-19, PS-1 to
PS-4). The arithmetic is in allocation.py and topology.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakekubelet.kubelet import allocation, call_log, container_options, endpoint, numa, pod_devices

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection, Set

    from fakekubelet import pod
    from fakekubelet.kubelet.device_manager import DeviceManager
    from fakekubelet.kubelet.mode import Mode


EMPTY_AS_GO_VALUE = "&AllocateResponse{ContainerResponses:[]*ContainerAllocateResponse{},}"


class DeviceError(Exception):
    """A container cannot have its devices; the text is the kubelet's (contract ADM-3)."""


class DeviceAllocation:
    """Allocates for one kubelet; the caller admits one pod at a time (contract ADM-1)."""

    def __init__(
        self,
        manager: DeviceManager,
        *,
        rng: random.Random,
        policy: numa.Policy,
        machine_nodes: tuple[int, ...],
        mode: Mode,
        is_running: Callable[[str, str], bool],
    ) -> None:
        self.hazards: list[str] = []
        """Moments at which the real kubelet would have crashed or misbehaved, in words."""
        self._manager = manager
        self._rng = rng
        self._policy = policy
        self._machine_nodes = machine_nodes
        self._mode = mode
        if policy is not numa.Policy.NONE and len(machine_nodes) > numa.MOST_NODES:
            self.hazards.append(
                f"a real kubelet does not start with the policy {policy}: unsupported on machines with more than "
                f"{numa.MOST_NODES} NUMA Nodes (contract AL-20); this one goes on with the policy none"
            )
            self._policy = numa.Policy.NONE
        self._is_running = is_running
        self._reusable: tuple[str, dict[str, set[str]]] = ("", {})
        self._hints: dict[tuple[str, str], numa.Hint] = {}

    def align(self, owner: pod.Pod, container: pod.Container) -> bool:
        """Fix the container's NUMA nodes by the policy; tell whether the policy admits it."""
        if self._policy is numa.Policy.NONE:
            return True
        self._manager.update_allocated()
        hint, admit = numa.merge(
            [self._hints_for(owner, container, resource, count) for resource, count in container.limits.items()],
            policy=self._policy,
            machine_nodes=self._machine_nodes,
        )
        if admit:
            self._hints[owner.uid, container.name] = hint
        return admit

    async def allocate(self, owner: pod.Pod, container: pod.Container) -> None:
        """Allocate all device resources of *container*; raise DeviceError or an RPC's error text (contract ADM-3).

        What an ordinary init container had is offered to the containers after it, what a sidecar had is not (AL-4).
        """
        reusable = self._reusable_of(owner.uid)
        await self._allocate_resources(owner, container, reusable)
        is_ordinary_init = container in owner.init_containers and not container.is_sidecar
        for resource, held in self._manager.pod_devices.of_container(owner.uid, container.name).items():
            if is_ordinary_init:
                reusable.setdefault(resource, set()).update(held.device_ids)
            else:
                reusable.setdefault(resource, set()).difference_update(held.device_ids)

    async def run_options(
        self, owner: pod.Pod, container: pod.Container, *, active: bool
    ) -> container_options.ContainerOptions:
        """Return what to start *container* with, after PreStartContainer where wanted; raise DeviceError.

        Nothing is allocated again, except for a container that never was (contract AL-18, AL-19).
        """
        missing = False
        for resource, count in self._shuffled(container):
            if not self._manager.is_device_plugin_resource(resource) or count == 0:
                continue
            await self._pre_start(owner.uid, container.name, resource)
            if active and self._manager.pod_devices.device_ids(owner.uid, container.name, resource) is None:
                missing = True
        if missing:
            await self.allocate(owner, container)
        return self.merged(owner.uid, container.name)

    def merged(self, pod_uid: str, container: str) -> container_options.ContainerOptions:
        """Return the merged answers of all resources, in random order (contract AL-12)."""
        held = list(self._manager.pod_devices.of_container(pod_uid, container).values())
        self._rng.shuffle(held)
        return container_options.merge(devices.response for devices in held)

    async def _allocate_resources(
        self, owner: pod.Pod, container: pod.Container, reusable: dict[str, set[str]]
    ) -> None:
        manager = self._manager
        freed = changed = False
        for resource, count in self._shuffled(container):
            if not manager.is_device_plugin_resource(resource):
                continue  # contract ADM-5
            if not freed:
                manager.update_allocated()
                freed = True
            chosen = await self._choose(owner.uid, container.name, resource, count, reusable.get(resource, set()))
            if chosen:
                await self._allocate_chosen(owner.uid, container.name, resource, chosen)
                changed = True
        if changed:
            manager.save_checkpoint()

    async def _choose(self, uid: str, container: str, resource: str, count: int, reusable: Set[str]) -> frozenset[str]:
        manager = self._manager
        held = manager.pod_devices.device_ids(uid, container, resource)
        if held is not None and len(held) != count:
            raise DeviceError(
                f'pod "{uid}" container "{container}" changed request for resource "{resource}" '
                f"from {len(held)} to {count}"
            )
        if not manager.pods_known and self._is_running(uid, container):
            return frozenset()  # a kubelet restart, not a reboot (contract RS-6)
        choice = allocation.choose(
            resource,
            count,
            reusable=reusable,
            free=lambda: manager.healthy[resource] - manager.allocated.get(resource, set()),
            split=lambda free: numa.split(
                manager.all_devices.get(resource, {}), free, self._hints.get((uid, container))
            ),
            reserve=lambda device_id: manager.allocated.setdefault(resource, set()).add(device_id),
            rng=self._rng,
        )
        try:
            allocation.check(resource, healthy=manager.healthy.get(resource), held=held or set())
            return frozenset() if held is not None else await self._drive(resource, choice)
        except allocation.AllocationError as error:
            raise DeviceError(str(error)) from error
        finally:
            choice.close()

    async def _drive(self, resource: str, choice: allocation.Choice) -> frozenset[str]:
        """Answer the questions of a choice until it is made."""
        answer: Collection[str] | None = None
        while True:
            try:
                question = next(choice) if answer is None else choice.send(answer)
            except StopIteration as done:
                return frozenset(done.value)
            answer = await self._preference(resource, question)

    async def _preference(self, resource: str, question: allocation.Question) -> Collection[str]:
        """Ask the plugin, if it wants to be asked; what it answers is filtered later (contract GP-1, GP-3, GP-4)."""
        target = self._manager.endpoints.get(resource)
        if target is None:
            raise DeviceError(f"endpoint not found in cache for a registered resource: {resource}")
        if target.options is None or not target.options.get_preferred_allocation_available:
            return ()
        try:
            reply = await target.get_preferred_allocation(
                self._in_any_order(question.available), self._in_any_order(question.must_include), question.size
            )
        except (call_log.RpcError, endpoint.StoppedError) as error:
            raise DeviceError(f"device plugin GetPreferredAllocation rpc failed with err: {error}") from error
        return reply.container_responses[0].deviceIDs if reply.container_responses else ()

    async def _allocate_chosen(self, uid: str, container: str, resource: str, chosen: frozenset[str]) -> None:
        manager = self._manager
        target = manager.endpoints.get(resource)
        if target is None:
            manager.allocated = manager.pod_devices.allocated()
            raise DeviceError(f"unknown Device Plugin {resource}")
        try:
            reply = await target.allocate(self._in_any_order(chosen))
        except (call_log.RpcError, endpoint.StoppedError) as error:
            manager.allocated = manager.pod_devices.allocated()  # contract AL-9
            raise DeviceError(str(error)) from error
        if not reply.container_responses:  # and the devices stay in use: contract AL-10
            shown = EMPTY_AS_GO_VALUE if self._mode.shows_messages_as_go_values else ""
            raise DeviceError(f"no containers return in allocation response {shown}")
        per_numa: pod_devices.DevicesPerNUMA = {}
        known = manager.all_devices.get(resource, {})
        for device_id in sorted(chosen):
            if device_id not in known and self._mode.may_die_of_vanished_devices:
                self.hazards.append(
                    f"{resource}: device {device_id} vanished while it was being allocated (contract LW-13)"
                )
            nodes = known[device_id].numa_nodes if device_id in known else ()
            for node in nodes or (pod_devices.WITHOUT_TOPOLOGY,):
                per_numa.setdefault(node, []).append(device_id)
        manager.pod_devices.insert(uid, container, resource, pod_devices.Held(per_numa, reply.container_responses[0]))

    async def _pre_start(self, uid: str, container: str, resource: str) -> None:
        target = self._manager.endpoints.get(resource)
        if target is None:  # the plugin has been gone for longer than the grace period (contract PS-4)
            raise DeviceError(f"endpoint not found in cache for a registered resource: {resource}")
        if target.options is None or not target.options.pre_start_required:
            return
        held = self._manager.pod_devices.device_ids(uid, container, resource)
        if held is None:
            raise DeviceError(
                f"no devices found allocated in local cache for pod {uid}, container {container}, resource {resource}"
            )
        try:
            await target.pre_start_container(self._in_any_order(held))
        except (call_log.RpcError, endpoint.StoppedError) as error:
            raise DeviceError(f"device plugin PreStartContainer rpc failed with err: {error}") from error

    def _hints_for(self, owner: pod.Pod, container: pod.Container, resource: str, count: int) -> list[numa.Hint] | None:
        manager = self._manager
        devices = manager.all_devices.get(resource, {})
        if not manager.is_device_plugin_resource(resource) or not numa.has_topology(devices.values()):
            return None
        available: Set[str] = manager.pod_devices.device_ids(owner.uid, container.name, resource) or set()
        reusable: Set[str] = set()
        if not available:
            available = manager.healthy.get(resource, set()) - manager.allocated.get(resource, set())
            reusable = self._reusable_of(owner.uid).get(resource, set())
        elif len(available) != count:
            return []
        if len(available | reusable) < count:
            return []
        return numa.hints(
            devices,
            available=available,
            reusable=reusable,
            request=count,
            machine_nodes=self._machine_nodes,
            bearing_only=self._mode.combines_bearing_nodes_only,
        )

    def _reusable_of(self, uid: str) -> dict[str, set[str]]:
        if self._reusable[0] != uid:  # only the pod being admitted has any
            self._reusable = (uid, {})
        return self._reusable[1]

    def _shuffled(self, container: pod.Container) -> list[tuple[str, int]]:
        limits = sorted(container.limits.items())
        self._rng.shuffle(limits)  # contract AL-1: random order
        return limits

    def _in_any_order(self, device_ids: Collection[str]) -> list[str]:
        ids = sorted(device_ids)
        self._rng.shuffle(ids)
        return ids
