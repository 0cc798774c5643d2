"""Quantities as Kubernetes reads and writes them: `1024Mi` goes in, `1Gi` comes out; of what is counted, whole numbers.

The grammar is that of `apimachinery/pkg/api/resource/quantity.go`. A driver that compares the text it sent with the one
it reads back finds a difference that is none. `whole` is the rule of an API server for extended resources: `2`, `1k`,
`10Mi`, `1.0`, `1e3` and `1000m` are whole numbers, and not negative (contract SCH-2).
"""

from __future__ import annotations

import decimal
import re
from typing import Any, Final

LARGEST: Final = 2**63 - 1
"""A kubelet counts in 64 bits."""
ERROR: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
"""What the real server says to a text that is none."""

_TEXT: Final = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9}|[KMGTPE]i|[numkMGTPE]?)", re.ASCII)
_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SMALLEST: Final = decimal.Decimal("1e-9")
_MOST_DIGITS: Final = 60
"""No number of 64 bits needs more, its fraction included; what has more is no quantity here."""
_EXACT: Final = decimal.Context(prec=4 * _MOST_DIGITS)
"""More digits than any quantity has, the smallest unit included."""


class QuantityError(ValueError):
    """What was given is no whole number; the text says what is."""


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


def whole(given: Any) -> int:
    """Return a quantity as YAML or JSON hands it out, a number or a text; raise QuantityError."""
    text = str(given)
    if isinstance(given, bool) or len(text) > _MOST_DIGITS or _TEXT.fullmatch(text) is None:
        raise QuantityError(f"{text[:_MOST_DIGITS]!r} must be a whole number, such as 2, 1k or 10Mi")
    try:
        number = value(text)
    except ValueError as error:  # it is one by its form, and far too large or too small
        raise QuantityError(f"{text!r} must be a whole number of at most {LARGEST}") from error
    if number != _EXACT.to_integral_value(number):
        raise QuantityError(f"{text!r} must be a whole number")
    if number < 0:
        raise QuantityError(f"{text!r} must not be negative")
    if number > LARGEST:
        raise QuantityError(f"{text!r} must be a whole number of at most {LARGEST}")
    return int(number)


def _parts(text: str) -> tuple[decimal.Decimal, str]:
    found = _TEXT.fullmatch(text.strip())
    if found is None or len(text) > 2 * _MOST_DIGITS:
        raise ValueError(ERROR)
    sign, digits, suffix = found.groups()
    form = "decimal"
    ten = 0
    if suffix.endswith("i"):
        form = "binary"
    elif suffix[:1] in ("e", "E") and len(suffix) > 1:
        form, ten = "exponent", int(suffix[1:])
    else:
        ten = _DECIMAL[suffix]
    number = decimal.Decimal(f"{sign}{digits}E{ten}")
    if number and abs(number.adjusted()) > _MOST_DIGITS:
        raise ValueError(ERROR)
    if form == "binary":
        number = _EXACT.multiply(number, decimal.Decimal(1024 ** _BINARY.index(suffix)))
    return number, form


def _text(number: decimal.Decimal, form: str) -> str:
    number = number.quantize(_SMALLEST, decimal.ROUND_UP, _EXACT).normalize(_EXACT)
    if number == 0:
        return "0"
    if form == "binary" and abs(number) >= 1024 and number == number.to_integral_value():
        step = max(step for step in range(7) if number % 1024**step == 0)
        return f"{int(number) // 1024**step}{_BINARY[step]}"
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    power = min(18, (exponent // 3) * 3)
    mantissa = int(number.scaleb(-power, _EXACT))
    if form == "exponent":
        return f"{mantissa}e{power}" if power else str(mantissa)
    suffix = next(suffix for suffix, value_ in _DECIMAL.items() if value_ == power)
    return f"{mantissa}{suffix}"
