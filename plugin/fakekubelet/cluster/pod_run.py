"""The life of one admitted pod on a local node: init containers in turn, then sidecars and app containers side by side.

What the kubelet decides (devices, environment, PreStartContainer, back-off) is asked of the FakeKubelet; this module
only starts and ends processes. A container that ends is started again as its pod's restart policy says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fakekubelet import clock, pod
from fakekubelet.cluster import process
from fakekubelet.kubelet import kubelet, pod_status, pod_workers

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
        note: Callable[[str, str, str], None],
        time_source: clock.Clock,
    ) -> None:
        """Describe it; *note* takes the type, the reason and the message of an event."""
        self._node = node
        self._admitted = admitted
        self._ring = ring
        self._note = note
        self._clock = time_source
        self._running: dict[str, process.Process] = {}
        self._logs: dict[str, list[process.Process]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; `stop` must follow."""
        self._task = asyncio.create_task(self._run(), name=f"pod {self._admitted.pod.name}")
        self._task.add_done_callback(_raise_error)

    async def stop(self, grace_s: float) -> None:
        """End all processes, kindly at first."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._stop_processes(grace_s)

    async def _stop_processes(self, grace_s: float) -> None:
        left, self._running = self._running, {}
        await asyncio.gather(*(running.stop(grace_s) for running in left.values()))

    def logs(self, container: str) -> str:
        """Return the output of all runs of a container."""
        return "".join(run.output for run in self._logs.get(container, []))

    async def _run(self) -> None:
        phase: pod_status.Phase | None = pod_status.Phase.FAILED
        try:
            codes = await self._play()
            phase = pod_status.Phase.FAILED if any(codes) else pod_status.Phase.SUCCEEDED
        except* _FailedError:
            pass
        except* pod_workers.PodEndedError:
            phase = None  # the kubelet has said so itself: it refused the pod when it came up again (contract RS-7)
            self._note("Warning", self._admitted.reason, self._admitted.message.removeprefix("Pod was rejected: "))
        except* Exception:
            await self._stop_processes(0)  # a bug: nothing is left running for it
            self._node.finish(self._admitted, pod_status.Phase.FAILED)
            raise
        await self._stop_processes(self._admitted.pod.grace_period_s)
        if phase is not None:
            self._node.finish(self._admitted, phase)
        self._ring()

    async def _play(self) -> list[int]:
        """Run all containers, each until its policy lets it end; return the exit statuses of the app containers."""
        spec = self._admitted.pod
        async with asyncio.TaskGroup() as group:
            helpers: list[asyncio.Task[Any]] = [
                group.create_task(self._until_refused(), name=f"pod {spec.name} refused")
            ]
            for container in spec.init_containers:
                keep = self._keep_up(container, pod.RestartPolicy.ALWAYS if container.is_sidecar else None)
                if container.is_sidecar:
                    helpers.append(group.create_task(keep, name=f"sidecar {container.name}"))
                else:
                    await keep
            apps = [
                group.create_task(self._keep_up(container), name=f"container {container.name}")
                for container in spec.containers
            ]
            codes = await asyncio.gather(*apps)
            for helper in helpers:
                helper.cancel()
        return list(codes)

    async def _until_refused(self) -> None:
        await self._node.changes.wait_for(
            lambda: not self._admitted.is_active, timeout_s=None, describe=self._node.describe
        )
        raise pod_workers.PodEndedError(self._admitted.message)

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
        except (OSError, ValueError) as error:  # no such command; what a process cannot be given
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


def _raise_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
