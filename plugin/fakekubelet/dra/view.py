"""What the DRA half of a kubelet needs of an API server, and that of the fake one in the same process."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Set

    from fakekubelet.apiserver.server import ApiServer

Object = dict[str, Any]


class FetchError(Exception):
    """An object cannot be read now; the text is what a kubelet says of it."""


@runtime_checkable
class View(Protocol):
    """An API server as the DRA half of a kubelet sees it."""

    async def claim(self, namespace: str, name: str) -> Object:
        """Return a ResourceClaim; FetchError if that cannot be."""

    async def pods(self, node: str) -> Set[str] | None:
        """Return the UIDs of the pods of a node; None while nobody can say."""

    async def wipe(self, node: str, driver: str) -> bool:
        """Delete the slices of a driver on a node, of all drivers if it is empty; tell whether that could be done."""


class InMemory:
    """The view of a fake API server. A View."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    async def claim(self, namespace: str, name: str) -> Object:
        """Return a ResourceClaim."""
        if not self._api.is_up:
            raise FetchError("connection refused")
        claim = self._api.find("resourceclaims", name, namespace)
        if claim is None:
            raise FetchError(f'resourceclaims.resource.k8s.io "{name}" not found')
        return claim

    async def pods(self, node: str) -> Set[str] | None:
        """Return the UIDs of the pods of a node."""
        if not self._api.is_up:
            return None
        return {pod["metadata"]["uid"] for pod in self._api.all("pods") if pod["spec"].get("nodeName") == node}

    async def wipe(self, node: str, driver: str) -> bool:
        """Delete the slices of a driver on a node, once its Node object is there."""
        from fakekubelet.apiserver import api_error, kinds, selectors  # with the server, which loads them too

        if not self._api.is_up or self._api.find("nodes", node) is None:
            return False
        wanted = f"spec.nodeName={node}" + (f",spec.driver={driver}" if driver else "")
        test = selectors.of_fields(kinds.BY_PLURAL[kinds.RESOURCE_GROUP, "resourceslices"], wanted)
        for document in self._api.all("resourceslices"):
            if test(document):
                with contextlib.suppress(api_error.ApiError):  # gone already
                    self._api.delete("resourceslices", document["metadata"]["name"])
        return True
