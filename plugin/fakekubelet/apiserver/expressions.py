"""Whether a CEL expression can be stored: what does not compile is refused, as the real server does.

Mirrors `dynamic-resource-allocation/cel/compile.go` as far as syntax, names and plain results go; what is said after
`compilation failed` is in other words, and no cost is reckoned. The library is loaded for the first expression that is
more than a comparison of the driver's name.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Final

_PLAIN: Final = re.compile(r"""\s*device\.driver\s*==\s*(["'])[a-zA-Z0-9.-]*\1\s*|true|false""")
_FIELDS: Final = frozenset({"driver", "attributes", "capacity", "allowMultipleAllocations"})
_MACROS: Final = frozenset(
    {"all", "exists", "exists_one", "map", "filter", "bind", "sortBy", "transformList", "transformMap"}
)
_TYPES: Final = frozenset(
    {
        "int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "dyn", "timestamp",
        "duration", "cel",
    }
)  # fmt: skip  # names that an expression may use without declaring them


@functools.lru_cache(maxsize=1024)
def problem(expression: str) -> str:
    """Return what keeps an expression from being stored; empty if nothing does."""
    if _PLAIN.fullmatch(expression):
        return ""
    import celpy  # here: it is large, and most clusters compare drivers only
    import celpy.celparser

    environment = celpy.Environment()
    try:
        tree = environment.compile(expression)
    except celpy.celparser.CELParseError as error:
        return f"compilation failed: Syntax error: {error}"
    unknown = _unknown(tree)
    if unknown:
        return f"compilation failed: {unknown}"
    return _no_bool(environment, tree)


def _unknown(tree: Any) -> str:
    names = [str(token) for ident in tree.find_data("ident") for token in ident.children]
    calls = {str(call.children[1]) for call in tree.find_data("member_dot_arg")}
    if not calls & _MACROS:  # which have variables of their own
        foreign = [name for name in names if name not in {"device", *_TYPES}]
        if foreign:
            return f"undeclared reference to '{foreign[0]}' (in container '')"
    for member in tree.find_data("member_dot"):
        inner = list(member.children[0].scan_values(lambda _: True))
        if [str(token) for token in inner] == ["device"] and str(member.children[1]) not in _FIELDS:
            return f"undefined field '{member.children[1]}'"
    return ""


def _no_bool(environment: Any, tree: Any) -> str:
    """Try an expression that calls nothing on a device without anything: what it comes to then has a type."""
    from celpy import celtypes

    if next(tree.find_data("member_dot_arg"), None) is not None or next(tree.find_data("ident_arg"), None) is not None:
        return ""
    no_domains = celtypes.MapType({})
    device = {"driver": celtypes.StringType(""), "attributes": no_domains, "capacity": no_domains}
    view = celtypes.MapType({celtypes.StringType(name): value for name, value in device.items()})
    try:
        result = environment.program(tree).evaluate({"device": view})
    except Exception:  # it needs a device that has something
        return ""
    names: dict[Any, str] = {celtypes.StringType: "string", celtypes.IntType: "int", celtypes.DoubleType: "double",
             celtypes.ListType: "list", celtypes.MapType: "map", celtypes.BytesType: "bytes"}  # fmt: skip
    name = names.get(type(result))
    return "" if name is None else f"must evaluate to bool or the unknown type, not {name}"
