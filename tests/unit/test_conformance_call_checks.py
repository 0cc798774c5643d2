"""What the kit says of a plugin's answers to Allocate, GetPreferredAllocation and PreStartContainer."""

from __future__ import annotations

import pytest

from fakekubelet.conformance import call_checks
from fakekubelet.conformance.settings import Limits
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.kit_evidence import (
    DIED,
    LATE,
    X,
    Y,
    allocate,
    broken,
    kept,
    options,
    pre_start,
    prefer,
    seen,
    unjudged,
)  # fmt: skip  # one list

NOTHING_HEALTHY = unjudged("no healthy device to ask for")


def answer(**fields: object) -> pluginapi.ContainerAllocateResponse:
    return pluginapi.ContainerAllocateResponse(**fields)


def mounted(*paths: str, at: str = "/m") -> pluginapi.ContainerAllocateResponse:
    return answer(mounts=[pluginapi.Mount(container_path=f"{at}{n}", host_path=path) for n, path in enumerate(paths)])


def cdi(*names: str) -> pluginapi.ContainerAllocateResponse:
    return answer(cdi_devices=[pluginapi.CDIDevice(name=name) for name in names])


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NOTHING_HEALTHY),
        ([allocate("again")], NOTHING_HEALTHY),
        ([allocate(), allocate(resource=Y)], kept(f"one response for {X}, {Y}")),
        ([allocate(empty=True)], broken(f"{X}: 0 responses to 1 request")),
        ([allocate("first", answer(), answer()), allocate(resource=Y)], broken(f"{X}: 2 responses to 1 request")),
        ([allocate(error=DIED), allocate(resource=Y, error="no")], broken(f"{X}: {DIED}; {Y}: no")),
        ([allocate(error=LATE)], unjudged("no answer in time")),
        ([allocate(error=LATE), allocate(resource=Y)], kept(f"one response for {X}, {Y}")),
        ([allocate(error=LATE), allocate(resource=Y, error="no")], broken(f"{Y}: no")),
    ],
)
def test_an_allocation_is_answered_with_one_response_for_one_request(exchanges, result):
    assert call_checks.allocate_shape(seen(exchanges=exchanges)) == result


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NOTHING_HEALTHY),
        ([allocate("again")], NOTHING_HEALTHY),
        ([allocate(error="no"), allocate("again")], unjudged("the first Allocate failed")),
        ([allocate()], unjudged("the first Allocate failed")),
        ([allocate(), allocate("again")], kept("answered as before")),
        ([allocate(), allocate("again", error="taken")], broken(f"{X}: taken")),
        (
            [allocate(error="no"), allocate("again", error="no"), allocate(resource=Y), allocate("again", resource=Y)],
            kept("answered as before"),
        ),
    ],
)
def test_a_device_that_was_allocated_is_allocated_again(exchanges, result):
    assert call_checks.allocate_again(seen(exchanges=exchanges)) == result


@pytest.mark.parametrize(
    ("exchanges", "survived", "result"),
    [
        ([], True, unjudged("no list was received")),
        ([allocate()], False, unjudged("no list was received")),
        ([allocate("unknown")], True, kept("answered")),
        ([allocate("unknown", error="who is that?")], True, kept("refused: who is that?")),
        (
            [allocate("unknown", error="no " * 60)],
            True,
            kept("refused: " + "no " * 32 + "..."),
        ),
        ([allocate("unknown", error=LATE)], True, broken(f"{X}: no answer in time")),
        ([allocate("unknown")], False, broken("the plugin ended or dropped its stream over it")),
        (
            [allocate("unknown", error=LATE)],
            False,
            broken(f"{X}: no answer in time; the plugin ended or dropped its stream over it"),
        ),
    ],
)
def test_a_device_that_does_not_exist_is_refused_or_answered_and_survived(exchanges, survived, result):
    assert call_checks.allocate_unknown(seen(exchanges=exchanges, survived_unknown=survived)) == result


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], unjudged("no allocation was answered")),
        ([allocate(error="no")], unjudged("no allocation was answered")),
        ([allocate(empty=True)], unjudged("no allocation was answered")),
        ([allocate("unknown", mounted("/no/such"))], unjudged("no allocation was answered")),
        ([allocate()], unjudged("no mounts and no device nodes")),
        ([allocate("first", mounted("/", "/dev")), allocate("again", mounted("/dev"))], kept("2 path(s)")),
        ([allocate("again", mounted("/", "/no/b", "/no/a"))], broken("/no/a, /no/b not there")),
        (
            [allocate("first", answer(devices=[pluginapi.DeviceSpec(host_path="/no/node")]))],
            broken("/no/node not there"),
        ),
    ],
)
def test_paths_of_the_host_that_an_answer_names_are_there(exchanges, result):
    assert call_checks.host_paths(seen(exchanges=exchanges)) == result


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], unjudged("no allocation was answered")),
        ([allocate()], unjudged("no CDI devices")),
        ([allocate("first", cdi("v.com/c=1", "v.com/c=2")), allocate("again", cdi("v.com/c=1"))], kept("2 name(s)")),
        ([allocate("first", cdi("b", "v/c=1", "a"))], broken("'a'; 'b'")),
    ],
)
def test_names_of_cdi_devices_are_vendor_class_and_name(exchanges, result):
    assert call_checks.cdi_names(seen(exchanges=exchanges)) == result


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("vendor.com/class=device", True), ("V-1_a.b/C_1-x=d:1.2-3_4", True), ("v/c=0", True), ("v/c=all", True),
        ("v/c=", False), ("v/=d", False), ("/c=d", False), ("-v/c=d", False), (".v/c=d", False), ("v/-c=d", False), ("v/c=-d", False), ("v/c=d-", False), ("v/c=d:", False),
        ("v/c.d=e", False), ("v/c", False), ("v=d", False), ("v/c=d e", False), ("v/c=d\n", False), ("v/c/d=e", False), ("ü/c=d", False), ("x v/c=d", False),
    ],
)  # fmt: skip  # a table
def test_a_cdi_name_is_judged_letter_by_letter(name, good):
    result = call_checks.cdi_names(seen(exchanges=[allocate("first", cdi(name))]))

    assert result == (kept("1 name(s)") if good else broken(repr(name)))


@pytest.mark.parametrize(
    ("x", "y", "result"),
    [
        (answer(envs={"A": "1"}), None, unjudged("fewer than two resources were allocated from")),
        (answer(envs={"A": "1"}), answer(envs={"B": "1"}), kept("2 resources compared")),
        (mounted("/", at="/x"), mounted("/", at="/y"), kept("2 resources compared")),
        (answer(envs={"/m0": "1"}), mounted("/"), kept("2 resources compared")),
        (answer(envs={"B": "1", "A": "1"}), answer(envs={"A": "2", "B": "2"}), broken(f"{X} and {Y} both set variable A, variable B")),
        (mounted("/"), answer(devices=[pluginapi.DeviceSpec(container_path="/m0")]), broken(f"{X} and {Y} both set path /m0")),
    ],
)  # fmt: skip  # a table
def test_two_resources_set_no_variable_and_no_path_alike(x, y, result):
    exchanges = [allocate("first", x)] + ([allocate("first", y, resource=Y)] if y is not None else [])

    assert call_checks.distinct_names(seen(X, Y, exchanges=exchanges)) == result


def test_what_one_resource_says_of_several_containers_is_its_own():
    first, again = answer(envs={"A": "1"}), answer(envs={"B": "1"})
    exchanges = [allocate("first", first), allocate("again", again), allocate("first", again, resource=Y)]

    assert call_checks.distinct_names(seen(X, Y, exchanges=exchanges)) == broken(f"{X} and {Y} both set variable B")


NO_PREFERENCE = unjudged("the options say that there is no preferred allocation")
NO_OPTIONS = unjudged("no options were received")
PREFERS = {X: options(), Y: options(preferred=True)}


@pytest.mark.parametrize(
    ("exchanges", "said", "result"),
    [
        ([], {}, NO_OPTIONS),
        ([], {X: options()}, NO_PREFERENCE),
        ([], PREFERS, NOTHING_HEALTHY),
        ([prefer(purpose="unknown")], PREFERS, NOTHING_HEALTHY),
        ([prefer(error="no")], PREFERS, unjudged("every call failed")),
        ([prefer(error="no"), prefer("a")], PREFERS, kept("1 choices")),
        ([prefer("a"), prefer("c", "b", size=2, must="c"), prefer(*"cba", size=3), prefer("c", must="c")], PREFERS, kept("4 choices")),
        ([prefer("a", answers=0)], PREFERS, broken(f"{X}: 0 responses to 1 request")),
        ([prefer("a", answers=2)], PREFERS, broken(f"{X}: 2 responses to 1 request")),
        ([prefer("a", "a", size=2)], PREFERS, broken(f"{X}: names a device twice")),
        ([prefer("z")], PREFERS, broken(f"{X}: chooses what is not available")),
        ([prefer("a", "b")], PREFERS, broken(f"{X}: 2 devices where 1 were asked for")),
        ([prefer()], PREFERS, broken(f"{X}: 0 devices where 1 were asked for")),
        ([prefer("a", "b", size=2, must="c")], PREFERS, broken(f"{X}: leaves out a device that must be included")),
        (
            [prefer(), prefer("z", resource=Y), prefer()],
            PREFERS,
            broken(f"{X}: 0 devices where 1 were asked for; {Y}: chooses what is not available"),
        ),
    ],
)  # fmt: skip
def test_a_preference_is_exact(exchanges, said, result):
    assert call_checks.preferred_exact(seen(exchanges=exchanges, options=said)) == result


@pytest.mark.parametrize(
    ("exchanges", "said", "result"),
    [
        ([], {}, NO_OPTIONS),
        ([], {X: options()}, NO_PREFERENCE),
        ([prefer(error=LATE)], PREFERS, NOTHING_HEALTHY),
        ([prefer("a"), prefer(purpose="unknown"), prefer(error=LATE)], PREFERS, kept("2 calls")),
        (
            [prefer(error="one"), prefer(purpose="unknown", error="two", resource=Y)],
            PREFERS,
            broken(f"{X} (choice): one; {Y} (unknown): two"),
        ),
        (
            [prefer(error=word) for word in ("one", "two", "three", "four")],
            PREFERS,
            broken(f"{X} (choice): one; {X} (choice): two; {X} (choice): three"),
        ),
    ],
)
def test_a_preference_is_never_an_error(exchanges, said, result):
    assert call_checks.preferred_no_error(seen(exchanges=exchanges, options=said)) == result


@pytest.mark.parametrize(
    ("exchanges", "result"),
    [
        ([], NOTHING_HEALTHY),
        ([pre_start(error=LATE), allocate("unknown", error=LATE)], NOTHING_HEALTHY),
        ([allocate(took=0.012), prefer("a", took=0.0305), pre_start(took=9)], kept("at most 30 ms")),
        (
            [allocate(error=LATE), allocate(error=LATE), prefer(error=LATE, resource=Y)],
            broken(f"Allocate of {X}: none within 2.5 s; GetPreferredAllocation of {Y}: none within 2.5 s"),
        ),
    ],
)
def test_the_node_does_not_wait_for_an_answer(exchanges, result):
    assert call_checks.replies_in_time(seen(exchanges=exchanges, limits=Limits(reply_s=2.5))) == result


@pytest.mark.parametrize(
    ("exchanges", "said", "result"),
    [
        ([], {}, unjudged("the options do not ask for it")),
        ([allocate()], {X: options()}, unjudged("the options do not ask for it")),
        ([], {X: options(), Y: options(pre_start=True)}, NOTHING_HEALTHY),
        ([pre_start(took=0.2), pre_start(took=1.5, resource=Y)], {}, kept("at most 1500 ms")),
        ([pre_start(error="no"), pre_start(resource=Y, error=LATE)], {}, broken(f"{X}: no; {Y}: no answer in time")),
    ],
)
def test_a_container_that_is_announced_is_answered_for(exchanges, said, result):
    assert call_checks.pre_start(seen(exchanges=exchanges, options=said)) == result
