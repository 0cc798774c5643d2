"""The plugin's numbers under their Prometheus names. Loaded when the first resource is registered, not before."""

from __future__ import annotations

import gzip
import platform
import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from fakehw_plugin import logs, web
from fakehw_plugin.devices import telemetry

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from fakehw_plugin.daemon import Daemon

SPARING: Final = 20
"""How many times longer a page is kept than it took to make."""

_FAST: Final = 1
"""Compression takes the loop's time, and text shrinks to a tenth at any level."""


class _PluginCollector(Collector):
    """Reads the daemon at the moment of a scrape."""

    def __init__(self, daemon: Daemon, version: str) -> None:
        self._daemon = daemon
        self._version = version

    def collect(self) -> Iterator[Metric]:
        daemon, counts = self._daemon, self._daemon.telemetry
        devices = GaugeMetricFamily(
            "fakehw_devices", "Devices in the list.", labels=["resource", "fake_node", "health"]
        )
        for (resource, node), by_health in counts.devices.items():
            for health, count in by_health.items():
                devices.add_metric([resource, node, health], count)
        generation = GaugeMetricFamily("fakehw_list_generation", "Published lists so far.", labels=["resource"])
        size = GaugeMetricFamily("fakehw_list_bytes", "Size of the encoded list.", labels=["resource"])
        left_out = GaugeMetricFamily("fakehw_devices_left_out", "Devices beyond the 4 MiB limit.", labels=["resource"])
        ready = GaugeMetricFamily("fakehw_registered", "1: registered with a live stream.", labels=["resource"])
        for offer, inventory in daemon.inventories.by_offer.items():
            resource = offer.resource
            generation.add_metric([resource], inventory.generation)
            left_out.add_metric([resource], len(inventory.left_out))
        for resource in daemon.device_plugin.waiting:
            ready.add_metric([resource], 0)
        for resource, session in daemon.device_plugin.sessions.items():
            size.add_metric([resource], len(daemon.device_plugin.lists[resource].message()))
            ready.add_metric([resource], int(session.is_ready))
        yield from (devices, generation, size, left_out, ready)

        by_resource = ["resource"]
        attempts = "Attempts to register, by how they ended."
        yield _counter("fakehw_registrations", attempts, [*by_resource, "outcome"], counts.registrations)
        ended = "Registrations that came to an end."
        yield _counter("fakehw_registrations_ended", ended, [*by_resource, "reason"], counts.registrations_ended)
        opened = "ListAndWatch streams opened; each beyond the first is a restart."
        yield _counter("fakehw_streams_opened", opened, by_resource, counts.streams_opened)
        yield _counter("fakehw_lists_sent", "Lists handed to streams.", by_resource, counts.lists_sent)
        yield _counter("fakehw_allocations", "Allocate calls.", [*by_resource, "outcome"], counts.allocations)
        yield _counter("fakehw_device_transitions", "Device changes.", [*by_resource, "state"], counts.transitions)
        played = "Faults of the protocol that were played."
        yield _counter("fakehw_rpc_faults", played, [*by_resource, "method"], counts.rpc_faults)
        yield from self._dra()
        yield _counter("fakehw_rescans", "Readings of the whole tree.", ["cause"], counts.rescans)
        text = "From noticing a change in the tree to handing its list to a stream."
        yield _latency("fakehw_send_latency_seconds", text, counts.send_latency)
        yield GaugeMetricFamily("fakehw_tree_present", "1: the tree is there.", value=int(daemon.pump.tree_is_present))
        unwatched = "1: no inotify watches or file descriptors are left, the tree is read once a second."
        yield GaugeMetricFamily("fakehw_watches_exhausted", unwatched, value=int(daemon.pump.unwatched is not None))
        lost = "Log lines that standard error did not take."
        yield CounterMetricFamily("fakehw_log_lines_lost", lost, value=logs.lines_lost())
        build = InfoMetricFamily("fakehw_build", "What is running.")
        build.add_metric([], {"version": self._version, "python": platform.python_version()})
        yield build

    def _dra(self) -> Iterator[Metric]:
        """Yield what there is to say of classes that are served by DRA."""
        drivers, counts = self._daemon.dra.drivers, self._daemon.telemetry
        slices = GaugeMetricFamily("fakehw_dra_slices", "ResourceSlices that are to be published.", labels=["driver"])
        tainted = GaugeMetricFamily("fakehw_dra_tainted_devices", "Devices with a taint.", labels=["driver"])
        claims = GaugeMetricFamily("fakehw_dra_prepared_claims", "Claims that are prepared.", labels=["driver"])
        ready = GaugeMetricFamily("fakehw_dra_ready", "1: registered, and all slices published.", labels=["driver"])
        for name, driver in drivers.items():
            slices.add_metric([name], len(driver.pool.wanted()))
            tainted.add_metric([name], driver.pool.tainted)
            claims.add_metric([name], len(driver.preparation.checkpoint.prepared))
            ready.add_metric([name], int(driver.is_ready))
        yield from (slices, tainted, claims, ready)
        writes = "ResourceSlices written."
        yield _counter("fakehw_dra_slice_writes", writes, ["driver", "verb"], counts.slice_writes)
        calls = "Claims that the kubelet had prepared and unprepared."
        yield _counter("fakehw_dra_claims", calls, ["call", "outcome"], counts.claims)
        failed = "Requests to the API server that failed, by HTTP status or what else it was."
        yield _counter("fakehw_dra_api_errors", failed, ["error"], counts.api_errors)
        text = "From noticing a change in the tree to all slices accepted by the API server."
        yield _latency("fakehw_dra_publish_latency_seconds", text, counts.publish_latency)


def _counter(
    name: str, text: str, labels: list[str], counts: Counter[str] | Counter[tuple[str, str]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    values: Iterable[tuple[str | tuple[str, str], int]] = counts.items()
    for key, value in values:
        family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family


def _latency(name: str, text: str, histogram: telemetry.Histogram) -> HistogramMetricFamily:
    buckets, running = [], 0
    bounds = [*map(str, telemetry.LATENCY_BUCKETS_S), "+Inf"]
    for bound, count in zip(bounds, histogram.counts, strict=True):
        running += count
        buckets.append((bound, running))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total_s)


class Sparing:
    """A page that is made anew only after SPARING times the time that it took, however often it is asked for.

    So whoever reaches the port cannot hold up the kubelet's calls, and a page that takes a millisecond is 20 ms old at
    most.
    """

    def __init__(self, make: Callable[[], web.Answer], clock: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._clock = clock
        self._made: web.Answer | None = None
        self._fresh_until = 0.0

    def __call__(self) -> web.Answer:
        """Return the page."""
        began = self._clock()
        if self._made is None or began >= self._fresh_until:
            self._made = self._make()
            ended = self._clock()
            self._fresh_until = ended + SPARING * (ended - began)
        return self._made


_MOST_FORMATS: Final = 16


class Exposition:
    """The metrics in the format that a client asks for (OpenMetrics or the plain one), and compressed where it may be.

    A format is one of the few that prometheus-client knows, so there are few pages to keep, whatever clients say.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._pages: dict[tuple[str, bool], Sparing] = {}

    def __call__(self, accept: str, is_gzipped: bool) -> web.Answer:
        """Return the page."""
        encode, content_type = choose_encoder(accept)

        def make() -> web.Answer:
            body = encode(self._registry)
            return (
                web.Answer(200, gzip.compress(body, _FAST), content_type, "gzip")
                if is_gzipped
                else web.Answer(200, body, content_type)
            )

        if len(self._pages) > _MOST_FORMATS:
            self._pages.clear()
        return self._pages.setdefault((content_type, is_gzipped), Sparing(make))()


def pages(daemon: Daemon, *, version: str) -> dict[str, Callable[[], web.Answer]]:
    """Return what the web server serves for `daemon`."""
    registry = CollectorRegistry()
    registry.register(_PluginCollector(daemon, version))
    if daemon.config.device_metrics:
        from fakehw_plugin.device_metrics import DeviceCollector

        registry.register(DeviceCollector(daemon.inventories.by_offer.values, daemon.config.root))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)

    def readyz() -> web.Answer:
        lines = [f"[{'+' if daemon.pump.tree_is_present else '-'}] tree {daemon.config.root}"]
        lines += [
            f"[{'+' if session.is_ready else '-'}] {resource} {session.state}"
            for resource, session in sorted(daemon.device_plugin.sessions.items())
        ]
        lines += [
            f"[{'+' if driver.is_ready else '-'}] {name} {driver.state}"
            for name, driver in sorted(daemon.dra.drivers.items())
        ]
        waiting = sorted(daemon.device_plugin.waiting)
        lines += [f"[-] {resource} not served, no file descriptors" for resource in waiting]
        return web.Answer(200 if daemon.is_ready else 503, ("\n".join(lines) + "\n").encode())

    def healthz() -> web.Answer:
        # It answers, so the event loop turns. A liveness probe that fails has the container made anew, with its mounts.
        if daemon.is_orphaned:
            return web.Answer(503, b"the tree or the kubelet's directory was deleted under its mount\n")
        return web.Answer(200, b"ok\n")

    return {
        "/metrics": web.Negotiated(Exposition(registry)),
        "/healthz": healthz,
        "/readyz": readyz,
    }
