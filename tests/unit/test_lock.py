"""The one writer of a tree at a time: who holds the lock, how long the others wait, and in which words they give up."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakehw.errors import TreeError
from fakehw.tree import directory, lock


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    with directory.opened(str(tmp_path)) as opened:
        yield opened


def is_free(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_lock_is_held_for_its_block_and_is_its_owners(tmp_path: Path, fd: int, umask: int) -> None:
    old = os.umask(umask)
    try:
        with lock.held(fd, name="tree", waiting=lambda: pytest.fail("it is free")):
            assert not is_free(tmp_path / "lock")
            assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    finally:
        os.umask(old)
    assert is_free(tmp_path / "lock")
    with pytest.raises(ZeroDivisionError), lock.held(fd, name="tree", waiting=lambda: None):
        raise ZeroDivisionError
    assert is_free(tmp_path / "lock")


def test_a_lock_that_others_may_open_is_taken_back_from_them(tmp_path: Path, fd: int) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "lock").chmod(0o666)
    with lock.held(fd, name="tree", waiting=lambda: None):
        assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def test_a_lock_of_another_user_is_held_all_the_same(tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").touch(mode=0o666)
    (tmp_path / "lock").chmod(0o666)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    with lock.held(fd, name="tree", waiting=lambda: None):
        assert not is_free(tmp_path / "lock")


@pytest.mark.parametrize("kind", ["a link", "a directory"])
def test_what_is_no_file_is_no_lock(tmp_path: Path, fd: int, kind: str) -> None:
    (tmp_path / "target").touch()
    if kind == "a link":
        (tmp_path / "lock").symlink_to("target")
    else:
        (tmp_path / "lock").mkdir()
    with pytest.raises(OSError, match=r"symbolic links|Is a directory"), lock.held(fd, name="t", waiting=lambda: None):
        pytest.fail("it was taken")


class Clock:
    """A clock that goes on by a quarter of a second with each sleep, however long that was to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.on_sleep = lambda: None
        self.asked = 0
        monkeypatch.setattr(time, "monotonic", self.monotonic)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def monotonic(self) -> float:
        self.asked += 1
        assert self.asked < 1000, "it never gives up"
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += 0.25
        self.on_sleep()


def locks(monkeypatch: pytest.MonkeyPatch, texts: dict[str, str | bytes]) -> None:
    """Have /proc say this."""

    def read(path: Path, **_: object) -> str | bytes:
        if str(path) not in texts:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return texts[str(path)]

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(Path, "read_bytes", read)


def test_a_writer_waits_for_the_one_before_it_and_says_so_once(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    told = []
    holder = (tmp_path / "lock").open("w")
    fcntl.flock(holder, fcntl.LOCK_EX)
    clock.on_sleep = lambda: holder.close() if len(clock.slept) == 3 else None
    with lock.held(fd, name="tree", waiting=lambda: told.append(len(clock.slept))):
        assert not is_free(tmp_path / "lock")
    assert told == [0], "before it waits"
    assert clock.slept == [0.02] * 3


@pytest.mark.parametrize(("wait_s", "times"), [(0.5, 2), (0.49, 2), (0.51, 3), (0.0, 1), (None, 120)])
def test_a_writer_gives_up_after_its_time_and_names_the_holder(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch, wait_s: float | None, times: int
) -> None:
    clock = Clock(monkeypatch)
    with (tmp_path / "lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        inode = (tmp_path / "lock").stat().st_ino
        locks(
            monkeypatch,
            {
                "/proc/locks": f"1: FLOCK  ADVISORY  WRITE 77 00:1f:{inode} 0 EOF\n",
                "/proc/77/cmdline": b"fakehw\0build\0",
            },
        )
        with (
            pytest.raises(TreeError) as caught,
            lock.held(fd, name="/t", waiting=lambda: None, **({} if wait_s is None else {"wait_s": wait_s})),
        ):
            pytest.fail("it was taken")
        said = f"/t/.fakehw/lock: is held by process 77 (fakehw build) for more than {30 if wait_s is None else wait_s:g} s: try again, or end that"
        assert caught.value.lines == (said,)
        assert len(clock.slept) == times
        assert not is_free(tmp_path / "lock"), "which is still the holder's"
    assert is_free(tmp_path / "lock")


NOBODY = "a process that is not seen from here"


@pytest.mark.parametrize(
    ("listed", "command", "expected"),
    [
        ("1: FLOCK  ADVISORY  WRITE 77 00:1f:{inode} 0 EOF", b"fakehw\0build\0\0", "process 77 (fakehw build)"),
        ("1: FLOCK  ADVISORY  WRITE 77 00:1f:{inode} 0 EOF", b"x" * 61, f"process 77 ({'x' * 60})"),
        ("1: FLOCK  ADVISORY  WRITE 77 00:1f:{inode} 0 EOF", b"\xff", "process 77 (\ufffd)"),
        (
            "1: FLOCK  ADVISORY  WRITE 77 00:1f:{inode} 0 EOF",
            b"python\0-c\0\nimport x\n\x1b[1m",
            "process 77 (python -c import x [1m)",
        ),
        ("1: FLOCK  ADVISORY  WRITE 77 00:1f:{inode} 0 EOF", b"", "process 77"),
        ("1: FLOCK  ADVISORY  WRITE 77 00:1f:{inode} 0 EOF", None, "process 77"),
        (
            "1: POSIX  ADVISORY  WRITE 76 00:1f:{inode} 0 EOF\n2: FLOCK  ADVISORY  WRITE 75 00:1f:1{inode} 0 EOF\n"
            "3: FLOCK  ADVISORY  WRITE 77 00:1f:{inode} 0 EOF",
            b"a",
            "process 77 (a)",
        ),
        ("1: FLOCK  ADVISORY  WRITE 75 00:1f:1{inode} 0 EOF", b"a", NOBODY),
        ("odd", b"a", NOBODY),
        ("", b"a", NOBODY),
        (None, b"a", NOBODY),
    ],
)
def test_the_holder_is_who_the_kernel_says_as_far_as_it_is_seen(
    tmp_path: Path, fd: int, monkeypatch: pytest.MonkeyPatch, listed: str | None, command: bytes | None, expected: str
) -> None:
    Clock(monkeypatch)
    with (tmp_path / "lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        texts: dict[str, str | bytes] = {}
        if listed is not None:
            texts["/proc/locks"] = listed.format(inode=(tmp_path / "lock").stat().st_ino)
        if command is not None:
            texts["/proc/77/cmdline"] = command
        locks(monkeypatch, texts)
        with pytest.raises(TreeError) as caught, lock.held(fd, name="/t", waiting=lambda: None, wait_s=0):
            pytest.fail("it was taken")
    assert caught.value.lines == (f"/t/.fakehw/lock: is held by {expected} for more than 0 s: try again, or end that",)


def test_a_lock_is_opened_so_that_nobody_is_waited_for_and_none_is_given_away(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = os.open
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *given, **where: asked.append((*given, where)) or real(*given, **where))
        with lock.held(fd, name="tree", waiting=lambda: None):
            pass
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    assert asked == [("lock", flags, 0o600, {"dir_fd": fd})]
