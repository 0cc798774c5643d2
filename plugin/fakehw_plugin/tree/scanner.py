"""The tree as devices, kept up to date: read all of it once, then only what an event names.

A writer may be half-way through. A value that cannot be the whole one (an empty or missing health file, a directory
made a moment ago) is not believed before its writer has closed the file or a short time is over; the last state stands
until then. So no way of saving a file shows as a state that nobody wrote.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from fakehw_plugin import inotify
from fakehw_plugin.offer import Api
from fakehw_plugin.tree import entries, names, reader

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Iterable
    from pathlib import Path

    from fakehw_plugin.offer import Offer
    from fakehw_plugin.tree.entries import Entry, Watched
    from fakehw_plugin.tree.known import Changes

WRITING_S: Final = 0.2
"""How long a health file that is open for writing may be empty or hold half a word; closing it ends the wait."""

APPEARING_S: Final = 0.025
"""How long a file may be missing while an editor swaps it, and how long a directory made by hand has to be filled."""

_INCOMPLETE: Final = inotify.CREATE | inotify.MODIFY | inotify.ATTRIB
_VANISHING: Final = inotify.DELETE | inotify.MOVED_FROM
_SORT_STEP: Final = 256
"""Events sorted between two offers to let others run."""

_WRITTEN: Final = inotify.MODIFY | inotify.CLOSE_WRITE


class Scanner:
    """Reads the tree at `root` for the Kubernetes node `host` (empty: the whole tree), and follows its events.

    With `nodes`, only the fake nodes of these names. The caller runs `scan`, hands in `events`, takes the changes, and
    comes back with `settle` at `next_deadline`.
    """

    def __init__(
        self,
        root: Path,
        *,
        host: str,
        domain: str,
        watch: inotify.Watcher[Watched],
        api: Api = Api.DEVICE_PLUGIN,
        nodes: Container[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader.TreeReader(str(root), host=host, domain=domain, api=api, watch=watch, nodes=nodes)
        self._known = self._reader.known
        self._clock = clock
        self._deadlines: dict[tuple[Entry, str], float] = {}
        """What may not be whole yet, and when it counts as it is."""

    @property
    def is_present(self) -> bool:
        """Tell whether the root is there and can be read."""
        return self._reader.is_present

    @property
    def root_moved(self) -> bool:
        """Tell whether the root was moved while it was read, so that no event will tell what stands there now."""
        return self._reader.root_moved

    @property
    def is_orphaned(self) -> bool:
        """Tell whether the root was deleted while it is mounted here: only a restart finds another."""
        return self._reader.is_orphaned

    @property
    def is_empty(self) -> bool:
        """Tell whether there is not a single node, of whatever host."""
        return not self._known.root.nodes

    @property
    def host(self) -> str:
        """Return the Kubernetes node that the tree is read for; empty: the whole tree."""
        return self._reader.host

    @property
    def offers(self) -> set[Offer]:
        """Return what classes of this host are offered as, be it with no device at all."""
        return self._known.offers

    def class_paths(self, offer: str) -> list[str]:
        """Return the directories of the classes that are offered so, in the order of the nodes."""
        nodes = (node for _, node in sorted(self._known.root.nodes.items()) if node.is_ours)
        classes = (class_entry for node in nodes for _, class_entry in sorted(node.classes.items()))
        return [class_entry.path for class_entry in classes if class_entry.offer == offer]

    @property
    def next_deadline(self) -> float | None:
        """Return when (on the clock) something that is not whole is to count as it is, or None."""
        return min(self._deadlines.values(), default=None)

    def take_changes(self) -> Changes:
        """Return what changed since the last call: devices by offer and ID, None for one that left the tree."""
        return self._known.take_changes()

    def scan(self) -> Generator[None, None, None]:
        """Read everything; yields after every step, so that the caller can let others run."""
        self._deadlines.clear()
        yield from self._reader.scan()
        self._wait_for_incomplete()

    def handle(self, events: Iterable[inotify.Event[Watched]]) -> Generator[None, None, bool]:
        """Read again what `events` name; returns True if a whole scan is due because the root itself changed."""
        touched: dict[tuple[Entry, str], int] = {}
        is_scan_due = False
        for number, event in enumerate(events):
            if number % _SORT_STEP == 0:
                yield
            is_scan_due |= self._sort(event, touched)
        if not is_scan_due:
            for (entry, name), mask in touched.items():
                yield from self._touch(entry, name, mask)
                yield
            self._wait_for_incomplete()
        return is_scan_due

    def settle(self) -> Generator[None, None, None]:
        """Take as it is what has not been whole for too long."""
        now = self._clock()
        for (entry, name), deadline in tuple(self._deadlines.items()):
            if deadline <= now:
                del self._deadlines[entry, name]
                yield from self._reader.look(entry, name, may_wait=False)
                yield
        self._wait_for_incomplete()

    @classmethod
    def _sort(cls, event: inotify.Event[Watched], touched: dict[tuple[Entry, str], int]) -> bool:
        """Note in `touched` what an event makes us read again; True if that is everything."""
        entry, name = event.target, event.name
        if isinstance(entry, entries.TaintsEntry):
            if event.mask & inotify.IGNORED:
                entry.wd = None
            entry.has_changed = True
            touched.setdefault((entry.device, "health"), inotify.MODIFY)
            return False
        if not name:
            return cls._sort_end(event, entry, touched)
        if name.startswith("."):
            return False
        if not isinstance(entry, entries.DeviceEntry):
            touched[entry, name] = event.mask | (touched.get((entry, name), 0) & inotify.CREATE)
        elif name == "health":
            touched[entry, name] = event.mask
        elif name in ("numa_node", "node") or cls._is_detailed(entry):
            if (taints := entry.taints) is not None:
                taints.has_changed = True
            # A reason to read the device again, but not to believe a health file that is empty just now.
            touched.setdefault((entry, "health"), inotify.MODIFY)
        return False

    @staticmethod
    def _is_detailed(entry: entries.DeviceEntry) -> bool:
        """Tell whether more is read of a device than its health: see details."""
        return entry.parent.settings is not None and entry.parent.settings.api is Api.DRA

    @staticmethod
    def _sort_end(event: inotify.Event[Watched], entry: Entry, touched: dict[tuple[Entry, str], int]) -> bool:
        """Take note that a watched directory went away; True if that is the root, or went with its file system."""
        is_root = isinstance(entry, entries.RootEntry)
        if event.mask & inotify.IGNORED:
            entry.wd = None  # to be watched again, if it is still there or something else is by now
            if entry.is_attached and not isinstance(entry, entries.RootEntry):
                name = str(entry.number) if isinstance(entry, entries.DeviceEntry) else entry.name
                touched.setdefault((entry.parent, name), inotify.IGNORED)
            return is_root
        return bool(event.mask & inotify.UNMOUNT) or (is_root and bool(event.mask & inotify.GONE))

    def _wait_for_incomplete(self) -> None:
        for entry in self._reader.take_incomplete():
            self._deadlines.setdefault((entry, "health"), self._clock() + WRITING_S)

    def _touch(self, entry: Entry, name: str, mask: int) -> Generator[None, None, None]:
        wait_s = _longest_wait_s(entry, name, mask)
        if wait_s is None:
            return
        if not wait_s or isinstance(entry, entries.DeviceEntry):
            # A health file that is still open counts as soon as it says a known word.
            is_whole = yield from self._reader.look(entry, name, may_wait=wait_s > 0)
        else:
            is_whole = False
        if is_whole:
            self._deadlines.pop((entry, name), None)
        else:
            self._deadlines[entry, name] = self._clock() + wait_s


def _longest_wait_s(entry: Entry, name: str, mask: int) -> float | None:
    """Return how long `name` may not be whole after an event, in seconds; None if the event means nothing."""
    if isinstance(entry, entries.DeviceEntry) or name in names.ATTRIBUTES:
        if mask & _VANISHING:
            return APPEARING_S
        return WRITING_S if mask & _INCOMPLETE else 0.0
    if mask & _WRITTEN and not mask & ~_WRITTEN:
        return None  # a file among the directories
    # A directory made by hand is filled in the next moment; one that was built elsewhere is moved here whole.
    return APPEARING_S if mask & inotify.CREATE and entry.child(name) is None else 0.0
