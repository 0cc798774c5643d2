"""The fake kubelet's DRA half, with a driver that keeps the contract."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

import grpc
import pytest

from fakekubelet import clock
from fakekubelet.apiserver.server import ApiServer
from fakekubelet.dra import cdi, claim_cache, preparation
from fakekubelet.kubelet.kubelet import FakeKubelet
from kubeletapi.dra.v1 import api_pb2 as v1
from tests.broken_drivers.sound import Sound

NODE = "worker"


class Bench:
    """A node with an API server, a kubelet, and a driver that can be started and ended."""

    def __init__(self, root, api, kubelet):
        self.root, self.api, self.kubelet = root, api, kubelet
        self.state = root / "state"
        self.driver = None
        self.task = None

    async def start_driver(self, kind=Sound):
        places = {
            "NODE_NAME": NODE, "CDI_DIR": str(self.root / "cdi"), "PLUGINS_DIR": str(self.root / "plugins"),
            "REGISTRY_DIR": str(self.root / "reg"), "KUBECONFIG": str(self.root / "kubeconfig"),
        }  # fmt: skip
        self.api.write_kubeconfig(self.root / "kubeconfig")
        before = dict(os.environ)
        os.environ.update(places)
        try:
            self.driver = kind(self.state)
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.driver.prepare_to_stop = lambda: None
        self.task = asyncio.create_task(self.driver.run())
        await self.kubelet.wait_for(lambda: self.kubelet.dra.drivers.is_usable(Sound.name))

    async def stop_driver(self):
        if self.task is not None:
            self.driver.stopping.set()
            await self.task
            self.task = None

    async def slices(self, number=1):
        return await self.api.wait_for(
            lambda: len(found := self.api.all("resourceslices")) == number and (found or True)
        )

    def claim(self, name="claim", *, devices=("gem-1",), request="gem", driver=Sound.name):
        exactly = {"deviceClassName": "gem", "count": len(devices)}
        spec = {"devices": {"requests": [{"name": request.partition("/")[0], "exactly": exactly}]}}
        document = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": name},
            "spec": spec,
        }
        return self.allocate(self.api.create(document), [(driver, device) for device in devices], request)

    def allocate(self, claim, devices, request):
        results = [{"request": request, "driver": driver, "pool": NODE, "device": device} for driver, device in devices]
        status = {"allocation": {"devices": {"results": results}}}
        return self.api.update(
            {**claim, "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "status": status},
            subresource="status",
        )

    def pod(self, *claims, name="pod"):
        entries = [
            {"name": f"c{index}", "resourceClaimName": claim["metadata"]["name"]} for index, claim in enumerate(claims)
        ]
        container = {"name": "main", "resources": {"claims": [{"name": entry["name"]} for entry in entries]}}
        spec = {"nodeName": NODE, "containers": [container], "resourceClaims": entries}
        pod = self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
        user = {"resource": "pods", "name": name, "uid": pod["metadata"]["uid"]}
        for claim in claims:
            now = self.api.find("resourceclaims", claim["metadata"]["name"])
            users = [*now["status"].get("reservedFor", []), user]
            self.api.update(
                {**now, "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "status": {**now["status"], "reservedFor": users}},
                subresource="status",
            )  # fmt: skip
        return pod


@contextlib.asynccontextmanager
async def a_bench(root, **options):
    (root / "state").mkdir()
    (root / "cdi").mkdir()
    async with ApiServer(str(options.get("mode", "1.36"))) as api:
        api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        kubelet = FakeKubelet(
            root / "dp", node_name=NODE, plugins_registry=root / "reg", api=api, cdi_dirs=[root / "cdi"], **options
        )
        async with kubelet:
            bench = Bench(root, api, kubelet)
            try:
                yield bench
            finally:
                await bench.stop_driver()


@pytest.fixture
async def bench(socket_dir):
    async with a_bench(socket_dir) as made:
        yield made


async def test_a_driver_registers_publishes_and_prepares_what_the_runtime_can_inject(bench):
    await bench.start_driver()
    await bench.slices()
    pod = bench.pod(bench.claim(devices=("gem-1", "gem-2")))

    await bench.kubelet.dra.prepare(pod)

    assert bench.kubelet.dra.edits(pod, "main").env == {"GEM_GEM_1": "1", "GEM_GEM_2": "1"}
    (call,) = bench.kubelet.calls.of("NodePrepareResources")
    assert call.error is None
    await bench.kubelet.dra.unprepare(pod)
    assert not list((bench.root / "cdi").iterdir())
    assert bench.kubelet.dra.claims.all() == []


async def test_a_claim_is_prepared_once_and_again_after_a_restart_with_the_same_ids(bench):
    await bench.start_driver()
    pod = bench.pod(bench.claim())
    for _ in range(2):
        await bench.kubelet.dra.prepare(pod)
    first = bench.kubelet.dra.cdi_device_ids(pod, "main")

    await bench.kubelet.restart()
    await bench.kubelet.wait_for(lambda: bench.kubelet.dra.drivers.is_usable(Sound.name))
    restored = bench.kubelet.dra.cdi_device_ids(pod, "main")
    await bench.kubelet.dra.prepare(pod)

    assert len(bench.kubelet.calls.of("NodePrepareResources")) == 2
    assert restored == first
    assert bench.kubelet.dra.cdi_device_ids(pod, "main") == first * 2  # DRA-PREP-3: it is added, not replaced


async def test_a_claim_that_two_pods_share_is_unprepared_with_the_last(bench):
    await bench.start_driver()
    claim = bench.claim()
    one, other = bench.pod(claim, name="one"), bench.pod(claim, name="other")
    await bench.kubelet.dra.prepare(one)
    await bench.kubelet.dra.prepare(other)

    await bench.kubelet.dra.unprepare(one)
    assert not bench.kubelet.calls.of("NodeUnprepareResources")
    await bench.kubelet.dra.unprepare(other)
    assert len(bench.kubelet.calls.of("NodeUnprepareResources")) == 1


async def test_what_a_pod_may_not_have_is_said_in_the_kubelets_words(bench):
    claim = bench.claim()
    pod = bench.pod(claim)
    with pytest.raises(
        preparation.PreparationError,
        match=r"^prepare dynamic resources: DRA driver sound\.example\.com is not registered$",
    ):
        await bench.kubelet.dra.prepare(pod)
    await bench.start_driver()
    stranger = {**pod, "metadata": {**pod["metadata"], "uid": "other"}}
    with pytest.raises(
        preparation.PreparationError, match=r"pod pod \(other\) is not allowed to use ResourceClaim claim \("
    ):
        await bench.kubelet.dra.prepare(stranger)
    await bench.kubelet.dra.prepare(pod)
    bench.api.delete("resourceclaims", "claim")
    again = bench.pod(bench.claim(), name="again")
    with pytest.raises(preparation.PreparationError, match="old ResourceClaim with same name claim and different UID"):
        await bench.kubelet.dra.prepare(again)


class AnswersNothing(Sound):
    async def NodePrepareResources(self, request, context):
        return v1.NodePrepareResourcesResponse()


class AnswersOthers(Sound):
    async def NodePrepareResources(self, request, context):
        return v1.NodePrepareResourcesResponse(claims={"other": v1.NodePrepareResourceResponse()})


class AnswersNobody(Sound):
    async def NodePrepareResources(self, request, context):
        await context.abort(grpc.StatusCode.INTERNAL, "no")


@pytest.mark.parametrize(
    ("kind", "device", "text"),
    [
        (Sound, "no-such", "NodePrepareResources failed for ResourceClaim claim: no device no-such"),
        (AnswersNothing, "gem-1", "NodePrepareResources skipped 1 ResourceClaims"),
        (AnswersOthers, "gem-1", "NodePrepareResources returned result for unknown claim UID other"),
        (AnswersNobody, "gem-1", "NodePrepareResources: rpc error: code = Internal desc = no"),
    ],
)
async def test_an_answer_that_is_wrong_fails_the_pod(bench, kind, device, text):
    await bench.start_driver(kind)
    with pytest.raises(preparation.PreparationError) as caught:
        await bench.kubelet.dra.prepare(bench.pod(bench.claim(devices=(device,))))

    assert str(caught.value) == f"prepare dynamic resources: {text}"


async def test_a_reboot_loses_what_cdi_had_and_the_driver_writes_it_again(bench):
    await bench.start_driver()
    pod = bench.pod(bench.claim())
    await bench.kubelet.dra.prepare(pod)
    await bench.kubelet.reboot()
    assert not list((bench.root / "cdi").iterdir())
    await bench.kubelet.wait_for(lambda: bench.kubelet.dra.drivers.is_usable(Sound.name))
    await bench.kubelet.dra.prepare(pod)

    assert bench.kubelet.dra.edits(pod, "main").env == {"GEM_GEM_1": "1"}


async def test_a_checkpoint_that_is_damaged_is_not_started_with(bench):
    await bench.start_driver()
    await bench.kubelet.dra.prepare(bench.pod(bench.claim()))
    path = bench.root / "dra_manager_state"
    content = json.loads(path.read_text())
    assert json.loads(content["Data"])["ClaimInfoStateList"][0]["ClaimName"] == "claim"
    await bench.kubelet.stop()
    path.write_text(json.dumps({**content, "Checksum": 1}))
    with pytest.raises(claim_cache.DamagedCheckpointError, match="checkpoint is corrupted"):
        await bench.kubelet.start()


async def test_a_container_whose_device_nobody_describes_does_not_start(bench):
    await bench.start_driver()
    pod = bench.pod(bench.claim())
    await bench.kubelet.dra.prepare(pod)
    for path in (bench.root / "cdi").iterdir():
        path.unlink()

    with pytest.raises(cdi.CdiError, match="CDI device injection failed: unresolvable CDI devices sound"):
        bench.kubelet.dra.edits(pod, "main")


async def test_a_kubelet_that_starts_wipes_the_slices_of_its_node(bench):
    bench.api.create({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "old"},
        "spec": {"driver": "gone.example.com", "nodeName": NODE, "pool": {"name": NODE, "generation": 1, "resourceSliceCount": 1}},
    })  # fmt: skip
    await bench.kubelet.restart()

    await bench.api.wait_for(lambda: not bench.api.all("resourceslices"))
    assert bench.kubelet.dra.drivers.wiped == [""]


async def test_slices_are_wiped_30_s_after_the_last_connection_ended_and_not_before(socket_dir):
    manual = clock.ManualClock()
    async with a_bench(socket_dir, clock=manual) as bench:
        await bench.start_driver()
        await bench.slices()
        await bench.stop_driver()
        await bench.kubelet.wait_for(lambda: not bench.kubelet.dra.drivers.is_usable(Sound.name))
        await manual.advance(29.9)
        assert len(bench.api.all("resourceslices")) == 1
        await manual.advance(0.2)
        await bench.slices(0)


async def test_health_reaches_the_pods_status_and_ages(socket_dir):
    manual = clock.ManualClock()
    async with a_bench(socket_dir, clock=manual) as bench:
        dra = bench.kubelet.dra
        await bench.start_driver()
        pod = bench.pod(bench.claim(devices=("gem-1",)))
        await dra.prepare(pod)
        await bench.kubelet.wait_for(lambda: dra.health_messages)
        (bench.state / "broken").touch()

        def health():
            return dra.allocated_resources_status(pod)["main"][0]["resources"][0]

        await bench.kubelet.wait_for(lambda: health()["health"] == "Unhealthy")
        assert health()["message"] == "it is broken"
        assert health()["resourceID"].startswith("sound.example.com/gem=")
        assert set(dra.synced_pods) == {pod["metadata"]["uid"]}  # once for each message: a driver may send one again
        await manual.advance(31)  # and nothing was sent meanwhile: the driver lives in real time
        assert health() == {"resourceID": health()["resourceID"], "health": "Unknown"}


async def test_two_instances_are_registered_and_the_newest_connected_one_is_called(bench):
    await bench.start_driver()
    first, first_task = bench.driver, bench.task
    await bench.start_driver()
    await bench.kubelet.wait_for(lambda: len(bench.kubelet.dra.drivers.clients(Sound.name)) == 2)
    await bench.kubelet.wait_for(lambda: all(one.is_connected for one in bench.kubelet.dra.drivers.clients(Sound.name)))
    assert bench.kubelet.dra.drivers.get(Sound.name).endpoint == bench.driver.socket

    first.stopping.set()
    await first_task
    await bench.kubelet.wait_for(lambda: len(bench.kubelet.dra.drivers.clients(Sound.name)) == 1)
    await bench.kubelet.dra.prepare(bench.pod(bench.claim()))


@pytest.mark.parametrize(
    ("mode", "service", "streams"),
    [
        ("1.32", "v1beta1.DRAPlugin", 0),
        ("1.34", "v1.DRAPlugin", 0),
        ("1.36", "v1.DRAPlugin", 1),
        ("1.37", "v1.DRAPlugin", 1),
    ],
)
async def test_each_release_speaks_what_it_knows(socket_dir, mode, service, streams):
    async with a_bench(socket_dir, mode=mode) as bench:
        await bench.start_driver()
        dra = bench.kubelet.dra
        if streams:
            await bench.kubelet.wait_for(lambda: dra.health_messages)

        assert dra.drivers.get(Sound.name).service == service
        assert len(bench.kubelet.calls.of("NodeWatchResources")) == streams


@pytest.mark.parametrize(
    ("versions", "refusal"),
    [
        ((), "empty list of supported gRPC services (aka supported versions)"),
        (
            ("v1alpha1.DRAResourceHealth",),
            'none of services supported by the plugin (["v1alpha1.DRAResourceHealth"]) are supported by the kubelet (["v1.DRAPlugin" "v1beta1.DRAPlugin"])',
        ),
    ],
)  # fmt: skip
async def test_a_driver_of_other_versions_is_refused_and_told(bench, versions, refusal):
    class Odd(Sound):
        pass

    Odd.versions = versions
    starting = asyncio.create_task(bench.start_driver(Odd))
    await bench.kubelet.wait_for(lambda: bench.kubelet.registrations)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)

    assert bench.kubelet.registrations[0].error.endswith(refusal)
    assert not bench.kubelet.calls.of("NotifyRegistrationStatus")[0].request.plugin_registered


async def test_pods_that_vanish_are_unprepared_within_a_minute(socket_dir):
    manual = clock.ManualClock()
    async with a_bench(socket_dir, clock=manual) as bench:
        await bench.start_driver()
        pod = bench.pod(bench.claim())
        await bench.kubelet.dra.prepare(pod)
        bench.api.delete("pods", "pod", grace_s=0)
        await manual.advance(61)
        await bench.kubelet.wait_for(lambda: bench.kubelet.dra.claims.all() == [])
    assert Path(socket_dir).exists()
