"""The fake kubelet as a node."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fakekubelet import FakeKubelet, ManualClock, Mode, pod
from fakekubelet.kubelet import pod_status
from tests.fidelity.node import DEADLINE_S, NO_IMAGE, Node, Seen, remove_all

MODE = os.environ.get("FIDELITY_MODE") or str(Mode.V1_36)
"""The release that is played; hack/kubernetes_row.py sets the real one's."""

STEP_S, LOOK_S = 0.2, 0.002
"""The kubelet's time between two looks, and real time meanwhile; a call to a plugin may have a second of the former."""

PATIENCE_S = 0.2
"""Real time between two looks once the kubelet's time is over."""


CALLS_S = 5.0
"""Real time that the calls of one claim get, all in all; those that are to hang use it up."""

SETTLE_S = 0.05
"""Real time for what goes over sockets: a claim may be that nothing comes."""


class FakeNode(Node):
    """A fake kubelet whose time runs while something is waited for."""

    def __init__(self, kubelet: FakeKubelet, clock: ManualClock, root: Path) -> None:
        self.release = str(kubelet.mode)
        self.namespace = "default"
        self.plugin_dir = kubelet.plugin_dir
        self.plugins_registry = self.registry_as_the_kubelet_has_it = root / "reg"
        self.pod_resources_socket = root / "pr" / "kubelet.sock"
        self._kubelet = kubelet
        self._clock = clock
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._grace_s = CALLS_S

    async def numbers(self, resource: str, *, settled: bool = False) -> tuple[int, int] | None:
        if settled:
            await self.pass_time(11)
        status = self._kubelet.node_status
        if resource not in status.capacity:
            return None
        return status.capacity[resource], status.allocatable[resource]

    async def shows(self, resource: str, capacity: int, allocatable: int) -> None:
        wanted = capacity, allocatable
        await self._wait(lambda: self._shown(resource) == wanted, lambda: f"{resource}: {self._shown(resource)}")

    def _shown(self, resource: str) -> tuple[int | None, int | None]:
        status = self._kubelet.node_status
        return status.capacity.get(resource), status.allocatable.get(resource)

    async def _wait(self, holds: Callable[[], object], describe: Callable[[], Any]) -> None:
        # The kubelet's time first; then real time, which sockets need, and on a busy machine more of it.
        began = self._clock.time()
        for _ in range(int(DEADLINE_S / STEP_S + 2 * DEADLINE_S)):
            if holds():
                return
            if not (is_over := self._clock.time() - began >= DEADLINE_S):
                await self._let_calls_end()
                await self._clock.advance(STEP_S)
            await self._kubelet.tick()
            with contextlib.suppress(TimeoutError):
                await self._kubelet.wait_for(holds, timeout=PATIENCE_S if is_over else LOOK_S)
        raise AssertionError(describe())

    async def _let_calls_end(self) -> None:
        """Give calls to plugins real time before the kubelet's goes on, as long as there is some left for it.

        GetInfo has a second of the kubelet's time, which on a busy machine is over before its answer is here.
        """
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            await self._kubelet.wait_for(lambda: not self._is_calling(), timeout=max(0.0, self._grace_s))
        self._grace_s -= time.monotonic() - began

    def _is_calling(self) -> bool:
        return any(call.is_open and call.method != "ListAndWatch" for call in self._kubelet.calls)

    async def run(self, spec: pod.Pod) -> None:
        self._runs[spec.uid] = asyncio.create_task(self._run(spec), name=f"pod {spec.name}")

    async def _run(self, spec: pod.Pod) -> None:
        admitted = await self._kubelet.admit(spec)
        if not admitted.is_active:
            return
        for container in spec.init_containers:
            await self._kubelet.start_container(spec, container.name, retry=True)
            if not container.is_sidecar:
                self._kubelet.container_exited(spec, container.name)
        for container in spec.containers:
            if container.image != NO_IMAGE:
                await self._kubelet.start_container(spec, container.name, retry=True)

    def _admitted(self, spec: pod.Pod) -> pod_status.AdmittedPod | None:
        return next((known for known in self._kubelet.pods if known.uid == spec.uid), None)

    def _seen(self, spec: pod.Pod) -> Seen:
        admitted = self._admitted(spec)
        if admitted is None:
            return Seen("")
        containers = admitted.containers
        return Seen(
            str(admitted.phase), admitted.reason, admitted.message,
            frozenset(name for name, container in containers.items() if container.is_running),
            {name: (container.waiting_reason, container.message) for name, container in containers.items() if container.waiting_reason},
            {name: container.starts for name, container in containers.items()},
            {
                name: {device: health for devices in held.values() for device, health in devices.items()}
                for name, held in self._kubelet.allocated_resources_status(spec).items()
                if held
            },
        )  # fmt: skip  # one line a field

    async def until(self, spec: pod.Pod, holds: Callable[[Seen], object]) -> Seen:
        await self._wait(lambda: holds(self._seen(spec)), lambda: self._seen(spec))
        return self._seen(spec)

    async def env(self, spec: pod.Pod, container: str = "main") -> dict[str, str]:
        admitted = self._admitted(spec)
        assert admitted is not None
        return {
            name: value for name, value in admitted.containers[container].env.items() if name.startswith("DEVICES_")
        }

    async def end_container(self, spec: pod.Pod, container: str = "main") -> None:
        if spec.restart_policy is pod.RestartPolicy.NEVER:
            self._kubelet.finish(spec, pod_status.Phase.SUCCEEDED)
            return
        self._kubelet.container_exited(spec, container)
        self._runs[spec.uid] = asyncio.create_task(self._again(spec, container), name=f"pod {spec.name}")

    async def _again(self, spec: pod.Pod, container: str) -> None:
        await self._kubelet.start_container(spec, container, retry=True)

    async def remove(self, spec: pod.Pod) -> None:
        await self._end(self._runs.pop(spec.uid))
        await self._kubelet.remove(spec)

    async def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def name_of(self, spec: pod.Pod) -> str:
        return spec.name

    async def restart(self, *, emptied: tuple[str, ...] = ()) -> None:
        await self._kubelet.stop()
        remove_all(self.plugin_dir, emptied)
        await self._kubelet.start()

    @contextlib.asynccontextmanager
    async def restarted_without_runtime(self) -> AsyncIterator[None]:
        await self._kubelet.stop()
        await self._kubelet.start(runtime_answers=False)
        yield

    @contextlib.asynccontextmanager
    async def dead(self) -> AsyncIterator[None]:
        await self._kubelet.stop()
        yield
        await self._kubelet.start()

    async def patch(self, resource: str, count: int) -> None:
        self._kubelet.patch_node({resource: count})

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(SETTLE_S)
        await self._let_calls_end()
        await self._clock.advance(seconds)
        await self._kubelet.tick()
        await asyncio.sleep(SETTLE_S)

    def has_crashed(self) -> bool:
        return bool(self._kubelet.hazards)

    async def close(self) -> None:
        for task in self._runs.values():
            await self._end(task)


@contextlib.asynccontextmanager
async def fake_node(root: Path, topology_policy: str = "none") -> AsyncIterator[FakeNode]:
    """Run one."""
    clock = ManualClock()
    kubelet = FakeKubelet(
        root / "dp",
        pod_resources_socket=root / "pr" / "kubelet.sock",
        plugins_registry=root / "reg",
        clock=clock,
        mode=MODE,
        topology_policy=topology_policy,
    )
    async with kubelet:
        node = FakeNode(kubelet, clock, root)
        try:
            yield node
        finally:
            await node.close()
