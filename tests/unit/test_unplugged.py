"""What was pulled out: what is kept, how it is merged, and what comes back when it is plugged in again."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fakehw
from fakehw.errors import InputError
from fakehw.layout import TreePath
from fakehw.spec.topology import Topology
from fakehw.tree import directory, plan, snapshot, stage, unplugged
from fakehw.tree.plan import Add
from fakehw.tree.unplugged import Again, Unplugged

PLACE = ".fakehw/unplugged"
ONE = ("n", "gpu", "1")


def lay_out(root: Path, files: dict[str, str | None]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if text is None else path.write_text(text)


def content(root: Path, at: str) -> dict[str, str]:
    """Files and empty directories below a place, with their texts."""
    return {
        str(path.relative_to(root / at)): path.read_text().strip() if path.is_file() else "/"
        for path in sorted((root / at).rglob("*"))
        if path.is_file() or not any(path.iterdir())
    }


@contextlib.contextmanager
def keeping(root: Path) -> Iterator[tuple[stage.Stage, Unplugged]]:
    with (
        directory.opened(str(root)) as root_fd,
        stage.writing(root_fd, name="/t", waiting=lambda: None, tell=pytest.fail) as writer,
    ):
        yield writer, Unplugged(writer)


def private(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".fakehw").iterdir() if not path.name.startswith("stage."))


# What is kept.


def test_places_are_what_is_kept_and_none_where_nothing_is(tmp_path: Path) -> None:
    with directory.opened(str(tmp_path)) as fd:
        assert unplugged.places(fd) == []
        lay_out(tmp_path, {"unplugged/n/gpu/1/health": "x", "unplugged/m": None})
        assert sorted(map(str, unplugged.places(fd))) == ["/m", "/n", "/n/gpu", "/n/gpu/1"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/unplugged").write_text("")
    with directory.opened(str(tmp_path / "other")) as fd:
        assert unplugged.places(fd) == []


def test_what_is_taken_is_kept_until_it_is_dropped(tmp_path: Path) -> None:
    lay_out(tmp_path, {"n/gpu/1/health": "a", "n/gpu/2/own/x": "b", "n/host": "h"})
    with keeping(tmp_path) as (writer, kept):
        assert not kept.has(ONE)
        kept.take(ONE)
        kept.take(("n", "gpu", "2"))
        writer.commit()
        kept.settle()
        assert content(tmp_path, PLACE) == {"n/gpu/1/health": "a", "n/gpu/2/own/x": "b"}
        assert content(tmp_path, "n") == {"host": "h", "gpu": "/"}
        assert [kept.has(parts) for parts in (ONE, ("n", "gpu"), ("n",), ("n", "gpu", "3"))] == [
            True,
            True,
            True,
            False,
        ]
        assert (kept.names(("n", "gpu")), kept.names(("n", "npu"))) == (["1", "2"], [])
        with kept.opened(ONE) as fd, kept.opened(("m",)) as none:
            assert fd is not None
            assert directory.listed(fd) == ["health"]
            assert none is None
        kept.drop(ONE)
        kept.drop(("n", "gpu", "7"))
        assert content(tmp_path, PLACE) == {"n/gpu/2/own/x": "b"}
        kept.drop(("n", "gpu", "2"))
        kept.settle()
        assert private(tmp_path) == ["lock"], "nothing is left of a class and a node of which nothing is kept"
        kept.drop_all()


def test_everything_may_be_let_go(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"{PLACE}/n/gpu/1/x": "", f"{PLACE}/m/a b": ""})
    with keeping(tmp_path) as (_, kept):
        kept.drop_all()
    assert private(tmp_path) == ["lock"]


def test_a_file_of_what_is_kept_is_written_and_removed(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"{PLACE}/n/gpu/1/health": "old", f"{PLACE}/n/gpu/1/a/b": "dir"})
    with keeping(tmp_path) as (_, kept):
        old = os.umask(0o077)
        try:
            kept.write(ONE, "health", "new")
        finally:
            os.umask(old)
        kept.write(ONE, "a", None)
        kept.write(ONE, "none", None)
    assert content(tmp_path, PLACE) == {"n/gpu/1/health": "new"}
    assert (tmp_path / PLACE / "n/gpu/1/health").read_bytes() == b"new\n"
    assert (tmp_path / PLACE / "n/gpu/1/health").stat().st_mode & 0o777 == 0o644


def test_what_is_pulled_out_again_is_kept_as_it_was_last_with_what_was_kept_of_others(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            f"{PLACE}/n/gpu/1/health": "older",
            f"{PLACE}/n/gpu/1/mine": "older",
            f"{PLACE}/n/gpu/2/health": "older",
            f"{PLACE}/n/npu/1/health": "older",
            f"{PLACE}/n/gpu/notes": "older",
            f"{PLACE}/n/gpu/resource": "older",
            "n/gpu/1/health": "newer",
            "n/gpu/resource": "newer",
        },
    )
    with keeping(tmp_path) as (writer, kept):
        kept.take(("n", "gpu"))
        assert [name for name in private(tmp_path) if re.fullmatch(r"unplugged\.[0-9a-f]{8}", name)]
        writer.commit()
        kept.settle()
    assert content(tmp_path, PLACE) == {
        "n/gpu/1/health": "newer",  # a device is kept whole, as it was last
        "n/gpu/2/health": "older",
        "n/npu/1/health": "older",
        "n/gpu/notes": "older",
        "n/gpu/resource": "newer",
    }
    assert private(tmp_path) == ["lock", "unplugged"]


def test_a_pulling_out_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"{PLACE}/n/gpu/1/mine": "older", "n/gpu/1/mine": "newer"})
    with keeping(tmp_path) as (_, kept):
        kept.take(ONE)
        kept.settle()  # nothing was moved
    assert content(tmp_path, PLACE) == {"n/gpu/1/mine": "older"}
    assert content(tmp_path, "n") == {"gpu/1/mine": "newer"}


def test_a_place_that_is_kept_as_a_file_is_in_nobodys_way(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            f"{PLACE}.1/n/gpu/2/x": "older",
            f"{PLACE}.1/m": "file",
            f"{PLACE}/n/gpu": "file",
            f"{PLACE}/m/x/1/y": "newer",
        },
    )
    with keeping(tmp_path) as (_, kept):
        kept.settle()
    assert content(tmp_path, PLACE) == {"n/gpu": "file", "m/x/1/y": "newer"}
    assert private(tmp_path) == ["lock", "unplugged"]


def test_what_is_empty_and_kept_is_a_device_and_not_tidied_away(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"{PLACE}/n/gpu/1": None, f"{PLACE}/n/npu": None, f"{PLACE}/m": None})
    with keeping(tmp_path) as (_, kept):
        kept.settle()
    assert [str(path.relative_to(tmp_path / PLACE)) for path in sorted((tmp_path / PLACE).rglob("*"))] == [
        "n",
        "n/gpu",
        "n/gpu/1",
    ]


# What comes back.


def spec(**classes: Any) -> Topology:
    return fakehw.make_topology({"nodes": {"n": {"classes": classes}}})


def plugged(root: Path, wanted: Topology, *targets: str) -> list[str]:
    """What comes when this is plugged in."""
    with keeping(root) as (writer, kept):
        actual = snapshot.read_tree(root)
        steps = plan.make_plan(wanted, applied=(), actual=actual).steps
        again = Again([step for step in steps if isinstance(step, Add)], actual, kept)
        again.stage([TreePath.parse(target) for target in targets], writer)
        writer.commit()
        again.finish()
    return [str(path) for path in again.came]


NOTHING = fakehw.make_topology({"nodes": {}})


def test_what_no_spec_lists_comes_back_whole(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            f"{PLACE}/n/gpu/1/health": "x",
            f"{PLACE}/n/gpu/2/own/y": "z",
            f"{PLACE}/n/gpu/resource": "a.b/c",
            "n/host": "h",
        },
    )
    assert plugged(tmp_path, NOTHING, "n/gpu") == ["/n/gpu/1", "/n/gpu/2"]
    assert content(tmp_path, "n") == {"gpu/1/health": "x", "gpu/2/own/y": "z", "gpu/resource": "a.b/c", "host": "h"}
    assert private(tmp_path) == ["lock"]


def test_of_what_is_there_only_what_is_missing_comes_back(tmp_path: Path) -> None:
    kept = {"1/health": "kept", "2/health": "kept", "10/x": "kept", "notes": "kept", "02/x": "no device"}
    lay_out(tmp_path, {f"{PLACE}/n/gpu/{name}": text for name, text in kept.items()})
    lay_out(tmp_path, {f"{PLACE}/n/npu/3/health": "kept", f"{PLACE}/n/Big/1/x": "no class", "n/gpu/1/health": "there"})
    assert plugged(tmp_path, NOTHING, "n") == ["/n/gpu/2", "/n/gpu/10", "/n/npu/3"]
    assert content(tmp_path, "n") == {
        "gpu/1/health": "there", "gpu/2/health": "kept", "gpu/10/x": "kept", "npu/3/health": "kept",
    }  # fmt: skip  # one mapping
    assert content(tmp_path, PLACE) == {
        "n/gpu/1/health": "kept", "n/gpu/notes": "kept", "n/gpu/02/x": "no device", "n/Big/1/x": "no class",
    }  # fmt: skip  # one mapping
    assert plugged(tmp_path, NOTHING, "n", "n/gpu/1") == []


def test_what_is_below_something_that_was_pulled_out_too_does_not_come_alone(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"{PLACE}/n/gpu/1/health": "x", f"{PLACE}/m/gpu/1/health": "x", "m/host": "h"})
    for target, said in (
        ("n/gpu", "/n/gpu: /n was unplugged as well: plug that in (PATH)"),
        ("n/gpu/1", "/n/gpu/1: /n/gpu was unplugged as well: plug that in (PATH)"),
        ("m/gpu/1", "/m/gpu/1: /m/gpu was unplugged as well: plug that in (PATH)"),
    ):
        with pytest.raises(InputError) as caught:
            plugged(tmp_path, NOTHING, target)
        assert caught.value.lines == (said,)
    assert plugged(tmp_path, NOTHING, "n") == ["/n/gpu/1"]


def test_what_a_spec_lists_comes_as_it_says_with_what_a_person_had_put_to_it(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        {
            f"{PLACE}/n/gpu/1/health": "unhealthy kept",
            f"{PLACE}/n/gpu/1/mine": "kept",
            f"{PLACE}/n/gpu/1/taints/mine": "kept",
            f"{PLACE}/n/gpu/1/taints/t": "kept",
            f"{PLACE}/n/gpu/1/own/deep/x": "kept",
            f"{PLACE}/n/gpu/7/health": "kept",
            f"{PLACE}/n/gpu/notes": "kept",
            f"{PLACE}/n/npu/2/health": "kept",
            f"{PLACE}/n/host": "kept",
            f"{PLACE}/n/gpu/x/1": "kept",
        },
    )
    wanted = spec(gpu={"count": 2, "resource": "a.b/c", "attributes": {"model": "X"}, "taints": {"t": "None"}})
    assert plugged(tmp_path, wanted, "n") == ["/n/gpu/1", "/n/gpu/2", "/n/gpu/7", "/n/npu/2"]
    assert content(tmp_path, "n") == {
        "host": "kept",
        "gpu/resource": "a.b/c",
        "gpu/notes": "kept",
        "gpu/x/1": "kept",
        "gpu/1/health": "healthy",
        "gpu/1/model": "X",
        "gpu/1/mine": "kept",
        "gpu/1/taints/mine": "kept",
        "gpu/1/taints/t": "None",
        "gpu/1/own/deep/x": "kept",
        "gpu/2/health": "healthy",
        "gpu/2/model": "X",
        "gpu/2/taints/t": "None",
        "gpu/7/health": "kept",
        "npu/2/health": "kept",
    }
    assert private(tmp_path) == ["lock"]


def test_one_device_that_a_spec_lists_joins_its_class(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"{PLACE}/n/gpu/1/mine": "kept", f"{PLACE}/n/gpu/2/mine": "kept", "n/gpu/resource": "a.b/c"})
    wanted = spec(gpu={"devices": {"1": {}}, "resource": "a.b/c"})
    assert plugged(tmp_path, wanted, "n/gpu/1") == ["/n/gpu/1"]
    assert content(tmp_path, "n") == {"gpu/resource": "a.b/c", "gpu/1/health": "healthy", "gpu/1/mine": "kept"}
    assert content(tmp_path, PLACE) == {"n/gpu/2/mine": "kept"}


@pytest.mark.parametrize("there", [{}, {"n/host": "h"}], ids=["no node", "no class"])
def test_a_device_that_comes_with_its_class_is_the_specs_too(tmp_path: Path, there: dict[str, str | None]) -> None:
    lay_out(tmp_path, {f"{PLACE}/n/gpu/1/health": "unhealthy kept", f"{PLACE}/n/gpu/1/mine": "kept", **there})
    wanted = spec(gpu={"devices": {"1": {}}, "resource": "a.b/c"})
    assert plugged(tmp_path, wanted, "n/gpu/1") == ["/n/gpu/1"]
    assert content(tmp_path, "n/gpu") == {"1/health": "healthy", "1/mine": "kept", "resource": "a.b/c"}
    assert private(tmp_path) == ["lock"]


def test_where_nothing_is_kept_what_a_spec_lists_comes_all_the_same(tmp_path: Path) -> None:
    assert plugged(tmp_path, spec(dev10={"count": 1}, dev9={"count": 2}), "n") == [
        "/n/dev9/1",
        "/n/dev9/2",
        "/n/dev10/1",
    ]
    assert content(tmp_path, "n") == {
        "dev9/resource": "myplugin.io/mydevice-9", "dev9/1/health": "healthy", "dev9/2/health": "healthy",
        "dev10/resource": "myplugin.io/mydevice-10", "dev10/1/health": "healthy",
    }  # fmt: skip  # one mapping


def test_what_is_kept_as_something_else_than_a_directory_joins_none(tmp_path: Path) -> None:
    lay_out(tmp_path, {f"{PLACE}/n/gpu/1": "a file", f"{PLACE}/n/gpu/3": "a file", f"{PLACE}/n/npu": "a file"})
    wanted = spec(gpu={"count": 1, "resource": "a.b/c", "taints": {"t": "None"}}, npu={"count": 1, "resource": "a.b/d"})
    assert plugged(tmp_path, wanted, "n") == ["/n/gpu/1", "/n/gpu/3", "/n/npu/1"]
    assert content(tmp_path, "n")["gpu/1/health"] == "healthy"
    assert content(tmp_path, "n")["gpu/3"] == "a file"
