"""What a kubelet calls on a DRA driver and hears of it, over real sockets, and what it asks of the API server."""

import asyncio
import contextlib

import grpc
import pytest

from fakekubelet.apiserver.server import ApiServer
from fakekubelet.clock import ManualClock
from fakekubelet.dra import driver_client, drivers, view
from fakekubelet.kubelet import call_log
from kubeletapi.dra.v1 import api_pb2 as v1
from kubeletapi.dra.v1 import api_pb2_grpc as v1_grpc
from kubeletapi.dra.v1beta1 import api_pb2 as v1beta1
from kubeletapi.dra.v1beta1 import api_pb2_grpc as v1beta1_grpc
from kubeletapi.drahealth.v1 import api_pb2 as healthapi
from kubeletapi.drahealth.v1 import api_pb2_grpc as health_grpc
from kubeletapi.drahealth.v1alpha1 import api_pb2 as health_alpha
from kubeletapi.drahealth.v1alpha1 import api_pb2_grpc as health_alpha_grpc

V1, V1BETA1 = "v1.DRAPlugin", "v1beta1.DRAPlugin"
HEALTH_V1, HEALTH_ALPHA = "v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"
NODE = "worker"


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def ends(doing):
    task = asyncio.create_task(doing)
    await asyncio.wait([task], timeout=10)
    ended = task.done()
    task.cancel()
    assert ended, "it does not end"
    await task


class Plugin:
    """A driver's service with memory. `messages` are the health messages that a stream sends before it hangs."""

    def __init__(self, path, *services, fails=None, hangs=False, messages=(), ends=False):
        self.path, self.calls, self.streams = path, [], 0
        self._fails, self._hangs, self._messages, self._ends = fails, hangs, messages, ends
        self._services = services or (V1,)
        self._server = None

    async def start(self):
        self._server = grpc.aio.server()
        if V1 in self._services:
            v1_grpc.add_DRAPluginServicer_to_server(Service(self, v1), self._server)
        if V1BETA1 in self._services:
            v1beta1_grpc.add_DRAPluginServicer_to_server(Service(self, v1beta1), self._server)
        if HEALTH_V1 in self._services:
            health_grpc.add_DRAResourceHealthServicer_to_server(Health(self, healthapi), self._server)
        if HEALTH_ALPHA in self._services:
            health_alpha_grpc.add_DRAResourceHealthServicer_to_server(Health(self, health_alpha), self._server)
        self._server.add_insecure_port(f"unix:{self.path}")
        await self._server.start()

    async def stop(self):
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(0)

    async def answer(self, method, api, request, context):
        self.calls.append(
            (
                method,
                api.DESCRIPTOR.package.rpartition(".")[2],
                [(one.namespace, one.name, one.uid) for one in request.claims],
            )
        )
        if self._hangs:
            await asyncio.Event().wait()
        if self._fails:
            await context.abort(grpc.StatusCode.INTERNAL, self._fails)


class Service:
    def __init__(self, plugin, api):
        self._plugin, self._api = plugin, api

    async def NodePrepareResources(self, request, context):
        await self._plugin.answer("prepare", self._api, request, context)
        device = self._api.Device(pool_name="p", device_name="x", request_names=["r"], cdi_device_ids=["v/c=x"])
        return self._api.NodePrepareResourcesResponse(
            claims={claim.uid: self._api.NodePrepareResourceResponse(devices=[device]) for claim in request.claims}
        )

    async def NodeUnprepareResources(self, request, context):
        await self._plugin.answer("unprepare", self._api, request, context)
        return self._api.NodeUnprepareResourcesResponse(
            claims={claim.uid: self._api.NodeUnprepareResourceResponse(error="no") for claim in request.claims}
        )


class Health:
    def __init__(self, plugin, api):
        self._plugin, self._api = plugin, api

    async def NodeWatchResources(self, request, context):
        self._plugin.streams += 1
        for name in self._plugin._messages:
            device = self._api.DeviceHealth(
                device=self._api.DeviceIdentifier(pool_name="p", device_name=name), health=1
            )
            yield self._api.NodeWatchResourcesResponse(devices=[device])
        if not self._plugin._ends:
            await asyncio.Event().wait()


class Kubelet:
    """What is around the drivers of a kubelet, with memory."""

    def __init__(self, root, release=36, api=None):
        self.root, self.clock, self.rings, self.heard, self.arrivals = root, ManualClock(), 0, [], []
        self.calls = call_log.CallLog(self.clock, self.ring)
        self.wipes, self.can_wipe = [], True
        self.drivers = drivers.Drivers(
            api or self,
            NODE,
            minor=release,
            time_source=self.clock,
            calls=self.calls,
            ring=self.ring,
            on_health=self.hear,
            arrivals=self.arrivals,
        )

    def ring(self):
        self.rings += 1

    def hear(self, driver, reply):
        self.heard.append((driver, None if reply is None else [device.device.device_name for device in reply.devices]))

    async def wipe(self, node, driver):
        self.wipes.append((node, driver, self.clock.time()))
        return self.can_wipe

    async def plugin(self, name="a", *services, **how):
        made = Plugin(self.root / f"{name}.sock", *services, **how)
        await made.start()
        return made


@pytest.fixture
async def make(short_dir):
    """Make the drivers' side of a kubelet, which ends with the test."""
    made, plugins = [], []

    def kubelet(release=36):
        new = Kubelet(short_dir, release)
        made.append(new)
        start = new.plugin

        async def plugin(*arguments, **how):
            plugins.append(await start(*arguments, **how))
            return plugins[-1]

        new.plugin = plugin
        return new

    yield kubelet
    for one in made:
        await one.drivers.stop()
    for plugin in plugins:
        await plugin.stop()


@pytest.fixture
def kubelet(make):
    return make()


# -- calls ----------------------------------------------------------------------------------------------------------------


CLAIMS = [v1.Claim(namespace="ns", name="c", uid="u"), v1.Claim(namespace="ns", name="d", uid="v")]
TRIPLES = [("ns", "c", "u"), ("ns", "d", "v")]


@pytest.mark.parametrize(("service", "version"), [(V1, "v1"), (V1BETA1, "v1beta1")])
async def test_a_call_goes_to_the_service_that_was_chosen_and_is_noted_whole(kubelet, service, version):
    plugin = await kubelet.plugin("a", V1, V1BETA1)
    await kubelet.drivers.connect("d", plugin.path, [service])
    client = kubelet.drivers.get("d")

    prepared, unprepared = await client.prepare(CLAIMS), await client.unprepare(CLAIMS[:1])

    device = v1.Device(pool_name="p", device_name="x", request_names=["r"], cdi_device_ids=["v/c=x"])
    assert prepared == v1.NodePrepareResourcesResponse(
        claims={uid: v1.NodePrepareResourceResponse(devices=[device]) for uid in "uv"}
    )
    assert unprepared == v1.NodeUnprepareResourcesResponse(claims={"u": v1.NodeUnprepareResourceResponse(error="no")})
    assert plugin.calls == [("prepare", version, TRIPLES), ("unprepare", version, TRIPLES[:1])]
    calls = [call for call in kubelet.calls if call.method != "NodeWatchResources"]
    assert [(call.method, call.resource, call.error, call.is_open) for call in calls] == [
        ("NodePrepareResources", "d", None, False), ("NodeUnprepareResources", "d", None, False),
    ]  # fmt: skip
    assert [[(claim.namespace, claim.name, claim.uid) for claim in call.request.claims] for call in calls] == [
        TRIPLES,
        TRIPLES[:1],
    ]
    assert [len(call.reply.claims) for call in calls] == [2, 1]


@pytest.mark.parametrize("service", [V1, V1BETA1])
@pytest.mark.parametrize("method", ["prepare", "unprepare"])
async def test_a_call_that_fails_says_so_in_grpcs_words(kubelet, service, method):
    plugin = await kubelet.plugin("a", V1, V1BETA1, fails="broken")
    await kubelet.drivers.connect("d", plugin.path, [service])

    with pytest.raises(call_log.RpcError) as caught:
        await getattr(kubelet.drivers.get("d"), method)(CLAIMS)

    assert str(caught.value) == "rpc error: code = Internal desc = broken"
    (call,) = kubelet.calls.of({"prepare": "NodePrepareResources", "unprepare": "NodeUnprepareResources"}[method])
    assert (call.error, call.reply) == (caught.value, None)


@pytest.mark.parametrize("service", [V1, V1BETA1])
@pytest.mark.parametrize("method", ["prepare", "unprepare"])
async def test_a_call_has_45_seconds_of_the_kubelets_time(kubelet, service, method):
    plugin = await kubelet.plugin("a", V1, V1BETA1, hangs=True)
    await kubelet.drivers.connect("d", plugin.path, [service])
    calling = asyncio.create_task(getattr(kubelet.drivers.get("d"), method)(CLAIMS))
    await until(lambda: plugin.calls)

    await kubelet.clock.advance(44.9)
    assert not calling.done()
    await kubelet.clock.advance(0.1)
    with pytest.raises(
        call_log.RpcError, match=r"^rpc error: code = DeadlineExceeded desc = context deadline exceeded$"
    ):
        await asyncio.wait_for(calling, 10)


async def test_another_service_is_asked_without_claims_and_the_chosen_one_stays(kubelet):
    plugin = await kubelet.plugin("a", V1)
    await kubelet.drivers.connect("d", plugin.path, [V1])
    client = kubelet.drivers.get("d")

    assert await client.ask(V1) == ""
    assert (await client.ask(V1BETA1)).startswith("rpc error: code = Unimplemented desc = ")
    assert client.service == V1
    assert plugin.calls == [("prepare", "v1", [])]


async def test_a_client_that_was_not_started_is_no_client_and_closes_all_the_same(kubelet):
    client = driver_client.DriverClient(
        "d", kubelet.root / "x.sock", V1, health_services=(), time_source=kubelet.clock, calls=kubelet.calls,
        on_connection=lambda: None, on_health=lambda reply: None,
    )  # fmt: skip

    with pytest.raises(AssertionError, match="start comes first"):
        await client.prepare([])
    assert client.is_connected is False
    await client.close()
    await client.close()


# -- health ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "services", "heard"),
    [
        (36, (V1, HEALTH_ALPHA), ["x", "y"]), (37, (V1, HEALTH_ALPHA), ["x", "y"]), (37, (V1, HEALTH_V1), ["x", "y"]),
        (36, (V1, HEALTH_V1), []), (35, (V1, HEALTH_ALPHA), []),
    ],
)  # fmt: skip
async def test_health_is_heard_by_releases_that_ask_for_it(make, release, services, heard):
    kubelet = make(release)
    plugin = await kubelet.plugin("a", *services, messages="xy")
    await kubelet.drivers.connect("d", plugin.path, [V1])
    await until(lambda: kubelet.drivers.is_usable("d"))
    if not heard:
        await kubelet.drivers.get("d").prepare(CLAIMS)
        await until(lambda: all(not call.is_open for call in kubelet.calls))

    await until(lambda: [names for _, names in kubelet.heard] == [[name] for name in heard])
    assert {driver for driver, _ in kubelet.heard} <= {"d"}
    streams = kubelet.calls.of("NodeWatchResources", "d")
    if heard:
        assert streams[-1].is_open
        assert [device.device.device_name for device in streams[-1].reply.devices] == ["y"]
        assert (
            type(streams[-1].request)
            is (healthapi if HEALTH_V1 in services else health_alpha).NodeWatchResourcesRequest
        )
    elif release == 36:
        assert [call.error.code for call in streams] == [grpc.StatusCode.UNIMPLEMENTED]
    else:
        assert streams == []


async def test_a_stream_that_ends_forgets_its_driver_and_is_asked_for_again_after_5_seconds(kubelet):
    plugin = await kubelet.plugin("a", V1, HEALTH_ALPHA, messages="x", ends=True)
    await kubelet.drivers.connect("d", plugin.path, [V1])
    await until(lambda: kubelet.heard == [("d", ["x"]), ("d", None)])
    (call,) = kubelet.calls.of("NodeWatchResources")
    assert (call.is_open, call.error) == (False, None)

    await kubelet.clock.advance(4.9)
    assert plugin.streams == 1
    await kubelet.clock.advance(0.1)
    await until(lambda: plugin.streams == 2)
    await until(lambda: len(kubelet.heard) == 4)


async def test_a_stream_that_said_nothing_has_nothing_to_forget(kubelet):
    plugin = await kubelet.plugin("a", V1, HEALTH_ALPHA, ends=True)
    await kubelet.drivers.connect("d", plugin.path, [V1])
    await until(lambda: [call.is_open for call in kubelet.calls] == [False])

    assert kubelet.heard == []


async def test_a_driver_with_the_newer_service_is_not_asked_for_the_older_one(make):
    kubelet = make(37)
    plugin = await kubelet.plugin("a", V1, HEALTH_V1, HEALTH_ALPHA, messages="x", ends=True)
    await kubelet.drivers.connect("d", plugin.path, [V1])
    await until(lambda: len(kubelet.heard) == 2)
    await kubelet.clock.advance(5)
    await until(lambda: len(kubelet.heard) == 4)

    assert {type(call.request) for call in kubelet.calls} == {healthapi.NodeWatchResourcesRequest}


async def test_a_stream_that_breaks_is_noted_with_its_error(kubelet):
    plugin = await kubelet.plugin("a", V1, HEALTH_ALPHA, messages="x")
    await kubelet.drivers.connect("d", plugin.path, [V1])
    await until(lambda: kubelet.heard)
    await plugin.stop()
    await until(lambda: kubelet.heard == [("d", ["x"]), ("d", None)])

    (call,) = kubelet.calls.of("NodeWatchResources")
    assert call.error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_a_driver_that_is_forgotten_has_its_stream_closed_and_its_health_forgotten(kubelet):
    plugin = await kubelet.plugin("a", V1, HEALTH_ALPHA, messages="x")
    await kubelet.drivers.connect("d", plugin.path, [V1])
    await until(lambda: kubelet.heard)
    await ends(kubelet.drivers.disconnect("d", plugin.path))

    assert kubelet.heard == [("d", ["x"]), ("d", None)]
    (call,) = kubelet.calls.of("NodeWatchResources")
    assert (call.is_open, str(call.error)) == (
        False,
        "rpc error: code = Canceled desc = grpc: the client connection is closing",
    )


# -- what a kubelet asks of the API server ----------------------------------------------------------------------------------


def a_slice(name, node, driver):
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    return {
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name},
        "spec": {"driver": driver, "nodeName": node, "pool": pool, "devices": []},
    }  # fmt: skip


@contextlib.asynccontextmanager
async def a_view(*, has_node=True):
    async with ApiServer() as api:
        if has_node:
            api.create({"kind": "Node", "metadata": {"name": NODE}})
        for name, node, driver in (
            ("a", NODE, "d.io"),
            ("b", NODE, "e.io"),
            ("c", "other", "d.io"),
            ("e", NODE, "d.io"),
        ):
            api.create(a_slice(name, node, driver))
        yield api, view.InMemory(api)


@pytest.mark.parametrize(("driver", "left"), [("d.io", ["b", "c"]), ("", ["c"]), ("x.io", ["a", "b", "c", "e"])])
async def test_the_slices_of_a_driver_on_a_node_are_deleted_or_those_of_all(driver, left):
    async with a_view() as (api, seen):
        assert isinstance(seen, view.View)
        assert await seen.wipe(NODE, driver) is True
        assert [document["metadata"]["name"] for document in api.all("resourceslices")] == left
        assert await seen.wipe(NODE, driver) is True


async def test_nothing_is_deleted_before_the_node_is_there_or_while_nobody_answers():
    async with a_view(has_node=False) as (api, seen):
        assert await seen.wipe(NODE, "") is False
        api.create({"kind": "Node", "metadata": {"name": NODE}})
        await api.stop()
        assert await seen.wipe(NODE, "") is False
        assert len(api.all("resourceslices")) == 4
        await api.start()
        assert await seen.wipe(NODE, "") is True


async def test_pods_of_a_node_and_claims_are_read_while_the_server_answers():
    async with a_view() as (api, seen):
        uids = {}
        for name, node in (("p", NODE), ("q", "other"), ("r", NODE), ("s", "")):
            made = api.create(
                {"kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": node} if node else {}}, "ns"
            )
            uids[name] = made["metadata"]["uid"]
        claim = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "c"}, "spec": {}}
        stored = api.create(claim, "ns")

        assert await seen.pods(NODE) == {uids["p"], uids["r"]}
        assert await seen.claim("ns", "c") is stored
        with pytest.raises(view.FetchError, match=r'^resourceclaims\.resource\.k8s\.io "c" not found$'):
            await seen.claim("elsewhere", "c")
        await api.stop()
        assert await seen.pods(NODE) is None
        with pytest.raises(view.FetchError, match=r"^connection refused$"):
            await seen.claim("ns", "c")
