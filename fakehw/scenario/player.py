"""Carrying out a timeline on a tree: each change at its moment, with a receipt; afterwards everything as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.errors import FakehwError, InputError
from fakehw.layout import Health
from fakehw.scenario import receipts, witnesses
from fakehw.scenario.playhead import Playhead
from fakehw.scenario.receipts import State
from fakehw.scenario.timeline import Act, Change
from fakehw.tree import directory
from fakehw.tree.snapshot import Unreadable
from fakehw.tree.writer import FakeTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from fakehw.layout import TreePath
    from fakehw.scenario.receipts import Receipt
    from fakehw.tree.snapshot import FoundDevice, Snapshot

RESTORE: Final = "restore"
_IN_PLACE: Final = os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
    from_s: float = 0.0
    """The moment of the scenario at which it begins."""


class Hands:
    """What touches the tree: makes the changes, remembers how everything was, and puts it back."""

    def __init__(self, root: Path, before: Snapshot, *, tell: Callable[[str], None]) -> None:
        self._tree = FakeTree(root, tell=tell)
        self._tell = tell
        self._before: dict[TreePath, FoundDevice] = dict(before.devices())
        self._texts: dict[TreePath, str | None] = {}
        """What we left in the health files that we touched; None: we pulled the device out."""
        self._torn: dict[TreePath, tuple[int, bytes]] = {}

    def states(self) -> dict[TreePath, State]:
        """Return how the devices were, as the plugin would say it."""
        return {path: _state(*device.health) for path, device in self._before.items()}

    def make(self, change: Change) -> dict[TreePath, State]:
        """Make a change; return what its devices are to become. Those that are out, or in already, are left out."""
        is_out = {path: path in self._texts and self._texts[path] is None for path in change.paths}
        paths = [path for path in change.paths if is_out[path] == (change.act is Act.PLUG)]
        if not paths:
            return {}
        if change.act is Act.UNPLUG:
            self._close(paths)
            self._tree.unplug(paths)
            self._texts |= dict.fromkeys(paths)
            return dict.fromkeys(paths, State(receipts.REMOVED))
        if change.act is Act.PLUG:
            self._tree.put({path: self._before[path] for path in paths})
            self._texts |= {path: _text(self._before[path]) or "" for path in paths}
            return {path: _state(*self._before[path].health) for path in paths}
        self._texts |= dict.fromkeys(paths, change.text)
        wanted = dict.fromkeys(paths, _state(*layout.parse_health(change.text)))
        if change.act is Act.TEAR:
            for path in paths:
                self._tear(path, change.text)
            return {}
        if change.act is Act.FINISH:
            self._close(paths)
        else:
            self._tree.write_health(dict.fromkeys(paths, change.text))
        return wanted

    def restore(self) -> dict[TreePath, State]:
        """Put back what we changed and nobody else has changed since; return what those devices are to become."""
        self._close(tuple(self._torn))
        now = dict(self._tree.read().devices())
        back: dict[TreePath, FoundDevice] = {}
        texts: dict[TreePath, str | None] = {}
        for path, left in sorted(self._texts.items(), key=lambda item: item[0].sort_key):
            was = self._before[path]
            if (left is None) != (path not in now) or (left is not None and _text(now[path]) != left):
                self._tell(f"{path}: was changed by somebody else meanwhile: left as it is")
            elif left is None:
                back[path] = was
            elif left != _text(was):
                texts[path] = _text(was)
        if back:
            self._tree.put(back)
        if texts:
            self._tree.write_health(texts)
        self._texts.clear()
        return {path: _state(*self._before[path].health) for path in (*back, *texts)}

    def _tear(self, path: TreePath, text: str) -> None:
        self._close([path])
        raw = f"{text}\n".encode()
        with contextlib.ExitStack() as stack:
            root_fd = stack.enter_context(directory.opened(str(self._tree.root.resolve())))
            device_fd = stack.enter_context(directory.opened_below(root_fd, path.parts))
            fd = os.open(layout.HEALTH, _IN_PLACE, dir_fd=device_fd)
        half = len(text.split()[0]) // 2
        self._torn[path] = fd, raw[half:]
        os.write(fd, raw[:half])

    def _close(self, paths: Iterable[TreePath]) -> None:
        """Write the other halves."""
        for path in paths:
            if path in self._torn:
                fd, rest = self._torn.pop(path)
                os.write(fd, rest)
                os.close(fd)


async def run(
    root: Path,
    timeline: Sequence[Change],
    before: Snapshot,
    *,
    lasts_s: float,
    options: Options,
    show: Callable[[Receipt], None],
    tell: Callable[[str], None],
    progress: Callable[[float, int], None] = lambda _at_s, _done: None,
) -> list[Receipt]:
    """Carry out a timeline and return its receipts. When cancelled, restore first.

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
    )
    logs = [witnesses.PluginLog(path, resources=resources) for path in options.plugin_logs]
    with contextlib.ExitStack() as stack:
        for log in logs:
            log.open()
            stack.callback(log.close)
        tasks = [asyncio.create_task(log.run(ledger), name="plugin log") for log in logs]
        if options.pod_resources:
            kubelets = witnesses.Kubelets(options.pod_resources)
            tasks.append(asyncio.create_task(kubelets.run(ledger), name="kubelets"))
        try:
            await _play(timeline, hands, ledger, lasts_s=lasts_s, options=options, progress=progress)
            await _wait(ledger, wake)
        finally:
            if not options.keep:
                _record(ledger, Change(0.0, RESTORE, Act.SET, ()), hands.restore, options.patience_s)
            try:
                if tasks and not _is_cancelled():
                    await _wait(ledger, wake)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    return ledger.receipts


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
        _record(ledger, change, lambda now=change: hands.make(now), options.patience_s)  # type: ignore[misc]  # bound
    await head.reach(lasts_s)


def _record(
    ledger: receipts.Ledger, change: Change, make: Callable[[], Mapping[TreePath, State]], patience_s: float
) -> None:
    """Make a change and enter its receipt. The time of the write is when it began, so no latency looks too short."""
    written_at, problem = time.time(), ""
    wanted: Mapping[TreePath, State] = {}
    try:
        wanted = make()
    except (FakehwError, OSError) as error:
        problem = str(error)
    if change.step == RESTORE:
        change = Change(0.0, RESTORE, Act.SET, tuple(wanted))
        if not wanted and not problem:
            return
    receipt = ledger.enter(change, written_at, wanted, problem)
    if not receipt.is_complete:
        asyncio.get_running_loop().call_later(patience_s, ledger.give_up, receipt)


async def _wait(ledger: receipts.Ledger, wake: asyncio.Event) -> None:
    """Wait for the last receipt; each is complete or given up at last."""
    while not ledger.is_complete:
        wake.clear()
        await wake.wait()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _refuse_unrestorable(timeline: Sequence[Change], before: Snapshot) -> None:
    devices = dict(before.devices())
    touched = dict.fromkeys(path for change in timeline for path in change.paths)
    lines = [
        f"{path}: health file {value.reason}: must be a file of one value, or it could not be restored"
        for path in touched
        if isinstance(value := devices[path].attributes.get(layout.HEALTH), Unreadable)
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


def _text(device: FoundDevice) -> str | None:
    value = device.attributes.get(layout.HEALTH)
    return value if isinstance(value, str) else None


def _state(health: Health | None, reason: str) -> State:
    return State("Healthy" if health is Health.HEALTHY else "Unhealthy", reason)
