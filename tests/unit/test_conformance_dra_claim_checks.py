"""What the kit says of how a DRA driver prepares and unprepares, and of the files that it writes for the runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakekubelet.conformance.dra import cdi_checks, claim_checks
from fakekubelet.conformance.dra.evidence import TIMED_OUT, Entry, Evidence, Exchange, Prepared
from fakekubelet.conformance.dra.settings import Limits, Settings
from tests.kit_evidence import broken, kept, unjudged

SETTINGS = Settings(root=Path("/r"), cdi_dir=Path("/c"), limits=Limits(reply_s=2.5))
NOT_ASKED = unjudged("there was no device to make a claim for")
LATE = unjudged("no answer in time")
UID, OTHER = "uid-1", "uid-2"


def seen(*exchanges, **fields):
    return Evidence(SETTINGS, "gpu.example.com", exchanges=list(exchanges), **fields)


def device(name="d", pool="p", requests=("r",), ids=("v/c=d",)):
    return Prepared(pool, name, requests, ids)


def answered(purpose, *devices, error="", uid=UID, method="NodePrepareResources", took=0.0):
    return Exchange(purpose, method, (uid,), {uid: Entry(error, devices)}, "", took)


def failed(purpose, error="rpc error", asked=(UID,)):
    return Exchange(purpose, "NodePrepareResources", asked, None, error)


def empty(purpose):
    return Exchange(purpose, "NodePrepareResources", (UID,), {})


SLICES = [
    {"spec": {"pool": {"name": "p"}, "devices": [{"name": "d"}, {"name": "e"}]}}, {"spec": {"pool": {"name": "q"}}},
]  # fmt: skip  # one without devices


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NOT_ASKED),
        ([answered("second", device())], NOT_ASKED),
        ([answered("first", device("d"), device("e"), device("x", "elsewhere"))], kept("p/d, p/e")),
        ([failed("first", "rpc error: no")], broken("rpc error: no")),
        ([answered("first", error="no such device")], broken("no such device")),
        ([empty("first")], broken("no entry for the claim")),
        ([answered("first", device("x", "elsewhere"))], broken("the answer has no device")),
        ([answered("first", device("", "p"))], broken("a device without pool_name or device_name; p/ is none of its devices")),
        ([answered("first", device("d", ""))], broken("a device without pool_name or device_name; /d is none of its devices")),
        ([answered("first", device("d", "q"), device("d"))], broken("q/d is none of its devices")),
    ],
)  # fmt: skip  # a table
def test_a_claim_is_prepared_with_the_devices_of_its_allocation(exchanges, result):
    assert claim_checks.prepares(seen(*exchanges, slices=SLICES)) == result


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NOT_ASKED),
        ([answered("first", device())], kept("stranger.example.com was left out")),
        ([answered("first", device(), device("x", "elsewhere"))], broken("it prepared elsewhere/x")),
        ([failed("first")], unjudged("the claim was not prepared")),
        ([empty("first")], unjudged("the claim was not prepared")),
        ([answered("first", error="no such device")], unjudged("the claim was not prepared")),
        ([answered("first", error="stranger.example.com: who?")], broken("stranger.example.com: who?")),
    ],
)
def test_the_devices_of_other_drivers_are_left_out(exchanges, result, monkeypatch):
    monkeypatch.setattr(claim_checks.drive, "STRANGER", "stranger.example.com")

    assert claim_checks.foreign_entries(seen(*exchanges)) == result


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([answered("first", device())], unjudged("it did not come to that")),
        ([answered("again", device())], unjudged("it did not come to that")),
        ([failed("first"), answered("again", device())], unjudged("the claim was not prepared the first time")),
        ([empty("first"), answered("again", device())], unjudged("the claim was not prepared the first time")),
        ([answered("first", error="no"), answered("again", device())], unjudged("the claim was not prepared the first time")),
        ([answered("first", device("a"), device("b")), answered("again", device("b"), device("a"))], kept("the same answer")),
        ([answered("first", device("a")), answered("again", device("b"))], broken("the second answer differs from the first")),
        ([answered("first", device("a")), answered("again", device("a", ids=()))], broken("the second answer differs from the first")),
        ([answered("first", device("a")), answered("again", device("a"), device("a"))], broken("the second answer differs from the first")),
        ([answered("first", device("a")), answered("again", error="no")], broken("no")),
        ([answered("first", device("a")), failed("again", "gone")], broken("gone")),
    ],
)  # fmt: skip  # a table
def test_a_claim_is_prepared_again_with_the_same_answer(exchanges, result):
    assert claim_checks.prepares_again(seen(*exchanges)) == result


def entries(purpose, asked, given, method="M"):
    return Exchange(purpose, method, asked, {uid: Entry("") for uid in given})


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NOT_ASKED),
        ([failed("first")], NOT_ASKED),
        ([entries("a", ("1", "2"), ("2", "1")), entries("b", (), ()), failed("c")], kept("2 calls")),
        ([entries("a", ("1", "2"), ("1",))], broken("M (a): 1 entries missing")),
        ([entries("a", ("1", "2"), ())], broken("M (a): 2 entries missing")),
        ([entries("a", ("1",), ("1", "z", "y"))], broken("M (a): an entry for 'y'")),
        ([entries("a", ("1",), ("y",))], broken("M (a): 1 entries missing")),
        ([entries(name, ("1",), (), name.upper()) for name in "abcd"], broken("A (a): 1 entries missing; B (b): 1 entries missing; C (c): 1 entries missing")),
    ],
)  # fmt: skip  # a table
def test_there_is_one_entry_for_every_claim_and_no_other(exchanges, result):
    assert claim_checks.one_entry_each(seen(*exchanges)) == result


def good_and_bad(good=None, bad=None):
    given = {uid: entry for uid, entry in ((UID, good), (OTHER, bad)) if entry is not None}
    return Exchange("one good, one bad", "M", (UID, OTHER), given)


LONG = "word " * 60


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NOT_ASKED),
        ([failed("one good, one bad", TIMED_OUT, (UID, OTHER))], LATE),
        ([failed("one good, one bad", "no such claim", (UID, OTHER))], kept("the call as a whole was refused: no such claim")),
        ([failed("one good, one bad", LONG, (UID, OTHER))], kept("the call as a whole was refused: " + "word " * 29 + "...")),
        ([good_and_bad(Entry("", (device(),)), Entry("no such claim"))], kept("refused: no such claim")),
        ([good_and_bad(Entry(""), Entry(LONG))], kept("refused: " + "word " * 19 + "...")),
        ([good_and_bad(Entry(""))], kept("one entry")),
        ([good_and_bad(Entry("both are bad"), Entry("no"))], broken("the good one failed too: both are bad")),
        ([good_and_bad(Entry(LONG), Entry("no"))], broken("the good one failed too: " + "word " * 29 + "...")),
        ([good_and_bad(Entry(""), Entry(""))], broken("a claim that does not exist was prepared")),
        ([good_and_bad(Entry("no"), Entry(""))], broken("the good one failed too: no; a claim that does not exist was prepared")),
        ([good_and_bad(None, Entry("no"))], kept("refused: no")),
    ],
)  # fmt: skip  # a table
def test_a_bad_claim_is_refused_and_no_good_one_with_it(exchanges, result):
    assert claim_checks.bad_beside_good(seen(*exchanges)) == result


@pytest.mark.parametrize(
    ("check", "purpose"), [(claim_checks.replaced_claim, "replaced"), (claim_checks.unallocated_claim, "unallocated")]
)
def test_a_claim_that_is_not_what_it_was_is_refused(check, purpose):
    assert check(seen(answered("first", device()))) == NOT_ASKED
    assert check(seen(failed(purpose, TIMED_OUT))) == LATE
    assert check(seen(failed(purpose, "gone"))) == kept("refused: gone")
    assert check(seen(answered(purpose, error="another UID"))) == kept("refused: another UID")
    assert check(seen(answered(purpose, error=LONG))) == kept("refused: " + "word " * 23 + "...")
    assert check(seen(empty(purpose))) == kept("refused: no entry for the claim")
    assert check(seen(answered(purpose, device()))) == broken("it was prepared")


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NOT_ASKED),
        ([failed("alternative", "no")], unjudged("it was not prepared: no")),
        ([answered("alternative", error="no")], unjudged("it was not prepared: no")),
        ([answered("alternative", device(requests=("alternatives",)))], kept("alternatives")),
        ([answered("alternative", device(requests=()))], kept("no names, which means all requests")),
        (
            [answered("alternative", device(requests=("alternatives/b", "alternatives")), device(requests=("alternatives/a",)))],
            broken("'alternatives/a', which matches no container; 'alternatives/b', which matches no container"),
        ),
    ],
)  # fmt: skip  # a table
def test_requests_are_named_without_the_alternative(exchanges, result):
    assert claim_checks.base_request_names(seen(*exchanges)) == result


def test_every_call_is_answered_in_time():
    late = failed("slow", TIMED_OUT)

    assert claim_checks.replies_in_time(seen()) == NOT_ASKED
    assert claim_checks.replies_in_time(seen(answered("a", took=0.25), answered("b", took=1.5))) == kept(
        "at most 1500 ms"
    )
    assert claim_checks.replies_in_time(seen(late, answered("a"), failed("b", "no"))) == broken(
        "NodePrepareResources (slow): none within 2.5 s"
    )


UNPREPARED = [
    (claim_checks.unprepares, "second"), (claim_checks.unprepares, "first unprepared"),
    (claim_checks.unprepares_deleted, "object deleted"), (claim_checks.unprepares_unknown, "unknown"),
]  # fmt: skip  # check and purpose


@pytest.mark.parametrize(("check", "purpose"), UNPREPARED)
def test_what_was_prepared_is_unprepared_without_an_error(check, purpose):
    assert check(seen(answered("first"))) == NOT_ASKED
    assert check(seen(answered(purpose))) == kept("no error")
    assert check(seen(answered(purpose, error="busy"))) == broken("busy")
    assert check(seen(failed(purpose, "gone"))) == broken("gone")
    assert check(seen(failed(purpose, LONG))) == broken("word " * 39 + "...")
    assert check(seen(failed(purpose, TIMED_OUT))) == LATE
    assert check(seen(empty(purpose))) == kept("no error"), "that is told elsewhere"


def test_of_two_calls_both_are_judged_and_one_that_is_late_spares_the_other():
    def result(second, first):
        return claim_checks.unprepares(seen(first, second))

    assert result(answered("second", error="a"), answered("first unprepared", error="b")) == broken("a; b")
    assert result(failed("second", TIMED_OUT), answered("first unprepared")) == kept("no error")
    assert result(failed("second", TIMED_OUT), answered("first unprepared", error="b")) == broken("b")
    assert result(failed("second", TIMED_OUT), failed("first unprepared", TIMED_OUT)) == LATE


def test_an_exchange_says_what_went_wrong():
    assert failed("a", "no").said() == "no"
    assert (failed("a").first, empty("a").first) == (None, None)
    assert empty("a").said() == "no entry for the claim"
    assert Exchange("a", "M", (), {}).said() == ""
    assert answered("a", error="no").said() == "no"
    assert answered("a", device()).said() == ""
    assert answered("a", device()).first == Entry("", (device(),))
    assert seen(answered("a", error="1"), answered("b"), answered("a", error="2")).of("a").said() == "1"
    assert seen().of("a") is None
    assert (seen().resources, Evidence(SETTINGS).resources) == (["gpu.example.com"], [])


# -- files for the runtime --------------------------------------------------------------------------------------------


NO_IDS = unjudged("no answer had a CDI id")


def ids(*given, uid=UID, purpose="first", name="d"):
    return answered(purpose, device(name, ids=given), uid=uid)


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NO_IDS),
        ([failed("first"), answered("first", device(ids=()))], NO_IDS),
        ([ids("v/c=a", "v/c=b"), ids("v/c=a", purpose="again")], kept("2 id(s)")),
        ([ids("v/c=a", "b"), ids("a b")], broken("'a b'; 'b'")),
    ],
)
def test_ids_are_vendor_class_and_name(exchanges, result):
    assert cdi_checks.cdi_names(seen(*exchanges)) == result


def test_files_can_be_loaded():
    assert cdi_checks.cdi_files(seen()) == unjudged("no file was written")
    assert cdi_checks.cdi_files(seen(cdi_files_seen=2)) == kept("2 file(s)")
    assert cdi_checks.cdi_files(seen(cdi_files_seen=5, cdi_problems=list("abcd"))) == broken("a; b; c")
    assert cdi_checks.cdi_files(seen(cdi_problems=["no JSON"])) == broken("no JSON")


@pytest.mark.parametrize(
    ("fields", "exchanges", "result"),
    [
        ({}, [], NO_IDS),
        ({"cdi_edits": {"first": {}}}, [], NO_IDS),
        ({"cdi_edits": {"after a reboot": {"v/c=a": 1}}}, [], NO_IDS),
        ({"cdi_edits": {"first": {"v/c=a": 1, "v/c=b": 2}, "second": {"v/c=a": 1}, "third": {}}}, [], kept("3 id(s) injected")),
        ({"cdi_edits": {"first": {"v/c=a": 1}, "after a reboot": {"v/c=a": 1}}}, [], kept("1 id(s) injected")),
        ({"cdi_edits": {"first": {"v/c=a": 1}}, "cdi_problems": ["no JSON"]}, [], unjudged("its files cannot be loaded")),
        ({"cdi_edits": {"first": {"v/c=a": 1}}}, [ids("v/c=a", "odd")], unjudged("its ids are none")),
        ({"cdi_edits": {"first": {}}, "cdi_unresolvable": {"first": "v/c=a: unknown"}}, [ids("v/c=a")], broken("first: v/c=a: unknown")),
        ({"cdi_edits": {"first": {"v/c=a": 1}}, "cdi_unresolvable": {"after a reboot": "gone"}}, [], kept("1 id(s) injected")),
        (
            {"cdi_edits": {name: {} for name in "abcd"}, "cdi_unresolvable": dict.fromkeys("abcd", "no")}, [],
            broken("a: no; b: no; c: no"),
        ),
    ],
)  # fmt: skip  # a table
def test_every_id_of_an_answer_is_described_by_then(fields, exchanges, result):
    assert cdi_checks.cdi_resolvable(seen(*exchanges, **fields)) == result


def test_a_file_is_renamed_into_place():
    assert cdi_checks.cdi_atomic(seen(cdi_written_in_place=["a"])) == unjudged("no file was written")
    assert cdi_checks.cdi_atomic(seen(cdi_files_seen=2)) == kept("2 file(s)")
    assert cdi_checks.cdi_atomic(seen(cdi_files_seen=2, cdi_written_in_place=list("abcd"))) == broken(
        "a was written in place; b was written in place; c was written in place"
    )


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NO_IDS),
        ([answered("first", device(ids=()))], NO_IDS),
        ([answered("first", device("a", ids=("v/c=a", "v/c=x")), device("b", ids=("v/c=b", "v/c=x")))], kept("2 id(s)")),
        ([ids("v/c=a", name="a"), ids("v/c=a", name="a", purpose="again")], kept("1 id(s)")),
        ([ids("v/c=a", name="a"), ids("v/c=a", name="b", uid=OTHER)], kept("2 id(s)")),
        ([ids("v/c=a", name="a"), ids("v/c=a", name="b"), ids("v/c=b", name="c")], broken("v/c=a is that of 2 devices")),
    ],
)  # fmt: skip  # a table
def test_each_device_of_a_claim_has_a_first_id_of_its_own(exchanges, result):
    assert cdi_checks.cdi_unique(seen(*exchanges)) == result


@pytest.mark.parametrize(
    ("edits", "result"),
    [
        ({}, NO_IDS),
        ({"first": {}}, NO_IDS),
        ({"first": {"v/c=a": {"env": 1}, "v/c=b": 2}, "second": {"v/c=a": {"env": 1}}}, kept("2 id(s)")),
        ({"first": {"v/c=a": 1}, "second": {"v/c=a": 2}, "third": {"v/c=a": 3}}, broken("v/c=a has other content second")),
    ],
)  # fmt: skip
def test_a_name_has_one_content_for_ever(edits, result):
    assert cdi_checks.cdi_fresh(seen(cdi_edits=edits)) == result


def test_no_file_of_a_claim_is_left_when_it_is_unprepared():
    assert cdi_checks.cdi_removed(seen(cdi_edits={"first": {}}, cdi_left=["a"])) == NO_IDS
    assert cdi_checks.cdi_removed(seen(cdi_edits={"first": {}, "second": {"v/c=a": 1}})) == kept("nothing is left")
    assert cdi_checks.cdi_removed(seen(cdi_edits={"first": {"v/c=a": 1}}, cdi_left=list("abcd"))) == broken(
        "a is left; b is left; c is left"
    )
