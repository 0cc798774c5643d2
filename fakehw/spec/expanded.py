"""A topology written out line by line: a spec without ranges, counts or placeholders that means the same."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from fakehw import layout
from fakehw.layout import Health

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakehw.spec.topology import FakeClass, FakeDevice, Topology

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")


def lines(topology: Topology) -> Iterator[str]:
    """Yield the lines of the spec; it may be longer than one that `fakehw build` reads."""
    if not topology.nodes:
        yield "nodes: {}"
        return
    yield "nodes:"
    for node in topology.nodes.values():
        has_fields = node.host or node.labels or node.taints or node.classes
        yield f"  {_scalar(node.name)}:" + ("" if has_fields else " {}")
        if node.host:
            yield f"    host: {_scalar(node.host)}"
        if node.labels:
            texts = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in node.labels.items())
            yield f"    labels: {{{', '.join(texts)}}}"
        if node.taints:
            yield f"    taints: {json.dumps(node.taints)}"
        if node.classes:
            yield "    classes:"
        for fake_class in node.classes.values():
            yield f"      {_scalar(fake_class.name)}:"
            yield from (f"        {line}" for line in _class_lines(fake_class))


def _class_lines(fake_class: FakeClass) -> Iterator[str]:
    yield f"resource: {_scalar(fake_class.resource)}"
    for name, value in fake_class.settings.items():
        if name == layout.TYPES:
            pairs = (line.split() for line in value.splitlines())
            yield f"types: {{{', '.join(f'{attribute}: {type_}' for attribute, type_ in pairs)}}}"
        else:
            yield f"{name}: {_scalar(value)}"
    if not fake_class.devices:
        yield "count: 0"
        return
    yield "devices:"
    for device in fake_class.devices.values():
        yield f"  {device.number}: {{{', '.join(_fields(device))}}}"


def _fields(device: FakeDevice) -> Iterator[str]:
    if device.health != Health.HEALTHY.value:
        yield f"health: {_scalar(device.health)}"
    attributes = dict(device.attributes)
    if (numa_node := attributes.pop(layout.NUMA_NODE, None)) is not None:
        yield f"numa_node: {numa_node}"
    if device.device_node is not None:
        yield f"device_node: {json.dumps(device.device_node)}"
    if taints := {name: attributes.pop(name) for name in tuple(attributes) if name.startswith(layout.taint_file(""))}:
        texts = (f"{_scalar(name.partition('/')[2])}: {_scalar(text)}" for name, text in taints.items())
        yield f"taints: {{{', '.join(texts)}}}"
    if attributes:
        texts = (f"{name}: {_scalar(_escaped(value))}" for name, value in attributes.items())
        yield f"attributes: {{{', '.join(texts)}}}"


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _scalar(text: str) -> str:
    is_word = text.lower() in ("null", "true", "false")
    return text if _PLAIN.fullmatch(text) and not is_word else json.dumps(text, ensure_ascii=False)
