"""A container runtime that does not say what runs, before the real one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

SNAPSHOT = ("ListPodSandbox", "ListContainers")
"""What a kubelet asks when it starts, to know which containers run (`cm/helpers.go`)."""
STREAMS = ("GetContainerEvents", "StreamPodSandboxes", "StreamContainers", "StreamImages")


class _Deaf(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio's own stubs have no types here
    """Hands every call on, as the bytes that it is; until `hears` is set, those for the snapshot fail."""

    def __init__(self, channel: grpc.aio.Channel, hears: asyncio.Event) -> None:
        self._channel = channel
        self._hears = hears

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        path = handler_call_details.method
        method = path.rpartition("/")[2]

        async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            if method in SNAPSHOT and not self._hears.is_set():
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the runtime does not answer")
            call: Any = self._channel.unary_unary(path)
            try:
                answer: bytes = await call(request, timeout=context.time_remaining())
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")
            return answer

        async def stream(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
            call: Any = self._channel.unary_stream(path)
            try:
                async for message in call(request):
                    yield message
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")

        if method in STREAMS:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(answer)


@contextlib.asynccontextmanager
async def deaf_runtime(path: Path, runtime: Path) -> AsyncIterator[asyncio.Event]:
    """Serve it at `path`, before the one at `runtime`; the event has it answer."""
    hears = asyncio.Event()
    sizes = [("grpc.max_receive_message_length", 16 << 20), ("grpc.default_authority", "localhost")]
    async with grpc.aio.insecure_channel(f"unix:{runtime}", options=sizes) as channel:
        server = grpc.aio.server(options=sizes)
        server.add_generic_rpc_handlers([_Deaf(channel, hears)])
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        try:
            yield hears
        finally:
            await server.stop(0)
            path.unlink(missing_ok=True)
