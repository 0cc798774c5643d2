"""docs/testing-your-plugin.md, block by block."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lengthy

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "testing-your-plugin.md"
BIN = Path(sys.executable).parent
WITH_TESTS = (
    "testing-your-plugin.md",
    "testing-your-dra-driver.md",
    "how-to-test-your-scheduler.md",
    "fake-kubelet.md",
)


def blocks(language: str, page: Path = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with nothing in it but what one copies from the pages, each block under the name in its first line."""
    folder = tmp_path / "project"
    folder.mkdir()
    for page in WITH_TESTS:
        for block in blocks("python", DOCS / page):
            (folder / block.split("\n", 1)[0].removeprefix("# ")).write_text(block)
    return folder


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    environ.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, timeout=110, check=False)


def pytest_says(project: Path, *arguments: str) -> str:
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments], project)
    return done.stdout + done.stderr


def test_every_page_with_a_test_in_it_is_played() -> None:
    pages = {page.name for page in DOCS.glob("*.md") if any("def test_" in block for block in blocks("python", page))}

    assert pages == set(WITH_TESTS)


def test_the_plugin_has_40_lines() -> None:
    code = [line for line in blocks("python")[0].split("\n")[1:] if line.strip()]

    assert len(code) <= 40


PLAIN = ("test_dongle.py", "test_scheduler.py", "test_three_dongles.py", "test_cluster.py")


def test_the_copied_tests_pass_with_no_setting_of_ours(project: Path) -> None:
    said = pytest_says(project, *PLAIN, "test_dongle_async.py")

    assert "7 passed" in said, said


def test_the_plain_ones_pass_without_pytest_asyncio(project: Path) -> None:
    said = pytest_says(project, "-p", "no:asyncio", "-p", "no:anyio", *PLAIN)

    assert "6 passed" in said, said
    assert "warning" not in said, said


def test_an_async_test_without_pytest_asyncio_is_told_what_it_needs(project: Path) -> None:
    said = pytest_says(project, "-p", "no:asyncio", "-p", "no:anyio", "test_dongle_async.py")

    assert "an async test that uses fake_kubelet needs a plugin that runs async tests" in said
    assert "Traceback" not in said


def test_the_kit_finds_what_the_page_says(project: Path) -> None:
    script = blocks("sh")[0].replace("fakehw-conformance", "fakehw-conformance --json found.json $FASTER")
    faster = "--absent 2 --quiet 0.3 --recovery-limit 2"  # two seconds to start in and find no kubelet
    done = run(["sh", "-ec", f"FASTER='{faster}'\n{script}"], project)

    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((project / "found.json").read_text())
    broken = [one["name"] for one in found["checks"] if one["verdict"] == "broken"]
    assert broken == blocks("text")[0].split(), done.stdout


def test_the_copied_test_of_a_driver_passes_and_the_kit_finds_what_it_neglects(project: Path) -> None:
    said = pytest_says(project, "-p", "no:asyncio", "-p", "no:anyio", "test_gem_driver.py")
    assert "5 passed" in said, said

    script = blocks("sh", DOCS / "testing-your-dra-driver.md")[0]
    done = run(["sh", "-ec", script.replace("--brief", "--brief --quiet 0.3 --json -")], project)

    found = json.loads(done.stdout)
    broken = {check["name"] for check in found["checks"] if check["verdict"] == "broken"}
    assert broken == {"owned-by-node", "base-request-names", "replaced-claim", "stops-cleanly"}, done.stdout


def test_own_stubs_pass_beside_ours(project: Path) -> None:
    for file in (Path(__file__).parents[1] / "own_stubs").glob("*.py"):
        shutil.copy(file, project)
    done = run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", "b", "test_own_stubs.py"],
        project,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr
