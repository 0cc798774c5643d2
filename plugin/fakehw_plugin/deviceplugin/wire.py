"""The device plugin API's messages, encoded by hand, so that protobuf need not be loaded to register (see process)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakehw_plugin.device import Health
from fakehw_plugin.wire import delimited, varint
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from fakehw_plugin.device import Device, DeviceID

_GROWTH: Final = len(constants.UNHEALTHY) - len(constants.HEALTHY)

_HEALTH: Final = {health: delimited(2, health.value.encode()) for health in Health}


def device_fragment(device_id: DeviceID, device: Device) -> bytes:
    """Encode `device` as an entry of ListAndWatchResponse.devices (contract 1.1)."""
    body = delimited(1, device_id.encode()) + _HEALTH[device.health]
    if device.numa_node is not None:
        # proto3 leaves a zero out: NUMA node 0 is an empty NUMANode message
        numa_node = b"\x08" + varint(device.numa_node) if device.numa_node else b""
        body += delimited(3, delimited(1, numa_node))
    return delimited(1, body)


def register_request(*, endpoint: str, resource_name: str, options: bytes) -> bytes:
    """Encode a RegisterRequest (contract 1.1); `options` is an encoded DevicePluginOptions."""
    return (
        delimited(1, constants.VERSION.encode())
        + delimited(2, endpoint.encode())
        + delimited(3, resource_name.encode())
        + delimited(4, options)
    )


def plugin_options(*, pre_start_required: bool, preferred_allocation: bool) -> bytes:
    """Encode DevicePluginOptions (contract 1.1)."""
    return (b"\x08\x01" if pre_start_required else b"") + (b"\x10\x01" if preferred_allocation else b"")


def worst_size(fragment: bytes) -> int:
    """Return the bytes that a device's fragment takes once it is unhealthy, the longer word (contract PIT-9)."""
    return len(fragment) + (_GROWTH if _HEALTH[Health.HEALTHY] in fragment else 0)  # no ID holds such a byte
