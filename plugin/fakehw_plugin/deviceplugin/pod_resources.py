"""What the kubelet says of devices: which of them pods hold, and which it would give out (contract section 11).

Every failure means that it is not known, never that nothing is held. Why it is not known is logged when that changes.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any, Final

import grpc

from fakehw_plugin import logs, socket_path
from fakehw_plugin.device import DeviceID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kubeletapi.podresources.v1 import api_pb2

Device = tuple[str, DeviceID]
"""Resource and ID: two plugins may use the same IDs."""

TIMEOUT_S: Final = 5.0
_SERVICE: Final = "/v1.PodResourcesLister"
_OPTIONS: Final = (
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),  # the kubelet does not limit what it sends (contract PR-8)
)


class PodResources:
    """Asks the kubelet at `socket`; None: nobody is ever asked."""

    def __init__(self, socket: Path | None) -> None:
        self._socket = socket
        self._reason: str | None = None
        self._log = logs.get_logger()

    async def held(self) -> set[Device] | None:
        """Return the devices that active pods hold; None where that cannot be known."""
        reply: api_pb2.ListPodResourcesResponse | None = await self._ask("List", "ListPodResourcesResponse")
        if reply is None:
            return None
        containers = (container for pod in reply.pod_resources for container in pod.containers)
        return {device for container in containers for device in _devices(container.devices)}

    async def allocatable(self) -> set[Device] | None:
        """Return the devices that the kubelet takes for healthy (contract PR-4); None where that cannot be known."""
        reply: api_pb2.AllocatableResourcesResponse | None = await self._ask(
            "GetAllocatableResources", "AllocatableResourcesResponse"
        )
        return None if reply is None else set(_devices(reply.devices))

    async def _ask(self, method: str, kind: str) -> Any:
        """Return the answer as a message of `kind`, or None."""
        if self._socket is None:
            return None
        try:
            if not await asyncio.to_thread(self._socket.is_socket):
                raise FileNotFoundError(errno.ENOENT, "there is no socket")
            answer = await self._call(self._socket, method)
            # Loaded long before, as a rule (`load`); if only now, there may be no descriptor left for it.
            from google.protobuf.message import DecodeError

            from kubeletapi.podresources.v1 import api_pb2
        except OSError as error:
            return self._note(error.strerror or str(error))
        except grpc.aio.AioRpcError as error:
            return self._note(f"{error.code().name}: {error.details()}")
        try:
            reply = getattr(api_pb2, kind).FromString(answer)
        except DecodeError as error:
            return self._note(f"the answer is no {kind}: {error}")
        self._note(None)
        return reply

    @staticmethod
    async def _call(socket: Path, method: str) -> bytes:
        with socket_path.dialled(socket) as target:
            async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{_SERVICE}/{method}")
                return await call(b"", timeout=TIMEOUT_S)

    def _note(self, reason: str | None) -> Any:
        """Tell why nothing is known, and when that is over; return None."""
        if reason == self._reason:
            return None
        if reason is not None:
            self._log.warning("pod_resources_not_known", socket=str(self._socket), reason=reason)
        else:
            self._log.info("pod_resources_known_again", socket=str(self._socket))
        self._reason = reason
        return None


def _devices(entries: Iterable[api_pb2.ContainerDevices]) -> Iterable[Device]:
    for entry in entries:
        for device_id in entry.device_ids:
            yield entry.resource_name, DeviceID(device_id)
