"""Who holds which device, and what the plugin said to give the container with it.

Mirrors `devicemanager/pod_devices.go`. This is what the checkpoint keeps over a restart.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

WITHOUT_TOPOLOGY = -1
"""The pseudo NUMA node of devices that have none."""

DevicesPerNUMA = dict[int, list[str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """One container's devices of one resource; a device with k NUMA nodes is listed k times."""

    per_numa: Mapping[int, list[str]]
    response: pluginapi.ContainerAllocateResponse

    @property
    def device_ids(self) -> set[str]:
        """Return the devices, each once."""
        return {device_id for ids in self.per_numa.values() for device_id in ids}

    @property
    def numa_nodes(self) -> dict[str, list[int]]:
        """Return the NUMA nodes of each device."""
        nodes: dict[str, list[int]] = {device_id: [] for device_id in self.device_ids}
        for node, ids in self.per_numa.items():
            if node != WITHOUT_TOPOLOGY:
                for device_id in ids:
                    nodes[device_id].append(node)
        return nodes


class PodDevices:
    """Allocations by pod UID, container name and resource."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, dict[str, Held]]] = {}

    def insert(self, pod_uid: str, container: str, resource: str, held: Held) -> None:
        """Remember an allocation."""
        self._held.setdefault(pod_uid, {}).setdefault(container, {})[resource] = held

    def delete(self, pod_uids: Iterable[str]) -> None:
        """Forget pods."""
        for pod_uid in pod_uids:
            self._held.pop(pod_uid, None)

    def pod_uids(self) -> set[str]:
        """Return the pods that hold something."""
        return set(self._held)

    def of_container(self, pod_uid: str, container: str) -> Mapping[str, Held]:
        """Return what a container holds, by resource."""
        return self._held.get(pod_uid, {}).get(container, {})

    def device_ids(self, pod_uid: str, container: str, resource: str) -> set[str] | None:
        """Return the devices a container holds of one resource; None if nothing was ever allocated."""
        held = self.of_container(pod_uid, container).get(resource)
        return None if held is None else held.device_ids

    def allocated(self) -> dict[str, set[str]]:
        """Return all devices in use, by resource."""
        in_use: dict[str, set[str]] = {}
        for _, _, resource, held in self:
            in_use.setdefault(resource, set()).update(held.device_ids)
        return in_use

    def holder_of(self, device_id: str) -> str | None:
        """Return the first pod found to hold a device, whatever the resource (contract LW-14, HS-4)."""
        return next((pod_uid for pod_uid, _, _, held in self if device_id in held.device_ids), None)

    def __iter__(self) -> Iterator[tuple[str, str, str, Held]]:
        for pod_uid, containers in self._held.items():
            for container, resources in containers.items():
                for resource, held in resources.items():
                    yield pod_uid, container, resource, held
