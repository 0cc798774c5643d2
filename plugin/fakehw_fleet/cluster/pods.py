"""From the cluster's pods to what a fake kubelet takes, and back to their status. Pure; times are handed in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from fakehw_fleet.cluster.objects import ALLOCATED, stamp
from fakekubelet import pod
from fakekubelet.kubelet.pod_status import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakekubelet.kubelet.pod_status import AdmittedPod

Object = dict[str, Any]
PodKey = tuple[str, str]
"""Namespace and name."""

_SUFFIXES: Final = {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_ENDED: Final = (Phase.SUCCEEDED.value, Phase.FAILED.value)


def kept(found: Object) -> Object:
    """Return the part of a pod that is needed here: thousands of them are remembered."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    return {
        "metadata": {
            key: metadata[key]
            for key in (
                "name",
                "namespace",
                "uid",
                "resourceVersion",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
            )
            if key in metadata
        }
        | {"annotations": {ALLOCATED: annotation} if (annotation := _annotation(metadata)) else {}},
        "spec": {
            "nodeName": spec.get("nodeName", ""),
            "restartPolicy": spec.get("restartPolicy", "Always"),
            "terminationGracePeriodSeconds": spec.get("terminationGracePeriodSeconds", 30),
            "initContainers": [_kept_container(one) for one in spec.get("initContainers") or []],
            "containers": [_kept_container(one) for one in spec.get("containers") or []],
        },
        "status": {key: status[key] for key in ("phase", "startTime") if key in status},
    }


def key_of(found: Object) -> PodKey:
    """Return namespace and name."""
    return found["metadata"]["namespace"], found["metadata"]["name"]


def is_ended(found: Object) -> bool:
    """Tell whether a pod has run to its end."""
    return (found.get("status") or {}).get("phase") in _ENDED


def is_started(found: Object) -> bool:
    """Tell whether its containers ran when the cluster last heard of them."""
    return (found.get("status") or {}).get("phase") == Phase.RUNNING.value


def read(found: Object) -> pod.Pod:
    """Return a pod as a fake kubelet takes it; ValueError for a quantity of devices that is no whole number.

    Not `pod.parse`, which refuses what it cannot play (`valueFrom` and others): here nothing is played.
    """
    metadata, spec = found["metadata"], found["spec"]
    return pod.Pod(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        node_name=spec["nodeName"],
        containers=tuple(map(_container, spec["containers"])),
        init_containers=tuple(map(_container, spec["initContainers"])),
        grace_period_s=float(spec["terminationGracePeriodSeconds"]),
        restart_policy=pod.RestartPolicy(spec["restartPolicy"]),
    )


def says_the_same(found: Object, admitted: AdmittedPod) -> bool:
    """Tell whether the cluster knows what a pod's containers were given."""
    return (found["metadata"]["annotations"].get(ALLOCATED) or "{}") == _allocated(admitted)


def status_patch(
    found: Object, admitted: AdmittedPod, health: Mapping[str, Mapping[str, Mapping[str, str]]], *, now: float
) -> Object:
    """Return the patch of a pod's status that says what its kubelet knows.

    `health` is that of its devices, by container, resource and ID (contract HS-2).
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
                ("PodReadyToStartContainers", is_running),
                ("Initialized", True),
                ("ContainersReady", is_running),
                ("Ready", is_running),
            )
        ]
        status["initContainerStatuses"] = [
            _container_status(one, admitted, {}, status["startTime"], is_init=True)
            for one in found["spec"]["initContainers"]
        ]
        status["containerStatuses"] = [
            _container_status(one, admitted, health.get(one["name"], {}), status["startTime"])
            for one in found["spec"]["containers"]
        ]
        if (allocated := _allocated(admitted)) != "{}":
            annotations[ALLOCATED] = allocated
    patch: Object = {"metadata": {"uid": metadata["uid"]}, "status": status}
    if annotations:
        patch["metadata"]["annotations"] = annotations
    return patch


def _container_status(
    one: Object, admitted: AdmittedPod, health: Mapping[str, Mapping[str, str]], started: str, *, is_init: bool = False
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
        status["allocatedResourcesStatus"] = [
            {"name": resource, "resources": [{"resourceID": one, "health": state} for one, state in ids.items()]}
            for resource, ids in health.items()
        ]
    return status


def _allocated(admitted: AdmittedPod) -> str:
    found: Object = {}
    for name, status in admitted.containers.items():
        if status.device_ids:
            found[name] = {"devices": status.device_ids, "env": dict(status.env)}
    return json.dumps(found, sort_keys=True)


def _kept_container(one: Object) -> Object:
    limits = (one.get("resources") or {}).get("limits") or {}
    return {
        "name": one["name"],
        "image": one.get("image", ""),
        "restartPolicy": one.get("restartPolicy", ""),
        "limits": {name: value for name, value in limits.items() if "/" in name},
    }


def _container(one: Object) -> pod.Container:
    return pod.Container(
        name=one["name"],
        limits={name: _count(value) for name, value in one["limits"].items()},
        image=one["image"],
        is_sidecar=one["restartPolicy"] == "Always",
    )


def _count(quantity: object) -> int:
    text = str(quantity)
    for suffix, factor in _SUFFIXES.items():
        if text.endswith(suffix) and text.removesuffix(suffix).isdecimal():
            return int(text.removesuffix(suffix)) * factor
    return int(text)


def _annotation(metadata: Object) -> str:
    return str((metadata.get("annotations") or {}).get(ALLOCATED, ""))
