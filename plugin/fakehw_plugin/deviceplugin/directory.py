"""The kubelet's device-plugin directory: is a kubelet listening there, and is it still the same one? Who else is there?

A kubelet is told from the next by `(device, inode, ctime)` of its socket: inode numbers alone are used again at once
(contract PIT-2). inotify says when to look; where there is none to be had, a look a second does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from fakehw_plugin import inotify, logs
from fakehw_plugin.tree.mounts import MountWatch
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Identity = tuple[int, int, int]


class Departure(NamedTuple):
    """A plugin came while we looked, and went; times on the monotonic clock."""

    arrived_at: float
    left_at: float


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
        self.newcomers: dict[str, float] = {}
        """Sockets of other plugins that appeared while we looked, and when, on the monotonic clock."""
        self._subscribers: set[Callable[[], None]] = set()
        self._own: set[str] = set()
        self._residents: set[str] | None = None
        """Sockets of other plugins that were there when we first looked; None before that."""
        self._departure: Departure | None = None
        self._departed = asyncio.Event()
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
        missing_said = False
        while True:
            with inotify.Watcher["KubeletDirectory"]() as watch, self._mount_watch(watch):
                if watch.add(os.path.realpath(self.path), self) is None:
                    if watch.exhausted:
                        self._log.warning("not_watched", reason=watch.exhausted, looking_every_s=_LOOK_EVERY_S)
                    elif not missing_said:
                        missing_said = True
                        self._log.warning("plugin_dir_not_ready", reason="no such directory")
                else:
                    missing_said = False
                    self._take_stock()
                    self.wake_all()
                    await self._follow(watch)
                    if self._remounted:
                        self._log.info("plugin_dir_remounted")
                        continue
            await asyncio.sleep(_LOOK_EVERY_S)
            self._take_stock()
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
                self._note(event.name, event.mask)
            if watch.take_overflow():
                self._take_stock()
            self.wake_all()

    # Who else is there.

    def claim(self, name: str) -> None:
        """Take note that this socket is our own, until it is gone."""
        self._own.add(name)

    def note_departure(self, name: str) -> None:
        """Take note that a newcomer is gone."""
        if (arrived_at := self.newcomers.pop(name, None)) is not None:
            before = self._departure.arrived_at if self._departure else 0.0
            self._departure = Departure(max(arrived_at, before), time.monotonic())
            self._departed.set()

    def take_departure(self) -> Departure | None:
        """Return the last departure of a newcomer since this was last asked, or None."""
        self._departed.clear()
        departure, self._departure = self._departure, None
        return departure

    async def wait_departure(self, timeout_s: float) -> None:
        """Wait until a newcomer goes, for `timeout_s` seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._departed.wait()

    def _note(self, name: str, mask: int) -> None:
        if not name or name == constants.KUBELET_SOCKET:
            return
        if mask & _GOING:
            self._own.discard(name)
            (self._residents or set()).discard(name)
            self.note_departure(name)
        elif mask & _COMING and name not in self._own and self._is_socket(name):
            self.newcomers[name] = time.monotonic()

    def _take_stock(self) -> None:
        """Find out who is there, where events may have been missed."""
        try:
            names = set(os.listdir(self.path)) - {constants.KUBELET_SOCKET}  # noqa: PTH208  # names, not paths
        except OSError:
            return
        self._own &= names
        others = {name for name in names - self._own if self._is_socket(name)}
        if self._residents is None:
            self._residents = others
        self._residents &= others
        for name in self.newcomers.keys() - others:
            self.note_departure(name)
        for name in others - self._residents - self.newcomers.keys():
            self.newcomers[name] = time.monotonic()

    def _is_socket(self, name: str) -> bool:
        try:
            return stat.S_ISSOCK((self.path / name).lstat().st_mode)
        except OSError:
            return False

    # The kubelet.

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
