"""Opening what lies under the root, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fakehw_plugin.tree import attributes, descent, entries
from tests.factories import make_device, make_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree", "node2/dev3/1")


def class_entry(root: Path) -> entries.ClassEntry:
    return entries.ClassEntry(entries.NodeEntry(entries.RootEntry(str(root)), "node2", 1), "dev3", 2)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names


def test_a_class_is_opened_from_the_root_down_and_closed_again(root: Path) -> None:
    before = descriptors()
    with descent.opened(class_entry(root)) as fd:
        assert fd is not None
        assert os.listdir(fd) == ["1"]  # noqa: PTH208  # of a descriptor
        assert len(descriptors() - before) == 1, "what lies above is closed already"
    assert descriptors() == before


@pytest.mark.parametrize("level", ["node2", "node2/dev3"])
@pytest.mark.parametrize("what", ["a link", "gone", "a file"])
def test_a_directory_that_is_none_any_more_is_not_opened(root: Path, level: str, what: str) -> None:
    path = root / level
    path.rename(root / "aside")
    if what == "a link":
        path.symlink_to(root / "aside")
    elif what == "a file":
        path.write_text("")
    before = descriptors()

    with descent.opened(class_entry(root)) as fd:
        assert fd is None
    assert descriptors() == before


def test_the_root_itself_may_be_a_link(root: Path) -> None:
    (root.parent / "link").symlink_to(root)

    with descent.opened(class_entry(root.parent / "link")) as fd:
        assert fd is not None


@pytest.mark.parametrize("left", [0, 1, 2])
def test_our_own_shortage_is_not_a_directory_that_is_gone_and_leaks_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    before, real = descriptors(), os.open

    def scarce(*arguments: object, **more: object) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(24, "Too many open files")
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", scarce)
    with pytest.raises(attributes.StarvedError), descent.opened(class_entry(root)):
        pytest.fail("it was opened")
    monkeypatch.undo()
    assert descriptors() == before


@pytest.mark.parametrize("level", ["node2", "node2/dev3", "node2/dev3/1"])
def test_a_device_is_real_only_while_every_directory_on_its_way_is(root: Path, level: str) -> None:
    device = make_device(1)
    assert descent.is_real_device(str(root), device)

    (root / level).rename(root / "aside")
    assert not descent.is_real_device(str(root), device)
    (root / level).symlink_to(root / "aside")
    assert not descent.is_real_device(str(root), device)


def test_a_device_that_was_listed_with_its_node_is_real_only_while_that_is_there(root: Path) -> None:
    assert not descent.is_real_device(str(root), make_device(1, has_device_node=True))
