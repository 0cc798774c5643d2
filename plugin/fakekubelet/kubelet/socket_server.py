"""A gRPC server on a Unix socket that stays where it is when the server ends, as a Go program's does (contract RS-8).

gRPC unlinks the path that it was given when a server stops. It is given a way that leads to the same place, and the way
is taken away first: so the socket keeps its inode and its times, and no event tells that its server has gone. It is
short, so the socket may lie deeper than 107 bytes, too (contract PATH-4).
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from fakekubelet import socket_path

if TYPE_CHECKING:
    from collections.abc import Callable

_LINK: Final = "d"


class SocketServer:
    """Serves on `path` between `start` and `stop`; its directory must be there. `add` enters what is served."""

    def __init__(self, path: Path, add: Callable[[grpc.aio.Server], None]) -> None:
        self._path = path
        self._add = add
        self._way: Path | None = None
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Bind, in the place of a socket that is there already, and listen; raise OSError where that cannot be."""
        self._way = Path(tempfile.mkdtemp(prefix="fk-", dir="/tmp"))  # short
        (self._way / _LINK).symlink_to(self._path.parent.absolute())
        # Two servers on one path would share it silently with so_reuseport; nothing of the kubelet's does.
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._add(self._server)
        try:
            self._server.add_insecure_port(socket_path.target(self._way / _LINK / self._path.name))
        except RuntimeError as error:  # with gRPC's words, which name the way
            raise OSError(errno.EADDRINUSE, "a kubelet cannot listen there", str(self._path)) from error
        await self._server.start()

    async def stop(self) -> None:
        """Stop at once, calls under way included; the socket stays."""
        if self._way is not None:
            (self._way / _LINK).unlink()
            shutil.rmtree(self._way)
            self._way = None
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None
