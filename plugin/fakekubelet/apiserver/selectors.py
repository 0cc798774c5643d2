"""Label and field selectors, as `labels.Parse` and `fields.ParseSelector` of Kubernetes read them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from fakekubelet.apiserver import api_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fakekubelet.apiserver.kinds import Kind

    Object = Mapping[str, Any]
    Test = Callable[[Object], bool]

_SET: Final = re.compile(r"([^\s!=(),]+)\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL: Final = re.compile(r"([^\s!=(),]+)\s*(==|=|!=)\s*([^\s!=(),]*)")
_EXISTS: Final = re.compile(r"(!?)\s*([^\s!=(),]+)")


def always(document: Object) -> bool:
    """Select everything."""
    del document
    return True


def of_labels(text: str) -> Test:
    """Return the test that a label selector stands for; ApiError 400 if it is none."""
    tests = [_label_test(part.strip(), text) for part in _parts(text)]
    return always if not tests else lambda document: all(test(_labels(document)) for test in tests)


def of_fields(kind: Kind, text: str) -> Test:
    """Return the test that a field selector stands for; ApiError 400 for a field by which the kind is not selected."""
    tests: list[Test] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"([^!=]+)(==|=|!=)(.*)", part)
        if found is None:
            raise api_error.bad_request(f"invalid selector: {part!r}; can't understand {part!r}")
        field, operator, wanted = found.groups()
        known = ("metadata.name", *(("metadata.namespace",) if kind.is_namespaced else ()), *kind.selectable_fields)
        if "=" in wanted:
            raise api_error.bad_request("invalid field selector: unescaped character in value: 61")
        if field not in known:
            raise api_error.bad_request(_unsupported(kind, field))
        tests.append(_field_test(tuple(field.split(".")), wanted, equal=operator != "!="))
    return always if not tests else lambda document: all(test(document) for test in tests)


def _unsupported(kind: Kind, field: str) -> str:
    if kind.selectable_fields:
        where = f" for {kind.group}/v1, Kind={kind.name}" if kind.group else ""
        return f"field label not supported{where}: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _field_test(path: tuple[str, ...], wanted: str, *, equal: bool) -> Test:
    def test(document: Object) -> bool:
        value: Any = document
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        return (text == wanted) is equal

    return test


def _labels(document: Object) -> Object:
    return (document.get("metadata") or {}).get("labels") or {}


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r",(?![^()]*\))", text) if part.strip()]


def _label_test(part: str, text: str) -> Test:
    if found := _SET.fullmatch(part):
        key, word, values = found.groups()
        wanted = {value.strip() for value in values.split(",")}
        if word == "in":
            return lambda labels: labels.get(key) in wanted
        return lambda labels: labels.get(key) not in wanted
    if found := _EQUAL.fullmatch(part):
        key, operator, value = found.groups()
        return lambda labels: (labels.get(key) == value) is (operator != "!=")
    if found := _EXISTS.fullmatch(part):
        absent, key = found.groups()
        return lambda labels: (key in labels) is not bool(absent)
    raise api_error.bad_request(f"unable to parse requirement: found {part!r} in {text!r}")
