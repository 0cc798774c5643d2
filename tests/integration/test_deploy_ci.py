"""The workflows in deploy/ci: linted where actionlint is there, and the action's local mode played as a runner plays it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CI = REPOSITORY / "deploy/ci"
ACTION = CI / "fake-devices/action.yml"
ACTIONLINT = os.environ.get("ACTIONLINT") or shutil.which("actionlint")


def steps() -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in yaml.safe_load(ACTION.read_text())["runs"]["steps"]}


@pytest.mark.skipif(ACTIONLINT is None, reason="actionlint is missing (PATH, or ACTIONLINT=)")
def test_the_workflows_have_nothing_that_actionlint_reproaches() -> None:
    assert ACTIONLINT
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # shellcheck, for their scripts
    done = subprocess.run(
        [ACTIONLINT, *sorted(CI.glob("*.yml"))], capture_output=True, text=True, check=False, env={"PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", steps())
def test_the_scripts_of_the_action_have_nothing_that_shellcheck_reproaches(name: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "shellcheck", "--shell=bash", "-"],
        input=steps()[name]["run"], capture_output=True, text=True, check=False,
    )  # fmt: skip  # the command stays on one line
    assert done.returncode == 0, done.stdout


def test_every_input_is_described_and_used_and_none_is_put_into_a_script() -> None:
    """What somebody writes into an input must never be run: it reaches scripts as a variable."""
    action = yaml.safe_load(ACTION.read_text())
    text = ACTION.read_text()
    for name, given in action["inputs"].items():
        assert given["description"]
        assert f"inputs.{name}" in text
    assert not [step for step in steps().values() if "${{" in step["run"]]
    for workflow in CI.glob("*.yml"):
        for job in yaml.safe_load(workflow.read_text())["jobs"].values():
            assert not [step for step in job["steps"] if "${{" in step.get("run", "")], workflow.name


def play(step: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as a runner does, with a pip that installs nothing: fakehw is there already."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "python3").write_text('#!/bin/sh\necho "$@" >> "$PIP_SAID"\n')
    (tools / "python3").chmod(0o755)
    path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {"PATH": path, "PIP_SAID": str(folder / "pip"), **environ}
    script = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps()[step]["run"]]
    return subprocess.run(script, env=variables, cwd=folder, capture_output=True, text=True, check=False)


def test_the_local_mode_builds_a_tree_and_tells_later_steps_where(tmp_path: Path) -> None:
    done = play(
        "The fixtures, a tree and the kit", tmp_path, SOURCE=str(REPOSITORY), TOPOLOGY="", ROOT=str(tmp_path / "tree"),
        GITHUB_ENV=str(tmp_path / "env"), GITHUB_OUTPUT=str(tmp_path / "output"),
    )  # fmt: skip  # the command stays on one line
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tree/node2/dev3/3/health").read_text() == "healthy\n"
    assert (tmp_path / "env").read_text() == f"FAKEHW_ROOT={tmp_path / 'tree'}\n"
    assert (tmp_path / "pip").read_text().split()[:3] == ["-m", "pip", "install"]


@pytest.mark.parametrize(("mode", "code"), [("kind", 0), ("local", 0), ("cluster", 2)])
def test_a_mode_that_there_is_not_is_said(tmp_path: Path, mode: str, code: int) -> None:
    done = play("Which mode", tmp_path, MODE=mode)
    assert done.returncode == code
    assert (f"mode {mode}" in done.stdout) == (code != 0)


def test_a_release_holds_the_tag_to_every_version_that_there_is() -> None:
    version = subprocess.run(
        [sys.executable, "-c", "from importlib.metadata import version; print(version('fakehw'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip  # the command stays on one line
    job = yaml.safe_load((CI / "release.yml").read_text())["jobs"]["distributions"]
    (script,) = [step["run"] for step in job["steps"] if "TAG" in step.get("env", {})]
    for tag, code in ((f"v{version}", 0), ("v99.0.0", 1)):
        done = subprocess.run(["bash", "-e", "-c", script], cwd=REPOSITORY, env={**os.environ, "TAG": tag}, check=False)
        assert done.returncode == code
