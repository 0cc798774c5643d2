"""Kubelets that go and come again (contract sections 3 and 10)."""

from __future__ import annotations

import dataclasses
import json
import os
import socket

import inotify_simple
import pytest

from fakekubelet import pod
from fakekubelet.stub_plugin import StubPlugin, devices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.fidelity.conftest import Make
from tests.fidelity.node import Node
from tests.fidelity.test_pods import devices_of, requested

pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def _can_restart(request: pytest.FixtureRequest) -> None:
    if "real" in request.node.name and not os.environ.get("KUBELET_RESTART"):
        pytest.skip("KUBELET_RESTART does not say how to restart the kubelet of {node}")


@pytest.mark.holds(since="1.33")
async def test_reg_2_a_start_deletes_sockets_and_nothing_else(node: Node, make_plugin: Make) -> None:
    plugin = await make_plugin("a")
    await node.shows(plugin.resource, 1, 1)
    (node.plugin_dir / "folder").mkdir(exist_ok=True)
    (node.plugin_dir / "lock").touch()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(node.plugin_dir / "dead.sock"))

    await node.restart()
    left = {path.name for path in node.plugin_dir.iterdir()}
    (node.plugin_dir / "folder").rmdir()
    (node.plugin_dir / "lock").unlink(missing_ok=True)

    assert left == {"kubelet.sock", "kubelet_internal_checkpoint", "folder", "lock"}


async def test_rs_8_a_kubelet_that_ends_leaves_its_socket_and_no_event_tells(node: Node) -> None:
    path = node.plugin_dir / "kubelet.sock"
    before = path.stat()
    with inotify_simple.INotify() as inotify:
        inotify.add_watch(
            path.parent, inotify_simple.flags.DELETE | inotify_simple.flags.CREATE | inotify_simple.flags.ATTRIB
        )
        async with node.dead():
            after = path.stat()
            events = inotify.read(timeout=0)
            with socket.socket(socket.AF_UNIX) as probe, pytest.raises(ConnectionRefusedError):
                probe.connect(str(path))

    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    assert events == []


async def test_pw_5_sockets_in_the_registry_survive_a_restart_and_are_found_again(node: Node, resource: str) -> None:
    endpoint = f"{resource.rpartition('/')[2]}.sock"
    async with StubPlugin(node.plugins_registry, resource, devices("a"), endpoint=endpoint) as plugin:
        await node.shows(resource, 1, 1)
        await node.restart()
        await node.time_until(lambda: plugin.count("ListAndWatch") == 2)
        await node.shows(resource, 1, 1)

        assert plugin.socket_path.exists()


async def test_rs_1_a_pod_keeps_its_device_over_a_restart_of_the_plugin(
    node: Node, make_plugin: Make, resource: str
) -> None:
    first = await make_plugin("a", "b", "c")
    await node.shows(resource, 3, 3)
    spec, other = pod.simple("p", {resource: 1}), pod.simple("q", {resource: 2})
    await node.runs(spec)
    mine = await devices_of(node, spec)

    await first.stop()
    await node.shows(resource, 3, 0)
    seen = await node.until(spec, lambda one: "main" in one.running)
    assert seen.starts["main"] == 1
    early = await node.fails(pod.simple("early", {resource: 1}))  # contract RS-2: refused for good
    assert "no healthy devices present" in early.message

    second = await make_plugin("a", "b", "c", endpoint="another-name.sock")
    await node.shows(resource, 3, 3)
    await node.runs(other)
    assert sorted(mine + await devices_of(node, other)) == ["a", "b", "c"]
    assert len(requested(second)) == 1


async def test_rs_4_a_pod_keeps_its_device_over_a_restart_without_a_second_allocate(
    node: Node, make_plugin: Make, resource: str
) -> None:
    first = await make_plugin("a", "b", "c")
    await node.shows(resource, 3, 3)
    spec, other = pod.simple("p", {resource: 1}), pod.simple("q", {resource: 2})
    await node.runs(spec)
    mine = await devices_of(node, spec)

    await node.restart()
    await node.shows(resource, 0, 0)

    second = await make_plugin("a", "b", "c")
    await node.shows(resource, 3, 3)
    await node.runs(other)
    assert await devices_of(node, spec) == mine
    assert sorted(mine + await devices_of(node, other)) == ["a", "b", "c"]
    await node.end_container(spec)
    await node.until(spec, lambda one: one.starts["main"] == 2 and "main" in one.running)
    assert await devices_of(node, spec) == mine
    assert (len(requested(first)), len(requested(second))) == (1, 1)


async def test_ps_3_pre_start_is_skipped_until_the_plugin_is_back(node: Node, make_plugin: Make, resource: str) -> None:
    plugin = await make_plugin("a", options=pluginapi.DevicePluginOptions(pre_start_required=True))
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1})
    await node.runs(spec)
    await node.restart()
    await node.shows(resource, 0, 0)
    await node.end_container(spec)
    await node.until(spec, lambda one: one.starts["main"] == 2 and "main" in one.running)

    assert plugin.count("PreStartContainer") == 1


async def test_rs_6_a_pod_whose_init_container_had_devices_does_not_survive_a_restart(
    node: Node, make_plugin: Make, resource: str
) -> None:
    await make_plugin("a")
    await node.shows(resource, 1, 1)
    spec = pod.Pod("p", (pod.Container("main", {resource: 1}),), (pod.Container("init", {resource: 1}),))
    await node.runs(spec)

    await node.restart()

    seen = await node.until(spec, lambda one: one.phase == "Failed")
    assert (seen.reason, seen.message) == (
        "UnexpectedAdmissionError",
        "Pod was rejected: Allocate failed due to no healthy devices present; "
        f"cannot allocate unhealthy devices {resource}, which is unexpected",
    )


@pytest.mark.holds(since="1.34")
async def test_rs_11_a_pod_whose_container_had_been_restarted_survives_a_restart(
    node: Node, make_plugin: Make, resource: str
) -> None:
    specs = [pod.simple(f"p{number}", {resource: 1}) for number in range(8)]  # without it each has even odds
    await make_plugin(*"abcdefgh")
    await node.shows(resource, 8, 8)
    for spec in specs:
        await node.run(spec)
    for spec in specs:
        await node.until(spec, lambda one: "main" in one.running)
        await node.end_container(spec)
    for spec in specs:
        await node.until(spec, lambda one: one.starts["main"] == 2 and "main" in one.running)

    await node.restart()
    await node.shows(resource, 0, 0)
    await node.pass_time(5)

    assert [(await node.until(spec, bool)).phase for spec in specs] == ["Running"] * 8


@pytest.mark.needs_flag
async def test_rs_12_a_runtime_that_does_not_answer_when_the_kubelet_starts_costs_a_running_pod_its_life(
    node: Node, make_plugin: Make, resource: str
) -> None:
    await make_plugin("a")
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1})
    await node.runs(spec)

    async with node.restarted_without_runtime():
        seen = await node.until(spec, lambda one: one.phase == "Failed")

    assert (seen.reason, seen.message) == (
        "UnexpectedAdmissionError",
        "Pod was rejected: Allocate failed due to no healthy devices present; "
        f"cannot allocate unhealthy devices {resource}, which is unexpected",
    )


async def test_rs_13_a_pod_that_has_succeeded_is_not_admitted_again(
    node: Node, make_plugin: Make, resource: str
) -> None:
    await make_plugin("a")
    await node.shows(resource, 1, 1)
    spec = dataclasses.replace(pod.simple("p", {resource: 1}), restart_policy=pod.RestartPolicy.NEVER)
    await node.runs(spec)
    await node.end_container(spec)
    await node.until(spec, lambda one: one.phase == "Succeeded")

    await node.restart()
    await node.shows(resource, 0, 0)
    await node.pass_time(5)

    assert (await node.until(spec, bool)).phase == "Succeeded"


async def test_rs_14_what_a_pod_had_that_was_deleted_while_the_kubelet_was_down_is_free_again(
    node: Node, make_plugin: Make, resource: str
) -> None:
    await make_plugin("a")
    await node.shows(resource, 1, 1)
    spec = pod.simple("p", {resource: 1})
    await node.runs(spec)

    async with node.dead():
        await node.remove(spec)

    await make_plugin("a")
    await node.shows(resource, 1, 1)
    await node.runs(pod.simple("q", {resource: 1}))


async def test_ns_8_without_a_checkpoint_the_node_goes_on_showing_what_nobody_serves(
    node: Node, make_plugin: Make, resource: str
) -> None:
    by_hand = f"{resource}-by-hand"
    await make_plugin("a")
    await node.shows(resource, 1, 1)
    await node.patch(by_hand, 5)
    await node.shows(by_hand, 5, 5)

    await node.restart(emptied=("*",))

    assert await node.numbers(by_hand, settled=True) == (5, 5)
    assert await node.numbers(resource) == (1, 1)
    await make_plugin("a", "b")
    await node.shows(resource, 2, 2)


async def test_rs_10_the_checkpoint_names_who_has_what(node: Node, make_plugin: Make, resource: str) -> None:
    await make_plugin("a", "b")
    await node.shows(resource, 2, 2)
    spec = pod.simple("p", {resource: 1})
    await node.runs(spec)
    mine = await devices_of(node, spec)

    content = json.loads((node.plugin_dir / "kubelet_internal_checkpoint").read_text())

    assert content.keys() == {"Data", "Checksum"}
    assert sorted(content["Data"]["RegisteredDevices"][resource]) == ["a", "b"]
    (entry,) = [entry for entry in content["Data"]["PodDeviceEntries"] if entry["ResourceName"] == resource]
    assert entry.keys() == {"PodUID", "ContainerName", "ResourceName", "DeviceIDs", "AllocResp"}
    assert (entry["ContainerName"], entry["DeviceIDs"]) == ("main", {"-1": mine})
