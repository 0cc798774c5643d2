"""What Allocate answers, encoded: a piece for each device, kept because the same devices are given out time and again.

Protobuf objects for it cost as much as all the rest that Allocate does here.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from fakehw_plugin import allocation
from fakehw_plugin.wire import delimited

if TYPE_CHECKING:
    from collections.abc import Collection

    from fakehw_plugin.device import Device

_READ_ONLY = b"\x18\x01"


def container(devices: Collection[Device], *, host_root: str) -> bytes:
    """Encode what one container gets, as an entry of AllocateResponse.container_responses (contract 1.1, AL-1)."""
    pieces = (
        _piece(device.path, variable, has_device_node=device.has_device_node, host_root=host_root)
        for device, variable in allocation.variables(devices)
    )
    return delimited(1, b"".join(pieces))


@functools.lru_cache(maxsize=4096)
def _piece(path: str, variable: str, *, has_device_node: bool, host_root: str) -> bytes:
    grant = allocation.grant(path, variable, has_device_node=has_device_node, host_root=host_root)
    envs = (_pair(name, value) for name, value in grant.envs.items())
    mounts = (_pair(mount.container_path, mount.host_path) + _READ_ONLY for mount in grant.mounts)
    permissions = delimited(3, allocation.DEVICE_NODE_PERMISSIONS.encode())
    nodes = (_pair(node.container_path, node.host_path) + permissions for node in grant.device_nodes)
    fields = ((1, envs), (2, mounts), (3, nodes))
    return b"".join(delimited(number, message) for number, messages in fields for message in messages)


def _pair(first: str, second: str) -> bytes:
    """Encode the two fields with which an entry of a map, a Mount and a DeviceSpec begin."""
    return delimited(1, first.encode()) + delimited(2, second.encode())
