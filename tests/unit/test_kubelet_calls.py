"""The two calls that we make to a kubelet: how they are made, and what becomes of every answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from fakehw_plugin import errors
from fakehw_plugin.deviceplugin import registration
from fakehw_plugin.deviceplugin.pod_resources import PodResources
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.podresources.v1 import api_pb2 as podresources


class Kubelet:
    """Answers what a test wants, and notes how it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, str, bytes, float]] = []
        self.options: Any = None
        self.answer: bytes | Exception = b""
        self.closed = 0
        monkeypatch.setattr(grpc.aio, "insecure_channel", self.channel)

    def channel(self, target: str, *, options: Any) -> Any:
        self.options = options
        kubelet = self

        class Channel:
            async def __aenter__(self) -> Channel:
                return self

            async def __aexit__(self, *_: object) -> None:
                kubelet.closed += 1

            def unary_unary(self, method: str) -> Any:
                async def call(request: bytes, *, timeout: float) -> bytes:
                    kubelet.asked.append((target, method, request, timeout))
                    if isinstance(kubelet.answer, Exception):
                        raise kubelet.answer
                    return kubelet.answer

                return call

        return Channel()


def rpc_error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


@pytest.fixture
def kubelet(monkeypatch: pytest.MonkeyPatch) -> Kubelet:
    return Kubelet(monkeypatch)


async def test_a_registration_is_one_call_of_fifteen_seconds(kubelet: Kubelet) -> None:
    await registration.register(Path("/dp/kubelet.sock"), endpoint="x.sock", resource_name="a.b/c", options=b"\x08\x01")

    ((target, method, request, timeout),) = kubelet.asked
    assert (target, method, timeout) == ("unix:/dp/kubelet.sock", "/v1beta1.Registration/Register", 15.0)
    assert pluginapi.RegisterRequest.FromString(request) == pluginapi.RegisterRequest(
        version="v1beta1",
        endpoint="x.sock",
        resource_name="a.b/c",
        options=pluginapi.DevicePluginOptions(pre_start_required=True),
    )
    assert dict(kubelet.options) == {
        "grpc.default_authority": "localhost",
        "grpc.use_local_subchannel_pool": 1,
        "grpc.enable_http_proxy": 0,
        "grpc.enable_retries": 0,
    }
    assert kubelet.closed == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (rpc_error(grpc.StatusCode.UNKNOWN, "no such version"), "UNKNOWN: no such version"),
        (OSError(24, "Too many open files"), "cannot reach /dp/kubelet.sock: Too many open files"),
    ],
)
async def test_a_registration_fails_with_the_kubelet_s_words(kubelet: Kubelet, answer: Exception, words: str) -> None:
    kubelet.answer = answer
    with pytest.raises(errors.RegistrationError) as caught:
        await registration.register(Path("/dp/kubelet.sock"), endpoint="x", resource_name="a.b/c", options=b"")
    assert str(caught.value) == words
    assert caught.value.__cause__ is answer


@pytest.fixture
def _present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_socket", lambda self: str(self) == "/pr.sock")

    async def at_once(call: Any) -> Any:
        return call()

    monkeypatch.setattr(asyncio, "to_thread", at_once)


@pytest.mark.usefixtures("_present")
async def test_who_holds_what_is_read_of_all_containers_of_all_pods(kubelet: Kubelet) -> None:
    reply = podresources.ListPodResourcesResponse()
    for pod in ("a", "b"):
        found = reply.pod_resources.add(name=pod)
        for number in (1, 2):
            container = found.containers.add(name=f"c{number}")
            container.devices.add(resource_name="a.b/c", device_ids=[f"{pod}-{number}", f"{pod}-x"])
    kubelet.answer = reply.SerializeToString()

    assert await PodResources(Path("/pr.sock")).held() == {
        ("a.b/c", device_id) for device_id in ("a-1", "a-2", "a-x", "b-1", "b-2", "b-x")
    }
    assert kubelet.asked == [("unix:/pr.sock", "/v1.PodResourcesLister/List", b"", 5.0)]


@pytest.mark.usefixtures("_present")
async def test_what_the_kubelet_would_give_out_is_read_too(kubelet: Kubelet) -> None:
    reply = podresources.AllocatableResourcesResponse()
    reply.devices.add(resource_name="a.b/c", device_ids=["1", "2"])
    reply.devices.add(resource_name="a.b/d", device_ids=["1"])
    kubelet.answer = reply.SerializeToString()

    assert await PodResources(Path("/pr.sock")).allocatable() == {("a.b/c", "1"), ("a.b/c", "2"), ("a.b/d", "1")}
    assert kubelet.asked[0][1] == "/v1.PodResourcesLister/GetAllocatableResources"


async def test_without_a_socket_nobody_is_asked_and_nothing_is_known(kubelet: Kubelet) -> None:
    with capture_logs() as lines:
        assert await PodResources(None).held() is None
        assert await PodResources(None).allocatable() is None
    assert (kubelet.asked, lines) == ([], [])


@pytest.mark.usefixtures("_present")
async def test_why_nothing_is_known_is_said_when_it_changes_and_when_it_is_over(kubelet: Kubelet) -> None:
    asked, gone = PodResources(Path("/pr.sock")), PodResources(Path("/gone.sock"))
    with capture_logs() as lines:
        for answer in (
            rpc_error(grpc.StatusCode.UNAVAILABLE, "down"),
            rpc_error(grpc.StatusCode.UNAVAILABLE, "down"),
            OSError(5, "Input/output error"),
            OSError("odd"),
            b"\xff",
            b"",
            b"",
        ):
            kubelet.answer = answer
            found = await asked.held()
            assert found == (set() if answer == b"" else None)
        assert await gone.allocatable() is None

    told = [(line["event"], line["log_level"], line["socket"], line.get("reason")) for line in lines]
    known = "pod_resources_not_known", "warning", "/pr.sock"
    assert told[:3] == [(*known, "UNAVAILABLE: down"), (*known, "Input/output error"), (*known, "odd")]
    assert told[3][3].startswith("the answer is no ListPodResourcesResponse: ")
    assert told[4:] == [
        ("pod_resources_known_again", "info", "/pr.sock", None),
        ("pod_resources_not_known", "warning", "/gone.sock", "there is no socket"),
    ]
