"""The composition root: what is made of what, and what starts and ends with what.

pump           tree events -> scanner -> inventories            one
inventories    devices, and those that left while held          one for each resource
rim            inventories -> kubelet                           the device plugin API, a session for each resource

What is loaded later, logs and metrics, is the business of `process`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fakehw_plugin import logs
from fakehw_plugin.deviceplugin.plugin import DevicePlugin
from fakehw_plugin.deviceplugin.pod_resources import PodResources
from fakehw_plugin.devices import telemetry
from fakehw_plugin.devices.inventories import Inventories
from fakehw_plugin.devices.pump import Pump

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fakehw_plugin.config import Config
    from fakehw_plugin.device import DeviceID


class Daemon:
    """Serves the devices of one tree to the kubelet of one node. `run` ends by being cancelled."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.telemetry = telemetry.Telemetry()
        self.first_live = asyncio.Event()
        """Set when the first resource is registered, or there is nothing to register: time for what can wait."""
        pod_resources = PodResources(config.pod_resources)
        self.device_plugin = DevicePlugin(
            config.plugin_dir,
            root=config.root,
            host_root=config.host_root,
            pre_start_check=config.pre_start_check,
            pod_resources=pod_resources,
            telemetry=self.telemetry,
            on_allocated=self._note_allocated,
            on_live=self.first_live.set,
            class_paths=self._class_paths if config.rpc_faults else None,
        )
        self.inventories = Inventories(
            [self.device_plugin],
            holders=pod_resources.held,
            vanished_grace_s=config.vanished_grace_s,
            telemetry=self.telemetry,
        )
        self.pump = Pump(
            config.root,
            self.inventories,
            host=config.host,
            domain=config.domain,
            reconcile_s=config.reconcile_s,
            quiet_s=config.quiet_s,
            telemetry=self.telemetry,
            on_taken=self._note_taken,
        )
        self._log = logs.get_logger()

    @property
    def is_ready(self) -> bool:
        """Tell whether the tree is there and every resource is registered with a live stream."""
        return self.pump.tree_is_present and self.device_plugin.is_ready

    async def run(self) -> None:
        """Run until cancelled; then end the streams, stop the servers and remove the sockets, in under a second."""
        self._log.info("started", root=str(self.config.root), host=self.config.host or "any")
        try:
            async with self.device_plugin, asyncio.TaskGroup() as group:
                group.create_task(self.inventories.run(), name="retention")
                group.create_task(self.pump.run(), name="pump")
        finally:
            self._log.info("stopped")

    def _note_taken(self) -> None:
        if not self.inventories.by_resource:
            self.first_live.set()

    def _note_allocated(self, device_ids: Iterable[DeviceID]) -> None:
        self.inventories.retention.allocated(device_ids)

    def _class_paths(self, resource: str) -> list[str]:
        return self.pump.scanner.class_paths(resource)
