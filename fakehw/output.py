"""What the commands print, through one door each, so that no terminal, pipe or disk decides over the work.

`say` is for what a command was asked for: where that cannot be written, the command fails. `confirm` is for what a
command did: the work stands, whether or not the line arrives. `remark` is for people, on standard error.
No control character of a file name or a value reaches a terminal by `confirm` or `remark`; what the encoding of the
output has no letters for is written as an escape.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from fakehw.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTORS: Final = (0, 1, 2)
_name = "fakehw"


def prepare(name: str) -> None:
    """Make the standard streams safe to use, once, before anything is opened; remarks begin with `name` from now on.

    A descriptor that the shell closed (`>&-`) would else be the next directory that is opened.
    """
    global _name  # as the standard streams are, it is the process's
    _name = name
    for fd in _DESCRIPTORS:
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one; never inherited
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print for the person or program that asked; OSError if that cannot be done."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    sys.stdout.write(f"{text}\n")


def say_now(text: str) -> None:
    """Print for somebody who is watching."""
    say(text)
    sys.stdout.flush()


def is_terminal() -> bool:
    """Tell whether a person looks at standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def confirm(text: str) -> None:
    """Print what was done; a line that cannot be written is lost, and what was done stays done."""
    try:
        say_now(printable(text))
    except OSError:
        end()


def remark(line: str) -> None:
    """Print a remark or an error; where it cannot be written it is lost."""
    complain(f"{_name}: {line}")


def complain(line: str) -> None:
    """Print an error as it stands, without our name before it."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"{printable(line)}\n")
            sys.stderr.flush()
        except OSError:
            end()  # what stays in its buffer would fail once more at exit, and make that 120


def end() -> None:
    """Write what is left, or drop it: what cannot be written now must not fail once more, in other words, at exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), stream.fileno())


def printable(text: str) -> str:
    """Return `text` with whatever could steer a terminal written as an escape: `\\x1b` for the escape character."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


@contextlib.contextmanager
def opened(name: Path | str, flag: str) -> Iterator[BinaryIO]:
    """Open a file that `flag` named for reading, or lend standard input where it is `-`; OSError as open does."""
    if str(name) == "-":
        yield given(f"{flag} -")
    else:
        with Path(name).open("rb") as stream:
            yield stream


def given(flag: str) -> BinaryIO:
    """Return standard input, which `flag` asked for; InputError where there is none."""
    if sys.stdin is None:
        raise InputError(f"-: standard input is closed ({flag})")
    return sys.stdin.buffer
