"""What the kit says of how a plugin registers."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakekubelet.conformance import registration_checks as checks
from fakekubelet.conformance.settings import Limits, Settings
from tests.kit_evidence import X, Y, broken, kept, life, options, registration, seen, unjudged

SILENT = unjudged("the plugin never called Register")
WATCHED = unjudged("it registers through plugins_registry, without a call of its own")
VERSIONS = "RegisterPlugin error -- manager version, v1beta1, is not among plugin supported versions [v1]"


def watched(resource: str = X, **fields: object):
    return registration(resource, **{"endpoint": "/reg/x.sock", "route": "watcher", "request_options": None, **fields})


OTHERS_TELL = unjudged("the kubelet refuses version or name, which other checks tell")


@pytest.mark.parametrize(
    ("calls", "output", "result"),
    [
        ([registration(), registration(Y)], "", kept(f"2 resource(s): {X}, {Y}")),
        ([registration("example.com/a"), registration(Y), registration()], "", kept(f"3 resource(s): example.com/a, {X}, {Y}")),
        ([registration(error="no"), registration(), watched(Y)], "", kept(f"2 resource(s): {X}, {Y}")),
        ([registration(), registration(Y, version="v1alpha1", error="no")], "", OTHERS_TELL),
        ([registration(), registration("y", error="no")], "", OTHERS_TELL),
        ([registration(), watched(Y, error=VERSIONS)], "", OTHERS_TELL),
        ([], "", broken(f"within 7.5 s no registration of {X}, {Y}")),
        ([], "no\n such file", broken(f"within 7.5 s no registration of {X}, {Y}; it printed: no such file")),
        ([], "word " * 80, broken(f"within 7.5 s no registration of {X}, {Y}; it printed: ... " + "word " * 58 + "word")),
        ([registration()], "printed", broken(f"within 7.5 s no registration of {Y}")),
        (
            [registration(error="two"), registration(Y, error="one"), registration(error="two")], "printed",
            broken(f"within 7.5 s no registration of {X}, {Y}; refused: {X}: two, {Y}: one"),
        ),
    ],
)  # fmt: skip  # a table
def test_every_resource_is_registered_in_time(calls, output, result):
    found = seen(X, Y, instances=[life(), life(*calls)], output=output, limits=Limits(start_s=7.5))

    assert checks.registers(found) == result


def test_of_a_plugin_of_which_nothing_is_known_anything_is_missing():
    nothing = seen(instances=[life()])
    nothing.resources = []

    assert checks.registers(nothing) == broken("within 30 s no registration of anything")


@pytest.mark.parametrize(
    ("calls", "result"),
    [
        ([], SILENT),
        ([registration(error="no"), registration(Y)], kept("v1beta1")),
        ([registration(), registration(version="v1"), registration(version="")], broken("sent '', 'v1'")),
        ([watched(error=VERSIONS), watched(Y, error=VERSIONS), registration(version="v1")], broken(VERSIONS)),
    ],
)
def test_the_version_is_the_only_one_there_is(calls, result):
    assert checks.version(seen(instances=[life(*calls)])) == result


@pytest.mark.parametrize(
    ("calls", "result"),
    [
        ([], SILENT),
        ([registration(Y), registration(), registration()], kept(f"{X}, {Y}")),
        ([registration("y"), registration(), registration("a b")], broken("'a b' is refused; 'y' is refused")),
    ],
)
def test_the_resource_has_a_valid_name(calls, result):
    assert checks.resource_name(seen(instances=[life(*calls)])) == result


AT_THE_LIMIT = "e" * 103  # and "/dp/" before it
WATCHED_LIMIT = "/" + "e" * 106


@pytest.mark.parametrize(
    ("calls", "result"),
    [
        ([], SILENT),
        ([registration(endpoint="b"), registration(endpoint="a")], kept("such as a")),
        ([registration(endpoint=AT_THE_LIMIT)], kept(f"such as {AT_THE_LIMIT}")),
        ([registration(endpoint=AT_THE_LIMIT + "e")], broken(f"'{AT_THE_LIMIT}e' makes a path of 108 bytes")),
        ([registration(endpoint="ü" * 52)], broken(f"'{'ü' * 52}' makes a path of 108 bytes")),
        (
            [registration(endpoint=name) for name in ("/dp/x", "", ".", "..", "a/b", "kubelet.sock", "ok")],
            broken("; ".join(f"'{name}' is not a bare file name of its own" for name in ("", ".", "..", "/dp/x", "a/b", "kubelet.sock"))),
        ),
        ([watched(endpoint=WATCHED_LIMIT)], kept(f"such as {WATCHED_LIMIT}")),
        ([watched(endpoint=WATCHED_LIMIT + "e")], broken(f"'{WATCHED_LIMIT}e' is no absolute path of at most 107 bytes")),
        ([watched(endpoint="/" + "ü" * 54)], broken(f"'/{'ü' * 54}' is no absolute path of at most 107 bytes")),
        ([watched(endpoint="x.sock")], broken("'x.sock' is no absolute path of at most 107 bytes")),
    ],
)  # fmt: skip  # a table
def test_the_endpoint_is_a_bare_file_name_on_a_short_path(calls, result):
    assert checks.endpoint_name(seen(instances=[life(*calls)])) == result


@pytest.mark.parametrize(
    ("lives", "result"),
    [
        ([], unjudged("only one process was seen to register")),
        ([[registration()], [], [registration(error="no")]], unjudged("only one process was seen to register")),
        ([[registration()], [watched(endpoint="x.sock")]], unjudged("only one process was seen to register")),
        ([[watched()], [watched()]], WATCHED),
        ([[registration(endpoint="a"), registration(endpoint="a")], [registration(endpoint="b")]], kept("2 processes compared")),
        ([[registration(endpoint="a")], [registration(endpoint="a", error="no"), registration(endpoint="b")]], kept("2 processes compared")),
        ([[registration(endpoint=name)] for name in "abc"], kept("3 processes compared")),
        (
            [[registration(endpoint="b")], [registration(endpoint="a")], [registration(endpoint="b"), registration(endpoint="a")]],
            broken("a, b is used by one process after the other"),
        ),
    ],
)  # fmt: skip  # a table
def test_a_socket_name_is_used_by_one_process(lives, result):
    assert checks.endpoint_unique(seen(instances=[life(*calls) for calls in lives])) == result


NO_SOCKET = unjudged("no socket of a sane name that the kubelet had not deleted")
EARLY = {"was_listening": False}


@pytest.mark.parametrize(
    ("calls", "result"),
    [
        ([], SILENT),
        ([watched()], WATCHED),
        ([registration(), watched(), registration(endpoint="b", time=9)], kept("2 socket(s)")),
        ([registration(endpoint="b", **EARLY), registration(endpoint="a", **EARLY)], broken("nobody listened on a, b when Register was called")),
        ([registration(), registration(**EARLY)], kept("1 socket(s)")),
        ([registration(endpoint="../a", **EARLY)], NO_SOCKET),
        ([registration(time=5.0, error="no", **EARLY)], NO_SOCKET),
        ([registration(time=5.0, error="no", **EARLY), registration(time=6.0, **EARLY)], NO_SOCKET),
        ([registration(time=5.1, error="no", **EARLY)], broken("nobody listened on x.sock when Register was called")),
        ([registration(time=1.0, **EARLY)], broken("nobody listened on x.sock when Register was called")),
    ],
)  # fmt: skip  # a table
def test_somebody_listens_on_the_socket_before_register_is_called(calls, result):
    assert checks.serves_before_registering(seen(instances=[life(*calls)], waited_until=5.0)) == result


@pytest.mark.parametrize(
    ("calls", "result"),
    [
        ([], SILENT),
        ([watched(deadline_s=1.0)], WATCHED),
        ([registration()], kept("no deadline")),
        ([registration(deadline_s=15.0), registration(deadline_s=9.5), registration()], kept("at least 10 s")),
        ([registration(deadline_s=20.4), watched(deadline_s=1.0)], kept("at least 20 s")),
        ([registration(deadline_s=9.49), registration(deadline_s=1.25), registration(deadline_s=60)], broken("gives up after 1.2 s, 9.5 s")),
    ],
)  # fmt: skip  # a table
def test_register_is_waited_for_longer_than_a_kubelet_may_dial(calls, result):
    assert checks.register_deadline(seen(instances=[life(*calls)])) == result


BOTH = "pre_start_required and get_preferred_allocation_available"


@pytest.mark.parametrize(
    ("calls", "said", "result"),
    [
        ([registration()], {}, unjudged("no options were received")),
        ([watched()], {X: options()}, WATCHED),
        ([registration()], {X: options()}, kept("no options")),
        ([registration(request_options=(True, True))], {X: options(pre_start=True, preferred=True), Y: options()}, kept(BOTH)),
        ([registration(error="no", request_options=(True, True)), registration()], {X: options()}, kept("no options")),
        ([registration(Y, request_options=(True, True)), registration()], {X: options()}, kept("no options")),
        (
            [registration(), registration(request_options=(True, True)), registration(Y, request_options=(False, True))],
            {Y: options(pre_start=True), X: options()},
            broken(f"{X} registered with {BOTH}, says no options; {Y} registered with get_preferred_allocation_available, says pre_start_required"),
        ),
        ([registration(request_options=None)], {X: options(pre_start=True)}, broken(f"{X} registered with no options, says pre_start_required")),
    ],
)  # fmt: skip  # a table
def test_the_options_answered_are_those_registered_with(calls, said, result):
    assert checks.options_agree(seen(X, Y, instances=[life(*calls)], options=said)) == result


@pytest.mark.parametrize(
    ("calls", "said", "result"),
    [
        ([], {}, unjudged("no options were received")),
        ([registration(error="no")], {X: options(took=0.25), Y: options(took=1.5)}, kept("at most 1500 ms")),
        ([], {Y: options(took=1.51), X: options(took=2.0)}, broken(f"{X} took 2.0 s, over 1.5 s; {Y} took 1.5 s, over 1.5 s")),
        (
            [registration(error="failed to get device plugin options: b"), registration(error="failed to get device plugin options: a")],
            {X: options()},
            broken("failed to get device plugin options: a, failed to get device plugin options: b"),
        ),
    ],
)  # fmt: skip  # a table
def test_the_options_are_answered_in_time(calls, said, result):
    found = seen(X, Y, instances=[life(*calls)], options=said, limits=Limits(options_s=1.5))

    assert checks.options_in_time(found) == result


@pytest.mark.parametrize(
    ("calls", "result"),
    [
        ([], unjudged("no registration was accepted")),
        ([registration(error="no", streams_before=1)], unjudged("no registration was accepted")),
        ([registration(), registration(Y), registration(error="no")], kept("3 registration(s) seen")),
        (
            [registration(Y, streams_before=1), registration(streams_before=1), registration(streams_before=2), registration(Y)],
            broken(f"2 time(s) for {X} with a stream open; 1 time(s) for {Y} with a stream open"),
        ),
    ],
)  # fmt: skip  # a table
def test_it_does_not_register_while_the_kubelet_listens_to_it(calls, result):
    assert checks.registers_once(seen(instances=[life(*calls)])) == result


def test_a_path_is_measured_with_its_directory():
    settings = Settings(plugin_dir=Path("/" + "d" * 90))
    calls = [registration(endpoint="e" * 15), registration(endpoint="e" * 16)]

    result = checks.endpoint_name(seen(settings=settings, instances=[life(*calls)]))

    assert result == broken(f"'{'e' * 16}' makes a path of 108 bytes")
