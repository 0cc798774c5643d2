"""`kubectl fakehw list`: the devices of all nodes. Other commands ask it for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fakehw import output
from fakehw.commands import list_devices
from fakehw.commands import places as tree_places
from fakehw.errors import TreeError
from fakehw.tree import selection
from kubectl_fakehw import showing
from kubectl_fakehw.commands import cluster_flags, command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from fakehw import parser
    from fakehw.view.listing import Record
    from kubectl_fakehw.hands import Reach
    from kubectl_fakehw.places import Place

_EXAMPLES: Final = """\
  kubectl fakehw list
  kubectl fakehw list -o json"""


def add(commands: parser.Commands) -> None:
    """Add the command."""
    added = command.add(commands, "list", "show the devices of all nodes", run=run, examples=_EXAMPLES)
    tree_places.add(added, required=False)
    list_devices.add_format(added)
    cluster_flags.add_where(added)


async def run(arguments: argparse.Namespace) -> int:
    """Show those that are meant; 1 if a node did not answer."""
    wanted = selection.parse_all(arguments.paths, root=arguments.root)
    async with cluster_flags.reaching(arguments) as (places, reach, _):
        found, failed = await listed(places, reach, arguments)
    records = list_devices.choose(found, wanted, where="the cluster") if found or wanted else found
    if records or not failed:
        list_devices.show(records, arguments)
    return 1 if failed else 0


async def listed(
    places: Sequence[Place],
    reach: Reach,
    arguments: argparse.Namespace,
    *,
    tell: Callable[[str], None] = output.remark,
) -> tuple[list[Record], int]:
    """Return the devices of all places and how many did not answer, each of which is told."""
    limit = asyncio.Semaphore(arguments.parallel)

    async def ask(place: Place) -> list[Record] | None:
        try:
            async with limit, asyncio.timeout(arguments.timeout), reach(place) as hand:
                return [showing.record(told, place.node) for told in await hand.ask("list")]
        except (TreeError, TimeoutError) as error:
            tell(f"{place.node}: {str(error) or f'no answer within {arguments.timeout:g} s'}")
            return None

    parts = await asyncio.gather(*map(ask, places))
    return [record for part in parts if part is not None for record in part], parts.count(None)


async def device_names(arguments: argparse.Namespace) -> list[str]:
    """Return the devices of all nodes, each name once; a node that does not answer has none."""
    async with cluster_flags.reaching(arguments) as (places, reach, _):
        found, _ = await listed(places, reach, arguments, tell=lambda _: None)
    return list(dict.fromkeys(record.path.removeprefix("/") for record in found if record.id))
