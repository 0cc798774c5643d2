"""The book of receipts, hop by hop: who is waited for, what settles what, at which time, and what is missing in the end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw.layout import TreePath
from fakehw.scenario.receipts import REMOVED, Hop, Ledger, Receipt, State
from fakehw.scenario.timeline import Act, Change

ONE, TWO, THREE = PATHS = tuple(TreePath("n", "dev1", number) for number in (1, 2, 3))
GOOD, BAD, WARM, GONE = State("Healthy"), State("Unhealthy", "hot"), State("Healthy", "warm"), State(REMOVED)


class Book:
    """A ledger with three healthy devices, and what it tells."""

    def __init__(
        self, *, plugin: bool = True, kubelet: bool = True, dra: tuple[TreePath, ...] = (), **more: Any
    ) -> None:
        self.told: list[int] = []
        states = more.get("states", dict.fromkeys(PATHS, GOOD))
        self.ledger = Ledger(
            {path.id: state for path, state in states.items()},
            has_plugin=plugin, has_kubelet=kubelet, by_dra=[path.id for path in dra],
            tell=lambda receipt: self.told.append(receipt.number),
        )  # fmt: skip

    def enter(self, at: float, state: State, *paths: TreePath, problem: str = "") -> Receipt:
        change = Change(at - 1000, "x", Act.SET, paths or (ONE,))
        return self.ledger.enter(change, at, dict.fromkeys(paths or (ONE,), state), problem)

    def say(self, at: float, state: State, path: TreePath = ONE) -> None:
        self.ledger.observe_plugin(at, path.id, state)


def hops(receipt: Receipt) -> tuple[Hop, Hop, Hop]:
    return receipt.seen, receipt.landed, receipt.in_slice


@pytest.mark.parametrize(
    ("plugin", "kubelet", "dra", "was", "now", "expected"),
    [
        (True, True, False, GOOD, BAD, (1, 1, 0)),
        (True, True, False, GOOD, WARM, (1, 0, 0)),
        (True, True, False, GOOD, GOOD, (0, 0, 0)),
        (True, True, False, BAD, State("Unhealthy", "hotter"), (1, 0, 0)),
        (True, True, False, BAD, GONE, (1, 0, 0)),
        (True, True, False, GONE, BAD, (1, 0, 0)),
        (True, True, False, GONE, GOOD, (1, 1, 0)),
        (True, True, False, None, GOOD, (1, 1, 0)),
        (True, True, False, None, GONE, (0, 0, 0)),
        (True, False, False, GOOD, BAD, (1, 0, 0)),
        (False, True, False, GOOD, BAD, (0, 1, 0)),
        (False, False, False, GOOD, BAD, (0, 0, 0)),
        (True, True, True, GOOD, BAD, (1, 0, 1)),
        (True, True, True, GOOD, WARM, (1, 0, 0)),
        (True, True, True, BAD, GONE, (1, 0, 1)),
        (False, True, True, GOOD, BAD, (0, 0, 0)),
    ],
)  # fmt: skip  # one row a case
def test_a_change_is_waited_for_where_it_makes_a_difference(
    plugin: bool, kubelet: bool, dra: bool, was: State | None, now: State, expected: tuple[int, int, int]
) -> None:
    states = {} if was is None else {ONE: was}
    book = Book(plugin=plugin, kubelet=kubelet, dra=(ONE,) if dra else (), states=states)
    receipt = book.enter(10.0, now)
    assert tuple(hop.expected for hop in hops(receipt)) == expected
    assert receipt.is_complete is (not any(expected))
    assert book.ledger.is_complete is (not any(expected))
    assert book.ledger.is_waiting_to_land is bool(expected[1])
    assert book.told == [] if any(expected) else [1]


def test_receipts_are_numbered_and_keep_what_was_made_of_them() -> None:
    book = Book()
    book.enter(10.0, BAD)
    second = book.enter(11.0, GOOD, TWO, problem="disk full")
    assert [receipt.number for receipt in book.ledger.receipts] == [1, 2]
    assert (second.written_at, second.problem, second.change.at_s) == (11.0, "disk full", -989.0)


@pytest.mark.parametrize("hop", ["seen", "landed", "in_slice"])
def test_a_receipt_is_complete_when_no_hop_is_open(hop: str) -> None:
    receipt = Receipt(1, Change(0, "x", Act.SET, ()), 0.0)
    assert receipt.is_complete
    setattr(receipt, hop, Hop(4, 1, 1, 1))
    assert not receipt.is_complete
    setattr(receipt, hop, Hop(4, 1, 2, 1))
    assert receipt.is_complete


def test_receipts_are_told_in_the_order_of_the_changes_each_once() -> None:
    book = Book(kubelet=False)
    first, second = book.enter(10.0, BAD), book.enter(10.1, BAD, TWO)
    book.enter(10.2, GOOD, THREE)
    book.say(10.3, BAD, TWO)
    assert second.is_complete
    assert (book.told, book.ledger.is_complete) == ([], False)
    book.say(10.4, BAD)
    assert first.is_complete
    assert (book.told, book.ledger.is_complete) == ([1, 2, 3], True)
    book.say(10.5, BAD)
    book.ledger.give_up(first)
    assert book.told == [1, 2, 3]


@pytest.mark.parametrize(("at", "arrived"), [(9.99949, 0), (9.9995, 1), (10.0, 1), (99.0, 1)])
def test_clocks_may_differ_by_half_a_millisecond_and_what_was_seen_before_that_is_no_effect(
    at: float, arrived: int
) -> None:
    book = Book(kubelet=False)
    receipt = book.enter(10.0, BAD)
    book.say(at, BAD)
    assert receipt.seen == Hop(1, arrived, last_at=at if arrived else None)


def test_the_last_device_to_arrive_is_the_time_of_a_receipt_whatever_is_told_last() -> None:
    book = Book(kubelet=False)
    receipt = book.enter(10.0, BAD, ONE, TWO, THREE)
    for at, path in ((10.3, ONE), (10.5, TWO), (10.4, THREE)):
        book.say(at, BAD, path)
    assert receipt.seen == Hop(3, 3, last_at=10.5)


def test_an_observation_settles_the_latest_change_that_it_fits_and_passes_over_those_before() -> None:
    book = Book(kubelet=False)
    receipts = [book.enter(10.0 + n / 10, state) for n, state in enumerate((BAD, GOOD, BAD, GOOD, BAD))]
    book.say(10.35, BAD)
    assert [(hop.arrived, hop.passed_over, hop.missing) for hop in (one.seen for one in receipts)] == [
        (0, 1, 0), (0, 1, 0), (1, 0, 0), (0, 0, 0), (0, 0, 0),
    ]  # fmt: skip
    assert book.told == [1, 2, 3]
    book.say(10.6, GOOD)
    book.say(10.7, State("Healthy", "something else"))
    assert book.told == [1, 2, 3, 4]
    book.say(10.8, BAD)
    assert book.ledger.is_complete


@pytest.mark.parametrize(
    ("said", "wanted", "shows"),
    [
        (State("Unhealthy", "x" * 200 + "y"), State("Unhealthy", "x" * 200 + "z"), True),
        (State("Unhealthy", "x" * 199 + "y"), State("Unhealthy", "x" * 199 + "z"), False),
        (State("Unhealthy", "unplugged"), GOOD, False),
        (GONE, BAD, False),
        (State(REMOVED, "whatever"), GONE, True),
    ],
)
def test_a_reason_is_compared_as_far_as_the_plugin_tells_it(said: State, wanted: State, shows: bool) -> None:
    assert said.shows(wanted) is shows


def test_the_plugin_settles_so_many_as_it_counts_of_those_that_fit_and_takes_their_last_state() -> None:
    book = Book(kubelet=False)
    receipts = [book.enter(10.0, BAD, *PATHS), book.enter(10.1, WARM, TWO)]
    book.ledger.observe_unnamed(10.2, 1, {TWO.id, THREE.id}.__contains__)
    assert [receipt.seen for receipt in receipts] == [Hop(3, 0, 1), Hop(1, 1, last_at=10.2)]
    book.ledger.observe_unnamed(10.3, 7, {TWO.id, THREE.id}.__contains__)
    assert receipts[0].seen == Hop(3, 1, 1, last_at=10.3), "ONE is of another resource"
    book.ledger.observe_unnamed(10.4, 0, lambda _: True)
    assert book.told == []
    book.ledger.observe_unnamed(10.4, 1, lambda _: True)
    assert book.told == [1, 2]


def test_what_the_plugin_only_counted_was_seen_when_it_comes_to_what_was_passed_over() -> None:
    book = Book(kubelet=False)
    book.enter(10.0, BAD)
    book.ledger.observe_unnamed(10.1, 1, lambda _: True)
    later = [book.enter(10.2, GOOD), book.enter(10.3, BAD)]
    for receipt in later:
        book.ledger.give_up(receipt)
    assert [receipt.seen for receipt in later] == [Hop(1, 0, 1), Hop(1, 0, 1)]


def test_a_kubelet_has_what_it_had_when_it_was_asked_and_said_so_when_it_answered() -> None:
    book = Book(plugin=False)
    receipt = book.enter(10.0, BAD, ONE, TWO)
    book.ledger.observe_kubelet(9.9, 10.2, frozenset())
    assert receipt.landed == Hop(2), "it was asked before"
    book.ledger.observe_kubelet(10.1, 10.3, frozenset({TWO.id, THREE.id}))
    assert receipt.landed == Hop(2, 1, last_at=10.3)
    book.ledger.observe_kubelet(10.4, 10.5, frozenset())
    assert receipt.landed == Hop(2, 2, last_at=10.5)
    assert (book.told, book.ledger.is_waiting_to_land) == ([1], False)


def test_a_slice_says_healthy_unhealthy_or_nothing_of_a_device() -> None:
    book = Book(dra=PATHS)
    receipts = [book.enter(10.0, GONE, ONE), book.enter(10.0, BAD, TWO), book.enter(10.0, GONE, THREE)]
    for path, health in ((ONE, REMOVED), (TWO, REMOVED), (THREE, "Healthy")):
        book.ledger.observe_slice(10.1, path.id, health)
    assert [receipt.in_slice for receipt in receipts] == [Hop(1, 1, last_at=10.1), Hop(1), Hop(1)]
    for path in (TWO, THREE):
        book.ledger.observe_slice(10.2, path.id, "Unhealthy")
    assert [receipt.in_slice.last_at for receipt in receipts] == [10.1, 10.2, 10.2]
    assert book.told == [], "the plugin itself has not said so"


def heard(book: Book, who: str, at: float) -> None:
    """Have somebody say something that is no news of what is waited for, but that ONE is as it was."""
    if who == "kubelet":
        book.ledger.observe_kubelet(at, at + 5, frozenset({path.id for path in PATHS}))
    elif who == "slice":
        book.ledger.observe_slice(at, THREE.id, "Healthy")
    elif who == "counted":
        book.ledger.observe_unnamed(at, 0, lambda _: True)
    else:
        book.say(at, GOOD, THREE)


@pytest.mark.parametrize(("ago_s", "is_heard"), [(5.0, False), (1.001, False), (1.0, True), (0.5, True)])
@pytest.mark.parametrize(("who", "hop"), [("plugin", "seen"), ("counted", "seen"), ("kubelet", "landed"), ("slice", "in_slice")])  # fmt: skip
def test_what_came_to_nothing_was_passed_over_by_whoever_was_heard_within_a_second(
    who: str, hop: str, ago_s: float, is_heard: bool
) -> None:
    book = Book(dra=(ONE,) if who == "slice" else (), plugin=who != "kubelet")
    receipts = book.enter(10.0, BAD), book.enter(10.0, GOOD)
    heard(book, who, 10.0 - ago_s)
    heard(book, who, -99.0)
    for receipt in receipts:
        book.ledger.give_up(receipt)
    assert [getattr(receipt, hop) for receipt in receipts] == [Hop(1, 0, 1) if is_heard else Hop(1, 0, 0, 1)] * 2
    assert book.told == [1, 2]


@pytest.mark.parametrize(("hop", "dra"), [("seen", False), ("landed", False), ("in_slice", True)])
def test_what_did_not_arrive_and_is_not_so_in_the_end_is_missing_though_all_were_heard(hop: str, dra: bool) -> None:
    book = Book(dra=(ONE,) if dra else ())
    receipt = book.enter(10.0, BAD, ONE, TWO)
    book.say(10.5, BAD, TWO)
    book.ledger.observe_kubelet(10.5, 10.5, frozenset({ONE.id, THREE.id}))
    assert not book.told
    book.ledger.give_up(receipt)
    assert getattr(receipt, hop).missing == 1
    assert book.told == [1]


@pytest.mark.parametrize("dra", [(), (ONE,)])
def test_a_device_that_nobody_knew_is_missing_where_nobody_says_anything_of_it(dra: tuple[TreePath, ...]) -> None:
    book = Book(states={}, dra=dra)
    receipt = book.enter(10.0, GOOD)
    book.ledger.hear_plugin(10.0)
    book.ledger.give_up(receipt)
    assert hops(receipt) == (Hop(1, 0, 0, 1), *((Hop(), Hop(1, 0, 0, 1)) if dra else (Hop(1, 0, 0, 1), Hop())))


def test_giving_up_one_receipt_leaves_the_others_waiting() -> None:
    book = Book(kubelet=False)
    first, second = book.enter(10.0, BAD, ONE, TWO), book.enter(10.1, WARM, ONE)
    book.ledger.give_up(first)
    assert (first.seen, second.seen) == (Hop(2, 0, 0, 2), Hop(1))
    book.ledger.give_up(first)
    book.say(10.2, WARM)
    assert (first.seen, second.seen) == (Hop(2, 0, 0, 2), Hop(1, 1, last_at=10.2))


def test_a_device_that_a_pod_holds_counts_as_removed_when_a_receipt_is_given_up() -> None:
    book = Book(dra=(ONE,))
    book.say(10.05, State("Unhealthy", "unplugged"))
    book.ledger.observe_slice(10.05, ONE.id, "Unhealthy")
    receipt = book.enter(10.1, GONE)
    book.ledger.give_up(receipt)
    assert (receipt.seen, receipt.in_slice) == (Hop(1, 0, 1), Hop(1, 0, 1))


@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "say", "ask", "ask some", "count", "give up"]), st.sampled_from(PATHS), st.sampled_from([GOOD, BAD, WARM, GONE])),
        max_size=30,
    )
)  # fmt: skip
def test_in_the_end_every_expected_device_arrived_was_passed_over_or_is_missing_once(
    steps: list[tuple[str, TreePath, State]],
) -> None:
    book = Book()
    for number, (step, path, state) in enumerate(steps):
        at = 10.0 + number
        if step == "enter":
            book.enter(at, state, path)
        elif step == "say":
            book.say(at, state, path)
        elif step.startswith("ask"):
            book.ledger.observe_kubelet(at, at + 0.1, frozenset({path.id}), is_whole=step == "ask")
        elif step == "count":
            book.ledger.observe_unnamed(at, 1, path.id.__eq__)
        elif book.ledger.receipts:
            book.ledger.give_up(book.ledger.receipts[number % len(book.ledger.receipts)])
        assert book.told == [receipt.number for receipt in book.ledger.receipts][: len(book.told)]
        assert book.ledger.is_complete is (len(book.told) == len(book.ledger.receipts))
    for receipt in book.ledger.receipts:
        book.ledger.give_up(receipt)
    assert book.ledger.is_complete
    assert not book.ledger.is_waiting_to_land
    for receipt in book.ledger.receipts:
        for hop in hops(receipt):
            assert hop.arrived + hop.passed_over + hop.missing == hop.expected
            assert (hop.last_at is None) is (hop.arrived == 0)
            assert hop.last_at is None or hop.last_at >= receipt.written_at
