"""Scenarios: timed faults as values, and the timeline that they come to on the devices of one tree.

Pure: the same scenario, seed and devices give the same timeline, on any machine. `scenario_run` carries it out.
"""

from __future__ import annotations

import fnmatch
import itertools
import math
import random
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from fakehw import document, layout, schema
from fakehw.errors import InputError, SpecError
from fakehw.layout import Health

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fakehw.layout import TreePath

MAX_CHANGES: Final = 100_000
"""Of a whole timeline."""

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(ms|s|m|h)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_MAX_S: Final = 7 * 86_400.0
_PATTERN: Final = re.compile(r"/?[A-Za-z0-9._*?\[\]!-]+/[a-z0-9_*?\[\]!-]+/[0-9*?\[\]!-]+")


class Act(StrEnum):
    """What one change does."""

    SET = "set"
    TEAR = "tear"
    """Truncate the health file in place and write the first half of its new value."""
    FINISH = "finish"
    """Write the other half and close it."""
    UNPLUG = "unplug"
    PLUG = "plug"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happens at one moment to some devices. `text` is their new health; "" where there is none."""

    at_s: float
    step: str
    act: Act
    paths: tuple[TreePath, ...]
    text: str = ""

    def __str__(self) -> str:
        names = ", ".join(str(path).removeprefix("/") for path in self.paths[:3])
        more = f" and {len(self.paths) - 3} more" if len(self.paths) > 3 else ""
        return f"{self.act:<7}{names}{more}{f': {self.text}' if self.text else ''}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A checked scenario."""

    parsed: document.Document
    name: str = ""
    teaches: str = ""
    seed: int = 0
    lasts_s: float = 0.0
    steps: tuple[Mapping[str, Any], ...] = field(default=())

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
            changes += itertools.islice(_FAULTS[kind](kind, at_s, step[kind], paths, source), MAX_CHANGES + 1)
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
        raise InputError(
            f"{name}: {error.strerror}: must be a scenario file, or a name of `fakehw scenario list`"
        ) from None


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


def seconds(value: str | float) -> float:
    """Return a duration such as `500ms`, `3s`, `2m` or a number of seconds; ValueError says the rule."""
    match = _DURATION.fullmatch(str(value))
    result = float(match[1]) * _UNITS[match[2]] if match else math.nan
    if not 0 <= result <= _MAX_S:
        raise ValueError("must be a duration such as 500ms, 3s or 2m, or a number of seconds, at most 7 days")
    return result


def _check_pattern(text: str) -> None:
    if not _PATTERN.fullmatch(text):
        raise ValueError("must be a pattern of NODE/CLASS/NUMBER, such as node2/dev3/2, node2/dev3/* or */gpu/*")


def _check_reason(text: str) -> None:
    if text != layout.one_line(text):
        raise ValueError("must be one line with no control characters, no runs of space and none around it")


_SCHEMA: Final = schema.Schema(
    "scenario.schema.json",
    {"fakehw-duration": seconds, "fakehw-pattern": _check_pattern, "fakehw-reason": _check_reason},
)


# What a schema cannot say. The data may be of any shape here: what is malformed has been reported already.


def _problems(data: Any) -> Iterator[schema.Problem]:
    yield from _SCHEMA.problems(data)
    steps = data.get("steps") if isinstance(data, dict) else None
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        for kind, fields in step.items() if isinstance(step, dict) else ():
            if isinstance(fields, dict):
                for key, rule in _number_problems(fields):
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


# From a step to its changes.


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


def _bad(reason: str) -> str:
    return layout.health_text(Health.UNHEALTHY, reason)


_GOOD: Final = layout.health_text(Health.HEALTHY)


def _break(
    kind: str, at_s: float, fields: Mapping[str, Any], paths: list[TreePath], _: random.Random
) -> Iterator[Change]:
    yield Change(at_s, kind, Act.SET, tuple(paths), _bad(fields.get("reason", "broken by a scenario")))
    if "for" in fields:
        yield Change(at_s + seconds(fields["for"]), kind, Act.SET, tuple(paths), _GOOD)


def _mend(kind: str, at_s: float, _f: Mapping[str, Any], paths: list[TreePath], _: random.Random) -> Iterator[Change]:
    yield Change(at_s, kind, Act.SET, tuple(paths), _GOOD)


def _unplug(
    kind: str, at_s: float, fields: Mapping[str, Any], paths: list[TreePath], _: random.Random
) -> Iterator[Change]:
    yield Change(at_s, kind, Act.UNPLUG, tuple(paths))
    if "for" in fields:
        yield Change(at_s + seconds(fields["for"]), kind, Act.PLUG, tuple(paths))


def _plug(kind: str, at_s: float, _f: Mapping[str, Any], paths: list[TreePath], _: random.Random) -> Iterator[Change]:
    yield Change(at_s, kind, Act.PLUG, tuple(paths))


def _flap(
    kind: str, at_s: float, fields: Mapping[str, Any], paths: list[TreePath], source: random.Random
) -> Iterator[Change]:
    period, jitter = seconds(fields["period"]), seconds(fields.get("jitter", 0))
    bad = _bad(fields.get("reason", "flapping"))
    for number in range(max(1, round(seconds(fields["for"]) / period))):
        for path in paths:
            for half, text in ((0.0, bad), (0.5, _GOOD)):
                moment = at_s + (number + half) * period + source.uniform(-jitter, jitter)
                yield Change(max(at_s, moment), kind, Act.SET, (path,), text)


def _storm(
    kind: str, at_s: float, fields: Mapping[str, Any], paths: list[TreePath], source: random.Random
) -> Iterator[Change]:
    lasts, bad = seconds(fields["for"]), _bad(fields.get("reason", "storm"))
    broken: set[TreePath] = set()
    for moment in sorted(source.uniform(0, lasts) for _ in range(fields["changes"])):
        path = source.choice(paths)
        yield Change(at_s + moment, kind, Act.SET, (path,), _GOOD if path in broken else bad)
        broken ^= {path}


def _rolling(
    kind: str, at_s: float, fields: Mapping[str, Any], paths: list[TreePath], _: random.Random
) -> Iterator[Change]:
    bad = _bad(fields.get("reason", "node under maintenance"))
    for number, (_node, of_node) in enumerate(itertools.groupby(paths, key=lambda path: path.node)):
        group, moment = tuple(of_node), at_s + number * seconds(fields["every"])
        yield Change(moment, kind, Act.SET, group, bad)
        yield Change(moment + seconds(fields["down"]), kind, Act.SET, group, _GOOD)


def _torn(
    kind: str, at_s: float, fields: Mapping[str, Any], paths: list[TreePath], _: random.Random
) -> Iterator[Change]:
    text = _bad(fields.get("reason", "torn write"))
    yield Change(at_s, kind, Act.TEAR, tuple(paths), text)
    yield Change(at_s + seconds(fields["pause"]), kind, Act.FINISH, tuple(paths), text)


def _slow_death(
    kind: str, at_s: float, fields: Mapping[str, Any], paths: list[TreePath], _: random.Random
) -> Iterator[Change]:
    *warnings, end = fields["reasons"]
    texts = [*(layout.health_text(Health.HEALTHY, reason) for reason in warnings), _bad(end)]
    for number, text in enumerate(texts):
        yield Change(at_s + number * seconds(fields["every"]), kind, Act.SET, tuple(paths), text)


def _random(
    kind: str, at_s: float, fields: Mapping[str, Any], paths: list[TreePath], source: random.Random
) -> Iterator[Change]:
    """Failures as a Poisson process; a device that is down already is not drawn."""
    reasons: Iterable[str] = fields.get("reasons", ("random failure",))
    lasts, moment = seconds(fields["for"]), 0.0
    down_until: dict[TreePath, float] = {}
    while (moment := moment + source.expovariate(fields["rate"])) < lasts:
        path, reason = source.choice(paths), source.choice(list(reasons))
        if down_until.get(path, 0.0) > moment:
            continue
        down_s = source.expovariate(1 / max(seconds(fields["down"]), 1e-6))
        down_until[path] = moment + down_s
        yield Change(at_s + moment, kind, Act.SET, (path,), _bad(reason))
        yield Change(at_s + moment + down_s, kind, Act.SET, (path,), _GOOD)


_FAULTS: Final = {
    "break": _break,
    "mend": _mend,
    "unplug": _unplug,
    "plug": _plug,
    "flap": _flap,
    "storm": _storm,
    "rolling": _rolling,
    "torn": _torn,
    "slow_death": _slow_death,
    "random": _random,
}
