"""Lists, and watches from any point of the recent past, as client-go asks for them.

Mirrors `apiserver/pkg/storage/cacher`: resource versions "", "0" and a number, bookmarks, initial events that end in a
bookmark (WatchList), and 410 as the first event of a watch that comes from too far back.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import collections
import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any, Final

from fakekubelet.apiserver import api_error, field_errors, selectors, store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from fakekubelet.apiserver.kinds import Kind
    from fakekubelet.apiserver.selectors import Test

BOOKMARK_PERIOD_S: Final = 60.0
"""How often a quiet watch that allows bookmarks gets one."""
LONGEST_WATCH_S: Final = 1800.0
"""How long a watch lasts that names no limit (`--min-request-timeout`)."""
_INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """Which objects, and from when."""

    kind: Kind
    version: str
    namespace: str
    test: Test
    resource_version: str = ""
    limit: int = 0
    continue_token: str = ""
    sends_initial_events: bool | None = None
    allows_bookmarks: bool = False
    timeout_s: float | None = None

    def takes(self, stored: store.Stored | None) -> bool:
        """Tell whether an object is among them."""
        if stored is None or (self.namespace and stored.key[0] != self.namespace):
            return False
        return self.test(stored.document)


def selection(kind: Kind, version: str, namespace: str, name: str, query: Mapping[str, str]) -> Selection:
    """Read the query of a list or a watch; ApiError 400 or 422 for one that means nothing."""
    is_watch = query.get("watch") in ("1", "true")
    labels = selectors.of_labels(query.get("labelSelector", ""))
    fields = selectors.of_fields(kind, query.get("fieldSelector", ""))
    match, revision = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    initial = {"true": True, "1": True, "false": False, "0": False}.get(query.get("sendInitialEvents", ""))
    errors = list(_option_errors(is_watch=is_watch, match=match, revision=revision, initial=initial))
    if errors:
        text = api_error.joined(list(map(str, errors)))
        raise api_error.ApiError(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {text}')
    if revision and not revision.isdecimal():
        why = f"strconv.ParseUint: parsing {json.dumps(revision)}: invalid syntax"
        if is_watch:
            raise api_error.ApiError(500, "", why)
        raise api_error.bad_request(
            f"invalid resource version: resourceVersion: Invalid value: {json.dumps(revision)}: {why}"
        )
    if name:
        by_labels = labels
        labels = lambda document: document["metadata"]["name"] == name and by_labels(document)  # noqa: E731
    return Selection(
        kind,
        version,
        namespace,
        lambda document: labels(document) and fields(document),
        revision,
        int(query.get("limit") or 0),
        query.get("continue", ""),
        initial,
        query.get("allowWatchBookmarks") in ("1", "true"),
        float(query["timeoutSeconds"]) if query.get("timeoutSeconds") else None,
    )


def _option_errors(
    *, is_watch: bool, match: str, revision: str, initial: bool | None
) -> Iterator[field_errors.FieldError]:
    forbidden = field_errors.forbidden
    if not is_watch:
        if match and not revision:
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            yield forbidden("resourceVersionMatch", text)
        if match not in ("", "Exact", "NotOlderThan"):
            yield field_errors.not_supported("resourceVersionMatch", match, ("Exact", "NotOlderThan", ""))
        if match == "Exact" and revision == "0":
            text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            yield forbidden("resourceVersionMatch", text)
        if initial is not None:
            yield forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
        return
    if initial is not None and match != "NotOlderThan":
        text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        yield forbidden("resourceVersionMatch", text)
        if match:
            yield field_errors.not_supported("resourceVersionMatch", match, ("NotOlderThan",))
    if match and initial is None:
        text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        yield forbidden("resourceVersionMatch", text)


def listed(objects: store.Store, chosen: Selection) -> bytes:
    """Return the JSON of a list; with a limit only its first part, and where to go on."""
    if chosen.resource_version:
        objects.reach(int(chosen.resource_version))
    after, revision = _continued(objects, chosen)
    found = [stored for stored in objects.all(chosen.kind, chosen.namespace) if chosen.takes(stored)]
    if after is not None:
        found = [stored for stored in found if stored.key > after]
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if chosen.limit and len(found) > chosen.limit:
        metadata["remainingItemCount"] = len(found) - chosen.limit
        found = found[: chosen.limit]
        token = json.dumps({"rv": revision, "start": found[-1].key}).encode()
        metadata["continue"] = base64.urlsafe_b64encode(token).decode()
    api_version = f"{chosen.kind.group}/{chosen.version}" if chosen.kind.group else chosen.version
    head = json.dumps({"kind": f"{chosen.kind.name}List", "apiVersion": api_version, "metadata": metadata})
    items = b",".join(stored.as_item(chosen.version) for stored in found)
    return head[:-1].encode() + b',"items":[' + items + b"]}"


def _continued(objects: store.Store, chosen: Selection) -> tuple[store.Key | None, int]:
    if not chosen.continue_token:
        return None, objects.revision
    try:
        token = json.loads(base64.urlsafe_b64decode(chosen.continue_token))
        revision, (namespace, name) = int(token["rv"]), token["start"]
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise api_error.bad_request(f"continue key is not valid: {error}") from error
    objects.since(chosen.kind, revision)  # 410 if that is too long ago
    return (namespace, name), revision


def line(kind: str, encoded: bytes) -> bytes:
    """Return one event of a watch."""
    return b'{"type":"' + kind.encode() + b'","object":' + encoded + b"}\n"


def error_line(error: api_error.ApiError) -> bytes:
    """Return the event that ends a watch that cannot go on."""
    return line("ERROR", json.dumps(error.document).encode())


def _bookmark(chosen: Selection, revision: int, *, ends_initial_events: bool = False) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
    if ends_initial_events:
        metadata["annotations"] = {_INITIAL_EVENTS_END: "true"}
    api_version = f"{chosen.kind.group}/{chosen.version}" if chosen.kind.group else chosen.version
    document = {"kind": chosen.kind.name, "apiVersion": api_version, "metadata": metadata}
    return line("BOOKMARK", json.dumps(document, separators=(",", ":")).encode())


class Watch:
    """One watch: a queue of changes from the moment it is made, and the lines that a client reads of them."""

    def __init__(
        self, objects: store.Store, chosen: Selection, *, bookmark_period_s: float = BOOKMARK_PERIOD_S
    ) -> None:
        self._objects = objects
        self._chosen = chosen
        self._bookmark_period_s = bookmark_period_s
        self._queue: collections.deque[bytes] = collections.deque()
        self._woken = asyncio.Event()
        self._is_cut = False

    def cut(self) -> None:
        """End it now, as an API server does that goes away."""
        self._is_cut = True
        self._woken.set()

    async def lines(self) -> AsyncGenerator[bytes]:
        """Give what the client gets, until its time is over; several events at once where they are there."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (self._chosen.timeout_s or LONGEST_WATCH_S)
        forget = self._objects.listen(self._chosen.kind, self._heard)
        try:
            try:
                first = list(self._first())
            except api_error.ApiError as error:
                if error.code != 410:
                    raise
                yield error_line(error)
                return
            self._queue.extendleft(reversed(first))
            yield b""  # the headers go out, even if there is nothing yet
            while not self._is_cut:
                if self._queue:
                    lines, self._queue = self._queue, collections.deque()
                    yield b"".join(lines)
                    continue
                left = end - loop.time()
                if left <= 0:
                    break
                self._woken.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, self._bookmark_period_s)):
                        await self._woken.wait()
                    continue
                if self._chosen.allows_bookmarks and not self._queue:
                    yield _bookmark(self._chosen, self._objects.revision)
        finally:
            forget()

    def _first(self) -> Iterator[bytes]:
        chosen = self._chosen
        revision = chosen.resource_version
        if chosen.sends_initial_events or (revision in ("", "0") and chosen.sends_initial_events is None):
            for stored in self._objects.all(chosen.kind, chosen.namespace):
                if chosen.takes(stored):
                    yield line("ADDED", stored.encoded(chosen.version))
            if chosen.sends_initial_events and chosen.allows_bookmarks:
                yield _bookmark(chosen, self._objects.revision, ends_initial_events=True)
        elif revision not in ("", "0"):
            for change in self._objects.since(chosen.kind, int(revision)):
                yield from self._seen(change)

    def _heard(self, change: store.Change) -> None:
        found = list(self._seen(change))
        if found:
            self._queue.extend(found)
            self._woken.set()

    def _seen(self, change: store.Change) -> Iterator[bytes]:
        """Give a change as one who selects sees it: what leaves the selection is deleted to them."""
        chosen = self._chosen
        is_in = change.type is not store.ChangeType.DELETED and chosen.takes(change.new)
        was_in = chosen.takes(change.old)
        if is_in:
            yield line("MODIFIED" if was_in else "ADDED", change.new.encoded(chosen.version))
        elif was_in and change.type is store.ChangeType.DELETED:
            yield line("DELETED", change.new.encoded(chosen.version))
        elif was_in:
            assert change.old is not None
            metadata = {**change.old.document["metadata"], "resourceVersion": str(change.new.revision)}
            last = store.Stored(chosen.kind, {**change.old.document, "metadata": metadata}, change.new.revision)
            yield line("DELETED", last.encoded(chosen.version))
