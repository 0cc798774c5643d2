"""`kubectl fakehw events`: what is unhealthy on any node, and with --follow what happens there."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from fakehw import output
from fakehw.errors import TreeError
from fakehw.layout import Health
from kubectl_fakehw import showing
from kubectl_fakehw.commands import cluster_flags, command, listing

if TYPE_CHECKING:
    import argparse

    from fakehw import parser
    from fakehw.view.listing import Record
    from kubectl_fakehw.hands import Reach
    from kubectl_fakehw.places import Place


def add(commands: parser.Commands) -> None:
    """Add the command."""
    added = command.add(
        commands, "events", "say what is unhealthy, and with --follow what happens", run=run,
        examples="  kubectl fakehw events -f",
    )  # fmt: skip  # the description stays on one line
    added.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    added.add_argument("-o", "--output", choices=("lines", "json"), default="lines", help="default: lines")
    cluster_flags.add_where(added)


async def run(arguments: argparse.Namespace) -> int:
    """Say it, line by line; 1 if a node did not answer, or when every hand that is followed is gone."""
    as_json = arguments.output == "json"
    async with cluster_flags.reaching(arguments) as (places, reach, _):
        if arguments.follow:
            await asyncio.gather(*(_follow(place, reach, as_json=as_json) for place in places))
            return 1
        found, failed = await listing.listed(places, reach, arguments)
    for record in found:
        if record.health == Health.UNHEALTHY.value:
            output.say(_broken(record, as_json=as_json))
    return 1 if failed else 0


async def _follow(place: Place, reach: Reach, *, as_json: bool) -> None:
    try:
        async with reach(place) as hand:
            async for answer in hand.told("events"):
                if "event" in answer:
                    event = {**answer["event"], "host": answer["event"]["host"] or place.node}
                    output.say_now(json.dumps(event) if as_json else showing.event_line(event, place.node))
    except TreeError as error:
        output.remark(f"{place.node}: {error}")


def _broken(record: Record, *, as_json: bool) -> str:
    if not as_json:
        return f"{record.host}  {record.path}  {record.health}{f': {record.reason}' if record.reason else ''}"
    told = {
        "path": record.path,
        "id": record.id,
        "host": record.host,
        "health": record.health,
        "reason": record.reason,
    }
    return json.dumps(told)
