"""`python -m hack.fleet_figures`: figures of a fleet on the control plane of KUBECONFIG (docs/fleet.md).

    python -m hack.fleet_figures --nodes 1000 --pods 5000 --flips 500 --api-pid 4711 --also etcd=4712
    python -m hack.fleet_figures --nodes 2000,5000

With the cluster's own processes on this machine it says what they use, and stops the API server for a while.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from pathlib import Path

from hack.fleet_figures import measures
from hack.fleet_figures.process import FleetProcess, ServerProcess
from hack.fleet_figures.sight import Sight
from kubeapi import kubeconfig
from kubeapi.client import Client


def main() -> None:
    """Measure, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1000", help="numbers of nodes; pods and what follows for the first")
    parser.add_argument("--processes", type=int, default=1, help="of the fleet")
    parser.add_argument("--pods", type=int, default=0)
    parser.add_argument("--flips", type=int, default=0)
    parser.add_argument("--rest", type=float, default=60.0, help="seconds")
    parser.add_argument("--api-pid", type=int, help="the API server's process: stop it for --away seconds")
    parser.add_argument("--away", type=float, default=60.0)
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PID", help="say what it uses, too")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    for place, nodes in enumerate(map(int, arguments.nodes.split(","))):
        home = Path(tempfile.mkdtemp(prefix="fleet-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))  # noqa: S108  # its own
        try:
            asyncio.run(measure(arguments, home, nodes, is_first=place == 0))
        finally:
            shutil.rmtree(home, ignore_errors=True)


async def measure(arguments: argparse.Namespace, home: Path, nodes: int, *, is_first: bool) -> None:
    """Measure one number of nodes."""
    measures.write_spec(home / "spec.yaml", nodes)
    fleet = FleetProcess(home / "spec.yaml", nodes, home, status_every="0s", processes=arguments.processes)
    others = {name: int(pid) for name, pid in (one.split("=") for one in arguments.also)}
    if arguments.api_pid:
        others["API server"] = arguments.api_pid
    async with Client(kubeconfig.find(), connections=16) as client:
        sight = Sight(client)
        async with sight.watching():
            try:
                await measures.join(fleet, sight)
                await measures.rest(fleet, others, seconds=arguments.rest)
                if not is_first:
                    return
                if arguments.pods:
                    await measures.pods(client, sight, fleet, count=arguments.pods, seed=arguments.seed)
                if arguments.flips:
                    await measures.flips(sight, fleet, count=arguments.flips, at_once=1, seed=arguments.seed)
                fleet.status_every = "10s"
                await measures.crash(client, sight, fleet)
                if arguments.flips:
                    await measures.flips(sight, fleet, count=arguments.flips, at_once=50, seed=arguments.seed + 1)
                if arguments.api_pid:
                    server = ServerProcess(arguments.api_pid)
                    await measures.away(client, sight, fleet, server, seconds=arguments.away)
                    print(f"API server's process is {server.pid} now")
                if arguments.pods:
                    await measures.remove_pods(client, sight)
            finally:
                await asyncio.to_thread(fleet.end)


if __name__ == "__main__":
    main()
