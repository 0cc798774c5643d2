"""The nodes of a fleet: which Kubernetes node each is, and which fake nodes of the tree it owns. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fakehw import layout, resource_name
from fakehw.errors import InputError
from fakehw.spec import node_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fakehw.spec.node_labels import Taint
    from fakehw.spec.topology import FakeClass, Topology


@dataclass(slots=True)
class Member:
    """One node of the fleet. `name` is its name in Kubernetes: the host of its fake nodes, or the fake node's own."""

    name: str
    fake_nodes: list[str] = field(default_factory=list)
    resources: Counter[str] = field(default_factory=Counter)
    """How many devices the spec lists by resource, classes with none included."""
    labels: dict[str, str] = field(default_factory=dict)
    taints: list[Taint] = field(default_factory=list)


def members_of(topology: Topology) -> list[Member]:
    """Return the nodes of a topology, in its order; InputError for a fake node that can be no Kubernetes node."""
    members: dict[str, Member] = {}
    problems: list[str] = []
    for node in topology.nodes.values():
        name = node.host or node.name
        try:
            resource_name.check_host(name)
        except ValueError as error:
            problems.append(f"nodes.{node.name}: {name!r}: {error}: give it a host")
            continue
        member = members.setdefault(name, Member(name))
        member.fake_nodes.append(node.name)
        member.labels |= node.labels
        member.taints += [one for one in map(node_labels.taint, node.taints) if one not in member.taints]
        for fake_class in node.classes.values():
            if is_by_dra(fake_class):
                continue
            member.resources[fake_class.resource] += len(fake_class.devices)
    if problems:
        raise InputError(*problems[:20])
    if not members:
        raise InputError("the spec has no nodes: a fleet must have one at least (SPEC)")
    return list(members.values())


def is_by_dra(fake_class: FakeClass) -> bool:
    """Tell whether a class is served by DRA, and no resource of its node."""
    return fake_class.settings.get(layout.API) == "dra"


def served_by_dra(topology: Topology) -> list[str]:
    """Return the resources of classes that are served by DRA: a fleet without a cluster does not advertise them."""
    classes = (fake_class for node in topology.nodes.values() for fake_class in node.classes.values())
    return sorted({fake_class.resource for fake_class in classes if is_by_dra(fake_class)})


def owners(members: Iterable[Member]) -> Mapping[str, str]:
    """Return, for each fake node, the name of the member that owns it."""
    return {fake_node: member.name for member in members for fake_node in member.fake_nodes}
