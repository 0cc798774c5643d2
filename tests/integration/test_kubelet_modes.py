"""What differs between releases (contract section 14): each mode does what its release does."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from fakekubelet import FakeKubelet, FakeNode, ManualClock, Mode, StubPlugin, pod, stub_plugin
from fakekubelet.kubelet import numa, registration
from fakekubelet.kubelet.device import Device
from fakekubelet.stub_plugin import Refusal, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.podresources.v1 import api_pb2 as podresourcesapi
from kubeletapi.podresources.v1 import api_pb2_grpc as podresourcesapi_grpc

RESOURCE = "example.com/dongle"


async def time_passes(node: FakeNode, *, until=None) -> None:
    """Let the kubelet's time go by: five minutes, or slowly until something is so, because a dial takes real time."""
    if until is None:
        for _ in range(30):
            await node.clock.advance(10)
            await asyncio.sleep(0.001)
        return
    async with asyncio.timeout(20):
        while not until():
            await node.clock.advance(0.1)
            await asyncio.sleep(0.01)


def since(release: str) -> list[tuple[str, bool]]:
    """Return every mode, and whether it is *release* or newer."""
    order = list(Mode)
    return [(str(mode), order.index(mode) >= order.index(Mode(release))) for mode in order]


@pytest.mark.parametrize(("mode", "sockets_only"), since("1.33"))
async def test_reg_3_files_in_the_directory_stay_from_1_33_on(short_dir, mode, sockets_only):
    (short_dir / "notes").touch()

    async with FakeKubelet(short_dir, mode=mode):
        assert (short_dir / "notes").exists() is sockets_only


@pytest.mark.parametrize(("mode", "within_the_call"), since("1.35"))
async def test_reg_7_the_calls_deadline_ends_the_dialing_from_1_35_on(short_dir, mode, within_the_call, monkeypatch):
    monkeypatch.setattr(stub_plugin, "REGISTER_TIMEOUT_S", 0.2)
    plugin = StubPlugin(short_dir, RESOURCE, devices("a"), endpoint="late.sock")
    async with FakeKubelet(short_dir, mode=mode) as kubelet:
        with pytest.raises(grpc.aio.AioRpcError, match="Deadline Exceeded"):
            await plugin.register()
        if within_the_call:
            await kubelet.wait_for(lambda: not kubelet.is_dialing(RESOURCE))
        async with plugin:
            with contextlib.nullcontext() if not within_the_call else pytest.raises(TimeoutError):
                await kubelet.wait_for(
                    lambda: kubelet.allocatable.get(RESOURCE) == 1, timeout=0.3 if within_the_call else 10
                )


async def test_reg_7_a_kubelet_that_ends_gives_up_what_it_dials(short_dir, monkeypatch):
    monkeypatch.setattr(stub_plugin, "REGISTER_TIMEOUT_S", 0.1)
    async with FakeKubelet(short_dir, mode="1.31"):
        with pytest.raises(grpc.aio.AioRpcError):
            await StubPlugin(short_dir, RESOURCE, endpoint="never.sock").register()

    assert not [task for task in asyncio.all_tasks() if "register" in task.get_name()]


@pytest.mark.parametrize(("mode", "takes_back"), since("1.36"))
async def test_pw_3_a_notice_that_is_refused_ends_the_registration_from_1_36_on(short_dir, mode, takes_back):
    async def refuse(_: object) -> None:
        raise Refusal("no thanks")

    async with FakeNode(short_dir, mode=mode) as node:
        behaviors = {"NotifyRegistrationStatus": refuse}
        async with StubPlugin(node.plugins_registry, RESOURCE, devices("a"), behaviors=behaviors) as plugin:
            await node.kubelet.wait_for(lambda: plugin.count("NotifyRegistrationStatus") == 1)
            await time_passes(node, until=(lambda: plugin.count("GetInfo") > 1) if takes_back else None)

            assert (plugin.count("GetInfo") > 1) is takes_back
            if not takes_back:
                await node.kubelet.wait_for(lambda: node.kubelet.allocatable.get(RESOURCE) == 1)


@pytest.mark.parametrize(("mode", "tries_again"), since("1.36"))
async def test_pw_12_a_plugin_that_could_not_be_connected_is_tried_again_from_1_36_on(short_dir, mode, tries_again):
    async def refuse(_: object) -> None:
        raise Refusal("not yet")

    async with FakeNode(short_dir, mode=mode) as node:
        behaviors = {"GetDevicePluginOptions": refuse}
        async with StubPlugin(node.plugins_registry, RESOURCE, devices("a"), behaviors=behaviors) as plugin:
            await node.kubelet.wait_for(lambda: plugin.count("NotifyRegistrationStatus") == 1)
            del behaviors["GetDevicePluginOptions"]
            await time_passes(
                node, until=(lambda: node.kubelet.allocatable.get(RESOURCE) == 1) if tries_again else None
            )

            assert (plugin.count("GetInfo") > 1) is tries_again
            assert (node.kubelet.allocatable.get(RESOURCE) == 1) is tries_again


@pytest.mark.parametrize(("mode", "serves_get"), since("1.34"))
async def test_pr_5_get_is_answered_from_1_34_on(short_dir, mode, serves_get):
    async with FakeNode(short_dir, mode=mode) as node:
        await node.kubelet.admit(pod.simple("p"))
        async with grpc.aio.insecure_channel(f"unix:{node.pod_resources_socket}") as channel:
            get = podresourcesapi_grpc.PodResourcesListerStub(channel).Get(
                podresourcesapi.GetPodResourcesRequest(pod_name="p", pod_namespace="default")
            )
            if serves_get:
                assert (await get).pod_resources.name == "p"
            else:
                with pytest.raises(grpc.aio.AioRpcError, match="PodResources API Get method disabled"):
                    await get


@pytest.mark.parametrize(("mode", "tells"), since("1.36"))
async def test_hs_1_a_pods_status_tells_of_its_devices_from_1_36_on(short_dir, mode, tells):
    async with FakeKubelet(short_dir, mode=mode) as kubelet, StubPlugin(short_dir, RESOURCE, devices("a")) as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
        held = await kubelet.admit(pod.simple("p", {RESOURCE: 1}))
        await plugin.send(devices("a", health="Unhealthy"))
        await kubelet.wait_for(lambda: kubelet.allocatable[RESOURCE] == 0)

        status = kubelet.allocated_resources_status(held)

        assert status == ({"main": {RESOURCE: {"a": "Unhealthy"}}} if tells else {})
        assert kubelet.synced_pods == ([held.uid] if tells else [])


@pytest.mark.parametrize(("mode", "dies"), since("1.34"))
async def test_lw_13_a_device_that_vanishes_while_it_is_allocated_is_a_hazard_from_1_34_on(short_dir, mode, dies):
    async with FakeKubelet(short_dir, mode=mode) as kubelet:

        async def vanish(request: pluginapi.AllocateRequest) -> pluginapi.AllocateResponse:
            await plugin.send([])
            await kubelet.wait_for(lambda: not kubelet.devices(RESOURCE))
            return pluginapi.AllocateResponse(container_responses=[pluginapi.ContainerAllocateResponse()])

        async with StubPlugin(short_dir, RESOURCE, devices("a"), behaviors={"Allocate": vanish}) as plugin:
            await plugin.register()
            await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
            await kubelet.admit(pod.simple("p", {RESOURCE: 1}))

        assert bool(kubelet.hazards) is dies


@pytest.mark.parametrize(("mode", "by_path"), since("1.37"))
async def test_reg_15_the_old_streams_end_leaves_the_newcomer_alone_from_1_37_on(short_dir, mode, by_path):
    old = StubPlugin(short_dir, RESOURCE, devices("a"), endpoint="old.sock")
    new = StubPlugin(short_dir, RESOURCE, devices("a", "b"), endpoint="new.sock")
    async with FakeKubelet(short_dir, mode=mode, clock=ManualClock()) as kubelet, old, new:
        await old.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
        await new.register()
        await kubelet.wait_for(lambda: kubelet.allocatable[RESOURCE] == 2)
        await old.stop()
        await kubelet.wait_for(lambda: kubelet.live_streams(RESOURCE) == by_path)

        assert kubelet.allocatable[RESOURCE] == (2 if by_path else 0)


@pytest.mark.parametrize("mode", list(Mode))
async def test_reg_20_a_newcomer_that_ends_takes_the_resource_away_in_every_release(short_dir, mode):
    first = StubPlugin(short_dir, RESOURCE, devices("a"), endpoint="first.sock")
    newcomer = StubPlugin(short_dir, RESOURCE, devices("b", "c"), endpoint="newcomer.sock")
    async with FakeKubelet(short_dir, mode=mode) as kubelet, first, newcomer:
        await first.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
        await newcomer.register()
        await kubelet.wait_for(lambda: kubelet.allocatable[RESOURCE] == 2)
        await newcomer.stop()
        await kubelet.wait_for(lambda: kubelet.allocatable[RESOURCE] == 0)

        assert kubelet.live_streams(RESOURCE) == 1  # the first one's, which hears nothing
        await first.register()
        await kubelet.wait_for(lambda: kubelet.allocatable[RESOURCE] == 1)


def test_al_7_only_numa_nodes_with_devices_are_combined_from_1_35_on():
    listed = {"a": Device("a", "Healthy", (1,))}
    asked = {"available": {"a"}, "reusable": set(), "request": 1, "machine_nodes": (0, 1)}

    assert numa.hints(listed, **asked, bearing_only=True) == [numa.Hint(0b10, True)]
    assert numa.hints(listed, **asked, bearing_only=False) == [numa.Hint(0b10, True), numa.Hint(0b11, False)]
    assert [mode for mode in Mode if not mode.combines_bearing_nodes_only] == ["1.31", "1.32", "1.33", "1.34"]


def test_a_release_that_there_is_not_is_refused(short_dir):
    with pytest.raises(ValueError, match=r"'1\.30' is not a valid Mode"):
        FakeKubelet(short_dir, mode="1.30")
    assert registration.is_listening(short_dir / "kubelet.sock") is False


@pytest.mark.parametrize(("mode", "sees_every_container"), since("1.34"))
async def test_rs_11_a_pod_whose_container_was_restarted_survives_a_restart_of_the_kubelet_from_1_34_on(
    short_dir, mode, sees_every_container
):
    ids = [f"d{number}" for number in range(20)]  # before, each has even odds
    async with FakeKubelet(short_dir, mode=mode) as kubelet, StubPlugin(short_dir, RESOURCE, devices(*ids)) as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 20)
        pods = [await kubelet.admit(pod.simple(name, {RESOURCE: 1})) for name in ids]
        for admitted in pods:
            await kubelet.start_container(admitted)
        for admitted in pods[1:]:
            kubelet.container_exited(admitted, "main")
            await kubelet.start_container(admitted)

        await kubelet.restart()

        assert pods[0].phase == "Running"  # its container was never restarted
        assert {admitted.phase for admitted in pods[1:]} == (
            {"Running"} if sees_every_container else {"Running", "Failed"}
        )


@pytest.mark.parametrize("mode", Mode)
async def test_rs_12_a_runtime_that_does_not_answer_at_a_start_costs_running_pods_their_lives(short_dir, mode):
    async with FakeKubelet(short_dir, mode=mode) as kubelet, StubPlugin(short_dir, RESOURCE, devices("a")) as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
        held, other = await kubelet.admit(pod.simple("p", {RESOURCE: 1})), await kubelet.admit(pod.simple("without"))
        await kubelet.start_container(held)
        await kubelet.start_container(other)
        await kubelet.stop()

        await kubelet.start(runtime_answers=False)

        assert (held.phase, other.phase) == ("Failed", "Running")
        assert "no healthy devices present" in held.message


@pytest.mark.parametrize(("mode", "is_nothing"), since("1.34"))
async def test_al_10_an_empty_answer_is_repeated_as_nothing_from_1_34_on(short_dir, mode, is_nothing):
    async def nothing(_: object) -> pluginapi.AllocateResponse:
        return pluginapi.AllocateResponse()

    behaviors = {"Allocate": nothing}
    async with (
        FakeKubelet(short_dir, mode=mode) as kubelet,
        StubPlugin(short_dir, RESOURCE, devices("a"), behaviors=behaviors) as plugin,
    ):
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)

        refused = await kubelet.admit(pod.simple("p", {RESOURCE: 1}))

    shown = "" if is_nothing else "&AllocateResponse{ContainerResponses:[]*ContainerAllocateResponse{},}"
    assert f"in allocation response {shown}, which is unexpected" in refused.message
