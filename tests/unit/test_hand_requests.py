"""What a hand is asked, from and to JSON: nothing of a change is lost on the way, and what is none is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw.errors import InputError
from fakehw.hand import requests
from fakehw.layout import TreePath
from fakehw.scenario.timeline import Act, Change
from fakehw.tree.selection import Pattern

TOLD = {"at_s": 1.5, "step": "break", "act": "set", "paths": ["/n/dev1/1"], "text": "unhealthy hot", "name": "health"}
CHANGE = Change(1.5, "break", Act.SET, (TreePath("n", "dev1", 1),), "unhealthy hot")


def test_a_change_is_told_field_by_field() -> None:
    assert requests.change_to_json(CHANGE) == TOLD
    assert requests.change_from_json(TOLD) == CHANGE
    assert requests.change_from_json({key: TOLD[key] for key in TOLD if key != "name"}) == CHANGE, (
        "as an older kubectl-fakehw says it"
    )
    assert requests.change_from_json(TOLD | {"at_s": "2", "paths": [], "text": 7}) == Change(
        2.0, "break", Act.SET, (), "7"
    )


@given(
    st.builds(
        Change, st.floats(0, 1e9), st.text(), st.sampled_from(Act),
        st.lists(st.builds(TreePath, st.just("n"), st.just("dev1"), st.integers(0, 9))).map(tuple), st.text(), st.sampled_from(["health", "fan_2"]),
    )
)  # fmt: skip
def test_a_change_arrives_as_it_was_sent(change: Change) -> None:
    assert requests.change_from_json(json.loads(json.dumps(requests.change_to_json(change)))) == change


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (TOLD | {"act": "fly"}, "'fly' is not a valid Act"),
        (TOLD | {"at_s": "soon"}, "could not convert string to float: 'soon'"),
        (TOLD | {"paths": 3}, "'int' object is not iterable"),
        (TOLD | {"name": "../x"}, "must be the name of an attribute: lower-case letters, digits or '_', a letter first, and not node"),
        *(({key: TOLD[key] for key in TOLD if key != left_out}, f"'{left_out}'") for left_out in ("at_s", "step", "act", "paths", "text")),
    ],
)  # fmt: skip  # one row a mistake
def test_what_is_no_change_is_refused_with_what_was_told(told: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError) as caught:
        requests.change_from_json(told)
    assert str(caught.value) == f"{told!r}: is no change: {why}"


def test_what_is_wanted_are_paths_and_patterns() -> None:
    assert requests.wanted_from_json({"wanted": ["/n/dev1/1", "n", "*/dev1/*"]}) == [
        TreePath("n", "dev1", 1), TreePath("n"), Pattern(("*", "dev1", "*")),
    ]  # fmt: skip
    assert requests.wanted_from_json({"wanted": []}) == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "None: are no paths: 'wanted'"),
        ({"wanted": 3}, "3: are no paths: 'int' object is not iterable"),
        ({"wanted": [3]}, "[3]: are no paths: 'int' object has no attribute 'removeprefix'"),
        ({"wanted": ["n/dev1/x"]}, "['n/dev1/x']: are no paths: a device's name must be a number from 0 to 999999999 without leading zeros"),
    ],
)  # fmt: skip  # one row a mistake
def test_what_are_no_paths_are_refused(told: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        requests.wanted_from_json(told)
    assert str(caught.value) == said


def test_a_greeting_says_which_language_and_which_release() -> None:
    assert requests.greeting("1.2.3") == {"hand": 1, "fakehw": "1.2.3"}
