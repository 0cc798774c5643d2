"""The plugin as a DRA driver, with an API server in a process of its own; each measure beside what it cannot beat.

A flip and the bare PUT end at the same place: where a watch of the same server tells of the write. `serve` is that
process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from hack.bench import kubelet, subject
from kubeapi.client import Client
from kubeapi.follow import Follow
from kubeapi.resources import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hack.bench.report import Report
    from hack.bench.subject import Stage
    from kubeapi.follow import Event

NODE: Final = "bench"
DRIVER: Final = "bench.example"
COMMAND: Final = (
    f"{sys.executable} -m fakehw_plugin --root {{root}} --plugin-dir {{plugin_dir}} --pod-resources '' --api dra"
    f" --host {NODE} --domain {DRIVER} --kubeconfig {{base}}/kc --registry-dir {{base}}/r --state-dir {{base}}/s"
    " --cdi-dir {base}/c"
)
WAIT_S: Final = 30.0


def serve() -> None:
    """Run the fake API server until standard input ends; print its kubeconfig on one line."""
    from fakekubelet.apiserver.server import ApiServer

    async def run() -> None:
        async with ApiServer() as api:
            api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
            print(json.dumps(json.loads(api.kubeconfig())), flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(run())


@dataclass
class Bench:
    """A driver that is published, and a client of the server it is published at."""

    client: Client
    stage: Stage
    socket_path: Path
    pid: int
    events: asyncio.Queue[tuple[float, Event]]

    def drain(self) -> None:
        """Forget what was told so far."""
        while not self.events.empty():
            self.events.get_nowait()

    async def told(self) -> float:
        """Return when the watch tells of the next write."""
        async with asyncio.timeout(WAIT_S):
            return (await self.events.get())[0]

    def slices(self) -> list[dict[str, Any]]:
        """Return the slices as the watch has them; set by `running`."""
        raise NotImplementedError


def _served() -> subprocess.Popen[bytes]:
    code = "from hack.bench import dra; dra.serve()"
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextlib.asynccontextmanager
async def running(one: Stage) -> AsyncIterator[Bench]:
    """Start the server and the driver, and wait until all is published."""
    from kubeapi import kubeconfig

    for name in "rsc":
        (one.base / name).mkdir(exist_ok=True)
    server = _served()
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        (one.base / "kc").write_bytes(server.stdout.readline())
        events: asyncio.Queue[tuple[float, Event]] = asyncio.Queue()
        access = kubeconfig.find(str(one.base / "kc"))
        command = COMMAND.replace("{base}", str(one.base))
        async with Client(access) as client:
            follow = Follow(client, RESOURCE_SLICES, on_event=lambda event: events.put_nowait((subject.now(), event)))
            following = asyncio.create_task(follow.run())
            with subject.running(command, one) as process:
                bench = Bench(client, one, Path(), process.pid, events)
                try:
                    await _until(
                        lambda: sum(len(found["spec"]["devices"]) for found in follow.objects.values()) >= one.count
                    )
                    bench.socket_path = await _until(lambda: next((one.base / "r").glob("*.sock"), None))
                    bench.slices = lambda: list(follow.objects.values())  # type: ignore[method-assign]
                    yield bench
                finally:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
    finally:
        server.stdin.close()
        server.stdout.close()
        server.terminate()
        server.wait()


async def _until(look: Callable[[], Any]) -> Any:
    """Return the first true answer of `look`, which nothing tells of."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if answer := look():
                return answer
            await asyncio.sleep(0.01)


async def flips_and_puts(bench: Bench, changes: int) -> tuple[list[float], list[float]]:
    """In turns: a health file is written, and a bare PUT of the same slice; each to the watch telling of the slice.

    The driver is not to see what is put: it is another driver's slice.
    """
    (found, *_) = sorted(bench.slices(), key=lambda one: str(one["metadata"]["name"]))
    spec = {**found["spec"], "driver": "other.example"}
    stored = await bench.client.create(RESOURCE_SLICES, {"metadata": {"name": "bare"}, "spec": spec})
    ours, floor = [], []
    for change in range(changes):
        path = bench.stage.health(change // 2 % min(bench.stage.count, 8) + 1)
        await asyncio.sleep(0.01)  # one change at a time
        bench.drain()
        began = subject.now()
        path.write_bytes(b"unhealthy\n" if change % 2 == 0 else b"healthy\n")
        ours.append((await bench.told() - began) * 1e3)
        devices = [{**device} for device in spec["devices"]]
        devices[0]["attributes"] = {**devices[0]["attributes"], "flip": {"int": change}}
        await asyncio.sleep(0.01)
        bench.drain()
        began = subject.now()
        stored = await bench.client.update(RESOURCE_SLICES, {**stored, "spec": {**spec, "devices": devices}})
        floor.append((await bench.told() - began) * 1e3)
    await bench.client.delete(RESOURCE_SLICES, "bare")
    return ours, floor


async def health(bench: Bench, changes: int) -> tuple[list[float], list[float]]:
    """In turns: from before a health file is written to its message, on the health stream and on ListAndWatch.

    One process serves both: beside the class of the stage a second one of its size, `dp`, by the device plugin API.
    """
    by_dra = [bench.stage.health(number) for number in range(1, min(bench.stage.count, 8) + 1)]
    class_dir = bench.stage.root / "n" / ".dp"
    for number in range(1, bench.stage.count + 1):
        directory = class_dir / str(number)
        directory.mkdir(parents=True)
        (directory / "health").write_text("healthy\n")
    (class_dir / "resource").write_text("bench.example/dp\n")
    (class_dir / "api").write_text("device-plugin\n")
    async with contextlib.AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(_registry(bench.stage.plugin_dir))
        class_dir = class_dir.rename(bench.stage.root / "n" / "dp")
        by_device_plugin = [class_dir / path.parent.name / "health" for path in by_dra]
        sockets = bench.socket_path, bench.stage.plugin_dir / await asyncio.wait_for(endpoint, WAIT_S)
        methods = "/v1.DRAResourceHealth/NodeWatchResources", "/v1beta1.DevicePlugin/ListAndWatch"
        arrivals = [
            await stack.enter_async_context(_arrivals(path, method))
            for path, method in zip(sockets, methods, strict=True)
        ]
        for stream in arrivals:
            await asyncio.wait_for(stream.get(), WAIT_S)
        samples: tuple[list[float], list[float]] = [], []
        for change in range(changes):
            for paths, stream, taken in zip((by_dra, by_device_plugin), arrivals, samples, strict=True):
                await asyncio.sleep(0.01)
                while not stream.empty():
                    stream.get_nowait()  # sent again, as both do at times
                began = subject.now()
                paths[change // 2 % len(paths)].write_bytes(b"unhealthy\n" if change % 2 == 0 else b"healthy\n")
                taken.append((await asyncio.wait_for(stream.get(), WAIT_S) - began) * 1e3)
    return samples


@contextlib.asynccontextmanager
async def _registry(plugin_dir: Path) -> AsyncIterator[asyncio.Future[str]]:
    """Serve the kubelet's registry; gives the endpoint of the first plugin that registers."""
    from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

    endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def register(request: bytes, context: Any) -> bytes:
        if not endpoint.done():
            endpoint.set_result(pluginapi.RegisterRequest.FromString(request).endpoint)
        return b""

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handler = grpc.unary_unary_rpc_method_handler(register)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("v1beta1.Registration", {"Register": handler}),)
    )
    server.add_insecure_port(f"unix:{plugin_dir / 'kubelet.sock'}")
    await server.start()
    try:
        yield endpoint
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def _arrivals(socket_path: Path, method: str) -> AsyncIterator[asyncio.Queue[float]]:
    """Open a stream; gives when its messages came."""
    arrivals: asyncio.Queue[float] = asyncio.Queue()
    async with grpc.aio.insecure_channel(f"unix:{socket_path}", options=kubelet.OPTIONS) as channel:

        async def receive() -> None:
            async for _ in channel.unary_stream(method)(b""):
                arrivals.put_nowait(subject.now())

        receiving = asyncio.create_task(receive())
        try:
            yield arrivals
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)


async def prepare(bench: Bench, calls: int) -> tuple[list[float], list[float]]:
    """One claim prepared, each a new one; and the parts of it: an empty call, a GET of the claim, the two files."""
    from kubeletapi.dra.v1 import api_pb2 as dra

    ours, floor = [], []
    device = bench.slices()[0]["spec"]["devices"][0]["name"]
    async with grpc.aio.insecure_channel(f"unix:{bench.socket_path}", options=kubelet.OPTIONS) as channel:
        call = channel.unary_unary("/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources")
        back = channel.unary_unary("/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodeUnprepareResources")
        for number in range(calls):
            claim = await allocated(bench.client, f"c{number}", device)
            asked = dra.Claim(namespace="default", name=f"c{number}", uid=claim["metadata"]["uid"])
            request = dra.NodePrepareResourcesRequest(claims=[asked]).SerializeToString()
            began = subject.now()
            answer = dra.NodePrepareResourcesResponse.FromString(await call(request))
            ours.append((subject.now() - began) * 1e3)
            assert not answer.claims[asked.uid].error, answer
            state = bench.stage.base / "s" / DRIVER / "claims" / f"{asked.uid}.json"
            (file,) = (bench.stage.base / "c").glob("*.json")
            contents = state.read_bytes(), file.read_bytes()
            await back(dra.NodeUnprepareResourcesRequest(claims=[asked]).SerializeToString())
            began = subject.now()
            await call(b"")
            await bench.client.get(RESOURCE_CLAIMS, f"c{number}", namespace="default")
            for name, content in zip((state, file), contents, strict=True):
                _write(name.with_suffix(".floor"), content)
            floor.append((subject.now() - began) * 1e3)
            for name in (state, file):
                name.with_suffix(".floor").unlink()
            await bench.client.delete(RESOURCE_CLAIMS, f"c{number}", namespace="default")
    return ours, floor


def _write(target: Path, content: bytes) -> None:
    """Write a file as one must that is to be there whole, or not at all, after a power cut."""
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    fd = os.open(target.parent, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


async def allocated(client: Client, name: str, device: str) -> dict[str, Any]:
    """Make a claim to which a device has been given."""
    requests = [{"name": "r", "exactly": {"deviceClassName": "c"}}]
    body = {"metadata": {"name": name, "namespace": "default"}, "spec": {"devices": {"requests": requests}}}
    made = await client.create(RESOURCE_CLAIMS, body, namespace="default")
    results = [{"request": "r", "driver": DRIVER, "pool": NODE, "device": device}]
    status = {"allocation": {"devices": {"results": results}}}
    return await client.update(RESOURCE_CLAIMS, {**made, "status": status}, subresource="status")


async def _measure(result: Report, *, few: bool) -> None:
    for size in (8, 64, 1_000)[: 2 if few else 3]:
        with subject.stage(size) as one:
            async with running(one) as bench:
                await bench.client.get(NODES, NODE)
                result.add(f"DRA: RSS idle, N={size} (MiB)", "fakehw", [subject.rss_kib(bench.pid) / 1024])
                changes = 20 if few else 200
                name = f"DRA: health write to slice accepted, N={size} (ms)"
                before = {found["metadata"]["name"]: found["metadata"]["resourceVersion"] for found in bench.slices()}
                ours, floor = await flips_and_puts(bench, changes)
                result.add(name, "fakehw", ours)
                result.add(name, "floor: bare PUT of the slice", floor)
                written = [
                    found
                    for found in bench.slices()
                    if before.get(found["metadata"]["name"], "") not in ("", found["metadata"]["resourceVersion"])
                ]
                result.add(f"DRA: slices written by flips of 8 devices, N={size}", "fakehw", [float(len(written))])
                ours, floor = await health(bench, changes)
                name = f"DRA: health write to health message, N={size} (ms)"
                result.add(name, "fakehw", ours)
                result.add(name, "ListAndWatch of the same process", floor)
                if size == 8:
                    ours, floor = await prepare(bench, 20 if few else 200)
                    result.add("DRA: prepare one claim (ms)", "fakehw", ours)
                    result.add("DRA: prepare one claim (ms)", "floor: empty call, GET, two files", floor)


def measure(result: Report, *, few: bool) -> None:
    """Measure once."""
    asyncio.run(_measure(result, few=few))
