"""The fake kubelet's small pure parts: names, merging, node status, checkpoint, clock, waiting."""

from __future__ import annotations

import asyncio

import pytest

from fakekubelet import changes, clock
from fakekubelet.cluster import process
from fakekubelet.kubelet import checkpoint, container_options, node_status, pod_devices, resource_name
from fakekubelet.kubelet.node_status import Counts, NodeStatus
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("myplugin.io/mydevice-1", True),
        ("nvidia.com/gpu", True),
        ("x/Y_z.9", True),
        ("a" * 63 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 52 + "/x", True),
        ("a" * 63 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 53 + "/x", False),
        ("gpu", False),
        ("kubernetes.io/gpu", False),
        ("foo.kubernetes.io/gpu", False),
        ("my-kubernetes.io/gpu", False),
        ("requests.example.com/gpu", False),
        ("Example.com/gpu", False),
        ("example.com/", False),
        ("example.com/a/b", False),
        ("example.com/-gpu", False),
        ("example.com/" + "x" * 63, True),
        ("example.com/" + "x" * 64, False),
        ("", False),
    ],
)
def test_extended_resource_names_follow_the_rule(name, accepted):
    assert resource_name.is_extended(name) is accepted


def test_merging_keeps_the_first_of_each_name_and_notes_conflicts():
    first = pluginapi.ContainerAllocateResponse(
        envs={"A": "1", "B": "same"},
        mounts=[pluginapi.Mount(container_path="/m", host_path="/one", read_only=True)],
        devices=[pluginapi.DeviceSpec(container_path="/dev/x", host_path="/dev/one", permissions="r")],
        annotations={"k": "1"},
        cdi_devices=[pluginapi.CDIDevice(name="v/c=1")],
    )
    second = pluginapi.ContainerAllocateResponse(
        envs={"A": "2", "B": "same", "C": "3"},
        mounts=[pluginapi.Mount(container_path="/m", host_path="/two")],
        devices=[pluginapi.DeviceSpec(container_path="/dev/x", host_path="/dev/two", permissions="rw")],
        annotations={"k": "2"},
        cdi_devices=[pluginapi.CDIDevice(name="v/c=1"), pluginapi.CDIDevice(name="v/c=2")],
    )

    merged = container_options.merge([first, second])

    assert merged.envs == {"A": "1", "B": "same", "C": "3"}
    assert merged.mounts == {"/m": container_options.Mount("/m", "/one", True)}
    assert merged.devices == {"/dev/x": container_options.DeviceNode("/dev/x", "/dev/one", "r")}
    assert merged.annotations == {"k": "1"}
    assert merged.cdi_devices == ("v/c=1", "v/c=2")
    assert merged.conflicts == ("env A", "device /dev/x", "mount /m", "annotation k")


def test_a_removed_resource_stays_on_the_node_as_zero():
    before = NodeStatus({"r": 3}, {"r": 2})

    assert node_status.compute(before, Counts(removed={"r"})) == NodeStatus({"r": 0}, {"r": 0})


def test_a_resource_nobody_mentions_keeps_its_numbers():
    before = NodeStatus({"patched": 4}, {"patched": 4})

    assert node_status.compute(before, Counts({"r": 2}, {"r": 1})) == NodeStatus(
        {"patched": 4, "r": 2}, {"patched": 4, "r": 1}
    )


def test_capacity_alone_is_copied_to_allocatable():
    assert node_status.compute(NodeStatus(), Counts({"r": 0})) == NodeStatus({"r": 0}, {"r": 0})


@pytest.fixture
def held():
    devices = pod_devices.PodDevices()
    response = pluginapi.ContainerAllocateResponse(envs={"A": "ü"})
    devices.insert("uid-1", "main", "example.com/x", pod_devices.Held({-1: ["a"], 0: ["b"], 1: ["b"]}, response))
    return devices


def test_checkpoint_brings_back_what_was_written(tmp_path, held):
    checkpoint.write(tmp_path, held, {"example.com/x": {"a", "b"}, "example.com/empty": set()})

    saved = checkpoint.read(tmp_path)

    assert saved is not None
    assert list(saved.pod_devices) == list(held)
    assert sorted(saved.resources) == ["example.com/empty", "example.com/x"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"Data": {"PodDeviceEntries": null, "RegisteredDevices": {}}, "Checksum": 1}', "null"],
)
def test_a_damaged_checkpoint_is_ignored(tmp_path, content):
    (tmp_path / checkpoint.FILE_NAME).write_text(content)

    assert checkpoint.read(tmp_path) is None


def test_a_changed_checkpoint_fails_its_checksum(tmp_path, held):
    checkpoint.write(tmp_path, held, {"example.com/x": {"a"}})
    path = tmp_path / checkpoint.FILE_NAME
    path.write_text(path.read_text().replace("uid-1", "uid-2"))

    assert checkpoint.read(tmp_path) is None


def test_a_device_with_two_numa_nodes_is_one_device(held):
    assert held.device_ids("uid-1", "main", "example.com/x") == {"a", "b"}
    assert held.of_container("uid-1", "main")["example.com/x"].numa_nodes == {"a": [], "b": [0, 1]}


def test_devices_never_allocated_are_told_apart_from_none(held):
    assert held.device_ids("uid-1", "other", "example.com/x") is None


async def test_manual_clock_fires_timers_in_order_at_their_moments():
    manual = clock.ManualClock(start=0)
    fired = []
    manual.call_later(2, lambda: fired.append(("late", manual.time())))
    manual.call_later(1, lambda: fired.append(("early", manual.time())))
    manual.call_later(1.5, lambda: fired.append(("cancelled", manual.time()))).cancel()

    await manual.advance(1.9)
    assert fired == [("early", 1)]
    await manual.advance(10)

    assert fired == [("early", 1), ("late", 2)]
    assert manual.time() == 11.9


async def test_a_sleeper_that_sleeps_again_is_woken_within_one_advance():
    manual = clock.ManualClock(start=0)
    woken = []

    async def sleeper():
        for _ in range(3):
            await clock.sleep(manual, 10)
            woken.append(manual.time())

    task = asyncio.create_task(sleeper())
    await manual.advance(30)
    await task

    assert woken == [10, 20, 30]


async def test_timeout_on_a_manual_clock_interrupts_the_body():
    manual = clock.ManualClock()

    async def wait():
        async with clock.timeout(manual, 5):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await manual.advance(4.9)
    assert not task.done()
    await manual.advance(0.2)

    with pytest.raises(TimeoutError):
        await task


async def test_wait_for_sees_a_state_that_lasts_for_one_change_only():
    bell, state = changes.Changes(), {"n": 0}
    waiting = asyncio.create_task(bell.wait_for(lambda: state["n"] == 2, timeout_s=5, describe=str))
    await asyncio.sleep(0)
    for number in (1, 2, 3):
        state["n"] = number
        bell.ring()

    assert await waiting is True


async def test_wait_for_that_fails_shows_the_state():
    with pytest.raises(TimeoutError, match="all is quiet"):
        await changes.Changes().wait_for(lambda: False, timeout_s=0, describe=lambda: "all is quiet")


async def test_a_predicate_that_raises_fails_its_own_waiter():
    bell, state = changes.Changes(), {}
    state["ok"] = 0
    waiting = asyncio.create_task(bell.wait_for(lambda: state["ok"], timeout_s=5, describe=str))
    await asyncio.sleep(0)
    del state["ok"]
    bell.ring()

    with pytest.raises(KeyError):
        await waiting


def test_commands_expand_references_as_kubernetes_does():
    assert process.expand("$(A)-$(MISSING)-$$(A)-$A-$!", {"A": "1"}) == "1-$(MISSING)-$(A)-$A-$!"


def test_the_pods_own_environment_wins_over_the_plugins():
    env = process.environment("host", {"A": "plugin", "B": "plugin"}, [("A", "pod"), ("C", "$(B)!")])

    assert (env["A"], env["B"], env["C"], env["HOSTNAME"]) == ("pod", "plugin", "plugin!", "host")
