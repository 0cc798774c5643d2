"""Carrying out a timeline on a tree: each change at its moment, with a receipt; afterwards everything as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from fakehw import layout
from fakehw.errors import FakehwError, InputError
from fakehw.layout import Health
from fakehw.scenario import receipts, witnesses
from fakehw.scenario.playhead import Playhead
from fakehw.scenario.receipts import State
from fakehw.scenario.timeline import Act, Change
from fakehw.scenario.undo import Left, undo
from fakehw.tree import directory
from fakehw.tree.snapshot import Unreadable
from fakehw.tree.writer import FakeTree

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from pathlib import Path

    from fakehw.layout import TreePath
    from fakehw.scenario.receipts import Receipt
    from fakehw.tree.snapshot import FoundDevice, Snapshot

RESTORE: Final = "restore"
_IN_PLACE: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Options:
    """How a scenario is run. Durations are in seconds."""

    speed: float = 1.0
    keep: bool = False
    """Leave the devices as the scenario left them."""
    patience_s: float = 5.0
    """How long a receipt may take."""
    plugin_logs: Sequence[str] = ()
    pod_resources: Sequence[Path] = ()
    domain: str = layout.DEFAULT_DOMAIN
    """Of the resources of classes that name none, as the plugin has it."""
    api: str = layout.DEVICE_PLUGIN
    """By which classes are served that do not say, as the plugin has it."""
    from_s: float = 0.0
    """The moment of the scenario at which it begins."""


class Hands:
    """What touches the tree: makes the changes, notes each one once it is made, and puts back what it left changed."""

    def __init__(self, root: Path, before: Snapshot, *, tell: Callable[[str], None]) -> None:
        self._tree = FakeTree(root, tell=tell)
        self._tell = tell
        self._before: dict[TreePath, FoundDevice] = dict(before.devices())
        self._left: dict[TreePath, Left] = {}
        self._torn: dict[TreePath, tuple[int, str, bytes]] = {}
        """Health files that are open, with the whole text and the half that is not written yet."""

    def states(self) -> dict[TreePath, State]:
        """Return how the devices were, as the plugin would say it."""
        return {path: _state(*device.health) for path, device in self._before.items()}

    def make(self, change: Change) -> dict[TreePath, State]:
        """Make a change; return what its devices are to become. Those that are out, or in already, are left out."""
        paths = [path for path in change.paths if self._is_out(path) == (change.act is Act.PLUG)]
        if not paths:
            return {}
        if change.act is Act.UNPLUG:
            self._finish(paths)
            self._tree.unplug(paths)
            self._left |= {path: self._left_of(path).out() for path in paths}
            return dict.fromkeys(paths, State(receipts.REMOVED))
        if change.act is Act.PLUG:
            self._put({path: self._before[path] for path in paths})
            return {path: _state(*self._before[path].health) for path in paths}
        if change.act is Act.TEAR:
            for path in paths:
                self._tear(path, change.text)
            return {}
        if change.act is Act.RESET:
            self._write({path: {change.name: self._before[path].text(change.name)} for path in paths})
            return {path: _state(*self._before[path].health) for path in paths if change.name == layout.HEALTH}
        if change.act is Act.FINISH:
            self._finish(paths)
        else:
            self._write({path: {change.name: change.text} for path in paths})
        return dict.fromkeys(paths, _state(*layout.parse_health(change.text))) if change.name == layout.HEALTH else {}

    def restore(self) -> Restored:
        """Put back what we changed and nobody else has changed since, each device on its own where it has to be."""
        problems: list[str] = []
        for path in tuple(self._torn):
            _try(lambda path=path: self._finish([path]), f"{path}", problems)  # type: ignore[misc]  # bound
        try:
            todo = undo(self._before, self._left, dict(self._tree.read().devices()))
        except FakehwError as error:
            return Restored((), {}, [str(error)], len(self._left))
        for path in todo.others:
            self._tell(f"{path}: was changed by somebody else meanwhile: left as it is")
        done = (*_each(todo.devices, self._put, problems), *_each(todo.values, self._write, problems))
        left = {*todo.devices, *todo.values} - {*done} | {*todo.others}
        told = (path for path in done if path in todo.devices or layout.HEALTH in todo.values[path])
        return Restored(done, {path: _state(*self._before[path].health) for path in told}, problems, len(left))

    def _left_of(self, path: TreePath) -> Left:
        return self._left.get(path, Left())

    def _is_out(self, path: TreePath) -> bool:
        return self._left_of(path).is_out

    def _put(self, devices: Mapping[TreePath, FoundDevice]) -> None:
        names = {path: {layout.HEALTH, *self._left_of(path).values} for path in devices}
        self._tree.put(devices, names=names)
        self._left |= {
            path: Left({name: device.text(name) for name in names[path]}) for path, device in devices.items()
        }

    def _write(self, values: Mapping[TreePath, Mapping[str, str | None]]) -> None:
        self._tree.write_values(values)
        for path, texts in values.items():
            for name, text in texts.items():
                self._note(path, text, name)

    def _note(self, path: TreePath, text: str | None, name: str = layout.HEALTH) -> None:
        """Remember what we have left of an attribute."""
        self._left[path] = self._left_of(path).with_value(name, text)

    def _tear(self, path: TreePath, text: str) -> None:
        """Truncate a health file in place, and write the first half of a word to it."""
        self._finish([path])
        raw = f"{text}\n".encode()
        half = len(text.split()[0]) // 2
        fd = self._open_alone(path)
        try:
            os.ftruncate(fd, 0)
            self._note(path, "")
            os.write(fd, raw[:half])
        except OSError:  # there is no other half to be written then
            os.close(fd)
            raise
        self._torn[path] = fd, text, raw[half:]
        self._note(path, text[:half])

    def _open_alone(self, path: TreePath) -> int:
        """Open a health file for writing in place; one with a second name is replaced by a copy of its own first."""
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                root_fd = stack.enter_context(directory.opened(str(self._tree.root.resolve())))
                device_fd = stack.enter_context(directory.opened_below(root_fd, path.parts))
                text = directory.read(layout.HEALTH, dir_fd=device_fd).strip()
                fd = os.open(layout.HEALTH, _IN_PLACE, dir_fd=device_fd)
            if os.fstat(fd).st_nlink == 1:
                return fd
            os.close(fd)
            self._write({path: {layout.HEALTH: text}})
        raise InputError(f"{path}: its health file has a second name, which would be written through")

    def _finish(self, paths: Iterable[TreePath]) -> None:
        """Write the other halves."""
        for path in paths:
            if path in self._torn:
                fd, text, rest = self._torn.pop(path)
                try:
                    os.write(fd, rest)
                finally:
                    os.close(fd)
                self._note(path, text)


@dataclass(frozen=True, slots=True)
class Restored:
    """What restoring came to: the devices that were put back, what went wrong, and how many are not as they were."""

    paths: tuple[TreePath, ...]
    states: dict[TreePath, State]
    """Of those whose health was put back, or that were plugged in."""
    problems: list[str]
    left: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run. `left` is how many devices are not as they were, where they ought to be."""

    receipts: list[Receipt]
    is_stopped: bool = False
    left: int = 0


async def run(
    root: Path,
    timeline: Sequence[Change],
    before: Snapshot,
    *,
    lasts_s: float,
    options: Options,
    stop: asyncio.Event,
    show: Callable[[Receipt], None],
    tell: Callable[[str], None],
    progress: Callable[[float, int], None] = lambda _at_s, _done: None,
) -> Outcome:
    """Carry out a timeline until its end, or until `stop` is set, and restore; return what became of it.

    `progress` is called a few times a second with the moment of the scenario and the number of changes made.
    """
    _refuse_unrestorable(timeline, before)
    hands = Hands(root, before, tell=tell)
    resources = _resources(before, options.domain)
    wake = asyncio.Event()

    def show_and_wake(receipt: Receipt) -> None:
        show(receipt)
        wake.set()

    ledger = receipts.Ledger(
        {path.id: state for path, state in hands.states().items()},
        has_plugin=bool(options.plugin_logs),
        has_kubelet=bool(options.pod_resources),
        tell=show_and_wake,
        by_dra=_by_dra(before, options.api),
    )
    left = 0
    async with witnesses.listening(
        ledger, options.plugin_logs, options.pod_resources, resources=resources, tell=tell
    ) as has_witnesses:
        try:
            playing = _play(timeline, hands, ledger, lasts_s=lasts_s, options=options, progress=progress)
            await _unless(stop, playing)
            await _unless(stop, _wait(ledger, wake))
        finally:
            if not options.keep:
                left = _restore(ledger, hands, options.patience_s)
        if has_witnesses:
            await _unless(stop, _wait(ledger, wake))
    return Outcome(ledger.receipts, stop.is_set(), left)


async def _play(
    timeline: Sequence[Change],
    hands: Hands,
    ledger: receipts.Ledger,
    *,
    lasts_s: float,
    options: Options,
    progress: Callable[[float, int], None],
) -> None:
    head = Playhead(options.speed, from_s=options.from_s, tell=lambda at_s: progress(at_s, len(ledger.receipts)))
    for change in timeline:
        await head.reach(change.at_s)
        _make(ledger, change, hands, options.patience_s)
    await head.reach(lasts_s)


async def _unless(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Await `work`, and let it be as soon as `stop` is set."""
    task, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        is_left = task.cancel()
    if not is_left:
        await task


def _make(ledger: receipts.Ledger, change: Change, hands: Hands, patience_s: float) -> None:
    """Make a change and enter its receipt. The time of the write is when it began, so no latency looks too short."""
    written_at, problem = time.time(), ""
    wanted: Mapping[TreePath, State] = {}
    try:
        wanted = hands.make(change)
    except (FakehwError, OSError) as error:
        problem = str(error)
    _enter(ledger, change, written_at, wanted, problem, patience_s)


def _restore(ledger: receipts.Ledger, hands: Hands, patience_s: float) -> int:
    """Restore, enter that as a receipt, and return how many devices are not as they were."""
    written_at = time.time()
    restored = hands.restore()
    if restored.paths or restored.problems:
        change = Change(0.0, RESTORE, Act.SET, restored.paths)
        _enter(ledger, change, written_at, restored.states, "; ".join(restored.problems), patience_s)
    return restored.left


def _enter(
    ledger: receipts.Ledger,
    change: Change,
    written_at: float,
    wanted: Mapping[TreePath, State],
    problem: str,
    patience_s: float,
) -> None:
    receipt = ledger.enter(change, written_at, wanted, problem)
    if not receipt.is_complete:
        asyncio.get_running_loop().call_later(patience_s, ledger.give_up, receipt)


async def _wait(ledger: receipts.Ledger, wake: asyncio.Event) -> None:
    """Wait for the last receipt; each is complete or given up at last."""
    while not ledger.is_complete:
        wake.clear()
        await wake.wait()


Item = TypeVar("Item")


def _each(
    items: Mapping[TreePath, Item], act: Callable[[Mapping[TreePath, Item]], None], problems: list[str]
) -> list[TreePath]:
    """Do it for all at once, and if that fails for each on its own; return those for which it was done."""
    if not items or _try(lambda: act(items), "", []):
        return list(items)
    return [
        path
        for path, item in items.items()
        if _try(lambda path=path, item=item: act({path: item}), f"{path}", problems)  # type: ignore[misc]  # bound
    ]


def _try(act: Callable[[], None], what: str, problems: list[str]) -> bool:
    try:
        act()
    except (FakehwError, OSError) as error:
        problems.append(f"{what}: {error}")
        return False
    return True


def _refuse_unrestorable(timeline: Sequence[Change], before: Snapshot) -> None:
    devices = dict(before.devices())
    touched = dict.fromkeys((path, change.name) for change in timeline for path in change.paths)
    lines = [
        f"{path}: {name} file {value.reason}: must be a file of one value, or it could not be restored"
        for path, name in touched
        if isinstance(value := devices[path].attributes.get(name), Unreadable)
    ]
    if lines:
        raise InputError(*lines)


def _resources(tree: Snapshot, domain: str) -> dict[str, str | None]:
    resources: dict[str, str | None] = {}
    for path, _ in tree.devices():
        assert path.class_name is not None
        value = tree.nodes[path.node].classes[path.class_name].resource
        given = value if isinstance(value, str) else layout.default_resource(path.class_name, domain)
        resources[path.id] = given
    return resources


def _by_dra(tree: Snapshot, api: str) -> set[str]:
    return {
        path.id
        for path, _ in tree.devices()
        if tree.nodes[path.node].classes[str(path.class_name)].settings.get(layout.API, api) == layout.DRA
    }


def _state(health: Health | None, reason: str) -> State:
    return State("Healthy" if health is Health.HEALTHY else "Unhealthy", reason)
