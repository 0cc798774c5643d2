"""What became of a cluster while failures were played on it: samples, and a table and a picture of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from fakehw_fleet.cluster import objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO

Object = dict[str, Any]

_DAY_S: Final = 86_400.0
_POINTS: Final = 600
"""In the picture; more samples than that are thinned out."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How it was at one moment."""

    seconds: float
    """Since the play began."""
    days: float
    """Of the time that is played."""
    capacity: int
    allocatable: int
    nodes_ready: int
    pods_running: int
    pods_pending: int
    pods_disrupted: int
    """Pods that hold a broken device now."""
    pods_disrupted_so_far: int
    """Pods that have held one since the play began."""


def kept_pod(found: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a pod that is needed here."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    return {
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion") if key in metadata},
        "is_going": "deletionTimestamp" in metadata,
        "node": spec.get("nodeName", ""),
        "wants": _wants_devices(spec),
        "phase": status.get("phase", ""),
        "is_disrupted": _holds_a_broken_device(status),
    }


class Recorder:
    """Makes samples of the Nodes and pods of one fleet."""

    def __init__(self, speed: float) -> None:
        self.samples: list[Sample] = []
        self._speed = speed
        self._disrupted: set[str] = set()

    def add(
        self, seconds: float, nodes: Iterable[dict[str, Any]], pods: Iterable[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Take a sample, and return the pods that hold a broken device."""
        capacity = allocatable = ready = running = pending = 0
        for node in nodes:
            capacity += sum(objects.extended(node["status"], "capacity").values())
            allocatable += sum(objects.extended(node["status"], "allocatable").values())
            ready += objects.is_ready(node)
        broken = []
        for pod in pods:
            if not pod["wants"] or pod["is_going"]:
                continue
            running += pod["phase"] == "Running"
            pending += pod["phase"] == "Pending"
            if pod["is_disrupted"] and pod["phase"] == "Running":
                broken.append(pod)
                self._disrupted.add(pod["metadata"]["uid"])
        self.samples.append(
            Sample(
                round(seconds, 3), round(seconds * self._speed / _DAY_S, 4), capacity, allocatable, ready, running,
                pending, len(broken), len(self._disrupted),
            )
        )  # fmt: skip  # in the order of the fields
        return broken

    def summary(self) -> str:
        """Return all of it in a line or two."""
        first, last = self.samples[0], self.samples[-1]
        lowest = min(sample.allocatable for sample in self.samples)
        mean = sum(sample.allocatable for sample in self.samples) / len(self.samples)
        pending = max(sample.pods_pending for sample in self.samples)
        return (
            f"{len(self.samples)} samples over {last.days:.1f} days: allocatable {first.allocatable} at first, "
            f"{lowest} at least, {mean:.1f} on average, {last.allocatable} at last\n"
            f"pods disrupted {last.pods_disrupted_so_far}, pending at most {pending}, "
            f"running at last {last.pods_running}"
        )


def write_csv(samples: Sequence[Sample], stream: TextIO) -> None:
    """Write a table with a row for each sample."""
    names = [field.name for field in fields(Sample)]
    writer = csv.writer(stream)
    writer.writerow(names)
    writer.writerows([getattr(sample, name) for name in names] for sample in samples)


def svg(samples: Sequence[Sample], *, title: str) -> bytes:
    """Return a picture: devices above, pods below, over the days that were played."""
    import pygal

    step = max(1, len(samples) // _POINTS)
    thinned = [*samples[::step], *([samples[-1]] if (len(samples) - 1) % step else [])]
    chart = pygal.XY(
        title=title,
        x_title="days played",
        show_dots=False,
        value_formatter=lambda value: f"{value:.0f}",
        height=480,
        width=960,
        legend_at_bottom=True,
        js=[],
        secondary_range=(0, max(10, *(max(one.pods_pending, one.pods_disrupted_so_far) for one in thinned))),
    )
    chart.add("devices allocatable", [(one.days, one.allocatable) for one in thinned])
    for name, field in (("pods pending", "pods_pending"), ("pods disrupted so far", "pods_disrupted_so_far")):
        chart.add(f"{name} (right)", [(one.days, getattr(one, field)) for one in thinned], secondary=True)
    rendered: bytes = chart.render()
    return rendered


def _wants_devices(spec: dict[str, Any]) -> bool:
    return any(
        "/" in name
        for container in (*(spec.get("containers") or []), *(spec.get("initContainers") or []))
        for name in (container.get("resources") or {}).get("limits") or {}
    )


def _holds_a_broken_device(status: dict[str, Any]) -> bool:
    return any(
        device.get("health") == "Unhealthy"
        for container in status.get("containerStatuses") or []
        for resource in container.get("allocatedResourcesStatus") or []
        for device in resource.get("resources") or []
    )
