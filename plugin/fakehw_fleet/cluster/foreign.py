"""Nodes of the same names that others have made: a fleet touches none of them, and does not begin beside them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fakehw.errors import FakehwError
from fakehw_fleet.cluster import objects
from kubeapi import errors
from kubeapi.resources import NODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fakehw_fleet.members import Member
    from kubeapi.client import Client

RETRY_S: Final = 1.0
MOST_LINES: Final = 20


async def refuse(
    client: Client, members: Iterable[Member], *, fleet: str, on_error: Callable[[Exception], None]
) -> None:
    """Look at the Nodes that are there, however long the server is away; FakehwError names those of others."""
    while True:
        try:
            listed = await client.list(NODES)
            break
        except errors.UnavailableError as error:
            on_error(error)
            await asyncio.sleep(RETRY_S)
    found = {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in listed.get("items") or []}
    lines = []
    for member in members:
        owner = found.get(member.name, {}).get(objects.FLEET_LABEL)
        if member.name in found and owner != fleet:
            whose = f"of the fleet {owner!r}" if owner else "that no fleet made"
            lines.append(f"{member.name}: there is a node of this name {whose}: it is left alone (SPEC, --name)")
    if lines:
        raise FakehwError(*lines[:MOST_LINES])
