"""From a checked document to a topology that is as small as its spec, whatever it describes.

A node and a device are made from their entry's templates when they are looked at, and forgotten: a count of a million
costs a number, a range of a thousand nodes two.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from typing import Any

from fakehw import layout
from fakehw.spec import ranges
from fakehw.spec.topology import DeviceTemplate, FakeClass, FakeDevice, FakeNode, Topology


def make(document: Mapping[str, Any], *, host: str | None = None) -> Topology:
    """Return the topology of a checked document; with `host`, only its nodes and those that any may own."""
    domain = document.get("domain", layout.DEFAULT_DOMAIN)
    entries = [_Entry(ranges.Names.parse(key), fields or {}, domain) for key, fields in document["nodes"].items()]
    if host:
        entries = [kept for entry in entries for kept in entry.of_host(host)]
    return Topology(_Nodes(entries), document, host)


def device_numbers(count: int, explicit: list[range]) -> ranges.Intervals:
    """Return the device numbers of a class: 1 to `count`, and the explicit ones."""
    return ranges.Intervals([range(1, count + 1), *explicit])


def host_names(name: str, index: str | None) -> dict[str, str]:
    """Return what may stand in braces in the host and the labels of a node."""
    return {"node": name} if index is None else {"node": name, "index": index}


class _Entry:
    """One key of `nodes` and what stands below it: a node, or many that differ in their numbers."""

    __slots__ = ("_classes", "_domain", "_fields", "host", "names")

    def __init__(self, names: ranges.Names, fields: Mapping[str, Any], domain: str) -> None:
        self.names = names
        self.host: str | None = fields.get("host")
        self._fields = fields
        self._domain = domain
        self._classes = [
            (name, _ClassEntry(name, class_fields, domain))
            for name, class_fields in (fields.get("classes") or {}).items()
        ]

    def of_host(self, host: str) -> Iterator[_Entry]:
        """Yield what is left of it on one host."""
        if self.host is None or self.host == host:
            yield self
        elif ranges.is_template(self.host):
            for name, index in self.names:
                if _host(self.host, name, index) == host:
                    yield _Entry(self.names.only(name), self._fields, self._domain)

    def node(self, name: str) -> FakeNode:
        """Return one of its nodes; KeyError if it is none."""
        index = self.names.index(name)
        host = None if self.host is None else _host(self.host, name, index)
        names = host_names(name, index)
        labels = {key: ranges.fill(text, names) for key, text in (self._fields.get("labels") or {}).items()}
        classes = {key: entry.make(name, index) for key, entry in self._classes}
        return FakeNode(name, host, classes, labels, tuple(self._fields.get("taints") or ()))


class _Nodes(Mapping[str, FakeNode]):
    """The nodes of a spec, made when they are asked for."""

    __slots__ = ("_entries", "_ranges", "_single")

    def __init__(self, entries: list[_Entry]) -> None:
        self._entries = entries
        self._single = {entry.names.prefix: entry for entry in entries if not entry.names.is_range}
        self._ranges: dict[str, list[_Entry]] = {}
        for entry in entries:
            if entry.names.is_range:
                self._ranges.setdefault(entry.names.prefix, []).append(entry)

    def __getitem__(self, name: str) -> FakeNode:
        if name in self._single:
            return self._single[name].node(name)
        for entry in (entry for end in range(1, len(name)) for entry in self._ranges.get(name[:end], ())):
            try:
                return entry.node(name)
            except KeyError:
                continue
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for entry in self._entries for name, _ in entry.names)

    def __len__(self) -> int:
        return sum(len(entry.names) for entry in self._entries)


class _ClassEntry:
    """A class as the spec has it: which numbers there are, and the template of each."""

    __slots__ = ("_parts", "_singles", "name", "numbers", "resource", "settings", "template")

    def __init__(self, name: str, fields: Mapping[str, Any], domain: str) -> None:
        self.name = name
        resource = fields.get("resource") or layout.default_resource(name, domain)
        assert resource is not None, "the spec was checked"
        self.resource: str = resource
        self.settings = {name: fields[name] for name in layout.SETTINGS if name in fields}
        if types := self.settings.get(layout.TYPES):
            self.settings[layout.TYPES] = "\n".join(f"{name} {type_}" for name, type_ in types.items())
        self.template = DeviceTemplate().overridden(fields)
        explicit = {key: (ranges.numbers(key), own) for key, own in (fields.get("devices") or {}).items()}
        self.numbers = device_numbers(fields.get("count", 0), [numbers for numbers, _ in explicit.values()])
        self._parts = sorted(
            ((numbers, self.template.overridden(own or {})) for key, (numbers, own) in explicit.items() if "-" in key),
            key=_start,
        )
        self._singles = {
            numbers.start: self.part_of(numbers.start).overridden(own or {})
            for key, (numbers, own) in explicit.items()
            if "-" not in key
        }

    def part_of(self, number: int) -> DeviceTemplate:
        """Return the template of the range that a device is in, or that of the class."""
        place = bisect.bisect_right(self._parts, number, key=_start) - 1
        if place >= 0 and number in self._parts[place][0]:
            return self._parts[place][1]
        return self.template

    def template_of(self, number: int) -> DeviceTemplate:
        """Return the template of one device."""
        return self._singles.get(number) or self.part_of(number)

    def make(self, node: str, index: str | None) -> FakeClass:
        """Return this class of one node."""
        return FakeClass(self.name, self.resource, _Devices(self, node, index), self.template, self.settings)


class _Devices(Mapping[int, FakeDevice]):
    """The devices of a class of one node, made when they are asked for."""

    __slots__ = ("_entry", "_index", "_node")

    def __init__(self, entry: _ClassEntry, node: str, index: str | None) -> None:
        self._entry = entry
        self._node = node
        self._index = index

    def __getitem__(self, number: int) -> FakeDevice:
        if number not in self._entry.numbers:
            raise KeyError(number)
        return self._entry.template_of(number).make(self._node, self._entry.name, number, index=self._index)

    def __iter__(self) -> Iterator[int]:
        return iter(self._entry.numbers)

    def __contains__(self, number: object) -> bool:
        return number in self._entry.numbers

    def __len__(self) -> int:
        return len(self._entry.numbers)


def _host(template: str, name: str, index: str | None) -> str:
    return ranges.fill(template, host_names(name, index))


def _start(part: tuple[range, DeviceTemplate]) -> int:
    return part[0].start
