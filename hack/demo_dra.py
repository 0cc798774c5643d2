"""The story of `make demo` by Kubernetes' other device API: `make demo API=dra`. No cluster, no root, no Docker.

What is real: the tree, the driver (a process for each node), gRPC, HTTP, CDI files, the pods' shell. What is played:
the API server, the scheduler's choice of devices, two kubelets and the runtime (fakekubelet). Every number that is
printed was measured in that run. A beat that does not happen ends the demo with exit code 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakehw_fleet.demo_narration import BEAT_S, LATE_POD, beat, run, running, say
from fakekubelet.cluster.dra_cluster import DraCluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

REPOSITORY = Path(__file__).resolve().parents[1]
SPEC = REPOSITORY / "deploy" / "base" / "topology.yaml"
CLASSES = REPOSITORY / "deploy" / "components" / "dra" / "deviceclasses.yaml"
PODS = REPOSITORY / "deploy" / "pods.yaml"


@contextlib.asynccontextmanager
async def driver(cluster: DraCluster, name: str, root: Path, logs: Path) -> AsyncIterator[None]:
    """Run the real driver for one node, as the DaemonSet would."""
    node = cluster.nodes[name]
    async with running(
        "fakehw_plugin", "--api", "dra", "--root", str(root), "--host", name,
        "--plugin-dir", str(node.plugin_dir), "--registry-dir", str(node.plugins_registry),
        "--state-dir", str(node.state_dir), "--cdi-dir", str(node.cdi_dir),
        "--kubeconfig", str(cluster.kubeconfig), log=logs / f"{name}.log",
    ):  # fmt: skip  # a flag beside its value
        yield


class Story:
    """The beats, in order, on a cluster that is up."""

    def __init__(self, cluster: DraCluster, root: Path) -> None:
        self.cluster = cluster
        self.root = root

    async def until(self, happened: Callable[[], Any]) -> float:
        """Wait for a beat and return the milliseconds that it took."""
        began = time.perf_counter()
        await self.cluster.wait_for(happened, timeout=BEAT_S)
        return (time.perf_counter() - began) * 1000

    def devices(self, node: str) -> dict[str, dict[str, Any]]:
        """Return what a node publishes, by name."""
        slices = [one for one in self.cluster.api.all("resourceslices") if one["spec"]["nodeName"] == node]
        return {device["name"]: device for one in slices for device in one["spec"].get("devices", ())}

    def taints(self, device: str) -> list[dict[str, Any]]:
        """Return the taints of a device of kind-worker2."""
        found: list[dict[str, Any]] = self.devices("kind-worker2").get(device, {}).get("taints", [])
        return found

    def runs(self, name: str) -> bool:
        """Tell whether a pod runs and has printed its variables."""
        return self.cluster.phase(name) == "Running" and "DEV_" in self.cluster.logs(name)

    def message(self, name: str) -> str:
        """Return the last event of a pod."""
        return self.cluster.events.get(name, [""])[-1]

    def write(self, text: str, path: str) -> None:
        """Write a file of the tree, and show how a person would."""
        say(f"$ echo {text} > {self.root}/{path}")
        (self.root / path).write_text(f"{text}\n")

    def show(self, *names: str) -> None:
        """Print pods, where they run, and what they have printed."""
        for name in names:
            pod = self.cluster.pod(name)
            where = pod["spec"].get("nodeName", "<none>") if pod is not None else "<gone>"
            say(f"  {name:8} {self.cluster.phase(name):8} {where}")
        for name in names:
            if self.cluster.logs(name):
                say(f"logs of {name}:")
                for line in self.cluster.logs(name).splitlines():
                    say(f"  {line}")

    async def tell(self) -> None:
        """Play everything."""
        took = await self.until(lambda: [len(self.devices(node)) for node in ("kind-worker", "kind-worker2")] == [1, 4])
        say(f"one fakehw-plugin --api dra for each node: 5 devices in 2 ResourceSlices, {took:.0f} ms after exec")
        for node in ("kind-worker", "kind-worker2"):
            say(f"  {node:13} {', '.join(self.devices(node))}")
        await self.scheduled()
        await self.broken()
        await self.evicted()
        await self.unplugged()
        await self.restarted()

    async def scheduled(self) -> None:
        """The three pods of the device plugin's story, unchanged: claims are made for their extended resources."""
        beat("pods: deploy/pods.yaml, served by DRA through extendedResourceName")
        self.cluster.apply(CLASSES)
        self.cluster.apply(PODS)
        await self.until(lambda: self.runs("dp1-1") and self.runs("dp1-2") and self.message("dp1-3"))
        self.show("dp1-1", "dp1-2", "dp1-3")
        for claim in self.cluster.api.all("resourceclaims"):
            results = claim["status"]["allocation"]["devices"]["results"]
            say(f"claim {claim['metadata']['name'][:-5]}*: {', '.join(one['device'] for one in results)}")
        say(f"\ndp1-3: {self.message('dp1-3')}")
        say("\ndelete dp1-2, and its device is free for dp1-3:")
        self.cluster.delete("dp1-2")
        await self.until(lambda: self.runs("dp1-3"))
        self.show("dp1-3")

    async def broken(self) -> None:
        """A device fails: it is tainted, and no pod gets it; it recovers."""
        beat("break a device")
        free = next(name for name in self.devices("kind-worker2") if name not in self.held())
        number = free.rpartition("-")[2]
        path = f"node2/dev3/{number}/health"
        self.write("unhealthy over temperature", path)
        took = await self.until(lambda: self.taints(free))
        taint = self.taints(free)[0]
        say(f"{free}: taint {taint['key']}={taint['value']}:{taint['effect']}, in {took:.1f} ms")
        self.cluster.apply(LATE_POD)
        await self.until(lambda: self.message("dp-late"))
        say(f"dp-late wants one and is {self.cluster.phase('dp-late')}: {self.message('dp-late')}")
        self.write("healthy", path)
        took = await self.until(lambda: not self.taints(free))
        say(f"{free}: no taint, in {took:.1f} ms")
        await self.until(lambda: self.runs("dp-late"))
        say(f"dp-late runs: {self.cluster.logs('dp-late').splitlines()[-1]}")

    def held(self) -> set[str]:
        """Return the devices that claims have."""
        return {
            one["device"]
            for claim in self.cluster.api.all("resourceclaims")
            for one in claim["status"].get("allocation", {}).get("devices", {}).get("results", [])
        }

    async def evicted(self) -> None:
        """The class says NoExecute: a pod on a device that breaks is evicted."""
        beat("break the device of dp-late, with eviction")
        held = next(
            one["device"]
            for claim in self.cluster.api.all("resourceclaims")
            if claim["metadata"]["name"].startswith("dp-late")
            for one in claim["status"]["allocation"]["devices"]["results"]
        )
        path = f"node2/dev3/{held.rpartition('-')[2]}/health"
        self.write("NoExecute", "node2/dev3/unhealthy_effect")
        self.write("unhealthy fell off the bus", path)
        took = await self.until(lambda: self.cluster.pod("dp-late") is None)
        say(f"dp-late: {self.message('dp-late')}; gone, its claim unprepared, in {took:.0f} ms")
        self.write("healthy", path)
        took = await self.until(lambda: not self.taints(held))
        say(f"{held}: no taint, in {took:.1f} ms")

    async def unplugged(self) -> None:
        """A free device is pulled out, and plugged in again."""
        beat("unplug a device")
        free = next(name for name in self.devices("kind-worker2") if name not in self.held() and "dev3" in name)
        where = f"node2/dev3/{free.rpartition('-')[2]}"
        await run("fakehw", "unplug", where, "--root", str(self.root))
        await self.until(lambda: free not in self.devices("kind-worker2"))
        say(f"kind-worker2: {', '.join(self.devices('kind-worker2'))}")
        await run("fakehw", "plug", where, "--root", str(self.root))
        await self.until(lambda: free in self.devices("kind-worker2"))
        say(f"kind-worker2: {', '.join(self.devices('kind-worker2'))}")

    async def restarted(self) -> None:
        """The kubelet restarts and deletes its node's slices: they are back, and no pod notices."""
        beat("restart the kubelet of kind-worker2, which deletes the node's slices")
        node, held = self.cluster.nodes["kind-worker2"].kubelet, self.cluster.logs("dp1-3")
        assert node.dra is not None
        began = time.perf_counter()
        await node.restart()
        await self.until(lambda: node.dra is not None and node.dra.drivers.wiped and self.devices("kind-worker2"))
        took = (time.perf_counter() - began) * 1000
        again, number = self.cluster.logs("dp1-3") == held, len(self.devices("kind-worker2"))
        say(f"{number} devices are back {took:.0f} ms after the restart began; dp1-3 runs on: {again}")


async def demo() -> None:
    """Bring everything up, tell the story, take it down; that too if it is ended in the middle."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):  # Ctrl-C does the same by itself
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with tempfile.TemporaryDirectory(prefix="fakehw-demo-") as directory:
        place = Path(directory)
        root = place / "tree"
        say("== build the tree: deploy/base/topology.yaml")
        await run("fakehw", "build", "--spec", str(SPEC), "--root", str(root))
        async with DraCluster() as cluster, contextlib.AsyncExitStack() as stack:
            beat("two kubelets, an API server, and a driver on each node")
            for name in cluster.nodes:
                await stack.enter_async_context(driver(cluster, name, root, place))
            await Story(cluster, root).tell()
            for name in ("dp1-1", "dp1-3"):
                cluster.delete(name)
            await cluster.wait_for(lambda: not cluster.api.all("pods"), timeout=BEAT_S)
        say("\nall of it happened.")


def main() -> int:
    """Run the demo; return its exit code."""
    try:
        asyncio.run(demo())
    except (RuntimeError, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
