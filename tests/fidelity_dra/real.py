"""A node of the cluster in KUBECONFIG, whose kubelet's directories this process can reach: run it on the node, as root."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from kubeapi import kubeconfig
from tests.fidelity_dra.api import Api
from tests.fidelity_dra.driver import Places
from tests.fidelity_dra.node import DEADLINE_S, Node, Object

# make hands on what is not set as empty.
NODE = os.environ.get("NODE") or "kind-worker"
KUBELET_DIR = Path(os.environ.get("KUBELET_DIR") or "/var/lib/kubelet")
"""Where the kubelet's own /var/lib/kubelet is for this process."""
CDI_DIR = Path(os.environ.get("CDI_DIR") or "/var/run/cdi")
KUBELET_RESTART = os.environ.get("KUBELET_RESTART", "")
IMAGE = os.environ.get("POD_IMAGE") or "busybox:1.36"
LOOK_S = 0.2


class RealNode(Node):
    """It is driven and seen through the API server, and its drivers are in its own directories."""

    name = NODE
    image = IMAGE

    def __init__(self, api: Api, version: str) -> None:
        self.release = ".".join(version.removeprefix("v").split(".")[:2])
        self.api = api
        as_it_has_it = Path("/var/lib/kubelet/plugins")
        self.places = Places(KUBELET_DIR / "plugins_registry", KUBELET_DIR / "plugins", as_it_has_it, CDI_DIR)
        self.checkpoint = KUBELET_DIR / "dra_manager_state"

    async def messages(self, pod: Object) -> list[str]:
        selector = f"involvedObject.uid={pod['metadata']['uid']}"
        _, listed = await self.api.ask("GET", f"/api/v1/namespaces/{self.api.namespace}/events", fieldSelector=selector)
        events = sorted(listed["items"], key=lambda event: event.get("eventTime") or event.get("firstTimestamp") or "")
        return [event["message"] for event in events]

    async def logs(self, pod: Object) -> str:
        code, text = await self.api.ask("GET", f"{self.api.pods}/{pod['metadata']['name']}/log")
        return str(text) if code == 200 else ""

    async def health(self, pod: Object) -> list[Object]:
        now = await self.now(pod)
        assert now is not None
        (status,) = now["status"].get("containerStatuses") or [{}]
        found: list[Object] = status.get("allocatedResourcesStatus") or []
        return found

    @contextlib.asynccontextmanager
    async def dead(self) -> AsyncIterator[None]:
        socket = KUBELET_DIR / "device-plugins" / "kubelet.sock"
        before = _identity(socket)
        process = await asyncio.create_subprocess_shell(KUBELET_RESTART.replace("{node}", NODE))
        await self.until(lambda: _answer(not _listens(socket)), 30)
        yield
        assert await process.wait() == 0
        await self.until(lambda: _answer(_identity(socket) not in (None, before)))

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def until(self, look: Callable[[], Awaitable[Any]], deadline_s: float = DEADLINE_S) -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not (found := await look()):
            assert loop.time() - began < deadline_s, "it did not come"
            await asyncio.sleep(LOOK_S)
        return found


async def _answer(value: bool) -> bool:
    return value


def _identity(socket: Path) -> tuple[int, int] | None:
    try:
        status = socket.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _listens(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextlib.asynccontextmanager
async def real_node(namespace: str, tag: str) -> AsyncIterator[RealNode]:
    """Give the node; what the test has made goes afterwards."""
    api = await Api.at(kubeconfig.find(), namespace, tag)
    try:
        await api.make_namespace()
        _, shown = await api.ask("GET", f"/api/v1/nodes/{NODE}")
        for _ in range(100):  # a namespace that has just been made has no account yet, and takes no pods
            code, _ = await api.ask("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
            if code == 200:
                break
            await asyncio.sleep(0.1)
        yield RealNode(api, shown["status"]["nodeInfo"]["kubeletVersion"])
    finally:
        await api.close()
