"""The kubelet's registry socket: `kubelet.sock`, where plugins say that they are there.

Mirrors `devicemanager/plugin/v1beta1/server.go` and `manager.go:CleanupPluginDirectory`. The order at start is the
contract: clean the directory, then listen (REG-1); the order of a registration is another: dial back and ask for the
options before the answer (REG-5).
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import socket
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from fakekubelet.kubelet import checkpoint, client_table, resource_name, socket_server
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclasses.dataclass(frozen=True, slots=True)
class Registration:
    """One finished attempt to register, by either route."""

    resource_name: str
    endpoint: str
    """As the plugin gave it: a file name in a Register call, a path on the watcher's route."""
    time: float
    """When the call came in, on the machine's monotonic clock."""
    error: str | None = None
    """What the plugin was told; None means that it was accepted."""
    duration_s: float = 0.0
    version: str = constants.VERSION
    request_options: tuple[bool, bool] | None = None
    """`(pre_start_required, get_preferred_allocation_available)` of the request, which the kubelet ignores (REG-8)."""
    route: str = "Register"
    """`Register` or `watcher`."""
    was_listening: bool = True
    """Whether somebody listened on the endpoint when the call came in (contract PIT-1)."""
    streams_before: int = 0
    """ListAndWatch streams of the resource that were open when the call came in (contract REG-12, PIT-4)."""
    deadline_s: float | None = None
    """How long the plugin was willing to wait for the answer; None is for ever (contract REG-7)."""


def is_listening(socket_path: Path) -> bool:
    """Tell whether somebody listens on a socket; one whose queue is full does."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            return probe.connect_ex(str(socket_path)) in (0, errno.EAGAIN)
        except OSError:
            return False  # a path that cannot be one


def clean_directory(directory: Path, *, sockets_only: bool) -> None:
    """Remove every socket, plugins' too; before 1.33 every file but the checkpoint (contract REG-2, REG-3).

    Names are listed once, so a socket that is made meanwhile survives. Links are followed to see what they lead to, and
    removed themselves.
    """
    for name in os.listdir(directory):  # noqa: PTH208 - the names as of now, as the kubelet does it
        path = directory / name
        try:
            mode = path.stat().st_mode
        except OSError:
            continue  # vanished, or a link to nowhere
        if name == checkpoint.FILE_NAME or stat.S_ISDIR(mode) or (sockets_only and not stat.S_ISSOCK(mode)):
            continue
        path.unlink(missing_ok=True)


class RegistrationServer(pluginapi_grpc.RegistrationServicer):
    """Serves `v1beta1.Registration` in the plugin directory."""

    def __init__(
        self,
        directory: Path,
        table: client_table.ClientTable,
        *,
        sockets_only: bool,
        dials_within_the_call: bool = True,
        on_registration: Callable[[Registration], None],
    ) -> None:
        self._dials_within_the_call = dials_within_the_call
        self._attempts: set[asyncio.Task[str | None]] = set()
        self._directory = directory
        self._table = table
        self._sockets_only = sockets_only
        self._on_registration = on_registration
        self._server = socket_server.SocketServer(
            directory / constants.KUBELET_SOCKET,
            lambda server: pluginapi_grpc.add_RegistrationServicer_to_server(self, server),
        )

    async def start(self, *, keep_sockets: bool = False) -> None:
        """Make the directory, clean it, listen (contract REG-1); with *keep_sockets* leave it as it is."""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)  # contract PATH-3
        if not keep_sockets:
            clean_directory(self._directory, sockets_only=self._sockets_only)
        await self._server.start()

    async def stop(self) -> None:
        """Stop at once, calls under way included; the socket stays (contract RS-8)."""
        await self._server.stop()
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)

    async def Register(
        self, request: pluginapi.RegisterRequest, context: pluginapi_grpc._ServicerContext
    ) -> pluginapi.Empty:
        """Check, dial back, ask for options, and only then answer (contract REG-4, REG-5).

        Before 1.35 that goes on when the plugin has given up its call (contract REG-7).
        """
        attempt = asyncio.create_task(
            self._attempt(request, context.time_remaining()), name=f"register {request.endpoint}"
        )
        self._attempts.add(attempt)
        attempt.add_done_callback(self._attempts.discard)
        try:
            error = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if self._dials_within_the_call:
                attempt.cancel()
            raise
        if error is not None:
            await context.abort(grpc.StatusCode.UNKNOWN, error)
        return pluginapi.Empty()

    async def _attempt(self, request: pluginapi.RegisterRequest, deadline_s: float | None) -> str | None:
        """Return what the plugin is told if it is refused."""
        started = time.monotonic()
        socket_path = self._socket_path_of(request)
        was_listening = is_listening(socket_path)
        streams_before = self._table.live_streams(request.resource_name)
        error = await self._refusal(request, socket_path)
        self._on_registration(
            Registration(
                request.resource_name,
                request.endpoint,
                started,
                error,
                time.monotonic() - started,
                request.version,
                (request.options.pre_start_required, request.options.get_preferred_allocation_available),
                was_listening=was_listening,
                streams_before=streams_before,
                deadline_s=deadline_s,
            )
        )
        return error

    def _socket_path_of(self, request: pluginapi.RegisterRequest) -> Path:
        """Join as filepath.Join does: an absolute path becomes relative, `..` is resolved (contract REG-9)."""
        return Path(os.path.normpath(f"{self._directory}/{request.endpoint}"))

    async def _refusal(self, request: pluginapi.RegisterRequest, socket_path: Path) -> str | None:
        if request.version != constants.VERSION:
            return (
                f'requested API version "{request.version}" is not supported by kubelet. '
                f'Supported version is ["{constants.VERSION}"]'
            )
        if not resource_name.is_extended(request.resource_name):
            return f'the ResourceName "{request.resource_name}" is invalid'
        try:
            await self._table.connect(request.resource_name, socket_path)
        except client_table.ConnectError as error:
            return str(error)
        return None
