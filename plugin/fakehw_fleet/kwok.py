"""The nodes of a topology for KWOK: Node objects with capacity, and allocatable by health. Pure.

KWOK keeps such Nodes Ready and plays their pods by its own stages; what a device manager decides is not there.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from fakehw import layout
from fakehw.layout import Health
from fakehw_fleet.members import is_by_dra

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fakehw.spec.topology import Topology
    from fakehw_fleet.members import Member

TAINT: Final = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
ANNOTATION: Final = "kwok.x-k8s.io/node"
"""By which KWOK knows its own."""
_MACHINE: Final = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "250"}


def healthy_of(topology: Topology, member: Member) -> Counter[str]:
    """Return how many devices of a node are healthy by the spec, by resource."""
    healthy = Counter(dict.fromkeys(member.resources, 0))
    for name in member.fake_nodes:
        for fake_class in topology.nodes[name].classes.values():
            if is_by_dra(fake_class):
                continue
            for device in fake_class.devices.values():
                healthy[fake_class.resource] += layout.parse_health(device.health)[0] is Health.HEALTHY
    return healthy


def node(member: Member, allocatable: Mapping[str, int]) -> dict[str, Any]:
    """Return the Node of one member."""
    taints = [{key: value for key, value in taint._asdict().items() if value} for taint in member.taints]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": member.name,
            "labels": {
                "kubernetes.io/hostname": member.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "type": "kwok",
                **member.labels,
            },
            "annotations": {ANNOTATION: "fake", "node.alpha.kubernetes.io/ttl": "0"},
        },
        "spec": {"taints": [TAINT, *taints]},
        "status": status(member.resources, allocatable),
    }


def status(capacity: Mapping[str, int], allocatable: Mapping[str, int]) -> dict[str, Any]:
    """Return what `--watch` patches."""
    return {
        "capacity": {**_MACHINE, **{name: str(count) for name, count in sorted(capacity.items())}},
        "allocatable": {**_MACHINE, **{name: str(count) for name, count in sorted(allocatable.items())}},
    }
