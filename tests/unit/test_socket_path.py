from __future__ import annotations

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
