"""A view of all devices of a tree that follows it by inotify: read once, then only what an event names.

A health file that is being written in place is read when its writer closes it; a file that is swapped by an editor, and
a directory that was made by hand a moment ago, are given a moment. `top` shows the view, `events` what happens to it.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fakehw import inotify, layout, output
from fakehw.errors import InputError
from fakehw.layout import Health, TreePath
from fakehw.tree import directory, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_S: Final = 0.025
"""How long a file may be missing while an editor swaps it, and how long a directory made by hand has to be filled."""

CHECK_ROOT_S: Final = 0.5
"""How often the root is compared with the directory that is followed: after a removal, a rename, a mount."""

_LEVELS: Final = (layout.NODE_NAME, layout.CLASS_NAME, layout.DEVICE_NUMBER)
_DEVICE: Final = len(_LEVELS)
_SHOWN_FILES: Final = (layout.HEALTH, layout.NUMA_NODE)

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sight:
    """A device as it is seen."""

    health: Health
    reason: str = ""
    numa_node: int | None = None


@dataclass(frozen=True, slots=True)
class Happening:
    """A device that came, changed or went, at a time of the wall clock."""

    at: float
    path: TreePath
    was: Sight | None
    now: Sight | None


class Follower:
    """All devices of the tree at `root`. Enter it, look at `devices`, then ask for what happens."""

    def __init__(
        self,
        root: Path,
        *,
        domain: str = layout.DEFAULT_DOMAIN,
        clock: Callable[[], float] = time.time,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.root = root
        self.devices: dict[TreePath, Sight] = {}
        self.resources: dict[TreePath, str | None] = {}
        """By class; None where it has none, or one that cannot be read."""
        self.hosts: dict[TreePath, str | None] = {}
        """By node; None where any may own it."""
        self._domain = domain
        self._clock = clock
        self._tell = tell
        self._stack = contextlib.ExitStack()
        self._watch = inotify.Watch[Parts]()
        self._wds: dict[Parts, int] = {}
        self._children: dict[Parts, set[str]] = {}
        self._has_other_labels = False
        self._later: dict[Parts, float] = {}
        self._happened: list[Happening] = []
        self._real_root = ""
        self._root_fd: int | None = None
        """None while the root is gone."""
        self._check_root_at = 0.0

    def __enter__(self) -> Follower:
        with contextlib.ExitStack() as stack:
            stack.callback(self._close_root)
            try:
                self._open_root()
            except OSError as error:
                rule = "must be the directory of a tree (--root, FAKEHW_ROOT)"
                raise InputError(f"{self.root}: {error.strerror}: {rule}") from None
            stack.enter_context(self._watch)
            self._look(())
            self._stack = stack.pop_all()
        self._happened.clear()
        self._has_other_labels = False
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def happenings(self) -> list[Happening]:
        """Wait until something happens and return it.

        Where the tree itself goes away, so do all devices; one that is built in its place is followed from then on.
        Nothing is returned where only a class came or went, or a host or resource is another one now.
        """
        while not self._happened and not self._has_other_labels:
            due = min((*self._later.values(), self._check_root_at))
            await self._watch.wait(max(0.0, due - time.monotonic()))
            self._take_events()
            if time.monotonic() >= self._check_root_at:
                self._check_root()
        happened, self._happened = self._happened, []
        self._has_other_labels = False
        return happened

    def host_of(self, path: TreePath) -> str | None:
        """Return the Kubernetes node that owns a device."""
        return self.hosts.get(TreePath(path.node))

    def resource_of(self, path: TreePath) -> str | None:
        """Return the resource of a device's class."""
        return self.resources.get(TreePath(path.node, path.class_name))

    def _open_root(self) -> None:
        self._real_root = str(self.root.resolve())
        self._root_fd = directory.open_directory(self._real_root)
        self._check_root_at = time.monotonic() + CHECK_ROOT_S

    def _close_root(self) -> None:
        if self._root_fd is not None:
            os.close(self._root_fd)
            self._root_fd = None

    def _check_root(self) -> None:
        """See whether the root is still the directory that we follow: no event says so while we hold it open."""
        self._check_root_at = time.monotonic() + CHECK_ROOT_S
        try:
            now = self.root.stat()
        except OSError:
            now = None
        if self._root_fd is not None:
            if now is not None and os.path.samestat(now, os.fstat(self._root_fd)):
                return
            self._drop(())
            self._close_root()
            if now is None:
                self._tell(f"{self.root}: is gone: waiting for it to come back")
        if now is None:
            return
        try:
            self._open_root()
        except OSError:
            return
        self._tell(f"{self.root}: is another directory now: going on with that")
        self._look(())

    def _take_events(self) -> None:
        touched: dict[Parts, None] = {}
        for target, name, mask in self._watch.events():
            if target is None:
                touched = {(): None}
                break
            if not name:
                continue  # of a directory itself, whose parent says more; of the root, nothing comes while it is open
            parts = self._touched_by(target, name)
            if parts is None:
                continue
            is_whole = mask & (inotify.CLOSE_WRITE | inotify.MOVED_TO)
            if is_whole or (mask & inotify.VANISHING and len(target) < _DEVICE):
                touched[parts] = None
                self._later.pop(parts, None)
            else:
                self._later[parts] = time.monotonic() + PATIENCE_S
        now = time.monotonic()
        for parts in [parts for parts, due in self._later.items() if due <= now]:
            del self._later[parts]
            touched[parts] = None
        for parts in touched:
            self._look(parts)

    @staticmethod
    def _touched_by(target: Parts, name: str) -> Parts | None:
        """Return what has to be looked at again after something happened to `name` in `target`."""
        if len(target) == _DEVICE:
            return target if name in _SHOWN_FILES else None
        if name == (None, layout.HOST, layout.RESOURCE)[len(target)]:
            return target
        return (*target, name) if _LEVELS[len(target)].fullmatch(name) else None

    def _look(self, parts: Parts) -> None:
        """Bring a part of the tree, with all that is below it, up to date."""
        if self._root_fd is None:
            return
        try:
            if len(parts) == _DEVICE:
                with directory.opened_below(self._root_fd, parts[:-1]) as class_fd:
                    self._look_at_device(parts, class_fd)
                return
            with directory.opened_below(self._root_fd, parts) as fd:
                self._watch_over(parts)
                self._read_label(parts, fd)
                found = {name for name in directory.names(fd) if _LEVELS[len(parts)].fullmatch(name)}
                for name in sorted(found | self._children.get(parts, set()), key=layout.natural_key):
                    if len(parts) + 1 == _DEVICE:
                        self._look_at_device((*parts, name), fd)
                    else:
                        self._look((*parts, name))
        except OSError:
            self._drop(parts)

    def _look_at_device(self, parts: Parts, class_fd: int) -> None:
        path = _path(parts)
        self._watch_over(parts)
        device = snapshot.read_device(class_fd, path)
        if device is None:
            self._drop(parts)
        else:
            health, reason = device.health
            self._see(path, Sight(health, reason, device.numa_node))

    def _watch_over(self, parts: Parts) -> None:
        """Watch a directory; one that was replaced has another watch now."""
        wd = self._watch.add("/".join((self._real_root, *parts)), parts)
        was = self._wds.get(parts)
        if was is not None and was != wd:
            self._watch.remove(was, parts)
        if wd is None:
            self._wds.pop(parts, None)
        else:
            self._wds[parts] = wd
            if parts:
                self._children.setdefault(parts[:-1], set()).add(parts[-1])

    def _read_label(self, parts: Parts, fd: int) -> None:
        if not parts:
            return
        name = layout.HOST if len(parts) == 1 else layout.RESOURCE
        value: str | None
        try:
            value = output.printable(directory.read(name, dir_fd=fd).strip())
            if len(parts) == 1:
                value = value or None  # a host that is empty says any
        except FileNotFoundError:
            value = None if len(parts) == 1 else layout.default_resource(parts[1], self._domain)
        except directory.UnreadableError:
            value = None
        labels: dict[TreePath, str | None] = self.hosts if len(parts) == 1 else self.resources
        path = _path(parts)
        if path not in labels or labels[path] != value:
            labels[path] = value
            self._has_other_labels = True

    def _drop(self, parts: Parts) -> None:
        for name in sorted(self._children.pop(parts, ()), key=layout.natural_key):
            self._drop((*parts, name))
        if (wd := self._wds.pop(parts, None)) is not None:
            self._watch.remove(wd, parts)
        if not parts:
            return
        self._children.get(parts[:-1], set()).discard(parts[-1])
        path = _path(parts)
        if len(parts) == _DEVICE:
            self._see(path, None)
        else:
            labels = self.hosts if len(parts) == 1 else self.resources
            self._has_other_labels |= path in labels
            labels.pop(path, None)

    def _see(self, path: TreePath, now: Sight | None) -> None:
        was = self.devices.get(path)
        if was == now:
            return
        if now is None:
            del self.devices[path]
        else:
            self.devices[path] = now
        self._happened.append(Happening(self._clock(), path, was, now))


def _path(parts: Parts) -> TreePath:
    return TreePath(parts[0], parts[1] if len(parts) > 1 else None, int(parts[2]) if len(parts) == _DEVICE else None)
