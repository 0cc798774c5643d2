"""Which places people mean: paths, paths as a shell completes them, and patterns as in scenarios."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fakehw.errors import InputError
from fakehw.layout import TreePath
from fakehw.tree import selection
from fakehw.tree.snapshot import FoundClass, FoundDevice, FoundNode, Snapshot

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


RULE = "must be NODE, NODE/CLASS or NODE/CLASS/NUMBER, also as patterns: node2/dev3/2, node2/dev3/*, */gpu/*"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n", TreePath("n")),
        ("/n/gpu/", TreePath("n", "gpu")),
        ("n/gpu/1//", TreePath("n", "gpu", 1)),
        ("*", selection.Pattern(("*",))),
        ("/*/gpu/", selection.Pattern(("*", "gpu"))),
        ("n?/gpu/[1-3]", selection.Pattern(("n?", "gpu", "[1-3]"))),
        ("N.a_b-c/a_1*/[!0]?", selection.Pattern(("N.a_b-c", "a_1*", "[!0]?"))),
    ],
)
def test_what_has_a_star_a_question_mark_or_a_bracket_is_a_pattern(text: str, expected: selection.Wanted) -> None:
    made = selection.parse(text)
    assert made == expected
    assert str(made).strip("/") == text.strip("/")


@pytest.mark.parametrize("text", ["*/gpu/1/x", "a b/*", "*/Gpu", "*/gpu/x*", "*//1", "n/*\n", "*/g.u", "*/gpu/1.*"])
def test_a_pattern_that_is_none_is_refused_with_its_rule(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(RULE)}$"):
        selection.parse(text)
    with pytest.raises(InputError) as caught:
        selection.parse_all(["n", text, "also/*/wrong/x"])
    assert caught.value.lines == (f"{text!r}: {RULE} (PATH)",)


def test_all_that_was_given_is_read_below_the_root(tmp_path: Path) -> None:
    assert selection.parse_all([f"{tmp_path}/n/gpu", "m/*"], root=tmp_path) == [
        TreePath("n", "gpu"), selection.Pattern(("m", "*")),
    ]  # fmt: skip  # one list
    assert selection.parse_all([]) == []


def test_a_pattern_fits_places_of_its_depth_letter_by_letter() -> None:
    pattern = selection.Pattern(("n*", "gpu"))
    assert pattern.fits(TreePath("n2", "gpu"))
    assert not pattern.fits(TreePath("n2", "gpu", 1))
    assert not pattern.fits(TreePath("n2"))
    assert not pattern.fits(TreePath("N2", "gpu"))
    assert not pattern.fits(TreePath("n2", "gpux"))


@pytest.mark.parametrize(
    ("text", "root", "expected"),
    [
        ("/t/n", "/t", "n"),
        ("/t//n", "/t", "n"),
        ("/t", "/t", ""),
        ("/tree/n", "/t", "/tree/n"),
        ("n/gpu", "/t", "n/gpu"),
        ("/n/gpu", "/", "/n/gpu"),
        ("t/n", "t", "n"),
        ("./t/n", "t", "./t/n"),
        ("{cwd}/t/n", "t", "n"),
        ("{cwd}/real/n", "link", "n"),
    ],
)
def test_what_stands_before_a_path_is_taken_away_where_it_is_the_root(
    text: str, root: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert selection.below(text.format(cwd=tmp_path), Path(root)) == expected


def test_all_places_of_a_tree_are_nodes_classes_and_devices() -> None:
    tree = Snapshot(
        {"n": FoundNode(None, {"gpu": FoundClass(None, {2: FoundDevice({}), 1: FoundDevice({})})}), "e": FoundNode()}
    )
    assert list(map(str, selection.places(tree))) == ["/n", "/n/gpu", "/n/gpu/2", "/n/gpu/1", "/e"]


PLACES = [
    TreePath.parse(text) for text in ("node10", "node2/gpu/10", "node2", "node2/gpu", "node2/gpu/2", "node2/dev1")
]


@pytest.mark.parametrize(
    ("texts", "found", "missed"),
    [
        (["node2"], ["/node2"], []),
        (["*"], ["/node2", "/node10"], []),
        (["node2/*"], ["/node2/dev1", "/node2/gpu"], []),
        (["*/gpu/*", "node2/gpu/2"], ["/node2/gpu/2", "/node2/gpu/10"], []),
        (["node3", "x/*", "node2"], ["/node2"], ["node3", "x/*"]),
        ([], [], []),
    ],
)
def test_places_that_are_wanted_are_found_once_in_order_and_what_fits_none_is_told(
    texts: list[str], found: list[str], missed: list[str]
) -> None:
    hits, rest = selection.matching(iter(selection.parse_all(texts)), iter(PLACES))
    assert (list(map(str, hits)), [str(each).strip("/") for each in rest]) == (found, missed)


def test_devices_that_are_wanted_or_below_what_is_are_found_and_what_fits_none_is_told() -> None:
    wanted = selection.parse_all(["node9", "node2/gpu", "*/dev3/2", "*/*/7", "node1/dev1/1"])
    hits, rest = selection.devices_of(iter(wanted), DEVICES)
    assert list(map(str, hits)) == ["/node1/dev1/1", "/node2/dev3/2", "/node2/gpu/10"]
    assert [str(each).strip("/") for each in rest] == ["node9", "*/*/7"]


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("n", True), ("m", False), ("n/gpu", True), ("n/npu", False), ("n/gpu/1", True), ("n/gpu/2", False),
        ("*", True), ("m*", False), ("*/gpu", True), ("*/npu*", False), ("*/*/1", True), ("*/*/2", False),
    ],
)  # fmt: skip  # one list
def test_a_device_is_covered_by_itself_by_its_class_and_by_its_node(text: str, covered: bool) -> None:
    assert selection.covers(selection.parse(text), TreePath("n", "gpu", 1)) is covered


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node22", ": did you mean node2?"),
        ("node2/gpo", ": did you mean node2/gpu?"),
        ("node2/gpu/11", ": did you mean node2/gpu/10?"),
        ("*/gpo", ": `fakehw list` shows what there is"),
        ("zzz", ": `fakehw list` shows what there is"),
    ],
)
def test_what_may_have_been_meant_is_of_the_same_depth(text: str, said: str) -> None:
    assert selection.nearest(selection.parse(text), iter(PLACES)) == said
