"""Quantities as Kubernetes reads and writes them, against a model in fractions."""

from __future__ import annotations

import decimal
import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fakekubelet import quantity

ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
BINARY = {suffix: Fraction(1024**power) for power, suffix in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"], 1)}
DECIMAL = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1), "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9),
    "T": Fraction(10**12), "P": Fraction(10**15), "E": Fraction(10**18),
}  # fmt: skip  # a table
SUFFIXES = BINARY | DECIMAL
DIGITS = st.builds("{}{}.{}".format, st.sampled_from(["", "-", "+"]), st.integers(0, 10**9), st.integers(0, 9999)) | st.integers(
    -(10**9), 10**9
).map(str)  # fmt: skip


def fraction(text):
    return Fraction(decimal.Decimal(text))


@given(DIGITS, st.sampled_from(sorted(SUFFIXES)))
def test_a_suffix_is_a_factor(digits, suffix):
    assert Fraction(quantity.value(f"{digits}{suffix}")) == fraction(digits) * SUFFIXES[suffix]


@given(DIGITS, st.integers(-9, 18), st.sampled_from("eE"))
def test_an_exponent_is_a_power_of_ten(digits, exponent, letter):
    assert Fraction(quantity.value(f"{digits}{letter}{exponent}")) == fraction(digits) * Fraction(10) ** exponent


@given(DIGITS, st.sampled_from([*sorted(SUFFIXES), "e3", "E-4", "e7"]))
def test_what_is_written_is_the_same_number_rounded_away_from_zero_to_a_billionth(digits, suffix):
    number = Fraction(quantity.value(digits + suffix)) * 10**9
    rounded = math.ceil(number) if number > 0 else math.floor(number)

    text = quantity.canonical(digits + suffix)

    assert Fraction(quantity.value(text)) * 10**9 == rounded
    assert quantity.canonical(text) == text
    assert not set(text) & set("+. ")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("0", "0"), ("0Mi", "0"), ("-0", "0"), ("0e5", "0"), ("1", "1"), ("-1", "-1"), ("999", "999"), ("1000", "1k"), ("1001", "1001"), ("123456", "123456"), ("12000", "12k"),
        ("1000000", "1M"), ("1000000k", "1G"), ("1000G", "1T"), ("1000T", "1P"), ("1000P", "1E"), ("0.5k", "500"), ("1500", "1500"),
        ("0.1", "100m"), ("1000m", "1"), ("1500m", "1500m"), ("0.25", "250m"), ("0.0001", "100u"), ("0.0000001", "100n"), ("100u", "100u"), ("1n", "1n"),
        ("0.1n", "1n"), ("-0.1n", "-1n"), ("1.0000000001", "1000000001n"), ("-1.5", "-1500m"), ("1e-10", "1e-9"),
        ("1Ki", "1Ki"), ("1024", "1024"), ("1024Ki", "1Mi"), ("1024Mi", "1Gi"), ("1024Gi", "1Ti"), ("1024Ti", "1Pi"), ("1024Pi", "1Ei"), ("1536Mi", "1536Mi"), ("1025Ki", "1025Ki"),
        ("1.5Ki", "1536"), ("0.5Gi", "512Mi"), ("0.5Ki", "512"), ("0.9765625Ki", "1k"), ("-0.9765625Ki", "-1k"), ("0.1Ki", "102400m"), ("1.0001Ki", "1024102400u"), ("-1024Ki", "-1Mi"),
        ("1e3", "1e3"), ("1E3", "1e3"), ("12e2", "1200"), ("5e1", "50"), ("1e0", "1"), ("1e+3", "1e3"), ("1500e-3", "1500e-3"), ("1e-3", "1e-3"), ("1.2e-3", "1200e-6"), ("1e18", "1e18"),
        (" 1 ", "1"), ("1.", "1"), (".5", "500m"), ("+1", "1"),
    ],
)  # fmt: skip  # a table
def test_the_text_that_comes_back_is_the_api_servers(given, text):
    assert quantity.canonical(given) == text


@pytest.mark.parametrize(
    "text",
    ["", " ", "k", "1K", "1ki", "1 k", "1_0", "\u0661", "0x10", "nan", "inf", "1..2", "1e", "1e+", "--1", "1i", "1mi", "1kk", "1e1234567890",
     "1e61", "1e-61", "0." + "1" * 120, "1\n2"],
)  # fmt: skip  # a table
def test_what_is_no_quantity_is_told_in_the_servers_words(text):
    for read in (quantity.value, quantity.canonical):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it says is told below
            read(text)
        assert str(caught.value) == ERROR


def test_as_many_digits_as_a_number_of_64_bits_may_need_are_read():
    assert quantity.value("1e60") == decimal.Decimal(10) ** 60
    assert quantity.value("1e-60") == decimal.Decimal(10) ** -60
    assert quantity.value("0" * 120) == 0
    with pytest.raises(ValueError, match="quantities must match"):
        quantity.value("0" * 121)
    assert quantity.value("0e999999999") == 0


@pytest.mark.parametrize(
    ("one", "other", "total"),
    [
        ("1Gi", "1Gi", "2Gi"), ("1", "1Ki", "1025"), ("1e3", "1", "1001"), ("1e3", "1e3", "2e3"), ("1Ki", "1", "1025"), ("500m", "500m", "1"), ("1Mi", "-1Mi", "0"), ("1Ki", "-24", "1k"),
    ],
)  # fmt: skip  # a table
def test_a_sum_is_written_in_the_form_of_the_first(one, other, total):
    assert quantity.plus(one, other) == total


def test_a_sum_of_what_is_no_quantity_is_none():
    for one, other in (("x", "1"), ("1", "x")):
        with pytest.raises(ValueError, match="quantities must match"):
            quantity.plus(one, other)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (True, "'True' must be a whole number, such as 2, 1k or 10Mi"),
        (None, "'None' must be a whole number, such as 2, 1k or 10Mi"),
        ("x" * 70, f"'{'x' * 60}' must be a whole number, such as 2, 1k or 10Mi"),
        ("0" * 61, f"'{'0' * 60}' must be a whole number, such as 2, 1k or 10Mi"),
        (" 1", "' 1' must be a whole number, such as 2, 1k or 10Mi"),
        ("1e99", "'1e99' must be a whole number of at most 9223372036854775807"),
        ("500m", "'500m' must be a whole number"),
        (0.5, "'0.5' must be a whole number"),
        (-1, "'-1' must not be negative"),
        ("9223372036854775808", "'9223372036854775808' must be a whole number of at most 9223372036854775807"),
    ],
)
def test_what_is_not_counted_in_whole_numbers_is_refused_with_the_rule(given, text):
    with pytest.raises(quantity.QuantityError) as caught:
        quantity.whole(given)

    assert str(caught.value) == text


@given(st.integers(0, 2**63 - 1))
@example(2**63 - 1)
def test_every_whole_number_of_63_bits_is_read_as_it_is(number):
    assert quantity.whole(number) == quantity.whole(str(number)) == quantity.whole(f"{number}000m") == number
