from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakehw_plugin import socket_path


def test_a_directory_has_room_for_what_the_kernel_binds_and_no_byte_more() -> None:
    assert socket_path.room(Path("/" + "d" * 99)) == 6  # 100 bytes, a slash, 6 more: 107
    assert socket_path.room(Path("/ü")) == 107 - 3 - 1, "bytes, not characters"
    assert socket_path.room(Path("/" + "d" * 200)) < 0


@pytest.mark.parametrize(
    ("path", "target"),
    [
        pytest.param("/var/lib/a b", "unix:/var/lib/a%20b", id="a space"),
        pytest.param("/a%2Fb#c?d", "unix:/a%252Fb%23c%3Fd", id="what a URI has a meaning for"),
        pytest.param("/\udcff", "unix:/%FF", id="not UTF-8"),
    ],
)  # fmt: skip
def test_a_path_is_escaped_as_a_uri(path: str, target: str) -> None:
    assert socket_path.target(Path(path)) == target
    with socket_path.dialled(Path(path)) as dialled:
        assert dialled == target


def test_a_comma_is_reached_by_a_descriptor_that_is_closed_afterwards(short_dir: Path) -> None:
    path = short_dir / "a,b"
    path.touch()
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names
    with socket_path.dialled(path) as dialled:
        assert dialled.startswith("unix:/proc/self/fd/")
        assert Path(dialled.removeprefix("unix:")).readlink() == path
        assert not os.get_inheritable(int(dialled.rpartition("/")[2]))
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # names
    with pytest.raises(FileNotFoundError), socket_path.dialled(short_dir / "c,d"):
        pytest.fail("there is nothing")
    with socket_path.dialled(short_dir / "gone") as dialled:
        assert dialled == f"unix:{short_dir}/gone", "a client finds out for itself"
