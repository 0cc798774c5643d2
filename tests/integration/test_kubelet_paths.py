"""Directories of a test may have any name; what a plugin calls its socket is read as a kubelet's gRPC reads it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from fakekubelet import FakeKubelet, FakeNode, ManualClock, StubPlugin, pod, socket_path
from fakekubelet.stub_plugin import devices

RESOURCE = "example.com/dongle"


@pytest.mark.parametrize(
    "name", ["a%2Fb", "100%", "a#b", "a?b", "a,b", "a b", "ü", "a:b", "%41", "a\\b", "[a]", "\udcff"]
)
async def test_a_directory_may_have_any_name(socket_dir, name):
    async with FakeNode(socket_dir / name) as node:
        by_call = StubPlugin(node.plugin_dir, RESOURCE, devices("a"))
        (node.plugins_registry / "x").mkdir()
        found = StubPlugin(node.plugins_registry / "x", "example.com/found", devices("b"))
        async with by_call, found:
            await by_call.register()
            await node.kubelet.wait_for(lambda: node.kubelet.allocatable == {RESOURCE: 1, "example.com/found": 1})
            assert (await node.kubelet.admit(pod.simple("p", {RESOURCE: 1}))).phase == "Pending"

        assert node.pod_resources_socket.is_socket()


@pytest.mark.parametrize("endpoint", ["a b.sock", "a,b.sock", "ü.sock", "a:b.sock", "a&b=c;d.sock"])
async def test_a_socket_with_such_a_name_is_found(socket_dir, endpoint):
    async with (
        FakeKubelet(socket_dir) as kubelet,
        StubPlugin(socket_dir, RESOURCE, devices("a"), endpoint=endpoint) as plugin,
    ):
        await plugin.register()

        await kubelet.wait_for(lambda: kubelet.allocatable.get(RESOURCE) == 1)


async def test_a_percent_that_begins_nothing_is_refused_at_once(socket_dir):
    async with FakeKubelet(socket_dir) as kubelet, StubPlugin(socket_dir, RESOURCE, endpoint="100%.sock") as plugin:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await plugin.register()

        assert 'failed to dial device plugin: parse "passthrough:///' in caught.value.details()
        assert 'invalid URL escape "%.s"' in kubelet.registrations[0].error


@pytest.mark.parametrize("endpoint", ["a#b.sock", "a?b.sock", "%41.sock"])
async def test_a_name_that_means_something_in_a_uri_leads_elsewhere(socket_dir, endpoint):
    """The plugin serves, and a kubelet dials another path for 10 s."""
    clock = ManualClock()
    async with (
        FakeKubelet(socket_dir, clock=clock) as kubelet,
        StubPlugin(socket_dir, RESOURCE, endpoint=endpoint) as plugin,
    ):

        async def time_passes():
            await kubelet.wait_for(lambda: kubelet.is_dialing(RESOURCE))
            await clock.advance(10)

        passing = asyncio.create_task(time_passes(), name="ten seconds")
        with pytest.raises(grpc.aio.AioRpcError, match="failed to dial device plugin: context deadline exceeded"):
            await plugin.register()
        await passing


def test_what_a_kubelet_makes_of_a_name(tmp_path):
    def reads(name):
        return str(socket_path.as_a_kubelet_reads(tmp_path / "100%" / name, tmp_path / "100%")).removeprefix(
            f"{tmp_path}/"
        )

    assert reads("plain.sock") == "100%/plain.sock"
    assert reads("a%2Fb.sock") == "100%/a/b.sock"
    assert reads("%41%c3%bc") == "100%/Aü"
    assert reads("a#b?c") == reads("a?b#c") == "100%/a"
    with pytest.raises(socket_path.UnreadablePathError, match='invalid URL escape "%"'):
        reads("a%")
    with pytest.raises(socket_path.UnreadablePathError, match='invalid URL escape "%g1"'):
        reads("%g1")


async def test_where_it_cannot_listen_a_kubelet_says_so_by_name(socket_dir):
    (socket_dir / "kubelet.sock").symlink_to(socket_dir / "nowhere")

    with pytest.raises(OSError, match=r"a kubelet cannot listen there: '.*/kubelet\.sock'"):
        await FakeKubelet(socket_dir).start()
