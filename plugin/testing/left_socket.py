"""A server's socket that stays where it is when the server ends, as a killed Go program's does (contract RS-8).

gRPC unlinks the path that it was given when a server stops. It is given a way that leads to the same place, and the way
is taken away first: so the socket keeps its inode and its times, and no event tells that its server has gone. It is
short, too, so that the socket may lie deeper than the 107 bytes of contract PATH-4.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

_LINK: Final = "d"


class LeftSocket:
    """The address of one server. Nothing is made before `address` is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._way: Path | None = None

    def address(self) -> str:
        """Return what to bind; the directory of the socket must be there."""
        assert self._way is None, "an address serves one server"
        self._way = Path(tempfile.mkdtemp(prefix="fk-", dir="/tmp"))
        (self._way / _LINK).symlink_to(self.path.parent.absolute())
        return f"unix:{self._way / _LINK / self.path.name}"

    def leave(self) -> None:
        """Have the socket stay; call this before the server is stopped."""
        if self._way is not None:
            (self._way / _LINK).unlink()
            shutil.rmtree(self._way)
            self._way = None
