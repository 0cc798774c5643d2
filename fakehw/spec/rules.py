"""What a schema cannot say of a topology: names, hosts, variables and numbers that do not go together."""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from fakehw import layout, resource_name
from fakehw.spec import document, entries, ranges, schema

MAX_DEVICES: Final = 1_000_000
"""Of all nodes together; far past what a kubelet takes, and still a build that ends."""

MAX_FILES: Final = 10_000_000
"""Of all devices together: a spec of some kilobytes must not ask for a disk."""

MAX_NODES: Final = 100_000
"""Twenty times what a Kubernetes cluster is made for."""

_INDEX_RULE: Final = "{index} is filled in below a range of nodes, such as node[1-3], and this is one node"


def problems(data: object) -> Iterator[schema.Problem]:
    """Yield what is wrong beyond the schema. The data may be of any shape: what is malformed was reported already."""
    names: dict[str, ranges.Names] = {}
    for key in _mapping(_mapping(data).get("nodes")):
        try:
            names[key] = ranges.Names.parse(key)
        except ValueError as error:
            yield ("nodes", key), str(error)
    classes = {(key, name): fields for (key, name), fields in _classes(data) if key in names}
    yield from _name_problems(names)
    yield from _host_problems(data, names)
    yield from _index_problems(classes, names)
    yield from _size_problems(classes, names)
    if sum(map(len, names.values())) <= MAX_NODES:  # what follows looks at nodes one by one
        yield from _resource_problems(data, classes, names)


def check_host(text: str) -> None:
    """Raise ValueError unless `text` can be the host of nodes, its placeholders filled in."""
    resource_name.check_host(ranges.fill(text, {"node": "node", "index": "1"}))


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


def _name_problems(names: Mapping[str, ranges.Names]) -> Iterator[schema.Problem]:
    """No node may be named twice, and there may not be too many."""
    total = sum(map(len, names.values()))
    if total > MAX_NODES:
        yield ("nodes",), f"{total} nodes: must be at most {MAX_NODES} in all"
        return
    if len(names) < 2 or not any(entry.is_range for entry in names.values()):
        return
    owners: dict[str, str] = {}
    for key, entry in names.items():
        for name, _ in entry:
            owner = owners.setdefault(name, key)
            if owner != key:
                yield ("nodes", key), f"{name} is in {owner} already"
                break


def _host_problems(data: object, names: Mapping[str, ranges.Names]) -> Iterator[schema.Problem]:
    """A host with placeholders must be the name of a Kubernetes node when they are filled in."""
    nodes = _mapping(_mapping(data).get("nodes"))
    for key, entry in names.items():
        for label, text in _mapping(_mapping(nodes[key]).get("labels")).items():
            if isinstance(text, str) and not entry.is_range and "{index}" in text:
                yield ("nodes", key, "labels", label), f"{schema.shown(text)}: {_INDEX_RULE}"
        host = _mapping(nodes[key]).get("host")
        if not isinstance(host, str) or not ranges.is_template(host) or _is_problem(check_host, host):
            continue
        path = ("nodes", key, "host")
        if not entry.is_range and "{index}" in host:
            yield path, f"{schema.shown(host)}: {_INDEX_RULE}"
            continue
        for name, index in dict.fromkeys(entry.ends):
            filled = ranges.fill(host, entries.host_names(name, index))
            if _is_problem(resource_name.check_host, filled):
                yield path, f"{schema.shown(host)}: {filled}: must be the name of a Kubernetes node, in lower case"
                break


def _index_problems(
    classes: Mapping[tuple[str, str], Mapping[str, Any]], names: Mapping[str, ranges.Names]
) -> Iterator[schema.Problem]:
    known = {name: "" for name in ranges.PLACEHOLDERS if name != "index"}
    for (node, class_name), fields in classes.items():
        if names[node].is_range:
            continue
        places: list[tuple[document.Path, Mapping[str, Any]]] = [(("attributes",), _mapping(fields.get("attributes")))]
        for key, device in _mapping(fields.get("devices")).items():
            places.append((("devices", key, "attributes"), _mapping(_mapping(device).get("attributes"))))
        for place, attributes in places:
            for name, text in attributes.items():
                if isinstance(text, str) and "{index}" in text and _is_problem(lambda t: ranges.fill(t, known), text):
                    yield (*_path(node, class_name), *place, name), f"{schema.shown(text)}: {_INDEX_RULE}"


def _is_problem(rule: Callable[[str], object], text: str) -> bool:
    try:
        rule(text)
    except ValueError:
        return True
    return False


def _resource_problems(
    data: object, classes: Mapping[tuple[str, str], Mapping[str, Any]], names: Mapping[str, ranges.Names]
) -> Iterator[schema.Problem]:
    """A pod must be able to tell, from its variables, which devices of which resource it was given."""
    domain = _mapping(data).get("domain", layout.DEFAULT_DOMAIN)
    nodes = _mapping(_mapping(data).get("nodes"))
    users: dict[str, list[_User]] = defaultdict(list)
    for (node, name), fields in classes.items():
        resource = fields.get("resource") or layout.default_resource(name, str(domain))
        if resource is None:
            yield _path(node, name), "must have a resource, because it is not named devK"
            continue
        users[layout.env_prefix(name)].append(_User(node, name, str(resource)))
    for prefix, found in users.items():
        if len({user[1:] for user in found}) == 1:
            continue  # however many they are, they cannot clash
        known = _Users()
        for user in found:
            hosts = _hosts(_mapping(nodes[user.node]).get("host"), names[user.node])
            rival = next((other for host in hosts if (other := known.add(user, host)) is not None), None)
            if rival is None:
                continue
            taken = f"nodes.{rival.node}.classes.{rival.class_name}"
            path = _path(user.node, user.class_name)
            if rival.class_name != user.class_name:
                yield path, f"its variables {prefix}_0, ... would be those of {taken}, on one host"
            else:
                if "resource" in classes[user.node, user.class_name]:
                    path = (*path, "resource")
                rule = f"must be {schema.shown(rival.resource)}, as in {taken}: one class is one resource on a host"
                yield path, f"{schema.shown(user.resource)}: {rule}"


def _hosts(host: object, names: ranges.Names) -> Iterator[str | None]:
    """Yield the hosts that own the nodes of one key."""
    if not isinstance(host, str) or not ranges.is_template(host):
        yield _hashable(host)
        return
    for name, index in names:
        try:
            yield ranges.fill(host, entries.host_names(name, index))
        except ValueError:  # told already
            return


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


def _size_problems(
    classes: Mapping[tuple[str, str], Mapping[str, Any]], names: Mapping[str, ranges.Names]
) -> Iterator[schema.Problem]:
    total = files = 0
    for (node, name), fields in classes.items():
        count = fields.get("count")
        if not isinstance(count, int) or not 0 <= count <= MAX_DEVICES:
            count = 0
        explicit: list[tuple[str, range]] = []
        for key in _mapping(fields.get("devices")):
            try:
                explicit.append((key, ranges.numbers(key)))
            except ValueError as error:
                if ranges.DEVICE_RANGE.fullmatch(key):  # the schema tells the rest
                    yield (*_path(node, name), "devices", key), str(error)
        yield from _overlaps(_path(node, name), [(key, part) for key, part in explicit if "-" in key])
        numbers = entries.device_numbers(count, [part for _, part in explicit])
        total += len(numbers) * len(names[node])
        longest = max((end for end, _ in names[node].ends), key=len)
        device_id = f"{longest}-{name}-{numbers.highest}"
        if numbers and len(device_id) > layout.MAX_ID_LENGTH:
            yield _path(node, name), f"the device ID {device_id} would be longer than {layout.MAX_ID_LENGTH} characters"
        files += _files(fields, len(numbers)) * len(names[node])
    if total > MAX_DEVICES:
        yield ("nodes",), f"{total} devices: must be at most {MAX_DEVICES} in all"
    elif files > MAX_FILES:
        yield ("nodes",), f"{files} attributes of devices: must be at most {MAX_FILES} in all"


def _files(fields: Mapping[str, Any], devices: int) -> int:
    """Return, or overestimate, how many files the devices of a class on one node come to."""
    count = devices * (2 + _own_files(fields))
    for key, own in _mapping(fields.get("devices")).items():
        with contextlib.suppress(ValueError):
            count += len(ranges.numbers(key)) * _own_files(_mapping(own))
    return count


def _own_files(fields: Mapping[str, Any]) -> int:
    return len(_mapping(fields.get("attributes"))) + len(_mapping(fields.get("taints")))


def _overlaps(path: document.Path, parts: list[tuple[str, range]]) -> Iterator[schema.Problem]:
    parts.sort(key=lambda part: part[1].start)
    for (before, first), (key, second) in itertools.pairwise(parts):
        if second.start < first.stop:
            yield (*path, "devices", key), f"overlaps {before}: a device may be in one range"
