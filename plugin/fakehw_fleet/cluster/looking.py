"""A look now and then at kubelets: at those in which something happened, and at all for what is due by the clock."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from fakehw_fleet.cluster.node import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fakehw_fleet.cluster.node import FleetNode
    from fakehw_fleet.cluster.pods import PodKey

REPORT_EVERY_S: Final = 300.0
"""A status is told so often though nothing has changed, as kubelets do (nodeStatusReportFrequency)."""

LOOK_S: Final = 0.02
"""Between two looks at kubelets in which something happened."""
TRIM_S: Final = 30.0


class Looking:
    """Notes nodes and pods whose state the cluster does not know, and nodes that have been quiet for long (`on_due`).

    `at_once`: kubelets do not wait for their period.
    """

    def __init__(
        self,
        nodes: Mapping[str, FleetNode],
        *,
        at_once: bool,
        on_node: Callable[[str], None],
        on_due: Callable[[str], None],
        on_pod: Callable[[PodKey], None],
    ) -> None:
        self._on_due = on_due
        self._nodes = nodes
        self._at_once = at_once
        self._on_node = on_node
        self._on_pod = on_pod
        self._touched: set[str] = set()
        self._has_touched = asyncio.Event()

    def touch(self, name: str) -> None:
        """Take note that something happened in a node's kubelet."""
        self._touched.add(name)
        self._has_touched.set()

    async def look(self) -> None:
        """Look at kubelets in which something happened, a few at a time, for ever."""
        while True:
            await self._has_touched.wait()
            await asyncio.sleep(LOOK_S)
            self._has_touched.clear()
            touched, self._touched = self._touched, set()
            for name in touched:
                await self._look_at(self._nodes[name])

    async def _look_at(self, one: FleetNode) -> None:
        kubelet = one.kubelet
        if self._at_once and kubelet.is_up and not kubelet.is_node_status_current:
            await kubelet.tick()
        if not one.is_posted:
            self._on_node(one.name)
        for synced in (kubelet.synced_pods, *((kubelet.dra.synced_pods,) if kubelet.dra is not None else ())):
            if synced:
                uids, synced[:] = set(synced), []
                for key, record in one.pods.items():
                    if record.uid in uids:
                        self._on_pod(key)

    async def trim(self) -> None:
        """Let kubelets forget what only tests look at, and say now and then that nodes are well; for ever."""
        while True:
            await asyncio.sleep(TRIM_S)
            now = time.monotonic()
            for one in self._nodes.values():
                kubelet = one.kubelet
                for resource in kubelet.capacity:
                    del kubelet.history(resource)[:-1]
                kubelet.calls.calls[:] = [call for call in kubelet.calls.calls if call.is_open]
                del kubelet.registrations[:-1]
                if kubelet.dra is not None:
                    del kubelet.dra.health_messages[:], kubelet.dra.arrivals[:-1]
                if one.state is State.UP and now - one.posted_at > REPORT_EVERY_S:
                    one.must_post = True
                    self._on_due(one.name)
