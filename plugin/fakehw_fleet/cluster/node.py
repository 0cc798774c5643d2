"""One node that has joined a cluster: its kubelet and plugin, and what the cluster knows of it."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from fakehw_fleet.cluster import objects

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fakehw_fleet.cluster.pod_status import ByClaims
    from fakehw_fleet.members import Member
    from fakehw_fleet.plugins import NodePlugin
    from fakekubelet import FakeKubelet
    from fakekubelet.cluster.pod_run import PodRun
    from fakekubelet.kubelet.pod_status import AdmittedPod

_LONGEST_NAME: Final = 40
"""Of a directory: a socket's path has 107 bytes (contract PATH-4)."""


class State(StrEnum):
    """Where a node stands."""

    JOINING = "joining"
    """Its plugin registers; the cluster is told next."""
    UP = "up"
    SILENT = "silent"
    """It runs, and tells the cluster nothing."""
    GONE = "gone"
    """Somebody deleted its Node, as an autoscaler does."""


@dataclass(slots=True)
class PodRecord:
    """A pod that the node has."""

    uid: str
    admitted: AdmittedPod
    posted: object = None
    """What the cluster was told last, without the times; None: nothing."""
    by_claims: Mapping[str, ByClaims] = field(default_factory=dict)
    """By container."""
    complaint: str = ""
    """Of the last event."""
    is_adopted: bool = False
    """It ran before this fleet did."""
    run: PodRun | None = None
    """Its processes, where pods have any."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """Reasons and messages of events that are to be sent."""
    ends_within_s: float | None = None
    """What its processes were given to end, once they were told to."""
    has_claims_back: bool = False
    """Whether the claims of one that ran to its end are taken back."""

    @property
    def has_started(self) -> bool:
        """Tell whether all its app containers run, or have run."""
        return all(self.admitted.containers[container.name].starts for container in self.admitted.pod.containers)


@dataclass(slots=True)
class FleetNode:
    """A node of the fleet. `found` is its Node as the cluster has it; None: it has none."""

    member: Member
    kubelet: FakeKubelet
    plugin: NodePlugin | None = None
    state: State = State.JOINING
    found: dict[str, Any] | None = None
    posted_at: float = 0.0
    """When its status was patched last, on the monotonic clock."""
    ready_since: float = 0.0
    must_post: bool = False
    """Its lease came late, or the cluster does not take it for ready: only a new status heals that."""
    pods: dict[tuple[str, str], PodRecord] = field(default_factory=dict)
    """By namespace and name."""
    join_by: float = field(default_factory=lambda: time.monotonic() + JOIN_WITHIN_S)

    @property
    def name(self) -> str:
        """Return its name in Kubernetes."""
        return self.member.name

    @property
    def is_plugin_ready(self) -> bool:
        """Tell whether all that the tree has for it as resources is in its kubelet's hands."""
        return self.plugin is not None and self.plugin.is_listed_in(self.kubelet.capacity)

    @property
    def is_published(self) -> bool:
        """Tell whether its slices are at the API server, and its drivers in its kubelet's hands."""
        return self.plugin is None or self.plugin.dra is None or self.plugin.dra.is_ready

    @property
    def is_posted(self) -> bool:
        """Tell whether the cluster knows its devices as they are in its status."""
        if self.found is None:
            return False
        status, found = self.kubelet.node_status, self.found.get("status") or {}
        return all(
            objects.extended(found, name) | dict(wanted) == objects.extended(found, name)
            for name, wanted in (("capacity", status.capacity), ("allocatable", status.allocatable))
        )


JOIN_WITHIN_S: Final = 10.0
"""A node joins without its devices if its plugin is not ready by then."""


def directory_name(node: str) -> str:
    """Return the name of a node's directory: its own, if it is short."""
    if len(node) <= _LONGEST_NAME:
        return node
    return f"{node[:24]}-{hashlib.sha256(node.encode()).hexdigest()[:12]}"


def directory(state: Path, node: str) -> Path:
    """Return a node's own directory."""
    return state / "n" / directory_name(node)


def plugin_dir(state: Path, node: str) -> Path:
    """Return where a node's kubelet and plugin have their sockets, and the kubelet its checkpoint."""
    return directory(state, node) / "dp"


def pod_resources_socket(state: Path, node: str) -> Path:
    """Return a node's PodResources socket."""
    return directory(state, node) / "pr.sock"


def registry_dir(state: Path, node: str) -> Path:
    """Return where a node's kubelet looks for DRA drivers."""
    return directory(state, node) / "reg"


def cdi_dir(state: Path, node: str) -> Path:
    """Return where a node's drivers write what a container gets."""
    return directory(state, node) / "cdi"
