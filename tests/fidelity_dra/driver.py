"""A DRA driver in the test's own process: it serves what it is told to and notes what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from kubeletapi.dra.v1 import api_pb2 as v1
from kubeletapi.dra.v1 import api_pb2_grpc as v1_grpc
from kubeletapi.dra.v1beta1 import api_pb2 as v1beta1
from kubeletapi.dra.v1beta1 import api_pb2_grpc as v1beta1_grpc
from kubeletapi.drahealth.v1alpha1 import api_pb2 as health
from kubeletapi.drahealth.v1alpha1 import api_pb2_grpc as health_grpc
from kubeletapi.pluginregistration.v1 import api_pb2 as registration
from kubeletapi.pluginregistration.v1 import api_pb2_grpc as registration_grpc

Behavior = Callable[[Any], Awaitable[Any]]
"""What to do with a request instead of what is done as a rule; None: that all the same."""


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """Where a driver puts things, as this process sees it, and as the kubelet does."""

    registry: Path
    plugins: Path
    plugins_as_the_kubelet_has_it: Path
    cdi: Path


class Refusal(Exception):  # noqa: N818 - what a driver says, not what went wrong here
    """An answer that is a gRPC error."""


class StubDriver(
    v1_grpc.DRAPluginServicer, health_grpc.DRAResourceHealthServicer, registration_grpc.RegistrationServicer
):
    """Gives each claim one device, under its own name in the answer, with one environment variable by CDI."""

    def __init__(
        self,
        places: Places,
        name: str,
        *,
        pool: str,
        versions: tuple[str, ...] = ("v1.DRAPlugin", "v1beta1.DRAPlugin"),
        instance: str = "",
        has_health: bool = True,
        device: str = "gem-1",
    ) -> None:
        self.name, self.pool, self.versions, self.device = name, pool, versions, device
        self.places = places
        self.socket = places.plugins / f"{name}{instance}.sock"
        self.registration_socket = places.registry / f"{name}{instance}-reg.sock"
        self.has_health = has_health
        self.endpoint: str | None = None
        """What it says that its endpoint is; None: the service's socket."""
        self.calls: list[tuple[str, Any]] = []
        self.notices: list[registration.RegistrationStatus] = []
        self.behaviors: dict[str, Behavior] = {}
        self.health_words: dict[str, tuple[int, str, int]] = {}
        """Device to health, message and seconds for which it is believed."""
        self.streams = 0
        self.connections = 0
        """Made to the service's socket so far, if it is counted."""
        self._told = asyncio.Event()
        self._servers: list[grpc.aio.Server] = []
        self._proxy: asyncio.Server | None = None

    # -- life -----------------------------------------------------------------------------------------------------------

    async def serve(self, *, counts: bool = False) -> None:
        """Serve claims and health; with *counts* behind something that counts connections."""
        behind = self.socket.with_suffix(".behind") if counts else self.socket
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        v1_grpc.add_DRAPluginServicer_to_server(self, server)
        v1beta1_grpc.add_DRAPluginServicer_to_server(_Older(self), server)
        if self.has_health:
            health_grpc.add_DRAResourceHealthServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{behind}")
        await server.start()
        self._servers.append(server)
        if counts:

            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                first = await reader.read(65536)
                self.connections += bool(first)  # who only looks whether somebody listens says nothing
                there, back = await asyncio.open_unix_connection(str(behind))
                back.write(first)
                await asyncio.gather(_copy(reader, back), _copy(there, writer))

            self._proxy = await asyncio.start_unix_server(handle, str(self.socket))

    async def register(self) -> None:
        """Be found by the kubelet."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        registration_grpc.add_RegistrationServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{self.registration_socket}")
        await server.start()
        self._servers.append(server)

    async def serve_all(self) -> None:
        """Serve registration, claims and health on one socket."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        registration_grpc.add_RegistrationServicer_to_server(self, server)
        v1_grpc.add_DRAPluginServicer_to_server(self, server)
        server.add_insecure_port(f"unix:{self.registration_socket}")
        await server.start()
        self._servers.append(server)

    async def start(self) -> None:
        """Do both, in the right order."""
        await self.serve()
        await self.register()

    async def stop_serving(self) -> None:
        """End the service and leave the registration."""
        server = self._servers.pop(0)
        await server.stop(0)
        self.socket.unlink(missing_ok=True)

    async def stop(self) -> None:
        """End everything and leave nothing."""
        self.registration_socket.unlink(missing_ok=True)
        if self._proxy is not None:
            self._proxy.close()
        for server in reversed(self._servers):
            await server.stop(0)
        self._servers.clear()
        for path in (self.socket, self.socket.with_suffix(".behind"), *self.places.cdi.glob(f"{self.name}-*")):
            path.unlink(missing_ok=True)

    def asked(self, method: str) -> list[Any]:
        """Return the requests of a method."""
        return [request for name, request in self.calls if name == method]

    def uids(self, method: str) -> list[list[str]]:
        """Return the claims of each call."""
        return [[claim.uid for claim in request.claims] for request in self.asked(method)]

    # -- what it is asked -----------------------------------------------------------------------------------------------

    async def _do(self, method: str, request: Any, context: Any, usual: Callable[[], Any]) -> Any:
        self.calls.append((method, request))
        behavior = self.behaviors.get(method)
        if behavior is not None:
            try:
                answer = await behavior(request)
            except Refusal as error:
                await context.abort(grpc.StatusCode.INTERNAL, str(error))
            if answer is not None:
                return answer
        return usual()

    async def GetInfo(self, request: Any, context: Any) -> Any:
        endpoint = self.endpoint
        if endpoint is None:
            endpoint = str(self.places.plugins_as_the_kubelet_has_it / self.socket.name)
        info = registration.PluginInfo(
            type="DRAPlugin", name=self.name, endpoint=endpoint, supported_versions=self.versions
        )
        return await self._do("GetInfo", request, context, lambda: info)

    async def NotifyRegistrationStatus(self, request: Any, context: Any) -> Any:
        self.notices.append(request)
        return await self._do("NotifyRegistrationStatus", request, context, registration.RegistrationStatusResponse)

    async def NodePrepareResources(self, request: Any, context: Any) -> Any:
        return await self._do("NodePrepareResources", request, context, lambda: self.prepared(request))

    async def NodeUnprepareResources(self, request: Any, context: Any) -> Any:
        return await self._do("NodeUnprepareResources", request, context, lambda: self.unprepared(request))

    def prepared(self, request: Any) -> Any:
        """Return the usual answer."""
        answer = v1.NodePrepareResourcesResponse()
        for claim in request.claims:
            name = f"{claim.uid}-{self.device}"
            word = "".join(letter if letter.isalnum() else "_" for letter in self.name).upper()
            edits = {"env": [f"GEM_{word}={self.device}"]}
            spec = {
                "cdiVersion": "0.5.0",
                "kind": f"{self.name}/gem",
                "devices": [{"name": name, "containerEdits": edits}],
            }
            path = self.places.cdi / f"{self.name}-{claim.uid}.json"
            staged = path.with_name(f".{path.name}")
            staged.write_text(json.dumps(spec))
            staged.replace(path)
            answer.claims[claim.uid].devices.add(
                pool_name=self.pool, device_name=self.device, cdi_device_ids=[f"{self.name}/gem={name}"]
            )
        return answer

    def unprepared(self, request: Any) -> Any:
        """Return the usual answer."""
        answer = v1.NodeUnprepareResourcesResponse()
        for claim in request.claims:
            (self.places.cdi / f"{self.name}-{claim.uid}.json").unlink(missing_ok=True)
            answer.claims[claim.uid].SetInParent()
        return answer

    # -- health ---------------------------------------------------------------------------------------------------------

    def say(self, **words: tuple[int, str] | tuple[int, str, int]) -> None:
        """Say the health of devices, by name with `_` for `-`."""
        for name, word in words.items():
            self.health_words[name.replace("_", "-")] = (word[0], word[1], word[2] if len(word) == 3 else 0)
        told, self._told = self._told, asyncio.Event()
        told.set()

    async def NodeWatchResources(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.streams += 1
        while True:
            told = self._told
            if self.health_words:
                message = health.NodeWatchResourcesResponse()
                for name, (word, text, seconds) in self.health_words.items():
                    entry = message.devices.add(health=word, message=text, health_check_timeout_seconds=seconds)
                    entry.device.pool_name, entry.device.device_name = self.pool, name
                yield message
            await told.wait()


class _Older(v1beta1_grpc.DRAPluginServicer):
    """The same by the older name."""

    def __init__(self, driver: StubDriver) -> None:
        self.driver = driver

    async def NodePrepareResources(self, request: Any, context: Any) -> Any:
        reply = await self.driver.NodePrepareResources(request, context)
        self.driver.calls[-1] = ("v1beta1.NodePrepareResources", request)
        return v1beta1.NodePrepareResourcesResponse.FromString(reply.SerializeToString())

    async def NodeUnprepareResources(self, request: Any, context: Any) -> Any:
        reply = await self.driver.NodeUnprepareResources(request, context)
        return v1beta1.NodeUnprepareResourcesResponse.FromString(reply.SerializeToString())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
    writer.close()


class Fails:
    """Raises as often as it is told to, then lets the usual thing be done."""

    def __init__(self, text: str = "simulated", *, times: int = 10**6) -> None:
        self.text, self.times = text, times

    async def __call__(self, _: Any) -> None:
        if self.times > 0:
            self.times -= 1
            raise Refusal(self.text)


async def hang(_: Any) -> None:
    """Never answer."""
    await asyncio.Event().wait()
