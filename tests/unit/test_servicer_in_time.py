"""A kubelet's calls to one resource: lists in time, refusals with their words, and who hears of what was given."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import ANY

import grpc
import pytest
from structlog.testing import capture_logs

from fakehw_plugin import logs
from fakehw_plugin.device import Health
from fakehw_plugin.deviceplugin import allocation_log
from fakehw_plugin.deviceplugin import servicer as servicer_module
from fakehw_plugin.deviceplugin.device_list import DeviceList
from fakehw_plugin.deviceplugin.servicer import DevicePluginServicer
from fakehw_plugin.devices.inventory import Inventory
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.tree.attributes import StarvedError
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.factories import make_device
from tests.timeless import elapsed, running, settled, timeless

if TYPE_CHECKING:
    from collections.abc import Iterable

R = "myplugin.io/mydevice-3"


class RefusedError(Exception):
    pass


class Context:
    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise RefusedError(code, details)


class Scene:
    """Two healthy devices and an ill one; which of them are real is for the test to say."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
        self.list = DeviceList()
        self.inventory = Inventory(R, self.list)
        self.ill = make_device(3, health=Health.UNHEALTHY, reason="over temperature")
        self.silent = make_device(4, health=Health.UNHEALTHY)
        self.put(make_device(1), make_device(2, has_device_node=True), self.ill, self.silent)
        self.telemetry = Telemetry()
        self.stream_counts: list[int] = []
        self.given: list[Any] = []
        self.unreal: set[str] = set()
        self.starved = False
        self.looked: list[tuple[str, str]] = []
        monkeypatch.setattr(servicer_module.descent, "is_real_device", self.is_real)
        self.servicer = DevicePluginServicer(
            self.inventory,
            self.list,
            root="/tree",
            host_root="/host",
            pre_start_required=False,
            telemetry=self.telemetry,
            log=logs.get_logger(resource=R),
            on_streams=lambda: self.stream_counts.append(self.servicer.live_streams),
            on_allocated=lambda ids: self.given.append(list(ids)),
            **more,
        )
        self.lists: list[tuple[float, dict[str, str]]] = []

    def put(self, *devices: Any, at: float | None = None) -> None:
        self.inventory.apply({device.id: device for device in devices}, at=at)

    def is_real(self, root: str, device: Any) -> bool:
        self.looked.append((root, device.id))
        if self.starved:
            raise StarvedError("Too many open files (EMFILE)")
        return device.id not in self.unreal

    async def listen(self, pause_s: float = 0.0) -> None:
        async for message in self.servicer.list_and_watch(b"", Context()):  # type: ignore[arg-type]
            found = pluginapi.ListAndWatchResponse.FromString(message)
            self.lists.append((elapsed(), {device.ID: device.health for device in found.devices}))
            await asyncio.sleep(pause_s)

    async def allocate(self, *containers: Iterable[str]) -> pluginapi.AllocateResponse:
        requests = [pluginapi.ContainerAllocateRequest(devices_ids=ids) for ids in containers]
        request = pluginapi.AllocateRequest(container_requests=requests).SerializeToString()
        answer = await self.servicer.allocate(request, Context())  # type: ignore[arg-type]
        return pluginapi.AllocateResponse.FromString(answer)

    async def start(self, *ids: str) -> bytes:
        request = pluginapi.PreStartContainerRequest(devices_ids=ids).SerializeToString()
        return await self.servicer.pre_start_container(request, Context())  # type: ignore[arg-type]


def said(lines: list[Any]) -> list[dict[str, Any]]:
    assert all(line["resource"] == R for line in lines)
    return [{key: value for key, value in line.items() if key != "resource"} for line in lines]


@timeless
async def test_the_list_is_sent_at_once_and_after_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    healths = {f"node2-dev3-{number}": "Healthy" if number < 3 else "Unhealthy" for number in range(1, 5)}
    async with running(scene.listen()):
        assert scene.lists == [(0, healths)]
        assert scene.stream_counts == [1]
        await asyncio.sleep(100)
        scene.put(make_device(1, health=Health.UNHEALTHY), at=1099.75)
        scene.put(make_device(2, health=Health.UNHEALTHY), at=1099.5)
        await settled()
        assert scene.lists[1:] == [(100, dict.fromkeys(healths, "Unhealthy"))], "two changes are one list"
        await asyncio.sleep(100)
        assert len(scene.lists) == 2

    assert scene.telemetry.streams_opened == {R: 1}
    assert scene.telemetry.lists_sent == {R: 2}
    assert scene.telemetry.send_latency.total_s == 0.5, "of the last change; of the first list nothing is known"
    assert sum(scene.telemetry.send_latency.counts) == 1
    assert scene.stream_counts == [1, 0]
    assert not scene.inventory._subscribers
    assert not scene.servicer._wakes


@timeless
async def test_a_kubelet_that_is_slow_gets_the_latest_list(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    async with running(scene.listen(pause_s=10)):
        for number in (5, 6, 7):
            await asyncio.sleep(1)
            scene.put(make_device(number))
        await asyncio.sleep(20)
    assert [(at, len(found)) for at, found in scene.lists] == [(0, 4), (10, 7)]


@timeless
async def test_several_streams_all_hear_and_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    with capture_logs() as lines:
        async with running(scene.listen()), running(scene.listen()):
            scene.put(make_device(5))
            await settled()
    assert [len(found) for _, found in scene.lists] == [4, 4, 5, 5]
    assert said(lines) == [{"event": "several_streams", "log_level": "warning", "streams": 2}]
    assert scene.stream_counts == [1, 2, 1, 0]


@timeless
async def test_closing_ends_the_streams_after_the_last_list(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    listening = asyncio.create_task(scene.listen())
    await settled()
    scene.inventory.apply(dict.fromkeys(tuple(scene.inventory.devices)))
    scene.servicer.close()
    await listening
    assert scene.lists[1:] == [(0, {})]
    assert scene.stream_counts == [1, 0]


@timeless
async def test_closing_ends_streams_of_which_nothing_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    streams = [asyncio.create_task(scene.listen()) for _ in range(2)]
    await settled()
    scene.servicer.close()
    await asyncio.wait(streams, timeout=1)
    assert all(stream.done() for stream in streams)
    assert elapsed() == 0


@timeless
async def test_others_have_a_turn_after_each_sixteen_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    devices = [make_device(number) for number in range(100, 148)]
    scene.put(*devices)
    looked: list[int] = []

    async def others() -> None:
        for _ in range(20):
            looked.append(len(scene.looked))
            await asyncio.sleep(0)

    await asyncio.gather(others(), scene.allocate([device.id for device in devices]))
    assert [count for count in dict.fromkeys(looked) if count] == [16, 32, 48]
    assert elapsed() == 0


@timeless
async def test_each_container_gets_its_own_and_all_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    with capture_logs() as lines:
        answer = await scene.allocate(["node2-dev3-1", "node2-dev3-1"], ["node2-dev3-2"], [])
        await asyncio.sleep(0.009)
        assert lines == [], "a line comes after the answer, with those of others"
        await asyncio.sleep(0.001)

    expected = pluginapi.AllocateResponse()
    for number in (1, 2):
        path = f"/node2/dev3/{number}"
        container = expected.container_responses.add(envs={"DEV_3_ID_0": path})
        container.mounts.add(container_path=path, host_path=f"/host{path}", read_only=True)
        if number == 2:
            container.devices.add(container_path=f"{path}/node", host_path=f"/host{path}/node", permissions="rw")
    expected.container_responses.add()
    assert answer == expected
    assert scene.given == [["node2-dev3-1"], ["node2-dev3-2"], []]
    assert scene.looked == [("/tree", "node2-dev3-1"), ("/tree", "node2-dev3-2")]
    assert scene.telemetry.allocations == {(R, "ok"): 1}
    base = {"event": "allocated", "log_level": "info", "timestamp": ANY}
    assert said(lines) == [
        {**base, "device_ids": ["node2-dev3-1"]},
        {**base, "device_ids": ["node2-dev3-2"]},
        {**base, "device_ids": []},
    ]


@timeless
async def test_a_line_names_sixty_four_devices_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    devices = [make_device(number) for number in range(100, 165)]
    scene.put(*devices)
    with capture_logs() as lines:
        await scene.allocate([device.id for device in devices[:64]], [device.id for device in devices])
        await asyncio.sleep(0.01)
    assert [(len(line["device_ids"]), line.get("more")) for line in lines] == [(64, None), (64, 1)]


@timeless
async def test_lines_of_allocations_are_written_together_with_the_time_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    moments = iter([1790000000.25, 1790000000.5, 1790000001.0])
    monkeypatch.setattr(allocation_log.time, "time", lambda: next(moments))
    with capture_logs() as lines:
        await scene.allocate(["node2-dev3-1"])
        await asyncio.sleep(0.006)
        await scene.allocate(["node2-dev3-2"])
        await asyncio.sleep(0.004)
        assert [line["timestamp"] for line in lines] == ["2026-09-21T14:13:20.250000Z", "2026-09-21T14:13:20.500000Z"]
        await asyncio.sleep(100)
        assert len(lines) == 2
        await scene.allocate(["node2-dev3-1"])
        await asyncio.sleep(0.01)
        assert [line["device_ids"] for line in lines] == [["node2-dev3-1"], ["node2-dev3-2"], ["node2-dev3-1"]]


@timeless
async def test_a_line_that_waits_is_written_when_the_servicer_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    with capture_logs() as lines:
        await scene.allocate(["node2-dev3-1"])
        scene.servicer.close()
        assert [line["device_ids"] for line in lines] == [["node2-dev3-1"]]
        await asyncio.sleep(1)
    assert len(lines) == 1


@timeless
async def test_an_answer_is_that_of_the_devices_as_they_are_now(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    assert not (await scene.allocate(["node2-dev3-1"])).container_responses[0].devices
    scene.put(make_device(1, has_device_node=True))
    assert (await scene.allocate(["node2-dev3-1"])).container_responses[0].devices
    scene.put(make_device(1, health=Health.UNHEALTHY, reason="over temperature"))
    with pytest.raises(RefusedError):
        await scene.allocate(["node2-dev3-1"])
    scene.put(make_device(1))
    assert not (await scene.allocate(["node2-dev3-1"])).container_responses[0].devices


LONG = "x" * 64
UNKNOWN, ILL = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
REFUSALS = [
    ("node2-dev3-9", UNKNOWN, "unknown_device", f"device 'node2-dev3-9' is not a device of {R}"),
    ("x" * 63, UNKNOWN, "unknown_device", f"device '{'x' * 63}' is not a device of {R}"),
    (LONG, UNKNOWN, "unknown_device", f"device '{'x' * 63}'… (64 characters) is not a device of {R}"),
    ("node2-dev3-3", ILL, "unhealthy_device", "device node2-dev3-3 is Unhealthy: over temperature"),
    ("node2-dev3-4", ILL, "unhealthy_device", "device node2-dev3-4 is Unhealthy: no reason given"),
    ("node2-dev3-2", ILL, "unhealthy_device", "device node2-dev3-2 is Unhealthy: its directory or its node is gone"),
]


@pytest.mark.parametrize(("device_id", "code", "outcome", "error"), REFUSALS)
@timeless
async def test_what_cannot_be_given_is_refused_by_name_and_counted(
    monkeypatch: pytest.MonkeyPatch, device_id: str, code: grpc.StatusCode, outcome: str, error: str
) -> None:
    scene = Scene(monkeypatch)
    scene.unreal = {"node2-dev3-2"}
    with capture_logs() as lines, pytest.raises(RefusedError) as caught:
        await scene.allocate(["node2-dev3-1", device_id])
    assert caught.value.args == (code, error)
    assert said(lines) == [{"event": "allocation_refused", "log_level": "warning", "error": error}]
    assert scene.telemetry.allocations == {(R, outcome): 1}
    assert scene.given == []


@pytest.mark.parametrize(("device_id", "code", "outcome", "error"), REFUSALS)
@timeless
async def test_what_cannot_be_given_any_more_is_not_started_with(
    monkeypatch: pytest.MonkeyPatch, device_id: str, code: grpc.StatusCode, outcome: str, error: str
) -> None:
    scene = Scene(monkeypatch)
    scene.unreal = {"node2-dev3-2"}
    with capture_logs() as lines, pytest.raises(RefusedError) as caught:
        await scene.start("node2-dev3-1", device_id)
    assert caught.value.args == (ILL, error)
    assert said(lines) == [{"event": "start_refused", "log_level": "warning", "error": error}]
    assert not scene.telemetry.allocations


@timeless
async def test_our_own_shortage_is_a_reason_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.starved = True
    error = "device node2-dev3-1 cannot be looked at: Too many open files (EMFILE)"
    with pytest.raises(RefusedError) as caught:
        await scene.allocate(["node2-dev3-1"])
    assert caught.value.args == (ILL, error)


@timeless
async def test_a_container_whose_devices_are_well_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    with capture_logs() as lines:
        assert await scene.start("node2-dev3-1", "node2-dev3-2", "node2-dev3-1") == b""
    assert scene.looked == [("/tree", "node2-dev3-1"), ("/tree", "node2-dev3-2")]
    assert lines == []


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("allocate", "AllocateRequest"),
        ("get_preferred_allocation", "PreferredAllocationRequest"),
        ("pre_start_container", "PreStartContainerRequest"),
    ],
)
@timeless
async def test_what_is_no_message_is_refused_and_said(monkeypatch: pytest.MonkeyPatch, call: str, kind: str) -> None:
    scene = Scene(monkeypatch)
    with capture_logs() as lines, pytest.raises(RefusedError) as caught:
        await getattr(scene.servicer, call)(b"\xff", Context())
    code, details = caught.value.args
    assert code is UNKNOWN
    assert details.startswith(f"not a {kind}: ")
    error = details.removeprefix(f"not a {kind}: ")
    assert said(lines) == [{"event": "bad_request", "log_level": "warning", "message": kind, "error": error}]
    assert not scene.telemetry.allocations


@pytest.mark.parametrize(
    ("available", "must", "size", "chosen"),
    [
        ([1, 2, 3], [], 2, [1, 2]),
        ([3, 2], [], 2, [2, 3]),
        ([3, 2, 1], [3], 2, [3, 1]),
        ([1, 9], [9], 1, [1]),
        ([1, 2], [2], 1, [2]),
        ([3, 5, 6], [], 2, [5, 6]),
    ],
)
@timeless
async def test_healthy_devices_are_preferred_where_there_are_enough(
    monkeypatch: pytest.MonkeyPatch, available: list[int], must: list[int], size: int, chosen: list[int]
) -> None:
    scene = Scene(monkeypatch)
    scene.put(make_device(5), make_device(6))
    request = pluginapi.PreferredAllocationRequest()
    for _ in range(2):
        request.container_requests.add(
            available_deviceIDs=[f"node2-dev3-{number}" for number in available],
            must_include_deviceIDs=[f"node2-dev3-{number}" for number in must],
            allocation_size=size,
        )
    raw = await scene.servicer.get_preferred_allocation(request.SerializeToString(), Context())  # type: ignore[arg-type]
    answers = pluginapi.PreferredAllocationResponse.FromString(raw).container_responses
    assert [list(answer.deviceIDs) for answer in answers] == [[f"node2-dev3-{number}" for number in chosen]] * 2


@timeless
async def test_the_options_are_those_of_the_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    options = await scene.servicer.get_device_plugin_options(b"", Context())  # type: ignore[arg-type]
    assert options is scene.servicer.options
    assert pluginapi.DevicePluginOptions.FromString(options) == pluginapi.DevicePluginOptions(
        get_preferred_allocation_available=True
    )


class Faults:
    def __init__(self) -> None:
        self.wrapped: dict[str, Any] = {}

    def unary(self, name: str, call: Any) -> Any:
        self.wrapped[name] = call
        return call

    stream = unary


@pytest.mark.parametrize("plays", [False, True])
def test_every_call_is_served_in_bytes_and_behind_its_faults(monkeypatch: pytest.MonkeyPatch, plays: bool) -> None:
    faults = Faults()
    scene = Scene(monkeypatch, faults=faults if plays else None)
    (handlers,) = scene.servicer.handlers()
    calls = {
        "GetDevicePluginOptions": scene.servicer.get_device_plugin_options,
        "GetPreferredAllocation": scene.servicer.get_preferred_allocation,
        "Allocate": scene.servicer.allocate,
        "PreStartContainer": scene.servicer.pre_start_container,
        "ListAndWatch": scene.servicer.list_and_watch,
    }
    for name, call in calls.items():
        found: Any = handlers.service(SimpleNamespace(method=f"/v1beta1.DevicePlugin/{name}"))  # type: ignore[arg-type]
        assert (found.request_deserializer, found.response_serializer) == (None, None)
        assert (found.unary_stream if name == "ListAndWatch" else found.unary_unary) == call
    assert faults.wrapped == (calls if plays else {})
