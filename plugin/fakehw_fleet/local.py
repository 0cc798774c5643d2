"""A fleet with no cluster: every node a fake kubelet and the plugin, pods placed by a scheduler of our own."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from fakehw import FakeTree
from fakehw_fleet.members import members_of, owners
from fakehw_fleet.metrics import Counts, counts_of
from fakehw_fleet.plugins import Plugins
from fakehw_fleet.summary import Summary, summarize
from fakekubelet import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from fakehw.spec.topology import Topology


class LocalFleet:
    """Builds the tree at `root` and runs its nodes, while it is entered."""

    def __init__(self, topology: Topology, root: Path, *, domain: str, tell: Callable[[str], None]) -> None:
        self.members = members_of(topology)
        self.root = root
        self.cluster = LocalCluster([member.name for member in self.members])
        self.plugins = Plugins(root, owners(self.members), domain=domain)
        self.requests: Counter[tuple[str, str]] = Counter()
        """To an API server: none."""
        self._topology = topology
        self._tell = tell
        self._life = contextlib.AsyncExitStack()

    async def __aenter__(self) -> LocalFleet:
        await asyncio.to_thread(FakeTree(self.root, tell=self._tell).build, self._topology)
        async with contextlib.AsyncExitStack() as life:
            await life.enter_async_context(self.cluster)
            life.push_async_callback(self._stop_kubelets)
            await life.enter_async_context(self.plugins)
            for member in self.members:
                kubelet = self.cluster.nodes[member.name]
                self.plugins.add(member, kubelet.plugin_dir, kubelet.pod_resources_socket)
            self.plugins.start()
            self._life = life.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._life.__aexit__(kind, error, tb)

    async def _stop_kubelets(self) -> None:
        """All at once; one after the other, as the cluster does it, a thousand would take minutes."""
        await asyncio.gather(*(kubelet.stop(remove_sockets=True) for kubelet in self.cluster.nodes.values()))

    @property
    def counts(self) -> Counts:
        """Return what its plugins have counted."""
        return counts_of(self.plugins.counts)

    @property
    def ready(self) -> int:
        """Count the nodes that advertise all that the tree has for them."""
        return sum(self._is_ready(member.name) for member in self.members)

    def summary(self) -> Summary:
        """Return it in numbers."""
        phases = [one.phase.value for one in self.cluster.pods.values()]
        notes = [f"{name}: {one.message}" for name, one in self.cluster.pods.items() if one.phase.value == "Pending"]
        return summarize(self.cluster.nodes, ready=self.ready, pods=phases, notes=notes[:3])

    def _is_ready(self, name: str) -> bool:
        plugin = self.plugins.nodes.get(name)
        return plugin is not None and plugin.is_listed_in(self.cluster.nodes[name].node_status.capacity)
