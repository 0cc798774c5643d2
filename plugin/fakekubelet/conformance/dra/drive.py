"""Calls that the kit makes beside the kubelet's, on the kubelet's own connection; and the claims they are about."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

from fakekubelet.conformance.dra import evidence
from fakekubelet.kubelet import call_log
from kubeletapi.dra.v1 import api_pb2 as v1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fakekubelet.apiserver.server import ApiServer
    from fakekubelet.dra.driver_client import DriverClient

API_VERSION = "resource.k8s.io/v1"
STRANGER = "another-driver.example.com"

Object = dict[str, Any]


class Claims:
    """Makes claims, allocated as a scheduler would allocate them."""

    def __init__(self, api: ApiServer) -> None:
        self.driver = ""
        """Whose devices are allocated."""
        self._api = api
        self._numbers = itertools.count(1)

    def make(
        self,
        devices: Sequence[evidence.DeviceKey],
        *,
        request: str = "req-0",
        with_stranger: bool = False,
        is_allocated: bool = True,
    ) -> Object:
        """Create a claim and its allocation."""
        name, slash, alternative = request.partition("/")
        exactly = {"deviceClassName": "conformance", "count": max(1, len(devices))}
        asked: Object = {"name": name, "exactly": exactly}
        if slash:
            asked = {"name": name, "firstAvailable": [{"name": alternative, **exactly}]}
        requests = [asked]
        results = [
            {"request": request, "driver": self.driver, "pool": pool, "device": device} for pool, device in devices
        ]
        if with_stranger:
            requests.append({"name": "stranger", "exactly": {"deviceClassName": "conformance"}})
            results.append({"request": "stranger", "driver": STRANGER, "pool": "elsewhere", "device": "stranger-0"})
        claim = self._api.create(
            {
                "apiVersion": API_VERSION,
                "kind": "ResourceClaim",
                "metadata": {"name": f"conformance-{next(self._numbers)}"},
                "spec": {"devices": {"requests": requests}},
            }
        )
        if not is_allocated:
            return claim
        user = {"resource": "pods", "name": "conformance", "uid": claim["metadata"]["uid"]}
        status = {"allocation": {"devices": {"results": results}}, "reservedFor": [user]}
        document = {**claim, "apiVersion": API_VERSION, "kind": "ResourceClaim", "status": status}
        return self._api.update(document, subresource="status")

    def delete(self, claim: Object) -> None:
        """Delete a claim's object."""
        self._api.delete("resourceclaims", claim["metadata"]["name"])


def told(claim: Object, *, uid: str | None = None) -> v1.Claim:
    """Return what a kubelet says of a claim."""
    metadata = claim["metadata"]
    return v1.Claim(namespace=metadata["namespace"], name=metadata["name"], uid=uid or metadata["uid"])


async def prepare(client: DriverClient, purpose: str, claims: Sequence[v1.Claim], limit_s: float) -> evidence.Exchange:
    """Call NodePrepareResources and note what comes."""
    return await _call(client, purpose, "NodePrepareResources", claims, limit_s)


async def unprepare(
    client: DriverClient, purpose: str, claims: Sequence[v1.Claim], limit_s: float
) -> evidence.Exchange:
    """Call NodeUnprepareResources and note what comes."""
    return await _call(client, purpose, "NodeUnprepareResources", claims, limit_s)


def not_registered(purpose: str, method: str, claims: Sequence[v1.Claim]) -> evidence.Exchange:
    """Return what there is to note where nobody can be called."""
    uids = tuple(claim.uid for claim in claims)
    return evidence.Exchange(purpose, method, uids, None, "the driver is not registered any more")


async def _call(
    client: DriverClient, purpose: str, method: str, claims: Sequence[v1.Claim], limit_s: float
) -> evidence.Exchange:
    uids = tuple(claim.uid for claim in claims)
    began = time.monotonic()
    entries: dict[str, evidence.Entry] | None = None
    error = ""
    try:
        async with asyncio.timeout(limit_s):
            if method == "NodePrepareResources":
                reply = await client.prepare(claims)
                entries = {uid: evidence.Entry(entry.error, _devices(entry)) for uid, entry in reply.claims.items()}
            else:
                done = await client.unprepare(claims)
                entries = {uid: evidence.Entry(entry.error) for uid, entry in done.claims.items()}
    except TimeoutError:
        error = evidence.TIMED_OUT
    except call_log.RpcError as failure:
        is_late = failure.details == call_log.DEADLINE_TEXT
        error = evidence.TIMED_OUT if is_late else str(failure)
    return evidence.Exchange(purpose, method, uids, entries, error, time.monotonic() - began)


def _devices(entry: v1.NodePrepareResourceResponse) -> tuple[evidence.Prepared, ...]:
    return tuple(
        evidence.Prepared(
            device.pool_name, device.device_name, tuple(device.request_names), tuple(device.cdi_device_ids)
        )
        for device in entry.devices
    )
