"""Which places people mean: paths, paths as a shell completes them, and patterns as in scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest

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
