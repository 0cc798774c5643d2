"""What the kit says of how a plugin comes back, and how it goes."""

from __future__ import annotations

import pytest

from fakekubelet.conformance import recovery_checks
from fakekubelet.conformance.evidence import Recovery, Stop
from fakekubelet.conformance.settings import Limits, Settings
from tests.kit_evidence import X, Y, broken, kept, life, listed, registration, seen, unjudged

LIMITS = Limits(recovery_s=2.5, start_s=7.5, stop_s=1.5)
BRIEF = Settings(command=("plugin",), limits=LIMITS, is_brief=True)
NOT_OURS = Settings(limits=LIMITS)
BEFORE = unjudged("the plugin was not registered before")
SHORT = unjudged("not tried, being brief")
UNTRIED = unjudged("the kit did not start the process")

OUTCOMES = [
    (Recovery(0.125), "after 0.12 s", "kept"),
    (Recovery(0.0), "after 0.00 s", "kept"),
    (Recovery(None, (X, Y)), f"not registered and listed again within {{limit}} s: {X}, {Y}", "broken"),
    (Recovery(None, (X,), 3), "the process ended with status 3 instead of registering again", "broken"),
    (Recovery(None, (), 0), "the process ended with status 0 instead of registering again", "broken"),
    (Recovery(1.0, (), -15), "the process ended with signal SIGTERM instead of registering again", "broken"),
]
DISTURBED = {
    "restarted": recovery_checks.survives_kubelet_restart,
    "replaced": recovery_checks.survives_replaced_socket,
    "dropped": recovery_checks.survives_dropped_stream,
    "absent": recovery_checks.survives_absent_kubelet,
    "waiting": recovery_checks.waits_for_the_kubelet,
}


@pytest.mark.parametrize("name", DISTURBED)
@pytest.mark.parametrize(("recovery", "said", "word"), OUTCOMES)
def test_a_plugin_comes_back_from_what_is_done_to_it(name, recovery, said, word):
    result = DISTURBED[name](seen(limits=LIMITS, recoveries={name: recovery}))

    assert (str(result.verdict), result.evidence) == (word, said.format(limit="2.5"))


@pytest.mark.parametrize("name", sorted(DISTURBED.keys() - {"waiting"}))
def test_what_was_not_done_to_it_is_not_judged_and_told_why(name):
    check = DISTURBED[name]
    others = {other: Recovery(1.0) for other in DISTURBED if other != name}

    assert check(seen(limits=LIMITS, recoveries=others)) == BEFORE
    assert check(seen(settings=BRIEF, recoveries=others)) == SHORT
    assert check(seen(settings=NOT_OURS)) == BEFORE


def test_a_plugin_that_never_registered_did_not_wait_for_the_kubelet():
    never = unjudged("the plugin never registered")

    assert recovery_checks.waits_for_the_kubelet(seen(settings=BRIEF)) == never


@pytest.mark.parametrize(("recovery", "said", "word"), OUTCOMES)
def test_a_plugin_that_was_killed_registers_after_a_new_start(recovery, said, word):
    result = recovery_checks.survives_kill(seen(limits=LIMITS, revival=recovery))

    assert (str(result.verdict), result.evidence) == (word, said.format(limit="7.5"))


@pytest.mark.parametrize("check", [recovery_checks.survives_kill, recovery_checks.clears_stale_sockets])
def test_what_was_not_killed_is_not_judged_and_told_why(check):
    assert check(seen()) == BEFORE
    assert check(seen(settings=BRIEF)) == SHORT
    assert check(seen(settings=NOT_OURS)) == UNTRIED


@pytest.mark.parametrize(
    ("left", "result"), [((), kept("none left")), (("a.sock", "b.sock"), broken("a.sock is left; b.sock is left"))]
)
def test_sockets_of_a_killed_process_are_cleared_away(left, result):
    assert recovery_checks.clears_stale_sockets(seen(stale_sockets=left)) == result


@pytest.mark.parametrize(
    ("lives", "result"),
    [
        ([], unjudged("only one process was seen to list devices")),
        ([life(x=[listed("a")]), life(), life(x=[listed()])], unjudged("only one process was seen to list devices")),
        ([life(x=[listed("a")]), life(y=[listed("b")])], unjudged("only one process was seen to list devices")),
        ([life(x=[listed("b", "a")]), life(x=[listed(), listed("a", "b"), listed("a")])], kept("2 processes compared")),
        ([life(x=[listed("a")], y=[listed("b")])] + [life(x=[listed("a")])] * 2, kept("3 processes compared")),
        ([life(x=[listed("a", "b")]), life(x=[listed("c", "b")]), life(x=[listed("d", "b", "a")])], broken(f"{X}: a, c, d")),
        ([life(x=[listed("a")], y=[listed("b")]), life(x=[listed("A")], y=[listed("B")])], broken(f"{X}: A, a; {Y}: B, b")),
    ],
)  # fmt: skip  # a table
def test_the_ids_are_the_same_after_every_start(lives, result):
    assert recovery_checks.same_ids(seen(X, Y, instances=lives)) == result


def stop(seconds=0.125, exit_code=0, *, left=(), empty=()):
    return Stop(seconds, exit_code, left, empty)


@pytest.mark.parametrize(
    ("stopped", "result"),
    [
        (stop(), kept("status 0 after 0.12 s")),
        (stop(exit_code=None), kept("status 0 after 0.12 s")),
        (stop(exit_code=3), broken("ended with status 3 after 0.12 s")),
        (stop(exit_code=-9), broken("ended with signal SIGKILL after 0.12 s")),
        (stop(exit_code=-15), broken("SIGTERM killed it: it does not handle the signal")),
        (stop(None, -9), broken("still running 1.5 s after SIGTERM")),
    ],
)
def test_sigterm_ends_it_in_time_with_status_0(stopped, result):
    assert recovery_checks.stops_cleanly(seen(limits=LIMITS, stop=stopped)) == result


@pytest.mark.parametrize(
    ("stopped", "result"),
    [
        (stop(), kept("none left")),
        (stop(exit_code=3, left=("a.sock", "b.sock")), broken("a.sock is left; b.sock is left")),
        (stop(None, -9, left=("a.sock",)), unjudged("it was killed by the signal")),
        (stop(exit_code=-15, left=("a.sock",)), unjudged("it was killed by the signal")),
    ],
)
def test_it_leaves_no_socket_behind_when_it_ends(stopped, result):
    assert recovery_checks.removes_sockets(seen(stop=stopped)) == result


@pytest.mark.parametrize(
    ("stopped", "result"),
    [
        (stop(), kept("none sent")),
        (stop(None, -9, empty=(X, Y)), broken(f"sent one for {X}; sent one for {Y}")),
    ],
)
def test_it_sends_no_empty_list_when_it_ends(stopped, result):
    assert recovery_checks.no_empty_list(seen(stop=stopped)) == result


@pytest.mark.parametrize(
    "check", [recovery_checks.stops_cleanly, recovery_checks.removes_sockets, recovery_checks.no_empty_list]
)
def test_what_was_not_stopped_is_not_judged_and_told_why(check):
    assert check(seen(settings=BRIEF)) == BEFORE
    assert check(seen(settings=NOT_OURS)) == UNTRIED


@pytest.mark.parametrize(
    ("lives", "files", "result"),
    [
        ([life()], ("lock",), unjudged("the plugin never registered")),
        ([life(registration(error="no"))], (), kept("none seen")),
        ([life(), life(registration())], ("lock", "pid"), broken("lock is there; pid is there")),
    ],
)
def test_it_keeps_no_files_in_the_kubelets_directory(lives, files, result):
    assert recovery_checks.keeps_no_files(seen(instances=lives, files=files)) == result
