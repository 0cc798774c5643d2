"""How a fleet behaves towards its cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STATUS_EVERY_S: Final = 10.0
"""The kubelet's own `nodeStatusUpdateFrequency`."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a fleet behaves towards its cluster."""

    name: str = "fakehw"
    """The fleet's: what its Nodes are labelled with."""
    status_every_s: float | None = STATUS_EVERY_S
    """A node tells what changed so often, as a kubelet does; None: at once."""
    keeps: bool = False
    """Leave Nodes and leases when the fleet ends, for the next one."""
    has_taint: bool = True
    runs: bool = False
    """Containers are processes of this machine, as far as their pods say what to run."""
    kubelet_version: str = "v1.36.0-fakehw"
