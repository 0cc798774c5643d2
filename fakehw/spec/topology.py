"""What a tree should contain, as values: nodes, classes, devices. `entries` makes them from a checked document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fakehw import layout
from fakehw.layout import Health
from fakehw.spec import ranges

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class FakeDevice:
    """One device: its first health, and its attributes as they stand in the files (numa_node and taints/NAME too)."""

    number: int
    health: str = Health.HEALTHY.value
    attributes: Mapping[str, str] = field(default_factory=dict)
    device_node: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceTemplate:
    """What the devices of a class have in common; placeholders in attributes are not filled in yet."""

    health: str = Health.HEALTHY.value
    attributes: Mapping[str, str] = field(default_factory=dict)
    device_node: str | None = None

    def overridden(self, fields: Mapping[str, Any]) -> DeviceTemplate:
        """Return this template with the fields of a class or of explicit devices laid over it."""
        attributes = {
            **self.attributes,
            **{key: _as_text(value) for key, value in (fields.get("attributes") or {}).items()},
        }
        for name, text in (fields.get("taints") or {}).items():
            attributes[layout.taint_file(name)] = text
        if "numa_node" in fields:
            attributes[layout.NUMA_NODE] = str(fields["numa_node"])
        health = layout.health_text(*_health(fields["health"])) if "health" in fields else self.health
        device_node = (fields["device_node"] or "null") if "device_node" in fields else self.device_node
        return DeviceTemplate(health, attributes, device_node)

    def make(self, node: str, class_name: str, number: int, *, index: str | None = None) -> FakeDevice:
        """Return the device that this template describes at one place; `index` is that of its node in a range."""
        attributes = self.attributes
        if any(map(ranges.is_template, attributes.values())):
            names = {"node": node, "class": class_name, "number": str(number), "id": f"{node}-{class_name}-{number}"}
            if index is not None:
                names["index"] = index
            attributes = {key: ranges.fill(value, names) for key, value in attributes.items()}
        return FakeDevice(number, self.health, attributes, self.device_node)


@dataclass(frozen=True, slots=True)
class FakeClass:
    """A class of devices of one node, perhaps with no device at all (advertised as 0)."""

    name: str
    resource: str
    devices: Mapping[int, FakeDevice]
    template: DeviceTemplate
    settings: Mapping[str, str] = field(default_factory=dict)
    """For DRA: what stands in the files api, driver, unhealthy_effect and types, as far as the spec says."""


@dataclass(frozen=True, slots=True)
class FakeNode:
    """A fake node; `host` None means that any Kubernetes node may own it."""

    name: str
    host: str | None
    classes: Mapping[str, FakeClass]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the Kubernetes node, where a fleet makes it; nothing of them is in the tree."""
    taints: tuple[str, ...] = ()
    """KEY=VALUE:EFFECT, likewise."""


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole spec. `document` is the plain data it was made from, which is what a tree remembers.

    `only_host` is the host that it was narrowed to.
    """

    nodes: Mapping[str, FakeNode]
    document: Mapping[str, Any] = field(compare=False)
    only_host: str | None = field(default=None, compare=False)

    @property
    def device_count(self) -> int:
        """Return the number of devices of all nodes."""
        return sum(len(fake_class.devices) for node in self.nodes.values() for fake_class in node.classes.values())

    @property
    def device_node(self) -> str | None:
        """Return the kind of one character device that is wanted, or None if none is."""
        devices = (
            device
            for node in self.nodes.values()
            for fake_class in node.classes.values()
            for device in fake_class.devices.values()
        )
        return next((device.device_node for device in devices if device.device_node), None)

    def without_device_nodes(self) -> Topology:
        """Return what is left of it where no character device can be made."""
        return replace(self, nodes=_Changed(self.nodes, _bare_node))


class _Changed(Mapping[_Key, _Value]):
    """A mapping each of whose values is changed when it is asked for."""

    __slots__ = ("_change", "_inner")

    def __init__(self, inner: Mapping[_Key, _Value], change: Callable[[_Value], _Value]) -> None:
        self._inner = inner
        self._change = change

    def __getitem__(self, key: _Key) -> _Value:
        return self._change(self._inner[key])

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._inner)

    def __contains__(self, key: object) -> bool:
        return key in self._inner

    def __len__(self) -> int:
        return len(self._inner)


def _bare_node(node: FakeNode) -> FakeNode:
    return replace(node, classes={name: _bare_class(fake_class) for name, fake_class in node.classes.items()})


def _bare_class(fake_class: FakeClass) -> FakeClass:
    template = replace(fake_class.template, device_node=None)
    return replace(fake_class, devices=_Changed(fake_class.devices, _bare_device), template=template)


def _bare_device(device: FakeDevice) -> FakeDevice:
    return replace(device, device_node=None)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _health(text: str) -> tuple[Health, str]:
    health, reason = layout.parse_health(text)
    assert health is not None, "the spec was checked"
    return health, reason
