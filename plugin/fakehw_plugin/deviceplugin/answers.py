"""What Allocate answers, encoded. That of a few devices is kept: the same ones are given out time and again.

Protobuf objects for it cost as much as all the rest that Allocate does here.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from fakehw_plugin import allocation
from fakehw_plugin.wire import delimited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakehw_plugin.device import Device

MAX_KEPT: Final = 8
"""Devices of one container whose answer is kept."""

_READ_ONLY: Final = b"\x18\x01"


def container(devices: Sequence[Device], *, host_root: str) -> bytes:
    """Encode what one container gets, as an entry of AllocateResponse.container_responses (contract 1.1, AL-1)."""
    return _kept(tuple(devices), host_root) if len(devices) <= MAX_KEPT else _container(devices, host_root)


def _container(devices: Sequence[Device], host_root: str) -> bytes:
    pieces = (_piece(device, variable, host_root) for device, variable in allocation.variables(devices))
    return delimited(1, b"".join(pieces))


_kept = functools.lru_cache(maxsize=1024)(_container)


def _piece(device: Device, variable: str, host_root: str) -> bytes:
    grant = allocation.grant(device.path, variable, has_device_node=device.has_device_node, host_root=host_root)
    envs = (_pair(name, value) for name, value in grant.envs.items())
    mounts = (_pair(mount.container_path, mount.host_path) + _READ_ONLY for mount in grant.mounts)
    permissions = delimited(3, allocation.DEVICE_NODE_PERMISSIONS.encode())
    nodes = (_pair(node.container_path, node.host_path) + permissions for node in grant.device_nodes)
    fields = ((1, envs), (2, mounts), (3, nodes))
    return b"".join(delimited(number, message) for number, messages in fields for message in messages)


def _pair(first: str, second: str) -> bytes:
    """Encode the two fields with which an entry of a map, a Mount and a DeviceSpec begin."""
    return delimited(1, first.encode()) + delimited(2, second.encode())
