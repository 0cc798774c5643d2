"""The node that a claim is tried on, and plugins on it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fakekubelet.stub_plugin import StubPlugin, devices
from tests.fidelity.node import Node

_numbers = itertools.count(1)


@pytest.fixture(params=["fake", pytest.param("real", marks=[pytest.mark.cluster, pytest.mark.timeout(600)])])
async def node(request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    mark = request.node.get_closest_marker("topology_policy")
    policy = mark.args[0] if mark else "none"
    if request.param == "fake":
        from tests.fidelity.fake import fake_node

        async with fake_node(request.getfixturevalue("short_dir"), policy) as played:
            _expect(request, played.release)
            yield played
    else:
        from tests.fidelity.real import KUBELET_RESTART, KUBELET_RESTART_WITH, real_node

        needs_flag = policy != "none" or request.node.get_closest_marker("needs_flag")
        if needs_flag and not (KUBELET_RESTART_WITH and KUBELET_RESTART):
            pytest.skip("KUBELET_RESTART_WITH does not say how to start the kubelet of {node} with {flag}")

        async with real_node(policy) as served:
            _expect(request, served.release)
            yield served


def _expect(request: pytest.FixtureRequest, release: str) -> None:
    """Expect a claim to fail where it is one on other releases: that there is a difference is a claim, too."""
    mark = request.node.get_closest_marker("holds")
    since, until = (mark.kwargs.get(key) if mark else None for key in ("since", "until"))
    minor = int(release.partition(".")[2])
    if (since and minor < int(since.partition(".")[2])) or (until and minor > int(until.partition(".")[2])):
        is_sure = mark is not None and mark.kwargs.get("is_sure", True)
        request.applymarker(pytest.mark.xfail(reason=f"holds {since or ''} to {until or ''}", strict=is_sure))


@pytest.fixture
def resource(request: pytest.FixtureRequest) -> str:
    """A name that no test before has left with the kubelet."""
    import os

    return f"fidelity.example/r{os.getpid()}-{next(_numbers)}"


Make = Callable[..., Any]


@pytest.fixture
async def make_plugin(node: Node, resource: str) -> AsyncIterator[Make]:
    """Serve a stub plugin; `register=False` leaves it at that."""
    made: list[StubPlugin] = []

    async def make(*ids: str, register: bool = True, **fields: Any) -> StubPlugin:
        name = fields.pop("resource", resource)
        endpoint = fields.pop("endpoint", f"{name.rpartition('/')[2]}-{len(made)}.sock")
        plugin = StubPlugin(node.plugin_dir, name, fields.pop("listed", devices(*ids)), endpoint=endpoint, **fields)
        made.append(plugin)
        await plugin.serve()
        if register:
            await plugin.register()
        return plugin

    yield make
    for plugin in made:
        await plugin.stop()
