"""From a person's hand on a health file to the kubelet's allocatable, and back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.factories import make_config, make_tree
from tests.running import devices_are, listed, running_daemon, shell

if TYPE_CHECKING:
    from pathlib import Path

    from fakekubelet import FakeKubelet

R2, R3 = "myplugin.io/mydevice-2", "myplugin.io/mydevice-3"
ALL_HEALTHY = {f"node2-dev3-{number}": "Healthy" for number in (1, 2, 3)}
ONE_DOWN = ALL_HEALTHY | {"node2-dev3-2": "Unhealthy"}

WAYS_TO_WRITE = [
    pytest.param("echo {word} > node2/dev3/2/health", id="echo"),
    pytest.param("printf %s {word} > node2/dev3/2/health", id="no newline"),
    pytest.param("echo {word} > new && cp new node2/dev3/2/health", id="cp over it"),
    pytest.param("echo {word} > new && mv new node2/dev3/2/health", id="mv over it"),
    pytest.param("rm -f new; echo {word} > new && ln -f new node2/dev3/2/health", id="hard link over it"),
    pytest.param("echo {word} > new && install -m 600 new node2/dev3/2/health", id="install"),
    pytest.param("sed -i 's/.*/{word}/' node2/dev3/2/health", id="sed -i"),
    pytest.param("echo {word} | tee node2/dev3/2/health >/dev/null", id="tee"),
    pytest.param("truncate -s 0 node2/dev3/2/health; echo {word} >> node2/dev3/2/health", id="truncate, then append"),
    pytest.param("echo {word} | dd of=node2/dev3/2/health status=none", id="dd"),
    pytest.param("exec 3> node2/dev3/2/health; sleep 0.05; echo {word} >&3", id="truncate, wait, write"),
    pytest.param(
        "cd node2/dev3/2; mv health health~; echo {word} > health; chmod 644 health; rm health~", id="vim, with backup"
    ),
    pytest.param("cd node2/dev3/2; echo {word} > .health.swp; mv .health.swp health", id="editor, swap file"),
    pytest.param("rm node2/dev3/2/health; echo {word} > node2/dev3/2/health", id="remove and make again"),
]


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
async def test_every_way_of_writing_flips_exactly_that_device_and_shows_no_other_state(
    way: str, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """The kubelet must see the two states that were written, in that order, and nothing between or beside them."""
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R2, R3])

        await shell(way.format(word="unhealthy"), root)
        await devices_are(kubelet, R3, ONE_DOWN)
        await shell(way.format(word="healthy"), root)
        await devices_are(kubelet, R3, ALL_HEALTHY)

        states = [{one: health for one, (health, _) in update.devices.items()} for update in kubelet.history(R3)]
        # "truncate, then append" closes an empty file in between: that state was really there.
        seen = [state for number, state in enumerate(states) if number == 0 or state != states[number - 1]]
        if "truncate" not in way:
            assert seen == [ALL_HEALTHY, ONE_DOWN, ALL_HEALTHY]
        assert all(state in (ALL_HEALTHY, ONE_DOWN) for state in seen)
        assert len(kubelet.history(R2)) == 1


async def test_unhealthy_lowers_allocatable_and_leaves_capacity(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Contract NS-1."""
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])

        await shell("echo unhealthy > node2/dev3/2/health", root)
        await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 2)

        assert kubelet.capacity[R3] == 3


async def test_a_thousand_flips_at_once_are_a_handful_of_lists(
    roomy_dir: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Every list makes a kubelet write its checkpoint (contract LW-7), so a storm must coalesce."""
    root = make_tree(roomy_dir / "many", *(f"node1/dev1/{number}" for number in range(1000)))
    resource = "myplugin.io/mydevice-1"
    async with running_daemon(make_config(root, plugin_dir)):
        await kubelet.wait_for(lambda: kubelet.allocatable.get(resource) == 1000, timeout=20)

        for number in range(1000):
            (root / f"node1/dev1/{number}/health").write_text("unhealthy\n")
        await kubelet.wait_for(lambda: kubelet.allocatable[resource] == 0, timeout=20)

        assert len(kubelet.history(resource)) < 100


async def test_two_streams_both_see_the_latest_state(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    """A kubelet that opens ListAndWatch twice must not get half of the updates in each."""
    import grpc

    from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
    from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc

    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        endpoint = next(
            registration.endpoint for registration in kubelet.registrations if registration.resource_name == R3
        )
        async with grpc.aio.insecure_channel(f"unix:{plugin_dir / endpoint}") as channel, asyncio.timeout(10):
            stream = pluginapi_grpc.DevicePluginStub(channel).ListAndWatch(pluginapi.Empty())
            assert {one.ID: one.health for one in (await stream.read()).devices} == ALL_HEALTHY

            await shell("echo unhealthy > node2/dev3/2/health", root)

            assert {one.ID: one.health for one in (await stream.read()).devices} == ONE_DOWN
            await devices_are(kubelet, R3, ONE_DOWN)
            stream.cancel()
