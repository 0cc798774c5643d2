"""`fakehw top`: the tree as a live table, with keys that break, mend, plug and unplug what is selected.

The only module that knows textual, which is an optional dependency (the extra `top`). What is shown follows the tree by
inotify; nothing is polled but the holders, because the kubelet's PodResources has no way to wait for a change.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from rich.text import Text
from textual.app import App
from textual.binding import Binding
from textual.widgets import Footer, Header, Input, Static

from fakehw import layout
from fakehw.errors import FakehwError
from fakehw.layout import Health, TreePath
from fakehw.tree.writer import FakeTree
from fakehw.view import pod_resources
from fakehw.view.follower import Follower
from fakehw.view.top_table import KeyTable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from pathlib import Path

    from textual.app import ComposeResult

HOLDERS_EVERY_S: Final = 2.0
REASON: Final = "broken in fakehw top"

_CLASSES: Final = {"CLASS": 18, "HEALTHY": 9, "UNHEALTHY": 11, "RESOURCE": 26, "HOST": 0}
_RESOURCES: Final = {"RESOURCE": 30, "HEALTHY": 9, "UNHEALTHY": 11, "HOST": 0}
_DEVICES: Final = {"DEVICE": 22, "HEALTH": 11, "NUMA": 6, "CHANGED": 10, "HELD BY": 26, "REASON": 0}
_NARROW: Final = {"DEVICE": 17, "HEALTH": 11, "CHANGED": 10, "REASON": 0}
_NARROW_HELD: Final = {"DEVICE": 17, "HEALTH": 11, "HELD BY": 22, "REASON": 0}
_WIDE: Final = 100
"""Columns of a screen from which everything is shown; below, what it is all about: health and reasons."""

_MOST_CLASSES: Final = 8
_SORTS: Final = {False: "in the order of their names", True: "unhealthy first"}
_COLOURS: Final = {"healthy": "green", "unhealthy": "bold red", "unplugged": "dim"}


class Top(App[None]):
    """The view of one tree. `clock` gives the wall clock's time of what happens."""

    CSS = """
    #classes { border-bottom: solid $primary; }
    #devices { height: 1fr; }
    #said { height: 1; padding: 0 1; color: $text-muted; }
    #find { display: none; height: 1; border: none; padding: 0 1; }
    #find.shown { display: block; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[Binding]] = [  # type: ignore[assignment]  # a narrower list than the base's
        Binding("b", "set('unhealthy')", "break"),
        Binding("m", "set('healthy')", "mend"),
        Binding("u", "unplug", "unplug"),
        Binding("p", "plug", "plug"),
        Binding("f", "filter", "bad"),
        Binding("slash", "find", "find", key_display="/"),
        Binding("s", "sort", "sort"),
        Binding("g", "group", "group"),
        Binding("tab", "switch", show=False, priority=True),
        Binding("escape", "find_nothing", show=False),
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
        self._counts: dict[Hashable, list[int]] = {}
        """Healthy and unhealthy devices of each class, or of each resource."""
        self._holders: dict[str, str] = {}
        self._is_filtered = False
        self._is_by_health = False
        self._is_by_resource = False
        self._found = ""
        """What device rows must have in them."""

    def compose(self) -> ComposeResult:
        """Build the screen."""
        yield Header()
        yield KeyTable(lambda _: _RESOURCES if self._is_by_resource else _CLASSES, self._class_row, id="classes")
        yield KeyTable(self._device_columns, self._device_row, id="devices")
        yield Input(placeholder="part of a path, resource, host, holder or reason", id="find")
        yield Static(id="said")
        yield Footer()

    def on_mount(self) -> None:
        """Fill the tables and begin to follow the tree."""
        self._follower.__enter__()
        self._fill_devices()
        self._fill_classes()
        self.device_table.focus()
        self._say("Tab goes to the upper table, whose keys work on all that a row counts")
        self.run_worker(self._follow(), name="follow the tree", exit_on_error=True)
        if self._sockets:
            self.run_worker(self._ask_holders(), name="ask who holds what", exit_on_error=True)

    def on_unmount(self) -> None:
        """Let go of the tree."""
        self._follower.__exit__()

    @property
    def class_table(self) -> KeyTable:
        """Return the table of classes."""
        return self.query_one("#classes", KeyTable)

    @property
    def device_table(self) -> KeyTable:
        """Return the table of devices."""
        return self.query_one("#devices", KeyTable)

    # What happens in the tree.

    async def _follow(self) -> None:
        try:
            while True:
                happenings = await self._follower.happenings()
                is_order_new = self._is_filtered or self._is_by_health or bool(self._found)
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

    def _device_columns(self, width: int) -> Mapping[str, int]:
        if width >= _WIDE:
            return _DEVICES
        return _NARROW_HELD if self._sockets else _NARROW

    def _device_row(self, path: Hashable) -> Mapping[str, Text]:
        assert isinstance(path, TreePath)
        sight = self._follower.devices.get(path)
        health = sight.health.value if sight else "unplugged"
        changed = self._changed.get(path)
        at = datetime.datetime.fromtimestamp(changed).astimezone().strftime("%H:%M:%S") if changed else ""
        return {
            "DEVICE": Text(str(path).removeprefix("/")),
            "HEALTH": Text(health, _COLOURS[health]),
            "NUMA": Text("-" if sight is None or sight.numa_node is None else str(sight.numa_node)),
            "CHANGED": Text(at),
            "HELD BY": Text(pod_resources.holder(self._holders, path.id)),
            "REASON": Text(sight.reason if sight else ""),
        }

    def _class_row(self, key: Hashable) -> Mapping[str, Text]:
        healthy, unhealthy = self._counts[key]
        if isinstance(key, TreePath):
            name, resource = str(key).removeprefix("/"), self._follower.resources.get(key) or "-"
            host = self._follower.host_of(key) or "any"
        else:
            name, resource = "", str(key)
            hosts = {self._follower.host_of(path) or "any" for path in self._classes_of(resource)}
            host = hosts.pop() if len(hosts) == 1 else f"{len(hosts)} hosts"
        return {
            "CLASS": Text(name),
            "HEALTHY": Text(str(healthy), "green" if healthy else "dim"),
            "UNHEALTHY": Text(str(unhealthy), "bold red" if unhealthy else "dim"),
            "RESOURCE": Text(resource),
            "HOST": Text(host),
        }

    def _classes_of(self, resource: str) -> list[TreePath]:
        return [path for path, name in self._follower.resources.items() if (name or "-") == resource]

    def _fill_devices(self) -> None:
        devices = self._follower.devices
        shown: list[TreePath] = [
            path
            for path in {*devices, *self._unplugged}
            if (not self._is_filtered or path not in devices or devices[path].health is Health.UNHEALTHY)
            and (not self._found or self._found in self._words(path))
        ]

        def order(path: TreePath) -> tuple[bool, tuple[Any, ...]]:
            is_healthy = path in devices and devices[path].health is Health.HEALTHY
            return self._is_by_health and is_healthy, path.sort_key

        shown.sort(key=order)
        self.device_table.show(shown)

    def _words(self, path: TreePath) -> str:
        """Return what `/` looks in."""
        sight = self._follower.devices.get(path)
        words = (
            str(path),
            self._follower.resource_of(path) or "",
            self._follower.host_of(path) or "",
            pod_resources.holder(self._holders, path.id),
            sight.health.value if sight else "unplugged",
            sight.reason if sight else "",
        )
        return " ".join(words).lower()

    def _fill_classes(self) -> None:
        counts: dict[Hashable, list[int]] = {self._group(path): [0, 0] for path in self._follower.resources}
        for path, sight in self._follower.devices.items():
            key = self._group(TreePath(path.node, path.class_name))
            counts.setdefault(key, [0, 0])[sight.health is Health.UNHEALTHY] += 1
        self._counts = counts

        def order(key: Hashable) -> tuple[bool, tuple[Any, ...]]:
            is_healthy = not counts[key][1]
            natural = key.sort_key if isinstance(key, TreePath) else layout.natural_key(str(key))
            return self._is_by_health and is_healthy, natural

        self.class_table.show(sorted(counts, key=order))
        self.class_table.styles.height = min(len(counts) + 2, _MOST_CLASSES)
        broken = sum(unhealthy for _, unhealthy in counts.values())
        self.title = f"{len(self._follower.hosts)} nodes, {len(self._follower.devices)} devices, {broken} unhealthy"

    def _group(self, path: TreePath) -> Hashable:
        """Return the row of the upper table in which a class is counted."""
        return (self._follower.resources.get(path) or "-") if self._is_by_resource else path

    # What the keys do.

    async def _do(self, words: str, act: Callable[[list[TreePath]], object]) -> None:
        key = (self.class_table if self.class_table.has_focus else self.device_table).selected
        if key is None:
            return
        paths = [key] if isinstance(key, TreePath) else self._classes_of(str(key))
        paths = [path for path in paths if path.number is not None or len(paths) == 1 or self._has_devices(path)]
        try:
            await asyncio.to_thread(act, paths)  # another writer may hold the lock
            self._say(f"{key} {words}")
        except FakehwError as error:
            self._say("; ".join(error.lines))

    def _has_devices(self, path: TreePath) -> bool:
        return any(device.parts[:2] == path.parts for device in self._follower.devices)

    def _say(self, text: str) -> None:
        self.query_one("#said", Static).update(Text(text))

    async def action_set(self, health: str) -> None:
        """Break or mend what is selected: a device, or all devices of a class."""
        reason = REASON if health == layout.Health.UNHEALTHY else ""
        await self._do(health, lambda paths: self._fake_tree.set_health(paths, health, reason=reason))

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

    def action_sort(self) -> None:
        """Put what is unhealthy first, or everything in the order of names again."""
        self._is_by_health = not self._is_by_health
        self._fill_devices()
        self._fill_classes()
        self._say(f"devices {_SORTS[self._is_by_health]}")

    def action_group(self) -> None:
        """Count by resource, or by class again."""
        self._is_by_resource = not self._is_by_resource
        self._fill_classes()
        self._say("by resource" if self._is_by_resource else "by class")

    def action_find(self) -> None:
        """Ask for what device rows must have in them."""
        field = self.query_one("#find", Input)
        field.add_class("shown")
        field.focus()

    def action_find_nothing(self) -> None:
        """Show all rows again."""
        self._end_find("")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look while it is typed."""
        self._found = event.value.strip().lower()
        self._fill_devices()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep what was typed."""
        self._end_find(event.value)

    def _end_find(self, text: str) -> None:
        field = self.query_one("#find", Input)
        field.value = text
        self._found = text.strip().lower()
        field.remove_class("shown")
        self.device_table.focus()
        self._fill_devices()
        self._say(f"only what has {self._found!r} in it; Esc shows all" if self._found else "all devices")


def run(root: Path, sockets: Iterable[Path], *, domain: str = layout.DEFAULT_DOMAIN) -> None:
    """Show the tree until `q`; InputError if there is none."""
    with Follower(root):
        pass  # a mistake in --root is said before the terminal changes
    Top(root, tuple(sockets), domain=domain).run()
