"""Which devices pods hold, as the kubelet's PodResources API tells it (contract section 11).

Every failure means that it is not known, never that nothing is held.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fakehw_plugin import socket_path
from fakehw_plugin.device import DeviceID

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_S: Final = 5.0
_METHOD: Final = "/v1.PodResourcesLister/List"
_OPTIONS: Final = (
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # the kubelet does not limit what it sends (contract PR-8)
)


async def held_devices(socket: Path | None) -> set[DeviceID] | None:
    """Return the IDs that active pods hold, of any resource; None where the kubelet cannot be asked."""
    if socket is None or not await asyncio.to_thread(socket.is_socket):
        return None
    import grpc

    from kubeletapi.podresources.v1 import api_pb2

    try:
        with socket_path.dialled(socket) as target:
            async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
                list_pods = channel.unary_unary(
                    _METHOD,
                    request_serializer=api_pb2.ListPodResourcesRequest.SerializeToString,
                    response_deserializer=api_pb2.ListPodResourcesResponse.FromString,
                )
                response = await list_pods(api_pb2.ListPodResourcesRequest(), timeout=TIMEOUT_S)
    except (OSError, grpc.aio.AioRpcError):
        return None
    return {
        DeviceID(device_id)
        for pod in response.pod_resources
        for container in pod.containers
        for devices in container.devices
        for device_id in devices.device_ids
    }
