"""The five calls that a kubelet makes to a plugin, for one resource. Translates, and decides nothing.

Bytes in, bytes out: a list is sent as it is cached, and protobuf is loaded only when a request has to be read, which is
after the registration.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

import grpc

from fakehw_plugin import errors
from fakehw_plugin.device import MAX_ID_LENGTH
from fakehw_plugin.deviceplugin import wire
from fakehw_plugin.deviceplugin.allocation_log import AllocationLog
from fakehw_plugin.tree import attributes, descent
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from fakehw_plugin import rpc_faults
    from fakehw_plugin.device import Device, DeviceID
    from fakehw_plugin.deviceplugin.device_list import DeviceList
    from fakehw_plugin.devices.inventory import Inventory
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.logs import Logger

    Context = grpc.aio.ServicerContext[Any, Any]

_AT_ONCE: Final = 16
"""Devices looked at before others may run."""


class MakeServicer(Protocol):
    """Makes the servicer of one resource for one endpoint."""

    def __call__(self, *, on_streams: Callable[[], None]) -> DevicePluginServicer:
        """Return one that calls `on_streams` whenever a ListAndWatch stream opens or ends."""


class DevicePluginServicer:
    """Serves `inventory`, as `device_list` writes it down, on one socket.

    `on_streams` is called whenever a ListAndWatch stream opens or ends, `on_allocated` with what was handed out.
    """

    def __init__(
        self,
        inventory: Inventory,
        device_list: DeviceList,
        *,
        root: str,
        host_root: str,
        pre_start_required: bool,
        telemetry: Telemetry,
        log: Logger,
        on_streams: Callable[[], None],
        on_allocated: Callable[[Iterable[DeviceID]], None],
        faults: rpc_faults.Faults | None = None,
    ) -> None:
        self.live_streams = 0
        self.options: Final = wire.plugin_options(pre_start_required=pre_start_required, preferred_allocation=True)
        self._inventory = inventory
        self._list = device_list
        self._root = root
        self._host_root = host_root
        self._telemetry = telemetry
        self._log = log
        self._allocation_log = AllocationLog(log)
        self._on_streams = on_streams
        self._on_allocated = on_allocated
        self._faults = faults
        self._is_closing = False
        self._wakes: set[asyncio.Event] = set()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers for a gRPC server."""
        calls: dict[str, rpc_faults.Unary] = {
            "GetDevicePluginOptions": self.get_device_plugin_options,
            "GetPreferredAllocation": self.get_preferred_allocation,
            "Allocate": self.allocate,
            "PreStartContainer": self.pre_start_container,
        }
        stream: rpc_faults.Stream = self.list_and_watch
        if self._faults is not None:
            calls = {name: self._faults.unary(name, call) for name, call in calls.items()}
            stream = self._faults.stream("ListAndWatch", stream)
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            name: grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()
        }
        handlers["ListAndWatch"] = grpc.unary_stream_rpc_method_handler(stream)
        return (grpc.method_handlers_generic_handler(constants.DEVICE_PLUGIN_SERVICE, handlers),)

    def close(self) -> None:
        """End all streams, so that stopping the server does not have to wait for them (contract PIT-8)."""
        self._is_closing = True
        self._allocation_log.tell()
        for wake in self._wakes:
            wake.set()

    async def get_device_plugin_options(self, request: bytes, context: Context) -> bytes:
        """Answer with the same options as the registration (contract REG-8)."""
        return self.options

    async def list_and_watch(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Send the whole list now and after every change, for as long as the kubelet listens (contract LW-1, LW-2)."""
        inventory, wake, sent = self._inventory, asyncio.Event(), -1
        self._wakes.add(wake)
        inventory.subscribe(wake.set)
        self.live_streams += 1
        self._telemetry.streams_opened[inventory.resource_name] += 1
        if self.live_streams > 1:
            self._log.warning("several_streams", streams=self.live_streams)
        self._on_streams()
        try:
            while True:
                if inventory.generation != sent:
                    # Whatever came while the last list was on its way is in this one: a slow kubelet gets the latest.
                    sent, changed_at = inventory.generation, inventory.changed_at
                    yield self._list.message()
                    self._telemetry.lists_sent[inventory.resource_name] += 1
                    if changed_at is not None:
                        self._telemetry.send_latency.observe(time.monotonic() - changed_at)
                elif self._is_closing:
                    break
                else:
                    wake.clear()
                    await wake.wait()
        finally:
            inventory.unsubscribe(wake.set)
            self._wakes.discard(wake)
            self.live_streams -= 1
            self._on_streams()

    async def get_preferred_allocation(self, request: bytes, context: Context) -> bytes:
        """Choose for each container; never an error, because that would fail the pod (contract GP-4, PIT-15)."""
        from fakehw_plugin import allocation
        from fakehw_plugin.deviceplugin import requests
        from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

        response = pluginapi.PreferredAllocationResponse()
        try:
            asked = requests.preferred(request)
        except errors.RequestError as error:
            await self._refuse_bytes(context, error)
        for container in asked:
            must_include = self._known(container.must_include_deviceIDs)
            available = self._known(container.available_deviceIDs)
            healthy = [device for device in available if device.is_healthy]
            enough = len({*healthy, *must_include}) >= container.allocation_size
            chosen = allocation.prefer(healthy if enough else available, must_include, container.allocation_size)
            response.container_responses.add(deviceIDs=[device.id for device in chosen])
        return response.SerializeToString()

    async def allocate(self, request: bytes, context: Context) -> bytes:
        """Give each container its variables, mounts and device nodes (contract AL-1, AL-10, AL-11).

        The same device may be asked for again (contract AL-4, PIT-12). A device that is unknown, unhealthy or not a
        real directory at this moment is refused by name, which fails the pod (contract ADM-2).
        """
        from fakehw_plugin.deviceplugin import answers, requests

        response = b""
        try:
            for asked in requests.allocated(request):
                devices = await self._all_allocatable(asked)
                response += answers.container(devices, host_root=self._host_root)
                self._on_allocated(asked)
                self._allocation_log.tell_later(asked)
        except errors.RequestError as error:
            await self._refuse_bytes(context, error)
        except errors.UnknownDeviceError as error:
            await self._refuse(context, "unknown_device", grpc.StatusCode.INVALID_ARGUMENT, error)
        except errors.UnhealthyDeviceError as error:
            await self._refuse(context, "unhealthy_device", grpc.StatusCode.FAILED_PRECONDITION, error)
        self._telemetry.allocations[self._inventory.resource_name, "ok"] += 1
        return response

    async def pre_start_container(self, request: bytes, context: Context) -> bytes:
        """Check once more that the devices are healthy; a refusal is retried by the kubelet (contract PS-1, PS-2)."""
        from fakehw_plugin.deviceplugin import requests

        try:
            await self._all_allocatable(requests.started(request))
        except errors.RequestError as error:
            await self._refuse_bytes(context, error)
        except errors.AllocationError as error:
            self._log.warning("start_refused", error=str(error))
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return b""

    def _known(self, device_ids: Iterable[str]) -> list[Device]:
        """Return the devices that there are of these, each once."""
        devices = (self._inventory.get(device_id) for device_id in dict.fromkeys(device_ids))
        return [device for device in devices if device is not None]

    async def _all_allocatable(self, device_ids: Iterable[str]) -> list[Device]:
        """Return the devices; AllocationError for the first that cannot be given."""
        devices = []
        for number, device_id in enumerate(device_ids, 1):
            devices.append(self._allocatable(device_id))
            if not number % _AT_ONCE:
                await asyncio.sleep(0)
        return devices

    def _allocatable(self, device_id: str) -> Device:
        device = self._inventory.get(device_id)
        if device is None:
            raise errors.UnknownDeviceError(
                f"device {_short(device_id)} is not a device of {self._inventory.resource_name}"
            )
        if not device.is_healthy:
            raise errors.UnhealthyDeviceError(f"device {device_id} is Unhealthy: {device.reason or 'no reason given'}")
        try:
            is_real = descent.is_real_device(self._root, device)
        except attributes.StarvedError as error:
            raise errors.UnhealthyDeviceError(f"device {device_id} cannot be looked at: {error}") from error
        if not is_real:
            raise errors.UnhealthyDeviceError(f"device {device_id} is Unhealthy: its directory or its node is gone")
        return device

    async def _refuse(self, context: Context, outcome: str, code: grpc.StatusCode, error: errors.PluginError) -> None:
        self._telemetry.allocations[self._inventory.resource_name, outcome] += 1
        self._log.warning("allocation_refused", error=str(error))
        await context.abort(code, str(error))

    async def _refuse_bytes(self, context: Context, error: errors.RequestError) -> NoReturn:
        self._log.warning("bad_request", message=error.message, error=error.error)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


def _short(device_id: str) -> str:
    """Return an ID that may be anything as text for an error."""
    longest = MAX_ID_LENGTH
    return repr(device_id) if len(device_id) <= longest else f"{device_id[:longest]!r}… ({len(device_id)} characters)"
