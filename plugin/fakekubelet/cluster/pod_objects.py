"""Pods and their claims at the API server, as those read and write them who look after pods."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from fakekubelet.dra import preparation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakekubelet.apiserver.server import ApiServer

Object = dict[str, Any]
CLAIMS: Final = "resource.k8s.io/v1"


class PodObjects:
    """Reads and writes; what is read must not be changed."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.events: dict[str, list[str]] = {}
        """Pod → the messages of its events, without repetitions in a row."""

    def is_ending(self, pod: Object) -> bool:
        """Tell whether a pod is gone, or is to go; another one of its name is not it."""
        now = self._now(pod)
        return now is None or now["metadata"]["uid"] != pod["metadata"]["uid"] or "deletionTimestamp" in now["metadata"]

    def claims_of(self, pod: Object) -> list[Object]:
        """Return the claims that a pod has; none as long as it lacks one."""
        with contextlib.suppress(preparation.PreparationError):
            names = [claim.claim_name for claim in preparation.pod_claims(pod)]
            found = [self.api.find("resourceclaims", name, pod["metadata"]["namespace"]) for name in names]
            return [claim for claim in found if claim is not None]
        return []

    def set_status(self, pod: Object, fields: Object) -> Object:
        """Write some fields of a pod's status; return the pod as it is then."""
        now = self._now(pod)
        if now is None:
            return pod
        document = {**now, "apiVersion": "v1", "kind": "Pod", "status": {**now["status"], **fields}}
        return self.api.update(document, subresource="status")

    def set_claim_status(self, claim: Object, status: Object) -> None:
        """Write the whole status of a claim."""
        document = {**claim, "apiVersion": CLAIMS, "kind": "ResourceClaim", "status": status}
        self.api.update(document, subresource="status")

    def remove(self, pod: Object) -> None:
        """Let a pod's object go, now that nothing of the pod is left; one that is not to end stays."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if self.is_ending(pod) and self._now(pod) is not None:
            self.api.delete("pods", name, namespace, grace_s=0)

    def note(self, pod: Object, message: str) -> None:
        """Add an event."""
        known = self.events.setdefault(pod["metadata"]["name"], [])
        if not known or known[-1] != message:
            known.append(message)
            self.api.changes.ring()

    def _now(self, pod: Object) -> Object | None:
        return self.api.find("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])


def results(claim: Mapping[str, Any]) -> list[Object]:
    """Return what a claim has been allocated, device by device."""
    allocation = (claim.get("status") or {}).get("allocation") or {}
    found: list[Object] = (allocation.get("devices") or {}).get("results") or []
    return found
