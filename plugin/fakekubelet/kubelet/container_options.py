"""What a container is started with, merged from what its plugins said.

Mirrors `pod_devices.go:deviceRunContainerOptions` (contract AL-12): the first one wins, a later one that differs is
dropped, and "first" among resources is any order, so plugins must keep their names apart.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """A directory or file of the host in the container."""

    container_path: str
    host_path: str
    read_only: bool


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node of the host in the container."""

    container_path: str
    host_path: str
    permissions: str


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerOptions:
    """The merged result; mounts and device nodes by container path."""

    envs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mounts: Mapping[str, Mount] = dataclasses.field(default_factory=dict)
    devices: Mapping[str, DeviceNode] = dataclasses.field(default_factory=dict)
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    """What the real kubelet only logs: `env NAME`, `mount PATH` and so on that two resources set differently."""


def merge(responses: Iterable[pluginapi.ContainerAllocateResponse]) -> ContainerOptions:
    """Merge the answers for one container, in the order given."""
    envs: dict[str, str] = {}
    mounts: dict[str, Mount] = {}
    devices: dict[str, DeviceNode] = {}
    annotations: dict[str, str] = {}
    cdi_devices: dict[str, None] = {}
    conflicts: list[str] = []
    for response in responses:
        for name, value in sorted(response.envs.items()):
            if envs.setdefault(name, value) != value:
                conflicts.append(f"env {name}")
        for node in response.devices:
            kept_node = devices.setdefault(
                node.container_path, DeviceNode(node.container_path, node.host_path, node.permissions)
            )
            if kept_node.host_path != node.host_path:
                conflicts.append(f"device {node.container_path}")
        for mount in response.mounts:
            kept = mounts.setdefault(
                mount.container_path, Mount(mount.container_path, mount.host_path, mount.read_only)
            )
            if kept.host_path != mount.host_path:
                conflicts.append(f"mount {mount.container_path}")
        for key, value in sorted(response.annotations.items()):
            if annotations.setdefault(key, value) != value:
                conflicts.append(f"annotation {key}")
        cdi_devices.update((device.name, None) for device in response.cdi_devices)
    return ContainerOptions(envs, mounts, devices, annotations, tuple(cdi_devices), tuple(conflicts))
