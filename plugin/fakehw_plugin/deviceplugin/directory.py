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
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Identity = tuple[int, int, int]

_FIRST_RETRY_S: Final = 0.001
_LAST_RETRY_S: Final = 1.0
_LOOK_EVERY_S: Final = 1.0


class KubeletDirectory:
    """Watches `path` while `run` runs. `changed` is a condition that every session waits on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket_path = path / constants.KUBELET_SOCKET
        self._subscribers: set[Callable[[], None]] = set()
        self._log = logs.get_logger(plugin_dir=str(path))

    def identity(self) -> Identity | None:
        """Return what tells the present kubelet from others, or None where there is no socket."""
        try:
            status = self.socket_path.lstat()
        except OSError:
            return None
        return (status.st_dev, status.st_ino, status.st_ctime_ns) if stat.S_ISSOCK(status.st_mode) else None

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
        """Watch for ever; a directory that is not there yet, or is replaced, is taken up again."""
        missing_said = False
        while True:
            with inotify.Watcher["KubeletDirectory"]() as watch:
                if watch.add(os.path.realpath(self.path), self) is None:
                    if watch.exhausted:
                        self._log.warning("not_watched", reason=watch.exhausted, looking_every_s=_LOOK_EVERY_S)
                    elif not missing_said:
                        missing_said = True
                        self._log.warning("plugin_dir_not_ready", reason="no such directory")
                else:
                    missing_said = False
                    self.wake_all()
                    await self._follow(watch)
            await asyncio.sleep(_LOOK_EVERY_S)
            self.wake_all()

    async def _follow(self, watch: inotify.Watcher[KubeletDirectory]) -> None:
        """Wake the sessions on every event, until the directory itself is gone."""
        while await watch.wait():
            for event in watch.events():
                if not event.name and event.mask & (inotify.GONE | inotify.IGNORED):
                    self.wake_all()
                    return
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
                    return identity
                if identity is None:
                    await wake.wait()
                    continue
                if identity != seen:
                    seen, delay = identity, _FIRST_RETRY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await wake.wait()
                delay = min(delay * 2, _LAST_RETRY_S)
        finally:
            self.unsubscribe(wake.set)

    async def _accepts(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
                probe.connect(str(self.socket_path))
        except OSError:  # refused, gone, its queue is full, or we have no descriptor left: not yet
            return False
        return True
