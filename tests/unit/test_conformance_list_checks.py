"""What the kit says of the lists that a plugin sends."""

from __future__ import annotations

import pytest

from fakekubelet.conformance import list_checks
from fakekubelet.conformance.evidence import Change, SecondStream
from fakekubelet.conformance.settings import Limits, Settings
from tests.kit_evidence import X, Y, broken, kept, life, listed, registration, seen, unjudged

NO_LIST = unjudged("no list was received")
TOO_LARGE = "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (4200000 vs. 4194304)"
UNREADABLE = "grpc: failed to unmarshal the received message"
ACCEPTED, REFUSED = registration(), registration(error="no")
OF_Y = registration(Y)


@pytest.mark.parametrize(
    ("lives", "errors", "result"),
    [
        ([], {}, unjudged("no registration was accepted")),
        ([life(REFUSED, arrived_s={X: 1.0})], {}, unjudged("no registration was accepted")),
        ([life(ACCEPTED)], {X: TOO_LARGE}, unjudged("its list cannot be read")),
        ([life(ACCEPTED, OF_Y, arrived_s={Y: 0.25})], {X: TOO_LARGE}, kept("after at most 250 ms")),
        ([life(ACCEPTED, OF_Y, arrived_s={X: 2.5, Y: 0.012})], {}, kept("after at most 2500 ms")),
        ([life(ACCEPTED, arrived_s={X: 2.51})], {}, broken(f"the list of {X} took 2.5 s, over 2.5 s")),
        ([life(ACCEPTED, OF_Y)], {}, broken(f"no list of {X} within 2.5 s; no list of {Y} within 2.5 s")),
        ([life(), life(ACCEPTED, arrived_s={X: 0.0}), life(arrived_s={X: 9.0})], {}, kept("after at most 0 ms")),
    ],
)
def test_every_resource_is_listed_in_time_after_its_registration(lives, errors, result):
    found = seen(X, Y, instances=lives, stream_errors=errors, limits=Limits(list_s=2.5))

    assert list_checks.first_list(found) == result


def ids(count: int) -> str:
    return "n" * count


@pytest.mark.parametrize(
    ("lives", "errors", "result"),
    [
        ([], {}, NO_LIST),
        ([life(x=[])], {}, NO_LIST),
        ([life()], {X: TOO_LARGE}, NO_LIST),
        ([life()], {Y: "b", X: UNREADABLE}, broken(f"{X}: {UNREADABLE}; {Y}: b")),
        ([life(x=[listed()])], {}, kept("no fault in 1 list(s) of 0 device(s)")),
        ([life(x=[listed("a", "b"), listed("a")]), life(x=[listed(ids(128))], y=[listed("a")])], {}, kept("no fault in 4 list(s) of 2 device(s)")),
        ([life(x=[listed(ids(129)), listed(ids(129))])], {}, broken(f"{X}: the ID {ids(20)}... has 129 bytes")),
        ([life(x=[listed("ü" * 65)])], {}, broken(f"{X}: the ID {'ü' * 20}... has 130 bytes")),
        ([life(x=[listed("", "a")])], {}, broken(f"{X}: an ID is empty")),
        ([life(x=[listed("a", "b", repeated_ids=("a", "b"))])], {}, broken(f"{X}: 'a' is listed twice; {X}: 'b' is listed twice")),
        ([life(x=[listed("", "a", ids(200), repeated_ids=("a",))])], {X: "b"}, broken(f"{X}: b; {X}: 'a' is listed twice; {X}: an ID is empty; {X}: the ID {ids(20)}... has 200 bytes")),
        ([life(x=[listed(*"abcdefg", repeated_ids=tuple("abcdefg"))])], {}, broken("; ".join(f"{X}: '{letter}' is listed twice" for letter in "abcde"))),
    ],
)  # fmt: skip  # a table
def test_every_device_is_listed_once_under_an_id_of_1_to_128_bytes(lives, errors, result):
    assert list_checks.device_ids(seen(X, Y, instances=lives, stream_errors=errors)) == result


@pytest.mark.parametrize(
    ("lives", "result"),
    [
        ([], NO_LIST),
        ([life(x=[listed("a", health={"a": "Unhealthy"})], y=[listed("b")])], kept("no other word in 2 list(s)")),
        ([life(x=[listed("a", health={"a": "healthy"})])], broken(f"{X}: 'healthy' counts as unhealthy")),
        (
            [life(x=[listed("a", "b", health={"a": "sick", "b": ""})])],
            broken(f"{X}: '' counts as unhealthy; {X}: 'sick' counts as unhealthy"),
        ),
    ],
)
def test_health_is_one_of_two_words(lives, result):
    assert list_checks.health_words(seen(X, Y, instances=lives)) == result


@pytest.mark.parametrize(
    ("sizes", "errors", "result"),
    [
        ({}, {}, NO_LIST),
        ({}, {X: UNREADABLE}, NO_LIST),
        ({X: 100, Y: 4_194_304}, {}, kept("at most 4194304 of 4194304 bytes")),
        ({Y: 4_194_305, X: 5_000_000}, {}, broken(f"{X} would send 5000000 bytes with every device unhealthy; {Y} would send 4194305 bytes with every device unhealthy")),
        ({}, {Y: TOO_LARGE, X: TOO_LARGE}, broken(f"{X}: {TOO_LARGE}; {Y}: {TOO_LARGE}")),
        ({X: 4_194_305}, {Y: TOO_LARGE}, broken(f"{Y}: {TOO_LARGE}; {X} would send 4194305 bytes with every device unhealthy")),
    ],
)  # fmt: skip  # a table
def test_a_list_stays_under_4_mib_when_all_is_unhealthy(sizes, errors, result):
    assert list_checks.list_size(seen(X, Y, list_sizes=sizes, stream_errors=errors)) == result


NEVER_CHANGED = unjudged("the list never changed; --break and --mend would change it")


@pytest.mark.parametrize(
    ("lives", "change", "result"),
    [
        ([], None, NEVER_CHANGED),
        ([life(x=[listed("a")], y=[listed("b")])], None, NEVER_CHANGED),
        ([life(x=[listed("a"), listed()])], None, NEVER_CHANGED),
        ([life(x=[listed("a")])], Change(), kept("no ID was dropped")),
        ([life(x=[listed("a"), listed("a", "b")])], None, kept("no ID was dropped")),
        ([life(x=[listed("a"), listed("a")]), life(x=[listed("b")])], None, kept("no ID was dropped")),
        ([life(x=[listed("a"), listed("a"), listed(), listed()])], None, kept("no ID was dropped")),
        ([life(x=[listed(), listed("a")])], None, kept("no ID was dropped")),
        ([life(x=[listed("a", "b", "c"), listed("b")])], None, broken(f"{X}: a, c no longer listed")),
        ([life(x=[listed("a"), listed(), listed("a")])], None, broken(f"{X}: a no longer listed")),
        ([life(x=[listed("a")] * 2, y=[listed("b"), listed("c")])], Change(), broken(f"{Y}: b no longer listed")),
        (
            [life(y=[listed("b"), listed("c")], x=[listed("a"), listed("c")]), life(x=[listed("a"), listed("b")])],
            None,
            broken(f"{X}: a no longer listed; {Y}: b no longer listed"),
        ),
    ],
)
def test_a_device_is_listed_for_as_long_as_it_lives(lives, change, result):
    assert list_checks.full_lists(seen(X, Y, instances=lives, change=change)) == result


NOT_BROKEN = broken("no list with fewer healthy devices within 2.5 s of --break")


@pytest.mark.parametrize(
    ("change", "mend", "result"),
    [
        (None, "true", unjudged("needs --break and --mend, and a healthy device")),
        (Change(), "true", NOT_BROKEN),
        (Change(X), "true", NOT_BROKEN),
        (Change(None, 1.0), "true", NOT_BROKEN),
        (Change(X, 0.25, None, frozenset("ba")), "true", broken(f"{X}: a, b not healthy again within 2.5 s of --mend")),
        (Change(X, 0.25, None, frozenset("a")), None, kept(f"{X}: 250 ms, commands included")),
        (Change(X, 0.25, 1.5, frozenset("a")), "true", kept(f"{X}: 250 ms and 1500 ms, commands included")),
    ],
)
def test_a_device_is_listed_as_broken_and_as_mended(change, mend, result):
    settings = Settings(limits=Limits(list_s=2.5), mend_command=mend)

    assert list_checks.health_updates(seen(settings=settings, change=change)) == result


@pytest.mark.parametrize(
    ("streams", "result"),
    [
        ({}, unjudged("no second stream was opened")),
        ({X: SecondStream(frozenset())}, kept("list on both; an update needs --break")),
        ({X: SecondStream(frozenset("a")), Y: SecondStream(frozenset("b"), "", True)}, kept("list and update on both")),
        ({X: SecondStream(frozenset("a"), "", True), Y: SecondStream(frozenset("b"))}, kept("list and update on both")),
        ({X: SecondStream(frozenset("a"), "", False)}, broken(f"{X}: an update went to one stream only")),
        (
            {Y: SecondStream(None), X: SecondStream(None, "(the stream ended)", False)},
            broken(f"{X}: no list on the second stream (the stream ended); {Y}: no list on the second stream"),
        ),
    ],
)
def test_a_second_stream_is_served_like_the_first(streams, result):
    assert list_checks.every_stream(seen(X, Y, second_streams=streams)) == result


@pytest.mark.parametrize(
    ("resources", "lives", "result"),
    [
        ([X], [life(x=[listed("a")])], unjudged("there is one resource only")),
        ([X, Y], [life(x=[listed("a")], y=[listed("b")])], kept("2 resources compared")),
        ([X, Y], [], kept("2 resources compared")),
        ([X, Y], [life(x=[listed("a")]), life(x=[listed("b")], y=[listed("b", "a")])], broken(f"{X} and {Y} both list a, b")),
    ],
)  # fmt: skip  # a table
def test_no_two_resources_have_the_same_device(resources, lives, result):
    assert list_checks.ids_across_resources(seen(*resources, instances=lives)) == result


@pytest.mark.parametrize(
    ("rates", "result"),
    [
        ({}, NO_LIST),
        ({X: 0.0, Y: 0.9}, kept("quiet for 1.5 s")),
        ({X: 0.0, Y: 0.91}, broken(f"{Y}: 0.9 a second")),
        ({Y: 2.0, X: 1.0}, broken(f"{X}: 1.0 a second; {Y}: 2.0 a second")),
    ],
)
def test_nothing_new_is_not_said_every_second(rates, result):
    assert list_checks.no_chatter(seen(X, Y, idle_repeats=rates, limits=Limits(quiet_s=1.5))) == result
