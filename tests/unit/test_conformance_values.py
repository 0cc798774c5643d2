"""The values of the kit: what it is told, what it keeps of what it saw, and the text of the contract."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from fakekubelet.conformance import contract_text, evidence
from fakekubelet.conformance.evidence import Instance
from fakekubelet.conformance.settings import Limits, Settings
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.kit_evidence import DIED, LATE, X, Y, allocate, life, listed, prefer, registration, seen


def test_a_plugin_that_nobody_knows_has_so_long():
    assert dataclasses.asdict(Limits()) == {
        "start_s": 30.0,
        "options_s": 2.0,
        "list_s": 5.0,
        "reply_s": 5.0,
        "pre_start_s": 30.0,
        "recovery_s": 10.0,
        "stop_s": 10.0,
        "absent_s": 3.0,
        "quiet_s": 1.0,
    }


def test_what_is_not_said_is_the_directory_of_every_kubelet():
    assert dataclasses.asdict(Settings()) == {
        "command": (),
        "plugin_dir": Path("/var/lib/kubelet/device-plugins"),
        "resources": (),
        "break_command": None,
        "mend_command": None,
        "is_brief": False,
        "mode": "1.36",
        "limits": dataclasses.asdict(Limits()),
    }


def test_a_directory_of_the_usual_name_has_its_neighbours_and_another_has_none():
    usual, other = Settings(plugin_dir=Path("/k/device-plugins")), Settings(plugin_dir=Path("/k/dp"))

    assert usual.plugins_registry == Path("/k/plugins_registry")
    assert usual.pod_resources_socket == Path("/k/pod-resources/kubelet.sock")
    assert usual.places == {
        "PLUGIN_DIR": "/k/device-plugins",
        "POD_RESOURCES": "/k/pod-resources/kubelet.sock",
        "PLUGINS_REGISTRY": "/k/plugins_registry",
    }
    assert (other.plugins_registry, other.pod_resources_socket) == (None, None)
    assert other.places == {"PLUGIN_DIR": "/k/dp", "POD_RESOURCES": "", "PLUGINS_REGISTRY": ""}


def test_an_exchange_knows_how_it_ended():
    late, died, refused, fine = (allocate(error=word) for word in (LATE, DIED, "no", None))

    assert [one.timed_out for one in (late, died, refused, fine)] == [True, False, False, False]
    assert [one.lost_connection for one in (late, died, refused, fine)] == [False, True, False, False]
    assert evidence.TIMED_OUT == "no answer in time"


def test_exchanges_are_found_by_method_and_purpose():
    first, again, unknown, choice = allocate(), allocate("again"), allocate("unknown"), prefer()
    found = seen(exchanges=[first, choice, unknown, again])

    assert found.of("Allocate") == [first, unknown, again]
    assert found.of("Allocate", "again", "first") == [first, again]
    assert found.of("Allocate", "choice") == []
    assert found.of("GetPreferredAllocation", "choice") == [choice]


def test_registrations_and_lists_are_those_of_all_lives():
    refused, accepted, later = registration(error="no"), registration(), registration(Y)
    one, two, other = listed("a"), listed("b"), listed("c")
    found = seen(instances=[life(refused, accepted, x=[one]), life(), life(later, x=[two], y=[other])])

    assert found.registrations == [refused, accepted, later]
    assert found.accepted == [accepted, later]
    assert (found.lists(X), found.lists(Y), found.lists("z")) == ([one, two], [other], [])


def test_at_first_nothing_was_seen_and_the_plugin_is_thought_to_be_well():
    nothing = evidence.Evidence(Settings())

    assert {field.name: getattr(nothing, field.name) for field in dataclasses.fields(nothing)} == {
        "settings": Settings(), "resources": [], "instances": [], "waited_until": 0.0, "options": {}, "list_sizes": {}, "stream_errors": {},
        "exchanges": [], "second_streams": {}, "idle_repeats": {}, "change": None, "survived_unknown": True, "recoveries": {}, "stop": None,
        "revival": None, "stale_sockets": None, "files": (), "output": "",
    }  # fmt: skip  # every field


def test_the_first_ids_of_a_life_are_those_of_its_first_list_with_any():
    one = life(x=[listed(), listed("b", "a"), listed("c")], y=[listed()])

    assert (one.first_ids(X), one.first_ids(Y), one.first_ids("z")) == ({"a", "b"}, set(), set())
    assert Instance(1.0).ended == math.inf


def test_of_what_was_allocated_the_first_response_of_every_answer_counts():
    response, second = pluginapi.ContainerAllocateResponse(envs={"A": "1"}), pluginapi.ContainerAllocateResponse()
    exchanges = [
        allocate("first", response, second), allocate("again", second, resource=Y), allocate("first", error="no"),
        allocate("first", empty=True), allocate("unknown", response), prefer(),
    ]  # fmt: skip  # one list

    assert evidence.allocations(seen(exchanges=exchanges)) == [(X, response), (Y, second)]


@pytest.mark.parametrize(
    ("name", "inside"),
    [("a.sock", True), (".hidden", True), ("...", True), ("", False), (".", False), ("..", False), ("a/b", False), ("/dp/a", False), ("a/", False), ("../dp/a", False), ("./a", False)],
)  # fmt: skip  # a table
def test_a_name_is_inside_a_directory_if_it_is_a_bare_one(name, inside):
    assert evidence.is_inside(Path("/dp"), name) is inside


def test_the_contract_is_there_fact_by_fact_in_one_paragraph_each():
    facts = contract_text.facts()

    assert facts["LW-1"].startswith("LW-1 [R] Called exactly once")
    assert {"REG-1", "DRA-REG-3", "PIT-23", "GP-5"} <= facts.keys()
    assert len(facts) > 150
    for number, text in facts.items():
        assert text.startswith(f"{number} "), text[:80]
        assert "\n" not in text
        assert "**" not in text
        assert "  " not in text
