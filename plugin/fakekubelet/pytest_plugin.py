"""Fixtures for people who test device plugins: `fake_kubelet`, and `fake_node` with everything on a clock of its own.

Installing the package is enough to have them; `-p no:fakekubelet.pytest_plugin` is enough to have them not. gRPC is
loaded by the first test that uses one, because every run of pytest loads this module.

Sockets lie in short directories under /tmp, because a socket's path has 107 bytes at most (contract PATH-4) and
pytest's own temporary directories do not leave room for a name.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from fakekubelet import clock
    from fakekubelet.kubelet import kubelet

try:
    import pytest_asyncio
except ImportError:  # then a test cannot wait for a kubelet, and other people's tests must not fail for it
    async_fixture: Callable[[Callable[..., Any]], Any] = pytest.fixture
else:
    async_fixture = pytest_asyncio.fixture


@dataclasses.dataclass(frozen=True, slots=True)
class FakeNode:
    """A node with a kubelet that is up, and the places where things are."""

    kubelet: kubelet.FakeKubelet
    clock: clock.ManualClock
    """Stands still until it is advanced: five minutes of grace cost nothing."""
    plugin_dir: Path
    plugins_registry: Path
    pod_resources_socket: Path


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """Give a directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="fk-", dir="/tmp") as directory:
        yield Path(directory)


@async_fixture
async def fake_kubelet(socket_dir: Path) -> AsyncIterator[kubelet.FakeKubelet]:
    """Give a kubelet that is up, on real time; plugins go to its `plugin_dir`."""
    from fakekubelet.kubelet import kubelet

    async with kubelet.FakeKubelet(socket_dir / "dp") as running:
        yield running


@async_fixture
async def fake_node(socket_dir: Path) -> AsyncIterator[FakeNode]:
    """Give a kubelet that is up, with both registration routes and PodResources, on a clock that stands still."""
    from fakekubelet import clock
    from fakekubelet.kubelet import kubelet

    manual = clock.ManualClock()
    root = socket_dir / "node"  # apart from `fake_kubelet`, in case a test has both
    running = kubelet.FakeKubelet(
        root / "dp",
        pod_resources_socket=root / "pr" / "kubelet.sock",
        plugins_registry=root / "reg",
        clock=manual,
    )
    async with running:
        yield FakeNode(running, manual, root / "dp", root / "reg", root / "pr" / "kubelet.sock")
