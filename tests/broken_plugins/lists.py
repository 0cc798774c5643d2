"""Faults in what is listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.broken_plugins.sound import LOOK_S, Sound


class ListsSlowly(Sound):
    breaks: ClassVar = {"first-list"}
    slow = True

    async def ListAndWatch(self, request: Any, context: Any) -> AsyncIterator[pluginapi.ListAndWatchResponse]:
        self.streams += 1
        if self.slow:
            self.slow = False
            await asyncio.sleep(3.0)
        async for one in super().ListAndWatch(request, context):
            yield one


class ListsADeviceTwice(Sound):
    breaks: ClassVar = {"device-ids"}

    def devices(self) -> list[pluginapi.Device]:
        return [*super().devices(), pluginapi.Device(ID="dongle-2", health="Healthy")]


class ListsAnEmptyID(Sound):
    breaks: ClassVar = {"device-ids"}

    def devices(self) -> list[pluginapi.Device]:
        return [*super().devices(), pluginapi.Device(ID="", health="Unhealthy")]


class ListsBytesThatAreNoText(Sound):
    """Bytes as some C library returned them; such a message cannot be read at all (contract PB-3)."""

    breaks: ClassVar = {"device-ids"}

    async def serve(self) -> Any:
        import grpc

        async def watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
            self.streams += 1
            yield b"\x0a\x0d\x0a\x02\xff\xfe\x12\x07Healthy"
            await self.stopping.wait()

        async def options(request: bytes, context: Any) -> bytes:
            return self.options.SerializeToString()

        server = grpc.aio.server()
        handlers = {
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(watch),
            "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(options),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", handlers),))
        server.add_insecure_port(f"unix:{self.socket}")
        await server.start()
        return server


class SaysUnhealthyInItsOwnWord(Sound):
    breaks: ClassVar = {"health-words"}

    def devices(self) -> list[pluginapi.Device]:
        return [*super().devices(), pluginapi.Device(ID="dongle-4", health="overheated")]


class _Large(Sound):
    """Builds its list only when something has changed, because that takes long."""

    count = 0

    def __init__(self, directory: Path, state: Path) -> None:
        super().__init__(directory, state)
        self.ids = tuple(f"{number:0>128}" for number in range(self.count))

    async def ListAndWatch(self, request: Any, context: Any) -> AsyncIterator[pluginapi.ListAndWatchResponse]:
        self.streams += 1
        sent = None
        try:
            while not self.stopping.is_set():
                if (now := self.state.exists()) != sent:
                    sent = now
                    yield pluginapi.ListAndWatchResponse(devices=self.devices())
                await asyncio.sleep(LOOK_S)
        finally:
            self.streams -= 1


class SendsAnOversizeList(_Large):
    breaks: ClassVar = {"list-size"}
    count = 30_000


class SendsAListThatGrowsOversize(_Large):
    """Under the limit only while every device is healthy (contract LIM-1)."""

    breaks: ClassVar = {"list-size"}
    count = 29_300


class DropsBrokenDevices(Sound):
    breaks: ClassVar = {"full-lists"}

    def devices(self) -> list[pluginapi.Device]:
        return [one for one in super().devices() if one.health == "Healthy"]


class SendsOnlyWhatChanged(Sound):
    breaks: ClassVar = {"full-lists"}

    async def ListAndWatch(self, request: Any, context: Any) -> AsyncIterator[pluginapi.ListAndWatchResponse]:
        sent: list[pluginapi.Device] = []
        async for one in super().ListAndWatch(request, context):
            yield pluginapi.ListAndWatchResponse(devices=[new for new in one.devices if new not in sent])
            sent = list(one.devices)


class NeverLooksAtItsDevicesAgain(Sound):
    breaks: ClassVar = {"health-updates"}

    def devices(self) -> list[pluginapi.Device]:
        return [pluginapi.Device(ID=one, health="Healthy") for one in self.ids]


class TellsOneStreamOnly(Sound):
    """All streams read one queue, and whoever is first gets the news."""

    breaks: ClassVar = {"every-stream"}
    told: list[pluginapi.Device] | None = None

    async def ListAndWatch(self, request: Any, context: Any) -> AsyncIterator[pluginapi.ListAndWatchResponse]:
        self.streams += 1
        try:
            self.told = self.devices()
            yield pluginapi.ListAndWatchResponse(devices=self.told)
            while not self.stopping.is_set():
                if (now := self.devices()) != self.told:
                    self.told = now
                    yield pluginapi.ListAndWatchResponse(devices=now)
                await asyncio.sleep(LOOK_S)
        finally:
            self.streams -= 1


class SendsAHeartbeat(Sound):
    breaks: ClassVar = {"no-chatter"}

    async def ListAndWatch(self, request: Any, context: Any) -> AsyncIterator[pluginapi.ListAndWatchResponse]:
        self.streams += 1
        try:
            while not self.stopping.is_set():
                yield pluginapi.ListAndWatchResponse(devices=self.devices())
                await asyncio.sleep(0.1)
        finally:
            self.streams -= 1


class _Gadget(Sound):
    resource = "example.com/gadget"
    prefix = "gadget"

    def answer(self, response: Any, ids: Any) -> None:
        response.envs["GADGETS"] = ",".join(ids)


class ListsAnIDUnderTwoResources(Sound):
    breaks: ClassVar = {"ids-across-resources"}
    together = (Sound, _Gadget)
