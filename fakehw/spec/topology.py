"""What a tree should contain, as values: nodes, classes, devices. Pure; `spec` makes them from a checked document."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from fakehw import layout
from fakehw.layout import Health

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PLACEHOLDER: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_PLACEHOLDERS: Final = ("node", "class", "number", "id")


@dataclass(frozen=True, slots=True)
class FakeDevice:
    """One device: its first health, and its attributes as they stand in the files (numa_node among them)."""

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
        """Return this template with the fields of a class or of one explicit device laid over it."""
        attributes = {
            **self.attributes,
            **{key: _as_text(value) for key, value in (fields.get("attributes") or {}).items()},
        }
        if "numa_node" in fields:
            attributes[layout.NUMA_NODE] = str(fields["numa_node"])
        health = layout.health_text(*_health(fields["health"])) if "health" in fields else self.health
        device_node = (fields["device_node"] or "null") if "device_node" in fields else self.device_node
        return DeviceTemplate(health, attributes, device_node)

    def make(self, node: str, class_name: str, number: int) -> FakeDevice:
        """Return the device that this template describes at one place."""
        attributes = self.attributes
        if any("{" in value or "}" in value for value in attributes.values()):
            names = {
                "node": node,
                "class": class_name,
                "number": str(number),
                "id": f"{node}-{class_name}-{number}",
            }
            attributes = {key: fill(value, names) for key, value in attributes.items()}
        return FakeDevice(number, self.health, attributes, self.device_node)


@dataclass(frozen=True, slots=True)
class FakeClass:
    """A class of devices of one node, perhaps with no device at all (advertised as 0)."""

    name: str
    resource: str
    devices: Mapping[int, FakeDevice]
    template: DeviceTemplate


@dataclass(frozen=True, slots=True)
class FakeNode:
    """A fake node; `host` None means that any Kubernetes node may own it."""

    name: str
    host: str | None
    classes: Mapping[str, FakeClass]


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole spec. `document` is the plain data it was made from, which is what a tree remembers.

    `only_host` is the host that it was narrowed to.
    """

    nodes: Mapping[str, FakeNode]
    document: Mapping[str, Any] = field(compare=False)
    only_host: str | None = field(default=None, compare=False)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, host: str | None = None) -> Topology:
        """Return the topology of a checked document; with `host`, only its nodes and those that any may own."""
        domain = document.get("domain", layout.DEFAULT_DOMAIN)
        nodes = {
            name: _make_node(name, fields or {}, domain)
            for name, fields in document["nodes"].items()
            if not host or (fields or {}).get("host", host) == host
        }
        return cls(nodes, document, host)

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
        return replace(self, nodes={name: _bare_node(node) for name, node in self.nodes.items()})


def numbers(fields: Mapping[str, Any]) -> Iterator[int]:
    """Yield the device numbers of a class: 1 to `count`, then the explicit ones beyond."""
    count = fields.get("count", 0)
    yield from range(1, count + 1)
    for key in fields.get("devices") or {}:
        if not 1 <= int(key) <= count:
            yield int(key)


def fill(text: str, names: Mapping[str, str]) -> str:
    """Replace {node}, {class}, {number} and {id}; {{ and }} are braces. ValueError names what is not a placeholder."""

    def value(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        if match[1] not in names:
            known = ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
            raise ValueError(f"{match[0]} is no placeholder; known are {known}, and {{{{ }}}} for braces themselves")
        return names[match[1]]

    return _PLACEHOLDER.sub(value, text)


def check_template(text: str) -> None:
    """Raise ValueError unless `text` can be filled in for a device."""
    fill(text, dict.fromkeys(_PLACEHOLDERS, ""))


def _bare_node(node: FakeNode) -> FakeNode:
    return replace(node, classes={name: _bare_class(fake_class) for name, fake_class in node.classes.items()})


def _bare_class(fake_class: FakeClass) -> FakeClass:
    devices = {number: replace(device, device_node=None) for number, device in fake_class.devices.items()}
    return replace(fake_class, devices=devices, template=replace(fake_class.template, device_node=None))


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _health(text: str) -> tuple[Health, str]:
    health, reason = layout.parse_health(text)
    assert health is not None, "the spec was checked"
    return health, reason


def _make_node(name: str, fields: Mapping[str, Any], domain: str) -> FakeNode:
    classes = {
        class_name: _make_class(name, class_name, class_fields, domain)
        for class_name, class_fields in (fields.get("classes") or {}).items()
    }
    return FakeNode(name, fields.get("host"), classes)


def _make_class(node: str, name: str, fields: Mapping[str, Any], domain: str) -> FakeClass:
    resource = fields.get("resource") or layout.default_resource(name, domain)
    assert resource is not None, "the spec was checked"
    template = DeviceTemplate().overridden(fields)
    explicit = fields.get("devices") or {}
    devices = {}
    for number in sorted(numbers(fields)):
        own = explicit.get(str(number))
        devices[number] = (template.overridden(own) if own else template).make(node, name, number)
    return FakeClass(name, resource, devices, template)
