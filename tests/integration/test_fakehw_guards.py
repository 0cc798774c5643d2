"""Only a fake tree is ever touched, and nothing that a person put into one is lost: guards, and what is unplugged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import fakehw
from fakehw import FakeTree
from fakehw.layout import TreePath


@pytest.fixture
def tree(roomy_dir: Path) -> FakeTree:
    return FakeTree(roomy_dir / "tree")


def make_topology(**classes: object) -> fakehw.Topology:
    return fakehw.make_topology({"nodes": {"node2": {"host": "kind-worker2", "classes": classes}}})


def put(root: Path, name: str) -> None:
    """Make a file with something precious in it, or a directory where the name ends so."""
    (root / name).parent.mkdir(parents=True)
    if name.endswith("/"):
        (root / name).mkdir()
    else:
        (root / name).write_text("precious")


def everything(place: Path) -> dict[str, str]:
    return {
        str(path.relative_to(place)): path.read_text() if path.is_file() else "" for path in sorted(place.rglob("*"))
    }


def content(tree: FakeTree) -> dict[str, str]:
    """The visible tree: files with their text, directories with ''."""
    return {name: text for name, text in everything(tree.root).items() if not name.startswith(".")}


WRITERS = {
    "build": lambda tree: tree.build(make_topology(dev3={"count": 1})),
    "build --dry-run": lambda tree: tree.build(make_topology(dev3={"count": 1}), dry_run=True),
    "build --reset": lambda tree: tree.build(make_topology(dev3={"count": 1}), reset=True),
    "set-health": lambda tree: tree.set_health("photos", "unhealthy"),
    "set-health of one": lambda tree: tree.set_health("photos/holidays/1", "unhealthy"),
    "plug": lambda tree: tree.plug("photos/dev1/1", create=True),
    "unplug": lambda tree: tree.unplug("photos"),
    "unplug of one": lambda tree: tree.unplug("photos/holidays/1"),
    "write_values": lambda tree: tree.write_values({TreePath("photos", "holidays", 1): {"health": "healthy"}}),
    "put": lambda tree: tree.put({TreePath("photos", "holidays", 2): tree.read().nodes["photos"].classes["holidays"].devices[1]}),
}  # fmt: skip  # one row a writer


@pytest.mark.parametrize("precious", ["photos/holidays/1/jpg", "photos/holidays/1/a b.jpg", "photos/holidays/1/x/y", "photos/1/x", "photos/holidays/1/"])  # fmt: skip
@pytest.mark.parametrize("writer", WRITERS)
def test_a_root_that_is_no_fake_tree_is_refused_by_every_writer(tree: FakeTree, writer: str, precious: str):
    put(tree.root, precious)
    (tree.root / "photos/holidays/1").mkdir(parents=True, exist_ok=True)
    before = everything(tree.root)

    with pytest.raises(fakehw.InputError, match=r"tree: is not a fake tree: photos.* is no part of one"):
        WRITERS[writer](tree)
    assert everything(tree.root) == before


@pytest.mark.parametrize("writer", ["build", "build --dry-run", "build --reset"])
@pytest.mark.parametrize("precious", [".bashrc", ".ssh/id_rsa", ".config/"])
def test_a_home_with_nothing_but_hidden_files_is_no_empty_root(tree: FakeTree, writer: str, precious: str):
    tree.root.mkdir()
    (tree.root / precious).parent.mkdir(parents=True, exist_ok=True)
    (tree.root / precious).mkdir() if precious.endswith("/") else (tree.root / precious).write_text("precious")
    before = everything(tree.root)
    with pytest.raises(fakehw.InputError, match=r"tree: is not a fake tree: \.[a-z]* is no part of one"):
        WRITERS[writer](tree)
    assert everything(tree.root) == before


def test_a_tree_may_have_hidden_files_beside_its_nodes(tree: FakeTree):
    (tree.root / "node2/dev3/1").mkdir(parents=True)
    (tree.root / ".git").mkdir()
    (tree.root / "lost+found").mkdir()
    tree.build(make_topology(dev3={"count": 1}))
    tree.build(make_topology(dev3={"count": 2}), reset=True)
    assert (tree.root / ".git").is_dir()


@pytest.mark.parametrize(
    "by_hand", ["node2/.notes", "node2/dev3/.git", "node2/dev3/1/.notes", "node2/dev3/1/taints/.notes"]
)
def test_a_reset_names_what_is_hidden_in_a_node(tree: FakeTree, by_hand: str):
    tree.build(make_topology(dev3={"count": 1, "taints": {"t": "None"}}))
    (tree.root / by_hand).write_text("precious")
    with pytest.raises(fakehw.TreeError, match=rf"{by_hand}: is not part of a fake tree: must be moved away"):
        tree.build(make_topology(dev3={"count": 1}), reset=True)
    assert (tree.root / by_hand).read_text() == "precious"


@pytest.mark.parametrize("precious", ["photos/holidays/1/jpg", "photos/1/x", "photos/readme", "photos/holidays/1/", "photos/.x"])  # fmt: skip
@pytest.mark.parametrize("act", ["unplug", "set_health"])
def test_what_does_not_look_like_a_device_is_left_alone_beside_those_that_do(tree: FakeTree, act: str, precious: str):
    tree.build(make_topology(dev3={"count": 1}))
    put(tree.root, precious)
    before = everything(tree.root)

    for path in ("photos", "photos/holidays", "photos/holidays/1"):
        with pytest.raises(fakehw.InputError):
            tree.unplug(path) if act == "unplug" else tree.set_health(path, "unhealthy")
    assert everything(tree.root) == before
    plan = tree.build(make_topology(dev3={"count": 1}))
    assert not [line for line in plan.lines() if line.path.node == "photos"], "nobody calls it added by hand"


def test_a_device_whose_health_was_removed_by_hand_is_still_one(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 1, "numa_node": 0}))
    (tree.root / "node2/dev3/1/health").unlink()
    (tree.root / "node2/dev3/2").mkdir()

    assert tree.set_health("node2/dev3", "healthy") == 2


@pytest.mark.parametrize(
    "by_hand",
    [
        "node2/dev3/2/notes.txt",
        "node2/dev3/2/photos/a",
        "node2/dev3/src/a",
        "node2/src/a",
        "node2/.notes",
        "node2/.git/config",
        "node2/dev3/.notes",
        "node2/dev3/2/.notes",
        "node2/dev3/2/.git/config",
        "node2/dev3/2/taints/.notes",
        "node2/dev3/2/taints/photos/a",
    ],
)
@pytest.mark.parametrize("wanted", [{"dev3": {"count": 1}}, {"dev4": {"count": 1}}, {}])
def test_what_leaves_the_spec_stays_with_what_a_person_has_put_into_it(tree: FakeTree, by_hand: str, wanted: dict):
    tree.build(make_topology(dev3={"count": 2}))
    (tree.root / by_hand).parent.mkdir(parents=True, exist_ok=True)
    (tree.root / by_hand).write_text("precious")

    tree.build(make_topology(**wanted))
    tree.build(fakehw.make_topology({"nodes": {}}))
    assert (tree.root / by_hand).read_text() == "precious"


@pytest.mark.parametrize("place", ["node2/host", "node2/dev3/resource", "node2/dev3/api", "node2/dev3/2/model"])
def test_what_a_person_has_put_where_a_value_belongs_stays_when_the_spec_goes(tree: FakeTree, place: str):
    tree.build(make_topology(dev3={"count": 2, "attributes": {"model": "x"}, "api": "dra"}))
    (tree.root / place).unlink()
    (tree.root / place).mkdir()
    (tree.root / place / "photo").write_text("precious")

    tree.build(fakehw.make_topology({"nodes": {}}))
    assert (tree.root / place / "photo").read_text() == "precious"


@pytest.mark.parametrize("what", ["node2/dev3/7", "node2/dev3", "node2", "node2/gpu", "node2/gpu/1", "node2/dev3/1"])
def test_what_is_unplugged_and_plugged_in_again_has_lost_nothing(tree: FakeTree, what: str):
    tree.build(make_topology(dev3={"count": 2, "attributes": {"model": "x"}}))
    for device in ("dev3/7", "gpu/1"):
        (tree.root / "node2" / device).mkdir(parents=True)
        (tree.root / "node2" / device / "health").write_text("healthy by hand\n")
        (tree.root / "node2" / device / "owner").write_text("me\n")
    (tree.root / "node2/gpu/resource").write_text("a.b/gpu\n")
    (tree.root / "node2/dev3/1/owner").write_text("me\n")
    (tree.root / "node2/dev3/1/files").mkdir()
    (tree.root / "node2/dev3/1/files/a b").write_text("mine\n")
    (tree.root / "node2/dev3/rpc").mkdir()
    (tree.root / "node2/dev3/rpc/allocate").write_text("hang\n")
    (tree.root / "node2/notes.txt").write_text("mine\n")
    before = content(tree)

    for rounds in range(2):
        devices = [str(path) for path, _ in tree.read().devices()]
        tree.unplug(what)
        assert what not in content(tree)
        came = [str(path) for path in tree.plug(what)]
        assert content(tree) == before, rounds
        assert came == [path for path in devices if f"{path}/".startswith(f"/{what}/")]
    assert sorted(path.name for path in (tree.root / ".fakehw").iterdir()) == ["applied.json", "lock"]


def test_devices_that_were_unplugged_one_by_one_and_then_with_their_class_all_come_back(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 1}))
    for number in (7, 8):
        tree.plug(f"node2/dev3/{number}")
        (tree.root / f"node2/dev3/{number}/owner").write_text("me\n")
    before = content(tree)
    tree.unplug("node2/dev3/7")
    tree.unplug("node2/dev3")
    with pytest.raises(fakehw.InputError, match="/node2/dev3 was unplugged as well: plug that in"):
        tree.plug("node2/dev3/7")

    assert [path.number for path in tree.plug("node2/dev3")] == [1, 7, 8]
    assert content(tree) == before


@pytest.mark.parametrize("place", ["node2", "node2/dev3"])
def test_a_value_of_a_device_is_written_into_no_node_or_class(tree: FakeTree, place: str):
    tree.build(make_topology(dev3={"count": 1}))
    before = content(tree)
    for write in (
        lambda path: tree.set_values([path], "model", "x"),
        lambda path: tree.write_values({path: {"health": "x"}}),
    ):
        with pytest.raises(fakehw.InputError, match=f"/{place}: must be a device"):
            write(TreePath.parse(place))
    assert content(tree) == before


def test_a_spec_says_what_comes_back_and_a_person_what_more(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 1, "attributes": {"model": "x"}}))
    tree.set_health("node2/dev3/1", "unhealthy", reason="broken")
    (tree.root / "node2/dev3/1/model").write_text("y\n")
    (tree.root / "node2/dev3/1/owner").write_text("me\n")
    tree.unplug("node2/dev3/1")
    tree.plug("node2/dev3/1")

    device = {name.rpartition("/")[2]: text for name, text in content(tree).items() if name.startswith("node2/dev3/1/")}
    assert device == {"health": "healthy\n", "model": "x\n", "owner": "me\n"}


def test_a_host_of_the_environment_takes_nothing_from_a_tree_that_was_built_for_another(tree: FakeTree):
    document = {"nodes": {name: {"host": name, "classes": {"dev1": {"count": 1}}} for name in ("a", "b")}}
    tree.build(fakehw.make_topology(document))
    before = content(tree)
    for host in ("b", "ci"):
        for reset in (False, True):
            with pytest.raises(fakehw.InputError, match=r"was built for every host: would remove .* devices: .*--host"):
                tree.build(fakehw.make_topology(document, host=host), may_narrow=False, reset=reset)
    assert content(tree) == before
    tree.build(fakehw.make_topology(document, host="b"))
    more = {"nodes": {"b": {"host": "b"}}}
    tree.build(fakehw.make_topology(more, host="b"), may_narrow=False)
    assert set(content(tree)) == {"b", "b/host"}


@pytest.mark.parametrize("umask", [0o077, 0o177, 0o022, 0o000])
def test_no_umask_changes_a_mode_that_the_tree_promises(tree: FakeTree, umask: int):
    deep = FakeTree(tree.root.parent / "a/b/tree")
    old = os.umask(umask)
    try:
        for other in (tree, deep):
            other.build(make_topology(dev3={"count": 2, "attributes": {"a": "1"}}))
            other.build(make_topology(dev3={"count": 2, "attributes": {"a": "2", "b": "1"}}, dev4={"count": 1}))
            other.set_health("node2/dev3/1", "unhealthy")
            other.plug("node2/dev3/9")
            other.unplug("node2/dev3/2")
            other.plug("node2/dev3/2")
    finally:
        os.umask(old)

    places = list(tree.root.parent.rglob("*"))
    assert len(places) == 50
    for place in places:
        expected = 0o755 if place.is_dir() else 0o600 if place.name == "lock" else 0o644
        assert place.stat().st_mode & 0o777 == expected, place


def test_what_is_no_device_is_left_alone_in_a_class_that_has_some(tree: FakeTree):
    """A class that has a sign only by the health of a device: its other numbers may be anybody's."""
    tree.build(make_topology(dev3={"count": 1}))
    (tree.root / "node2/gpu/1").mkdir(parents=True)
    (tree.root / "node2/gpu/1/health").write_text("healthy\n")
    (tree.root / "node2/gpu/2").mkdir()
    (tree.root / "node2/gpu/2/jpg").write_text("precious")

    assert tree.set_health("node2/gpu", "unhealthy") == 1
    assert {path.name for path in (tree.root / "node2/gpu/2").iterdir()} == {"jpg"}
    with pytest.raises(fakehw.InputError, match="does not look like a device"):
        tree.set_health("node2/gpu/2", "unhealthy")
