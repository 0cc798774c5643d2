"""PodResources v1 on a socket of its own: who holds which device.

Mirrors `apis/podresources/server_v1.go` and the device part of the container manager (contract PR-1 to PR-9). There are
no CPUs, memory or dynamic resources to report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from fakekubelet.kubelet import socket_server
from kubeletapi.podresources.v1 import api_pb2 as podresourcesapi
from kubeletapi.podresources.v1 import api_pb2_grpc as podresourcesapi_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from fakekubelet import clock, pod
    from fakekubelet.kubelet import device_manager, pod_status

RATE_PER_S = 100.0
BURST = 10


class RateLimit:
    """A token bucket: 100 requests a second, ten at once (contract PR-7)."""

    def __init__(self, time_source: clock.Clock) -> None:
        self._clock = time_source
        self._tokens = float(BURST)
        self._at = time_source.time()

    def allows(self) -> bool:
        """Take a token, if there is one."""
        now = self._clock.time()
        self._tokens = min(BURST, self._tokens + (now - self._at) * RATE_PER_S)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class PodResourcesServer(podresourcesapi_grpc.PodResourcesListerServicer):
    """Serves `v1.PodResourcesLister` for one kubelet."""

    def __init__(
        self,
        socket_path: Path,
        manager: device_manager.DeviceManager,
        *,
        pods: Callable[[], Sequence[pod_status.AdmittedPod]],
        time_source: clock.Clock,
        serves_get: bool = True,
    ) -> None:
        self._serves_get = serves_get
        self._socket_path = socket_path
        self._manager = manager
        self._pods = pods
        self._limit = RateLimit(time_source)
        self._server = socket_server.SocketServer(
            socket_path, lambda server: podresourcesapi_grpc.add_PodResourcesListerServicer_to_server(self, server)
        )

    async def start(self) -> None:
        """Listen."""
        self._socket_path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        await self._server.start()

    async def stop(self) -> None:
        """Stop at once; the socket stays."""
        await self._server.stop()

    async def List(
        self,
        request: podresourcesapi.ListPodResourcesRequest,
        context: podresourcesapi_grpc._ServicerContext,
    ) -> podresourcesapi.ListPodResourcesResponse:
        """Return all active pods, those without devices included; frees those of the others (contract PR-1, PR-9)."""
        await self._throttle(context)
        self._manager.update_allocated()
        active = [known for known in self._pods() if known.is_active]
        return podresourcesapi.ListPodResourcesResponse(
            pod_resources=[self._pod_resources(known.pod) for known in active]
        )

    async def GetAllocatableResources(
        self,
        request: podresourcesapi.AllocatableResourcesRequest,
        context: podresourcesapi_grpc._ServicerContext,
    ) -> podresourcesapi.AllocatableResourcesResponse:
        """Return all healthy devices, in use or not (contract PR-4)."""
        await self._throttle(context)
        devices: list[podresourcesapi.ContainerDevices] = []
        for resource, healthy in sorted(self._manager.healthy.items()):
            known = self._manager.all_devices.get(resource, {})
            for device_id in sorted(healthy & known.keys()):
                if not known[device_id].has_empty_topology:
                    devices += _entries(resource, device_id, known[device_id].numa_nodes)
        return podresourcesapi.AllocatableResourcesResponse(devices=devices)

    async def Get(
        self,
        request: podresourcesapi.GetPodResourcesRequest,
        context: podresourcesapi_grpc._ServicerContext,
    ) -> podresourcesapi.GetPodResourcesResponse:
        """Return one pod by name and namespace (contract PR-5)."""
        await self._throttle(context)
        if not self._serves_get:
            await context.abort(grpc.StatusCode.UNKNOWN, "PodResources API Get method disabled")
        wanted = (request.pod_name, request.pod_namespace)
        found = next((known.pod for known in self._pods() if (known.pod.name, known.pod.namespace) == wanted), None)
        if found is None:
            text = f"pod {request.pod_name} in namespace {request.pod_namespace} not found"
            await context.abort(grpc.StatusCode.UNKNOWN, text)
        return podresourcesapi.GetPodResourcesResponse(pod_resources=self._pod_resources(found))

    async def _throttle(self, context: podresourcesapi_grpc._ServicerContext) -> None:
        if not self._limit.allows():
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")

    def _pod_resources(self, spec: pod.Pod) -> podresourcesapi.PodResources:
        shown = [*(container for container in spec.init_containers if container.is_sidecar), *spec.containers]
        return podresourcesapi.PodResources(
            name=spec.name,
            namespace=spec.namespace,
            containers=[
                podresourcesapi.ContainerResources(name=container.name, devices=self._devices(spec.uid, container.name))
                for container in shown
            ],
        )

    def _devices(self, uid: str, container: str) -> list[podresourcesapi.ContainerDevices]:
        devices: list[podresourcesapi.ContainerDevices] = []
        for resource, held in sorted(self._manager.pod_devices.of_container(uid, container).items()):
            for device_id, nodes in sorted(held.numa_nodes.items()):
                devices += _entries(resource, device_id, nodes)
        return devices


def _entries(resource: str, device_id: str, numa_nodes: Iterable[int]) -> list[podresourcesapi.ContainerDevices]:
    """Return one entry per NUMA node, each with one ID (contract PR-3)."""
    return [
        podresourcesapi.ContainerDevices(
            resource_name=resource,
            device_ids=[device_id],
            topology=podresourcesapi.TopologyInfo(nodes=[podresourcesapi.NUMANode(ID=node)]),
        )
        for node in sorted(numa_nodes)
    ] or [podresourcesapi.ContainerDevices(resource_name=resource, device_ids=[device_id])]
