"""The life of one admitted pod on a local node: init containers in turn, then sidecars and app containers side by side.

What the kubelet decides (devices, environment, PreStartContainer, back-off) is asked of the FakeKubelet; this module
only starts and ends processes. A container that ends is started again as its pod's restart policy says. One without a
command, whose image would say it, runs without a process, where whoever made the run lets such a pod come here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from fakekubelet import clock, pod
from fakekubelet.cluster import process
from fakekubelet.kubelet import kubelet, pod_status, pod_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fakekubelet.cluster.guard import Guard

FIRST_RESTART_BACKOFF_S = 10.0
LAST_RESTART_BACKOFF_S = 300.0
KILLED: Final = 137
"""What a container's exit status is that ended by SIGKILL."""
NOT_STARTED: Final = 128
"""That of one whose command could not be started."""


def check(spec: pod.Pod) -> None:
    """Refuse a pod that cannot be run here: images are not, so each container must say its command."""
    for container in (*spec.init_containers, *spec.containers):
        if not container.command:
            raise pod.PodSpecError(f"pod {spec.name}: container {container.name} needs a command: no image is run here")


def next_backoff_s(backoff_s: float | None, *, ran_s: float) -> float:
    """Return how long a container waits that has run for `ran_s`, and waited for `backoff_s` before that (None: never).

    The first time it does not wait, then 10 s, twice as long each time up to 5 minutes; after 10 minutes of life it
    begins anew (kuberuntime_manager.go:doBackOff, client-go's Backoff).
    """
    if backoff_s is None or ran_s > 2 * LAST_RESTART_BACKOFF_S:
        return 0.0
    return min(2 * backoff_s, LAST_RESTART_BACKOFF_S) or FIRST_RESTART_BACKOFF_S


class _FailedError(Exception):
    """The pod has failed for good."""


class PodRun:
    """Runs the processes of one pod.

    `outputs` take what each container prints, `env` is what it gets besides the plugins' variables and the pod's own.
    `ring` is called whenever something of it has changed, `note` with the type, reason and message of an event.
    With `goes_on` the containers that run by their status were another process's, which was killed with them: they
    have ended so now, and those that had ended before are not run again unless the restart policy says so.
    """

    def __init__(
        self,
        node: kubelet.FakeKubelet,
        admitted: pod_status.AdmittedPod,
        *,
        outputs: Mapping[str, Callable[[bytes], None]],
        ring: Callable[[], None],
        note: Callable[[str, str, str], None],
        time_source: clock.Clock,
        env: Mapping[str, Mapping[str, str]] | None = None,
        guard: Guard | None = None,
        goes_on: bool = False,
    ) -> None:
        self._node = node
        self._admitted = admitted
        self._outputs = outputs
        self._ring = ring
        self._note = note
        self._clock = time_source
        self._env = env or {}
        self._guard = guard
        self._goes_on = goes_on
        self._running: dict[str, process.Process] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping = 0

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing of it runs any more."""
        return self._task is not None and self._task.done() and not self._running and not self._stopping

    def start(self) -> None:
        """Begin; `stop` must follow."""
        if self._goes_on:
            for name, status in self._admitted.containers.items():
                if status.is_running and self._container(name).command:
                    self._node.container_exited(self._admitted, name, KILLED)
        self._task = asyncio.create_task(self._run(), name=f"pod {self._admitted.pod.name}")
        self._task.add_done_callback(_raise_error)

    async def stop(self, grace_s: float) -> None:
        """End all processes, kindly at first; the pod has run to its end then. While it ends, less grace may follow."""
        self._stopping += 1
        try:
            if self._task is not None and not self._task.done():
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
            await self._stop_processes(grace_s)
            if self._admitted.is_active:
                self._end()
        finally:
            self._stopping -= 1
        self._ring()

    def _end(self) -> None:
        """Note that a pod that was told to end has ended (kubelet_pods.go:getPhase)."""
        admitted = self._admitted
        for status in admitted.containers.values():
            if status.is_running:  # without a process
                self._node.container_exited(admitted, status.name, 0)
        ends = [admitted.containers[app.name].ended for app in admitted.pod.containers]
        has_failed = any(ended is None or ended.exit_code for ended in ends)
        self._node.finish(admitted, pod_status.Phase.FAILED if has_failed else pod_status.Phase.SUCCEEDED)

    async def _stop_processes(self, grace_s: float) -> None:
        async def stop(name: str, running: process.Process) -> None:
            code = await running.stop(grace_s)
            if self._running.pop(name, None) is not None:
                self._exited(name, code)

        await asyncio.gather(*(stop(name, running) for name, running in list(self._running.items())))

    def _exited(self, name: str, code: int, message: str = "") -> int:
        """Note how a container ended; return its exit status as a pod's status has it."""
        if code < 0:
            code = 128 - code  # of a signal
        self._node.container_exited(self._admitted, name, code, message)
        self._ring()
        return code

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
        status = self._admitted.containers[container.name]
        ended = status.ended if self._goes_on else None
        code = ended.exit_code if ended is not None else await self._run_once(container, is_init=is_init)
        backoff_s: float | None = None
        while policy is pod.RestartPolicy.ALWAYS or (policy is pod.RestartPolicy.ON_FAILURE and code != 0):
            assert status.ended is not None
            backoff_s = next_backoff_s(backoff_s, ran_s=status.ended.finished_at - status.ended.started_at)
            if backoff_s:
                await self._back_off(status, status.ended, backoff_s)
            code = await self._run_once(container, is_init=is_init)
        if is_init and code != 0:
            raise _FailedError
        return code

    async def _back_off(self, status: pod_status.ContainerStatus, ended: pod_status.Ended, backoff_s: float) -> None:
        spec = self._admitted.pod
        whose = f"{spec.name}_{spec.namespace}({spec.uid})"
        if not ended.message:  # else why it cannot start is what people look for
            status.waiting_reason = "CrashLoopBackOff"
            status.message = f"back-off {_shown(backoff_s)} restarting failed container={status.name} pod={whose}"
        self._note("Warning", "BackOff", f"Back-off restarting failed container {status.name} in pod {whose}")
        self._ring()
        await clock.sleep(self._clock, backoff_s)

    async def _run_once(self, container: pod.Container, *, is_init: bool) -> int:
        status = self._admitted.containers[container.name]
        if not (self._goes_on and status.is_running):
            await self._create(container)
        if not container.command:
            if not is_init:
                await asyncio.Event().wait()
            return self._exited(container.name, 0)
        plugins = {**status.env, **self._env.get(container.name, {})}
        env = process.environment(self._admitted.pod.name, plugins, container.env)
        try:
            started = await process.Process.start(
                (*container.command, *container.args), env, output=self._outputs[container.name], guard=self._guard
            )
        except (OSError, ValueError) as error:  # no such command; what a process cannot be given
            status.waiting_reason, status.message = "RunContainerError", str(error)
            return self._exited(container.name, NOT_STARTED, str(error))
        self._running[container.name] = started
        await started.wait()
        code = await started.stop(0)  # what it left behind goes with it
        self._running.pop(container.name, None)
        return self._exited(container.name, code)

    async def _create(self, container: pod.Container) -> None:
        """Have the kubelet create a container, again after its back-off where that fails (contract PS-2)."""
        while (await self._node.start_container(self._admitted, container.name)).waiting_reason is not None:
            self._ring()
            await clock.sleep(self._clock, pod_workers.WORKER_BACKOFF_S)
        self._ring()

    def _container(self, name: str) -> pod.Container:
        spec = self._admitted.pod
        return next(one for one in (*spec.init_containers, *spec.containers) if one.name == name)


def _shown(seconds: float) -> str:
    """Return a duration as Go writes it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _raise_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
