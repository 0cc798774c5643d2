"""The device-plugin directories of all nodes, watched by one inotify instance: a kernel has some 128 of them in all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fakehw_plugin import inotify
from fakehw_plugin.deviceplugin.directory import KubeletDirectory

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_EVERY_S: Final = 5.0
"""At all directories, whatever the events say; after a limit of the kernel it is all there is."""


class Directories:
    """Makes the directory of each node, and wakes whoever waits for something to happen there while `run` runs."""

    def __init__(self) -> None:
        self._watch: inotify.Watcher[_Directory] = inotify.Watcher()
        self._directories: set[_Directory] = set()

    @property
    def unwatched(self) -> str | None:
        """Return why not every directory is watched, or None."""
        return self._watch.exhausted

    def of(self, path: Path) -> KubeletDirectory:
        """Return the directory at `path`, which is there."""
        return _Directory(path, self)

    async def run(self) -> None:
        """Watch for ever."""
        self._watch.open()
        try:
            while True:
                if await self._watch.wait(_LOOK_EVERY_S):
                    touched = {event.target for event in self._watch.events()}
                else:
                    touched = set()
                for directory in self._directories if not touched or self._watch.take_overflow() else touched:
                    directory.wake_all()
        finally:
            self._watch.close()

    async def follow(self, directory: _Directory) -> None:
        """Watch one directory until cancelled."""
        self._watch.open()
        wd = self._watch.add(str(directory.path), directory)
        self._directories.add(directory)
        directory.wake_all()
        try:
            await asyncio.Event().wait()
        finally:
            self._directories.discard(directory)
            self._watch.remove(wd, directory)


class _Directory(KubeletDirectory):
    def __init__(self, path: Path, shared: Directories) -> None:
        super().__init__(path)
        self._shared = shared

    async def run(self) -> None:
        await self._shared.follow(self)
