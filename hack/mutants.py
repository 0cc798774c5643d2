"""Mutants: change one thing in the code at a time, and see whether a test notices. `make mutants`, never in CI.

    make mutants                          300 of all three packages
    make mutants SAMPLE=60 SEED=2 ONLY=fakehw/tree

A sample is drawn from all places where a comparison can be turned, a condition negated, a number changed, a call or a
return left out; the same seed draws the same sample of the same code. All tests are run once, to see which test file
runs which function; a mutant is then tried on those that run the function it is in, in a copy of the repository. One
that is only noticed by a time limit counts as not noticed. What survives is shown as a difference: whether it changes
behaviour at all, a person has to judge.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("fakehw", "plugin/fakehw_plugin", "plugin/fakekubelet")
MAP = "MUTANTS_MAP"
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
SLACK_S = 60.0
MOST_FILES = 12


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


# Where code can be changed.


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
    return sorted(drawn, key=lambda mutant: (mutant.path, mutant.line))


# Which tests run what: a plugin of pytest, in whose processes this module is loaded by `-p hack.mutants`.

_ran: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
_took: defaultdict[str, float] = defaultdict(float)


def pytest_runtest_setup(item: Any) -> None:
    """Note every function of ours that is called for a test from now on."""
    if MAP in os.environ:
        ran, root = _ran[item.path.name], f"{Path.cwd()}/"
        item.began = time.monotonic()

        def note(frame: Any, event: str, _: object) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(root):
                ran.add((frame.f_code.co_filename.removeprefix(root), frame.f_code.co_firstlineno))

        sys.setprofile(note)


def pytest_runtest_teardown(item: Any) -> None:
    """Note no more."""
    if MAP in os.environ:
        sys.setprofile(None)
        _took[item.path.name] += time.monotonic() - item.began


def pytest_sessionfinish() -> None:
    """Write down what was noted."""
    if MAP in os.environ and _ran:
        rows = {name: [_took[name], sorted(ran)] for name, ran in _ran.items()}
        Path(f"{os.environ[MAP]}.{os.getpid()}").write_text(json.dumps(rows))


class Map:
    """Which test files run which functions, and how long each file takes."""

    def __init__(self, parts: list[Path]) -> None:
        self.took: dict[str, float] = {}
        self._by_function: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        self._by_module: defaultdict[str, set[str]] = defaultdict(set)
        for part in parts:
            for name, (took, ran) in json.loads(part.read_text()).items():
                self.took[name] = self.took.get(name, 0.0) + took
                for path, line in ran:
                    self._by_function[path, line].add(name)
                    self._by_module[path].add(name)

    def files_for(self, mutant: Mutant) -> list[str]:
        """Return the test files that may notice, the quickest first."""
        names = self._by_function.get((mutant.path, mutant.function)) or self._by_module.get(mutant.path, set())
        return sorted(names, key=lambda name: self.took[name])[:MOST_FILES]


# Trying them.


class Copy:
    """A copy of the repository, in which modules can be changed."""

    def __init__(self, place: Path) -> None:
        self.root = place / "copy"
        listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
        for name in listed.stdout.splitlines():
            if (REPOSITORY / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, self.root / name)
        self._left_out: list[str] = []
        self._where = {path.name: str(path) for path in (self.root / "tests").rglob("test_*.py")}

    def pytest(self, *arguments: str, limit_s: float, **environ: str) -> tuple[int, str]:
        """Run tests; the exit code is -1 where the time is up."""
        paths = f"{self.root}:{self.root}/plugin"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        process = subprocess.Popen(
            command, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **environ}, start_new_session=True,
        )  # fmt: skip  # the command stays on one line
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return -1, ""
        return process.returncode, output

    def map(self, place: Path, tests: list[str]) -> Map:
        """Run all tests, or these, once."""
        began = time.monotonic()
        code, output = self.pytest(
            "-p", "hack.mutants", "--numprocesses", str(len(os.sched_getaffinity(0)) + 1), "--dist", "loadfile",
            "--timeout", "600", *tests, limit_s=3600, **{MAP: str(place / "map")},
        )  # fmt: skip  # a flag beside its value
        failed = [line.split()[1] for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
        self._left_out = [flag for name in failed for flag in ("--deselect", name)]
        print(
            f"all tests once: exit code {code}, {time.monotonic() - began:.0f} s; failed as it is, left out: {failed}"
        )
        return Map(sorted(place.glob("map.*")))

    def try_out(self, mutant: Mutant, known: Map) -> tuple[str, str]:
        """Return what became of a mutant: killed, time limit, survived or not reached; and by what."""
        files = [self._where[name] for name in known.files_for(mutant) if name in self._where]
        if not files:
            return "not reached", ""
        path = self.root / mutant.path
        before = path.read_bytes()
        path.write_bytes(before[: mutant.start] + mutant.text.encode() + before[mutant.end :])
        try:
            limit_s = SLACK_S + 5 * sum(known.took[Path(file).name] for file in files)
            code, output = self.pytest("-x", "-n0", *self._left_out, *files, limit_s=limit_s)
            if code == -1 or "Timeout (>" in output or "Failed: Timeout" in output:
                return "time limit", ""
            if code not in (0, 5):
                failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
                return "killed", failed[0].partition("::")[2][:80] if failed else output[-80:]
        finally:
            path.write_bytes(before)
        return "survived", ", ".join(Path(file).name for file in files)


def difference(mutant: Mutant, root: Path) -> str:
    """Return what a mutant changes, as people read it."""
    before = (root / mutant.path).read_bytes()
    after = before[: mutant.start] + mutant.text.encode() + before[mutant.end :]
    lines = difflib.unified_diff(before.decode().splitlines(), after.decode().splitlines(), lineterm="", n=0)
    return "\n".join(f"    {line}" for line in list(lines)[3:])


def main() -> int:
    """Draw, try, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="the beginning of a path, such as fakehw/tree")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long, with what there is")
    parser.add_argument("tests", nargs="*", help="test files to try them on, instead of all")
    arguments = parser.parse_args()
    counts: defaultdict[str, int] = defaultdict(int)
    with tempfile.TemporaryDirectory(prefix="fhw-mutants-") as directory:
        place = Path(directory)
        copy = Copy(place)
        drawn = sample(copy.root, arguments.only, arguments.sample, arguments.seed)
        random.Random(arguments.seed).shuffle(drawn)  # noqa: S311  # so that one that is stopped has a sample too
        known = copy.map(place, arguments.tests)
        end = time.monotonic() + 60 * arguments.minutes
        for mutant in drawn:
            if time.monotonic() > end:
                break
            word, by = copy.try_out(mutant, known)
            counts[word] += 1
            print(f"{word:<11} {mutant.path}:{mutant.line} ({mutant.kind}) {by}", flush=True)
            if word != "killed":
                print(difference(mutant, copy.root), flush=True)
    tried = sum(counts.values())
    print(", ".join(f"{count} {word}" for word, count in sorted(counts.items())) + f" of {tried} tried")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
