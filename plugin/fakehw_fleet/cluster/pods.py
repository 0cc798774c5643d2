"""From the cluster's pods to what a fake kubelet takes. Pure."""

from __future__ import annotations

from typing import Any, Final

from fakehw_fleet.cluster import commands, container_history
from fakehw_fleet.cluster.objects import ALLOCATED
from fakekubelet import pod, quantity
from fakekubelet.kubelet.pod_status import Phase

Object = dict[str, Any]
PodKey = tuple[str, str]
"""Namespace and name."""

_KEPT_STATUS: Final = ("phase", "startTime", "resourceClaimStatuses", "extendedResourceClaimStatus")
SCHEDULED: Final = "PodScheduled"
"""A condition that the scheduler sets, and a kubelet for a pod that came past it."""

_ENDED: Final = (Phase.SUCCEEDED.value, Phase.FAILED.value)


def kept(found: Object, *, runs: bool = False) -> Object:
    """Return the part of a pod that is needed here: thousands of them are remembered. `runs`: as processes."""
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
            "initContainers": [_kept_container(one, found, runs=runs) for one in spec.get("initContainers") or []],
            "containers": [_kept_container(one, found, runs=runs) for one in spec.get("containers") or []],
        }
        | {key: spec[key] for key in ("resourceClaims",) if spec.get(key)},
        "status": {key: status[key] for key in _KEPT_STATUS if key in status}
        | {"conditions": [one for one in status.get("conditions") or [] if one.get("type") == SCHEDULED]}
        | ({"containers": container_history.kept(status)} if runs else {}),
    }


def key_of(found: Object) -> PodKey:
    """Return namespace and name."""
    return found["metadata"]["namespace"], found["metadata"]["name"]


def has_claims(found: Object) -> bool:
    """Tell whether something is to be prepared by DRA drivers before a pod starts."""
    return bool(found["spec"].get("resourceClaims") or found["status"].get("extendedResourceClaimStatus"))


def is_ended(found: Object) -> bool:
    """Tell whether a pod has run to its end."""
    return (found.get("status") or {}).get("phase") in _ENDED


def is_started(found: Object) -> bool:
    """Tell whether its containers ran when the cluster last heard of them."""
    return (found.get("status") or {}).get("phase") == Phase.RUNNING.value


def read(found: Object) -> pod.Pod:
    """Return a pod as a fake kubelet takes it; ValueError for a quantity of devices that is no whole number.

    Not `pod.parse`, which refuses what it cannot play (`valueFrom` and others): here it is left out.
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


def grace_s(found: Object) -> float:
    """Return what a pod's processes get to end, in seconds: as it was deleted with, or as its spec says."""
    given = found["metadata"].get("deletionGracePeriodSeconds")
    return float(found["spec"]["terminationGracePeriodSeconds"] if given is None else given)


def _kept_container(one: Object, found: Object, *, runs: bool) -> Object:
    limits = (one.get("resources") or {}).get("limits") or {}
    return (
        {
            "name": one["name"],
            "image": one.get("image", ""),
            "restartPolicy": one.get("restartPolicy", ""),
            "limits": {name: value for name, value in limits.items() if "/" in name},
        }
        | ({"resources": {"claims": claims}} if (claims := (one.get("resources") or {}).get("claims")) else {})
        | (commands.kept(one, found) if runs else {})
    )


def _container(one: Object) -> pod.Container:
    return pod.Container(
        name=one["name"],
        limits={name: _count(value) for name, value in one["limits"].items()},
        image=one["image"],
        is_sidecar=one["restartPolicy"] == "Always",
        command=tuple(one.get("command", ())),
        args=tuple(one.get("args", ())),
        env=tuple((name, value) for name, value in one.get("env", ())),
    )


def _count(quantity_text: object) -> int:
    """Return a quantity of devices, which an API server lets be written as `1k`, `1e3` and `1000m` too."""
    return quantity.whole(str(quantity_text))


def _annotation(metadata: Object) -> str:
    return str((metadata.get("annotations") or {}).get(ALLOCATED, ""))
