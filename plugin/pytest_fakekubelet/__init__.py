"""The fixtures that pytest has with the package: `fake_kubelet`, `fake_node`, `fake_dra_node` and `socket_dir`.

Every run of pytest loads this module, whatever it tests, so it is alone in a package whose name nobody else has and
imports nothing: the fake kubelet, and gRPC with it, is loaded by the first test that asks for one, and what is broken
or missing then fails that test and no other. `-p no:fakekubelet` is enough to have none of it.

A plain `def test_...` gets a kubelet that runs in a thread, as a `fakekubelet.Blocking`; an `async def test_...` gets
the `fakekubelet.FakeKubelet` itself, in its own event loop.
"""

from __future__ import annotations

import contextlib
import inspect
import tempfile
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_LOOP_SCOPES = ("function", "class", "module", "package", "session")
_NO_ASYNC = (
    "an async test that uses {} needs a plugin that runs async tests: pip install 'fakehw[test]', and mark the test "
    "with pytest.mark.asyncio; a plain `def test_...` needs none"
)


def pytest_configure(config: pytest.Config) -> None:
    """Add the fixtures for async tests; a failure here is told to the tests that want one, and stops no other."""
    plugins = config.pluginmanager
    with contextlib.suppress(Exception):
        if plugins.hasplugin("asyncio"):
            import pytest_asyncio  # loaded by now

            plugins.register(_async_fixtures("asyncio", pytest_asyncio.fixture), "fakekubelet-asyncio")
    with contextlib.suppress(Exception):
        if plugins.hasplugin("anyio"):  # which takes fixtures as they are
            plugins.register(_async_fixtures("anyio", lambda **_: pytest.fixture), "fakekubelet-anyio")


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """Give a directory whose path is short enough for sockets, which have 107 bytes at most (contract PATH-4)."""
    with tempfile.TemporaryDirectory(prefix="fk-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def fake_kubelet(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give a kubelet that is up, on real time; plugins go to its `plugin_dir`."""
    yield from _face(request, "kubelet", _kubelet)


@pytest.fixture
def fake_node(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give a kubelet that is up, with both registration routes and PodResources, on a clock that stands still."""
    yield from _face(request, "node", _node)


@pytest.fixture
def fake_dra_node(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give an API server and a kubelet with its DRA half, both up, and all that a driver needs; extra `apiserver`."""
    yield from _face(request, "dra_node", _dra_node)


@pytest.fixture
def _fakekubelet_loop() -> Iterator[Any]:
    """Run one event loop in a thread, for all that one test waits for."""
    from fakekubelet import blocking

    with blocking.LoopThread() as thread:
        yield thread


def _kubelet(directory: Path) -> Any:
    import fakekubelet

    return fakekubelet.FakeKubelet(directory / "dp")


def _node(directory: Path) -> Any:
    import fakekubelet

    return fakekubelet.FakeNode(directory)


def _dra_node(directory: Path) -> Any:
    import fakekubelet

    return fakekubelet.FakeDraNode(directory)


def _face(request: pytest.FixtureRequest, what: str, make: Callable[[Path], Any]) -> Iterator[Any]:
    if _is_async(request.node):
        yield _in_its_loop(request, what)
        return
    thread = request.getfixturevalue("_fakekubelet_loop")
    from fakekubelet import blocking

    with (
        tempfile.TemporaryDirectory(prefix="fk-", dir="/tmp") as directory,
        blocking.Blocking(make(Path(directory)), thread=thread) as running,
    ):
        yield running


def _in_its_loop(request: pytest.FixtureRequest, what: str) -> Any:
    node, plugins = request.node, request.config.pluginmanager
    is_anyio = node.get_closest_marker("anyio") is not None
    for runner in ("anyio", "asyncio") if is_anyio else ("asyncio",):
        if plugins.hasplugin(f"fakekubelet-{runner}"):
            return request.getfixturevalue(f"_{runner}_{what}_{_loop_scope(node)}")
    pytest.fail(_NO_ASYNC.format(f"fake_{what}"), pytrace=False)


def _is_async(node: pytest.Item) -> bool:
    function = getattr(node, "obj", None)
    function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _loop_scope(node: pytest.Item) -> str:
    """Return the scope of the event loop that pytest-asyncio runs the test in."""
    marker = node.get_closest_marker("asyncio")
    asked = marker and (marker.kwargs.get("loop_scope") or marker.kwargs.get("scope"))
    if not asked:
        try:
            asked = node.config.getini("asyncio_default_test_loop_scope")
        except (KeyError, ValueError):  # an older pytest-asyncio
            asked = None
    return asked if asked in _LOOP_SCOPES else "function"


def _async_fixtures(runner: str, fixture: Callable[..., Callable[..., Any]]) -> types.ModuleType:
    """Return a plugin with a fixture for each thing and each scope of loop that a test may run in."""

    def serve(make: Callable[[Path], Any], name: str) -> Callable[[], AsyncIterator[Any]]:
        async def running() -> AsyncIterator[Any]:
            with tempfile.TemporaryDirectory(prefix="fk-", dir="/tmp") as directory:
                async with make(Path(directory)) as value:
                    yield value

        running.__name__ = running.__qualname__ = name
        return running

    found = types.ModuleType(f"fakekubelet_{runner}")
    for what, make in (("kubelet", _kubelet), ("node", _node), ("dra_node", _dra_node)):
        for scope in _LOOP_SCOPES:
            name = f"_{runner}_{what}_{scope}"
            setattr(found, name, fixture(loop_scope=scope)(serve(make, name)))
    return found
