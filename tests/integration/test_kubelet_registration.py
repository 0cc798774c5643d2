"""Registering with the fake kubelet, rightly and wrongly (contract section 3; scenarios 1, 8, 14 of section 16)."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest

from plugin.api.deviceplugin.v1beta1 import api_pb2 as pluginapi
from plugin.testing import FakeKubelet, ManualClock, Mode, pod, stub_plugin
from plugin.testing.stub_plugin import Refusal, StubPlugin, devices
from tests.running import grpc_ended

RESOURCE = "example.com/dongle"
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""An empty HTTP/2 SETTINGS frame: enough of a server for a client to send its request."""


async def refusal_of(plugin, **fields):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plugin.register(**fields)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    return caught.value.details()


async def test_register_is_answered_after_the_options_and_then_the_list_is_watched(fake_kubelet):
    order = []

    async def options(_):
        order.append(("options", len(fake_kubelet.registrations)))
        return pluginapi.DevicePluginOptions()

    async with StubPlugin(
        fake_kubelet.plugin_dir, RESOURCE, devices("a"), behaviors={"GetDevicePluginOptions": options}
    ) as plugin:
        await plugin.register()

        assert order == [("options", 0)]
        (record,) = fake_kubelet.registrations
        assert (record.resource_name, record.endpoint, record.error) == (RESOURCE, "stub.sock", None)
        await fake_kubelet.wait_for(lambda: fake_kubelet.devices(RESOURCE) == {"a": "Healthy"})
        assert [name for name, _ in plugin.requests] == ["GetDevicePluginOptions", "ListAndWatch"]
        assert fake_kubelet.live_streams(RESOURCE) == 1


@pytest.mark.parametrize("version", ["", "v1", "v1beta2", "V1BETA1"])
async def test_any_other_version_is_refused_in_the_kubelets_words(fake_kubelet, version):
    async with StubPlugin(fake_kubelet.plugin_dir, RESOURCE) as plugin:
        text = await refusal_of(plugin, version=version)

        assert text == (
            f'requested API version "{version}" is not supported by kubelet. Supported version is ["v1beta1"]'
        )
        assert plugin.requests == []
        assert fake_kubelet.registrations[0].error == text


async def test_an_invalid_resource_name_is_refused_before_any_dial(fake_kubelet):
    async with StubPlugin(fake_kubelet.plugin_dir, "my-kubernetes.io/x") as plugin:
        assert await refusal_of(plugin) == 'the ResourceName "my-kubernetes.io/x" is invalid'
        assert plugin.requests == []


async def test_failing_options_fail_register_with_both_texts_and_no_second_call(fake_kubelet):
    async def options(_):
        raise Refusal("simulated failure", grpc.StatusCode.INTERNAL)

    async with StubPlugin(
        fake_kubelet.plugin_dir, RESOURCE, devices("a"), behaviors={"GetDevicePluginOptions": options}
    ) as plugin:
        text = await refusal_of(plugin)

        assert text == "failed to get device plugin options: rpc error: code = Internal desc = simulated failure"
        assert [name for name, _ in plugin.requests] == ["GetDevicePluginOptions"]
        assert RESOURCE not in fake_kubelet.capacity


async def test_nobody_serving_fails_register_after_ten_seconds(fake_node):
    plugin = StubPlugin(fake_node.plugin_dir, RESOURCE)
    registering = asyncio.create_task(refusal_of(plugin))
    await fake_node.kubelet.wait_for(lambda: fake_node.kubelet.is_dialing(RESOURCE))

    await fake_node.clock.advance(9.9)
    assert not fake_node.kubelet.registrations
    await fake_node.clock.advance(0.2)

    assert await registering == "failed to dial device plugin: context deadline exceeded"


async def test_a_plugin_that_serves_while_it_is_dialed_is_registered(fake_kubelet):
    plugin = StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a"))
    registering = asyncio.create_task(plugin.register())
    await fake_kubelet.wait_for(lambda: fake_kubelet.is_dialing(RESOURCE))

    async with plugin:
        await registering
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == 1)


async def test_options_of_the_request_are_ignored(fake_kubelet):
    asked = pluginapi.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True)
    async with StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a"), request_options=asked) as plugin:
        await plugin.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == 1)
        admitted = await fake_kubelet.admit(pod.simple("p", {RESOURCE: 1}))
        await fake_kubelet.start_container(admitted)

        assert fake_kubelet.registrations[0].request_options == (True, True)
        assert plugin.count("GetPreferredAllocation") == plugin.count("PreStartContainer") == 0


async def test_the_register_calls_own_deadline_ends_the_dial_back(fake_kubelet, monkeypatch):
    monkeypatch.setattr(stub_plugin, "REGISTER_TIMEOUT_S", 0.2)
    plugin = StubPlugin(fake_kubelet.plugin_dir, RESOURCE)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plugin.register()

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await fake_kubelet.wait_for(lambda: not fake_kubelet.is_dialing(RESOURCE))


async def test_the_kubelet_calls_back_with_authority_localhost(fake_kubelet):
    seen = await first_bytes(fake_kubelet.plugin_dir / "raw.sock", fake_kubelet)

    assert b"localhost" in seen


async def first_bytes(path, kubelet):
    """Serve just enough HTTP/2 on *path* for the kubelet to say who it thinks we are."""
    seen, enough = bytearray(), asyncio.Event()

    async def serve(reader, writer):
        writer.write(SETTINGS)
        while chunk := await reader.read(4096):
            seen.extend(chunk)
            if b"GetDevicePluginOptions" in seen:
                enough.set()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    plugin = StubPlugin(kubelet.plugin_dir, RESOURCE, endpoint=path.name)
    registering = asyncio.create_task(plugin.register())
    async with asyncio.timeout(5):
        await enough.wait()
    registering.cancel()
    await asyncio.gather(registering, return_exceptions=True)
    await kubelet.wait_for(lambda: not kubelet.is_dialing(RESOURCE))
    server.close()
    return bytes(seen)


async def test_in_1_36_the_old_streams_end_takes_down_the_new_plugin(fake_kubelet):
    async with (
        StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a"), endpoint="old.sock") as old,
        StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a", "b"), endpoint="new.sock") as new,
    ):
        await old.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == 1)
        await new.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == 2)
        assert fake_kubelet.live_streams(RESOURCE) == 2

        await old.stop()

        await fake_kubelet.wait_for(lambda: fake_kubelet.live_streams(RESOURCE) == 0)
        assert (fake_kubelet.capacity[RESOURCE], fake_kubelet.allocatable[RESOURCE]) == (2, 0)
        await new.register()  # what a good plugin does when it sees its stream cut
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable[RESOURCE] == 2)


async def test_in_1_36_the_old_stream_goes_on_feeding_the_resource(fake_kubelet):
    async with (
        StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a"), endpoint="old.sock") as old,
        StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("b"), endpoint="new.sock") as new,
    ):
        await old.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.devices(RESOURCE) == {"a": "Healthy"})
        await new.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.devices(RESOURCE) == {"b": "Healthy"})

        await old.send(devices("a", "c"))

        await fake_kubelet.wait_for(lambda: set(fake_kubelet.devices(RESOURCE)) == {"a", "c"})


async def test_in_1_37_a_new_plugin_with_its_own_socket_takes_over_without_a_gap(socket_dir):
    async with (
        FakeKubelet(socket_dir, mode=Mode.V1_37) as kubelet,
        StubPlugin(socket_dir, RESOURCE, devices("a"), endpoint="old.sock") as old,
        StubPlugin(socket_dir, RESOURCE, devices("a", "b"), endpoint="new.sock") as new,
    ):
        await old.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
        await new.register()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 2)

        await old.stop()

        await kubelet.wait_for(lambda: kubelet.live_streams(RESOURCE) == 1)
        assert kubelet.allocatable[RESOURCE] == 2


async def test_in_1_36_a_failed_second_registration_leaves_stale_healthy_devices(fake_kubelet):
    async def options(_):
        raise Refusal("no")

    async with (
        StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a"), endpoint="old.sock") as old,
        StubPlugin(
            fake_kubelet.plugin_dir, RESOURCE, endpoint="new.sock", behaviors={"GetDevicePluginOptions": options}
        ) as new,
    ):
        await old.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == 1)
        await refusal_of(new)
        await old.stop()

        await fake_kubelet.wait_for(lambda: fake_kubelet.live_streams(RESOURCE) == 0)
        assert fake_kubelet.allocatable[RESOURCE] == 1


@pytest.mark.parametrize(
    ("mode", "left"),
    [
        pytest.param(Mode.V1_36, ["kubelet.sock", "kubelet_internal_checkpoint", "lock", "sub"], id="sockets only"),
        pytest.param(Mode.V1_32, ["kubelet.sock", "kubelet_internal_checkpoint", "sub"], id="all files"),
    ],
)
async def test_starting_cleans_the_directory(socket_dir, mode, left):
    (socket_dir / "sub").mkdir()
    (socket_dir / "lock").touch()
    (socket_dir / "kubelet_internal_checkpoint").touch()
    for name in ("plugin.sock", "kubelet.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(socket_dir / name))

    async with FakeKubelet(socket_dir, mode=mode):
        assert sorted(path.name for path in socket_dir.iterdir()) == left


async def test_an_endpoint_is_joined_to_the_directory_even_if_absolute(fake_kubelet):
    async with StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a")) as plugin:
        await plugin.register(endpoint="/stub.sock")
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == 1)


async def test_a_plugin_that_came_before_its_kubelet_registers_once_it_is_there(socket_dir):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_dir / "kubelet.sock"))
    async with StubPlugin(socket_dir, RESOURCE, devices("a"), endpoint="early.sock") as early:
        with pytest.raises(grpc.aio.AioRpcError):
            await early.register()
        async with FakeKubelet(socket_dir) as kubelet:
            assert not early.socket_path.exists()
            async with StubPlugin(socket_dir, RESOURCE, devices("a"), endpoint="again.sock") as again:
                await again.register()
                await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)


async def test_nothing_happens_before_start_and_nothing_is_left_after_stop(socket_dir):
    kubelet = FakeKubelet(socket_dir / "dp", clock=ManualClock())
    assert not kubelet.plugin_dir.exists()
    before = asyncio.all_tasks()

    async with kubelet, StubPlugin(kubelet.plugin_dir, RESOURCE, devices("a")) as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.live_streams(RESOURCE) == 1)
        await kubelet.stop()
        assert not (kubelet.plugin_dir / "kubelet.sock").exists()
        assert kubelet.live_streams(RESOURCE) == 0

    await grpc_ended(before)
    assert asyncio.all_tasks() == before
