"""The kubelets of a fleet: made, started with the pods that ran before, stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from fakehw_fleet.cluster import node, pods
from fakehw_fleet.cluster.node import FleetNode
from fakekubelet import FakeKubelet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from fakehw_fleet.cluster.options import Options
    from fakehw_fleet.cluster.pod_sync import PodSync
    from fakehw_fleet.cluster.sight import Sight
    from fakehw_fleet.members import Member
    from fakekubelet.dra.view import View
    from kubeapi.resources import Object

_STARTS: Final = 32
"""Kubelets that start at once."""

REGISTRY_LOOK_S: Final = 1.0
"""Between two looks for DRA drivers, as the kubelet's own loop has it: a thousand nodes cannot have inotify each."""


class Kubelets:
    """Fills `nodes`. What the cluster has of them and of their pods is adopted. With a `view` they have a DRA half."""

    def __init__(self, nodes: dict[str, FleetNode], state: Path, options: Options, *, view: View | None) -> None:
        self._view = view
        self._nodes = nodes
        self._state = state
        self._options = options

    async def start(
        self, members: Iterable[Member], sight: Sight, pod_sync: PodSync, *, on_change: Callable[[str], None]
    ) -> None:
        """Start them all; `on_change` hears in whose something happened from then on."""
        running: dict[str, list[Object]] = {}
        for _, found in sight.pods_of_nodes():
            if pods.is_started(found):
                running.setdefault(found["spec"]["nodeName"], []).append(found)
        gate = asyncio.Semaphore(_STARTS)

        async def start(member: Member) -> None:
            one = self._nodes[member.name] = FleetNode(member, self._kubelet(member))
            one.found = sight.node(member.name)
            for found in running.get(member.name, []):
                pod_sync.adopt(one, found)
            async with gate:
                one.kubelet.plugin_dir.mkdir(parents=True, exist_ok=True)
                if self._view is not None:
                    node.cdi_dir(self._state, member.name).mkdir(exist_ok=True)
                await one.kubelet.start()
            for found in running.get(member.name, []):
                pod_sync.compare(one, found)
            one.kubelet.changes.subscribe(lambda: on_change(member.name))

        await asyncio.gather(*(start(member) for member in members))

    async def stop(self) -> None:
        """Stop them all, at once."""
        await asyncio.gather(*(one.kubelet.stop(remove_sockets=True) for one in self._nodes.values()))

    def _kubelet(self, member: Member) -> FakeKubelet:
        return FakeKubelet(
            node.plugin_dir(self._state, member.name),
            node_name=member.name,
            pod_resources_socket=node.pod_resources_socket(self._state, member.name),
            node_status_period_s=self._options.status_every_s,
            **self._dra(member.name),
        )

    def _dra(self, name: str) -> dict[str, Any]:
        if self._view is None:
            return {}
        return {
            "api": self._view,
            "plugins_registry": node.registry_dir(self._state, name),
            "registry_look_s": REGISTRY_LOOK_S,
            "cdi_dirs": [node.cdi_dir(self._state, name)],
        }
