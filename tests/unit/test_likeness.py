"""What looks like a part of a fake tree, by what is in it and around it; more cases are in integration/test_fakehw_stage.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakehw.tree import directory, likeness


def likely(root: Path, *files: str) -> dict[str, bool]:
    """Which of the places in a tree of these files (directories end with a slash) look like a part of one."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.touch()
    places = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_dir() and not path.is_symlink()]
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names
    with directory.opened(str(root)) as fd:
        answers = {str(place): likeness.is_likely(place.parts, root_fd=fd) for place in places if len(place.parts) <= 3}
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # names
    return answers


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["n/"], {"n": True}),
        (["n/x"], {"n": False}),
        (["n/host"], {"n": True}),
        (["n/dev3/"], {"n": True, "n/dev3": True}),
        (["n/gpu/"], {"n": False, "n/gpu": False}),
        (["n/gpu/resource"], {"n": True, "n/gpu": True}),
        (["n/Gpu/resource"], {"n": False, "n/Gpu": True}),
        (["n/gpu/1/health"], {"n": True, "n/gpu": True, "n/gpu/1": True}),
        (["n/gpu/01/health"], {"n": False, "n/gpu": False, "n/gpu/01": True}),
        (["n/gpu/1/x", "n/gpu/2/health"], {"n": True, "n/gpu": True, "n/gpu/1": False, "n/gpu/2": True}),
        (["n/gpu/1/", "n/gpu/2/health"], {"n": True, "n/gpu": True, "n/gpu/1": True, "n/gpu/2": True}),
        (["n/gpu/1/x", "n/gpu/resource"], {"n": True, "n/gpu": True, "n/gpu/1": True}),
        (["n/dev3/1/x"], {"n": True, "n/dev3": True, "n/dev3/1": True}),
        (["n/gpu/1/x", "n/gpu/2"], {"n": False, "n/gpu": False, "n/gpu/1": False}),
        (["n/gpu/.1/health"], {"n": False, "n/gpu": False, "n/gpu/.1": True}),
        (["n/file", "n/gpu/resource"], {"n": True, "n/gpu": True}),
    ],
)
def test_a_sign_is_a_host_a_resource_a_health_or_a_name(
    tmp_path: Path, files: list[str], expected: dict[str, bool]
) -> None:
    assert likely(tmp_path, *files) == expected


def test_what_cannot_be_looked_into_is_no_sign(tmp_path: Path) -> None:
    (tmp_path / "n/gpu").mkdir(parents=True)
    (tmp_path / "n/gpu/1").symlink_to("2")
    (tmp_path / "n/npu").symlink_to("gpu")
    (tmp_path / "n/abc").touch()
    assert likely(tmp_path) == {"n": False, "n/gpu": False}
    (tmp_path / "n/gpu/2").mkdir()
    (tmp_path / "n/gpu/2/health").symlink_to("/nowhere")
    assert likely(tmp_path)["n/gpu"] is True, "by the name that is there, whatever it leads to"


def test_what_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with directory.opened(str(tmp_path)) as fd, pytest.raises(FileNotFoundError):
        likeness.is_likely(("n",), root_fd=fd)
