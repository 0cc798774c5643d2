"""The controller that evicts pods from tainted devices (contract DRA-TAINT-3)."""

from __future__ import annotations

import collections
import datetime
from typing import TYPE_CHECKING

from fakekubelet.cluster import claim_allocation, pod_objects

if TYPE_CHECKING:
    from fakekubelet.cluster.pod_objects import Object, PodObjects


def evict(objects: PodObjects, pod: Object) -> None:
    """Delete a pod that has a device with a NoExecute taint that its claim does not tolerate."""
    api = objects.api
    tainted: dict[claim_allocation.DeviceId, list[Object]] = collections.defaultdict(list)
    for found in api.all("resourceslices"):
        for device in found["spec"].get("devices", ()):
            taints = [taint for taint in device.get("taints", ()) if taint["effect"] == "NoExecute"]
            tainted[found["spec"]["driver"], found["spec"]["pool"]["name"], device["name"]] += taints
    for claim in objects.claims_of(pod):
        for result in pod_objects.results(claim):
            for taint in tainted[result["driver"], result["pool"], result["device"]]:
                if not _is_borne(taint, result.get("tolerations") or []):
                    objects.note(pod, f"device {result['device']} is tainted: {taint['key']}={taint.get('value', '')}")
                    api.delete("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])
                    return


def _is_borne(taint: Object, tolerations: list[Object]) -> bool:
    """Tell whether a taint is tolerated, now."""
    toleration = claim_allocation.tolerates(taint, tolerations)
    seconds = None if toleration is None else toleration.get("tolerationSeconds")
    return toleration is not None and (seconds is None or _age_s(taint["timeAdded"]) < seconds)


def _age_s(moment: str) -> float:
    then = datetime.datetime.fromisoformat(moment)
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds()
