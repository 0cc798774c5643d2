"""A node of the cluster in KUBECONFIG, whose kubelet's directories this process can reach: run it on the node, as root."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import lightkube
from lightkube import ApiError, KubeConfig
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Pod
from lightkube.resources.core_v1 import Node as NodeObject
from lightkube.types import PatchType

from fakekubelet import pod
from tests.fidelity.deaf_runtime import deaf_runtime
from tests.fidelity.node import DEADLINE_S, Node, Seen, remove_all

NAMESPACE = "-".join(["fakehw-fidelity", *filter(None, [os.environ.get("PYTEST_XDIST_WORKER")])])
"""One a process: claims are tried side by side, and each deletes its pods afterwards."""
# make hands on what is not set as empty.
NODE = os.environ.get("NODE") or "kind-worker"
KUBELET_DIR = Path(os.environ.get("KUBELET_DIR") or "/var/lib/kubelet")
"""Where the kubelet's own /var/lib/kubelet is for this process."""
KUBELET_RESTART = os.environ.get("KUBELET_RESTART", "")
IMAGE = os.environ.get("POD_IMAGE") or "busybox:1.36"
KUBELET_RESTART_WITH = os.environ.get("KUBELET_RESTART_WITH", "")
"""Like KUBELET_RESTART, but the kubelet is started with {flag} beside its own."""
RUNTIME_SOCKET = os.environ.get("RUNTIME_SOCKET") or "/run/containerd/containerd.sock"
TICK_S = 11.0
LOOK_S = 0.2

RUN = "env; until [ -e /tmp/end ]; do sleep 0.1; done"


class RealNode(Node):
    """Pods are bound to it by `spec.nodeName`; it is seen through the API server."""

    def __init__(self, client: lightkube.AsyncClient, version: str) -> None:
        self.release = ".".join(version.removeprefix("v").split(".")[:2])
        self.namespace = NAMESPACE
        self.plugin_dir = KUBELET_DIR / "device-plugins"
        self.plugins_registry = KUBELET_DIR / "plugins_registry"
        self.registry_as_the_kubelet_has_it = Path("/var/lib/kubelet/plugins_registry")
        self.pod_resources_socket = KUBELET_DIR / "pod-resources" / "kubelet.sock"
        self._client = client
        self._names: dict[str, str] = {}
        self._identity = self._socket()

    def _socket(self) -> tuple[int, int] | None:
        try:
            status = (self.plugin_dir / "kubelet.sock").stat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns

    async def numbers(self, resource: str, *, settled: bool = False) -> tuple[int, int] | None:
        if settled:
            await asyncio.sleep(TICK_S)
        status = (await self._client.get(NodeObject, NODE)).status
        if resource not in status.capacity:
            return None
        return int(status.capacity[resource]), int(status.allocatable.get(resource, 0))

    async def shows(self, resource: str, capacity: int, allocatable: int) -> None:
        async def look() -> Any:
            return await self.numbers(resource)

        await self._wait(look, lambda found: found == (capacity, allocatable))

    async def _wait(self, look: Callable[[], Any], holds: Callable[[Any], object]) -> Any:
        began = time.monotonic()
        while not holds(found := await look()):
            assert time.monotonic() - began < DEADLINE_S, found
            await asyncio.sleep(LOOK_S)
        return found

    async def run(self, spec: pod.Pod) -> None:
        name = self._names[spec.uid] = f"{spec.name}-{os.urandom(3).hex()}"

        def container(one: pod.Container, *, is_init: bool) -> dict[str, Any]:
            limits = {resource: str(count) for resource, count in one.limits.items()}
            made: dict[str, Any] = {
                "name": one.name, "image": one.image or IMAGE, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "env" if is_init and not one.is_sidecar else RUN],
                "resources": {"limits": limits, "requests": limits},
            }  # fmt: skip  # a field beside its value
            if one.is_sidecar:
                made["restartPolicy"] = "Always"
            return made

        manifest = {
            "metadata": {"name": name},
            "spec": {
                "nodeName": NODE,
                "terminationGracePeriodSeconds": 0,
                "restartPolicy": str(spec.restart_policy),
                "tolerations": [{"operator": "Exists"}],
                "automountServiceAccountToken": False,
                "initContainers": [container(spec_container, is_init=True) for spec_container in spec.init_containers],
                "containers": [container(spec_container, is_init=False) for spec_container in spec.containers],
            },
        }
        await self._client.create(Pod.from_dict(manifest), namespace=NAMESPACE)

    async def _seen(self, spec: pod.Pod) -> Seen:
        status = (await self._client.get(Pod, self._names[spec.uid], namespace=NAMESPACE)).status
        containers = [*(status.initContainerStatuses or []), *(status.containerStatuses or [])]
        return Seen(
            status.phase or "", status.reason or "", status.message or "",
            frozenset(container.name for container in containers if container.state and container.state.running),
            {
                container.name: (container.state.waiting.reason or "", container.state.waiting.message or "")
                for container in containers if container.state and container.state.waiting and container.state.waiting.message
            },
            {container.name: container.restartCount + bool(container.containerID) for container in containers},
            {
                container.name: {
                    device.resourceID: device.health or ""
                    for resource in container.allocatedResourcesStatus for device in resource.resources or []
                }
                for container in containers if container.allocatedResourcesStatus
            },
        )  # fmt: skip  # one line a field

    async def until(self, spec: pod.Pod, holds: Callable[[Seen], object]) -> Seen:
        async def look() -> Seen:
            return await self._seen(spec)

        found: Seen = await self._wait(look, holds)
        return found

    async def env(self, spec: pod.Pod, container: str = "main") -> dict[str, str]:
        async def look() -> str:
            lines = self._client.log(self._names[spec.uid], namespace=NAMESPACE, container=container)
            return "".join([line async for line in lines])

        text = await self._wait(look, lambda text: "PATH=" in text)
        pairs = (line.partition("=") for line in text.splitlines() if line.startswith("DEVICES_"))
        return {name: value for name, _, value in pairs}

    async def end_container(self, spec: pod.Pod, container: str = "main") -> None:
        name, command = self._names[spec.uid], ["sh", "-c", "mkdir -p /tmp && touch /tmp/end"]

        async def end() -> bool:
            try:
                await self._client.exec(name, namespace=NAMESPACE, container=container, command=command)
            except Exception as error:
                if "404" in str(error):  # a kubelet that has just started does not know its containers yet
                    return False
                raise
            return True

        await self._wait(end, bool)

    async def remove(self, spec: pod.Pod) -> None:
        name = self._names.pop(spec.uid)
        await self._client.delete(Pod, name, namespace=NAMESPACE, grace_period=0)

        async def look() -> bool:
            try:
                await self._client.get(Pod, name, namespace=NAMESPACE)
            except ApiError:
                return True
            return False

        await self._wait(look, bool)

    def name_of(self, spec: pod.Pod) -> str:
        return self._names[spec.uid]

    @contextlib.asynccontextmanager
    async def restarted_without_runtime(self) -> AsyncIterator[None]:
        name = "deaf-runtime.sock"
        async with deaf_runtime(KUBELET_DIR / name, Path(RUNTIME_SOCKET)) as hears:
            await self.restart(flag=f"--container-runtime-endpoint=unix:///var/lib/kubelet/{name}")
            hears.set()
            try:
                yield
            finally:
                await self.restart()

    @contextlib.asynccontextmanager
    async def dead(self) -> AsyncIterator[None]:
        restarting = asyncio.create_task(self.restart(), name="restart")
        async with asyncio.timeout(DEADLINE_S):
            while not self.has_crashed():
                await asyncio.sleep(0.001)  # a process that dies rings no bell here
        yield
        await restarting

    async def patch(self, resource: str, count: int) -> None:
        path = f"/status/capacity/{resource.replace('~', '~0').replace('/', '~1')}"
        change = [{"op": "add", "path": path, "value": str(count)}]
        await self._client.patch(NodeObject.Status, NODE, change, patch_type=PatchType.JSON)

    async def restart(self, *, emptied: tuple[str, ...] = (), flag: str = "") -> None:
        remove_all(self.plugin_dir, emptied)
        command = KUBELET_RESTART_WITH.replace("{flag}", flag) if flag else KUBELET_RESTART
        process = await asyncio.create_subprocess_shell(command.replace("{node}", NODE))
        assert await process.wait() == 0

        async def look() -> object:
            return self._socket() not in (None, self._identity)

        await self._wait(look, bool)
        self._identity = self._socket()

    async def restart_once(self) -> None:
        """Restart a kubelet that is dead, once, however many processes find it so."""
        with (KUBELET_DIR / "fidelity.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.has_crashed():
                await self.restart()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def has_crashed(self) -> bool:
        import socket

        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.plugin_dir / "kubelet.sock")) != 0

    async def close(self) -> None:
        async for known in self._client.list(Pod, namespace=NAMESPACE):
            with contextlib.suppress(ApiError):
                await self._client.delete(Pod, str(known.metadata.name), namespace=NAMESPACE, grace_period=0)


@contextlib.asynccontextmanager
async def real_node(policy: str = "none") -> AsyncIterator[RealNode]:
    """Give the node, with a kubelet of that topology manager policy; pods of the test go afterwards."""
    async with lightkube.AsyncClient(KubeConfig.from_env()) as client:
        with contextlib.suppress(ApiError):
            await client.create(Namespace(metadata=ObjectMeta(name=NAMESPACE)))
        shown = await client.get(NodeObject, NODE)
        node = RealNode(client, shown.status.nodeInfo.kubeletVersion)
        if node.has_crashed() and KUBELET_RESTART:  # the test before was about that, or its run was cut off
            await node.restart_once()
        if policy != "none":
            await node.restart(flag=f"--topology-manager-policy={policy}")
        try:
            yield node
        finally:
            await node.close()
            if policy != "none":
                await node.restart()
