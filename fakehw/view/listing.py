"""What `fakehw list` prints: one record for each device, as a table for people or as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from fakehw import layout, output
from fakehw.layout import TreePath
from fakehw.tree.snapshot import Snapshot, Unreadable, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADINGS: Final = ("PATH", "ID", "RESOURCE", "HEALTH", "NUMA", "HOST", "REASON")


@dataclass(frozen=True, slots=True)
class Record:
    """A device as it is listed."""

    path: str
    id: str
    resource: str | None
    health: str
    numa_node: int | None
    host: str | None
    reason: str
    attributes: dict[str, str]


def records(tree: Snapshot, *, domain: str = layout.DEFAULT_DOMAIN) -> Iterator[Record]:
    """Yield a record for each device, in the order of people; `domain` is that of classes that name no resource."""
    for path, device in tree.devices():
        assert path.class_name is not None
        node = tree.nodes[path.node]
        health, reason = device.health
        attributes = {
            name: value
            for name, value in sorted(device.attributes.items())
            if isinstance(value, str) and name not in (layout.HEALTH, layout.NUMA_NODE)
        }
        yield Record(
            path=str(path),
            id=path.id,
            resource=_resource(path.class_name, node.classes[path.class_name].resource, domain),
            health=health.value,
            numa_node=device.numa_node,
            host=_text(node.host) or None,  # one that is empty says any, as to the plugin
            reason=reason,
            attributes=attributes,
        )


def as_json(tree: Snapshot, *, domain: str = layout.DEFAULT_DOMAIN) -> str:
    """Return the records as a JSON list."""
    return json.dumps([asdict(record) for record in records(tree, domain=domain)], indent=2)


def as_table(tree: Snapshot, *, domain: str = layout.DEFAULT_DOMAIN) -> str:
    """Return the records as a table; a class with no devices has a row of its own, since it is advertised as 0."""
    by_class: dict[str, list[Record]] = {}
    for record in records(tree, domain=domain):
        by_class.setdefault(record.path.rpartition("/")[0], []).append(record)
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for node_name in sorted(tree.nodes, key=layout.natural_key):
        node = tree.nodes[node_name]
        for class_name in sorted(node.classes, key=layout.natural_key):
            path = str(TreePath(node_name, class_name))
            resource = _resource(class_name, node.classes[class_name].resource, domain)
            rows += [_row(record) for record in by_class.get(path, ())] or [
                (path, "-", resource or "-", "-", "-", _text(node.host) or "-", "no devices")
            ]
    if len(rows) == 1:
        return "no devices"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(record: Record) -> tuple[str, ...]:
    numa_node = "-" if record.numa_node is None else str(record.numa_node)
    resource, host = record.resource or "-", record.host or "-"
    return record.path, record.id, resource, record.health, numa_node, host, record.reason[:120]


def _resource(class_name: str, value: Value | None, domain: str) -> str | None:
    if value is None:
        return layout.default_resource(class_name, domain)
    return _text(value)


def _text(value: Value | None) -> str | None:
    """Return a value fit for a terminal, and like no other; None for what is absent, a note for what cannot be read."""
    if value is None:
        return None
    return f"({value.reason})" if isinstance(value, Unreadable) else output.printable(value)[:253]
