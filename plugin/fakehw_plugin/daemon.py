"""The composition root: from the tree to the kubelet, and what starts and ends with what.

pump        tree events -> scanner -> inventories        one
sessions    inventory -> kubelet                         one for each resource
directory   the kubelet's directory -> sessions          one
retention   devices that left the tree while held        one
web         metrics and probes, after all the others     one, if wanted
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from fakehw_plugin import inotify, logs, slices
from fakehw_plugin.deviceplugin import directory, endpoint, pod_resources, session
from fakehw_plugin.devices import change_log, retention, telemetry
from fakehw_plugin.devices.inventory import Inventory
from fakehw_plugin.tree import attributes, mounts
from fakehw_plugin.tree.scanner import Scanner

if TYPE_CHECKING:
    from collections.abc import Generator

    from fakehw_plugin.config import Config
    from fakehw_plugin.deviceplugin import rpc_faults
    from fakehw_plugin.devices.device import Device, DeviceID, Transition
    from fakehw_plugin.resource_name import ResourceName
    from fakehw_plugin.tree import reader
    from fakehw_plugin.tree.entries import Entry

MISSING_TREE_RETRY_S: Final = 0.25
RESCAN_WITHOUT_EVENTS_S: Final = 1.0
"""Between two readings of the whole tree while the kernel has no watches left for us."""

LONGEST_PAUSE_S: Final = 0.1


class Daemon:
    """Serves the devices of one tree to the kubelet of one node. Enter `run`, which ends by being cancelled."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.telemetry = telemetry.Telemetry()
        self.inventories: dict[ResourceName, Inventory] = {}
        self.sessions: dict[ResourceName, session.Session] = {}
        self.tree_is_present = False
        self.watch_exhausted: str | None = None
        self.first_live = asyncio.Event()
        """Set when the first resource is registered, or there is nothing to register: time for what can wait."""
        self._scanner: Scanner | None = None
        self._mounts_changed = False
        self._is_published = False
        """Whether all that the scanner has read is in the inventories: only then is it known what is unused."""
        self._event_at: float | None = None
        """When the present change was noticed; None until the first reading of the tree is published."""
        self._tasks: dict[ResourceName, asyncio.Task[None]] = {}
        self._ending: defaultdict[ResourceName, set[asyncio.Task[None]]] = defaultdict(set)
        self._directory = directory.KubeletDirectory(config.plugin_dir)
        self._retention = retention.Retention(
            holders=lambda: pod_resources.held_devices(config.pod_resources),
            release=self._release,
            grace_s=config.vanished_grace_s,
        )
        self._log = logs.get_logger()
        self._change_log = change_log.ChangeLog()

    @property
    def is_ready(self) -> bool:
        """Tell whether the tree is there and every resource is registered with a live stream."""
        return self.tree_is_present and all(one.is_ready for one in self.sessions.values())

    async def run(self) -> None:
        """Run until cancelled; then end the streams, stop the servers and remove the sockets, in under a second."""
        if self.config.rpc_faults:
            remark = "calls are delayed, failed, hung or dropped as the tree says: no plugin for real work"
            self._log.warning("rpc_faults_enabled", remark=remark)
        self._log.info("started", root=str(self.config.root), host=self.config.host or "any")
        for name in endpoint.remove_stale(self.config.plugin_dir):
            self._log.info("stale_socket_removed", endpoint=name)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._directory.run(), name="kubelet directory")
                group.create_task(self._retention.run(), name="retention")
                await self._pump(group)
        finally:
            self._log.info("stopped")

    async def _pump(self, group: asyncio.TaskGroup) -> None:
        """Carry what happens in the tree to the inventories, for ever."""
        with (
            inotify.Watcher["Entry"]() as watch,
            mounts.MountWatch(self.config.root, lambda: self._remount(watch)) as mount_watch,
        ):
            scanner = Scanner(self.config.root, host=self.config.host, domain=self.config.domain, watch=watch)
            self._scanner = scanner
            cause: str | None = "start"
            scanned_at = 0.0
            while True:
                if cause is not None:
                    mount_watch.take_note()
                    await self._scan(scanner, watch, cause)
                    scanned_at = time.monotonic()
                published = await self._publish(scanner, group)
                self._note_present(scanner)
                if published and self._event_at is not None:
                    # Lists follow each other at this distance at the least, more where making one takes longer, so
                    # that a storm starves neither us nor the kubelet, which writes a checkpoint for each (LW-7).
                    spent = time.monotonic() - self._event_at
                    await asyncio.sleep(min(max(self.config.quiet_s, 2 * spent), LONGEST_PAUSE_S))
                cause = await self._next(scanner, watch, scanned_at)

    def _remount(self, watch: inotify.Watcher[Entry]) -> None:
        self._mounts_changed = True
        watch.interrupt()

    async def _next(self, scanner: Scanner, watch: inotify.Watcher[Entry], scanned_at: float) -> str | None:
        """Wait for events and read what they name; return why everything has to be read again, if it has to."""
        intervals = [("interval", self.config.reconcile_s)] if self.config.reconcile_s else []
        if not scanner.is_present:
            intervals.append(("root_changed", MISSING_TREE_RETRY_S))
        elif watch.exhausted:
            intervals.append(("limits", RESCAN_WITHOUT_EVENTS_S))
        cause, rescan_at = min(
            ((cause, scanned_at + interval) for cause, interval in intervals),
            key=lambda item: item[1],
            default=("", None),
        )
        due = min((at for at in (rescan_at, scanner.next_deadline) if at is not None), default=None)
        has_events = False
        if not self._mounts_changed:
            has_events = await watch.wait(None if due is None else max(0.0, due - time.monotonic()))
        self._is_published = False
        self._event_at = time.monotonic()
        try:
            if has_events and await slices.run(scanner.handle(watch.events())):
                return "root_changed"
            if watch.overflowed:
                watch.overflowed = False
                self._log.warning("events_lost", reason="the inotify queue overflowed; reading the whole tree")
                return "overflow"
            if self._mounts_changed:
                self._mounts_changed = False
                return "mounts"
            await slices.run(scanner.settle())
        except attributes.StarvedError as error:
            watch.exhausted = str(error)
        return cause if rescan_at is not None and time.monotonic() >= rescan_at else None

    async def _scan(self, scanner: Scanner, watch: inotify.Watcher[Entry], cause: str) -> None:
        self.telemetry.rescans[cause] += 1
        watch.try_again()
        try:
            await slices.run(scanner.scan())
        except attributes.StarvedError as error:
            watch.exhausted = str(error)
        if watch.exhausted != self.watch_exhausted:
            if watch.exhausted:
                self._log.warning(
                    "not_all_watched",
                    reason=watch.exhausted,
                    remedy="raise fs.inotify.max_user_watches, max_user_instances or the limit of open files",
                    reading_all_every_s=RESCAN_WITHOUT_EVENTS_S,
                )
            else:
                self._log.info("all_watched_again")
            self.watch_exhausted = watch.exhausted

    def _note_present(self, scanner: Scanner) -> None:
        if scanner.is_present and not self.tree_is_present and not self.sessions:
            self._log.warning("no_resources", root=str(self.config.root), host=self.config.host or "any")
        self.tree_is_present = scanner.is_present
        if not self.sessions:
            self.first_live.set()

    async def _publish(self, scanner: Scanner, group: asyncio.TaskGroup) -> bool:
        """Bring inventories and sessions in line with the scanner; True if a list changed."""
        published = False
        for resource in scanner.resources - self.sessions.keys():
            self._open(resource, group)
        for resource, devices in scanner.take_changes().items():
            if (inventory := self.inventories.get(resource)) is not None:
                published |= await slices.run(self._update(inventory, resource, devices))
        self._is_published = True
        self._close_unused()
        return published

    def _update(
        self, inventory: Inventory, resource: ResourceName, devices: dict[DeviceID, Device | None]
    ) -> Generator[None, None, bool]:
        """Bring one list in line with the tree; the devices that left it stay, unhealthy, until nobody holds them."""
        left_out, transitions = len(inventory.left_out), []
        for device_id, device in devices.items():
            listed = device
            if device is not None:
                self._retention.returned(resource, device_id)
            elif (known := inventory.get(device_id)) is not None:
                listed = self._retention.retain(resource, known)
            if (transition := inventory.change(device_id, listed)) is not None:
                transitions.append(transition)
                self._count(inventory, transition)
            yield
        if transitions:
            for transition in (let_in := inventory.publish(at=self._event_at)):
                self._count(inventory, transition)
            if self._event_at is not None:  # the first list is not told device by device
                self._change_log.tell_later(inventory, transitions + let_in)
        if len(inventory.left_out) > left_out:
            self._log.error(
                "too_many_devices",
                resource=inventory.resource_name,
                listed=len(inventory.devices),
                left_out=len(inventory.left_out),
                reason="the kubelet takes lists of at most 4 MiB; spread the devices over several resources",
            )
        return bool(transitions)

    def _count(self, inventory: Inventory, transition: Transition) -> None:
        was, now = transition.was, transition.now
        node = (now or was).node  # type: ignore[union-attr]  # one of the two is a device
        self.telemetry.count_change(
            inventory.resource_name, node, was.health.value if was else None, now.health.value if now else None
        )

    def _release(self, changes: reader.Changes) -> None:
        """Take devices out of the lists that nobody holds any more."""
        self._event_at = time.monotonic()
        for resource, devices in changes.items():
            if (inventory := self.inventories.get(resource)) is not None:
                transitions = inventory.apply(devices, at=self._event_at)
                for transition in transitions:
                    self._count(inventory, transition)
                self._change_log.tell_later(inventory, transitions)
        if self._is_published:  # else it will be when it is
            self._close_unused()

    def _open(self, resource: ResourceName, group: asyncio.TaskGroup) -> None:
        inventory = self.inventories[resource] = Inventory(resource)
        one = self.sessions[resource] = session.Session(
            inventory,
            self._directory,
            self.config,
            self.telemetry,
            on_allocated=self._retention.allocated,
            on_live=self.first_live.set,
            faults=self._faults(resource) if self.config.rpc_faults else None,
        )
        self._tasks[resource] = group.create_task(
            self._run_session(one, tuple(self._ending[resource])), name=f"session {resource}"
        )

    def _faults(self, resource: ResourceName) -> rpc_faults.ResourceFaults:
        from fakehw_plugin.deviceplugin import rpc_faults  # not in the time of a start without it

        scanner = self._scanner
        assert scanner is not None
        return rpc_faults.ResourceFaults(
            resource,
            class_paths=lambda: scanner.class_paths(resource),
            telemetry=self.telemetry,
            log=logs.get_logger(resource=resource),
        )

    @staticmethod
    async def _run_session(one: session.Session, before: tuple[asyncio.Task[None], ...]) -> None:
        """Run a session after the earlier ones of its resource: two at once would cut each other off (REG-13)."""
        if before:
            await asyncio.wait(before)
        await one.run()

    def _close_unused(self) -> None:
        """Stop serving resources without a class in the tree and without a device that a pod may hold."""
        assert self._scanner is not None
        held = {resource for resource, _ in self._retention.retained}
        for resource in self.sessions.keys() - self._scanner.resources - held:
            self._log.info("resource_left", resource=resource)
            self.sessions.pop(resource).leave()
            del self.inventories[resource]
            self.telemetry.forget(resource)
            # Its list is empty by now, and is sent before the stream ends; the task group waits for the task.
            task = self._tasks.pop(resource)
            self._ending[resource].add(task)
            task.add_done_callback(self._ending[resource].discard)
            task.cancel()
