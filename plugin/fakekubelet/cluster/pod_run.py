"""The life of one admitted pod on a local node: init containers in turn, then sidecars and app containers side by side.

What the kubelet decides (devices, environment, PreStartContainer, back-off) is asked of the FakeKubelet; this module
only starts and ends processes. A container that ends is started again as its pod's restart policy says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fakekubelet import clock, pod
from fakekubelet.cluster import process
from fakekubelet.kubelet import kubelet, pod_status

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_RESTART_BACKOFF_S = 10.0
LAST_RESTART_BACKOFF_S = 300.0


def check(spec: pod.Pod) -> None:
    """Refuse a pod that cannot be run here: images are not, so each container must say its command."""
    for container in (*spec.init_containers, *spec.containers):
        if not container.command:
            raise pod.PodSpecError(f"pod {spec.name}: container {container.name} needs a command: no image is run here")


class _FailedError(Exception):
    """The pod has failed for good."""


class PodRun:
    """Runs the processes of one pod."""

    def __init__(
        self,
        node: kubelet.FakeKubelet,
        admitted: pod_status.AdmittedPod,
        *,
        ring: Callable[[], None],
        time_source: clock.Clock,
    ) -> None:
        self._node = node
        self._admitted = admitted
        self._ring = ring
        self._clock = time_source
        self._running: dict[str, process.Process] = {}
        self._logs: dict[str, list[process.Process]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; `stop` must follow."""
        self._task = asyncio.create_task(self._run(), name=f"pod {self._admitted.pod.name}")

    async def stop(self, grace_s: float) -> None:
        """End all processes, kindly at first."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._stop_processes(grace_s)

    async def _stop_processes(self, grace_s: float) -> None:
        left, self._running = self._running, {}
        await asyncio.gather(*(one.stop(grace_s) for one in left.values()))

    def logs(self, container: str) -> str:
        """Return the output of all runs of a container."""
        return "".join(one.output for one in self._logs.get(container, []))

    async def _run(self) -> None:
        spec = self._admitted.pod
        try:
            async with asyncio.TaskGroup() as group:
                sidecars = []
                for container in spec.init_containers:
                    keep = self._keep_up(container, pod.RestartPolicy.ALWAYS if container.is_sidecar else None)
                    if container.is_sidecar:
                        sidecars.append(group.create_task(keep, name=f"sidecar {container.name}"))
                    else:
                        await keep
                apps = [
                    group.create_task(self._keep_up(container), name=f"container {container.name}")
                    for container in spec.containers
                ]
                codes = await asyncio.gather(*apps)
                for sidecar in sidecars:
                    sidecar.cancel()
        except* _FailedError:
            codes = [1]
        phase = pod_status.Phase.FAILED if any(codes) else pod_status.Phase.SUCCEEDED
        await self._stop_processes(spec.grace_period_s)
        self._node.finish(self._admitted, phase)

    async def _keep_up(self, container: pod.Container, policy: pod.RestartPolicy | None = None) -> int:
        """Run a container until its policy lets it end; return the exit status."""
        is_init = container in self._admitted.pod.init_containers and not container.is_sidecar
        if policy is None:
            policy = self._admitted.pod.restart_policy
            if is_init and policy is pod.RestartPolicy.ALWAYS:
                policy = pod.RestartPolicy.ON_FAILURE  # an init container is meant to end
        backoff_s = FIRST_RESTART_BACKOFF_S
        while True:
            code = await self._run_once(container)
            if policy is pod.RestartPolicy.NEVER or (policy is pod.RestartPolicy.ON_FAILURE and code == 0):
                if is_init and code != 0:
                    raise _FailedError
                return code
            await clock.sleep(self._clock, backoff_s)
            backoff_s = min(2 * backoff_s, LAST_RESTART_BACKOFF_S)

    async def _run_once(self, container: pod.Container) -> int:
        status = await self._node.start_container(self._admitted, container.name, retry=True)
        env = process.environment(self._admitted.pod.name, status.env, container.env)
        try:
            started = await process.Process.start((*container.command, *container.args), env, on_output=self._ring)
        except OSError as error:
            status.waiting_reason, status.message = "RunContainerError", str(error)
            self._node.container_exited(self._admitted, container.name)
            return 127
        self._running[container.name] = started
        self._logs.setdefault(container.name, []).append(started)
        code = await started.wait()
        await started.stop(0)  # what it left behind goes with it
        self._running.pop(container.name, None)
        self._node.container_exited(self._admitted, container.name)
        return code
