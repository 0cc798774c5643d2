"""How kubelets take registrations (contract sections 3 and 4)."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from pathlib import Path

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from fakekubelet import pod, stub_plugin
from fakekubelet.kubelet.plugin_watcher import authority_of
from fakekubelet.stub_plugin import Behavior, Refusal, StubPlugin, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.pluginregistration.v1 import api_pb2 as watcherapi
from tests.fidelity.conftest import Make
from tests.fidelity.node import Node


async def test_path_3_anybody_may_look_into_the_plugin_directory_and_nobody_into_the_one_of_pod_resources(
    node: Node,
) -> None:
    assert stat.S_IMODE(node.plugin_dir.stat().st_mode) == 0o755
    assert stat.S_IMODE(node.pod_resources_socket.parent.stat().st_mode) == 0o750


async def refusal_of(plugin: StubPlugin, **fields: str) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plugin.register(**fields)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    return str(caught.value.details())


async def test_reg_4_another_version_is_refused(node: Node, make_plugin: Make) -> None:
    plugin = await make_plugin("a", register=False)

    assert await refusal_of(plugin, version="v1beta2") == (
        'requested API version "v1beta2" is not supported by kubelet. Supported version is ["v1beta1"]'
    )
    assert plugin.requests == []


@pytest.mark.parametrize(
    "name", ["dongle", "my-kubernetes.io/x", "requests.example.com/x", "Example.com/x", "example.com/-x"]
)
async def test_reg_10_a_name_that_is_no_extended_resource_is_refused(name: str, node: Node, make_plugin: Make) -> None:
    plugin = await make_plugin("a", register=False, resource=name, endpoint=f"bad-name-{os.getpid()}.sock")

    assert await refusal_of(plugin) == f'the ResourceName "{name}" is invalid'
    assert plugin.requests == []


async def test_reg_4_options_that_fail_fail_the_registration_and_are_asked_for_once(
    node: Node, make_plugin: Make, resource: str
) -> None:
    async def options(_: object) -> None:
        raise Refusal("simulated", grpc.StatusCode.INTERNAL)

    plugin = await make_plugin("a", register=False, behaviors={"GetDevicePluginOptions": options})

    assert (
        await refusal_of(plugin) == "failed to get device plugin options: rpc error: code = Internal desc = simulated"
    )
    assert [name for name, _ in plugin.requests] == ["GetDevicePluginOptions"]
    assert await node.numbers(resource, settled=True) is None


async def test_reg_6_a_socket_that_nobody_serves_is_dialed_for_ten_seconds(node: Node, resource: str) -> None:
    plugin = StubPlugin(node.plugin_dir, resource, endpoint="nobody.sock")
    registering = asyncio.create_task(refusal_of(plugin))

    assert await node.time_until(registering.done) >= 9
    assert await registering == "failed to dial device plugin: context deadline exceeded"


async def test_reg_6_a_socket_that_is_served_a_moment_later_will_do(node: Node, resource: str) -> None:
    plugin = StubPlugin(node.plugin_dir, resource, devices("a"), endpoint="late.sock")
    registering = asyncio.create_task(plugin.register())
    await asyncio.sleep(0.3)  # time for the first try to fail

    async with plugin:
        await registering
        await node.shows(resource, 1, 1)


@pytest.mark.holds(since="1.35", is_sure=False)  # the kubelet may look again too late to find it
async def test_reg_7_the_calls_own_deadline_ends_the_dialing(
    node: Node, resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stub_plugin, "REGISTER_TIMEOUT_S", 1.0)
    plugin = StubPlugin(node.plugin_dir, resource, devices("a"), endpoint="too-late.sock")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await plugin.register()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async with plugin:
        assert await node.numbers(resource, settled=True) is None
        assert plugin.requests == []


async def test_reg_5_register_is_answered_after_the_options_and_before_the_list(node: Node, make_plugin: Make) -> None:
    answered = asyncio.Event()

    async def options(_: object) -> pluginapi.DevicePluginOptions:
        assert not answered.is_set()
        return pluginapi.DevicePluginOptions()

    plugin = await make_plugin("a", register=False, behaviors={"GetDevicePluginOptions": options})
    await plugin.register()
    answered.set()
    await node.shows(plugin.resource, 1, 1)

    assert [name for name, _ in plugin.requests] == ["GetDevicePluginOptions", "ListAndWatch"]


async def test_reg_8_options_in_the_request_are_ignored(node: Node, make_plugin: Make, resource: str) -> None:
    asked = pluginapi.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True)
    plugin = await make_plugin("a", request_options=asked)
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1})
    await node.runs(spec)

    assert plugin.count("GetPreferredAllocation") == plugin.count("PreStartContainer") == 0
    assert plugin.count("Allocate") == 1


async def test_reg_9_an_absolute_endpoint_is_joined_to_the_directory(
    node: Node, make_plugin: Make, resource: str
) -> None:
    plugin = await make_plugin("a", register=False, endpoint="joined.sock")
    await plugin.register(endpoint="/joined.sock")

    await node.shows(resource, 1, 1)


async def test_reg_9_a_percent_that_begins_nothing_is_refused_at_once(node: Node, make_plugin: Make) -> None:
    plugin = await make_plugin("a", register=False, endpoint="100%.sock")

    said = await refusal_of(plugin)

    assert said.startswith("failed to dial device plugin: ")
    assert said.endswith('invalid URL escape "%.s"')


@pytest.mark.parametrize("endpoint", ["uri%2Fname.sock", "uri#name.sock", "uri?name.sock"])
async def test_reg_9_a_name_that_means_something_in_a_uri_is_looked_for_elsewhere(
    node: Node, make_plugin: Make, endpoint: str
) -> None:
    plugin = await make_plugin("a", register=False, endpoint=endpoint)
    registering = asyncio.create_task(refusal_of(plugin))
    await node.time_until(registering.done)

    assert await registering == "failed to dial device plugin: context deadline exceeded"


async def first_request(path: Path, method: str, *, until: asyncio.Event) -> dict[str, str]:
    """Serve just enough HTTP/2 on `path` for a client to call `method`, and return the headers that it sent."""
    headers: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        server = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        server.initiate_connection()
        writer.write(server.data_to_send())
        while not headers.done() and (chunk := await reader.read(4096)):
            for event in server.receive_data(chunk):
                if isinstance(event, RequestReceived) and (sent := dict(event.headers))[":path"].endswith(method):
                    headers.set_result(sent)
            writer.write(server.data_to_send())

    server = await asyncio.start_unix_server(serve, path)
    until.set()
    try:
        async with asyncio.timeout(30):
            return await headers
    finally:
        server.close()
        for writer in writers:
            writer.close()
        path.unlink(missing_ok=True)


async def test_pit_10_a_plugin_is_called_with_authority_localhost(node: Node, resource: str) -> None:
    path, is_served = node.plugin_dir / "raw.sock", asyncio.Event()
    looking = asyncio.create_task(first_request(path, "GetDevicePluginOptions", until=is_served))
    await is_served.wait()
    plugin = StubPlugin(node.plugin_dir, resource, endpoint=path.name)
    registering = asyncio.create_task(plugin.register())

    seen = await looking

    registering.cancel()
    await asyncio.gather(registering, return_exceptions=True)
    assert seen[":authority"] == "localhost"


async def test_reg_12_an_old_stream_goes_on_feeding_the_resource(node: Node, make_plugin: Make, resource: str) -> None:
    old = await make_plugin("a")
    await node.shows(resource, 1, 1)
    await make_plugin("b", "c")
    await node.shows(resource, 2, 2)

    await old.send(devices("a", "d", "e"))

    await node.shows(resource, 3, 3)


@pytest.mark.holds(until="1.36")
async def test_reg_13_the_old_streams_end_takes_the_new_plugin_down(
    node: Node, make_plugin: Make, resource: str
) -> None:
    old = await make_plugin("a")
    await node.shows(resource, 1, 1)
    new = await make_plugin("a", "b")
    await node.shows(resource, 2, 2)

    await old.stop()

    await node.shows(resource, 2, 0)
    await new.register()  # what a good plugin does when it sees its stream cut
    await node.shows(resource, 2, 2)


@pytest.mark.holds(until="1.36")
async def test_reg_14_after_a_failed_second_registration_the_end_of_the_first_is_not_noticed(
    node: Node, make_plugin: Make, resource: str
) -> None:
    async def options(_: object) -> None:
        raise Refusal("no")

    old = await make_plugin("a")
    await node.shows(resource, 1, 1)
    new = await make_plugin(register=False, behaviors={"GetDevicePluginOptions": options})
    await refusal_of(new)

    await old.stop()

    assert await node.numbers(resource, settled=True) == (1, 1)


async def test_reg_14_after_a_failed_second_registration_the_first_plugin_goes_on_giving_devices(
    node: Node, make_plugin: Make, resource: str
) -> None:
    async def options(_: object) -> None:
        raise Refusal("no")

    first = await make_plugin("a")
    await node.shows(resource, 1, 1)
    await refusal_of(await make_plugin(register=False, behaviors={"GetDevicePluginOptions": options}))

    await node.runs(pod.simple("p", {resource: 1}))
    await first.send(devices("a", "b"))
    await node.shows(resource, 2, 2)
    assert first.count("Allocate") == 1


async def test_reg_20_when_the_newcomer_ends_the_first_plugin_hears_nothing_and_only_register_brings_it_back(
    node: Node, make_plugin: Make, resource: str
) -> None:
    first = await make_plugin("a")
    await node.shows(resource, 1, 1)
    newcomer = await make_plugin("b", "c")
    await node.shows(resource, 2, 2)

    await newcomer.stop()

    await node.shows(resource, 2, 0)
    await first.send(devices("a", "d"))  # its stream is still read
    await node.shows(resource, 2, 2)
    assert first.count("ListAndWatch") == 1
    assert "has been stopped" in (await node.fails(pod.simple("stopped", {resource: 1}))).message
    await first.register()
    await node.shows(resource, 2, 2)
    await node.runs(pod.simple("again", {resource: 1}))


def notices(plugin: StubPlugin) -> list[tuple[bool, str]]:
    return [
        (request.plugin_registered, request.error)
        for name, request in plugin.requests
        if name == "NotifyRegistrationStatus"
    ]


async def test_pw_2_a_socket_in_the_registry_is_asked_registered_and_told(node: Node, resource: str) -> None:
    async with StubPlugin(node.plugins_registry, resource, devices("a", "b"), endpoint="watched.sock") as plugin:
        await node.shows(resource, 2, 2)
        while not notices(plugin):  # the list may be there before it
            await node.pass_time(0.1)

        assert [name for name, _ in plugin.requests[:2]] == ["GetInfo", "GetDevicePluginOptions"]
        assert notices(plugin) == [(True, "")]
    await node.shows(resource, 2, 0)  # contract PW-6: the socket went away


async def test_pw_1_sockets_are_found_below_folders_and_hidden_ones_and_files_are_not(
    node: Node, resource: str
) -> None:
    deep = node.plugins_registry / resource.rpartition("/")[2]
    deep.mkdir()
    (deep / "file.sock").touch()
    try:
        async with (
            StubPlugin(deep, f"{resource}-hidden", devices("a"), endpoint=".hidden.sock") as hidden,
            StubPlugin(deep, resource, devices("a", "b"), endpoint="deep.sock"),
        ):
            await node.shows(resource, 2, 2)
            assert hidden.requests == []
    finally:
        shutil.rmtree(deep)


@pytest.mark.holds(since="1.36")
async def test_pw_3_a_plugin_that_refuses_the_notice_is_taken_off_and_tried_again(node: Node, resource: str) -> None:
    async def refuse(_: object) -> None:
        await asyncio.sleep(0.2)  # time for the list to arrive
        raise Refusal("do not want")

    endpoint = f"{resource.rpartition('/')[2]}.sock"
    behaviors: dict[str, Behavior] = {"NotifyRegistrationStatus": refuse}
    async with StubPlugin(
        node.plugins_registry, resource, devices("a"), endpoint=endpoint, behaviors=behaviors
    ) as plugin:
        await node.time_until(lambda: len(notices(plugin)) >= 2)
        await node.shows(resource, 1, 0)
        behaviors.clear()
        await node.shows(resource, 1, 1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"type": "NoPlugin"}, "no handler registered for plugin type: NoPlugin at socket {path}"),
        (
            {"supported_versions": ["v1"]},
            "plugin validation failed with err: manager version, v1beta1, is not among plugin supported versions [v1]",
        ),
        (
            {"name": "kubernetes.io/x"},
            'plugin validation failed with err: invalid name of device plugin socket: the ResourceName "kubernetes.io/x" is invalid',
        ),
    ],
    ids=["type", "version", "name"],
)
async def test_pw_4_a_plugin_that_is_not_wanted_is_told_why_and_tried_again(
    changed: dict[str, object], said: str, node: Node, resource: str
) -> None:
    fields = {"type": "DevicePlugin", "name": resource, "supported_versions": ["v1beta1"], **changed}

    async def info(_: object) -> watcherapi.PluginInfo:
        return watcherapi.PluginInfo(**fields)  # type: ignore[arg-type]  # some are wrong on purpose

    endpoint = f"{resource.rpartition('/')[2]}.sock"
    behaviors: dict[str, Behavior] = {"GetInfo": info}
    async with StubPlugin(
        node.plugins_registry, resource, devices("a"), endpoint=endpoint, behaviors=behaviors
    ) as plugin:
        await node.time_until(lambda: notices(plugin))
        text = said.format(path=node.registry_as_the_kubelet_has_it / endpoint)
        assert notices(plugin)[0] == (False, f"RegisterPlugin error -- {text}")
        behaviors.clear()
        await node.shows(resource, 1, 1)


async def test_pw_11_a_path_that_failed_waits_its_back_off_even_if_its_socket_is_made_again(
    node: Node, resource: str
) -> None:
    async def unfit(_: object) -> None:
        raise Refusal("not now")

    endpoint = f"{resource.rpartition('/')[2]}.sock"
    bad = StubPlugin(node.plugins_registry, resource, devices("a"), endpoint=endpoint, behaviors={"GetInfo": unfit})
    async with bad:  # tries at once, and after 0.5, 1, 2, 4, 8 s
        await node.time_until(lambda: bad.count("GetInfo") >= 5)
    async with StubPlugin(node.plugins_registry, resource, devices("a"), endpoint=endpoint) as good:
        await node.pass_time(3)
        assert good.requests == []
        await node.shows(resource, 1, 1)


async def test_pw_8_a_socket_in_the_registry_is_called_with_its_encoded_path_as_authority(
    node: Node, resource: str
) -> None:
    path, is_served = node.plugins_registry / f"{resource.rpartition('/')[2]}.sock", asyncio.Event()

    seen = await first_request(path, "GetInfo", until=is_served)

    assert seen[":authority"] == authority_of(node.registry_as_the_kubelet_has_it / path.name)
