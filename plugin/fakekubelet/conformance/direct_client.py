"""Questions put to a plugin beside the kubelet's own: on another connection, each with a limit, each answer kept.

A kubelet would put most of them in just this way; where one would not (a device that does not exist), the check that
reads the answer says so little that any sane reply passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from fakekubelet import clock
from fakekubelet.conformance import evidence
from fakekubelet.kubelet import call_log, endpoint, plugin_client
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from fakekubelet.conformance.settings import Limits

UNKNOWN_ID = "no-such-device-of-the-conformance-kit"
_MOST_IDS = 64
"""Devices put into one question; enough to choose from."""


@contextlib.asynccontextmanager
async def connected(resource: str, socket_path: Path) -> AsyncIterator[plugin_client.PluginClient]:
    """Connect to a plugin's socket as the kubelet does, but with a log of its own; raise DialError."""
    time_source = clock.RealClock()
    calls = call_log.CallLog(time_source, lambda: None)
    client = plugin_client.PluginClient(
        resource, socket_path, directory=socket_path.parent, time_source=time_source, calls=calls
    )
    try:
        await client.connect()
        yield client
    finally:
        await client.close()


async def ask_all(
    client: plugin_client.PluginClient, healthy: Sequence[str], options: evidence.Options, limits: Limits
) -> list[evidence.Exchange]:
    """Put every question that *options* allow about the *healthy* devices."""
    asked = []
    ids = sorted(healthy)[:_MOST_IDS]
    if options.preferred_allocation and ids:
        asked += await _ask_preferences(client, ids, limits)
    if ids:
        few = ids[: min(2, len(ids))]
        for purpose in ("first", "again"):
            asked.append(await _allocate(client, purpose, few, limits))
        if options.pre_start_required:
            start = pluginapi.PreStartContainerRequest(devices_ids=few)
            call = client.pre_start_container(start, timeout_s=endpoint.PRE_START_TIMEOUT_S)
            asked.append(await _ask(client, "PreStartContainer", "first", start, call, limits.pre_start_s))
    asked.append(await _allocate(client, "unknown", [UNKNOWN_ID], limits))
    return asked


async def _allocate(
    client: plugin_client.PluginClient, purpose: str, ids: Sequence[str], limits: Limits
) -> evidence.Exchange:
    request = pluginapi.AllocateRequest(container_requests=[pluginapi.ContainerAllocateRequest(devices_ids=ids)])
    return await _ask(client, "Allocate", purpose, request, client.allocate(request), limits.reply_s)


async def _ask_preferences(
    client: plugin_client.PluginClient, ids: Sequence[str], limits: Limits
) -> list[evidence.Exchange]:
    """Ask as the kubelet does: one, some with one that must be among them, all; and about an ID that went meanwhile."""
    questions: list[tuple[str, Sequence[str], Sequence[str], int]] = [
        ("choice", ids, [], 1),
        ("choice", ids, [ids[-1]], min(2, len(ids))),
        ("choice", ids, [], len(ids)),
        ("unknown", [*ids, UNKNOWN_ID], [], 1),
    ]
    asked = []
    for purpose, available, must_include, size in questions:
        asked_for = pluginapi.ContainerPreferredAllocationRequest(
            available_deviceIDs=available, must_include_deviceIDs=must_include, allocation_size=size
        )
        request = pluginapi.PreferredAllocationRequest(container_requests=[asked_for])
        call = client.get_preferred_allocation(request)
        asked.append(await _ask(client, "GetPreferredAllocation", purpose, request, call, limits.reply_s))
    return asked


async def _ask(
    client: plugin_client.PluginClient, method: str, purpose: str, request: Any, call: Awaitable[Any], limit_s: float
) -> evidence.Exchange:
    loop = asyncio.get_running_loop()
    began, reply, error = loop.time(), None, None
    try:
        async with asyncio.timeout(limit_s):
            reply = await call
    except TimeoutError:
        error = evidence.TIMED_OUT
    except call_log.RpcError as failure:
        error = str(failure)
    return evidence.Exchange(client.resource, method, purpose, request, reply, error, loop.time() - began)


class Watcher:
    """A ListAndWatch stream opened beside the kubelet's; `async with` keeps it open."""

    def __init__(self, resource: str, socket_path: Path, on_list: Callable[[], None]) -> None:
        self.resource = resource
        self.error = ""
        self.at = 0.0
        """When the last list came."""
        self.health: dict[str, str] = {}
        """The last list."""
        self.fewest_healthy = sys.maxsize
        """Healthy devices of that list which had fewest."""
        self._path = socket_path
        self._on_list = on_list
        self._first: asyncio.Future[frozenset[str] | None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Watcher:
        self._task = asyncio.create_task(self._watch(), name=f"second stream {self.resource}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def first_ids(self, timeout_s: float) -> frozenset[str] | None:
        """Wait for the first list and return its IDs; None if none came."""
        done, _ = await asyncio.wait([self._first], timeout=timeout_s)
        return self._first.result() if done else None

    async def _watch(self) -> None:
        try:
            async with connected(self.resource, self._path) as client:
                await client.list_and_watch(self._note)
            self.error = "(the stream ended)"
        except plugin_client.DialError as error:
            self.error = f"({error})"
        if not self._first.done():
            self._first.set_result(None)

    def _note(self, message: pluginapi.ListAndWatchResponse) -> None:
        self.at = time.monotonic()
        self.health = {device.ID: device.health for device in message.devices}
        self.fewest_healthy = min(self.fewest_healthy, list(self.health.values()).count(constants.HEALTHY))
        if not self._first.done():
            self._first.set_result(frozenset(device.ID for device in message.devices))
        self._on_list()
