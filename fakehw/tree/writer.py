"""FakeTree: everything that writes a tree. Each call either does all that it says or leaves what people see as it was.

It holds no descriptor and no state between calls, so any number of processes may work on one tree; a lock in the tree
makes them take turns.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.errors import InputError, TreeError
from fakehw.layout import Health, TreePath
from fakehw.spec.topology import FakeDevice, Topology
from fakehw.tree import applied, directory, plan, plugging, snapshot, stage
from fakehw.tree.plan import Add, DropValue, Plan, Remove, SetValue

if TYPE_CHECKING:
    from fakehw.tree.snapshot import DeviceReading, Tree
    from fakehw.tree.stage import Stage

Progress = Callable[[int, int], None]
"""Called with the devices made so far and in all."""

Paths = TreePath | str | Sequence[TreePath | str]

_ROOT_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC
_TOLERATED_AT_ROOT: Final = frozenset({"lost+found"})


def _ignore(*_: object) -> None:
    pass


class FakeTree:
    """The tree of fake hardware at `root`. `tell` is given, line by line, what a person may want to know meanwhile.

    FakeTree("/fakehw").set_health("node2/dev3/2", "unhealthy", reason="over temperature")
    """

    def __init__(self, root: Path | str, *, tell: Callable[[str], None] = _ignore) -> None:
        self.root = Path(root)
        self._tell = tell

    def read(self) -> Tree:
        """Return a snapshot of the tree as it is, whatever its state; InputError if there is no such directory."""
        with self._os_errors():
            return snapshot.read_tree(self.root)

    def build(
        self, topology: Topology, *, reset: bool = False, dry_run: bool = False, progress: Progress = _ignore
    ) -> Plan:
        """Bring the tree to `topology` and return what that took; TreeError, with nothing changed, if it cannot.

        Health that a person has set stays, as does what a person added; what left the spec goes. `reset` replaces every
        node instead. `dry_run` only says what would be done.
        """
        with self._os_errors():
            if dry_run:
                return self._look_ahead(topology, reset=reset)
            with contextlib.suppress(FileExistsError):  # what is there may be no directory: opening it will tell
                self.root.mkdir(parents=True)
            with self._opened() as root_fd, self._writing(root_fd) as writer:
                return self._build(topology, root_fd, writer, reset=reset, progress=progress)

    def set_health(self, paths: Paths, health: Health | str, *, reason: str = "") -> int:
        """Set the health of devices, or of all devices of classes or nodes; return how many that were.

        A watcher of a device sees one event for it: the new file moved in place of the old.
        """
        text = _health_text(health, reason)
        targets = _parsed(paths)
        with self._os_errors(), self._opened() as root_fd, self._writing(root_fd) as writer:
            # A device that several of the paths name is set once.
            devices = list(dict.fromkeys(device for path in targets for device in self._devices_at(root_fd, path)))
            for device in devices:
                writer.set_value(device, layout.HEALTH, text)
            writer.commit()
        return len(devices)

    def plug(self, paths: Paths) -> list[TreePath]:
        """Plug devices in, or all that the applied spec lists of classes or nodes; return what was missing and came.

        A device that the spec does not list gets what its class has in common, and is its person's own from then on.
        """
        targets = _parsed(paths)
        with self._os_errors(), self._opened() as root_fd, self._writing(root_fd) as writer:
            topology = self._last_applied(writer.private_fd)
            wanted = self._possible(
                plugging.merged([plugging.part_to_plug(path, topology) for path in targets]), writer
            )
            what = plan.make_plan(wanted, applied=(), actual=snapshot.read_root(root_fd))
            what.steps = [step for step in what.steps if isinstance(step, Add)]
            _refuse_conflicts(what)
            _stage_steps(what, writer, _ignore)
            writer.commit()
        return [line.path for line in what.lines() if line.action == "added"]

    def unplug(self, paths: Paths) -> None:
        """Take devices, classes or nodes away, each with all that is in it, in one move."""
        targets = _parsed(paths)
        with self._os_errors(), self._opened() as root_fd, self._writing(root_fd) as writer:
            for path in targets:
                self._require(root_fd, path)
                writer.remove(path.parts)
            writer.commit()

    def write_health(self, texts: Mapping[TreePath, str | None]) -> None:
        """Write these health files as they are given, whatever they say; None removes one. All, or none."""
        with self._os_errors(), self._opened() as root_fd, self._writing(root_fd) as writer:
            for path, text in texts.items():
                self._require(root_fd, path)
                if text is None:
                    writer.remove((*path.parts, layout.HEALTH))
                else:
                    writer.set_value(path, layout.HEALTH, text)
            writer.commit()

    def put(self, devices: Mapping[TreePath, DeviceReading]) -> None:
        """Put devices where there are none, as they were when they were read; each appears whole."""
        with self._os_errors(), self._opened() as root_fd, self._writing(root_fd) as writer:
            for path, was in devices.items():
                self._require(root_fd, replace(path, number=None))
                with directory.opened_below(root_fd, path.parts[:-1]) as fd:
                    if directory.is_directory(path.parts[-1], dir_fd=fd):
                        raise InputError(f"{path}: is there already")
                writer.add(path, self._as_it_was(path, was, writer), _ignore)
            writer.commit()

    def _as_it_was(self, path: TreePath, was: DeviceReading, writer: Stage) -> FakeDevice:
        assert path.number is not None
        texts = {name: value for name, value in was.attributes.items() if isinstance(value, str)}
        kinds = (kind for kind, numbers in layout.DEVICE_NODES.items() if numbers == was.device_node)
        kind = next((kind for kind in kinds if stage.is_mknod_allowed(kind, dir_fd=writer.new_fd)), None)
        return FakeDevice(path.number, texts.pop(layout.HEALTH, ""), texts, kind)

    # Building.

    def _build(self, topology: Topology, root_fd: int, writer: Stage, *, reset: bool, progress: Progress) -> Plan:
        topology = self._possible(topology, writer)
        before = () if reset else applied.read(writer.private_fd, root=str(self.root))
        what = self._plan(topology, before, snapshot.read_root(root_fd), reset=reset)
        _stage_steps(what, writer, progress)
        applied.announce(topology, pending=before[1:], private_fd=writer.private_fd)
        writer.commit()
        applied.conclude(private_fd=writer.private_fd)
        return what

    def _look_ahead(self, topology: Topology, *, reset: bool) -> Plan:
        if not self.root.exists():
            return plan.make_plan(topology, applied=(), actual=snapshot.Tree())
        with self._opened() as root_fd:
            before: Sequence[Topology] = ()
            with contextlib.suppress(FileNotFoundError), directory.opened(layout.PRIVATE_DIR, dir_fd=root_fd) as fd:
                before = () if reset else applied.read(fd, root=str(self.root))
            return self._plan(topology, before, snapshot.read_root(root_fd), reset=reset)

    def _plan(self, topology: Topology, before: Sequence[Topology], actual: Tree, *, reset: bool) -> Plan:
        if reset:
            self._refuse_foreign(actual)
            return plan.make_reset_plan(topology, actual=actual)
        what = plan.make_plan(topology, applied=before, actual=actual)
        _refuse_conflicts(what)
        return what

    def _refuse_foreign(self, actual: Tree) -> None:
        """A reset deletes what looks like a fake tree, and nothing else: --root may have been given in haste."""
        lines = [
            f"{self.root}/{name}: is not part of a fake tree: must be moved away before a reset (--reset)"
            for name in sorted(actual.foreign)
            if name not in _TOLERATED_AT_ROOT
        ]
        for name, node in sorted(actual.nodes.items()):
            lines += [
                f"{self.root}/{name}/{foreign}: is not part of a fake tree: must be moved away before a reset (--reset)"
                for foreign in sorted(node.foreign)[:1]
            ]
        lines += [
            f"{self.root}{path}: is {kind}: must be moved away before a reset (--reset)"
            for path, kind in sorted(actual.obstacles.items(), key=lambda item: item[0].sort_key)
            if path.class_name is None and path.node not in actual.foreign
        ]
        if lines:
            raise TreeError(*lines)

    def _possible(self, topology: Topology, writer: Stage) -> Topology:
        """Return `topology`, or what is left of it where character devices cannot be made; that is said once."""
        kind = topology.device_node
        if kind is None or stage.is_mknod_allowed(kind, dir_fd=writer.new_fd):
            return topology
        self._tell(f"{self.root}: mknod is not allowed here: going on without character devices (device_node)")
        return topology.without_device_nodes()

    def _last_applied(self, private_fd: int) -> Topology | None:
        return next(reversed(applied.read(private_fd, root=str(self.root))), None)

    # Finding one's way.

    def _devices_at(self, root_fd: int, path: TreePath) -> list[TreePath]:
        """Return the device at `path`, or all devices below it; InputError if there is none."""
        self._require(root_fd, path)
        found = [path]
        for pattern in (layout.CLASS_NAME, layout.DEVICE_NUMBER)[len(path.parts) - 1 :]:
            children = []
            for parent in found:
                with directory.opened_below(root_fd, parent.parts) as fd:
                    children += [
                        TreePath.parse("/".join((*parent.parts, name)))
                        for name in directory.names(fd)
                        if pattern.fullmatch(name) and directory.is_directory(name, dir_fd=fd)
                    ]
            found = children
        if not found:
            raise InputError(f"{path}: has no devices in {self.root}")
        return sorted(found, key=lambda device: device.sort_key)

    def _require(self, root_fd: int, path: TreePath) -> None:
        kind = ("node", "class", "device")[len(path.parts) - 1]
        try:
            with directory.opened_below(root_fd, path.parts):
                pass
        except FileNotFoundError:
            raise InputError(f"{path}: no such {kind} in {self.root}: `fakehw list` shows what there is") from None
        except NotADirectoryError:
            raise InputError(
                f"{path}: is not a directory in {self.root}: must be a {kind}, and not behind a link"
            ) from None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            fd = os.open(self.root, _ROOT_FLAGS)  # the root itself may be a link: it is the user's own
        except (FileNotFoundError, NotADirectoryError) as error:
            rule = "must be the directory of a tree (--root, FAKEHW_ROOT)"
            raise InputError(f"{self.root}: {error.strerror}: {rule}") from None
        try:
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _writing(self, root_fd: int) -> Iterator[Stage]:
        def waiting() -> None:
            self._tell(f"{self.root}: waiting for another fakehw to finish")

        with stage.writing(root_fd, waiting=waiting) as writer:
            yield writer

    @contextlib.contextmanager
    def _os_errors(self) -> Iterator[None]:
        """Turn what the operating system refuses into one line."""
        try:
            yield
        except OSError as error:
            where = f" ({error.filename!s})" if error.filename and error.filename != str(self.root) else ""
            raise TreeError(f"{self.root}: {error.strerror or error}{where}") from error


def _parsed(paths: Paths) -> list[TreePath]:
    """Return the paths, each once and none below another of them."""
    given = [paths] if isinstance(paths, TreePath | str) else paths
    parsed = dict.fromkeys(path if isinstance(path, TreePath) else _parsed_one(path) for path in given)
    parts = {path.parts for path in parsed}
    return [path for path in parsed if not any(path.parts[:length] in parts for length in range(1, len(path.parts)))]


def _parsed_one(text: str) -> TreePath:
    try:
        return TreePath.parse(text)
    except ValueError as error:
        raise InputError(f"{text!r}: {error} (PATH)") from None


def _health_text(health: Health | str, reason: str) -> str:
    try:
        text = layout.health_text(Health(health), reason)
    except ValueError:
        raise InputError(f"{health!r}: must be healthy or unhealthy") from None
    if len(text.encode(errors="replace")) >= layout.MAX_VALUE_BYTES:
        raise InputError(f"{len(reason)} characters: must be fewer than {layout.MAX_VALUE_BYTES} bytes (--reason)")
    return text


def _refuse_conflicts(what: Plan) -> None:
    if what.conflicts:
        raise TreeError(*what.conflicts)


def _stage_steps(what: Plan, writer: Stage, progress: Progress) -> None:
    total = what.counts()["added"]
    done = 0

    def made() -> None:
        nonlocal done
        done += 1
        if done % 1000 == 0 or done == total:
            progress(done, total)

    for step in what.steps:
        if isinstance(step, Add):
            writer.add(step.path, step.content, made)
        elif isinstance(step, Remove):
            writer.remove(step.path.parts)
        elif isinstance(step, DropValue):
            writer.remove((*step.path.parts, step.name))
        elif isinstance(step, SetValue) and step.name == layout.DEVICE_NODE:
            writer.set_device_node(step.path, step.value)
        else:
            writer.set_value(step.path, step.name, step.value)
