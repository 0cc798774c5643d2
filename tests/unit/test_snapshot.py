"""A tree as it is: what each thing in it is taken for, whatever any hand has left there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fakehw.errors import InputError
from fakehw.layout import Health, TreePath
from fakehw.tree import directory, snapshot
from fakehw.tree.snapshot import FoundClass, FoundDevice, FoundNode, Snapshot, Unreadable

WELL = FoundDevice({"health": "healthy"})


def lay_out(root: Path, files: dict[str, str | None]) -> Path:
    """Make files with their texts, directories (None), and links (-> target)."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.mkdir(exist_ok=True)
        elif text.startswith("-> "):
            path.symlink_to(text.removeprefix("-> "))
        else:
            path.write_text(text)
    return root


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names


# Values.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("healthy", (Health.HEALTHY, "")),
        ("unhealthy too hot", (Health.UNHEALTHY, "too hot")),
        ("sick", (Health.UNHEALTHY, "health file says 'sick'")),
        ("", (Health.UNHEALTHY, "health file is empty")),
        (None, (Health.UNHEALTHY, "health file is missing")),
        (Unreadable("is a FIFO"), (Health.UNHEALTHY, "health file is a FIFO")),
    ],
)
def test_whatever_does_not_say_healthy_is_unhealthy(value: snapshot.Value | None, expected: tuple[Health, str]) -> None:
    assert FoundDevice({} if value is None else {"health": value}).health == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0), ("2147483647", 2147483647), ("2147483648", None), ("-1", None), ("x", None), ("1\n", None),
        (None, None), (Unreadable("is a directory"), None),
    ],
)  # fmt: skip  # one list
def test_a_numa_node_is_a_number_or_none(value: snapshot.Value | None, expected: int | None) -> None:
    assert FoundDevice({} if value is None else {"numa_node": value}).numa_node == expected


def test_an_attribute_has_a_text_if_it_is_there_and_can_be_read() -> None:
    device = FoundDevice({"a": "x", "b": Unreadable("is a FIFO"), "c": ""})
    assert [device.text(name) for name in "abcd"] == ["x", None, "", None]
    assert Unreadable("x") == Unreadable("x", is_directory=False)


NONE = FoundDevice({})
OTHER = FoundDevice({"x": "y"})
FOREIGN = FoundDevice({}, None, ("a b",))


@pytest.mark.parametrize(
    ("found", "name", "has_sign", "is_likely"),
    [
        (FoundClass(), "gpu", False, True),
        (FoundClass(), "dev3", True, True),
        (FoundClass("a.b/c"), "gpu", True, True),
        (FoundClass(Unreadable("is a FIFO")), "gpu", True, True),
        (FoundClass(None, {1: WELL}), "gpu", True, True),
        (FoundClass(None, {1: OTHER, 2: WELL}), "gpu", True, True),
        (FoundClass(None, {1: OTHER}), "gpu", False, False),
        (FoundClass(None, {1: NONE}), "gpu", False, False),
        (FoundClass(None, {}, ("main.c",)), "gpu", False, False),
        (FoundClass(None, {}, ("main.c",)), "dev3", True, True),
        (FoundClass(None, {}, (), {"api": "dra"}), "gpu", False, True),
    ],
)
def test_a_class_says_that_it_is_one_or_holds_nothing_that_says_otherwise(
    found: FoundClass, name: str, has_sign: bool, is_likely: bool
) -> None:
    assert (found.has_sign(name), found.is_likely(name)) == (has_sign, is_likely)
    for host, sign in ((None, has_sign), ("h", True), (Unreadable("x"), True)):
        node = FoundNode(host, {name: found})
        assert (node.has_sign, node.is_likely) == (sign, sign)


def test_a_node_says_that_it_is_one_or_is_empty() -> None:
    assert (FoundNode().has_sign, FoundNode().is_likely) == (False, True)
    assert FoundNode("h", {}, ("x",)).is_likely
    assert not FoundNode(None, {}, ("x",)).is_likely


@pytest.mark.parametrize(
    ("resource", "device", "expected"),
    [
        (None, WELL, True), (None, NONE, True), (None, OTHER, False), (None, FOREIGN, False), ("a.b/c", OTHER, True),
        ("a.b/c", FOREIGN, True), (None, FoundDevice({"health": Unreadable("x"), "y": "z"}), True),
    ],
)  # fmt: skip  # one list
def test_a_device_is_one_by_its_health_by_its_class_or_if_it_is_empty(
    resource: str | None, device: FoundDevice, expected: bool
) -> None:
    assert FoundClass(resource, {7: device}).is_likely_device(7) is expected


def test_all_that_may_be_a_persons_own_is_named_by_its_path() -> None:
    of_class = FoundClass(
        None, {1: FoundDevice({"health": "x", "y": ""}, None, ("a", "b")), 2: OTHER, 3: NONE, 4: FOREIGN}, ("f", "g")
    )
    assert list(of_class.all_foreign()) == ["f", "g", "1/a", "1/b", "2 (it has no health)", "4/a b"]
    assert list(FoundClass("a.b/c", {2: OTHER}).all_foreign()) == []
    node = FoundNode(None, {"gpu": of_class, "dev1": FoundClass(None, {}, ("h",))}, ("n",))
    assert list(node.all_foreign()) == [
        "n", "gpu/f", "gpu/g", "gpu/1/a", "gpu/1/b", "gpu/2 (it has no health)", "gpu/4/a b", "dev1/h",
    ]  # fmt: skip  # one list


def test_a_place_is_found_if_it_is_there() -> None:
    of_class = FoundClass(None, {1: WELL})
    node = FoundNode(None, {"gpu": of_class})
    tree = Snapshot({"n": node})
    places = [
        ("n",),
        ("m",),
        ("n", "gpu"),
        ("n", "npu"),
        ("m", "gpu"),
        ("n", "gpu", 1),
        ("n", "gpu", 2),
        ("n", "npu", 1),
    ]
    assert [tree.find(TreePath(*place)) for place in places] == [
        node, None, of_class, None, None, WELL, None, None,
    ]  # fmt: skip  # one list


def test_devices_come_in_the_order_of_people() -> None:
    tree = Snapshot(
        {
            "n10": FoundNode(None, {"dev1": FoundClass(None, {1: WELL})}),
            "n2": FoundNode(
                None, {"dev10": FoundClass(None, {3: WELL}), "dev9": FoundClass(None, {10: OTHER, 2: WELL})}
            ),
        }
    )
    assert [(str(path), device) for path, device in tree.devices()] == [
        ("/n2/dev9/2", WELL), ("/n2/dev9/10", OTHER), ("/n2/dev10/3", WELL), ("/n10/dev1/1", WELL),
    ]  # fmt: skip  # one list


# Reading.


def test_everything_in_a_tree_is_taken_for_what_it_is(tmp_path: Path) -> None:
    root = lay_out(
        tmp_path / "tree",
        {
            ".fakehw/n/dev1/1/health": "healthy",
            ".git/x": "",
            "lost found": "",
            "README": "x",
            "link": "-> n",
            "e": None,
            "n/host": " h \n",
            "n/README": "",
            "n/.hid": "",
            "n/dev_1/1/health": "",
            "n/afile": "",
            "n/alink": "-> gpu",
            "n/gpu/resource": "a.b/gpu\n",
            "n/gpu/rpc/Allocate": "",
            "n/gpu/api": "dra\n",
            "n/gpu/driver/x": "",
            "n/gpu/notes.txt": "",
            "n/gpu/01/health": "",
            "n/gpu/1/health": "unhealthy  hot\n",
            "n/gpu/1/numa_node": "1",
            "n/gpu/1/taints/b": "b:None\n",
            "n/gpu/1/taints/a": "a:None\n",
            "n/gpu/1/taints/.x": "",
            "n/gpu/1/taints/d/x": "",
            "n/gpu/1/.cache": "",
            "n/gpu/1/Big": "",
            "n/gpu/1/node": "x",
            "n/gpu/1/dir/x": "",
            "n/gpu/1/alink": "-> health",
            "n/gpu/2": "",
            "n/gpu/3": "-> 1",
            "n/gpu/12/health": "healthy",
        },
    )
    before = descriptors()
    tree = snapshot.read_tree(root)
    assert descriptors() == before

    one = FoundDevice(
        {
            "health": "unhealthy  hot",
            "numa_node": "1",
            "taints/a": "a:None",
            "taints/b": "b:None",
            "taints/d": Unreadable("is a directory", is_directory=True),
            "node": "x",
            "dir": Unreadable("is a directory", is_directory=True),
            "alink": Unreadable("is a symbolic link, which is not followed"),
        },
        None,
        (".cache", "Big", "dir", "taints/.x", "taints/d"),
    )
    gpu = tree.nodes["n"].classes["gpu"]
    found = gpu.devices[1]
    assert FoundDevice(found.attributes, found.device_node, tuple(sorted(found.foreign))) == one
    assert [name for name in found.attributes if name.startswith("taints/")] == ["taints/a", "taints/b", "taints/d"]
    assert gpu.devices == {1: found, 12: WELL}
    assert gpu.resource == "a.b/gpu"
    assert gpu.settings == {"api": "dra", "driver": Unreadable("is a directory", is_directory=True)}
    assert sorted(gpu.foreign) == ["01", "2", "3", "driver", "notes.txt"]
    assert tree.nodes["n"].host == "h"
    assert list(tree.nodes["n"].classes) == ["gpu"]
    assert sorted(tree.nodes["n"].foreign) == [".hid", "README", "afile", "alink", "dev_1"]
    assert tree.nodes["e"] == FoundNode()
    assert sorted(tree.nodes) == ["e", "n"]
    assert {str(path): what for path, what in tree.obstacles.items()} == {
        "/README": "a file",
        "/link": "a symbolic link",
        "/n/afile": "a file",
        "/n/alink": "a symbolic link",
        "/n/gpu/2": "a file",
        "/n/gpu/3": "a symbolic link",
    }
    assert sorted(tree.foreign) == ["README", "link", "lost found"]
    assert tree.hidden == [".git"]


@pytest.mark.parametrize(
    "name", ["host", "gpu/resource", "gpu/types", "gpu/1/health", "gpu/1/taints/x", "gpu/1/taints/.x"]
)
def test_a_directory_where_a_value_belongs_is_somebodys_own(tmp_path: Path, name: str) -> None:
    tree = snapshot.read_tree(lay_out(tmp_path, {"n/gpu/1": None, f"n/{name}/x": ""}))
    assert next(tree.nodes["n"].all_foreign()) == name


@pytest.mark.parametrize(("length", "is_one"), [(63, True), (64, False)])
def test_a_device_whose_id_is_too_long_is_in_the_way(tmp_path: Path, length: int, is_one: bool) -> None:
    node = "n" * (length - len("-dev3-1"))
    tree = snapshot.read_tree(lay_out(tmp_path, {f"{node}/dev3/1/health": "healthy"}))
    said = "a directory whose ID would be longer than 63 characters"
    assert tree.obstacles == ({} if is_one else {TreePath(node, "dev3", 1): said})
    assert tree.nodes[node].classes["dev3"].devices == ({1: WELL} if is_one else {})
    assert tree.nodes[node].classes["dev3"].foreign == (() if is_one else ("1",))


def test_the_root_may_be_a_link_and_must_be_a_directory(tmp_path: Path) -> None:
    lay_out(tmp_path, {"tree/n": None, "file": "", "link": "-> tree"})
    assert snapshot.read_tree(tmp_path / "link") == Snapshot({"n": FoundNode()})
    for name, why in (("none", "No such file or directory"), ("file", "Not a directory")):
        with pytest.raises(InputError) as caught:
            snapshot.read_tree(tmp_path / name)
        rule = "must be the directory of a tree (--root, FAKEHW_ROOT)"
        assert caught.value.lines == (f"{tmp_path / name}: {why}: {rule}",)


def refusing(name: str, error: OSError, real: Callable[..., int]) -> Callable[..., int]:
    def opened(given: str, **where: int) -> int:
        if given == name:
            raise error
        return real(given, **where)

    return opened


@pytest.mark.parametrize("name", ["n", "gpu", "1"])
def test_what_vanishes_while_it_is_read_was_not_there(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay_out(tmp_path, {"n/gpu/1/health": "healthy"})
    gone = FileNotFoundError(errno.ENOENT, "No such file or directory")
    monkeypatch.setattr(directory, "open_directory", refusing(name, gone, directory.open_directory))
    expected = {
        "n": Snapshot(),
        "gpu": Snapshot({"n": FoundNode()}),
        "1": Snapshot({"n": FoundNode(None, {"gpu": FoundClass()})}),
    }
    assert snapshot.read_tree(root) == expected[name]


def test_what_vanishes_after_it_was_listed_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay_out(tmp_path, {"n/gpu/1/health": "healthy"})
    real = directory.listed
    monkeypatch.setattr(directory, "listed", lambda fd: [*real(fd), *(["gone"] if "n" in real(fd) else [])])
    assert snapshot.read_tree(root) == Snapshot({"n": FoundNode(None, {"gpu": FoundClass(None, {1: WELL})})})


@pytest.mark.parametrize("name", ["n", "gpu", "1"])
def test_what_cannot_be_opened_is_in_the_way_and_the_rest_is_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay_out(tmp_path, {"n/gpu/1/health": "healthy", "n/dev1/2/health": "healthy", "m/dev1/2/health": "healthy"})
    shut = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(directory, "open_directory", refusing(name, shut, directory.open_directory))
    tree = snapshot.read_tree(root)
    place = {"n": TreePath("n"), "gpu": TreePath("n", "gpu"), "1": TreePath("n", "gpu", 1)}[name]
    assert tree.obstacles == {place: "a directory that cannot be opened: Permission denied"}
    assert [str(path) for path, _ in tree.devices()] == (["/m/dev1/2"] if name == "n" else ["/m/dev1/2", "/n/dev1/2"])
    assert tree.foreign == []


def test_taints_that_cannot_be_read_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay_out(tmp_path, {"n/gpu/1/health": "healthy", "n/gpu/1/taints/a": "x"})
    shut = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(directory, "open_directory", refusing("taints", shut, directory.open_directory))
    assert snapshot.read_tree(root) == Snapshot({"n": FoundNode(None, {"gpu": FoundClass(None, {1: WELL})})})


def test_one_device_is_read_as_the_tree_is(tmp_path: Path) -> None:
    lay_out(tmp_path, {"1/health": "healthy\n", "2": ""})
    with directory.opened(str(tmp_path)) as fd:
        assert snapshot.read_device(fd, TreePath("n", "gpu", 1)) == WELL
        assert snapshot.read_device(fd, TreePath("n", "gpu", 2)) is None
        assert snapshot.read_device(fd, TreePath("n", "gpu", 3)) is None


def test_a_character_device_is_its_numbers(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"n/gpu/1/health": "healthy"})
    try:
        os.mknod(root / "n/gpu/1/node", 0o20666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("mknod is not allowed here")
    assert snapshot.read_tree(root).nodes["n"].classes["gpu"].devices == {1: FoundDevice({"health": "healthy"}, (1, 5))}
