"""The status of a pod as JSON has it, and the annotation that says what it was given. Pure; times are handed in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from fakehw_fleet.cluster.objects import ALLOCATED, stamp
from fakehw_fleet.cluster.pods import SCHEDULED
from fakekubelet.kubelet.pod_status import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fakekubelet.kubelet.pod_status import AdmittedPod

Object = dict[str, Any]


class ByClaims(NamedTuple):
    """What a container got by its claims."""

    cdi_ids: Sequence[str]
    env: Mapping[str, str]


def says_the_same(found: Object, admitted: AdmittedPod, by_claims: Mapping[str, ByClaims]) -> bool:
    """Tell whether the cluster knows what a pod's containers were given."""
    return (found["metadata"]["annotations"].get(ALLOCATED) or "{}") == _allocated(admitted, by_claims)


def status_patch(
    found: Object,
    admitted: AdmittedPod,
    health: Mapping[str, Sequence[Object]],
    by_claims: Mapping[str, ByClaims],
    *,
    now: float,
) -> Object:
    """Return the patch of a pod's status that says what its kubelet knows.

    `health` is `allocatedResourcesStatus` by container, as `resources_status` returns it.
    """
    metadata = found["metadata"]
    status: Object = {"phase": admitted.phase.value, "startTime": found["status"].get("startTime") or stamp(now)}
    if admitted.reason:
        status |= {"reason": admitted.reason, "message": admitted.message}
    annotations: Object = {}
    if admitted.phase is not Phase.FAILED or not admitted.reason:
        is_running = admitted.phase is Phase.RUNNING
        status["conditions"] = [
            {"type": kind, "status": "True" if is_on else "False", "lastTransitionTime": stamp(now)}
            for kind, is_on in (
                *(() if found["status"]["conditions"] else ((SCHEDULED, True),)),
                ("PodReadyToStartContainers", is_running),
                ("Initialized", True),
                ("ContainersReady", is_running),
                ("Ready", is_running),
            )
        ]
        status["initContainerStatuses"] = [
            _container_status(one, admitted, (), status["startTime"], is_init=True)
            for one in found["spec"]["initContainers"]
        ]
        status["containerStatuses"] = [
            _container_status(one, admitted, health.get(one["name"], ()), status["startTime"])
            for one in found["spec"]["containers"]
        ]
        if (allocated := _allocated(admitted, by_claims)) != "{}":
            annotations[ALLOCATED] = allocated
    patch: Object = {"metadata": {"uid": metadata["uid"]}, "status": status}
    if annotations:
        patch["metadata"]["annotations"] = annotations
    return patch


def _container_status(
    one: Object, admitted: AdmittedPod, health: Sequence[Object], started: str, *, is_init: bool = False
) -> Object:
    name = one["name"]
    known = admitted.containers[name]
    is_running = known.is_running and admitted.phase is Phase.RUNNING
    identity = f"fakehw://{admitted.uid}/{name}"
    status: Object = {
        "name": name,
        "image": one.get("image", ""),
        "imageID": "",
        "restartCount": 0,
        "ready": is_running or is_init,
        "started": is_running,
        "containerID": identity,
    }
    if is_running:
        status["state"] = {"running": {"startedAt": started}}
    elif known.waiting_reason is not None:
        status["state"] = {"waiting": {"reason": known.waiting_reason, "message": known.message}}
    elif is_init or admitted.phase in (Phase.SUCCEEDED, Phase.FAILED):
        code = 1 if admitted.phase is Phase.FAILED else 0
        status["state"] = {
            "terminated": {
                "exitCode": code, "reason": "Error" if code else "Completed", "startedAt": started,
                "finishedAt": started, "containerID": identity,
            }
        }  # fmt: skip  # one state
    else:
        status["state"] = {"waiting": {"reason": "ContainerCreating"}}
    if health:
        status["allocatedResourcesStatus"] = list(health)
    return status


def resources_status(
    by_plugins: Mapping[str, Mapping[str, Mapping[str, str]]], by_drivers: Mapping[str, Sequence[Object]]
) -> dict[str, list[Object]]:
    """Return `allocatedResourcesStatus` by container, from what the two halves of a kubelet say (contract HS-2)."""
    found: dict[str, list[Object]] = {}
    for container, held in by_plugins.items():
        found[container] = [
            {"name": resource, "resources": [{"resourceID": one, "health": state} for one, state in ids.items()]}
            for resource, ids in held.items()
        ]
    for container, statuses in by_drivers.items():
        found.setdefault(container, []).extend(statuses)
    return found


def _allocated(admitted: AdmittedPod, by_claims: Mapping[str, ByClaims]) -> str:
    found: Object = {}
    for name, status in admitted.containers.items():
        claimed = by_claims.get(name, ByClaims((), {}))
        if status.device_ids or claimed.cdi_ids:
            found[name] = {"devices": status.device_ids, "env": {**status.env, **claimed.env}}
        if claimed.cdi_ids:
            found[name]["cdi"] = list(claimed.cdi_ids)
    return json.dumps(found, sort_keys=True)
