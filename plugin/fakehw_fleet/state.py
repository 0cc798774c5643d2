"""Where a fleet that has joined a cluster has its sockets, checkpoints and tree, and who may use it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from fakehw.errors import FakehwError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK: Final = "lock"
_MAX_BYTES: Final = 107
"""Of a socket's path (contract PATH-4)."""
_LONGEST_SOCKET: Final = "/n/" + 40 * "x" + "/dp/" + 30 * "x"


LAST_MOMENTS_S: Final = 3.0
"""How long the processes of a fleet that was killed may take to end."""


class State(NamedTuple):
    """The directory of a fleet, and the descriptor of its lock, which is free when nobody has it open any more."""

    path: Path
    lock: int


def default(name: str) -> Path:
    """Return the directory of a fleet where none was named: it is there again after a crash, and its path is short."""
    return Path(f"/var/tmp/fakehw-{os.getuid()}/{name}")  # noqa: S108  # ours alone: `opened` sees to that


@contextlib.contextmanager
def opened(path: Path) -> Iterator[State]:
    """Make the directory, ours alone, and hold its lock; FakehwError if it is another's or another fleet runs."""
    if len(os.fsencode(path.absolute())) + len(_LONGEST_SOCKET) > _MAX_BYTES:
        room = _MAX_BYTES - len(_LONGEST_SOCKET)
        raise InputError(f"{path}: must be at most {room} bytes long, or sockets find no room in it (--state)")
    for directory in (path.parent, path):
        directory.mkdir(mode=0o700, exist_ok=True)
    status = path.stat()
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise FakehwError(f"{path}: must be yours, and nobody else's to write (--state)")
    with (path / _LOCK).open("w") as lock:
        deadline = time.monotonic() + LAST_MOMENTS_S
        while not _is_taken(lock.fileno()):
            if time.monotonic() >= deadline:
                raise FakehwError(f"{path}: a fleet runs here already (--name, --state)") from None
            time.sleep(0.02)
        yield State(path, lock.fileno())


def _is_taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
