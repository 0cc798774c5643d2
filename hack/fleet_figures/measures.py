"""The measures, one function each; they print what they find."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from fakehw import FakeTree
from fakehw_fleet.cluster import objects
from hack.fleet_figures.process import Cost, FleetProcess, ServerProcess
from hack.fleet_figures.sight import NAMESPACE, RESOURCE, Sight
from kubeapi.errors import ApiError
from kubeapi.resources import NODES, PODS

if TYPE_CHECKING:
    from pathlib import Path

    from kubeapi.client import Client

DEVICES: Final = 8
LONGEST_S: Final = 900.0


async def join(fleet: FleetProcess, sight: Sight, *, already: bool = False) -> None:
    """Time from the command to all Nodes Ready with their devices."""
    began = time.monotonic()
    fleet.start()
    if already:
        await _answers(fleet)
        await sight.until(lambda: _posted(fleet) >= fleet.nodes, within_s=LONGEST_S, what="nodes told anew")
    await sight.until(lambda: sight.ready(DEVICES) >= fleet.nodes, within_s=LONGEST_S, what="Ready")
    cost = Cost.of(*fleet.pids)
    took = time.monotonic() - began
    used = f"{cost.rss_mib:.0f} MiB, {cost.cpu_s:.1f} s of CPU; {dict(fleet.requests())}"
    print(f"up: {fleet.nodes} nodes Ready {took:.1f} s after exec, {used}")


def _posted(fleet: FleetProcess) -> int:
    asked = fleet.requests()
    return asked["PATCH nodes/status"] + asked["POST nodes"]


async def _answers(fleet: FleetProcess) -> None:
    for _ in range(600):
        try:
            fleet.requests()
            return
        except OSError:
            await asyncio.sleep(0.2)


async def rest(fleet: FleetProcess, others: dict[str, int], *, seconds: float) -> None:
    """Cost of doing nothing."""
    pids = {"fleet": fleet.pids, **{name: [pid] for name, pid in others.items()}}
    before, asked = {name: Cost.of(*found) for name, found in pids.items()}, fleet.requests()
    await asyncio.sleep(seconds)
    after, now = {name: Cost.of(*found) for name, found in pids.items()}, fleet.requests()
    cpu = ", ".join(f"{name} {after[name].percent_since(before[name]):.0f} %" for name in pids)
    more = {key: count for key in now if (count := now[key] - asked[key])}
    rate = sum(more.values()) / seconds
    print(f"at rest, {seconds:.0f} s: CPU {cpu}; {after['fleet'].rss_mib:.0f} MiB; {rate:.1f} requests/s {more}")


async def pods(client: Client, sight: Sight, fleet: FleetProcess, *, count: int, seed: int) -> None:
    """Have the scheduler bind bare pods of 1 to 8 devices, the large ones first; all are to run."""
    chance = random.Random(seed)  # noqa: S311  # repeatable
    sizes = sorted(chance.choices(range(1, 9), weights=[size**-2.5 for size in range(1, 9)], k=count), reverse=True)
    if sum(sizes) > fleet.nodes * DEVICES:
        raise SystemExit(f"{sum(sizes)} devices wanted, {fleet.nodes * DEVICES} there: fewer --pods")
    gate = asyncio.Semaphore(16)

    async def make(number: int, size: int) -> None:
        async with gate:
            await client.create(PODS, _pod(number, size), namespace=NAMESPACE, retry_for_s=120)

    began = time.monotonic()
    before, asked = Cost.of(*fleet.pids), fleet.requests()
    making = asyncio.gather(*(make(number, size) for number, size in enumerate(sizes)))
    await making
    made = time.monotonic() - began

    def over() -> bool:
        return sum(sight.phases().get(phase, 0) for phase in ("Running", "Failed")) == count

    await sight.until(over, within_s=LONGEST_S, what=f"{count} pods at an end")
    took, after = time.monotonic() - began, Cost.of(*fleet.pids)
    await asyncio.sleep(1)
    more = {key: found for key, number in fleet.requests().items() if (found := number - asked[key])}
    print(
        f"pods: {count} of {min(sizes)} to {max(sizes)} devices ({sum(sizes)}): made in {made:.1f} s, "
        f"{sight.phases()} after {took:.1f} s ({count / took:.0f}/s); "
        f"fleet {after.percent_since(before):.0f} % of a core, {after.rss_mib:.0f} MiB; {more}; "
        f"{_held_twice(sight)} devices held twice, {_wrong_count(sight, sizes)} pods with a wrong number of them"
    )


def _pod(number: int, size: int) -> dict[str, Any]:
    return {
        "metadata": {"name": f"figures-{number}", "labels": {"app": "figures"}},
        "spec": {
            "nodeSelector": {objects.FLEET_LABEL: "figures"},
            "tolerations": [{"key": objects.TAINT_KEY, "operator": "Exists"}],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none", "resources": {"limits": {RESOURCE: str(size)}}}],
        },
    }


def _devices(held: tuple[Any, ...]) -> list[str]:
    return [one for container in held[3].values() for one in container["devices"].get(RESOURCE, ())]


def _held_twice(sight: Sight) -> int:
    held = Counter(device for one in sight.held().values() if one[2] == "Running" for device in _devices(one))
    return sum(number > 1 for number in held.values())


def _wrong_count(sight: Sight, sizes: list[int]) -> int:
    held = sight.held()
    return sum(len(_devices(held[f"figures-{number}"])) != size for number, size in enumerate(sizes))


async def flips(sight: Sight, fleet: FleetProcess, *, count: int, at_once: int, seed: int) -> None:
    """Break a device of a random node and mend it: time until the Node object shows it."""
    chance = random.Random(seed)  # noqa: S311  # repeatable
    tree = FakeTree(fleet.home / "tree")
    took: list[float] = []
    gate = asyncio.Semaphore(at_once)
    busy: set[int] = set()

    async def flip() -> None:
        async with gate:
            node = chance.choice([number for number in range(1, fleet.nodes + 1) if number not in busy])
            busy.add(node)
            await asyncio.sleep(chance.random() * 0.05)
            device = f"n{node:05}/gpu/{chance.randint(1, DEVICES)}"
            for health, allocatable in (("unhealthy", DEVICES - 1), ("healthy", DEVICES)):
                began = time.monotonic()
                tree.set_health(device, health)
                while (shown := sight.shown[f"n{node:05}"])[1] != allocatable:
                    sight.changed.clear()
                    await asyncio.wait_for(sight.changed.wait(), 120)
                took.append(shown[0] - began)
            busy.discard(node)

    await asyncio.gather(*(flip() for _ in range(count // 2)))
    took.sort()
    cuts = statistics.quantiles(took, n=100)
    print(
        f"flips: {len(took)}, {at_once} under way at once, status every {fleet.status_every}: "
        f"p50 {1e3 * cuts[49]:.0f} ms, p90 {1e3 * cuts[89]:.0f}, p99 {1e3 * cuts[98]:.0f}, max {1e3 * took[-1]:.0f}"
    )


async def crash(client: Client, sight: Sight, fleet: FleetProcess) -> None:
    """kill -9 and up again: what is there must be what was there."""
    before = sight.held()
    nodes = {name: node["metadata"]["uid"] for (_, name), node in sight.nodes.objects.items()}
    fleet.kill()
    await join(fleet, sight, already=True)
    await asyncio.sleep(5)
    asked = fleet.requests()
    after = {
        node["metadata"]["name"]: node["metadata"]["uid"]
        for node in (await client.list(NODES, label_selector=f"{objects.FLEET_LABEL}=figures"))["items"]
    }
    held_now = sight.held()
    moved = sum(held_now[name] != held for name, held in before.items())
    anew = f"{asked['POST nodes']} Nodes, {asked['PATCH pods/status']} pod statuses told again; {dict(asked)}"
    print(
        f"kill -9 and up: {len(before)} pods, {moved} changed in UID, node, phase or devices; "
        f"Nodes the same: {after == nodes}; made: {anew}"
    )


async def away(client: Client, sight: Sight, fleet: FleetProcess, server: ServerProcess, *, seconds: float) -> None:
    """Stop the API server while devices break; count what is right afterwards, and nodes that were not Ready."""
    before = sight.held()
    stopping = asyncio.create_task(server.away(seconds))
    await asyncio.sleep(seconds / 2)
    broken = range(1, min(100, fleet.nodes) + 1)
    for number in broken:
        FakeTree(fleet.home / "tree").set_health(f"n{number:05}/gpu/1", "unhealthy")
    await stopping
    began = time.monotonic()
    while True:
        try:
            await client.version(retry_for_s=0)
            break
        except ApiError:
            await asyncio.sleep(0.2)
    serving = time.monotonic() - began
    least = fleet.nodes

    def told() -> bool:
        nonlocal least
        least = min(least, sight.ready(DEVICES))
        return all(sight.shown[f"n{number:05}"][1] == DEVICES - 1 for number in broken)

    took = await sight.until(told, within_s=LONGEST_S, what="flips told")

    def settled() -> bool:
        nonlocal least
        least = min(least, sight.ready(DEVICES))
        return least < fleet.nodes and sight.ready(DEVICES) == fleet.nodes

    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not settled():  # noqa: ASYNC110  # counted at each look
        await asyncio.sleep(0.5)  # what is seen is counted at each look
    after = sight.held()
    moved = sum(after.get(name) != held for name, held in before.items())
    print(
        f"API server stopped {seconds:.0f} s (serving {serving:.0f} s after its start): "
        f"{len(broken)} flips of meanwhile shown {took:.1f} s after that; "
        f"{fleet.nodes - least} of {fleet.nodes} not Ready at worst, {sight.ready(DEVICES)} Ready in the end; "
        f"{moved} of {len(before)} pods changed"
    )
    for number in broken:
        FakeTree(fleet.home / "tree").set_health(f"n{number:05}/gpu/1", "healthy")


async def remove_pods(client: Client, sight: Sight) -> None:
    """Delete the pods, and wait until they are gone."""
    await client.delete_collection(PODS, namespace=NAMESPACE, label_selector="app=figures", grace_s=0, timeout_s=300)
    await sight.until(lambda: not sight.pods.objects, within_s=LONGEST_S, what="pods gone")


def write_spec(path: Path, nodes: int) -> None:
    """Write the topology: nodes of 8 devices."""
    path.write_text(
        f"nodes:\n  n[00001-{nodes:05}]:\n    classes:\n      gpu:\n"
        f"        count: {DEVICES}\n        resource: {RESOURCE}\n"
        "        devices:\n          1-4: {numa_node: 0}\n          5-8: {numa_node: 1}\n",
        encoding="utf-8",
    )
