"""Keys that stand for many, and the braces in values: each by itself, both sides of each of its bounds."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw.spec import ranges
from fakehw.spec.ranges import Intervals, Names


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("node2", [("node2", None)]),
        ("a[1-3]", [("a1", "1"), ("a2", "2"), ("a3", "3")]),
        ("a[9-11]-b", [("a9-b", "9"), ("a10-b", "10"), ("a11-b", "11")]),
        ("a[09-11]", [("a09", "09"), ("a10", "10"), ("a11", "11")]),
        ("a[00-01]x", [("a00x", "00"), ("a01x", "01")]),
        ("a[0-1]", [("a0", "0"), ("a1", "1")]),
        ("a[0-10]", [(f"a{number}", str(number)) for number in range(11)]),
        ("a[98-101]", [(f"a{number}", str(number)) for number in range(98, 102)]),
        ("a[0-0]", [("a0", "0")]),
        ("a[7-7]", [("a7", "7")]),
        ("1.[2-3].4", [("1.2.4", "2"), ("1.3.4", "3")]),
        ("a[1-2]b[3-4]", [("a[1-2]b[3-4]", None)]),  # for the schema to refuse
        ("[1-2]", [("[1-2]", None)]),
        ("a[1-2]\n", [("a[1-2]\n", None)]),
        ("a[0000000001-0000000002]", [("a[0000000001-0000000002]", None)]),
        ("a[999999998-999999999]", [("a999999998", "999999998"), ("a999999999", "999999999")]),
    ],
)
def test_a_key_stands_for_one_name_or_for_those_of_a_range(key: str, names: list[tuple[str, str | None]]) -> None:
    made = Names.parse(key)

    assert list(made) == names
    assert len(made) == len(names)
    assert made.is_range is (names[0][1] is not None)
    assert made.ends == (names[0], names[-1])
    assert [made.index(name) for name, _ in names] == [index for _, index in names]
    assert [list(made.only(name)) for name, _ in names] == [[pair] for pair in names]


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("a[3-2]", "[3-2]: must begin with its lower number"),
        ("a[10-9]", "[10-9]: must begin with its lower number"),
        ("a[08-9]", "[08-9]: both numbers must have as many digits, where one begins with 0"),
        ("a[08-100]", "[08-100]: both numbers must have as many digits, where one begins with 0"),
        ("a[1-01]", "[1-01]: both numbers must have as many digits, where one begins with 0"),
        ("a[0-010]", "[0-010]: both numbers must have as many digits, where one begins with 0"),
    ],
)
def test_a_range_of_names_counts_up_with_as_many_digits(key: str, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        Names.parse(key)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a", "b"),
        ("a", "a1"),
        ("a[1-3]", "a0"),
        ("a[1-3]", "a4"),
        ("a[1-3]", "a"),
        ("a[1-3]", "a01"),
        ("a[1-3]", "b1"),
        ("a[1-3]", "a1x"),
        ("a[1-3]", "a+1"),
        ("a[1-3]", "a²"),
        ("a[1-3]", "a٢"),
        ("a[1-3]", "a1111111111"),
        ("a[1-3]-z", "a1"),
        ("a[1-3]-z", "a1-y"),
        ("a[08-11]", "a8"),
        ("a[08-11]", "a008"),
        ("a[08-11]", "a12"),
    ],
)
def test_a_name_that_is_none_of_these_has_no_index(key: str, name: str) -> None:
    with pytest.raises(KeyError) as caught:
        Names.parse(key).index(name)
    assert caught.value.args == (name,)
    with pytest.raises(KeyError):
        Names.parse(key).only(name)


@pytest.mark.parametrize(
    ("key", "numbers"),
    [
        ("0", [0]),
        ("7", [7]),
        ("1-4", [1, 2, 3, 4]),
        ("0-1", [0, 1]),
        ("9-9", [9]),
        ("9-10", [9, 10]),
        ("999999999", [999999999]),
    ],
)
def test_a_key_of_devices_is_a_number_or_a_range(key: str, numbers: list[int]) -> None:
    assert list(ranges.numbers(key)) == numbers


@pytest.mark.parametrize(
    ("key", "rule"),
    [(key, "must be a device number or a range of them") for key in ("", "x", "01", "1-02", "1-", "-1", "1-2-3", "1\n")]
    + [("1000000000", "must be a device number or a range of them"), ("1-1000000000", "must be a device number or a range of them")]
    + [("4-1", "4-1: must begin with its lower number"), ("10-9", "10-9: must begin with its lower number")],
)  # fmt: skip  # one list
def test_a_key_of_devices_that_is_none_is_refused_with_the_rule(key: str, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        ranges.numbers(key)


def test_intervals_hold_whole_numbers_and_nothing_else() -> None:
    made = Intervals([range(7, 9), range(1, 4), range(4, 5), range(9, 9), range(2, 3)])

    assert list(made) == [1, 2, 3, 4, 7, 8]
    assert (len(made), made.highest) == (6, 8)
    assert [number in made for number in (0, 1, 4, 5, 6, 7, 8, 9)] == [
        False,
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert "1" not in made
    assert 1.0 not in made
    assert None not in made
    assert (list(Intervals([])), len(Intervals([])), Intervals([]).highest) == ([], 0, 0)
    assert 0 not in Intervals([])


def test_intervals_that_overlap_count_no_number_twice() -> None:
    made = Intervals([range(0, 10), range(2, 4), range(9, 12)])
    assert (list(made), len(made)) == (list(range(12)), 12)


def test_intervals_that_touch_cost_no_more_than_their_edges() -> None:
    tracemalloc.start()
    try:
        made = Intervals(range(number, number + 1) for number in range(5000))
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()
    assert len(made) == 5000


NAMES = {"node": "n1", "index": "07"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{node}", "n1"),
        ("a-{node}-{index}-{node}", "a-n1-07-n1"),
        ("{{node}}", "{node}"),
        ("{{{node}}}", "{n1}"),
        ("{{}}", "{}"),
        ("}}{{", "}{"),
        ("{{{{", "{{"),
    ],
)
def test_what_stands_in_braces_is_filled_in_and_two_are_one(text: str, filled: str) -> None:
    assert ranges.fill(text, NAMES) == filled
    assert ranges.is_template(text) is (text != filled)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("{foo}", "{foo}"), ("{}", "{}"), ("a{", "{"), ("a}", "}"), ("{node", "{"), ("{{node}", "}"), ("{ node }", "{ node }")],
)  # fmt: skip  # one list
def test_what_is_no_placeholder_is_named_with_those_that_are(text: str, wrong: str) -> None:
    rule = f"{wrong} is no placeholder here; known are {{node}}, {{index}}, and {{{{ }}}} for braces themselves"
    with pytest.raises(ValueError, match=f"^{re.escape(rule)}$"):
        ranges.fill(text, NAMES)
    assert ranges.is_template(text)


@given(st.text("{}a", max_size=12))
def test_a_text_with_its_braces_doubled_is_filled_in_as_it_was(text: str) -> None:
    assert ranges.fill(text.replace("{", "{{").replace("}", "}}"), {}) == text


def test_all_placeholders_are_known_by_name() -> None:
    assert ranges.PLACEHOLDERS == ("node", "index", "class", "number", "id")
