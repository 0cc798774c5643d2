"""inotify for a tree: which directory saw something happen under which name.

The kernel's queue can overflow and its limits can run out. Both are told to the caller, who then reads everything
again; nothing is lost, it only comes later. This is the only module that knows inotify.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from ctypes import CDLL
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import inotify_simple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

# inotify_simple finds libc by running ldconfig and a compiler, which costs more than all the rest of a start and
# fails in an image that has neither. The symbols are in this process already.
with contextlib.suppress(OSError):
    inotify_simple._libc = CDLL(None, use_errno=True)

Target = TypeVar("Target")

CREATE: Final = int(inotify_simple.flags.CREATE)
DELETE: Final = int(inotify_simple.flags.DELETE)
MODIFY: Final = int(inotify_simple.flags.MODIFY)
ATTRIB: Final = int(inotify_simple.flags.ATTRIB)
MOVED_FROM: Final = int(inotify_simple.flags.MOVED_FROM)
MOVED_TO: Final = int(inotify_simple.flags.MOVED_TO)
CLOSE_WRITE: Final = int(inotify_simple.flags.CLOSE_WRITE)
GONE: Final = int(inotify_simple.flags.DELETE_SELF | inotify_simple.flags.MOVE_SELF | inotify_simple.flags.UNMOUNT)
"""The watched directory itself went away or is no longer where it was."""

_IGNORED: Final = int(inotify_simple.flags.IGNORED)
_OVERFLOW: Final = int(inotify_simple.flags.Q_OVERFLOW)
_MASK: Final = (
    CREATE
    | DELETE
    | MODIFY
    | ATTRIB
    | MOVED_FROM
    | MOVED_TO
    | CLOSE_WRITE
    | int(inotify_simple.flags.DELETE_SELF | inotify_simple.flags.MOVE_SELF)
    | int(inotify_simple.flags.ONLYDIR | inotify_simple.flags.DONT_FOLLOW | inotify_simple.flags.EXCL_UNLINK)
)
_EXHAUSTED: Final = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Event(Generic[Target]):
    """Something happened under `name` in the directory that was added for `target`; `name` is "" for itself."""

    target: Target
    name: str
    mask: int


class Watcher(Generic[Target]):
    """An inotify instance whose watches carry what the caller wants to be reminded of."""

    def __init__(self) -> None:
        self.exhausted: str | None = None
        """Why some directory is not watched (a limit of the kernel), or None."""
        self.overflowed = False
        """The kernel dropped events since this was last set to False."""
        self._inotify: inotify_simple.INotify | None = None
        self._targets: dict[int, Target] = {}

    def __enter__(self) -> Watcher[Target]:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """Make the inotify instance, if there is none yet; where the kernel has none left, `exhausted` says so."""
        if self._inotify is None:
            try:
                self._inotify = inotify_simple.INotify()
            except OSError as error:
                self._give_up(error)

    def try_again(self) -> None:
        """Take up watching again after a limit was reached."""
        self.exhausted = None

    def close(self) -> None:
        """Give up all watches."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
        self._targets.clear()

    def add(self, path: str, target: Target) -> int | None:
        """Watch the directory `path`; return the watch, or None where it is none, is gone, or a limit is reached.

        After the first refusal by a limit no more are tried until `try_again`.
        """
        if self._inotify is None or self.exhausted:
            return None
        try:
            wd: int = self._inotify.add_watch(path, _MASK)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._give_up(error)
            return None
        self._targets[wd] = target  # a directory that was moved keeps its watch: the latest target counts
        return wd

    def remove(self, wd: int | None, target: Target) -> None:
        """Stop watching, unless the directory was moved and its watch serves another target by now."""
        if wd is None or self._inotify is None or self._targets.get(wd) is not target:
            return
        del self._targets[wd]
        with contextlib.suppress(OSError):  # the directory is gone, and the watch with it
            self._inotify.rm_watch(wd)

    def events(self) -> Iterator[Event[Target]]:
        """Return what has happened since the last call, without waiting."""
        if self._inotify is None:
            return
        for wd, mask, _, name in self._inotify.read(timeout=0):
            if mask & _OVERFLOW:
                self.overflowed = True
            elif mask & _IGNORED:
                self._targets.pop(wd, None)
            elif (target := self._targets.get(wd)) is not None:
                yield Event(target, name, mask)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until there are events; False if there were none within `timeout` seconds."""
        if self._inotify is None:
            await asyncio.sleep(timeout if timeout is not None else 1.0)
            return False
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[bool] = loop.create_future()
        fd = self._inotify.fileno()

        def on_readable() -> None:
            loop.remove_reader(fd)  # level-triggered: it would fire until somebody reads
            if not readable.done():
                readable.set_result(True)

        def on_timeout() -> None:
            if not readable.done():
                readable.set_result(False)

        loop.add_reader(fd, on_readable)
        timer = None if timeout is None else loop.call_later(timeout, on_timeout)
        try:
            return await readable
        finally:
            loop.remove_reader(fd)
            if timer is not None:
                timer.cancel()

    def _give_up(self, error: OSError) -> None:
        self.exhausted = f"{os.strerror(error.errno or 0)} ({errno.errorcode.get(error.errno or 0, error.errno)})"
