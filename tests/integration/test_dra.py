"""The plugin as a DRA driver: a real tree, real sockets, an API server over HTTP, and a kubelet of a few calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from structlog.testing import capture_logs

from fakehw_plugin.dra import driver as driver_module
from fakehw_plugin.dra import servicer
from fakehw_plugin.offer import Api
from fakekubelet.apiserver.faults import Fault
from fakekubelet.apiserver.server import ApiServer
from kubeletapi.dra.v1 import api_pb2 as dra_v1
from kubeletapi.dra.v1 import api_pb2_grpc as dra_v1_grpc
from kubeletapi.dra.v1beta1 import api_pb2 as dra_v1beta1
from kubeletapi.dra.v1beta1 import api_pb2_grpc as dra_v1beta1_grpc
from kubeletapi.drahealth.v1 import api_pb2 as health_v1
from kubeletapi.drahealth.v1 import api_pb2_grpc as health_v1_grpc
from kubeletapi.drahealth.v1alpha1 import api_pb2_grpc as health_v1alpha1_grpc
from kubeletapi.pluginregistration.v1 import api_pb2 as registration
from kubeletapi.pluginregistration.v1 import api_pb2_grpc as registration_grpc
from tests.factories import make_config, make_tree
from tests.running import fresh_directory, running_daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from fakehw_plugin.config import Config
    from fakehw_plugin.daemon import Daemon

pytestmark = pytest.mark.timeout(60)

NODE, DRIVER = "kind-worker2", "myplugin.io"
SLICE = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice"}
CLAIM = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"}
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


@dataclass
class Place:
    """Where a plugin of one node has its files."""

    path: Path

    @property
    def tree(self) -> Path:
        return self.path / "tree"

    @property
    def registry(self) -> Path:
        return self.path / "reg"

    @property
    def cdi(self) -> Path:
        return self.path / "cdi"

    @property
    def claims(self) -> Path:
        return self.path / "state" / DRIVER / "claims"

    def config(self, server: ApiServer, **changes: object) -> Config:
        kubeconfig = self.path / "kubeconfig"
        server.write_kubeconfig(kubeconfig)
        values: dict[str, object] = {
            "host": NODE,
            "api": Api.DRA,
            "kubeconfig": str(kubeconfig),
            "registry_dir": self.registry,
            "state_dir": self.path / "state",
            "cdi_dir": self.cdi,
        }
        return make_config(self.tree, self.path / "dp", **{**values, **changes})

    def write(self, name: str, text: str) -> None:
        (self.tree / "node2" / name).write_text(text + "\n")

    def sockets(self) -> list[Path]:
        return sorted(self.registry.glob("*.sock"))


@pytest.fixture
def place() -> Iterator[Place]:
    with fresh_directory("/tmp") as path:
        found = Place(path)
        make_tree(found.tree, "node2/dev1/", "node2/dev2/1", "node2/dev3/1", "node2/dev3/2", "node2/dev3/3")
        for name in ("dp", "reg", "cdi"):
            (path / name).mkdir()
        yield found


def node(name: str = NODE) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        running.create(node())
        yield running


@pytest.fixture
async def daemon(place: Place, api: ApiServer) -> AsyncIterator[Daemon]:
    async with running_daemon(place.config(api)) as running:
        yield running


def published(api: ApiServer, *, node_name: str = NODE) -> dict[str, dict[str, Any]]:
    """Return the devices of the node's pool by name, as a scheduler sees them; {} while the pool is incomplete."""
    slices = [found for found in api.all("resourceslices") if found["spec"].get("nodeName") == node_name]
    newest = max((found["spec"]["pool"]["generation"] for found in slices), default=0)
    slices = [found for found in slices if found["spec"]["pool"]["generation"] == newest]
    if not slices or slices[0]["spec"]["pool"]["resourceSliceCount"] != len(slices):
        return {}
    return {device["name"]: device for found in slices for device in found["spec"].get("devices") or []}


def taints(api: ApiServer, device: str) -> list[tuple[str, str, str]]:
    found = published(api).get(device, {}).get("taints") or []
    return [(taint["key"], taint.get("value", ""), taint["effect"]) for taint in found]


SEED = {"node2-dev2-1", "node2-dev3-1", "node2-dev3-2", "node2-dev3-3"}


async def names_are(api: ApiServer, names: set[str]) -> None:
    await api.wait_for(lambda: set(published(api)) == names, timeout=20)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Kubelet:
    """The calls of a kubelet to the driver that serves a socket."""

    channel: grpc.aio.Channel
    healths: list[dict[str, tuple[int, str]]] = field(default_factory=list)

    async def register(self) -> registration.PluginInfo:
        stub: Any = registration_grpc.RegistrationStub(self.channel)
        info = await stub.GetInfo(registration.InfoRequest(), wait_for_ready=True, timeout=10)
        await stub.NotifyRegistrationStatus(registration.RegistrationStatus(plugin_registered=True))
        return info  # type: ignore[no-any-return]

    async def prepare(self, *claims: dict[str, Any]) -> dict[str, Any]:
        stub: Any = dra_v1_grpc.DRAPluginStub(self.channel)
        answer = await stub.NodePrepareResources(
            dra_v1.NodePrepareResourcesRequest(claims=[reference(claim) for claim in claims]), timeout=20
        )
        return dict(answer.claims)

    async def unprepare(self, *claims: dict[str, Any]) -> dict[str, str]:
        stub: Any = dra_v1_grpc.DRAPluginStub(self.channel)
        answer = await stub.NodeUnprepareResources(
            dra_v1.NodeUnprepareResourcesRequest(claims=[reference(claim) for claim in claims]), timeout=20
        )
        return {uid: result.error for uid, result in answer.claims.items()}

    async def watch_health(self, service: Any = health_v1_grpc) -> None:
        stub: Any = service.DRAResourceHealthStub(self.channel)
        async for message in stub.NodeWatchResources(health_v1.NodeWatchResourcesRequest()):
            self.healths.append({one.device.device_name: (one.health, one.message) for one in message.devices})


def reference(claim: dict[str, Any]) -> dra_v1.Claim:
    metadata = claim["metadata"]
    return dra_v1.Claim(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])


@contextlib.asynccontextmanager
async def kubelet_of(place: Place) -> AsyncIterator[Kubelet]:
    await until(place.sockets)
    (path,) = place.sockets()
    async with grpc.aio.insecure_channel(f"unix:{path}", options=OPTIONS) as channel:
        yield Kubelet(channel)


@pytest.fixture
async def kubelet(place: Place, daemon: Daemon) -> AsyncIterator[Kubelet]:
    async with kubelet_of(place) as found:
        yield found


def allocate(api: ApiServer, name: str, *devices: str, **annotations: str) -> dict[str, Any]:
    """Make a claim that the scheduler has given devices to."""
    found = api.create(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": name, "namespace": "default", "annotations": annotations},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}},
        },
        "default",
    )
    results = [{"request": "r", "driver": DRIVER, "pool": NODE, "device": device} for device in devices]
    return api.update(
        {**CLAIM, **found, "status": {"allocation": {"devices": {"results": results}}}}, subresource="status"
    )


def variables(place: Place) -> dict[str, str]:
    """Return the variables of all CDI devices, by the devices' full names."""
    found = {}
    for path in place.cdi.glob("*.json"):
        spec = json.loads(path.read_text())
        found |= {
            f"{spec['kind']}={device['name']}": " ".join(device["containerEdits"]["env"]) for device in spec["devices"]
        }
    return found


# Slices.


def real_slice(name: str = f"{NODE}-gpu.vendor.io-x7k2p", driver: str = "gpu.vendor.io") -> dict[str, Any]:
    pool = {"name": NODE, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": driver, "nodeName": NODE, "pool": pool, "devices": [{"name": "gpu-0"}]}
    return {**SLICE, "metadata": {"name": name}, "spec": spec}


async def test_a_driver_name_that_somebody_else_serves_here_is_left_to_them_until_it_is_free(
    place: Place, api: ApiServer
) -> None:
    """It may be that of real devices: their slices are not touched, nor is their kubelet told of another socket."""
    api.create(real_slice())
    for number in (1, 2, 3):
        place.write(f"dev{number}/driver", "gpu.vendor.io")
    with capture_logs() as lines:
        async with running_daemon(place.config(api)) as daemon:
            await until(lambda: [line for line in lines if line["event"] == "driver_name_taken"])
            driver = daemon.dra.drivers["gpu.vendor.io"]
            await asyncio.sleep(1.2)  # by when a registration waits for no list any more
            assert [found["metadata"]["name"] for found in api.all("resourceslices")] == [f"{NODE}-gpu.vendor.io-x7k2p"]
            assert not place.sockets()
            assert not driver.is_ready

            api.delete("resourceslices", f"{NODE}-gpu.vendor.io-x7k2p", "")
            await names_are(api, SEED)
            await until(place.sockets)


async def test_a_slice_that_somebody_else_makes_with_our_driver_s_name_is_let_be(
    place: Place, api: ApiServer, daemon: Daemon
) -> None:
    await names_are(api, SEED)
    api.create(real_slice("by-hand", DRIVER))
    place.write("dev3/2/health", "unhealthy")
    ours = f"00000-{DRIVER}-{NODE}"
    await api.wait_for(
        lambda: any(
            device.get("taints")
            for found in api.all("resourceslices")
            for device in found["spec"]["devices"]
            if found["metadata"]["name"] == ours
        ),
        timeout=20,
    )
    assert {found["metadata"]["name"] for found in api.all("resourceslices")} == {ours, "by-hand"}


async def test_without_the_name_of_the_node_nothing_is_published_and_nothing_deleted(
    place: Place, api: ApiServer
) -> None:
    everybody_s = real_slice("network-attached", DRIVER)
    del everybody_s["spec"]["nodeName"]
    api.create({**everybody_s, "spec": {**everybody_s["spec"], "allNodes": True}})
    with capture_logs() as lines:
        async with running_daemon(place.config(api, host="")):
            await until(lambda: [line for line in lines if line["event"] == "dra_needs_the_node_name"])
            await asyncio.sleep(0.3)
    assert [found["metadata"]["name"] for found in api.all("resourceslices")] == ["network-attached"]


async def test_a_write_of_a_slice_is_logged_with_the_devices_that_it_tells_otherwise(
    place: Place, api: ApiServer
) -> None:
    with capture_logs() as lines:
        async with running_daemon(place.config(api)):
            await names_are(api, SEED)
            await until(lambda: [line for line in lines if line["event"] == "slice_written"])
            lines.clear()
            place.write("dev3/2/health", "unhealthy over temperature")
            await api.wait_for(lambda: taints(api, "node2-dev3-2"), timeout=20)
            await until(lambda: [line for line in lines if line["event"] == "slice_written"])

    (line,) = [line for line in lines if line["event"] == "slice_written"]
    assert {key: line[key] for key in ("slice", "unhealthy")} == {
        "slice": f"00000-{DRIVER}-{NODE}",
        "unhealthy": "node2-dev3-2",
    }
    assert not {"healthy", "removed"} & line.keys()


async def test_the_tree_is_published_and_goes_with_its_node(daemon: Daemon, api: ApiServer) -> None:
    await names_are(api, SEED)

    (found,) = api.all("resourceslices")
    uid = api.find("nodes", NODE)["metadata"]["uid"]  # type: ignore[index]
    assert found["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": uid, "controller": True}
    ]
    assert found["spec"]["pool"] == {"name": NODE, "generation": 1, "resourceSliceCount": 1}


async def test_health_is_a_taint_and_back_in_one_write_each(daemon: Daemon, api: ApiServer, place: Place) -> None:
    await names_are(api, SEED)
    before = len(api.asked("update", "resourceslices"))

    place.write("dev3/2/health", "unhealthy over temperature")
    await api.wait_for(lambda: taints(api, "node2-dev3-2"))
    assert taints(api, "node2-dev3-2") == [("myplugin.io/unhealthy", "over-temperature", "NoSchedule")]
    place.write("dev3/2/health", "healthy")
    await api.wait_for(lambda: not taints(api, "node2-dev3-2"))

    assert len(api.asked("update", "resourceslices")) == before + 2
    assert api.all("resourceslices")[0]["spec"]["pool"]["generation"] == 1


async def test_the_effect_is_the_class_s_to_say_and_further_taints_stand_in_files(
    daemon: Daemon, api: ApiServer, place: Place
) -> None:
    await names_are(api, SEED)
    place.write("dev3/unhealthy_effect", "NoExecute")
    place.write("dev3/1/health", "unhealthy")
    await api.wait_for(lambda: taints(api, "node2-dev3-1") == [("myplugin.io/unhealthy", "", "NoExecute")])

    (place.tree / "node2/dev3/2/taints").mkdir()
    place.write("dev3/2/taints/xid", "gpu.nvidia.com/xid=48:None")
    await api.wait_for(lambda: taints(api, "node2-dev3-2") == [("gpu.nvidia.com/xid", "48", "None")])
    place.write("dev3/2/taints/drain", "NoExecute")
    await api.wait_for(lambda: len(taints(api, "node2-dev3-2")) == 2)
    assert ("myplugin.io/drain", "", "NoExecute") in taints(api, "node2-dev3-2")
    shutil.rmtree(place.tree / "node2/dev3/2/taints")
    await api.wait_for(lambda: not taints(api, "node2-dev3-2"))


async def test_attributes_have_the_types_that_the_class_gives_them_and_bad_ones_are_left_out(
    daemon: Daemon, api: ApiServer, place: Place
) -> None:
    await names_are(api, SEED)

    place.write("dev3/types", "slots int\nmemory capacity\nfirmware version")
    for name, text in {"model": "H100", "slots": "8", "memory": "0.5Gi", "firmware": "one", "note": "x" * 65}.items():
        place.write(f"dev3/2/{name}", text)

    def found() -> dict[str, Any]:
        return published(api).get("node2-dev3-2", {})

    await api.wait_for(lambda: found().get("capacity"))
    await api.wait_for(lambda: "slots" in found()["attributes"])
    assert found()["capacity"] == {"memory": {"value": "512Mi"}}
    assert found()["attributes"] == {
        "node": {"string": "node2"},
        "class": {"string": "dev3"},
        "number": {"int": 2},
        "model": {"string": "H100"},
        "slots": {"int": 8},
    }


async def test_devices_classes_and_nodes_come_and_go(daemon: Daemon, api: ApiServer, place: Place) -> None:
    await names_are(api, SEED)

    shutil.rmtree(place.tree / "node2/dev3/3")
    await names_are(api, SEED - {"node2-dev3-3"})
    shutil.rmtree(place.tree / "node2/dev3")
    await names_are(api, {"node2-dev2-1"})
    make_tree(place.path / "new", "node9/dev3/7")
    (place.path / "new/node9").rename(place.tree / "node9")
    await names_are(api, {"node2-dev2-1", "node9-dev3-7"})
    shutil.rmtree(place.tree / "node9")
    shutil.rmtree(place.tree / "node2/dev2/1")

    await api.wait_for(lambda: api.all("resourceslices") and not published(api))
    (found,) = api.all("resourceslices")
    assert found["spec"].get("devices") in (None, []), "up, and without a device"


async def test_a_large_pool_is_never_seen_in_part(place: Place, api: ApiServer) -> None:
    make_tree(place.tree, *(f"node2/dev3/{number}" for number in range(4, 130)))
    async with running_daemon(place.config(api)):
        await api.wait_for(lambda: len(published(api)) == 130, timeout=20)
        assert [len(found["spec"]["devices"]) for found in api.all("resourceslices")] == [64, 64, 2]
        seen = set()
        for number in range(130, 200):
            seen.add(len(published(api)))
            make_tree(place.tree, f"node2/dev3/{number}")
            await asyncio.sleep(0)
        await api.wait_for(lambda: seen.add(len(published(api))) or len(published(api)) == 200, timeout=20)

        before = {
            found["metadata"]["name"]: found["metadata"]["resourceVersion"] for found in api.all("resourceslices")
        }
        place.write("dev3/150/health", "unhealthy")
        await api.wait_for(lambda: taints(api, "node2-dev3-150"))
        after = {found["metadata"]["name"]: found["metadata"]["resourceVersion"] for found in api.all("resourceslices")}
    assert seen <= {0, *range(130, 201)}
    assert len(set(before.items()) - set(after.items())) == 1


async def test_slices_that_a_kubelet_wipes_are_back_at_once_with_the_times_of_their_taints(
    daemon: Daemon, api: ApiServer, place: Place
) -> None:
    await names_are(api, SEED)
    place.write("dev3/2/health", "unhealthy")
    await api.wait_for(lambda: taints(api, "node2-dev3-2"))
    since = published(api)["node2-dev3-2"]["taints"][0]["timeAdded"]
    version = api.all("resourceslices")[0]["metadata"]["uid"]
    await asyncio.sleep(1.1)  # times have seconds

    api.delete("resourceslices", api.all("resourceslices")[0]["metadata"]["name"])

    await names_are(api, SEED)
    assert api.all("resourceslices")[0]["metadata"]["uid"] != version
    assert published(api)["node2-dev3-2"]["taints"][0]["timeAdded"] == since


async def test_a_slice_that_somebody_changes_is_put_right(daemon: Daemon, api: ApiServer) -> None:
    await names_are(api, SEED)
    found = api.all("resourceslices")[0]

    api.update({**SLICE, **found, "spec": {**found["spec"], "devices": [{"name": "stranger"}]}})

    await names_are(api, SEED)


async def test_a_node_that_is_made_anew_owns_the_slices(daemon: Daemon, api: ApiServer) -> None:
    await names_are(api, SEED)
    api.delete("nodes", NODE)
    uid = api.create(node())["metadata"]["uid"]
    api.delete("resourceslices", api.all("resourceslices")[0]["metadata"]["name"])  # as the garbage collector does

    await names_are(api, SEED)
    assert api.all("resourceslices")[0]["metadata"]["ownerReferences"][0]["uid"] == uid


async def test_an_api_server_that_was_away_gets_what_has_changed(
    daemon: Daemon, api: ApiServer, place: Place, kubelet: Kubelet
) -> None:
    await names_are(api, SEED)
    prepared = allocate(api, "held", "node2-dev3-1")
    before = await kubelet.prepare(prepared)
    await api.stop()
    watching = asyncio.create_task(kubelet.watch_health())
    try:
        place.write("dev3/2/health", "unhealthy while you were away")
        await until(lambda: kubelet.healths and kubelet.healths[-1]["node2-dev3-2"] == (2, "while you were away"))
        assert await kubelet.prepare(prepared) == before, "what is prepared needs no API server"
        shutil.rmtree(place.tree / "node2/dev3/3")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    await api.start()

    await names_are(api, SEED - {"node2-dev3-3"})
    assert taints(api, "node2-dev3-2")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("error", code=429, retry_after_s=0, verbs=frozenset({"update"}), times=3),
        Fault("error", code=409, verbs=frozenset({"update"}), times=3),
        Fault("error", code=500, verbs=frozenset({"update"}), times=3),
        Fault("lost", verbs=frozenset({"update"}), times=2),
        Fault("cut", times=3),
        Fault("gone", verbs=frozenset({"watch"}), times=2),
    ],
    ids=lambda fault: f"{fault.effect} {fault.code}",
)
async def test_faults_of_the_api_server_are_outlived(
    daemon: Daemon, api: ApiServer, place: Place, fault: Fault
) -> None:
    await names_are(api, SEED)
    api.faults.play(fault)
    api.cut_watches()

    place.write("dev3/2/health", "unhealthy")

    await api.wait_for(lambda: taints(api, "node2-dev3-2"), timeout=20)


async def test_a_field_that_the_server_drops_is_told_once_and_not_written_again(place: Place) -> None:
    place.write("dev3/2/health", "unhealthy")
    async with ApiServer("1.34") as api:  # without DRADeviceTaints
        api.create(node())
        async with running_daemon(place.config(api)):
            await names_are(api, SEED)
            assert not taints(api, "node2-dev3-2")
            place.write("dev3/1/health", "unhealthy")
            await until(lambda: api.asked("update", "resourceslices"))
            shutil.rmtree(place.tree / "node2/dev3/3")
            await names_are(api, SEED - {"node2-dev3-3"})
            writes = len(api.asked("update", "resourceslices"))
            await asyncio.sleep(0.1)

            assert len(api.asked("update", "resourceslices")) == writes <= 3


async def test_a_driver_that_starts_again_writes_nothing_that_is_there(place: Place, api: ApiServer) -> None:
    make_tree(place.tree, *(f"node2/dev3/{number}" for number in range(4, 100)))
    async with running_daemon(place.config(api)):
        await api.wait_for(lambda: len(published(api)) == 100, timeout=20)
    written = [request for request in api.requests if request.verb in ("create", "update", "delete")]

    async with running_daemon(place.config(api)) as daemon:
        await until(lambda: daemon.dra.drivers and daemon.dra.drivers[DRIVER].publisher is not None)
        await until(lambda: daemon.dra.drivers[DRIVER].publisher.is_published)  # type: ignore[union-attr]

        assert [request for request in api.requests if request.verb in ("create", "update", "delete")] == written


async def test_a_device_outside_of_the_alphabet_of_labels_is_published(place: Place, api: ApiServer) -> None:
    make_tree(place.tree, "Node_7.x/gpu_a/1")
    (place.tree / "Node_7.x/gpu_a/resource").write_text("nvidia.com/gpu\n")
    (place.tree / "Node_7.x/gpu_a/driver").write_text("gpu.nvidia.com\n")
    async with running_daemon(place.config(api)):
        await api.wait_for(lambda: len(published(api)) == 1 or len(api.all("resourceslices")) == 2, timeout=20)

        found = {one["spec"]["driver"]: one["spec"]["devices"] for one in api.all("resourceslices")}
        (device,) = found["gpu.nvidia.com"]
        assert device["name"].startswith("node-7-x-gpu-a-1-")
        assert device["attributes"]["node"] == {"string": "Node_7.x"}


# Registration and claims.


async def test_a_kubelet_finds_the_driver_with_all_its_versions(kubelet: Kubelet, daemon: Daemon, place: Place) -> None:
    info = await kubelet.register()

    assert (info.type, info.name, info.endpoint) == ("DRAPlugin", DRIVER, "")
    assert list(info.supported_versions) == [
        "v1.DRAPlugin",
        "v1beta1.DRAPlugin",
        "v1.DRAResourceHealth",
        "v1alpha1.DRAResourceHealth",
    ]
    await until(lambda: daemon.is_ready)


async def test_a_claim_is_prepared_given_to_the_runtime_and_taken_back(
    kubelet: Kubelet, api: ApiServer, place: Place
) -> None:
    await names_are(api, SEED)
    claim = allocate(api, "c", "node2-dev3-1", "node2-dev3-2")
    uid = claim["metadata"]["uid"]

    result = (await kubelet.prepare(claim))[uid]

    assert not result.error
    assert [(list(one.request_names), one.pool_name, one.device_name) for one in result.devices] == [
        (["r"], NODE, "node2-dev3-1"),
        (["r"], NODE, "node2-dev3-2"),
    ]
    ids = [cdi_id for device in result.devices for cdi_id in device.cdi_device_ids]
    assert variables(place) == {ids[0]: "DEV_3_ID_0=/node2/dev3/1", ids[1]: "DEV_3_ID_1=/node2/dev3/2"}
    assert await kubelet.unprepare(claim) == {uid: ""}
    assert variables(place) == {}


async def test_each_claim_has_an_answer_of_its_own(kubelet: Kubelet, api: ApiServer) -> None:
    await names_are(api, SEED)
    good, bad = allocate(api, "good", "node2-dev3-1"), allocate(api, "bad", "node2-dev9-9")
    gone = {"metadata": {"namespace": "default", "name": "gone", "uid": "gone"}}

    results = await kubelet.prepare(good, bad, gone)

    assert not results[good["metadata"]["uid"]].error
    assert "node2-dev9-9 is not offered" in results[bad["metadata"]["uid"]].error
    assert "does not exist" in results["gone"].error
    assert await kubelet.prepare() == {}
    assert await kubelet.unprepare(gone) == {"gone": ""}


async def test_the_older_version_of_the_api_does_the_same(kubelet: Kubelet, api: ApiServer) -> None:
    await names_are(api, SEED)
    claim = allocate(api, "c", "node2-dev3-1")
    stub: Any = dra_v1beta1_grpc.DRAPluginStub(kubelet.channel)
    request = {"namespace": "default", "name": "c", "uid": claim["metadata"]["uid"]}

    answer = await stub.NodePrepareResources(dra_v1beta1.NodePrepareResourcesRequest(claims=[request]))

    assert [device.device_name for device in answer.claims[request["uid"]].devices] == ["node2-dev3-1"]
    await stub.NodeUnprepareResources(dra_v1beta1.NodeUnprepareResourcesRequest(claims=[request]))


async def test_a_device_that_is_unplugged_while_a_claim_holds_it_stays_tainted_until_it_is_free(
    kubelet: Kubelet, api: ApiServer, place: Place
) -> None:
    await names_are(api, SEED)
    claim = allocate(api, "c", "node2-dev3-1")
    await kubelet.prepare(claim)

    place.write("dev3/unhealthy_effect", "None")
    shutil.rmtree(place.tree / "node2/dev3/1")
    await api.wait_for(lambda: taints(api, "node2-dev3-1") == [("myplugin.io/unhealthy", "unplugged", "NoSchedule")])
    await kubelet.unprepare(claim)

    await names_are(api, SEED - {"node2-dev3-1"})


@pytest.mark.parametrize("service", [health_v1_grpc, health_v1alpha1_grpc])
async def test_health_is_told_whole_at_once_on_change_and_again_in_time(
    kubelet: Kubelet, api: ApiServer, place: Place, monkeypatch: pytest.MonkeyPatch, service: Any
) -> None:
    monkeypatch.setattr(servicer, "RESEND_S", 0.05)
    await names_are(api, SEED)
    watching = asyncio.create_task(kubelet.watch_health(service))
    try:
        await until(lambda: kubelet.healths)
        assert kubelet.healths[0] == dict.fromkeys(SEED, (1, ""))
        place.write("dev3/2/health", "unhealthy over temperature")
        await until(lambda: kubelet.healths[-1]["node2-dev3-2"] == (2, "over temperature"))
        place.write("dev3/2/health", "healthy")
        await until(lambda: kubelet.healths[-1]["node2-dev3-2"] == (1, ""))
        count = len(kubelet.healths)

        await until(lambda: len(kubelet.healths) > count + 1)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_the_end_of_another_instance_has_the_health_told_again(
    kubelet: Kubelet, api: ApiServer, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet forgets a driver's health with the stream of the old instance, the new one's too."""
    monkeypatch.setattr(driver_module, "LOOK_EVERY_S", 0.01)
    await names_are(api, SEED)
    watching = asyncio.create_task(kubelet.watch_health())
    other = place.registry / "fakehw-myplugin-io-01234567.sock"
    try:
        await until(lambda: kubelet.healths)
        other.touch()
        await asyncio.sleep(1.1)  # the present look takes a second still
        count = len(kubelet.healths)
        other.unlink()

        await until(lambda: len(kubelet.healths) >= count + 2)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_socket_that_was_removed_is_made_anew(daemon: Daemon, place: Place, api: ApiServer) -> None:
    await until(place.sockets)
    (first,) = place.sockets()
    first.unlink()

    await until(lambda: place.sockets() and place.sockets() != [first])


async def test_the_socket_goes_with_the_plugin_and_the_slices_stay(place: Place, api: ApiServer) -> None:
    async with running_daemon(place.config(api)):
        await names_are(api, SEED)
        await until(place.sockets)

    assert place.sockets() == []
    assert set(published(api)) == SEED


async def test_a_kubeconfig_that_is_not_there_yet_is_told_once_and_waited_for(place: Place, api: ApiServer) -> None:
    config = place.config(api)
    kubeconfig = Path(config.kubeconfig)
    content = kubeconfig.read_text()
    kubeconfig.unlink()
    with capture_logs() as lines:
        async with running_daemon(config):
            await until(lambda: [line for line in lines if line["event"] == "no_way_to_the_api_server"])
            await asyncio.sleep(0.35)  # two more tries
            kubeconfig.write_text(content)
            await names_are(api, SEED)

    assert len([line for line in lines if line["event"] == "no_way_to_the_api_server"]) == 1


# Faults of the protocol.


async def test_faults_in_the_tree_are_played_to_the_kubelet(place: Place, api: ApiServer) -> None:
    rpc = place.tree / "node2/dev3/rpc"
    rpc.mkdir()
    async with running_daemon(place.config(api, rpc_faults=True)) as daemon, kubelet_of(place) as kubelet:
        await names_are(api, SEED)
        claim = allocate(api, "c", "node2-dev3-1")
        (rpc / "node_prepare_resources").write_text("error UNAVAILABLE the bus is gone")
        with pytest.raises(grpc.aio.AioRpcError, match="the bus is gone"):
            await kubelet.prepare(claim)
        (rpc / "node_prepare_resources").unlink()
        assert not (await kubelet.prepare(claim))[claim["metadata"]["uid"]].error

        (rpc / "node_unprepare_resources").write_text("error INTERNAL no")
        with pytest.raises(grpc.aio.AioRpcError, match="no"):
            await kubelet.unprepare(claim)
        (rpc / "get_info").write_text("delay 10ms")
        assert (await kubelet.register()).name == DRIVER
        (rpc / "node_watch_resources").write_text("drop")
        await kubelet.watch_health()

        assert len(kubelet.healths) == 1, "the stream ended after its first list"
        assert daemon.telemetry.rpc_faults == {
            (DRIVER, method): 1
            for method in ("node_prepare_resources", "node_unprepare_resources", "get_info", "node_watch_resources")
        }


# The other API.


async def test_a_class_moves_to_the_device_plugin_api_and_back_while_claims_hold_its_devices(
    kubelet: Kubelet, daemon: Daemon, api: ApiServer, place: Place
) -> None:
    await names_are(api, SEED)
    claim = allocate(api, "c", "node2-dev3-1")
    await kubelet.prepare(claim)

    def by_plugin() -> set[str]:
        found = {offer: inventory for offer, inventory in daemon.inventories.by_offer.items() if not offer.driver}
        return {device_id for inventory in found.values() for device_id in inventory.devices}

    place.write("dev3/api", "device-plugin")
    await names_are(api, {"node2-dev2-1", "node2-dev3-1"})
    await until(lambda: by_plugin() == {"node2-dev3-2", "node2-dev3-3"})
    assert taints(api, "node2-dev3-1")
    refused = await kubelet.prepare(allocate(api, "late", "node2-dev3-2"))
    assert "is not offered" in next(iter(refused.values())).error

    await kubelet.unprepare(claim)
    await until(lambda: by_plugin() == {"node2-dev3-1", "node2-dev3-2", "node2-dev3-3"})
    await names_are(api, {"node2-dev2-1"})

    (place.tree / "node2/dev3/api").unlink()
    await names_are(api, SEED)
    assert by_plugin() == set()


async def test_a_claim_of_an_earlier_process_can_be_taken_back_though_no_class_is_served_any_more(
    place: Place, api: ApiServer
) -> None:
    async with running_daemon(place.config(api)), kubelet_of(place) as kubelet:
        await names_are(api, SEED)
        claim = allocate(api, "c", "node2-dev3-1")
        await kubelet.prepare(claim)

    async with running_daemon(place.config(api, api=Api.DEVICE_PLUGIN)) as daemon:
        async with kubelet_of(place) as kubelet:
            await until(lambda: "myplugin.io/mydevice-3" in daemon.inventories.by_offer)
            assert "node2-dev3-1" not in daemon.inventories.by_offer["myplugin.io/mydevice-3"].devices  # type: ignore[index]
            await kubelet.unprepare(claim)
        await until(lambda: "node2-dev3-1" in daemon.inventories.by_offer["myplugin.io/mydevice-3"].devices)  # type: ignore[index]
        await api.wait_for(lambda: not api.all("resourceslices"))
        await until(lambda: not place.sockets())


def test_nothing_of_dra_is_loaded_for_the_device_plugin_api() -> None:
    code = (
        "import sys, fakehw_plugin.cli, fakehw_plugin.process, fakehw_plugin.daemon\n"
        "print([name for name in sys.modules if name.startswith(('aiohttp', 'kubeapi', 'fakehw_plugin.dra.', 'google'))])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert done.stdout.strip() == "[]"


# Killed for good.


async def test_a_plugin_that_is_killed_leaves_what_the_next_one_finishes(place: Place, api: ApiServer) -> None:
    config = place.config(api)
    command = [
        sys.executable, "-m", "fakehw_plugin", "--root", str(place.tree), "--host", NODE, "--api", "dra",
        "--plugin-dir", str(config.plugin_dir), "--pod-resources", "", "--kubeconfig", config.kubeconfig,
        "--registry-dir", str(place.registry), "--state-dir", str(config.state_dir), "--cdi-dir", str(place.cdi),
    ]  # fmt: skip
    before: dict[str, Any] = {}
    claim: dict[str, Any] = {}
    for life in range(3):
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            await names_are(api, SEED)
            claim = claim or allocate(api, "c", "node2-dev3-1")
            await until(lambda: len(place.sockets()) == 1 and place.sockets()[0].name not in before)
            before[place.sockets()[0].name] = life
            async with kubelet_of(place) as kubelet:
                await kubelet.register()
                results = await kubelet.prepare(claim)
                assert [one.device_name for one in results[claim["metadata"]["uid"]].devices] == ["node2-dev3-1"]
                if life == 1:
                    shutil.rmtree(place.cdi)  # and the machine was rebooted
                if life == 2:
                    assert list(variables(place).values()) == ["DEV_3_ID_0=/node2/dev3/1"]
                    assert await kubelet.unprepare(claim) == {claim["metadata"]["uid"]: ""}
        finally:
            os.kill(process.pid, signal.SIGKILL)
            await process.wait()
    assert variables(place) == {}
    assert not list(place.claims.glob("*.json"))
