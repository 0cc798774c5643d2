"""The kubelet's device manager: what plugins have told, and what is in use.

Mirrors `devicemanager/manager.go`: sets of healthy and unhealthy IDs per resource, the endpoints, the allocations. It
does no RPC; device_allocation.py does, on this state. One event loop stands in for the mutex.
"""

from __future__ import annotations

import collections
import time
from typing import TYPE_CHECKING

from fakekubelet.kubelet import checkpoint, device, node_status, plugin_client, pod_devices
from fakekubelet.kubelet.endpoint import STOP_GRACE_PERIOD_S, Endpoint
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from fakekubelet import clock


_JUST_AFTER_S = 0.001
"""The grace period is over when more than its length has passed."""


class DeviceManager:
    """Everything one kubelet process knows about devices."""

    def __init__(
        self,
        directory: Path,
        *,
        time_source: clock.Clock,
        active_pods: Callable[[], set[str]],
        on_list: Callable[[str, device.DeviceList], None],
        on_health: Callable[[str], None],
        ring: Callable[[], None],
    ) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.healthy: dict[str, set[str]] = {}
        self.unhealthy: dict[str, set[str]] = {}
        self.all_devices: dict[str, dict[str, device.Device]] = {}
        self.allocated: dict[str, set[str]] = {}
        self.pod_devices = pod_devices.PodDevices()
        self.pods_known = False
        """Whether the pod sources are ready; before, nothing is freed and running containers are left alone (RS-6)."""
        self._directory = directory
        self._timers: list[clock.Timer] = []
        self._clock = time_source
        self._active_pods = active_pods
        self._on_list = on_list
        self._on_health = on_health
        self._ring = ring

    def load_checkpoint(self) -> None:
        """Take over the allocations of the last life; resources are known but stopped, hence 0/0 (contract RS-9)."""
        saved = checkpoint.read(self._directory)
        if saved is None:
            return
        self.pod_devices = saved.pod_devices
        self.allocated = self.pod_devices.allocated()
        for resource in saved.resources:
            self.healthy[resource] = set()
            self.unhealthy[resource] = set()
            self.endpoints[resource] = Endpoint(resource, None, None, stopped_at=self._clock.time())

    def save_checkpoint(self) -> None:
        """Write everything, every time (contract LW-7)."""
        checkpoint.write(self._directory, self.pod_devices, self.healthy)

    def plugin_connected(self, resource: str, endpoint: Endpoint) -> None:
        """Let *endpoint* serve *resource* from now on; its devices come with its first list (contract LW-6)."""
        self.endpoints[resource] = endpoint
        self._ring()

    def plugin_disconnected(self, resource: str, client: plugin_client.PluginClient | None) -> None:
        """Make all devices unhealthy and start the grace period (contract LW-9).

        With *client* given only if the endpoint is still its own (contract REG-15); up to 1.36 whoever has it (REG-13).
        """
        endpoint = self.endpoints.get(resource)
        if endpoint is None or client not in (None, endpoint.client):
            return
        self.unhealthy.setdefault(resource, set()).update(self.healthy.get(resource, ()))
        if resource in self.healthy:
            self.healthy[resource] = set()
        endpoint.stopped_at = self._clock.time()
        self._timers.append(self._clock.call_later(STOP_GRACE_PERIOD_S + _JUST_AFTER_S, self._ring))
        self._ring()

    def close(self) -> None:
        """Drop the timers; the state stays to be looked at."""
        for timer in self._timers:
            timer.cancel()

    def list_received(self, resource: str, messages: Iterable[pluginapi.Device], *, is_first: bool) -> None:
        """Replace all that is known of *resource* (contract LW-2); *is_first* of its stream."""
        listed = device.of_messages(messages)
        before = self.all_devices.get(resource, {})
        changed = [each.id for each in listed if each.id not in before or before[each.id].health != each.health]
        self.all_devices[resource] = {each.id: each for each in listed}
        # An ID that is sent twice with different health lands in both sets and counts twice (contract LW-4).
        self.healthy[resource] = {each.id for each in listed if each.is_healthy}
        self.unhealthy[resource] = {each.id for each in listed if not each.is_healthy}
        counted = collections.Counter(each.id for each in listed)
        repeated = tuple(sorted(device_id for device_id, count in counted.items() if count > 1))
        entries = {each.id: (each.health, each.numa_nodes) for each in listed}
        self._on_list(resource, device.DeviceList(time.monotonic(), entries, repeated, is_first))
        for pod_uid in {
            holder for device_id in changed if (holder := self.pod_devices.holder_of(device_id)) is not None
        }:
            self._on_health(pod_uid)  # contract HS-4; a vanished ID is not in `changed` (contract HS-5)
        self.save_checkpoint()
        self._ring()

    def is_device_plugin_resource(self, resource: str) -> bool:
        """Tell whether a limit concerns this manager; others are ignored (contract ADM-5)."""
        return resource in self.healthy or resource in self.allocated

    def counts(self) -> node_status.Counts:
        """Compute what GetCapacity would answer now, without its side effect (contract NS-1)."""
        now = self._clock.time()
        counts = node_status.Counts()
        for resource in self.healthy.keys() | self.unhealthy.keys():
            endpoint = self.endpoints.get(resource)
            if endpoint is None or endpoint.has_expired(now):
                counts.removed.add(resource)
                continue
            healthy = self.healthy.get(resource)
            counts.capacity[resource] = len(healthy or ()) + len(self.unhealthy.get(resource, ()))
            if healthy is not None:
                counts.allocatable[resource] = len(healthy)
        return counts

    def forget(self, resources: Iterable[str]) -> None:
        """Drop resources whose grace is over, after the node status has been told (contract NS-4, PS-4)."""
        gone = list(resources)
        for resource in gone:
            for table in (self.endpoints, self.healthy, self.unhealthy):
                table.pop(resource, None)
        if gone:
            self.save_checkpoint()

    def update_allocated(self) -> None:
        """Free the devices of pods that are no longer active; nobody tells the plugin (contract AL-5)."""
        if not self.pods_known:
            return
        gone = self.pod_devices.pod_uids() - self._active_pods()
        if gone:
            self.pod_devices.delete(gone)
            self.allocated = self.pod_devices.allocated()

    def reported(self, resource: str) -> dict[str, str]:
        """Return ID to health as it counts now: all unhealthy once the plugin is gone."""
        devices = self.all_devices.get(resource, {})
        unhealthy = {
            device_id: constants.UNHEALTHY
            if device_id not in devices or devices[device_id].is_healthy
            else devices[device_id].health
            for device_id in self.unhealthy.get(resource, ())
        }
        return dict(sorted((unhealthy | dict.fromkeys(self.healthy.get(resource, ()), constants.HEALTHY)).items()))
