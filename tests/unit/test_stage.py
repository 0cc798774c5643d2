"""The writer's private place: what is made there and with which modes, what is moved, and what is left at the end.

That moves are all made or all taken back is tried in integration/test_fakehw_stage.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakehw.errors import TreeError
from fakehw.layout import TreePath
from fakehw.spec.topology import DeviceTemplate, FakeClass, FakeDevice, FakeNode
from fakehw.tree import directory, lock, stage
from fakehw.tree.stage import Stage

ONE = TreePath("n", "gpu", 1)


@contextlib.contextmanager
def writing(root: Path, told: list[str] | None = None, **more: Any) -> Iterator[Stage]:
    with (
        directory.opened(str(root)) as root_fd,
        stage.writing(
            root_fd, name="/t", waiting=lambda: None, tell=(told if told is not None else []).append, **more
        ) as writer,
    ):
        yield writer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "n/gpu/1").mkdir(parents=True)
    (tmp_path / "n/gpu/1/health").write_text("healthy\n")
    return tmp_path


def content(root: Path, at: str = "[!.]*") -> dict[str, str]:
    """Every file and directory: its text, if any, and its mode."""
    paths = sorted(path for top in root.glob(at) for path in (top, *top.rglob("*")))
    return {
        str(
            path.relative_to(root)
        ): f"{path.read_text() if path.is_file() else ''}{stat.S_IMODE(path.stat().st_mode):o}"
        for path in paths
    }


def of_class(*devices: FakeDevice, **settings: str) -> FakeClass:
    return FakeClass("gpu", "a.b/gpu", {device.number: device for device in devices}, DeviceTemplate(), settings)


PLAIN = FakeDevice(1, "healthy", {"model": "X", "taints/a": "a:None", "taints/b": "b:None"})
SICK = FakeDevice(12, "unhealthy hot", {})
NODE = FakeNode("m", "h", {"gpu": of_class(PLAIN, SICK, api="dra", types="a int\nb int")})
OF_PLAIN = {
    "": "755", "/health": "healthy\n644", "/model": "X\n644", "/taints": "755", "/taints/a": "a:None\n644",
    "/taints/b": "b:None\n644",
}  # fmt: skip  # one mapping
OF_CLASS = {
    "": "755", "/resource": "a.b/gpu\n644", "/api": "dra\n644", "/types": "a int\nb int\n644", "/12": "755",
    "/12/health": "unhealthy hot\n644", **{f"/1{name}": text for name, text in OF_PLAIN.items()},
}  # fmt: skip  # one mapping


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000, 0o027])
def test_what_is_made_has_all_its_files_and_the_modes_of_a_tree_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    made = []
    old = os.umask(umask)
    try:
        with writing(tmp_path) as writer:
            writer.add(TreePath("m"), NODE, lambda: made.append("m"))
            writer.add(TreePath("e"), FakeNode("e", None, {}), lambda: made.append("e"))
            writer.commit()
            writer.add(TreePath("e", "gpu"), NODE.classes["gpu"], lambda: made.append("c"))
            writer.commit()
            writer.add(TreePath("e", "gpu", 7), PLAIN, lambda: made.append("d"))
            assert content(tmp_path).keys() == {"m", "m/host", "e"} | {
                f"{place}{name}" for place in ("m/gpu", "e/gpu") for name in OF_CLASS
            }, "nothing is seen before it is whole"
            writer.commit()
    finally:
        os.umask(old)
    assert content(tmp_path) == {
        "m": "755",
        "m/host": "h\n644",
        "e": "755",
        **{f"m/gpu{name}": text for name, text in OF_CLASS.items()},
        **{f"e/gpu{name}": text for name, text in OF_CLASS.items()},
        **{f"e/gpu/7{name}": text for name, text in OF_PLAIN.items()},
    }
    assert made == ["m", "m", "c", "c", "d"], "for each device"


def test_more_may_be_put_to_what_is_made_before_it_is_seen(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        writer.add(
            TreePath("e"),
            FakeNode("e", None, {}),
            lambda: None,
            more=lambda fd: directory.write("host", "more", dir_fd=fd),
        )
        assert not (tmp_path / "e").exists()
        writer.commit()
    assert (tmp_path / "e/host").read_text() == "more\n"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_character_devices_are_made_where_they_may_be(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def noting(name: str, kind: str, *, dir_fd: int) -> None:
        calls.append((name, kind))
        directory.write(name, kind, dir_fd=dir_fd)

    monkeypatch.setattr(stage, "make_device_node", noting)
    zero, full = FakeDevice(1, device_node="zero"), FakeDevice(2, device_node="full")
    old = os.umask(umask)
    try:
        with writing(tmp_path) as writer:
            assert writer.makes_device_nodes
            writer.add(TreePath("n"), FakeNode("n", None, {"gpu": of_class(zero, FakeDevice(3))}), lambda: None)
            writer.commit()
            writer.add(TreePath("n", "gpu", 2), full, lambda: None)
            writer.set_device_node(TreePath("n", "gpu", 3), "random")
            writer.commit()
            writer.makes_device_nodes = False
            writer.add(TreePath("n", "gpu", 4), FakeDevice(4, device_node="zero"), lambda: None)
            writer.commit()
    finally:
        os.umask(old)
    assert [kind for _, kind in calls] == ["zero", "full", "random"]
    assert {name: text[:-3] for name, text in content(tmp_path).items() if name.endswith("/node")} == {
        "n/gpu/1/node": "zero\n",
        "n/gpu/2/node": "full\n",
        "n/gpu/3/node": "random\n",
    }
    assert {name for name in content(tmp_path) if name.count("/") == 3} == {
        *(f"n/gpu/{number}/health" for number in (1, 2, 3, 4)),
        *(f"n/gpu/{number}/node" for number in (1, 2, 3)),
    }


# Values.


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_value_takes_the_place_of_the_one_before_it(root: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        with writing(root) as writer:
            writer.set_value(ONE, "health", "unhealthy hot")
            writer.set_value(ONE, "model", "é")
            writer.set_value(TreePath("n", "gpu"), "resource", "a.b/c")
            writer.set_value(TreePath("n"), "host", "h")
            assert (root / "n/gpu/1/health").read_text() == "healthy\n"
            writer.commit()
    finally:
        os.umask(old)
    texts = {name: text for name, text in content(root).items() if not name.endswith(("n", "gpu", "1"))}
    assert texts == {
        "n/gpu/1/health": "unhealthy hot\n644",
        "n/gpu/1/model": "é\n644",
        "n/gpu/resource": "a.b/c\n644",
        "n/host": "h\n644",
    }


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_first_taints_of_a_device_come_with_their_directory_in_one_move(
    root: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = []
    real = os.replace
    old = os.umask(umask)
    try:
        with writing(root) as writer:
            for name in ("taints/a", "taints/b"):
                writer.set_value(ONE, name, f"{name[-1]}:None")
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", lambda *names, **where: moved.append(names[1]) or real(*names, **where))
                writer.commit()
                assert moved == ["taints"]
                writer.set_value(TreePath("n", "gpu", 1), "taints/b", "c:None")
                writer.commit()
    finally:
        os.umask(old)
    assert content(root, "n/gpu/1/taints") == {
        "n/gpu/1/taints": "755",
        "n/gpu/1/taints/a": "a:None\n644",
        "n/gpu/1/taints/b": "c:None\n644",
    }


def test_a_taint_of_a_device_that_has_some_is_a_value(root: Path) -> None:
    (root / "n/gpu/1/taints").mkdir(mode=0o700)
    (root / "n/gpu/1/taints/mine").write_text("x")
    with writing(root) as writer:
        writer.set_value(ONE, "taints/a", "a:None")
        writer.commit()
        writer.remove(("n", "gpu", "1", "taints", "mine"))
        writer.commit()
    assert content(root, "n/gpu/1/taints") == {"n/gpu/1/taints": "700", "n/gpu/1/taints/a": "a:None\n644"}


# Moves.


def test_what_is_removed_set_aside_and_brought_back_is_moved_whole(root: Path) -> None:
    (root / "n/gpu/2/own").mkdir(parents=True)
    (root / "n/gpu/2/own/x").write_text("x")
    with writing(root) as writer:
        writer.remove(("n", "gpu", "1"))
        writer.remove(("n", "none"))
        writer.set_aside(("n", "gpu", "2"), ("unplugged", "n", "gpu", "2"))
        assert sorted(content(root, "n/gpu/*")) == [
            "n/gpu/1", "n/gpu/1/health", "n/gpu/2", "n/gpu/2/own", "n/gpu/2/own/x",
        ]  # fmt: skip  # one list
        writer.commit()
        assert content(root, "n/gpu/*") == {}
        assert (root / ".fakehw/unplugged/n/gpu/2/own/x").read_text() == "x"
        writer.bring_back(("unplugged", "n", "gpu", "2"), ("n", "gpu", "3"))
        writer.commit()
        writer.commit()  # there is nothing left to do
        assert (root / "n/gpu/3/own/x").read_text() == "x"
    assert sorted(path.name for path in (root / ".fakehw").iterdir()) == ["lock", "unplugged"]


def test_a_move_takes_place_of_whatever_is_there(root: Path) -> None:
    (root / "n/gpu/1/dir/inner").mkdir(parents=True)
    (root / "n/gpu/1/link").symlink_to("/nowhere")
    with writing(root) as writer:
        writer.set_value(ONE, "dir", "d")
        writer.set_value(ONE, "link", "l")
        writer.commit()
    assert [(root / "n/gpu/1" / name).read_text() for name in ("dir", "link")] == ["d\n", "l\n"]
    assert not (root / "n/gpu/1/link").is_symlink()
    assert sorted(path.name for path in (root / ".fakehw").iterdir()) == ["lock"]


def test_a_link_that_was_replaced_is_a_link_again_when_a_later_move_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "n/gpu/1/model").symlink_to("health")
    real = os.replace

    def failing(source: str, target: str, **where: int) -> None:
        if target == "health":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target, **where)

    with writing(root) as writer:
        writer.set_value(ONE, "model", "X")
        writer.set_value(ONE, "health", "unhealthy")
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            with pytest.raises(OSError, match="No space left"):
                writer.commit()
    assert (root / "n/gpu/1/model").readlink() == Path("health")
    assert (root / "n/gpu/1/health").read_text() == "healthy\n"


OF_ONE_PLACE = ["EACCES", "EPERM", "EBUSY", "EXDEV", "ENOENT", "ENOTDIR", "ELOOP", "ENOTEMPTY"]


@pytest.mark.parametrize("name", [*OF_ONE_PLACE, "ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE"])
def test_what_one_place_refuses_is_told_and_passed_over_if_the_caller_wants_to_know(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(errno, name)
    real = os.replace

    def failing(source: str, target: str, **where: int) -> None:
        if target == "health":
            raise OSError(number, os.strerror(number))
        real(source, target, **where)

    monkeypatch.setattr(os, "replace", failing)
    refused: list[tuple[tuple[str, ...], int | None]] = []
    with writing(root) as writer:
        for attribute in ("a", "health", "b"):
            writer.set_value(ONE, attribute, "new")
        if name in OF_ONE_PLACE:
            writer.commit(refused=lambda parts, error: refused.append((parts, error.errno)))
            assert refused == [(("n", "gpu", "1", "health"), number)]
        else:
            with pytest.raises(OSError, match=re.escape(os.strerror(number))):
                writer.commit(refused=lambda *_: pytest.fail("it is no place's"))
    done = ["a", "b", "health"] if name in OF_ONE_PLACE else ["health"]
    assert sorted(path.name for path in (root / "n/gpu/1").iterdir()) == done
    assert (root / "n/gpu/1/health").read_text() == "healthy\n"
    with writing(root) as writer:
        writer.set_value(ONE, "health", "new")
        with pytest.raises(OSError, match=re.escape(os.strerror(number))):
            writer.commit()


@pytest.mark.parametrize(("mounts", "is_copied"), [(["7", "7"], True), (["7", "8"], False), ([None, None], False)])
def test_what_no_rename_moves_is_copied_out_on_one_mount_only(
    root: Path, mounts: list[str | None], is_copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of an image's layer is not moved by overlayfs."""
    (root / "n/gpu/1/own").mkdir()
    (root / "n/gpu/1/own/x").write_text("x")
    real = os.rename

    def failing(source: str, target: str, **where: int) -> None:
        if source == "1":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target, **where)

    with writing(root) as writer:
        writer.set_aside(ONE.parts, ("unplugged", "n", "gpu", "1"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", failing)
            answers = iter([*mounts, *["7"] * 20])
            patch.setattr(directory, "mount_id", lambda _: next(answers))
            if is_copied:
                writer.commit()
            else:
                with pytest.raises(OSError, match="cross-device"):
                    writer.commit()
    where = root / (".fakehw/unplugged/n/gpu/1" if is_copied else "n/gpu/1")
    assert {str(path.relative_to(where)) for path in where.rglob("*")} == {"health", "own", "own/x"}
    assert (root / "n/gpu/1").exists() is not is_copied


# The private place.


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_private_place_is_readable_and_the_stage_in_it_its_writers(tmp_path: Path, umask: int) -> None:
    old = os.umask(umask)
    try:
        with writing(tmp_path) as writer:
            names = sorted(path.name for path in (tmp_path / ".fakehw").iterdir())
            assert names[0] == "lock"
            assert re.fullmatch(r"stage\.[0-9a-f]{8}", names[1])
            modes = content(tmp_path, ".fakehw")
            assert modes[".fakehw"] == "755"
            assert modes[f".fakehw/{names[1]}"] == "700"
            assert {name.rpartition("/")[2] for name in modes if name.startswith(f".fakehw/{names[1]}/")} == {
                "new",
                "old",
            }
            assert os.path.samestat(os.fstat(writer.new_fd), (tmp_path / ".fakehw" / names[1] / "new").stat())
            assert os.path.samestat(os.fstat(writer.private_fd), (tmp_path / ".fakehw").stat())
        assert [path.name for path in (tmp_path / ".fakehw").iterdir()] == ["lock"]
    finally:
        os.umask(old)


def test_a_private_place_that_is_there_keeps_its_mode_and_must_be_no_link(tmp_path: Path) -> None:
    (tmp_path / ".fakehw").mkdir(mode=0o750)
    with writing(tmp_path):
        pass
    assert stat.S_IMODE((tmp_path / ".fakehw").stat().st_mode) == 0o750
    (tmp_path / "other").mkdir()
    (tmp_path / "other/.fakehw").symlink_to("../.fakehw")
    with pytest.raises(NotADirectoryError), writing(tmp_path / "other"):
        pytest.fail("it was followed")


def test_what_writers_before_have_left_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    private = tmp_path / ".fakehw"
    for name in ("stage.1/new/x", "stage.2/old/y", "unplugged/n", "stages/x", "a.stage"):
        (private / name).mkdir(parents=True)
    for name in ("stage.3", "stage", "applied.json"):
        (private / name).touch()
    with writing(tmp_path):
        left = {path.name for path in private.iterdir()}
        assert {name for name in left if not re.fullmatch(r"stage\.[0-9a-f]{8}", name)} == {
            "unplugged", "stages", "a.stage", "applied.json", "lock",
        }  # fmt: skip  # one set
    assert {path.name for path in private.iterdir()} == {"unplugged", "stages", "a.stage", "applied.json", "lock"}


@pytest.mark.parametrize(("count", "more"), [(1, ""), (3, ""), (4, " and 1 more"), (6, " and 3 more")])
def test_what_cannot_be_cleared_away_is_named_and_left(
    tmp_path: Path, count: int, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.unlink

    def failing(name: str, **where: int) -> None:
        if name.startswith("stuck"):
            raise OSError(errno.EPERM, "Operation not permitted")
        real(name, **where)

    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", failing)
        with writing(tmp_path, told) as writer:
            (place,) = (tmp_path / ".fakehw").glob("stage.*")
            for number in range(count):
                (place / f"stuck{number}").touch()
            del writer
        assert len(told) == 1
        head, _, shown = told[0].partition(": cannot be cleared away, and is left: ")
        assert head == "/t/.fakehw"
        assert shown.endswith(more)
        named = shown.removesuffix(more).split("; ")
        assert len(named) == min(count, 3)
        assert all(re.fullmatch(rf"{place.name}/stuck\d: Operation not permitted", each) for each in named)
    told.clear()
    with writing(tmp_path, told):
        pass
    assert told == []
    assert [path.name for path in (tmp_path / ".fakehw").iterdir()] == ["lock"]


def test_a_stage_that_cannot_be_removed_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patch, writing(tmp_path, told):
        (place,) = (tmp_path / ".fakehw").glob("stage.*")
        patch.setattr(os, "rmdir", refuse)
        patch.setattr(directory, "clear", lambda _: [])
    assert told == [f"/t/.fakehw: cannot be cleared away, and is left: {place.name}: Device or resource busy"]


def test_a_writer_that_fails_leaves_no_stage(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path) as writer:
        writer.add(TreePath("m"), NODE, lambda: 1 // 0)
    assert content(tmp_path) == {}
    assert [path.name for path in (tmp_path / ".fakehw").iterdir()] == ["lock"]


def test_a_writer_waits_for_the_lock_as_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    @contextlib.contextmanager
    def held(fd: int, *, name: str, waiting: object, wait_s: float) -> Iterator[None]:
        asked.append((name, waiting, wait_s))
        yield

    def waiting() -> None:
        pass

    monkeypatch.setattr(lock, "held", held)
    with directory.opened(str(tmp_path)) as fd:
        with stage.writing(fd, name="/t", waiting=waiting, tell=print):
            pass
        with stage.writing(fd, name="/u", waiting=waiting, tell=print, wait_s=1.5):
            pass
    assert asked == [("/t", waiting, 30.0), ("/u", waiting, 1.5)]
    monkeypatch.undo()
    with writing(tmp_path), pytest.raises(TreeError, match="is held by"), writing(tmp_path, wait_s=0):
        pytest.fail("there are two")


# mknod.


def test_a_character_device_is_made_for_all_whatever_the_umask(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "mknod", lambda *given, **where: calls.append(("mknod", *given, where)))
    monkeypatch.setattr(os, "chmod", lambda *given, **where: calls.append(("chmod", *given, where)))
    stage.make_device_node("node", "full", dir_fd=7)
    assert calls == [
        ("mknod", "node", stat.S_IFCHR | 0o666, os.makedev(1, 7), {"dir_fd": 7}),
        ("chmod", "node", 0o666, {"dir_fd": 7}),
    ]


@pytest.mark.parametrize("name", ["EPERM", "EACCES", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EROFS", "ENOSPC", None])
def test_whether_character_devices_can_be_made_is_tried(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    def make(*given: object, dir_fd: int) -> None:
        calls.append((*given, dir_fd))
        if name is not None:
            raise OSError(getattr(errno, name), "")

    monkeypatch.setattr(stage, "make_device_node", make)
    monkeypatch.setattr(os, "unlink", lambda *given, dir_fd: calls.append(("unlink", *given, dir_fd)))
    if name == "ENOSPC":
        with pytest.raises(OSError, match="28"):
            stage.is_mknod_allowed(dir_fd=7)
        return
    assert stage.is_mknod_allowed(dir_fd=7) is (name is None)
    probe = calls[0][0]
    assert re.fullmatch(r"\.probe\.[0-9a-f]{8}", str(probe))
    assert calls == [(probe, "null", 7), *([("unlink", probe, 7)] if name is None else [])]
