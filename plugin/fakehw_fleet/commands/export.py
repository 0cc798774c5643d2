"""`fakehw-fleet export`: the nodes of a topology for others to play, and their status as a tree changes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.errors import FakehwError, InputError
from fakehw_fleet import kwok
from fakehw_fleet.commands import cluster_flags
from fakehw_fleet.members import members_of, owners

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Mapping

    from fakehw.view.follower import Follower
    from fakehw_fleet.members import Member

_EXAMPLES: Final = """\
  fakehw-fleet export --kwok gpu-server --nodes 1000 | kubectl apply -f -
  fakehw build --spec gpu-server --root /tmp/tree
  fakehw-fleet export --kwok gpu-server --watch --root /tmp/tree  # and its health follows the tree from then on"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "export",
        "print the nodes of a topology as Node objects for KWOK, or keep their status in line with a tree",
        run=run,
        examples=_EXAMPLES,
    )
    cluster_flags.add_spec(command)
    command.add_argument("--kwok", action="store_true", required=True, help="for KWOK, the only one so far")
    command.add_argument(
        "--watch", action="store_true", help="patch the Nodes of a cluster as the tree at --root changes"
    )
    command.add_argument("--root", metavar="DIR", type=Path, help="the tree, for --watch")
    parser.add_domain(command)
    command.add_argument("--kubeconfig", metavar="FILE", default="", help="the cluster's (default: as kubectl)")
    command.add_argument("--context", metavar="NAME", default="", help="the kubeconfig's context")


def run(arguments: argparse.Namespace) -> None:
    """Print the Nodes, or watch over them."""
    topology = cluster_flags.topology(arguments)
    members = members_of(topology)
    if not arguments.watch:
        for member in members:
            output.say("---\n" + json.dumps(kwok.node(member, kwok.healthy_of(topology, member))))
        return
    if arguments.root is None:
        raise InputError("a tree must be named whose health is to be followed (--root)")
    try:
        asyncio.run(_watch(arguments, members))
    except KeyboardInterrupt:
        output.remark("the Nodes stay as they are")


async def _watch(arguments: argparse.Namespace, members: list[Member]) -> None:
    from fakehw.view.follower import Follower
    from kubeapi import errors
    from kubeapi.client import Client, Patch
    from kubeapi.resources import NODES

    owner_of = owners(members)
    async with Client(cluster_flags.access(arguments), user_agent="fakehw-fleet") as client:
        with Follower(arguments.root, domain=arguments.domain, tell=output.remark) as follower:
            due: set[str] = {member.name for member in members}
            while True:
                for name, (capacity, allocatable) in _counts(follower, owner_of, due).items():
                    body = {"status": kwok.status(capacity, allocatable)}
                    try:
                        await client.patch(
                            NODES, name, body, kind=Patch.STRATEGIC, subresource="status", retry_for_s=600
                        )
                    except errors.NotFoundError:
                        output.remark(f"{name}: no such Node: passed over")
                    except errors.ApiError as error:
                        raise FakehwError(f"{name}: {error}") from error
                happened = await follower.happenings()
                due = {owner_of[one.path.node] for one in happened if one.path.node in owner_of}


def _counts(
    follower: Follower, owner_of: Mapping[str, str], due: Collection[str]
) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Return capacity and allocatable of the nodes in `due`, classes without a device included."""
    found: dict[str, tuple[dict[str, int], dict[str, int]]] = {name: ({}, {}) for name in due}
    for path, resource in follower.resources.items():
        if resource is not None and (owner := owner_of.get(path.node)) in found:
            for counts in found[owner]:
                counts.setdefault(resource, 0)
    for path, sight in follower.devices.items():
        resource = follower.resource_of(path)
        if resource is not None and (owner := owner_of.get(path.node)) in found:
            capacity, allocatable = found[owner]
            capacity[resource] = capacity.get(resource, 0) + 1
            allocatable[resource] = allocatable.get(resource, 0) + (sight.health == "healthy")
    return found
