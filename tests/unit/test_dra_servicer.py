"""The calls that a kubelet makes to a driver: whole answers, in each version of the API, and when health is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import logs
from fakehw_plugin.device import Health
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.dra import claim
from fakehw_plugin.dra.checkpoint import Prepared, PreparedDevice
from fakehw_plugin.dra.pool import DevicePool
from fakehw_plugin.dra.servicer import DraServicer
from kubeletapi.dra.v1 import api_pb2 as v1
from kubeletapi.dra.v1beta1 import api_pb2 as v1beta1
from kubeletapi.drahealth.v1 import api_pb2 as health_v1
from kubeletapi.pluginregistration.v1 import api_pb2 as registration
from tests.factories import make_device
from tests.timeless import elapsed, running, settled, timeless

if TYPE_CHECKING:
    from collections.abc import Callable

DRIVER, NODE = "myplugin.io", "kind-worker2"


class Preparation:
    """Prepares what a test has put there, and says of the rest that it cannot."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[PreparedDevice, ...]] = {}
        self.calls: list[tuple[str, str]] = []
        self.together = 0
        self.most = 0

    async def prepare(self, reference: claim.Reference) -> Prepared:
        self.together += 1
        self.most = max(self.most, self.together)
        await asyncio.sleep(1)
        self.together -= 1
        self.calls.append(("prepare", str(reference)))
        if reference.uid not in self.found:
            raise claim.ClaimError(f"claim {reference} does not exist")
        return Prepared(reference, NODE, self.found[reference.uid])

    async def unprepare(self, reference: claim.Reference) -> None:
        self.calls.append(("unprepare", str(reference)))
        if reference.uid not in self.found:
            raise claim.ClaimError("no room")

    def cdi_ids(self, prepared: Prepared, device: PreparedDevice) -> list[str]:
        return [f"cdi of {device.device} for {prepared.claim.uid}"]


class Scene:
    def __init__(self, **more: Any) -> None:
        self.pool = DevicePool(driver=DRIVER, node=NODE)
        self.preparation = Preparation()
        self.telemetry = Telemetry()
        self.registered: list[tuple[bool, str]] = []
        self.servicer = DraServicer(
            self.pool,
            self.preparation,  # type: ignore[arg-type]  # as much of one as is needed
            telemetry=self.telemetry,
            log=logs.get_logger(driver=DRIVER),
            on_registered=lambda *values: self.registered.append(values),
            **more,
        )
        self.lists: list[tuple[float, dict[str, int]]] = []

    def call(self, service: str, method: str) -> Callable[[bytes], Any]:
        """Return a call as gRPC would make it: bytes in, and what the call returns as bytes."""
        handler: Any = None
        for handlers in self.servicer.handlers():
            handler = handler or handlers.service(SimpleNamespace(method=f"/{service}/{method}"))  # type: ignore[arg-type]
        assert handler is not None, f"nobody serves {service}/{method}"

        async def made(request: bytes) -> bytes:
            return handler.response_serializer(await handler.unary_unary(handler.request_deserializer(request), None))  # type: ignore[no-any-return]

        return made

    async def listen(self) -> None:
        async for message in self.servicer.node_watch_resources(b"", None):  # type: ignore[arg-type]
            found = health_v1.NodeWatchResourcesResponse.FromString(message)
            self.lists.append((elapsed(), {one.device.device_name: one.health for one in found.devices}))


def device(number: int, *, request: str = "r", share_id: str = "") -> PreparedDevice:
    name = f"node2-dev3-{number}"
    return PreparedDevice(request, name, name, f"/node2/dev3/{number}", f"DEV_3_ID_{number}", share_id=share_id)


def said(lines: list[Any]) -> list[dict[str, Any]]:
    assert all(line["driver"] == DRIVER for line in lines)
    return [{key: value for key, value in line.items() if key != "driver"} for line in lines]


@timeless
async def test_who_we_are_and_what_the_kubelet_made_of_it() -> None:
    scene = Scene()
    found = await scene.call("pluginregistration.Registration", "GetInfo")(b"")
    status = registration.RegistrationStatus(plugin_registered=False, error="no such version").SerializeToString()
    answer = await scene.call("pluginregistration.Registration", "NotifyRegistrationStatus")(status)

    assert registration.PluginInfo.FromString(found) == registration.PluginInfo(
        type="DRAPlugin",
        name=DRIVER,
        endpoint="",
        supported_versions=["v1.DRAPlugin", "v1beta1.DRAPlugin", "v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"],
    )
    assert answer == b""
    assert scene.registered == [(False, "no such version")]


@pytest.mark.parametrize("version", [v1, v1beta1])
@timeless
async def test_every_claim_is_prepared_beside_the_others_with_an_answer_of_its_own(version: Any) -> None:
    scene = Scene()
    scene.preparation.found = {"u1": (device(1), device(2, request="", share_id="s")), "u2": ()}
    claims = [{"namespace": "ns", "name": f"c{number}", "uid": f"u{number}"} for number in (1, 2, 3)]
    package = version.DESCRIPTOR.package
    call = scene.call(f"{package}.DRAPlugin", "NodePrepareResources")
    with capture_logs() as lines:
        answer = await call(version.NodePrepareResourcesRequest(claims=claims).SerializeToString())

    expected = version.NodePrepareResourcesResponse()
    first, second = expected.claims["u1"].devices.add(), expected.claims["u1"].devices.add()
    first.request_names.append("r")
    for one, number in ((first, 1), (second, 2)):
        one.pool_name, one.device_name = NODE, f"node2-dev3-{number}"
        one.cdi_device_ids.append(f"cdi of node2-dev3-{number} for u1")
    if version is v1:
        second.share_id = "s"
    expected.claims["u2"].SetInParent()
    expected.claims["u3"].error = "claim ns/c3 does not exist"
    assert version.NodePrepareResourcesResponse.FromString(answer) == expected
    assert (scene.preparation.most, elapsed()) == (3, 1), "all at once"
    assert scene.telemetry.claims == {("prepare", "ok"): 2, ("prepare", "refused"): 1}
    base = {"event": "claim_prepared", "log_level": "info"}
    assert said(lines) == [
        {**base, "claim": "ns/c1", "uid": "u1", "devices": "node2-dev3-1, node2-dev3-2"},
        {**base, "claim": "ns/c2", "uid": "u2", "devices": ""},
        {
            "event": "claim_not_prepared", "log_level": "warning", "claim": "ns/c3", "uid": "u3",
            "error": "claim ns/c3 does not exist",
        },
    ]  # fmt: skip  # one line of the log after the other


@pytest.mark.parametrize("version", [v1, v1beta1])
@timeless
async def test_every_claim_is_taken_back_with_an_answer_of_its_own(version: Any) -> None:
    scene = Scene()
    scene.preparation.found = {"u1": ()}
    claims = [{"namespace": "ns", "name": f"c{number}", "uid": f"u{number}"} for number in (1, 2)]
    call = scene.call(f"{version.DESCRIPTOR.package}.DRAPlugin", "NodeUnprepareResources")
    with capture_logs() as lines:
        answer = await call(version.NodeUnprepareResourcesRequest(claims=claims).SerializeToString())

    expected = version.NodeUnprepareResourcesResponse()
    expected.claims["u1"].SetInParent()
    expected.claims["u2"].error = "no room"
    assert version.NodeUnprepareResourcesResponse.FromString(answer) == expected
    assert scene.preparation.calls == [("unprepare", "ns/c1"), ("unprepare", "ns/c2")]
    assert scene.telemetry.claims == {("unprepare", "ok"): 1, ("unprepare", "refused"): 1}
    assert said(lines) == [
        {"event": "claim_unprepared", "log_level": "info", "claim": "ns/c1", "uid": "u1"},
        {"event": "claim_not_unprepared", "log_level": "warning", "claim": "ns/c2", "uid": "u2", "error": "no room"},
    ]


@timeless
async def test_health_is_told_at_once_on_every_change_every_ten_seconds_and_when_asked_for() -> None:
    scene = Scene()
    scene.pool.put(make_device(1))
    scene.pool.publish()
    async with running(scene.listen()):
        assert scene.servicer.live_streams == 1
        await asyncio.sleep(5)
        scene.pool.put(make_device(1, health=Health.UNHEALTHY))
        scene.pool.publish()
        await settled()
        scene.servicer.resend()
        await asyncio.sleep(21)

    assert scene.lists == [
        (0, {"node2-dev3-1": 1}),
        (5, {"node2-dev3-1": 2}),
        (5, {"node2-dev3-1": 2}),
        (15, {"node2-dev3-1": 2}),
        (25, {"node2-dev3-1": 2}),
    ]
    assert scene.servicer.live_streams == 0
    assert not scene.pool._subscribers
    assert not scene.servicer._wakes


@timeless
async def test_changes_that_come_together_are_one_list() -> None:
    scene = Scene()
    async with running(scene.listen()):
        for number in (1, 2, 3):
            scene.pool.put(make_device(number))
            scene.pool.publish()
        await settled()
    assert [len(found) for _, found in scene.lists] == [0, 3]


@timeless
async def test_closing_ends_every_stream() -> None:
    scene = Scene()
    streams = [asyncio.create_task(scene.listen()) for _ in range(2)]
    await settled()
    assert scene.servicer.live_streams == 2
    scene.servicer.close()
    await settled()
    assert [stream.done() for stream in streams] == [True, True]
    assert (scene.servicer.live_streams, elapsed()) == (0, 0)
    assert len(scene.lists) == 2


class Faults:
    """Notes what is wrapped by name."""

    def __init__(self) -> None:
        self.wrapped: list[str] = []

    def unary(self, name: str, call: Any) -> Any:
        self.wrapped.append(name)

        async def refused(request: Any, context: Any) -> Any:
            raise PermissionError(name)

        return refused

    def stream(self, name: str, call: Any) -> Any:
        self.wrapped.append(name)
        return call


@timeless
async def test_faults_stand_before_every_call_but_the_kubelet_s_verdict() -> None:
    faults = Faults()
    scene = Scene(faults=faults)
    with pytest.raises(PermissionError, match="GetInfo"):
        await scene.call("pluginregistration.Registration", "GetInfo")(b"")
    await scene.call("pluginregistration.Registration", "NotifyRegistrationStatus")(b"")
    with pytest.raises(PermissionError, match="NodePrepareResources"):
        await scene.call("k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin", "NodePrepareResources")(b"")

    assert set(faults.wrapped) == {"NodeWatchResources", "GetInfo", "NodePrepareResources", "NodeUnprepareResources"}
    assert len(scene.registered) == 1


@pytest.mark.parametrize("service", ["v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"])
def test_health_is_a_stream_of_bytes_in_both_versions(service: str) -> None:
    scene = Scene()
    found = [
        handlers.service(SimpleNamespace(method=f"/{service}/NodeWatchResources"))
        for handlers in scene.servicer.handlers()
    ]  # type: ignore[arg-type]
    (handler,) = [one for one in found if one is not None]
    assert (handler.request_streaming, handler.response_streaming) == (False, True)
    assert (handler.request_deserializer, handler.response_serializer) == (None, None)
