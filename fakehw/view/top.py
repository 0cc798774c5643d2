"""`fakehw top`: the tree as a live table, with keys that break, mend, plug and unplug what is selected.

The only module that knows textual, which is an optional dependency (the extra `top`). What is shown follows the tree by
inotify; nothing is polled but the holders, because the kubelet's PodResources has no way to wait for a change.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from typing import TYPE_CHECKING, ClassVar, Final

from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.widgets import Footer, Header, Static

from fakehw import layout
from fakehw.errors import FakehwError
from fakehw.layout import Health, TreePath
from fakehw.tree.writer import FakeTree
from fakehw.view import pod_resources
from fakehw.view.follower import Follower
from fakehw.view.top_table import PathTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from textual.app import ComposeResult

HOLDERS_EVERY_S: Final = 2.0
REASON: Final = "broken in fakehw top"

_CLASSES: Final = {"CLASS": 22, "RESOURCE": 28, "HOST": 20, "DEVICES": 9, "HEALTHY": 9, "UNHEALTHY": 0}
_DEVICES: Final = {"DEVICE": 22, "HEALTH": 11, "NUMA": 6, "CHANGED": 10, "HELD BY": 26, "REASON": 0}
_COLOURS: Final = {"healthy": "green", "unhealthy": "bold red", "unplugged": "dim"}


class Top(App[None]):
    """The view of one tree. `clock` gives the wall clock's time of what happens."""

    CSS = """
    #classes { border-bottom: solid $primary; }
    #devices { height: 1fr; }
    #said { height: 1; padding: 0 1; color: $text-muted; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[Binding]] = [  # type: ignore[assignment]  # a narrower list than the base's
        Binding("b", "set('unhealthy')", "break"),
        Binding("m", "set('healthy')", "mend"),
        Binding("u", "unplug", "unplug"),
        Binding("p", "plug", "plug"),
        Binding("f", "filter", "only unhealthy"),
        Binding("tab", "switch", "devices or classes", priority=True),
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),  # what every other program ends by
    ]

    def __init__(
        self,
        root: Path,
        sockets: Sequence[Path] = (),
        *,
        domain: str = layout.DEFAULT_DOMAIN,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.title, self.sub_title = "fakehw top", str(root)
        self._fake_root = root
        self._sockets = sockets
        self._fake_tree = FakeTree(root)
        self._follower = Follower(root, domain=domain, clock=clock, tell=self._say)
        self._changed: dict[TreePath, float] = {}
        self._unplugged: dict[TreePath, None] = {}
        """Devices that went while we looked: their rows stay, so that they can be plugged in again."""
        self._counts: dict[TreePath, list[int]] = {}
        """Healthy and unhealthy devices of each class."""
        self._holders: dict[str, str] = {}
        self._is_filtered = False

    def compose(self) -> ComposeResult:
        """Build the screen."""
        yield Header()
        yield PathTable(_CLASSES, self._class_row, id="classes")
        yield PathTable(_DEVICES, self._device_row, id="devices")
        yield Static(id="said")
        yield Footer()

    def on_mount(self) -> None:
        """Fill the tables and begin to follow the tree."""
        self._follower.__enter__()
        self._fill_devices()
        self._fill_classes()
        self.device_table.focus()
        self.run_worker(self._follow(), name="follow the tree", exit_on_error=True)
        if self._sockets:
            self.run_worker(self._ask_holders(), name="ask who holds what", exit_on_error=True)

    def on_unmount(self) -> None:
        """Let go of the tree."""
        self._follower.__exit__()

    @property
    def class_table(self) -> PathTable:
        """Return the table of classes."""
        return self.query_one("#classes", PathTable)

    @property
    def device_table(self) -> PathTable:
        """Return the table of devices."""
        return self.query_one("#devices", PathTable)

    # What happens in the tree.

    async def _follow(self) -> None:
        try:
            while True:
                happenings = await self._follower.happenings()
                is_order_new = self._is_filtered
                for happening in happenings:
                    path = happening.path
                    self._changed[path] = happening.at
                    if happening.now is None:
                        self._unplugged[path] = None
                    elif happening.was is None:
                        is_order_new |= self._unplugged.pop(path, "new") == "new"
                if is_order_new:
                    self._fill_devices()
                self.device_table.refresh()
                self._fill_classes()
        except FakehwError as error:
            self.exit(message=f"fakehw: {error}")

    async def _ask_holders(self) -> None:
        while True:
            holders: dict[str, str] = {}
            with contextlib.suppress(pod_resources.UnknownError, ValueError):
                for answer in await asyncio.gather(*map(pod_resources.holders, self._sockets)):
                    holders |= answer
            if holders != self._holders:
                self._holders = holders
                self.device_table.refresh()
            await asyncio.sleep(HOLDERS_EVERY_S)

    # What is shown.

    def _device_row(self, path: TreePath) -> list[Text]:
        sight = self._follower.devices.get(path)
        health = sight.health.value if sight else "unplugged"
        changed = self._changed.get(path)
        at = datetime.datetime.fromtimestamp(changed).astimezone().strftime("%H:%M:%S") if changed else ""
        return [
            Text(str(path).removeprefix("/")),
            Text(health, _COLOURS[health]),
            Text("-" if sight is None or sight.numa_node is None else str(sight.numa_node)),
            Text(at),
            Text(self._holders.get(path.id, "")),
            Text(sight.reason if sight else ""),
        ]

    def _class_row(self, path: TreePath) -> list[Text]:
        healthy, unhealthy = self._counts[path]
        return [
            Text(str(path).removeprefix("/")),
            Text(self._follower.resources.get(path) or "-"),
            Text(self._follower.host_of(path) or "any"),
            Text(str(healthy + unhealthy)),
            Text(str(healthy), "green" if healthy else "dim"),
            Text(str(unhealthy), "bold red" if unhealthy else "dim"),
        ]

    def _fill_devices(self) -> None:
        devices = self._follower.devices
        shown = [
            path
            for path in {*devices, *self._unplugged}
            if not self._is_filtered or path not in devices or devices[path].health is Health.UNHEALTHY
        ]
        self.device_table.show(sorted(shown, key=lambda path: path.sort_key))

    def _fill_classes(self) -> None:
        counts: dict[TreePath, list[int]] = {path: [0, 0] for path in self._follower.resources}
        for path, sight in self._follower.devices.items():
            counts.setdefault(TreePath(path.node, path.class_name), [0, 0])[sight.health is Health.UNHEALTHY] += 1
        self._counts = counts
        self.class_table.show(sorted(counts, key=lambda path: path.sort_key))
        self.class_table.styles.height = min(len(counts) + 2, 10)
        broken = sum(unhealthy for _, unhealthy in counts.values())
        self.title = f"{len(self._follower.hosts)} nodes, {len(self._follower.devices)} devices, {broken} unhealthy"

    # What the keys do.

    async def _do(self, words: str, act: Callable[[TreePath], object]) -> None:
        path = (self.class_table if self.class_table.has_focus else self.device_table).selected
        if path is None:
            return
        try:
            await asyncio.to_thread(act, path)  # another writer may hold the lock
            self._say(f"{path} {words}")
        except FakehwError as error:
            self._say("; ".join(error.lines))

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(Text(text))

    async def action_set(self, health: str) -> None:
        """Break or mend what is selected: a device, or all devices of a class."""
        reason = REASON if health == layout.Health.UNHEALTHY else ""
        await self._do(health, lambda path: self._fake_tree.set_health(path, health, reason=reason))

    async def action_unplug(self) -> None:
        """Pull out what is selected."""
        await self._do("unplugged", self._fake_tree.unplug)

    async def action_plug(self) -> None:
        """Plug what is selected in again."""
        await self._do("plugged in", self._fake_tree.plug)

    def action_switch(self) -> None:
        """Go over to the other table."""
        (self.device_table if self.class_table.has_focus else self.class_table).focus()

    def action_filter(self) -> None:
        """Show only what is unhealthy or unplugged, or everything again."""
        self._is_filtered = not self._is_filtered
        self._fill_devices()
        self._say("only what is unhealthy or unplugged" if self._is_filtered else "all devices")


def run(root: Path, sockets: Iterable[Path], *, domain: str = layout.DEFAULT_DOMAIN) -> None:
    """Show the tree until `q`; InputError if there is none."""
    with Follower(root):
        pass  # a mistake in --root is said before the terminal changes
    Top(root, tuple(sockets), domain=domain).run()
