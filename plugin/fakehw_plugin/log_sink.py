"""Where log lines go: nothing that becomes of them may stop or hold up the service.

A disk that is full, a reader that went or one that does not read costs lines, which are counted, and at most a moment.
"""

from __future__ import annotations

import os
import select
import time
from typing import Final

PATIENCE_S: Final = 0.02
"""How long a line waits for whoever reads. Then none waits before CALM_S are over."""

CALM_S: Final = 1.0
_PIECE: Final = select.PIPE_BUF
"""Bytes that a pipe takes without waiting once it says that it takes any."""


class LogSink:
    """Writes lines to a file descriptor; None: there is none, and every line is lost."""

    def __init__(self, fd: int | None) -> None:
        self.lost = 0
        """Lines that were not written, or not whole."""
        self._fd = fd
        self._is_cut = False
        self._impatient_until = 0.0
        self._poll = select.poll()
        if fd is not None:
            self._poll.register(fd, select.POLLOUT)

    def isatty(self) -> bool:
        """Tell whether a person reads along."""
        return self._fd is not None and os.isatty(self._fd)

    def write(self, text: str) -> None:
        """Write `text`, one line, or count it as lost."""
        line = text.encode("utf-8", "backslashreplace")
        if self._is_cut:
            line = b"\n" + line
        rest = self._write(line)
        if not rest:
            self._is_cut = False
            return
        self.lost += 1
        if len(rest) < len(line):
            self._is_cut = True

    def flush(self) -> None:
        """Do nothing: every line is written at once."""

    def _write(self, line: bytes) -> bytes:
        """Write as much as is taken; return the rest."""
        try:
            while line and self._fd is not None and self._takes_more():
                line = line[os.write(self._fd, line[:_PIECE]) :]
        except OSError:
            pass  # full, gone or closed: the caller counts it
        return line

    def _takes_more(self) -> bool:
        if self._poll.poll(0):
            return True
        if time.monotonic() < self._impatient_until:
            return False
        if self._poll.poll(PATIENCE_S * 1000):
            return True
        self._impatient_until = time.monotonic() + CALM_S
        return False
