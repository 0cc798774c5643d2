"""What Kubernetes' own node tests claim of device plugins (test/e2e_node/device_plugin*_test.go) and no fact's test does."""

from __future__ import annotations

import pytest

from fakekubelet import StubPlugin, pod
from fakekubelet.kubelet.pod_status import Phase
from fakekubelet.stub_plugin import Refusal, devices

RESOURCE = "example.com/dongle"


@pytest.fixture
async def plugin(fake_kubelet):
    async with StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a", "b")) as plugin:
        await plugin.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == 2)
        yield plugin


async def test_a_pod_that_has_succeeded_is_not_admitted_again_after_a_restart_without_its_plugin(fake_kubelet, plugin):
    admitted = await fake_kubelet.admit(pod.simple("done", {RESOURCE: 1}))
    fake_kubelet.finish(admitted, Phase.SUCCEEDED)

    await plugin.stop()
    await fake_kubelet.restart()

    assert (admitted.phase, admitted.reason) == ("Succeeded", "")


async def test_the_status_of_a_failed_pod_goes_on_telling_of_its_device(fake_kubelet, plugin):
    admitted = await fake_kubelet.admit(pod.simple("crashed", {RESOURCE: 2}))
    await fake_kubelet.start_container(admitted)
    fake_kubelet.finish(admitted, Phase.FAILED)

    await plugin.send([*devices("a", health="Unhealthy"), *devices("b")])
    await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable[RESOURCE] == 1)

    assert fake_kubelet.allocated_resources_status(admitted) == {"main": {RESOURCE: {"a": "Unhealthy", "b": "Healthy"}}}


async def test_devices_of_a_pod_that_was_deleted_while_the_kubelet_was_down_are_free_again(fake_kubelet, plugin):
    admitted = await fake_kubelet.admit(pod.simple("orphan", {RESOURCE: 2}))
    await fake_kubelet.stop()
    await fake_kubelet.remove(admitted)
    await fake_kubelet.start()
    await plugin.stop()  # its socket went with the restart
    async with StubPlugin(fake_kubelet.plugin_dir, RESOURCE, devices("a", "b")) as again:
        await again.register()
        await fake_kubelet.wait_for(lambda: fake_kubelet.allocatable.get(RESOURCE) == 2)

        assert (await fake_kubelet.admit(pod.simple("next", {RESOURCE: 2}))).phase == "Pending"


async def test_a_plugin_whose_first_stream_fails_at_once_has_nothing_and_is_not_asked_again(fake_kubelet):
    async with StubPlugin(fake_kubelet.plugin_dir, RESOURCE, lists_nothing=True) as plugin:
        await plugin.end_streams(Refusal("no list today"))
        await plugin.register()
        await fake_kubelet.wait_for(
            lambda: plugin.count("ListAndWatch") == 1 and not fake_kubelet.live_streams(RESOURCE)
        )
        await fake_kubelet.tick()

        assert fake_kubelet.node_status.allocatable.get(RESOURCE, 0) == 0
        assert plugin.count("ListAndWatch") == 1
