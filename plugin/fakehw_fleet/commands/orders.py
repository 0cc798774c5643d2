"""`fakehw-fleet restart`, `silence` and `speak`: what a running fleet is told from another terminal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fakehw import output, parser
from fakehw_fleet.commands import cluster_flags

if TYPE_CHECKING:
    import argparse


def add(commands: parser.Commands) -> None:
    """Add the commands."""
    for name, text, example in (
        ("restart", "restart the kubelets of nodes; pods keep their devices", "restart gpu-3"),
        ("silence", "have nodes tell the cluster nothing, as if their network were down", "silence gpu-3 --for 90s"),
        ("speak", "have silent nodes tell the cluster everything again", "speak gpu-3"),
    ):
        command = parser.add_command(commands, name, text, run=run, examples=f"  fakehw-fleet {example}")
        command.set_defaults(order=name)
        command.add_argument("nodes", metavar="NODE", nargs="+", help="a node of the fleet")
        if name == "silence":
            command.add_argument(
                "--for", dest="for_s", metavar="DURATION", type=parser.duration, help="then speak again by themselves"
            )
        cluster_flags.add_name(command)


def run(arguments: argparse.Namespace) -> None:
    """Tell the fleet, and say what it did."""
    from fakehw_fleet.cluster import control

    question: dict[str, Any] = {"order": arguments.order, "nodes": arguments.nodes}
    if getattr(arguments, "for_s", None) is not None:
        question["for_s"] = arguments.for_s
    asyncio.run(control.ask(cluster_flags.state(arguments), question))
    output.confirm(f"{', '.join(arguments.nodes)}: {arguments.order}: done")
