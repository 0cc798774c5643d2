"""The DRA half of a kubelet as a whole.

`FakeKubelet` starts and stops it with itself and hands it the drivers that register; pods are documents, as an API
server has them. Nothing of it outlives a kubelet's process but the checkpoint and the slices (contract DRA-14).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from fakekubelet import clock
from fakekubelet.dra import cdi, claim_cache, drivers, health_cache, preparation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fakekubelet.dra.view import View
    from fakekubelet.kubelet import call_log
    from kubeletapi.drahealth.v1 import api_pb2 as healthapi

RECONCILE_PERIOD_S: Final = 60.0
"""How often pods that have vanished are looked for (contract DRA-PREP-8)."""


class DynamicResources:
    """Claims, drivers and health of one node."""

    def __init__(
        self,
        state_dir: Path,
        api: View,
        *,
        node_name: str,
        release: str,
        cdi_dirs: Sequence[Path],
        time_source: clock.Clock,
        calls: call_log.CallLog,
        ring: Callable[[], None],
    ) -> None:
        self.api = api
        self.cdi = cdi.Cdi(cdi_dirs)
        self.health_messages: list[tuple[float, str, healthapi.NodeWatchResourcesResponse | None]] = []
        """`(time, driver, message)` of every health message, over restarts too; None is the end of a stream."""
        self.arrivals: list[drivers.Arrival] = []
        """Every driver that was taken, over restarts too."""
        self.synced_pods: list[str] = []
        """UIDs of pods that were looked at again because the health of one of their devices changed (DRA-HEALTH-6)."""
        self._state_dir = state_dir
        self._node_name = node_name
        self._minor = int(release.partition(".")[2])
        self._clock = time_source
        self._calls = calls
        self._ring = ring
        self._task: asyncio.Task[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self.claims = claim_cache.ClaimCache(self._state_dir)
        self.health = health_cache.HealthCache(self._clock)
        self.drivers = drivers.Drivers(
            self.api,
            self._node_name,
            minor=self._minor,
            time_source=self._clock,
            calls=self._calls,
            ring=self._ring,
            on_health=self._heard,
            arrivals=self.arrivals,
        )
        self._preparation = preparation.Preparation(self.api, self.drivers, self.claims)

    async def start(self) -> None:
        """Come up: read the checkpoint, wipe the node's slices (contract DRA-9), look for vanished pods from now on.

        DamagedCheckpointError for a file that a real kubelet would not start with.
        """
        self._state_dir.mkdir(parents=True, exist_ok=True)
        self._begin()
        self.claims.load()
        self.drivers.wipe_all()
        self._task = asyncio.create_task(self._reconcile(), name=f"dra {self._node_name}")

    async def stop(self) -> None:
        """Go down; nothing if it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.drivers.stop()

    def forget_boot(self) -> None:
        """Lose what a reboot loses: what the runtime's last directory holds, which as a rule is /var/run/cdi."""
        for path in self.cdi.directories[-1].glob("*") if self.cdi.directories else ():
            if path.suffix in cdi.SUFFIXES:
                path.unlink()

    def forget_node(self) -> None:
        """Lose what a new node has never had."""
        self.forget_boot()
        self.claims.delete_file()

    # -- pods ---------------------------------------------------------------------------------------------------------

    async def prepare(self, pod: Mapping[str, Any]) -> None:
        """Do what comes before a pod's sandbox; PreparationError with the text of its event."""
        try:
            await self._preparation.prepare(pod)
        finally:
            self._ring()

    async def unprepare(self, pod: Mapping[str, Any]) -> None:
        """Do what comes after a pod's last container; PreparationError with the text of its event."""
        try:
            await self._preparation.unprepare(pod)
        finally:
            self._ring()

    def cdi_device_ids(self, pod: Mapping[str, Any], container: str) -> list[str]:
        """Return the ids that the runtime is given for a container (contract DRA-CDI-1, DRA-PREP-10)."""
        spec = _container(pod, container)
        namespace = pod["metadata"].get("namespace", "default")
        wanted: dict[str, list[str]] = {}
        of_container: dict[str, list[str]] = {}
        for entry in (spec.get("resources") or {}).get("claims") or []:
            of_container.setdefault(entry["name"], []).append(entry.get("request", ""))
        for claim in preparation.pod_claims(pod):
            if claim.name in of_container:
                wanted.setdefault(claim.claim_name, []).extend(of_container[claim.name])
        extended = (pod.get("status") or {}).get("extendedResourceClaimStatus")
        if extended:
            mine = [entry for entry in extended["requestMappings"] if entry["containerName"] == container]
            wanted.setdefault(extended["resourceClaimName"], []).extend(entry["requestName"] for entry in mine)
        ids = []
        for name, requests in wanted.items():
            info = self.claims.get(namespace, name)
            if info is None:
                text = f"internal error: unable to get claim info for ResourceClaim {name} in namespace {namespace}"
                raise preparation.PreparationError(text)
            for request in requests:
                ids += info.cdi_device_ids(request)
        return ids

    def edits(self, pod: Mapping[str, Any], container: str) -> cdi.Edits:
        """Return what the runtime puts into a container; CdiError, with which the container would not start."""
        return self.cdi.inject(self.cdi_device_ids(pod, container))

    def allocated_resources_status(self, pod: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Return app container → `allocatedResourcesStatus` of the pod's status (DRA-HEALTH-7, DRA-HEALTH-8)."""
        if not self.drivers.health_services:
            return {}
        return {
            spec["name"]: found
            for spec in pod["spec"].get("containers") or []
            if (found := self._status(pod, (spec.get("resources") or {}).get("claims") or []))
        }

    # -- inside -------------------------------------------------------------------------------------------------------

    def _status(self, pod: Mapping[str, Any], entries: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
        names = {claim.name: claim.claim_name for claim in preparation.pod_claims(pod)}
        statuses = []
        for entry in entries:
            info = self.claims.get(pod["metadata"].get("namespace", "default"), names.get(entry["name"], ""))
            request = entry.get("request", "").partition("/")[0]
            resources: dict[str, dict[str, str]] = {}
            for driver, devices in info.drivers.items() if info is not None else ():
                for device in devices:
                    if request and device.request_names and request not in device.request_names:
                        continue
                    known = self.health.of(driver, device.pool, device.device)
                    resource_id = (*device.cdi_device_ids, f"{driver}/{device.pool}/{device.device}")[0]
                    message = {"message": known.message} if known.message else {}
                    resources.setdefault(resource_id, {"resourceID": resource_id, "health": known.health, **message})
            if resources:
                name = f"claim:{entry['name']}" + (f"/{entry['request']}" if entry.get("request") else "")
                statuses.append({"name": name, "resources": list(resources.values())})
        return statuses

    def _heard(self, driver: str, reply: healthapi.NodeWatchResourcesResponse | None) -> None:
        self.health_messages.append((self._clock.time(), driver, reply))
        if reply is None:
            self.health.forget(driver)
        else:
            changed = self.health.update(driver, reply.devices)
            for info in self.claims.all():
                held = {(device.pool, device.device) for device in info.drivers.get(driver, ())}
                if held & changed:
                    self.synced_pods += sorted(info.pod_uids)
        self._ring()

    async def _reconcile(self) -> None:
        while True:
            await clock.sleep(self._clock, RECONCILE_PERIOD_S)
            if (uids := await self.api.pods(self._node_name)) is not None:
                await self._preparation.reconcile(uids)


def _container(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    spec = pod["spec"]
    for container in (*(spec.get("initContainers") or []), *(spec.get("containers") or [])):
        if container["name"] == name:
            found: Mapping[str, Any] = container
            return found
    raise ValueError(f"pod {pod['metadata']['name']} has no container {name!r}")
