"""From a step of a scenario to its changes: what each kind of fault does to which devices, and when.

Pure: the same fields, devices and random numbers give the same changes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from fakehw import layout
from fakehw.durations import seconds
from fakehw.layout import Health

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from fakehw.layout import TreePath


class Act(StrEnum):
    """What one change does."""

    SET = "set"
    RESET = "reset"
    """An attribute becomes what it was before the scenario."""
    TEAR = "tear"
    """Truncate the health file in place and write the first half of its new value."""
    FINISH = "finish"
    """Write the other half and close it."""
    UNPLUG = "unplug"
    PLUG = "plug"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happens at one moment to some devices. `text` is the new value of `name`, "" where it has none."""

    at_s: float
    step: str
    act: Act
    paths: tuple[TreePath, ...]
    text: str = ""
    name: str = layout.HEALTH
    """The attribute that is set, or reset."""

    def __str__(self) -> str:
        names = ", ".join(str(path).removeprefix("/") for path in self.paths[:3])
        more = f" and {len(self.paths) - 3} more" if len(self.paths) > 3 else ""
        what = " ".join(filter(None, ("" if self.name == layout.HEALTH else self.name, self.text)))
        return f"{self.act:<7}{names}{more}{f': {what}' if what else ''}"


def from_moment(changes: Sequence[Change], at_s: float, *, broken: Collection[TreePath] = ()) -> tuple[Change, ...]:
    """Return what is left of a timeline from a moment on, after what brings the devices to how they are by then.

    Devices that are `broken` before all of it are mended, where they are by then; what mends others is left out.
    """
    if at_s <= 0:
        return tuple(changes)
    states: dict[TreePath, dict[str, tuple[int, Change]]] = {}
    for order, change in enumerate(change for change in changes if change.at_s < at_s):
        for path in change.paths:
            last = states.get(path, {}).get(layout.HEALTH)
            is_out = last is not None and last[1].act is Act.UNPLUG
            if is_out != (change.act is Act.PLUG):
                continue  # nothing happens to what is out but that it is plugged in, and that to nothing else
            if is_out:
                del states[path]  # as it was, with all its attributes
            else:
                states.setdefault(path, {})[change.name] = order, change
    before: dict[int, tuple[Change, list[TreePath]]] = {}
    for path, of_path in states.items():
        for order, change in of_path.values():
            is_good = change.act is Act.SET and (change.name, change.text) == (layout.HEALTH, _GOOD)
            if change.act is not Act.RESET and (not is_good or path in broken):
                before.setdefault(order, (change, []))[1].append(path)
    begin = (
        replace(
            change, at_s=at_s, act=Act.SET if change.act in (Act.TEAR, Act.FINISH) else change.act, paths=tuple(paths)
        )
        for _, (change, paths) in sorted(before.items())
    )
    return (*begin, *(change for change in changes if change.at_s >= at_s))


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


def _set(
    kind: str, at_s: float, fields: Mapping[str, Any], paths: list[TreePath], _: random.Random
) -> Iterator[Change]:
    name = fields["attribute"]
    yield Change(at_s, kind, Act.SET, tuple(paths), value_text(fields["value"]), name)
    if "for" in fields:
        yield Change(at_s + seconds(fields["for"]), kind, Act.RESET, tuple(paths), name=name)


def value_text(value: object) -> str:
    """Return a value of YAML as it stands in an attribute's file."""
    return str(value).lower() if isinstance(value, bool) else str(value)


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


FAULTS: Final = {
    "break": _break,
    "mend": _mend,
    "set": _set,
    "unplug": _unplug,
    "plug": _plug,
    "flap": _flap,
    "storm": _storm,
    "rolling": _rolling,
    "torn": _torn,
    "slow_death": _slow_death,
    "random": _random,
}
