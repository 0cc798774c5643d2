"""A fleet's numbers for Prometheus: one page for all nodes and their plugins."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from fakehw_fleet.summary import Summary
    from fakehw_plugin.devices.telemetry import Telemetry
    from fakehw_plugin.web import Answer


Counts = dict[str, Counter[tuple[str, ...]]]
"""What plugins have counted, by the name of the metric and its labels."""


class Shown(Protocol):
    """What there is to show."""

    @property
    def counts(self) -> Counts:
        """Return what the plugins have counted."""

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """Return what the API server was asked for, by verb and resource."""

    def summary(self) -> Summary:
        """Return the fleet in numbers."""


_COUNTERS: Final = (
    ("registrations", "Registrations of plugins with their kubelets.", ("resource", "outcome")),
    ("registrations_ended", "Registrations that came to an end.", ("resource", "reason")),
    ("allocations", "Allocate calls.", ("resource", "outcome")),
    ("transitions", "Changes of devices.", ("resource", "state")),
    ("rescans", "Readings of the whole tree.", ("cause",)),
)


def counts_of(telemetry: Telemetry) -> Counts:
    """Return what there is of it on the page."""
    return {
        name: Counter({(key,) if isinstance(key, str) else key: n for key, n in getattr(telemetry, name).items()})
        for name, _, _ in _COUNTERS
    }


@contextlib.asynccontextmanager
async def serving(address: tuple[str, int] | None, fleet: Shown, *, tell: Callable[[str], None]) -> AsyncIterator[None]:
    """Serve /metrics, /healthz and /readyz at `address`, if it is given, while this context is open."""
    if address is None:
        yield
        return
    from fakehw_plugin import web

    async with web.WebServer(address, pages(fleet)) as server:
        tell(f"metrics: http://{address[0] or '127.0.0.1'}:{server.port}/metrics")
        yield


def pages(fleet: Shown) -> dict[str, Callable[[], Answer]]:
    """Return what the web server serves."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

    from fakehw_plugin.web import Answer

    registry = CollectorRegistry()
    registry.register(_Collector(fleet))
    ProcessCollector(registry=registry)

    def readyz() -> Answer:
        summary = fleet.summary()
        text = f"{summary.ready} of {summary.nodes} nodes ready\n"
        return Answer(200 if summary.ready == summary.nodes else 503, text.encode())

    return {
        "/metrics": lambda: Answer(200, generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4),
        "/healthz": lambda: Answer(200, b"ok\n"),
        "/readyz": readyz,
    }


class _Collector:
    def __init__(self, fleet: Shown) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        summary, counts = self._fleet.summary(), self._fleet.counts
        nodes = GaugeMetricFamily("fakehw_fleet_nodes", "Nodes of the fleet.", labels=["state"])
        nodes.add_metric(["ready"], summary.ready)
        nodes.add_metric(["not ready"], summary.nodes - summary.ready)
        yield nodes
        for name, text in (
            ("capacity", "Devices of all nodes."),
            ("allocatable", "Healthy devices of all nodes."),
            ("allocated", "Devices that pods hold."),
        ):
            family = GaugeMetricFamily(f"fakehw_fleet_{name}", text, labels=["resource"])
            for resource, one in summary.resources.items():
                family.add_metric([resource], getattr(one, name))
            yield family
        pods = GaugeMetricFamily("fakehw_fleet_pods", "Pods on the nodes of the fleet.", labels=["phase"])
        for phase, count in summary.pods.items():
            pods.add_metric([phase], count)
        yield pods
        requests = CounterMetricFamily(
            "fakehw_fleet_api_requests", "Requests to the API server.", labels=["verb", "resource"]
        )
        for key, count in self._fleet.requests.items():
            requests.add_metric(list(key), count)
        yield requests
        for name, text, labels in _COUNTERS:
            counter = CounterMetricFamily(f"fakehw_fleet_{name}", text, labels=labels)
            for values, count in counts[name].items():
                counter.add_metric(list(values), count)
            yield counter
