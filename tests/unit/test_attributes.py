"""Attribute files as anybody may leave them. FIFOs, devices and links are in integration/test_hostile_tree.py."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin.device import Health
from fakehw_plugin.tree import attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyfakefs.fake_filesystem import FakeFilesystem


def read_health(content: bytes, fs: FakeFilesystem) -> attributes.HealthReading:
    fs.create_file("/dev3/1/health", contents=content)
    fd = os.open("/dev3/1", os.O_RDONLY)
    try:
        return attributes.read_health(dir_fd=fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("content", "health", "reason"),
    [
        pytest.param(b"healthy\n", Health.HEALTHY, "", id="healthy"),
        pytest.param(b"unhealthy\n", Health.UNHEALTHY, "", id="unhealthy"),
        pytest.param(b"  HeaLTHY \r\n", Health.HEALTHY, "", id="case and space do not matter"),
        pytest.param(b"unhealthy ECC threshold\n", Health.UNHEALTHY, "ECC threshold", id="words after are the reason"),
        pytest.param(b"unhealthy\nover temperature\n", Health.UNHEALTHY, "over temperature", id="a line after too"),
        pytest.param(b"unhealthy\n\x1b[31mred\x00\n", Health.UNHEALTHY, "[31mred", id="no control characters pass"),
        pytest.param(b"", Health.UNHEALTHY, "health file is empty", id="empty"),
        pytest.param(b" \n\t", Health.UNHEALTHY, "health file is empty", id="blank"),
        pytest.param(b"unhealthyish", Health.UNHEALTHY, "health file says 'unhealthyish'", id="another word"),
        pytest.param(b"healthy" * 1000, Health.UNHEALTHY, "health file is longer than 4096 bytes", id="too long"),
        pytest.param(b"\xff\xfe", Health.UNHEALTHY, "health file is not UTF-8 text", id="binary"),
    ],
)
def test_health_is_read_as_the_abi_says(content: bytes, health: Health, reason: str, fs: FakeFilesystem) -> None:
    reading = read_health(content, fs)

    assert (reading.health, reading.reason) == (health, reason)


def test_a_missing_health_file_is_unhealthy_and_may_be_about_to_appear(fs: FakeFilesystem) -> None:
    fs.create_dir("/dev3/1")
    fd = os.open("/dev3/1", os.O_RDONLY)

    assert attributes.read_health(dir_fd=fd) == attributes.HealthReading(
        Health.UNHEALTHY, "health file is missing", is_whole=False
    )


@pytest.mark.parametrize("content", [b"", b"unh", b"heal"], ids=["empty", "half unhealthy", "half healthy"])
def test_half_a_word_is_not_settled(content: bytes, fs: FakeFilesystem) -> None:
    assert not read_health(content, fs).is_whole


@pytest.mark.parametrize(
    ("content", "numa_node"),
    [
        pytest.param("0\n", 0, id="zero"),
        pytest.param("3\n", 3, id="three"),
        pytest.param("-1\n", None, id="minus one is none"),
        pytest.param(" 1 ", 1, id="space does not matter"),
    ],
)
def test_numa_nodes_are_read_as_in_sysfs(content: str, numa_node: int | None, tmp_path: Path) -> None:
    (tmp_path / "numa_node").write_text(content)
    fd = os.open(tmp_path, os.O_RDONLY)

    assert attributes.read_numa_node(dir_fd=fd) == numa_node
    os.close(fd)


@pytest.mark.parametrize("content", ["", "x", "-2", "1.5", "99999999999", "²", "1 2"])
def test_a_bad_numa_node_is_refused_with_its_value(content: str, tmp_path: Path) -> None:
    (tmp_path / "numa_node").write_text(content)
    fd = os.open(tmp_path, os.O_RDONLY)

    with pytest.raises(attributes.AttributeFileError, match="not a whole number from -1"):
        attributes.read_numa_node(dir_fd=fd)
    os.close(fd)


@given(st.text())
def test_a_reason_is_always_one_printable_line_of_bounded_length(text: str) -> None:
    line = attributes.one_line(text)

    assert len(line) <= attributes.MAX_REASON
    assert line.isprintable()
    assert line == line.strip()


# Files of every kind.


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "is a symbolic link, which is not followed"),
        (lambda path: path.mkdir(), "is a directory"),
        (os.mkfifo, "is a FIFO"),
        (bind, "is a socket"),
        (lambda path: path.write_bytes(b"x" * 4097), "is longer than 4096 bytes"),
        (
            lambda path: path.write_bytes(b"\xef\xbb\xbfx"),
            "begins with a byte order mark (save it as UTF-8 without BOM)",
        ),
        (lambda path: path.write_bytes(b"\xff"), "is not UTF-8 text"),
    ],
)
def test_what_is_no_text_of_a_value_is_refused_with_what_it_is(
    short_dir: Path, make: Callable[[Path], None], error: str
) -> None:
    make(short_dir / "x")
    before = sorted(Path("/proc/self/fd").iterdir())
    with opened(short_dir) as fd, pytest.raises(attributes.AttributeFileError) as caught:
        attributes.read("x", dir_fd=fd)
    assert str(caught.value) == error
    assert not isinstance(caught.value, attributes.MissingAttributeError)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_the_longest_value_and_one_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b" " + b"x" * 4094 + b"\n")
    with opened(tmp_path) as fd:
        assert attributes.read("x", dir_fd=fd) == "x" * 4094
        with pytest.raises(attributes.MissingAttributeError, match=r"^is missing$"):
            attributes.read("y", dir_fd=fd)


@pytest.mark.parametrize(
    ("code", "name"), [(errno.EMFILE, "EMFILE"), (errno.ENFILE, "ENFILE"), (errno.ENOMEM, "ENOMEM")]
)
@pytest.mark.parametrize("what", ["a file", "a directory"])
def test_our_own_shortage_is_told_from_a_file_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, name: str, what: str
) -> None:
    (tmp_path / "x").write_text("x")

    def starved(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    with opened(tmp_path) as fd, monkeypatch.context() as patch:
        patch.setattr(os, "open", starved)
        with pytest.raises(attributes.StarvedError) as caught:
            attributes.read("x", dir_fd=fd) if what == "a file" else attributes.open_directory("x", dir_fd=fd)
    assert str(caught.value) == f"{os.strerror(code)} ({name})"


def test_a_file_that_cannot_be_opened_or_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("x")

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    with opened(tmp_path) as fd:
        for name, error in (("open", "cannot be opened"), ("read", "cannot be read"), ("fstat", "cannot be read")):
            with monkeypatch.context() as patch:
                patch.setattr(os, name, denied)
                with pytest.raises(attributes.AttributeFileError) as caught:
                    attributes.read("x", dir_fd=fd)
            assert str(caught.value) == f"{error}: Permission denied"


def test_a_file_that_was_swapped_after_it_was_looked_at_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_text("x")
    flags: list[int] = []
    opens = os.open

    def noted(name: str, how: int, **more: Any) -> int:
        flags.append(how)
        return opens("/dev/null", os.O_RDONLY)

    with opened(tmp_path) as fd, monkeypatch.context() as patch:
        patch.setattr(os, "open", noted)
        with pytest.raises(attributes.AttributeFileError, match=r"^is a character device$"):
            attributes.read("x", dir_fd=fd)
    wanted = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    assert flags == [os.O_RDONLY | wanted]


def test_a_directory_is_opened_as_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "file").write_text("")
    with opened(tmp_path) as fd:
        found = attributes.open_directory("d", dir_fd=fd)
        assert os.fstat(found).st_ino == (tmp_path / "d").stat().st_ino
        assert not os.get_inheritable(found)
        os.close(found)
        for name, error in (("link", NotADirectoryError), ("file", NotADirectoryError), ("gone", FileNotFoundError)):
            with pytest.raises(error):
                attributes.open_directory(name, dir_fd=fd)


@pytest.mark.parametrize(
    ("mode", "number", "answer"),
    [
        (stat.S_IFCHR, (1, 3), True),
        (stat.S_IFCHR, (1, 5), True),
        (stat.S_IFCHR, (1, 7), True),
        (stat.S_IFCHR, (1, 8), True),
        (stat.S_IFCHR, (1, 9), True),
        (stat.S_IFCHR, (1, 1), "is the character device 1:1, not null, zero, full or random"),
        (stat.S_IFCHR, (3, 1), "is the character device 3:1, not null, zero, full or random"),
        (stat.S_IFBLK, (1, 3), "is a block device"),
        (stat.S_IFLNK, (0, 0), "is a symbolic link, which is not followed"),
        (stat.S_IFREG, (0, 0), False),
        (stat.S_IFDIR, (0, 0), False),
        (None, (0, 0), False),
    ],
)
def test_a_device_node_is_one_that_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, mode: int | None, number: tuple[int, int], answer: bool | str
) -> None:
    def status(name: str, *, dir_fd: int, follow_symlinks: bool) -> Any:
        assert (name, dir_fd, follow_symlinks) == ("node", 7, False)
        if mode is None:
            raise FileNotFoundError
        return SimpleNamespace(st_mode=mode | 0o666, st_rdev=os.makedev(*number))

    monkeypatch.setattr(os, "stat", status)
    if isinstance(answer, bool):
        assert attributes.has_device_node(dir_fd=7) is answer
    else:
        with pytest.raises(attributes.AttributeFileError) as caught:
            attributes.has_device_node(dir_fd=7)
        assert str(caught.value) == answer


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (stat.S_IFLNK, "a symbolic link, which is not followed"),
        (stat.S_IFDIR, "a directory"),
        (stat.S_IFIFO, "a FIFO"),
        (stat.S_IFSOCK, "a socket"),
        (stat.S_IFCHR, "a character device"),
        (stat.S_IFBLK, "a block device"),
        (stat.S_IFREG, "a regular file"),
        (0, "no regular file"),
    ],
)
def test_a_file_is_called_what_it_is(mode: int, words: str) -> None:
    assert attributes.kind(mode) == words


@pytest.mark.parametrize(
    ("text", "numa_node"),
    [
        ("2147483647", 2**31 - 1),
        ("2147483648", "2147483648"),
        ("-2", "-2"),
        ("+1", "+1"),
        ("1_0", "1_0"),
        ("9" * 50, "9" * 40),
    ],
)
def test_a_numa_node_has_31_bits(tmp_path: Path, text: str, numa_node: int | str) -> None:
    (tmp_path / "numa_node").write_text(text)
    with opened(tmp_path) as fd:
        if isinstance(numa_node, int):
            assert attributes.read_numa_node(dir_fd=fd) == numa_node
            return
        with pytest.raises(attributes.AttributeFileError) as caught:
            attributes.read_numa_node(dir_fd=fd)
    assert str(caught.value) == f"says {numa_node!r}, not a whole number from -1 to 2147483647"


def test_no_numa_node_is_none(tmp_path: Path) -> None:
    with opened(tmp_path) as fd:
        assert attributes.read_numa_node(dir_fd=fd) is None


@pytest.mark.parametrize(
    ("content", "reading"),
    [
        (b"healthy  by   hand\n", (Health.HEALTHY, "by hand", True)),
        (b"UNHEALTHY", (Health.UNHEALTHY, "", True)),
        (b"", (Health.UNHEALTHY, "health file is empty", False)),
        (b"sick and tired", (Health.UNHEALTHY, "health file says 'sick and tired'", False)),
        (b"x" * 50, (Health.UNHEALTHY, f"health file says {'x' * 40!r}", False)),
        (b"\xff", (Health.UNHEALTHY, "health file is not UTF-8 text", True)),
    ],
)
def test_the_whole_of_what_a_health_file_says(tmp_path: Path, content: bytes, reading: tuple[Any, ...]) -> None:
    (tmp_path / "health").write_bytes(content)
    with opened(tmp_path) as fd:
        assert tuple(attributes.read_health(dir_fd=fd)) == reading


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a \t b\nc\x00d", "a b c d"),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 255 + "…"),
        ("  ", ""),
    ],
)
def test_a_text_is_folded_into_one_line(text: str, line: str) -> None:
    assert attributes.one_line(text) == line
