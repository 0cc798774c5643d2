"""`kubectl fakehw hands`: put a hand on each node that has the plugin, or take them away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakehw import output
from kubectl_fakehw.commands import cluster_flags, command

if TYPE_CHECKING:
    import argparse

    from fakehw import parser


def add(commands: parser.Commands) -> None:
    """Add the command."""
    added = command.add(
        commands,
        "hands",
        "put a hand on each node that has the plugin",
        run=run,
        examples="  kubectl fakehw hands --remove",
    )
    added.add_argument("--remove", action="store_true", help="take them away")
    cluster_flags.add_cluster(added)


async def run(arguments: argparse.Namespace) -> int:
    """Put them there and wait until they are ready, or take them away."""
    from kubectl_fakehw import installing

    async with cluster_flags.client(arguments) as client:
        if arguments.remove:
            await installing.remove(client, arguments.namespace)
            output.confirm("the hands are gone")
        else:
            number = await installing.install(client, arguments.namespace, timeout_s=arguments.timeout)
            output.confirm(f"{number} hands are ready")
    return 0
