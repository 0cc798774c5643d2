"""The second way to register (contract section 4)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from plugin.api.pluginregistration.v1 import api_pb2 as watcherapi
from plugin.testing import plugin_watcher
from plugin.testing.stub_plugin import Refusal, StubPlugin, devices

RESOURCE = "example.com/dongle"


def notices(plugin):
    return [(one.plugin_registered, one.error) for name, one in plugin.requests if name == "NotifyRegistrationStatus"]


async def test_a_socket_that_appears_is_registered_and_told_so(fake_node):
    kubelet = fake_node.kubelet
    async with StubPlugin(fake_node.plugins_registry, RESOURCE, devices("a")) as plugin:
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
        await kubelet.wait_for(lambda: notices(plugin) == [(True, "")])

        assert [name for name, _ in plugin.requests][:2] == ["GetInfo", "GetDevicePluginOptions"]
        (record,) = kubelet.registrations
        assert (record.route, record.endpoint, record.error) == ("watcher", str(plugin.socket_path), None)


async def test_sockets_survive_a_kubelet_restart_and_are_found_again(fake_node):
    kubelet = fake_node.kubelet
    (fake_node.plugins_registry / "deep").mkdir()
    async with StubPlugin(fake_node.plugins_registry / "deep", RESOURCE, devices("a")) as plugin:
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
        await kubelet.restart()
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)

        assert plugin.socket_path.exists()
        assert plugin.count("GetInfo") == 2


async def test_a_removed_socket_is_deregistered(fake_node):
    kubelet = fake_node.kubelet
    async with StubPlugin(fake_node.plugins_registry, RESOURCE, devices("a")) as plugin:
        await kubelet.wait_for(lambda: notices(plugin) == [(True, "")] and kubelet.allocatable.get(RESOURCE) == 1)

        plugin.socket_path.unlink()

        await kubelet.wait_for(lambda: kubelet.allocatable[RESOURCE] == 0)
        assert kubelet.live_streams(RESOURCE) == 0


async def test_hidden_sockets_and_plain_files_are_ignored(fake_node):
    (fake_node.plugins_registry / "file.sock").touch()
    async with (
        StubPlugin(fake_node.plugins_registry, "example.com/hidden", endpoint=".hidden.sock") as hidden,
        StubPlugin(fake_node.plugins_registry, RESOURCE, devices("a")),
    ):
        await fake_node.kubelet.wait_for(lambda: fake_node.kubelet.allocatable.get(RESOURCE) == 1)

        assert hidden.requests == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"type": "CSIPlugin"}, "no handler registered for plugin type: CSIPlugin", id="other type"),
        pytest.param({"supported_versions": ["v1"]}, "is not among plugin supported versions [v1]", id="other version"),
        pytest.param({"name": "kubernetes.io/x"}, 'the ResourceName "kubernetes.io/x" is invalid', id="bad name"),
    ],
)
async def test_a_plugin_that_is_not_wanted_is_told_why_and_tried_again_with_back_off(fake_node, changed, said):
    fields = {"type": "DevicePlugin", "name": RESOURCE, "supported_versions": ["v1beta1"], **changed}

    async def info(_):
        return watcherapi.PluginInfo(**fields)

    kubelet = fake_node.kubelet
    async with StubPlugin(fake_node.plugins_registry, RESOURCE, devices("a"), behaviors={"GetInfo": info}) as plugin:
        await kubelet.wait_for(lambda: kubelet.calls.of("NotifyRegistrationStatus") and kubelet.calls.calls[-1].reply)
        assert said in notices(plugin)[0][1]
        await fake_node.clock.advance(0.4)
        assert plugin.count("GetInfo") == 1

        plugin.behaviors.clear()
        await fake_node.clock.advance(0.2)
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)


async def test_get_info_has_one_second(fake_node):
    asked = asyncio.Event()

    async def info(_):
        asked.set()
        await asyncio.Event().wait()

    kubelet = fake_node.kubelet
    async with StubPlugin(fake_node.plugins_registry, RESOURCE, behaviors={"GetInfo": info}):
        await asked.wait()
        await fake_node.clock.advance(1.01)
        call = await kubelet.wait_for(lambda: next((one for one in kubelet.calls if not one.is_open), None))

        assert str(call.error) == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"


async def test_a_plugin_that_refuses_the_notice_is_deregistered_and_tried_again(fake_node):
    async def refuse(_):
        raise Refusal("do not want")

    kubelet = fake_node.kubelet
    async with StubPlugin(
        fake_node.plugins_registry, RESOURCE, devices("a"), behaviors={"NotifyRegistrationStatus": refuse}
    ) as plugin:
        await kubelet.wait_for(lambda: kubelet.calls.of("NotifyRegistrationStatus"))
        await kubelet.wait_for(lambda: kubelet.live_streams(RESOURCE) == 0 and kubelet.allocatable.get(RESOURCE) == 0)

        plugin.behaviors.clear()
        await fake_node.clock.advance(1)
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)


def test_the_authority_of_a_registration_socket_is_its_encoded_path():
    assert plugin_watcher.authority_of(Path("/var/lib/kubelet/plugins_registry/a b.sock")) == (
        "%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fa%20b.sock"
    )
