"""Errors about fields, and the rules on names, in the words of Kubernetes.

Mirrors `apimachinery/pkg/util/validation/field/errors.go` and `.../util/validation/validation.go` of 1.36.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class ErrorType(enum.Enum):
    """What is wrong, and what `Status` calls it."""

    NOT_FOUND = "Not found"
    REQUIRED = "Required value"
    DUPLICATE = "Duplicate value"
    INVALID = "Invalid value"
    NOT_SUPPORTED = "Unsupported value"
    FORBIDDEN = "Forbidden"
    TOO_LONG = "Too long"
    TOO_MANY = "Too many"

    @property
    def name_in_causes(self) -> str:
        """Return the reason in `details.causes`."""
        return "FieldValue" + "".join(part.capitalize() for part in self.name.split("_"))


_VALUELESS: Final = frozenset({ErrorType.REQUIRED, ErrorType.FORBIDDEN, ErrorType.TOO_LONG})


@dataclasses.dataclass(frozen=True, slots=True)
class FieldError:
    """One broken rule."""

    type: ErrorType
    field: str
    value: Any
    detail: str

    @property
    def body(self) -> str:
        """Return the error without its field."""
        text = self.type.value
        if self.type not in _VALUELESS:
            text += f": {json.dumps(self.value, ensure_ascii=False, separators=(',', ':'))}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def required(path: str, detail: str = "") -> FieldError:
    """Return that a value is missing."""
    return FieldError(ErrorType.REQUIRED, path, "", detail)


def wrong(path: str, value: Any, detail: str) -> FieldError:
    """Return that a value is not one that may be there (`field.Invalid`)."""
    return FieldError(ErrorType.INVALID, path, value, detail)


def forbidden(path: str, detail: str) -> FieldError:
    """Return that a value may not be there now."""
    return FieldError(ErrorType.FORBIDDEN, path, "", detail)


def duplicate(path: str, value: Any) -> FieldError:
    """Return that a value is there twice."""
    return FieldError(ErrorType.DUPLICATE, path, value, "")


def not_supported(path: str, value: Any, allowed: Iterable[str]) -> FieldError:
    """Return that a word is none of the known ones."""
    words = ", ".join(f'"{word}"' for word in allowed)
    return FieldError(ErrorType.NOT_SUPPORTED, path, value, f"supported values: {words}")


def too_long(path: str, limit: int) -> FieldError:
    """Return that a text has more than *limit* bytes."""
    return FieldError(ErrorType.TOO_LONG, path, "", f"may not be more than {limit} bytes")


def too_many(path: str, number: int, limit: int) -> FieldError:
    """Return that a list has more than *limit* items."""
    items = "item" if limit == 1 else "items"
    return FieldError(ErrorType.TOO_MANY, path, number, f"must have at most {limit} {items}")


# -- names ------------------------------------------------------------------------------------------------------------

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE: Final = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_C_IDENTIFIER: Final = "[A-Za-z_][A-Za-z0-9_]*"

_LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    rf"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_DASH_DOT_RULE: Final = "must not contain dots"
_QUALIFIED_RULE: Final = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
_LABEL_VALUE_RULE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_LABEL_VALUE}')"
)
_C_IDENTIFIER_RULE: Final = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters "
    f"or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '{_C_IDENTIFIER}')"
)


def size(text: str) -> int:
    """Return the length that Go sees: bytes of UTF-8."""
    return len(text.encode())


def dns_label(name: str) -> Iterator[str]:
    """Say what keeps *name* from being a DNS label."""
    if size(name) > 63:
        yield "must be no more than 63 characters"
    if not re.fullmatch(_LABEL, name):
        yield _DASH_DOT_RULE if re.fullmatch(_SUBDOMAIN, name) else _LABEL_RULE


def dns_subdomain(name: str) -> Iterator[str]:
    """Say what keeps *name* from being a DNS subdomain."""
    if size(name) > 253:
        yield "must be no more than 253 characters"
    if not re.fullmatch(_SUBDOMAIN, name):
        yield _SUBDOMAIN_RULE


def qualified_name(name: str) -> Iterator[str]:
    """Say what keeps *name* from being the key of a label, an annotation or a taint."""
    prefix, slash, rest = name.rpartition("/")
    if "/" in prefix:
        with_prefix = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        yield f"a valid label key {_QUALIFIED_RULE} {with_prefix}"
        return
    if slash:
        if not prefix:
            yield "prefix part must be non-empty"
        else:
            yield from (f"prefix part {text}" for text in dns_subdomain(prefix))
    if not rest:
        yield "name part must be non-empty"
    elif size(rest) > 63:
        yield "name part must be no more than 63 bytes"
    if not re.fullmatch(_QUALIFIED, rest):
        yield f"name part {_QUALIFIED_RULE}"


def label_value(value: str) -> Iterator[str]:
    """Say what keeps *value* from being the value of a label or a taint."""
    if size(value) > 63:
        yield "must be no more than 63 bytes"
    if not re.fullmatch(_LABEL_VALUE, value):
        yield _LABEL_VALUE_RULE


def c_identifier(name: str) -> Iterator[str]:
    """Say what keeps *name* from being an identifier in C."""
    if not re.fullmatch(_C_IDENTIFIER, name):
        yield _C_IDENTIFIER_RULE


def all_wrong(path: str, value: str, details: Iterable[str]) -> Iterator[FieldError]:
    """Turn what the functions above say into errors about one field."""
    for detail in details:
        yield wrong(path, value, detail)
