"""`make verify-proto`: generated code that is not what proto/ generates is noticed, whatever is the matter with it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = (
    "plugin/kubeletapi/dra/v1/api_pb2.py", "plugin/kubeletapi/dra/v1/api_pb2.pyi", "tests/own_stubs/api_pb2_grpc.py",
)  # fmt: skip  # one list
FIRST, STUB, OWN = GENERATED


def write(tree: Path, name: str, text: str) -> None:
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a repository whose generator copies what is in `made/`, which is what is committed."""
    (tmp_path / "hack").mkdir()
    for script in ("update-proto.sh", "verify-proto.sh"):
        shutil.copy(ROOT / "hack" / script, tmp_path / "hack")
    (tmp_path / "hack/update-proto.sh").write_text('#!/bin/sh\ncp -r made/. "$1"\n')
    for name in GENERATED:
        for made in (tmp_path, tmp_path / "made"):
            write(made, name, f"# {name}\n")
    return tmp_path


def verify(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tree / "hack/verify-proto.sh"], capture_output=True, text=True, check=False, timeout=20)


def test_what_is_as_it_is_generated_is_said_to_be(tree: Path) -> None:
    write(tree, "plugin/kubeletapi/private_pool.py", "# by hand\n")
    write(tree, "plugin/kubeletapi/dra/v1/__pycache__/api_pb2.cpython-311.pyc", "")
    done = verify(tree)

    assert (done.returncode, done.stdout) == (0, "the generated code matches proto/\n")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tree: write(tree, FIRST, "# edited by hand\n"),
        lambda tree: write(tree, STUB, f"# {STUB}\n\n"),
        lambda tree: write(tree, OWN, ""),
        lambda tree: (tree / STUB).unlink(),
        lambda tree: write(tree, "plugin/kubeletapi/gone/v1/api_pb2.py", "# its .proto is gone\n"),
    ],
    ids=["edited", "a line more", "empty", "missing", "left over"],
)
def test_what_is_not_is_refused_with_what_to_do(spoil: Callable[[Path], object], tree: Path) -> None:
    spoil(tree)
    done = verify(tree)

    assert done.returncode == 1
    assert done.stdout.startswith("---")
    assert done.stderr.endswith("run hack/update-proto.sh and commit the result\n")


def test_a_generator_that_fails_is_no_match(tree: Path) -> None:
    (tree / "hack/update-proto.sh").write_text("#!/bin/sh\necho no network >&2\nexit 3\n")
    done = verify(tree)

    assert (done.returncode, done.stdout, done.stderr) == (3, "", "no network\n")
