"""A node with a kubelet, be it real or fake, as far as a device plugin and its pods are concerned."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import grpc

from fakekubelet import pod
from kubeletapi.podresources.v1 import api_pb2_grpc as podresources_grpc

DEADLINE_S = 60.0
"""For what a kubelet does within its own pace: 10.4 s for a node's status (contract NS-5), 10 s for a container's next try."""


NO_IMAGE = "registry.invalid/there-is/no-such:image"


@dataclasses.dataclass(frozen=True)
class Seen:
    """A pod's status."""

    phase: str
    reason: str = ""
    message: str = ""
    running: frozenset[str] = frozenset()
    """Containers that run."""
    waiting: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    """Container to reason and message."""
    starts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Container to the number of times it was created."""
    health: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    """Container to device ID to health, from `allocatedResourcesStatus` (contract HS-2)."""


class Node(abc.ABC):
    """What a claim may do and look at."""

    release: str
    """The kubelet's minor, as in "1.36"."""
    namespace: str
    """Of the pods."""
    plugin_dir: Path
    plugins_registry: Path
    registry_as_the_kubelet_has_it: Path
    """The same directory by the kubelet's name for it, which it sends as authority (contract PW-8)."""
    pod_resources_socket: Path

    @abc.abstractmethod
    async def numbers(self, resource: str, *, settled: bool = False) -> tuple[int, int] | None:
        """Return capacity and allocatable as the Node object shows them, None if it does not know the resource.

        `settled`: after the next status is sure to have come.
        """

    @abc.abstractmethod
    async def shows(self, resource: str, capacity: int, allocatable: int) -> None:
        """Wait until the Node object shows these numbers."""

    @abc.abstractmethod
    async def run(self, spec: pod.Pod) -> None:
        """Bind a pod to this node, past the scheduler. Its containers run for ever, init containers end at once.

        One whose image is NO_IMAGE does not start.
        """

    @abc.abstractmethod
    async def until(self, spec: pod.Pod, holds: Callable[[Seen], object]) -> Seen:
        """Wait until a pod's status is like that."""

    @abc.abstractmethod
    async def env(self, spec: pod.Pod, container: str = "main") -> dict[str, str]:
        """Return the variables that plugins set in a container that runs or has run; names begin with `DEVICES_`."""

    @abc.abstractmethod
    async def end_container(self, spec: pod.Pod, container: str = "main") -> None:
        """Have a running container end well, so that it is created again, or the pod has succeeded."""

    @abc.abstractmethod
    async def remove(self, spec: pod.Pod) -> None:
        """Delete a pod and wait until it is gone."""

    @abc.abstractmethod
    def name_of(self, spec: pod.Pod) -> str:
        """Return the name of a pod's object, which may not be the specification's."""

    @abc.abstractmethod
    async def restart(self, *, emptied: tuple[str, ...] = ()) -> None:
        """Kill the kubelet and start it again; containers go on. What matches `emptied` in its directory is gone then."""

    @abc.abstractmethod
    def restarted_without_runtime(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Restart the kubelet while the container runtime answers no question; it does when the body begins."""

    @abc.abstractmethod
    def dead(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Restart the kubelet; the body runs when it has just died."""

    @abc.abstractmethod
    async def patch(self, resource: str, count: int) -> None:
        """Add a resource to the Node object by hand, as an administrator may."""

    @abc.abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """Let so much of the kubelet's time go by."""

    @abc.abstractmethod
    def has_crashed(self) -> bool:
        """Tell whether the kubelet has died of what was done to it, or would have (contract LW-13)."""

    async def time_until(self, holds: Callable[[], object]) -> int:
        """Let the kubelet's time go by until something is so, and return how many seconds of it were waited for."""
        for second in range(int(DEADLINE_S)):
            if holds():
                return second
            await self.pass_time(1)
        raise AssertionError(f"it was not so within {DEADLINE_S:g} s")

    async def fails(self, spec: pod.Pod) -> Seen:
        """Run a pod that is refused."""
        await self.run(spec)
        return await self.until(spec, lambda one: one.phase == "Failed")

    async def runs(self, spec: pod.Pod) -> Seen:
        """Run a pod until all its app containers do."""
        await self.run(spec)
        wanted = {container.name for container in spec.containers}
        return await self.until(spec, lambda one: wanted <= one.running)

    @contextlib.asynccontextmanager
    async def pod_resources(self) -> AsyncIterator[podresources_grpc.PodResourcesListerAsyncStub]:
        """Connect to PodResources."""
        async with grpc.aio.insecure_channel(f"unix:{self.pod_resources_socket}") as channel:
            yield podresources_grpc.PodResourcesListerStub(channel)


def remove_all(directory: Path, patterns: tuple[str, ...]) -> None:
    """Remove the files that match."""
    for pattern in patterns:
        for path in directory.glob(pattern):
            path.unlink()
