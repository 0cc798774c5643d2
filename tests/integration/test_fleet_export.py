"""The nodes of a topology for KWOK: what is printed, and what is patched when a tree changes."""

from __future__ import annotations

import asyncio
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
