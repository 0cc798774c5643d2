"""Directories by descriptor: what is opened and how, what is read and what is not, what is left at the end."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakehw.tree import directory
from fakehw.tree.directory import UnreadableError


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """The directory of the test, and the claim that no other descriptor is left."""
    with directory.opened(str(tmp_path)) as opened:
        before = descriptors()
        yield opened
        assert descriptors() == before


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names


def failing(number: int, *, at: str | None = None, real: Callable[..., object] | None = None) -> Callable[..., object]:
    """A call of the system that is refused; `at` a name only, and otherwise does what it does."""

    def call(name: object, *more: object, **where: object) -> object:
        if at is None or name == at:
            raise OSError(number, os.strerror(number))
        assert real is not None
        return real(name, *more, **where)

    return call


# Opening.


@pytest.mark.parametrize(
    ("what", "error"), [("link", NotADirectoryError), ("file", NotADirectoryError), ("fifo", NotADirectoryError), ("none", FileNotFoundError)]
)  # fmt: skip  # one list
def test_only_a_directory_is_opened_and_no_link_to_one(
    tmp_path: Path, fd: int, what: str, error: type[OSError]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    for name in (what, str(tmp_path / what)):
        with pytest.raises(error):
            directory.open_directory(name, dir_fd=fd)
        with pytest.raises(error), directory.opened(name, dir_fd=fd):
            pytest.fail("it was opened")
    with directory.opened("real", dir_fd=fd) as inner:
        assert not os.get_inheritable(inner)
    with pytest.raises(ZeroDivisionError), directory.opened("real", dir_fd=fd):
        raise ZeroDivisionError


def test_what_lies_below_is_opened_step_by_step_and_no_step_is_a_link(tmp_path: Path, fd: int) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    (tmp_path / "link").symlink_to("a")
    with directory.opened_below(fd, ("a", "b")) as below:
        assert directory.listed(below) == ["file"]
    with directory.opened_below(fd, ()) as same:
        assert same == fd
    with pytest.raises(NotADirectoryError), directory.opened_below(fd, ("link", "b")):
        pytest.fail("it was opened")
    with pytest.raises(FileNotFoundError), directory.opened_below(fd, ("a", "c", "d")):
        pytest.fail("it was opened")


# Reading.


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ""),
        (b"healthy\n", "healthy\n"),
        (b" \xc3\xa9\r\n\n", " é\r\n\n"),
        (b"x" * 4096, "x" * 4096),
        (b"x" * 4097, UnreadableError("is longer than 4096 bytes")),
        (b"\xff", UnreadableError("is not UTF-8 text")),
        (b"\xef\xbb\xbfx", UnreadableError("begins with a byte order mark (save it as UTF-8 without BOM)")),
        (b"x\xef\xbb\xbf", "x\ufeff"),
    ],
)
def test_a_file_is_its_text_as_it_stands_or_the_reason_why_not(
    tmp_path: Path, fd: int, content: bytes, expected: str | UnreadableError
) -> None:
    (tmp_path / "value").write_bytes(content)
    if isinstance(expected, str):
        assert directory.read("value", dir_fd=fd) == expected
        return
    with pytest.raises(UnreadableError) as caught:
        directory.read("value", dir_fd=fd)
    assert str(caught.value) == str(expected)


def test_a_limit_of_ones_own_is_kept(tmp_path: Path, fd: int) -> None:
    (tmp_path / "value").write_bytes(b"x" * 10)
    assert directory.read("value", dir_fd=fd, limit=10) == "x" * 10
    with pytest.raises(UnreadableError, match=r"^is longer than 9 bytes$"):
        directory.read("value", dir_fd=fd, limit=9)


def make(path: Path, kind: str) -> None:
    """Make something that is no file."""
    if kind == "a link":
        path.with_name("target").write_text("secret")
        path.symlink_to("target")
    elif kind == "a directory":
        path.mkdir()
    elif kind == "a FIFO":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as server:
            os.chdir(path.parent)
            server.bind(path.name)


KINDS = {
    "a link": "is a symbolic link, which is not followed",
    "a directory": "is a directory",
    "a FIFO": "is a FIFO",
    "a socket": "is not a regular file",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_not_opened_and_said(
    tmp_path: Path, fd: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "value", kind)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *_, **__: pytest.fail("it was opened"))
        with pytest.raises(UnreadableError) as caught:
            directory.read("value", dir_fd=fd)
    assert str(caught.value) == KINDS[kind]


@pytest.mark.parametrize("kind", ["a link", "a directory", "a FIFO"])
def test_what_becomes_something_else_between_a_look_and_a_step_is_not_read(
    tmp_path: Path, fd: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    looked = (tmp_path / "file").lstat()
    make(tmp_path / "value", kind)
    monkeypatch.setattr(os, "lstat", lambda *_, **__: looked)
    said = "cannot be opened: Too many levels of symbolic links" if kind == "a link" else KINDS[kind]
    with pytest.raises(UnreadableError) as caught:
        directory.read("value", dir_fd=fd)
    assert str(caught.value) == said


def test_no_file_is_no_value(fd: int) -> None:
    with pytest.raises(FileNotFoundError):
        directory.read("value", dir_fd=fd)


@pytest.mark.parametrize(
    ("call", "said"), [("open", "cannot be opened"), ("read", "cannot be read"), ("lstat", "cannot be opened")]
)
def test_what_the_system_refuses_is_the_reason(
    tmp_path: Path, fd: int, call: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "value").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(errno.EIO))
        with pytest.raises(UnreadableError, match=f"^{said}: Input/output error$"):
            directory.read("value", dir_fd=fd)


def test_a_file_is_opened_so_that_it_holds_up_nobody(tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "value").touch()
    asked = []
    real = os.open

    def noting(name: str, flags: int, *more: object, **where: object) -> int:
        asked.append((name, flags, where))
        return real(name, flags, *more, **where)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", noting)
        directory.read("value", dir_fd=fd)
        directory.write("new", "x", dir_fd=fd)
        directory.entries(fd)
    read = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    write = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    listing = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    assert asked == [("value", read, {"dir_fd": fd}), ("new", write, {"dir_fd": fd}), (".", listing, {"dir_fd": fd})]


# Writing.


@pytest.mark.parametrize(
    ("umask", "mode", "expected"),
    [(0o022, None, 0o644), (0o077, None, 0o600), (0o077, 0o644, 0o644), (0o022, 0o600, 0o600)],
)
def test_a_value_is_a_new_file_with_a_newline_and_a_mode(
    tmp_path: Path, fd: int, umask: int, mode: int | None, expected: int
) -> None:
    old = os.umask(umask)
    try:
        directory.write("value", "é x", dir_fd=fd, mode=mode)
    finally:
        os.umask(old)
    assert (tmp_path / "value").read_bytes() == b"\xc3\xa9 x\n"
    assert stat.S_IMODE((tmp_path / "value").stat().st_mode) == expected


def test_nothing_that_is_there_is_written_over_or_followed(tmp_path: Path, fd: int) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("there", "link"):
        with pytest.raises(FileExistsError):
            directory.write(name, "new", dir_fd=fd)
    assert (tmp_path / "there").read_text() == "old"
    assert not (tmp_path / "nowhere").exists()


def test_a_disk_that_takes_a_part_at_a_time_is_given_the_rest(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda to, text: real(to, text[:2]))
        directory.write("value", "abcde", dir_fd=fd)
        patch.setattr(os, "write", failing(errno.ENOSPC))
        with pytest.raises(OSError, match="No space left"):
            directory.write("other", "abcde", dir_fd=fd)
    assert (tmp_path / "value").read_text() == "abcde\n"


# Looking.


def test_names_are_those_that_people_see_and_a_listing_has_all(tmp_path: Path, fd: int) -> None:
    for name in ("a", ".hidden", "b.c", "..x"):
        (tmp_path / name).touch()
    with directory.opened(".", dir_fd=fd) as fresh:
        assert sorted(directory.names(fresh)) == ["a", "b.c"]
    for _ in range(2):
        assert sorted(directory.entries(fd)) == ["..x", ".hidden", "a", "b.c"]
    with directory.opened(".", dir_fd=fd) as fresh:
        assert sorted(directory.listed(fresh)) == ["..x", ".hidden", "a", "b.c"]


def test_what_is_there_and_what_is_a_directory(tmp_path: Path, fd: int) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "dangling").symlink_to("nowhere")
    names = ("directory", "file", "link", "dangling", "none")
    assert [directory.is_directory(name, dir_fd=fd) for name in names] == [True, False, False, False, False]
    assert [directory.is_there(name, dir_fd=fd) for name in names] == [True, True, True, True, False]


def test_missing_directories_are_made_and_those_that_are_there_stay(tmp_path: Path, fd: int) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    (tmp_path / "a/file").touch()
    for _ in range(2):
        directory.make_missing(("a", "b", "c"), dir_fd=fd)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")] == [0o700, 0o755, 0o755]
    assert (tmp_path / "a/file").exists()
    directory.make_missing((), dir_fd=fd)
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(NotADirectoryError):
        directory.make_missing(("link", "x"), dir_fd=fd)
    assert not (tmp_path / "a/x").exists()


def test_two_directories_of_one_mount_have_its_number(tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    with directory.opened("a", dir_fd=fd) as inner, directory.opened("/proc") as other:
        number = directory.mount_id(inner)
        assert number is not None
        assert number.isdigit()
        assert directory.mount_id(fd) == number != directory.mount_id(other)
    said = {"text": "pos:\t0\nflags:\t0100000\nmnt_id:\t 29\nino:\t7\n"}
    monkeypatch.setattr(Path, "read_text", lambda path: said["text"] if str(path) == "/proc/self/fdinfo/5" else "")
    assert directory.mount_id(5) == "29"
    said["text"] = "pos:\t0\n"
    assert directory.mount_id(5) is None
    monkeypatch.setattr(Path, "read_text", failing(errno.ENOENT))
    assert directory.mount_id(5) is None


# Copying.


def test_a_copy_is_as_deep_as_a_tree_may_be(tmp_path: Path, fd: int) -> None:
    deepest = tmp_path / "a" / Path(*("d" for _ in range(20)))
    deepest.mkdir(parents=True)
    directory.copy("a", dir_fd=fd, to="copy", to_fd=fd)
    depths = [len(path.relative_to(tmp_path / "copy").parts) for path in (tmp_path / "copy").rglob("*")]
    assert max(depths) == 15, "with the one that is copied, sixteen"


def test_a_copy_ends_at_a_mount_and_is_put_where_there_is_nothing(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "copy").mkdir()
    with pytest.raises(FileExistsError):
        directory.copy("a", dir_fd=fd, to="copy", to_fd=fd)
    numbers = iter(["1", "1", "2", "1"])
    with monkeypatch.context() as patch:
        patch.setattr(directory, "mount_id", lambda _: next(numbers))
        with pytest.raises(OSError, match="is a mount, which is not copied: unmount it first") as caught:
            directory.copy("a", dir_fd=fd, to="b", to_fd=fd)
    assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, "b")


def test_a_copied_file_has_its_text_and_its_mode_whatever_the_umask(tmp_path: Path, fd: int) -> None:
    (tmp_path / "file").write_bytes(b"\xff" * 100_000)
    (tmp_path / "file").chmod(0o4751)
    (tmp_path / "there").touch()
    old = os.umask(0o077)
    try:
        directory.copy("file", dir_fd=fd, to="copy", to_fd=fd)
    finally:
        os.umask(old)
    assert (tmp_path / "copy").read_bytes() == b"\xff" * 100_000
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o4751
    with pytest.raises(FileExistsError):
        directory.copy("file", dir_fd=fd, to="there", to_fd=fd)
    with pytest.raises(FileNotFoundError):
        directory.copy("none", dir_fd=fd, to="x", to_fd=fd)


# Removing.


def nested(path: Path, depth: int) -> None:
    """Make a nesting that no path is long enough for."""
    path.mkdir()
    with directory.opened(str(path)) as fd:
        inner = os.dup(fd)
    for _ in range(depth):
        os.mkdir("d", dir_fd=inner)
        deeper = directory.open_directory("d", dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)


def test_what_is_removed_may_be_nested_as_deep_as_it_likes(tmp_path: Path, fd: int) -> None:
    nested(tmp_path / "a", 1500)
    (tmp_path / "b").touch()
    directory.remove("a", dir_fd=fd)
    assert directory.entries(fd) == ["b"]
    directory.remove("b", dir_fd=fd)
    directory.remove("none", dir_fd=fd)
    assert directory.entries(fd) == []


def test_a_link_is_removed_and_what_it_leads_to_is_not(tmp_path: Path, fd: int) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a/link").symlink_to(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    for name in ("a", "link"):
        directory.remove(name, dir_fd=fd)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["real", "real/file"]


@pytest.mark.parametrize("is_empty", [True, False])
def test_another_s_directory_that_cannot_be_moved_is_removed_if_it_is_empty(
    tmp_path: Path, fd: int, is_empty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    if not is_empty:
        (tmp_path / "a/file").touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(errno.EACCES))
        if is_empty:
            directory.remove("a", dir_fd=fd)
        else:
            with pytest.raises(OSError, match="not empty"):
                directory.remove("a", dir_fd=fd)
    assert (tmp_path / "a").exists() is not is_empty


def test_a_directory_of_a_layer_is_emptied_where_it_is_as_deep_as_a_tree_may_be(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """overlayfs moves none of them."""
    deep = Path(*("d" for _ in range(15)))
    for name in ("a", "b", "c"):
        (tmp_path / name / deep).mkdir(parents=True)
        (tmp_path / name / deep / "file").touch()
    (tmp_path / "c" / deep / "d").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(errno.EXDEV))
        directory.remove("a", dir_fd=fd)
        assert directory.clear(fd) == ["c: Invalid cross-device link"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
    assert not (tmp_path / "c" / deep / "file").exists()
    assert (tmp_path / "c" / deep / "d").exists()


def test_what_is_a_mount_stays_with_the_first_reason(tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/mount", "a/other", "b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    real = os.rename
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(errno.EBUSY, at="mount", real=real))
        with pytest.raises(OSError, match="busy") as caught:
            directory.remove("a", dir_fd=fd)
        assert caught.value.errno == errno.EBUSY, "and not that what holds it is not empty"
    (left,) = (name for name in directory.entries(fd) if name != "b")
    assert re.fullmatch(r"\.[0-9a-f]{16}", left)
    assert [path.name for path in (tmp_path / left).rglob("*")] == ["mount", "file"]
    assert directory.clear(fd) == []


def test_what_goes_meanwhile_is_gone(tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    (tmp_path / "d").mkdir()
    for name in ("x", "y", "z"):
        (tmp_path / "d" / name).touch()
    real = os.unlink

    def other(name: str, **where: int) -> None:
        if name in ("b", "y"):
            real(name, **where)
        real(name, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", other)
        assert directory.clear(fd) == []
    assert directory.entries(fd) == []


def test_clearing_names_each_that_is_left_and_begins_each_time_anew(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    real = os.unlink
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing(errno.EPERM, at="a", real=real))
        assert directory.clear(fd) == ["a: Operation not permitted"]
    assert directory.entries(fd) == ["a"]
