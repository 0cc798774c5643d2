"""The fake kubelet, API server and scheduler as a node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from fakekubelet import ManualClock
from fakekubelet.cluster.dra_cluster import DraCluster
from kubeapi.access import Access
from tests.fidelity_dra.api import Api
from tests.fidelity_dra.driver import Places
from tests.fidelity_dra.node import DEADLINE_S, Node, Object

STEP_S, LOOK_S = 0.25, 0.002
"""The kubelet's time between two looks, and real time meanwhile."""

PATIENCE_S = 0.2
"""Real time between two looks once the kubelet's time is over."""

CALLS_S = 5.0
"""Real time that the calls of one claim get, all in all; those that are to hang use it up."""

SETTLE_S = 0.05
"""Real time for what goes over sockets: a claim may be that nothing comes."""


class FakeNode(Node):
    """One node of a local cluster, whose time runs while something is waited for."""

    def __init__(self, cluster: DraCluster, clock: ManualClock, api: Api, root: Path, release: str) -> None:
        (self.name,) = cluster.nodes
        self.release = release
        self.api = api
        self._cluster, self._clock = cluster, clock
        self._node = cluster.nodes[self.name]
        plugins = root / "plugins"
        self.places = Places(self._node.plugins_registry, plugins, plugins, self._node.cdi_dir)
        self.checkpoint = self._node.plugin_dir.parent / "dra_manager_state"
        self._grace_s = CALLS_S

    async def messages(self, pod: Object) -> list[str]:
        return list(self._cluster.events.get(pod["metadata"]["name"], []))

    async def logs(self, pod: Object) -> str:
        return self._cluster.logs(pod["metadata"]["name"])

    async def health(self, pod: Object) -> list[Object]:
        dra = self._node.kubelet.dra
        assert dra is not None
        return dra.allocated_resources_status(pod).get("main", [])

    @contextlib.asynccontextmanager
    async def dead(self) -> AsyncIterator[None]:
        await self._node.kubelet.stop()
        yield
        await self._node.kubelet.start()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(SETTLE_S)
        await self._let_calls_end()
        await self._clock.advance(seconds)
        await asyncio.sleep(SETTLE_S)

    async def until(self, look: Callable[[], Awaitable[Any]], deadline_s: float = DEADLINE_S) -> Any:
        began = self._clock.time()
        for _ in range(int(deadline_s / STEP_S + 2 * deadline_s)):
            if found := await look():
                return found
            if self._clock.time() - began < deadline_s:
                await self._let_calls_end()
                await self._clock.advance(STEP_S)
                await asyncio.sleep(LOOK_S)
            else:
                await asyncio.sleep(PATIENCE_S)
        raise AssertionError("it did not come")

    async def _let_calls_end(self) -> None:
        """Give calls to drivers real time before the kubelet's goes on, as long as there is some left for it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        with contextlib.suppress(TimeoutError):
            await self._node.kubelet.wait_for(lambda: not self._is_calling(), timeout=max(0.0, self._grace_s))
        self._grace_s -= loop.time() - began

    def _is_calling(self) -> bool:
        return any(call.is_open and call.method != "NodeWatchResources" for call in self._node.kubelet.calls)


@contextlib.asynccontextmanager
async def fake_node(root: Path, release: str, namespace: str, tag: str) -> AsyncIterator[FakeNode]:
    """Run one."""
    clock = ManualClock()
    async with DraCluster(["kind-worker"], release=release, clock=clock) as cluster:
        (root / "plugins").mkdir()
        api = await Api.at(Access(cluster.api.url), namespace, tag)
        try:
            yield FakeNode(cluster, clock, api, root, release)
        finally:
            await api.close()
