"""YAML as plain data with line numbers: what a document says, where each part begins, and why one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from fakehw.errors import SpecError
from fakehw.spec import document


def parse(text: str | bytes) -> document.Document:
    raw = text.encode() if isinstance(text, str) else text
    return document.parse(raw, source="t.yaml", expected="the key nodes")


@pytest.mark.parametrize(
    ("text", "data", "lines"),
    [
        ("x", "x", {(): 1}),
        ("\n- a\n- b", ["a", "b"], {(): 2, (0,): 2, (1,): 3}),
        (
            "a: 1\nb:\n  - x\n  - {c: 2}\n",
            {"a": 1, "b": ["x", {"c": 2}]},
            {(): 1, ("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4},
        ),
        ("---\na:\n  b: 1\n...\n", {"a": {"b": 1}}, {(): 2, ("a",): 2, ("a", "b"): 3}),
        (b"\xef\xbb\xbfa: 1", {"a": 1}, {(): 1, ("a",): 1}),
        (
            "a: &x {b: 1}\nc: *x\nd: *x",  # what an alias stands for begins where that was written
            {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1}},
            {(): 1, ("a",): 1, ("a", "b"): 1, ("c",): 2, ("c", "b"): 1, ("d",): 3, ("d", "b"): 1},
        ),
        ("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}, {(): 1, ("a",): 1, ("b",): 2, ("c",): 3}),
        (
            "1: x\n2.0: y\ntrue: z\n~: w\n'<<': v",
            {"1": "x", "2.0": "y", "true": "z", "~": "w", "<<": "v"},
            {(): 1, ("1",): 1, ("2.0",): 2, ("true",): 3, ("~",): 4, ("<<",): 5},
        ),
    ],
)
def test_a_document_is_plain_data_and_the_line_of_each_part(
    text: str | bytes, data: object, lines: dict[document.Path, int]
) -> None:
    parsed = parse(text)

    assert (parsed.source, parsed.data, parsed.lines) == ("t.yaml", data, lines)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *((word, None) for word in ("~", "null", "Null", "NULL", "")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, word) for word in ("yes", "no", "on", "nULL", "tRUE", "12:30", "2026-01-01", "1_0", "0x1F", "0o7")),
        *((word, word) for word in (".inf", ".nan", "1e", "e1", ".", "+", "1.2.3", "1e4000", "++1", "1-1")),
        ("0", 0),
        ("007", 7),
        ("+7", 7),
        ("-7", -7),
        ("123456789012345", 123456789012345),
        ("1234567890123456", 1234567890123456.0),
        ("1.0", 1),
        ("5.", 5),
        ("1e+01", 10),
        ("1E1", 10),
        ("999999999999999.0", 999999999999999),
        ("1e15", 1e15),
        ("-1e15", -1e15),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-.5e-3", -0.0005),
        ("1e400", float("inf")),
        ("'3'", "3"),
        ('"true"', "true"),
        ("''", ""),
        ("!!str 3", "3"),
        ("!!str", ""),
        ("!!int '3'", 3),
        ("!!float '3.5'", 3.5),
        ("!!bool 'true'", True),
        ("!!null ''", None),
        ("!!map {}", {}),
        ("!!seq []", []),
        ("! {}", {}),
        ("! []", []),
    ],
)
def test_a_scalar_is_what_yaml_1_2_makes_of_it(written: str, value: object) -> None:
    data = parse(f"a: {written}\n").data

    assert data == {"a": value}
    assert type(data["a"]) is type(value)


@pytest.mark.parametrize(
    ("written", "value"),
    [("0042", "0042"), ("1.10", "1.10"), ("true", "true"), ("False", "False"), ("1e3", "1e3"), ("'x'", "x")]
    + [(word, None) for word in ("null", "~", "", "NULL")],
)
def test_an_attribute_is_the_text_as_typed_and_no_value_is_none(written: str, value: str | None) -> None:
    """Told by its place: names and words of the schema take turns."""
    text = "nodes: {n: {classes: {c: {attributes: {a: %s}, count: 1.0}}}}" % written  # noqa: UP031  # braces
    of_class = parse(text).data["nodes"]["n"]["classes"]["c"]

    assert of_class == {"attributes": {"a": value}, "count": 1}
    below = "nodes: {n: {classes: {c: {devices: {1: {attributes: {a: %s}}}}}}}" % written  # noqa: UP031  # braces
    assert parse(below).data["nodes"]["n"]["classes"]["c"]["devices"]["1"] == {"attributes": {"a": value}}
    assert parse("x: {attributes: {a: 0042}}").data == {"x": {"attributes": {"a": 42}}}, "not one of a schema"
    assert parse("attributes: 3.0").data == {"attributes": 3}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["1: is empty: must hold a mapping with the key nodes"]),
        ("# nothing\n", ["1: is empty: must hold a mapping with the key nodes"]),
        (b"a: 1\nb: \xff\nc: 1", ["2: must be UTF-8 text"]),
        ('a: é\nb: "\x07"\n', ["2: must not contain control characters"]),
        ("a: 1\nb: [\n", ["3: YAML: did not find expected node content"]),
        ("a: 1\n b: 2\n", ["2: YAML: mapping values are not allowed in this context"]),
        ("%YAML 9.9\n---\na: 1", ["1: YAML: found incompatible YAML document"]),
        ("a: &x 1\nb: *x\nc: *y", ["3: *y: no anchor of this name before here"]),
        ("a: 1\n---\nb: 1", ["2: must hold one YAML document, not several"]),
        ("a: 1\nb: &a [*a]", ["2: *a: must not contain itself"]),
        ("a: &a {b: *a}", ["1: *a: must not contain itself"]),
        ("a: 1\nb: !!binary x", ["2: tag:yaml.org,2002:binary: this YAML tag is not allowed"]),
        ("a: !x y", ["1: !x: this YAML tag is not allowed"]),
        ("a: !x []", ["1: !x: this YAML tag is not allowed"]),
        ("a: !!seq {}", ["1: tag:yaml.org,2002:seq: this YAML tag is not allowed"]),
        ("a: !!map []", ["1: tag:yaml.org,2002:map: this YAML tag is not allowed"]),
        ("a: !!set {}", ["1: tag:yaml.org,2002:set: this YAML tag is not allowed"]),
        ("a: !!timestamp 1", ["1: tag:yaml.org,2002:timestamp: this YAML tag is not allowed"]),
        ("? [a]\n: b", ["1: the document: a key must be a single word or number"]),
        ('x:\n  "a\\tb": 1', ["2: x: 'a\\tb': a key must have no control characters"]),
        (f'"\\t{"a" * 60}": 1', [f"1: the document: '\\t{'a' * 39}': a key must have no control characters"]),
        ("a: {<<: {}}", ["1: a.<<: merge keys are not supported"]),
        (
            "x:\n  ? {a: 1}\n  : b\n  c: 1\n  c: 2\ny: {<<: {}}\nc: 1\nx: 2",
            [
                "2: x: a key must be a single word or number",
                "5: x.c: key given twice, first in line 4",
                "6: y.<<: merge keys are not supported",
                "8: x: key given twice, first in line 1",
            ],
        ),
    ],
)
def test_a_document_that_is_none_is_refused_with_its_lines(text: str | bytes, lines: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    assert list(caught.value.lines) == [f"t.yaml:{line}" for line in lines]


def refused(text: str) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return caught.value.lines


def test_a_document_is_at_most_a_mebibyte() -> None:
    assert parse("#" * ((1 << 20) - 2) + "\nx").data == "x"
    assert refused("#" * ((1 << 20) - 1) + "\nx") == ("t.yaml:1: must be at most 1048576 bytes long",)


def test_a_document_is_at_most_sixteen_levels_deep() -> None:
    nested: Any = []
    for _ in range(15):
        nested = [nested]
    assert parse("[" * 16 + "]" * 16).data == nested
    for text in ("\n" + "[" * 17 + "]" * 17, "\n" + "{a: " * 17 + "}" * 17):
        assert refused(text) == ("t.yaml:2: must not be nested deeper than 16 levels",)


def test_aliases_are_as_deep_and_as_many_as_what_they_stand_for() -> None:
    grown = "must not grow, by its aliases, past 500000 values or 16 levels"
    deep = "x: &x [[[[[[[1]]]]]]]\ny: &y [[[[[[[*x]]]]]]]\n"
    assert parse(f"{deep}z: [*y]").data["z"] is not None, "16 levels with the document"
    assert refused(f"{deep}z: \n  [[*y]]") == (f"t.yaml:1: {grown}",)

    ten_thousand = f"h: &h [{', '.join('1' * 99)}]\nt: &t [{', '.join(['*h'] * 99)}, {', '.join('1' * 99)}]\n"
    for more, line in ((9_999, "4: *nowhere: no anchor of this name before here"), (10_000, f"3: {grown}")):
        of_t = ", ".join(["*t"] * 49)
        text = f"{ten_thousand}m: [{of_t}, {', '.join('1' * more)}]\nn: *nowhere"
        assert refused(text) == (f"t.yaml:{line}",), "a list of 490,000 values, itself and so many more"


def test_a_place_that_has_no_line_is_where_what_is_around_it_begins() -> None:
    parsed = parse("\na:\n  b:\n    - 1\n")

    assert parsed.where(("a", "b")) == "t.yaml:3"
    assert parsed.where(("a", "b", 0, "x")) == "t.yaml:4"
    assert parsed.where(("a", "b", 0, "x", "y")) == "t.yaml:4"
    assert parsed.where(("a", "b", "x")) == "t.yaml:3"
    assert parsed.where(("a", "x")) == "t.yaml:2"
    assert parsed.where(("x",)) == "t.yaml:2"
    assert document.Document("s").where(("a",)) == "s:1"


def test_a_path_is_shown_as_people_write_it() -> None:
    assert document.dotted(()) == "the document"
    assert document.dotted(("nodes", "n", "taints", 0, "x")) == "nodes.n.taints[0].x"
    assert document.dotted((0, "x")) == "[0].x"


def kind_of(data: object) -> object:
    """The same shape, with the name of the type of each value."""
    if isinstance(data, dict):
        return {key: kind_of(value) for key, value in data.items()}
    return [kind_of(value) for value in data] if isinstance(data, list) else type(data).__name__


def test_whole_numbers_are_such_however_a_template_wrote_them() -> None:
    data = {
        "a": 2.0,
        "b": [1.0, {"c": -3.0}],
        "d": 1.5,
        "e": "2.0",
        "f": True,
        "g": 1e15,
        "h": -999999999999999.0,
        "i": None,
    }
    made = document.whole_numbers(data)

    assert made == data
    assert kind_of(made) == {
        "a": "int", "b": ["int", {"c": "int"}], "d": "float", "e": "str", "f": "bool", "g": "float", "h": "int",
        "i": "NoneType",
    }  # fmt: skip  # one document
    assert kind_of(document.whole_numbers([float("inf"), -1e15])) == ["float", "float"]


def test_numbers_of_attributes_stay_as_they_were_given() -> None:
    def attributes() -> dict[str, object]:
        return {"attributes": {"x": 2.0}}

    made = document.whole_numbers(
        {
            "nodes": {"attributes": {"classes": {"c": {**attributes(), "devices": {"1": attributes()}, "count": 2.0}}}},
            **attributes(),  # told by the place alone: names and words of the schema take turns
            "x-list": [[attributes()]],
        }
    )
    assert kind_of(made) == {
        "nodes": {
            "attributes": {
                "classes": {
                    "c": {
                        "attributes": {"x": "float"},
                        "devices": {"1": {"attributes": {"x": "float"}}},
                        "count": "int",
                    }
                }
            }
        },
        "attributes": {"x": "float"},
        "x-list": [[{"attributes": {"x": "int"}}]],
    }
