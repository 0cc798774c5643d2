"""A topology spec: YAML, checked against the schema and the rules that a schema cannot say, all errors at once.

Errors read `FILE:LINE: nodes.node2.classes.dev3.count: -1: must be ...`; the sentence is the `description` of the rule
in topology.schema.json, so editors and `fakehw build` say the same.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from fakehw import layout, resource_name
from fakehw.errors import InputError, SpecError
from fakehw.spec import document, schema, topology
from fakehw.spec.topology import Topology

MAX_DEVICES: Final = 1_000_000
"""Of all nodes together; far past what a kubelet takes, and still a build that ends."""


def load_topology(path: Path | str, *, host: str | None = None) -> Topology:
    """Read and check a spec; InputError with one line for each error. `host` keeps its nodes and those with no host."""
    try:
        with Path(path).open("rb") as stream:
            return read_topology(stream, source=str(path), host=host)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: must be a file that can be read (--spec, FAKEHW_SPEC)") from None


def read_topology(stream: BinaryIO, *, source: str, host: str | None = None) -> Topology:
    """Read a spec from an open file; `source` is what errors call it."""
    raw = b""
    while len(raw) <= document.MAX_BYTES and (more := stream.read(document.MAX_BYTES + 1 - len(raw))):
        raw += more
    return Topology.from_document(parse(raw, source=source), host=host)


def parse(raw: bytes, *, source: str) -> Mapping[str, Any]:
    """Return the checked document in `raw`; `source` is what errors call it."""
    parsed = document.parse(raw, source=source, expected="the key nodes")
    schema.refuse(parsed, _problems(parsed.data))
    checked: Mapping[str, Any] = parsed.data
    return checked


def make_topology(data: Mapping[str, Any], *, host: str | None = None, source: str = "topology") -> Topology:
    """Return the topology of plain data, such as a test writes down; checked as `load_topology` checks a file."""
    data = json.loads(json.dumps(data))  # a copy, whose keys are text as in YAML
    problems = tuple(_problems(data))
    if problems:
        raise SpecError(*(f"{source}: {document.dotted(path)}: {text}" for path, text in problems))
    return Topology.from_document(data, host=host)


def _problems(data: Any) -> Iterator[schema.Problem]:  # not checked yet
    yield from _SCHEMA.problems(data)
    classes = dict(_classes(data))
    yield from _resource_problems(data, classes)
    yield from _size_problems(classes)


# What the schema says.


def _check_health(text: str) -> None:
    if layout.parse_health(text)[0] is None:
        raise ValueError("must be healthy or unhealthy, then perhaps a reason")


def _check_attribute(text: str) -> None:
    if text != layout.one_line(text):
        raise ValueError("must be one line with no control characters, no runs of space and none around it")
    topology.check_template(text)


_SCHEMA: Final = schema.Schema(
    "fakehw.spec",
    "topology.schema.json",
    {
        "fakehw-domain": resource_name.check_domain,
        "fakehw-host": resource_name.check_host,
        "fakehw-resource": resource_name.check,
        "fakehw-health": _check_health,
        "fakehw-attribute": _check_attribute,
    },
)


# What a schema cannot say. The data may be of any shape here: what is malformed has been reported already.


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _classes(data: object) -> Iterator[tuple[tuple[str, str], Mapping[str, Any]]]:
    for node, fields in _mapping(_mapping(data).get("nodes")).items():
        for class_name, class_fields in _mapping(_mapping(fields).get("classes")).items():
            if layout.CLASS_NAME.fullmatch(class_name) and isinstance(class_fields, Mapping):
                yield (node, class_name), class_fields


def _hashable(value: object) -> str | None:
    return None if value is None else str(value)


def _path(node: str, class_name: str) -> document.Path:
    return ("nodes", node, "classes", class_name)


def _resource_problems(data: object, classes: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterator[schema.Problem]:
    """A pod must be able to tell, from its variables, which devices of which resource it was given."""
    domain = _mapping(data).get("domain", layout.DEFAULT_DOMAIN)
    nodes = _mapping(_mapping(data).get("nodes"))
    users: defaultdict[str, _Users] = defaultdict(_Users)
    for (node, name), fields in classes.items():
        resource = fields.get("resource") or layout.default_resource(name, str(domain))
        if resource is None:
            yield _path(node, name), "must have a resource, because it is not named devK"
            continue
        prefix = layout.env_prefix(name)
        user = _User(node, name, str(resource))
        rival = users[prefix].add(user, _hashable(_mapping(nodes[node]).get("host")))
        if rival is None:
            continue
        other = f"nodes.{rival.node}.classes.{rival.class_name}"
        if rival.class_name != name:
            yield _path(node, name), f"its variables {prefix}_0, ... would be those of {other}, on one host"
        else:
            path = (*_path(node, name), *(("resource",) if "resource" in fields else ()))
            rule = f"must be {schema.shown(rival.resource)}, as in {other}: one class is one resource on a host"
            yield path, f"{schema.shown(resource)}: {rule}"


class _User(NamedTuple):
    node: str
    class_name: str
    resource: str


class _Users:
    """Who uses one prefix of variables, so that a clash is found without comparing all with all."""

    def __init__(self) -> None:
        self._by_host: dict[str | None, _User] = {}
        self._kinds: dict[tuple[str, str], _User] = {}

    def add(self, user: _User, host: str | None) -> _User | None:
        """Return a user of another class or resource that may share a host; note `user` if there is none."""
        kind = user[1:]
        others = self._kinds.values() if host is None else map(self._by_host.get, (host, None))
        for other in others:
            if other is not None and other[1:] != kind:
                return other
        self._by_host.setdefault(host, user)
        if len(self._kinds) < 2:  # two of different kinds are enough to clash with anything
            self._kinds.setdefault(kind, user)
        return None


def _size_problems(classes: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterator[schema.Problem]:
    total = 0
    for (node, name), fields in classes.items():
        count = fields.get("count")
        highest = count if isinstance(count, int) and 0 <= count <= MAX_DEVICES else 0
        total += highest
        for key in _mapping(fields.get("devices")):
            if layout.DEVICE_NUMBER.fullmatch(key):
                total += not 1 <= int(key) <= highest
        numbers = [
            highest,
            *(int(key) for key in _mapping(fields.get("devices")) if layout.DEVICE_NUMBER.fullmatch(key)),
        ]
        device_id = f"{node}-{name}-{max(numbers)}"
        if (highest or len(numbers) > 1) and len(device_id) > layout.MAX_ID_LENGTH:
            yield _path(node, name), f"the device ID {device_id} would be longer than {layout.MAX_ID_LENGTH} characters"
    if total > MAX_DEVICES:
        yield ("nodes",), f"{total} devices: must be at most {MAX_DEVICES} in all"
