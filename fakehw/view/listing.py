"""What `fakehw list` prints: one record for each device, as a table for people or as JSON or YAML for programs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from fakehw import layout, output
from fakehw.layout import TreePath
from fakehw.tree.snapshot import Snapshot, Unreadable, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FORMATS: Final = ("table", "wide", "name", "json", "yaml")

_HEADINGS: Final = ("PATH", "RESOURCE", "HEALTH", "NUMA", "REASON")
_WIDE_HEADINGS: Final = ("PATH", "ID", "RESOURCE", "HEALTH", "NUMA", "HOST", "REASON", "ATTRIBUTES")
_SUMMARY_HEADINGS: Final = ("HOST", "RESOURCE", "DEVICES", "HEALTHY", "UNHEALTHY")
_LONGEST_REASON: Final = 120


@dataclass(frozen=True, slots=True)
class Record:
    """A device as it is listed; or a class without devices, which is advertised as 0: it has no ID and no health."""

    path: str
    id: str | None
    resource: str | None
    health: str | None
    numa_node: int | None
    host: str | None
    reason: str
    attributes: dict[str, str]
    held_by: str | None = None
    """NAMESPACE/POD/CONTAINER, and by which claim; empty if nobody holds it, None where nobody was asked."""


def records(tree: Snapshot, *, domain: str = layout.DEFAULT_DOMAIN) -> Iterator[Record]:
    """Yield a record for each device, in the order of people; `domain` is that of classes that name no resource."""
    return (record for record in rows(tree, domain=domain) if record.id is not None)


def rows(tree: Snapshot, *, domain: str = layout.DEFAULT_DOMAIN) -> Iterator[Record]:
    """Yield what `records` does, and one for each class that has no device."""
    for node_name in sorted(tree.nodes, key=layout.natural_key):
        node = tree.nodes[node_name]
        host = _text(node.host) or None  # one that is empty says any, as to the plugin
        for class_name in sorted(node.classes, key=layout.natural_key):
            reading = node.classes[class_name]
            resource = _resource(class_name, reading.resource, domain)
            if not reading.devices:
                yield Record(str(TreePath(node_name, class_name)), None, resource, None, None, host, "no devices", {})
            for number, device in sorted(reading.devices.items()):
                path = TreePath(node_name, class_name, number)
                health, reason = device.health
                attributes = {
                    name: value
                    for name, value in sorted(device.attributes.items())
                    if isinstance(value, str) and name not in (layout.HEALTH, layout.NUMA_NODE)
                }
                yield Record(str(path), path.id, resource, health.value, device.numa_node, host, reason, attributes)


def shown(
    records: Iterable[Record], output: str, *, has_headings: bool = True, width: int = 0, has_holders: bool = False
) -> str:
    """Return records in one of FORMATS; a reason is cut where a line would pass `width` columns (0: it is not).

    With `has_holders` a table says who holds what, too.
    """
    listed = list(records)
    if output == "json":
        return json.dumps([as_dict(record) for record in listed], indent=2)
    if output == "yaml":
        import yaml  # a fifth of the start of every other format

        text: str = yaml.safe_dump([as_dict(record) for record in listed], sort_keys=False, allow_unicode=True)
        return text.rstrip("\n")
    if output == "name":
        return "\n".join(record.path.removeprefix("/") for record in listed if record.id is not None)
    if not listed:
        return "no devices"
    is_wide = output == "wide"
    headings: tuple[str, ...] = _WIDE_HEADINGS if is_wide else _HEADINGS
    lines = [(_wide_row if is_wide else _row)(record) for record in listed]
    if has_holders:
        at = headings.index("NUMA") + 1
        headings = (*headings[:at], "HELD BY", *headings[at:])
        lines = [(*line[:at], record.held_by or "-", *line[at:]) for line, record in zip(lines, listed, strict=True)]
    return table(headings, lines, has_headings=has_headings, width=0 if is_wide else width)


def as_dict(record: Record) -> dict[str, Any]:
    """Return a record for programs; who holds it only where that was asked."""
    found = asdict(record)
    if record.held_by is None:
        del found["held_by"]
    return found


def as_table(tree: Snapshot, *, domain: str = layout.DEFAULT_DOMAIN) -> str:
    """Return the records as a table; a class with no devices has a row of its own, since it is advertised as 0."""
    return shown(rows(tree, domain=domain), "table")


def summary(records: Iterable[Record], *, has_headings: bool = True) -> str:
    """Return how many devices each host has of each resource, by health."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        key = record.host or "-", record.resource or "-"
        for what in ("", *([record.health] if record.health else [])):
            counts[(*key, what)] += record.id is not None
    keys = sorted({key[:2] for key in counts}, key=lambda key: tuple(map(layout.natural_key, key)))
    lines = [(*key, *(str(counts[(*key, what)]) for what in ("", "healthy", "unhealthy"))) for key in keys]
    return table(_SUMMARY_HEADINGS, lines, has_headings=has_headings) if lines else "no devices"


def table(headings: Sequence[str], lines: Sequence[Sequence[str]], *, has_headings: bool = True, width: int = 0) -> str:
    """Return cells in columns; the last is cut where a line would pass `width` (0: it is not)."""
    cells = [headings, *lines] if has_headings else list(lines)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = ["   ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(f"{line[: width - 3]}..." if 0 < width < len(line) else line for line in text)


def _row(record: Record) -> tuple[str, ...]:
    return record.path, record.resource or "-", record.health or "-", _numa(record), record.reason[:_LONGEST_REASON]


def _wide_row(record: Record) -> tuple[str, ...]:
    attributes = ",".join(f"{name}={value}" for name, value in record.attributes.items())
    path, resource, health, numa, reason = _row(record)
    return path, record.id or "-", resource, health, numa, record.host or "-", reason, attributes


def _numa(record: Record) -> str:
    return "-" if record.numa_node is None else str(record.numa_node)


def _resource(class_name: str, value: Value | None, domain: str) -> str | None:
    if value is None:
        return layout.default_resource(class_name, domain)
    return _text(value)


def _text(value: Value | None) -> str | None:
    """Return a value fit for a terminal, and like no other; None for what is absent, a note for what cannot be read."""
    if value is None:
        return None
    return f"({value.reason})" if isinstance(value, Unreadable) else output.printable(value)[:253]
