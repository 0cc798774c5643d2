"""`fakehw-fleet export`: the nodes of a topology for others to play, and their status as a tree changes."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fakehw import FakeTree, output, parser
from fakehw.errors import FakehwError, InputError
from fakehw_fleet import kwok
from fakehw_fleet.commands import cluster_flags
from fakehw_fleet.members import is_by_dra, members_of, owners, served_by_dra
from fakehw_plugin import logs

if TYPE_CHECKING:
    import argparse

    from fakehw.spec.topology import Topology
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
            _print(kwok.node(member, kwok.healthy_of(topology, member)))
        if served_by_dra(topology):
            _print_slices(topology, members, domain=arguments.domain)
        return
    if arguments.root is None:
        raise InputError("a tree must be named whose health is to be followed (--root)")
    logs.configure(level="warning", stream=sys.stderr)
    try:
        asyncio.run(_watch(arguments, topology, members))
    except KeyboardInterrupt:
        output.remark("the Nodes stay as they are")


def _print(document: dict[str, Any]) -> None:
    output.say("---\n" + json.dumps(document))


def _print_slices(topology: Topology, members: list[Member], *, domain: str) -> None:
    """Print them as the driver would publish them for a tree that has just been built."""
    from fakehw_fleet import pools

    with tempfile.TemporaryDirectory(prefix="fakehw-export-") as scratch:
        root = Path(scratch) / "tree"
        FakeTree(root, tell=lambda _: None).build(topology)
        logs.configure(level="error", stream=sys.stderr)
        for pool in asyncio.run(pools.read(root, owners(members), domain=domain)):
            for document in pools.slices(pool):
                _print(document)


async def _watch(arguments: argparse.Namespace, topology: Topology, members: list[Member]) -> None:
    from fakehw.view.follower import Follower

    access = cluster_flags.access(arguments)
    from fakehw_fleet import kwok_watch  # with aiohttp, which may not be installed
    from kubeapi import errors
    from kubeapi.client import Client

    owner_of = owners(members)
    by_dra = {
        (node.name, name) for node in topology.nodes.values() for name, one in node.classes.items() if is_by_dra(one)
    }
    try:
        async with Client(access, user_agent="fakehw-fleet") as client:
            await kwok_watch.check(client, {member.name for member in members})
            with Follower(arguments.root, domain=arguments.domain, tell=output.remark) as follower:
                work = [kwok_watch.statuses(client, follower, owner_of, by_dra)]
                if by_dra:
                    work.append(kwok_watch.slices(client, arguments.root, owner_of, domain=arguments.domain))
                await asyncio.gather(*work)
    except errors.ApiError as error:
        raise FakehwError(f"{access.server}: {error}") from error
