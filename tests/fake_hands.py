"""A cluster of a few lines for tests of kubectl fakehw: Node objects, pods, and exec into hands that serve real trees.

Each node has a tree of its own below one folder. Its Node object and its plugin's metrics follow the tree when `settle`
is called, or by themselves, as a kubelet's and a plugin's do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from fakehw import FakeTree
from fakehw.hand import requests, session
from fakehw.spec import check
from fakehw.view import listing
from kubeapi.access import Access

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

RESOURCE = "example.com/gpu"
LABEL = "app.kubernetes.io/name"


@dataclass
class FakeCluster:
    folder: Path
    nodes: dict[str, FakeTree]
    url: str = ""
    down: set[str] = field(default_factory=set)
    """Nodes whose kubelet answers no exec."""
    stuck: set[str] = field(default_factory=set)
    """Nodes whose Node object changes no more."""
    without_hand: set[str] = field(default_factory=set)
    protocol: str = "v5.channel.k8s.io"
    execs: int = 0
    most_execs: int = 0
    made: list[dict[str, Any]] = field(default_factory=list)
    _version: int = 1
    _told: dict[str, dict[str, str]] = field(default_factory=dict)
    _watchers: list[asyncio.Queue[dict[str, Any] | None]] = field(default_factory=list)

    @property
    def access(self) -> Access:
        return Access(self.url)

    def health(self, node: str, path: str) -> str:
        return self.nodes[node].root.joinpath(*path.split("/"), "health").read_text().strip()

    # What the API server says.

    def allocatable(self, node: str) -> dict[str, str]:
        counts: Counter[str] = Counter()
        for row in listing.rows(self.nodes[node].read()):
            if row.resource:
                counts[row.resource] += row.health == "healthy"
        return {name: str(count) for name, count in counts.items()}

    def node_object(self, name: str) -> dict[str, Any]:
        ready = "Unknown" if name in self.down else "True"
        reason = "NodeStatusUnknown" if name in self.down else "KubeletReady"
        return {
            "metadata": {"name": name, "resourceVersion": str(self._version), "labels": {"zone": name[-1]}},
            "status": {
                "allocatable": {"cpu": "8", **self._told.setdefault(name, self.allocatable(name))},
                "conditions": [{"type": "Ready", "status": ready, "reason": reason}],
            },
        }

    def pods(self) -> list[dict[str, Any]]:
        found = []
        for node in self.nodes:
            for name in ("fakehw-plugin", "fakehw-hand"):
                if name == "fakehw-hand" and node in self.without_hand:
                    continue
                metadata = {"name": f"{name}-{node}", "namespace": "fakehw", "labels": {LABEL: name}}
                found.append({"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": "Running"}})
        return found

    async def follow(self) -> None:
        """Tell of changed trees, as kubelets do, only sooner."""
        while True:
            for name in self.nodes:
                if name not in self.stuck and self.allocatable(name) != self._told.get(name):
                    self._told[name] = self.allocatable(name)
                    self._version += 1
                    for watcher in self._watchers:
                        watcher.put_nowait({"type": "MODIFIED", "object": self.node_object(name)})
            await asyncio.sleep(0.01)

    async def close(self, _: web.Application) -> None:
        """End the watches, which nobody else ends."""
        for watcher in self._watchers:
            watcher.put_nowait(None)

    # How it says it.

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/api/v1/nodes":
            selector = request.query.get("labelSelector", "")
            names = [name for name in self.nodes if not selector or selector == f"zone={name[-1]}"]
            if request.query.get("watch"):
                return await self._watch(request, names)
            items = [self.node_object(name) for name in names]
            return web.json_response({"items": items, "metadata": {"resourceVersion": str(self._version)}})
        if path == "/api/v1/namespaces/fakehw/pods":
            return web.json_response({"items": self.pods(), "metadata": {"resourceVersion": "1"}})
        if path == "/api/v1/pods":
            return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})
        if path.endswith("/proxy/metrics"):
            node = path.split("/")[-3].partition(":")[0].removeprefix("fakehw-plugin-")
            lines = [
                f'fakehw_devices{{fake_node="n",health="Healthy",resource="{name}"}} {count}.0'
                for name, count in self.allocatable(node).items()
            ]
            return web.Response(text="\n".join(lines) + "\n")
        if path.endswith("/exec"):
            return await self._exec(request, path.split("/")[-2].removeprefix("fakehw-hand-"))
        status = {"kind": "Status", "code": 404, "reason": "NotFound", "message": f"{path} is not here"}
        return web.json_response(status, status=404)

    async def _watch(self, request: web.Request, names: list[str]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        if request.query.get("sendInitialEvents"):
            for name in names:
                queue.put_nowait({"type": "ADDED", "object": self.node_object(name)})
            annotations = {"k8s.io/initial-events-end": "true"}
            end = {"metadata": {"resourceVersion": str(self._version), "annotations": annotations}}
            queue.put_nowait({"type": "BOOKMARK", "object": end})
        self._watchers.append(queue)
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._watchers.remove(queue)
        return response

    async def _exec(self, request: web.Request, node: str) -> web.StreamResponse:
        if node in self.down:
            message = f"error dialing backend: dial tcp {node}:10250: connect: no route to host"
            return web.json_response({"kind": "Status", "code": 500, "message": message}, status=500)
        if "*/*" not in request.headers.get("Accept", "*/*"):  # as the real one, which answers no JSON here
            return web.Response(status=406)
        socket = web.WebSocketResponse(protocols=[self.protocol])
        await socket.prepare(request)
        self.execs += 1
        self.most_execs = max(self.most_execs, self.execs)
        reader = asyncio.StreamReader(limit=session.MAX_REQUEST)
        said: asyncio.Queue[bytes | None] = asyncio.Queue()

        def answer(what: Mapping[str, Any]) -> None:
            said.put_nowait(json.dumps(what).encode() + b"\n")

        async def work() -> None:
            answer(requests.greeting("test"))
            await session.serve(self.nodes[node].root, reader, answer)
            said.put_nowait(None)

        async def carry() -> None:
            while (chunk := await said.get()) is not None:
                with contextlib.suppress(ConnectionError):
                    await socket.send_bytes(b"\x01" + chunk)
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(b"\x03" + json.dumps({"status": "Success"}).encode())
                await socket.close()

        tasks = [asyncio.create_task(work()), asyncio.create_task(carry())]
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY and message.data[0] == 0:
                    reader.feed_data(message.data[1:])
                elif message.type is WSMsgType.BINARY and message.data[0] == 255:
                    reader.feed_eof()
        finally:
            self.execs -= 1
            reader.feed_eof()
            await asyncio.gather(*tasks)
        return socket


@contextlib.asynccontextmanager
async def cluster(folder: Path, *, nodes: int, devices: int = 2) -> AsyncIterator[FakeCluster]:
    """Serve a cluster whose nodes have `devices` of one class each: `any/gpu/1` and so on, which belong to any host."""
    classes = {"gpu": {"count": devices, "resource": RESOURCE}}
    trees = {}
    for number in range(1, nodes + 1):
        trees[f"worker-{number}"] = tree = FakeTree(folder / f"worker-{number}")
        tree.build(check.make_topology({"nodes": {"any": {"classes": classes}}}))
    made = FakeCluster(folder, trees)
    application = web.Application(client_max_size=2**26)
    application.on_shutdown.append(made.close)
    application.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}"
    following = asyncio.create_task(made.follow())
    try:
        yield made
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await runner.cleanup()
