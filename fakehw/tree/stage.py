"""All or nothing: things are made in a private place of the same file system, then moved to where people see them.

A disk that is full or a directory that may not be written shows while staging, when nothing visible has changed. What
is moved is noted first, so that a move that fails takes the ones before it back. After a kill, what is left lies in the
stage, and the next writer clears it.

    .fakehw/lock         held by the one writer
    .fakehw/stage/new/   made, to be moved in
    .fakehw/stage/old/   moved out, to be deleted; also second links to files that were replaced, to bring them back
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.spec.topology import FakeClass, FakeDevice, FakeNode
from fakehw.tree import directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fakehw.layout import TreePath

_STAGE: Final = "stage"
_LOCK: Final = "lock"
_PROBE: Final = "probe"
_LOCK_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class _Move:
    """One rename between the stage and a directory of the tree (`parts` below the root)."""

    staged: str
    parts: tuple[str, ...]
    name: str
    is_inward: bool


class Stage:
    """The writer's private place under one root. Made by `writing`, which holds the lock."""

    def __init__(self, root_fd: int, private_fd: int, new_fd: int, old_fd: int) -> None:
        self._root_fd = root_fd
        self.new_fd = new_fd
        self._old_fd = old_fd
        self.private_fd = private_fd
        self._count = 0
        self._moves: list[_Move] = []
        # A umask that would hide the tree from its readers costs a chmod for each file; the usual one costs nothing.
        self._dir_mode = None if stat.S_IMODE(os.fstat(new_fd).st_mode) & 0o777 == layout.DIR_MODE else layout.DIR_MODE
        self._file_mode = None if self._dir_mode is None else layout.FILE_MODE

    # Making things.

    def add(self, path: TreePath, content: FakeNode | FakeClass | FakeDevice, made: Callable[[], None]) -> None:
        """Stage a node, class or device whole; `made` is called for each device."""
        *parts, name = path.parts
        with self._directory(staged := self._next(), self.new_fd) as fd:
            if isinstance(content, FakeNode):
                self._fill_node(fd, content, made)
            elif isinstance(content, FakeClass):
                self._fill_class(fd, content, made)
            else:
                self._fill_device(fd, content)
                made()
        self._moves.append(_Move(staged, tuple(parts), name, is_inward=True))

    def set_value(self, path: TreePath, name: str, value: str) -> None:
        """Stage one attribute file."""
        staged = self._next()
        directory.write(staged, value, dir_fd=self.new_fd, mode=self._file_mode)
        self._moves.append(_Move(staged, path.parts, name, is_inward=True))

    def set_device_node(self, path: TreePath, kind: str) -> None:
        """Stage the character device of a device."""
        staged = self._next()
        make_device_node(staged, kind, dir_fd=self.new_fd)
        self._moves.append(_Move(staged, path.parts, layout.DEVICE_NODE, is_inward=True))

    def remove(self, parts: tuple[str, ...]) -> None:
        """Note that `parts` is to be moved out."""
        self._moves.append(_Move(self._next(), parts[:-1], parts[-1], is_inward=False))

    def _fill_node(self, fd: int, node: FakeNode, made: Callable[[], None]) -> None:
        if node.host is not None:
            directory.write(layout.HOST, node.host, dir_fd=fd, mode=self._file_mode)
        for fake_class in node.classes.values():
            with self._directory(fake_class.name, fd) as class_fd:
                self._fill_class(class_fd, fake_class, made)

    def _fill_class(self, fd: int, fake_class: FakeClass, made: Callable[[], None]) -> None:
        directory.write(layout.RESOURCE, fake_class.resource, dir_fd=fd, mode=self._file_mode)
        for device in fake_class.devices.values():
            name = str(device.number)
            if device.device_node is None and self._dir_mode is None:
                # The way of the many: three fewer calls for each device, in a directory that nobody else can see yet.
                os.mkdir(name, layout.DIR_MODE, dir_fd=fd)
                self._fill_files(fd, device, prefix=f"{name}/")
            else:
                with self._directory(name, fd) as device_fd:
                    self._fill_device(device_fd, device)
            made()

    def _fill_device(self, fd: int, device: FakeDevice) -> None:
        self._fill_files(fd, device, prefix="")
        if device.device_node is not None:
            make_device_node(layout.DEVICE_NODE, device.device_node, dir_fd=fd)

    def _fill_files(self, fd: int, device: FakeDevice, *, prefix: str) -> None:
        directory.write(f"{prefix}{layout.HEALTH}", device.health, dir_fd=fd, mode=self._file_mode)
        for name, value in device.attributes.items():
            directory.write(f"{prefix}{name}", value, dir_fd=fd, mode=self._file_mode)

    @contextlib.contextmanager
    def _directory(self, name: str, parent_fd: int) -> Iterator[int]:
        os.mkdir(name, layout.DIR_MODE, dir_fd=parent_fd)
        with directory.opened(name, dir_fd=parent_fd) as fd:
            if self._dir_mode is not None:
                os.fchmod(fd, self._dir_mode)
            yield fd

    def _next(self) -> str:
        self._count += 1
        return str(self._count)

    # Moving things.

    def commit(self) -> None:
        """Make all moves, in the order in which they were staged, or none."""
        done: list[tuple[_Move, bool]] = []
        with _Parents(self._root_fd) as parents:
            try:
                for move in self._moves:
                    parent_fd = parents.open(move.parts)
                    is_replacing = move.is_inward and self._save(move, parent_fd)
                    done.append((move, is_replacing))  # noted before it happens: an interrupt may come in between
                    self._make(move, parent_fd)
            except BaseException:
                for move, is_replacing in reversed(done):
                    # What cannot be taken back stays as it came: whole. The rest is still tried.
                    with contextlib.suppress(OSError):
                        self._take_back(move, parents.open(move.parts), is_replacing=is_replacing)
                raise
        self._moves.clear()

    def _save(self, move: _Move, parent_fd: int) -> bool:
        """Keep what a move replaces, in old/; a directory is moved there, since no file can replace it."""
        if directory.is_directory(move.name, dir_fd=parent_fd):
            os.rename(move.name, move.staged, src_dir_fd=parent_fd, dst_dir_fd=self._old_fd)
            return True
        try:
            os.link(move.name, move.staged, src_dir_fd=parent_fd, dst_dir_fd=self._old_fd, follow_symlinks=False)
        except OSError:  # nothing there; or a file system without links, where there is no way back for this one
            return False
        return True

    def _make(self, move: _Move, parent_fd: int) -> None:
        if move.is_inward:
            os.replace(move.staged, move.name, src_dir_fd=self.new_fd, dst_dir_fd=parent_fd)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.rename(move.name, move.staged, src_dir_fd=parent_fd, dst_dir_fd=self._old_fd)

    def _take_back(self, move: _Move, parent_fd: int, *, is_replacing: bool) -> None:
        if not move.is_inward or is_replacing:
            os.replace(move.staged, move.name, src_dir_fd=self._old_fd, dst_dir_fd=parent_fd)
        else:
            os.replace(move.name, move.staged, src_dir_fd=parent_fd, dst_dir_fd=self.new_fd)


class _Parents:
    """Keeps the last directory open: moves come sorted, and thousands of them share one parent."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._parts: tuple[str, ...] | None = None
        self._stack = contextlib.ExitStack()
        self._fd = -1

    def __enter__(self) -> _Parents:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, parts: tuple[str, ...]) -> int:
        """Return the descriptor of the directory `parts` below the root."""
        if parts != self._parts:
            self._stack.close()
            self._parts = None
            self._fd = self._stack.enter_context(directory.opened_below(self._root_fd, parts))
            self._parts = parts
        return self._fd


@contextlib.contextmanager
def writing(root_fd: int, *, waiting: Callable[[], None]) -> Iterator[Stage]:
    """Hold the lock of the tree, and an empty stage, for a block; `waiting` is called if that takes long."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(layout.PRIVATE_DIR, layout.DIR_MODE, dir_fd=root_fd)
    with contextlib.ExitStack() as stack:
        private_fd = stack.enter_context(directory.opened(layout.PRIVATE_DIR, dir_fd=root_fd))
        lock_fd = os.open(_LOCK, _LOCK_FLAGS, layout.FILE_MODE, dir_fd=private_fd)
        stack.callback(os.close, lock_fd)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
        directory.remove(_STAGE, dir_fd=private_fd)
        os.mkdir(_STAGE, layout.DIR_MODE, dir_fd=private_fd)
        with directory.opened(_STAGE, dir_fd=private_fd) as stage_fd:
            os.mkdir("new", layout.DIR_MODE, dir_fd=stage_fd)
            os.mkdir("old", layout.DIR_MODE, dir_fd=stage_fd)
            with directory.opened("new", dir_fd=stage_fd) as new_fd, directory.opened("old", dir_fd=stage_fd) as old_fd:
                try:
                    yield Stage(root_fd, private_fd, new_fd, old_fd)
                finally:
                    directory.clear(stage_fd)
        os.rmdir(_STAGE, dir_fd=private_fd)


def make_device_node(name: str, kind: str, *, dir_fd: int) -> None:
    """Make a character device; PermissionError where mknod is not allowed."""
    os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(*layout.DEVICE_NODES[kind]), dir_fd=dir_fd)
    os.chmod(name, 0o666, dir_fd=dir_fd)  # noqa: S103  # whatever the umask: as /dev/null is


def is_mknod_allowed(kind: str, *, dir_fd: int) -> bool:
    """Tell, by trying, whether character devices can be made: it takes a capability and a file system for them."""
    try:
        make_device_node(_PROBE, kind, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return False
        raise
    os.unlink(_PROBE, dir_fd=dir_fd)
    return True
