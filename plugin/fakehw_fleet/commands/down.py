"""`fakehw-fleet down`: take the Nodes and leases of a fleet away that does not run any more."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from fakehw import output, parser
from fakehw.errors import FakehwError
from fakehw_fleet import state as states
from fakehw_fleet.commands import cluster_flags

if TYPE_CHECKING:
    import argparse

    from kubeapi.access import Access


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "down",
        "delete the Nodes and leases that a fleet made and left behind, and what it kept on this machine",
        run=run,
        examples="  fakehw-fleet down --kubeconfig ~/.kube/config",
    )
    command.add_argument("--kubeconfig", metavar="FILE", default="", help="the cluster's (default: as kubectl)")
    cluster_flags.add(command)


def run(arguments: argparse.Namespace) -> int:
    """Delete them; 1 if some could not be."""
    access = cluster_flags.access(arguments)
    with states.opened(cluster_flags.state(arguments)) as (state, _):  # while a fleet runs it takes its own along
        code = asyncio.run(_down(arguments, access))
        if not code:
            shutil.rmtree(state)
    return code


async def _down(arguments: argparse.Namespace, access: Access) -> int:
    from fakehw_fleet.cluster import leaving
    from kubeapi import errors
    from kubeapi.client import Client

    problems: list[Exception] = []
    try:
        async with Client(access, user_agent="fakehw-fleet", connections=16) as client:
            found = await leaving.nodes_of(client, arguments.name)
            gone = await leaving.remove(client, found, on_error=problems.append)
    except errors.ApiError as error:
        raise FakehwError(f"{access.server}: {error}") from error
    for problem in problems[:3]:
        output.remark(str(problem))
    output.confirm(f"{gone} of {len(found)} nodes of the fleet {arguments.name} deleted")
    return 1 if problems else 0
