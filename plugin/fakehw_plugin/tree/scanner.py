"""The tree as devices, kept up to date: read all of it once, then only what an event names.

A writer may be half-way through. A value that cannot be the whole one (an empty or missing health file, a directory
made a moment ago) is not believed before its writer has closed the file or a short time is over; the last state stands
until then. So no way of saving a file shows as a state that nobody wrote.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fakehw_plugin import inotify
from fakehw_plugin.tree import entries, reader

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

    from fakehw_plugin.resource_name import ResourceName
    from fakehw_plugin.tree.entries import Entry

WRITING_S: Final = 0.2
"""How long a health file that is open for writing may be empty or hold half a word; closing it ends the wait."""

APPEARING_S: Final = 0.025
"""How long a file may be missing while an editor swaps it, and how long a directory made by hand has to be filled."""

_UNFINISHED: Final = inotify.CREATE | inotify.MODIFY | inotify.ATTRIB
_VANISHING: Final = inotify.DELETE | inotify.MOVED_FROM
_SORT_STEP: Final = 256
"""Events sorted between two offers to let others run."""

_WRITTEN: Final = inotify.MODIFY | inotify.CLOSE_WRITE


class Scanner:
    """Reads the tree at `root` for the Kubernetes node `host` (empty: the whole tree), and follows its events.

    The caller runs `scan`, hands in `events`, takes the changes, and comes back with `settle` at `next_deadline`.
    """

    def __init__(
        self,
        root: Path,
        *,
        host: str,
        domain: str,
        watch: inotify.Watcher[Entry],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader.TreeReader(str(root), host=host, domain=domain, watch=watch)
        self._clock = clock
        self._waiting: dict[tuple[Entry, str], float] = {}

    @property
    def is_present(self) -> bool:
        """Tell whether the root is there and is a directory."""
        return self._reader.is_present

    @property
    def resources(self) -> set[ResourceName]:
        """Return the resources that have a class on this host, be it with no device at all."""
        return self._reader.resources

    @property
    def host(self) -> str:
        """Return the Kubernetes node that the tree is read for; empty: the whole tree."""
        return self._reader.host

    def class_paths(self, resource: str) -> list[str]:
        """Return the directories of the classes of a resource, in the order of the nodes."""
        nodes = (node for _, node in sorted(self._reader.root.nodes.items()) if node.is_ours)
        return [one.path for node in nodes for _, one in sorted(node.classes.items()) if one.resource == resource]

    @property
    def next_deadline(self) -> float | None:
        """Return when (on the clock) something unfinished is to be believed, or None."""
        return min(self._waiting.values(), default=None)

    def take_changes(self) -> reader.Changes:
        """Return what changed since the last call: devices by resource and ID, None for one that left the tree."""
        return self._reader.take_changes()

    def scan(self) -> Generator[None, None, None]:
        """Read everything; yields after every step, so that the caller can let others run."""
        self._waiting.clear()
        yield from self._reader.scan()
        self._wait_for_unfinished()

    def handle(self, events: Iterable[inotify.Event[Entry]]) -> Generator[None, None, bool]:
        """Read again what `events` name; returns True if a whole scan is due because the root itself changed."""
        touched: dict[tuple[Entry, str], int] = {}
        is_scan_due = False
        for number, event in enumerate(events):
            if number % _SORT_STEP == 0:
                yield
            if not event.name:
                is_scan_due |= self._handle_end(event, touched)
            elif event.name.startswith("."):
                continue
            elif isinstance(event.target, entries.DeviceEntry):
                if event.name == "health":
                    touched[event.target, "health"] = event.mask
                elif event.name in ("numa_node", "node"):
                    # A reason to read the device again, but not to believe a health file that is empty just now.
                    touched.setdefault((event.target, "health"), inotify.MODIFY)
            else:
                key = event.target, event.name
                touched[key] = event.mask | (touched.get(key, 0) & inotify.CREATE)
        if not is_scan_due:
            for (entry, name), mask in touched.items():
                yield from self._touch(entry, name, mask)
                yield
            self._wait_for_unfinished()
        return is_scan_due

    def settle(self) -> Generator[None, None, None]:
        """Believe what has been unfinished for too long."""
        now = self._clock()
        for (entry, name), deadline in tuple(self._waiting.items()):
            if deadline <= now:
                del self._waiting[entry, name]
                yield from self._reader.look(entry, name, settled=True)
                yield
        self._wait_for_unfinished()

    @staticmethod
    def _handle_end(event: inotify.Event[Entry], touched: dict[tuple[Entry, str], int]) -> bool:
        """Take note that a watched directory went away; True if that is the root, or went with its file system."""
        entry, is_root = event.target, isinstance(event.target, entries.RootEntry)
        if event.mask & inotify.IGNORED:
            entry.wd = None  # to be watched again, if it is still there or something else is by now
            if entry.is_attached and not isinstance(entry, entries.RootEntry):
                name = str(entry.number) if isinstance(entry, entries.DeviceEntry) else entry.name
                touched.setdefault((entry.parent, name), inotify.IGNORED)
            return is_root
        return bool(event.mask & inotify.UNMOUNT) or (is_root and bool(event.mask & inotify.GONE))

    def _wait_for_unfinished(self) -> None:
        for entry in self._reader.take_unfinished():
            self._waiting.setdefault((entry, "health"), self._clock() + WRITING_S)

    def _touch(self, entry: Entry, name: str, mask: int) -> Generator[None, None, None]:
        patience_s = _patience(entry, name, mask)
        if patience_s is None:
            return
        if patience_s == 0:
            is_believed = yield from self._reader.look(entry, name, settled=True)
        elif isinstance(entry, entries.DeviceEntry):
            # A health file that is still open can be believed as soon as it says a known word.
            is_believed = yield from self._reader.look(entry, name, settled=False)
        else:
            is_believed = False
        if is_believed:
            self._waiting.pop((entry, name), None)
        else:
            self._waiting[entry, name] = self._clock() + patience_s


def _patience(entry: Entry, name: str, mask: int) -> float | None:
    """Return how many seconds `name` may be unfinished after an event, or None if the event means nothing."""
    if isinstance(entry, entries.DeviceEntry) or name in reader.ATTRIBUTES:
        if mask & _VANISHING:
            return APPEARING_S
        return WRITING_S if mask & _UNFINISHED else 0.0
    if mask & _WRITTEN and not mask & ~_WRITTEN:
        return None  # a file among the directories
    # A directory made by hand is filled in the next moment; one that was built elsewhere is moved here whole.
    return APPEARING_S if mask & inotify.CREATE and entry.child(name) is None else 0.0
