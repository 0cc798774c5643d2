"""One connection from the kubelet to one plugin socket: dial, unary calls, the one ListAndWatch stream.

Mirrors `devicemanager/plugin/v1beta1/client.go`. It decides nothing: what a stream's end means is said in
client_table.py, what a list means in device_manager.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import grpc
from google.protobuf import message

from fakekubelet import clock, socket_path
from fakekubelet.kubelet import call_log
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

DIAL_TIMEOUT_S = 10.0
"""How long the kubelet tries to reach a plugin's socket (contract REG-6)."""

_UNREADABLE = "grpc: failed to unmarshal the received message: string field contains invalid UTF-8"
"""What a list in other bytes than UTF-8 comes to (contract PB-3)."""

ReplyT = TypeVar("ReplyT", bound=message.Message)
ReplyT_co = TypeVar("ReplyT_co", bound=message.Message, covariant=True)


class UnaryCall(Protocol[ReplyT_co]):
    """A method of the generated stub."""

    def __call__(self, request: Any, *, timeout: float | None = None) -> Awaitable[ReplyT_co]:
        """Make the call, with a deadline or without."""


class DialError(Exception):
    """Nobody served on the socket within the time."""


def channel_options(authority: str) -> list[tuple[str, Any]]:
    """Return the options of every channel to a plugin.

    The receive limit is grpc-go's default, said aloud because it is a contract (LW-11). The local pool keeps a new
    channel from reusing the connection of an old one to a socket that has been replaced since.
    """
    return [
        ("grpc.default_authority", authority),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", constants.MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_http_proxy", 0),
    ]


async def dial(path: Path, *, directory: Path, authority: str, time_source: clock.Clock) -> grpc.aio.Channel:
    """Connect to the socket *path* in *directory* within 10 s, trying again in between (contract REG-6, REG-9).

    Raise DialError otherwise.
    """
    try:
        place = socket_path.as_a_kubelet_reads(path, directory)
    except socket_path.UnreadablePathError as error:
        raise DialError(str(error)) from error
    with socket_path.dialed(place) as target:
        return await _ready(target, authority, time_source)


async def _ready(target: str, authority: str, time_source: clock.Clock) -> grpc.aio.Channel:
    channel = grpc.aio.insecure_channel(target, options=channel_options(authority))
    try:
        async with clock.timeout(time_source, DIAL_TIMEOUT_S):
            await channel.channel_ready()
    except TimeoutError:
        await channel.close()
        raise DialError(call_log.DEADLINE_TEXT) from None
    except BaseException:
        await channel.close()
        raise
    return channel


class PluginClient:
    """The kubelet's end of one registration."""

    def __init__(
        self, resource: str, socket_path: Path, *, directory: Path, time_source: clock.Clock, calls: call_log.CallLog
    ) -> None:
        """Describe the client of *resource* on a socket in the kubelet's *directory*."""
        self._directory = directory
        self.resource = resource
        self.socket_path = socket_path
        self._has_stream = False
        self._is_closed = False
        self._clock = time_source
        self._calls = calls
        self._channel: grpc.aio.Channel | None = None

    @property
    def is_streaming(self) -> bool:
        """Tell whether the ListAndWatch stream is open."""
        return self._has_stream and not self._is_closed

    async def connect(self) -> None:
        """Dial with authority `localhost` (contract REG-6, PIT-10)."""
        self._channel = await dial(
            self.socket_path, directory=self._directory, authority="localhost", time_source=self._clock
        )

    async def close(self) -> None:
        """Close the connection and with it all calls on it; may be called again."""
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()

    @property
    def _stub(self) -> pluginapi_grpc.DevicePluginAsyncStub:
        assert self._channel is not None, "connect comes first"
        return pluginapi_grpc.DevicePluginStub(self._channel)

    async def get_device_plugin_options(self) -> pluginapi.DevicePluginOptions:
        """Ask for the options; no deadline of its own (contract REG-7)."""
        return await self._unary("GetDevicePluginOptions", self._stub.GetDevicePluginOptions, pluginapi.Empty())

    async def get_preferred_allocation(
        self, request: pluginapi.PreferredAllocationRequest
    ) -> pluginapi.PreferredAllocationResponse:
        """Ask for a preference; no deadline (contract GP-4)."""
        return await self._unary("GetPreferredAllocation", self._stub.GetPreferredAllocation, request)

    async def allocate(self, request: pluginapi.AllocateRequest) -> pluginapi.AllocateResponse:
        """Allocate; no deadline, no retry (contract AL-8)."""
        return await self._unary("Allocate", self._stub.Allocate, request)

    async def pre_start_container(
        self, request: pluginapi.PreStartContainerRequest, *, timeout_s: float
    ) -> pluginapi.PreStartContainerResponse:
        """Announce a container's start, under a deadline (contract PS-1)."""
        return await self._unary("PreStartContainer", self._stub.PreStartContainer, request, timeout_s)

    async def list_and_watch(self, on_list: Callable[[pluginapi.ListAndWatchResponse], None]) -> None:
        """Hand every list to *on_list* until the stream ends, for whatever reason (contract LW-1, LW-9)."""
        request = pluginapi.Empty()
        record = self._calls.open(self.resource, "ListAndWatch", request)
        error: call_log.RpcError | None = None
        self._has_stream = True
        try:
            stream = self._stub.ListAndWatch(request)
            while (reply := await stream.read()) is not grpc.aio.EOF and not self._is_closed:
                if not isinstance(reply, pluginapi.ListAndWatchResponse):
                    error = call_log.RpcError(grpc.StatusCode.INTERNAL, _UNREADABLE)
                    break  # grpcio hands out None for bytes that are no such message; grpc-go ends the stream
                record.reply = reply
                on_list(reply)
        except grpc.aio.AioRpcError as failure:
            error = call_log.RpcError.of(failure)
        except grpc.aio.UsageError:
            error = call_log.RpcError.closing()  # the channel was closed before the call
        except asyncio.CancelledError:
            if _is_being_cancelled():
                raise
            error = call_log.RpcError.closing()  # grpcio says so when the channel is closed under a call
        finally:
            self._has_stream = False
            self._calls.close(record, error=error)

    async def _unary(
        self, name: str, method: UnaryCall[ReplyT], request: message.Message, timeout_s: float | None = None
    ) -> ReplyT:
        record = self._calls.open(self.resource, name, request)
        return await unary(record, method, calls=self._calls, time_source=self._clock, timeout_s=timeout_s)


async def unary(
    record: call_log.Call,
    method: UnaryCall[ReplyT],
    *,
    calls: call_log.CallLog,
    time_source: clock.Clock,
    timeout_s: float | None,
) -> ReplyT:
    """Make the call that *record* describes and note how it ends; raise RpcError.

    A deadline is told to the plugin and kept by the kubelet's own clock too.
    """
    error: call_log.RpcError | None = None
    reply: ReplyT | None = None
    try:
        if timeout_s is None:
            reply = await method(record.request)
        else:
            async with clock.timeout(time_source, timeout_s):
                reply = await method(record.request, timeout=timeout_s)
    except TimeoutError:
        error = call_log.RpcError.deadline()
    except grpc.aio.UsageError:
        error = call_log.RpcError.closing()  # the channel was closed before the call
    except grpc.aio.AioRpcError as failure:
        error = call_log.RpcError.of(failure)
    except asyncio.CancelledError:
        if _is_being_cancelled():
            raise
        error = call_log.RpcError.closing()
    finally:
        calls.close(record, reply=reply, error=error)
    if error is not None:
        raise error
    assert reply is not None
    return reply


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
