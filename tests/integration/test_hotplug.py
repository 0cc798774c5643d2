"""Devices, classes and whole nodes come and go while the plugin runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakehw_plugin import endpoint, slices
from fakehw_plugin.deviceplugin import pod_resources, servicer
from fakehw_plugin.devices import retention
from fakekubelet import FakeKubelet, pod
from tests.factories import make_config
from tests.running import DEADLINE_S, devices_are, listed, running_daemon, shell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

R1, R2, R3 = (f"myplugin.io/mydevice-{number}" for number in (1, 2, 3))
THREE = {f"node2-dev3-{number}": "Healthy" for number in (1, 2, 3)}


async def test_a_device_made_by_hand_appears(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        await shell("mkdir node2/dev3/4 && echo healthy > node2/dev3/4/health", root)
        await devices_are(kubelet, R3, THREE | {"node2-dev3-4": "Healthy"})


async def test_the_health_of_a_device_made_by_hand_is_followed(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        await shell("mkdir node2/dev3/4 && echo healthy > node2/dev3/4/health", root)
        await devices_are(kubelet, R3, THREE | {"node2-dev3-4": "Healthy"})
        await shell("echo unhealthy > node2/dev3/4/health", root)
        await devices_are(kubelet, R3, THREE | {"node2-dev3-4": "Unhealthy"})


async def test_an_unplugged_device_lowers_capacity_too(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        await shell("rm -r node2/dev3/3", root)
        await kubelet.wait_for(lambda: kubelet.capacity[R3] == kubelet.allocatable[R3] == 2, timeout=DEADLINE_S)


async def test_a_device_that_a_pod_holds_is_listed_unhealthy_until_the_pod_is_gone(
    root: Path, plugin_dir: Path, short_dir: Path
) -> None:
    """Contract LW-13: dropping it would make the pod's status say Healthy, and may crash a kubelet."""
    pods = short_dir / "pods.sock"
    config = make_config(root, plugin_dir, pod_resources=pods)
    async with FakeKubelet(plugin_dir, pod_resources_socket=pods) as kubelet, running_daemon(config):
        await listed(kubelet, [R2])
        admitted = await kubelet.admit(pod.simple("dp1-2", {R2: 1}))
        assert kubelet.allocated(R2) == {"node2-dev2-1"}

        await shell("rm -r node2/dev2/1 node2/dev3/3", root)
        await devices_are(kubelet, R3, {device_id: THREE[device_id] for device_id in ("node2-dev3-1", "node2-dev3-2")})
        await devices_are(kubelet, R2, {"node2-dev2-1": "Unhealthy"})
        await shell("mkdir node2/dev2/1 && echo healthy > node2/dev2/1/health", root)
        await devices_are(kubelet, R2, {"node2-dev2-1": "Healthy"})
        await kubelet.remove(admitted)


async def test_a_new_class_registers_a_new_resource_and_a_removed_one_ends_at_zero(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with running_daemon(make_config(root, plugin_dir)) as daemon:
        await listed(kubelet, [R1, R2, R3])
        await shell("mkdir -p .new/1; echo healthy > .new/1/health; echo nvidia.com/gpu > .new/resource", root)
        await shell("mv .new node2/gpu", root)
        await devices_are(kubelet, "nvidia.com/gpu", {"node2-gpu-1": "Healthy"})

        await shell("rm -r node2/gpu", root)
        await kubelet.wait_for(
            lambda: kubelet.capacity["nvidia.com/gpu"] == kubelet.live_streams("nvidia.com/gpu") == 0,
            timeout=DEADLINE_S,
        )
        assert "nvidia.com/gpu" not in daemon.device_plugin.sessions
        assert kubelet.devices(R3) == THREE


async def leaves_at_zero(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    """Take a class out of the tree, and see that the kubelet counts nothing of it once its stream has ended."""
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        await shell("mv node2/dev3 node2/.dev3", root)
        await kubelet.wait_for(lambda: kubelet.live_streams(R3) == 0, timeout=DEADLINE_S)

        assert kubelet.devices(R3) == {}
        assert kubelet.capacity[R3] == 0


async def test_a_resource_that_leaves_is_at_zero_even_if_its_last_list_is_slow(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the kubelet would count its devices for five minutes (contract NS-2)."""
    at_once = servicer.DevicePluginServicer.list_and_watch

    async def slowly(self: servicer.DevicePluginServicer, request: bytes, context: Any) -> AsyncIterator[bytes]:
        async for message in at_once(self, request, context):
            await asyncio.sleep(2 * endpoint.STOP_GRACE_S)
            yield message

    monkeypatch.setattr(servicer.DevicePluginServicer, "list_and_watch", slowly)
    monkeypatch.setattr(endpoint, "STOP_GRACE_S", 0.05)
    await leaves_at_zero(root, plugin_dir, kubelet)


async def test_a_resource_that_leaves_piece_by_piece_is_at_zero_all_the_same(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first devices were released, and nothing else seemed to hold it, while the last one was still to be read."""
    monkeypatch.setattr(slices, "SLICE_S", -1.0)  # others run after every single step
    await leaves_at_zero(root, plugin_dir, kubelet)


async def test_a_resource_stays_for_the_one_device_that_a_pod_holds_while_its_class_goes_piece_by_piece(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contract LW-13, whatever is released before that device is read."""
    held = {(R3, "node2-dev3-3")}

    async def held_devices(_: object) -> set[tuple[str, str]]:
        return held

    monkeypatch.setattr(pod_resources.PodResources, "held", held_devices)
    monkeypatch.setattr(slices, "SLICE_S", -1.0)
    monkeypatch.setattr(retention, "ASK_EVERY_S", 0.05)
    async with running_daemon(make_config(root, plugin_dir)) as daemon:
        await listed(kubelet, [R3])
        await shell("mv node2/dev3 node2/.dev3", root)
        await devices_are(kubelet, R3, {"node2-dev3-3": "Unhealthy"})
        assert R3 in daemon.device_plugin.sessions

        held.clear()
        await kubelet.wait_for(lambda: kubelet.capacity[R3] == kubelet.live_streams(R3) == 0, timeout=DEADLINE_S)
        assert R3 not in daemon.device_plugin.sessions


async def test_a_whole_node_is_renamed_and_its_devices_with_it(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        await shell("mv node2 node7", root)
        await devices_are(kubelet, R3, {f"node7-dev3-{number}": "Healthy" for number in (1, 2, 3)})
        await shell("echo unhealthy > node7/dev3/1/health", root)
        await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 2, timeout=DEADLINE_S)


async def test_a_device_moved_to_another_class_keeps_being_watched(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """A moved directory keeps its inotify watch, which must serve the new place and not go with the old one."""
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R2, R3])
        await shell("mv node2/dev3/3 node2/dev2/3", root)
        await devices_are(kubelet, R2, {"node2-dev2-1": "Healthy", "node2-dev2-3": "Healthy"})
        await shell("echo unhealthy > node2/dev2/3/health", root)
        await devices_are(kubelet, R2, {"node2-dev2-1": "Healthy", "node2-dev2-3": "Unhealthy"})


async def test_two_devices_change_places(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        await shell("echo unhealthy > node2/dev3/1/health", root)
        await devices_are(kubelet, R3, THREE | {"node2-dev3-1": "Unhealthy"})
        await shell("cd node2/dev3; mv 1 x; mv 2 1; mv x 2", root)
        await devices_are(kubelet, R3, THREE | {"node2-dev3-2": "Unhealthy"})
        await shell("echo unhealthy > node2/dev3/1/health; echo healthy > node2/dev3/2/health", root)
        await devices_are(kubelet, R3, THREE | {"node2-dev3-1": "Unhealthy"})


async def test_a_tree_that_appears_later_is_taken_up(tmp_path: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    root = tmp_path / "later"
    async with running_daemon(make_config(root, plugin_dir)) as daemon:
        await daemon.first_live.wait()
        assert not daemon.is_ready

        await shell("mkdir -p later/node1/dev1/1; echo healthy > later/node1/dev1/1/health", tmp_path)

        await devices_are(kubelet, R1, {"node1-dev1-1": "Healthy"})
        await kubelet.wait_for(lambda: daemon.is_ready, timeout=DEADLINE_S)


async def test_a_tree_replaced_by_rename_is_read_from_its_new_place(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, tmp_path: Path
) -> None:
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        await shell("cp -r fakehw new; rm -r new/node2/dev3/3; mv fakehw old; mv new fakehw", tmp_path)
        await devices_are(kubelet, R3, {device_id: THREE[device_id] for device_id in ("node2-dev3-1", "node2-dev3-2")})
        await shell("echo unhealthy > fakehw/node2/dev3/1/health", tmp_path)
        await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 1, timeout=DEADLINE_S)


async def test_events_that_were_lost_are_made_up_for_by_reading_everything(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a kernel that tells nothing at all, the interval alone must bring the change."""
    from fakehw_plugin import inotify

    monkeypatch.setattr(inotify, "_MASK", inotify.MOVED_FROM)
    async with running_daemon(make_config(root, plugin_dir, reconcile_s=0.05)) as daemon:
        await listed(kubelet, [R3])
        await shell("echo unhealthy > node2/dev3/2/health", root)
        await devices_are(kubelet, R3, THREE | {"node2-dev3-2": "Unhealthy"})
        assert daemon.telemetry.rescans["interval"] > 0
