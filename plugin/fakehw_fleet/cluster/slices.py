"""The ResourceSlices of all nodes by one watch for each driver: a thousand watches would cost the server as much again.

What the watch brings is sorted by node, and each node's publisher hears of its own slices only.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubeapi.follow import Event, EventType, Follow
from kubeapi.resources import RESOURCE_SLICES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from kubeapi.client import Client
    from kubeapi.errors import ApiError
    from kubeapi.follow import Key
    from kubeapi.resources import Object


class Slices:
    """Follows the slices of `nodes`, driver by driver, in tasks of `group`."""

    def __init__(self, group: asyncio.TaskGroup, nodes: Collection[str]) -> None:
        self._group = group
        self._nodes = nodes
        self._drivers: dict[str, _Driver] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def follow(
        self,
        client: Client,
        driver: str,
        node: str,
        *,
        on_event: Callable[[Event], None],
        on_error: Callable[[ApiError], None],
    ) -> Part:
        """Return a node's part of a driver's slices. A following.MakeFollowing."""
        if driver not in self._drivers:
            followed = self._drivers[driver] = _Driver(client, driver, self._nodes)
            self._tasks.append(self._group.create_task(followed.follow.run(), name=f"slices of {driver}"))
        return Part(self._drivers[driver], node, on_event, on_error)

    def stop(self) -> None:
        """Follow none any more."""
        for task in self._tasks:
            task.cancel()


class _Driver:
    """One watch, and who hears of it."""

    def __init__(self, client: Client, driver: str, nodes: Collection[str]) -> None:
        self.parts: dict[str, Part] = {}
        self.names: dict[str, set[Key]] = {}
        """By node, the slices that it has."""
        self._nodes = nodes
        self.follow = Follow(
            client, RESOURCE_SLICES, field_selector=f"spec.driver={driver}",
            on_event=self._take, on_error=self._fail, keep=self._keep,
        )  # fmt: skip  # what, then who hears

    def _keep(self, found: Object) -> Object:
        """Remember of other nodes' slices no more than that they are there."""
        if found["spec"].get("nodeName") in self._nodes:
            return found
        return {"metadata": {key: found["metadata"][key] for key in ("name", "resourceVersion")}, "spec": {}}

    def _take(self, event: Event) -> None:
        if event.type is EventType.SYNCED:
            for every in tuple(self.parts.values()):
                every.on_event(event)
            return
        node = event.object["spec"].get("nodeName", "")
        key = ("", event.object["metadata"]["name"])
        names = self.names.setdefault(node, set())
        names.discard(key) if event.type is EventType.DELETED else names.add(key)
        if (part := self.parts.get(node)) is not None:
            part.on_event(event)

    def _fail(self, error: ApiError) -> None:
        for part in tuple(self.parts.values()):
            part.on_error(error)


@dataclass
class Part:
    """The slices of one node. A following.Following."""

    driver: _Driver
    node: str
    on_event: Callable[[Event], None]
    on_error: Callable[[ApiError], None]
    _end: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_synced(self) -> bool:
        """Tell whether all of them were told."""
        return self.driver.follow.is_synced

    async def run(self) -> None:
        """Hear of them until cancelled, of those first that are there."""
        self.driver.parts[self.node] = self
        try:
            if self.is_synced:
                for key in sorted(self.driver.names.get(self.node, ())):
                    self.on_event(Event(EventType.ADDED, self.driver.follow.objects[key]))
                self.on_event(Event(EventType.SYNCED, {}))
            await self._end.wait()
        finally:
            self.driver.parts.pop(self.node, None)
