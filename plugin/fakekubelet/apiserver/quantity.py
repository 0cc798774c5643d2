"""Quantities as Kubernetes writes them: `1024Mi` goes in, `1Gi` comes out.

Mirrors `apimachinery/pkg/api/resource/quantity.go`. A driver that compares the text it sent with the text it reads back
finds a difference that is none.
"""

from __future__ import annotations

import decimal
import re
from typing import Final

_TEXT: Final = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE]?)")
_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SMALLEST: Final = decimal.Decimal("1e-9")
_EXACT: Final = decimal.Context(prec=100)
"""More digits than any quantity has."""
ERROR: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
"""What the real server says to a text that is none."""


def _parts(text: str) -> tuple[decimal.Decimal, str]:
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise ValueError(ERROR)
    sign, digits, suffix = found.groups()
    number = decimal.Decimal(f"{sign}{digits}")
    if suffix.endswith("i"):
        return _EXACT.multiply(number, decimal.Decimal(1024 ** _BINARY.index(suffix))), "binary"
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return number.scaleb(int(suffix[1:])), "exponent"
    return number.scaleb(_DECIMAL[suffix]), "decimal"


def value(text: str) -> decimal.Decimal:
    """Return the number; raise ValueError for a text that is no quantity."""
    return _parts(text)[0]


def canonical(text: str) -> str:
    """Return the text that the API server gives back; raise ValueError for a text that is no quantity."""
    return _text(*_parts(text))


def plus(one: str, other: str) -> str:
    """Return the sum as the API server writes it: in the form of the first; ValueError as above."""
    number, form = _parts(one)
    return _text(_EXACT.add(number, value(other)), form)


def _text(number: decimal.Decimal, form: str) -> str:
    number = number.quantize(_SMALLEST, decimal.ROUND_UP, _EXACT).normalize(_EXACT)
    if number == 0:
        return "0"
    if form == "binary" and abs(number) >= 1024 and number == number.to_integral_value():
        step = max(step for step in range(7) if number % 1024**step == 0)
        return f"{int(number) // 1024**step}{_BINARY[step]}"
    if form == "binary" and number == number.to_integral_value():
        return str(int(number))
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    power = min(18, (exponent // 3) * 3)
    mantissa = int(number.scaleb(-power, _EXACT))
    if form == "exponent":
        return f"{mantissa}e{power}" if power else str(mantissa)
    suffix = next(suffix for suffix, value_ in _DECIMAL.items() if value_ == power)
    return f"{mantissa}{suffix}"
