"""Did it arrive, and when: what plugins list, what Node objects have to give, what pods are told of their devices."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from kubeapi import errors
from kubeapi.follow import EventType, Follow
from kubeapi.resources import NODES, PODS
from kubectl_fakehw.receipts import LEVELS, Level, Receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from kubeapi.client import Client
    from kubeapi.follow import Event
    from kubeapi.resources import Object

FIRST_LOOK_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
LOOKS: Final = 32
"""Questions to the API server under way at once."""

METRICS_PORT: Final = 9115
_SILENCE_S: Final = 5.0
_SAMPLE: Final = re.compile(r"fakehw_devices\{(?P<labels>.*)\} (?P<count>[0-9.e+]+)\Z")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Counts = dict[str, int]
"""Healthy devices by resource."""


class Landing:
    """Looks on while it is entered; `until` is how far a change has to come."""

    def __init__(self, client: Client, namespace: str, *, until: Level) -> None:
        self._client = client
        self._namespace = namespace
        self._until = until
        self._allocatable: dict[str, Mapping[str, str]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._looks = asyncio.Semaphore(LOOKS)
        self._synced = asyncio.Event()
        self._trouble = ""

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Follow the Node objects, if that is asked for; the list is there when this is entered."""
        if LEVELS.index(self._until) < LEVELS.index(Level.NODE):
            yield
            return
        follow = Follow(self._client, NODES, on_event=self._take, on_error=self._note, keep=_allocatable_only)
        task = asyncio.create_task(follow.run(), name="nodes")
        try:
            await asyncio.wait_for(self._synced.wait(), 30)
            yield
        except TimeoutError as error:
            raise errors.UnavailableError(f"the list of nodes did not come{self._trouble}") from error
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait(
        self, receipt: Receipt, counts: Counts, *, began: float, plugin: str, health: Mapping[str, str]
    ) -> None:
        """Note in `receipt` when each level was reached, until cancelled.

        `counts` is what the node is to have, `plugin` its pod, `health` what each changed device ID is to be.
        """
        loop = asyncio.get_running_loop()
        for level in LEVELS[1 : LEVELS.index(self._until) + 1]:
            if level is Level.PLUGIN:
                if not plugin:  # a tree of this machine: nobody can say when its plugin saw it
                    continue
                await self._until_listed(counts, plugin)
            elif level is Level.NODE:
                await self._until_allocatable(receipt.node, counts)
            else:
                await self._until_told(receipt.node, health)
            receipt.at[level] = loop.time() - began

    def shortfall(self, node: str, counts: Counts) -> str:
        """Return in what a Node object differs from what it is to have."""
        now = self._allocatable.get(node)
        if now is None:
            return "there is no such node"
        found = {name: now.get(name, "absent") for name, count in counts.items() if now.get(name) != str(count)}
        if not found:
            return ""
        words = [f"{name} is {told}, not {counts[name]}" for name, told in found.items()][:2]
        hint = "; what DRA serves is never there: --until tree" if "absent" in found.values() else ""
        return f"allocatable of {', '.join(words)}{hint}"

    # The plugin, by its metrics.

    async def _until_listed(self, counts: Counts, plugin: str) -> None:
        pause = FIRST_LOOK_S
        while True:
            with contextlib.suppress(errors.ApiError):
                async with self._looks:
                    listed = await self._listed(plugin)
                if all(listed.get(resource, 0) == count for resource, count in counts.items()):
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)

    async def _listed(self, plugin: str) -> Counts:
        path = f"{PODS.path(f'{plugin}:{METRICS_PORT}', namespace=self._namespace, subresource='proxy')}/metrics"
        counts: Counts = {}
        async with self._client.stream(path, {}, silence_s=_SILENCE_S) as lines:
            async for line in lines:
                if sample := _SAMPLE.match(line.decode("utf-8", "replace")):
                    labels = dict(_LABEL.findall(sample["labels"]))
                    if labels.get("health") == "Healthy":
                        resource = labels["resource"]
                        counts[resource] = counts.get(resource, 0) + int(float(sample["count"]))
        return counts

    # The Node object.

    async def _until_allocatable(self, node: str, counts: Counts) -> None:
        changed = self._changed.setdefault(node, asyncio.Event())
        while self.shortfall(node, counts):
            changed.clear()
            await changed.wait()

    def _take(self, event: Event) -> None:
        if event.type is EventType.SYNCED:
            self._synced.set()
            return
        name = event.object["metadata"]["name"]
        if event.type is EventType.DELETED:
            self._allocatable.pop(name, None)
        else:
            self._allocatable[name] = event.object["allocatable"]
        if name in self._changed:
            self._changed[name].set()

    def _note(self, error: errors.ApiError) -> None:
        self._trouble = f": {error}"

    # The pods that hold the devices.

    async def _until_told(self, node: str, health: Mapping[str, str]) -> None:
        pause = FIRST_LOOK_S
        while True:
            with contextlib.suppress(errors.ApiError):
                async with self._looks:
                    pods = await self._client.list(PODS, field_selector=f"spec.nodeName={node}")
                if not [one for one, said in told(pods["items"]).items() if health.get(one, said) != said]:
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)


def told(pods: list[Object]) -> dict[str, str]:
    """Return the health by device ID that the status of pods says."""
    return {
        device["resourceID"]: device.get("health", "Unknown")
        for pod in pods
        for container in pod.get("status", {}).get("containerStatuses", ())
        for resource in container.get("allocatedResourcesStatus", ())
        for device in resource.get("resources", ())
    }


def _allocatable_only(node: Object) -> Object:
    allocatable: Any = node.get("status", {}).get("allocatable", {})
    name = node["metadata"]["name"]
    return {"metadata": {"name": name}, "allocatable": {key: value for key, value in allocatable.items() if "/" in key}}
