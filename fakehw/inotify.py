"""inotify for whoever looks on: `scenario` follows a log with it, `top` and `events` follow a tree."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from ctypes import CDLL
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import inotify_simple

from fakehw.errors import TreeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

# inotify_simple finds libc by running ldconfig and a compiler; the symbols are in this process already.
with contextlib.suppress(OSError):
    inotify_simple._libc = CDLL(None, use_errno=True)

Target = TypeVar("Target")

MODIFY: Final = int(inotify_simple.flags.MODIFY)
CLOSE_WRITE: Final = int(inotify_simple.flags.CLOSE_WRITE)
ISDIR: Final = int(inotify_simple.flags.ISDIR)
VANISHING: Final = int(inotify_simple.flags.DELETE | inotify_simple.flags.MOVED_FROM)
MOVED_TO: Final = int(inotify_simple.flags.MOVED_TO)
APPEARING: Final = int(inotify_simple.flags.CREATE) | MOVED_TO

DIRECTORY: Final = (
    CLOSE_WRITE
    | VANISHING
    | APPEARING
    | int(inotify_simple.flags.DELETE_SELF | inotify_simple.flags.MOVE_SELF)
    | int(inotify_simple.flags.ONLYDIR | inotify_simple.flags.DONT_FOLLOW | inotify_simple.flags.EXCL_UNLINK)
)
_IGNORED: Final = int(inotify_simple.flags.IGNORED)
_OVERFLOW: Final = int(inotify_simple.flags.Q_OVERFLOW)


class Event(NamedTuple, Generic[Target]):
    """Something happened under `name` ("" for itself) in what was added as `target`; None: events were lost."""

    target: Target | None
    name: str
    mask: int


class Watch(Generic[Target]):
    """An inotify instance whose watches carry a target. TreeError where a limit of the kernel is reached."""

    def __init__(self) -> None:
        self._inotify: inotify_simple.INotify | None = None
        self._targets: dict[int, Target] = {}

    def __enter__(self) -> Watch[Target]:
        with _limits():
            self._inotify = inotify_simple.INotify()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._inotify is not None
        self._inotify.close()
        self._targets.clear()

    def add(self, path: str, target: Target, mask: int = DIRECTORY) -> int | None:
        """Watch `path`; None where it is gone or is no directory any more."""
        assert self._inotify is not None
        try:
            with _limits():
                wd: int = self._inotify.add_watch(path, mask)
        except OSError:
            return None
        self._targets[wd] = target
        return wd

    def remove(self, wd: int, target: Target) -> None:
        """Stop watching, unless the directory was moved and its watch serves another target by now."""
        assert self._inotify is not None
        if self._targets.get(wd) != target:
            return
        del self._targets[wd]
        with contextlib.suppress(OSError):  # the directory is gone, and the watch with it
            self._inotify.rm_watch(wd)

    def events(self) -> list[Event[Target]]:
        """Return what has happened since the last call, without waiting."""
        assert self._inotify is not None
        events: list[Event[Target]] = []
        for wd, mask, _, name in self._inotify.read(timeout=0):
            if mask & _OVERFLOW:
                events.append(Event(None, "", mask))
            elif mask & _IGNORED:
                self._targets.pop(wd, None)
            elif (target := self._targets.get(wd)) is not None:
                events.append(Event(target, name, mask))
        return events

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until there are events, or `timeout` seconds are over."""
        assert self._inotify is not None
        loop, fd = asyncio.get_running_loop(), self._inotify.fileno()
        readable = asyncio.Event()
        loop.add_reader(fd, readable.set)
        try:
            async with asyncio.timeout(timeout):
                await readable.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(fd)


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Turn a limit of the kernel into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        limits = "fs.inotify.max_user_watches or max_user_instances"
        raise TreeError(f"inotify: {error.strerror}: raise {limits} (sysctl)") from None
