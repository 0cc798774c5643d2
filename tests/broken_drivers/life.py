"""Faults in health, in coming back and in going."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import grpc

from kubeletapi.drahealth.v1alpha1 import api_pb2 as health
from kubeletapi.pluginregistration.v1 import api_pb2 as registration
from tests.broken_drivers.sound import Sound


class LeavesOneOut(Sound):
    breaks: ClassVar = {"complete-health"}

    def health(self) -> health.NodeWatchResourcesResponse:
        response = super().health()
        del response.devices[-1]
        return response


class SaysItOnce(Sound):
    breaks: ClassVar = {"health-in-time"}
    resend_s = 3600.0

    def health(self) -> health.NodeWatchResourcesResponse:
        response = super().health()
        for device in response.devices:
            device.health_check_timeout_seconds = 1
        return response


class TaintsNothing(Sound):
    breaks: ClassVar = {"break-in-slices"}

    def slice_device(self, device: str) -> dict[str, Any]:
        return {**super().slice_device(device), "taints": []}

    def slice_spec(self, generation: int) -> dict[str, Any]:
        spec = super().slice_spec(generation)
        for device in spec["devices"]:
            device.pop("taints")
        return spec


class IsAlwaysHealthy(Sound):
    breaks: ClassVar = {"break-in-health"}

    def health(self) -> health.NodeWatchResourcesResponse:
        response = super().health()
        for device in response.devices:
            device.health = 1
        return response


class TaintsForGood(Sound):
    breaks: ClassVar = {"mended"}
    was_broken = False

    def is_broken(self, device: str) -> bool:
        now = super().is_broken(device)
        self.was_broken = self.was_broken or now
        return now or (device == self.devices[0] and self.was_broken)


class AnswersOneKubelet(Sound):
    breaks: ClassVar = {"survives-kubelet-restart"}
    asked = False

    async def GetInfo(self, request: Any, context: Any) -> registration.PluginInfo:
        if self.asked:
            await context.abort(grpc.StatusCode.INTERNAL, "I have said it")
        self.asked = True
        return await super().GetInfo(request, context)


class StreamsOnce(Sound):
    breaks: ClassVar = {"health-again"}
    streams = 0

    async def NodeWatchResources(self, request: Any, context: Any) -> AsyncIterator[health.NodeWatchResourcesResponse]:
        self.streams += 1
        if self.streams == 1:
            async for message in super().NodeWatchResources(request, context):
                yield message


class DoesNotStartBesideItsOldSockets(Sound):
    breaks: ClassVar = {"survives-kill"}

    async def serve(self) -> list[grpc.aio.Server]:
        if list(self.registration_socket.parent.glob(f"{self.name}-*")):
            sys.exit("another instance is running")
        return await super().serve()


class EndsWithStatusOne(Sound):
    breaks: ClassVar = {"stops-cleanly"}
    exit_code = 1


class LeavesItsSockets(Sound):
    breaks: ClassVar = {"removes-sockets"}

    async def leave(self, servers: list[grpc.aio.Server]) -> None:
        os._exit(0)


class NeverLosesADevice(Sound):
    breaks: ClassVar = {"unplugged"}

    def present(self) -> list[str]:
        return list(self.devices)


class LosesADeviceForGood(Sound):
    breaks: ClassVar = {"plugged"}
    was_gone = False

    def present(self) -> list[str]:
        now = super().present()
        self.was_gone = self.was_gone or len(now) < len(self.devices)
        return now if not self.was_gone else list(self.devices[:2])


class ClearsAwayItsPredecessor(Sound):
    breaks: ClassVar = {"takes-over"}

    async def serve(self) -> list[grpc.aio.Server]:
        for path in (*self.dir.glob("dra-*.sock"), *self.registration_socket.parent.glob(f"{self.name}-*")):
            path.unlink()
        return await super().serve()


class TakesItsSuccessorAlong(Sound):
    breaks: ClassVar = {"leaves-the-rest"}

    async def leave(self, servers: list[grpc.aio.Server]) -> None:
        await super().leave(servers)
        for path in (*self.dir.glob("dra-*.sock"), *self.registration_socket.parent.glob(f"{self.name}-*")):
            path.unlink()
