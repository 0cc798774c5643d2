"""Node, Lease and pod status as JSON has them. Pure; times are handed in."""

from __future__ import annotations

import contextlib
import datetime
import uuid
from typing import TYPE_CHECKING, Any, Final

from fakekubelet import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fakekubelet.kubelet.node_status import NodeStatus

Object = dict[str, Any]

FLEET_LABEL: Final = "fakehw.io/fleet"
"""On each Node that a fleet made, with the fleet's name: what has it not is not ours."""

TAINT_KEY: Final = "fakehw.io/fake"
"""Keeps pods away that do not say that a node that runs nothing will do."""

ALLOCATED: Final = "fakehw.io/allocated"
"""Annotation of a pod: the devices and variables that its containers were given, for there is no process to ask."""

LEASE_NAMESPACE: Final = "kube-node-lease"
LEASE_S: Final = 40
"""The kubelet's own; the controller waits as long for a node that says nothing."""

READY: Final = "Ready"
CONTROLLERS_TAINTS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""What the node controller adds while a node is not ready, and takes away at five nodes a second."""

_NAMESPACE: Final = uuid.UUID("6b3d1f0e-2f0a-4c52-9d8a-0e6f8f6d7a11")
_MACHINE: Final = {
    "cpu": "64",
    "memory": "512Gi",
    "ephemeral-storage": "1Ti",
    "hugepages-1Gi": "0",
    "hugepages-2Mi": "0",
}
_PODS: Final = "250"
_PRESSURES: Final = (
    ("MemoryPressure", "KubeletHasSufficientMemory"),
    ("DiskPressure", "KubeletHasNoDiskPressure"),
    ("PIDPressure", "KubeletHasSufficientPID"),
)


def stamp(now: float, *, micro: bool = False) -> str:
    """Return a time (seconds since the epoch) as Kubernetes writes it."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def node(
    name: str,
    *,
    fleet: str,
    labels: Mapping[str, str],
    taints: Sequence[Mapping[str, str]],
    status: NodeStatus,
    kubelet_version: str,
    now: float,
) -> Object:
    """Return a Node as a kubelet registers it, status and all."""
    return {
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "type": "fakehw",
                **labels,
                FLEET_LABEL: fleet,
            },
            "annotations": {"fakehw.io/about": "a fake node: its kubelet is fakehw's, its pods are no containers"},
        },
        "spec": {"taints": [dict(taint) for taint in taints]},
        "status": {
            **node_status(status, now=now),
            "addresses": [{"type": "Hostname", "address": name}],
            "nodeInfo": _node_info(name, kubelet_version),
        },
    }


def node_status(status: NodeStatus, *, now: float, since: float | None = None) -> Object:
    """Return what a kubelet patches: capacity, allocatable, conditions. `since`: when the node became ready."""
    machine = {**_MACHINE, "pods": _PODS}
    return {
        "capacity": {**machine, **{name: str(count) for name, count in status.capacity.items()}},
        "allocatable": {**machine, **{name: str(count) for name, count in status.allocatable.items()}},
        "conditions": [
            *(
                _condition(kind, "False", reason, f"kubelet has {reason.removeprefix('KubeletHas')}", now, since)
                for kind, reason in _PRESSURES
            ),
            _condition(READY, "True", "KubeletReady", "kubelet is posting ready status", now, since),
        ],
    }


def extended(status: Object, field: str) -> dict[str, int]:
    """Return the device resources of a Node's status as numbers; `field` is capacity or allocatable."""
    numbers = {}
    for name, value in (status.get(field) or {}).items():
        with contextlib.suppress(ValueError):  # a fraction is another's
            if "/" in name:
                numbers[name] = quantity.whole(value)  # 1000 comes back as 1k
    return numbers


def kept_node(found: Object) -> Object:
    """Return the part of a Node that is needed here."""
    metadata, status = found["metadata"], found.get("status") or {}
    return {
        "metadata": {key: metadata[key] for key in ("name", "uid", "resourceVersion") if key in metadata},
        "spec": {"taints": (found.get("spec") or {}).get("taints") or []},
        "status": {
            **{name: extended(status, name) for name in ("capacity", "allocatable")},
            "conditions": [one for one in status.get("conditions") or [] if one.get("type") == READY],
        },
    }


def is_ready(found: Object) -> bool:
    """Tell whether the cluster takes a node for ready."""
    conditions = (found.get("status") or {}).get("conditions") or []
    return any(one.get("type") == READY and one.get("status") == "True" for one in conditions)


def controllers_taints(found: Object) -> bool:
    """Tell whether the node controller has put a taint on a node."""
    return any(one.get("key") in CONTROLLERS_TAINTS for one in (found.get("spec") or {}).get("taints") or [])


def without_controllers_taints(found: Object) -> list[Object]:
    """Return the taints that stay."""
    taints = (found.get("spec") or {}).get("taints") or []
    return [one for one in taints if one.get("key") not in CONTROLLERS_TAINTS]


def lease(name: str, *, node_uid: str, now: float) -> Object:
    """Return a node's lease, which goes with its Node."""
    return {
        "metadata": {
            "name": name,
            "namespace": LEASE_NAMESPACE,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}],
        },
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_S, "renewTime": stamp(now, micro=True)},
    }


def is_lease_of(found: Object, name: str) -> bool:
    """Tell whether a lease was made for the node of this name, be it for its Node of a life before."""
    owners = found["metadata"].get("ownerReferences") or []
    is_nodes = all(owner.get("kind") == "Node" and owner.get("name") == name for owner in owners)
    return is_nodes and (found.get("spec") or {}).get("holderIdentity") in (None, "", name)


def _condition(kind: str, status: str, reason: str, message: str, now: float, since: float | None) -> Object:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": stamp(now),
        "lastTransitionTime": stamp(now if since is None else since),
    }


def _node_info(name: str, kubelet_version: str) -> Object:
    identity = uuid.uuid5(_NAMESPACE, name)
    return {
        "machineID": identity.hex,
        "systemUUID": str(identity),
        "bootID": str(identity),
        "kernelVersion": "none",
        "osImage": "none: a fake node of fakehw",
        "containerRuntimeVersion": "fakehw://0",
        "kubeletVersion": kubelet_version,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": "amd64",
    }
