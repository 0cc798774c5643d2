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
from fakehw_plugin.devices.inventories import Inventories, Side
from fakehw_plugin.devices.pump import Pump
from fakehw_plugin.dra import LazyDra
from fakehw_plugin.offer import Api

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fakehw_plugin.config import Config
    from fakehw_plugin.device import DeviceID
    from fakehw_plugin.dra.plugin import DraPlugin


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
        self.dra = LazyDra(self._make_dra, state_dir=config.state_dir)
        self.inventories = Inventories(
            {
                Api.DEVICE_PLUGIN: Side(self.device_plugin, pod_resources.held),
                Api.DRA: Side(self.dra, self.dra.holders),
            },
            vanished_grace_s=config.vanished_grace_s,
            telemetry=self.telemetry,
        )
        self.pump = Pump(
            config.root,
            self.inventories,
            host=config.host,
            domain=config.domain,
            api=config.api,
            reconcile_s=config.reconcile_s,
            quiet_s=config.quiet_s,
            telemetry=self.telemetry,
            on_taken=self._note_taken,
        )
        self._log = logs.get_logger()

    @property
    def is_ready(self) -> bool:
        """Tell whether the tree is there and every resource is registered with a live stream."""
        return self.pump.tree_is_present and self.device_plugin.is_ready and self.dra.is_ready

    @property
    def is_orphaned(self) -> bool:
        """Tell whether a directory that we work in was deleted under its mount, so that only a restart can help."""
        return self.pump.scanner.is_orphaned or self.device_plugin.is_orphaned

    async def run(self) -> None:
        """Run until cancelled; then end the streams, stop the servers and remove the sockets, in under a second."""
        self._log.info("started", root=str(self.config.root), host=self.config.host or "any")
        try:
            async with self.device_plugin, self.dra, asyncio.TaskGroup() as group:
                group.create_task(self.inventories.run(), name="retention")
                group.create_task(self.pump.run(), name="pump")
        finally:
            self._log.info("stopped")

    def _note_taken(self) -> None:
        self.dra.note_taken()
        if not any(offer.api is Api.DEVICE_PLUGIN for offer in self.inventories.by_offer):
            self.first_live.set()

    def _note_allocated(self, device_ids: Iterable[DeviceID]) -> None:
        self.inventories.retentions[Api.DEVICE_PLUGIN].allocated(device_ids)

    def _make_dra(self, group: asyncio.TaskGroup) -> DraPlugin:
        from fakehw_plugin.dra.plugin import DraPlugin  # not before a class is served by DRA

        config = self.config
        return DraPlugin(
            group,
            node=config.host,
            kubeconfig=config.kubeconfig,
            registry_dir=config.registry_dir,
            state_dir=config.state_dir,
            cdi_dir=config.cdi_dir,
            root=config.root,
            host_root=config.host_root,
            telemetry=self.telemetry,
            on_held=self._note_held,
            class_paths=self._class_paths_of_driver if config.rpc_faults else None,
        )

    def _note_held(self) -> None:
        self.inventories.look_again(Api.DRA)

    def _class_paths(self, resource: str) -> list[str]:
        return self.pump.scanner.class_paths(resource)

    def _class_paths_of_driver(self, driver: str) -> list[str]:
        scanner = self.pump.scanner
        return [
            path for offer in sorted(scanner.offers) if offer.driver == driver for path in scanner.class_paths(offer)
        ]
