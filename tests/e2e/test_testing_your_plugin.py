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

PAGE = Path(__file__).parents[2] / "docs" / "testing-your-plugin.md"
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for block in blocks("python"):
        (tmp_path / block.split("\n", 1)[0].removeprefix("# ")).write_text(block)
    return tmp_path


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, timeout=110, check=False)


def test_the_plugin_has_40_lines() -> None:
    code = [line for line in blocks("python")[0].split("\n")[1:] if line.strip()]

    assert len(code) <= 40


def test_the_tests_pass_with_nothing_but_the_installed_fixtures(project: Path) -> None:
    done = run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", "b", "test_dongle.py"], project
    )

    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_the_fixtures_cost_other_peoples_tests_no_grpc() -> None:
    code = "import sys, fakekubelet.pytest_plugin; sys.exit('grpc' in sys.modules or 'google.protobuf' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_kit_finds_what_the_page_says(project: Path) -> None:
    script = blocks("sh")[0].replace("fakehw-conformance", "fakehw-conformance --json found.json $FASTER")
    faster = "--absent 2 --quiet 0.3 --recovery-limit 2"  # two seconds to start in and find no kubelet
    done = run(["sh", "-ec", f"FASTER='{faster}'\n{script}"], project)

    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((project / "found.json").read_text())
    broken = [one["name"] for one in found["checks"] if one["verdict"] == "broken"]
    assert broken == blocks("text")[0].split(), done.stdout


def test_own_stubs_pass_beside_ours(project: Path) -> None:
    for file in (Path(__file__).parents[1] / "own_stubs").glob("*.py"):
        shutil.copy(file, project)
    done = run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", "b", "test_own_stubs.py"],
        project,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr
