"""Faults in what is answered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Any, ClassVar

import grpc

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.broken_plugins.sound import Sound


class AllocatesNothing(Sound):
    breaks: ClassVar = {"allocate-shape"}

    async def Allocate(self, request: Any, context: Any) -> pluginapi.AllocateResponse:
        return pluginapi.AllocateResponse()


class RefusesASecondAllocate(Sound):
    breaks: ClassVar = {"allocate-again"}

    async def Allocate(self, request: Any, context: Any) -> pluginapi.AllocateResponse:
        self.given: set[str] = getattr(self, "given", set())
        wanted = set(request.container_requests[0].devices_ids)
        if wanted & self.given:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "allocated already")
        self.given |= wanted & set(self.ids)
        return await super().Allocate(request, context)


class DiesOfAnUnknownDevice(Sound):
    breaks: ClassVar = {"allocate-unknown"}

    async def Allocate(self, request: Any, context: Any) -> pluginapi.AllocateResponse:
        if not set(request.container_requests[0].devices_ids) <= set(self.ids):
            os._exit(3)
        return await super().Allocate(request, context)


class MountsWhatIsNotThere(Sound):
    breaks: ClassVar = {"host-paths"}

    def answer(self, response: Any, ids: Iterable[str]) -> None:
        response.mounts.add(container_path="/dongle", host_path="/no/such/dongle")


class WritesABadCDIName(Sound):
    breaks: ClassVar = {"cdi-names"}

    def answer(self, response: Any, ids: Iterable[str]) -> None:
        response.cdi_devices.add(name="dongle-1")


class _Gadget(Sound):
    resource = "example.com/gadget"
    prefix = "gadget"
    ids = ("gadget-1",)


class SetsOneVariableForTwoResources(Sound):
    breaks: ClassVar = {"distinct-names"}
    together = (Sound, _Gadget)


class PrefersTooMany(Sound):
    breaks: ClassVar = {"preferred-exact"}

    async def GetPreferredAllocation(self, request: Any, context: Any) -> pluginapi.PreferredAllocationResponse:
        response = pluginapi.PreferredAllocationResponse()
        response.container_responses.add(deviceIDs=request.container_requests[0].available_deviceIDs)
        return response


class PrefersWithoutWhatMustBe(Sound):
    breaks: ClassVar = {"preferred-exact"}

    async def GetPreferredAllocation(self, request: Any, context: Any) -> pluginapi.PreferredAllocationResponse:
        response = pluginapi.PreferredAllocationResponse()
        one = request.container_requests[0]
        response.container_responses.add(deviceIDs=sorted(one.available_deviceIDs)[: one.allocation_size])
        return response


class FailsOverADeviceItDropped(Sound):
    breaks: ClassVar = {"preferred-no-error"}

    async def GetPreferredAllocation(self, request: Any, context: Any) -> pluginapi.PreferredAllocationResponse:
        if not set(request.container_requests[0].available_deviceIDs) <= set(self.ids):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such device")
        return await super().GetPreferredAllocation(request, context)


class AllocatesForEver(Sound):
    breaks: ClassVar = {"replies-in-time"}

    async def Allocate(self, request: Any, context: Any) -> pluginapi.AllocateResponse:
        if set(request.container_requests[0].devices_ids) <= set(self.ids):
            await asyncio.sleep(60)
        return await super().Allocate(request, context)


class FailsPreStart(Sound):
    breaks: ClassVar = {"pre-start"}

    async def PreStartContainer(self, request: Any, context: Any) -> pluginapi.PreStartContainerResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "asked for, and not there")
        raise AssertionError("aborted")
