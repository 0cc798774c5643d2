"""Each device as series of its own: health, reason, and attributes that are numbers, such as a temperature. Opt-in.

Loaded where --device-metrics is on. Bounded: the number of series grows with the devices, and attributes are read from
the tree at each scrape.
"""

from __future__ import annotations

import contextlib
import math
import os
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fakehw_plugin.device import Health, natural_key
from fakehw_plugin.tree import attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from fakehw_plugin.device import Device
    from fakehw_plugin.devices.inventory import Inventory

MAX_DEVICES: Final = 1000
"""Whose health is told."""

MAX_ATTRIBUTES: Final = 1000
"""Of all devices together; each is a file that is read, in some 20 microseconds."""

_NO_NUMBERS: Final = frozenset({"health", "numa_node", "node"})
_DEVICE: Final = ("resource", "fake_node", "device")


class DeviceCollector(Collector):
    """Reads inventories and the tree at the moment of a scrape."""

    def __init__(self, inventories: Callable[[], Iterable[Inventory]], root: Path) -> None:
        self._inventories = inventories
        self._root = root

    def collect(self) -> Iterator[Metric]:
        """Yield all series; what does not fit is counted."""
        healthy = GaugeMetricFamily("fakehw_device_healthy", "1: healthy, 0: unhealthy.", labels=_DEVICE)
        reasons = GaugeMetricFamily(
            "fakehw_device_unhealthy_reason", "1; why a device is unhealthy.", labels=(*_DEVICE, "reason")
        )
        numbers = GaugeMetricFamily(
            "fakehw_device_attribute", "An attribute that is a number.", labels=(*_DEVICE, "attribute")
        )
        told = left_out = 0
        for resource, device in self._devices():
            if told == MAX_DEVICES:
                left_out += 1
                continue
            told += 1
            labels = [resource, device.node, device.id]
            is_healthy = device.health is Health.HEALTHY
            healthy.add_metric(labels, int(is_healthy))
            if not is_healthy:
                reasons.add_metric([*labels, device.reason], 1)
            for name, value in self._numbers(device, MAX_ATTRIBUTES - len(numbers.samples)):
                numbers.add_metric([*labels, name], value)
        yield from (healthy, reasons, numbers)
        text = f"Devices beyond the first {MAX_DEVICES}, which have no series."
        yield GaugeMetricFamily("fakehw_device_series_left_out", text, value=left_out)

    def _devices(self) -> Iterator[tuple[str, Device]]:
        for inventory in sorted(self._inventories(), key=lambda inventory: inventory.resource_name):
            devices = inventory.devices.values()
            for device in sorted(
                devices, key=lambda device: (natural_key(device.node), device.class_name, device.number)
            ):
                yield inventory.resource_name, device

    def _numbers(self, device: Device, room: int) -> Iterator[tuple[str, float]]:
        """Yield attributes of a device that are finite numbers; what cannot be read is none."""
        if room <= 0:
            return
        with contextlib.suppress(OSError, attributes.StarvedError), contextlib.ExitStack() as stack:
            fd: int | None = None
            for name in (str(self._root), device.node, device.class_name, str(device.number)):
                fd = attributes.open_directory(name, dir_fd=fd)
                stack.callback(os.close, fd)
            assert fd is not None
            for name in sorted(os.listdir(fd))[:MAX_ATTRIBUTES]:  # noqa: PTH208  # of a descriptor
                if room > 0 and name not in _NO_NUMBERS and (value := _number(name, fd)) is not None:
                    room -= 1
                    yield name, value


def _number(name: str, dir_fd: int) -> float | None:
    try:
        value = float(attributes.read(name, dir_fd=dir_fd))
    except (attributes.AttributeFileError, ValueError):
        return None
    return value if math.isfinite(value) else None
