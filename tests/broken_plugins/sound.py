"""A plugin that keeps the contract, in pieces small enough to be broken one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, ClassVar

import grpc

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc

LOOK_S = 0.04
LONELY_S = 2.0


class Sound(pluginapi_grpc.DevicePluginServicer):
    """One resource with three devices; the first is unhealthy while the state file exists."""

    breaks: ClassVar[set[str]] = set()
    resource = "example.com/dongle"
    version = "v1beta1"
    prefix = "sound"
    ids: tuple[str, ...] = ("dongle-1", "dongle-2", "dongle-3")
    register_timeout_s = 15.0
    exit_code = 0
    last_words_s = 0.05
    """How long a call may go on once it stops serving."""

    def __init__(self, directory: Path, state: Path) -> None:
        self.directory = directory
        self.state = state
        self.streams = 0
        self.stopping = asyncio.Event()
        self.socket = directory / self.socket_name()
        self.options = pluginapi.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True)

    # -- what it answers ----------------------------------------------------------------------------------------------

    def devices(self) -> list[pluginapi.Device]:
        broken = self.state.exists()
        return [
            pluginapi.Device(ID=one, health="Unhealthy" if broken and one == self.ids[0] else "Healthy")
            for one in self.ids
        ]

    async def GetDevicePluginOptions(self, request: Any, context: Any) -> pluginapi.DevicePluginOptions:
        return self.options

    async def ListAndWatch(self, request: Any, context: Any) -> AsyncIterator[pluginapi.ListAndWatchResponse]:
        self.streams += 1
        sent = None
        try:
            while not self.stopping.is_set():
                if (now := self.devices()) != sent:
                    sent = now
                    yield pluginapi.ListAndWatchResponse(devices=now)
                await asyncio.sleep(LOOK_S)
        finally:
            self.streams -= 1

    async def Allocate(self, request: Any, context: Any) -> pluginapi.AllocateResponse:
        response = pluginapi.AllocateResponse()
        for container in request.container_requests:
            if not set(container.devices_ids) <= set(self.ids):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such device")
            self.answer(response.container_responses.add(), container.devices_ids)
        return response

    def answer(self, response: Any, ids: Iterable[str]) -> None:
        response.envs["DONGLES"] = ",".join(ids)

    async def GetPreferredAllocation(self, request: Any, context: Any) -> pluginapi.PreferredAllocationResponse:
        response = pluginapi.PreferredAllocationResponse()
        for one in request.container_requests:
            chosen = [*one.must_include_deviceIDs]
            chosen += [other for other in one.available_deviceIDs if other not in chosen and other in self.ids]
            response.container_responses.add(deviceIDs=chosen[: one.allocation_size])
        return response

    async def PreStartContainer(self, request: Any, context: Any) -> pluginapi.PreStartContainerResponse:
        return pluginapi.PreStartContainerResponse()

    # -- how it lives -------------------------------------------------------------------------------------------------

    def socket_name(self) -> str:
        return f"{self.prefix}-{secrets.token_hex(4)}.sock"

    @property
    def kubelet_socket(self) -> Path:
        return self.directory / "kubelet.sock"

    def identity(self) -> tuple[int, int, int] | None:
        try:
            stat = self.kubelet_socket.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino, stat.st_ctime_ns

    def kubelet_listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.kubelet_socket)) == 0

    def clear_stale(self) -> None:
        for path in self.directory.glob(f"{self.prefix}-*.sock"):
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)):
                    path.unlink(missing_ok=True)

    async def serve(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pluginapi_grpc.add_DevicePluginServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{self.socket}")
        await server.start()
        return server

    async def register(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"unix:{self.kubelet_socket}", options=options) as channel:
            await pluginapi_grpc.RegistrationStub(channel).Register(
                pluginapi.RegisterRequest(
                    version=self.version, endpoint=self.endpoint(), resource_name=self.resource, options=self.options
                ),
                timeout=self.register_timeout_s,
            )

    def endpoint(self) -> str:
        return self.socket.name

    async def is_lost(self, identity: tuple[int, int, int] | None, lonely_s: float) -> bool:
        return self.identity() != identity or not self.socket.exists() or lonely_s > LONELY_S

    async def live_once(self) -> None:
        """Serve, register and stay until the kubelet has gone or changed.

        A socket is bound only when a kubelet listens: one bound before would be deleted by its start (contract REG-1).
        """
        if not self.kubelet_listens():
            await self.refused()
            return
        self.socket = self.directory / self.socket_name()
        identity = self.identity()
        server = await self.serve()
        lonely_s = 0.0
        try:
            await self.register()
            while not self.stopping.is_set() and not await self.is_lost(identity, lonely_s):
                lonely_s = 0.0 if self.streams else lonely_s + LOOK_S
                await asyncio.sleep(LOOK_S)
        except grpc.aio.AioRpcError:
            await self.refused()
        finally:
            await server.stop(self.last_words_s)
            self.socket.unlink(missing_ok=True)

    async def refused(self) -> None:
        await asyncio.sleep(0.1)

    def prepare(self) -> None:
        """Do once what is done at every start."""
        self.clear_stale()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)

    async def run(self) -> int:
        self.prepare()
        while not self.stopping.is_set():
            await self.live_once()
        return self.exit_code


async def run_all(*plugins: Sound) -> int:
    """Run the plugins of several resources in one process, which one signal ends."""
    for one in plugins:
        one.stopping = plugins[0].stopping
    return max(await asyncio.gather(*(one.run() for one in plugins)))


def main(kind: type[Sound], state: str) -> None:
    """Run one until SIGTERM."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

    async def run() -> int:
        directory = Path(os.environ["PLUGIN_DIR"])
        return await run_all(*(one(directory, Path(state)) for one in getattr(kind, "together", (kind,))))

    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(run()))
