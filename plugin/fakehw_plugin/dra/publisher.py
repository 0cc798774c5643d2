"""Keeps the slices of one pool at the API server as they should be. The one writer.

What is there is followed by a watch, what should be there comes from the pool, `plan` says what to write. So it does
not matter who made them differ: a flip, a hotplug, a kubelet that wipes them when it starts (contract DRA-9), a person.
A slice that somebody deleted is back at once, one that somebody keeps changing ever more slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from fakehw_plugin.dra import plan
from fakehw_plugin.dra.following import LONGEST_PAUSE_S, follow_slices
from fakehw_plugin.dra.slice_log import SliceLog
from fakehw_plugin.dra.stored_slices import StoredSlices
from kubeapi import backoff, errors
from kubeapi.follow import EventType
from kubeapi.resources import NODES, RESOURCE_SLICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.dra.entry import Entry
    from fakehw_plugin.dra.following import MakeFollowing
    from fakehw_plugin.dra.plan import Object
    from fakehw_plugin.dra.pool import DevicePool
    from fakehw_plugin.logs import Logger
    from kubeapi.client import Client
    from kubeapi.follow import Event

FIRST_PAUSE_S: Final = 0.05
REFUSED_PAUSE_S: Final = 30.0
"""Before what the server refused (and will again, unless the pool changes) is sent once more."""

FEW: Final = 16
GIVE_WAY_S: Final = 0.001
"""How long health streams go before slices of more devices than that."""

QUARREL_S: Final = 60.0
"""Changes by others within this time count as a quarrel, in which we answer ever more slowly."""

QUARREL_PAUSES_S: Final = (0.0, 0.1, 0.5, 2.0, 10.0, 30.0)


class Publisher:
    """Publishes `pool` while `run` runs. `follow` says how it hears of what the server has."""

    def __init__(
        self,
        client: Client,
        pool: DevicePool,
        *,
        telemetry: Telemetry,
        log: Logger,
        follow: MakeFollowing = follow_slices,
    ) -> None:
        self.is_published = False
        """Whether the API server had all as it should be when it was last heard of."""
        self.has_looked = asyncio.Event()
        """Set once it is known which slices there are."""
        self.name_is_free = asyncio.Event()
        self.name_is_free.set()
        self._client = client
        self._pool = pool
        self._telemetry = telemetry
        self._log = log
        self._tell = SliceLog(log, telemetry)
        self._wake = asyncio.Event()
        self._stored = StoredSlices(pool.driver, pool.node, on_news=self._wake.set, on_lost=self._lost)
        self._node_uid: str | None = None
        self._accepted: dict[str, tuple[list[Entry], list[Entry]]] = {}
        """By slice: what was sent last, and what the server made of it."""
        self._compared: dict[int, tuple[Sequence[Entry], Sequence[Entry]]] = {}
        """What was found to be the same, by identity: of many slices only those that changed are compared again."""
        self._has_adopted = False
        self._generation_told = -1
        self._follow = follow(client, pool.driver, pool.node, on_event=self._take, on_error=self._follow_failed)

    def look(self) -> None:
        """Look whether all is as it should be."""
        self._wake.set()

    async def run(self) -> None:
        """Publish for ever."""
        self._pool.subscribe(self._wake.set)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow.run(), name=f"slices of {self._pool.driver}")
                group.create_task(self._write(), name=f"publisher of {self._pool.driver}")
        finally:
            self._pool.unsubscribe(self._wake.set)

    async def withdraw(self) -> None:
        """Delete all slices of the driver on this node; raises what goes wrong."""
        selector = f"spec.nodeName={self._pool.node},spec.driver={self._pool.driver}"
        await self._client.delete_collection(RESOURCE_SLICES, field_selector=selector)

    async def _write(self) -> None:
        pauses = backoff.pauses(first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)
        while True:
            await self._wake.wait()
            self._wake.clear()
            # The health streams first, which were woken with us and have less to do: a look at many devices takes as
            # long as their message does.
            await asyncio.sleep(GIVE_WAY_S if len(self._pool.devices) > FEW else 0)
            if not self._follow.is_synced:
                continue
            self._tell.rivals(self._stored.rivals())
            if self._stored.is_taken:
                self.name_is_free.clear()
                self.is_published = False
                continue
            self.name_is_free.set()
            if pause := self._quarrel_pause():
                await asyncio.sleep(pause)
            try:
                await self._sync()
            except errors.ConflictError:
                self._wake.set()  # what is there has been read again
            except errors.BadRequestError as error:
                self._tell.failed(error, REFUSED_PAUSE_S)
                await self._changed_within(REFUSED_PAUSE_S)
            except errors.ApiError as error:
                pause = getattr(error, "retry_after_s", None) or next(pauses)
                self._tell.failed(error, pause)
                await asyncio.sleep(pause)
                self._wake.set()
            else:
                self._tell.succeeded()
                pauses = backoff.pauses(first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)

    async def _sync(self) -> None:
        """Write until nothing is left to write."""
        pool = self._pool
        if not self._has_adopted:
            pool.adopt(pool.places(self._stored.ours()))
            self._has_adopted = True
        while True:
            node_uid = await self._owner()
            generation, changed_at = pool.generation, pool.changed_at
            wanted = pool.wanted()
            writes = plan.plan(
                plan.Pool(pool.driver, pool.node, node_uid),
                wanted,
                self._stored.ours(),
                times=self._stored.times(),
                is_same=self._is_same,
            )
            if not writes:
                break
            self.is_published = False
            for body in (*writes.update, *writes.create):
                await self._put(body)
            for found in writes.delete:
                await self._delete(found)
        self.is_published = True
        if generation != self._generation_told:
            self._generation_told = generation
            if changed_at is not None:
                self._telemetry.publish_latency.observe(time.monotonic() - changed_at)
            self._log.debug("slices_published", slices=len(wanted), devices=len(pool.devices))

    async def _owner(self) -> str:
        """Return the UID of the Node object, which is asked for again after a slice has gone, be it while we write."""
        while (uid := self._node_uid) is None:
            self._node_uid = (await self._client.get(NODES, self._pool.node, retry_for_s=0))["metadata"]["uid"]
        return uid

    async def _put(self, body: Object) -> None:
        name = body["metadata"]["name"]
        is_new = "resourceVersion" not in body["metadata"]
        before = self._stored.get(name)
        call = self._client.create if is_new else self._client.update
        with self._stored.writing(name):
            try:
                stored = await call(RESOURCE_SLICES, body, retry_for_s=0)
            except errors.NotFoundError:
                self._stored.forget(name)
                raise errors.ConflictError(409, "Gone", f"slice {name} was deleted") from None
            except errors.ConflictError:
                await self._read(name)
                raise
            self._stored.remember(name, stored)
        self._telemetry.slice_writes[self._pool.driver, "create" if is_new else "update"] += 1
        sent, made = body["spec"]["devices"], stored["spec"].get("devices") or []
        self._tell.written(name, before, body)
        self._accepted[name] = plan.without_times(sent), plan.without_times(made)
        self._tell.dropped(plan.missing_fields(sent, made))

    async def _read(self, name: str) -> None:
        try:
            self._stored.remember(name, await self._client.get(RESOURCE_SLICES, name, retry_for_s=0))
        except errors.NotFoundError:
            self._stored.forget(name)

    async def _delete(self, found: Object) -> None:
        name, uid = found["metadata"]["name"], found["metadata"].get("uid", "")
        with self._stored.writing(name):
            # Somebody may be faster, or have made another of that name: the watch will tell.
            with contextlib.suppress(errors.NotFoundError, errors.ConflictError):
                await self._client.delete(RESOURCE_SLICES, name, uid=uid, retry_for_s=0)
            self._stored.forget(name, with_times=True)
        self._telemetry.slice_writes[self._pool.driver, "delete"] += 1

    def _is_same(self, stored: Sequence[Entry], wanted: Sequence[Entry]) -> bool:
        """Compare devices, except for what the server itself made different when we last sent them."""
        if (known := self._compared.get(id(wanted))) is not None and known[0] is wanted and known[1] is stored:
            return True
        ours, theirs = plan.without_times(wanted), plan.without_times(stored)
        if ours != theirs and (ours, theirs) not in self._accepted.values():
            return False
        if len(self._compared) > 2 * len(self._stored) + 16:
            self._compared.clear()
        self._compared[id(wanted)] = wanted, stored
        return True

    def _take(self, event: Event) -> None:
        """Take note of what the watch says."""
        if event.type is EventType.SYNCED:
            if self._stored.is_taken:
                self.name_is_free.clear()
            self.has_looked.set()
            self._wake.set()
        else:
            self._stored.take(event)

    def _lost(self, name: str) -> None:
        self._node_uid = None  # it may be that the Node object was made anew, and took our slices with it
        self._tell.lost(name)

    def _follow_failed(self, error: errors.ApiError) -> None:
        if not isinstance(error, errors.GoneError):  # else the list is read again: no failure
            self._tell.failed(error, None)

    def _quarrel_pause(self) -> float:
        quarrels = self._stored.changed_by_others
        recently = time.monotonic() - QUARREL_S
        quarrels[:] = [at for at in quarrels if at > recently]
        return QUARREL_PAUSES_S[min(len(quarrels), len(QUARREL_PAUSES_S) - 1)]

    async def _changed_within(self, seconds: float) -> None:
        """Wait until something has changed, or that time is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            self._wake.set()
