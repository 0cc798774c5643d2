"""A process that has a part of a fleet's nodes: `python -m fakehw_fleet.cluster.shard`, which `shards` starts.

A line of JSON on standard input says what it has to do. That stays open as long as whoever started it lives: its end is
the end here too, at once, as if it had been killed with it. Every half a second a line on standard output says how the
nodes are. Orders come by a socket of its own, as they do where one process has all nodes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fakehw import output
from fakehw.spec import check
from fakehw_fleet import plugin_log
from fakehw_fleet.cluster import control
from fakehw_fleet.cluster.fleet import ClusterFleet
from fakehw_fleet.cluster.options import Options
from fakehw_fleet.cluster.part import Part
from kubeapi import kubeconfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakehw.spec.topology import Topology

REPORT_EVERY_S: Final = 0.5
MOST_BYTES: Final = 1 << 26
"""Of a line, be it a topology."""
_ORPHANED: Final = 1


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a process has to do."""

    topology: Mapping[str, Any]
    """Its document."""
    root: str
    state: str
    kubeconfig: str
    """As `--kubeconfig` has it; empty: the one that kubectl would take."""
    context: str
    domain: str
    options: Options
    lock: int
    part: Part

    @property
    def directory(self) -> Path:
        """Return where the process has its socket for orders."""
        return Path(self.state) / f"p{self.part.number}"

    def written(self) -> bytes:
        """Return it as a line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Assignment:
        """Return what a line says."""
        fields = json.loads(line)
        return cls(**{**fields, "options": Options(**fields["options"]), "part": Part(*fields["part"])})


async def run(assignment: Assignment, reports: asyncio.StreamWriter) -> None:
    """Have the nodes of a part until cancelled."""
    topology: Topology = check.make_topology(dict(assignment.topology), source="topology")
    state = Path(assignment.state)
    assignment.directory.mkdir(mode=0o700, exist_ok=True)
    with plugin_log.writing(state):
        async with (
            ClusterFleet(
                topology,
                Path(assignment.root),
                state,
                kubeconfig.find(assignment.kubeconfig, context=assignment.context),
                domain=assignment.domain,
                options=assignment.options,
                tell=output.remark,
                lock=assignment.lock,
                part=assignment.part,
            ) as fleet,
            control.serving(assignment.directory, fleet.answer),
        ):
            while True:
                reports.write(fleet.report().written())
                try:
                    await reports.drain()
                except ConnectionError:
                    os._exit(_ORPHANED)
                await asyncio.sleep(REPORT_EVERY_S)


async def main() -> None:
    """Do what standard input says, until SIGTERM; Nodes and leases stay."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    reader = asyncio.StreamReader(limit=MOST_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    line = await reader.readline()
    if not line.endswith(b"\n"):
        return  # whoever started us has ended
    assignment = Assignment.read(line)
    watch = asyncio.create_task(_until_alone(reader), name="whoever started us")
    with contextlib.suppress(asyncio.CancelledError):
        await run(assignment, asyncio.StreamWriter(transport, protocol, None, loop))
    watch.cancel()


async def _until_alone(reader: asyncio.StreamReader) -> None:
    """Wait for the end of whoever started us, and end with it: its processes of pods are the guard's to end."""
    await reader.read()
    os._exit(_ORPHANED)


if __name__ == "__main__":
    output.prepare("fakehw-fleet")
    asyncio.run(main())
