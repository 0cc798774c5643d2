"""What the plugin counts about itself. Plain numbers, so that nothing has to be loaded before the kubelet is served.

`metrics` gives them their names for Prometheus, when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

LATENCY_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

HEALTH: Final = ("Healthy", "Unhealthy")
REMOVED: Final = "removed"
MAX_FORMER: Final = 100
"""Resources that left the tree and are still counted: names that come and go must not make series without end."""


class Histogram:
    """Observations in cumulative-to-be buckets; the last one has no upper bound."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        self.total_s += seconds


class Telemetry:
    """Counters by their labels; the attributes are called as those of `metrics`."""

    def __init__(self) -> None:
        self.registrations: Counter[tuple[str, str]] = Counter()
        """By resource and outcome (ok, failed, interrupted); each attempt counts once."""
        self.registrations_ended: Counter[tuple[str, str]] = Counter()
        """By resource and reason (kubelet_replaced, kubelet_gone, socket_removed, stream_lost, displaced)."""
        self.streams_opened: Counter[str] = Counter()
        self.lists_sent: Counter[str] = Counter()
        self.allocations: Counter[tuple[str, str]] = Counter()
        """By resource and outcome (ok, unknown_device, unhealthy_device, invalid)."""
        self.devices: dict[tuple[str, str], Counter[str]] = {}
        """Listed devices by resource and fake node, then by health."""
        self.transitions: Counter[tuple[str, str]] = Counter()
        """By resource and new state (Healthy, Unhealthy, removed)."""
        self.rescans: Counter[str] = Counter()
        """By cause (start, interval, overflow, limits, mounts, root_changed)."""
        self.rpc_faults: Counter[tuple[str, str]] = Counter()
        """Faults played, by resource and method."""
        self.send_latency = Histogram()
        """From the event of the tree to the list handed to a stream."""
        self.claims: Counter[tuple[str, str]] = Counter()
        """Claims by call (prepare, unprepare) and outcome (ok, refused)."""
        self.slice_writes: Counter[tuple[str, str]] = Counter()
        """ResourceSlices written, by driver and verb (create, update, delete)."""
        self.api_errors: Counter[str] = Counter()
        """Requests to the API server that failed, by HTTP status or what else it was."""
        self.publish_latency = Histogram()
        """From the event of the tree to all slices accepted by the API server."""
        self._former: dict[str, None] = {}
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
