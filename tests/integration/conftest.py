"""A seed tree made by hand, a fake kubelet and the plugin between them; real inotify and real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fakekubelet import FakeKubelet
from tests.factories import make_tree
from tests.running import fresh_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from fakekubelet.apiserver.server import ApiServer


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A fresh directory on a disk, which gives inode numbers out again, as that of a node does (contract PIT-2)."""
    with fresh_directory("/tmp") as path:
        yield path


@pytest.fixture
def short_dir(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    from fakekubelet.apiserver.server import ApiServer  # an extra, which most tests do not need

    async with ApiServer("1.36") as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a fleet has its tree, its state and whatever it is asked to write."""
    return tmp_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The tree of the seed's second node."""
    return make_tree(
        tmp_path / "fakehw",
        "node2/dev1/", "node2/dev2/1", "node2/dev3/1", "node2/dev3/2", "node2/dev3/3",
        hosts={"node2": "kind-worker2"},
    )  # fmt: skip  # one class after the other


@pytest.fixture
def plugin_dir(short_dir: Path) -> Path:
    return short_dir


@pytest.fixture
async def kubelet(plugin_dir: Path) -> AsyncIterator[FakeKubelet]:
    async with FakeKubelet(plugin_dir, node_name="kind-worker2") as running:
        yield running
