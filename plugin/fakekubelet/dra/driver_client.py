"""One connection to one instance of a driver: prepare, unprepare, and the stream of health.

Mirrors `cm/dra/plugin/dra_plugin.go` and the connection of `dra_plugin_manager.go` (contract DRA-7, DRA-REG-8): it is
made at once, kept, and made again by itself; whether it stands is what counts for the wiping of slices.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf import message

from fakekubelet import clock
from fakekubelet.kubelet import call_log, plugin_client
from kubeletapi.dra import constants
from kubeletapi.dra.v1 import api_pb2 as v1
from kubeletapi.dra.v1 import api_pb2_grpc as v1_grpc
from kubeletapi.dra.v1beta1 import api_pb2 as v1beta1
from kubeletapi.dra.v1beta1 import api_pb2_grpc as v1beta1_grpc
from kubeletapi.drahealth.v1 import api_pb2 as healthapi
from kubeletapi.drahealth.v1 import api_pb2_grpc as healthapi_grpc
from kubeletapi.drahealth.v1alpha1 import api_pb2 as healthapi_alpha
from kubeletapi.drahealth.v1alpha1 import api_pb2_grpc as healthapi_alpha_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

HEALTH_RETRY_S: Final = 5.0
"""How long the kubelet waits between two health streams (contract HL-1)."""

_RECONNECT: Final = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
                     ("grpc.max_reconnect_backoff_ms", 1000)]  # fmt: skip
"""Sooner than a kubelet, whose first retry comes after a second and whose later ones come ever later."""


class DriverClient:
    """The kubelet's end of one registered instance of a driver."""

    def __init__(
        self,
        driver: str,
        endpoint: Path,
        service: str,
        *,
        health_services: Sequence[str],
        time_source: clock.Clock,
        calls: call_log.CallLog,
        on_connection: Callable[[], None],
        on_health: Callable[[healthapi.NodeWatchResourcesResponse | None], None],
    ) -> None:
        """Describe it; *on_health* is called with each message, and with None at the end of a stream."""
        self.driver = driver
        self.endpoint = endpoint
        self.service = service
        """`v1.DRAPlugin` or `v1beta1.DRAPlugin`."""
        self.is_connected = False
        self._health_services = health_services
        self._clock = time_source
        self._calls = calls
        self._on_connection = on_connection
        self._on_health = on_health
        self._channel: grpc.aio.Channel | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Connect, and go on watching the connection and the devices' health; `close` must follow."""
        options = [*plugin_client.channel_options("localhost"), *_RECONNECT]
        self._channel = grpc.aio.insecure_channel(f"unix:{self.endpoint}", options=options)
        self._tasks = [asyncio.create_task(self._watch_connection(), name=f"connection {self.driver}")]
        if self._health_services:
            self._tasks.append(asyncio.create_task(self._watch_health(), name=f"health {self.driver}"))

    async def close(self) -> None:
        """End everything; may be called again."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()
        self.is_connected = False

    async def prepare(self, claims: Sequence[v1.Claim]) -> v1.NodePrepareResourcesResponse:
        """Call NodePrepareResources; RpcError if the call as a whole fails (contract DRA-10)."""
        request, reply = v1.NodePrepareResourcesRequest(claims=claims), v1.NodePrepareResourcesResponse()
        return await self._call("NodePrepareResources", request, reply)

    async def unprepare(self, claims: Sequence[v1.Claim]) -> v1.NodeUnprepareResourcesResponse:
        """Call NodeUnprepareResources; RpcError if the call as a whole fails (contract DRA-15)."""
        request, reply = v1.NodeUnprepareResourcesRequest(claims=claims), v1.NodeUnprepareResourcesResponse()
        return await self._call("NodeUnprepareResources", request, reply)

    async def ask(self, service: str) -> str:
        """Call a service that need not be the chosen one, without claims; return the error, "" if there is none."""
        chosen, self.service = self.service, service
        try:
            await self.prepare([])
        except call_log.RpcError as error:
            return str(error)
        finally:
            self.service = chosen
        return ""

    @property
    def _open_channel(self) -> grpc.aio.Channel:
        assert self._channel is not None, "start comes first"
        return self._channel

    async def _call(self, name: str, request: message.Message, reply: plugin_client.ReplyT) -> plugin_client.ReplyT:
        """Call in the version that is spoken: in both the messages are the same bytes. *reply* takes the answer."""
        messages, make_stub = (
            (v1beta1, v1beta1_grpc.DRAPluginStub) if self.service == constants.V1BETA1 else (v1, v1_grpc.DRAPluginStub)
        )
        told = getattr(messages, f"{name}Request").FromString(request.SerializeToString())
        answer = await self._unary(name, getattr(make_stub(self._open_channel), name), told)
        reply.ParseFromString(answer.SerializeToString())
        return reply

    async def _unary(
        self, name: str, method: plugin_client.UnaryCall[plugin_client.ReplyT], request: message.Message
    ) -> plugin_client.ReplyT:
        record = self._calls.open(self.driver, name, request)
        return await plugin_client.unary(
            record, method, calls=self._calls, time_source=self._clock, timeout_s=constants.CALL_TIMEOUT_S
        )

    async def _watch_connection(self) -> None:
        channel = self._open_channel
        while True:
            state = channel.get_state(try_to_connect=True)
            connected = state is grpc.ChannelConnectivity.READY
            if connected != self.is_connected:
                self.is_connected = connected
                self._on_connection()
            await channel.wait_for_state_change(state)

    async def _watch_health(self) -> None:
        """Keep a stream open, with a pause after each end, for as long as the driver is registered (contract HL-1)."""
        while True:
            for service in self._health_services:
                if not await self._stream_health(service):
                    break  # it was there and has ended; a service that is not there is no reason to wait
            await clock.sleep(self._clock, HEALTH_RETRY_S)

    async def _stream_health(self, service: str) -> bool:
        """Hand on a stream until its end; tell whether the driver does not have the service."""
        stub: Any = healthapi_grpc.DRAResourceHealthStub(self._open_channel)
        request: message.Message = healthapi.NodeWatchResourcesRequest()
        if service == constants.HEALTH_V1ALPHA1:
            stub = healthapi_alpha_grpc.DRAResourceHealthStub(self._open_channel)
            request = healthapi_alpha.NodeWatchResourcesRequest()
        record = self._calls.open(self.driver, "NodeWatchResources", request)
        error: call_log.RpcError | None = None
        try:
            stream = stub.NodeWatchResources(request)
            while (reply := await stream.read()) is not grpc.aio.EOF:
                if not isinstance(reply, message.Message):
                    error = call_log.RpcError(grpc.StatusCode.INTERNAL, "grpc: failed to unmarshal the message")
                    break
                record.reply = reply
                self._on_health(healthapi.NodeWatchResourcesResponse.FromString(reply.SerializeToString()))
        except grpc.aio.AioRpcError as failure:
            error = call_log.RpcError.of(failure)
        except asyncio.CancelledError:
            error = call_log.RpcError.closing()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        finally:
            self._calls.close(record, error=error)
            if record.reply is not None:
                self._on_health(None)
        return record.reply is None and error is not None and error.code is grpc.StatusCode.UNIMPLEMENTED
