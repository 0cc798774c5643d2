"""FakeTree on a fake file system: builds, hands that interfere, and what a reader makes of it."""

import json
import os
from pathlib import Path

import pytest
import yaml

import fakehw
from fakehw import FakeTree, layout
from fakehw.layout import TreePath
from fakehw.view import listing

ROOT = Path("/fakehw")


@pytest.fixture
def tree(fs) -> FakeTree:
    return FakeTree(ROOT)


def make_topology(**classes: object) -> fakehw.Topology:
    return fakehw.make_topology({"nodes": {"node2": {"host": "kind-worker2", "classes": classes}}})


def content(root: Path = ROOT) -> dict[str, str]:
    """The visible tree: files with their text, directories with ''."""
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
        if not path.relative_to(root).parts[0].startswith(".")
    }


def test_build_writes_the_layout(tree: FakeTree):
    tree.build(make_topology(dev2={"count": 0}, dev3={"count": 1, "numa_node": 0, "attributes": {"model": "X100"}}))

    assert content() == {
        "node2": "",
        "node2/host": "kind-worker2\n",
        "node2/dev2": "",
        "node2/dev2/resource": "myplugin.io/mydevice-2\n",
        "node2/dev3": "",
        "node2/dev3/resource": "myplugin.io/mydevice-3\n",
        "node2/dev3/1": "",
        "node2/dev3/1/health": "healthy\n",
        "node2/dev3/1/numa_node": "0\n",
        "node2/dev3/1/model": "X100\n",
    }
    assert (ROOT / "node2/dev3/1").stat().st_mode & 0o777 == 0o755
    assert (ROOT / "node2/dev3/1/health").stat().st_mode & 0o777 == 0o644


def test_modes_do_not_depend_on_the_umask(tree: FakeTree):
    old = os.umask(0o077)
    try:
        tree.build(make_topology(dev3={"count": 1}))
        tree.set_health("node2/dev3/1", "unhealthy")
    finally:
        os.umask(old)

    assert (ROOT / "node2/dev3/1").stat().st_mode & 0o777 == 0o755
    assert (ROOT / "node2/dev3/1/health").stat().st_mode & 0o777 == 0o644


def test_second_build_has_nothing_to_do(tree: FakeTree):
    topology = make_topology(dev3={"count": 3})
    tree.build(topology)

    plan = tree.build(topology)
    assert not plan.steps
    assert plan.counts() == {"added": 0, "removed": 0, "updated": 0, "unchanged": 3}


def test_build_keeps_health_set_by_hand_and_what_a_person_added(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 3}))
    (ROOT / "node2/dev3/1/health").write_text("unhealthy by hand")
    (ROOT / "node2/dev3/2/owner").write_text("me\n")
    (ROOT / "node2/dev3/7").mkdir()
    (ROOT / "node2/dev3/7/health").write_text("healthy\n")

    plan = tree.build(make_topology(dev3={"count": 2}))

    after = content()
    assert after["node2/dev3/1/health"] == "unhealthy by hand"
    assert after["node2/dev3/2/owner"] == "me\n"
    assert "node2/dev3/7/health" in after
    assert "node2/dev3/3" not in after
    assert [(line.action, str(line.path), line.detail) for line in plan.lines()] == [
        ("removed", "/node2/dev3/3", ""),
        ("kept", "/node2/dev3/1", "health unhealthy by hand (by hand)"),
        ("kept", "/node2/dev3/2", "owner (by hand)"),
        ("kept", "/node2/dev3/7", "(added by hand)"),
    ]


def test_health_of_the_spec_moves_only_what_no_person_has_changed(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 2}))
    tree.set_health("node2/dev3/1", "unhealthy", reason="mine")

    tree.build(make_topology(dev3={"count": 2, "health": "unhealthy by the spec"}))
    assert content()["node2/dev3/1/health"] == "unhealthy mine\n"
    assert content()["node2/dev3/2/health"] == "unhealthy by the spec\n"


def test_attributes_come_change_and_go_with_the_spec(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 1, "attributes": {"a": "1", "b": "1"}}))
    plan = tree.build(make_topology(dev3={"count": 1, "attributes": {"b": "2", "c": "2"}}))

    names = {name.rpartition("/")[2]: text for name, text in content().items() if name.startswith("node2/dev3/1/")}
    assert names == {"health": "healthy\n", "b": "2\n", "c": "2\n"}
    assert [line.detail for line in plan.lines()] == ["b 1 -> 2, c (none) -> 2, a 1 -> (none)"]


def test_class_that_left_the_spec_stays_as_long_as_a_persons_device_is_in_it(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 1}))
    tree.plug("node2/dev3/5")
    tree.build(fakehw.make_topology({"nodes": {}}))

    assert set(content()) == {
        "node2", "node2/host", "node2/dev3", "node2/dev3/resource", "node2/dev3/5", "node2/dev3/5/health",
    }  # fmt: skip


def test_reset_starts_over(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 1}))
    tree.set_health("node2", "unhealthy")
    tree.plug("node9/dev1/1", create=True)

    tree.build(make_topology(dev3={"count": 1}), reset=True)
    assert {path.name for path in ROOT.iterdir()} == {"node2", ".fakehw"}
    assert content()["node2/dev3/1/health"] == "healthy\n"


def test_files_and_taints_for_dra_are_part_of_a_tree_and_stay_with_a_build(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 1}))
    device_class = ROOT / "node2/dev3"
    for name in ("api", "driver", "unhealthy_effect", "types", "1/taints/drain"):
        (device_class / name).parent.mkdir(exist_ok=True)
        (device_class / name).write_text("x\n")

    report = tree.build(make_topology(dev3={"count": 1}))

    assert [line.detail for line in report.kept] == ["taints/drain (by hand)"]
    assert (device_class / "1/taints/drain").exists()
    tree.build(make_topology(dev3={"count": 1}), reset=True)
    assert sorted(path.name for path in device_class.iterdir()) == ["1", "resource"]


DRA = {
    "count": 1,
    "api": "dra",
    "driver": "d.io",
    "unhealthy_effect": "None",
    "types": {"slots": "int", "memory": "capacity"},
}


def test_a_class_says_how_dra_serves_it(tree: FakeTree):
    tree.build(make_topology(dev3=DRA))

    files = {name: (ROOT / "node2/dev3" / name).read_text() for name in layout.SETTINGS}
    assert files == {
        "api": "dra\n",
        "driver": "d.io\n",
        "unhealthy_effect": "None\n",
        "types": "slots int\nmemory capacity\n",
    }


def test_what_a_spec_says_of_dra_is_brought_back_and_goes_with_it_and_a_hand_s_own_stays(tree: FakeTree):
    tree.build(make_topology(dev3=DRA))
    (ROOT / "node2/dev3/api").write_text("device-plugin\n")

    tree.build(make_topology(dev3=DRA))
    assert (ROOT / "node2/dev3/api").read_text() == "dra\n"
    tree.build(make_topology(dev3={"count": 1}))
    assert not any((ROOT / "node2/dev3" / name).exists() for name in layout.SETTINGS)

    (ROOT / "node2/dev3/api").write_text("dra\n")
    tree.build(make_topology(dev3={"count": 1}))
    assert (ROOT / "node2/dev3/api").read_text() == "dra\n"


@pytest.mark.parametrize("foreign", ["README.md", "src/main.c", "src/a/b/c", "photos/cats/1/jpg", "a b"])
def test_reset_refuses_what_is_not_a_fake_tree_and_deletes_nothing(tree: FakeTree, foreign: str):
    tree.build(make_topology(dev3={"count": 1}))
    (ROOT / foreign).parent.mkdir(parents=True, exist_ok=True)
    (ROOT / foreign).write_text("precious")
    before = content()

    with pytest.raises(fakehw.TreeError, match="must be moved away before a reset") as caught:
        tree.build(make_topology(dev3={"count": 2}), reset=True)
    assert len(caught.value.lines) == 1
    assert content() == before


def test_dry_run_says_the_same_and_writes_nothing(tree: FakeTree):
    topology = make_topology(dev3={"count": 2})
    dry = tree.build(topology, dry_run=True)
    assert not ROOT.exists()

    assert list(dry.lines()) == list(tree.build(topology).lines())
    before = content()
    dry = tree.build(make_topology(dev3={"count": 3}), dry_run=True)
    assert dry.counts()["added"] == 1
    assert content() == before
    assert tree.build(make_topology(dev3={"count": 3})).counts()["added"] == 1


def test_build_for_a_host_leaves_out_the_nodes_of_others(tree: FakeTree):
    document = {"nodes": {name: {"host": name, "classes": {"dev1": {"count": 1}}} for name in ("a", "b")}}
    tree.build(fakehw.make_topology(document))
    tree.build(fakehw.make_topology(document, host="b"))

    assert {name for name in content() if "/" not in name} == {"b"}


@pytest.mark.parametrize("obstacle", ["node2", "node2/dev3", "node2/dev3/1"])
def test_link_or_file_where_a_directory_belongs_is_named_not_followed_and_in_nobodys_way(tree: FakeTree, obstacle: str):
    tree.build(fakehw.make_topology({"nodes": {}}))
    Path("/elsewhere").mkdir()
    (ROOT / obstacle).parent.mkdir(parents=True, exist_ok=True)
    (ROOT / obstacle).symlink_to("/elsewhere")
    for beside in {"node2": [], "node2/dev3": ["node2/dev1/1"], "node2/dev3/1": ["node2/dev3/2"]}[obstacle]:
        (ROOT / beside).mkdir(parents=True)
        (ROOT / beside / "health").write_text("healthy")  # by hand, so that all around it is a tree
    document = {"nodes": {name: {"classes": {"dev3": {"count": 2}}} for name in ("node1", "node2")}}

    plan = tree.build(fakehw.make_topology(document))
    assert plan.conflicts == [f"/{obstacle}: is a symbolic link: is passed over: must be a directory or nothing"]
    assert {"node1/dev3/1", "node1/dev3/2"} <= set(content())
    assert ("node2/dev3/2" in content()) == (obstacle == "node2/dev3/1")
    for act in (tree.unplug, tree.plug, lambda path: tree.set_health(path, "healthy")):
        with pytest.raises(fakehw.FakehwError):
            act("node2/dev3/1")
    assert not any(Path("/elsewhere").iterdir())
    (ROOT / obstacle).unlink()
    assert not tree.build(fakehw.make_topology(document)).conflicts
    assert "node2/dev3/1" in content()


def test_attribute_that_became_a_link_or_a_directory_is_replaced_not_followed(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 1, "attributes": {"a": "1", "b": "1"}}))
    Path("/target").write_text("precious")
    device = ROOT / "node2/dev3/1"
    for name in ("a", "b", "health"):
        (device / name).unlink()
    (device / "a").symlink_to("/target")
    (device / "health").symlink_to("/target")
    (device / "b").mkdir()
    (device / "b/x").write_text("")

    tree.build(make_topology(dev3={"count": 1, "attributes": {"a": "1", "b": "1"}}))
    tree.set_health("node2/dev3/1", "unhealthy")
    assert content()["node2/dev3/1/a"] == content()["node2/dev3/1/b"] == "1\n"
    assert content()["node2/dev3/1/health"] == "unhealthy\n"
    assert Path("/target").read_text() == "precious"


def test_set_health_of_a_class_or_node_sets_all_its_devices(tree: FakeTree):
    tree.build(make_topology(dev2={"count": 1}, dev3={"count": 3}))

    assert tree.set_health("node2/dev3", "unhealthy", reason="hot\nvery\x1b[1m") == 3
    assert tree.set_health(["node2", "node2/dev3/1"], "healthy") == 4
    assert tree.set_health("/node2/dev3/2", "unhealthy", reason="hot\nvery\x1b[1m") == 1
    assert content()["node2/dev3/2/health"] == "unhealthy hot very [1m\n"


@pytest.mark.parametrize("path", ["node2/dev3/9", "node2/dev9", "node9", "node9/dev3/1", "node2/dev2"])
def test_health_of_what_is_not_there_is_refused(tree: FakeTree, path: str):
    tree.build(make_topology(dev2={"count": 0}, dev3={"count": 1}))

    with pytest.raises(fakehw.InputError, match=path):
        tree.set_health(["node2/dev3/1", path], "unhealthy")
    assert content()["node2/dev3/1/health"] == "healthy\n"


@pytest.mark.parametrize(
    "path",
    ["", "/", "..", "../x", "node2/../x", "node2/dev3/01", "node2/DEV/1", ".fakehw", "node2//1", "a/b/1/c", "n\0"],
)
def test_paths_that_are_no_names_of_the_layout_are_refused(tree: FakeTree, path: str):
    tree.build(make_topology(dev3={"count": 1}))
    for act in (tree.unplug, tree.plug, lambda path: tree.set_health(path, "healthy")):
        with pytest.raises(fakehw.InputError):
            act(path)


@pytest.mark.parametrize("above", ["node2", "node2/dev3"])
@pytest.mark.parametrize("order", [1, -1], ids=["from above", "from below"])
def test_what_is_named_with_what_is_above_it_is_named_once(tree: FakeTree, above: str, order: int):
    tree.build(make_topology(dev3={"count": 2}))
    before = content()
    both = [above, "node2/dev3/1", above][::order]
    assert tree.set_health(both, "unhealthy") == 2
    tree.set_health(both, "healthy")
    tree.unplug(both)
    assert not [name for name in content() if f"{name}/".startswith(f"{above}/")]
    assert len(tree.plug(both)) == 2
    assert content() == before


def test_unplugged_device_comes_back_as_the_spec_lists_it(tree: FakeTree):
    tree.build(
        make_topology(dev3={"count": 2, "devices": {2: {"health": "unhealthy old"}}, "attributes": {"n": "{number}"}})
    )
    before = content()
    tree.unplug(["node2/dev3", "node2/dev3/1"])
    assert "node2/dev3" not in content()

    assert [str(path) for path in tree.plug("node2")] == ["/node2/dev3/1", "/node2/dev3/2"]
    assert content() == before
    assert tree.plug("node2") == []


def test_device_that_the_spec_does_not_list_is_made_after_its_class(tree: FakeTree):
    tree.build(make_topology(gpu={"count": 1, "resource": "a.b/gpu", "attributes": {"uuid": "{id}"}}))
    with pytest.raises(fakehw.InputError, match="there is no class dev7 in node2: say --create"):
        tree.plug(["node2/gpu/4", "node2/dev7/1"])
    with pytest.raises(fakehw.InputError, match="there is no node node7: say --create"):
        tree.plug("node7/dev1/1")
    assert "node2/gpu/4" not in content(), "all of it, or none"
    tree.plug(["node2/gpu/4", "node2/dev7/1"], create=True)

    assert content()["node2/gpu/4/uuid"] == "node2-gpu-4\n"
    assert content()["node2/dev7/resource"] == "myplugin.io/mydevice-7\n"
    with pytest.raises(fakehw.InputError, match="must have a resource"):
        tree.plug("node2/npu/1", create=True)
    with pytest.raises(fakehw.InputError, match="is not a class of the applied spec"):
        tree.plug("node2/dev8")


def test_damaged_memory_is_one_line_and_a_reset_mends_it(tree: FakeTree):
    tree.build(make_topology(dev3={"count": 1}))
    for text in (
        "{",
        "[]3",
        '[{"spec": {"nodes": {"..": {}}}, "host": null}]',
        '[{"spec": 3, "host": null}]',
        "[" * 99999,
    ):
        (ROOT / ".fakehw/applied.json").write_text(text)
        with pytest.raises(fakehw.TreeError, match="is damaged: remove it, or start over"):
            tree.build(make_topology(dev3={"count": 1}))
    tree.build(make_topology(dev3={"count": 1}), reset=True)
    assert not tree.build(make_topology(dev3={"count": 1})).steps


def test_character_devices_that_are_refused_are_told_of_once(fs):
    told: list[str] = []
    FakeTree(ROOT, tell=told.append).build(make_topology(dev3={"count": 3, "device_node": None}))

    assert told == ["/fakehw: mknod is not allowed here: going on without character devices (device_node)"]
    assert "node2/dev3/3/health" in content()


def test_list_shows_classes_without_devices_too(tree: FakeTree):
    tree.build(make_topology(dev2={"count": 0}, dev10={"count": 1, "numa_node": 1, "health": "unhealthy hot"}))

    assert listing.as_table(tree.read()).splitlines() == [
        "PATH             RESOURCE                  HEALTH      NUMA   REASON",
        "/node2/dev2      myplugin.io/mydevice-2    -           -      no devices",
        "/node2/dev10/1   myplugin.io/mydevice-10   unhealthy   1      hot",
    ]
    assert listing.shown(listing.rows(tree.read()), "name") == "node2/dev10/1"
    (empty, device) = json.loads(listing.shown(listing.rows(tree.read()), "json"))
    assert (empty["path"], empty["id"], empty["health"]) == ("/node2/dev2", None, None)
    assert device["host"] == "kind-worker2"
    assert yaml.safe_load(listing.shown(listing.rows(tree.read()), "yaml")) == [empty, device]
    assert listing.summary(listing.rows(tree.read()), has_headings=False).splitlines() == [
        "kind-worker2   myplugin.io/mydevice-2    0   0   0",
        "kind-worker2   myplugin.io/mydevice-10   1   0   1",
    ]
    assert [record.id for record in listing.records(tree.read())] == ["node2-dev10-1"]


@pytest.mark.parametrize(
    ("text", "health", "reason"),
    [
        ("healthy", "healthy", ""),
        (" Healthy\n", "healthy", ""),
        ("UNHEALTHY too hot\nand loud\n", "unhealthy", "too hot and loud"),
        ("healthy again", "healthy", "again"),
        ("", "unhealthy", "health file is empty"),
        ("healthyish", "unhealthy", "health file says 'healthyish'"),
        ("x" * 5000, "unhealthy", "health file is longer than 4096 bytes"),
        (b"\xff\xfe", "unhealthy", "health file is not UTF-8 text"),
        ("\ufeffhealthy", "unhealthy", "health file begins with a byte order mark (save it as UTF-8 without BOM)"),
        (None, "unhealthy", "health file is missing"),
    ],
)
def test_health_file_says_what_the_layout_says(tree: FakeTree, text: str | bytes | None, health: str, reason: str):
    tree.build(make_topology(dev3={"count": 1}))
    path = ROOT / "node2/dev3/1/health"
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    (record,) = listing.records(tree.read())
    assert (record.health, record.reason) == (health, reason)


def test_paths_sort_as_people_count():
    paths = [
        TreePath.parse(text) for text in ("node10/dev1/1", "node2/dev10/1", "node2/dev3/10", "node2/dev3/9", "node2")
    ]

    assert [str(path) for path in sorted(paths, key=lambda path: path.sort_key)] == [
        "/node2", "/node2/dev3/9", "/node2/dev3/10", "/node2/dev10/1", "/node10/dev1/1",
    ]  # fmt: skip
    assert layout.env_prefix("dev3") == "DEV_3_ID"
    assert layout.env_prefix("gpu") == "GPU_ID"


@pytest.mark.parametrize(
    ("text", "numa_node"),
    [("0", 0), ("007", 7), (" 1\n", 1), ("2147483647", 2**31 - 1), ("2147483648", None), ("-1", None), ("-2", None)]
    + [(text, None) for text in ("-0", "+1", "1_0", "1.0", "1e0", "", "one", "\u0661", "0x1", "\ufeff1", "1 1", "99999999999")],
)  # fmt: skip  # what is one, and what is none
def test_numa_node_is_a_number_in_digits(tree: FakeTree, text: str, numa_node: int | None):
    tree.build(make_topology(dev3={"count": 1}))
    (ROOT / "node2/dev3/1/numa_node").write_text(text)

    assert dict(tree.read().devices())[TreePath("node2", "dev3", 1)].numa_node == numa_node


@pytest.mark.parametrize(("length", "is_one"), [(63, True), (64, False)])
def test_an_id_has_at_most_63_characters_everywhere(tree: FakeTree, length: int, is_one: bool):
    node = "n" * (length - len("-dev3-1"))
    document = {"nodes": {node: {"classes": {"dev3": {"count": 1}}}}}
    if is_one:
        assert TreePath.parse(f"{node}/dev3/1").id == f"{node}-dev3-1"
        tree.build(fakehw.make_topology(document))
    else:
        with pytest.raises(ValueError, match="longer than 63 characters"):
            TreePath.parse(f"{node}/dev3/1")
        with pytest.raises(fakehw.SpecError, match="longer than 63 characters"):
            fakehw.make_topology(document)
        tree.build(fakehw.make_topology({"nodes": {}}))
        (ROOT / node / "dev3/1").mkdir(parents=True)
    assert [path.node for path, _ in tree.read().devices()] == [node] * is_one
