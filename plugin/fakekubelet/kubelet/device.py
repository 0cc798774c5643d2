"""A device as a plugin reported it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """One device of one list."""

    id: str
    health: str
    """As received; only `Healthy` to the letter counts as healthy (contract LW-3)."""
    numa_nodes: tuple[int, ...] = ()
    has_empty_topology: bool = False
    """Whether there was a topology with no nodes in it, which hides the device from GetAllocatableResources."""

    @property
    def has_topology(self) -> bool:
        """Tell whether the plugin said anything of NUMA nodes, be it that there are none."""
        return bool(self.numa_nodes) or self.has_empty_topology

    @property
    def is_healthy(self) -> bool:
        """Tell whether the kubelet counts the device as allocatable."""
        return self.health == constants.HEALTHY


def of_messages(messages: Iterable[pluginapi.Device]) -> list[Device]:
    """Read the devices of a ListAndWatch message, doubles included (contract LW-4)."""
    return [
        Device(
            message.ID,
            message.health,
            tuple(node.ID for node in message.topology.nodes),
            message.HasField("topology") and not message.topology.nodes,
        )
        for message in messages
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceList:
    """One ListAndWatch message, as `FakeKubelet.history` keeps it."""

    at: float
    """When it was received, on the machine's monotonic clock."""
    devices: Mapping[str, tuple[str, tuple[int, ...]]]
    """Device ID to health and NUMA nodes."""
    repeated_ids: tuple[str, ...] = ()
    """IDs that occur more than once; the kubelet accepts them, a plugin should not send them (contract LW-4)."""
    is_first: bool = False
    """True of the list that opens a stream, which comes even if it says nothing new."""

    @property
    def healthy(self) -> int:
        """How many count as healthy."""
        return sum(health == constants.HEALTHY for health, _ in self.devices.values())
