"""What all commands share that speak to a cluster, or to a fleet that has joined one."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fakehw import parser
from fakehw.commands import topology as topology_command
from fakehw.errors import InputError
from fakehw.spec import check, rules
from fakehw_fleet import resized
from fakehw_fleet import state as states

if TYPE_CHECKING:
    from fakehw.spec.topology import Topology
    from kubeapi.access import Access

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")


def add(command: parser.Parser) -> None:
    """Add the flags that name a cluster and a fleet."""
    command.add_argument(
        "--context", metavar="NAME", default="", help="the kubeconfig's context (default: its current)"
    )
    add_name(command)


def add_spec(command: parser.Parser) -> None:
    """Add the topology whose nodes are meant, and how many of them."""
    command.add_argument(
        "spec",
        metavar="SPEC",
        offer=topology_command.offer(),
        help="a topology in YAML, - for stdin, or a name that `fakehw topology show` knows",
    )
    command.add_argument(
        "--nodes",
        metavar="NUMBER",
        type=parser.whole_number(1, rules.MAX_NODES),
        help="so many nodes in the spec's range, whatever it says",
    )


def topology(arguments: argparse.Namespace) -> Topology:
    """Return the topology that is meant."""
    loaded = check.load_topology(arguments.spec, flag="SPEC")
    return loaded if arguments.nodes is None else resized.resized(loaded, arguments.nodes, source=arguments.spec)


def add_name(command: parser.Parser) -> None:
    """Add the flags that name a fleet."""
    command.add_argument(
        "--name",
        metavar="NAME",
        type=_name,
        default="fakehw",
        help="of the fleet: what its Nodes are labelled with, fakehw.io/fleet=NAME (default fakehw)",
    )
    command.add_argument(
        "--state",
        metavar="DIR",
        type=Path,
        help="where its sockets and checkpoints are: pods keep devices by them (default /var/tmp/fakehw-UID/NAME)",
    )


def state(arguments: argparse.Namespace) -> Path:
    """Return the fleet's directory."""
    given: Path | None = arguments.state
    return given.absolute() if given is not None else states.default(arguments.name)


def access(arguments: argparse.Namespace) -> Access:
    """Return the way to the cluster; InputError says what is wrong with the kubeconfig."""
    try:
        import aiohttp  # noqa: F401  # the client's own, which comes with an extra

        from kubeapi import errors, kubeconfig
    except ImportError as error:
        raise InputError(f"{error.name}: not installed: pip install 'fakehw[fleet]'") from None
    try:
        return kubeconfig.find(arguments.kubeconfig or "", context=arguments.context)
    except errors.AccessError as error:
        raise InputError(f"{error} (--kubeconfig)") from None


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: must be at most 20 lower-case letters, digits and '-'")
    return text
