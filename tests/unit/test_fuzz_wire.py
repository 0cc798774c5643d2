"""Any bytes from the kubelet's side or from the network get an answer or a refusal, never an error of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from fakehw_plugin import web
from fakehw_plugin.device import Health
from fakehw_plugin.deviceplugin import device_list, servicer
from fakehw_plugin.devices import telemetry
from fakehw_plugin.devices.inventory import Inventory
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.factories import make_device, make_tree


class Refused(Exception):  # noqa: N818  # an answer, not an error of the test
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code


class Context:
    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise Refused(code, details)


IDS = st.lists(
    st.sampled_from(["node2-dev3-1", "node2-dev3-2", "node2-dev3-3", "../../etc", "", "node2-dev3-1/.."]) | st.text(max_size=8),
    max_size=5,
)  # fmt: skip


def ask(root: Path, method: str, request: bytes) -> bytes:
    devices_listed = device_list.DeviceList()
    inventory = Inventory("myplugin.io/mydevice-3", devices_listed)
    devices = [make_device(1), make_device(2, health=Health.UNHEALTHY), make_device(3, numa_node=1)]
    inventory.apply({device.id: device for device in devices})
    given_out: list[Iterable[str]] = []
    one = servicer.DevicePluginServicer(
        inventory,
        devices_listed,
        root=str(root),
        host_root="/host",
        pre_start_required=True,
        telemetry=telemetry.Telemetry(),
        log=structlog.get_logger(),
        on_streams=lambda: None,
        on_allocated=given_out.append,
    )
    answer: bytes = asyncio.run(getattr(one, method)(request, Context()))
    return answer


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory()
    )
    return make_tree(tmp_path_factory.mktemp("tree"), "node2/dev3/1", "node2/dev3/2", "node2/dev3/3")


METHODS = st.sampled_from(["allocate", "get_preferred_allocation", "pre_start_container"])


@given(method=METHODS, request_=st.binary(max_size=120))
def test_any_bytes_are_answered_or_refused(method: str, request_: bytes, root: Path) -> None:
    try:
        ask(root, method, request_)
    except Refused as refused:
        assert refused.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)


@given(containers=st.lists(IDS, max_size=3))
def test_allocate_names_nothing_but_directories_of_its_own_devices(containers: list[list[str]], root: Path) -> None:
    request = pluginapi.AllocateRequest(
        container_requests=[pluginapi.ContainerAllocateRequest(devices_ids=ids) for ids in containers]
    )
    good = {"node2-dev3-1", "node2-dev3-3"}
    try:
        answer = pluginapi.AllocateResponse.FromString(ask(root, "allocate", request.SerializeToString()))
    except Refused:
        assert not all(device_id in good for ids in containers for device_id in ids)
        return
    assert len(answer.container_responses) == len(containers)
    for container in answer.container_responses:
        for mount in container.mounts:
            assert mount.host_path in ("/host/node2/dev3/1", "/host/node2/dev3/3")
            assert mount.read_only


@given(available=IDS, must=IDS, size=st.integers(-(1 << 31), (1 << 31) - 1))
def test_a_preference_is_of_known_devices_and_never_an_error(
    available: list[str], must: list[str], size: int, root: Path
) -> None:
    request = pluginapi.PreferredAllocationRequest(
        container_requests=[
            pluginapi.ContainerPreferredAllocationRequest(
                available_deviceIDs=available, must_include_deviceIDs=must, allocation_size=size
            )
        ]
    )
    raw = ask(root, "get_preferred_allocation", request.SerializeToString())
    (chosen,) = pluginapi.PreferredAllocationResponse.FromString(raw).container_responses
    assert set(chosen.deviceIDs) <= {*available, *must} & {f"node2-dev3-{number}" for number in (1, 2, 3)}


async def answer(request: bytes) -> Any:
    reader = asyncio.StreamReader(limit=web.MAX_REQUEST_BYTES)
    reader.feed_data(request)
    reader.feed_eof()
    server = web.WebServer(("127.0.0.1", 0), {"/healthz": lambda: web.Answer(200, b"ok\n")})
    return await server._answer(reader)


HTTP = st.lists(
    st.sampled_from([b"GET", b"HEAD", b" ", b"/healthz", b"/", b"HTTP/1.1", b"\r\n", b"\r\n\r\n", b"?", b"\xff", b"\x00"])
    | st.binary(max_size=10),
    max_size=12,
).map(b"".join)  # fmt: skip


@given(request_=HTTP | HTTP.map(lambda raw: raw + b"\r\n\r\n") | st.just(b"x" * 9000))
def test_any_http_request_gets_one_of_our_answers(request_: bytes) -> None:
    try:
        given_, _ = asyncio.run(answer(request_))
    except asyncio.IncompleteReadError:
        assert b"\r\n\r\n" not in request_[: web.MAX_REQUEST_BYTES]
    else:
        assert given_.status in (200, 400, 404, 405, 431)
        assert given_.status != 200 or b"/healthz" in request_
