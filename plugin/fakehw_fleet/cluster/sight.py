"""What the cluster has of a fleet: its Nodes and the pods that are bound to them, by one watch each.

What changed is handed on by name only: whoever works on it looks here for what is true by then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fakehw_fleet.cluster import objects, pods
from kubeapi.follow import Event, EventType, Follow
from kubeapi.resources import NODES, PODS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from fakehw_fleet.cluster.pods import PodKey
    from kubeapi.client import Client
    from kubeapi.errors import ApiError
    from kubeapi.resources import Object


class Sight:
    """Follows the Nodes of the fleet `name`, and the pods on `nodes`; the other arguments are who hears of it.

    `runs`: pods are processes, so what they run is remembered.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        nodes: Collection[str],
        *,
        runs: bool = False,
        on_node: Callable[[str, Object | None], None],
        on_pod: Callable[[PodKey], None],
        on_error: Callable[[ApiError], None],
    ) -> None:
        self._names = nodes
        self._runs = runs
        self._on_node = on_node
        self._on_pod = on_pod
        self._pods = Follow(
            client, PODS, field_selector="spec.nodeName!=", keep=self._keep_pod,
            on_event=self._pod_event, on_error=on_error,
        )  # fmt: skip  # what, then who hears
        self._nodes = Follow(
            client, NODES, label_selector=f"{objects.FLEET_LABEL}={name}", keep=objects.kept_node,
            on_event=self._node_event, on_error=on_error,
        )  # fmt: skip  # likewise
        self._pods_synced, self._nodes_synced = asyncio.Event(), asyncio.Event()

    @property
    def runs(self) -> tuple[Any, Any]:
        """Return what is to run for as long as something is to be seen."""
        return self._pods.run(), self._nodes.run()

    async def is_whole(self) -> None:
        """Wait until all was read once."""
        await self._pods_synced.wait()
        await self._nodes_synced.wait()

    def node(self, name: str) -> Object | None:
        """Return a Node of the fleet, as far as it is needed."""
        return self._nodes.objects.get(("", name))

    def pod(self, key: PodKey) -> Object | None:
        """Return a pod, as far as it is needed; one of another's node has nothing but an empty `nodeName`."""
        return self._pods.objects.get(key)

    def pods_of_nodes(self) -> Iterator[tuple[PodKey, Object]]:
        """Give the pods that are bound to nodes of the fleet."""
        return ((key, found) for key, found in self._pods.objects.items() if found["spec"]["nodeName"])

    def pods_on(self, node: str) -> Iterator[PodKey]:
        """Give the names of the pods that are bound to a node."""
        return (key for key, found in self._pods.objects.items() if found["spec"]["nodeName"] == node)

    def uids_on(self, node: str) -> Iterator[str]:
        """Give the UIDs of the pods that are bound to a node."""
        return (found["metadata"]["uid"] for _, found in self.pods_of_nodes() if found["spec"]["nodeName"] == node)

    def _keep_pod(self, found: Object) -> Object:
        if (found.get("spec") or {}).get("nodeName") in self._names:
            return pods.kept(found, runs=self._runs)
        return {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "spec": {"nodeName": ""}}

    def _pod_event(self, event: Event) -> None:
        if event.type is EventType.SYNCED:
            self._pods_synced.set()
        elif (found := event.was or event.object)["spec"].get("nodeName") or event.object["spec"].get("nodeName"):
            metadata = (event.object if "name" in event.object["metadata"] else found)["metadata"]
            self._on_pod((metadata["namespace"], metadata["name"]))

    def _node_event(self, event: Event) -> None:
        if event.type is EventType.SYNCED:
            self._nodes_synced.set()
        else:
            self._on_node(event.object["metadata"]["name"], None if event.type is EventType.DELETED else event.object)
