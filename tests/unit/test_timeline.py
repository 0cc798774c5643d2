"""From a step to its changes where chance has a say, how a change is told, and what a moment in the middle begins with."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw.layout import TreePath
from fakehw.scenario import timeline
from fakehw.scenario.timeline import FAULTS, Act, Change, from_moment

Item = TypeVar("Item")
ONE, TWO, THREE = PATHS = [TreePath("n", "dev1", number) for number in (1, 2, 3)]
GOOD = "healthy"


class Chance(random.Random):
    """Chance that is told what to come to, and remembers what it was asked."""

    def __init__(self, *parts: float) -> None:
        super().__init__()
        self._parts = iter(parts)
        self.asked: list[tuple[object, ...]] = []

    def uniform(self, a: float, b: float) -> float:
        self.asked.append(("between", a, b))
        return a + (b - a) * next(self._parts)

    def expovariate(self, lambd: float = 1.0) -> float:
        self.asked.append(("after", lambd))
        return next(self._parts)

    def choice(self, seq: Sequence[Item]) -> Item:  # type: ignore[override]  # of what is given here
        return seq[int(next(self._parts))]


def comes_to(
    kind: str, at_s: float, fields: dict[str, Any], paths: list[TreePath], *parts: float
) -> list[tuple[Any, ...]]:
    changes = list(FAULTS[kind](kind, at_s, fields, paths, Chance(*parts)))
    assert {change.step for change in changes} <= {kind}
    assert {change.name for change in changes} == {"health"}
    return [
        (round(change.at_s, 9), change.act.value, [path.number for path in change.paths], change.text)
        for change in changes
    ]


def test_a_flap_jitters_around_its_halves_and_never_begins_before_the_step() -> None:
    fields = {"period": "4s", "for": "8s", "jitter": "500ms", "reason": "loose"}
    bad = "unhealthy loose"
    assert comes_to("flap", 100.0, fields, [ONE, TWO], 0.0, 1.0, 1.0, 0.5, 0.0, 0.5, 1.0, 0.25) == [
        (100.0, "set", [1], bad), (102.5, "set", [1], GOOD), (100.5, "set", [2], bad), (102.0, "set", [2], GOOD),
        (103.5, "set", [1], bad), (106.0, "set", [1], GOOD), (104.5, "set", [2], bad), (105.75, "set", [2], GOOD),
    ]  # fmt: skip  # one period a row


@pytest.mark.parametrize(("lasts", "times"), [(0.1, 1), (1, 1), (5.9, 1), (6.1, 2), (8, 2), (10.1, 3)])
def test_a_flap_has_as_many_periods_as_come_nearest_to_its_time_and_one_at_least(lasts: float, times: int) -> None:
    changes = comes_to("flap", 0.0, {"period": 4, "for": lasts}, [ONE], *[0.5] * 6)
    assert changes == [
        change for n in range(times)
        for change in ((4.0 * n, "set", [1], "unhealthy flapping"), (4.0 * n + 2, "set", [1], GOOD))
    ]  # fmt: skip


def test_a_flap_without_jitter_is_drawn_from_nothing() -> None:
    chance = Chance(0.5, 0.5)
    list(FAULTS["flap"]("flap", 3.0, {"period": 2, "for": 2}, [ONE], chance))
    assert chance.asked == [("between", 0, 0)] * 2


def test_a_storm_turns_a_device_that_is_drawn_in_the_order_of_time() -> None:
    parts = (0.9, 0.1, 0.5, 0.2, 0, 1, 0, 0)  # four moments, then a device for each
    assert comes_to("storm", 10.0, {"for": "20s", "changes": 4}, [ONE, TWO], *parts) == [
        (12.0, "set", [1], "unhealthy storm"),
        (14.0, "set", [2], "unhealthy storm"),
        (20.0, "set", [1], GOOD),
        (28.0, "set", [1], "unhealthy storm"),
    ]
    assert comes_to("storm", 0.0, {"for": 1, "changes": 1, "reason": "hail"}, [ONE], 0.0, 0) == [(0.0, "set", [1], "unhealthy hail")]  # fmt: skip


def test_random_failures_leave_a_device_that_is_down_alone_and_end_with_their_time() -> None:
    chance = Chance(
        3.0, 0, 1, 4.0,  # after 3 s ONE, for reason b, until 7
        2.0, 0, 0,  # at 5 ONE again: it is down
        2.0, 0, 0, 0.5,  # at 7, when it is up: until 7.5
        1.0, 1, 0, 9.0,  # at 8 TWO, until after the end
        2.0,  # at 10, which is the end
    )  # fmt: skip  # one draw a row
    fields = {"rate": 0.5, "for": "10s", "down": "4s", "reasons": ["a", "b"]}
    changes = list(FAULTS["random"]("random", 100.0, fields, [ONE, TWO], chance))
    assert [(change.at_s, change.act, change.paths, change.text) for change in changes] == [
        (103.0, Act.SET, (ONE,), "unhealthy b"),
        (107.0, Act.SET, (ONE,), GOOD),
        (107.0, Act.SET, (ONE,), "unhealthy a"),
        (107.5, Act.SET, (ONE,), GOOD),
        (108.0, Act.SET, (TWO,), "unhealthy a"),
        (117.0, Act.SET, (TWO,), GOOD),
    ]
    assert {change.step for change in changes} == {"random"}
    assert chance.asked == [("after", rate) for rate in (0.5, 0.25, 0.5, 0.5, 0.25, 0.5, 0.25, 0.5)]


def test_random_failures_have_a_reason_where_none_is_given_and_may_be_over_at_once() -> None:
    chance = Chance(0.5, 0, 0, 0.0, 9.0)
    changes = list(FAULTS["random"]("random", 0.0, {"rate": 1, "for": 1, "down": 0}, [ONE], chance))
    assert [(change.at_s, change.text) for change in changes] == [(0.5, "unhealthy random failure"), (0.5, GOOD)]
    assert chance.asked[1] == ("after", 1e6), "not divided by zero"


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("break", {}, [(5.0, "set", [1, 2], "unhealthy broken by a scenario")]),
        ("break", {"reason": "fan", "for": "2s"}, [(5.0, "set", [1, 2], "unhealthy fan"), (7.0, "set", [1, 2], GOOD)]),
        ("mend", {}, [(5.0, "set", [1, 2], GOOD)]),
        ("unplug", {}, [(5.0, "unplug", [1, 2], "")]),
        ("unplug", {"for": "1m"}, [(5.0, "unplug", [1, 2], ""), (65.0, "plug", [1, 2], "")]),
        ("plug", {}, [(5.0, "plug", [1, 2], "")]),
        ("torn", {"pause": "10ms", "reason": "half"}, [(5.0, "tear", [1, 2], "unhealthy half"), (5.01, "finish", [1, 2], "unhealthy half")]),
        ("slow_death", {"every": 3, "reasons": ["a", "b", "c"]}, [(5.0, "set", [1, 2], "healthy a"), (8.0, "set", [1, 2], "healthy b"), (11.0, "set", [1, 2], "unhealthy c")]),
    ],
)  # fmt: skip  # one row a fault
def test_a_fault_without_chance_comes_to_the_same_after_any_moment(
    kind: str, fields: dict[str, Any], expected: list[tuple[Any, ...]]
) -> None:
    assert comes_to(kind, 5.0, fields, [ONE, TWO]) == expected


def test_a_rolling_outage_takes_one_node_after_the_other() -> None:
    paths = [TreePath("a", "x", 1), TreePath("b", "x", 1), TreePath("b", "x", 2), TreePath("c", "x", 3)]
    assert comes_to("rolling", 1.0, {"every": "10s", "down": "15s", "reason": "patch"}, paths) == [
        (1.0, "set", [1], "unhealthy patch"),
        (16.0, "set", [1], GOOD),
        (11.0, "set", [1, 2], "unhealthy patch"),
        (26.0, "set", [1, 2], GOOD),
        (21.0, "set", [3], "unhealthy patch"),
        (36.0, "set", [3], GOOD),
    ]


def test_an_attribute_is_set_and_reset_by_its_own_name() -> None:
    fields = {"attribute": "fan", "value": 2, "for": "1s"}
    assert list(FAULTS["set"]("set", 4.0, fields, [ONE], Chance())) == [
        Change(4.0, "set", Act.SET, (ONE,), "2", "fan"),
        Change(5.0, "set", Act.RESET, (ONE,), "", "fan"),
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), ("True", "True"), (-1, "-1"), (1.5, "1.5"), ("a B", "a B")]
)
def test_a_value_of_yaml_stands_in_its_file_as_it_was_written(value: object, text: str) -> None:
    assert timeline.value_text(value) == text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change(0, "x", Act.SET, (ONE,), GOOD), "set    n/dev1/1: healthy"),
        (Change(0, "x", Act.SET, (ONE, TWO), "91", "heat"), "set    n/dev1/1, n/dev1/2: heat 91"),
        (Change(0, "x", Act.RESET, (ONE,), name="heat"), "reset  n/dev1/1: heat"),
        (Change(0, "x", Act.UNPLUG, (ONE, TWO, THREE)), "unplug n/dev1/1, n/dev1/2, n/dev1/3"),
        (Change(0, "x", Act.PLUG, (ONE, TWO, THREE, ONE)), "plug   n/dev1/1, n/dev1/2, n/dev1/3 and 1 more"),
        (Change(0, "x", Act.TEAR, (ONE,) * 10, "x"), "tear   n/dev1/1, n/dev1/1, n/dev1/1 and 7 more: x"),
    ],
)
def test_a_change_names_three_devices_and_counts_the_others(change: Change, text: str) -> None:
    assert str(change) == text


# From a moment on.

State = dict[str, str] | None
"""What is not plainly well of a device, by attribute; None while it is out."""


def after(changes: Sequence[Change], broken: Collection[TreePath] = ()) -> dict[TreePath, State]:
    """Play changes as `player` does: nothing happens to what is out but that it is plugged in, as it was at first."""
    first: dict[TreePath, dict[str, str]] = {
        path: {"health": "unhealthy before"} if path in broken else {} for path in PATHS
    }
    states: dict[TreePath, State] = {path: {**first[path]} for path in PATHS}
    for change in changes:
        for path in change.paths:
            state = states[path]
            if change.act is Act.PLUG:
                states[path] = {**first[path]} if state is None else state
            elif state is None:
                continue
            elif change.act is Act.UNPLUG:
                states[path] = None
            else:
                text = first[path].get(change.name, "") if change.act is Act.RESET else change.text
                state.pop(change.name, None)
                if text and (change.name, text) != ("health", GOOD):
                    state[change.name] = text
    return states


CHANGES = st.lists(
    st.builds(
        Change,
        st.integers(0, 6).map(float),
        st.just("x"),
        st.sampled_from([Act.SET, Act.SET, Act.RESET, Act.FINISH, Act.UNPLUG, Act.PLUG]),
        st.lists(st.sampled_from(PATHS), min_size=1, max_size=3, unique=True).map(tuple),
        st.sampled_from([GOOD, "unhealthy a"]),
        st.sampled_from(["health", "fan"]),
    ).map(
        lambda change: (
            change
            if change.act in (Act.SET, Act.RESET)
            else Change(change.at_s, "x", change.act, change.paths, change.text if change.act is Act.FINISH else "")
        )
    ),
    max_size=10,
).map(lambda changes: sorted(changes, key=lambda change: change.at_s))


@given(CHANGES, st.integers(1, 7), st.sets(st.sampled_from(PATHS)))
def test_whoever_begins_in_the_middle_finds_every_device_as_whoever_played_from_the_start(
    changes: list[Change], at_s: int, broken: set[TreePath]
) -> None:
    begun = from_moment(changes, at_s, broken=broken)
    rest = [change for change in changes if change.at_s >= at_s]
    first = begun[: len(begun) - len(rest)]

    assert list(begun[len(first) :]) == rest
    assert all(change.at_s == at_s and change.act in (Act.SET, Act.UNPLUG) for change in first)
    assert after(first, broken) == after([change for change in changes if change.at_s < at_s], broken)
    assert after(begun, broken) == after(changes, broken)


def test_from_its_start_on_a_timeline_is_whole() -> None:
    changes = [Change(0.0, "x", Act.PLUG, (ONE,)), Change(0.5, "x", Act.SET, (TWO,), GOOD)]
    assert from_moment(changes, 0.0) == tuple(changes)
    assert from_moment(changes, 0.5) == (changes[1],)


def test_what_happens_to_a_device_that_is_out_does_not_bring_it_back() -> None:
    out = Change(1.0, "unplug", Act.UNPLUG, (ONE,))
    for act in (Act.SET, Act.RESET, Act.UNPLUG):
        (begun,) = from_moment([out, Change(2.0, "x", act, (ONE,), GOOD)], 3.0)
        assert (begun.at_s, begun.step, begun.act, begun.paths) == (3.0, "unplug", Act.UNPLUG, (ONE,))


def test_of_several_devices_those_that_are_out_keep_the_others_from_nothing() -> None:
    out, broken = Change(1.0, "unplug", Act.UNPLUG, (ONE,)), Change(2.0, "break", Act.SET, (ONE, TWO), "unhealthy a")
    assert [(change.act, change.paths) for change in from_moment([out, broken], 3.0)] == [
        (Act.UNPLUG, (ONE,)), (Act.SET, (TWO,)),
    ]  # fmt: skip


def test_plugging_in_what_is_in_mends_nothing() -> None:
    broken = Change(1.0, "break", Act.SET, (ONE,), "unhealthy a")
    assert from_moment([broken, Change(2.0, "plug", Act.PLUG, (ONE,))], 3.0) == (
        Change(3.0, "break", Act.SET, (ONE,), "unhealthy a"),
    )


def test_what_mends_a_device_that_was_well_before_is_no_change_to_begin_with() -> None:
    mended = Change(1.0, "mend", Act.SET, (ONE, TWO), GOOD)
    assert from_moment([mended], 2.0) == ()
    assert from_moment([mended], 2.0, broken={TWO}) == (Change(2.0, "mend", Act.SET, (TWO,), GOOD),)


@pytest.mark.parametrize("act", [Act.TEAR, Act.FINISH])
def test_a_torn_write_is_a_whole_one_for_whoever_begins_after_it(act: Act) -> None:
    (begun,) = from_moment([Change(1.0, "torn", act, (ONE,), "unhealthy x")], 2.0)
    assert begun == Change(2.0, "torn", Act.SET, (ONE,), "unhealthy x")
