"""One life of one gRPC server on one socket: bind, serve, stop, remove.

A server is never started twice and a socket name is never used twice: gRPC unlinks the path when a server stops, even
if another one owns it by then (contract PIT-5), and newer kubelets tell instances apart by their path (REG-15).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import stat
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import grpc

from fakehw_plugin import errors, socket_path
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

PREFIX: Final = "fakehw-"
STOP_GRACE_S: Final = 0.2
"""Calls that are under way get this long when the server stops."""

LEAVE_GRACE_S: Final = 2.0
"""The same when the resource has left the tree: its empty list must arrive, and nobody waits for the process to end."""

_TOKEN_BYTES: Final = 4
_SHORTEST_NAME: Final = len(PREFIX) + 2 * _TOKEN_BYTES + len(".sock")
_OWN_NAME: Final = re.compile(re.escape(PREFIX) + r"(.*-)?[0-9a-f]{8}\.sock")
MAX_REQUEST_BYTES: Final = 2 * constants.MAX_MESSAGE_BYTES + 65_536
"""GetPreferredAllocation may carry every ID of a list as available and as one that must be included (contract LIM-3),
and no ID is longer there than in the list. What is larger than that comes from no kubelet."""

_OPTIONS: Final = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
)


def names(directory: Path, purpose: str) -> set[str]:
    """Return the names of the sockets in `directory` that serve this purpose, of whichever process."""
    stem = new_name(directory, purpose).removesuffix(".sock")[: -2 * _TOKEN_BYTES]
    return {path.name for path in directory.glob(f"{PREFIX}*.sock") if path.name.startswith(stem)}


class Servicer(Protocol):
    """What is served on a socket."""

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers of its services."""

    def close(self) -> None:
        """End all streams, so that stopping the server does not have to wait for them (contract PIT-8)."""


ServicerT = TypeVar("ServicerT", bound=Servicer)


def new_name(directory: Path, purpose: str) -> str:
    """Return a file name that was never used before and says what it is for, as far as the path has room."""
    room = socket_path.room(directory) - _SHORTEST_NAME - len("-")
    slug = re.sub(r"[^a-z0-9]+", "-", purpose.lower()).strip("-")[-room:] if room > 0 else ""
    return f"{PREFIX}{slug.strip('-')[:40]}{'-' if slug else ''}{os.urandom(_TOKEN_BYTES).hex()}.sock"


class Endpoint(Generic[ServicerT]):
    """Serves `servicer` on a new socket in `directory` while it is entered; EndpointError if it cannot.

    `purpose` is a part of the socket's name, such as a resource name.
    """

    def __init__(self, directory: Path, purpose: str, servicer: ServicerT) -> None:
        self.servicer = servicer
        self.stop_grace_s = STOP_GRACE_S
        self.name: Final = new_name(directory, purpose)
        self.socket_path: Final = directory / self.name
        self._server: grpc.aio.Server | None = None
        self._dir_fd: int | None = None
        """The directory in which the socket is; something else may be mounted over it when it is to be removed."""

    async def __aenter__(self) -> Endpoint[ServicerT]:
        directory = self.socket_path.parent
        # Asked first, because gRPC does not say why it could not bind.
        if not os.access(directory, os.W_OK | os.X_OK):
            raise errors.EndpointError(f"cannot serve {self.socket_path}: the directory is not writable")
        try:
            self._dir_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise errors.EndpointError(f"cannot serve {self.socket_path}: {error.strerror}") from error
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers(self.servicer.handlers())
        try:
            self._server.add_insecure_port(socket_path.target(self.socket_path))
            # In a task of its own: cancelled half-way, grpc.aio leaves a server that listens and can never be stopped.
            starting = asyncio.create_task(self._server.start(), name=f"start {self.name}")
            try:
                await asyncio.shield(starting)
            except asyncio.CancelledError:
                await asyncio.wait([starting])
                await self.__aexit__(None, None, None)
                raise
        except RuntimeError as error:
            await self._server.stop(None)
            self._remove_socket()
            raise errors.EndpointError(f"cannot serve {self.socket_path}: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._server is not None
        self.servicer.close()
        # In a task of its own: grpc.aio may swallow a cancellation that arrives while it stops, and this must be over
        # before the next endpoint starts, cancelled or not.
        stopping = asyncio.create_task(self._server.stop(self.stop_grace_s), name=f"stop {self.name}")
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await asyncio.wait([stopping])
            raise
        finally:
            self._remove_socket()

    def _remove_socket(self) -> None:
        """Remove the socket file; gRPC has done so as a rule, if the directory is still where it was."""
        if self._dir_fd is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.name, dir_fd=self._dir_fd)  # relative to the directory
            os.close(self._dir_fd)
            self._dir_fd = None

    def is_in_place(self) -> bool:
        """Tell whether the socket file is still there; a starting kubelet deletes it (contract REG-2)."""
        try:
            return stat.S_ISSOCK(self.socket_path.lstat().st_mode)
        except OSError:
            return False


def is_dead(path: Path) -> bool:
    """Tell whether `path` is a socket that nobody listens on."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            return probe.connect_ex(str(path)) == errno.ECONNREFUSED
    except OSError:
        return False


def remove_stale(directory: Path) -> list[str]:
    """Remove sockets of our own that nobody listens on, left by a process that was killed (contract PIT-23)."""
    removed = []
    for path in directory.glob(f"{PREFIX}*.sock"):
        if _OWN_NAME.fullmatch(path.name) and is_dead(path):
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path.name)
    return removed
