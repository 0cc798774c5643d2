"""The kubelet's side of the benchmark: as little of a kubelet as a measurement needs, in bytes.

Synchronous on purpose: a blocking client answers sooner than an event loop, and it stands still while the plugin works.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTIONS = (
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)


class Peer:
    """One registered plugin: its channel and what its stream has brought."""

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path
        self.channel = grpc.insecure_channel(f"unix:{socket_path}", options=OPTIONS)
        self.lists: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        self._options = self.channel.unary_unary("/v1beta1.DevicePlugin/GetDevicePluginOptions")
        self._watch = self.channel.unary_stream("/v1beta1.DevicePlugin/ListAndWatch")
        self._call: Any = None

    def connect(self) -> None:
        """Do what the kubelet does inside Register (contract REG-5)."""
        self._options(b"", wait_for_ready=True, timeout=10)

    def follow(self) -> None:
        """Open ListAndWatch and note every message with its time."""
        self._call = self._watch(b"")
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for message in self._call:
                self.lists.put((time.perf_counter(), message))

    def next_list(self, timeout: float = 60.0) -> tuple[float, bytes]:
        """Return the next message and when it came."""
        return self.lists.get(timeout=timeout)

    def close(self) -> None:
        """Hang up."""
        if self._call is not None:
            self._call.cancel()
        self.channel.close()


class BenchKubelet:
    """A registry on `plugin_dir`/kubelet.sock while it is entered; `registered` yields (time, peer)."""

    def __init__(self, plugin_dir: Path) -> None:
        self._plugin_dir = plugin_dir
        self.registered: queue.SimpleQueue[tuple[float, Peer]] = queue.SimpleQueue()
        self.peers: list[Peer] = []

    def __enter__(self) -> BenchKubelet:
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=(("grpc.so_reuseport", 0),))
        handler = grpc.unary_unary_rpc_method_handler(self._register)
        handlers = grpc.method_handlers_generic_handler("v1beta1.Registration", {"Register": handler})
        self._server.add_generic_rpc_handlers((handlers,))
        self._server.add_insecure_port(f"unix:{self._plugin_dir / 'kubelet.sock'}")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self.peers:
            peer.close()
        self._server.stop(None).wait()

    def _register(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        at = time.perf_counter()
        peer = Peer(self._plugin_dir / pluginapi.RegisterRequest.FromString(request).endpoint)
        peer.connect()
        peer.follow()
        self.peers.append(peer)
        self.registered.put((at, peer))
        return b""

    def next_peer(self, timeout: float = 60.0) -> tuple[float, Peer]:
        """Return the next plugin that registers and when its call came."""
        return self.registered.get(timeout=timeout)


@contextlib.contextmanager
def gone_and_back(plugin_dir: Path) -> Iterator[BenchKubelet]:
    """A kubelet that starts: it removes all sockets in the directory, then listens (contract REG-1, REG-2)."""
    for path in plugin_dir.iterdir():
        if path.is_socket():
            path.unlink(missing_ok=True)  # a plugin that saw the stream end removes its own
    with BenchKubelet(plugin_dir) as kubelet:
        yield kubelet
