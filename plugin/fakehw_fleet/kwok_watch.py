"""Nodes that KWOK plays, kept in line with a tree: their status, and the slices of classes by DRA."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fakehw import output
from fakehw.errors import FakehwError, InputError
from fakehw_fleet import kwok
from fakehw_fleet.cluster.slices import Slices
from fakehw_fleet.pools import Pools
from fakehw_plugin import logs
from fakehw_plugin.dra.publisher import Publisher
from kubeapi import errors
from kubeapi.client import Patch
from kubeapi.resources import NODES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from fakehw.view.follower import Follower
    from fakehw_plugin.dra.pool import DevicePool
    from kubeapi.client import Client

Class = tuple[str, str | None]
"""A fake node and a class of it."""

RETRY_FOR_S = 600.0


async def check(client: Client, names: Collection[str]) -> None:
    """Look whose the Nodes are; InputError names those that are not KWOK's: they have a kubelet that knows better."""
    listed = (await client.list(NODES, retry_for_s=RETRY_FOR_S)).get("items") or []
    foreign = sorted(
        one["metadata"]["name"]
        for one in listed
        if one["metadata"]["name"] in names and kwok.ANNOTATION not in (one["metadata"].get("annotations") or {})
    )
    if foreign:
        lines = [f"{name}: this Node is not KWOK's ({kwok.ANNOTATION}): it is left alone (SPEC)" for name in foreign]
        raise InputError(*lines[:20])


async def statuses(client: Client, follower: Follower, owner_of: Mapping[str, str], by_dra: Collection[Class]) -> None:
    """Patch the status of Nodes as the tree changes, for ever. `by_dra` are classes that are no resource."""
    due = set(owner_of.values())
    while True:
        for name, (capacity, allocatable) in counts(follower, owner_of, by_dra, due).items():
            body = {"status": kwok.status(capacity, allocatable)}
            try:
                await client.patch(
                    NODES, name, body, kind=Patch.STRATEGIC, subresource="status", retry_for_s=RETRY_FOR_S
                )
            except errors.NotFoundError:
                output.remark(f"{name}: no such Node: passed over")
            except errors.ApiError as error:
                raise FakehwError(f"{name}: {error}") from error
        happened = await follower.happenings()
        due = {owner_of[one.path.node] for one in happened if one.path.node in owner_of}


async def slices(client: Client, root: Path, owner_of: Mapping[str, str], *, domain: str) -> None:
    """Publish the slices of classes by DRA as the tree changes, for ever."""
    async with asyncio.TaskGroup() as group:
        followed = Slices(group, set(owner_of.values()))

        def publish(pool: DevicePool) -> None:
            publisher = Publisher(
                client, pool, telemetry=pools.counts, log=logs.get_logger(driver=pool.driver), follow=followed.follow
            )
            group.create_task(publisher.run(), name=f"slices of {pool.node}")

        pools = Pools(root, owner_of, domain=domain, on_pool=publish)
        await pools.pump.run()


def counts(
    follower: Follower, owner_of: Mapping[str, str], by_dra: Collection[Class], due: Collection[str]
) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Return capacity and allocatable of the nodes in `due`, classes without a device included."""
    found: dict[str, tuple[dict[str, int], dict[str, int]]] = {name: ({}, {}) for name in due}
    for path, resource in follower.resources.items():
        if (
            resource is None
            or (owner := owner_of.get(path.node)) not in found
            or (path.node, path.class_name) in by_dra
        ):
            continue
        for numbers in found[owner]:
            numbers.setdefault(resource, 0)
    for path, sight in follower.devices.items():
        resource = follower.resource_of(path)
        if (
            resource is None
            or (owner := owner_of.get(path.node)) not in found
            or (path.node, path.class_name) in by_dra
        ):
            continue
        capacity, allocatable = found[owner]
        capacity[resource] = capacity.get(resource, 0) + 1
        allocatable[resource] = allocatable.get(resource, 0) + (sight.health == "healthy")
    return found
