"""All or nothing: things are made in a private place of the same file system, then moved to where people see them.

A disk that is full or a directory that may not be written shows while staging, when nothing visible has changed. What
is moved is noted first, so that a move that fails takes the ones before it back. What is visible is decided by the
renames alone: what cannot be cleared away afterwards is left, named, tried again by the next writer, and in nobody's
way, since each writer has a stage with a name of its own.

    .fakehw/lock               held by the one writer
    .fakehw/stage.XXXX/new/    made, to be moved in
    .fakehw/stage.XXXX/old/    moved out, to be deleted; also second links to files that were replaced
    .fakehw/unplugged/         moved out, to be plugged in again
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.spec.topology import FakeClass, FakeDevice, FakeNode
from fakehw.tree import directory, lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fakehw.layout import TreePath

    Parts = tuple[str, ...]
    Refused = Callable[[Parts, OSError], None]

_STAGE: Final = "stage"
_TAINT: Final = layout.taint_file("")
_PROBE: Final = "probe"
_NAMED_LEFTOVERS: Final = 3
_OF_ONE_PLACE: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENOTEMPTY}
)
"""What one directory of the tree may refuse while all others take what comes; a full disk is not among it."""


@dataclass(frozen=True, slots=True)
class _Move:
    """One rename between a private place, `private` below .fakehw, and `parts` below the root."""

    private: Parts
    parts: Parts
    is_inward: bool


class Stage:
    """The writer's private place under one root. Made by `writing`, which holds the lock."""

    def __init__(self, root_fd: int, private_fd: int, name: str, new_fd: int) -> None:
        self._root_fd = root_fd
        self._name = name
        self.new_fd = new_fd
        self.private_fd = private_fd
        self.makes_device_nodes = True
        """Whether devices get their character devices; where mknod is not allowed they go without."""
        self._count = 0
        self._taints: dict[TreePath, str] = {}
        """Directories of taints that are staged, by device."""
        self._moves: list[_Move] = []
        # A umask that would hide the tree from its readers costs a chmod for each file; the usual one costs nothing.
        self._dir_mode = None if stat.S_IMODE(os.fstat(new_fd).st_mode) & 0o777 == layout.DIR_MODE else layout.DIR_MODE
        self._file_mode = None if self._dir_mode is None else layout.FILE_MODE

    # Making things.

    def add(
        self,
        path: TreePath,
        content: FakeNode | FakeClass | FakeDevice,
        made: Callable[[], None],
        *,
        more: Callable[[int], None] | None = None,
    ) -> None:
        """Stage a node, class or device whole; `made` is called for each device, and `more` may add what it likes."""
        with self._directory(staged := self._next(), self.new_fd) as fd:
            if isinstance(content, FakeNode):
                self._fill_node(fd, content, made)
            elif isinstance(content, FakeClass):
                self._fill_class(fd, content, made)
            else:
                self._fill_device(fd, content)
                made()
            if more is not None:
                more(fd)
        self._move_in(staged, path.parts)

    def set_value(self, path: TreePath, name: str, value: str) -> None:
        """Stage one attribute file."""
        parts = (*path.parts, *name.split("/"))
        if name.startswith(_TAINT) and self._lacks_taints(path):
            with directory.opened(self._taints[path], dir_fd=self.new_fd) as fd:
                directory.write(parts[-1], value, dir_fd=fd, mode=self._file_mode)
            return
        staged = self._next()
        directory.write(staged, value, dir_fd=self.new_fd, mode=self._file_mode)
        self._move_in(staged, parts)

    def _lacks_taints(self, path: TreePath) -> bool:
        """Tell whether a device has no directory of taints yet; then one is staged, once, to be moved in whole."""
        if path not in self._taints:
            with directory.opened_below(self._root_fd, path.parts) as fd:
                if directory.is_there(layout.TAINTS, dir_fd=fd):
                    return False
            self._taints[path] = staged = self._next()
            with self._directory(staged, self.new_fd):
                pass
            self._move_in(staged, (*path.parts, layout.TAINTS))
        return True

    def set_device_node(self, path: TreePath, kind: str) -> None:
        """Stage the character device of a device."""
        staged = self._next()
        make_device_node(staged, kind, dir_fd=self.new_fd)
        self._move_in(staged, (*path.parts, layout.DEVICE_NODE))

    def remove(self, parts: Parts) -> None:
        """Note that `parts` is to be moved out, and deleted."""
        self._moves.append(_Move((self._name, "old", self._next()), parts, is_inward=False))

    def set_aside(self, parts: Parts, private: Parts) -> None:
        """Note that `parts` is to be moved out, to be kept as `private` below .fakehw."""
        directory.make_missing(private[:-1], dir_fd=self.private_fd)
        self._moves.append(_Move(private, parts, is_inward=False))

    def bring_back(self, private: Parts, parts: Parts) -> None:
        """Note that what is kept as `private` below .fakehw is to be moved in again."""
        self._moves.append(_Move(private, parts, is_inward=True))

    def _move_in(self, staged: str, parts: Parts) -> None:
        self._moves.append(_Move((self._name, "new", staged), parts, is_inward=True))

    def _fill_node(self, fd: int, node: FakeNode, made: Callable[[], None]) -> None:
        if node.host is not None:
            directory.write(layout.HOST, node.host, dir_fd=fd, mode=self._file_mode)
        for fake_class in node.classes.values():
            with self._directory(fake_class.name, fd) as class_fd:
                self._fill_class(class_fd, fake_class, made)

    def _fill_class(self, fd: int, fake_class: FakeClass, made: Callable[[], None]) -> None:
        directory.write(layout.RESOURCE, fake_class.resource, dir_fd=fd, mode=self._file_mode)
        for name, value in fake_class.settings.items():
            directory.write(name, value, dir_fd=fd, mode=self._file_mode)
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
        if device.device_node is not None and self.makes_device_nodes:
            make_device_node(layout.DEVICE_NODE, device.device_node, dir_fd=fd)

    def _fill_files(self, fd: int, device: FakeDevice, *, prefix: str) -> None:
        directory.write(f"{prefix}{layout.HEALTH}", device.health, dir_fd=fd, mode=self._file_mode)
        if any(name.startswith(_TAINT) for name in device.attributes):
            os.mkdir(f"{prefix}{layout.TAINTS}", layout.DIR_MODE, dir_fd=fd)
            if self._dir_mode is not None:
                os.chmod(f"{prefix}{layout.TAINTS}", self._dir_mode, dir_fd=fd)
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

    def commit(self, *, refused: Refused | None = None) -> None:
        """Make all moves, in the order in which they were staged, or none.

        With `refused`, a place that does not let itself be changed (another's directory, a mount) is told to it and
        passed over, and the rest is done.
        """
        done: list[_Step] = []
        old = (self._name, "old")
        with (
            _Parents(self._root_fd) as places,
            _Parents(self.private_fd) as private,
            directory.opened_below(self.private_fd, old) as old_fd,
        ):
            mover = _Mover(self._root_fd, places, private, old_fd)
            try:
                for move in self._moves:
                    done.append(step := _Step(move, f"r{len(done)}"))  # noted first: an interrupt may come at any time
                    try:
                        mover.make(step)
                    except OSError as error:
                        if refused is None or error.errno not in _OF_ONE_PLACE:
                            raise
                        mover.take_back(done.pop())
                        refused(move.parts, error)
            except BaseException:
                for step in reversed(done):
                    mover.take_back(step)
                raise
        self._moves.clear()
        self._taints.clear()


@dataclass(slots=True)
class _Step:
    """A move that was begun; `saved` is the name, in old/, of what it replaces."""

    move: _Move
    saved: str
    is_saved: bool = False


class _Mover:
    """Makes moves, and takes them back."""

    def __init__(self, root_fd: int, places: _Parents, private: _Parents, old_fd: int) -> None:
        self._root_fd = root_fd
        self._places = places
        self._private = private
        self._old_fd = old_fd

    def make(self, step: _Step) -> None:
        """Make a move; OSError if that cannot be done."""
        move = step.move
        place_fd = self._places.open(move.parts[:-1])
        if not move.is_inward:
            self._out(move.parts[-1], place_fd, move.private[-1], self._private.open(move.private[:-1]))
            return
        self._save(step, place_fd)
        source_fd = self._private.open(move.private[:-1])
        os.replace(move.private[-1], move.parts[-1], src_dir_fd=source_fd, dst_dir_fd=place_fd)

    def take_back(self, step: _Step) -> None:
        """Take back as much of a move as was made. What cannot be taken back stays as it came: whole."""
        move, name = step.move, step.move.parts[-1]
        with contextlib.suppress(OSError):
            place_fd = self._places.open(move.parts[:-1])
            private_fd = self._private.open(move.private[:-1])
            is_private = directory.is_there(move.private[-1], dir_fd=private_fd)
            if not move.is_inward:
                if is_private:
                    os.rename(move.private[-1], name, src_dir_fd=private_fd, dst_dir_fd=place_fd)
                return
            if step.is_saved and not directory.is_directory(step.saved, dir_fd=self._old_fd):
                os.replace(step.saved, name, src_dir_fd=self._old_fd, dst_dir_fd=place_fd)
                return
            if not is_private:
                os.rename(name, move.private[-1], src_dir_fd=place_fd, dst_dir_fd=private_fd)
            if step.is_saved:
                os.rename(step.saved, name, src_dir_fd=self._old_fd, dst_dir_fd=place_fd)

    def _save(self, step: _Step, place_fd: int) -> None:
        """Keep what a move replaces, in old/; a directory is moved there, since no file can replace it."""
        name = step.move.parts[-1]
        if directory.is_directory(name, dir_fd=place_fd):
            step.is_saved = True
            self._out(name, place_fd, step.saved, self._old_fd)
            return
        with contextlib.suppress(OSError):  # nothing there; or a file system without links: no way back for this one
            os.link(name, step.saved, src_dir_fd=place_fd, dst_dir_fd=self._old_fd, follow_symlinks=False)
            step.is_saved = True

    def _out(self, name: str, place_fd: int, to: str, private_fd: int) -> None:
        try:
            os.rename(name, to, src_dir_fd=place_fd, dst_dir_fd=private_fd)
        except FileNotFoundError:
            return
        except OSError as error:
            mount = directory.mount_id(self._root_fd)
            if error.errno != errno.EXDEV or mount is None or mount != directory.mount_id(place_fd):
                raise
            # On one mount, this is a directory of an image's layer (overlayfs), which no rename can move: its pieces
            # are, and whoever watches sees them go.
            directory.copy(name, dir_fd=place_fd, to=to, to_fd=private_fd)
            directory.remove(name, dir_fd=place_fd)


class _Parents:
    """Keeps the last directory open: moves come sorted, and thousands of them share one parent."""

    def __init__(self, top_fd: int) -> None:
        self._top_fd = top_fd
        self._parts: tuple[str, ...] | None = None
        self._stack = contextlib.ExitStack()
        self._fd = -1

    def __enter__(self) -> _Parents:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, parts: tuple[str, ...]) -> int:
        """Return the descriptor of the directory `parts` below the top, until another one is asked for."""
        if parts != self._parts:
            self._stack.close()
            self._parts = None
            self._fd = self._stack.enter_context(directory.opened_below(self._top_fd, parts))
            self._parts = parts
        return self._fd


@contextlib.contextmanager
def writing(
    root_fd: int, *, name: str, waiting: Callable[[], None], tell: Callable[[str], None], wait_s: float = lock.WAIT_S
) -> Iterator[Stage]:
    """Hold the lock of the tree, and an empty stage, for a block.

    `name` is what the root is called; `waiting` is called if the lock is not free; `tell` is given what cannot be
    cleared away. TreeError if the lock does not come free for `wait_s` seconds.
    """
    is_new = not directory.is_directory(layout.PRIVATE_DIR, dir_fd=root_fd)
    with contextlib.suppress(FileExistsError):
        os.mkdir(layout.PRIVATE_DIR, layout.DIR_MODE, dir_fd=root_fd)
    with directory.opened(layout.PRIVATE_DIR, dir_fd=root_fd) as private_fd:
        if is_new:
            os.fchmod(private_fd, layout.DIR_MODE)
        with lock.held(private_fd, name=name, waiting=waiting, wait_s=wait_s):
            _sweep(private_fd)
            staged = f"{_STAGE}.{os.urandom(4).hex()}"
            os.mkdir(staged, 0o700, dir_fd=private_fd)
            try:
                with directory.opened(staged, dir_fd=private_fd) as stage_fd:
                    os.mkdir("new", layout.DIR_MODE, dir_fd=stage_fd)
                    os.mkdir("old", layout.DIR_MODE, dir_fd=stage_fd)
                    with directory.opened("new", dir_fd=stage_fd) as new_fd:
                        yield Stage(root_fd, private_fd, staged, new_fd)
            finally:
                left = _sweep(private_fd)
        if left:
            shown = "; ".join(left[:_NAMED_LEFTOVERS])
            more = f" and {len(left) - _NAMED_LEFTOVERS} more" if len(left) > _NAMED_LEFTOVERS else ""
            tell(f"{name}/{layout.PRIVATE_DIR}: cannot be cleared away, and is left: {shown}{more}")


def _sweep(private_fd: int) -> list[str]:
    """Remove all stages, as far as that can be done; return what is left of them."""
    left = []
    for name in directory.entries(private_fd):
        if name.partition(".")[0] != _STAGE:
            continue
        try:
            if not directory.is_directory(name, dir_fd=private_fd):
                os.unlink(name, dir_fd=private_fd)
                continue
            with directory.opened(name, dir_fd=private_fd) as fd:
                left += [f"{name}/{entry}" for entry in directory.clear(fd)]
            os.rmdir(name, dir_fd=private_fd)
        except OSError as error:
            if not left:
                left.append(f"{name}: {error.strerror}")
    return left


def make_device_node(name: str, kind: str, *, dir_fd: int) -> None:
    """Make a character device; PermissionError where mknod is not allowed."""
    os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(*layout.DEVICE_NODES[kind]), dir_fd=dir_fd)
    os.chmod(name, 0o666, dir_fd=dir_fd)  # noqa: S103  # whatever the umask: as /dev/null is


def is_mknod_allowed(*, dir_fd: int) -> bool:
    """Tell, by trying, whether character devices can be made: it takes a capability and a file system for them."""
    probe = f".{_PROBE}.{os.urandom(4).hex()}"
    try:
        make_device_node(probe, "null", dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EROFS):
            return False
        raise
    os.unlink(probe, dir_fd=dir_fd)
    return True
