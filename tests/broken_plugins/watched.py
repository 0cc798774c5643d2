"""A plugin that is found in plugins_registry and never calls Register, and what it may do wrong (contract PW-1)."""

from __future__ import annotations

import asyncio
import secrets
import socket
from pathlib import Path
from typing import Any, ClassVar

import grpc

from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from kubeletapi.pluginregistration.v1 import api_pb2 as registration
from kubeletapi.pluginregistration.v1 import api_pb2_grpc as registration_grpc
from tests.broken_plugins.sound import LONELY_S, LOOK_S, Sound


class Watched(Sound, registration_grpc.RegistrationServicer):
    """Serves both on one socket there; a stream that ends makes it a new one, for which the kubelet looks anew."""

    supported: ClassVar = ["v1beta1"]

    def __init__(self, directory: Path, state: Path) -> None:
        self.registry = directory.parent / "plugins_registry"
        super().__init__(directory, state)

    async def GetInfo(self, request: Any, context: Any) -> registration.PluginInfo:
        return registration.PluginInfo(type="DevicePlugin", name=self.resource, supported_versions=self.supported)

    async def NotifyRegistrationStatus(self, request: Any, context: Any) -> registration.RegistrationStatusResponse:
        return registration.RegistrationStatusResponse()

    def clear_stale(self) -> None:
        for path in self.registry.glob(f"{self.prefix}-*.sock"):
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(path)):
                    path.unlink(missing_ok=True)

    async def live_once(self) -> None:
        if not self.registry.is_dir():
            await self.refused()
            return
        self.socket = self.registry / f"{self.prefix}-{secrets.token_hex(4)}.sock"
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pluginapi_grpc.add_DevicePluginServicer_to_server(self, server)
        registration_grpc.add_RegistrationServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{self.socket}")
        await server.start()
        lonely_s = 0.0
        try:
            while not self.stopping.is_set() and lonely_s <= LONELY_S:
                lonely_s = 0.0 if self.streams else lonely_s + LOOK_S
                await asyncio.sleep(LOOK_S)
        finally:
            await server.stop(self.last_words_s)
            self.socket.unlink(missing_ok=True)


class WatchedOfAnotherVersion(Watched):
    breaks: ClassVar = {"version"}
    supported: ClassVar = ["v1alpha1"]


class WatchedAndLeft(Watched):
    breaks: ClassVar = {"removes-sockets"}

    async def run(self) -> int:
        code = await super().run()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(self.registry / "left.sock"))
        return code
