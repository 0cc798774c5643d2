"""Faults in registering."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import grpc

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.broken_plugins.sound import LOOK_S, Sound


class NeverRegisters(Sound):
    breaks: ClassVar = {"registers"}

    async def live_once(self) -> None:
        await asyncio.sleep(0.1)


class SendsAnotherVersion(Sound):
    breaks: ClassVar = {"version"}
    version = "v1alpha1"


class HasAnInvalidResourceName(Sound):
    breaks: ClassVar = {"resource-name"}
    resource = "my-kubernetes.io/dongle"


class GivesAPathAsEndpoint(Sound):
    """It works with a real kubelet too, because the path is joined to the directory (contract REG-9)."""

    breaks: ClassVar = {"endpoint-name"}

    def endpoint(self) -> str:
        return f"../{self.directory.name}/{self.socket.name}"


class ReusesItsSocketName(Sound):
    breaks: ClassVar = {"endpoint-unique"}

    def socket_name(self) -> str:
        return f"{self.prefix}-0.sock"


class RegistersBeforeItServes(Sound):
    """The kubelet dials for 10 s, so it works, slowly (contract REG-6)."""

    breaks: ClassVar = {"serves-before-registering"}

    async def serve(self) -> grpc.aio.Server:
        self.served: asyncio.Task[grpc.aio.Server] = asyncio.create_task(self.serve_late())
        return _Late(self.served)

    async def serve_late(self) -> grpc.aio.Server:
        await asyncio.sleep(3.0)  # the call itself may take one of them on a busy machine
        return await super().serve()


class _Late:
    """A server that is not there yet."""

    def __init__(self, served: Any) -> None:
        self._served = served

    async def stop(self, grace: float) -> None:
        await (await self._served).stop(grace)


class GivesUpOnRegisterSoon(Sound):
    breaks: ClassVar = {"register-deadline"}
    register_timeout_s = 3.0


class AnswersOtherOptions(Sound):
    breaks: ClassVar = {"options-agree"}

    async def GetDevicePluginOptions(self, request: Any, context: Any) -> pluginapi.DevicePluginOptions:
        return pluginapi.DevicePluginOptions(get_preferred_allocation_available=True)


class AnswersOptionsSlowly(Sound):
    breaks: ClassVar = {"options-in-time"}
    slow = True

    async def GetDevicePluginOptions(self, request: Any, context: Any) -> pluginapi.DevicePluginOptions:
        if self.slow:
            self.slow = False
            await asyncio.sleep(2.5)
        return self.options


class RegistersTwice(Sound):
    """The second time with its stream open, as one that registers on a timer does (contract PIT-4)."""

    breaks: ClassVar = {"registers-once"}
    with_a_stream_s = 0.0

    async def is_lost(self, identity: Any, lonely_s: float) -> bool:
        """While the kit listens to what is sent unasked: the list that opens the second stream is not chatter."""
        before, self.with_a_stream_s = self.with_a_stream_s, self.with_a_stream_s + (LOOK_S if self.streams else 0.0)
        if before <= 0.1 < self.with_a_stream_s:
            await self.register()
        return await super().is_lost(identity, lonely_s)
