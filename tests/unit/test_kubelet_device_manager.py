"""What the fake kubelet makes of what plugins tell: sets of devices, counts, the checkpoint, the end of a plugin."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakekubelet import clock
from fakekubelet.kubelet import checkpoint, device, device_manager, node_status, pod_devices
from fakekubelet.kubelet.endpoint import Endpoint, StoppedError
from fakekubelet.kubelet.node_status import Counts
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

X, Y = "example.com/x", "example.com/y"


class Told:
    """A device manager, and who it told what."""

    def __init__(self, directory):
        self.clock = clock.ManualClock(start=1000)
        self.rings, self.lists, self.synced, self.active = 0, [], [], set()
        self.manager = device_manager.DeviceManager(
            directory, time_source=self.clock, active_pods=lambda: self.active,
            on_list=lambda resource, received: self.lists.append((resource, received)),
            on_health=self.synced.append, ring=self.ring,
        )  # fmt: skip  # who listens

    def ring(self):
        self.rings += 1

    def lists_devices(self, resource=X, *, is_first=False, **health):
        messages = [pluginapi.Device(ID=name, health=word) for name, word in health.items()]
        self.manager.list_received(resource, messages, is_first=is_first)

    def connects(self, resource=X):
        client = object()
        self.manager.plugin_connected(resource, Endpoint(resource, client, pluginapi.DevicePluginOptions()))
        return client

    def allocates(self, uid, *ids, resource=X):
        self.manager.pod_devices.insert(
            uid, "main", resource, pod_devices.Held({-1: list(ids)}, pluginapi.ContainerAllocateResponse())
        )
        self.manager.allocated = self.manager.pod_devices.allocated()


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path)


def counts(capacity=None, allocatable=None, removed=()):
    return Counts(capacity or {}, allocatable or {}, set(removed))


def test_a_list_replaces_all_that_was_known(told):
    told.connects()
    assert told.rings == 1
    told.lists_devices(a="Healthy", b="sick", is_first=True)
    told.lists_devices(b="Healthy", c="Unhealthy", d="healthy")

    manager = told.manager
    assert (manager.healthy, manager.unhealthy) == ({X: {"b"}}, {X: {"c", "d"}})
    assert {key: known.health for key, known in manager.all_devices[X].items()} == {
        "b": "Healthy", "c": "Unhealthy", "d": "healthy",
    }  # fmt: skip  # as received
    assert manager.counts() == counts({X: 3}, {X: 1})
    assert manager.reported(X) == {"b": "Healthy", "c": "Unhealthy", "d": "healthy"}
    assert list(manager.reported(X)) == ["b", "c", "d"]
    assert told.rings == 3


def test_a_list_is_kept_as_it_came_with_its_time(told):
    before = time.monotonic()
    message = pluginapi.Device(
        ID="a", health="Healthy", topology=pluginapi.TopologyInfo(nodes=[pluginapi.NUMANode(ID=1)])
    )
    repeated = [message, pluginapi.Device(ID="b", health="x"), message, pluginapi.Device(ID="b", health="y")]
    told.manager.list_received(X, repeated, is_first=True)
    told.lists_devices(c="Healthy")

    (resource, first), (_, second) = told.lists
    assert before <= first.at <= second.at <= time.monotonic()
    assert resource == X
    assert first == device.DeviceList(first.at, {"a": ("Healthy", (1,)), "b": ("y", ())}, ("a", "b"), True)
    assert second == device.DeviceList(second.at, {"c": ("Healthy", ())}, (), False)
    assert (first.healthy, second.healthy) == (1, 1)


def test_what_is_listed_twice_with_other_words_counts_twice(told):
    told.connects()
    messages = [pluginapi.Device(ID="a", health=word) for word in ("Healthy", "Unhealthy")]
    told.manager.list_received(X, messages, is_first=True)

    assert told.manager.counts() == counts({X: 2}, {X: 1})
    assert told.manager.reported(X) == {"a": "Healthy"}


def test_every_list_is_saved(told, tmp_path):
    told.lists_devices(a="Healthy")
    told.lists_devices(Y, b="Healthy")

    saved = checkpoint.read(tmp_path)
    assert saved is not None
    assert set(saved.resources) == {X, Y}


def test_pods_are_told_of_what_changed_for_their_devices_and_of_nothing_else(told):
    told.allocates("p", "a", "b")
    told.allocates("q", "c")

    told.lists_devices(a="Healthy", b="Healthy", c="Healthy")
    assert sorted(told.synced) == ["p", "q"], "new to the kubelet"
    told.synced.clear()
    told.lists_devices(a="Healthy", b="Healthy", c="Healthy", d="Healthy")
    assert told.synced == []
    told.lists_devices(a="Unhealthy", b="sick", c="Healthy", d="sick")
    assert told.synced == ["p"], "once for both devices"
    told.lists_devices(c="Healthy")
    assert told.synced == ["p"], "what is no longer listed is told to nobody"


def test_when_its_plugin_ends_all_devices_are_unhealthy_and_capacity_stays_for_five_minutes(told):
    client = told.connects()
    told.lists_devices(a="Healthy", b="sick")
    rings = told.rings

    told.manager.plugin_disconnected(X, client)

    assert told.rings == rings + 1
    assert told.manager.endpoints[X].stopped_at == 1000
    assert (told.manager.healthy, told.manager.unhealthy) == ({X: set()}, {X: {"a", "b"}})
    assert told.manager.reported(X) == {"a": "Unhealthy", "b": "sick"}
    assert told.manager.counts() == counts({X: 2}, {X: 0})


@pytest.mark.parametrize(("later", "gone"), [(300, False), (300.001, True)])
async def test_the_grace_period_is_over_after_five_minutes_and_not_at_them(told, later, gone):
    client = told.connects()
    told.lists_devices(a="Healthy")
    told.manager.plugin_disconnected(X, client)
    rings = told.rings

    await told.clock.advance(later)

    assert told.manager.counts() == (counts(removed=[X]) if gone else counts({X: 1}, {X: 0}))
    assert told.rings == rings + gone


async def test_closing_drops_the_timers(told):
    told.manager.plugin_disconnected(X, told.connects())
    told.manager.plugin_disconnected(Y, told.connects(Y))
    rings = told.rings

    told.manager.close()
    await told.clock.advance(1000)

    assert told.rings == rings


def test_the_end_of_a_client_is_that_of_its_own_endpoint_only(told):
    first = told.connects()
    second = told.connects()
    told.lists_devices(a="Healthy")
    rings = told.rings

    told.manager.plugin_disconnected(X, first)
    told.manager.plugin_disconnected(Y, None)
    assert told.manager.counts() == counts({X: 1}, {X: 1})
    assert told.rings == rings
    told.manager.plugin_disconnected(X, second)
    assert told.manager.counts() == counts({X: 1}, {X: 0})
    told.connects()
    told.lists_devices(a="Healthy")
    told.manager.plugin_disconnected(X, None)
    assert told.manager.counts() == counts({X: 1}, {X: 0}), "up to 1.36 whoever has it"


def test_the_end_of_one_that_never_listed_leaves_no_list(told):
    client = told.connects()

    told.manager.plugin_disconnected(X, client)

    assert told.manager.healthy == {}
    assert told.manager.unhealthy == {X: set()}
    assert told.manager.counts() == counts({X: 0}, {})


def test_what_nobody_serves_is_removed_and_forgotten_on_demand(told, tmp_path):
    told.lists_devices(a="Healthy")
    told.connects(Y)
    told.lists_devices(Y, b="Healthy")
    assert told.manager.counts() == counts({Y: 1}, {Y: 1}, [X])

    told.manager.forget([X])

    assert told.manager.counts() == counts({Y: 1}, {Y: 1})
    assert set(checkpoint.read(tmp_path).resources) == {Y}
    told.manager.forget(iter([Y]))
    assert (told.manager.healthy, told.manager.unhealthy, told.manager.endpoints) == ({}, {}, {})
    (tmp_path / checkpoint.FILE_NAME).unlink()
    told.manager.forget([])
    assert not (tmp_path / checkpoint.FILE_NAME).exists(), "nothing to write"


def test_a_limit_is_the_managers_if_its_resource_is_listed_or_in_use(told):
    told.lists_devices(a="Healthy")
    told.allocates("p", "b", resource=Y)

    assert [told.manager.is_device_plugin_resource(name) for name in (X, Y, "z")] == [True, True, False]


def test_devices_of_pods_that_are_gone_are_freed_once_the_pods_are_known(told):
    told.allocates("gone", "a")
    told.allocates("here", "b")
    told.active = {"here", "other"}

    told.manager.update_allocated()
    assert told.manager.allocated == {X: {"a", "b"}}
    told.manager.pods_known = True
    told.manager.allocated[X].add("reserved")
    told.manager.update_allocated()
    assert told.manager.allocated == {X: {"b"}}
    told.manager.allocated[X].add("reserved")
    told.manager.update_allocated()
    assert told.manager.allocated == {X: {"b", "reserved"}}, "nobody is gone"


def test_a_new_life_takes_over_what_was_allocated_and_knows_its_resources_as_stopped(tmp_path):
    before, after = Told(tmp_path), Told(tmp_path)
    before.connects()
    before.lists_devices(a="Healthy", b="Healthy")
    before.lists_devices(Y, c="Healthy")
    before.allocates("p", "a")
    before.manager.save_checkpoint()

    after.manager.load_checkpoint()

    manager = after.manager
    assert list(manager.pod_devices) == list(before.manager.pod_devices)
    assert manager.allocated == {X: {"a"}}
    assert (manager.healthy, manager.unhealthy) == ({X: set(), Y: set()}, {X: set(), Y: set()})
    assert manager.counts() == counts({X: 0, Y: 0}, {X: 0, Y: 0})
    for resource in (X, Y):
        endpoint = manager.endpoints[resource]
        assert (endpoint.resource, endpoint.client, endpoint.options, endpoint.stopped_at) == (
            resource,
            None,
            None,
            1000,
        )
    assert manager.reported(X) == {}
    assert not manager.pods_known


def test_without_a_checkpoint_nothing_is_taken_over(told):
    told.manager.load_checkpoint()

    assert (told.manager.healthy, told.manager.endpoints, told.manager.allocated) == ({}, {}, {})


def test_a_device_that_is_only_known_to_be_unhealthy_is_reported_as_such(told):
    told.lists_devices(a="sick", b="Healthy")
    told.manager.unhealthy[X].add("never listed")

    assert told.manager.reported(X) == {"a": "sick", "b": "Healthy", "never listed": "Unhealthy"}


# -- the endpoint -----------------------------------------------------------------------------------------------------


class Client:
    def __init__(self):
        self.asked = []

    async def get_preferred_allocation(self, request):
        self.asked.append(request)
        return "preferred"

    async def allocate(self, request):
        self.asked.append(request)
        return "allocated"

    async def pre_start_container(self, request, *, timeout_s):
        self.asked.append((request, timeout_s))


async def test_an_endpoint_asks_for_one_container_at_a_time():
    client = Client()
    endpoint = Endpoint(X, client, None)

    assert await endpoint.get_preferred_allocation(["b", "a"], ["a"], 2) == "preferred"
    assert await endpoint.allocate(["b", "a"]) == "allocated"
    await endpoint.pre_start_container(["b"])

    wanted = pluginapi.ContainerPreferredAllocationRequest(
        available_deviceIDs=["b", "a"], must_include_deviceIDs=["a"], allocation_size=2
    )
    assert client.asked == [
        pluginapi.PreferredAllocationRequest(container_requests=[wanted]),
        pluginapi.AllocateRequest(container_requests=[pluginapi.ContainerAllocateRequest(devices_ids=["b", "a"])]),
        (pluginapi.PreStartContainerRequest(devices_ids=["b"]), 30.0),
    ]


@pytest.mark.parametrize(("client", "stopped_at"), [(Client(), 0.0), (None, None), (None, 5.0)])
async def test_an_endpoint_that_has_stopped_asks_nobody(client, stopped_at):
    endpoint = Endpoint(X, client, None, stopped_at=stopped_at)

    for call in (endpoint.get_preferred_allocation([], [], 1), endpoint.allocate([]), endpoint.pre_start_container([])):
        with pytest.raises(StoppedError) as caught:
            await call
        assert str(caught.value) == f"endpoint {X} has been stopped"
    assert client is None or client.asked == []


@pytest.mark.parametrize(
    ("stopped_at", "now", "expired"), [(None, 1e9, False), (100, 400, False), (100, 400.1, True), (0.0, 301, True)]
)
def test_an_endpoint_has_expired_five_minutes_after_its_stop(stopped_at, now, expired):
    assert Endpoint(X, None, None, stopped_at=stopped_at).has_expired(now) is expired


# -- what the Node object shows ---------------------------------------------------------------------------------------


class Dice:
    def __init__(self, *throws):
        self.throws = list(throws)

    def random(self):
        return self.throws.pop(0)


async def test_the_node_object_is_looked_at_every_ten_seconds_and_up_to_four_hundredths_later():
    time_source = clock.ManualClock(start=0)
    ticks = []

    async def tick():
        ticks.append(time_source.time())

    ticker = node_status.Ticker(
        tick, period_s=node_status.UPDATE_PERIOD_S, time_source=time_source, rng=Dice(0, 1, 0.5, 0)
    )
    task = asyncio.create_task(ticker.run())
    await time_source.advance(35)
    await node_status.cancel_and_wait(task)

    assert ticks == pytest.approx([10.0, 20.4, 30.6])
    assert task.cancelled()


NAMES = st.sampled_from([X, Y, "z"])
NUMBERS = st.dictionaries(NAMES, st.integers(0, 9))


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.sets(NAMES))
def test_keys_never_go_away_and_what_nobody_counts_is_copied(
    capacity, allocatable, new_capacity, new_allocatable, removed
):
    before = node_status.NodeStatus(capacity, allocatable)

    after = node_status.compute(before, Counts(new_capacity, new_allocatable, removed))

    for name in {*capacity, *new_capacity, *removed}:
        assert after.capacity[name] == (0 if name in removed else new_capacity.get(name, capacity.get(name)))
        assert after.allocatable[name] == new_allocatable.get(name, after.capacity[name])
    assert after.capacity.keys() == {*capacity, *new_capacity, *removed}
    assert after.allocatable.keys() == {*after.capacity, *new_allocatable}
    assert list(after.capacity) == sorted(after.capacity)
    assert list(after.allocatable) == sorted(after.allocatable)
