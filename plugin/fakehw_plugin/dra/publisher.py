"""Keeps the slices of one pool at the API server as they should be. The one writer.

What is there is followed by a watch, what should be there comes from the pool, `plan` says what to write. So it does
not matter who made them differ: a flip, a hotplug, a kubelet that wipes them when it starts (contract DRA-9), a person.
A slice that somebody deleted is back at once, one that somebody keeps changing ever more slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from fakehw_plugin.dra import entry, names, plan
from kubeapi import backoff, errors
from kubeapi.follow import EventType, Follow
from kubeapi.resources import NODES, RESOURCE_SLICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.dra.entry import Entry
    from fakehw_plugin.dra.plan import Object, TaintKey
    from fakehw_plugin.dra.pool import DevicePool
    from fakehw_plugin.logs import Logger
    from kubeapi.client import Client
    from kubeapi.follow import Event

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
REFUSED_PAUSE_S: Final = 30.0
"""Before what the server refused (and will again, unless the pool changes) is sent once more."""

QUARREL_S: Final = 60.0
"""Changes by others within this time count as a quarrel, in which we answer ever more slowly."""

QUARREL_PAUSES_S: Final = (0.0, 0.1, 0.5, 2.0, 10.0, 30.0)

GATES: Final = {"taints": "DRADeviceTaints"}
"""The feature gate of a field that a server drops."""


class Following(Protocol):
    """The slices of one driver on one node, followed; a kubeapi.follow.Follow, or a part of one for many nodes."""

    @property
    def is_synced(self) -> bool:
        """Tell whether all of them were told."""

    async def run(self) -> None:
        """Follow for ever."""


if TYPE_CHECKING:
    MakeFollowing = Callable[..., Following]
    """Called with a client, driver, node, `on_event` and `on_error`."""


def follow_slices(
    client: Client,
    driver: str,
    node: str,
    *,
    on_event: Callable[[Event], None],
    on_error: Callable[[errors.ApiError], None],
) -> Following:
    """Follow them by a watch of their own. A MakeFollowing."""
    return Follow(
        client,
        RESOURCE_SLICES,
        field_selector=f"spec.nodeName={node},spec.driver={driver}",
        on_event=on_event,
        on_error=on_error,
        longest_pause_s=LONGEST_PAUSE_S,
    )


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
        self._wake = asyncio.Event()
        self._stored: dict[str, Object] = {}
        self._times: dict[str, dict[TaintKey, str]] = {}
        """Since when devices have their taints, by slice; kept when a slice is deleted."""
        self._node_uid: str | None = None
        self._accepted: dict[str, tuple[list[Entry], list[Entry]]] = {}
        """By slice: what was sent last, and what the server made of it."""
        self._compared: dict[int, tuple[Sequence[Entry], Sequence[Entry]]] = {}
        """What was found to be the same, by identity: of many slices only those that changed are compared again."""
        self._dropped: set[str] = set()
        self._has_adopted = False
        self._quarrels: list[float] = []
        self._in_flight = ""
        self._waiting: list[Event] = []
        self._failure = ""
        self._rivals_told: set[str] = set()
        self._generation_told = -1
        self._follow = follow(client, pool.driver, pool.node, on_event=self._take, on_error=self._follow_failed)

    def _is_taken(self) -> bool:
        """Tell whether somebody else serves a driver of this name on this node: it has slices, and we have none."""
        return bool(self._stored) and not self._ours()

    def _ours(self) -> dict[str, Object]:
        """Return the slices that are called as ours. Others are let be: they may be of real devices."""
        driver, node = self._pool.driver, self._pool.node
        return {name: one for name, one in self._stored.items() if names.is_slice_name(name, driver=driver, node=node)}

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
            await asyncio.sleep(0)  # the health streams first, which were woken with us and have less to do
            if not self._follow.is_synced:
                continue
            self._tell_rivals()
            if self._is_taken():
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
                self._fail(error, REFUSED_PAUSE_S)
                await self._changed_within(REFUSED_PAUSE_S)
            except errors.ApiError as error:
                pause = getattr(error, "retry_after_s", None) or next(pauses)
                self._fail(error, pause)
                await asyncio.sleep(pause)
                self._wake.set()
            else:
                if self._failure:
                    self._log.info("slices_written_again")
                self._failure = ""
                pauses = backoff.pauses(first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)

    async def _sync(self) -> None:
        """Write until nothing is left to write."""
        pool = self._pool
        if not self._has_adopted:
            pool.adopt(pool.places(self._ours()))
            self._has_adopted = True
        while True:
            node_uid = await self._owner()
            generation, changed_at = pool.generation, pool.changed_at
            wanted = pool.wanted()
            writes = plan.plan(
                plan.Pool(pool.driver, pool.node, node_uid),
                wanted,
                self._ours(),
                times={key: at for times in self._times.values() for key, at in times.items()},
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
        async with self._writing(name):
            try:
                stored = await call(RESOURCE_SLICES, body, retry_for_s=0)
            except errors.NotFoundError:
                self._stored.pop(name, None)
                raise errors.ConflictError(409, "Gone", f"slice {name} was deleted") from None
            except errors.ConflictError:
                await self._read(name)
                raise
            self._remember(name, stored)
        self._telemetry.slice_writes[self._pool.driver, "create" if is_new else "update"] += 1
        sent, made = body["spec"]["devices"], stored["spec"].get("devices") or []
        self._tell_written(name, before, body)
        self._accepted[name] = plan.without_times(sent), plan.without_times(made)
        self._tell_dropped(plan.missing_fields(sent, made))

    @contextlib.asynccontextmanager
    async def _writing(self, name: str) -> AsyncIterator[None]:
        """Let events of this slice wait: that of our own write may come before its answer, and looks like another's."""
        self._in_flight, self._waiting = name, []
        try:
            yield
        finally:
            self._in_flight, waiting = "", self._waiting
            for event in waiting:
                self._take(event)

    async def _read(self, name: str) -> None:
        try:
            self._remember(name, await self._client.get(RESOURCE_SLICES, name, retry_for_s=0))
        except errors.NotFoundError:
            self._stored.pop(name, None)

    async def _delete(self, found: Object) -> None:
        name, uid = found["metadata"]["name"], found["metadata"].get("uid", "")
        async with self._writing(name):
            # Somebody may be faster, or have made another of that name: the watch will tell.
            with contextlib.suppress(errors.NotFoundError, errors.ConflictError):
                await self._client.delete(RESOURCE_SLICES, name, uid=uid, retry_for_s=0)
            self._stored.pop(name, None)
            self._times.pop(name, None)
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

    def _remember(self, name: str, found: Object) -> None:
        self._stored[name] = found
        self._times[name] = plan.taint_times([found])

    def _take(self, event: Event) -> None:
        """Take note of what the watch says."""
        if event.type is EventType.SYNCED:
            if self._is_taken():
                self.name_is_free.clear()
            self.has_looked.set()
            self._wake.set()
            return
        name = event.object["metadata"]["name"]
        if name == self._in_flight:
            self._waiting.append(event)
            return
        known = self._stored.get(name)
        if known is not None and _version(event.object) <= _version(known):
            return  # our own write, or older than it
        if event.type is EventType.DELETED:
            if self._stored.pop(name, None) is not None:
                self._node_uid = None  # it may be that the Node object was made anew, and took our slices with it
                self._log.info("slice_deleted_by_others", slice=name)
        else:
            if known is not None:
                self._quarrels.append(time.monotonic())
            self._remember(name, event.object)
        self._wake.set()

    def _tell_rivals(self) -> None:
        rivals = self._stored.keys() - self._ours().keys()
        if rivals and rivals != self._rivals_told:
            remark = "another driver has this name, or had: give the class a file `driver` of its own, or delete them"
            self._log.error("driver_name_taken", slices=", ".join(sorted(rivals)[:4]), remark=remark)
        self._rivals_told = rivals

    def _quarrel_pause(self) -> float:
        recently = time.monotonic() - QUARREL_S
        self._quarrels = [at for at in self._quarrels if at > recently]
        return QUARREL_PAUSES_S[min(len(self._quarrels), len(QUARREL_PAUSES_S) - 1)]

    async def _changed_within(self, seconds: float) -> None:
        """Wait until something has changed, or that time is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            self._wake.set()

    def _follow_failed(self, error: errors.ApiError) -> None:
        if isinstance(error, errors.GoneError):
            return  # the list is read again: no failure
        self._fail(error, None)

    def _fail(self, error: errors.ApiError, pause: float | None) -> None:
        self._telemetry.api_errors[_word(error)] += 1
        if str(error) != self._failure:
            self._failure = str(error)
            self._log.warning(
                "api_server_failed", error=str(error), retry_in_s=None if pause is None else round(pause, 2)
            )

    def _tell_written(self, name: str, before: Object | None, written: Object) -> None:
        """Say which devices are told otherwise since this write: what is said here a scheduler can see."""
        changed = plan.difference((before or {}).get("spec", {}).get("devices") or [], written["spec"]["devices"])
        words: dict[str, list[str]] = {"healthy": [], "unhealthy": [], "removed": []}
        for device, now in changed.items():
            words["removed" if now is None else "unhealthy" if entry.is_unhealthy(now) else "healthy"].append(device)
        told = {word: ", ".join(devices) for word, devices in words.items() if devices}
        self._log.info("slice_written", slice=name, generation=written["spec"]["pool"]["generation"], **told)

    def _tell_dropped(self, fields: set[str]) -> None:
        for name in sorted(fields - self._dropped):
            gate = GATES.get(name)
            remark = f"feature gate {gate} is off" if gate else "the API server does not know it"
            self._log.warning("slice_field_dropped", field=name, reason=remark)
        self._dropped |= fields


def _version(found: Object) -> int:
    """Return the resourceVersion as a number, which grows (KEP-5504); 0 where it is none."""
    text: Any = found["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0


def _word(error: errors.ApiError) -> str:
    code = getattr(error, "code", None)
    return str(code) if code else type(error).__name__.removesuffix("Error").lower()
