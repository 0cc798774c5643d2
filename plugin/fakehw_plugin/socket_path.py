"""Paths of Unix sockets: how long they may be, and how gRPC is told of one."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES: Final = 107
"""Bytes of a Unix socket's path that can be bound (contract PATH-4)."""


def room(directory: Path) -> int:
    """Return the bytes that are left for a file name in `directory`; negative where not even it would fit."""
    return MAX_BYTES - len(bytes(directory)) - 1


def target(path: Path) -> str:
    """Return `path` as the gRPC target of a server. That is a URI, in which `%2F`, `#` and `?` mean something else."""
    return f"unix:{quote(bytes(path), safe='/')}"


@contextlib.contextmanager
def dialled(path: Path) -> Iterator[str]:
    """Give the gRPC target by which a client reaches the socket `path`; OSError where nothing is there.

    A client takes what follows a comma for another address, in whatever way the comma is written.
    """
    if b"," not in bytes(path):
        yield target(path)
        return
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"unix:/proc/self/fd/{fd}"
    finally:
        os.close(fd)
