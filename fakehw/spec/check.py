"""A topology spec: YAML, checked against the schema and the rules that a schema cannot say, all errors at once.

Errors read `FILE:LINE: nodes.node2.classes.dev3.count: -1: must be ...`; the sentence is the `description` of the rule
in topology.schema.json, so editors and `fakehw build` say the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from fakehw import layout, output, parser, resource_name
from fakehw.errors import InputError, SpecError
from fakehw.spec import document, entries, node_labels, profiles, ranges, rules, schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from fakehw.spec.topology import Topology


def load_topology(path: Path | str, *, host: str | None = None, flag: str = "--spec") -> Topology:
    """Read and check a spec: a file, `-` for standard input, or a built-in profile; InputError with a line an error.

    `host` keeps its nodes and those with no host; `flag` is what named the spec.
    """
    try:
        with output.opened(profiles.find(path), flag) as stream:
            return read_topology(stream, source="stdin" if str(path) == "-" else str(path), host=host)
    except OSError as error:
        suggestion = parser.did_you_mean(str(path), profiles.names())
        rule = f"must be a file that can be read, or one of {', '.join(profiles.names())}{suggestion}"
        raise InputError(f"{str(path)!r}: {error.strerror}: {rule} ({flag})") from None


def read_topology(stream: BinaryIO, *, source: str, host: str | None = None) -> Topology:
    """Read a spec from an open file; `source` is what errors call it."""
    raw = b""
    while len(raw) <= document.MAX_BYTES and (more := stream.read(document.MAX_BYTES + 1 - len(raw))):
        raw += more
    return entries.make(parse(raw, source=source), host=host)


def parse(raw: bytes, *, source: str) -> Mapping[str, Any]:
    """Return the checked document in `raw`; `source` is what errors call it."""
    parsed = document.parse(raw, source=source, expected="the key nodes")
    schema.refuse(parsed, _problems(parsed.data))
    checked: Mapping[str, Any] = parsed.data
    return checked


def make_topology(data: Mapping[str, Any], *, host: str | None = None, source: str = "topology") -> Topology:
    """Return the topology of plain data, such as a test writes down; checked as `load_topology` checks a file."""
    data = document.whole_numbers(json.loads(json.dumps(data)))  # a copy, whose keys are text as in YAML
    problems = tuple(_problems(data))
    if problems:
        raise SpecError(*(f"{source}: {document.dotted(path)}: {text}" for path, text in problems))
    return entries.make(data, host=host)


def _problems(data: Any) -> Iterator[schema.Problem]:  # not checked yet
    yield from _SCHEMA.problems(data)
    yield from rules.problems(data)


# What the schema says.


def _check_health(text: str) -> None:
    if layout.parse_health(text)[0] is None:
        raise ValueError("must be healthy or unhealthy, then perhaps a reason")


def _check_attribute(text: str) -> None:
    if text != layout.one_line(text):
        raise ValueError("must be one line with no control characters, no runs of space and none around it")
    ranges.fill(text, dict.fromkeys(ranges.PLACEHOLDERS, ""))


_SCHEMA: Final = schema.Schema(
    "fakehw.spec",
    "topology.schema.json",
    {
        "fakehw-domain": resource_name.check_domain,
        "fakehw-host": rules.check_host,
        "fakehw-resource": resource_name.check,
        "fakehw-label": node_labels.check_name,
        "fakehw-label-value": node_labels.check_value,
        "fakehw-taint": node_labels.check_taint,
        "fakehw-health": _check_health,
        "fakehw-device-taint": lambda text: layout.check_taint("name", text),
        "fakehw-attribute": _check_attribute,
    },
)
