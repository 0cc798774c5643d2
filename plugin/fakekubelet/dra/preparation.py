"""What a kubelet does for the claims of a pod, in its order and with its words.

Mirrors `cm/dra/manager.go` (contract DRA-PREP-1 to DRA-PREP-8): everything is checked before anything is noted, the
cache is saved before the call and after it, and one failure ends the try.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from fakekubelet.dra import claim_cache, drivers, view
from fakekubelet.kubelet import call_log
from kubeletapi.dra.v1 import api_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fakekubelet.dra.view import View

Object = dict[str, Any]


class PreparationError(Exception):
    """A pod cannot begin or end now; the text is that of the pod's event."""


class PodClaim(NamedTuple):
    """A claim of a pod."""

    name: str
    """Of the entry in `spec.resourceClaims`; "" for that of extended resources."""
    claim_name: str
    must_be_owned: bool


def pod_claims(pod: Mapping[str, Any]) -> Iterator[PodClaim]:
    """Give the claims of a pod that have objects; PreparationError for one that is not made yet."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    made = {entry["name"]: entry.get("resourceClaimName") for entry in status.get("resourceClaimStatuses") or []}
    who = f"{metadata.get('namespace', 'default')}/{metadata['name']}"
    for entry in pod["spec"].get("resourceClaims") or []:
        if entry.get("resourceClaimName"):
            yield PodClaim(entry["name"], entry["resourceClaimName"], must_be_owned=False)
        elif not entry.get("resourceClaimTemplateName"):
            text = f'pod "{who}", spec.resourceClaim "{entry["name"]}": none of the supported fields are set'
            raise PreparationError(text)
        elif entry["name"] not in made:
            raise PreparationError(f'pod "{who}": ResourceClaim not created yet')
        elif made[entry["name"]]:
            yield PodClaim(entry["name"], made[entry["name"]], must_be_owned=True)
    extended = status.get("extendedResourceClaimStatus")
    if extended:
        yield PodClaim("", extended["resourceClaimName"], must_be_owned=False)


class Preparation:
    """Prepares and unprepares through the registered drivers."""

    def __init__(self, api: View, known: drivers.Drivers, cache: claim_cache.ClaimCache) -> None:
        self._api = api
        self._drivers = known
        self._cache = cache
        self._busy = asyncio.Lock()

    async def prepare(self, pod: Mapping[str, Any]) -> None:
        """Prepare all claims of a pod, those that are prepared already excepted; PreparationError (contract DRA-10)."""
        try:
            async with self._busy:
                await self._prepare(pod)
        except (drivers.NotRegisteredError, PreparationError) as error:
            raise PreparationError(f"prepare dynamic resources: {error}") from error

    async def unprepare(self, pod: Mapping[str, Any]) -> None:
        """Unprepare the claims that no other pod of the node uses; PreparationError (contract DRA-15)."""
        try:
            metadata = pod["metadata"]
            names = [claim.claim_name for claim in pod_claims(pod)]
            await self.unprepare_claims(metadata["uid"], metadata.get("namespace", "default"), names)
        except (drivers.NotRegisteredError, PreparationError) as error:
            raise PreparationError(f"unprepare dynamic resources: {error}") from error

    async def reconcile(self, active_uids: Iterable[str]) -> None:
        """Unprepare what pods that have vanished have left (contract DRA-PREP-8); what fails is tried the next time."""
        active = set(active_uids)
        gone: dict[tuple[str, str], list[str]] = {}
        for info in self._cache.all():
            for uid in info.pod_uids - active:
                gone.setdefault((uid, info.namespace), []).append(info.name)
        for (uid, namespace), names in gone.items():
            try:
                await self.unprepare_claims(uid, namespace, names)
            except (drivers.NotRegisteredError, PreparationError):
                continue  # logged there and tried again, too

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _prepare(self, pod: Mapping[str, Any]) -> None:
        metadata = pod["metadata"]
        namespace = metadata.get("namespace", "default")
        found = [await self._checked(pod, claim) for claim in pod_claims(pod)]
        wanted: list[claim_cache.ClaimInfo] = []
        for claim, new in found:
            info = self._cache.get(namespace, new.name)
            if info is None:
                info = new
                self._cache.add(info)
            elif info.uid != claim["metadata"]["uid"]:
                raise PreparationError(
                    f"old ResourceClaim with same name {info.name} and different UID {info.uid} still exists "
                    "(previous pod force-deleted?!)"
                )
            info.pod_uids.add(metadata["uid"])
            self._cache.save()
            if not info.is_prepared:
                wanted.append(info)
        batches: dict[str, list[claim_cache.ClaimInfo]] = {}
        for info in wanted:
            for driver in info.drivers:
                batches.setdefault(driver, []).append(info)
        for driver, infos in batches.items():
            await self._prepare_by(driver, infos)
        for info in wanted:
            info.is_prepared = True
        if wanted:
            self._cache.save()

    async def _checked(self, pod: Mapping[str, Any], pod_claim: PodClaim) -> tuple[Object, claim_cache.ClaimInfo]:
        """Fetch a claim and look whether the pod may use it and whether its drivers are there (DRA-PREP-2)."""
        metadata = pod["metadata"]
        namespace, name = metadata.get("namespace", "default"), pod_claim.claim_name
        try:
            claim = await self._api.claim(namespace, name)
        except view.FetchError as error:
            raise PreparationError(f"fetch ResourceClaim {name}: {error}") from error
        owners = claim["metadata"].get("ownerReferences") or []
        if pod_claim.must_be_owned and not any(owner["uid"] == metadata["uid"] for owner in owners):
            who = f"ResourceClaim {namespace}/{name} was not created for Pod {namespace}/{metadata['name']}"
            raise PreparationError(f"{who} (Pod is not owner)")
        status = claim.get("status") or {}
        if not any(user.get("uid") == metadata["uid"] for user in status.get("reservedFor") or []):
            raise PreparationError(
                f"pod {metadata['name']} ({metadata['uid']}) is not allowed to use ResourceClaim {name} "
                f"({claim['metadata']['uid']})"
            )
        if not status.get("allocation"):
            raise PreparationError(f"ResourceClaim {name}: claim not allocated")
        results = (status["allocation"].get("devices") or {}).get("results") or []
        state: dict[str, list[claim_cache.PreparedDevice]] = {result["driver"]: [] for result in results}
        for driver in state:
            self._drivers.get(driver)
        return claim, claim_cache.ClaimInfo(claim["metadata"]["uid"], name, namespace, drivers=state)

    async def _prepare_by(self, driver: str, infos: list[claim_cache.ClaimInfo]) -> None:
        try:
            reply = await self._drivers.get(driver).prepare(_claims(infos))
        except call_log.RpcError as error:
            raise PreparationError(f"NodePrepareResources: {error}") from error
        by_uid = {info.uid: info for info in infos}
        for uid, result in reply.claims.items():
            if uid not in by_uid:
                raise PreparationError(f"NodePrepareResources returned result for unknown claim UID {uid}")
            info = by_uid[uid]
            if result.error:
                raise PreparationError(f"NodePrepareResources failed for ResourceClaim {info.name}: {result.error}")
            info.drivers[driver] += [
                claim_cache.PreparedDevice(
                    device.pool_name,
                    device.device_name,
                    device.share_id if device.HasField("share_id") else None,
                    tuple(device.request_names),
                    tuple(device.cdi_device_ids),
                )
                for device in result.devices
            ]
        if len(reply.claims) != len(infos):
            raise PreparationError(f"NodePrepareResources skipped {len(infos) - len(reply.claims)} ResourceClaims")

    async def unprepare_claims(self, pod_uid: str, namespace: str, names: Iterable[str]) -> None:
        """Unprepare claims of a pod by name; NotRegisteredError or PreparationError."""
        async with self._busy:
            batches: dict[str, list[claim_cache.ClaimInfo]] = {}
            done = []
            for name in names:
                info = self._cache.get(namespace, name)
                if info is None:
                    continue
                if info.pod_uids - {pod_uid}:
                    info.pod_uids.discard(pod_uid)
                    continue
                done.append(info)
                for driver in info.drivers:
                    batches.setdefault(driver, []).append(info)
            for driver, infos in batches.items():
                await self._unprepare_by(driver, infos)
            for info in done:
                self._cache.remove(info)
            self._cache.save()

    async def _unprepare_by(self, driver: str, infos: list[claim_cache.ClaimInfo]) -> None:
        try:
            reply = await self._drivers.get(driver).unprepare(_claims(infos))
        except call_log.RpcError as error:
            raise PreparationError(f"NodeUnprepareResources: {error}") from error
        by_uid = {info.uid: info for info in infos}
        for uid, result in reply.claims.items():
            if uid not in by_uid:
                raise PreparationError(f"NodeUnprepareResources returned result for unknown claim UID {uid}")
            if result.error:
                name = by_uid[uid].name
                raise PreparationError(f"NodeUnprepareResources failed for ResourceClaim {name}: {result.error}")
        if len(reply.claims) != len(infos):
            raise PreparationError(f"NodeUnprepareResources skipped {len(infos) - len(reply.claims)} ResourceClaims")


def _claims(infos: Iterable[claim_cache.ClaimInfo]) -> list[v1.Claim]:
    return [v1.Claim(namespace=info.namespace, uid=info.uid, name=info.name) for info in infos]
