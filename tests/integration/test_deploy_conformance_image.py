"""The image of the conformance kit: what its build needs is in its context, and its page names what there is."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/conformance.Dockerfile"


def admitted(path: str) -> bool:
    """Tell whether .dockerignore lets a path in: the last line that matches decides, and a folder's is its files'."""
    found = False
    for line in DOCKERFILE.with_name(f"{DOCKERFILE.name}.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern == "*" or path == pattern or path.startswith(f"{pattern}/"):
            found = line.startswith("!")
    return found


@pytest.mark.parametrize(
    "path",
    [
        "plugin/fakekubelet/conformance/cli.py", "plugin/kubeletapi/dra/v1/api_pb2.py", "docs/kubelet-contract.md",
        "hack/requirements-dev.txt", "pyproject.toml", "LICENSE", "deploy/index-page.md", "fakehw/cli.py",
    ],
)  # fmt: skip  # a list
def test_what_the_build_needs_is_in_its_context(path: str) -> None:
    assert (ROOT / path).exists()
    assert admitted(path)


def test_the_whole_repository_is_not() -> None:
    assert not admitted("tests/README.md")
    assert not admitted(".git/config")


def test_everything_that_the_extra_needs_is_pinned_by_what_the_build_reads_from_the_lock() -> None:
    script = next(line for line in DOCKERFILE.read_text().splitlines() if line.startswith("RUN sed"))
    expression = re.search(r"sed -n '([^']+)'", script)
    assert expression
    lock = ROOT / "hack/requirements-dev.txt"
    pins = subprocess.run(["sed", "-n", expression[1], lock], capture_output=True, text=True, check=True).stdout
    names = {pin.partition("==")[0].lower() for pin in pins.split()}
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*metadata["dependencies"], *metadata["optional-dependencies"]["apiserver"]]
    assert {re.split(r"[<>=\[; ]", text)[0].lower() for text in wanted} <= names


def test_the_page_builds_it_as_it_is_built() -> None:
    page = (ROOT / "docs/conformance.md").read_text()

    assert f"docker build -f {DOCKERFILE.relative_to(ROOT)} -t fakehw-conformance ." in page
    assert 'ENTRYPOINT ["fakehw-conformance"]' in DOCKERFILE.read_text()
