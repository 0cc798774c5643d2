"""A year that did not happen, draw by draw: what chance is asked, in which order, and what its answers come to."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import pytest

from fakehw import make_topology
from fakehw.errors import InputError
from fakehw.scenario import figures, synthesis
from fakehw.scenario.figures import Fault, Figures
from fakehw.scenario.outages import Outage
from fakehw.spec.topology import FakeNode

DAY = 86_400.0


def nodes(*names: str, **classes: int) -> dict[str, FakeNode]:
    fields = {name: {"count": number, "resource": f"a.b/{name}"} for name, number in classes.items()}
    return dict(make_topology({"nodes": {name: {"classes": fields} for name in names}}).nodes)


def fault(reason: str = "fan", rate: float = 1.0, **fields: Any) -> Fault:
    given: dict[str, Any] = {
        "part": "node", "is_of_device": False, "repair": ((1.0, 3600.0),), "spread_chance": 0.0, "spread_devices": 1,
    }  # fmt: skip
    return Fault(reason, rate=rate, **given | fields)


def measured(*faults: Fault, **fields: Any) -> Figures:
    given: dict[str, Any] = {"relapse": (), "bursts": ((1, 1.0),), "day_shape": None}
    return Figures("about", "source", faults, **given | fields)


class Chance:
    """Chance that is told what to answer, and remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []

    def _answer(self, *asked: Any) -> Any:
        self.asked.append(asked)
        return self._answers.pop(0)

    def random(self) -> float:
        answer: float = self._answer("part")
        return answer

    def uniform(self, a: float, b: float) -> Any:
        return self._answer("between", a, b)

    def expovariate(self, rate: float) -> Any:
        return self._answer("after", rate)

    def gammavariate(self, alpha: float, beta: float) -> Any:
        return self._answer("busy", alpha, beta)

    def choices(self, population: Sequence[Any], weights: Sequence[float]) -> Any:
        return [population[self._answer("one of", len(population), list(weights))]]

    def sample(self, population: Sequence[Any], k: int) -> Any:
        return [population[index] for index in self._answer("nodes", list(population), k)]

    @property
    def is_used_up(self) -> bool:
        return not self._answers


def drawn(chance: Chance, monkeypatch: pytest.MonkeyPatch, *arguments: Any, **more: Any) -> list[Outage]:
    monkeypatch.setattr(synthesis, "random", types.SimpleNamespace(Random=lambda _: chance))
    found = synthesis.draw(*arguments, **{"seed": 0, **more})
    assert chance.is_used_up
    return found


def test_a_burst_takes_so_many_nodes_within_a_minute_and_each_fault_lasts_and_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = Chance(
        0.25, 1, 1, [1, 0],  # the first moment, the second fault, a burst of two, which nodes
        30.0, 0.5, 0.9, 0.3, 5000.0,  # its first: begins, lasts, takes one device, comes again in the second window
        0.5, 0.9, 0.5,  # and then no more
        10.0, 0.5, 0.1, 0.5,  # its second, which takes two
        0.8,  # after that it is 1.05 days: the second day begins anew
        0.4, 0, 0, [0], 0.5, 0.9, 0.2, 600.0, 0.5, 0.9, 0.99,  # at 1.4 days, alone, again in the first window; cut off
        0.2,  # it would be 1.6 days
    )  # fmt: skip
    figures = measured(
        fault("a", 3.0, repair=((0.5, 3600.0), (1.0, 3600.0))),
        fault("b", 1.0, part="gpu", repair=((0.0, 100.0), (1.0, 10_000.0)), spread_chance=0.2, spread_devices=2),
        relapse=((0.0, 3600.0, 0.25), (3600.0, 7200.0, 0.25)),
        bursts=((1, 3.0), (2, 1.0)),
    )
    found = drawn(chance, monkeypatch, figures, nodes("n1", "n2", gpu=2), days=1.5)

    early, cut = 0.25 * DAY, 120_960.0
    assert [(round(one.begins_s, 3), round(one.ends_s, 3), *_rest(one)) for one in found] == [
        (early + 10, early + 1010, "n1", "gpu", "b", 2),
        (early + 30, early + 1030, "n2", "gpu", "b", 1),
        (early + 1030 + 5000, early + 1030 + 5000 + 1000, "n2", "gpu", "b", 1),
        (cut, cut + 3600, "n1", "node", "a", 1),
        (cut + 4200, cut + 7800, "n1", "node", "a", 1),
    ]
    fresh = 0.008 * 0.5 / 1.25
    assert [asked for asked in chance.asked if asked[0] == "after"] == [("after", pytest.approx(fresh))] * 4
    assert [asked for asked in chance.asked if asked[0] == "one of"] == [
        ("one of", 2, [0.006, 0.002]), ("one of", 2, [3.0, 1.0]),
    ] * 2  # fmt: skip
    assert [asked for asked in chance.asked if asked[0] in ("nodes", "between")] == [
        ("nodes", ["n1", "n2"], 2), ("between", 0.0, 60.0), ("between", 3600.0, 7200.0), ("between", 0.0, 60.0),
        ("nodes", ["n1", "n2"], 1), ("between", 0.0, 3600.0),
    ]  # fmt: skip


def _rest(one: Outage) -> tuple[object, ...]:
    return one.server, one.part, one.reason, one.devices


def test_what_is_not_over_at_the_end_ends_with_it_and_a_relapse_after_the_end_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = Chance(0.99, 0, 0, [0], 0.5, 0.5, 0.0, 864.0, 5.0)
    figures = measured(fault(), relapse=((0.0, 7200.0, 0.5),))
    found = drawn(chance, monkeypatch, figures, nodes("n1", gpu=1), days=1.0)
    assert [(one.begins_s, one.ends_s) for one in found] == [(0.99 * DAY, DAY)]


def test_a_relapse_at_the_very_end_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = Chance(0.5, 0, 0, [0], 0.5, 0.5, 0.0, DAY / 2 - 3600, 5.0)
    figures = measured(fault(), relapse=((0.0, DAY, 0.5),))
    (found,) = drawn(chance, monkeypatch, figures, nodes("n1", gpu=1), days=1.0)
    assert (found.begins_s, found.ends_s) == (DAY / 2, DAY / 2 + 3600)


@pytest.mark.parametrize(("moment", "is_in"), [(0.5, True), (0.99, True), (1.0, False), (1.2, False)])
def test_a_moment_is_within_its_day(monkeypatch: pytest.MonkeyPatch, moment: float, is_in: bool) -> None:
    answers = (0, 0, [0], 0.5, 0.5, 0.5, 9.0) if is_in else ()
    chance = Chance(moment, *answers, 7.0)
    found = drawn(chance, monkeypatch, measured(fault()), nodes("n1", gpu=1), days=2.0)
    assert [one.begins_s for one in found] == [moment * DAY] * is_in


def test_some_days_are_busier_than_others_where_the_figures_say_so_and_on_an_idle_one_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = Chance(2.0, 9.0, 0.0, 0.5, 9.0)
    assert drawn(chance, monkeypatch, measured(fault(), day_shape=4.0), nodes("n1", gpu=1), days=2.5) == []
    assert chance.asked == [
        ("busy", 4.0, 0.25), ("after", 0.002), ("busy", 4.0, 0.25), ("busy", 4.0, 0.25), ("after", 0.0005),
    ]  # fmt: skip


def test_a_burst_is_no_larger_than_there_are_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = Chance(0.5, 0, 0, [0], 0.5, 0.5, 0.5, 9.0)
    found = drawn(chance, monkeypatch, measured(fault(), bursts=((8, 1.0),)), nodes("n1", gpu=1), days=1.0)
    assert [one.begins_s for one in found] == [0.5 * DAY], "and one alone begins at its moment"
    assert ("nodes", ["n1"], 1) in chance.asked


@pytest.mark.parametrize(
    ("repair", "part", "expected_s"),
    [
        (((0.1, 10.0), (0.5, 1000.0)), 0.05, 10.0),
        (((0.1, 10.0), (0.5, 1000.0)), 0.1, 10.0),
        (((0.1, 10.0), (0.5, 1000.0)), 0.3, 100.0),
        (((0.1, 10.0), (0.5, 1000.0)), 0.4, 316.228),
        (((0.1, 10.0), (0.5, 1000.0)), 0.5, 1000.0),
        (((0.1, 10.0), (0.5, 1000.0)), 0.51, 1000.0),
        (((0.0, 5.0), (0.5, 10.0), (1.0, 40.0)), 0.75, 20.0),
        (((0.0, 0.0), (1.0, 10.0)), 0.5, 0.1),
        (((0.0, 0.0), (1.0, 0.0)), 0.5, 0.001),
        (((0.7, 7.0),), 0.2, 7.0),
    ],
)
def test_a_repair_takes_what_stands_between_two_quantiles_by_logarithms_and_no_more_than_the_last(
    monkeypatch: pytest.MonkeyPatch, repair: tuple[tuple[float, float], ...], part: float, expected_s: float
) -> None:
    chance = Chance(0.5, 0, 0, [0], part, 0.5, 0.5, 9.0)
    (found,) = drawn(chance, monkeypatch, measured(fault(repair=repair)), nodes("n1", gpu=1), days=1.0)
    assert found.ends_s - found.begins_s == pytest.approx(expected_s, abs=0.001)


def test_a_rate_of_devices_is_that_of_all_devices_of_the_part_and_a_rate_that_is_given_stands_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures = measured(fault("a", 2.0, part="gpu", is_of_device=True), fault("b", 5.0))
    made = nodes("n1", "n2", gpu=3, nic=1)
    for rate, per_day in ((None, 2.0 * 6 / 1000 + 5.0 * 2 / 1000), (500.0, 1.0)):
        chance = Chance(9.0)
        assert drawn(chance, monkeypatch, figures, made, days=0.5, rate=rate) == []
        assert chance.asked == [("after", pytest.approx(per_day))]


def test_more_outages_than_can_be_played_are_refused_and_nothing_is_drawn_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(synthesis, "MAX_OUTAGES", 2)
    two = nodes("n1", "n2", gpu=1)
    assert drawn(Chance(*[9.0] * 1000), monkeypatch, measured(fault()), two, days=1000.0, rate=1.0) == []
    with pytest.raises(InputError) as caught:
        drawn(Chance(), monkeypatch, measured(fault()), two, days=1001.0, rate=2.0)
    assert str(caught.value) == "4 faults: must be at most 2: fewer nodes, or fewer days (--days)"
    assert drawn(Chance(), monkeypatch, measured(fault()), {}, days=9.0) == []
    assert drawn(Chance(), monkeypatch, measured(fault()), two, days=9.0, rate=0.0) == []
    assert drawn(Chance(), monkeypatch, measured(fault(rate=0.0)), two, days=9.0) == []


def test_a_seed_gives_the_year_that_it_gave_whoever_wrote_it_down() -> None:
    found = synthesis.draw(figures.load("delta-a100"), nodes("n1", "n2", "n3", gpu=8), days=5, seed=7, rate=500)
    assert [(round(one.begins_s, 3), round(one.ends_s, 3), *_rest(one)) for one in found] == YEAR


def outage(begins_s: float, lasts_s: float, server: str) -> Outage:
    return Outage(begins_s, begins_s + lasts_s, server, "gpu", "r")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], "no fault on 4 nodes in 2.5 days"),
        (
            [outage(0, 3600, "a")],
            "1 faults on 1 of 4 nodes in 2.5 days: 100.00 per 1,000 node-days, half of them over after 1.0 h, from one to the next 0.0 h (CV 0.00)",
        ),
        (
            [outage(0, 7200, "a"), outage(3600, 36000, "b"), outage(4 * 3600, 3600, "a"), outage(7 * 3600, 9000, "a")],
            "4 faults on 2 of 4 nodes in 2.5 days: 400.00 per 1,000 node-days, half of them over after 2.5 h, from one to the next 2.3 h (CV 0.40)",
        ),
        (
            [outage(5, 7200, "a"), outage(5, 3600, "b")],
            "2 faults on 2 of 4 nodes in 2.5 days: 200.00 per 1,000 node-days, half of them over after 2.0 h, from one to the next 0.0 h (CV 0.00)",
        ),
    ],
)
def test_a_line_says_what_was_drawn(found: list[Outage], expected: str) -> None:
    assert synthesis.summary(found, 4, 2.5) == expected


YEAR = [
    (178104.031, 178106.831, "n2", "gpu", "XID 31: MMU error", 1),
    (357752.795, 357853.695, "n3", "gpu", "XID 119: GSP RPC timeout", 1),
    (363094.449, 363095.629, "n1", "gpu", "XID 74: NVLink error", 1),
    (400432.987, 400436.109, "n1", "gpu", "XID 31: MMU error", 1),
]
