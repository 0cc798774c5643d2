"""The plugin of every node, on one tree: one pump reads it, and each device goes to the node that owns it.

A plugin on a real node reads a tree of its own. Here a thousand share one, which is read and watched once: what the
pump brings is sorted by node and handed to the node's own inventories, which serve its own kubelet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Final, Protocol

from fakehw_fleet.directories import Directories
from fakehw_plugin.deviceplugin.plugin import DevicePlugin
from fakehw_plugin.deviceplugin.pod_resources import PodResources
from fakehw_plugin.devices.inventories import Inventories, Side
from fakehw_plugin.devices.pump import Pump
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.dra import LazyDra
from fakehw_plugin.offer import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from fakehw_fleet.members import Member
    from fakehw_plugin.device import DeviceID
    from fakehw_plugin.dra.plugin import DraPlugin
    from fakehw_plugin.offer import Offer
    from fakehw_plugin.tree.known import Changes


class Drivers(Protocol):
    """Where nodes have their DRA plugins from."""

    def state_dir(self, name: str) -> Path:
        """Return where a node's drivers remember claims."""

    def make(
        self, name: str, group: asyncio.TaskGroup, *, telemetry: Telemetry, on_held: Callable[[], None]
    ) -> DraPlugin:
        """Make the plugin of a node."""


RECONCILE_S: Final = 60.0
QUIET_S: Final = 0.005
VANISHED_GRACE_S: Final = 30.0


class NodePlugin:
    """The plugin of one node: its inventories and their sessions with its kubelet, while `run` runs."""

    def __init__(
        self,
        member: Member,
        plugin_dir: Path,
        pod_resources_socket: Path | None,
        *,
        root: Path,
        directories: Directories,
        counts: Telemetry,
        drivers: Drivers | None = None,
    ) -> None:
        self.dra = None if drivers is None else self._lazy_dra(member.name, drivers, counts)
        pod_resources = PodResources(pod_resources_socket)
        self.device_plugin = DevicePlugin(
            plugin_dir,
            root=root,
            host_root=root,
            pre_start_check=False,
            pod_resources=pod_resources,
            telemetry=counts,
            on_allocated=self._note_allocated,
            on_live=lambda: None,
            directory=directories.of(plugin_dir),
        )
        self.inventories = Inventories(
            {Api.DEVICE_PLUGIN: Side(self.device_plugin, pod_resources.held)}
            | ({} if self.dra is None else {Api.DRA: Side(self.dra, self.dra.holders)}),
            vanished_grace_s=VANISHED_GRACE_S,
            telemetry=_NodeCounts.sharing(counts, member.fake_nodes),
        )
        self.offers: set[Offer] | None = None
        """What the tree has for this node; None until it was read."""

    @property
    def is_ready(self) -> bool:
        """Tell whether all that the tree has for this node is registered, with a live stream.

        Not so its drivers, which wait for the Node.
        """
        is_known = self.offers is not None and self.inventories.by_offer.keys() >= self.offers
        return is_known and self.device_plugin.is_ready

    @property
    def resources(self) -> set[Offer]:
        """Return what its kubelet is to advertise."""
        return {offer for offer in self.offers or () if not offer.driver}

    def is_listed_in(self, capacity: Mapping[str, int]) -> bool:
        """Tell whether all that the tree has for this node as resources is in its kubelet's hands, device by device.

        A kubelet that comes up again knows a resource by its checkpoint before it has a list of it.
        """
        numbers = ((offer, len(self.inventories.by_offer[offer].devices)) for offer in self.resources)
        return self.is_ready and all(capacity.get(offer, -1) >= number for offer, number in numbers)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with self.device_plugin, self.dra or contextlib.nullcontext():
            await self.inventories.run()

    async def take(self, offers: set[Offer], changes: Changes, *, at: float | None) -> bool:
        """Take in what the tree has for this node now, and what changed."""
        if not changes and offers == self.offers:
            return False
        self.offers = offers
        has_changed = await self.inventories.take(offers, changes, at=at)
        if self.dra is not None:
            self.dra.note_taken()
        return has_changed

    def _lazy_dra(self, name: str, drivers: Drivers, counts: Telemetry) -> LazyDra:
        def make(group: asyncio.TaskGroup) -> DraPlugin:
            return drivers.make(name, group, telemetry=counts, on_held=lambda: self.inventories.look_again(Api.DRA))

        return LazyDra(make, state_dir=drivers.state_dir(name))

    def _note_allocated(self, device_ids: Iterable[DeviceID]) -> None:
        self.inventories.retentions[Api.DEVICE_PLUGIN].allocated(device_ids)


class Plugins(Inventories):
    """All plugins, and the pump that feeds them, as an async context manager. `owners` says whose a fake node is.

    To the pump it stands in for the inventories of one node. Without `drivers`, classes by DRA are passed over.
    """

    def __init__(self, root: Path, owners: Mapping[str, str], *, domain: str, drivers: Drivers | None = None) -> None:
        self._drivers = drivers
        self.counts = Telemetry()
        super().__init__({}, vanished_grace_s=0.0, telemetry=self.counts)
        self.nodes: dict[str, NodePlugin] = {}
        self.directories = Directories()
        self.pump = Pump(
            root, self, host="", domain=domain, reconcile_s=RECONCILE_S, quiet_s=QUIET_S, telemetry=self.counts,
            nodes=owners,
        )  # fmt: skip  # what, then for whom
        self._root = root
        self._owners = owners
        self._group = asyncio.TaskGroup()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pumping: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Plugins:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End the streams and take the sockets away."""
        for task in (*self._pumping, *self._tasks.values()):
            task.cancel()
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        # Any other error is its own, and no part of a group.
        await self._group.__aexit__(*((kind, error, tb) if is_cancelled else (None, None, None)))

    def add(self, member: Member, plugin_dir: Path, pod_resources_socket: Path | None) -> NodePlugin:
        """Run the plugin of a node, whose directory is there; all are added before `start`."""
        assert not self._pumping, "the pump tells nobody what it has read before"
        node = self.nodes[member.name] = NodePlugin(
            member,
            plugin_dir,
            pod_resources_socket,
            root=self._root,
            directories=self.directories,
            counts=self.counts,
            drivers=self._drivers,
        )
        self._tasks[member.name] = self._group.create_task(node.run(), name=f"plugin of {member.name}")
        return node

    def start(self) -> None:
        """Begin to read the tree."""
        self._pumping = [
            self._group.create_task(self.directories.run(), name="kubelet directories"),
            self._group.create_task(self.pump.run(), name="pump"),
        ]

    async def take(self, offers: set[Offer], changes: Changes, *, at: float | None) -> bool:
        """Sort what the pump read by node, and hand it on."""
        by_node: dict[str, set[Offer]] = {name: set() for name in self.nodes}
        for offer in offers:
            if offer.driver and self._drivers is None:
                continue
            for path in self.pump.scanner.class_paths(offer):
                with contextlib.suppress(KeyError):  # a fake node that somebody added by hand is nobody's
                    by_node[self._owners[path.rsplit("/", 2)[1]]].add(offer)
        changed: defaultdict[str, Changes] = defaultdict(dict)
        for offer, devices in changes.items():
            if offer.driver and self._drivers is None:
                continue
            for device_id, device in devices.items():
                owner = self._owners.get(device_id.rsplit("-", 2)[0])  # neither class nor number has a dash
                if owner is not None:
                    changed[owner].setdefault(offer, {})[device_id] = device
        has_changed = False
        for name, node in self.nodes.items():
            has_changed |= await node.take(by_node[name], changed.get(name, {}), at=at)
        return has_changed


class _NodeCounts(Telemetry):
    """The counts of one node, which are those of all, but for what is forgotten when a resource leaves it."""

    _fake_nodes: frozenset[str]

    @classmethod
    def sharing(cls, counts: Telemetry, fake_nodes: Iterable[str]) -> _NodeCounts:
        shared = cls()
        vars(shared).update(vars(counts))
        shared._fake_nodes = frozenset(fake_nodes)
        return shared

    def forget(self, resource: str) -> None:
        for fake_node in self._fake_nodes:
            self.devices.pop((resource, fake_node), None)
