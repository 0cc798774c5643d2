"""What was pulled out is kept, as it was, until it is plugged in again: nothing that a person put into it is lost.

.fakehw/unplugged/node2/dev3/2/           a device that was pulled out; the last one, if it was several times
.fakehw/unplugged.XXXX/node2/dev3/...     what was kept before a whole class was pulled out, about to be merged
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.errors import InputError
from fakehw.layout import TreePath
from fakehw.tree import directory, selection, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fakehw.tree.plan import Add
    from fakehw.tree.snapshot import Snapshot
    from fakehw.tree.stage import Parts, Stage

_KEPT: Final = "unplugged"
_DEVICE: Final = 3


def places(private_fd: int) -> list[TreePath]:
    """Return the nodes, classes and devices of which something is kept."""
    try:
        with directory.opened(_KEPT, dir_fd=private_fd) as fd:
            return list(selection.places(snapshot.read_root(fd)))
    except OSError:
        return []


class Unplugged:
    """What is kept of one tree. Made while the lock is held."""

    def __init__(self, writer: Stage) -> None:
        self._writer = writer
        self._private_fd = writer.private_fd

    def take(self, parts: Parts) -> None:
        """Have the thing at `parts` moved out and kept; call `settle` when it was."""
        if self.has(parts):
            aside = (f"{_KEPT}.{os.urandom(4).hex()}", *parts)
            directory.make_missing(aside[:-1], dir_fd=self._private_fd)
            self._rename((_KEPT, *parts), aside)
        self._writer.set_aside(parts, (_KEPT, *parts))

    def bring_back(self, parts: Parts) -> None:
        """Have the thing that is kept for `parts` moved in again, as it was; call `settle` when it was."""
        self._writer.bring_back((_KEPT, *parts), parts)

    def has(self, parts: Parts) -> bool:
        """Tell whether something is kept for `parts`."""
        with self.opened(parts) as fd:
            return fd is not None

    def names(self, parts: Parts) -> list[str]:
        """Return the names of what is kept below `parts`, of whatever kind."""
        return sorted(self._listed((_KEPT, *parts)))

    @contextlib.contextmanager
    def opened(self, parts: Parts) -> Iterator[int | None]:
        """Open what is kept for `parts` for the length of a block; None where nothing is."""
        with contextlib.ExitStack() as stack:
            fd = None
            with contextlib.suppress(OSError):
                fd = stack.enter_context(directory.opened_below(self._private_fd, (_KEPT, *parts)))
            yield fd

    def write(self, parts: Parts, name: str, text: str | None) -> None:
        """Have a file of what is kept for `parts` say `text`; None removes it."""
        with directory.opened_below(self._private_fd, (_KEPT, *parts)) as fd:
            directory.remove(name, dir_fd=fd)
            if text is not None:
                directory.write(name, text, dir_fd=fd, mode=layout.FILE_MODE)

    def drop(self, parts: Parts) -> None:
        """Let go of what is kept for `parts`."""
        self._remove((_KEPT, *parts))

    def drop_all(self) -> None:
        """Let go of everything."""
        self._remove((_KEPT,))

    def settle(self) -> None:
        """Merge what was kept before into what is kept now, where that does not have it, and tidy up."""
        for name in directory.entries(self._private_fd):
            if name.startswith(f"{_KEPT}."):
                self._merge((name,), (_KEPT,))
                self._remove((name,))
        self._prune((_KEPT,))

    def _merge(self, older: Parts, newer: Parts) -> None:
        directory.make_missing(newer, dir_fd=self._private_fd)
        taken = set(self._listed(newer))
        for name in self._listed(older):
            here, there = (*older, name), (*newer, name)
            if name not in taken:
                self._rename(here, there)
            elif len(here) <= _DEVICE:  # a node or a class, and not a device or a file of theirs
                with contextlib.suppress(OSError):
                    self._merge(here, there)

    def _prune(self, place: Parts) -> None:
        """Remove nodes and classes of which nothing is kept any more."""
        if len(place) > _DEVICE:
            return
        for name in self._listed(place):
            self._prune((*place, name))
        with contextlib.suppress(OSError), directory.opened_below(self._private_fd, place[:-1]) as fd:
            os.rmdir(place[-1], dir_fd=fd)

    def _rename(self, place: Parts, to: Parts) -> None:
        with (
            directory.opened_below(self._private_fd, place[:-1]) as source_fd,
            directory.opened_below(self._private_fd, to[:-1]) as target_fd,
        ):
            os.rename(place[-1], to[-1], src_dir_fd=source_fd, dst_dir_fd=target_fd)

    def _remove(self, place: Parts) -> None:
        """Remove it as far as that can be done: what stays is in nobody's way."""
        with contextlib.suppress(OSError), directory.opened_below(self._private_fd, place[:-1]) as fd:
            directory.remove(place[-1], dir_fd=fd)

    def _listed(self, place: Parts) -> list[str]:
        try:
            with directory.opened_below(self._private_fd, place) as fd:
                return directory.listed(fd)
        except OSError:
            return []


class Again:
    """One plugging in again: what the spec lists is staged anew, what is kept joins it or is moved in whole."""

    def __init__(self, steps: Sequence[Add], actual: Snapshot, kept: Unplugged) -> None:
        self._steps = {step.path.parts: step for step in steps}
        self._actual = actual
        self._kept = kept
        self.came: list[TreePath] = []
        """The devices that are there then."""

    def stage(self, targets: Sequence[TreePath], writer: Stage) -> None:
        """Stage all of it."""
        for step in self._steps.values():
            writer.add(step.path, step.content, lambda: None, more=lambda fd, at=step.path: self._join(fd, at.parts))  # type: ignore[misc]  # bound
            self.came += step.devices()
        for target in targets:
            self._bring(target.parts)
        self.came.sort(key=lambda path: path.sort_key)

    def finish(self) -> None:
        """Let go of what has come back."""
        for parts in self._steps:
            self._kept.drop(parts)
        self._kept.settle()

    def _join(self, fd: int, parts: Parts) -> None:
        """Copy what is kept, and not staged, to what is staged."""
        with self._kept.opened(parts) as kept_fd:
            if kept_fd is not None:
                self._join_directory(fd, kept_fd, parts, there=directory.entries(fd))

    def _join_directory(self, fd: int, kept_fd: int, parts: Parts, *, there: list[str]) -> None:
        """Both are walked side by side: of ten thousand devices, none is looked for from the top."""
        names = set(there)
        kept = sorted(directory.listed(kept_fd))
        for name in kept:
            if name not in names:
                directory.copy(name, dir_fd=kept_fd, to=name, to_fd=fd)
                self.came += self._devices((*parts, name))
        taints = [layout.TAINTS] if len(parts) == _DEVICE else []  # what a person added to those of the spec
        for name in (*_children(parts, kept), *taints):
            if name in names and directory.is_directory(name, dir_fd=kept_fd):
                with (
                    directory.opened(name, dir_fd=fd) as child_fd,
                    directory.opened(name, dir_fd=kept_fd) as kept_child_fd,
                ):
                    there = directory.listed(child_fd)
                    self._join_directory(child_fd, kept_child_fd, (*parts, name), there=there)

    def _bring(self, parts: Parts) -> None:
        """Move in what is kept, whole where there is nothing, else the parts of it that are missing."""
        if not self._kept.has(parts) or any(parts[:length] in self._steps for length in range(1, len(parts) + 1)):
            return
        if self._actual.find(_path(parts)) is None:
            above = parts[:-1]
            if above and above not in self._steps and self._actual.find(_path(above)) is None:
                raise InputError(f"{_path(parts)}: {_path(above)} was unplugged as well: plug that in (PATH)")
            self._kept.bring_back(parts)
            self.came += self._devices(parts)
        else:
            for name in _children(parts, self._kept.names(parts)):
                self._bring((*parts, name))

    def _devices(self, parts: Parts) -> Iterator[TreePath]:
        """Yield the devices that are kept at or below `parts`; nothing is looked into that holds none."""
        if len(parts) < _DEVICE:
            for name in _children(parts, self._kept.names(parts)):
                yield from self._devices((*parts, name))
        elif len(parts) == _DEVICE and layout.DEVICE_NUMBER.fullmatch(parts[-1]):
            yield _path(parts)


def _children(parts: Parts, names: Iterable[str]) -> Iterator[str]:
    """Yield those of the names that can be classes of a node, or devices of a class."""
    patterns = {1: layout.CLASS_NAME, 2: layout.DEVICE_NUMBER}
    pattern = patterns.get(len(parts))
    yield from (name for name in names if pattern is not None and pattern.fullmatch(name))


def _path(parts: Parts) -> TreePath:
    return TreePath.parse("/".join(parts))
