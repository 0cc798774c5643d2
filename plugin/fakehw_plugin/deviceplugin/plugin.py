"""The rim towards the kubelet's device plugin API: a session of its own for each resource.

So one resource that the kubelet refuses does not take the others down. Where there are more resources than descriptors,
those that are served go on, and the others wait for one to leave.
"""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import TYPE_CHECKING, Final

from fakehw_plugin import endpoint, logs
from fakehw_plugin.deviceplugin import neighbours, session
from fakehw_plugin.deviceplugin.device_list import DeviceList
from fakehw_plugin.deviceplugin.directory import KubeletDirectory
from fakehw_plugin.deviceplugin.servicer import DevicePluginServicer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path
    from types import TracebackType

    from fakehw_plugin import rpc_faults
    from fakehw_plugin.device import DeviceID
    from fakehw_plugin.deviceplugin.pod_resources import PodResources
    from fakehw_plugin.devices.inventory import Inventory
    from fakehw_plugin.devices.telemetry import Telemetry

FILES_OF_A_RESOURCE: Final = 6
"""Descriptors that a resource may need at once: its server, its connections, and those of a registration."""

RESERVED_FILES: Final = 160
"""Descriptors for all else: the tree, the kubelet's directory, the web server, what Python loads."""

MAX_RESOURCES: Final = 10_000


class DevicePlugin:
    """Serves inventories to the kubelet of `plugin_dir` while it is entered. An inventories.Rim.

    `root` is the tree, `host_root` the same tree as the container runtime sees it. `pod_resources` is asked whether
    the kubelet has us still when another plugin ended. `on_allocated` is called with what was handed out, `on_live`
    when a resource is registered. With `class_paths`, which finds the directories of a resource's classes, the faults
    that are written there are played. `directory` stands in for one that is watched by itself, where many are.
    """

    def __init__(
        self,
        plugin_dir: Path,
        *,
        root: Path,
        host_root: Path,
        pre_start_check: bool,
        pod_resources: PodResources,
        telemetry: Telemetry,
        on_allocated: Callable[[Iterable[DeviceID]], None],
        on_live: Callable[[], None],
        class_paths: Callable[[str], Iterable[str]] | None = None,
        directory: KubeletDirectory | None = None,
    ) -> None:
        self.sessions: dict[str, session.Session] = {}
        self.lists: dict[str, DeviceList] = {}
        """What ListAndWatch sends, by resource."""
        self._plugin_dir = plugin_dir
        self._directory = directory if directory is not None else KubeletDirectory(plugin_dir)
        self._make_servicer = functools.partial(
            DevicePluginServicer,
            root=str(root),
            host_root=str(host_root),
            pre_start_required=pre_start_check,
            telemetry=telemetry,
            on_allocated=on_allocated,
        )
        self._neighbours = neighbours.Neighbours(self._directory, self.sessions, pod_resources)
        self._telemetry = telemetry
        self._on_live = on_live
        self._class_paths = class_paths
        self._waiting: dict[str, Inventory] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self._group = asyncio.TaskGroup()
        self._watching: list[asyncio.Task[None]] = []
        self._log = logs.get_logger()

    @property
    def is_ready(self) -> bool:
        """Tell whether every resource is registered with a live stream."""
        return not self._waiting and all(session.is_ready for session in self.sessions.values())

    @property
    def is_orphaned(self) -> bool:
        """Tell whether the kubelet's directory was deleted while it is mounted here: only a restart finds another."""
        return self._directory.is_orphaned

    async def __aenter__(self) -> DevicePlugin:
        if self._class_paths is not None:
            remark = "calls are delayed, failed, hung or dropped as the tree says: no plugin for real work"
            self._log.warning("rpc_faults_enabled", remark=remark)
        for name in endpoint.remove_stale(self._plugin_dir):
            self._log.info("stale_socket_removed", endpoint=name)
        await self._group.__aenter__()
        self._watching = [
            self._group.create_task(self._directory.run(), name="kubelet directory"),
            self._group.create_task(self._neighbours.run(), name="neighbours"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End the streams, stop the servers and remove the sockets, in under a second."""
        for task in (*self._watching, *self._tasks.values()):
            task.cancel()
        await self._group.__aexit__(kind, error, tb)

    def open(self, inventory: Inventory) -> None:
        """Register the resource of this inventory and keep it registered, or have it wait for room."""
        self.lists[inventory.resource_name] = devices = DeviceList()
        inventory.keep(devices)
        if len(self.sessions) < self._room():
            self._serve(inventory)
            return
        if not self._waiting:
            remedy = "raise the limit of open files (RLIMIT_NOFILE), or have fewer classes"
            first, served = inventory.resource_name, len(self.sessions)
            self._log.error("resources_not_served", first=first, served=served, remedy=remedy)
        self._waiting[inventory.resource_name] = inventory

    def close(self, inventory: Inventory) -> None:
        """Serve a resource no more; its list, which is empty by now, is sent before the stream ends."""
        resource = inventory.resource_name
        del self.lists[resource]
        if self._waiting.pop(resource, None) is not None:
            return
        self.sessions.pop(resource).leave()
        task = self._tasks.pop(resource)
        self._ending[resource].add(task)
        task.add_done_callback(functools.partial(self._ended, resource))
        task.cancel()
        if self._waiting and len(self.sessions) < self._room():
            self._serve(self._waiting.pop(next(iter(self._waiting))))

    @property
    def waiting(self) -> Collection[str]:
        """Return the resources that are not served because there is no room for them."""
        return self._waiting.keys()

    @staticmethod
    def _room() -> int:
        """Return how many resources the limit of open files allows."""
        soft, _ = getrlimit(RLIMIT_NOFILE)
        return MAX_RESOURCES if soft == RLIM_INFINITY else max(1, (soft - RESERVED_FILES) // FILES_OF_A_RESOURCE)

    def _serve(self, inventory: Inventory) -> None:
        resource = inventory.resource_name
        log = logs.get_logger(resource=resource)
        faults = None if self._class_paths is None else self._faults(resource, self._class_paths)
        self.sessions[resource] = session.Session(
            inventory,
            self._directory,
            make_servicer=functools.partial(
                self._make_servicer, inventory, self.lists[resource], log=log, faults=faults
            ),
            before_register=None if faults is None else faults.before_register,
            telemetry=self._telemetry,
            on_live=self._on_live,
            log=log,
        )
        self._tasks[resource] = self._group.create_task(
            self._run_session(self.sessions[resource], after=tuple(self._ending.get(resource, ()))),
            name=f"session {resource}",
        )

    def _ended(self, resource: str, task: asyncio.Task[None]) -> None:
        self._ending[resource].discard(task)
        if not self._ending[resource]:
            del self._ending[resource]

    @staticmethod
    async def _run_session(one: session.Session, *, after: tuple[asyncio.Task[None], ...]) -> None:
        """Run a session after the earlier ones of its resource: two at once would cut each other off (REG-13)."""
        if after:
            await asyncio.wait(after)
        await one.run()

    def _faults(self, resource: str, class_paths: Callable[[str], Iterable[str]]) -> rpc_faults.Faults:
        from fakehw_plugin import rpc_faults  # not in the time of a start without it

        return rpc_faults.Faults(
            resource,
            class_paths=functools.partial(class_paths, resource),
            telemetry=self._telemetry,
            log=logs.get_logger(resource=resource),
        )
