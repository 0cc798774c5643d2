"""Which places people mean: paths, paths as a shell completes them, and patterns as in scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakehw import durations
from fakehw.layout import TreePath
from fakehw.tree import selection

DEVICES = [TreePath.parse(text) for text in ("node1/dev1/1", "node2/dev3/1", "node2/dev3/2", "node2/gpu/10")]


def found(*texts: str) -> list[str]:
    return [str(path) for path in selection.devices_of(selection.parse_all(texts), DEVICES)[0]]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["node2/dev3/2"], ["/node2/dev3/2"]),
        (["/node2/dev3/2/"], ["/node2/dev3/2"]),
        (["node2"], ["/node2/dev3/1", "/node2/dev3/2", "/node2/gpu/10"]),
        (["node2/dev3"], ["/node2/dev3/1", "/node2/dev3/2"]),
        (["*/dev3/*"], ["/node2/dev3/1", "/node2/dev3/2"]),
        (["*/dev?"], ["/node1/dev1/1", "/node2/dev3/1", "/node2/dev3/2"]),
        (["node[12]/*/1"], ["/node1/dev1/1", "/node2/dev3/1"]),
        (["node[!1]/*/1?"], ["/node2/gpu/10"]),
        (["*/*/1", "node2/gpu"], ["/node1/dev1/1", "/node2/dev3/1", "/node2/gpu/10"]),
        (["*/*/7"], []),
    ],
)
def test_a_path_is_what_is_below_it_and_a_pattern_is_all_that_fit(texts: list[str], expected: list[str]) -> None:
    assert found(*texts) == expected


@pytest.mark.parametrize("text", ["{root}/node2/dev3/2", "{root}/node2/dev3/2/", "./{name}/node2/dev3/2"])
def test_what_a_shell_completes_is_a_path_of_the_tree(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree").mkdir()
    (tmp_path / "link").symlink_to("tree")
    for name in ("tree", "link"):
        given = text.format(root=tmp_path / name, name=name)
        roots = [Path(f"./{name}")] if given.startswith("./") else [tmp_path / name, Path(name)]
        for root in roots:
            if given.startswith("./"):
                given = given.removeprefix("./")
                root = Path(name)
            assert str(selection.parse(given, root=root)) == "/node2/dev3/2"


@pytest.mark.parametrize(
    "text", ["", "/", "a/b/c/d", "*/b/c/d", "../x", "node2/dev3/x", "*/DEV/*", "*/dev3/x*", "*/*/1 2", "a b/*"]
)
def test_what_is_no_place_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        selection.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("1m30s", 90.0), ("1h0.5m", 3630.0), ("3", 3.0), (".5s", 0.5), ("1us", 1e-6), ("2.s", 2.0)],
)
def test_durations_are_those_of_go_or_seconds(text: str, expected: float) -> None:
    assert durations.seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "s", "1m30", "30s1", "-1s", "1 s", "1w", "8d", "1e3", "200h", "1m 30s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1m30s"):
        durations.seconds(text)
