"""The pod half of the fake kubelet: admission, containers, their end, and what is told of them."""

from __future__ import annotations

import asyncio
import random

import grpc
import pytest

from fakekubelet import clock, pod
from fakekubelet.kubelet import pod_devices, pod_resources, pod_workers
from fakekubelet.kubelet.container_options import ContainerOptions
from fakekubelet.kubelet.device import Device
from fakekubelet.kubelet.device_allocation import DeviceError
from fakekubelet.kubelet.pod_status import AdmittedPod, ContainerStatus, Phase, allocated_resources_status
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.podresources.v1 import api_pb2 as podresourcesapi

X, Y = "example.com/x", "example.com/y"


class Manager:
    """What the device manager knows."""

    def __init__(self):
        self.pod_devices = pod_devices.PodDevices()
        self.all_devices, self.healthy, self.updates = {}, {}, 0

    def update_allocated(self):
        self.updates += 1

    def holds(self, uid, container, resource=X, **per_numa):
        nodes = {int(key[1:].replace("_", "-")): ids for key, ids in per_numa.items()}
        held = pod_devices.Held(nodes, pluginapi.ContainerAllocateResponse())
        self.pod_devices.insert(uid, container, resource, held)


class Allocation:
    """Gives each container what it asks for, unless told otherwise."""

    def __init__(self, log, manager):
        self.log, self.manager = log, manager
        self.unaligned, self.fails, self.start_fails, self.under_way = set(), {}, [], 0

    def align(self, owner, container):
        self.log.append(f"align {owner.name} {container.name}")
        return container.name not in self.unaligned

    async def allocate(self, owner, container):
        self.log.append(f"allocate {owner.name} {container.name}")
        self.under_way += 1
        assert self.under_way == 1, "one at a time"
        await asyncio.sleep(0)
        self.under_way -= 1
        if container.name in self.fails:
            raise DeviceError(self.fails[container.name])
        for resource, count in container.limits.items():
            self.manager.holds(owner.uid, container.name, resource, n0=[f"{container.name}{n}" for n in range(count)])

    async def run_options(self, owner, container, *, active):
        self.log.append(f"start {owner.name} {container.name} {active}")
        if self.start_fails:
            raise DeviceError(self.start_fails.pop())
        return self.merged(owner.uid, container.name)

    def merged(self, uid, name):
        return ContainerOptions(envs={"OF": name})


class Workers:
    def __init__(self):
        self.log, self.rings, self.clock = [], 0, clock.ManualClock(start=0)
        self.manager = Manager()
        self.allocation = Allocation(self.log, self.manager)
        self.workers = pod_workers.PodWorkers(time_source=self.clock, ring=self.ring)
        self.workers.begin(self.manager, self.allocation)

    def ring(self):
        self.rings += 1


@pytest.fixture
def of():
    return Workers()


def container(name="main", sidecar=False, **limits):
    return pod.Container(name, {f"example.com/{key}": count for key, count in limits.items()}, is_sidecar=sidecar)


SPEC = pod.Pod(
    "p", (container("app", x=2, y=1), container("other")), (container("init", x=1), container("side", sidecar=True)),
)  # fmt: skip  # four containers
NAMES = ["init", "side", "app", "other"]


def running(admitted):
    return [name for name, status in admitted.containers.items() if status.is_running]


# -- admission --------------------------------------------------------------------------------------------------------


async def test_each_container_is_aligned_and_given_its_devices_in_order(of):
    admitted = await of.workers.admit(SPEC)

    assert of.log == [f"{what} p {name}" for name in NAMES for what in ("align", "allocate")]
    assert (admitted.pod, admitted.phase, admitted.reason, admitted.message) == (SPEC, Phase.PENDING, "", "")
    assert list(admitted.containers) == NAMES
    assert {name: status.device_ids for name, status in admitted.containers.items()} == {
        "init": {X: ["init0"]}, "side": {}, "app": {X: ["app0", "app1"], Y: ["app0"]}, "other": {},
    }  # fmt: skip  # name to devices
    assert all(status.name == name and status.env == {"OF": name} for name, status in admitted.containers.items())
    assert (running(admitted), of.rings) == ([], 1)
    assert of.workers.pods == [admitted]
    assert (admitted.uid, admitted.is_active) == (SPEC.uid, True)


async def test_a_pod_that_cannot_be_aligned_is_refused_for_good(of):
    of.allocation.unaligned = {"app"}

    admitted = await of.workers.admit(SPEC)

    assert of.log[-1] == "align p app"
    assert (admitted.phase, admitted.reason, admitted.message) == (
        Phase.FAILED, "TopologyAffinityError", "Pod was rejected: Resources cannot be allocated with Topology locality",
    )  # fmt: skip  # what its status says
    assert (admitted.is_active, of.workers.pods, of.workers.active_uids()) == (False, [admitted], set())


async def test_a_pod_that_gets_no_devices_is_refused_for_good(of):
    of.allocation.fails = {"side": "no healthy devices present"}

    admitted = await of.workers.admit(SPEC)

    assert of.log[-1] == "allocate p side"
    assert (admitted.phase, admitted.reason, admitted.message) == (
        Phase.FAILED, "UnexpectedAdmissionError", "Pod was rejected: Allocate failed due to no healthy devices present, which is unexpected",
    )  # fmt: skip  # what its status says
    assert admitted.containers["init"].device_ids == {}, "nothing is noted"


async def test_one_pod_is_admitted_at_a_time(of):
    first, second = pod.simple("first"), pod.simple("second")

    await asyncio.gather(of.workers.admit(first), of.workers.admit(second))

    assert of.log == [
        "align first main", "allocate first main", "align second main", "allocate second main",
    ]  # fmt: skip  # in order


async def test_a_kubelet_that_comes_up_admits_the_pods_again_that_are_active(of):
    admitted = [await of.workers.admit(pod.simple(name)) for name in ("one", "two", "three")]
    of.workers.finish(admitted[1], Phase.SUCCEEDED)
    await of.workers.start_container(admitted[2])
    of.log.clear()
    of.allocation.fails = {"main": "it is gone"}

    await of.workers.admit_again()

    assert of.log == ["align one main", "allocate one main", "align three main", "allocate three main"]
    assert [one.phase for one in admitted] == [Phase.FAILED, Phase.SUCCEEDED, Phase.FAILED]
    assert running(admitted[2]) == [], "a pod that is refused runs no more"


# -- containers -------------------------------------------------------------------------------------------------------


async def test_a_container_starts_with_its_options_and_the_pod_runs_when_all_app_containers_do(of):
    admitted = await of.workers.admit(SPEC)
    of.log.clear()
    rings = of.rings

    status = await of.workers.start_container(SPEC, "app")
    assert status is admitted.containers["app"]
    assert (status.is_running, status.starts, status.waiting_reason, status.message) == (True, 1, None, "")
    assert (status.options, status.device_ids[X]) == (ContainerOptions(envs={"OF": "app"}), ["app0", "app1"])
    assert (admitted.phase, of.rings) == (Phase.PENDING, rings + 1)
    await of.workers.start_container(admitted, "other")
    assert admitted.phase == Phase.RUNNING
    assert of.log == ["start p app True", "start p other True"]
    await of.workers.start_container(admitted, "init")
    assert running(admitted) == ["init", "app", "other"]
    await of.workers.start_container(admitted, "app")
    assert status.starts == 2


async def test_the_name_of_the_only_container_may_be_left_out(of):
    await of.workers.admit(one := pod.simple("one"))
    await of.workers.admit(SPEC)

    assert (await of.workers.start_container(one)).name == "main"
    assert (await of.workers.start_container(one, "main")).name == "main"
    for target, name, text in ((one, "x", "pod one has no container 'x'"), (SPEC, None, "pod p has no container None")):
        with pytest.raises(ValueError, match=f"^{text}$"):
            await of.workers.start_container(target, name)


async def test_a_container_that_cannot_be_created_waits_and_says_why(of):
    admitted = await of.workers.admit(pod.simple("p", {X: 1}))
    await of.workers.start_container(admitted)
    of.allocation.start_fails = ["not now"]
    rings = of.rings

    starting = asyncio.create_task(of.workers.start_container(admitted))
    await of.clock.advance(0)
    assert starting.done(), "it is tried once"
    status = await starting

    assert (status.is_running, status.starts) == (False, 1)
    assert (status.waiting_reason, status.message) == ("CreateContainerConfigError", "not now")
    assert of.rings == rings + 1


async def test_with_patience_it_is_tried_again_every_ten_seconds(of):
    admitted = await of.workers.admit(pod.simple("p"))
    of.allocation.start_fails = ["not now", "not yet"]
    of.log.clear()

    task = asyncio.create_task(of.workers.start_container(admitted, retry=True))
    for moment, tries, message in ((9.9, 1, "not yet"), (0.2, 2, "not now"), (9.7, 2, "not now"), (0.3, 3, "")):
        await of.clock.advance(moment)
        assert (len(of.log), admitted.containers["main"].message) == (tries, message)

    assert (await task).is_running
    assert admitted.containers["main"].waiting_reason is None


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.SUCCEEDED])
async def test_no_container_starts_in_a_pod_that_has_ended(of, phase):
    admitted = await of.workers.admit(pod.simple("p"))
    of.workers.finish(admitted, phase)
    admitted.message = "for a reason"

    with pytest.raises(pod_workers.PodEndedError, match=rf"^pod p is {phase}: for a reason$"):
        await of.workers.start_container(admitted)


async def test_a_pod_that_ends_while_it_is_retried_is_not_tried_any_more(of):
    admitted = await of.workers.admit(pod.simple("p"))
    of.allocation.start_fails = ["not now"]
    task = asyncio.create_task(of.workers.start_container(admitted, retry=True))
    await of.clock.advance(1)
    of.workers.finish(admitted, Phase.FAILED)
    await of.clock.advance(10)

    with pytest.raises(pod_workers.PodEndedError):
        await task


async def test_a_container_that_exited_keeps_its_devices_and_a_pod_that_is_finished_runs_nothing(of):
    admitted = await of.workers.admit(SPEC)
    for name in ("side", "app", "other"):
        await of.workers.start_container(admitted, name)
    rings = of.rings

    of.workers.container_exited(SPEC, "app")
    assert (running(admitted), admitted.phase, of.rings) == (["side", "other"], Phase.RUNNING, rings + 1)
    assert admitted.containers["app"].device_ids[X] == ["app0", "app1"]
    of.workers.finish(SPEC, Phase.SUCCEEDED)
    assert (running(admitted), admitted.phase, of.rings) == ([], Phase.SUCCEEDED, rings + 2)


@pytest.mark.parametrize(
    ("exit_code", "message", "reason"),
    [(0, "", "Completed"), (1, "", "Error"), (137, "", "Error"), (128, "no such command", "StartError")],
)
async def test_how_a_container_ended_is_noted_where_it_is_known(of, exit_code, message, reason):
    admitted = await of.workers.admit(pod.simple("p"))
    status = await of.workers.start_container(admitted)
    of.workers.container_exited(admitted, "main")
    assert (status.ended, status.is_running) == (None, False)

    of.workers.container_exited(admitted, "main", exit_code, message)

    assert (status.ended.exit_code, status.ended.message, status.ended.reason) == (exit_code, message, reason)


async def test_of_a_pod_that_was_removed_nothing_is_known(of):
    admitted, other = await of.workers.admit(SPEC), await of.workers.admit(pod.simple("other"))
    assert of.workers.active_uids() == {SPEC.uid, other.uid}
    rings = of.rings
    of.workers.remove(admitted)
    of.workers.remove(SPEC)

    assert (of.workers.pods, of.workers.active_uids(), of.rings) == ([other], {other.uid}, rings + 2)
    text = f"^no pod here has the UID {SPEC.uid}; it was never admitted, or is removed$"
    for call in (
        lambda: of.workers.finish(SPEC, Phase.FAILED),
        lambda: of.workers.container_exited(SPEC, "app"),
        lambda: of.workers.allocated_resources_status(SPEC),
    ):
        with pytest.raises(pod_workers.UnknownPodError, match=text):
            call()
    with pytest.raises(pod_workers.UnknownPodError, match=text):
        await of.workers.start_container(SPEC, "app")
    of.workers.clear()
    assert of.workers.pods == []


def test_a_pod_that_ran_before_runs_on_but_for_its_ordinary_init_containers(of):
    restored = of.workers.restore(SPEC)

    assert (restored.phase, running(restored)) == (Phase.RUNNING, ["side", "app", "other"])
    assert [status.starts for status in restored.containers.values()] == [1, 1, 1, 1]
    assert [status.name for status in restored.containers.values()] == list(restored.containers) == NAMES
    assert (of.workers.pods, of.log) == ([restored], [])
    of.workers.stop_containers()
    assert (running(restored), restored.phase) == ([], Phase.RUNNING)


@pytest.mark.parametrize(
    ("answers", "whole", "odds", "seen"),
    [
        (True, True, 0.9, [True, True]),
        (True, False, 0.4, [True, True]),
        (True, False, 0.5, [True, False]),
        (False, True, 0.4, [False, False]),
        (False, False, 0.4, [False, False]),
    ],
)
async def test_which_containers_run_is_seen_once_at_the_start(of, answers, whole, odds, seen):
    first, again, exited = [await of.workers.admit(pod.simple(name)) for name in ("first", "again", "exited")]
    for admitted in (first, again, again, exited):
        await of.workers.start_container(admitted)
    of.workers.container_exited(exited, "main")

    class Dice(random.Random):
        def random(self):
            return odds

    of.workers.look_at_runtime(Dice(), answers=answers, whole=whole)
    of.workers.stop_containers()

    assert [of.workers.was_seen_running(one.uid, "main") for one in (first, again)] == seen
    assert not of.workers.was_seen_running(exited.uid, "main")
    assert not of.workers.was_seen_running(first.uid, "other")
    of.workers.look_at_runtime(Dice(), answers=True, whole=True)
    assert not of.workers.was_seen_running(first.uid, "main")


# -- what is told of them ---------------------------------------------------------------------------------------------


def test_the_health_of_what_app_containers_hold_is_told_and_what_is_not_listed_is_healthy(of):
    of.manager.all_devices = {X: {"a": Device("a", "Healthy"), "b": Device("b", "sick")}}
    of.manager.holds(SPEC.uid, "app", Y, n0=["z"])
    of.manager.holds(SPEC.uid, "app", X, n0=["b", "a"], n1=["b", "gone"])
    of.manager.holds(SPEC.uid, "init", X, n0=["a"])
    restored = of.workers.restore(SPEC)

    status = of.workers.allocated_resources_status(SPEC)

    assert status == {
        "app": {X: {"a": "Healthy", "b": "Unhealthy", "gone": "Healthy"}, Y: {"z": "Healthy"}},
        "other": {},
    }
    assert [list(status["app"]), list(status["app"][X])] == [[X, Y], ["a", "b", "gone"]]
    assert allocated_resources_status(restored, of.manager) == status


@pytest.mark.parametrize(
    ("phase", "active"), [("Pending", True), ("Running", True), ("Succeeded", False), ("Failed", False)]
)
def test_a_pod_may_hold_devices_until_it_has_ended(phase, active):
    assert AdmittedPod(SPEC, Phase(phase)).is_active is active


def test_a_pod_is_rejected_with_all_its_containers():
    admitted = AdmittedPod(SPEC, Phase.RUNNING, containers={"a": ContainerStatus("a", is_running=True)})

    admitted.reject("Why", "it is so")

    assert (admitted.phase, admitted.reason, admitted.message) == (Phase.FAILED, "Why", "Pod was rejected: it is so")
    assert running(admitted) == []


# -- PodResources -----------------------------------------------------------------------------------------------------


class AbortedError(Exception):
    """What `abort` raises."""


class Context:
    async def abort(self, code, details):
        raise AbortedError(code, details)


def server(of, directory, **named):
    return pod_resources.PodResourcesServer(
        directory / "pr" / "kubelet.sock", of.manager, pods=lambda: of.workers.pods, time_source=of.clock, **named
    )


def entry(resource, device_id, *nodes):
    topology = podresourcesapi.TopologyInfo(nodes=[podresourcesapi.NUMANode(ID=node) for node in nodes])
    return podresourcesapi.ContainerDevices(
        resource_name=resource, device_ids=[device_id], topology=topology if nodes else None
    )


def shown(name, **containers):
    return podresourcesapi.PodResources(
        name=name, namespace="default",
        containers=[podresourcesapi.ContainerResources(name=key, devices=value) for key, value in containers.items()],
    )  # fmt: skip  # one message


@pytest.fixture
def held(of):
    """Two active pods and one that has ended, with devices on nodes and on none."""
    of.manager.holds(SPEC.uid, "app", Y, n_1=["z"])
    of.manager.holds(SPEC.uid, "app", X, n1=["b", "a"], n0=["b"])
    of.manager.holds(SPEC.uid, "side", X, n0=["s"])
    of.manager.holds(SPEC.uid, "init", X, n0=["i"])
    of.workers.restore(SPEC)
    of.workers.restore(pod.simple("bare"))
    of.workers.finish(of.workers.restore(pod.simple("done")), Phase.SUCCEEDED)
    app = [entry(X, "a", 1), entry(X, "b", 0), entry(X, "b", 1), entry(Y, "z")]
    return shown("p", side=[entry(X, "s", 0)], app=app, other=[])


async def test_list_shows_active_pods_with_an_entry_for_each_device_and_node(of, held, tmp_path):
    reply = await server(of, tmp_path).List(podresourcesapi.ListPodResourcesRequest(), Context())

    assert list(reply.pod_resources) == [held, shown("bare", main=[])]
    assert of.manager.updates == 1


async def test_get_shows_one_pod_ended_or_not(of, held, tmp_path):
    api = server(of, tmp_path)

    async def get(name, namespace="default"):
        request = podresourcesapi.GetPodResourcesRequest(pod_name=name, pod_namespace=namespace)
        return (await api.Get(request, Context())).pod_resources

    assert await get("p") == held
    assert await get("done") == shown("done", main=[])
    for name, namespace in (("p", "lab"), ("q", "default")):
        with pytest.raises(AbortedError) as caught:
            await get(name, namespace)
        assert caught.value.args == (grpc.StatusCode.UNKNOWN, f"pod {name} in namespace {namespace} not found")
    assert of.manager.updates == 0


async def test_before_1_34_get_is_disabled(of, held, tmp_path):
    request = podresourcesapi.GetPodResourcesRequest(pod_name="p", pod_namespace="default")

    with pytest.raises(AbortedError) as caught:
        await server(of, tmp_path, serves_get=False).Get(request, Context())

    assert caught.value.args == (grpc.StatusCode.UNKNOWN, "PodResources API Get method disabled")


async def test_allocatable_are_all_healthy_devices_but_those_with_an_empty_topology(of, tmp_path):
    of.manager.healthy = {Y: {"z"}, X: {"b", "a", "hidden", "gone"}, "w": {"w"}}
    of.manager.all_devices = {
        Y: {"z": Device("z", "Healthy")},
        X: {
            "hidden": Device("hidden", "Healthy", (), True), "a": Device("a", "Healthy", (1, 0)), "b": Device("b", "Healthy", (1,)),
            "sick": Device("sick", "Unhealthy"),
        },
    }  # fmt: skip  # one line each is too long

    reply = await server(of, tmp_path).GetAllocatableResources(podresourcesapi.AllocatableResourcesRequest(), Context())

    assert list(reply.devices) == [entry(X, "a", 0), entry(X, "a", 1), entry(X, "b", 1), entry(Y, "z")]


async def test_ten_requests_at_once_and_a_hundred_a_second_are_answered(of, tmp_path):
    api = server(of, tmp_path)
    calls = [
        lambda: api.List(podresourcesapi.ListPodResourcesRequest(), Context()),
        lambda: api.GetAllocatableResources(podresourcesapi.AllocatableResourcesRequest(), Context()),
        lambda: api.Get(podresourcesapi.GetPodResourcesRequest(), Context()),
    ]
    for _ in range(10):
        await calls[0]()

    for call in calls:
        with pytest.raises(AbortedError) as caught:
            await call()
        assert caught.value.args == (grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")


async def test_tokens_come_back_one_in_ten_milliseconds_up_to_ten():
    time_source = clock.ManualClock(start=50)
    limit = pod_resources.RateLimit(time_source)
    assert [limit.allows() for _ in range(12)] == [True] * 10 + [False] * 2
    await time_source.advance(0.0099)
    assert not limit.allows()
    await time_source.advance(0.0002)
    assert [limit.allows(), limit.allows()] == [True, False]
    await time_source.advance(1)
    assert [limit.allows() for _ in range(11)] == [True] * 10 + [False]
