"""What a ResourceClaim asks of this driver: the devices that were allocated from its pool, request by request. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTENDED: Final = "resource.kubernetes.io/extended-resource-claim"
"""The annotation of a claim that the scheduler made for a pod's extended resources (contract DRA-ER-4)."""


class ClaimError(Exception):
    """The claim cannot be prepared; the text is what the kubelet shows in an event of the pod."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A claim as the kubelet names it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Result:
    """One device that was allocated to a claim."""

    request: str
    """Without a subrequest: the kubelet goes by base names (contract DRA-13)."""
    device: str
    share_id: str = ""
    is_admin: bool = False
    """For looking after a device that others use: it does not hold it (contract DRA-ADM-1)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What was allocated to a claim from one pool of one driver."""

    results: tuple[Result, ...]
    is_extended: bool
    """Made by the scheduler: a request is then one container's devices of one resource."""


def parse(found: Mapping[str, Any], reference: Reference, *, driver: str, pool: str) -> Claim:
    """Return what `found`, the claim as the server has it, asks of `driver`; ClaimError where it cannot be prepared."""
    metadata = found.get("metadata") or {}
    if metadata.get("uid") != reference.uid:
        raise ClaimError(f"claim {reference} was replaced: its UID is {metadata.get('uid')}, not {reference.uid}")
    allocation = (found.get("status") or {}).get("allocation")
    if not allocation:
        raise ClaimError(f"claim {reference} is not allocated")
    results = []
    for result in (allocation.get("devices") or {}).get("results") or []:
        if result.get("driver") != driver:
            continue  # several drivers may serve one claim, each its own devices (contract DRA-PREP-6)
        if result.get("pool") != pool:
            raise ClaimError(f"device {result.get('pool')}/{result.get('device')} is not one of this node's")
        base, _, _ = str(result.get("request", "")).partition("/")
        results.append(
            Result(
                base, str(result.get("device", "")), str(result.get("shareID") or ""), result.get("adminAccess") is True
            )
        )
    annotations = metadata.get("annotations") or {}
    return Claim(tuple(results), is_extended=annotations.get(EXTENDED) == "true")
