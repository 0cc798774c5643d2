"""A year that did not happen, drawn from figures that were measured: bursts by chance, repairs by quantiles, relapses.

Pure: the same figures, nodes and seed give the same outages. Fresh bursts are a Poisson process, on some days a busier
one; each fault may be followed, after its repair, by another of its kind on its node, and that by another. So that
their sum is the rate that the figures say, fresh ones are drawn that much more rarely.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from typing import TYPE_CHECKING, Final

from fakehw.errors import InputError
from fakehw.scenario import outages
from fakehw.scenario.outages import Outage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fakehw.scenario.figures import Fault, Figures
    from fakehw.spec.topology import FakeNode

MAX_OUTAGES: Final = 400_000

_DAY_S: Final = 86_400.0
_BURST_S: Final = 60.0
"""Within which the members of a burst fail."""

_SHORTEST_S: Final = 0.001


def draw(
    figures: Figures, nodes: Mapping[str, FakeNode], *, days: float, seed: int, rate: float | None = None
) -> list[Outage]:
    """Return the outages of so many days; `rate`, faults per 1,000 node-days, stands in for that of the figures."""
    source = random.Random(f"synthesis/{seed}")  # noqa: S311  # repeatable on purpose, guards nothing
    names = list(nodes)
    rates = [_per_day(fault, nodes) for fault in figures.faults]
    total = sum(rates) if rate is None else rate * len(names) / 1000
    if total * days > MAX_OUTAGES:
        raise InputError(
            f"{total * days:.0f} faults: must be at most {MAX_OUTAGES}: fewer nodes, or fewer days (--days)"
        )
    fresh = total * (1 - figures.relapse_chance) / figures.burst_size
    sizes, weights = zip(*figures.bursts, strict=True)
    found: list[Outage] = []
    for moment in _moments(fresh, days, figures.day_shape, source):
        (fault,) = source.choices(figures.faults, rates)
        size = min(source.choices(sizes, weights)[0], len(names))
        for node in source.sample(names, size):
            begins_s = moment + (source.uniform(0, _BURST_S) if size > 1 else 0.0)
            found += _with_relapses(figures, fault, node, begins_s, days * _DAY_S, source)
    return sorted(found, key=lambda outage: outage.begins_s)


def summary(found: Sequence[Outage], nodes: int, days: float) -> str:
    """Return in a line what was drawn, for comparison with what was measured."""
    if not found:
        return f"no fault on {nodes} nodes in {days:g} days"
    gaps = [after.begins_s - before.begins_s for before, after in itertools.pairwise(found)]
    mean = sum(gaps) / len(gaps) if gaps else 0.0
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) if gaps else 0.0
    lengths = sorted(outage.ends_s - outage.begins_s for outage in found)
    hours = lengths[len(lengths) // 2] / 3600
    return (
        f"{len(found)} faults on {len({outage.server for outage in found})} of {nodes} nodes in {days:g} days: "
        f"{len(found) / nodes / days * 1000:.2f} per 1,000 node-days, half of them over after {hours:.1f} h, "
        f"from one to the next {mean / 3600:.1f} h (CV {spread / mean if mean else 0.0:.2f})"
    )


def _per_day(fault: Fault, nodes: Mapping[str, FakeNode]) -> float:
    if not fault.is_of_device:
        return fault.rate * len(nodes) / 1000
    return fault.rate * sum(len(outages.devices_of(node, fault.part)) for node in nodes.values()) / 1000


def _moments(per_day: float, days: float, shape: float | None, source: random.Random) -> Iterator[float]:
    """Yield the moments of bursts, some days busier than others."""
    for day in range(math.ceil(days)):
        rate = per_day * (1.0 if shape is None else source.gammavariate(shape, 1 / shape))
        moment = float(day)
        while rate > 0 and (moment := moment + source.expovariate(rate)) < min(day + 1, days):
            yield moment * _DAY_S


def _with_relapses(
    figures: Figures, fault: Fault, node: str, begins_s: float, end_s: float, source: random.Random
) -> Iterator[Outage]:
    while begins_s < end_s:
        repaired_s = begins_s + _duration(fault, source)
        devices = fault.spread_devices if source.random() < fault.spread_chance else 1
        yield Outage(begins_s, min(repaired_s, end_s), node, fault.part, fault.reason, devices)
        chance = source.random()
        for after_s, within_s, part in figures.relapse:
            if chance < part:
                begins_s = repaired_s + source.uniform(after_s, within_s)
                break
            chance -= part
        else:
            return


def _duration(fault: Fault, source: random.Random) -> float:
    """Return how long a repair takes: between two quantiles as their logarithms, beyond the last as the last."""
    quantile, points = source.random(), fault.repair
    place = bisect.bisect_left(points, (quantile, 0.0))
    if place == 0:
        return points[0][1]
    if place == len(points):
        return points[-1][1]
    (low, low_s), (high, high_s) = points[place - 1], points[place]
    part = (quantile - low) / (high - low)
    low_s, high_s = max(low_s, _SHORTEST_S), max(high_s, _SHORTEST_S)
    return math.exp(math.log(low_s) + part * (math.log(high_s) - math.log(low_s)))
