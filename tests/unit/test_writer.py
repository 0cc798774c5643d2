"""FakeTree: what each call does, what it returns, and what it refuses in which whole words, on a real file system."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fakehw
from fakehw import FakeTree, Health
from fakehw.errors import FakehwError, InputError, TreeError
from fakehw.layout import TreePath
from fakehw.spec.topology import Topology
from fakehw.tree import stage
from fakehw.tree.snapshot import FoundDevice, Snapshot, Unreadable

ONE, TWO = (TreePath("n", "dev1", number) for number in (1, 2))


def spec(count: int = 2, host: str | None = None, only: str | None = None, **fields: Any) -> Topology:
    node = {"classes": {"dev1": {"count": count, **fields}}, **({"host": host} if host else {})}
    return fakehw.make_topology({"nodes": {"n": node}}, host=only)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def tree(tmp_path: Path, told: list[str]) -> FakeTree:
    made = FakeTree(tmp_path / "t", tell=told.append)
    made.build(spec())
    return made


def content(tree: FakeTree) -> dict[str, str]:
    """The files that people see."""
    return {
        str(path.relative_to(tree.root)): path.read_text().removesuffix("\n")
        for path in sorted(tree.root.rglob("*"))
        if path.is_file() and ".fakehw" not in path.parts
    }


def lines_of(call: Callable[[], object], kind: type[FakehwError] = InputError) -> tuple[str, ...]:
    """What a call is refused with."""
    with pytest.raises(FakehwError) as caught:
        call()
    assert type(caught.value) is kind
    return caught.value.lines


BUILT = {"n/dev1/1/health": "healthy", "n/dev1/2/health": "healthy", "n/dev1/resource": "myplugin.io/mydevice-1"}


# Building.


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_root_is_made_with_all_that_is_missing_above_it(tmp_path: Path, umask: int) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    old = os.umask(umask)
    try:
        FakeTree(tmp_path / "a/b/c").build(spec())
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/c", "a/b/c/.fakehw")]
    assert modes == [0o700, 0o755, 0o755, 0o755]


def test_a_root_may_be_given_as_text_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree = FakeTree("some/tree")
    tree.build(spec())
    assert (tree.root, (tmp_path / "some/tree/n/dev1/2/health").exists()) == (Path("some/tree"), True)
    assert tree.read().nodes.keys() == {"n"}


def test_a_build_says_how_far_it_has_come(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    tree = FakeTree(tmp_path / "t")
    tree.build(spec(1001), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1000, 1001), (1001, 1001)]
    seen.clear()
    tree.build(spec(1002), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]
    tree.build(spec(1002), progress=lambda *_: pytest.fail("there is nothing to do"))


def test_a_dry_run_says_what_would_be_done_and_does_not(tmp_path: Path, tree: FakeTree) -> None:
    before = content(tree)
    plan = tree.build(spec(3, attributes={"a": "1"}), dry_run=True)
    assert plan.counts() == {"added": 1, "removed": 0, "updated": 2, "unchanged": 0}
    plan = tree.build(spec(1), reset=True, dry_run=True)
    assert plan.counts() == {"added": 1, "removed": 2, "updated": 0, "unchanged": 0}
    assert content(tree) == before
    nowhere = FakeTree(tmp_path / "nowhere")
    assert nowhere.build(spec(), dry_run=True).counts()["added"] == 2
    assert nowhere.build(spec(), dry_run=True, reset=True).counts()["removed"] == 0
    assert not nowhere.root.exists()
    (tmp_path / "bare/n/dev1/1").mkdir(parents=True)
    bare = FakeTree(tmp_path / "bare")
    assert bare.build(spec(), dry_run=True).counts() == {"added": 1, "removed": 0, "updated": 1, "unchanged": 0}
    assert not (bare.root / ".fakehw").exists()


def test_a_build_ends_with_its_spec_remembered_and_a_reset_with_nothing_kept(tree: FakeTree) -> None:
    tree.unplug("n/dev1/2")
    assert (tree.root / ".fakehw/unplugged").exists()
    tree.build(spec(1), reset=True)
    assert sorted(path.name for path in (tree.root / ".fakehw").iterdir()) == ["applied.json", "lock"]
    assert content(tree) == {name: text for name, text in BUILT.items() if "/2/" not in name}
    tree.build(spec(1))
    (tree.root / ".fakehw/applied.json").write_text("{")
    rule = "is damaged: remove it, or start over (--reset)"
    damaged = (f"{tree.root}/.fakehw/applied.json: {rule}",)
    for call in (
        lambda: tree.build(spec(1)),
        lambda: tree.build(spec(1), dry_run=True),
        tree.listed,
        lambda: tree.plug("n"),
    ):
        assert lines_of(call, TreeError) == damaged
    assert tree.build(spec(1), reset=True).counts()["added"] == 1
    assert not tree.build(spec(1)).steps


def test_a_build_brings_values_and_takes_them_away(tree: FakeTree) -> None:
    tree.build(spec(1, attributes={"a": "1", "b": "1"}, taints={"t": "None"}, api="dra", host="h"))
    assert content(tree) == {
        "n/host": "h", "n/dev1/resource": "myplugin.io/mydevice-1", "n/dev1/api": "dra", "n/dev1/1/health": "healthy",
        "n/dev1/1/a": "1", "n/dev1/1/b": "1", "n/dev1/1/taints/t": "None",
    }  # fmt: skip  # one mapping
    tree.build(spec(1, attributes={"b": "2"}))
    assert content(tree) == {
        "n/dev1/resource": "myplugin.io/mydevice-1", "n/dev1/1/health": "healthy", "n/dev1/1/b": "2",
    }  # fmt: skip  # one mapping


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "Permission denied"),
        (errno.EXDEV, "is on another mount than the root of the tree, and nothing is moved from one to the other"),
    ],
)
def test_what_one_place_refuses_is_a_conflict_and_tried_again_by_the_next(
    tree: FakeTree, number: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def failing(source: str, target: str, **where: int) -> None:
        if source == "2":
            raise OSError(number, os.strerror(number))
        real(source, target, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing)
        patch.setattr(stage.directory, "mount_id", lambda _: None)
        plan = tree.build(spec(1, attributes={"a": "1"}))
    assert plan.conflicts == [f"/n/dev1/2: {said}: is passed over"]
    assert content(tree) == {**BUILT, "n/dev1/1/a": "1"}
    assert tree.build(spec(1, attributes={"a": "1"})).counts() == {
        "added": 0,
        "removed": 1,
        "updated": 0,
        "unchanged": 1,
    }
    assert "n/dev1/2/health" not in content(tree)


def test_a_value_that_one_place_refuses_leaves_nothing_to_take_away(
    tree: FakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.replace

    def failing(source: str, target: str, **where: int) -> None:
        if target == "a":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(source, target, **where)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        plan = tree.build(spec(attributes={"a": "1"}))
    assert plan.conflicts == [f"/n/dev1/{n}/a: Operation not permitted: is passed over" for n in (1, 2)]
    assert (tree.root / ".fakehw/applied.json").read_text().count('"host"') == 1, "no spec before it is remembered"


def test_one_host_takes_nothing_from_a_tree_of_another_unless_that_is_meant(tree: FakeTree) -> None:
    def of(only: str | None) -> Topology:
        nodes = {name: {"host": f"h{name}", "classes": {"dev1": {"count": 2}}} for name in ("a", "b")}
        return fakehw.make_topology({"nodes": nodes}, host=only)

    tree.build(of(None), reset=True)
    said = "would remove 2 devices: must be given as a flag to mean that (--host; it is NODE_NAME)"
    for dry_run in (True, False):
        refused = lines_of(lambda dry_run=dry_run: tree.build(of("ha"), may_narrow=False, dry_run=dry_run))  # type: ignore[misc]  # bound
        assert refused == (f"'ha': {tree.root} was built for every host: {said}",)
    tree.build(of("ha"))
    assert lines_of(lambda: tree.build(of("hb"), may_narrow=False)) == (
        f"'hb': {tree.root} was built for 'ha': {said}",
    )
    assert not tree.build(of("ha"), may_narrow=False).steps
    assert tree.build(of(None), may_narrow=False).counts()["added"] == 2, "nothing is removed"
    fresh = FakeTree(tree.root.with_name("fresh"))
    assert fresh.build(of("ha"), may_narrow=False).counts()["added"] == 2


def test_where_mknod_is_not_allowed_that_is_said_once_if_it_matters(
    tree: FakeTree, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "is_mknod_allowed", lambda *, dir_fd: False)
    monkeypatch.setattr(stage, "make_device_node", lambda *_, **__: pytest.fail("it is not allowed"))
    assert tree.build(spec(3)).makes_device_nodes
    assert told == []
    said = f"{tree.root}: mknod is not allowed here: going on without character devices (device_node)"
    for more in ({}, {"reset": True}, {"dry_run": True}):
        assert not tree.build(spec(3, device_node="zero"), **more).makes_device_nodes
        assert told == [said]
        told.clear()
    tree.unplug("n/dev1/3")
    tree.plug("n/dev1/3")
    assert told == [said]


def test_where_mknod_is_allowed_devices_have_their_character_device(
    tree: FakeTree, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(stage, "is_mknod_allowed", lambda *, dir_fd: True)
    monkeypatch.setattr(
        stage,
        "make_device_node",
        lambda name, kind, *, dir_fd: made.append(kind) or os.close(os.open(name, os.O_CREAT, dir_fd=dir_fd)),
    )
    tree.build(spec(3, device_node="zero"))
    assert made == ["zero"] * 3
    tree.build(spec(1, device_node="full"), reset=True)
    assert made == ["zero"] * 3 + ["full"]
    assert told == []


# A reset.


def test_a_reset_names_all_that_is_no_part_of_a_tree_and_one_of_each_node(tree: FakeTree) -> None:
    for name in ("lost+found", "zeta x", "a b"):
        (tree.root / name).mkdir()
    for name in ("n/own", "n/dev1/own"):
        (tree.root / name).touch()
    (tree.root / "m").symlink_to("n")
    (tree.root / ".hidden").touch()
    before = content(tree)
    rule = "must be moved away before a reset (--reset)"
    assert lines_of(lambda: tree.build(spec(), reset=True), TreeError) == (
        f"{tree.root}/a b: is not part of a fake tree: {rule}",
        f"{tree.root}/m: is not part of a fake tree: {rule}",
        f"{tree.root}/zeta x: is not part of a fake tree: {rule}",
        f"{tree.root}/n/own: is not part of a fake tree: {rule}",
    )
    assert content(tree) == before
    for name in ("zeta x", "a b"):
        (tree.root / name).rmdir()
    for name in ("n/own", "n/dev1/own", "m"):
        (tree.root / name).unlink()
    tree.build(spec(), reset=True)
    assert {path.name for path in tree.root.iterdir()} == {"n", ".fakehw", ".hidden", "lost+found"}


def test_a_reset_names_a_node_that_cannot_be_looked_into(tree: FakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Snapshot(
        {},
        {TreePath("z"): "shut", TreePath("n10"): "shut", TreePath("n2"): "shut", TreePath("n2", "dev1"): "a file"},
        [],
    )
    monkeypatch.setattr("fakehw.tree.snapshot.read_root", lambda _: read)
    rule = "must be moved away before a reset (--reset)"
    assert lines_of(lambda: tree.build(spec(), reset=True), TreeError) == tuple(
        f"{tree.root}/{name}: is shut: {rule}" for name in ("n2", "n10", "z")
    )


# Health and values.


def test_health_is_set_of_devices_classes_and_nodes_and_counted(tree: FakeTree) -> None:
    assert tree.set_health("n/dev1/1", "unhealthy", reason="too\nhot") == 1
    assert content(tree)["n/dev1/1/health"] == "unhealthy too hot"
    assert tree.set_health(ONE, Health.HEALTHY) == 1
    assert content(tree)["n/dev1/1/health"] == "healthy"
    assert tree.set_health(["n/dev1", ONE, "n/dev1/2"], "unhealthy") == 2
    (tree.root / "n/dev1/3").mkdir()
    (tree.root / "n/dev1/x").mkdir()
    assert tree.set_health("n", "healthy", reason="again") == 3
    assert {name: text for name, text in content(tree).items() if name.endswith("health")} == {
        f"n/dev1/{number}/health": "healthy again" for number in (1, 2, 3)
    }


@pytest.mark.parametrize(
    ("paths", "health", "reason", "said"),
    [
        ("n/dev1/1", "sick", "", "'sick': must be healthy or unhealthy"),
        ("n/dev1/1", "healthy", "x" * 4088, "4088 characters: must be fewer than 4096 bytes (--reason)"),
        ("n/dev1/9", "healthy", "", "/n/dev1/9: no such device in {root}: did you mean n/dev1/2?"),
        ("n/dev2", "healthy", "", "/n/dev2: no such class in {root}: did you mean n/dev1?"),
        ("zzz", "healthy", "", "/zzz: no such node in {root}: `fakehw list` shows what there is"),
        ("a/b/c/d", "healthy", "", "'a/b/c/d': must be NODE, NODE/CLASS or NODE/CLASS/NUMBER, such as node2/dev3/2 (PATH)"),
        ("empty", "healthy", "", "/empty: has no devices in {root}"),
        ("n/gpu/1", "healthy", "", "/n/gpu/1: does not look like a device of a fake tree: is left alone (in {root})"),
        ("n/link/1", "healthy", "", "/n/link/1: is not a directory in {root}: must be a device, and not behind a link"),
        ("n/file", "healthy", "", "/n/file: is not a directory in {root}: must be a class, and not behind a link"),
    ],
)  # fmt: skip  # a case a row
def test_what_health_cannot_be_set_of_is_refused_and_nothing_is_set(
    tree: FakeTree, paths: str, health: str, reason: str, said: str
) -> None:
    (tree.root / "empty").mkdir()
    (tree.root / "n/gpu/1").mkdir(parents=True)
    (tree.root / "n/gpu/1/x").touch()
    (tree.root / "n/link").symlink_to("dev1")
    (tree.root / "n/file").touch()
    before = content(tree)
    assert lines_of(lambda: tree.set_health(["n/dev1/2", paths], health, reason=reason)) == (
        said.format(root=tree.root),
    )
    assert content(tree) == before


def test_a_reason_is_as_long_as_a_value_may_be(tree: FakeTree) -> None:
    tree.set_health(ONE, "healthy", reason="x" * 4087)
    assert len(content(tree)["n/dev1/1/health"]) == 4095
    assert tree.read().nodes["n"].classes["dev1"].devices[1].health == (Health.HEALTHY, "x" * 4087)


def test_values_are_given_to_devices_and_only_to_them(tree: FakeTree) -> None:
    tree.set_values([ONE, TWO], "model", "X")
    tree.set_values([ONE], "numa_node", "1")
    tree.set_values([TWO], "health", "unhealthy hot")
    assert content(tree) == {
        **BUILT, "n/dev1/1/model": "X", "n/dev1/2/model": "X", "n/dev1/1/numa_node": "1", "n/dev1/2/health": "unhealthy hot",
    }  # fmt: skip  # one mapping
    before = content(tree)
    rule = "must be the name of an attribute: lower-case letters, digits or '_', a letter first, and not node"
    long = "a  b" * 20
    for call, said in (
        (lambda: tree.set_values([ONE], "Model", "x"), f"'Model': {rule} (ATTRIBUTE)"),
        (lambda: tree.set_values([ONE], "model", long), f"{long[:40]!r}: must be one line of fewer than 4096 bytes (VALUE)"),
        (lambda: tree.set_values([ONE, TreePath("n", "dev1")], "model", "Y"), "/n/dev1: must be a device (PATH)"),
        (lambda: tree.set_values([ONE, TreePath("n", "dev1", 7)], "model", "Y"), f"/n/dev1/7: no such device in {tree.root}: did you mean n/dev1/2?"),
    ):  # fmt: skip  # a case a row
        assert lines_of(call) == (said,)
    assert content(tree) == before


def test_values_are_written_as_they_are_and_removed_all_or_none(tree: FakeTree) -> None:
    tree.write_values({ONE: {"model": "X", "taints/t": "None", "health": "odd"}, TWO: {"health": None}})
    assert content(tree) == {
        "n/dev1/1/health": "odd", "n/dev1/1/model": "X", "n/dev1/1/taints/t": "None",
        "n/dev1/resource": "myplugin.io/mydevice-1",
    }  # fmt: skip  # one mapping
    tree.write_values({ONE: {"taints/t": None, "model": None, "none": None}})
    assert content(tree) == {"n/dev1/1/health": "odd", "n/dev1/resource": "myplugin.io/mydevice-1"}
    for path, said in (
        (TreePath("n"), "/n: must be a device (PATH)"),
        (TreePath("n", "dev1", 7), f"/n/dev1/7: no such device in {tree.root}: did you mean n/dev1/2?"),
    ):
        assert lines_of(lambda path=path: tree.write_values({ONE: {"health": "x"}, path: {"a": "1"}})) == (said,)  # type: ignore[misc]  # bound
    assert content(tree)["n/dev1/1/health"] == "odd"


# Plugging.


def test_what_there_may_be_is_what_is_there_listed_or_kept(tree: FakeTree) -> None:
    (tree.root / "m/gpu/3").mkdir(parents=True)
    tree.unplug("n/dev1/2")
    (tree.root / ".fakehw/unplugged/k/dev4/4").mkdir(parents=True)
    assert sorted(map(str, tree.listed())) == [
        "/k", "/k/dev4", "/k/dev4/4", "/m", "/m/gpu", "/m/gpu/3", "/n", "/n/dev1", "/n/dev1/1", "/n/dev1/2",
    ]  # fmt: skip  # one list
    (tree.root / "bare").mkdir()
    bare = FakeTree(tree.root.with_name("bare"))
    (bare.root / "n/dev1/1").mkdir(parents=True)
    assert sorted(map(str, bare.listed())) == ["/n", "/n/dev1", "/n/dev1/1"]
    assert not (bare.root / ".fakehw").exists()


def test_what_was_pulled_out_comes_back_as_it_was(tree: FakeTree) -> None:
    tree.write_values({TWO: {"mine": "x"}})
    before = content(tree)
    for what in ("n/dev1/2", "n/dev1", "n", ["n/dev1/2", "n/dev1/1"], ["n", "n/dev1/2"]):
        tree.unplug(what)
        assert "n/dev1/2/health" not in content(tree)
        came = tree.plug(what)
        assert TWO in came
        assert came == ([TWO] if what == "n/dev1/2" else [ONE, TWO])
        assert content(tree) == before
        assert sorted(path.name for path in (tree.root / ".fakehw").iterdir()) == ["applied.json", "lock"]
        assert tree.plug(what) == []


def test_what_is_pulled_out_bit_by_bit_is_kept_in_one_place_at_once(tree: FakeTree) -> None:
    tree.unplug("n/dev1/1")
    tree.unplug("n")
    assert sorted(path.name for path in (tree.root / ".fakehw").iterdir()) == ["applied.json", "lock", "unplugged"]
    kept = tree.root / ".fakehw/unplugged/n/dev1"
    assert sorted(path.name for path in kept.iterdir()) == ["1", "2", "resource"]


def test_a_damaged_memory_is_nobodys_host(tree: FakeTree) -> None:
    (tree.root / ".fakehw/applied.json").write_text("{")
    assert tree.build(spec(1, host="h", only="h"), reset=True, may_narrow=False).counts()["added"] == 1


@pytest.mark.parametrize("is_refused", [False, True])
def test_no_call_leaves_a_descriptor(tree: FakeTree, is_refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def descriptors() -> set[str]:
        return set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    calls: list[Callable[[], object]] = [
        tree.read,
        tree.listed,
        lambda: tree.build(spec(3, attributes={"a": "1"})),
        lambda: tree.set_health("n", "unhealthy"),
        lambda: tree.unplug(["n/dev1/1", "n/dev1/2"]),
        lambda: tree.plug("n"),
        lambda: tree.build(spec(2), reset=True),
    ]
    if is_refused:
        for name in ("replace", "rename"):
            monkeypatch.setattr(os, name, refuse)
    before = descriptors()
    for number, call in enumerate(calls):
        if is_refused and number > 1:
            with contextlib.suppress(TreeError):
                call()
        else:
            call()
        assert descriptors() == before, number


def test_what_is_not_there_is_not_pulled_out_and_all_stays(tree: FakeTree) -> None:
    (tree.root / "n/gpu/1").mkdir(parents=True)
    (tree.root / "n/gpu/1/x").touch()
    for path, said in (
        ("n/dev1/7", f"/n/dev1/7: no such device in {tree.root}: did you mean n/dev1/2?"),
        ("n/gpu/1", f"/n/gpu/1: does not look like a device of a fake tree: is left alone (in {tree.root})"),
        ("n/gpu", f"/n/gpu: does not look like a class of a fake tree: is left alone (in {tree.root})"),
    ):
        assert lines_of(lambda path=path: tree.unplug(["n/dev1/1", path])) == (said,)  # type: ignore[misc]  # bound
    assert "n/dev1/1/health" in content(tree)
    assert sorted(path.name for path in (tree.root / ".fakehw").iterdir()) == ["applied.json", "lock"]


def test_a_new_device_is_made_after_its_class_and_new_places_only_if_that_is_said(tree: FakeTree) -> None:
    assert tree.plug(["n/dev1/7", "n/dev1/5"]) == [TreePath("n", "dev1", 5), TreePath("n", "dev1", 7)]
    assert content(tree)["n/dev1/7/health"] == "healthy"
    assert lines_of(lambda: tree.plug("m/dev2/1")) == ("/m/dev2/1: there is no node m: say --create to make it (PATH)",)
    assert tree.plug("m/dev2/1", create=True) == [TreePath("m", "dev2", 1)]
    assert content(tree)["m/dev2/resource"] == "myplugin.io/mydevice-2"
    (tree.root / "n/dev1/9").symlink_to("1")
    said = "/n/dev1/9: is a symbolic link: is passed over: must be a directory or nothing"
    assert lines_of(lambda: tree.plug(["n/dev1/8", "n/dev1/9"]), TreeError) == (said,)
    assert "n/dev1/8/health" not in content(tree)


def test_a_class_that_is_gone_is_made_again_as_the_spec_says_with_one_of_its_devices(tree: FakeTree) -> None:
    tree.build(spec(2, api="dra", driver="d.io"))
    shutil.rmtree(tree.root / "n/dev1")
    tree.plug("n/dev1/2")
    assert content(tree) == {
        "n/dev1/2/health": "healthy", "n/dev1/resource": "myplugin.io/mydevice-1", "n/dev1/api": "dra", "n/dev1/driver": "d.io",
    }  # fmt: skip  # one mapping


def test_devices_are_put_back_as_they_were_read(tree: FakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(stage, "is_mknod_allowed", lambda *, dir_fd: True)
    monkeypatch.setattr(stage, "make_device_node", lambda name, kind, *, dir_fd: made.append(kind))
    was = FoundDevice({"health": "odd", "a": "1", "taints/t": "None", "b": Unreadable("is a FIFO")}, (1, 5))
    tree.put({TreePath("n", "dev1", 3): was, TreePath("n", "dev1", 4): FoundDevice({}, (1, 99))})
    assert {name: text for name, text in content(tree).items() if name not in BUILT} == {
        "n/dev1/3/health": "odd", "n/dev1/3/a": "1", "n/dev1/3/taints/t": "None", "n/dev1/4/health": "",
    }  # fmt: skip  # one mapping
    assert made == ["zero"]
    monkeypatch.setattr(stage, "is_mknod_allowed", lambda *, dir_fd: False)
    tree.put({TreePath("n", "dev1", 6): was})
    assert made == ["zero"]


def test_what_was_pulled_out_is_put_back_with_all_that_it_had_and_its_health_of_then(tree: FakeTree) -> None:
    tree.write_values({ONE: {"mine": "x", "a": "now", "b": "now"}})
    tree.unplug("n/dev1/1")
    was = FoundDevice({"health": "unhealthy then", "a": "then"})
    tree.put({ONE: was}, names={ONE: ["a", "b"], TWO: ["a"]})
    assert content(tree) == {**BUILT, "n/dev1/1/health": "unhealthy then", "n/dev1/1/mine": "x", "n/dev1/1/a": "then"}
    assert sorted(path.name for path in (tree.root / ".fakehw").iterdir()) == ["applied.json", "lock"]
    tree.unplug("n/dev1/1")
    tree.put({ONE: FoundDevice({"a": "never"})})
    assert content(tree) == {
        **{name: text for name, text in BUILT.items() if name != "n/dev1/1/health"}, "n/dev1/1/mine": "x", "n/dev1/1/a": "then",
    }  # fmt: skip  # one mapping


@pytest.mark.parametrize("way", ["plug", "put", "unplug and plug"])
def test_what_a_killed_writer_was_about_to_keep_is_not_forgotten(tree: FakeTree, way: str) -> None:
    """It was killed between putting aside what was kept and moving out what is to be kept."""
    tree.write_values({ONE: {"mine": "x"}})
    tree.unplug("n/dev1/1")
    (tree.root / ".fakehw/unplugged").rename(tree.root / ".fakehw/unplugged.0123abcd")
    if way == "put":
        tree.put({ONE: FoundDevice({"health": "healthy"})})
    elif way == "plug":
        assert tree.plug("n/dev1/1") == [ONE]
    else:
        tree.unplug("n/dev1/2")
        assert tree.plug(["n/dev1/1", "n/dev1/2"]) == [ONE, TWO]
    assert content(tree) == {**BUILT, "n/dev1/1/mine": "x"}
    assert sorted(path.name for path in (tree.root / ".fakehw").iterdir()) == ["applied.json", "lock"]


def test_nothing_is_put_over_what_is_there_or_where_its_class_is_not(tree: FakeTree) -> None:
    before = content(tree)
    three = TreePath("n", "dev1", 3)
    assert lines_of(lambda: tree.put({three: FoundDevice({}), ONE: FoundDevice({})})) == (
        "/n/dev1/1: is there already",
    )
    assert lines_of(lambda: tree.put({three: FoundDevice({}), TreePath("n", "gpu", 1): FoundDevice({})})) == (
        f"/n/gpu: no such class in {tree.root}: `fakehw list` shows what there is",
    )
    assert content(tree) == before


# The root.


WRITERS: dict[str, Callable[[FakeTree], object]] = {
    "build": lambda tree: tree.build(spec()),
    "dry run": lambda tree: tree.build(spec(), dry_run=True),
    "reset": lambda tree: tree.build(spec(), reset=True),
    "set_health": lambda tree: tree.set_health(ONE, "healthy"),
    "set_values": lambda tree: tree.set_values([ONE], "a", "1"),
    "write_values": lambda tree: tree.write_values({ONE: {"a": "1"}}),
    "plug": lambda tree: tree.plug(ONE),
    "unplug": lambda tree: tree.unplug(ONE),
    "put": lambda tree: tree.put({ONE: FoundDevice({})}),
    "listed": lambda tree: tree.listed(),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(
    ("files", "first"),
    [
        (["photo"], "photo"),
        (["z", "a/b c"], "a"),
        (["n/host", "z", "a/b c"], "a/b c"),
        (["photos/x", "dir/"], "dir"),
        ([".ssh/key"], ".ssh"),
        (["n/gpu/1/x"], "n"),
        (["n/host", "n/main.c"], "n/main.c"),
        (["n/host", "docs/readme"], "docs/readme"),
    ],
)
def test_a_root_that_holds_something_else_is_no_tree(tmp_path: Path, writer: str, files: list[str], first: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    before = sorted(tmp_path.rglob("*"))
    said = (
        f"{tmp_path}: is not a fake tree: {first} is no part of one: "
        "must be an empty directory, or a tree (--root, FAKEHW_ROOT)"
    )
    assert lines_of(lambda: WRITERS[writer](FakeTree(tmp_path))) == (said,)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "files", [["n/host"], ["n/dev1/1/health", "e/"], ["lost+found/"], ["n/dev1/1/health", ".git/x"], []]
)
def test_a_root_that_is_empty_or_holds_a_tree_made_by_hand_is_one(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith("/") else (tmp_path / name).touch()
    FakeTree(tmp_path).build(spec())
    assert (tmp_path / "n/dev1/2/health").exists()


def test_what_is_in_the_way_in_a_tree_made_by_hand_is_named_one_by_one(tmp_path: Path) -> None:
    for name in ("n/dev2/1/health", "n/host"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "n/dev1").symlink_to("dev2")
    (tmp_path / "n/dev2/5").touch()
    plan = FakeTree(tmp_path).build(
        fakehw.make_topology({"nodes": {"n": {"classes": {"dev1": {"count": 1}, "dev2": {"devices": {"5": {}}}}}}})
    )
    rule = "is passed over: must be a directory or nothing"
    assert plan.conflicts == [f"/n/dev1: is a symbolic link: {rule}", f"/n/dev2/5: is a file: {rule}"]


@pytest.mark.parametrize("writer", [name for name in WRITERS if name not in ("build", "reset", "dry run")])
def test_a_root_that_is_no_directory_is_said(tmp_path: Path, writer: str) -> None:
    (tmp_path / "file").touch()
    rule = "must be the directory of a tree (--root, FAKEHW_ROOT)"
    for name, why in (("none", "No such file or directory"), ("file", "Not a directory")):
        root = tmp_path / name
        assert lines_of(lambda root=root: WRITERS[writer](FakeTree(root))) == (f"{root}: {why}: {rule}",)  # type: ignore[misc]  # bound
        assert lines_of(lambda root=root: FakeTree(root).read()) == (f"{root}: {why}: {rule}",)  # type: ignore[misc]  # bound
    for more in ({}, {"reset": True}, {"dry_run": True}):
        assert lines_of(lambda more=more: FakeTree(tmp_path / "file").build(spec(), **more)) == (  # type: ignore[misc]  # bound
            f"{tmp_path / 'file'}: Not a directory: {rule}",
        )


def test_a_root_may_be_a_link(tmp_path: Path, tree: FakeTree) -> None:
    (tmp_path / "link").symlink_to(tree.root)
    linked = FakeTree(tmp_path / "link")
    linked.set_health(ONE, "unhealthy")
    assert linked.read().nodes == tree.read().nodes
    assert content(tree)["n/dev1/1/health"] == "unhealthy"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EACCES, "Permission denied", "health"), "Permission denied (health)"),
        (OSError("odd"), "odd"),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "1"),
            "is on another mount than the root of the tree, and nothing is moved from one to the other (1)",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line(
    tree: FakeTree, error: OSError, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("fakehw.tree.directory.write", refuse)
    with pytest.raises(TreeError) as caught:
        tree.set_health(ONE, "healthy")
    assert caught.value.lines == (f"{tree.root}: {said}",)
    assert caught.value.__cause__ is error


def test_a_root_that_cannot_be_opened_is_named_once(tree: FakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: object, *more: Any, **where: Any) -> int:
        if path == tree.root:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *more, **where)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    for call in (lambda: tree.set_health(ONE, "healthy"), tree.read):
        assert lines_of(call, TreeError) == (f"{tree.root}: Permission denied",)


def test_a_writer_that_waits_says_so_and_gives_up_when_it_was_told(tree: FakeTree, told: list[str]) -> None:
    impatient = FakeTree(tree.root, tell=told.append, lock_wait_s=0)
    with (tree.root / ".fakehw/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (line,) = lines_of(lambda: impatient.set_health(ONE, "healthy"), TreeError)
    assert told == [f"{tree.root}: waiting for another fakehw to finish"]
    assert re.fullmatch(
        rf"{re.escape(str(tree.root))}/\.fakehw/lock: is held by .* for more than 0 s: try again, or end that", line
    )
    assert FakeTree(tree.root).set_health(ONE, "healthy") == 1, "who has nobody to tell does it all the same"


def test_what_cannot_be_cleared_away_is_told(tree: FakeTree, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fakehw.tree.directory.clear", lambda _: ["x: Device or resource busy"])
    tree.set_health(ONE, "healthy")
    assert len(told) == 1
    assert told[0].startswith(f"{tree.root}/.fakehw: cannot be cleared away, and is left: stage.")
