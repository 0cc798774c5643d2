"""Kubernetes quantities of what is counted: `2`, `1k`, `10Mi`, `1.0`, `1e3` and `1000m` are whole numbers.

The grammar is that of `apimachinery/pkg/api/resource/quantity.go`, and the rule that of an API server for extended
resources: whole, and not negative (contract SCH-2).
"""

from __future__ import annotations

import decimal
import re
from typing import Any, Final

LARGEST: Final = 2**63 - 1
"""A kubelet counts in 64 bits."""

_GRAMMAR: Final = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:([numkMGTPE]?|[KMGTPE]i)|[eE]([+-]?\d{1,9}))", re.ASCII)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_MOST_DIGITS: Final = 60
"""No whole number of 64 bits needs more, its fraction included."""


class QuantityError(ValueError):
    """What was given is no whole number; the text says what is."""


def whole(given: Any) -> int:
    """Return a quantity as YAML or JSON hands it out, a number or a text; raise QuantityError."""
    text = str(given)
    found = None if isinstance(given, bool) else _GRAMMAR.fullmatch(text)
    if found is None or len(text) > _MOST_DIGITS:
        raise QuantityError(f"{text[:_MOST_DIGITS]!r} must be a whole number, such as 2, 1k or 10Mi")
    sign, digits, suffix, exponent = found.groups()
    ten = int(exponent) if exponent is not None else _DECIMAL.get(suffix, 0)
    number = decimal.Decimal(f"{digits}E{ten}")
    with decimal.localcontext(prec=2 * _MOST_DIGITS):
        if number and abs(number.adjusted()) > _MOST_DIGITS:
            raise QuantityError(f"{text!r} must be a whole number of at most {LARGEST}")
        number *= 1 << _BINARY.get(suffix or "", 0)
        if number != number.to_integral_value():
            raise QuantityError(f"{text!r} must be a whole number")
    if sign == "-" and number:
        raise QuantityError(f"{text!r} must not be negative")
    if number > LARGEST:
        raise QuantityError(f"{text!r} must be a whole number of at most {LARGEST}")
    return int(number)
