"""The second way to register: a socket under `plugins_registry` that the kubelet finds by itself.

Mirrors `pkg/kubelet/pluginmanager` (contract PW-1 to PW-11). inotify is watched by the event loop; each socket has a
task that registers it, with back-off, and ends. The kubelet's own loop looks once a second, this one at once, unless
it is to save inotify instances.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import stat
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import inotify_simple

from fakekubelet import clock
from fakekubelet.kubelet import call_log, client_table, plugin_client, registration, resource_name
from kubeletapi.deviceplugin.v1beta1 import constants
from kubeletapi.dra import constants as dra
from kubeletapi.pluginregistration.v1 import api_pb2 as watcherapi
from kubeletapi.pluginregistration.v1 import api_pb2_grpc as watcherapi_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from google.protobuf import message

GET_INFO_TIMEOUT_S = 1.0
NOTIFY_TIMEOUT_S = 5.0
FIRST_BACKOFF_S = 0.5
LAST_BACKOFF_S = 122.0

_AUTHORITY_SAFE = "!$&'()*+,;=[]:@"
"""What grpc-go leaves as it is in an authority; a slash is not among it (contract PW-8)."""


_NOT_CONNECTED = "RegisterPlugin error -- plugin registration failed with err: "


class RegistrationFailedError(Exception):
    """A socket could not be registered this time."""


def authority_of(socket_path: Path) -> str:
    """Return the `:authority` that the kubelet sends to a registration socket: the encoded path (contract PW-8)."""
    return urllib.parse.quote(bytes(socket_path), safe=_AUTHORITY_SAFE)


def new_inotify() -> inotify_simple.INotify:
    """Return an inotify instance; OSError, with the setting's name where it is that that allows no more."""
    try:
        return inotify_simple.INotify()
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        why = (
            "no more inotify instances for this user, or no more open files (fs.inotify.max_user_instances, ulimit -n)"
        )
        raise OSError(error.errno, why) from error


class DriverTable(Protocol):
    """Who takes DRA drivers; what it raises or returns is told to the driver (`cm/dra/plugin`)."""

    def refusal(self, name: str, endpoint: Path, versions: Sequence[str]) -> str | None:
        """Return why a driver is not taken; None if it is."""

    async def connect(self, name: str, endpoint: Path, versions: Sequence[str]) -> None:
        """Register a driver."""

    async def disconnect(self, name: str, endpoint: Path) -> None:
        """Forget it."""


class _Failure(NamedTuple):
    at: float
    backoff_s: float


class PluginWatcher:
    """Registers and deregisters the sockets under one directory."""

    def __init__(
        self,
        directory: Path,
        table: client_table.ClientTable,
        *,
        time_source: clock.Clock,
        calls: call_log.CallLog,
        takes_failures_back: bool,
        on_registration: Callable[[registration.Registration], None],
        drivers: DriverTable | None = None,
        look_every_s: float | None = None,
    ) -> None:
        self._look_every_s = look_every_s
        self._drivers = drivers
        self._directory = directory
        self._table = table
        self._clock = time_source
        self._calls = calls
        self._takes_failures_back = takes_failures_back
        self._on_registration = on_registration
        self._watches: dict[int, Path] = {}
        self._events: asyncio.Queue[tuple[bool, Path]] = asyncio.Queue()
        self._tasks: dict[Path, asyncio.Task[None]] = {}
        self._registered: dict[Path, Callable[[], Awaitable[None]]] = {}
        """By path, what undoes it."""
        self._failures: dict[Path, _Failure] = {}
        """The last one by path: a socket that is made again there has to wait too (contract PW-11)."""

    def prepare(self) -> None:
        """Make the directory."""
        self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)

    async def run(self) -> None:
        """Watch until cancelled. Sockets that are there already are found by a walk, and never deleted (PW-1, PW-5)."""
        try:
            if self._look_every_s is not None:
                await asyncio.gather(self._look(self._look_every_s), self._follow())
            loop = asyncio.get_running_loop()
            with contextlib.closing(new_inotify()) as inotify:
                loop.add_reader(inotify.fileno(), self._read, inotify)
                try:
                    self._walk(inotify, self._directory)
                    await self._follow()
                finally:
                    loop.remove_reader(inotify.fileno())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            created, path = await self._events.get()
            await self._drop(path)  # a socket that was replaced is deregistered first (contract PW-6)
            if created:
                self._tasks[path] = asyncio.create_task(self._keep_trying(path), name=f"plugin {path.name}")

    async def _look(self, every_s: float) -> None:
        known: dict[Path, tuple[int, int]] = {}
        while True:
            found = _sockets(self._directory)
            for path in known.keys() - found.keys():
                self._events.put_nowait((False, path))
            for path in (path for path, identity in sorted(found.items()) if known.get(path) != identity):
                self._events.put_nowait((True, path))
            known = found
            await clock.sleep(self._clock, every_s)

    def _read(self, inotify: inotify_simple.INotify) -> None:
        for event in inotify.read(timeout=0):
            path = self._watches.get(event.wd, self._directory) / event.name
            if event.mask & (inotify_simple.flags.CREATE | inotify_simple.flags.MOVED_TO):
                self._found(inotify, path)
            elif event.mask & inotify_simple.flags.DELETE:
                self._events.put_nowait((False, path))

    def _walk(self, inotify: inotify_simple.INotify, directory: Path) -> None:
        wanted = inotify_simple.flags.CREATE | inotify_simple.flags.MOVED_TO | inotify_simple.flags.DELETE
        self._watches[inotify.add_watch(directory, wanted)] = directory
        for path in sorted(directory.iterdir()):
            self._found(inotify, path)

    def _found(self, inotify: inotify_simple.INotify, path: Path) -> None:
        if path.name.startswith("."):
            return
        with contextlib.suppress(OSError):  # gone again: its removal is an event of its own
            mode = os.stat(path).st_mode  # noqa: PTH116 - the path may be gone
            if stat.S_ISDIR(mode):
                self._walk(inotify, path)
            elif stat.S_ISSOCK(mode):
                self._events.put_nowait((True, path))

    async def _drop(self, path: Path) -> None:
        task = self._tasks.pop(path, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        registered = self._registered.pop(path, None)
        if registered is not None:
            await registered()

    async def _keep_trying(self, path: Path) -> None:
        while True:
            failure = self._failures.get(path)
            if failure is not None:
                await clock.sleep(self._clock, failure.at + failure.backoff_s - self._clock.time())
            with contextlib.suppress(RegistrationFailedError):  # the plugin has been told, and `on_registration`
                await self._register(path)
                self._failures.pop(path, None)
                return
            backoff_s = FIRST_BACKOFF_S if failure is None else min(2 * failure.backoff_s, LAST_BACKOFF_S)
            self._failures[path] = _Failure(self._clock.time(), backoff_s)

    async def _register(self, path: Path) -> None:
        """Run the whole sequence once (contract PW-2, PW-4)."""
        try:
            channel = await plugin_client.dial(
                path, directory=self._directory, authority=authority_of(path), time_source=self._clock
            )
        except plugin_client.DialError as error:
            raise RegistrationFailedError(str(error)) from error
        try:
            stub: watcherapi_grpc.RegistrationAsyncStub = watcherapi_grpc.RegistrationStub(channel)
            started = time.monotonic()
            info = await self._call(path.name, "GetInfo", stub.GetInfo, watcherapi.InfoRequest(), GET_INFO_TIMEOUT_S)
            target = Path(info.endpoint) if info.endpoint else path
            if info.type == dra.PLUGIN_TYPE and self._drivers is not None:
                refusal = await self._connect_driver(self._drivers, path, info, target)
            else:
                refusal = _refusal(info, path) or await self._connect(path, info.name, target)
            took = time.monotonic() - started
            self._on_registration(
                registration.Registration(info.name, str(target), started, refusal, took, route="watcher")
            )
            await self._notify(stub, path, refusal)
            if refusal is not None and (self._takes_failures_back or _NOT_CONNECTED not in refusal):
                raise RegistrationFailedError(refusal)  # before 1.36 what could not be connected counts as done
        finally:
            await channel.close()

    async def _connect(self, path: Path, resource: str, target: Path) -> str | None:
        try:
            await self._table.connect(resource, target, directory=self._directory)
        except client_table.ConnectError as error:
            return f"{_NOT_CONNECTED}{error}"
        self._registered[path] = functools.partial(self._table.disconnect, resource, target)
        return None

    async def _connect_driver(
        self, drivers: DriverTable, path: Path, info: watcherapi.PluginInfo, target: Path
    ) -> str | None:
        """Register a DRA driver; return why it is not (contract DRA-REG-3, DRA-6)."""
        versions = list(info.supported_versions)
        refusal = drivers.refusal(info.name, target, versions)
        if refusal is not None:
            return f"RegisterPlugin error -- plugin validation failed with err: {refusal}"
        try:
            await drivers.connect(info.name, target, versions)
        except Exception as error:  # whatever it is, the driver is told
            return f"{_NOT_CONNECTED}{error}"
        self._registered[path] = functools.partial(drivers.disconnect, info.name, target)
        return None

    async def _notify(self, stub: watcherapi_grpc.RegistrationAsyncStub, path: Path, error: str | None) -> None:
        status = watcherapi.RegistrationStatus(plugin_registered=error is None, error=error or "")
        try:
            method = stub.NotifyRegistrationStatus
            await self._call(path.name, "NotifyRegistrationStatus", method, status, NOTIFY_TIMEOUT_S)
        except RegistrationFailedError:
            registered = self._registered.get(path)
            if registered is None or not self._takes_failures_back:
                return  # up to 1.35 the registration stays (contract PW-3)
            del self._registered[path]
            await registered()
            raise

    async def _call(
        self,
        name: str,
        method_name: str,
        method: plugin_client.UnaryCall[plugin_client.ReplyT],
        request: message.Message,
        limit_s: float,
    ) -> plugin_client.ReplyT:
        record = self._calls.open(name, method_name, request)
        try:
            return await plugin_client.unary(
                record, method, calls=self._calls, time_source=self._clock, timeout_s=limit_s
            )
        except call_log.RpcError as error:
            raise RegistrationFailedError(str(error)) from error


def _sockets(directory: Path) -> dict[Path, tuple[int, int]]:
    """Return the sockets below a directory, each with what tells it from another of its name."""
    found: dict[Path, tuple[int, int]] = {}
    with contextlib.suppress(OSError):  # as far as it can be read
        for entry in os.scandir(directory):
            if entry.name.startswith("."):
                continue
            with contextlib.suppress(OSError):  # gone meanwhile
                status = entry.stat()
                if stat.S_ISDIR(status.st_mode):
                    found |= _sockets(Path(entry.path))
                elif stat.S_ISSOCK(status.st_mode):
                    found[Path(entry.path)] = status.st_ino, status.st_ctime_ns
    return found


def _refusal(info: watcherapi.PluginInfo, path: Path) -> str | None:
    """Return why a plugin that says *info* is not registered (contract PW-4); None if it is welcome."""
    if info.type != "DevicePlugin":
        return f"RegisterPlugin error -- no handler registered for plugin type: {info.type} at socket {path}"
    problem = None
    if constants.VERSION not in info.supported_versions:
        versions = " ".join(info.supported_versions)
        problem = f"manager version, {constants.VERSION}, is not among plugin supported versions [{versions}]"
    elif not resource_name.is_extended(info.name):
        problem = f'invalid name of device plugin socket: the ResourceName "{info.name}" is invalid'
    return None if problem is None else f"RegisterPlugin error -- plugin validation failed with err: {problem}"
