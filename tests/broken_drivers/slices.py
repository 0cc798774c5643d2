"""Faults in what is published."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, ClassVar

import aiohttp

from tests.broken_drivers.sound import SLICES, Sound


class NeverPublishes(Sound):
    breaks: ClassVar = {"publishes"}

    async def publish_once(self, http: aiohttp.ClientSession) -> None:
        pass


class WritesABadSliceFirst(Sound):
    breaks: ClassVar = {"valid-slices"}

    async def create(self, http: aiohttp.ClientSession, document: dict[str, Any]) -> None:
        bad = json.loads(json.dumps(document))
        bad["spec"]["devices"][0]["name"] = "Gem_1"
        await super().create(http, bad)
        await super().create(http, document)


class PublishesForAnotherNode(Sound):
    breaks: ClassVar = {"own-node"}

    def slice_spec(self, generation: int) -> dict[str, Any]:
        return {**super().slice_spec(generation), "nodeName": "elsewhere"}

    def wanted(self) -> dict[str, str]:
        return {"fieldSelector": f"spec.driver={self.name}"}


class LeavesOldSlices(Sound):
    breaks: ClassVar = {"complete-pools"}

    async def publish_once(self, http: aiohttp.ClientSession) -> None:
        async with http.get(SLICES, params=self.wanted()) as response:
            stored = (await response.json())["items"]
        if not stored:
            await super().publish_once(http)
            return
        newest = max(stored, key=lambda one: one["spec"]["pool"]["generation"])
        generation = newest["spec"]["pool"]["generation"]
        if self.differs(newest["spec"], self.slice_spec(generation)):
            metadata = {
                "name": f"{self.node}-{generation + 1}",
                **self.owners(newest["metadata"]["ownerReferences"][0]),
            }
            await self.create(http, {"metadata": metadata, "spec": self.slice_spec(generation + 1)})


class NamesNoOwner(Sound):
    breaks: ClassVar = {"owned-by-node"}

    def owners(self, owner: dict[str, Any]) -> dict[str, Any]:
        return {}


class ForgetsTheTimesOfTaints(Sound):
    breaks: ClassVar = {"no-rewriting"}
    number = 0

    def slice_device(self, device: str) -> dict[str, Any]:
        found = super().slice_device(device)
        for taint in found.get("taints", []):
            self.number += 1  # as a clock that goes on does
            taint["timeAdded"] = f"2026-01-01T00:00:{self.number % 60:02d}Z"
        return found

    def differs(self, stored: dict[str, Any], wanted: dict[str, Any]) -> bool:
        return bool(stored != wanted)


class DeletesToChange(Sound):
    breaks: ClassVar = {"changes-in-place"}

    async def publish_once(self, http: aiohttp.ClientSession) -> None:
        async with http.get(SLICES, params=self.wanted()) as response:
            stored = (await response.json())["items"]
        if stored and self.differs(stored[0]["spec"], self.slice_spec(1)):
            async with http.delete(f"{SLICES}/{stored[0]['metadata']['name']}"):
                pass
            stored = []
        if not stored:
            await super().publish_once(http)


class PublishesOnce(Sound):
    """One fault in the code, and two in what is seen: whatever takes its slices takes them for good."""

    breaks: ClassVar = {"republishes", "survives-lost-watch"}
    published = False

    async def publish_once(self, http: aiohttp.ClientSession) -> None:
        if not self.published:
            await super().publish_once(http)
            self.published = True
            return
        async with http.get(SLICES, params=self.wanted()) as response:
            if (await response.json())["items"]:
                await super().publish_once(http)


class GivesUpItsWatch(PublishesOnce):
    """Sees what is deleted by its watch alone, and has none once that is lost."""

    breaks: ClassVar = {"survives-lost-watch"}

    async def publish(self, http: aiohttp.ClientSession) -> None:
        watches = asyncio.Event()
        watching = asyncio.create_task(self.watch(http, watches))
        await watches.wait()
        await super().publish(http)
        await watching

    async def watch(self, http: aiohttp.ClientSession, watches: asyncio.Event) -> None:
        async with http.get(SLICES, params=self.wanted()) as response:
            revision = (await response.json())["metadata"]["resourceVersion"]
        params = {**self.wanted(), "watch": "true", "resourceVersion": revision}
        timeout = aiohttp.ClientTimeout(total=None)
        with contextlib.suppress(aiohttp.ClientError):
            async with http.get(SLICES, params=params, timeout=timeout) as response:
                watches.set()
                async for line in response.content:
                    if json.loads(line)["type"] == "DELETED":
                        self.published = False
