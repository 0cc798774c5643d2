"""The objects, their resource versions, and the recent past: what etcd and the watch cache are to an API server.

Nothing here waits or knows a rule. Documents are never changed once they are stored, so everybody may keep them.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
from typing import TYPE_CHECKING, Any, Final

from fakekubelet.apiserver import api_error, conversion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fakekubelet.apiserver.kinds import Kind

HISTORY: Final = 10_000
"""How many changes are remembered; who was away for longer is told to list again."""

Key = tuple[str, str]
"""Namespace, or "", and name."""


class Stored:
    """One state of one object."""

    __slots__ = ("_encoded", "document", "kind", "revision")

    def __init__(self, kind: Kind, document: dict[str, Any], revision: int) -> None:
        self.kind = kind
        self.document = document
        """As v1 shows it, with `metadata.resourceVersion`."""
        self.revision = revision
        self._encoded: dict[str, bytes] = {}

    @property
    def key(self) -> Key:
        """Return where it is stored."""
        metadata = self.document["metadata"]
        return metadata.get("namespace", ""), metadata["name"]

    def shown(self, version: str) -> dict[str, Any]:
        """Return the document as a version of its API shows it."""
        api_version = f"{self.kind.group}/{version}" if self.kind.group else version
        document = conversion.from_stored(version, self.kind.name, self.document)
        return {**document, "apiVersion": api_version, "kind": self.kind.name}

    def encoded(self, version: str) -> bytes:
        """Return the JSON of it, which is made once for all who want it."""
        api_version = f"{self.kind.group}/{version}" if self.kind.group else version
        return self.as_item(version)[:-1] + f',"apiVersion":"{api_version}","kind":"{self.kind.name}"}}'.encode()

    def as_item(self, version: str) -> bytes:
        """Return the JSON of it as lists have it: its kind is that of the list."""
        if version not in self._encoded:
            document = conversion.from_stored(version, self.kind.name, self.document)
            self._encoded[version] = json.dumps(document, separators=(",", ":")).encode()
        return self._encoded[version]


class ChangeType(enum.StrEnum):
    """What happened to an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """Something that happened."""

    type: ChangeType
    new: Stored
    """The new state; for a deletion the last one, with the revision of the deletion."""
    old: Stored | None


class Store:
    """All objects of one API server."""

    def __init__(self) -> None:
        self.revision = 1000
        """The newest resource version."""
        self._objects: dict[Kind, dict[Key, Stored]] = collections.defaultdict(dict)
        self._history: collections.deque[Change] = collections.deque(maxlen=HISTORY)
        self._forgotten = self.revision
        self._listeners: dict[Kind, list[Callable[[Change], None]]] = collections.defaultdict(list)

    def get(self, kind: Kind, key: Key) -> Stored | None:
        """Return an object, if it is there."""
        return self._objects[kind].get(key)

    def all(self, kind: Kind, namespace: str | None = None) -> list[Stored]:
        """Return the objects of a kind, of one namespace or of all, by name."""
        found = self._objects[kind].items()
        return [stored for (where, _), stored in sorted(found) if namespace in (None, "", where)]

    def put(self, kind: Kind, document: dict[str, Any]) -> Stored:
        """Store a document in the place of the one with its name; *document* is taken over."""
        self.revision += 1
        document["metadata"]["resourceVersion"] = str(self.revision)
        new = Stored(kind, document, self.revision)
        old = self._objects[kind].get(new.key)
        self._objects[kind][new.key] = new
        self._note(Change(ChangeType.ADDED if old is None else ChangeType.MODIFIED, new, old))
        return new

    def remove(self, kind: Kind, key: Key) -> Stored:
        """Forget an object, and return its last state with the revision at which it went."""
        old = self._objects[kind].pop(key)
        self.revision += 1
        metadata = {**old.document["metadata"], "resourceVersion": str(self.revision)}
        last = Stored(kind, {**old.document, "metadata": metadata}, self.revision)
        self._note(Change(ChangeType.DELETED, last, old))
        return last

    def since(self, kind: Kind, revision: int) -> Iterator[Change]:
        """Give the changes of a kind after *revision*; ApiError 410 if they are no longer known."""
        if revision < self._forgotten:
            raise api_error.expired(f"too old resource version: {revision} ({self._forgotten})")
        self.reach(revision)
        return (change for change in list(self._history) if change.new.kind == kind and change.new.revision > revision)

    def reach(self, revision: int) -> None:
        """Refuse to know a resource version that is not there yet: ApiError 504."""
        if revision > self.revision:
            text = f"Too large resource version: {revision}, current: {self.revision}"
            raise api_error.ApiError(504, "Timeout", text, retry_after_s=1)

    def forget_history(self) -> None:
        """Forget what has happened, as a compaction does: who has to resume from before gets 410."""
        self._history.clear()
        self._forgotten = self.revision

    def listen(self, kind: Kind, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call *listener* at each change of a kind, until the function that is returned is called."""
        self._listeners[kind].append(listener)
        return lambda: self._listeners[kind].remove(listener)

    def _note(self, change: Change) -> None:
        if len(self._history) == HISTORY:
            self._forgotten = self._history[0].new.revision
        self._history.append(change)
        for listener in list(self._listeners[change.new.kind]):
            listener(change)
