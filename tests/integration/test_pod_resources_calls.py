"""Calls to a kubelet's PodResources socket, wherever it lies and whatever it is called, and what is said where nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from fakehw.view import pod_resources
from fakehw.view.pod_resources import UnknownError
from kubeletapi.podresources.v1 import api_pb2
from tests.open_files import open_below
from tests.running import soon


class Kubelet(grpc.GenericRpcHandler):
    """Answers every call with the same bytes, or never; remembers what was asked."""

    def __init__(self, answer: bytes | None) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self._answer = answer

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def call(request: bytes, _: object) -> bytes:
            self.asked.append((details.method, request))
            if self._answer is None:
                await asyncio.Event().wait()
                raise AssertionError
            return self._answer

        return grpc.unary_unary_rpc_method_handler(call)


@contextlib.asynccontextmanager
async def kubelet(directory: Path, answer: bytes | None) -> AsyncIterator[Kubelet]:
    """Run a kubelet whose socket is `directory`/real.sock."""
    server, handler = grpc.aio.server(options=[("grpc.max_send_message_length", -1)]), Kubelet(answer)
    server.add_generic_rpc_handlers([handler])
    server.add_insecure_port(f"unix:{directory}/real.sock")
    await server.start()
    try:
        yield handler
    finally:
        await server.stop(None)


ANSWER = api_pb2.AllocatableResourcesResponse(devices=[api_pb2.ContainerDevices(device_ids=["a"])]).SerializeToString()


@pytest.mark.parametrize("name", ["plain.sock", "a b.sock", "a#b?c%2F.sock", "a,b.sock", "a,b,127.0.0.1:1", "ü.sock"])
async def test_a_socket_may_have_any_name(short_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    async with kubelet(short_dir, ANSWER) as asked:
        (short_dir / "real.sock").rename(short_dir / name)
        assert await pod_resources.allocatable(short_dir / name) == {"a"}
        assert open_below(short_dir / name) == []
        monkeypatch.chdir(short_dir)
        assert await pod_resources.allocatable(Path(name)) == {"a"}
        assert asked.asked == [("/v1.PodResourcesLister/GetAllocatableResources", b"")] * 2


async def test_an_answer_may_be_of_many_megabytes(short_dir: Path) -> None:
    """The kubelet does not limit what it sends (contract PR-8); gRPC takes 4 MiB where nobody says otherwise."""
    pods = [api_pb2.PodResources(name=f"p{number}", namespace="n" * 1_000_000) for number in range(6)]
    for one in pods:
        one.containers.add(name="c").devices.add(device_ids=[one.name])
    raw = api_pb2.ListPodResourcesResponse(pod_resources=pods).SerializeToString()
    async with kubelet(short_dir, raw) as asked:
        assert len(await pod_resources.holders(short_dir / "real.sock")) == 6
        assert asked.asked == [("/v1.PodResourcesLister/List", b"")]


@pytest.mark.parametrize("name", ["none.sock", "a,b.sock"])
async def test_where_nobody_listens_the_socket_is_named(short_dir: Path, name: str) -> None:
    with pytest.raises(UnknownError) as caught:
        await pod_resources.holders(short_dir / name)
    if "," in name:
        assert str(caught.value) == f"{short_dir}/{name}: No such file or directory"
    else:
        assert str(caught.value).startswith(f"{short_dir}/{name}: UNAVAILABLE: ")


async def test_a_kubelet_that_never_answers_is_not_waited_for_long(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_resources, "TIMEOUT_S", 0.05)
    async with kubelet(short_dir, None), soon("the end of the call"):
        with pytest.raises(UnknownError, match=r"real\.sock: DEADLINE_EXCEEDED: "):
            await pod_resources.holders(short_dir / "real.sock")
