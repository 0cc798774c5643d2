"""Directories by descriptor: no path is resolved twice, no link is ever followed, no open ever waits for a peer.

The tree is written by anyone. Between a check and a use, a directory may become a link to /etc and a file a FIFO; every
step down is therefore relative to the descriptor of the step before, with O_NOFOLLOW.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fakehw import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIR_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH: Final = 16
"""Of what is copied, or emptied where it is; what is moved first may be nested as deep as it likes."""


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
    if raw.startswith(codecs.BOM_UTF8):
        raise UnreadableError("begins with a byte order mark (save it as UTF-8 without BOM)")
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
    """Return the names in a directory that was just opened, those with a dot first left out: they are private."""
    return [name for name in os.listdir(fd) if not name.startswith(".")]


def listed(fd: int) -> list[str]:
    """Return all names in a directory that was just opened."""
    with os.scandir(fd) as found:
        return [entry.name for entry in found]


def entries(fd: int) -> list[str]:
    """Return all names in a directory, whenever it was opened.

    Through a descriptor of its own: on btrfs, one that was opened before an entry was made may not show it.
    """
    with opened(".", dir_fd=fd) as fresh:
        return listed(fresh)


def is_directory(name: str, *, dir_fd: int) -> bool:
    """Tell whether `name` is a directory and no link to one; what is not there is not."""
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=dir_fd).st_mode)
    except FileNotFoundError:
        return False


def is_there(name: str, *, dir_fd: int) -> bool:
    """Tell whether there is anything at `name`."""
    try:
        os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def make_missing(parts: tuple[str, ...], *, dir_fd: int) -> None:
    """Make the directories `parts`, one below the other, as far as they are missing."""
    with contextlib.ExitStack() as stack:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, layout.DIR_MODE, dir_fd=dir_fd)
            dir_fd = stack.enter_context(opened(part, dir_fd=dir_fd))


def mount_id(fd: int) -> str | None:
    """Return which mount a descriptor is on; None where the kernel does not say."""
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    except OSError:
        return None
    return next((line.split()[1] for line in lines if line.startswith("mnt_id:")), None)


def copy(name: str, *, dir_fd: int, to: str, to_fd: int, depth: int = 0) -> None:
    """Copy a file, a link or a whole directory, with modes, to where there is nothing; sockets and FIFOs stay out."""
    mode = os.lstat(name, dir_fd=dir_fd).st_mode
    if stat.S_ISDIR(mode) and depth < _MAX_DEPTH:
        os.mkdir(to, layout.DIR_MODE, dir_fd=to_fd)
        with opened(name, dir_fd=dir_fd) as fd, opened(to, dir_fd=to_fd) as copy_fd:
            if mount_id(fd) != mount_id(dir_fd):
                raise OSError(errno.EBUSY, "is a mount, which is not copied: unmount it first", name)
            for entry in listed(fd):
                copy(entry, dir_fd=fd, to=entry, to_fd=copy_fd, depth=depth + 1)
            os.fchmod(copy_fd, stat.S_IMODE(mode))
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=dir_fd), to, dir_fd=to_fd)
    elif stat.S_ISCHR(mode):
        os.mknod(to, mode, os.lstat(name, dir_fd=dir_fd).st_rdev, dir_fd=to_fd)
        os.chmod(to, stat.S_IMODE(mode), dir_fd=to_fd)
    elif stat.S_ISREG(mode):
        with (
            os.fdopen(os.open(name, _READ_FLAGS, dir_fd=dir_fd), "rb") as source,
            os.fdopen(os.open(to, _WRITE_FLAGS, layout.FILE_MODE, dir_fd=to_fd), "wb") as target,
        ):
            shutil.copyfileobj(source, target)
            os.fchmod(target.fileno(), stat.S_IMODE(mode))


def remove(name: str, *, dir_fd: int) -> None:
    """Remove a file, a link, or a directory with all that is in it; what is not there is removed already.

    OSError where something of it has to stay, such as a mount: nothing is ever deleted through one.
    """
    with contextlib.suppress(FileNotFoundError):
        _Clearing(dir_fd).remove(name)


def clear(top_fd: int) -> list[str]:
    """Remove all that is in a directory, as far as that can be done; return what is left, each with the reason."""
    left = []
    clearing = _Clearing(top_fd)
    for name in entries(top_fd):
        try:
            clearing.remove(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            left.append(f"{name}: {error.strerror}")
    return left


class _Clearing:
    """Removes what is in one directory, with no recursion that a hostile nesting could make deep.

    Each directory is moved to the top before it is looked into. That takes care of depth, and of mounts: the system
    does not rename what something is mounted on.
    """

    def __init__(self, top_fd: int) -> None:
        self._top_fd = top_fd
        self._waiting: list[str] = []
        self._problem: OSError | None = None

    def remove(self, name: str) -> None:
        """Remove `name` with all that is in it; OSError with the first reason why something is left."""
        self._problem = None
        self._remove(name, self._top_fd, 0)
        while self._waiting:
            waiting = self._waiting.pop()
            self._empty_and_remove(waiting, self._top_fd, 0)
        if self._problem is not None:
            raise self._problem

    def _remove(self, name: str, fd: int, depth: int) -> None:
        if not is_directory(name, dir_fd=fd):
            os.unlink(name, dir_fd=fd)
            return
        fresh = f".{os.urandom(8).hex()}"
        try:
            os.rename(name, fresh, src_dir_fd=fd, dst_dir_fd=self._top_fd)
        except PermissionError:
            os.rmdir(name, dir_fd=fd)  # somebody else's can be removed, but not moved, if it is empty
        except OSError as error:
            # A directory of an image's layer, on overlayfs, is moved by nobody, but can be emptied where it is.
            if error.errno != errno.EXDEV or depth >= _MAX_DEPTH:
                raise
            self._empty_and_remove(name, fd, depth + 1)
        else:
            self._waiting.append(fresh)

    def _empty_and_remove(self, name: str, fd: int, depth: int) -> None:
        try:
            with opened(name, dir_fd=fd) as inner_fd:
                for entry in listed(inner_fd):
                    try:
                        self._remove(entry, inner_fd, depth)
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        self._problem = self._problem or error
            os.rmdir(name, dir_fd=fd)
        except OSError as error:
            self._problem = self._problem or error


def _require_regular(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = (
        (stat.S_ISLNK, "a symbolic link, which is not followed"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
    )
    raise UnreadableError(next((f"is {kind}" for test, kind in kinds if test(mode)), "is not a regular file"))
