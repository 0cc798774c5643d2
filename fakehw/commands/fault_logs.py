"""`fakehw scenario import` and `synthesize`: fault logs from what happened, and from what was measured."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from fakehw import output, parser
from fakehw.commands import topology as topology_command
from fakehw.errors import InputError
from fakehw.spec import check

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from fakehw.scenario.outages import Outage
    from fakehw.spec.topology import FakeNode

_MAX_DAYS: Final = 36_500.0
_MAX_RATE: Final = 1_000_000.0
_MAX_SEED: Final = 2**32 - 1
"""As in a scenario."""
_CHOSEN: Final = "which device of a server failed is not known: chosen by chance (seed {seed})"
_WHOLE: Final = "every fault takes all devices of its node"
_IMPORT: Final = """\
  fakehw scenario import infinitehbd fault_trace.json --spec gpus.yaml > year.csv
  fakehw scenario run year.csv --speed 50000            # a year in ten minutes"""
_SYNTHESIZE: Final = """\
  fakehw scenario synthesize --spec gpus.yaml --days 30 > month.csv
  fakehw scenario synthesize --spec gpus.yaml --days 7 --figures delta-a100 --seed 3 > week.csv
  fakehw scenario synthesize --spec gpus.yaml --days 365 --rate 6.5 > bad-year.csv"""


def add(commands: parser.Commands) -> None:
    """Add both commands to those below `fakehw scenario`."""
    bring = parser.add_command(
        commands,
        "import",
        "print a fault log for the nodes of a spec from a trace of real failures",
        run=_import,
        examples=_IMPORT,
    )
    bring.add_argument(
        "kind", choices=["infinitehbd"], help="infinitehbd: github.com/stepfun-ai/InfiniteHBD-Trace, 400 GPU servers"
    )
    bring.add_argument("file", metavar="FILE", help="the trace; - for stdin")
    _add_common(bring)
    draw = parser.add_command(
        commands,
        "synthesize",
        "print a fault log for the nodes of a spec, drawn from published figures",
        run=_synthesize,
        examples=_SYNTHESIZE,
    )
    _add_common(draw)
    days = parser.number(0.001, _MAX_DAYS)
    draw.add_argument("--days", metavar="DAYS", type=days, required=True, help="how long it lasts")
    draw.add_argument(
        "--figures",
        metavar="FILE",
        default="infinitehbd",
        offer=parser.Offer(_figures),
        help="rates and repair times in YAML, - for stdin, or one of "
        "delta-a100, infinitehbd, llama3 (default infinitehbd)",
    )
    draw.add_argument(
        "--rate",
        metavar="NUMBER",
        type=parser.number(0.0, _MAX_RATE),
        help="faults per 1,000 node-days in all (default: as the figures say)",
    )


def _add_common(command: parser.Parser) -> None:
    topology_command.add_spec(command, "the topology whose nodes and devices fail; - for stdin")
    command.add_argument(
        "--seed",
        metavar="NUMBER",
        type=parser.whole_number(0, _MAX_SEED),
        default=0,
        help="of all that is left to chance (default 0)",
    )
    command.add_argument(
        "--fails",
        choices=("device", "node"),
        default="device",
        help="a fault takes one device of its node, or all of them (default device)",
    )


def _figures() -> list[str]:
    from fakehw.scenario import figures

    return figures.names()


def _import(arguments: argparse.Namespace) -> None:
    from fakehw.scenario import infinitehbd, outages

    nodes = dict(check.load_topology(arguments.spec, flag=parser.origin(arguments.spec, "--spec")).nodes)
    found = infinitehbd.load(arguments.file)
    servers = sorted({outage.server for outage in found})
    if len(servers) > len(nodes):
        raise InputError(f"{len(nodes)} nodes: must be at least as many as servers fail in it, {len(servers)} (--spec)")
    chosen = outages.assign(servers, list(nodes), seed=arguments.seed)
    remarks = [
        f"{len(found)} faults of {PurePath(arguments.file).name}, on {len(servers)} of {len(nodes)} nodes",
        "from github.com/stepfun-ai/InfiniteHBD-Trace, Apache-2.0",
        f"which node stands for which server: by chance (seed {arguments.seed})",
    ]
    _print(arguments, found, {server: nodes[name] for server, name in chosen.items()}, remarks)


def _synthesize(arguments: argparse.Namespace) -> None:
    from fakehw.scenario import figures, synthesis

    nodes = dict(check.load_topology(arguments.spec, flag=parser.origin(arguments.spec, "--spec")).nodes)
    drawn_from = figures.load(arguments.figures)
    found = synthesis.draw(drawn_from, nodes, days=arguments.days, seed=arguments.seed, rate=arguments.rate)
    remarks = [
        synthesis.summary(found, len(nodes), arguments.days),
        f"drawn with seed {arguments.seed} from {arguments.figures}: {drawn_from.about}",
        drawn_from.source,
    ]
    _print(arguments, found, nodes, remarks)


def _print(
    arguments: argparse.Namespace, found: Sequence[Outage], nodes: dict[str, FakeNode], remarks: list[str]
) -> None:
    from fakehw.scenario import fault_log, outages

    whole = arguments.fails == "node"
    remarks.append(_WHOLE if whole else _CHOSEN.format(seed=arguments.seed))
    for line in fault_log.lines(outages.place(found, nodes, seed=arguments.seed, whole_nodes=whole), remarks=remarks):
        output.say(line)
    for remark in remarks:
        output.remark(remark)
