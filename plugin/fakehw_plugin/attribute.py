"""What DRA tells of a device beside its name: typed attributes, capacities and taints. Pure: text in, values out.

The limits are those of the API server's validation (docs/kubelet-contract.md SL-5 and SL-6): one value that breaks them
would have the whole slice refused, so it is refused here, with the rule.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

MAX_NAME: Final = 32
MAX_VALUE_BYTES: Final = 64
MAX_TAINT_PART: Final = 63
MAX_DOMAIN: Final = 253

# Patterns as text, compiled when first used: every plugin loads this before it registers, and few serve DRA.
NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_INT: Final = r"-?[0-9]{1,19}"
_VERSION: Final = (
    r"(?a:(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?)"
)
_QUANTITY: Final = r"([0-9]{1,15})(?:\.([0-9]{1,9}))?([a-zA-Z]*)"
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL: Final = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_DOMAIN: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_NOT_LABEL: Final = r"[^A-Za-z0-9._]+"


class AttributeType(StrEnum):
    """How the text of an attribute is to be understood; the words are those of a class's `types`."""

    STRING = "string"
    INT = "int"
    BOOL = "bool"
    VERSION = "version"
    CAPACITY = "capacity"


class Effect(StrEnum):
    """What a taint does: nothing, no new pods, no pods at all."""

    NONE = "None"
    NO_SCHEDULE = "NoSchedule"
    NO_EXECUTE = "NoExecute"


class Attribute(NamedTuple):
    """One attribute or capacity of a device. The value of a version or capacity is its text."""

    name: str
    type: AttributeType
    value: str | int | bool


class Taint(NamedTuple):
    """One taint of a device. A key without a domain is the driver's own."""

    key: str
    value: str
    effect: Effect


class Details(NamedTuple):
    """What DRA alone tells of a device. One value of a device and not three: most have nothing of it."""

    attributes: tuple[Attribute, ...] = ()
    taints: tuple[Taint, ...] = ()
    unhealthy_effect: Effect = Effect.NO_SCHEDULE
    """What the taint does that the device has while it is unhealthy."""


def parse(name: str, text: str, type_: AttributeType) -> Attribute:
    """Return the attribute that a file called `name` with `text` stands for; ValueError says the broken rule."""
    if len(name) > MAX_NAME or not re.fullmatch(NAME, name):
        raise ValueError(f"a name must be a letter, then letters, digits or '_', at most {MAX_NAME} in all")
    return Attribute(name, type_, _value(text, type_))


def _value(text: str, type_: AttributeType) -> str | int | bool:
    match type_:
        case AttributeType.INT:
            if not re.fullmatch(_INT, text) or not -(2**63) <= int(text) < 2**63:
                raise ValueError(f"{text[:40]!r} is no whole number of 64 bits")
            return int(text)
        case AttributeType.BOOL:
            if text not in ("true", "false"):
                raise ValueError(f"{text[:40]!r} is neither true nor false")
            return text == "true"
        case AttributeType.CAPACITY:
            return quantity(text)
    if len(text.encode()) > MAX_VALUE_BYTES:
        raise ValueError(f"is longer than {MAX_VALUE_BYTES} bytes")
    if type_ is AttributeType.VERSION and not re.fullmatch(_VERSION, text):
        raise ValueError(f"{text[:40]!r} is no version such as 1.2.3")
    return text


def quantity(text: str) -> str:
    """Return a quantity as an API server writes it: 0.5Gi as 512Mi, 2000m as 2. ValueError for what is none.

    What is written otherwise would come back changed, and look like somebody else's change.
    """
    from fractions import Fraction  # not in the time of a start without DRA

    match = re.fullmatch(_QUANTITY, text)
    whole, part, suffix = match.groups() if match else ("", "", "?")
    if suffix not in _BINARY and suffix not in _DECIMAL:
        raise ValueError(f"{text[:40]!r} is no quantity such as 80Gi or 4")
    number = Fraction(int(whole + (part or "")), 10 ** len(part or ""))
    number *= 1024 ** _BINARY[suffix] if suffix in _BINARY else Fraction(1000) ** _DECIMAL[suffix]
    if number == 0:
        return "0"
    if number >= 2**63 or (number * 10**9).denominator != 1:
        raise ValueError(f"{text[:40]!r} is too large or too fine")
    scales: list[tuple[str, Fraction]] = [(name, Fraction(1000) ** power) for name, power in _DECIMAL.items()]
    if suffix in _BINARY and number >= 1024:
        scales = [("", Fraction(1)), *((name, Fraction(1024**power)) for name, power in _BINARY.items())]
    name, scale = max(
        ((name, scale) for name, scale in scales if (number / scale).denominator == 1), key=lambda s: s[1]
    )
    return f"{number / scale}{name}"


def parse_taint(text: str, *, name: str) -> Taint:
    """Return the taint that a file `name` stands for: `[KEY][=VALUE]:EFFECT` or `EFFECT`; ValueError for the rest.

    The notation is kubectl's. Without a key it is the file's name, in the driver's own domain.
    """
    head, _, effect = text.rpartition(":")
    key, _, value = head.partition("=")
    key = key or name
    try:
        known = Effect(effect)
    except ValueError:
        raise ValueError(f"{effect[:40]!r} is none of {', '.join(Effect)}") from None
    domain, slash, label = key.rpartition("/")
    if slash and (len(domain) > MAX_DOMAIN or not re.fullmatch(_DOMAIN, domain)):
        raise ValueError(f"{key[:40]!r}: what stands before the slash is no DNS domain")
    for part in (label, *([value] if value else [])):
        if len(part) > MAX_TAINT_PART or not re.fullmatch(_LABEL, part):
            raise ValueError(f"{part[:40]!r} must be letters, digits, '.', '_' or '-', at most {MAX_TAINT_PART}")
    return Taint(key, value, known)


def label_value(text: str) -> str:
    """Return `text` as far as the value of a taint can say it: `over temperature` as `over-temperature`."""
    return re.sub(_NOT_LABEL, "-", text)[:MAX_TAINT_PART].strip("-._")
