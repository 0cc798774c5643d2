"""Did it arrive, and when: what plugins list, what Node objects have to give, what pods are told of their devices."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from fakehw import layout
from kubeapi import errors
from kubeapi.follow import EventType, Follow
from kubeapi.resources import NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from kubectl_fakehw import receipts
from kubectl_fakehw.receipts import LEVELS, Level, Receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from kubeapi.client import Client
    from kubeapi.follow import Event
    from kubeapi.resources import Object
    from kubectl_fakehw.receipts import Goal

FIRST_LOOK_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
LOOKS: Final = 32
"""Questions to the API server under way at once."""

METRICS_PORT: Final = 9115
_SILENCE_S: Final = 5.0
_SAMPLE: Final = re.compile(r"fakehw_devices\{(?P<labels>.*)\} (?P<count>[0-9.e+]+)\Z")
_CLAIM: Final = re.compile(r"k8s\..*/claim=[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-")
"""What stands before a device's name in the CDI name that the plugin gives it."""
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
        self._slices: dict[str, tuple[str, Mapping[str, str]]] = {}
        """By slice: its node, and Healthy or Unhealthy by the names of its devices."""
        self._changed: dict[str, asyncio.Event] = {}
        self._looks = asyncio.Semaphore(LOOKS)
        self._synced = asyncio.Event()
        self._knows_slices = asyncio.Event()
        """Set too where there are none to be had: before Kubernetes 1.34, or without the right to look."""
        self._trouble = ""

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Follow Node objects and slices, if that is asked for; the list of Nodes is there when this is entered."""
        if LEVELS.index(self._until) < LEVELS.index(Level.NODE):
            yield
            return
        follow = Follow(self._client, NODES, on_event=self._take, on_error=self._note, keep=_allocatable_only)
        slices = Follow(
            self._client, RESOURCE_SLICES, on_event=self._take_slice, on_error=self._note_slices, keep=_told
        )
        tasks = [asyncio.create_task(one.run()) for one in (follow, slices)]
        try:
            async with asyncio.timeout(30):
                await self._synced.wait()
                await self._knows_slices.wait()
            yield
        except TimeoutError as error:
            raise errors.UnavailableError(f"the list of nodes did not come{self._trouble}") from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self, receipt: Receipt, goal: Goal, *, began: float, plugin: str) -> None:
        """Note in `receipt` when each level was reached, until cancelled; `plugin` is the pod of the node's."""
        loop = asyncio.get_running_loop()
        for level in LEVELS[1 : LEVELS.index(self._until) + 1]:
            if level is Level.PLUGIN:
                if not plugin:  # a tree of this machine: nobody can say when its plugin saw it
                    continue
                await self._until_listed(goal.counts, plugin)
            elif level is Level.NODE:
                await self._until_seen(receipt.node, goal)
            elif level is Level.PODS:
                await self._until_true(lambda: self._is_told(receipt.node, goal))
            else:
                await self._until_true(lambda: self._is_free(receipt.node, goal))
            receipt.at[level] = loop.time() - began

    def shortfall(self, node: str, goal: Goal) -> str:
        """Return in what a node differs from what it is to have."""
        slices = [devices for of_node, devices in self._slices.values() if of_node == node]
        merged = {name: health for devices in slices for name, health in devices.items()} if slices else None
        return receipts.unlike(goal, self._allocatable.get(node), merged)

    # The plugin, by its metrics.

    async def _until_listed(self, counts: Mapping[str, int], plugin: str) -> None:
        async def is_listed() -> bool:
            listed = await self._listed(plugin)
            return all(listed.get(resource, 0) == count for resource, count in counts.items())

        await self._until_true(is_listed)

    async def _until_true(self, look: Callable[[], Awaitable[bool]]) -> None:
        """Ask again and again, ever more slowly; a question that fails is asked again too."""
        pause = FIRST_LOOK_S
        while True:
            with contextlib.suppress(errors.ApiError):
                async with self._looks:
                    if await look():
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

    # What the scheduler sees: Node objects and slices.

    async def _until_seen(self, node: str, goal: Goal) -> None:
        changed = self._changed.setdefault(node, asyncio.Event())
        while self.shortfall(node, goal):
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
        self._wake(name)

    def _take_slice(self, event: Event) -> None:
        if event.type is EventType.SYNCED:
            self._knows_slices.set()
            return
        name, node = event.object["metadata"]["name"], event.object["node"]
        if event.type is EventType.DELETED:
            self._slices.pop(name, None)
        else:
            self._slices[name] = node, event.object["devices"]
        self._wake(node)

    def _note_slices(self, error: errors.ApiError) -> None:
        if isinstance(error, (errors.NotFoundError, errors.ForbiddenError)):
            self._knows_slices.set()

    def _wake(self, node: str) -> None:
        if node in self._changed:
            self._changed[node].set()

    def _note(self, error: errors.ApiError) -> None:
        self._trouble = f": {error}"

    # The pods that hold the devices.

    async def _is_told(self, node: str, goal: Goal) -> bool:
        return not receipts.told_otherwise(goal, told(await self._pods(node)))

    async def _is_free(self, node: str, goal: Goal) -> bool:
        """Tell whether no living pod of the node holds a broken device by a claim."""
        broken = {layout.slice_name(device_id) for device_id, health in goal.health.items() if health != "Healthy"}
        claims = (await self._client.list(RESOURCE_CLAIMS))["items"]
        holders = {
            consumer["uid"]
            for claim in claims
            for result in claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", ())
            if result["pool"] == node and result["device"] in broken
            for consumer in claim["status"].get("reservedFor", ())
        }
        return not any(
            pod["metadata"]["uid"] in holders and "deletionTimestamp" not in pod["metadata"]
            for pod in await self._pods(node)
        )

    async def _pods(self, node: str) -> list[Object]:
        found: list[Object] = (await self._client.list(PODS, field_selector=f"spec.nodeName={node}"))["items"]
        return found


def told(pods: list[Object]) -> dict[str, str]:
    """Return the health that the status of pods says, by device ID; for DRA, by the device's name in its slice."""
    return {
        _CLAIM.sub("", device["resourceID"]): device.get("health", "Unknown")
        for pod in pods
        for container in pod.get("status", {}).get("containerStatuses", ())
        for resource in container.get("allocatedResourcesStatus", ())
        for device in resource.get("resources", ())
    }


def _allocatable_only(node: Object) -> Object:
    allocatable: Any = node.get("status", {}).get("allocatable", {})
    name = node["metadata"]["name"]
    return {"metadata": {"name": name}, "allocatable": {key: value for key, value in allocatable.items() if "/" in key}}


def _told(found: Object) -> Object:
    """Return what matters of a slice: whose it is, and which of its devices are told to be unhealthy."""
    spec = found["spec"]
    devices = {
        device["name"]: "Unhealthy" if any(_is_ours(taint) for taint in device.get("taints") or ()) else "Healthy"
        for device in spec.get("devices") or ()
    }
    return {"metadata": {"name": found["metadata"]["name"]}, "node": spec.get("nodeName", ""), "devices": devices}


def _is_ours(taint: Object) -> bool:
    return bool(taint["key"].endswith("/unhealthy"))
