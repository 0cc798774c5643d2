"""The one writer of a tree at a time: a lock file, a bounded wait for it, and the name of whoever holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.errors import TreeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME: Final = "lock"
WAIT_S: Final = 30.0
"""How long a writer waits for the one before it; far more than any build takes that a node can serve."""

_MODE: Final = 0o600  # whoever may open it may hold it, and stop every writer
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_AGAIN_S: Final = 0.02
_SHOWN_CHARACTERS: Final = 60


@contextlib.contextmanager
def held(private_fd: int, *, name: str, waiting: Callable[[], None], wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock of the tree that is called `name` for a block; `waiting` is called if it is not free at once.

    TreeError, with the holder's name as far as it can be known, where it is not free after `wait_s` seconds.
    """
    fd = os.open(NAME, _FLAGS, _MODE, dir_fd=private_fd)
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != _MODE:
            with contextlib.suppress(PermissionError):  # another user's tree, in which we may write all the same
                os.fchmod(fd, _MODE)
        _take(fd, name, waiting, wait_s)
        yield
    finally:
        os.close(fd)


def _take(fd: int, name: str, waiting: Callable[[], None], wait_s: float) -> None:
    give_up_at: float | None = None
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if give_up_at is None:
                waiting()
                give_up_at = time.monotonic() + wait_s
            elif time.monotonic() >= give_up_at:
                raise TreeError(
                    f"{name}/{layout.PRIVATE_DIR}/{NAME}: is held by {_holder(fd)} for more than {wait_s:g} s: "
                    "try again, or end that"
                ) from None
            time.sleep(_AGAIN_S)
        else:
            return


def _holder(fd: int) -> str:
    """Return who holds the lock; a process of another PID namespace has no name here."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        inode = str(os.fstat(fd).st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode:
                return f"process {fields[4]}{_command(fields[4])}"
    return "a process that is not seen from here"


def _command(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    text = layout.one_line(b" ".join(words).decode(errors="replace"))
    return f" ({text[:_SHOWN_CHARACTERS]})" if text else ""
