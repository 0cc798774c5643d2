"""What an index shows of the package, and what its source distribution holds."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY = Path(__file__).parents[2]
INDEX_PAGE = REPOSITORY / "deploy/index-page.md"


def kept() -> Sequence[str]:
    """Return the names of the files that the repository keeps."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a clone: nothing says which files are kept")
    done = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    return [name for name in done.stdout.splitlines() if (REPOSITORY / name).exists()]


def test_the_page_of_an_index_has_no_link_into_a_repository() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["readme"] == str(INDEX_PAGE.relative_to(REPOSITORY))
    text = INDEX_PAGE.read_text()
    assert [target for target in re.findall(r"\]\(([^)]*)\)", text) if not target.startswith("https://")] == []
    assert set(re.findall(r"\| `([a-z-]+)` \|", text)) <= set(project["scripts"])


def test_the_source_distribution_holds_every_file_that_is_kept(tmp_path: Path) -> None:
    names = kept()
    clone = tmp_path / "clone"
    for name in names:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, clone / name)
    build = "import setuptools.build_meta as backend; backend.build_sdist('dist')"
    subprocess.run([sys.executable, "-W", "ignore", "-c", build], cwd=clone, check=True, capture_output=True)
    (made,) = (clone / "dist").iterdir()
    with tarfile.open(made) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert [name for name in names if name not in found] == []
