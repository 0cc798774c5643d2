"""`fakehw-fleet demo`, which is also `fakehw demo`: the story of the tutorial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakehw.commands import demo

if TYPE_CHECKING:
    import argparse

    from fakehw import parser


def add(commands: parser.Commands) -> None:
    """Add the command."""
    demo.describe(commands, run, examples="  fakehw-fleet demo --play")


def run(arguments: argparse.Namespace) -> int:
    """Tell it."""
    from fakehw_fleet import demo as story  # gRPC, which other commands can do without

    return story.run_demo(keep_up=arguments.play)
