"""Who is connected: the kubelet's table of plugin clients, with its known flaw.

Mirrors `devicemanager/plugin/v1beta1/handler.go`. Up to 1.36 the table is keyed by resource name alone, so the end of
an old stream takes down whoever registered last (contract REG-12 to REG-14); later it is keyed by resource and socket
path (contract REG-15). Both registration routes end here (contract PW-9).
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from fakekubelet.kubelet import call_log, device_manager, endpoint, plugin_client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fakekubelet import clock


class ConnectError(Exception):
    """A plugin could not be connected; the text is what its Register call is told (contract REG-4)."""


class ClientTable:
    """Connects clients, runs their streams, and tells the device manager how it went."""

    def __init__(
        self,
        manager: device_manager.DeviceManager,
        directory: Path,
        *,
        by_socket_path: bool,
        time_source: clock.Clock,
        calls: call_log.CallLog,
        ring: Callable[[], None],
    ) -> None:
        self._manager = manager
        self._directory = directory
        self._by_socket_path = by_socket_path
        self._clock = time_source
        self._calls = calls
        self._ring = ring
        self._table: dict[tuple[str, Path | None], plugin_client.PluginClient] = {}
        self._connecting: list[str] = []
        self._running: dict[asyncio.Task[None], plugin_client.PluginClient] = {}

    def live_streams(self, resource: str) -> int:
        """Count open ListAndWatch streams; more than one means a double registration (contract REG-12)."""
        return sum(client.is_streaming for client in self._running.values() if client.resource == resource)

    def is_connecting(self, resource: str) -> bool:
        """Tell whether a registration is under way."""
        return resource in self._connecting

    async def connect(self, resource: str, socket_path: Path, *, directory: Path | None = None) -> None:
        """Dial, ask for options, then let ListAndWatch run on its own (contract REG-5); raise ConnectError.

        *directory* is the one that the kubelet found the socket in, where that is not the plugins' own.

        A failure removes the table entry even where it was another client's (contract REG-14).
        """
        client = plugin_client.PluginClient(
            resource,
            socket_path,
            directory=self._directory if directory is None else directory,
            time_source=self._clock,
            calls=self._calls,
        )
        key = self._key(client)
        self._table[key] = client
        self._connecting.append(resource)
        self._ring()
        try:
            await client.connect()
            options = await client.get_device_plugin_options()
        except BaseException as error:
            self._table.pop(key, None)
            await client.close()
            if isinstance(error, plugin_client.DialError):
                raise ConnectError(f"failed to dial device plugin: {error}") from error
            if isinstance(error, call_log.RpcError):
                raise ConnectError(f"failed to get device plugin options: {error}") from error
            raise
        finally:
            self._connecting.remove(resource)
            self._ring()
        self._manager.plugin_connected(resource, endpoint.Endpoint(resource, client, options))
        task = asyncio.create_task(self._run(client), name=f"list-and-watch {resource} {socket_path.name}")
        self._running[task] = client
        task.add_done_callback(self._forget)

    async def disconnect(self, resource: str, socket_path: Path) -> None:
        """Drop a client because its registration socket went away (contract PW-6)."""
        client = self._table.get((resource, socket_path if self._by_socket_path else None))
        if client is not None:
            await self._disconnect(client)

    async def drop(self, resource: str) -> None:
        """Drop every client of *resource*, though nothing happened to it."""
        for client in [known for known in self._table.values() if known.resource == resource]:
            await self._disconnect(client)

    async def stop(self) -> None:
        """Cut all connections, as the death of a kubelet does, and tell nobody."""
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for client in {*running.values(), *self._table.values()}:
            await client.close()
        self._table.clear()

    async def _run(self, client: plugin_client.PluginClient) -> None:
        before = itertools.count()
        await client.list_and_watch(
            lambda reply: self._manager.list_received(client.resource, reply.devices, is_first=next(before) == 0)
        )
        # The flaw: not `client` but whoever the table names now is disconnected (contract REG-13).
        current = self._table.get(self._key(client))
        if current is not None:
            await self._disconnect(current)
        await client.close()
        self._ring()

    async def _disconnect(self, client: plugin_client.PluginClient) -> None:
        self._table.pop(self._key(client), None)
        await client.close()  # first, so that no list comes after the end
        self._manager.plugin_disconnected(client.resource, client if self._by_socket_path else None)

    def _key(self, client: plugin_client.PluginClient) -> tuple[str, Path | None]:
        return client.resource, client.socket_path if self._by_socket_path else None

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        self._ring()
