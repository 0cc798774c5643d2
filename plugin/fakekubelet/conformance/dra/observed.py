"""What can be seen of a driver at a moment: its slices, its health messages, its files and sockets."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import stat
from typing import TYPE_CHECKING, Any, Final

import inotify_simple

from fakekubelet.apiserver import kinds, store
from fakekubelet.dra import cdi
from fakekubelet.kubelet import plugin_watcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fakekubelet.apiserver.server import ApiServer
    from fakekubelet.conformance.dra.evidence import DeviceKey
    from fakekubelet.conformance.dra.settings import Settings
    from fakekubelet.kubelet.kubelet import FakeKubelet
    from kubeletapi.drahealth.v1 import api_pb2 as healthapi

_FILES_S: Final = 0.1
SLICES: Final = kinds.BY_PLURAL[kinds.RESOURCE_GROUP, "resourceslices"]


class Slices:
    """The slices of one driver, and what was done to them."""

    def __init__(self, api: ApiServer) -> None:
        self.driver = ""
        self.writes = 0
        """Changes so far, whoever made them."""
        self.is_wiping = False
        """Whether deletions are the kit's own just now."""
        self.deleted: list[str] = []
        """Names of those that went though the kit did not delete them."""
        self._api = api
        api.registry.store.listen(SLICES, self._heard)

    def all(self) -> list[dict[str, Any]]:
        """Return the slices of the driver, in their order."""
        return [one for one in self._api.all("resourceslices") if self.driver in ("", one["spec"]["driver"])]

    def devices(self) -> dict[DeviceKey, dict[str, Any]]:
        """Return the devices of complete pools."""
        found: dict[DeviceKey, dict[str, Any]] = {}
        for pool, slices in self._newest().items():
            if len(slices) == slices[0]["spec"]["pool"]["resourceSliceCount"]:
                found |= {(pool, device["name"]): device for one in slices for device in one["spec"].get("devices", ())}
        return found

    def problem(self) -> str:
        """Say what would keep a scheduler from allocating from these pools; empty if nothing (contract SL-3)."""
        for pool, slices in self._newest().items():
            wanted = slices[0]["spec"]["pool"]["resourceSliceCount"]
            generation = slices[0]["spec"]["pool"]["generation"]
            if len(slices) != wanted:
                return f"pool {pool}: {len(slices)} slice(s) of generation {generation}, which says there are {wanted}"
            names = [device["name"] for one in slices for device in one["spec"].get("devices", ())]
            twice = [name for name, number in collections.Counter(names).items() if number > 1]
            if twice:
                return f"pool {pool}: device {twice[0]} is there twice"
        old = len(self.all()) - sum(map(len, self._newest().values()))
        return f"{old} slice(s) of older generations are left" if old else ""

    def wipe(self) -> None:
        """Delete all slices of the driver, as a kubelet does when it starts (contract DRA-9)."""
        self.is_wiping = True
        try:
            for one in self.all():
                self._api.delete("resourceslices", one["metadata"]["name"])
        finally:
            self.is_wiping = False

    def _newest(self) -> dict[str, list[dict[str, Any]]]:
        pools: dict[str, list[dict[str, Any]]] = {}
        for one in self.all():
            pools.setdefault(one["spec"]["pool"]["name"], []).append(one)
        return {
            pool: [
                one
                for one in slices
                if one["spec"]["pool"]["generation"] == max(other["spec"]["pool"]["generation"] for other in slices)
            ]
            for pool, slices in pools.items()
        }

    def _heard(self, change: store.Change) -> None:
        if self.driver not in ("", change.new.document["spec"]["driver"]):
            return
        self.writes += 1
        if change.type is store.ChangeType.DELETED and not self.is_wiping:
            self.deleted.append(change.new.document["metadata"]["name"])


def keeps_away(device: dict[str, Any]) -> bool:
    """Tell whether a device of a slice has a taint that keeps pods away."""
    return any(taint["effect"] in ("NoSchedule", "NoExecute") for taint in device.get("taints", ()))


def can_be_claimed(device: dict[str, Any]) -> bool:
    """Tell whether a claim can have a device as a whole: of a shared one it has a share, which the kit cannot give."""
    return not keeps_away(device) and not device.get("allowMultipleAllocations")


class Health:
    """The health messages of one driver."""

    def __init__(self, running: FakeKubelet) -> None:
        self._kubelet = running
        self.driver = ""

    def messages(self, since: float = 0.0) -> list[tuple[float, healthapi.NodeWatchResourcesResponse]]:
        """Return `(time, message)` of all that came after *since*."""
        assert self._kubelet.dra is not None
        return [
            (at, message)
            for at, driver, message in self._kubelet.dra.health_messages
            if driver == self.driver and message is not None and at >= since
        ]

    def of(self, key: DeviceKey, since: float = 0.0) -> int | None:
        """Return what the newest message says of a device: 0, 1 or 2 as on the wire; None if it says nothing."""
        for _, message in reversed(self.messages(since)):
            for device in message.devices:
                if (device.device.pool_name, device.device.device_name) == key:
                    return int(device.health)
            return None
        return None


class CdiWatch:
    """Sees files that are written where a runtime may read them at the same moment (contract CDI-1)."""

    def __init__(self, directory: Path) -> None:
        self.in_place: list[str] = []
        """Names of specs that were written under their own name."""
        self.arrived = 0
        """How many specs came, by whatever way."""
        self._inotify = plugin_watcher.new_inotify()
        flags = inotify_simple.flags
        self._inotify.add_watch(directory, flags.MODIFY | flags.MOVED_TO | flags.CREATE)
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self.look)

    def look(self) -> None:
        """Take in what has happened."""
        for event in self._inotify.read(timeout=0):
            if event.name.startswith(".") or not event.name.endswith(cdi.SUFFIXES):
                continue
            if event.mask & inotify_simple.flags.MODIFY:
                if event.name not in self.in_place:
                    self.in_place.append(event.name)
            else:
                self.arrived += 1

    def close(self) -> None:
        """Look no more."""
        asyncio.get_running_loop().remove_reader(self._inotify.fileno())
        self._inotify.close()


def sockets(settings: Settings) -> set[Path]:
    """Return the sockets in the directories that drivers put them in."""
    found = set()
    for directory in (settings.plugins_dir, settings.registry_dir):
        for path in directory.rglob("*"):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(path.stat().st_mode):
                    found.add(path)
    return found


class Onlooker:
    """Waits for what happens to the kubelet, to the API server, or to files, which change without a word."""

    def __init__(self, running: FakeKubelet, api: ApiServer) -> None:
        self._woken = asyncio.Event()
        running.changes.subscribe(self._woken.set)
        api.changes.subscribe(self._woken.set)

    def wake(self) -> None:
        """Look again: something else has happened."""
        self._woken.set()

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for a condition; tell whether it came true."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._woken.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_FILES_S):
                            await self._woken.wait()
        except TimeoutError:
            return condition()
        return True
