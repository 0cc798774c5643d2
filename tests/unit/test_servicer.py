"""The five calls, asked directly: bounds, repetitions and what is told of them."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import pytest
import structlog
from structlog.testing import capture_logs

from fakehw_plugin import endpoint
from fakehw_plugin.device import Device, Health
from fakehw_plugin.deviceplugin import servicer
from fakehw_plugin.deviceplugin.device_list import DeviceList
from fakehw_plugin.devices import telemetry
from fakehw_plugin.devices.inventory import Inventory
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.factories import make_device, make_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class RefusedError(Exception):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code


class Context:
    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise RefusedError(code, details)


def make_servicer(
    root: Path, devices: Iterable[Device], given: list[Any] | None = None
) -> servicer.DevicePluginServicer:
    listed = DeviceList()
    inventory = Inventory("myplugin.io/mydevice-3", listed)
    inventory.apply({device.id: device for device in devices})
    return servicer.DevicePluginServicer(
        inventory,
        listed,
        root=str(root),
        host_root="/host",
        pre_start_required=False,
        telemetry=telemetry.Telemetry(),
        log=structlog.get_logger(),
        on_streams=lambda: None,
        on_allocated=(given if given is not None else []).append,
    )


def allocate_request(*containers: Iterable[str]) -> bytes:
    requests = [pluginapi.ContainerAllocateRequest(devices_ids=ids) for ids in containers]
    return pluginapi.AllocateRequest(container_requests=requests).SerializeToString()


async def test_a_device_that_is_named_again_and_again_is_given_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree(tmp_path, "node2/dev3/1", "node2/dev3/2")
    given: list[Any] = []
    asked = make_servicer(root, [make_device(1), make_device(2)], given)
    looks = 0
    real = servicer.descent.is_real_device

    def counted(*arguments: Any) -> bool:
        nonlocal looks
        looks += 1
        return real(*arguments)

    monkeypatch.setattr(servicer.descent, "is_real_device", counted)
    raw = await asked.allocate(allocate_request(["node2-dev3-1"] * 10_000 + ["node2-dev3-2"]), Context())  # type: ignore[arg-type]
    (answer,) = pluginapi.AllocateResponse.FromString(raw).container_responses

    assert dict(answer.envs) == {"DEV_3_ID_0": "/node2/dev3/1", "DEV_3_ID_1": "/node2/dev3/2"}
    assert [mount.container_path for mount in answer.mounts] == ["/node2/dev3/1", "/node2/dev3/2"]
    assert given == [("node2-dev3-1", "node2-dev3-2")]
    assert looks == 2


async def test_an_id_of_any_length_is_refused_in_a_short_line(tmp_path: Path) -> None:
    asked = make_servicer(make_tree(tmp_path, "node2/dev3/1"), [make_device(1)])
    with capture_logs() as logs, pytest.raises(RefusedError) as caught:
        await asked.allocate(allocate_request(["x" * 1_000_000]), Context())  # type: ignore[arg-type]

    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(str(caught.value)) < 200
    assert str(caught.value).startswith(f"device '{'x' * 63}'… (1000000 characters) is not a device of")
    assert all(len(str(entry)) < 400 for entry in logs)


async def test_a_line_of_the_log_does_not_name_ten_thousand_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer.descent, "is_real_device", lambda *_: True)
    asked = make_servicer(tmp_path, [make_device(number) for number in range(1000)])
    with capture_logs() as logs:
        await asked.allocate(allocate_request([f"node2-dev3-{number}" for number in range(1000)]), Context())  # type: ignore[arg-type]
        asked.close()

    (entry,) = [entry for entry in logs if entry["event"] == "allocated"]
    assert len(entry["device_ids"]) == 64
    assert entry["more"] == 936


async def test_others_run_while_very_many_devices_are_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer.descent, "is_real_device", lambda *_: True)
    asked = make_servicer(tmp_path, [make_device(number) for number in range(100)])
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await asked.allocate(allocate_request([f"node2-dev3-{number}" for number in range(100)]), Context())  # type: ignore[arg-type]
    task.cancel()
    assert turns >= 100 // 16


async def prefer(asked: servicer.DevicePluginServicer, available: list[str], must: list[str], size: int) -> list[str]:
    container = pluginapi.ContainerPreferredAllocationRequest(
        available_deviceIDs=available, must_include_deviceIDs=must, allocation_size=size
    )
    request = pluginapi.PreferredAllocationRequest(container_requests=[container]).SerializeToString()
    raw = await asked.get_preferred_allocation(request, Context())  # type: ignore[arg-type]
    (answer,) = pluginapi.PreferredAllocationResponse.FromString(raw).container_responses
    return list(answer.deviceIDs)


async def test_a_device_that_must_be_included_counts_once_among_the_healthy(tmp_path: Path) -> None:
    """Counted twice, two healthy ones would seem to be enough for three, and the third would be missing."""
    devices = [make_device(1), make_device(2), make_device(3, health=Health.UNHEALTHY)]
    asked = make_servicer(tmp_path, devices)
    ids = [device.id for device in devices]

    assert await prefer(asked, list(ids), ["node2-dev3-1"], 3) == ids
    assert await prefer(asked, list(ids), ["node2-dev3-1"], 2) == ids[:2]


async def test_an_id_that_is_available_twice_is_preferred_once(tmp_path: Path) -> None:
    asked = make_servicer(tmp_path, [make_device(1), make_device(2)])

    assert await prefer(asked, ["node2-dev3-1"] * 5 + ["node2-dev3-2"], [], 2) == ["node2-dev3-1", "node2-dev3-2"]


def test_a_request_may_carry_every_id_of_a_full_list_twice_and_hardly_more() -> None:
    """Contract LIM-3; a pod's memory is bounded, and so must be what it is sent."""
    assert 8 * 2**20 < endpoint.MAX_REQUEST_BYTES < 9 * 2**20


@pytest.mark.parametrize("request_", [b"\xff", b"\x0a\xff\x01"])
@pytest.mark.parametrize("call", ["allocate", "get_preferred_allocation", "pre_start_container"])
async def test_what_is_no_message_is_refused_as_such(tmp_path: Path, call: str, request_: bytes) -> None:
    asked = make_servicer(tmp_path, [])
    method = getattr(asked, call)
    assert inspect.iscoroutinefunction(method)

    with pytest.raises(RefusedError) as caught:
        await method(request_, Context())
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
