"""The DRA half of a fleet's nodes: each has the real driver, and its kubelet asks the real API server for claims."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fakehw_fleet.cluster import node
from fakekubelet.dra.view import FetchError
from kubeapi import errors
from kubeapi.resources import RESOURCE_CLAIMS, RESOURCE_SLICES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Set
    from pathlib import Path

    from fakehw_fleet.cluster.slices import Slices
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.dra.plugin import DraPlugin
    from kubeapi.client import Client
    from kubeapi.resources import Object


class KubeletView:
    """The API server as the kubelets of a fleet see it; `pods_on` gives what the watch of pods has. A view.View."""

    def __init__(self, client: Client, *, uids_on: Callable[[str], Iterable[str]]) -> None:
        self._client = client
        self._uids_on = uids_on

    async def claim(self, namespace: str, name: str) -> Object:
        """Return a ResourceClaim."""
        try:
            return await self._client.get(RESOURCE_CLAIMS, name, namespace=namespace)
        except errors.ApiError as error:
            raise FetchError(str(error)) from error

    async def pods(self, node: str) -> Set[str] | None:
        """Return the UIDs of the pods of a node."""
        return set(self._uids_on(node))

    async def wipe(self, node: str, driver: str) -> bool:
        """Delete the slices of a driver on a node."""
        selector = f"spec.nodeName={node}" + (f",spec.driver={driver}" if driver else "")
        try:
            await self._client.delete_collection(RESOURCE_SLICES, field_selector=selector)
        except errors.ApiError:
            return False
        return True


class Drivers:
    """Makes the DRA plugins of nodes. None of them asks the server for anything before its Node has `joined`."""

    def __init__(self, client: Client, slices: Slices, state: Path, root: Path) -> None:
        self._client = client
        self._slices = slices
        self._state = state
        self._root = root
        self._joined: dict[str, asyncio.Event] = {}

    def joined(self, name: str) -> None:
        """Take note that a node's Node is there."""
        self._joined.setdefault(name, asyncio.Event()).set()

    def state_dir(self, name: str) -> Path:
        """Return where a node's drivers remember claims."""
        return node.directory(self._state, name) / "dra"

    def make(
        self, name: str, group: asyncio.TaskGroup, *, telemetry: Telemetry, on_held: Callable[[], None]
    ) -> DraPlugin:
        """Make the plugin of a node."""
        from fakehw_plugin.dra.plugin import DraPlugin  # not before a class is served by DRA

        joined = self._joined.setdefault(name, asyncio.Event())

        async def find_client() -> Client:
            await joined.wait()
            return self._client

        return DraPlugin(
            group,
            node=name,
            find_client=find_client,
            follow=self._slices.follow,
            registry_dir=node.registry_dir(self._state, name),
            state_dir=self.state_dir(name),
            cdi_dir=node.cdi_dir(self._state, name),
            root=self._root,
            host_root=self._root,
            telemetry=telemetry,
            on_held=on_held,
        )
