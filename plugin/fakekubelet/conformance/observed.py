"""What can be seen of a plugin at a moment: through the kubelet that it registered with, and in the directory."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from fakekubelet.conformance import evidence
from fakekubelet.kubelet import checkpoint, registration, resource_name
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fakekubelet.conformance.settings import Settings
    from fakekubelet.kubelet import device, kubelet


class Observed:
    """Reads; changes nothing but the sockets it is told to remove."""

    def __init__(self, settings: Settings, running: kubelet.FakeKubelet) -> None:
        self.resources: list[str] = []
        """Those that are looked at."""
        self._settings = settings
        self._kubelet = running

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for a condition; tell whether it came true."""
        with contextlib.suppress(TimeoutError):
            return await self._kubelet.wait_for(condition, timeout=timeout_s)
        return condition()

    async def find_resources(self) -> None:
        """Take the resources that are expected, or those that come until none comes for a while."""
        limits = self._settings.limits
        if self._settings.resources:
            self.resources = list(self._settings.resources)
            await self.until(lambda: set(self.accepted()) >= set(self.resources), limits.start_s)
            return
        while len(found := self.accepted()) > len(self.resources):
            self.resources = found
            await self.until(lambda: len(self.accepted()) > len(self.resources), limits.quiet_s)

    # -- registrations and lists --------------------------------------------------------------------------------------

    def accepted(self) -> list[str]:
        """Return the resources that were ever registered."""
        return sorted({attempt.resource_name for attempt in self._kubelet.registrations if attempt.error is None})

    def is_refused_for_good(self) -> bool:
        """Tell whether all that was ever sent is what no kubelet accepts, whenever it is sent (contract REG-4)."""
        sent = self._kubelet.registrations
        return bool(sent) and all(
            attempt.version != constants.VERSION or not resource_name.is_extended(attempt.resource_name)
            for attempt in sent
        )

    def registered(self, resource: str) -> registration.Registration | None:
        """Return the last registration of a resource that was accepted."""
        own = [
            attempt
            for attempt in self._kubelet.registrations
            if attempt.resource_name == resource and attempt.error is None
        ]
        return own[-1] if own else None

    def is_up(self, since: float = 0.0) -> bool:
        """Tell whether every resource was registered and listed after *since* and has a stream."""
        return not self.missing(since)

    def missing(self, since: float) -> list[str]:
        """Return the resources of which this is not so."""
        return [resource for resource in self.resources if not self._is_resource_up(resource, since)]

    def _is_resource_up(self, resource: str, since: float) -> bool:
        registered, lists = self.registered(resource), self._kubelet.history(resource)
        return (
            registered is not None
            and registered.time >= since
            and bool(lists)
            and lists[-1].at >= registered.time
            and self._kubelet.live_streams(resource) > 0
        )

    def last_list(self) -> float:
        """Return when the last list of all came."""
        return max(self._kubelet.history(resource)[-1].at for resource in self.resources)

    def lists(self, resource: str, since: float) -> Sequence[device.DeviceList]:
        """Return the lists received after *since*."""
        return [received for received in self._kubelet.history(resource) if received.at >= since]

    def healthy(self, resource: str) -> list[str]:
        """Return the healthy devices of the last list, in order."""
        lists = self._kubelet.history(resource)
        return [key for key, (health, _) in lists[-1].devices.items() if health == constants.HEALTHY] if lists else []

    def arrivals(self) -> dict[str, float]:
        """Return, for each resource with a list, how long its first one took from the answer to Register."""
        found = {}
        for resource in self.resources:
            registered, lists = self.registered(resource), self._kubelet.history(resource)
            if registered is not None and lists:
                found[resource] = max(0.0, lists[0].at - registered.time - registered.duration_s)
        return found

    def options(self) -> dict[str, evidence.Options]:
        """Return what GetDevicePluginOptions was answered last, by resource, and the longest that it took."""
        found: dict[str, evidence.Options] = {}
        for call in self._kubelet.calls.of("GetDevicePluginOptions"):
            if isinstance(call.reply, pluginapi.DevicePluginOptions) and call.duration_s is not None:
                slowest = found[call.resource].duration_s if call.resource in found else 0.0
                found[call.resource] = evidence.Options(
                    call.reply.pre_start_required,
                    call.reply.get_preferred_allocation_available,
                    max(slowest, call.duration_s),
                )
        return found

    def stream_errors(self) -> dict[str, str]:
        """Return the errors with which a list could not be received, by resource."""
        failed = {}
        for call in self._kubelet.calls.of("ListAndWatch"):
            said = str(call.error or "")
            if "larger than max" in said or "unmarshal" in said:
                failed[call.resource] = said
        return failed

    def list_sizes(self) -> dict[str, int]:
        """Return the bytes of each resource's largest list with every device unhealthy (contract LIM-1)."""
        sizes = {}
        for resource in self.resources:
            lists = self._kubelet.history(resource)
            if not lists:
                continue
            message = pluginapi.ListAndWatchResponse()
            for key, (_, nodes) in max(lists, key=lambda received: len(received.devices)).devices.items():
                device = message.devices.add(ID=key, health=constants.UNHEALTHY)
                device.topology.nodes.extend(pluginapi.NUMANode(ID=node) for node in nodes)
            sizes[resource] = message.ByteSize()
        return sizes

    # -- the directory ------------------------------------------------------------------------------------------------

    def socket_path(self, resource: str) -> Path | None:
        """Return where a resource is served."""
        registered = self.registered(resource)
        return None if registered is None else self._settings.plugin_dir / registered.endpoint

    def sockets(self) -> list[str]:
        """Return the names of the plugin's sockets."""
        return [name for name, is_socket in self._entries() if is_socket]

    def dead_sockets(self) -> list[str]:
        """Return those that nobody listens on."""
        return [name for name in self.sockets() if not registration.is_listening(self._settings.plugin_dir / name)]

    def files(self) -> list[str]:
        """Return the names of what else the plugin made there."""
        return [name for name, is_socket in self._entries() if not is_socket]

    def remove_sockets(self) -> None:
        """Remove the plugin's sockets, so that its next life is not judged by them."""
        for name in self.sockets():
            (self._settings.plugin_dir / name).unlink(missing_ok=True)

    def _entries(self) -> list[tuple[str, bool]]:
        """Return the names in the plugin directory, and which are sockets; of sockets elsewhere the way there."""
        found = []
        registry = self._settings.plugins_registry
        for path in registry.rglob("*") if registry is not None and registry.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(path.lstat().st_mode):
                    found.append((os.path.relpath(path, self._settings.plugin_dir), True))
        for path in self._settings.plugin_dir.iterdir():
            with contextlib.suppress(FileNotFoundError):
                mode = path.lstat().st_mode
                if path.name not in (constants.KUBELET_SOCKET, checkpoint.FILE_NAME) and not stat.S_ISDIR(mode):
                    found.append((path.name, stat.S_ISSOCK(mode)))
        return sorted(found)
