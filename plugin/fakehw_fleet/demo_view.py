"""The demo's tables: what `kubectl get` would show, and the live one of `fakehw demo --play`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fakekubelet.cluster.cluster import LocalCluster


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under a head, in columns as wide as they need to be."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def node_table(cluster: LocalCluster) -> str:
    """Return capacity and allocatable of every node and resource."""
    return table(
        ("NODE", "RESOURCE", "CAPACITY", "ALLOCATABLE"),
        (
            (name, resource, capacity, node.node_status.allocatable[resource])
            for name, node in cluster.nodes.items()
            for resource, capacity in sorted(node.node_status.capacity.items())
        ),
    )


def pod_table(cluster: LocalCluster) -> str:
    """Return the pods and where they run."""
    return table(
        ("NAME", "STATUS", "NODE"), ((one.name, one.phase, one.node or "<none>") for one in cluster.pods.values())
    )


def device_table(cluster: LocalCluster) -> str:
    """Return every device that a kubelet knows of, with its health there and who holds it."""
    return table(
        ("NODE", "DEVICE", "RESOURCE", "HEALTH", "ALLOCATED"),
        (
            (name, device_id, resource, health, "yes" if device_id in node.allocated(resource) else "")
            for name, node in cluster.nodes.items()
            for resource in sorted(node.capacity)
            for device_id, health in sorted(node.devices(resource).items())
        ),
    )


async def play(cluster: LocalCluster, root: Path) -> None:
    """Show the state whenever it changes, until Ctrl-C. From another terminal a person breaks what they like."""
    clear = "\033[H\033[2J" if sys.stdout.isatty() else "\n"
    shown = ""

    def view() -> str:
        return "\n\n".join((node_table(cluster), device_table(cluster), pod_table(cluster)))

    while True:
        if (now := view()) != shown:
            shown = now
            print(
                f"{clear}It is all up. From another terminal, for example:\n"
                f"  echo unhealthy > {root}/node2/dev3/1/health\n"
                f"  mv {root}/node2/dev3/2 {root}/.pulled-out\n"
                f"  mkdir {root}/node1/dev2/1 && echo healthy > {root}/node1/dev2/1/health\n"
                f"Ctrl-C ends it and cleans up.\n\n{shown}",
                flush=True,
            )
        await cluster.wait_for(lambda: view() != shown, timeout=float("inf"))  # waited for at once  # noqa: B023  # waited for at once
        await asyncio.sleep(0.02)  # one picture for what changes together
