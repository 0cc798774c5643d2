"""Nodes in the cluster brought in line with the nodes of a fleet: joined, told, freed of taints, given up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakehw_fleet.cluster import objects, processes
from fakehw_fleet.cluster.node import State
from kubeapi import errors
from kubeapi.client import Patch
from kubeapi.resources import NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fakehw_fleet.cluster.leases import Leases
    from fakehw_fleet.cluster.node import FleetNode
    from fakehw_fleet.cluster.options import Options
    from kubeapi.client import Client

WAIT_FOR_PLUGIN_S = 0.2


class NodeSync:
    """Brings Nodes in line, one at a time. `again` is asked to have a node looked at later, `on_joined` hears of it."""

    def __init__(
        self,
        client: Client,
        nodes: Mapping[str, FleetNode],
        leases: Leases,
        options: Options,
        *,
        again: Callable[[str, float], None],
        on_joined: Callable[[str], None],
        tell: Callable[[str], None],
    ) -> None:
        self._client = client
        self._nodes = nodes
        self._leases = leases
        self._options = options
        self._again = again
        self._on_joined = on_joined
        self._tell = tell

    async def bring(self, name: str) -> None:
        """Bring a Node in line with its node."""
        one = self._nodes[name]
        if one.state is State.JOINING:
            if not one.is_plugin_ready and time.monotonic() < one.join_by:
                self._again(name, WAIT_FOR_PLUGIN_S)
                return
            await self._join(one)
        elif one.state is State.UP and one.found is None:
            await self._lose(one)
        if one.state is not State.UP or one.found is None:
            return
        if one.must_post or not one.is_posted or not objects.is_ready(one.found):
            await self._post(one)
        if objects.controllers_taints(one.found) and objects.is_ready(one.found):
            # The controller would take them away too, at five nodes a second.
            await self._untaint(one)

    async def _join(self, one: FleetNode) -> None:
        await one.kubelet.tick()
        one.ready_since = time.time()
        one.must_post = one.found is not None
        if one.found is None:
            taints = [taint._asdict() for taint in one.member.taints]
            if self._options.has_taint:
                taints.append({"key": objects.TAINT_KEY, "value": self._options.name, "effect": "NoSchedule"})
            body = objects.node(
                one.name,
                fleet=self._options.name,
                labels=one.member.labels,
                taints=taints,
                status=one.kubelet.node_status,
                kubelet_version=self._options.kubelet_version,
                now=time.time(),
            )
            one.found = objects.kept_node(await self._client.create(NODES, body))
            one.posted_at = time.monotonic()
        one.state = State.UP
        self._leases.keep(one.name, one.found["metadata"]["uid"])
        self._on_joined(one.name)

    async def _lose(self, one: FleetNode) -> None:
        """Take note that somebody deleted the Node; a real kubelet would go on in vain."""
        one.state = State.GONE
        self._leases.drop(one.name)
        self._tell(f"{one.name}: its Node was deleted: it is no node of the fleet any more")
        await processes.end_all(list(one.pods.values()), processes.EXIT_GRACE_S)
        await one.kubelet.stop()

    async def _post(self, one: FleetNode) -> None:
        body = {"status": objects.node_status(one.kubelet.node_status, now=time.time(), since=one.ready_since)}
        one.must_post = False
        try:
            found = await self._client.patch(NODES, one.name, body, kind=Patch.STRATEGIC, subresource="status")
        except errors.NotFoundError:
            return  # the watch tells
        except errors.ApiError:
            one.must_post = True
            raise
        one.found, one.posted_at = objects.kept_node(found), time.monotonic()

    async def _untaint(self, one: FleetNode) -> None:
        assert one.found is not None
        body = {
            "metadata": {"resourceVersion": one.found["metadata"]["resourceVersion"]},
            "spec": {"taints": objects.without_controllers_taints(one.found)},
        }
        try:
            one.found = objects.kept_node(await self._client.patch(NODES, one.name, body))
        except errors.ConflictError:
            one.found = objects.kept_node(await self._client.get(NODES, one.name))
            self._again(one.name, 0.0)
        except errors.NotFoundError:
            return  # the watch tells
