"""Reading one-value files of a tree that anyone may have tampered with. Nothing here blocks, follows a link or grows.

A health file may be a FIFO, a link to /, a gigabyte of zeros or a directory. Opening is done without following links
and without waiting for a peer, only regular files are read, and only their first bytes.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import stat
from typing import Final, NamedTuple

from fakehw_plugin.device import Health

MAX_BYTES: Final = 4096
"""A longer attribute is refused, not cut: its value would be another."""

MAX_REASON: Final = 256
"""Characters of a reason that travel on to logs and metrics."""

HARMLESS_NODES: Final = frozenset({(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)})
"""Major and minor numbers of null, zero, full, random and urandom. Whoever can write the tree may be able to make any
device node there, and must not get a pod to open the memory or a disk of the host with it."""

_NUMA_NODE: Final = re.compile(r"-1|[0-9]{1,10}")
"""No `+1`, `1_0` or `1.0`: a number is written in one way only, for everybody who reads the tree."""

_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIR_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_DIRECTORY


class AttributeFileError(Exception):
    """An attribute cannot be read; the text is the reason that people see."""


class MissingAttributeError(AttributeFileError):
    """The file is not there."""


class StarvedError(Exception):
    """This process or the machine has no file descriptors or memory left: nothing can be said about any file."""


class HealthReading(NamedTuple):
    """What a health file says."""

    health: Health
    reason: str
    is_whole: bool
    """False where a writer may be half-way: the file is missing, empty or does not start with a known word."""


def open_directory(name: str, *, dir_fd: int | None = None) -> int:
    """Open a directory without following a link; OSError if it is anything else, StarvedError if nothing opens."""
    try:
        return os.open(name, _DIR_FLAGS, dir_fd=dir_fd)
    except OSError as error:
        raise_if_starved(error)
        raise


def raise_if_starved(error: OSError) -> None:
    """Raise StarvedError where `error` is about us and not about the file: it must not pass for a broken device."""
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise StarvedError(f"{error.strerror} ({errno.errorcode[error.errno]})") from error


def read(name: str, *, dir_fd: int) -> str:
    """Return the text of attribute `name` of the directory `dir_fd`, without surrounding space.

    AttributeFileError where it is missing (MissingAttributeError), no regular file, unreadable, longer than
    MAX_BYTES, not UTF-8 or marked as such. StarvedError where nothing can be opened.
    """
    try:
        # Looked at before it is opened: opening a FIFO wakes its writer, opening a device may do anything.
        _require_regular(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
        fd = os.open(name, _FILE_FLAGS, dir_fd=dir_fd)
    except FileNotFoundError:
        raise MissingAttributeError("is missing") from None
    except OSError as error:
        raise_if_starved(error)
        raise AttributeFileError(f"cannot be opened: {error.strerror}") from None
    try:
        _require_regular(os.fstat(fd).st_mode)
        raw = os.read(fd, MAX_BYTES + 1)
    except OSError as error:
        raise AttributeFileError(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    if len(raw) > MAX_BYTES:
        raise AttributeFileError(f"is longer than {MAX_BYTES} bytes")
    if raw.startswith(codecs.BOM_UTF8):
        raise AttributeFileError("begins with a byte order mark (save it as UTF-8 without BOM)")
    try:
        return raw.decode().strip()
    except UnicodeDecodeError:
        raise AttributeFileError("is not UTF-8 text") from None


def read_health(*, dir_fd: int) -> HealthReading:
    """Read the file `health`: healthy or unhealthy in any case, then perhaps a reason. Anything else is Unhealthy."""
    try:
        text = read("health", dir_fd=dir_fd)
    except MissingAttributeError:
        return HealthReading(Health.UNHEALTHY, "health file is missing", is_whole=False)
    except AttributeFileError as error:
        return HealthReading(Health.UNHEALTHY, f"health file {error}", is_whole=True)
    words = text.split(None, 1)
    if not words:
        return HealthReading(Health.UNHEALTHY, "health file is empty", is_whole=False)
    word, rest = words[0].casefold(), words[1] if len(words) > 1 else ""
    if word == "healthy":
        return HealthReading(Health.HEALTHY, one_line(rest) if rest else "", is_whole=True)
    if word == "unhealthy":
        return HealthReading(Health.UNHEALTHY, one_line(rest) if rest else "", is_whole=True)
    return HealthReading(Health.UNHEALTHY, f"health file says {one_line(text)[:40]!r}", is_whole=False)


def read_numa_node(*, dir_fd: int) -> int | None:
    """Read the file `numa_node`; None where it is absent or -1. AttributeFileError where it says anything else."""
    try:
        text = read("numa_node", dir_fd=dir_fd)
    except MissingAttributeError:
        return None
    value = int(text) if _NUMA_NODE.fullmatch(text) else -2
    if not -1 <= value < 2**31:
        raise AttributeFileError(f"says {one_line(text)[:40]!r}, not a whole number from -1 to {2**31 - 1}")
    return None if value == -1 else value


def has_device_node(*, dir_fd: int) -> bool:
    """Tell whether `node` is one of HARMLESS_NODES; AttributeFileError where it is another device or a link."""
    try:
        status = os.stat("node", dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    if stat.S_ISCHR(status.st_mode):
        number = os.major(status.st_rdev), os.minor(status.st_rdev)
        if number in HARMLESS_NODES:
            return True
        raise AttributeFileError(f"is the character device {number[0]}:{number[1]}, not null, zero, full or random")
    if stat.S_ISLNK(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise AttributeFileError(f"is {kind(status.st_mode)}")
    return False


def one_line(text: str) -> str:
    """Return `text` fit for a log line: no control characters, runs of space folded, at most MAX_REASON characters."""
    folded = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return folded if len(folded) <= MAX_REASON else folded[: MAX_REASON - 1] + "…"


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise AttributeFileError(f"is {kind(mode)}")


def kind(mode: int) -> str:
    """Return in words what a file of this mode is."""
    for test, words in (
        (stat.S_ISLNK, "a symbolic link, which is not followed"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
    ):
        if test(mode):
            return words
    return "a regular file" if stat.S_ISREG(mode) else "no regular file"
