"""The nodes of a topology for KWOK: what is printed, and what is patched when a tree changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fakehw import FakeTree, make_topology
from fakehw_fleet import cli, kwok
from fakehw_fleet.members import members_of
from fakekubelet.apiserver.server import ApiServer
from tests.running import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GPU = "a.b/gpu"
SPEC: dict[str, Any] = {
    "nodes": {
        "n[1-2]": {
            "labels": {"zone": "z{index}"}, "taints": ["x=y:NoExecute"],
            "classes": {
                "gpu": {"count": 3, "resource": GPU, "devices": {2: {"health": "unhealthy hot"}}},
                "nic": {"count": 0, "resource": "a.b/nic"},
            },
        }
    }
}  # fmt: skip  # one node


def test_a_node_for_kwok_has_capacity_by_the_spec_and_allocatable_by_health() -> None:
    topology = make_topology(SPEC)
    member = members_of(topology)[1]
    node = kwok.node(member, kwok.healthy_of(topology, member))

    assert node["metadata"]["name"] == "n2"
    assert node["metadata"]["labels"] | {"type": "kwok", "zone": "z2"} == node["metadata"]["labels"]
    assert node["metadata"]["annotations"]["kwok.x-k8s.io/node"] == "fake"
    assert node["spec"]["taints"] == [kwok.TAINT, {"key": "x", "value": "y", "effect": "NoExecute"}]
    assert (node["status"]["capacity"][GPU], node["status"]["allocatable"][GPU]) == ("3", "2")
    assert node["status"]["capacity"]["a.b/nic"] == "0"


def test_export_prints_a_document_for_each_node(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "--kwok", "gpu-server", "--nodes", "3"]) == 0
    documents = [json.loads(text) for text in capsys.readouterr().out.split("---\n") if text]
    assert [one["metadata"]["name"] for one in documents] == ["gpu-1", "gpu-2", "gpu-3"]
    assert documents[2]["status"]["allocatable"]["nvidia.com/gpu"] == "8"


def test_watching_needs_a_tree(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "--kwok", "gpu-server", "--watch"]) == 2
    assert "a tree must be named" in capsys.readouterr().err


async def test_watch_keeps_allocatable_in_line_with_the_tree(tmp_path: Path) -> None:
    topology = make_topology(SPEC)
    tree = FakeTree(tmp_path / "tree")
    tree.build(topology)
    (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
    async with ApiServer("1.36") as api:
        for member in members_of(topology):
            api.create(kwok.node(member, kwok.healthy_of(topology, member)))
        api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "theirs"}})
        api.write_kubeconfig(tmp_path / "kc")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fakehw_fleet", "export", "--kwok", str(tmp_path / "spec.yaml"), "--watch",
            "--root", str(tree.root), "--kubeconfig", str(tmp_path / "kc"), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip  # a flag beside its value

        def shown(node: str) -> tuple[str, str]:
            status = api.find("nodes", node)["status"]
            return status["capacity"][GPU], status["allocatable"][GPU]

        await api.wait_for(lambda: len(api.asked("patch", "nodes")) == 2, timeout=DEADLINE_S)
        tree.set_health("n1/gpu/1", "unhealthy")
        await api.wait_for(lambda: shown("n1") == ("3", "1"), timeout=DEADLINE_S)
        tree.unplug("n2/gpu/2")
        await api.wait_for(lambda: shown("n2") == ("2", "2"), timeout=DEADLINE_S)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()

        assert b"the Nodes stay as they are" in err
        assert not any(request.name == "theirs" for request in api.requests)


BY_DRA = {
    "gpu": {"count": 2, "resource": GPU, "api": "dra", "driver": "gpu.x", "devices": {2: {"health": "unhealthy hot"}}}
}
NIC = {"nic": {"count": 1, "resource": "a.b/nic"}}


def test_classes_by_dra_are_exported_as_slices_and_are_no_capacity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spec.yaml").write_text(json.dumps({"nodes": {"n[1-2]": {"classes": BY_DRA | NIC}}}))
    assert cli.main(["export", "--kwok", str(tmp_path / "spec.yaml")]) == 0
    *nodes, first, second = [json.loads(text) for text in capsys.readouterr().out.split("---\n") if text]
    assert [node["metadata"]["name"] for node in nodes] == ["n1", "n2"]
    assert {name for node in nodes for name in node["status"]["capacity"] if "/" in name} == {"a.b/nic"}
    assert (first["kind"], first["spec"]["nodeName"], second["spec"]["nodeName"]) == ("ResourceSlice", "n1", "n2")
    taints = {
        device["name"]: [taint["value"] for taint in device.get("taints", ())] for device in first["spec"]["devices"]
    }
    assert taints == {"n1-gpu-1": [], "n1-gpu-2": ["hot"]}


async def test_watch_keeps_slices_in_line_with_the_tree(tmp_path: Path) -> None:
    spec = {"nodes": {"n[1-2]": {"classes": BY_DRA | NIC}}}
    topology = make_topology(spec)
    tree = FakeTree(tmp_path / "tree")
    tree.build(topology)
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    async with ApiServer("1.36") as api:
        for member in members_of(topology):
            api.create(kwok.node(member, kwok.healthy_of(topology, member)))
        async with watching(api, tmp_path):

            def tainted() -> list[str]:
                devices = [device for one in api.all("resourceslices") for device in one["spec"]["devices"]]
                return sorted(device["name"] for device in devices if device.get("taints"))

            await api.wait_for(lambda: tainted() == ["n1-gpu-2", "n2-gpu-2"], timeout=DEADLINE_S)
            tree.set_health("n1/gpu/2", "healthy")
            tree.unplug("n2/gpu/1")
            await api.wait_for(lambda: tainted() == ["n2-gpu-2"], timeout=DEADLINE_S)

            def shown(node: str) -> list[str]:
                (found,) = [one for one in api.all("resourceslices") if one["spec"]["nodeName"] == node]
                assert found["metadata"]["ownerReferences"][0]["uid"] == api.find("nodes", node)["metadata"]["uid"]
                return [device["name"] for device in found["spec"]["devices"]]

            await api.wait_for(lambda: shown("n2") == ["n2-gpu-2"], timeout=DEADLINE_S)
            assert GPU not in api.find("nodes", "n1")["status"]["capacity"]


async def test_a_node_with_a_kubelet_of_its_own_is_left_alone(tmp_path: Path) -> None:
    topology = make_topology(SPEC)
    FakeTree(tmp_path / "tree").build(topology)
    (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
    async with ApiServer("1.36") as api:
        api.create(kwok.node(members_of(topology)[0], {}))
        api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}})
        async with watching(api, tmp_path) as process:
            _, err = await process.communicate()
            assert process.returncode == 2
            assert b"n2: this Node is not KWOK's" in err
            assert b"n1" not in err
        assert not api.asked("patch", "nodes")


@contextlib.asynccontextmanager
async def watching(api: ApiServer, where: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    api.write_kubeconfig(where / "kc")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fakehw_fleet", "export", "--kwok", str(where / "spec.yaml"), "--watch",
        "--root", str(where / "tree"), "--kubeconfig", str(where / "kc"), stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip  # a flag beside its value
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
        print(said.decode())  # what a failure is read by
