"""What the plugin says about a tree that is not as it should be: once, again when it changes, never for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fakehw_plugin.tree import complaints
from fakehw_plugin.tree.complaints import Complaints, Found

if TYPE_CHECKING:
    from collections.abc import Mapping


class Desk:
    def __init__(self) -> None:
        self.complaints = Complaints(structlog.get_logger())

    def read(self, path: str, found: Mapping[tuple[str, str], str]) -> list[tuple[str, str, str]]:
        with capture_logs() as logs:
            self.complaints.replace(path, found)
        return [told(entry) for entry in logs]


def told(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry["event"], entry["path"], entry.get("reason", "")


def bad(path: str, reason: str = "is a FIFO", event: str = "device_passed_over") -> Found:
    return {(path, event): reason}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_stands_is_told_once_and_again_when_it_says_something_else(desk: Desk) -> None:
    assert desk.read("/t/n/c/1", bad("/t/n/c/1")) == [("device_passed_over", "/t/n/c/1", "is a FIFO")]
    assert desk.read("/t/n/c/1", bad("/t/n/c/1")) == []
    assert desk.read("/t/n/c/1", bad("/t/n/c/1", "is a socket")) == [("device_passed_over", "/t/n/c/1", "is a socket")]


def test_what_was_mended_is_told_again_when_it_breaks_again(desk: Desk) -> None:
    desk.read("/t/n/c/1", bad("/t/n/c/1"))
    assert desk.read("/t/n/c/1", {}) == []

    assert len(desk.read("/t/n/c/1", bad("/t/n/c/1"))) == 1


def test_two_complaints_about_one_path_do_not_displace_each_other(desk: Desk) -> None:
    both = bad("/t/n/c") | bad("/t/n/c", "Permission denied", "directory_not_opened")

    assert len(desk.read("/t/n/c", both)) == 2
    assert desk.read("/t/n/c", both) == []
    assert desk.read("/t/n/c", bad("/t/n/c")) == []
    assert len(desk.read("/t/n/c", both)) == 1


def test_a_name_is_remembered_by_what_it_is_and_not_by_how_it_is_written(desk: Desk) -> None:
    """A bad name is shown quoted; what was said of it must be found again by the name itself."""
    path = "/t/n/c/a\nb"
    desk.read(path, bad(repr(path)))
    assert desk.complaints.names("/t/n/c") == {"a\nb"}

    desk.read(path, {})
    assert not desk.complaints.names("/t/n/c")


def test_a_directory_of_rubbish_does_not_silence_the_others(desk: Desk) -> None:
    told = [line for number in range(200) for line in desk.read(f"/t/n/c/x{number}", bad(f"/t/n/c/x{number}"))]

    assert len(told) == complaints.MAX_OF_A_DIRECTORY + 1
    assert told[-1][:2] == ("complaints_limited", "/t/n/c")
    assert len(desk.read("/t/n/other/1", bad("/t/n/other/1"))) == 1


def test_one_that_is_not_told_does_not_have_those_forgotten_that_stand(desk: Desk) -> None:
    path = "/t/n/c/1"
    standing = bad(path)
    desk.read(path, standing)
    for number in range(complaints.MAX_OF_A_DIRECTORY - 1):
        desk.read(f"/t/n/c/x{number}", bad(f"/t/n/c/x{number}"))
    told = desk.read(path, bad(path, event="a") | bad(path, event="b") | standing)
    assert [event for event, *_ in told] == ["a", "complaints_limited"]

    assert desk.read(path, standing) == []


def test_that_something_is_not_told_is_said_again_once_all_was_mended(desk: Desk) -> None:
    for _ in range(2):
        told = [line for number in range(60) for line in desk.read(f"/t/n/c/x{number}", bad(f"/t/n/c/x{number}"))]
        assert [event for event, *_ in told].count("complaints_limited") == 1
        for number in range(60):
            desk.read(f"/t/n/c/x{number}", {})


def test_a_tree_of_rubbish_is_told_up_to_a_limit_and_again_once_there_is_room(desk: Desk) -> None:
    for directory in range(100):
        for number in range(complaints.MAX_OF_A_DIRECTORY):
            desk.read(f"/t/n/c{directory}/x{number}", bad(f"/t/n/c{directory}/x{number}"))
    silenced = "/t/n/c99/x0"
    assert desk.read(silenced, bad(silenced)) == []

    desk.complaints.forget_below("/t/n/c0")

    assert desk.read(silenced, bad(silenced)) == [("device_passed_over", silenced, "is a FIFO")]


def test_what_stood_in_a_directory_that_is_gone_is_forgotten(desk: Desk) -> None:
    desk.read("/t/n/c/1", bad("/t/n/c/1"))
    desk.read("/t/n/c", bad("/t/n/c"))

    desk.complaints.forget_below("/t/n/c")

    assert len(desk.read("/t/n/c/1", bad("/t/n/c/1"))) == 1
    assert desk.read("/t/n/c", bad("/t/n/c")) == [], "that stands in the directory above"


PATHS = st.sampled_from([f"/t/{directory}/{name}" for directory in "ab" for name in "xyz"])
FOUND = st.dictionaries(st.tuples(PATHS, st.sampled_from(["e", "f"])), st.sampled_from(["r", "s"]), max_size=3)


@given(st.lists(st.tuples(PATHS, FOUND) | st.sampled_from(["/t/a", "/t/b"]), max_size=30))
def test_what_is_told_is_always_the_difference_to_what_stood(steps: list[tuple[str, Found] | str]) -> None:
    desk, standing = Desk(), dict[str, Found]()
    for step in steps:
        if isinstance(step, str):
            desk.complaints.forget_below(step)
            standing = {path: found for path, found in standing.items() if not path.startswith(f"{step}/")}
            continue
        path, found = step
        was = standing.get(path, {})
        expected = [
            (event, where, reason) for (where, event), reason in found.items() if was.get((where, event)) != reason
        ]
        assert desk.read(path, found) == expected
        standing[path] = found
