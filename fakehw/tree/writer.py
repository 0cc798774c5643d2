"""FakeTree: everything that writes a tree. Each call either does all that it says or leaves what people see as it was.

It holds no descriptor and no state between calls, so any number of processes may work on one tree; a lock in the tree
makes them take turns.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fakehw import layout
from fakehw.errors import InputError, TreeError
from fakehw.layout import Health, TreePath
from fakehw.spec.topology import FakeDevice, Topology
from fakehw.tree import applied, directory, lock, places, plan, plugging, roots, selection, snapshot, stage, unplugged
from fakehw.tree.applied import Applied
from fakehw.tree.plan import Add, DropValue, Plan, Remove, SetValue
from fakehw.tree.unplugged import Unplugged

if TYPE_CHECKING:
    from fakehw.tree.places import Paths
    from fakehw.tree.snapshot import FoundDevice, Snapshot
    from fakehw.tree.stage import Stage

Progress = Callable[[int, int], None]
"""Called with the devices made so far and in all."""


def _ignore(*_: object) -> None:
    pass


class FakeTree:
    """The tree of fake hardware at `root`. `tell` is given, line by line, what a person may want to know meanwhile.

    FakeTree("/fakehw").set_health("node2/dev3/2", "unhealthy", reason="over temperature")

    Whatever writes refuses a root that is not empty and does not look like a fake tree, and never removes or writes
    what does not look like a node, class or device: --root may have been given in haste.
    """

    def __init__(
        self, root: Path | str, *, tell: Callable[[str], None] = _ignore, lock_wait_s: float = lock.WAIT_S
    ) -> None:
        self.root = Path(root)
        self._tell = tell
        self._lock_wait_s = lock_wait_s

    def read(self) -> Snapshot:
        """Return a snapshot of the tree as it is, whatever its state; InputError if there is no such directory."""
        with self._os_errors():
            return snapshot.read_tree(self.root)

    def build(
        self,
        topology: Topology,
        *,
        reset: bool = False,
        dry_run: bool = False,
        progress: Progress = _ignore,
        may_narrow: bool = True,
    ) -> Plan:
        """Bring the tree to `topology` and return what that took; TreeError, with nothing changed, if it cannot.

        Health that a person has set stays, as does what a person added; what left the spec goes. `reset` replaces every
        node instead. `dry_run` only says what would be done. What cannot be changed in one place (a link where a device
        belongs, another's directory, a mount) is one of the plan's `conflicts`, and the rest is built. Unless it
        `may_narrow`, a build for one host takes nothing from a tree that was built for another, or for all.
        """
        with self._os_errors():
            if not dry_run:
                roots.make(self.root)
            elif not self.root.exists():
                return plan.make_plan(topology, applied=(), actual=snapshot.Snapshot())
            with self._looking_ahead() if dry_run else self._writing() as (root_fd, private_fd, writer):
                before = Applied() if private_fd is None else self._remembered(private_fd, reset=reset)
                what = self._plan(topology, before, root_fd, private_fd, reset=reset)
                if not may_narrow:
                    self._refuse_narrowing(topology, before, what)
                if writer is not None:
                    self._carry_out(what, topology, Applied() if reset else before, writer, progress)
                    if reset:
                        Unplugged(writer).drop_all()
                return what

    def set_health(self, paths: Paths, health: Health | str, *, reason: str = "") -> int:
        """Set the health of devices, or of all devices of classes or nodes; return how many that were.

        A watcher of a device sees one event for it: the new file moved in place of the old.
        """
        text = _health_text(health, reason)
        targets = places.parsed(paths)
        with self._os_errors(), self._writing() as (root_fd, _, writer):
            # A device that several of the paths name is set once.
            devices = list(
                dict.fromkeys(device for path in targets for device in places.devices_at(root_fd, path, root=self.root))
            )
            for device in devices:
                writer.set_value(device, layout.HEALTH, text)
            writer.commit()
        return len(devices)

    def set_values(self, devices: Sequence[TreePath], name: str, value: str) -> None:
        """Give one attribute of these devices a value, health and numa_node among them; InputError says the rule."""
        _refuse_value(name, value)
        with self._os_errors(), self._writing() as (root_fd, _, writer):
            for path in devices:
                places.require_likely_device(root_fd, path, root=self.root)
                writer.set_value(path, name, value)
            writer.commit()

    def listed(self) -> list[TreePath]:
        """Return what there may be: nodes, classes and devices of the tree, of its spec, and what was pulled out."""
        with self._os_errors(), self._looking_ahead() as (root_fd, private_fd, _):
            found = dict.fromkeys(selection.places(snapshot.read_root(root_fd)))
            spec = None if private_fd is None else applied.read(private_fd, root=str(self.root)).last
            if private_fd is not None:
                found |= dict.fromkeys(unplugged.places(private_fd))
        for node in spec.nodes.values() if spec else ():
            found[TreePath(node.name)] = None
            for fake_class in node.classes.values():
                found[TreePath(node.name, fake_class.name)] = None
                found |= {TreePath(node.name, fake_class.name, number): None for number in fake_class.devices}
        return list(found)

    def plug(self, paths: Paths, *, create: bool = False) -> list[TreePath]:
        """Plug devices in, or all that the applied spec lists of classes or nodes; return what was missing and came.

        What was unplugged comes back with all that a person had put into it; what the spec lists, as the spec says. A
        device that neither has gets what its class has in common, and is its person's own from then on. Nodes and
        classes that are not there are only made with `create`.
        """
        targets = places.parsed(paths)
        with self._os_errors(), self._writing() as (root_fd, private_fd, writer):
            kept = Unplugged(writer)
            kept.settle()
            actual = snapshot.read_root(root_fd)
            spec = applied.read(private_fd, root=str(self.root)).last
            known = plugging.Plugging(spec, actual, may_create=create)
            parts = [known.part(path) for path in targets if known.is_listed(path) or not kept.has(path.parts)]
            wanted = plugging.merged(parts)
            writer.makes_device_nodes = self._makes_device_nodes(wanted, private_fd)
            what = plan.make_plan(wanted, applied=(), actual=actual)
            if what.conflicts:
                raise TreeError(*what.conflicts)
            again = unplugged.Again([step for step in what.steps if isinstance(step, Add)], actual, kept)
            again.stage(targets, writer)
            writer.commit()
            again.finish()
        return again.came

    def unplug(self, paths: Paths) -> None:
        """Take devices, classes or nodes away, each with all that is in it, in one move; it is kept for `plug`."""
        targets = places.parsed(paths)
        with self._os_errors(), self._writing() as (root_fd, _, writer):
            kept = Unplugged(writer)
            kept.settle()
            for path in targets:
                places.require_likely(root_fd, path, root=self.root)
            for path in targets:
                kept.take(path.parts)
            try:
                writer.commit()
            finally:
                kept.settle()

    def write_values(self, values: Mapping[TreePath, Mapping[str, str | None]]) -> None:
        """Write these attributes of devices as they are given, whatever they say; None removes one. All, or none."""
        with self._os_errors(), self._writing() as (root_fd, _, writer):
            for path, texts in values.items():
                places.require_likely_device(root_fd, path, root=self.root)
                for name, text in texts.items():
                    if text is None:
                        writer.remove((*path.parts, *name.split("/")))
                    else:
                        writer.set_value(path, name, text)
            writer.commit()

    def put(
        self, devices: Mapping[TreePath, FoundDevice], *, names: Mapping[TreePath, Collection[str]] | None = None
    ) -> None:
        """Put devices where there are none, as they were when they were read; each appears whole.

        What was unplugged comes back with all that is in it, but with the health, and of `names` the attributes, that
        it had then.
        """
        with self._os_errors(), self._writing() as (root_fd, private_fd, writer):
            kept = Unplugged(writer)
            kept.settle()
            for path, was in devices.items():
                places.require(root_fd, replace(path, number=None), root=self.root)
                with directory.opened_below(root_fd, path.parts[:-1]) as fd:
                    if directory.is_directory(path.parts[-1], dir_fd=fd):
                        raise InputError(f"{path}: is there already")
                if kept.has(path.parts):
                    for name in {layout.HEALTH, *(names or {}).get(path, ())}:
                        kept.write(path.parts, name, was.text(name))
                    kept.bring_back(path.parts)
                else:
                    writer.add(path, self._as_it_was(path, was, private_fd), _ignore)
            writer.commit()
            kept.settle()

    @staticmethod
    def _as_it_was(path: TreePath, was: FoundDevice, private_fd: int) -> FakeDevice:
        assert path.number is not None
        texts = {name: value for name, value in was.attributes.items() if isinstance(value, str)}
        kinds = (kind for kind, numbers in layout.DEVICE_NODES.items() if numbers == was.device_node)
        kind = next((kind for kind in kinds if stage.is_mknod_allowed(dir_fd=private_fd)), None)
        return FakeDevice(path.number, texts.pop(layout.HEALTH, ""), texts, kind)

    # Building.

    def _remembered(self, private_fd: int, *, reset: bool) -> Applied:
        try:
            return applied.read(private_fd, root=str(self.root))
        except TreeError:
            if reset:  # a reset mends what is damaged
                return Applied()
            raise

    def _plan(self, topology: Topology, before: Applied, root_fd: int, private_fd: int | None, *, reset: bool) -> Plan:
        actual = snapshot.read_root(root_fd)
        if reset:
            roots.refuse_foreign(actual, root=self.root)
            what = plan.make_reset_plan(topology, actual=actual)
            what.makes_device_nodes = self._makes_device_nodes(topology, private_fd)
            return what
        makes_device_nodes = self._makes_device_nodes(topology, private_fd)
        return plan.make_plan(topology, applied=before.all, actual=actual, makes_device_nodes=makes_device_nodes)

    def _carry_out(self, what: Plan, topology: Topology, before: Applied, writer: Stage, progress: Progress) -> None:
        is_left = False

        def refused(parts: tuple[str, ...], error: OSError) -> None:
            nonlocal is_left
            is_left |= parts in removed
            what.conflicts.append(f"/{'/'.join(parts)}: {_reason(error)}: is passed over")

        removed = {step.path.parts for step in what.steps if isinstance(step, Remove)}
        writer.makes_device_nodes = what.makes_device_nodes
        _stage_steps(what, writer, progress)
        applied.announce(topology, before=before, private_fd=writer.private_fd)
        writer.commit(refused=refused)
        applied.conclude(topology, unfinished=before.all if is_left else (), private_fd=writer.private_fd)

    def _refuse_narrowing(self, topology: Topology, before: Applied, what: Plan) -> None:
        count = what.counts()["removed"]
        if before.last is not None and before.last.only_host != topology.only_host and count:
            whose = "every host" if before.last.only_host is None else repr(before.last.only_host)
            raise InputError(
                f"{topology.only_host!r}: {self.root} was built for {whose}: would remove {count} devices: "
                "must be given as a flag to mean that (--host; it is NODE_NAME)"
            )

    def _makes_device_nodes(self, topology: Topology, private_fd: int | None) -> bool:
        """Tell whether the character devices of `topology` can be made; if not, that is said once."""
        if private_fd is None or stage.is_mknod_allowed(dir_fd=private_fd) or topology.device_node is None:
            return True
        self._tell(f"{self.root}: mknod is not allowed here: going on without character devices (device_node)")
        return False

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[int, int, Stage]]:
        def waiting() -> None:
            self._tell(f"{self.root}: waiting for another fakehw to finish")

        with (
            roots.opened(self.root) as root_fd,
            stage.writing(
                root_fd, name=str(self.root), waiting=waiting, tell=self._tell, wait_s=self._lock_wait_s
            ) as writer,
        ):
            yield root_fd, writer.private_fd, writer

    @contextlib.contextmanager
    def _looking_ahead(self) -> Iterator[tuple[int, int | None, None]]:
        with roots.opened(self.root) as root_fd, contextlib.ExitStack() as stack:
            private_fd = None
            with contextlib.suppress(FileNotFoundError):
                private_fd = stack.enter_context(directory.opened(layout.PRIVATE_DIR, dir_fd=root_fd))
            yield root_fd, private_fd, None

    @contextlib.contextmanager
    def _os_errors(self) -> Iterator[None]:
        """Turn what the operating system refuses into one line."""
        try:
            yield
        except OSError as error:
            where = f" ({error.filename!s})" if error.filename and error.filename != str(self.root) else ""
            raise TreeError(f"{self.root}: {_reason(error)}{where}") from error


def _reason(error: OSError) -> str:
    if error.errno == errno.EXDEV:
        return "is on another mount than the root of the tree, and nothing is moved from one to the other"
    return error.strerror or str(error)


def _health_text(health: Health | str, reason: str) -> str:
    try:
        text = layout.health_text(Health(health), reason)
    except ValueError:
        raise InputError(f"{health!r}: must be healthy or unhealthy") from None
    if len(text.encode(errors="replace")) >= layout.MAX_VALUE_BYTES:
        raise InputError(f"{len(reason)} characters: must be fewer than {layout.MAX_VALUE_BYTES} bytes (--reason)")
    return text


def _refuse_value(name: str, value: str) -> None:
    try:
        layout.check_attribute(name)
    except ValueError as error:
        raise InputError(f"{name!r}: {error} (ATTRIBUTE)") from None
    try:
        layout.check_value(name, value)
    except ValueError as error:
        raise InputError(f"{value[:40]!r}: {error} (VALUE)") from None


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
            writer.remove((*step.path.parts, *step.name.split("/")))
        elif isinstance(step, SetValue) and step.name == layout.DEVICE_NODE:
            writer.set_device_node(step.path, step.value)
        else:
            writer.set_value(step.path, step.name, step.value)
