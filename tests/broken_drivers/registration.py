"""Faults in registering."""

from __future__ import annotations

import asyncio
import os
from typing import Any, ClassVar

import grpc

from kubeletapi.dra.v1 import api_pb2_grpc as v1_grpc
from kubeletapi.pluginregistration.v1 import api_pb2 as registration
from tests.broken_drivers.sound import Sound


class NeverRegisters(Sound):
    breaks: ClassVar = {"registers"}

    async def serve(self) -> list[grpc.aio.Server]:
        return [await self.serve_claims()]


class GivesARelativePath(Sound):
    breaks: ClassVar = {"driver-info"}

    def endpoint(self) -> str:
        return os.path.relpath(self.socket)


class ListsTheOldestFirst(Sound):
    breaks: ClassVar = {"versions"}
    versions = ("v1beta1.DRAPlugin", "v1.DRAPlugin", "v1alpha1.DRAResourceHealth")


class ServesAfterRegistering(Sound):
    breaks: ClassVar = {"serves-before-registering"}

    async def serve(self) -> list[grpc.aio.Server]:
        first = await self.serve_registration()
        await asyncio.sleep(1)
        return [await self.serve_claims(), first]


class AnswersInfoSlowly(Sound):
    breaks: ClassVar = {"info-in-time"}

    async def GetInfo(self, request: Any, context: Any) -> registration.PluginInfo:
        await asyncio.sleep(0.6)
        return await super().GetInfo(request, context)


class DoesNotTakeNotice(Sound):
    """At first, so that the kubelet has to come again."""

    breaks: ClassVar = {"answers-notify"}
    noticed = False

    async def NotifyRegistrationStatus(self, request: Any, context: Any) -> registration.RegistrationStatusResponse:
        if not self.noticed:
            self.noticed = True
            await context.abort(grpc.StatusCode.INTERNAL, "not now")
        return await super().NotifyRegistrationStatus(request, context)


class ListsWhatItDoesNotServe(Sound):
    breaks: ClassVar = {"serves-what-it-lists"}

    async def serve_claims(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        v1_grpc.add_DRAPluginServicer_to_server(self, server)
        self.add_health(server)
        server.add_insecure_port(f"unix:{self.socket}")
        await server.start()
        return server
