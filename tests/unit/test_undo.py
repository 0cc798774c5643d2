"""How a scenario is undone: arithmetic on what was, what we left, and what is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw.layout import TreePath
from fakehw.scenario.undo import OUT, Left, Undo, undo
from fakehw.tree.snapshot import FoundDevice, Unreadable

PATH = TreePath("node2", "dev3", 1)


def device(health: str | None) -> FoundDevice:
    return FoundDevice({"model": "x"} if health is None else {"model": "x", "health": health})


@pytest.mark.parametrize(
    ("was", "left", "now", "expected"),
    [
        ("healthy", Left("unhealthy"), "unhealthy", "write healthy"),
        ("healthy", Left("unhealthy"), "unhealthy by a person", "other"),
        ("healthy", Left("unhealthy"), None, "other"),
        ("healthy", Left("unhealthy"), "gone", "other"),
        ("healthy", Left("healthy"), "healthy", "nothing"),
        ("healthy", Left("healthy"), "unhealthy by a person", "other"),
        ("healthy", OUT, "gone", "put"),
        ("healthy", OUT, "healthy", "other"),
        (None, Left("healthy"), "healthy", "remove"),
        (None, Left(None), None, "nothing"),
        (None, Left(None), "healthy by a person", "other"),
        ("healthy", Left(""), "", "write healthy"),
        ("healthy", Left("unh"), "unh", "write healthy"),
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
            "write healthy": Undo(texts={PATH: "healthy"}),
            "remove": Undo(texts={PATH: None}),
            "put": Undo(devices=before),
            "other": Undo(others=(PATH,)),
            "nothing": Undo(),
        }[expected]
    )


def test_a_health_that_cannot_be_read_is_somebody_elses() -> None:
    now = FoundDevice({"health": Unreadable("is a FIFO")})
    assert undo({PATH: device("healthy")}, {PATH: Left("unhealthy")}, {PATH: now}).others == (PATH,)


TEXTS = st.none() | st.sampled_from(["healthy", "unhealthy", "unhealthy hot", ""])
PATHS = [TreePath("n", "dev1", number) for number in range(4)]


@given(
    was=st.lists(TEXTS, min_size=4, max_size=4),
    left=st.dictionaries(st.sampled_from(PATHS), st.builds(Left, TEXTS) | st.just(OUT)),
    theirs=st.dictionaries(st.sampled_from(PATHS), TEXTS | st.just("gone")),
)
def test_after_an_undo_everything_is_as_it_was_or_as_others_left_it(
    was: list[str | None], left: dict[TreePath, Left], theirs: dict[TreePath, str | None]
) -> None:
    before = {path: device(text) for path, text in zip(PATHS, was, strict=True)}
    now = dict(before)
    for path, ours in left.items():
        now.pop(path) if ours.is_out else now.update({path: device(ours.text)})
    for path, text in theirs.items():
        now.pop(path, None) if text == "gone" else now.update({path: device(text)})

    todo = undo(before, left, now)
    after = {**now, **todo.devices, **{path: device(text) for path, text in todo.texts.items()}}
    for path in PATHS:
        if path in todo.others or path in theirs:
            assert after.get(path) in (now.get(path), before[path])
        else:
            assert after[path] == before[path]
    assert not {*todo.devices, *todo.texts} & {*todo.others}
    assert not undo(before, {path: ours for path, ours in left.items() if path not in left}, after).texts
