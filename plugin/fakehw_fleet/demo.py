"""The whole story on one machine: no cluster, no root, no Docker. `fakehw demo` tells it, `fakehw demo --play` stays.

What is real: the tree, the commands, the plugin (a process for each node), inotify, gRPC, the pods' shell. What is
played: the two kubelets and the scheduler (fakekubelet), which behave as docs/kubelet-contract.md says the real ones
do. Every number that is printed was measured in that run. A beat that does not happen ends the demo with exit code 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from fakehw_fleet.demo_narration import BEAT_S, LATE_POD, beat, run, running, say
from fakehw_fleet.demo_view import node_table, play, pod_table
from fakekubelet.cluster.cluster import LocalCluster
from fakekubelet.kubelet import pod_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SPEC = "seed"
PODS = Path(__file__).parent / "data" / "pods.yaml"
"""deploy/pods.yaml, as it comes in the wheel."""
WORKERS = ("kind-worker", "kind-worker2")
R1, R2, R3 = (f"myplugin.io/mydevice-{number}" for number in (1, 2, 3))
SEEN = {"kind-worker": {R1: 1, R2: 0, R3: 0}, "kind-worker2": {R1: 0, R2: 1, R3: 3}}


@contextlib.asynccontextmanager
async def plugin(cluster: LocalCluster, name: str, root: Path, logs: Path) -> AsyncIterator[None]:
    """Run the real plugin for one node, as the DaemonSet would."""
    kubelet = cluster.nodes[name]
    async with running(
        "fakehw_plugin", "--root", str(root), "--host", name,
        "--plugin-dir", str(kubelet.plugin_dir), "--pod-resources", str(kubelet.pod_resources_socket),
        log=logs / f"{name}.log",
    ):  # fmt: skip  # a flag beside its value
        yield


class Story:
    """The beats, in order, on a cluster that is up."""

    def __init__(self, cluster: LocalCluster, root: Path) -> None:
        self.cluster = cluster
        self.root = root
        self.worker2 = cluster.nodes["kind-worker2"]

    async def until(self, happened: Callable[[], bool]) -> float:
        """Wait for a beat and return the milliseconds that it took."""
        began = time.perf_counter()
        await self.cluster.wait_for(happened, timeout=BEAT_S)
        return (time.perf_counter() - began) * 1000

    def is_running(self, name: str) -> bool:
        """Tell whether a pod runs and has printed its variables."""
        return self.cluster.pods[name].phase is pod_status.Phase.RUNNING and "DEV_" in self.cluster.logs(name)

    def message(self, name: str) -> str:
        """Return the scheduler's message for a pod, without what it adds on preemption."""
        return self.cluster.pods[name].message.partition(". ")[0] + "."

    def write(self, text: str, path: str) -> None:
        """Write a file of the tree, and show how a person would."""
        say(f"$ echo {text} > {self.root}/{path}")
        (self.root / path).write_text(f"{text}\n")

    def allocatable(self) -> int:
        """Return what kind-worker2 has of mydevice-3 to give."""
        return self.worker2.node_status.allocatable[R3]

    async def tell(self) -> None:
        """Play everything."""
        await self.registered()
        await self.scheduled()
        await self.broken()
        await self.unplugged()
        await self.restarted()

    async def registered(self) -> None:
        """Both plugins register and the nodes advertise their devices, classes without any included."""
        nodes = self.cluster.nodes
        took = await self.until(lambda: all(dict(nodes[one].node_status.allocatable) == SEEN[one] for one in WORKERS))
        say(f"one fakehw-plugin for each node: 6 resources registered, {took:.0f} ms after exec\n")
        say(node_table(self.cluster))

    async def scheduled(self) -> None:
        """The seed's three pods, and what happens when the second one goes."""
        beat("pods: deploy/pods.yaml")
        await self.cluster.apply(PODS)
        await self.until(lambda: self.is_running("dp1-1") and self.is_running("dp1-2"))
        say(pod_table(self.cluster))
        for name in ("dp1-1", "dp1-2"):
            self.show_logs(name)
        say(f"\ndp1-3: {self.message('dp1-3')}")
        say("\ndelete dp1-2, and its device is free for dp1-3:")
        await self.cluster.delete("dp1-2")
        await self.until(lambda: self.is_running("dp1-3"))
        say(pod_table(self.cluster))
        self.show_logs("dp1-3")

    def show_logs(self, name: str) -> None:
        """Print what a pod has printed."""
        say(f"\nlogs of {name}:")
        for line in self.cluster.logs(name).splitlines():
            say(f"  {line}")

    async def broken(self) -> None:
        """A device fails: allocatable drops, a pod waits; it recovers: the pod runs."""
        beat("break a device")
        self.write("unhealthy over temperature", "node2/dev3/2/health")
        took = await self.until(lambda: self.allocatable() == 2)
        capacity = self.worker2.node_status.capacity[R3]
        say(f"kind-worker2 {R3}: allocatable 3 -> 2, capacity {capacity}, in {took:.1f} ms")
        await self.cluster.apply(LATE_POD)
        await self.until(lambda: bool(self.cluster.pods["dp-late"].message))
        say(f"dp-late wants one and is {self.cluster.pods['dp-late'].phase}: {self.message('dp-late')}")
        self.write("healthy", "node2/dev3/2/health")
        took = await self.until(lambda: self.allocatable() == 3)
        say(f"kind-worker2 {R3}: allocatable 2 -> 3, in {took:.1f} ms")
        await self.until(lambda: self.is_running("dp-late"))
        say(f"dp-late runs: {self.cluster.logs('dp-late').splitlines()[-1]}")
        await self.cluster.delete("dp-late")

    async def unplugged(self) -> None:
        """A device is pulled out: capacity drops as well; it is plugged in again."""
        beat("unplug a device")
        await run("fakehw", "unplug", "node2/dev3/3", "--root", str(self.root))
        await self.until(lambda: self.worker2.node_status.capacity[R3] == self.allocatable() == 2)
        say(f"kind-worker2 {R3}: capacity 2, allocatable 2")
        await run("fakehw", "plug", "node2/dev3/3", "--root", str(self.root))
        await self.until(lambda: self.allocatable() == 3)
        say(f"kind-worker2 {R3}: capacity 3, allocatable 3")

    async def restarted(self) -> None:
        """The kubelet restarts: everything registers again, and no pod notices."""
        beat("restart the kubelet of kind-worker2")
        before, calls = len(self.worker2.registrations), self.allocate_calls()
        held = self.cluster.logs("dp1-3")
        began = time.perf_counter()
        await self.worker2.restart()
        back = SEEN["kind-worker2"]
        # A class without devices looks the same before its registration as after it.
        await self.until(
            lambda: (
                len(self.worker2.registrations) - before >= len(back)
                and dict(self.worker2.node_status.allocatable) == back
            )
        )
        took = (time.perf_counter() - began) * 1000
        again = len(self.worker2.registrations) - before
        if again != len(back) or self.allocate_calls() != calls or self.cluster.logs("dp1-3") != held:
            raise RuntimeError(
                f"{again} registrations, {self.allocate_calls() - calls} Allocate calls after the restart"
            )
        say(f"{again} resources registered again, all devices listed {took:.0f} ms after the restart began")
        say("dp1-3 kept its devices: no new Allocate call, no restart")

    def allocate_calls(self) -> int:
        """Count the Allocate calls that this kubelet made."""
        return sum(call.method == "Allocate" for call in self.worker2.calls)


async def main(*, keep_up: bool) -> None:
    """Set the stage, tell the story, and clear the stage whatever happens."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # Ctrl-C does the same by itself
    with tempfile.TemporaryDirectory(prefix="fakehw-", dir="/tmp") as scratch:
        root = Path(scratch) / "tree"
        say(f"== a tree of devices in {root}")
        await run("fakehw", "build", "--spec", SPEC, "--root", str(root))
        async with contextlib.AsyncExitStack() as stage:
            cluster = await stage.enter_async_context(LocalCluster(WORKERS, control_plane="kind-control-plane"))
            beat("two nodes: a fake kubelet and the real plugin on each")
            for name in WORKERS:
                await stage.enter_async_context(plugin(cluster, name, root, Path(scratch)))
            story = Story(cluster, root)
            try:
                await story.tell()
            except (TimeoutError, RuntimeError):
                for name in WORKERS:
                    print(
                        f"-- log of the plugin on {name}\n{(Path(scratch) / f'{name}.log').read_text()}",
                        file=sys.stderr,
                    )
                raise
            if keep_up:
                await play(cluster, root)
    say("\nAll of it happened. Everything is cleaned up.")


def run_demo(*, keep_up: bool) -> int:
    """Tell the story and return the exit code; with `keep_up` it ends with Ctrl-C, which is no failure then."""
    try:
        asyncio.run(main(keep_up=keep_up))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("\nEverything is cleaned up.")
        return 0 if keep_up else 130
    except (TimeoutError, RuntimeError) as error:
        sys.stderr.write(f"demo: a beat did not happen: {error}\n")
        return 1
    return 0
