"""A list that is kept up to date: read once, then watched, and read again where the server has forgotten.

A server that streams lists (WatchList, Kubernetes 1.32 and later as a rule) is asked for that; one that does not know
it is asked for a list first. Bookmarks keep the place where a watch goes on after its end; 410 means that it is lost.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kubeapi import backoff, errors
from kubeapi.client import selectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubeapi.client import Client
    from kubeapi.resources import Object, Resource

WATCH_S: Final = 300.0
"""A watch is asked to end after this time, up to twice as long; the next one goes on where it ended."""

SILENCE_S: Final = 150.0
"""A watch that says nothing for so long is begun anew: bookmarks come about every minute, so its connection is dead."""

SHORT_S: Final = 1.0
"""A watch that ends sooner is not begun again at once."""

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 5.0

INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"

Key = tuple[str, str]
"""Namespace and name."""


class EventType(StrEnum):
    """What became of an object; SYNCED comes without one, each time after the list has been read whole."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    SYNCED = "SYNCED"


@dataclass(frozen=True, slots=True)
class Event:
    """What became of `object`, which was `was` before."""

    type: EventType
    object: Object
    was: Object | None = None


class Follow:
    """Keeps `objects` as the server has them while `run` runs, and calls `on_event` for each that changes.

    `on_error` hears of every failure; all is tried again until `run` is cancelled. `keep` may make objects smaller
    before they are remembered.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        on_event: Callable[[Event], None],
        on_error: Callable[[errors.ApiError], None] = lambda _: None,
        namespace: str = "",
        field_selector: str = "",
        label_selector: str = "",
        longest_pause_s: float = LONGEST_PAUSE_S,
        keep: Callable[[Object], Object] = lambda found: found,
    ) -> None:
        self.objects: dict[Key, Object] = {}
        self.is_synced = False
        """Whether `objects` was whole at the last contact with the server."""
        self._client = client
        self._resource = resource
        self._on_event = on_event
        self._on_error = on_error
        self._path = resource.path(namespace=namespace)
        self._namespace = namespace
        self._field_selector = field_selector
        self._label_selector = label_selector
        self._longest_pause_s = longest_pause_s
        self._keep = keep
        self._version: str | None = None
        """Where the next watch begins; None: the list has to be read first."""
        self._streams_lists = True

    async def run(self) -> None:
        """Follow for ever."""
        pauses = self._pauses()
        while True:
            began = time.monotonic()
            try:
                await self._follow_once()
            except errors.GoneError as error:
                self._version = None
                self._on_error(error)
            except errors.ApiError as error:
                self._on_error(error)
            if time.monotonic() - began >= SHORT_S:
                pauses = self._pauses()
            await asyncio.sleep(next(pauses))

    def _pauses(self) -> Iterator[float]:
        return backoff.pauses(first_s=FIRST_PAUSE_S, longest_s=self._longest_pause_s)

    async def _follow_once(self) -> None:
        """Read the list if need be, and follow one watch to its end."""
        if self._version is None and self._streams_lists:
            try:
                await self._watch({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"})
            except (errors.BadRequestError, errors.ForbiddenError):
                self._streams_lists = False
            except errors.UnavailableError as error:
                # A server on an etcd older than 3.5 says 500: it needs what that one has not. Then a list is asked for.
                if error.code != 500:
                    raise
            else:
                return
        if self._version is None:
            found = await self._client.list(
                self._resource,
                namespace=self._namespace,
                field_selector=self._field_selector,
                label_selector=self._label_selector,
                retry_for_s=0,
            )
            version = found["metadata"]["resourceVersion"]
            self._replace({_key(one): one for one in found.get("items") or []}, version)
            self._synced(version)
        await self._watch({"resourceVersion": str(self._version)})

    async def _watch(self, place: dict[str, str]) -> None:
        """Follow one watch to its end; from its `place` on, or with the list first."""
        initial: dict[Key, Object] | None = None if "resourceVersion" in place else {}
        seconds = WATCH_S * random.uniform(1.0, 2.0)  # noqa: S311  # spreads load, guards nothing
        parameters = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(int(seconds)),
            **place,
            **selectors(self._field_selector, self._label_selector),
        }
        async with self._client.stream(self._path, parameters, silence_s=SILENCE_S) as lines:
            async for line in lines:
                kind, found, version = _parse(line)
                if kind == "BOOKMARK":
                    if initial is None:
                        self._version = version
                    elif (found["metadata"].get("annotations") or {}).get(INITIAL_EVENTS_END) == "true":
                        self._replace(initial, version)
                        self._synced(version)
                        initial = None
                elif initial is not None:
                    initial[_key(found)] = found
                else:
                    self._version = version
                    self._take(_key(found), None if kind == "DELETED" else found, deleted=found)

    def _replace(self, items: dict[Key, Object], version: str) -> None:
        """Bring `objects` in line with a whole list, event by event.

        What is not in the list was deleted by its *version*: a deleted object carries that, as one does in a watch, so
        that whoever compares versions does not take the deletion for older than a write of their own.
        """
        for key in self.objects.keys() - items.keys():
            last = self.objects[key]
            self._take(key, None, deleted={**last, "metadata": {**last["metadata"], "resourceVersion": version}})
        for key, found in items.items():
            self._take(key, found, deleted=found)

    def _take(self, key: Key, found: Object | None, *, deleted: Object) -> None:
        was = self.objects.get(key)
        if found is None:
            if self.objects.pop(key, None) is not None:
                self._on_event(Event(EventType.DELETED, deleted, was))
            return
        if was is not None and was["metadata"].get("resourceVersion") == found["metadata"].get("resourceVersion"):
            return
        self.objects[key] = kept = self._keep(found)
        self._on_event(Event(EventType.ADDED if was is None else EventType.MODIFIED, kept, was))

    def _synced(self, version: str) -> None:
        self._version, self.is_synced = version, True
        self._on_event(Event(EventType.SYNCED, {}))


def _key(found: Object) -> Key:
    metadata = found["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _parse(line: bytes) -> tuple[str, Object, str]:
    """Return type, object and resourceVersion of a line of a watch; the server's error is raised."""
    try:
        event = json.loads(line)
        kind, found = event["type"], event["object"]
        if kind != "ERROR":
            return kind, found, found["metadata"]["resourceVersion"]
    except (ValueError, KeyError, TypeError) as error:
        raise errors.UnavailableError(f"the watch said what is no event: {line[:80]!r}") from error
    raise errors.from_status(found, code=int(found.get("code") or 500))
