"""The second way to register (contract section 4)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fakekubelet import FakeKubelet
from fakekubelet.kubelet import plugin_watcher
from fakekubelet.stub_plugin import StubPlugin, devices
from tests.running import DEADLINE_S

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


async def test_get_info_has_one_second(fake_node):
    asked = asyncio.Event()

    async def info(_):
        asked.set()
        await asyncio.Event().wait()

    kubelet = fake_node.kubelet
    async with StubPlugin(fake_node.plugins_registry, RESOURCE, behaviors={"GetInfo": info}):
        await asked.wait()
        await fake_node.clock.advance(1.01)
        calls = kubelet.calls
        ended = await kubelet.wait_for(
            lambda: next((call for call in calls if not call.is_open), None), timeout=DEADLINE_S
        )

        assert str(ended.error) == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"


async def test_the_second_is_over_in_the_kubelets_words_on_whichever_clock_it_passes_first(fake_node):
    """The plugin is told the deadline too, and on a busy machine it is the wire's that passes first."""
    asked = asyncio.Event()

    async def info(_):
        asked.set()
        await asyncio.Event().wait()

    async with StubPlugin(fake_node.plugins_registry, RESOURCE, behaviors={"GetInfo": info}):
        await asked.wait()
        calls = fake_node.kubelet.calls
        ended = await fake_node.kubelet.wait_for(
            lambda: next((call for call in calls if not call.is_open), None), timeout=DEADLINE_S
        )

        assert str(ended.error) == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"


def test_the_authority_of_a_registration_socket_is_its_encoded_path():
    assert plugin_watcher.authority_of(Path("/var/lib/kubelet/plugins_registry/a b.sock")) == (
        "%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fa%20b.sock"
    )


async def test_a_registry_that_is_looked_at_now_and_then_is_followed_without_inotify(tmp_path, monkeypatch):
    def no_more():
        raise OSError(24, "too many")

    monkeypatch.setattr("inotify_simple.INotify", no_more)
    kubelet = FakeKubelet(
        tmp_path / "dp", plugins_registry=tmp_path / "reg", registry_look_s=0.01, node_status_period_s=None
    )
    async with kubelet:
        async with StubPlugin(tmp_path / "reg", RESOURCE, devices("a")):
            await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)
        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 0)
