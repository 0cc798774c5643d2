"""What the plugin counts about itself. Plain numbers, so that nothing has to be loaded before the kubelet is served.

`metrics` gives them their names for Prometheus, when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

LATENCY_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

HEALTH: Final = ("Healthy", "Unhealthy")
REMOVED: Final = "removed"
MAX_FORMER: Final = 100
"""Resources that left the tree and are still counted: names that come and go must not make series without end."""


@dataclass(slots=True)
class Histogram:
    """Observations in cumulative-to-be buckets; the last one has no upper bound."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_S) + 1))
    total_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class Telemetry:
    """Counters by their labels; the field names are those of `metrics`."""

    registrations: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By resource and outcome (ok, failed, interrupted); each attempt counts once."""
    registrations_ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By resource and reason (kubelet_replaced, kubelet_gone, socket_removed, stream_lost, displaced)."""
    streams_opened: Counter[str] = field(default_factory=Counter)
    lists_sent: Counter[str] = field(default_factory=Counter)
    allocations: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By resource and outcome (ok, unknown_device, unhealthy_device, invalid)."""
    devices: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    """Listed devices by resource and fake node, then by health."""
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By resource and new state (Healthy, Unhealthy, removed)."""
    rescans: Counter[str] = field(default_factory=Counter)
    """By cause (start, interval, overflow, limits, mounts, root_changed)."""
    rpc_faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Faults played, by resource and method."""
    send_latency: Histogram = field(default_factory=Histogram)
    """From the event of the tree to the list handed to a stream."""
    claims: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Claims by call (prepare, unprepare) and outcome (ok, refused)."""
    slice_writes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """ResourceSlices written, by driver and verb (create, update, delete)."""
    api_errors: Counter[str] = field(default_factory=Counter)
    """Requests to the API server that failed, by HTTP status or what else it was."""
    publish_latency: Histogram = field(default_factory=Histogram)
    """From the event of the tree to all slices accepted by the API server."""
    _former: dict[str, None] = field(default_factory=dict)
    """Resources that are no longer served and whose counts stand, the longest ago first."""

    def count_change(self, resource: str, node: str, was: str | None, now: str | None) -> None:
        """Count that a device of `node` went from one health to another; None where it was or is not listed."""
        if (devices := self.devices.get((resource, node))) is None:
            devices = self.devices[resource, node] = Counter(dict.fromkeys(HEALTH, 0))
        if was is not None:
            devices[was] -= 1
        if now is not None:
            devices[now] += 1
        if not any(devices.values()):
            del self.devices[resource, node]  # a node that was renamed leaves no series
        self.transitions[resource, now or REMOVED] += 1

    def forget(self, resource: str) -> None:
        """Drop the devices of a resource that is no longer served; what happened stays counted, of the last ones."""
        self.devices = {key: devices for key, devices in self.devices.items() if key[0] != resource}
        self._former.pop(resource, None)
        self._former[resource] = None
        if len(self._former) > MAX_FORMER:
            longest_ago = next(iter(self._former))
            del self._former[longest_ago]
            self._drop_counts(longest_ago)

    def remember(self, resource: str) -> None:
        """Keep what is counted of a resource that is served again."""
        self._former.pop(resource, None)

    def _drop_counts(self, resource: str) -> None:
        by_pair = (self.registrations, self.registrations_ended, self.allocations, self.transitions, self.rpc_faults)
        for pairs in by_pair:
            for pair in [pair for pair in pairs if pair[0] == resource]:
                del pairs[pair]
        for counts in (self.streams_opened, self.lists_sent):
            counts.pop(resource, None)
