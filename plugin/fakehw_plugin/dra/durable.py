"""Files that appear whole or not at all, and survive a power cut once they are there."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

TEMPORARY: Final = ".fakehw-"
"""How a file's name begins while it is written. Readers of CDI directories look for *.json and *.yaml alone."""


def write(target: Path, content: bytes) -> None:
    """Write `content` as `target`, whatever was there; OSError leaves that as it was."""
    temporary = target.with_name(f"{TEMPORARY}{target.name}.{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, 0o644)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)


def remove(target: Path) -> None:
    """Remove a file, if it is there; OSError if it stays.

    A file system that is read-only refuses to remove what is not there, and nothing is to be done.
    """
    try:
        target.unlink(missing_ok=True)
    except OSError:
        if target.exists() or target.is_symlink():
            raise


def sync_directory(directory: Path) -> None:
    """Let names that were made and removed in `directory` survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sweep(directory: Path, start: str = "") -> None:
    """Remove what a killed process left half-written in `directory` of files that `start` so. None may be writing."""
    for path in directory.glob(f"{TEMPORARY}*.tmp"):
        if path.name.startswith(TEMPORARY + start):
            with contextlib.suppress(OSError):  # in nobody's way
                path.unlink(missing_ok=True)
