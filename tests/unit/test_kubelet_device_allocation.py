"""The fake kubelet gives devices to containers: what it asks plugins, what it keeps, and in which words it refuses."""

from __future__ import annotations

import random

import grpc
import pytest

from fakekubelet import clock, pod
from fakekubelet.kubelet import call_log, container_options, device_allocation, device_manager, numa
from fakekubelet.kubelet.device_allocation import DeviceError
from fakekubelet.kubelet.endpoint import Endpoint
from fakekubelet.kubelet.mode import Mode
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

X, Y = "example.com/x", "example.com/y"
PREFERS = {"get_preferred_allocation_available": True}
PRE_START = {"pre_start_required": True}


class Client:
    """A plugin: what it was asked, and its answers by method."""

    def __init__(self, log, resource):
        self.log, self.resource = log, resource
        self.answers = {}

    async def _call(self, method, ids, default):
        self.log.append((method, self.resource, sorted(ids)))
        answer = self.answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            answer = answer()
        return default if answer is None else answer

    async def get_preferred_allocation(self, request):
        (asked,) = request.container_requests
        self.question = (set(asked.available_deviceIDs), set(asked.must_include_deviceIDs), asked.allocation_size)
        return await self._call("prefer", asked.available_deviceIDs, pluginapi.PreferredAllocationResponse())

    async def allocate(self, request):
        (asked,) = request.container_requests
        self.order = list(asked.devices_ids)
        envs = {self.resource[-1].upper(): ",".join(sorted(asked.devices_ids))}
        answer = pluginapi.ContainerAllocateResponse(envs=envs)
        return await self._call("allocate", asked.devices_ids, pluginapi.AllocateResponse(container_responses=[answer]))

    async def pre_start_container(self, request, *, timeout_s):
        assert timeout_s == 30.0
        return await self._call("pre-start", request.devices_ids, pluginapi.PreStartContainerResponse())


class Node:
    """The device manager and the allocation of a kubelet, with plugins that answer at once."""

    def __init__(self, directory, *, policy="none", mode="1.36", nodes=(0, 1), seed=0):
        self.log, self.clients, self.running, self.active = [], {}, set(), set()
        self.manager = device_manager.DeviceManager(
            directory, time_source=clock.ManualClock(), active_pods=lambda: self.active, on_list=lambda *_: None,
            on_health=lambda _: None, ring=lambda: None,
        )  # fmt: skip  # what nobody listens to
        self.manager.pods_known = True
        self.manager.save_checkpoint = lambda: self.log.append("saved")
        self.allocation = device_allocation.DeviceAllocation(
            self.manager, rng=random.Random(seed), policy=numa.Policy(policy), machine_nodes=nodes, mode=Mode(mode),
            is_running=lambda *of: of in self.running,
        )  # fmt: skip  # one line each is too long

    def plugin(self, resource=X, **nodes_of):
        """Let a plugin list devices, each with its NUMA nodes; None is no topology, "sick" is not healthy."""
        options = pluginapi.DevicePluginOptions(**nodes_of.pop("options", {}))
        client = self.clients[resource] = Client(self.log, resource)
        self.manager.plugin_connected(resource, Endpoint(resource, client, options))
        listed = []
        for name, nodes in nodes_of.items():
            message = pluginapi.Device(ID=name, health="Unhealthy" if nodes == "sick" else "Healthy")
            if nodes not in (None, "sick"):
                message.topology.nodes.extend(pluginapi.NUMANode(ID=node) for node in nodes)
            listed.append(message)
        self.manager.list_received(resource, listed, is_first=True)
        self.log.clear()
        return client

    async def admit(self, *containers, init=(), uid="u"):
        """Allocate for a pod's containers in order, as admission does."""
        self.active.add(uid)
        owner = pod.Pod("p", containers, tuple(init), uid=uid)
        for container in (*init, *containers):
            await self.allocation.allocate(owner, container)
        return owner

    async def refusal(self, *containers, **named):
        with pytest.raises(DeviceError) as caught:
            await self.admit(*containers, **named)
        return str(caught.value)

    def held(self, resource=X, container="main", uid="u"):
        return self.manager.pod_devices.device_ids(uid, container, resource)


def main(name="main", sidecar=False, **limits):
    return pod.Container(name, {f"example.com/{key}": count for key, count in limits.items()}, is_sidecar=sidecar)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


async def test_a_container_gets_devices_of_each_of_its_resources_and_all_of_it_is_saved_once(node):
    node.plugin(X, a=(0,), b=(0, 1))
    node.plugin(Y, c=None)

    await node.admit(main(x=2, y=1, z=3))

    assert sorted(node.log[:2]) == [("allocate", X, ["a", "b"]), ("allocate", Y, ["c"])]
    assert node.log[2:] == ["saved"]
    entries = {resource: held for _, _, resource, held in node.manager.pod_devices}
    assert dict(entries[X].per_numa) == {0: ["a", "b"], 1: ["b"]}
    assert dict(entries[Y].per_numa) == {-1: ["c"]}
    assert entries[Y].response == pluginapi.ContainerAllocateResponse(envs={"Y": "c"})
    assert [(uid, container) for uid, container, _, _ in node.manager.pod_devices] == [("u", "main")] * 2
    assert node.manager.allocated == {X: {"a", "b"}, Y: {"c"}}


async def test_the_order_of_resources_and_devices_is_random_and_repeatable(tmp_path):
    async def order(seed):
        node = Node(tmp_path, seed=seed)
        client = node.plugin(X, **dict.fromkeys("abcdef"))
        node.plugin(Y, **dict.fromkeys("gh"))
        await node.admit(main(x=6, y=1))
        return tuple(client.order), node.log[0][1]

    orders = [await order(seed) for seed in range(12)]

    assert len({devices for devices, _ in orders}) > 3
    assert {first for _, first in orders} == {X, Y}
    assert orders == [await order(seed) for seed in range(12)]


async def test_nothing_wanted_or_known_is_nothing_asked_and_nothing_saved(node):
    node.plugin(X, a=None)

    await node.admit(main(x=0), main("other", unknown=1), main("bare"))

    assert node.log == []
    assert node.held() is None


async def test_devices_of_pods_that_are_gone_are_free_for_the_next_one(node):
    node.plugin(X, a=None)
    await node.admit(main(x=1), uid="gone")
    node.active.clear()

    await node.admit(main(x=1), uid="next")

    assert (node.held(uid="gone"), node.held(uid="next")) == (None, {"a"})


async def test_a_container_that_has_its_devices_keeps_them_and_asks_nobody(node):
    node.plugin(X, a=None, b=None)
    await node.admit(main(x=1))
    (before,) = node.held()
    node.log.clear()

    await node.admit(main(x=1))

    assert (node.log, node.held()) == ([], {before})


async def test_a_container_that_wants_another_number_than_it_has_is_refused(node):
    node.plugin(X, a=None, b=None)
    await node.admit(main(x=1))

    assert await node.refusal(main(x=2)) == (f'pod "u" container "main" changed request for resource "{X}" from 1 to 2')


async def test_a_held_device_that_is_no_longer_healthy_is_refused(node):
    node.plugin(X, a=None)
    await node.admit(main(x=1))
    node.plugin(X, a="sick", b=None)

    assert await node.refusal(main(x=1)) == (
        f"previously allocated devices are no longer healthy; cannot allocate unhealthy devices {X}"
    )


async def test_a_shortage_names_what_is_left(node):
    node.plugin(X, a=None, b="sick", c=None)
    await node.admit(main(x=1), uid="other")

    assert await node.refusal(main(x=2)) == (
        f"requested number of devices unavailable for {X}. Requested: 2, Available: 1"
    )
    assert len(node.manager.allocated[X]) == 1


async def test_a_resource_that_is_only_remembered_is_not_registered(node):
    node.manager.allocated[X] = {"a"}

    assert await node.refusal(main(x=1)) == f"cannot allocate unregistered device {X}"


async def test_before_its_pods_are_known_a_kubelet_leaves_running_containers_alone_and_refuses_others(node):
    node.plugin(X, a="sick")
    node.manager.pods_known = False
    node.running = {("u", "main")}

    await node.admit(main(x=1))

    assert (node.log, node.held()) == ([], None)
    nothing_healthy = f"no healthy devices present; cannot allocate unhealthy devices {X}"
    assert await node.refusal(main("other", x=1)) == nothing_healthy
    assert await node.refusal(main(x=1), uid="v") == nothing_healthy
    node.manager.pods_known = True
    assert await node.refusal(main(x=1)) == nothing_healthy


# -- preferences ------------------------------------------------------------------------------------------------------


def prefers(*chosen):
    answer = pluginapi.ContainerPreferredAllocationResponse(deviceIDs=chosen)
    return pluginapi.PreferredAllocationResponse(container_responses=[answer])


async def test_a_plugin_that_wants_to_be_asked_is_and_gets_its_way(node):
    client = node.plugin(X, a=None, b=None, c=None, options=PREFERS)
    client.answers["prefer"] = prefers("c", "a")

    await node.admit(main(x=2))

    assert client.question == ({"a", "b", "c"}, set(), 2)
    assert node.log == [("prefer", X, ["a", "b", "c"]), ("allocate", X, ["a", "c"]), "saved"]


async def test_a_plugin_that_does_not_is_not_asked(node):
    node.plugin(X, a=None, b=None)

    await node.admit(main(x=1))

    assert [entry[0] for entry in node.log[:-1]] == ["allocate"]


async def test_what_an_init_container_had_must_be_included(node):
    client = node.plugin(X, a=None, b=None, c=None, options=PREFERS)
    client.answers["prefer"] = prefers("b")

    await node.admit(main(x=2), init=[main("init", x=1)])

    assert node.held(container="init") == {"b"}
    assert client.question == ({"a", "b", "c"}, {"b"}, 2)
    assert node.held() > {"b"}


async def test_a_plugin_without_a_preference_leaves_the_choice_to_the_kubelet(node):
    node.plugin(X, a=None, options=PREFERS).answers["prefer"] = pluginapi.PreferredAllocationResponse()

    await node.admit(main(x=1))

    assert node.held() == {"a"}


FAILURE = call_log.RpcError(grpc.StatusCode.UNKNOWN, "oh dear")
WORDS = "rpc error: code = Unknown desc = oh dear"


async def test_a_preference_that_fails_refuses_the_pod(node):
    client = node.plugin(X, a=None, options=PREFERS)
    client.answers["prefer"] = FAILURE

    assert await node.refusal(main(x=1)) == f"device plugin GetPreferredAllocation rpc failed with err: {WORDS}"
    node.manager.endpoints[X].stopped_at = 1.0
    assert await node.refusal(main(x=1)) == (
        f"device plugin GetPreferredAllocation rpc failed with err: endpoint {X} has been stopped"
    )
    del node.manager.endpoints[X]
    assert await node.refusal(main(x=1)) == f"endpoint not found in cache for a registered resource: {X}"


async def test_of_an_endpoint_from_the_checkpoint_no_preference_is_known(node):
    client = node.plugin(X, a=None)
    node.manager.endpoints[X] = Endpoint(X, client, None)

    await node.admit(main(x=1))

    assert node.log == [("allocate", X, ["a"]), "saved"]


# -- Allocate ---------------------------------------------------------------------------------------------------------


async def test_an_allocation_that_fails_is_told_in_the_words_of_the_call_and_frees_its_devices(node):
    client = node.plugin(X, a=None, b=None)
    await node.admit(main(x=1), uid="other")
    client.answers["allocate"] = FAILURE
    before = set(node.manager.allocated[X])

    assert await node.refusal(main(x=1)) == WORDS
    assert node.manager.allocated == {X: before}
    node.manager.endpoints[X].stopped_at = 1.0
    assert await node.refusal(main(x=1)) == f"endpoint {X} has been stopped"
    assert node.manager.allocated == {X: before}
    del node.manager.endpoints[X]
    assert await node.refusal(main(x=1)) == f"endpoint not found in cache for a registered resource: {X}"


async def test_a_plugin_that_goes_while_it_thinks_is_unknown_and_its_devices_are_free(node):
    client = node.plugin(X, a=None, options=PREFERS)
    client.answers["prefer"] = lambda: node.manager.endpoints.clear()

    assert await node.refusal(main(x=1)) == f"unknown Device Plugin {X}"
    assert node.manager.allocated == {}


@pytest.mark.parametrize(
    ("mode", "shown"),
    [("1.33", "&AllocateResponse{ContainerResponses:[]*ContainerAllocateResponse{},}"), ("1.34", "")],
)
async def test_an_answer_for_no_container_is_refused_and_the_devices_stay_in_use(tmp_path, mode, shown):
    node = Node(tmp_path, mode=mode)
    node.plugin(X, a=None).answers["allocate"] = pluginapi.AllocateResponse()

    assert await node.refusal(main(x=1)) == f"no containers return in allocation response {shown}"
    assert node.manager.allocated == {X: {"a"}}
    assert node.held() is None


async def test_of_several_responses_the_first_one_counts(node):
    first, second = (pluginapi.ContainerAllocateResponse(envs={"N": number}) for number in "12")
    node.plugin(X, a=None).answers["allocate"] = pluginapi.AllocateResponse(container_responses=[first, second])

    await node.admit(main(x=1))

    assert node.allocation.merged("u", "main").envs == {"N": "1"}


@pytest.mark.parametrize(
    ("mode", "hazards"),
    [
        ("1.33", []),
        ("1.34", [f"{X}: device b vanished while it was being allocated (contract LW-13)"]),
    ],
)
async def test_a_device_that_vanishes_meanwhile_is_held_without_a_node_and_a_hazard_from_1_34_on(
    tmp_path, mode, hazards
):
    node = Node(tmp_path, mode=mode)
    client = node.plugin(X, a=(1,), b=(1,))

    def vanish():
        node.manager.list_received(X, [pluginapi.Device(ID="a", health="Healthy")], is_first=False)

    client.answers["allocate"] = vanish

    await node.admit(main(x=2))

    (entry,) = node.manager.pod_devices
    assert dict(entry[3].per_numa) == {-1: ["a", "b"]}
    assert node.allocation.hazards == hazards


# -- containers after containers --------------------------------------------------------------------------------------


async def test_an_ordinary_init_container_hands_its_devices_on_and_a_sidecar_keeps_them(node):
    node.plugin(X, a=None, b=None, c=None)

    await node.admit(
        main(x=1), main("second", x=1), init=[main("init", x=2), main("side", sidecar=True, x=1), main("again", x=1)]
    )

    held = {name: node.held(container=name) for name in ("init", "side", "again", "main", "second")}
    assert held["side"] < held["init"], "a sidecar reuses, too"
    assert held["again"] == held["init"] - held["side"]
    assert held["main"] == held["again"], "what an app container has, it keeps"
    assert held["second"] == {"a", "b", "c"} - held["init"]


async def test_another_pod_reuses_nothing(node):
    node.plugin(X, a=None)
    await node.admit(init=[main("init", x=1)], uid="u")

    assert "Available: 0" in await node.refusal(main(x=1), uid="v")
    assert "Available: 0" in await node.refusal(main(x=1), uid="u"), "forgotten since"


# -- starting containers ----------------------------------------------------------------------------------------------


async def start(node, owner, container, *, active=True):
    node.log.clear()
    return await node.allocation.run_options(owner, container, active=active)


async def test_a_container_is_started_with_what_its_plugins_said_and_announced_to_those_that_want_it(node):
    node.plugin(X, a=None, options=PRE_START)
    node.plugin(Y, b=None)
    container = main(x=1, y=1, z=1)
    owner = await node.admit(container)

    options = await start(node, owner, container)

    assert options == container_options.ContainerOptions(envs={"X": "a", "Y": "b"})
    assert node.log == [("pre-start", X, ["a"])]


async def test_nobody_is_told_of_a_resource_of_which_nothing_is_wanted(node):
    node.plugin(X, a=None, options=PRE_START)
    container = main(x=0)
    owner = await node.admit(container)

    assert await start(node, owner, container) == container_options.ContainerOptions()
    assert node.log == []


async def test_an_announcement_that_fails_keeps_the_container_from_starting(node):
    client = node.plugin(X, a=None, options=PRE_START)
    container = main(x=1)
    owner = await node.admit(container)
    client.answers["pre-start"] = FAILURE

    async def refusal():
        with pytest.raises(DeviceError) as caught:
            await start(node, owner, container)
        return str(caught.value)

    assert await refusal() == f"device plugin PreStartContainer rpc failed with err: {WORDS}"
    node.manager.endpoints[X].stopped_at = 1.0
    assert await refusal() == f"device plugin PreStartContainer rpc failed with err: endpoint {X} has been stopped"
    node.manager.pod_devices.delete(["u"])
    assert await refusal() == f"no devices found allocated in local cache for pod u, container main, resource {X}"
    del node.manager.endpoints[X]
    assert await refusal() == f"endpoint not found in cache for a registered resource: {X}"


async def test_of_an_endpoint_without_options_nobody_is_told(node):
    client = node.plugin(X, a=None)
    container = main(x=1)
    owner = await node.admit(container)
    node.manager.endpoints[X] = Endpoint(X, client, None)

    await start(node, owner, container)

    assert node.log == []


async def test_a_container_that_was_never_given_its_devices_gets_them_when_it_starts(node):
    container = main(x=1, y=1)
    owner = await node.admit(container)  # neither is known yet
    node.plugin(X, a=None)
    node.plugin(Y, b=None)

    assert (await start(node, owner, container, active=False)).envs == {}
    assert node.log == []
    assert (await start(node, owner, container)).envs == {"X": "a", "Y": "b"}
    assert sorted(node.log[:2]) == [("allocate", X, ["a"]), ("allocate", Y, ["b"])]
    assert (await start(node, owner, container)).envs == {"X": "a", "Y": "b"}
    assert node.log == []


async def test_which_plugin_speaks_first_is_random(tmp_path):
    firsts = set()
    for seed in range(12):
        node = Node(tmp_path, seed=seed)
        for resource in (X, Y):
            answer = pluginapi.ContainerAllocateResponse(envs={"WHO": resource})
            said = pluginapi.AllocateResponse(container_responses=[answer])
            node.plugin(resource, a=None).answers["allocate"] = said
        await node.admit(main(x=1, y=1))
        options = node.allocation.merged("u", "main")
        assert options.conflicts == ("env WHO",)
        firsts.add(options.envs["WHO"])

    assert firsts == {X, Y}
    assert {node.allocation.merged("u", "main").envs["WHO"] for _ in range(20)} == {X, Y}, "each time anew"


# -- NUMA nodes -------------------------------------------------------------------------------------------------------


async def test_without_a_policy_every_container_is_aligned(node):
    node.plugin(X, a=(0,), b=(1,))

    assert node.allocation.align(pod.simple("p"), main(x=2)) is True
    node.manager.update_allocated = None  # nothing is looked at


async def test_devices_come_from_the_node_that_suits_the_container(tmp_path):
    for seed in range(6):
        node = Node(tmp_path, policy="single-numa-node", seed=seed)
        node.plugin(X, a=(0,), b=(1,), c=(1,), d=None)
        container = main(x=2)
        owner = pod.Pod("p", (container,), uid="u")

        assert node.allocation.align(owner, container) is True
        await node.admit(container)
        assert node.held() == {"b", "c"}


@pytest.mark.parametrize(("policy", "admitted"), [("best-effort", True), ("restricted", False), ("none", True)])
async def test_what_no_node_has_enough_of_is_admitted_by_the_policy(tmp_path, policy, admitted):
    node = Node(tmp_path, policy=policy)
    node.plugin(X, a=(0,), b=(0,), c=(1,))
    node.active = {"other"}
    node.manager.allocated = {X: {"a"}}
    container = main(x=2)

    assert node.allocation.align(pod.Pod("p", (container,), uid="u"), container) is admitted


async def test_a_resource_without_nodes_or_of_nobody_has_no_say(tmp_path):
    node = Node(tmp_path, policy="restricted")
    node.plugin(X, a=None)
    container = main(x=5, z=1)

    assert node.allocation.align(pod.Pod("p", (container,), uid="u"), container) is True


async def test_more_than_there_is_suits_no_node(tmp_path):
    node = Node(tmp_path, policy="restricted")
    node.plugin(X, a=(0,))

    for count, admitted in ((1, True), (2, False)):
        container = main(x=count)
        assert node.allocation.align(pod.Pod("p", (container,), uid="u"), container) is admitted


async def test_what_a_container_has_already_is_where_it_is(tmp_path):
    node = Node(tmp_path, policy="restricted")
    node.plugin(X, a=(0,), b=(1,))
    container = main(x=1)
    await node.admit(container)

    assert node.allocation.align(pod.Pod("p", (container,), uid="u"), container) is True
    wants_more = main(x=2)
    assert node.allocation.align(pod.Pod("p", (wants_more,), uid="u"), wants_more) is False


async def test_what_an_init_container_had_counts_as_available(tmp_path):
    node = Node(tmp_path, policy="restricted")
    node.plugin(X, a=(0,), b=(0,))
    owner = await node.admit(init=[main("init", x=2)])
    container = main(x=2)

    assert node.allocation.align(owner, container) is True
    assert node.allocation.align(pod.Pod("q", (container,), uid="v"), container) is False


async def test_devices_of_pods_that_are_gone_are_free_before_nodes_are_weighed(tmp_path):
    node = Node(tmp_path, policy="restricted")
    node.plugin(X, a=(0,))
    await node.admit(main(x=1), uid="gone")
    node.active.clear()
    container = main(x=1)

    assert node.allocation.align(pod.Pod("p", (container,), uid="u"), container) is True


@pytest.mark.parametrize(("mode", "bearing_only"), [("1.34", False), ("1.35", True)])
async def test_nodes_are_weighed_with_what_is_free_and_with_what_may_be_reused(
    tmp_path, monkeypatch, mode, bearing_only
):
    node, asked = Node(tmp_path, policy="best-effort", mode=mode), []
    node.plugin(X, a=(0,), b=(0,), c=(1,), d="sick")
    owner = await node.admit(init=[main("init", x=1)])
    (reused,) = node.held(container="init")
    container = main(x=2)
    monkeypatch.setattr(numa, "hints", lambda *given, **named: asked.append((given, named)) or [])

    node.allocation.align(owner, container)

    named = {"machine_nodes": (0, 1), "bearing_only": bearing_only, "request": 2, "reusable": {reused}}
    assert asked == [((node.manager.all_devices[X],), {**named, "available": {"a", "b", "c"} - {reused}})]


@pytest.mark.parametrize(
    ("policy", "count", "hazardous"), [("restricted", 9, True), ("restricted", 8, False), ("none", 9, False)]
)
async def test_a_machine_with_more_than_8_nodes_has_no_policy(tmp_path, policy, count, hazardous):
    node = Node(tmp_path, policy=policy, nodes=tuple(range(count)))
    node.plugin(X, a=(0,), b=(1,))
    container = main(x=3)

    assert node.allocation.hazards == (
        ["a real kubelet does not start with the policy restricted: unsupported on machines with more than 8 NUMA Nodes "
         "(contract AL-20); this one goes on with the policy none"]
        if hazardous else []
    )  # fmt: skip  # one text
    aligned = node.allocation.align(pod.Pod("p", (container,), uid="u"), container)
    assert aligned is (hazardous or policy == "none")
