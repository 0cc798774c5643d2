"""Faults in preparing and unpreparing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, ClassVar

import aiohttp

from kubeletapi.dra.v1 import api_pb2 as v1
from tests.broken_drivers.sound import RefusalError, Sound


class PreparesNothing(Sound):
    breaks: ClassVar = {"prepares"}

    async def prepare(self, claim: Any) -> list[v1.Device]:
        await super().prepare(claim)
        return []


class PreparesOnce(Sound):
    breaks: ClassVar = {"prepares-again"}

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.done: set[str] = set()

    async def prepare(self, claim: Any) -> list[v1.Device]:
        if claim.uid in self.done:
            raise RefusalError("is prepared already")
        devices = await super().prepare(claim)
        self.done.add(claim.uid)
        return devices


class PreparesForOthers(Sound):
    breaks: ClassVar = {"foreign-entries"}
    devices = ("gem-1", "gem-2", "gem-3")

    def mine(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.devices = (*Sound.devices, "stranger-0")
        return results

    def slice_spec(self, generation: int) -> dict[str, Any]:
        return {
            **super().slice_spec(generation),
            "devices": [self.slice_device(device) for device in self.present() if device in Sound.devices],
        }


class KeepsTheAlternative(Sound):
    breaks: ClassVar = {"base-request-names"}

    def request_name(self, request: str) -> str:
        return request


class SaysNothingOfBadClaims(Sound):
    breaks: ClassVar = {"one-entry-each"}

    async def NodePrepareResources(self, request: Any, context: Any) -> v1.NodePrepareResourcesResponse:
        response = await super().NodePrepareResources(request, context)
        for uid in [uid for uid, entry in response.claims.items() if entry.error]:
            del response.claims[uid]
        return response


class FailsAllForOne(Sound):
    breaks: ClassVar = {"bad-beside-good"}

    async def NodePrepareResources(self, request: Any, context: Any) -> v1.NodePrepareResourcesResponse:
        response = await super().NodePrepareResources(request, context)
        if any(entry.error for entry in response.claims.values()):
            for entry in response.claims.values():
                entry.error = entry.error or "another one failed"
        return response


class TrustsNames(Sound):
    breaks: ClassVar = {"replaced-claim"}

    def check(self, claim: Any, stored: dict[str, Any]) -> None:
        if stored.get("kind") == "ResourceClaim":
            stored = {**stored, "metadata": {**stored["metadata"], "uid": claim.uid}}
        super().check(claim, stored)


class PreparesWhatIsNotAllocated(Sound):
    breaks: ClassVar = {"unallocated-claim"}

    def check(self, claim: Any, stored: dict[str, Any]) -> None:
        if stored.get("kind") == "ResourceClaim" and "allocation" not in stored.get("status", {}):
            stored["status"] = {"allocation": {"devices": {"results": []}}}
        super().check(claim, stored)


class _Asks(Sound):
    """Looks for a claim's object when it unprepares."""

    async def NodeUnprepareResources(self, request: Any, context: Any) -> v1.NodeUnprepareResourcesResponse:
        known = {claim.uid for claim in request.claims if (self.dir / f"{claim.uid}.claim").exists()}
        response = await super().NodeUnprepareResources(request, context)
        async with aiohttp.ClientSession(self.server_url) as http:
            for claim in request.claims:
                path = f"/apis/resource.k8s.io/v1/namespaces/{claim.namespace}/resourceclaims/{claim.name}"
                async with http.get(path) as answer:
                    response.claims[claim.uid].error = self.complaint(claim.uid in known, answer.status == 200)
        return response

    def complaint(self, known: bool, exists: bool) -> str:
        return ""


class UnpreparesOnlyWhatIsGone(_Asks):
    breaks: ClassVar = {"unprepares"}

    def complaint(self, known: bool, exists: bool) -> str:
        return "it still exists" if exists else ""


class NeedsTheObject(_Asks):
    breaks: ClassVar = {"unprepares-deleted"}

    def complaint(self, known: bool, exists: bool) -> str:
        return "not found" if known and not exists else ""


class RefusesTheUnknown(Sound):
    breaks: ClassVar = {"unprepares-unknown"}

    def unprepare(self, claim: Any) -> None:
        if not (self.dir / f"{claim.uid}.claim").exists():
            raise RefusalError("never heard of it")
        super().unprepare(claim)


class ThinksForEver(Sound):
    breaks: ClassVar = {"replies-in-time"}

    async def NodeUnprepareResources(self, request: Any, context: Any) -> v1.NodeUnprepareResourcesResponse:
        if any(not (self.dir / f"{claim.uid}.claim").exists() for claim in request.claims):
            await asyncio.sleep(3600)
        return await super().NodeUnprepareResources(request, context)


class GivesOtherIdsAfterARestart(Sound):
    breaks: ClassVar = {"same-answer-after-kill"}

    def cdi_id(self, uid: str, device: str) -> str:
        return f"sound.example.com/gem={uid}-{device}-{self.instance}"

    def write_cdi(self, uid: str, devices: list[str]) -> None:
        super().write_cdi(uid, [f"{device}-{self.instance}" for device in devices])


class TrustsItsOwnFiles(Sound):
    breaks: ClassVar = {"cdi-after-reboot"}

    def write_cdi(self, uid: str, devices: list[str]) -> None:
        if not (self.dir / f"{uid}.claim").exists():
            super().write_cdi(uid, devices)


class UnpreparesOnlyItsOwn(Sound):
    breaks: ClassVar = {"unprepares-for-the-dead"}

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.own: set[str] = set()

    def remember(self, uid: str, devices: list[tuple[str, str]]) -> None:
        if not (self.dir / f"{uid}.claim").exists():
            self.own.add(uid)
        super().remember(uid, devices)

    def unprepare(self, claim: Any) -> None:
        known = (self.dir / f"{claim.uid}.claim").exists()
        super().unprepare(claim)
        if known and claim.uid not in self.own:
            raise RefusalError("it was another process")


class NamesBadIds(Sound):
    breaks: ClassVar = {"cdi-names"}

    def cdi_id(self, uid: str, device: str) -> str:
        return f"gem={uid}-{device}"


class WritesTooOldAVersion(Sound):
    breaks: ClassVar = {"cdi-files"}
    cdi_version = "0.2.0"


class DescribesOtherDevices(Sound):
    breaks: ClassVar = {"cdi-resolvable"}

    def cdi_id(self, uid: str, device: str) -> str:
        return f"sound.example.com/gem={uid}-{device}-x"


class WritesInPlace(Sound):
    breaks: ClassVar = {"cdi-atomic"}

    def write(self, path: Path, content: Any) -> None:
        path.write_text(json.dumps(content))


class NamesAllDevicesAlike(Sound):
    breaks: ClassVar = {"cdi-unique"}

    def cdi_id(self, uid: str, device: str) -> str:
        return f"sound.example.com/gem={uid}-all"

    def write_cdi(self, uid: str, devices: list[str]) -> None:
        super().write_cdi(uid, ["all"])


class ReusesNames(Sound):
    breaks: ClassVar = {"cdi-fresh"}

    def cdi_id(self, uid: str, device: str) -> str:
        return f"sound.example.com/gem={device}"

    def write_cdi(self, uid: str, devices: list[str]) -> None:
        entries = [{"name": device, "containerEdits": {"env": [f"CLAIM={uid}"]}} for device in devices]
        content = {"cdiVersion": self.cdi_version, "kind": "sound.example.com/gem", "devices": entries}
        self.write(self.cdi_path(uid), content)


class LeavesFiles(Sound):
    breaks: ClassVar = {"cdi-removed"}

    def unprepare(self, claim: Any) -> None:
        (self.dir / f"{claim.uid}.claim").unlink(missing_ok=True)
