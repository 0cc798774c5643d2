"""The kubelet's device-plugin directory: is a kubelet listening there, and is it still the same one?

A kubelet is told from the next by `(device, inode, ctime)` of its socket: inode numbers alone are used again at once
(contract PIT-2). inotify says when to look; where there is none to be had, a look a second does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING, Final

from fakehw_plugin import inotify, logs
from fakehw_plugin.deviceplugin.newcomers import Newcomers
from fakehw_plugin.tree.mounts import MountWatch
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Identity = tuple[int, int, int]


_FIRST_RETRY_S: Final = 0.001
_LAST_RETRY_S: Final = 1.0
_LOOK_EVERY_S: Final = 1.0
_COMING: Final = inotify.CREATE | inotify.MOVED_TO
_GOING: Final = inotify.DELETE | inotify.MOVED_FROM


class KubeletDirectory:
    """Watches `path` while `run` runs, and wakes whoever subscribed whenever something happened there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket_path = path / constants.KUBELET_SOCKET
        self.newcomers = Newcomers(path)
        self._subscribers: set[Callable[[], None]] = set()
        self._waiting_for = ""
        self._remounted = False
        self._log = logs.get_logger(plugin_dir=str(path))

    def identity(self) -> Identity | None:
        """Return what tells the present kubelet from others, or None where there is no socket.

        The socket may be a link to where a kubelet has it.
        """
        try:
            status = self.socket_path.stat()
        except OSError:
            return None
        return (status.st_dev, status.st_ino, status.st_ctime_ns) if stat.S_ISSOCK(status.st_mode) else None

    @property
    def is_orphaned(self) -> bool:
        """Tell whether the directory was deleted while it is mounted here: only a restart finds another."""
        try:
            return self.path.stat().st_nlink == 0
        except OSError:
            return False

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever something happened in the directory."""
        self._subscribers.add(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Stop calling `wake`."""
        self._subscribers.discard(wake)

    def wake_all(self) -> None:
        """Make every session look again."""
        for wake in tuple(self._subscribers):
            wake()

    async def run(self) -> None:
        """Watch for ever; a directory that is not there yet, or is replaced or mounted over, is taken up again."""
        reason = ""
        while True:
            with inotify.Watcher["KubeletDirectory"]() as watch, self._mount_watch(watch):
                if watch.add(os.path.realpath(self.path), self) is None:
                    told, reason = reason, watch.exhausted or "no such directory"
                    if reason != told and watch.exhausted:
                        self._log.warning("not_watched", reason=reason, looking_every_s=_LOOK_EVERY_S)
                    elif reason != told:
                        self._log.warning("plugin_dir_not_ready", reason=reason)
                else:
                    reason = ""
                    self.newcomers.take_stock()
                    self.wake_all()
                    await self._follow(watch)
                    if self._remounted:
                        self._log.info("plugin_dir_remounted")
                        continue
            await asyncio.sleep(_LOOK_EVERY_S)
            self.newcomers.take_stock()
            self.wake_all()

    def _mount_watch(self, watch: inotify.Watcher[KubeletDirectory]) -> MountWatch:
        def remounted() -> None:
            self._remounted = True
            watch.interrupt()

        self._remounted = False
        return MountWatch(self.path, remounted)

    async def _follow(self, watch: inotify.Watcher[KubeletDirectory]) -> None:
        """Wake the sessions on every event, until the directory itself is gone or something is mounted over it."""
        while await watch.wait() and not self._remounted:
            for event in watch.events():
                if not event.name and event.mask & (inotify.GONE | inotify.IGNORED):
                    self.wake_all()
                    return
                if event.mask & _GOING:
                    self.newcomers.went(event.name)
                elif event.mask & _COMING:
                    self.newcomers.came(event.name)
            if watch.take_overflow():
                self.newcomers.take_stock()
            self.wake_all()

    async def wait_listening(self) -> Identity:
        """Wait until a kubelet takes connections and return its identity.

        The socket file appears before the kubelet listens on it, so the connect is retried, within milliseconds at
        first. A file that nobody listens on may be left over from before a reboot (contract RS-8).
        """
        wake = asyncio.Event()
        self.subscribe(wake.set)
        try:
            seen: Identity | None = None
            delay = _FIRST_RETRY_S
            while True:
                wake.clear()
                identity = self.identity()
                if identity is not None and await self._accepts() and identity == self.identity():
                    self._waiting_for = ""
                    return identity
                if identity != seen or identity is None:
                    seen, delay = identity, _FIRST_RETRY_S
                if identity is None or delay >= _LAST_RETRY_S:
                    self._say_waiting(self._why_waiting(identity))
                # What a link leads to comes and goes without an event here.
                timeout_s = delay if identity is not None else _LAST_RETRY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await wake.wait()
                delay = min(delay * 2, _LAST_RETRY_S)
        finally:
            self.unsubscribe(wake.set)

    def _why_waiting(self, identity: Identity | None) -> str:
        if identity is not None:
            return "nobody listens on the socket"
        if self.is_orphaned:
            return "the directory was deleted under its mount; only a restart finds another"
        return "no socket is there"

    def _say_waiting(self, reason: str) -> None:
        """Say once, for all resources, that there is no kubelet to register with."""
        if reason != self._waiting_for:
            self._waiting_for = reason
            self._log.warning("waiting_for_kubelet", socket=str(self.socket_path), reason=reason)

    async def _accepts(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
                probe.connect(str(self.socket_path))
        except OSError:  # refused, gone, its queue is full, or we have no descriptor left: not yet
            return False
        return True
