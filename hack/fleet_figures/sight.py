"""What the cluster shows of a fleet, kept up to date by watches."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Final

from fakehw_fleet.cluster import objects
from kubeapi.follow import Event, EventType, Follow
from kubeapi.resources import NODES, PODS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from kubeapi.client import Client

RESOURCE: Final = "fakehw.example/gpu"
NAMESPACE: Final = "default"


class Sight:
    """Nodes of the fleet and its pods. `when` remembers when a Node first showed an allocatable."""

    def __init__(self, client: Client) -> None:
        self.changed = asyncio.Event()
        self.shown: dict[str, tuple[float, int]] = {}
        """By Node: since when it has this allocatable."""
        self.nodes = Follow(client, NODES, label_selector=f"{objects.FLEET_LABEL}=figures", on_event=self._node)
        self.pods = Follow(client, PODS, namespace=NAMESPACE, label_selector="app=figures", on_event=self._pod)

    def _pod(self, _: Event) -> None:
        self.changed.set()

    def _node(self, event: Event) -> None:
        if event.type in (EventType.ADDED, EventType.MODIFIED):
            name = event.object["metadata"]["name"]
            count = objects.extended(event.object["status"], "allocatable").get(RESOURCE, 0)
            if self.shown.get(name, (0.0, -1))[1] != count:
                self.shown[name] = time.monotonic(), count
        self.changed.set()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keep it up to date while this context is open."""
        tasks = [asyncio.create_task(follow.run()) for follow in (self.nodes, self.pods)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    async def until(self, holds: Callable[[], bool], *, within_s: float, what: str) -> float:
        """Wait until something is seen; return how long that took."""
        began = time.monotonic()
        async with asyncio.timeout(within_s):
            while not holds():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await self.changed.wait()
                await asyncio.sleep(0.02)  # a thousand events a second are looked at together
        print(f"    {what}: {time.monotonic() - began:.1f} s", flush=True)
        return time.monotonic() - began

    def ready(self, devices: int) -> int:
        """Count the Nodes that are Ready with so many devices at least, and that pods may come to."""
        return sum(
            objects.is_ready(node) and not objects.controllers_taints(node)
            and objects.extended(node["status"], "capacity").get(RESOURCE, 0) >= devices
            for node in self.nodes.objects.values()
        )  # fmt: skip  # one condition

    def phases(self) -> dict[str, int]:
        """Count pods by phase."""
        found: dict[str, int] = {}
        for pod in self.pods.objects.values():
            phase = pod.get("status", {}).get("phase", "")
            found[phase] = found.get(phase, 0) + 1
        return found

    def held(self) -> dict[str, Any]:
        """Return what each pod says that it holds, with its UID."""
        return {
            name: (
                pod["metadata"]["uid"], pod["spec"].get("nodeName"), pod["status"].get("phase"),
                json.loads((pod["metadata"].get("annotations") or {}).get(objects.ALLOCATED, "{}")),
            )
            for (_, name), pod in self.pods.objects.items()
        }  # fmt: skip  # one value
