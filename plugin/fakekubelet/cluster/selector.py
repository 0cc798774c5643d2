"""CEL selectors of device classes and requests, by the library cel-python (extra `apiserver`).

Mirrors `dynamic-resource-allocation/cel/compile.go` (contract DRA-CEL-1): `device.driver`, attributes and capacities by
domain and name. Of Kubernetes' own functions those on quantities and semantic versions are there.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import celpy
import celpy.celparser
import celpy.evaluation
from celpy import celtypes

from fakekubelet import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    Object = Mapping[str, Any]


class SelectorError(Exception):
    """An expression that cannot be compiled, or that fails on a device; the scheduler gives up then."""


class _Quantity(str):
    """A quantity: a text that is compared as a number."""

    __slots__ = ()


class _Semver(str):
    """A semantic version."""

    __slots__ = ()


def _parts(version: str) -> tuple[Any, ...]:
    core, _, pre = version.partition("+")[0].partition("-")
    words = [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in pre.split(".")] if pre else []
    return (*map(int, core.split(".")), not pre, words)


def _compare(one: Any, other: Any) -> int:
    if isinstance(one, _Semver):
        left, right = _parts(one), _parts(str(other))
    else:
        left, right = (quantity.value(str(one)),), (quantity.value(str(other)),)
    return (left > right) - (left < right)


_FUNCTIONS: dict[str, Any] = {
    "quantity": lambda text: _Quantity(text),
    "semver": lambda text: _Semver(text),
    "compareTo": lambda one, other: celtypes.IntType(_compare(one, other)),
    "isGreaterThan": lambda one, other: celtypes.BoolType(_compare(one, other) > 0),
    "isLessThan": lambda one, other: celtypes.BoolType(_compare(one, other) < 0),
}


class _Domains(celtypes.MapType):
    """Attributes or capacities by domain: a domain that a device does not have is an empty map."""

    def __getitem__(self, domain: Any) -> Any:
        return super().__getitem__(domain) if domain in self else celtypes.MapType({})


@functools.lru_cache(maxsize=1024)
def _program(expression: str) -> Any:
    environment = celpy.Environment()
    try:
        return environment.program(environment.compile(expression), functions=_FUNCTIONS)
    except celpy.celparser.CELParseError as error:
        raise SelectorError(f"CEL expression {expression!r}: {error}") from error


def matches(expression: str, driver: str, device: Object) -> bool:
    """Tell whether a device is selected; SelectorError if the expression says neither."""
    view = celtypes.MapType(
        {
            celtypes.StringType("driver"): celtypes.StringType(driver),
            celtypes.StringType("attributes"): _by_domain(driver, device.get("attributes") or {}, _attribute),
            celtypes.StringType("capacity"): _by_domain(
                driver, device.get("capacity") or {}, lambda value: _Quantity(value["value"])
            ),
            celtypes.StringType("allowMultipleAllocations"): celtypes.BoolType(
                bool(device.get("allowMultipleAllocations"))
            ),
        }
    )
    try:
        result = _program(expression).evaluate({"device": view})
    except celpy.evaluation.CELEvalError as error:
        raise SelectorError(f"CEL expression {expression!r} on device {device.get('name')}: {error}") from error
    if not isinstance(result, celtypes.BoolType | bool):
        raise SelectorError(f"CEL expression {expression!r} must return a bool")
    return bool(result)


def _attribute(value: Object) -> Any:
    if "int" in value:
        return celtypes.IntType(value["int"])
    if "bool" in value:
        return celtypes.BoolType(value["bool"])
    return _Semver(value["version"]) if "version" in value else celtypes.StringType(value.get("string", ""))


def _by_domain(driver: str, values: Object, turn: Any) -> Any:
    found: dict[str, dict[Any, Any]] = {}
    for name, value in values.items():
        domain, _, identifier = name.rpartition("/")
        found.setdefault(domain or driver, {})[celtypes.StringType(identifier)] = turn(value)
    domains = _Domains()
    for domain, identifiers in found.items():
        domains[celtypes.StringType(domain)] = celtypes.MapType(identifiers)
    return domains
