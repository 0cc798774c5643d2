"""`fakehw-fleet demo`, which is also `fakehw demo`: the story of the tutorial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakehw import parser

if TYPE_CHECKING:
    import argparse


def add(commands: parser.Commands) -> None:
    """Add the command."""
    command = parser.add_command(
        commands,
        "demo",
        "tell the whole story on this machine: a tree, two nodes, pods, a broken device",
        run=run,
        examples="  fakehw-fleet demo --play",
    )
    command.add_argument("--play", action="store_true", help="stay up afterwards, with a live table, until Ctrl-C")


def run(arguments: argparse.Namespace) -> int:
    """Tell it."""
    from fakehw_fleet import demo  # gRPC, which other commands can do without

    return demo.run_demo(keep_up=arguments.play)
