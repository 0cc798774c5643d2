"""How a scenario is undone: arithmetic on what was, what we left, and what is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw.layout import TreePath
from fakehw.scenario.undo import Left, Undo, undo
from fakehw.tree.snapshot import FoundDevice, Unreadable

PATH = TreePath("node2", "dev3", 1)


def device(health: str | None) -> FoundDevice:
    return FoundDevice({"model": "x"} if health is None else {"model": "x", "health": health})


def health(text: str | None) -> Left:
    return Left({"health": text})


@pytest.mark.parametrize(
    ("was", "left", "now", "expected"),
    [
        ("healthy", health("unhealthy"), "unhealthy", "write healthy"),
        ("healthy", health("unhealthy"), "unhealthy by a person", "other"),
        ("healthy", health("unhealthy"), None, "other"),
        ("healthy", health("unhealthy"), "gone", "other"),
        ("healthy", health("healthy"), "healthy", "nothing"),
        ("healthy", health("healthy"), "unhealthy by a person", "other"),
        ("healthy", Left().out(), "gone", "put"),
        ("healthy", Left().out(), "healthy", "other"),
        (None, health("healthy"), "healthy", "remove"),
        (None, health(None), None, "nothing"),
        (None, health(None), "healthy by a person", "other"),
        ("healthy", health(""), "", "write healthy"),
        ("healthy", health("unh"), "unh", "write healthy"),
    ],
)
def test_what_we_left_is_put_back_and_what_others_did_is_left(
    was: str | None, left: Left, now: str | None, expected: str
) -> None:
    before = {PATH: device(was)}
    found = {} if now == "gone" else {PATH: device(now)}
    assert (
        undo(before, {PATH: left}, found)
        == {
            "write healthy": Undo(values={PATH: {"health": "healthy"}}),
            "remove": Undo(values={PATH: {"health": None}}),
            "put": Undo(devices=before),
            "other": Undo(others=(PATH,)),
            "nothing": Undo(),
        }[expected]
    )


def test_a_health_that_cannot_be_read_is_somebody_elses() -> None:
    now = FoundDevice({"health": Unreadable("is a FIFO")})
    assert undo({PATH: device("healthy")}, {PATH: health("unhealthy")}, {PATH: now}).others == (PATH,)


TEXTS = st.none() | st.sampled_from(["healthy", "unhealthy", "unhealthy hot", ""])
PATHS = [TreePath("n", "dev1", number) for number in range(4)]


@given(
    was=st.lists(TEXTS, min_size=4, max_size=4),
    left=st.dictionaries(st.sampled_from(PATHS), st.builds(health, TEXTS) | st.just(Left().out())),
    theirs=st.dictionaries(st.sampled_from(PATHS), TEXTS | st.just("gone")),
)
def test_after_an_undo_everything_is_as_it_was_or_as_others_left_it(
    was: list[str | None], left: dict[TreePath, Left], theirs: dict[TreePath, str | None]
) -> None:
    before = {path: device(text) for path, text in zip(PATHS, was, strict=True)}
    now = dict(before)
    for path, ours in left.items():
        now.pop(path) if ours.is_out else now.update({path: device(ours.values["health"])})
    for path, text in theirs.items():
        now.pop(path, None) if text == "gone" else now.update({path: device(text)})

    todo = undo(before, left, now)
    after = {**now, **todo.devices, **{path: device(values["health"]) for path, values in todo.values.items()}}
    for path in PATHS:
        if path in todo.others or path in theirs:
            assert after.get(path) in (now.get(path), before[path])
        else:
            assert after[path] == before[path]
    assert not {*todo.devices, *todo.values} & {*todo.others}
    assert not undo(before, {path: ours for path, ours in left.items() if path not in left}, after).values


def test_each_attribute_is_put_back_on_its_own() -> None:
    was = FoundDevice({"health": "healthy", "temperature": "40"})
    left = {PATH: Left({"health": "unhealthy", "temperature": "91", "fan": "2"})}
    now = FoundDevice({"health": "unhealthy by a person", "temperature": "91", "fan": "2"})
    assert undo({PATH: was}, left, {PATH: now}) == Undo({}, {PATH: {"temperature": "40", "fan": None}}, (PATH,))
