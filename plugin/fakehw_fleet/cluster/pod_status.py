"""The status of a pod as JSON has it, and the annotation that says what it was given. Pure; times are handed in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from fakehw_fleet.cluster.objects import ALLOCATED, stamp
from fakehw_fleet.cluster.pods import SCHEDULED
from fakekubelet.kubelet.pod_status import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fakekubelet.kubelet.pod_status import AdmittedPod, ContainerStatus, Ended

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
        is_running = admitted.phase is Phase.RUNNING and all(
            admitted.containers[one["name"]].is_running for one in found["spec"]["containers"]
        )
        is_initialized = all(_is_through(admitted, one) for one in found["spec"]["initContainers"])
        status["conditions"] = [
            {"type": kind, "status": "True" if is_on else "False", "lastTransitionTime": stamp(now)}
            for kind, is_on in (
                *(() if found["status"]["conditions"] else ((SCHEDULED, True),)),
                ("PodReadyToStartContainers", admitted.phase is Phase.RUNNING),
                ("Initialized", is_initialized),
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
    known = admitted.containers[one["name"]]
    is_running = known.is_running and admitted.is_active
    status: Object = {
        "name": known.name,
        "image": one.get("image", ""),
        "imageID": "",
        "restartCount": max(0, known.starts - 1),
        "ready": _is_through(admitted, one) if is_init else is_running,
        "started": is_running,
        "containerID": f"fakehw://{admitted.uid}/{known.name}",
        "state": _state(known, admitted, started, is_init=is_init),
    }
    if known.ended is not None and "terminated" not in status["state"]:
        status["lastState"] = {"terminated": _terminated(known.ended, status["containerID"])}
    if health:
        status["allocatedResourcesStatus"] = list(health)
    return status


def _state(known: ContainerStatus, admitted: AdmittedPod, started: str, *, is_init: bool) -> Object:
    """Return the state of a container; `started` is when its pod did, all there is to say without processes."""
    if known.is_running and admitted.is_active:
        return {"running": {"startedAt": stamp(known.started_at) if known.started_at else started}}
    if known.waiting_reason is not None and admitted.is_active:
        return {"waiting": {"reason": known.waiting_reason, "message": known.message}}
    identity = f"fakehw://{admitted.uid}/{known.name}"
    if known.ended is not None:
        return {"terminated": _terminated(known.ended, identity)}
    if known.starts and (is_init or not admitted.is_active):
        code = 1 if admitted.phase is Phase.FAILED else 0
        ended = {"exitCode": code, "reason": "Error" if code else "Completed", "startedAt": started}
        return {"terminated": {**ended, "finishedAt": started, "containerID": identity}}
    is_late = admitted.pod.init_containers and not is_init
    return {"waiting": {"reason": "PodInitializing" if is_late or is_init else "ContainerCreating"}}


def _terminated(ended: Ended, identity: str) -> Object:
    return {
        "exitCode": ended.exit_code, "reason": ended.reason, "containerID": identity,
        "startedAt": stamp(ended.started_at), "finishedAt": stamp(ended.finished_at),
    } | ({"message": ended.message} if ended.message else {})  # fmt: skip  # one state


def _is_through(admitted: AdmittedPod, one: Object) -> bool:
    """Tell whether an init container has done its work: it has ended well, or is a sidecar that runs."""
    known = admitted.containers[one["name"]]
    is_sidecar = one["restartPolicy"] == "Always"
    if known.is_running or is_sidecar:
        return is_sidecar and known.is_running and admitted.is_active
    return bool(known.starts) and known.waiting_reason is None and (known.ended is None or not known.ended.exit_code)


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
