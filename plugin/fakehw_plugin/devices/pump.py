"""From the tree to the inventories: waits for what happens in the tree, reads it, and hands on what changed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from fakehw_plugin import inotify, logs, slices
from fakehw_plugin.offer import Api
from fakehw_plugin.tree import attributes, mounts
from fakehw_plugin.tree.scanner import Scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

    from fakehw_plugin.devices.inventories import Inventories
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.tree.entries import Watched

MISSING_TREE_RETRY_S: Final = 0.25
RESCAN_WITHOUT_EVENTS_S: Final = 1.0
"""Between two readings of the whole tree while the kernel cannot tell us all that happens in it."""

EMPTY_TREE_RETRY_S: Final = 1.0
"""A root that was emptied may have been deleted after it, of which a mount of it is told nothing."""

LONGEST_PAUSE_S: Final = 0.1


class Pump:
    """Keeps `inventories` in line with the tree at `root` while `run` runs, for the Kubernetes node `host`.

    With `nodes`, for the fake nodes of these names and no others.
    Everything is read again every `reconcile_s` seconds (0: never), and between two changes lie `quiet_s` seconds at
    the least. `on_taken` is called whenever what was read has reached the inventories.
    """

    def __init__(
        self,
        root: Path,
        inventories: Inventories,
        *,
        host: str,
        domain: str,
        api: Api = Api.DEVICE_PLUGIN,
        reconcile_s: float,
        quiet_s: float,
        telemetry: Telemetry,
        nodes: Container[str] | None = None,
        on_taken: Callable[[], None] = lambda: None,
    ) -> None:
        self.tree_is_present = False
        """The tree is there, and what it says is in the inventories."""
        self.unwatched: str | None = None
        """Why a part of the tree is not watched and everything is read once a second (a limit of the kernel)."""
        self.is_reading = False
        """The whole tree is being read, and what it says has not reached the inventories yet."""
        self._root = root
        self._inventories = inventories
        self._reconcile_s = reconcile_s
        self._quiet_s = quiet_s
        self._telemetry = telemetry
        self._on_taken = on_taken
        self._watch: inotify.Watcher[Watched] = inotify.Watcher()
        self._scanner = Scanner(root, host=host, domain=domain, api=api, watch=self._watch, nodes=nodes)
        self._starved: str | None = None
        self._mounts_changed = False
        self._has_mounted_file = False
        self._event_at: float | None = None
        """When the present change was noticed; None until the first reading of the tree is taken in."""
        self._scanned_at = 0.0
        self._log = logs.get_logger()

    @property
    def scanner(self) -> Scanner:
        """Return what reads the tree, for whoever has a question about its classes."""
        return self._scanner

    async def run(self) -> None:
        """Carry what happens in the tree to the inventories, for ever."""
        with self._watch, mounts.MountWatch(self._root, self._remount) as mount_watch:
            cause: str | None = "start"
            while True:
                if cause is not None:
                    mount_watch.take_note()
                    self._has_mounted_file = mount_watch.has_mounted_file
                    await self._scan(cause)
                changed = await self._hand_on()
                self.is_reading = False
                if changed and self._event_at is not None:
                    # Lists follow each other at this distance at the least, more where making one takes longer, so
                    # that a storm starves neither us nor the kubelet, which writes a checkpoint for each (LW-7).
                    spent = time.monotonic() - self._event_at
                    await asyncio.sleep(min(max(self._quiet_s, 2 * spent), LONGEST_PAUSE_S))
                cause = await self._next()

    async def _scan(self, cause: str) -> None:
        """Read everything."""
        self.is_reading = True
        self._telemetry.rescans[cause] += 1
        self._watch.try_again()
        self._starved = None
        try:
            await slices.run(self._scanner.scan())
        except attributes.StarvedError as error:
            self._starved = str(error)
        self._tell_unwatched()
        self._scanned_at = time.monotonic()

    async def _hand_on(self) -> bool:
        """Hand to the inventories what was read; True if one of them changed."""
        scanner = self._scanner
        changed = await self._inventories.take(scanner.offers, scanner.take_changes(), at=self._event_at)
        if scanner.is_present and not self.tree_is_present and not self._inventories.by_offer:
            self._log.warning("no_resources", root=str(self._root), host=scanner.host or "any")
        self.tree_is_present = scanner.is_present
        self._on_taken()
        return changed

    async def _next(self) -> str | None:
        """Wait for events and read what they name; return why everything has to be read again, if it has to."""
        cause, rescan_at = self._next_scan()
        due = min((at for at in (rescan_at, self._scanner.next_deadline) if at is not None), default=None)
        has_events = False
        if not self._mounts_changed:
            has_events = await self._watch.wait(None if due is None else max(0.0, due - time.monotonic()))
        self._inventories.expect()
        self._event_at = time.monotonic()
        try:
            if has_events and await slices.run(self._scanner.handle(self._watch.events())):
                return "root_changed"
            if self._watch.take_overflow():
                self._log.warning("events_lost", reason="the inotify queue overflowed; reading the whole tree")
                return "overflow"
            if self._mounts_changed:
                self._mounts_changed = False
                return "mounts"
            await slices.run(self._scanner.settle())
        except attributes.StarvedError as error:
            self._starved = str(error)
        return cause if rescan_at is not None and time.monotonic() >= rescan_at else None

    def _next_scan(self) -> tuple[str, float | None]:
        """Return why and when everything is read next, if nothing happens; None for never."""
        causes = {"interval": self._reconcile_s} if self._reconcile_s else {}
        if not self._scanner.is_present or self._scanner.root_moved:
            causes["root_changed"] = MISSING_TREE_RETRY_S
        elif self._watch.exhausted or self._starved:
            causes["limits"] = RESCAN_WITHOUT_EVENTS_S
        elif self._has_mounted_file:
            causes["mounts"] = RESCAN_WITHOUT_EVENTS_S
        elif self._scanner.is_empty:
            causes["root_changed"] = EMPTY_TREE_RETRY_S
        if not causes:
            return "", None
        cause = min(causes, key=lambda name: causes[name])
        return cause, self._scanned_at + causes[cause]

    def _remount(self) -> None:
        self._mounts_changed = True
        self._watch.interrupt()

    def _tell_unwatched(self) -> None:
        was, self.unwatched = self.unwatched, self._starved or self._watch.exhausted
        if self.unwatched and self.unwatched != was:
            self._log.warning(
                "not_all_watched",
                reason=self.unwatched,
                remedy="raise fs.inotify.max_user_watches, max_user_instances or the limit of open files",
                reading_all_every_s=RESCAN_WITHOUT_EVENTS_S,
            )
        elif was and not self.unwatched:
            self._log.info("all_watched_again")
