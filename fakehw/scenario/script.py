"""Scenarios: timed faults as values, and the timeline that they come to on the devices of one tree.

Pure: the same scenario, seed and devices give the same timeline, on any machine. `player` carries it out.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
import random
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from fakehw import layout
from fakehw.durations import seconds
from fakehw.errors import InputError, SpecError
from fakehw.scenario.timeline import FAULTS, Change, value_text
from fakehw.spec import document, schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from fakehw.layout import TreePath

MAX_CHANGES: Final = 100_000
"""Of a whole timeline."""

_PATTERN: Final = re.compile(r"/?[A-Za-z0-9._*?\[\]!-]+/[a-z0-9_*?\[\]!-]+/[0-9*?\[\]!-]+")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A checked scenario."""

    parsed: document.Document
    name: str = ""
    teaches: str = ""
    seed: int = 0
    lasts_s: float = 0.0
    steps: tuple[Mapping[str, Any], ...] = field(default=())

    def on(self, patterns: Sequence[str]) -> Scenario:
        """Return the same scenario on other devices, in every step; InputError for what is no pattern."""
        for pattern in patterns:
            try:
                _check_pattern(pattern)
            except ValueError as error:
                raise InputError(f"{pattern!r}: {error} (--devices)") from None
        steps = ({**step, (kind := _kind(step)): {**step[kind], "devices": list(patterns)}} for step in self.steps)
        return replace(self, steps=tuple(steps))

    def timeline(self, devices: Sequence[TreePath]) -> tuple[Change, ...]:
        """Return what happens on a tree with these devices; SpecError for steps that match none of them."""
        chosen: list[list[TreePath]] = []
        problems: list[schema.Problem] = []
        for index, step in enumerate(self.steps):
            kind = _kind(step)
            found, missed = _match(step[kind]["devices"], devices)
            chosen.append(found)
            problems += (
                (("steps", index, kind, "devices"), f'"{pattern}": must match a device of the tree: see fakehw list')
                for pattern in missed
            )
        schema.refuse(self.parsed, iter(problems))
        changes: list[Change] = []
        for index, (step, paths) in enumerate(zip(self.steps, chosen, strict=True)):
            kind = _kind(step)
            # Each step draws from its own numbers, so that a step added or edited leaves the others as they were.
            source = random.Random(f"{self.seed}/{index}")  # noqa: S311  # repeatable on purpose, guards nothing
            at_s = seconds(step.get("at", 0))
            changes += itertools.islice(FAULTS[kind](kind, at_s, step[kind], paths, source), MAX_CHANGES + 1)
            if len(changes) > MAX_CHANGES:
                where = f"{self.parsed.where(('steps', index))}: steps[{index}]"
                raise SpecError(f"{where}: must not come, with those before it, to more than {MAX_CHANGES} changes")
        return tuple(sorted(changes, key=lambda change: change.at_s))  # stable: steps keep their order


def load(path: Path, *, name: str) -> Scenario:
    """Read and check a scenario; InputError with one line for each error. `name` is what errors call the file."""
    try:
        with path.open("rb") as stream:
            return read(stream, source=name)
    except OSError as error:
        rule = "must be a scenario file, or a name of `fakehw scenario list`"
        raise InputError(f"{name!r}: {error.strerror}: {rule} (FILE)") from None


def read(stream: BinaryIO, *, source: str) -> Scenario:
    """Read and check a scenario from an open file."""
    parsed = document.parse(stream.read(document.MAX_BYTES + 1), source=source, expected="the key steps")
    schema.refuse(parsed, _problems(parsed.data))
    data = parsed.data
    return Scenario(
        parsed,
        data.get("name", ""),
        " ".join(data.get("teaches", "").split()),
        data.get("seed", 0),
        seconds(data.get("for", 0)),
        tuple(data["steps"]),
    )


def _check_pattern(text: str) -> None:
    if not _PATTERN.fullmatch(text):
        raise ValueError("must be a pattern of NODE/CLASS/NUMBER, such as node2/dev3/2, node2/dev3/* or */gpu/*")


def _check_reason(text: str) -> None:
    if text != layout.one_line(text):
        raise ValueError("must be one line with no control characters, no runs of space and none around it")


_SCHEMA: Final = schema.Schema(
    "fakehw.scenario",
    "scenario.schema.json",
    {
        "fakehw-attribute": layout.check_attribute,
        "fakehw-duration": seconds,
        "fakehw-pattern": _check_pattern,
        "fakehw-reason": _check_reason,
    },
)


# What a schema cannot say. The data may be of any shape here: what is malformed has been reported already.


def _problems(data: Any) -> Iterator[schema.Problem]:
    yield from _SCHEMA.problems(data)
    steps = data.get("steps") if isinstance(data, dict) else None
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        for kind, fields in step.items() if isinstance(step, dict) else ():
            if isinstance(fields, dict):
                for key, rule in (*_number_problems(fields), *(_value_problems(fields) if kind == "set" else ())):
                    yield ("steps", index, kind, key), rule
        if isinstance(step, dict):
            yield from _duration_problems(("steps", index), step)
    if isinstance(data, dict):
        yield from _duration_problems((), data)


def _duration_problems(path: document.Path, fields: Mapping[str, Any]) -> Iterator[schema.Problem]:
    """Durations given as numbers, which a format of the schema does not see."""
    for key in ("at", "for", "period", "jitter", "every", "down", "pause"):
        value = fields.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                seconds(value)
            except ValueError as error:
                yield (*path, key), f"{schema.shown(value)}: {error}"


def _number_problems(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((str(path[-1]), rule) for path, rule in _duration_problems((), fields))
    known = {}
    for key in ("period", "jitter", "for", "every", "down"):
        try:
            known[key] = seconds(fields.get(key, math.nan))
        except ValueError:
            continue
    for key in ("period", "every"):
        if known.get(key) == 0:
            yield key, "0: must be more than 0"
    if known.get("jitter", 0) > known.get("period", math.inf) / 4:
        yield "jitter", f"{schema.shown(fields['jitter'])}: must be at most a quarter of the period"


def _value_problems(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name, value = fields.get("attribute"), fields.get("value")
    if isinstance(name, str) and isinstance(value, str | int | float):
        try:
            layout.check_value(name, value_text(value))
        except ValueError as error:
            yield "value", f"{schema.shown(value)}: {error}"


# A step and the devices that it names.


def _kind(step: Mapping[str, Any]) -> str:
    return next(key for key in step if key != "at")


def _match(patterns: str | Sequence[str], devices: Sequence[TreePath]) -> tuple[list[TreePath], list[str]]:
    """Return the devices that any pattern names, in the order of people, and the patterns that name none."""
    found: set[TreePath] = set()
    missed = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        parts = pattern.removeprefix("/").split("/")
        hits = {path for path in devices if all(map(fnmatch.fnmatchcase, path.parts, parts))}
        found |= hits
        if not hits:
            missed.append(pattern)
    return sorted(found, key=lambda path: path.sort_key), missed
