"""The writer's private place: moves that are all made or all taken back, and what is told where one place refuses."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fakehw
from fakehw.layout import TreePath
from fakehw.spec.topology import FakeClass, FakeDevice, FakeNode
from fakehw.tree import applied, directory, likeness, stage
from fakehw.tree.unplugged import Unplugged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakehw.tree.stage import Stage

NODE, ONE, TWO, FIVE = TreePath("n"), *(TreePath("n", "dev1", number) for number in (1, 2, 5))


@pytest.fixture
def root(roomy_dir: Path) -> Path:
    root = roomy_dir / "tree"
    fakehw.FakeTree(root).build(
        fakehw.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 3, "attributes": {"a": "1"}}}}}})
    )
    (root / "n/dev1/3/a").unlink()
    (root / "n/dev1/3/a").mkdir()
    (root / "n/dev1/3/a/precious").write_text("x")
    return root


@contextlib.contextmanager
def writing(root: Path) -> Iterator[Stage]:
    told: list[str] = []
    with (
        directory.opened(str(root)) as root_fd,
        stage.writing(root_fd, name="tree", waiting=lambda: None, tell=told.append) as writer,
    ):
        yield writer
    assert told == []


def content(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() else ""
        for path in sorted(root.glob("[!.]*/**/*"))
    }


def everything(writer: Stage) -> None:
    """Stage moves of each kind."""
    writer.remove(("n", "dev1", "2"))
    writer.set_value(ONE, "a", "2")
    writer.set_value(ONE, "b", "new")
    writer.set_value(TreePath("n", "dev1", 3), "a", "2")  # where a person made a directory
    writer.add(FIVE, FakeDevice(5), lambda: None)
    writer.add(TreePath("n", "dev2"), FakeClass("dev2", "a.b/c", {1: FakeDevice(1)}, None), lambda: None)  # type: ignore[arg-type]
    writer.add(TreePath("m"), FakeNode("m", "h", {}), lambda: None)


AFTERWARDS = {
    "m/host": "h\n",
    "n/dev1": "",
    "n/dev1/1": "",
    "n/dev1/1/a": "2\n",
    "n/dev1/1/b": "new\n",
    "n/dev1/1/health": "healthy\n",
    "n/dev1/3": "",
    "n/dev1/3/a": "2\n",
    "n/dev1/3/health": "healthy\n",
    "n/dev1/5": "",
    "n/dev1/5/health": "healthy\n",
    "n/dev1/resource": "myplugin.io/mydevice-1\n",
    "n/dev2": "",
    "n/dev2/1": "",
    "n/dev2/1/health": "healthy\n",
    "n/dev2/resource": "a.b/c\n",
}


def test_all_moves_are_made(root: Path) -> None:
    with writing(root) as writer:
        everything(writer)
        writer.remove(("n", "dev1", "1", "nothing_there"))
        assert content(root)["n/dev1/1/a"] == "1\n", "nothing is seen before"
        writer.commit()
        assert content(root) == AFTERWARDS
        writer.commit()  # there is nothing left to do
    assert content(root) == AFTERWARDS
    assert sorted(path.name for path in (root / ".fakehw").iterdir()) == ["applied.json", "lock"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("when", ["before", "after"])
def test_whatever_fails_at_whatever_moment_nothing_was_done(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, when: str
) -> None:
    """Every call that renames, one after the other, fails before or after it did its work (as an interrupt may come)."""
    before = content(root)
    real = {name: getattr(os, name) for name in ("replace", "rename")}
    number = 0
    while True:
        count = number
        with writing(root) as writer:
            everything(writer)

            def failing(name: str, *where: object, **more: object) -> None:
                nonlocal count
                count -= 1
                if count == -1 and when == "before":
                    raise error
                real[name](*where, **more)
                if count == -1:
                    raise error

            with monkeypatch.context() as patch:
                for name in real:
                    patch.setattr(os, name, lambda *where, name=name, **more: failing(name, *where, **more))
                try:
                    writer.commit()
                except type(error):
                    pass
                else:
                    break
            assert content(root) == before, f"call {number}"
        number += 1
    assert number == 8, "each move, and the directory that one of them replaces"
    assert content(root) == AFTERWARDS


def test_a_place_that_refuses_is_told_of_and_the_rest_is_done(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.replace

    def failing(source: str, target: str, **where: int) -> None:
        if target in ("b", "5", "a"):
            raise PermissionError(errno.EACCES, "Permission denied")
        real(source, target, **where)

    refused: list[tuple[str, ...]] = []
    with writing(root) as writer:
        everything(writer)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            writer.commit(refused=lambda parts, _: refused.append(parts))
    assert refused == [("n", "dev1", "1", "a"), ("n", "dev1", "1", "b"), ("n", "dev1", "3", "a"), ("n", "dev1", "5")]
    after = content(root)
    assert after["n/dev1/3/a/precious"] == "x", "what a refused move would have replaced is back"
    assert after["n/dev1/1/a"] == "1\n"
    assert "n/dev1/2" not in after
    assert "n/dev2/1" in after


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM])
def test_what_fails_everywhere_is_not_passed_over(root: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before = content(root)

    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with writing(root) as writer:
        writer.set_value(ONE, "a", "2")
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            with pytest.raises(OSError, match=os.strerror(number)):
                writer.commit(refused=lambda *_: None)
    assert content(root) == before


# Clearing away.


def test_clearing_takes_all_and_names_what_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "top"
    for name in ("a/b/c", "d", "e"):
        (top / name).mkdir(parents=True)
        (top / name / "file").write_text("")
    (top / "link").symlink_to(tmp_path)
    os.mkfifo(top / "fifo")
    real = os.unlink

    def failing(name: str, **where: int) -> None:
        if name == "fifo":
            raise OSError(errno.EPERM, "Operation not permitted")
        real(name, **where)

    with directory.opened(str(top)) as fd:
        monkeypatch.setattr(os, "unlink", failing)
        assert directory.clear(fd) == ["fifo: Operation not permitted"]
        assert sorted(path.name for path in top.iterdir()) == ["fifo"]
        monkeypatch.undo()
        assert directory.clear(fd) == []
    assert list(tmp_path.iterdir()) == [top]


def test_removing_tells_what_has_to_stay_and_takes_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/stays", "a/goes", "a/b/goes"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    real = os.unlink

    def failing(name: str, **where: int) -> None:
        if name == "stays":
            raise OSError(errno.EBUSY, "Device or resource busy")
        real(name, **where)

    monkeypatch.setattr(os, "unlink", failing)
    with directory.opened(str(tmp_path)) as fd:
        with pytest.raises(OSError, match="busy"):
            directory.remove("a", dir_fd=fd)
        assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["stays"]
        monkeypatch.undo()
        directory.remove("nothing", dir_fd=fd)


def test_a_copy_is_like_what_it_was_made_of(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner/empty").mkdir(parents=True)
    (source / "inner/file").write_text("text")
    (source / "inner/file").chmod(0o640)
    (source / "inner/empty").chmod(0o700)
    (source / "link").symlink_to("inner/file")
    os.mkfifo(source / "fifo")
    with directory.opened(str(tmp_path)) as fd:
        directory.copy("source", dir_fd=fd, to="copy", to_fd=fd)
    copy = tmp_path / "copy"
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*")) == [
        "inner",
        "inner/empty",
        "inner/file",
        "link",
    ]
    assert (copy / "inner/file").read_text() == "text"
    assert [(copy / name).stat().st_mode & 0o777 for name in ("inner/file", "inner/empty")] == [0o640, 0o700]
    assert str((copy / "link").readlink()) == "inner/file"


def test_a_copy_of_a_character_device_is_one(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "node", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("mknod is not allowed here")
    (tmp_path / "node").chmod(0o640)
    with directory.opened(str(tmp_path)) as fd:
        directory.copy("node", dir_fd=fd, to="copy", to_fd=fd)
    status = (tmp_path / "copy").stat()
    assert (os.major(status.st_rdev), os.minor(status.st_rdev), status.st_mode) == (1, 5, 0o20640)


# What looks like a part of a tree.


@pytest.mark.parametrize(
    ("files", "node", "of_class", "device"),
    [
        (["n/gpu/1/health"], True, True, True),
        (["n/gpu/1/other"], False, False, False),
        (["n/gpu/1/"], False, False, False),
        (["n/dev3/1/"], True, None, None),
        (["n/"], True, None, None),
        (["n/gpu/"], False, False, None),
        (["n/gpu/1/", "n/gpu/resource"], True, True, True),
        (["n/gpu/1/", "n/gpu/2/health"], True, True, True),
        (["n/gpu/1/", "n/dev3/"], True, False, False),
        (["n/gpu/1/other", "n/gpu/resource"], True, True, True),
        (["n/gpu/1/other", "n/host"], True, False, False),
        (["n/gpu/1/other", "n/gpu/2/health"], True, True, False),
        (["n/gpu/1/other", "n/x/resource"], True, False, False),
        (["n/gpu/1/a b.jpg"], False, False, False),
        (["n/gpu/1/health/x"], True, True, True),
    ],
)
def test_what_says_that_it_is_one(
    tmp_path: Path, files: list[str], node: bool, of_class: bool | None, device: bool | None
) -> None:
    for name in files:
        place = tmp_path / name
        place.mkdir(parents=True) if name.endswith("/") else (
            place.parent.mkdir(parents=True, exist_ok=True),
            place.write_text(""),
        )  # type: ignore[func-returns-value]
    with directory.opened(str(tmp_path)) as fd:
        expected = {
            ("n", "gpu", "1")[:length]: answer for length, answer in enumerate((node, of_class, device), start=1)
        }
        answers = {
            parts: likeness.is_likely(parts, root_fd=fd) for parts, answer in expected.items() if answer is not None
        }
    assert answers == {parts: answer for parts, answer in expected.items() if answer is not None}


# What the tree remembers.


def spec(count: int) -> fakehw.Topology:
    return fakehw.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": count}}}}})


def counts(remembered: applied.Applied) -> list[int]:
    return [topology.device_count for topology in remembered.all]


def test_what_was_built_and_what_was_begun_is_remembered_in_order(tmp_path: Path) -> None:
    with directory.opened(str(tmp_path)) as fd:

        def read() -> applied.Applied:
            return applied.read(fd, root="tree")

        assert read() == applied.Applied()
        assert read().last is None
        applied.announce(spec(1), before=read(), private_fd=fd)
        applied.announce(spec(2), before=read(), private_fd=fd)
        assert (counts(read()), read().done) == ([1, 2], ())
        applied.announce(spec(1), before=read(), private_fd=fd)
        assert counts(read()) == [2, 1], "each of them once, the newest last"
        applied.conclude(spec(1), private_fd=fd)
        assert (counts(read()), read().begun) == ([1], ())
        applied.announce(spec(3), before=read(), private_fd=fd)
        assert counts(read()) == [1, 3]
        assert read().last == spec(3)
        applied.conclude(spec(3), unfinished=read().all, private_fd=fd)
        assert (counts(read()), read().begun) == ([1, 3], ())
        assert read().last == spec(3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["applied.json"]


def test_the_host_that_was_built_for_is_remembered(tmp_path: Path) -> None:
    topology = fakehw.make_topology({"nodes": {"n": {"host": "h"}, "m": {"host": "g"}}}, host="h")
    with directory.opened(str(tmp_path)) as fd:
        applied.announce(topology, before=applied.Applied(), private_fd=fd)
        applied.conclude(topology, private_fd=fd)
        last = applied.read(fd, root="tree").last
    assert last is not None
    assert (last.only_host, list(last.nodes)) == ("h", ["n"])


# What is kept of what was unplugged.


def test_what_is_kept_twice_is_kept_as_it_was_last(root: Path) -> None:
    for text in ("first", "second"):
        (root / "n/dev1/2/mine").write_text(text)
        with writing(root) as writer:
            kept = Unplugged(writer)
            kept.take(("n", "dev1", "2"))
            writer.commit()
            kept.settle()
            assert kept.has(("n", "dev1", "2"))
            assert kept.names(("n", "dev1")) == ["2"]
        assert (root / ".fakehw/unplugged/n/dev1/2/mine").read_text() == text
        (root / "n/dev1/2").mkdir()
    assert sorted(path.name for path in (root / ".fakehw").iterdir()) == ["applied.json", "lock", "unplugged"]


def test_what_was_kept_is_merged_after_a_writer_that_was_killed(root: Path) -> None:
    older = root / ".fakehw/unplugged.1234/n/dev1"
    for number in (2, 7):
        (older / str(number)).mkdir(parents=True)
        (older / f"{number}/mine").write_text("older")
    (root / ".fakehw/unplugged/n/dev1/2").mkdir(parents=True)
    (root / ".fakehw/unplugged/n/dev1/2/mine").write_text("newer")
    with writing(root) as writer:
        Unplugged(writer).settle()
    place = root / ".fakehw/unplugged/n/dev1"
    assert [(place / f"{number}/mine").read_text() for number in (2, 7)] == ["newer", "older"]
    assert sorted(path.name for path in (root / ".fakehw").iterdir()) == ["applied.json", "lock", "unplugged"]
