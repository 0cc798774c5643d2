"""Classes by DRA on nodes of a fleet: slices at the API server, claims prepared by the real driver, health told."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakehw import FakeTree, make_topology
from fakehw_fleet.cluster import objects
from fakehw_fleet.cluster.fleet import ClusterFleet
from fakehw_fleet.cluster.options import Options
from fakekubelet.apiserver.server import ApiServer
from kubeapi import kubeconfig
from tests.integration.test_fleet_cluster import status, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.lengthy

DRIVER = "gpu.fleet.example"
CLAIMS = "resource.k8s.io/v1"


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fld-", dir="/tmp") as path:
        yield Path(path)


@contextlib.asynccontextmanager
async def dra_fleet(
    api: ApiServer, home: Path, *, nodes: int = 2, keeps: bool = False, runs: bool = False
) -> AsyncIterator[ClusterFleet]:
    classes = {
        "gpu": {"count": 4, "resource": "a.b/gpu", "api": "dra", "driver": DRIVER},
        "nic": {"count": 1, "resource": "a.b/nic"},
    }
    topology = make_topology({"nodes": {f"n[1-{nodes}]": {"host": "w-{index}", "classes": classes}}})
    api.write_kubeconfig(home / "kc")
    async with ClusterFleet(
        topology, home / "tree", home / "s", kubeconfig.load([home / "kc"]), domain="myplugin.io",
        options=Options(status_every_s=None, keeps=keeps, runs=runs), tell=print,
    ) as running:  # fmt: skip  # where, whose, how
        await until(api, lambda: running.ready == nodes)
        yield running


def claim(api: ApiServer, name: str, node: str, *devices: str) -> dict[str, Any]:
    """Make a claim that a scheduler has allocated."""
    exactly = {"deviceClassName": "gpu", "count": len(devices)}
    spec = {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}
    made = api.create({"apiVersion": CLAIMS, "kind": "ResourceClaim", "metadata": {"name": name}, "spec": spec})
    results = [{"request": "r", "driver": DRIVER, "pool": node, "device": device} for device in devices]
    return with_status(api, made, {"allocation": {"devices": {"results": results}}})


def with_status(api: ApiServer, found: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    body = {**found, "apiVersion": CLAIMS, "kind": "ResourceClaim", "status": {**found.get("status", {}), **fields}}
    return api.update(body, subresource="status")


def claiming(
    api: ApiServer, name: str, node: str, held: dict[str, Any], *, reserve: bool = True, **fields: Any
) -> dict[str, Any]:
    container = {"name": "main", "image": "i", "resources": {"claims": [{"name": "c"}]}, **fields}
    entry = {"name": "c", "resourceClaimName": held["metadata"]["name"]}
    spec = {"containers": [container], "resourceClaims": [entry], "restartPolicy": "Never" if fields else "Always"}
    made = api.create(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    )
    if reserve:
        reserved(api, made, held)
    api.registry.bind("default", name, node)
    return made


def reserved(api: ApiServer, pod: dict[str, Any], held: dict[str, Any]) -> None:
    user = {"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    with_status(api, api.find("resourceclaims", held["metadata"]["name"], "default"), {"reservedFor": [user]})


def slices(api: ApiServer, node: str) -> list[dict[str, Any]]:
    return [one for one in api.all("resourceslices") if one["spec"].get("nodeName") == node]


def device_names(api: ApiServer, node: str) -> list[str]:
    return sorted(device["name"] for one in slices(api, node) for device in one["spec"]["devices"])


async def test_every_node_publishes_its_own_devices_and_a_broken_one_has_a_taint(api: ApiServer, home: Path) -> None:
    async with dra_fleet(api, home):
        assert device_names(api, "w-1") == ["n1-gpu-1", "n1-gpu-2", "n1-gpu-3", "n1-gpu-4"]
        assert len(device_names(api, "w-2")) == 4
        assert (
            slices(api, "w-1")[0]["metadata"]["ownerReferences"][0]["uid"]
            == api.find("nodes", "w-1")["metadata"]["uid"]
        )
        assert "a.b/gpu" not in objects.extended(api.find("nodes", "w-1")["status"], "capacity")

        FakeTree(home / "tree").set_health("n2/gpu/3", "unhealthy", reason="hot")
        FakeTree(home / "tree").unplug("n1/gpu/4")

        def tainted(node: str) -> list[str]:
            return [one["name"] for found in slices(api, node) for one in found["spec"]["devices"] if one.get("taints")]

        await until(api, lambda: tainted("w-2") == ["n2-gpu-3"])
        await until(api, lambda: device_names(api, "w-1") == ["n1-gpu-1", "n1-gpu-2", "n1-gpu-3"])
        assert tainted("w-1") == []


async def test_one_watch_follows_the_slices_of_all_nodes(api: ApiServer, home: Path) -> None:
    async with dra_fleet(api, home, nodes=12):
        watches = [one for one in api.requests if one.verb == "watch" and one.resource == "resourceslices"]
        assert len(watches) == 1


async def test_a_slice_that_somebody_deletes_is_back(api: ApiServer, home: Path) -> None:
    async with dra_fleet(api, home):
        api.delete("resourceslices", slices(api, "w-2")[0]["metadata"]["name"])
        await until(api, lambda: len(device_names(api, "w-2")) == 4)


async def test_a_pod_runs_once_its_claim_is_prepared_and_says_what_it_got_and_how_that_is(
    api: ApiServer, home: Path
) -> None:
    async with dra_fleet(api, home):
        held = claim(api, "c1", "w-1", "n1-gpu-2", "n1-gpu-3")
        claiming(api, "p", "w-1", held)
        await until(api, lambda: status(api, "p").get("phase") == "Running")

        given = json.loads(api.find("pods", "p", "default")["metadata"]["annotations"][objects.ALLOCATED])["main"]
        assert len(given["cdi"]) == 2
        assert set(given["env"].values()) == {"/n1/gpu/2", "/n1/gpu/3"}

        FakeTree(home / "tree").set_health("n1/gpu/3", "unhealthy", reason="hot")

        def health() -> list[str]:
            (container,) = status(api, "p")["containerStatuses"]
            return sorted(
                device["health"] for one in container["allocatedResourcesStatus"] for device in one["resources"]
            )

        await until(api, lambda: health() == ["Healthy", "Unhealthy"])
        api.delete("pods", "p", "default")
        await until(api, lambda: api.find("pods", "p", "default") is None)
        assert not list((home / "s" / "n" / "w-1" / "cdi").glob("*c1*"))


async def test_a_pod_whose_claim_is_not_its_own_waits_says_why_once_and_runs_when_it_is(
    api: ApiServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fakehw_fleet.cluster.pod_sync.RETRY_S", 0.05)
    async with dra_fleet(api, home) as up:
        held = claim(api, "c1", "w-1", "n1-gpu-2")
        made = claiming(api, "p", "w-1", held, reserve=False)
        asked = ("GET", "resourceclaims")
        await until(api, lambda: up.requests[asked] >= 4)
        assert status(api, "p")["phase"] == "Pending"
        (event,) = api.all("events")
        assert event["reason"] == "FailedPrepareDynamicResources"
        assert "is not allowed to use ResourceClaim c1" in event["message"]
        reserved(api, made, held)
        await until(api, lambda: status(api, "p")["phase"] == "Running")


async def test_claims_that_were_prepared_before_a_crash_are_kept_and_taken_back(api: ApiServer, home: Path) -> None:
    async with dra_fleet(api, home, keeps=True):
        claiming(api, "p", "w-1", claim(api, "c1", "w-1", "n1-gpu-2"))
        await until(api, lambda: status(api, "p").get("phase") == "Running")
    given = api.find("pods", "p", "default")["metadata"]["annotations"]
    async with dra_fleet(api, home, keeps=True) as up:
        assert device_names(api, "w-1") == ["n1-gpu-1", "n1-gpu-2", "n1-gpu-3", "n1-gpu-4"]
        assert api.find("pods", "p", "default")["metadata"]["annotations"] == given
        api.delete("pods", "p", "default")
        await until(api, lambda: api.find("pods", "p", "default") is None)
        dra = up.nodes["w-1"].kubelet.dra
        assert dra is not None
        assert list(dra.claims.all()) == []


async def test_a_process_gets_the_variables_of_its_claims_which_are_taken_back_when_it_ends(
    api: ApiServer, home: Path
) -> None:
    async with dra_fleet(api, home, runs=True) as up:
        command = ["sh", "-c", f"env > {home}/env; while [ ! -e {home}/end ]; do sleep 0.02; done"]
        claiming(api, "p", "w-1", claim(api, "c1", "w-1", "n1-gpu-2"), command=command)
        await until(api, lambda: status(api, "p").get("phase") == "Running")
        dra = up.nodes["w-1"].kubelet.dra
        assert dra is not None
        assert len(list(dra.claims.all())) == 1
        await until(api, lambda: (home / "env").exists() and "=/n1/gpu/2\n" in (home / "env").read_text())
        (home / "end").touch()
        await until(api, lambda: status(api, "p").get("phase") == "Succeeded")
        await until(api, lambda: not list(dra.claims.all()))
