"""What the kit says of a DRA driver's registration, slices, health, comings and goings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from fakekubelet.conformance.dra import health_checks, recovery_checks, registration_checks, slice_checks
from fakekubelet.conformance.dra.evidence import (
    Change,
    Comeback,
    Entry,
    Evidence,
    Exchange,
    Hotplug,
    Prepared,
    Rollover,
    Stop,
)  # fmt: skip  # one list
from fakekubelet.conformance.dra.settings import Limits, Settings
from tests.kit_evidence import broken, kept, registration, unjudged

LIMITS = Limits(info_s=1.5, publish_s=2.5, change_s=3.5, stop_s=4.5, quiet_s=5.5)
SETTINGS = Settings(
    command=("driver",), root=Path("/r"), cdi_dir=Path("/c"), mend_command="mend", plug_command="plug", limits=LIMITS
)
DRIVER = "gpu.example.com"
NOT_REGISTERED = unjudged("no registration was accepted")


def seen(driver=DRIVER, settings=SETTINGS, **fields):
    return Evidence(settings, driver, **fields)


def test_a_driver_that_nobody_knows_has_so_long():
    assert dataclasses.asdict(Limits()) == {
        "start_s": 30.0, "stop_s": 10.0, "info_s": 1.0, "publish_s": 10.0, "change_s": 5.0, "reply_s": 45.0, "recovery_s": 15.0,
        "republish_s": 75.0, "quiet_s": 2.0,
    }  # fmt: skip  # every field


def test_a_driver_is_told_where_everything_is():
    places = SETTINGS.places

    assert places == {
        "KUBECONFIG": "/r/kubeconfig", "NODE_NAME": "conformance", "PLUGINS_DIR": "/r/plugins", "REGISTRY_DIR": "/r/plugins_registry",
        "CDI_DIR": "/c", "POD_NAME": "driver-under-test", "NAMESPACE": "default", "POD_UID": places["POD_UID"],
    }  # fmt: skip  # name to value
    assert len(places["POD_UID"]) == 36
    assert SETTINGS.places["POD_UID"] != places["POD_UID"], "each process is another pod's"


def test_at_first_nothing_was_seen():
    nothing = Evidence(SETTINGS)

    assert {field.name: value for field in dataclasses.fields(nothing) if (value := getattr(nothing, field.name))} == {
        "settings": SETTINGS, "health_timeout_s": 30.0,
    }  # fmt: skip  # all else is empty
    assert (nothing.info, nothing.published_s, nothing.health_gap_s) == (None, None, None)
    assert (nothing.change, nothing.hotplug, nothing.rollover, nothing.stop) == (None, None, None, None)
    assert (nothing.has_health, nothing.has_new_boot_id) == (False, False)


# -- registration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "output", "result"),
    [
        ([registration(error="no"), registration(DRIVER, endpoint="/p/a"), registration(DRIVER, endpoint="/p/b")], "", kept(f"{DRIVER} at /p/a")),
        ([registration(error="one"), registration(error="two")], "printed", broken("two")),
        ([registration(error="word " * 70)], "", broken("word " * 59 + "...")),
        ([], "", broken("no registration; it printed: nothing")),
        ([], "no\n such file", broken("no registration; it printed: no such file")),
        ([], "word " * 50, broken("no registration; it printed: ... " + "word " * 38 + "word")),
    ],
)  # fmt: skip  # a table
def test_it_registers_and_is_connected(calls, output, result):
    assert registration_checks.registers(seen(registrations=calls, output=output)) == result


def info(name=DRIVER, endpoint="", versions=("v1.DRAPlugin",)):
    return SimpleNamespace(name=name, endpoint=endpoint, supported_versions=versions)


LIMIT = "/" + "e" * 106


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (None, NOT_REGISTERED),
        (info(), kept(f"{DRIVER}, the registration socket itself")),
        (info(endpoint=LIMIT), kept(f"{DRIVER}, {LIMIT}")),
        (info(endpoint=LIMIT + "e"), broken("endpoint has 108 bytes")),
        (info(endpoint="/" + "ü" * 54), broken("endpoint has 109 bytes")),
        (info(endpoint="dra.sock"), broken("endpoint 'dra.sock' is no absolute path")),
        (info(endpoint="e" * 108), broken(f"endpoint '{'e' * 108}' is no absolute path; endpoint has 108 bytes")),
        (info(name=""), broken("Required value")),
    ],
)  # fmt: skip  # a table
def test_its_name_and_endpoint_are_valid(said, result):
    assert registration_checks.driver_info(seen(info=said)) == result


BEFORE = "v1beta1.DRAPlugin before v1.DRAPlugin, and the kubelet takes the first that it knows"


@pytest.mark.parametrize(
    ("given", "result"),
    [
        (["v1.DRAPlugin", "v1beta1.DRAPlugin"], kept("v1.DRAPlugin, v1beta1.DRAPlugin")),
        (["v1beta1.DRAPlugin"], kept("v1beta1.DRAPlugin")),
        (["v1beta1.DRAPlugin", "v1.DRAPlugin"], broken(BEFORE)),
        (["v1beta1.DRAPlugin", "v1alpha1.DRAResourceHealth", "v1.DRAPlugin"], broken(BEFORE)),
        (["v1.DRAPlugin", "v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth", "v1alpha4.Node"], kept("v1.DRAPlugin, v1.DRAResourceHealth, v1alpha1.DRAResourceHealth, v1alpha4.Node")),
        (["1.0.0", "2.0.0"], broken("'1.0.0' is no service that a kubelet knows")),
        (["v1beta1.DRAPlugin", "v1.DRAPlugin", "v2.DRAPlugin"], broken(f"{BEFORE}; 'v2.DRAPlugin' is no service that a kubelet knows")),
    ],
)  # fmt: skip  # a table
def test_its_services_are_listed_newest_first_by_names_that_kubelets_know(given, result):
    assert registration_checks.versions(seen(info=info(versions=given))) == result
    assert registration_checks.versions(seen()) == NOT_REGISTERED


def arrival(endpoint="/p/a", *, listening=True):
    return SimpleNamespace(endpoint=endpoint, was_listening=listening)


def test_it_serves_before_it_registers():
    check = registration_checks.serves_before_registering

    assert check(seen()) == NOT_REGISTERED
    assert check(seen(arrivals=[arrival(), arrival()])) == kept("2 registration(s)")
    late = [arrival(), arrival("/p/b", listening=False), arrival("/p/c", listening=False)]
    assert check(seen(arrivals=late)) == broken("nobody listened at /p/b when it registered")


def test_it_says_who_it_is_in_time():
    check = registration_checks.info_in_time

    assert check(seen()) == unjudged("GetInfo was never answered")
    assert check(seen(info_s=[0.25, 1.5])) == kept("at most 1500 ms")
    assert check(seen(info_s=[1.51, 0.1, 2.25])) == broken("took 2.2 s, over 1.5 s")


def test_it_takes_note_of_how_its_registration_went():
    check = registration_checks.answers_notify

    assert check(seen(notify_errors=["no"])) == NOT_REGISTERED
    assert check(seen(arrivals=[arrival(), arrival()])) == kept("2 time(s)")
    assert check(seen(arrivals=[arrival()], notify_errors=["b", "a", "b"])) == broken("b; a")


def test_it_serves_what_it_lists():
    check = registration_checks.serves_what_it_lists

    assert check(seen(services={"a": ""})) == NOT_REGISTERED
    assert check(seen(info=info())) == kept("nothing is listed that could be called")
    assert check(seen(info=info(), services={"a": "", "b": ""})) == kept("a, b")
    assert check(seen(info=info(), services={"a": "no", "b": "", "c": "gone"})) == broken("a: no; c: gone")


# -- slices -----------------------------------------------------------------------------------------------------------


def slice_(name="s", *devices, **spec):
    metadata = {"name": name, **spec.pop("metadata", {})}
    return {
        "metadata": metadata,
        "spec": {**({"devices": [{"name": one} for one in devices]} if devices else {}), **spec},
    }


NO_SLICES = unjudged("there were no slices with devices")


def test_slices_with_devices_are_published_in_time():
    check = slice_checks.publishes

    assert check(seen("", published_s=1.0)) == NOT_REGISTERED
    assert check(seen()) == broken("no slices within 2.5 s of the registration")
    assert check(seen(slices=[slice_()])) == broken("only slices without devices within 2.5 s of the registration")
    assert check(seen(slices=[slice_("s", "a", "b"), slice_(), slice_("t", "c")], published_s=1.25)) == kept(
        "3 device(s) in 3 slice(s), after 1.2 s"
    )


def test_no_slice_is_refused_by_the_server():
    check = slice_checks.valid_slices

    assert check(seen("", refused_writes=["no"])) == NOT_REGISTERED
    assert check(seen()) == kept("none was refused")
    assert check(seen(refused_writes=["word " * 70, "b", "c", "d"])) == broken("word " * 59 + "...; b; c")


def test_slices_are_for_its_own_node():
    check = slice_checks.own_node
    foreign = [slice_("a", nodeName="n1"), slice_("b", nodeName="conformance"), slice_("c"), slice_("d", nodeName="")]

    assert check(seen()) == NO_SLICES
    assert check(seen(slices=foreign[1:3])) == kept(f"{DRIVER} on conformance")
    assert check(seen(slices=foreign)) == broken(
        "a: nodeName 'n1' is not 'conformance'; d: nodeName '' is not 'conformance'"
    )


def test_every_pool_is_complete():
    check = slice_checks.complete_pools

    assert check(seen(slice_problems={"at rest": "no"})) == NO_SLICES
    assert check(seen(slices=[slice_()], slice_problems={"at rest": "", "later": ""})) == kept(
        "looked at at rest, later"
    )
    problems = {"at rest": "twice", "later": "", "again": "one missing"}
    assert check(seen(slices=[slice_()], slice_problems=problems)) == broken("at rest: twice; again: one missing")


def test_slices_go_with_their_node():
    check = slice_checks.owned_by_node
    owned = slice_("a", nodeName="n", metadata={"ownerReferences": [{"uid": "x"}, {"uid": "node"}]})
    loose = [
        slice_(name, nodeName="n", metadata={"ownerReferences": owners})
        for name, owners in zip("bcde", ([], None, [{"uid": "x"}], []), strict=True)
    ]

    assert check(seen(node_uid="node")) == NO_SLICES
    assert check(seen(slices=[owned, slice_("z")], node_uid="node")) == kept("2 slice(s)")
    assert check(seen(slices=[owned, *loose], node_uid="node")) == broken(
        "b: no ownerReference to the Node; c: no ownerReference to the Node; d: no ownerReference to the Node"
    )


def test_nothing_is_written_while_nothing_changes():
    check = slice_checks.no_rewriting

    assert check(seen(slices=[slice_()])) == NO_SLICES
    assert check(seen(idle_writes={"at rest": 1})) == NO_SLICES
    assert check(seen(slices=[slice_()], idle_writes={"at rest": 0, "tainted": 0})) == kept(
        "looked at rest, tainted for 5.5 s each"
    )
    assert check(seen(slices=[slice_()], idle_writes={"at rest": 2, "tainted": 0, "later": 1})) == broken(
        "2 write(s) at rest; 1 write(s) later"
    )


def test_a_slice_is_updated_and_not_made_again():
    check = slice_checks.changes_in_place
    slices = [slice_(name) for name in "abcd"]

    assert check(seen(own_deletions=["a"])) == NO_SLICES
    assert check(seen(slices=slices, own_deletions=["z"])) == kept("none was deleted")
    assert check(seen(slices=slices, own_deletions=["z", *"dcba"])) == broken(
        "d was deleted; c was deleted; b was deleted"
    )


# -- health and changes -----------------------------------------------------------------------------------------------


NO_HEALTH = unjudged("it sends no health, which it need not")
BRIEF = dataclasses.replace(SETTINGS, is_brief=True)


def test_health_messages_have_every_device():
    check = health_checks.complete_health

    assert check(seen(health_missing=["a"])) == NO_HEALTH
    assert check(seen(has_health=True)) == kept("all devices were listed")
    assert check(seen(has_health=True, health_missing=["a", "b"])) == broken("a, b left out")


def test_health_is_said_again_while_it_is_believed():
    check = health_checks.health_in_time

    assert check(seen()) == NO_HEALTH
    assert check(seen(settings=BRIEF, has_health=True)) == unjudged("--brief does not wait for it")
    assert check(seen(has_health=True, health_timeout_s=12.5)) == broken(
        "nothing for 12.5 s, after which devices are Unknown"
    )
    assert check(seen(has_health=True, health_gap_s=10.25)) == kept("again after 10.2 s, and it is believed for 30 s")


NO_BREAK = unjudged("no --break command was given")
NOTHING = broken("nothing within 3.5 s of the --break command")


def test_a_break_is_seen_in_slices_and_in_health():
    slices, health = health_checks.break_in_slices, health_checks.break_in_health
    change = Change(("p", "d"), 0.25, "tainted", 1.5)

    assert slices(seen()) == NO_BREAK
    assert slices(seen(change=Change(health_broken_s=1.0))) == NOTHING
    assert slices(seen(change=change)) == kept("tainted, after 250 ms")
    assert health(seen(change=change)) == NO_HEALTH
    assert health(seen(has_health=True)) == NO_BREAK
    assert health(seen(has_health=True, change=Change(slice_broken_s=1.0))) == NOTHING
    assert health(seen(has_health=True, change=change)) == kept("UNHEALTHY, after 1500 ms")


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (None, unjudged("no --mend command was given")),
        (Change(slice_mended_s=1.0), unjudged("the break was not seen")),
        (Change(slice_broken_s=1.0, slice_mended_s=0.25), kept("after 250 ms")),
        (Change(health_broken_s=1.0, health_mended_s=0.5), kept("after 500 ms")),
        (Change(slice_broken_s=1.0, slice_mended_s=0.25, health_broken_s=1.0, health_mended_s=1.5), kept("after 1500 ms")),
        (Change(slice_broken_s=1.0, slice_said="the taint", health_broken_s=1.0, health_mended_s=1.5), broken("slices: the taint stayed")),
        (Change(slice_broken_s=1.0, slice_mended_s=0.25, health_broken_s=1.0), broken("health: UNHEALTHY stayed")),
        (Change(slice_broken_s=0.0, slice_said="it", health_broken_s=0.0), broken("slices: it stayed; health: UNHEALTHY stayed")),
    ],
)  # fmt: skip  # a table
def test_what_was_said_of_a_break_is_taken_back(change, result):
    assert health_checks.mended(seen(change=change)) == result


def test_without_a_command_nothing_is_mended_and_nothing_plugged_in():
    plain = Settings(root=Path("/r"), cdi_dir=Path("/c"))

    assert health_checks.mended(seen(settings=plain, change=Change(slice_broken_s=1.0))) == unjudged(
        "no --mend command was given"
    )
    assert health_checks.plugged(seen(settings=plain, hotplug=Hotplug(gone_s=1.0))) == unjudged(
        "no --plug command was given"
    )


def test_a_device_that_is_unplugged_goes_and_comes_back_in_time():
    out, in_ = health_checks.unplugged, health_checks.plugged

    assert out(seen()) == unjudged("no --unplug command was given")
    assert in_(seen()) == unjudged("no --plug command was given")
    assert out(seen(hotplug=Hotplug())) == broken("nothing within 3.5 s of the --unplug command")
    assert in_(seen(hotplug=Hotplug(back_s=1.0))) == unjudged("it was never seen to be gone")
    assert out(seen(hotplug=Hotplug(gone_s=0.25))) == kept("after 250 ms")
    assert in_(seen(hotplug=Hotplug(gone_s=0.25))) == broken("nothing within 3.5 s of the --plug command")
    assert in_(seen(hotplug=Hotplug(gone_s=0.25, back_s=1.5))) == kept("after 1500 ms")


# -- coming back and going --------------------------------------------------------------------------------------------


NOT_TRIED = unjudged("it did not come to that")


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (recovery_checks.survives_kubelet_restart, "kubelet restart"), (recovery_checks.republishes, "slices after the restart"),
        (recovery_checks.survives_lost_watch, "slices wiped, watch lost"), (recovery_checks.health_again, "health after the restart"),
        (recovery_checks.survives_kill, "SIGKILL"),
    ],
)  # fmt: skip  # a table
def test_it_comes_back_from_what_is_done_to_it(check, name):
    def result(*given, **named):
        return check(seen(comebacks={name: Comeback(*given, **named), "other": Comeback(9.0)}))

    assert check(seen(comebacks={"other": Comeback(9.0)})) == NOT_TRIED
    assert result(1.25) == kept("after 1.2 s")
    assert result(0.0) == kept("after 0.0 s")
    assert result(None, 3) == broken("it ended with status 3")
    assert result(None, 0) == broken("it ended with status 0")
    assert result(None, missing="no registration") == broken("no registration in time")


def answer(purpose, name="d", error=""):
    return Exchange(purpose, "M", ("u",), {"u": Entry(error, (Prepared("p", name, (), ()),))})


def test_a_claim_of_a_dead_process_is_answered_as_before():
    check = recovery_checks.same_answer_after_kill

    assert check(seen(exchanges=[answer("before SIGKILL"), answer("after SIGKILL")])) == kept("the same answer")
    assert check(seen(exchanges=[answer("before SIGKILL"), answer("after SIGKILL", "e")])) == broken(
        "the second answer differs from the first"
    )
    assert check(seen(exchanges=[answer("before SIGKILL")])) == NOT_TRIED


REBOOT = "after a reboot"
OLD_BOOT_ID = unjudged("they were not; but the boot id was the old one, for want of root: it may look at that")


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({}, NOT_TRIED),
        ({"exchanges": [answer(REBOOT, error="word " * 50)]}, broken("word " * 39 + "...")),
        ({"exchanges": [answer(REBOOT)]}, unjudged("no answer had a CDI id")),
        ({"exchanges": [answer(REBOOT)], "cdi_edits": {REBOOT: {}}}, unjudged("no answer had a CDI id")),
        ({"exchanges": [answer(REBOOT)], "cdi_edits": {REBOOT: {"a": 1, "b": 2}}}, kept("2 id(s) injected")),
        ({"exchanges": [answer(REBOOT)], "cdi_unresolvable": {REBOOT: "gone"}}, OLD_BOOT_ID),
        ({"exchanges": [answer(REBOOT)], "cdi_unresolvable": {REBOOT: "gone"}, "has_new_boot_id": True}, broken("gone")),
    ],
)  # fmt: skip  # a table
def test_files_are_written_again_after_a_reboot(fields, result):
    assert recovery_checks.cdi_after_reboot(seen(**fields)) == result


def test_a_claim_of_a_dead_process_is_unprepared():
    check, purpose = recovery_checks.unprepares_for_the_dead, "of a dead process"

    assert check(seen()) == NOT_TRIED
    assert check(seen(exchanges=[answer(purpose)])) == kept("no error")
    assert check(seen(exchanges=[answer(purpose, error="word " * 50)])) == broken("word " * 39 + "...")


@pytest.mark.parametrize(
    ("stop", "ends", "sockets"),
    [
        (None, NOT_TRIED, NOT_TRIED),
        (Stop(1.25, 0, ()), kept("status 0 after 1.2 s"), kept("none is left")),
        (Stop(1.25, None, ("a", "b")), kept("status 0 after 1.2 s"), broken("a is left; b is left")),
        (Stop(1.25, 3, ("a",)), broken("status 3"), broken("a is left")),
        (Stop(1.25, -15, ("a",)), broken("status -15"), unjudged("it did not end by itself")),
        (Stop(None, -9, ("a",)), broken("it still ran 4.5 s after SIGTERM"), unjudged("it did not end by itself")),
        (Stop(None, None, ("a",)), broken("it still ran 4.5 s after SIGTERM"), unjudged("it did not end by itself")),
    ],
)
def test_it_ends_in_order_and_takes_its_sockets_with_it(stop, ends, sockets):
    assert recovery_checks.stops_cleanly(seen(stop=stop)) == ends
    assert recovery_checks.removes_sockets(seen(stop=stop)) == sockets


TWO = ("/a", "/b")
OTHERS = [answer("before SIGKILL"), answer("after SIGKILL", "e")]


@pytest.mark.parametrize(
    ("rollover", "exchanges", "result"),
    [
        (None, [], NOT_TRIED),
        (Rollover(("/a",), 1.0), [], unjudged("all its instances use one socket: it does not mean to be updated so")),
        (Rollover(TWO), [], broken("the second instance: no registration")),
        (Rollover((), exit_code=3), [], broken("the second instance: it ended with status 3")),
        (Rollover((), exit_code=0), [], broken("the second instance: it ended with status 0")),
        (Rollover(TWO, 1.0, old_gone="its socket", said="no"), [], broken("its socket")),
        (Rollover(TWO, 1.0, said="word " * 50), [], broken("word " * 39 + "...")),
        (Rollover(TWO, 1.0), [], unjudged("there was no claim to ask for")),
        (Rollover(TWO, 1.25, said="", is_same=True), OTHERS, kept("after 1.2 s, with the same answer")),
        (Rollover(TWO, 1.25, said=""), OTHERS, unjudged("its answers are others after each start")),
        (Rollover(TWO, 1.25, said=""), [], broken("another answer than that of the first instance")),
        (Rollover(TWO, 1.25, said=""), [answer("before SIGKILL"), answer("after SIGKILL")], broken("another answer than that of the first instance")),
    ],
)  # fmt: skip  # a table
def test_a_second_instance_takes_over(rollover, exchanges, result):
    assert recovery_checks.takes_over(seen(rollover=rollover, exchanges=exchanges)) == result


@pytest.mark.parametrize(
    ("rollover", "result"),
    [
        (None, NOT_TRIED),
        (Rollover(TWO, ended_s=1.0), NOT_TRIED),
        (Rollover(TWO, 1.0), unjudged("it did not end by itself")),
        (Rollover(TWO, 1.0, ended_s=0.0), kept("nothing is gone with it")),
        (
            Rollover(TWO, 1.0, ended_s=1.0, taken=("/b", "slice s")),
            broken("/b is gone with it; slice s is gone with it"),
        ),
    ],
)
def test_the_first_instance_leaves_the_rest_as_it_is(rollover, result):
    assert recovery_checks.leaves_the_rest(seen(rollover=rollover)) == result
