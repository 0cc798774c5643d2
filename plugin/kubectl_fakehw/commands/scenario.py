"""`kubectl fakehw scenario run`: timed faults over all nodes at once, each with a receipt."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fakehw import layout, output, parser
from fakehw.commands import scenario as scenario_command
from fakehw.errors import InputError
from kubectl_fakehw.commands import cluster_flags, command, listing

if TYPE_CHECKING:
    import argparse


def add(commands: parser.Commands) -> None:
    """Add the command, and the one below it."""
    scenario = command.add(
        commands,
        "scenario",
        "play timed faults over all nodes",
        run=run,
        examples="  kubectl fakehw scenario run storm",
    )
    below = parser.add_commands(scenario, required=False)
    play = command.add(
        below, "run", "play a scenario, and put everything back afterwards, after Ctrl-C too", run=_play,
        examples="  kubectl fakehw scenario run rolling-outage --dry-run",
    )  # fmt: skip  # the description stays on one line
    play.add_argument(
        "file",
        metavar="FILE",
        offer=scenario_command.offer(),
        help="a scenario in YAML (docs/scenarios.md), a name of the gallery, or a fault log (CSV); - for stdin",
    )
    scenario_command.add_devices(play)
    play.add_argument("--dry-run", action="store_true", help="print the timeline and touch nothing")
    scenario_command.add_speed(play)
    play.add_argument("--keep", action="store_true", help="leave the devices as the scenario left them")
    cluster_flags.add_where(play)


async def run(_: argparse.Namespace) -> int:
    """Say that a command is missing."""
    raise InputError("run must follow (scenario)")


async def _play(arguments: argparse.Namespace) -> int:
    from fakehw.scenario import named
    from kubectl_fakehw.playing import How, Playing

    scenario = named.load(arguments.file, devices=arguments.devices)
    async with cluster_flags.reaching(arguments) as (places, reach, _):
        if arguments.dry_run:
            found, failed = await listing.listed(places, reach, arguments)
            paths = sorted(
                {layout.TreePath.parse(record.path) for record in found if record.id}, key=lambda path: path.sort_key
            )
            for change in scenario.timeline(paths):
                output.say(f"{change.at_s / arguments.speed:10.3f}s  {change.step:<10}  {change}")
            return 1 if failed else 0
        playing = Playing(reach, parallel=arguments.parallel, tell=lambda node, line: output.remark(f"{node}: {line}"))
        how = How(scenario.lasts_s, arguments.speed, arguments.keep)
        try:
            played, failed = await playing.run(places, scenario.timeline, how, _show)
        except asyncio.CancelledError:
            output.remark("stopped; the hands put everything back" if not arguments.keep else "stopped")
            return 130
    nodes = "1 node" if played == 1 else f"{played} nodes"
    output.confirm(f"played on {played - failed} of {nodes}" if failed else f"played on {nodes}")
    return 1 if failed else 0


def _show(node: str, receipt: dict[str, Any]) -> None:
    devices = ", ".join(receipt["devices"][:3]) + (" ..." if len(receipt["devices"]) > 3 else "")
    problem = f"  not written: {receipt['problem']}" if receipt["problem"] else ""
    name = receipt.get("name", layout.HEALTH)
    what = f"{name} {receipt['text']}" if name != layout.HEALTH else receipt["text"]
    output.say_now(f"{receipt['at_s']:9.3f}s  {node}  {receipt['act']} {devices}  {what}{problem}".rstrip())
