"""What the plugin counts about itself. Plain numbers, so that nothing has to be loaded before the kubelet is served.

`metrics` gives them their names for Prometheus, when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

LATENCY_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


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
    """By resource and outcome (ok, failed)."""
    streams_opened: Counter[str] = field(default_factory=Counter)
    lists_sent: Counter[str] = field(default_factory=Counter)
    allocations: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By resource and outcome (ok, unknown_device, unhealthy_device, invalid)."""
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By resource and new state (Healthy, Unhealthy, removed)."""
    rescans: Counter[str] = field(default_factory=Counter)
    """By cause (start, interval, overflow, limits, root_changed)."""
    send_latency: Histogram = field(default_factory=Histogram)
    """From the event of the tree to the list handed to a stream."""
