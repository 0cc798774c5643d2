"""The kubelet's choice of devices (contract AL-2, AL-3, GP-1 to GP-3)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet.kubelet import allocation

RESOURCE = "example.com/dongle"


class Pool:
    """A resource's devices, chosen from without a kubelet."""

    def __init__(self, healthy, *, in_use=(), aligned=(), unaligned=(), seed=0):
        self.healthy = set(healthy)
        self.in_use = set(in_use)
        self.aligned = set(aligned)
        self.unaligned = set(unaligned)
        self.rng = random.Random(seed)
        self.questions = []

    def choose(self, required, *, reusable=(), answer=()):
        choice = allocation.choose(
            RESOURCE,
            required,
            reusable=set(reusable),
            free=lambda: self.healthy - self.in_use,
            split=lambda free: (
                free & self.aligned,
                free & self.unaligned,
                free - self.aligned - self.unaligned,
            ),
            reserve=self.in_use.add,
            rng=self.rng,
        )
        reply = None
        try:
            while True:
                question = next(choice) if reply is None else choice.send(reply)
                self.questions.append(question)
                reply = answer
        except StopIteration as done:
            return done.value


def test_without_preference_the_choice_is_random_but_repeatable():
    ids = [f"d{number}" for number in range(20)]

    choices = {Pool(ids, seed=seed).choose(3) for seed in range(10)}

    assert len(choices) > 1
    assert Pool(ids, seed=7).choose(3) == Pool(ids, seed=7).choose(3)


def test_preference_is_asked_even_when_available_equals_needed():
    pool = Pool("ab")

    assert pool.choose(2) == {"a", "b"}
    assert pool.questions == [allocation.Question(frozenset("ab"), frozenset(), 2)]


def test_reuse_that_covers_the_request_asks_nobody():
    pool = Pool("ab", in_use="a")

    assert pool.choose(1, reusable="a") == {"a"}
    assert pool.questions == []


def test_reused_devices_are_must_include():
    pool = Pool("abc", in_use="a")

    chosen = pool.choose(2, reusable="a", answer="ac")

    assert chosen == {"a", "c"}
    assert pool.questions == [allocation.Question(frozenset("abc"), frozenset("a"), 2)]


def test_more_aligned_than_needed_asks_among_the_aligned():
    pool = Pool("abcd", aligned="abc", unaligned="d")

    assert pool.choose(1, answer="c") == {"c"}
    assert pool.questions[0].available == frozenset("abc")


def test_exactly_enough_aligned_asks_nobody():
    pool = Pool("abcd", aligned="ab", unaligned="cd")

    assert pool.choose(2) == {"a", "b"}
    assert pool.questions == []


def test_too_few_aligned_are_all_taken_and_then_all_others_are_offered():
    pool = Pool("abcd", aligned="a", unaligned="bc")

    assert pool.choose(2, answer="ad") == {"a", "d"}
    assert pool.questions == [allocation.Question(frozenset("abcd"), frozenset("a"), 2)]


def test_unaligned_devices_go_before_those_without_topology():
    assert Pool("abcd", aligned="a", unaligned="b").choose(2) == {"a", "b"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("c", {"c"}, id="exact"),
        pytest.param("xyz", None, id="unknown IDs are dropped"),
        pytest.param("", None, id="empty leaves it to the kubelet"),
        pytest.param("ccc", {"c"}, id="duplicates collapse"),
    ],
)
def test_bad_preference_replies_raise_nothing(answer, expected):
    chosen = Pool("abcd").choose(1, answer=answer)

    assert len(chosen) == 1
    assert chosen <= set("abcd")
    assert expected is None or chosen == expected


def test_too_many_preferred_gives_a_subset_of_them():
    assert Pool("abcdef").choose(2, answer="def") < set("def")


def test_too_few_preferred_is_topped_up():
    chosen = Pool("abcdef").choose(3, answer="f")

    assert "f" in chosen
    assert len(chosen) == 3


def test_shortage_says_what_is_still_needed_and_available():
    pool = Pool("abc", in_use="ab")

    with pytest.raises(allocation.AllocationError) as caught:
        pool.choose(3, reusable="a")

    assert str(caught.value) == (f"requested number of devices unavailable for {RESOURCE}. Requested: 2, Available: 1")


@pytest.mark.parametrize(
    ("healthy", "held", "text"),
    [
        (None, set(), f"cannot allocate unregistered device {RESOURCE}"),
        (set(), set(), f"no healthy devices present; cannot allocate unhealthy devices {RESOURCE}"),
        (
            {"a"},
            {"b"},
            f"previously allocated devices are no longer healthy; cannot allocate unhealthy devices {RESOURCE}",
        ),
    ],
)
def test_refusals_are_the_kubelets_words(healthy, held, text):
    with pytest.raises(allocation.AllocationError) as caught:
        allocation.check(RESOURCE, healthy=healthy, held=held)

    assert str(caught.value) == text


IDS = st.sets(st.sampled_from([f"d{number}" for number in range(12)]))


@given(healthy=IDS, in_use=IDS, aligned=IDS, unaligned=IDS, answer=IDS, required=st.integers(1, 6), seed=st.integers())
def test_a_choice_is_exact_free_and_healthy_or_refused(healthy, in_use, aligned, unaligned, answer, required, seed):
    free = healthy - in_use
    pool = Pool(healthy, in_use=in_use, aligned=aligned, unaligned=unaligned - aligned, seed=seed)
    try:
        chosen = pool.choose(required, answer=answer)
    except allocation.AllocationError:
        assert len(free) < required
        assert pool.in_use == in_use
        return

    assert len(chosen) == required
    assert chosen <= free
    assert pool.in_use == in_use | chosen
    assert len(pool.questions) <= 1


@given(
    healthy=IDS,
    requests=st.lists(st.tuples(st.integers(1, 4), IDS), max_size=8),
    seed=st.integers(),
)
def test_no_device_is_ever_handed_out_twice_and_counts_add_up(healthy, requests, seed):
    pool = Pool(healthy, seed=seed)
    handed_out = []
    for required, answer in requests:
        try:
            handed_out += sorted(pool.choose(required, answer=answer))
        except allocation.AllocationError:
            continue

    assert len(handed_out) == len(set(handed_out))
    assert set(handed_out) == pool.in_use
    assert len(pool.healthy - pool.in_use) + len(handed_out) == len(healthy)
