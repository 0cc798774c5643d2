"""The flags that say which cluster and which of its nodes are meant, and the ways to a hand that come of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fakehw import parser
from fakehw.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Sequence

    from kubeapi.client import Client
    from kubectl_fakehw.hands import Reach
    from kubectl_fakehw.places import Place

NAMESPACE: Final = "fakehw"
PARALLEL: Final = 50
TIMEOUT_S: Final = 60.0
_RETRY_FOR_S: Final = 3.0
"""Somebody waits at a terminal: an API server that is away is said soon."""


def add_where(command: parser.Parser) -> None:
    """Add the flags that name a cluster, nodes of it, and how many are asked at once."""
    add_cluster(command)
    command.add_argument(
        "--node",
        metavar="NAME",
        action="append",
        default=[],
        help="only this Kubernetes node, or a pattern; repeatable",
    )
    command.add_argument("-l", "--selector", metavar="LABELS", default="", help="only nodes with these labels")
    command.add_argument("--root", metavar="DIR", type=Path, help="a tree on this machine in place of the nodes' own")
    command.add_argument(
        "--parallel",
        metavar="N",
        type=parser.whole_number(1, 1000),
        default=PARALLEL,
        help=f"nodes at once (default {PARALLEL})",
    )


def add_cluster(command: parser.Parser) -> None:
    """Add the flags that name a cluster."""
    command.add_argument("--kubeconfig", metavar="FILE", default="", help="as kubectl takes it (env KUBECONFIG)")
    command.add_argument("--context", metavar="NAME", default="", help="of the kubeconfig")
    command.add_argument(
        "-n", "--namespace", metavar="NAME", default=NAMESPACE, help=f"where fakehw is deployed (default {NAMESPACE})"
    )
    command.add_argument(
        "--timeout",
        metavar="DURATION",
        type=parser.duration,
        default=TIMEOUT_S,
        help=f"for each node (default {TIMEOUT_S:g}s)",
    )


@contextlib.asynccontextmanager
async def client(arguments: argparse.Namespace) -> AsyncIterator[Client]:
    """Yield a client of the cluster that is meant; InputError says what is wrong with the kubeconfig."""
    from kubeapi import errors, kubeconfig
    from kubeapi.client import Client

    try:
        access = kubeconfig.find(arguments.kubeconfig, context=arguments.context)
    except errors.AccessError as error:
        raise InputError(f"{error} (--kubeconfig)") from None
    connections = arguments.parallel if "parallel" in arguments else 8
    async with Client(access, connections=connections, retry_for_s=_RETRY_FOR_S, user_agent="kubectl-fakehw") as made:
        yield made


@contextlib.asynccontextmanager
async def reaching(
    arguments: argparse.Namespace, *, needs_cluster: bool = False
) -> AsyncIterator[tuple[Sequence[Place], Reach, Client | None]]:
    """Yield the places, the way to a hand at each, and the client, if there is a cluster in it."""
    from kubectl_fakehw import hands, places

    async with contextlib.AsyncExitStack() as stack:
        server = None
        if arguments.root is None or needs_cluster:
            server = await stack.enter_async_context(client(arguments))
        if arguments.root is not None:
            root: Path = arguments.root
            yield [places.Place(str(root))], lambda _: hands.here(root), server
            return
        assert server is not None
        reached, namespace = server, arguments.namespace
        found = await places.find(reached, namespace, patterns=arguments.node, selector=arguments.selector)
        yield found, lambda place: hands.reached(reached, namespace, place), server
