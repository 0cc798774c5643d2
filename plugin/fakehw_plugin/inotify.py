"""inotify for a tree: which directory saw something happen under which name.

The kernel's queue can overflow and its limits can run out. Both are told to the caller, who then reads everything
again; nothing is lost, it only comes later. This is the only module that knows inotify.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
import types
from ctypes import CDLL
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType


@contextlib.contextmanager
def _without_finder() -> Iterator[None]:
    """Let inotify_simple load without what it would look for libc with (`ctypes.util`).

    Looking means to run ldconfig and a compiler, which costs more than all the rest of a start and fails in an image
    that has neither; and it loads tempfile, shutil and compressors. The symbols are in this process already.
    """
    if "ctypes.util" in sys.modules:
        yield
        return
    sys.modules["ctypes.util"] = types.ModuleType("ctypes.util")
    sys.modules["ctypes.util"].find_library = None  # type: ignore[attr-defined]  # the one name that is imported
    try:
        yield
    finally:
        del sys.modules["ctypes.util"]


with _without_finder():
    import inotify_simple
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

UNMOUNT: Final = int(inotify_simple.flags.UNMOUNT)
IGNORED: Final = int(inotify_simple.flags.IGNORED)
"""The kernel took the watch away: the directory was deleted or its file system was unmounted."""

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
_MAX_READ: Final = 1 << 19
"""Bytes of events taken at once: about what the queue holds by default, and no more if an administrator raised that."""

_EXHAUSTED: Final = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Event(NamedTuple, Generic[Target]):
    """Something happened under `name` in the directory that was added for `target`; `name` is "" for itself."""

    target: Target
    name: str
    mask: int


class Watcher(Generic[Target]):
    """An inotify instance whose watches carry what the caller wants to be reminded of."""

    def __init__(self) -> None:
        self.exhausted: str | None = None
        """Why some directory is not watched (a limit of the kernel), or None."""
        self._overflowed = False
        self._inotify: inotify_simple.INotify | None = None
        self._waiting: asyncio.Future[bool] | None = None
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
                self._inotify = inotify_simple.INotify(nonblocking=True)
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
        try:
            data = os.read(self._inotify.fileno(), _MAX_READ)
        except BlockingIOError:
            return
        for wd, mask, _, name in inotify_simple.parse_events(data):
            if mask & _OVERFLOW:
                self._overflowed = True
            elif mask & IGNORED:
                # An inode number is used again at once, so that what stands there now may look like the same directory.
                if (target := self._targets.pop(wd, None)) is not None:
                    yield Event(target, "", mask)
            elif (target := self._targets.get(wd)) is not None:
                yield Event(target, name, mask)

    def take_overflow(self) -> bool:
        """Tell whether the kernel dropped events since this was last asked."""
        overflowed, self._overflowed = self._overflowed, False
        return overflowed

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until there are events; False if there were none within `timeout` seconds or before `interrupt`."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[bool] = loop.create_future()
        fd = -1 if self._inotify is None else self._inotify.fileno()
        if fd < 0 and timeout is None:
            timeout = 1.0

        def on_readable() -> None:
            loop.remove_reader(fd)  # level-triggered: it would fire until somebody reads
            if not readable.done():
                readable.set_result(True)

        def on_timeout() -> None:
            if not readable.done():
                readable.set_result(False)

        if fd >= 0:
            loop.add_reader(fd, on_readable)
        self._waiting = readable
        timer = None if timeout is None else loop.call_later(timeout, on_timeout)
        try:
            return await readable
        finally:
            self._waiting = None
            if fd >= 0:
                loop.remove_reader(fd)
            if timer is not None:
                timer.cancel()

    def interrupt(self) -> None:
        """End the present `wait`, if there is one, without events."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(False)

    def _give_up(self, error: OSError) -> None:
        self.exhausted = f"{os.strerror(error.errno or 0)} ({errno.errorcode.get(error.errno or 0, error.errno)})"
