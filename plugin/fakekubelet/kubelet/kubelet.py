"""A kubelet for device plugins, in a test, without root and without a cluster.

`FakeKubelet` composes the modules of this package, each of which mirrors one of the kubelet's own, into something with
the life of a kubelet: start, stop, restart, reboot. It decides nothing about devices itself. Nothing runs before
`start`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from typing import TYPE_CHECKING, Self, TypeVar

from fakekubelet import changes, clock
from fakekubelet.kubelet import (
    call_log,
    client_table,
    device,
    device_allocation,
    device_manager,
    node_status,
    numa,
    plugin_watcher,
    pod_resources,
    pod_workers,
    registration,
)
from fakekubelet.kubelet.mode import Mode
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from fakekubelet import pod
    from fakekubelet.apiserver import server
    from fakekubelet.dra import dynamic_resources, view
    from fakekubelet.kubelet import pod_status

T = TypeVar("T")


class FakeKubelet:
    """One node's kubelet as a device plugin meets it; see docs/fake-kubelet.md."""

    def __init__(
        self,
        plugin_dir: Path,
        *,
        node_name: str = "kind-worker",
        pod_resources_socket: Path | None = None,
        plugins_registry: Path | None = None,
        clock: clock.Clock | None = None,
        mode: Mode | str = Mode.V1_36,
        seed: int = 0,
        node_status_period_s: float | None = node_status.UPDATE_PERIOD_S,
        topology_policy: numa.Policy | str = numa.Policy.NONE,
        numa_nodes: Sequence[int] = (0, 1),
        api: server.ApiServer | view.View | None = None,
        cdi_dirs: Sequence[Path] = (),
        registry_look_s: float | None = None,
    ) -> None:
        """Describe one; with *api* it has a DRA half, whose runtime reads *cdi_dirs*.

        *plugins_registry* is watched by inotify, of which a machine has some 128 instances; with *registry_look_s* it
        is looked at so often instead, as the kubelet's own loop does every second.
        """
        self.plugin_dir = plugin_dir
        self.node_name = node_name
        self.clock = clock if clock is not None else _real_clock()
        self.mode = Mode(mode)
        self.changes = changes.Changes()
        self.calls = call_log.CallLog(self.clock, self.changes.ring)
        self.registrations: list[registration.Registration] = []
        self.node_status = node_status.NodeStatus()
        self.synced_pods: list[str] = []
        """UIDs of pods whose status was refreshed because a device's health changed (contract HS-4)."""
        self.pod_resources_socket = pod_resources_socket
        self._plugins_registry = plugins_registry
        self._registry_look_s = registry_look_s
        self._rng = random.Random(seed)  # noqa: S311 - the choice must be repeatable, not secret
        self._period_s = node_status_period_s
        self._policy = numa.Policy(topology_policy)
        self._numa_nodes = numa.checked(numa_nodes)
        self._history: dict[str, list[device.DeviceList]] = {}
        self._workers = pod_workers.PodWorkers(time_source=self.clock, ring=self.changes.ring)
        self._life: contextlib.AsyncExitStack | None = None
        self.dra: dynamic_resources.DynamicResources | None = None
        """The DRA half of one that was given an API server."""
        if api is not None:
            from fakekubelet.dra import dynamic_resources, view  # here: few kubelets need it

            self.dra = dynamic_resources.DynamicResources(
                plugin_dir.parent,
                api if isinstance(api, view.View) else view.InMemory(api),
                node_name=node_name,
                release=self.mode,
                cdi_dirs=cdi_dirs,
                time_source=self.clock,
                calls=self.calls,
                ring=self.changes.ring,
            )
        self._forget_memory()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(remove_sockets=True)

    async def start(self, *, keep_sockets: bool = False, runtime_answers: bool = True) -> None:
        """Come up as a kubelet does: checkpoint, clean directory, socket, then the pods it already knows.

        With *keep_sockets* the plugins' sockets stay, as those stay that are bound while the directory is cleaned
        (contract REG-2): all that is new is `kubelet.sock`. Without *runtime_answers* nobody says which containers run,
        and their pods are refused (contract RS-12).

        Pods are admitted again before their plugins can have registered, which running containers survive and others
        may not (contract RS-6, RS-7).
        """
        if self._life is not None:
            raise RuntimeError("the kubelet is already up")
        self.plugin_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._forget_memory()
        self._workers.look_at_runtime(self._rng, answers=runtime_answers, whole=self.mode.sees_every_container)
        self._manager.load_checkpoint()
        async with contextlib.AsyncExitStack() as life:
            life.callback(self._manager.close)
            life.push_async_callback(self._table.stop)
            life.push_async_callback(self._server.stop)
            await self._server.start(keep_sockets=keep_sockets)
            if self.pod_resources_socket is not None:
                server = pod_resources.PodResourcesServer(
                    self.pod_resources_socket,
                    self._manager,
                    pods=lambda: self.pods,
                    time_source=self.clock,
                    serves_get=self.mode.serves_get,
                )
                life.push_async_callback(server.stop)
                await server.start()
            if self.dra is not None:
                life.push_async_callback(self.dra.stop)
                await self.dra.start()
            if self._plugins_registry is not None:
                watcher = self._watcher(self._plugins_registry)
                watcher.prepare()
                task = asyncio.create_task(watcher.run(), name=f"plugin-watcher {self.node_name}")
                life.push_async_callback(node_status.cancel_and_wait, task)
            if self._period_s is not None:
                ticker = node_status.Ticker(self.tick, period_s=self._period_s, time_source=self.clock, rng=self._rng)
                task = asyncio.create_task(ticker.run(), name=f"node-status {self.node_name}")
                life.push_async_callback(node_status.cancel_and_wait, task)
            self._life = life.pop_all()
        try:
            await self.tick()
            await self._workers.admit_again()
        except BaseException:
            await self.stop(remove_sockets=True)
            raise
        self._manager.pods_known = True
        self.changes.ring()

    async def stop(self, *, remove_sockets: bool = False) -> None:
        """Go down, cutting every stream.

        Its sockets stay, with nobody behind them, as they do when a kubelet ends, in good order or not (contract RS-8).
        """
        if self._life is not None:
            life, self._life = self._life, None
            await life.aclose()
        if remove_sockets:
            for path in (self.plugin_dir / constants.KUBELET_SOCKET, self.pod_resources_socket):
                if path is not None:
                    path.unlink(missing_ok=True)
        self.changes.ring()

    async def restart(self) -> None:
        """Stop and start; containers go on running meanwhile (contract RS-4)."""
        await self.stop()
        await self.start()

    async def reboot(self) -> None:
        """Restart with the machine: nothing runs any more, and pods come before plugins (contract RS-7)."""
        await self.stop()
        self._workers.stop_containers()
        if self.dra is not None:
            self.dra.forget_boot()
        await self.start()

    async def recreate_node(self) -> None:
        """Start without a past: an empty directory and no pods. The Node object keeps its numbers (contract NS-8)."""
        await self.stop()
        shutil.rmtree(self.plugin_dir)
        self._workers.clear()
        if self.dra is not None:
            self.dra.forget_node()
        await self.start()

    # -- what it knows ------------------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Tell whether the kubelet runs."""
        return self._life is not None

    @property
    def capacity(self) -> Mapping[str, int]:
        """Devices by resource as the Node object would show if it were computed now; see `node_status` for what it
        shows.
        """
        return node_status.compute(self.node_status, self._manager.counts()).capacity

    @property
    def allocatable(self) -> Mapping[str, int]:
        """Healthy devices by resource, likewise; those in use are not subtracted (contract NS-1)."""
        return node_status.compute(self.node_status, self._manager.counts()).allocatable

    @property
    def is_node_status_current(self) -> bool:
        """Tell whether a tick would change nothing."""
        return node_status.compute(self.node_status, self._manager.counts()) == self.node_status

    @property
    def hazards(self) -> Sequence[str]:
        """What a real kubelet would have died of (contract LW-13), or not started with (contract AL-20)."""
        return self._allocation.hazards

    def history(self, resource: str) -> list[device.DeviceList]:
        """Return every list received for *resource*, over restarts too."""
        return self._history.setdefault(resource, [])

    def devices(self, resource: str) -> dict[str, str]:
        """Return device ID to health as it counts now; all are unhealthy once the plugin's stream has ended."""
        return self._manager.reported(resource)

    def allocated(self, resource: str) -> set[str]:
        """Return the devices that count as in use, those of pods not cleared away yet included (contract AL-5)."""
        return set(self._manager.allocated.get(resource, ()))

    def live_streams(self, resource: str) -> int:
        """Count the open ListAndWatch streams of *resource*; a healthy plugin has one."""
        return self._table.live_streams(resource)

    def is_dialing(self, resource: str) -> bool:
        """Tell whether a plugin of *resource* is being dialed back or asked for its options (contract REG-5)."""
        return self._table.is_connecting(resource)

    async def wait_for(self, predicate: Callable[[], T], *, timeout: float = 5.0) -> T:
        """Return the first true value of *predicate*, which is evaluated now and at every change of anything here.

        After *timeout* real seconds raise TimeoutError with a description of the present state.
        """
        return await self.changes.wait_for(predicate, timeout_s=timeout, describe=self.describe)

    def describe(self) -> str:
        """Return the state in a few lines, for people."""
        lines = [f"kubelet of {self.node_name} ({self.mode}), {'up' if self.is_up else 'down'}"]
        for resource in sorted(
            {*self.capacity, *self._history, *(attempt.resource_name for attempt in self.registrations)}
        ):
            shown = f"{self.allocatable.get(resource, '-')}/{self.capacity.get(resource, '-')}"
            lines.append(
                f"  {resource}: allocatable/capacity {shown}, {self.live_streams(resource)} stream(s), "
                f"{len(self.history(resource))} list(s), devices {self.devices(resource)}"
            )
        refused = [attempt for attempt in self.registrations if attempt.error is not None]
        lines += [f"  refused: {attempt.resource_name} {attempt.error}" for attempt in refused]
        lines += [
            f"  pod {known.pod.name}: {known.phase} {known.reason} {known.message}".rstrip() for known in self.pods
        ]
        return "\n".join(lines)

    # -- what it does -------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """Recompute the Node object now instead of at the next period (contract NS-5)."""
        counts = self._manager.counts()
        self.node_status = node_status.compute(self.node_status, counts)
        self._manager.forget(counts.removed)
        self.changes.ring()

    def patch_node(self, resources: Mapping[str, int]) -> None:
        """Set extended resources on the Node object by hand, as an administrator may."""
        self.node_status = node_status.compute(self.node_status, node_status.Counts(dict(resources)))
        self.changes.ring()

    async def drop(self, resource: str) -> None:
        """Close the connection of whoever serves *resource*, as happens to a plugin that is well (contract REG-13)."""
        await self._table.drop(resource)

    # -- pods (pod_workers.py) ----------------------------------------------------------------------------------------

    @property
    def pods(self) -> Sequence[pod_status.AdmittedPod]:
        """All pods given to this kubelet and not removed, failed ones included."""
        return self._workers.pods

    def allocated_resources_status(
        self, target: pod.Pod | pod_status.AdmittedPod
    ) -> dict[str, dict[str, dict[str, str]]]:
        """Return app container → resource → device ID → health, as the pod's status says it (contract HS-2 to HS-5).

        Before 1.36 it says nothing (contract HS-1).
        """
        if not self.mode.tells_device_health:
            return {}
        return self._workers.allocated_resources_status(target)

    async def admit(self, new: pod.Pod) -> pod_status.AdmittedPod:
        """Admit a pod, or refuse it for good: allocate for each container in order (contract ADM-1, AL-1)."""
        return await self._workers.admit(new)

    def restore(self, known: pod.Pod) -> pod_status.AdmittedPod:
        """Take over a pod whose containers run, before `start`: what a kubelet's process finds after the one before.

        It keeps the devices that the checkpoint in the plugin directory gives it (contract RS-6, RS-10).
        """
        if self._life is not None:
            raise RuntimeError("the kubelet is up: pods are admitted")
        return self._workers.restore(known)

    async def start_container(
        self, target: pod.Pod | pod_status.AdmittedPod, name: str | None = None, *, retry: bool = False
    ) -> pod_status.ContainerStatus:
        """Create a container, again if it ran before (contract PS-1, PS-2, AL-18); see `PodWorkers.start_container`."""
        return await self._workers.start_container(target, name, retry=retry)

    def container_exited(
        self, target: pod.Pod | pod_status.AdmittedPod, name: str, exit_code: int | None = None, message: str = ""
    ) -> None:
        """Note that a container no longer runs, and how it ended if that is known; its devices stay with it."""
        self._workers.container_exited(target, name, exit_code, message)

    def finish(self, target: pod.Pod | pod_status.AdmittedPod, phase: pod_status.Phase) -> None:
        """Note that a pod has run to its end."""
        self._workers.finish(target, phase)

    async def remove(self, target: pod.Pod | pod_status.AdmittedPod) -> None:
        """Delete a pod. Its devices become free when the kubelet next looks, and no plugin is told (contract AL-5)."""
        self._workers.remove(target)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _forget_memory(self) -> None:
        """Begin a new life: nothing in memory survives a kubelet process."""
        self._manager = device_manager.DeviceManager(
            self.plugin_dir,
            time_source=self.clock,
            active_pods=self._workers.active_uids,
            on_list=lambda resource, received: self.history(resource).append(received),
            on_health=self.synced_pods.append if self.mode.tells_device_health else lambda _: None,
            ring=self.changes.ring,
        )
        self._allocation = device_allocation.DeviceAllocation(
            self._manager,
            rng=self._rng,
            policy=self._policy,
            machine_nodes=self._numa_nodes,
            mode=self.mode,
            is_running=self._workers.was_seen_running,
        )
        self._workers.begin(self._manager, self._allocation)
        self._table = client_table.ClientTable(
            self._manager,
            self.plugin_dir,
            by_socket_path=self.mode.knows_clients_by_path,
            time_source=self.clock,
            calls=self.calls,
            ring=self.changes.ring,
        )
        self._server = registration.RegistrationServer(
            self.plugin_dir,
            self._table,
            sockets_only=self.mode.cleans_sockets_only,
            dials_within_the_call=self.mode.dials_within_the_call,
            on_registration=self._on_registration,
        )

    def _watcher(self, directory: Path) -> plugin_watcher.PluginWatcher:
        return plugin_watcher.PluginWatcher(
            directory,
            self._table,
            time_source=self.clock,
            calls=self.calls,
            takes_failures_back=self.mode.takes_failed_registrations_back,
            on_registration=self._on_registration,
            drivers=None if self.dra is None else self.dra.drivers,
            look_every_s=self._registry_look_s,
        )

    def _on_registration(self, record: registration.Registration) -> None:
        self.registrations.append(record)
        self.changes.ring()


def _real_clock() -> clock.Clock:
    return clock.RealClock()
