"""Taking away what a fleet made: its Nodes and their leases, each only if it is still the one that was made."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from fakehw_fleet.cluster import objects
from kubeapi import errors
from kubeapi.resources import LEASES, NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubeapi.client import Client

WITHIN_S: Final = 60.0
"""How long a server may take to let all nodes of a fleet go that ends."""
AT_ONCE: Final = 16


async def leave(
    client: Client, uids: Mapping[str, str], *, on_error: Callable[[Exception], None], tell: Callable[[str], None]
) -> bool:
    """Take these Nodes and their leases away; what a server that is away keeps, `down` takes. True if none is left."""
    gone = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITHIN_S):
            gone = await remove(client, uids, on_error=on_error)
    if gone < len(uids):
        tell(f"{len(uids) - gone} nodes are left behind: `fakehw-fleet down` takes them away")
    return gone == len(uids)


async def remove(client: Client, uids: Mapping[str, str], *, on_error: Callable[[Exception], None]) -> int:
    """Delete these Nodes, by name and UID, and their leases; return how many Nodes went."""
    gate = asyncio.Semaphore(AT_ONCE)
    gone = 0

    async def remove_one(name: str, uid: str) -> None:
        nonlocal gone
        async with gate:
            try:
                await _remove_lease(client, name, uid)
                with contextlib.suppress(errors.NotFoundError, errors.ConflictError):  # gone, or another's by now
                    await client.delete(NODES, name, uid=uid)
                    gone += 1
            except errors.ApiError as error:
                on_error(error)

    await asyncio.gather(*(remove_one(name, uid) for name, uid in uids.items()))
    return gone


async def _remove_lease(client: Client, name: str, node_uid: str) -> None:
    """Delete the lease of a Node, if it is that Node's."""
    try:
        lease = await client.get(LEASES, name, namespace=objects.LEASE_NAMESPACE)
    except errors.NotFoundError:
        return
    owners = lease["metadata"].get("ownerReferences") or []
    if any(owner.get("uid") == node_uid for owner in owners):
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):
            await client.delete(LEASES, name, namespace=objects.LEASE_NAMESPACE, uid=lease["metadata"]["uid"])


async def nodes_of(client: Client, fleet: str) -> dict[str, str]:
    """Return the Nodes that a fleet made, with their UIDs."""
    found = await client.list(NODES, label_selector=f"{objects.FLEET_LABEL}={fleet}")
    return {one["metadata"]["name"]: one["metadata"]["uid"] for one in found.get("items") or []}
