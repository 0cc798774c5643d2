"""Typed attributes, capacities and taints, as an API server takes them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin import attribute
from fakehw_plugin.attribute import Attribute, AttributeType, Effect, Taint


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("0042", AttributeType.STRING, "0042"),
        ("0042", AttributeType.INT, 42),
        ("-1", AttributeType.INT, -1),
        ("9223372036854775807", AttributeType.INT, 2**63 - 1),
        ("true", AttributeType.BOOL, True),
        ("1.2.3-rc.1+b", AttributeType.VERSION, "1.2.3-rc.1+b"),
        ("80Gi", AttributeType.CAPACITY, "80Gi"),
    ],
)
def test_a_value_is_what_its_type_says(text, type_, value):
    assert attribute.parse("x", text, type_) == Attribute("x", type_, value)


@pytest.mark.parametrize(
    ("text", "type_", "rule"),
    [
        ("x" * 65, AttributeType.STRING, "longer than 64 bytes"),
        ("é" * 33, AttributeType.STRING, "longer than 64 bytes"),
        ("4.5", AttributeType.INT, "no whole number"),
        ("٤", AttributeType.INT, "no whole number"),
        ("9223372036854775808", AttributeType.INT, "no whole number"),
        ("yes", AttributeType.BOOL, "neither true nor false"),
        ("1.2", AttributeType.VERSION, "no version"),
        ("01.2.3", AttributeType.VERSION, "no version"),
        ("lots", AttributeType.CAPACITY, "no quantity"),
        ("-1Gi", AttributeType.CAPACITY, "no quantity"),
        ("1Zi", AttributeType.CAPACITY, "no quantity"),
        ("", AttributeType.CAPACITY, "no quantity"),
        ("999999999999999E", AttributeType.CAPACITY, "too large"),
        ("0.1n", AttributeType.CAPACITY, "too fine"),
    ],
)
def test_a_value_that_would_have_a_slice_refused_is_refused(text, type_, rule):
    with pytest.raises(ValueError, match=rule):
        attribute.parse("x", text, type_)


@pytest.mark.parametrize("name", ["x" * 33, "1x", "a-b", "a.b", ""])
def test_a_name_must_be_an_identifier(name):
    with pytest.raises(ValueError, match="a name must be"):
        attribute.parse(name, "x", AttributeType.STRING)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.5Gi", "512Mi"), ("1024Mi", "1Gi"), ("1500Mi", "1500Mi"), ("2000m", "2"), ("0.5", "500m"), ("1000", "1k"),
        ("1.5k", "1500"), ("0Gi", "0"), ("00.5k", "500"), ("1Ki", "1Ki"), ("0.5Ki", "512"), ("1000Gi", "1000Gi"),
        ("100n", "100n"), ("1000n", "1u"),
    ],
)  # fmt: skip
def test_a_quantity_is_written_as_the_server_writes_it(text, canonical):
    assert attribute.quantity(text) == canonical


@given(st.integers(0, 10**6), st.sampled_from(["", "k", "M", "m", "Ki", "Mi", "Gi"]))
def test_a_canonical_quantity_is_its_own_canonical_form(number, suffix):
    once = attribute.quantity(f"{number}{suffix}")

    assert attribute.quantity(once) == once


@pytest.mark.parametrize(
    ("text", "taint"),
    [
        ("NoExecute", Taint("drain", "", Effect.NO_EXECUTE)),
        ("=48:NoSchedule", Taint("drain", "48", Effect.NO_SCHEDULE)),
        ("gpu.nvidia.com/xid=48:None", Taint("gpu.nvidia.com/xid", "48", Effect.NONE)),
        ("degraded:NoSchedule", Taint("degraded", "", Effect.NO_SCHEDULE)),
    ],
)
def test_a_taint_is_written_as_for_kubectl(text, taint):
    assert attribute.parse_taint(text, name="drain") == taint


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "none of None, NoSchedule, NoExecute"),
        ("noexecute", "none of None"),
        ("a b:NoExecute", "must be letters"),
        ("A.b/c:NoExecute", "no DNS domain"),
        ("a/b/c:NoExecute", "no DNS domain"),
        ("/c:NoExecute", "no DNS domain"),
        (f"={'x' * 64}:None", "at most 63"),
        ("=-x:None", "must be letters"),
    ],
)
def test_a_taint_that_would_have_a_slice_refused_is_refused(text, rule):
    with pytest.raises(ValueError, match=rule):
        attribute.parse_taint(text, name="drain")


@given(st.text())
def test_any_reason_becomes_a_value_that_a_taint_may_have(reason):
    value = attribute.label_value(reason)

    attribute.parse_taint(f"={value}:None", name="x")


def test_a_reason_stays_readable():
    assert attribute.label_value("over temperature (95 °C)") == "over-temperature-95-C"


@given(st.decimals(min_value=0, max_value=10**6, places=3))
def test_a_quantity_keeps_its_size(number):
    scales = {"": 1, "k": 1000, "M": 10**6, "m": Decimal("0.001"), "u": Decimal("0.000001")}
    text = attribute.quantity(str(number))
    digits = text.rstrip("kMmu")

    assert Decimal(digits) * scales[text[len(digits) :]] == number
