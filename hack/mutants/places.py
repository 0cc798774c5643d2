"""Where code can be changed: a comparison turned, a condition negated, a number changed, a call left out."""

from __future__ import annotations

import ast
import difflib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGES = ("fakehw", "plugin/fakehw_plugin", "plugin/fakekubelet")
TURNED = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}


@dataclass(frozen=True)
class Mutant:
    """One change: what stands from `start` to `end` (offsets in the text) becomes `text`."""

    path: str
    function: int
    """The line in which the function begins; 0 at the top of the module."""
    line: int
    start: int
    end: int
    text: str
    kind: str


def mutants_of(path: str, source: str) -> list[Mutant]:
    """Return all that can be done to one module."""
    lines = [0]
    for line in source.encode().splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    found: list[Mutant] = []

    def enter(node: Any, function: int, text: str, kind: str) -> None:
        start, end = lines[node.lineno - 1] + node.col_offset, lines[node.end_lineno - 1] + node.end_col_offset
        found.append(Mutant(path, function, node.lineno, start, end, text, kind))

    def walk(node: ast.AST, function: int) -> None:
        if isinstance(node, ast.JoinedStr | ast.AnnAssign) and not getattr(node, "value", None):
            return
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        for text, kind, target in changes(node):
            enter(target, function, text, kind)
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list") or isinstance(node, ast.JoinedStr):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    walk(child, function)

    walk(ast.parse(source), 0)
    return found


def changes(node: ast.AST) -> Iterator[tuple[str, str, ast.AST]]:
    """Yield what can be put in the place of a node, or of a part of it."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in TURNED:
            yield f"{ast.unparse(left)} {TURNED[type(op)]} {ast.unparse(right)}", "comparison", node
        case ast.BoolOp(op=op, values=values):
            other = " or " if isinstance(op, ast.And) else " and "
            yield "(" + other.join(f"({ast.unparse(value)})" for value in values) + ")", "and, or", node
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare):
            yield f"(not ({ast.unparse(test)}))", "condition", test
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield f"({ast.unparse(operand)})", "not", node
        case ast.Constant(value=bool() as value):
            yield str(not value), "constant", node
        case ast.Constant(value=int() | float() as value):
            yield repr(value * 10 if value > 2 or (isinstance(value, float) and value) else value + 1), "constant", node
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            sign = "-" if isinstance(op, ast.Add) else "+"
            yield f"({ast.unparse(left)} {sign} {ast.unparse(right)})", "arithmetic", node
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise():
            yield "pass", "left out", node
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "return None", "return", node
        case ast.Break():
            yield "continue", "loop", node
        case ast.Continue():
            yield "break", "loop", node


def sample(root: Path, only: str, count: int, seed: int) -> list[Mutant]:
    """Draw a sample of all mutants of the packages, or of the part that begins with `only`."""
    every: list[Mutant] = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = str(path.relative_to(root))
            if name.startswith(only) and "_pb2" not in name:
                every += mutants_of(name, path.read_text())
    drawn = random.Random(seed).sample(every, min(count, len(every)))  # noqa: S311  # repeatable on purpose
    print(f"{len(drawn)} of {len(every)} mutants, seed {seed}")
    return drawn


def difference(mutant: Mutant, root: Path) -> str:
    """Return what a mutant changes, as people read it."""
    before = (root / mutant.path).read_bytes()
    after = before[: mutant.start] + mutant.text.encode() + before[mutant.end :]
    lines = difflib.unified_diff(before.decode().splitlines(), after.decode().splitlines(), lineterm="", n=0)
    return "\n".join(f"    {line}" for line in list(lines)[3:])
