"""A device plugin with its behavior as parameters, for tests of kubelets and of whatever else meets plugins.

The counterpart of the kubelet's own `stub.go`: it serves what it is told to serve, right or wrong, and remembers what
it was asked. It is no example of a good plugin; `fakehw_plugin` itself is.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc

from fakekubelet import socket_path
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from kubeletapi.deviceplugin.v1beta1 import constants
from kubeletapi.pluginregistration.v1 import api_pb2 as watcherapi
from kubeletapi.pluginregistration.v1 import api_pb2_grpc as watcherapi_grpc

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

ReplyT = TypeVar("ReplyT")

Behavior = Callable[[Any], Awaitable[Any]]
"""An answer to one RPC: given the request it returns the reply or raises `Refusal`."""

REGISTER_TIMEOUT_S = 15.0
"""Longer than the kubelet's own dial timeout (contract REG-7)."""


class Refusal(Exception):  # noqa: N818 - an answer, not an error of the stub
    """Raised by a behavior: answer with this status."""

    def __init__(self, text: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        self.text = text
        self.code = code
        super().__init__(text)


def devices(*ids: str, health: str = constants.HEALTHY, numa: int | None = None) -> list[pluginapi.Device]:
    """Return device messages, alike but for their IDs."""
    topology = None if numa is None else pluginapi.TopologyInfo(nodes=[pluginapi.NUMANode(ID=numa)])
    return [pluginapi.Device(ID=device_id, health=health, topology=topology) for device_id in ids]


class StubPlugin(pluginapi_grpc.DevicePluginServicer, watcherapi_grpc.RegistrationServicer):
    """One server on one socket for one resource.

    *behaviors* replaces the answer of an RPC by name, `GetInfo` and `NotifyRegistrationStatus` included.
    """

    def __init__(
        self,
        directory: Path,
        resource: str,
        listed: Iterable[pluginapi.Device] = (),
        *,
        endpoint: str = "stub.sock",
        options: pluginapi.DevicePluginOptions | None = None,
        request_options: pluginapi.DevicePluginOptions | None = None,
        lists_nothing: bool = False,
        behaviors: dict[str, Behavior] | None = None,
    ) -> None:
        self.resource = resource
        self.endpoint = endpoint
        self.requests: list[tuple[str, Any]] = []
        """RPCs received, in order, with their requests."""
        self.behaviors = behaviors if behaviors is not None else {}
        self._directory = directory
        self._options = options if options is not None else pluginapi.DevicePluginOptions()
        self._request_options = request_options
        self._messages: list[pluginapi.ListAndWatchResponse] = []
        if not lists_nothing:
            self._messages.append(pluginapi.ListAndWatchResponse(devices=listed))
        self._news = asyncio.Condition()
        self._ending: Refusal | bool = False
        self._server: grpc.aio.Server | None = None

    @property
    def socket_path(self) -> Path:
        """Where it serves."""
        return self._directory / self.endpoint

    async def __aenter__(self) -> Self:
        await self.serve()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def serve(self) -> None:
        """Bind and serve; no kubelet is told."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pluginapi_grpc.add_DevicePluginServicer_to_server(self, server)
        watcherapi_grpc.add_RegistrationServicer_to_server(self, server)
        server.add_insecure_port(socket_path.target(self.socket_path))
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """End at once; the socket goes away and open streams break."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def register(self, *, version: str = constants.VERSION, endpoint: str | None = None) -> None:
        """Call the kubelet's Register once; raise what it answers."""
        options = [("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        with socket_path.dialed(self._directory / constants.KUBELET_SOCKET) as target:
            await self._register(grpc.aio.insecure_channel(target, options=options), version, endpoint)

    async def _register(self, connection: grpc.aio.Channel, version: str, endpoint: str | None) -> None:
        async with connection as channel:
            await pluginapi_grpc.RegistrationStub(channel).Register(
                pluginapi.RegisterRequest(
                    version=version,
                    endpoint=self.endpoint if endpoint is None else endpoint,
                    resource_name=self.resource,
                    options=self._request_options if self._request_options is not None else self._options,
                ),
                timeout=REGISTER_TIMEOUT_S,
            )

    async def send(self, listed: Iterable[pluginapi.Device]) -> None:
        """Send another list on every stream, present and future."""
        async with self._news:
            self._messages.append(pluginapi.ListAndWatchResponse(devices=listed))
            self._news.notify_all()

    async def end_streams(self, refusal: Refusal | None = None) -> None:
        """End every stream, well or with *refusal*; later ones end too, after what there is to send."""
        async with self._news:
            self._ending = refusal if refusal is not None else True
            self._news.notify_all()

    def count(self, method: str) -> int:
        """Count the calls of one RPC."""
        return sum(name == method for name, _ in self.requests)

    async def ListAndWatch(
        self, request: pluginapi.Empty, context: pluginapi_grpc._ServicerContext
    ) -> AsyncIterator[pluginapi.ListAndWatchResponse]:
        """Send all lists so far one by one, then each new one."""
        self.requests.append(("ListAndWatch", request))
        sent = 0
        while True:
            async with self._news:
                await self._news.wait_for(functools.partial(self._has_news, sent))
            while sent < len(self._messages):
                yield self._messages[sent]
                sent += 1
            if isinstance(self._ending, Refusal):
                await context.abort(self._ending.code, self._ending.text)
            if self._ending:
                return

    def _has_news(self, sent: int) -> bool:
        return len(self._messages) > sent or bool(self._ending)

    async def GetDevicePluginOptions(
        self, request: pluginapi.Empty, context: pluginapi_grpc._ServicerContext
    ) -> pluginapi.DevicePluginOptions:
        """Answer with the options given."""
        return await self._answer("GetDevicePluginOptions", request, context, self._options)

    async def GetPreferredAllocation(
        self, request: pluginapi.PreferredAllocationRequest, context: pluginapi_grpc._ServicerContext
    ) -> pluginapi.PreferredAllocationResponse:
        """Answer with nothing, which leaves the choice to the kubelet."""
        return await self._answer("GetPreferredAllocation", request, context, pluginapi.PreferredAllocationResponse())

    async def Allocate(
        self, request: pluginapi.AllocateRequest, context: pluginapi_grpc._ServicerContext
    ) -> pluginapi.AllocateResponse:
        """Answer with an environment variable that lists the devices."""
        name = f"DEVICES_{self.resource.rpartition('/')[2].upper().replace('-', '_').replace('.', '_')}"
        replies = [
            pluginapi.ContainerAllocateResponse(envs={name: ",".join(sorted(asked.devices_ids))})
            for asked in request.container_requests
        ]
        return await self._answer("Allocate", request, context, pluginapi.AllocateResponse(container_responses=replies))

    async def PreStartContainer(
        self, request: pluginapi.PreStartContainerRequest, context: pluginapi_grpc._ServicerContext
    ) -> pluginapi.PreStartContainerResponse:
        """Answer that all is well."""
        return await self._answer("PreStartContainer", request, context, pluginapi.PreStartContainerResponse())

    async def GetInfo(
        self, request: watcherapi.InfoRequest, context: watcherapi_grpc._ServicerContext
    ) -> watcherapi.PluginInfo:
        """Say who this is to the plugin watcher (contract PW-4)."""
        info = watcherapi.PluginInfo(
            type="DevicePlugin", name=self.resource, endpoint="", supported_versions=[constants.VERSION]
        )
        return await self._answer("GetInfo", request, context, info)

    async def NotifyRegistrationStatus(
        self, request: watcherapi.RegistrationStatus, context: watcherapi_grpc._ServicerContext
    ) -> watcherapi.RegistrationStatusResponse:
        """Take note."""
        return await self._answer("NotifyRegistrationStatus", request, context, watcherapi.RegistrationStatusResponse())

    async def _answer(self, method: str, request: Any, context: Any, reply: ReplyT) -> ReplyT:
        self.requests.append((method, request))
        behavior = self.behaviors.get(method)
        if behavior is None:
            return reply
        try:
            reply = await behavior(request)
        except Refusal as refusal:
            await context.abort(refusal.code, refusal.text)
        return reply
