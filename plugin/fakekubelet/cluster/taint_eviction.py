"""The controller that evicts pods from tainted devices (contract DRA-TAINT-3)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from fakekubelet.cluster import claim_allocation, pod_objects

if TYPE_CHECKING:
    from fakekubelet.cluster.pod_objects import Object, PodObjects


def evict(objects: PodObjects, pod: Object) -> None:
    """Delete a pod that has a device with a NoExecute taint that its claim does not tolerate."""
    api = objects.api
    tainted = {
        (found["spec"]["driver"], found["spec"]["pool"]["name"], device["name"]): taint
        for found in api.all("resourceslices")
        for device in found["spec"].get("devices", ())
        for taint in device.get("taints", ())
        if taint["effect"] == "NoExecute"
    }
    for claim in objects.claims_of(pod):
        for result in pod_objects.results(claim):
            taint = tainted.get((result["driver"], result["pool"], result["device"]))
            if taint is None:
                continue
            toleration = claim_allocation.tolerates(taint, result.get("tolerations") or [])
            seconds = None if toleration is None else toleration.get("tolerationSeconds")
            if toleration is not None and (seconds is None or _age_s(taint["timeAdded"]) < seconds):
                continue
            objects.note(pod, f"device {result['device']} is tainted: {taint['key']}={taint.get('value', '')}")
            api.delete("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])
            return


def _age_s(moment: str) -> float:
    then = datetime.datetime.fromisoformat(moment)
    return (datetime.datetime.now(datetime.UTC) - then).total_seconds()
