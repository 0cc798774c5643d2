"""Directories by descriptor: no path is resolved twice, no link is ever followed, no open ever waits for a peer.

The tree is written by anyone. Between a check and a use, a directory may become a link to /etc and a file a FIFO; every
step down is therefore relative to the descriptor of the step before, with O_NOFOLLOW.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from typing import TYPE_CHECKING, Final

from fakehw import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIR_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH: Final = 8


class UnreadableError(Exception):
    """A file that is no readable one-value file; the text says what it is instead."""


def open_directory(name: str, *, dir_fd: int | None = None) -> int:
    """Open a directory, which must not be a link."""
    return os.open(name, _DIR_FLAGS, dir_fd=dir_fd)


@contextlib.contextmanager
def opened(name: str, *, dir_fd: int | None = None) -> Iterator[int]:
    """Open a directory, which must not be a link, for the length of a block."""
    fd = open_directory(name, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def opened_below(fd: int, parts: tuple[str, ...]) -> Iterator[int]:
    """Open the directory `parts` below `fd`, step by step, for the length of a block."""
    with contextlib.ExitStack() as stack:
        for part in parts:
            fd = stack.enter_context(opened(part, dir_fd=fd))
        yield fd


def read(name: str, *, dir_fd: int, limit: int = layout.MAX_VALUE_BYTES) -> str:
    """Return the text of a regular file of at most `limit` bytes.

    FileNotFoundError where there is none; UnreadableError, with the reason, for anything else that cannot be read.
    """
    try:
        _require_regular(os.lstat(name, dir_fd=dir_fd).st_mode)  # opening a FIFO would already wake its writer
        fd = os.open(name, _READ_FLAGS, dir_fd=dir_fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror}") from None
    try:
        _require_regular(os.fstat(fd).st_mode)
        raw = os.read(fd, limit + 1)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    if len(raw) > limit:
        raise UnreadableError(f"is longer than {limit} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise UnreadableError("is not UTF-8 text") from None


def write(name: str, value: str, *, dir_fd: int, mode: int | None = None) -> None:
    """Make a new file of one value and a newline; `mode` where the umask must not have its say."""
    fd = os.open(name, _WRITE_FLAGS, layout.FILE_MODE, dir_fd=dir_fd)
    try:
        rest = value.encode() + b"\n"
        while rest:  # a disk that fills up takes a part first, and refuses the next
            rest = rest[os.write(fd, rest) :]
        if mode is not None:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def names(fd: int) -> list[str]:
    """Return the names in a directory, those with a dot first left out: they are private."""
    return [name for name in os.listdir(fd) if not name.startswith(".")]


def is_directory(name: str, *, dir_fd: int) -> bool:
    """Tell whether `name` is a directory and no link to one; what is not there is not."""
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=dir_fd).st_mode)
    except FileNotFoundError:
        return False


def remove(name: str, *, dir_fd: int) -> None:
    """Remove a file, a link, or a directory with all that is in it; what is not there is removed already."""
    if is_directory(name, dir_fd=dir_fd):
        with opened(name, dir_fd=dir_fd) as fd:
            clear(fd)
        os.rmdir(name, dir_fd=dir_fd)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=dir_fd)


def clear(top_fd: int) -> None:
    """Remove all that is in a directory.

    What is nested deep is moved up and waits for its turn, so that no nesting, however hostile, costs a deep recursion.
    """
    fresh = (f".{os.urandom(8).hex()}" for _ in itertools.count())

    def clear_below(fd: int, depth: int) -> None:
        for entry in tuple(os.scandir(fd)):
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=fd)
            elif depth >= _MAX_DEPTH:
                os.rename(entry.name, next(fresh), src_dir_fd=fd, dst_dir_fd=top_fd)
            else:
                with opened(entry.name, dir_fd=fd) as child_fd:
                    clear_below(child_fd, depth + 1)
                os.rmdir(entry.name, dir_fd=fd)

    while os.listdir(top_fd):
        clear_below(top_fd, 0)


def _require_regular(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = (
        (stat.S_ISLNK, "a symbolic link, which is not followed"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
    )
    raise UnreadableError(next((f"is {kind}" for test, kind in kinds if test(mode)), "is not a regular file"))
