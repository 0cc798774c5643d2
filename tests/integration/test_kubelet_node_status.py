"""Lists, streams and what the Node object makes of them (contract sections 5 and 6; scenarios 2, 3, 4, 9)."""

from __future__ import annotations

import pytest

from fakekubelet import FakeKubelet, ManualClock
from fakekubelet.stub_plugin import StubPlugin, devices

RESOURCE = "example.com/dongle"
FIVE_MINUTES = 300


def counts(kubelet):
    """Return capacity and allocatable as known now; None where the key is absent."""
    return kubelet.capacity.get(RESOURCE), kubelet.allocatable.get(RESOURCE)


async def test_an_id_sent_twice_with_different_health_counts_twice_and_is_flagged(fake_kubelet):
    doubled = [*devices("a"), *devices("a", health="Unhealthy")]
    async with StubPlugin(fake_kubelet.plugin_dir, RESOURCE, doubled) as plugin:
        await plugin.register()
        await fake_kubelet.wait_for(lambda: counts(fake_kubelet) == (2, 1))

        assert fake_kubelet.history(RESOURCE)[0].repeated_ids == ("a",)


async def test_the_end_of_the_grace_period_wakes_whoever_waits(fake_node):
    kubelet = fake_node.kubelet
    async with StubPlugin(fake_node.plugin_dir, RESOURCE, devices("a")) as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: counts(kubelet) == (1, 1))
        await plugin.stop()
        await kubelet.wait_for(lambda: counts(kubelet) == (1, 0))

        await fake_node.clock.advance(FIVE_MINUTES + 1)
        await kubelet.wait_for(lambda: counts(kubelet) == (0, 0))


async def test_the_node_object_follows_at_the_next_tick_and_not_before(socket_dir):
    clock = ManualClock()
    async with (
        FakeKubelet(socket_dir, clock=clock) as kubelet,
        StubPlugin(socket_dir, RESOURCE, devices("a")) as plugin,
    ):
        await plugin.register()
        await kubelet.wait_for(lambda: counts(kubelet) == (1, 1))
        assert not kubelet.is_node_status_current
        await clock.advance(9.9)
        assert kubelet.node_status.capacity == {}

        await clock.advance(0.5)
        assert kubelet.node_status.capacity == {RESOURCE: 1}
        await plugin.send(devices("a", "b"))
        await kubelet.wait_for(lambda: counts(kubelet) == (2, 2))
        await kubelet.tick()
        assert kubelet.node_status.capacity == {RESOURCE: 2}


async def test_a_new_registration_ends_the_grace_period(fake_node):
    kubelet = fake_node.kubelet
    async with StubPlugin(fake_node.plugin_dir, RESOURCE, devices("a"), endpoint="one.sock") as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: counts(kubelet) == (1, 1))
    await kubelet.wait_for(lambda: counts(kubelet) == (1, 0))
    await fake_node.clock.advance(FIVE_MINUTES - 1)
    async with StubPlugin(fake_node.plugin_dir, RESOURCE, devices("a"), endpoint="two.sock") as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: counts(kubelet) == (1, 1))
        await fake_node.clock.advance(60)

        assert counts(kubelet) == (1, 1)


async def test_numbers_that_nobody_stands_behind_survive_restarts_and_a_new_node(fake_node):
    kubelet = fake_node.kubelet
    async with StubPlugin(fake_node.plugin_dir, RESOURCE, devices("a")) as plugin:
        await plugin.register()
        await kubelet.wait_for(lambda: counts(kubelet) == (1, 1))
    kubelet.patch_node({"example.com/by-hand": 4})
    await kubelet.restart()
    assert kubelet.node_status.allocatable["example.com/by-hand"] == 4

    await kubelet.recreate_node()

    assert kubelet.node_status.allocatable == {RESOURCE: 0, "example.com/by-hand": 4}


async def test_wait_for_says_what_is_the_case_when_it_gives_up(fake_kubelet):
    async with StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a")) as plugin:
        await plugin.register()
        await fake_kubelet.wait_for(lambda: counts(fake_kubelet) == (1, 1))

        with pytest.raises(TimeoutError, match=r"example.com/dongle: allocatable/capacity 1/1, 1 stream\(s\)"):
            await fake_kubelet.wait_for(lambda: counts(fake_kubelet) == (2, 2), timeout=0.01)
