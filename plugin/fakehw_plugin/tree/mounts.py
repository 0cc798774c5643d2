"""Notices what is mounted over the tree, or taken off it. inotify sees nothing of that.

The kernel marks /proc/self/mountinfo with POLLPRI when a mount of this namespace comes or goes. An event loop asks for
POLLIN, which that file always has; so an epoll of its own waits for POLLPRI, and the loop waits for that epoll.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

QUIET_S: Final = 0.05
"""A node mounts in bursts, and each look reads the whole list."""

_LIST: Final = "/proc/self/mountinfo"
_ESCAPED: Final = re.compile(rb"[\\ \t\n]")


class MountWatch:
    """Calls `changed` after the mounts at, above or below `root` changed, while it is entered.

    Where the kernel does not tell (no /proc, no descriptor left) it calls nothing; reconciling has to do.
    """

    def __init__(self, root: Path, changed: Callable[[], None]) -> None:
        self._root = root
        self._changed = changed
        self._fd: int | None = None
        self._epoll: select.epoll | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._mounts: frozenset[bytes] = frozenset()

    def __enter__(self) -> MountWatch:
        try:
            self._fd = os.open(_LIST, os.O_RDONLY | os.O_CLOEXEC)
            self._epoll = select.epoll()
            self._epoll.register(self._fd, select.EPOLLPRI)
            self.take_note()
        except OSError:
            self._close()
        else:
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._on_change)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._close()

    @property
    def has_mounted_file(self) -> bool:
        """Tell whether a single file of the tree is mounted from elsewhere.

        What is written to it there is an event of that place, and no directory of the tree hears of it.
        """
        roots = [_escaped(root) for root in self._roots()]
        points = (line.split(b" ")[4] for line in self._mounts)
        inside = (point for point in points if any(_is_within(point, root) and point != root for root in roots))
        return any(Path(os.fsdecode(_unescaped(point))).is_file() for point in inside)

    def take_note(self) -> None:
        """Take what is mounted now as known. Call it before each reading of the whole tree: a mount that is taken off
        and made again looks the same, and only what was read in between tells them apart.
        """
        self._mounts = self._relevant()

    def _close(self) -> None:
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _on_change(self) -> None:
        assert self._epoll is not None
        self._epoll.poll(0)  # the kernel told this change already, but it is this that lets it tell the next one
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(QUIET_S, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._relevant() != self._mounts:
            self._changed()

    def _relevant(self) -> frozenset[bytes]:
        if self._fd is None:
            return frozenset()
        raw = bytearray()
        os.lseek(self._fd, 0, os.SEEK_SET)
        while piece := os.read(self._fd, 1 << 16):
            raw += piece
        return relevant(bytes(raw), *self._roots())

    def _roots(self) -> tuple[bytes, bytes]:
        return bytes(self._root), os.path.realpath(bytes(self._root))


def relevant(mountinfo: bytes, *roots: bytes) -> frozenset[bytes]:
    """Return the lines of mounts that may show or hide anything under one of `roots` (absolute paths)."""
    wanted = [_escaped(root) for root in roots]
    found = set()
    for line in mountinfo.splitlines():
        # ID, parent, major:minor, root in the file system, mount point, and what does not matter here
        fields = line.split(b" ", 5)
        if len(fields) > 5 and any(_is_within(fields[4], root) or _is_within(root, fields[4]) for root in wanted):
            found.add(b" ".join(fields[:5]))
    return frozenset(found)


def _escaped(path: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: b"\\%03o" % match[0][0], path)


def _unescaped(path: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), path)


def _is_within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
