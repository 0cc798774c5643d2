"""Many nodes on one machine: `make scale NODES=500`. A fake kubelet, a plugin and 8 devices a node, in one process.

Reports time and memory, and how long one flip takes among all the others. Each node has a tree of its own, as on a real
cluster. A plugin uses two inotify instances; where the kernel has none left (fs.inotify.max_user_instances), the
plugins that got none say so and read their trees once a second.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from pathlib import Path

import structlog

from fakehw import FakeTree, make_topology
from fakehw_plugin.cli import configure, read
from fakehw_plugin.daemon import Daemon
from fakekubelet.cluster.cluster import LocalCluster

RESOURCE = "myplugin.io/mydevice-1"


def rss_mib() -> float:
    """Return this process's resident memory."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


async def main(nodes: int, devices: int) -> None:
    """Bring everything up, flip one device on the last node, and take everything down."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    names = [f"node{number}" for number in range(1, nodes + 1)]
    with tempfile.TemporaryDirectory(prefix="fhw-", dir="/tmp") as scratch:  # short, for sockets
        began = time.perf_counter()
        for name in names:
            topology = make_topology({"nodes": {name: {"host": name, "classes": {"dev1": {"count": devices}}}}})
            FakeTree(Path(scratch) / name).build(topology)
        print(f"{nodes} trees of {devices} devices built       {time.perf_counter() - began:7.2f} s")

        before = rss_mib()
        began = time.perf_counter()
        async with LocalCluster(names) as cluster:
            took = time.perf_counter() - began
            print(f"{nodes} fake kubelets up              {took:7.2f} s   {rss_mib() - before:6.1f} MiB")
            before, began = rss_mib(), time.perf_counter()
            daemons = []
            for name in names:
                plugin_dir = cluster.nodes[name].plugin_dir
                flags = [
                    "--root",
                    f"{scratch}/{name}",
                    "--host",
                    name,
                    "--plugin-dir",
                    str(plugin_dir),
                    "--pod-resources",
                    "",
                ]
                daemons.append(Daemon(configure(read(flags, {}))))
            tasks = [asyncio.create_task(one.run()) for one in daemons]
            kubelets = list(cluster.nodes.values())
            await cluster.wait_for(
                lambda: all(one.node_status.allocatable.get(RESOURCE) == devices for one in kubelets), timeout=600
            )
            took = time.perf_counter() - began
            print(f"{nodes} plugins registered, all devices allocatable {took:5.2f} s   {rss_mib() - before:6.1f} MiB")
            last = names[-1]
            began = time.perf_counter()
            FakeTree(Path(scratch) / last).set_health([f"{last}/dev1/1"], "unhealthy")
            await cluster.wait_for(
                lambda: cluster.nodes[last].node_status.allocatable[RESOURCE] == devices - 1, timeout=60
            )
            print(f"one flip on {last} to allocatable       {(time.perf_counter() - began) * 1000:7.1f} ms")
            blind = sum(one.pump.unwatched is not None for one in daemons)
            print(f"trees without inotify, read once a second {blind:4d}")
            began = time.perf_counter()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        print(f"everything down                     {time.perf_counter() - began:7.2f} s   {rss_mib():6.1f} MiB in all")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--devices", type=int, default=8)
    options = parser.parse_args()
    asyncio.run(main(options.nodes, options.devices))
