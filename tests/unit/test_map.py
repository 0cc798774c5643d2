"""tests/README.md and hack/README.md say where what is, and are held to it."""

from __future__ import annotations

import ast
import fnmatch
import functools
import re
from pathlib import Path

import grimp  # comes with import-linter
import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
README = (TESTS / "README.md").read_text()
PACKAGES = ("fakehw", *sorted(path.parent.name for path in ROOT.glob("plugin/*/__init__.py")))
COMMANDS = {
    "fakehw.cli": ('"fakehw"', "-m fakehw ", "fakehw "),
    "fakehw_plugin.cli": ("fakehw-plugin", "fakehw_plugin"),
    "fakekubelet.conformance.cli": ("fakehw-conformance",),
}
"""What a test says that runs a command."""


@functools.cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def shipped() -> list[str]:
    """Return every module with code of its own."""
    folders = {package: ROOT if package == "fakehw" else ROOT / "plugin" for package in PACKAGES}
    return sorted(
        ".".join(path.relative_to(folder).with_suffix("").parts)
        for package, folder in folders.items()
        for path in (folder / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py") and "_pb2" not in path.name
    )


def rows() -> dict[str, list[str]]:
    """Return pattern to tests."""
    table = {}
    for line in README.partition("## Which tests")[2].splitlines():
        cells = [re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:-1]]
        if len(cells) == 2 and cells[0] and cells[1] and all(cell.endswith(".py") for cell in cells[1]):
            table.update(dict.fromkeys(cells[0], cells[1]))
    return table


def row_of(module: str) -> list[str]:
    """Return the tests of the row that names *module*, or else of the one whose pattern takes it in."""
    table = rows()
    patterns = [pattern for pattern in table if fnmatch.fnmatchcase(module, pattern)]
    return table[max(patterns, key=lambda pattern: (pattern == module, len(pattern)))] if patterns else []


@functools.cache
def reached_from(test: str) -> frozenset[str]:
    """Return the modules that a test imports, its helpers' imports and all that those import included."""
    direct: set[str] = set()
    files, seen = [TESTS / test, TESTS / "conftest.py", (TESTS / test).parent / "conftest.py"], set()
    while files:
        file = files.pop()
        if file in seen or not file.is_file():
            continue
        seen.add(file)
        text = file.read_text()
        direct |= {module for module, words in COMMANDS.items() if any(word in text for word in words)}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                direct |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                direct |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        files += [ROOT / Path(*name.split(".")).with_suffix(".py") for name in direct if name.startswith("tests.")]
        files += [script for script in (ROOT / "hack").glob("*.py") if script.name in text]
    known = graph().modules
    start = direct & known
    return frozenset(start.union(*(graph().find_upstream_modules(module) for module in start)))


def test_every_module_has_a_row():
    assert [module for module in shipped() if not row_of(module)] == [], "tests/README.md"


@pytest.mark.parametrize("pattern", rows())
def test_every_row_is_about_something(pattern):
    assert fnmatch.filter(shipped(), pattern), "no such module any more"


def test_the_tests_of_a_row_are_there():
    named = {test for tests in rows().values() for test in tests}

    assert [test for test in sorted(named) if not (TESTS / test).is_file()] == []


def test_a_test_of_its_row_reaches_every_module():
    unreached = [
        module
        for module in shipped()
        if not any(module in reached_from(test) for test in row_of(module) if (TESTS / test).is_file())
    ]

    assert unreached == []


def test_every_script_is_on_its_page():
    page = (ROOT / "hack" / "README.md").read_text()
    scripts = [path for path in (ROOT / "hack").iterdir() if path.name not in ("README.md", "__pycache__")]
    named = set(re.findall(r"`([\w./-]+)`", page))

    assert sorted({path.name + "/" * path.is_dir() for path in scripts} - named) == []
    written = [name for name in named if re.fullmatch(r"[\w-]+\.(py|sh|txt)|[\w-]+/", name)]
    assert [name for name in written if not (ROOT / "hack" / name).exists() and not (ROOT / name).exists()] == []


def test_every_target_on_the_pages_of_scripts_and_tests_is_one():
    makefile = (ROOT / "Makefile").read_text()
    for page in (README, (ROOT / "hack" / "README.md").read_text()):
        for target in re.findall(r"`make ([a-z0-9-]+)", page):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
