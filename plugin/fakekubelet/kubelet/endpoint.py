"""A registered plugin as the device manager sees it: callable until it stops, remembered for a while after.

Mirrors `devicemanager/endpoint.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

if TYPE_CHECKING:
    from collections.abc import Collection

    from fakekubelet.kubelet import plugin_client

STOP_GRACE_PERIOD_S = 300.0
"""How long capacity outlives a plugin; five minutes (contract NS-2)."""

PRE_START_TIMEOUT_S = 30.0
"""Deadline of PreStartContainer (contract PS-1)."""


class StoppedError(Exception):
    """The endpoint has stopped, so no RPC was sent (contract LW-10)."""


class Endpoint:
    """One resource's plugin, or the memory of one."""

    def __init__(
        self,
        resource: str,
        client: plugin_client.PluginClient | None,
        options: pluginapi.DevicePluginOptions | None,
        *,
        stopped_at: float | None = None,
    ) -> None:
        self.resource = resource
        self.client = client
        """None for a resource that is only known from the checkpoint (contract RS-9)."""
        self.options = options
        """None as long as no plugin has told (contract PS-3)."""
        self.stopped_at = stopped_at

    def has_expired(self, now: float) -> bool:
        """Tell whether the plugin has been gone for longer than the grace period."""
        return self.stopped_at is not None and now - self.stopped_at > STOP_GRACE_PERIOD_S

    async def get_preferred_allocation(
        self, available: Collection[str], must_include: Collection[str], size: int
    ) -> pluginapi.PreferredAllocationResponse:
        """Ask which of *available* to take; always one container request (contract AL-1, GP-2)."""
        request = pluginapi.ContainerPreferredAllocationRequest(
            available_deviceIDs=available, must_include_deviceIDs=must_include, allocation_size=size
        )
        return await self._live_client().get_preferred_allocation(
            pluginapi.PreferredAllocationRequest(container_requests=[request])
        )

    async def allocate(self, device_ids: Collection[str]) -> pluginapi.AllocateResponse:
        """Allocate; always one container request (contract AL-1)."""
        request = pluginapi.ContainerAllocateRequest(devices_ids=device_ids)
        return await self._live_client().allocate(pluginapi.AllocateRequest(container_requests=[request]))

    async def pre_start_container(self, device_ids: Collection[str]) -> None:
        """Announce a container that gets *device_ids*."""
        request = pluginapi.PreStartContainerRequest(devices_ids=device_ids)
        await self._live_client().pre_start_container(request, timeout_s=PRE_START_TIMEOUT_S)

    def _live_client(self) -> plugin_client.PluginClient:
        if self.stopped_at is not None or self.client is None:
            raise StoppedError(f"endpoint {self.resource} has been stopped")
        return self.client
