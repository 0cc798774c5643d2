"""The life of the fake kubelet: it starts whole or not at all, stops, restarts, and says how it is."""

from __future__ import annotations

import asyncio
import random
import stat

import pytest

from fakekubelet import FakeKubelet, FakeNode, ManualClock, StubPlugin, clock, pod
from fakekubelet.apiserver import server
from fakekubelet.dra import dynamic_resources, view
from fakekubelet.kubelet import kubelet, numa, pod_workers
from fakekubelet.kubelet.mode import Mode
from fakekubelet.kubelet.node_status import NodeStatus
from fakekubelet.kubelet.pod_status import Phase
from fakekubelet.stub_plugin import Refusal, devices

X, Y = "example.com/x", "example.com/y"


def tasks(*kinds):
    names = [task.get_name() for task in asyncio.all_tasks()]
    return sorted(name for name in names if name.startswith(kinds or ("plugin-watcher", "node-status")))


async def listed(kubelet, plugin):
    await plugin.register()
    await kubelet.wait_for(lambda: kubelet.history(plugin.resource))


async def test_what_is_not_said_is_a_worker_of_1_36_on_real_time(tmp_path):
    plain = FakeKubelet(tmp_path)

    assert (plain.plugin_dir, plain.node_name, plain.mode) == (tmp_path, "kind-worker", Mode.V1_36)
    assert isinstance(plain.clock, clock.RealClock)
    assert (plain.registrations, plain.synced_pods, list(plain.calls), plain.pods) == ([], [], [], [])
    assert (plain.pod_resources_socket, plain.dra, plain.is_up) == (None, None, False)
    assert (plain.node_status, plain.capacity, plain.allocatable) == (NodeStatus(), {}, {})
    assert plain.hazards == []
    assert (plain.devices(X), plain.history(X), plain.allocated(X)) == ({}, [], set())
    assert (plain.live_streams(X), plain.is_dialing(X), plain.is_node_status_current) == (0, False, True)


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({"topology_policy": "some"}, "'some' is not a valid Policy"),
        ({"mode": "1.99"}, "'1.99' is not a valid Mode"),
        ({"numa_nodes": [0, 64]}, "numa_nodes: 64 must be from 0 to 63"),
    ],
)
def test_what_no_kubelet_can_be_is_refused_at_once(tmp_path, named, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        FakeKubelet(tmp_path, **named)


async def test_it_comes_up_whole_and_goes_down_whole(short_dir):
    made = FakeKubelet(
        short_dir / "a" / "dp", node_name="n1", plugins_registry=short_dir / "reg", clock=ManualClock(),
        pod_resources_socket=short_dir / "pr" / "k.sock",
    )  # fmt: skip  # all that it serves
    assert not (short_dir / "a").exists()

    async with made as entered:
        assert entered is made
        assert made.is_up
        assert stat.S_IMODE(made.plugin_dir.stat().st_mode) == 0o755
        assert (made.plugin_dir / "kubelet.sock").is_socket()
        assert made.pod_resources_socket.is_socket()
        assert tasks() == ["node-status n1", "plugin-watcher n1"]
        with pytest.raises(RuntimeError, match=r"^the kubelet is already up$"):
            await made.start()
        with pytest.raises(RuntimeError, match=r"^the kubelet is up: pods are admitted$"):
            made.restore(pod.simple("p"))

    assert not made.is_up
    assert tasks() == []
    assert not (made.plugin_dir / "kubelet.sock").exists()
    assert not made.pod_resources_socket.exists()
    await made.stop()


async def test_its_sockets_stay_with_nobody_behind_them_unless_told_otherwise(short_dir):
    made = FakeKubelet(short_dir / "dp", pod_resources_socket=short_dir / "k.sock", node_status_period_s=None)
    paths = [made.plugin_dir / "kubelet.sock", short_dir / "k.sock"]
    await made.start()
    assert tasks() == []
    await made.stop()
    assert all(path.is_socket() for path in paths)

    await made.stop(remove_sockets=True)

    assert not any(path.exists() for path in paths)


async def test_one_that_cannot_come_up_whole_leaves_nothing_running(short_dir):
    (short_dir / "pr").touch()
    made = FakeKubelet(short_dir / "dp", pod_resources_socket=short_dir / "pr" / "k.sock")

    with pytest.raises(OSError):  # noqa: PT011 - which one is the system's affair
        await made.start()

    assert not made.is_up
    assert tasks() == []
    (short_dir / "pr").unlink()
    async with made:
        assert made.is_up


async def test_one_that_fails_over_its_pods_goes_down_again(short_dir, monkeypatch):
    async def fails(_):
        raise ZeroDivisionError

    monkeypatch.setattr(pod_workers.PodWorkers, "admit_again", fails)
    made = FakeKubelet(short_dir)

    with pytest.raises(ZeroDivisionError):
        await made.start()

    assert (made.is_up, tasks(), list(short_dir.iterdir())) == (False, [], [])


async def test_devices_of_pods_that_are_gone_are_freed_once_a_new_life_knows_its_pods(short_dir):
    async with FakeKubelet(short_dir) as made, StubPlugin(short_dir, X, devices("a")) as plugin:
        await listed(made, plugin)
        await made.remove(await made.admit(pod.simple("p", {X: 1})))
        await made.restart()
        assert made.allocated(X) == {"a"}
        async with StubPlugin(short_dir, X, devices("a"), endpoint="again.sock") as again:
            await again.register()
            await made.wait_for(lambda: made.allocatable.get(X) == 1)
            assert (await made.admit(pod.simple("q", {X: 1}))).is_active


@pytest.mark.parametrize("keep", [True, False])
async def test_plugins_sockets_are_cleaned_away_unless_they_are_to_stay(short_dir, keep):
    async with StubPlugin(short_dir, X) as plugin:
        made = FakeKubelet(short_dir, node_status_period_s=None)
        await made.start(keep_sockets=keep)
        assert plugin.socket_path.exists() is keep
        await made.stop(remove_sockets=True)


async def test_whoever_waits_is_told_of_its_start_and_its_stop(short_dir):
    made, rings = FakeKubelet(short_dir, node_status_period_s=None), []
    made.changes.subscribe(lambda: rings.append(made.is_up))

    await made.start()
    assert rings[-1] is True
    await made.stop()
    assert rings[-1] is False
    count = len(rings)
    await made.stop()
    assert len(rings) == count + 1


# -- restarts ---------------------------------------------------------------------------------------------------------


async def noted(made, monkeypatch, *names):
    """Return what is called of *made*, in order."""
    calls = []
    for name in names:
        monkeypatch.setattr(made, name, _noted(calls, name))
    return calls


def _noted(calls, name):
    async def call(**named):
        calls.append((name, named))

    return call


async def test_a_restart_is_a_stop_and_a_start(short_dir, monkeypatch):
    made = FakeKubelet(short_dir)
    calls = await noted(made, monkeypatch, "start", "stop")

    await made.restart()
    await made.reboot()

    assert calls == [("stop", {}), ("start", {})] * 2


async def test_after_a_restart_containers_run_on_and_after_a_reboot_none_does(short_dir):
    async with FakeKubelet(short_dir, node_status_period_s=None) as made:
        admitted = await made.admit(pod.simple("p"))
        status = await made.start_container(admitted)
        await made.restart()
        assert (status.is_running, made.pods) == (True, [admitted])
        await made.reboot()
        assert (status.is_running, made.pods) == (False, [admitted])
        assert made.is_up


async def test_a_node_that_is_made_anew_has_an_empty_directory_and_no_pods(short_dir):
    async with FakeKubelet(short_dir / "dp", node_status_period_s=None) as made:
        await made.admit(pod.simple("p"))
        (made.plugin_dir / "file").touch()
        await made.recreate_node()

        assert ([path.name for path in made.plugin_dir.iterdir()], made.pods, made.is_up) == (
            ["kubelet.sock"],
            [],
            True,
        )


async def test_a_kubelet_takes_over_what_ran_before_it_with_the_devices_of_the_checkpoint(short_dir):
    spec = pod.simple("p", {X: 1})
    async with FakeKubelet(short_dir) as first, StubPlugin(short_dir, X, devices("a")) as plugin:
        await listed(first, plugin)
        await first.admit(spec)
        await first.stop()
        second = FakeKubelet(short_dir)
        restored = second.restore(spec)
        async with second:
            assert (restored.phase, second.allocated(X)) == (Phase.RUNNING, {"a"})
            assert restored.containers["main"].device_ids == {X: ["a"]}


@pytest.mark.parametrize(("answers", "phase"), [(True, Phase.RUNNING), (False, Phase.FAILED)])
async def test_a_runtime_that_does_not_answer_costs_pods_with_devices_their_lives(short_dir, answers, phase):
    spec = pod.simple("p", {X: 1})
    async with FakeKubelet(short_dir) as first, StubPlugin(short_dir, X, devices("a")) as plugin:
        await listed(first, plugin)
        await first.start_container(await first.admit(spec))
        await first.stop()
        await first.start(runtime_answers=answers)
        assert first.pods[0].phase == phase


# -- what it knows ----------------------------------------------------------------------------------------------------


async def test_the_node_object_follows_at_a_tick_and_forgets_what_is_gone(short_dir):
    time_source = ManualClock()
    async with FakeKubelet(short_dir, clock=time_source, node_status_period_s=None) as made:
        async with StubPlugin(short_dir, X, [*devices("a"), *devices("b", health="Unhealthy")]) as plugin:
            await listed(made, plugin)
            assert (made.capacity, made.allocatable, made.is_node_status_current) == ({X: 2}, {X: 1}, False)
            assert made.node_status == NodeStatus()
            rings = []
            made.changes.subscribe(lambda: rings.append(made.node_status))
            await made.tick()
            assert rings == [NodeStatus({X: 2}, {X: 1})] == [made.node_status]
            assert made.is_node_status_current
            assert made.devices(X) == {"a": "Healthy", "b": "Unhealthy"}
        await made.wait_for(lambda: made.allocatable[X] == 0)
        await time_source.advance(301)
        assert made.capacity == {X: 0}
        await made.tick()
        assert (made.node_status, made.devices(X)) == (NodeStatus({X: 0}, {X: 0}), {})
        made.patch_node({Y: 3})
        assert made.node_status == NodeStatus({X: 0, Y: 3}, {X: 0, Y: 3})
        assert made.capacity == {X: 0, Y: 3}


async def test_a_patch_by_hand_rings(tmp_path):
    made, rings = FakeKubelet(tmp_path), []
    made.changes.subscribe(lambda: rings.append(1))

    made.patch_node({Y: 3})

    assert rings == [1]


async def test_it_waits_for_five_seconds_unless_told_otherwise_and_describes_itself(tmp_path, monkeypatch):
    made, asked = FakeKubelet(tmp_path), []

    async def wait_for(predicate, **named):
        asked.append((predicate, named))
        return "found"

    monkeypatch.setattr(made.changes, "wait_for", wait_for)

    assert await made.wait_for(print) == "found"
    await made.wait_for(print, timeout=0.5)
    assert asked == [
        (print, {"timeout_s": 5.0, "describe": made.describe}),
        (print, {"timeout_s": 0.5, "describe": made.describe}),
    ]


async def test_it_describes_itself_in_lines(short_dir):
    made = FakeKubelet(short_dir, node_name="n1", mode="1.35", node_status_period_s=None)
    assert made.describe() == "kubelet of n1 (1.35), down"

    async def refuse(_):
        raise Refusal("no")

    async with made, StubPlugin(short_dir, X, devices("a", "b")) as plugin:
        await listed(made, plugin)
        async with StubPlugin(short_dir, Y, endpoint="y.sock", behaviors={"GetDevicePluginOptions": refuse}) as bad:
            with pytest.raises(Exception, match="failed to get device plugin options"):
                await bad.register()
        await made.admit(pod.simple("fine"))
        await made.admit(pod.simple("greedy", {X: 3}))

        assert made.describe().splitlines() == [
            "kubelet of n1 (1.35), up",
            f"  {X}: allocatable/capacity 2/2, 1 stream(s), 1 list(s), devices {{'a': 'Healthy', 'b': 'Healthy'}}",
            f"  {Y}: allocatable/capacity -/-, 0 stream(s), 0 list(s), devices {{}}",
            f"  refused: {Y} failed to get device plugin options: rpc error: code = Unknown desc = no",
            "  pod fine: Pending",
            f"  pod greedy: Failed UnexpectedAdmissionError Pod was rejected: Allocate failed due to requested number of "
            f"devices unavailable for {X}. Requested: 3, Available: 2, which is unexpected",
        ]  # fmt: skip  # line by line


async def test_a_plugin_that_is_dropped_though_it_is_well_has_no_stream(short_dir):
    async with FakeKubelet(short_dir) as made, StubPlugin(short_dir, X, devices("a")) as plugin:
        await listed(made, plugin)
        assert made.live_streams(X) == 1
        await made.drop(Y)
        assert (made.live_streams(X), made.allocatable) == (1, {X: 1})
        await made.drop(X)
        assert (made.live_streams(X), made.allocatable, made.devices(X)) == (0, {X: 0}, {"a": "Unhealthy"})


async def test_pods_are_asked_of_the_workers(short_dir):
    async with FakeKubelet(short_dir) as made:
        admitted = await made.admit(pod.simple("p"))
        status = await made.start_container(admitted, "main", retry=True)
        assert (status.is_running, made.allocated_resources_status(admitted)) == (True, {"main": {}})
        made.container_exited(admitted, "main")
        assert not status.is_running
        made.finish(admitted, Phase.SUCCEEDED)
        assert admitted.phase == Phase.SUCCEEDED
        await made.remove(admitted)
        assert made.pods == []


async def test_a_container_is_tried_once_unless_told_otherwise(tmp_path, monkeypatch):
    asked = []

    async def start_container(_, *given, **named):
        asked.append((given, named))

    monkeypatch.setattr(pod_workers.PodWorkers, "start_container", start_container)
    made, spec = FakeKubelet(tmp_path), pod.simple("p")
    await made.start_container(spec)
    await made.start_container(spec, "main", retry=True)

    assert asked == [((spec, None), {"retry": False}), ((spec, "main"), {"retry": True})]


async def test_a_kubelet_that_stops_cuts_every_stream(short_dir):
    async with FakeKubelet(short_dir) as made, StubPlugin(short_dir, X, devices("a")) as plugin:
        await listed(made, plugin)
        assert tasks("list-and-watch") == [f"list-and-watch {X} stub.sock"]
        await made.stop()
        assert (tasks("list-and-watch"), made.live_streams(X)) == ([], 0)


async def test_what_was_allocated_is_a_copy(short_dir):
    async with FakeKubelet(short_dir) as made, StubPlugin(short_dir, X, devices("a")) as plugin:
        await listed(made, plugin)
        await made.admit(pod.simple("p", {X: 1}))
        made.allocated(X).clear()
        assert made.allocated(X) == {"a"}


@pytest.mark.parametrize("mode", ["1.35", "1.36"])
async def test_the_modules_are_given_what_belongs_to_the_release_and_the_machine(tmp_path, monkeypatch, mode):
    made = {}

    def recording(module, name):
        real = getattr(module, name)

        def make(*given, **named):
            made[name] = named
            return real(*given, **named)

        monkeypatch.setattr(module, name, make)

    for module, name in (
        (kubelet.device_manager, "DeviceManager"), (kubelet.device_allocation, "DeviceAllocation"),
        (kubelet.client_table, "ClientTable"), (kubelet.registration, "RegistrationServer"),
    ):  # fmt: skip  # module and class
        recording(module, name)
    FakeKubelet(tmp_path)
    assert made["DeviceAllocation"]["machine_nodes"] == (0, 1)
    of = FakeKubelet(
        tmp_path, mode=mode, topology_policy="restricted", numa_nodes=[1, 0, 1], clock=ManualClock(), seed=7
    )

    allocation = made["DeviceAllocation"]
    assert (allocation["policy"], allocation["machine_nodes"]) == (numa.Policy.RESTRICTED, (0, 1))
    assert allocation["mode"] is of.mode
    assert allocation["rng"].random() == random.Random(7).random()
    assert made["ClientTable"]["by_socket_path"] is False
    registry = made["RegistrationServer"]
    assert (registry["sockets_only"], registry["dials_within_the_call"]) == (True, True)
    assert {made[name]["time_source"] for name in ("DeviceManager", "ClientTable")} == {of.clock}
    manager = made["DeviceManager"]
    manager["on_health"]("uid")
    assert of.synced_pods == (["uid"] if mode == "1.36" else [])
    manager["on_list"](X, "a list")
    assert of.history(X) == ["a list"]
    rings = []
    of.changes.subscribe(lambda: rings.append(1))
    registry["on_registration"]("an attempt")
    assert (of.registrations, rings) == (["an attempt"], [1])


# -- with a DRA half --------------------------------------------------------------------------------------------------


class Half:
    """A DRA half that only remembers."""

    drivers = None

    def __init__(self, *given, **named):
        self.given, self.named, self.log = given, named, []

    async def start(self):
        self.log.append("start")

    async def stop(self):
        self.log.append("stop")

    def forget_boot(self):
        self.log.append("forget boot")

    def forget_node(self):
        self.log.append("forget node")


@pytest.mark.parametrize("in_memory", [True, False])
async def test_with_an_api_server_it_has_a_dra_half_that_lives_with_it(short_dir, monkeypatch, in_memory):
    monkeypatch.setattr(dynamic_resources, "DynamicResources", Half)
    api = server.ApiServer("1.36")
    given = api if in_memory else view.InMemory(api)
    made = FakeKubelet(
        short_dir / "dp",
        node_name="n1",
        api=given,
        mode="1.35",
        cdi_dirs=[short_dir / "cdi"],
        node_status_period_s=None,
    )
    half = made.dra
    (root, seen) = half.given
    assert root == short_dir
    assert isinstance(seen, view.InMemory)
    assert in_memory or seen is given
    assert half.named == {
        "node_name": "n1", "release": Mode.V1_35, "cdi_dirs": [short_dir / "cdi"], "time_source": made.clock, "calls": made.calls,
        "ring": made.changes.ring,
    }  # fmt: skip  # one list

    await made.start()
    await made.reboot()
    await made.recreate_node()
    await made.stop()

    assert half.log == ["start", "stop", "forget boot", "start", "stop", "forget node", "start", "stop"]


# -- a node around it -------------------------------------------------------------------------------------------------


async def test_a_node_has_both_routes_and_pod_resources_on_a_clock_that_stands_still(short_dir):
    node = FakeNode(short_dir, node_name="n7", mode="1.34")
    assert (node.plugin_dir, node.plugins_registry) == (short_dir / "dp", short_dir / "reg")
    assert node.pod_resources_socket == short_dir / "pr" / "kubelet.sock"
    assert (node.kubelet.node_name, node.kubelet.mode, node.kubelet.clock) == ("n7", "1.34", node.clock)
    assert node.clock.time() == 1000.0

    async with node as entered:
        assert entered is node
        assert node.kubelet.is_up
        assert (node.plugins_registry.is_dir(), node.pod_resources_socket.is_socket()) == (True, True)
        assert tasks() == ["node-status n7", "plugin-watcher n7"]
    assert not node.kubelet.is_up

    own = ManualClock()
    assert FakeNode(short_dir, clock=own).clock is own
