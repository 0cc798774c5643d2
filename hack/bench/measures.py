"""The measures. Each returns samples in milliseconds (or what its name says), of one subject, once."""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from hack.bench import kubelet, subject
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import constants

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hack.bench.subject import Stage


ANSWER_S: Final = 10.0
"""How long a plugin may take for something that others do by events; beyond it, it is taken not to do it at all."""


class NotMeasuredError(Exception):
    """The plugin does not do what is measured; the text says how that showed."""


@dataclass(frozen=True, slots=True)
class Served:
    """A plugin that is registered and has sent its devices."""

    process: subprocess.Popen[bytes]
    peer: kubelet.Peer
    registered_ms: float
    """From exec to its Register call."""
    listed_ms: float
    """From exec to the list with all its devices."""
    message: bytes
    """That list."""

    @property
    def devices(self) -> list[str]:
        """Return the IDs of its healthy devices, whatever it calls them."""
        listed = pluginapi.ListAndWatchResponse.FromString(self.message).devices
        return [device.ID for device in listed if device.health == constants.HEALTHY]


@contextlib.contextmanager
def served(command: str, one: Stage) -> Iterator[Served]:
    """Start a plugin under a kubelet; NotMeasuredError if it does not register or lists too few."""
    with kubelet.BenchKubelet(one.plugin_dir) as registry:
        began = subject.now()
        with subject.running(command, one) as process:
            try:
                at, peer = registry.next_peer(timeout=6 * ANSWER_S)
            except queue.Empty:
                raise NotMeasuredError(f"no Register within {6 * ANSWER_S:g} s: {one.last_words()}") from None
            count = -1
            while count < one.count:  # a plugin may list what it finds little by little
                try:
                    first, message = peer.next_list(timeout=6 * ANSWER_S if count < 0 else ANSWER_S)
                except queue.Empty:
                    raise NotMeasuredError(f"{max(count, 0)} of {one.count} devices listed") from None
                count = len(pluginapi.ListAndWatchResponse.FromString(message).devices)
            yield Served(process, peer, (at - began) * 1e3, (first - began) * 1e3, message)


def cold_start(command: str, count: int) -> tuple[float, float]:
    """From exec to the Register call and to the first whole list."""
    with subject.stage(count) as one, served(command, one) as plugin:
        return plugin.registered_ms, plugin.listed_ms


def import_grpc() -> float:
    """From exec to exit of an interpreter that imports grpc: the floor of any start on this stack."""
    began = subject.now()
    subprocess.run([sys.executable, "-c", "import grpc"], check=True)
    return (subject.now() - began) * 1e3


def floor_read(one: Stage) -> float:
    """From exec to exit of a bare loop with the system calls of a first reading: the floor of a first list."""
    began = subject.now()
    subprocess.run([sys.executable, "-m", "hack.bench.floors", "read", str(one.root)], check=True)
    return (subject.now() - began) * 1e3


def _request(device_id: str) -> bytes:
    container = pluginapi.ContainerAllocateRequest(devices_ids=[device_id])
    return pluginapi.AllocateRequest(container_requests=[container]).SerializeToString()


def _time_calls(call: grpc.UnaryUnaryMultiCallable, request: bytes, calls: int) -> list[float]:
    for _ in range(50):
        call(request)
    samples = []
    for _ in range(calls):
        began = subject.now()
        call(request)
        samples.append((subject.now() - began) * 1e3)
    return samples


def _throughput(call: grpc.UnaryUnaryMultiCallable, request: bytes, calls: int) -> float:
    """Return calls a second of 16 callers at a time."""
    with futures.ThreadPoolExecutor(16) as pool:
        began = subject.now()
        list(pool.map(lambda _: call(request), range(calls)))
        return calls / (subject.now() - began)


def allocate(plugin: Served, calls: int) -> tuple[list[float], float]:
    """One device, one call after the other; then calls a second of 16 at a time."""
    if not plugin.devices:
        raise NotMeasuredError("it lists no healthy device")
    try:
        return allocate_at(str(plugin.peer.socket_path), calls, plugin.devices[0])
    except grpc.RpcError as error:
        raise NotMeasuredError(f"Allocate of {plugin.devices[0]}: {error}") from None


def allocate_at(path: str, calls: int, device_id: str) -> tuple[list[float], float]:
    """The same of whatever serves at the socket `path`."""
    # A channel of its own: one that carries a stream as well makes this client slower, and the floor has no stream.
    with grpc.insecure_channel(f"unix:{path}", options=kubelet.OPTIONS) as channel:
        call = channel.unary_unary("/v1beta1.DevicePlugin/Allocate")
        request = _request(device_id)
        return _time_calls(call, request, calls), _throughput(call, request, calls)


@contextlib.contextmanager
def floor(kind: str, one: Stage, *arguments: str) -> Iterator[str]:
    """Run one of the floors; yields its socket."""
    path = str(one.base / f"{kind}.sock")
    process = subprocess.Popen(
        [sys.executable, "-m", "hack.bench.floors", kind, path, *arguments], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield path
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def floor_allocate(one: Stage, calls: int) -> tuple[list[float], float]:
    """The same against a bare grpc.aio handler that returns a constant."""
    with floor("bare", one) as path:
        return allocate_at(path, calls, "n-dev1-1")


def floor_echo(one: Stage, rounds: int) -> list[float]:
    """64 bytes there and back over a Unix socket."""
    samples = []
    with floor("echo", one) as path, socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        for _ in range(rounds):
            began = subject.now()
            client.sendall(b"x" * 64)
            client.recv(64)
            samples.append((subject.now() - began) * 1e3)
    return samples


def floor_hop(one: Stage, changes: int, payload: int) -> list[float]:
    """Health write to bytes received, with nothing but inotify and a socket between."""
    directories = [str(one.health(number).parent) for number in range(1, min(one.count, 8) + 1)]
    arrivals: queue.SimpleQueue[float] = queue.SimpleQueue()
    with floor("hop", one, str(payload), *directories) as path, socket.socket(socket.AF_UNIX) as client:
        client.connect(path)

        def receive() -> None:
            with contextlib.suppress(OSError):
                while True:
                    left = payload
                    while left:
                        data = client.recv(min(left, 1 << 20))
                        if not data:
                            return
                        left -= len(data)
                    arrivals.put(subject.now())

        threading.Thread(target=receive, daemon=True).start()
        return [_flip(one, change, arrivals) for change in range(changes)]


def _flip(one: Stage, change: int, arrivals: queue.SimpleQueue[float]) -> float:
    word = b"unhealthy\n" if change % 2 == 0 else b"healthy\n"
    path = one.health(change // 2 % min(one.count, 8) + 1)
    time.sleep(0.01)  # one change at a time: what is measured is latency, not coalescing
    began = subject.now()
    path.write_bytes(word)
    try:
        return (arrivals.get(timeout=ANSWER_S) - began) * 1e3
    except queue.Empty:
        raise NotMeasuredError(f"no list within {ANSWER_S:g} s of a health write") from None


def health_latency(peer: kubelet.Peer, one: Stage, changes: int) -> list[float]:
    """From before a health file is written to its list received, one change at a time."""
    arrivals: queue.SimpleQueue[float] = queue.SimpleQueue()
    stop = threading.Event()

    def forward() -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Empty):
                arrivals.put(peer.next_list(timeout=0.5)[0])

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        return [_flip(one, change, arrivals) for change in range(changes)]
    finally:
        stop.set()
        thread.join()


def flips_at_once(peer: kubelet.Peer, one: Stage) -> dict[str, float]:
    """All devices written one after the other as fast as it goes: from the last write to the list that has them all."""
    for number in range(1, one.count + 1):
        one.health(number).write_bytes(b"unhealthy\n")
    last = subject.now()
    lists = 0
    while True:
        at, message = peer.next_list(timeout=30)
        lists += 1
        if b"\x12\x07Healthy" not in message:
            return {"converged": max(0.0, (at - last) * 1e3), "lists": float(lists)}


def recovery(command: str, tries: int) -> list[float]:
    """Kubelet gone, its directory cleaned, a new one there: to its first list."""
    samples = []
    with subject.stage(8) as one:
        first = kubelet.BenchKubelet(one.plugin_dir)
        with first, subject.running(command, one):
            first.next_peer()[1].next_list()
            first.__exit__()
            deadline = subject.now() + 6 * ANSWER_S  # for those that poll: fewer tries, not a longer run
            while len(samples) < tries and subject.now() < deadline:
                with kubelet.gone_and_back(one.plugin_dir) as registry:
                    began = subject.now()
                    try:
                        samples.append((registry.next_peer(3 * ANSWER_S)[1].next_list(ANSWER_S)[0] - began) * 1e3)
                    except queue.Empty:
                        raise NotMeasuredError(f"not back {4 * ANSWER_S:g} s after the kubelet") from None
    return samples


def warm_list(peer: kubelet.Peer, rounds: int) -> list[float]:
    """A second stream on a running plugin: to its first message."""
    watch = peer.channel.unary_stream("/v1beta1.DevicePlugin/ListAndWatch")
    samples = []
    for _ in range(rounds):
        began = subject.now()
        call = watch(b"")
        next(call)
        samples.append((subject.now() - began) * 1e3)
        call.cancel()
    return samples


def idle(pid: int, seconds: float) -> dict[str, float]:
    """CPU and time slices while nothing happens."""
    time.sleep(1)
    cpu, slices = subject.cpu_and_slices(pid)
    time.sleep(seconds)
    cpu_after, slices_after = subject.cpu_and_slices(pid)
    return {"cpu_ms": cpu_after - cpu, "slices": float(slices_after - slices)}


def build(count: int, base: Path) -> float:
    """`fakehw build` of a fresh tree."""
    spec = base / "spec.yaml"
    spec.write_text(f"nodes: {{n: {{classes: {{dev1: {{count: {count}}}}}}}}}\n")
    began = subject.now()
    command = [sys.executable, "-m", "fakehw", "build", "--spec", str(spec), "--root", str(base / f"b{count}")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (subject.now() - began) * 1e3
