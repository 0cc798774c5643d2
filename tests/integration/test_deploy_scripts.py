"""hack/cluster.sh with a kubectl that only writes down what it was given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from hack import deployment, kind_config, node_table

if TYPE_CHECKING:
    from pathlib import Path

BASICS = ("bash", "dirname", "basename", "cat", "sed", "mkdir", "grep", "sh", "env", "python3", "rm", "cp")
needs_kubectl = pytest.mark.skipif(not deployment.have_kubectl(), reason="kubectl renders overlays, and is missing")

KUBECTL = """#!/bin/sh
case " $* " in
  *" kustomize "*) exec {kubectl} "$@" ;;
  *" apply "*) cat > {applied}; echo daemonset.apps/fakehw-plugin created ;;
esac
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the basics of a Unix and nothing of Kubernetes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in BASICS:
        found = shutil.which(name) or sys.executable
        (folder / name).symlink_to(found)
    return folder


def run(tools: Path, target: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [deployment.ROOT / "hack/cluster.sh", target],
        env={"PATH": str(tools), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("target", "missing"),
    [("cluster", "docker"), ("build", "docker"), ("start", "kubectl"), ("pods", "kubectl"), ("break", "kubectl")],
)
def test_what_is_missing_is_said_in_one_line(tools: Path, target: str, missing: str) -> None:
    done = run(tools, target, ENGINE="docker")
    assert done.returncode == 1
    assert done.stderr.startswith(f"make {target}: {missing} is missing: ")
    assert done.stderr.count("\n") == 1


@needs_kubectl
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("fakehw:dev", "fakehw:dev"),
        ("registry.example:5000/team/fakehw:1.2", "registry.example:5000/team/fakehw:1.2"),
        ("registry.example:5000/team/fakehw", "registry.example:5000/team/fakehw:latest"),
    ],
)
def test_start_sends_this_image_and_these_nodes(tools: Path, tmp_path: Path, image: str, expected: str) -> None:
    applied = tmp_path / "applied.yaml"
    (tools / "kubectl").write_text(KUBECTL.format(kubectl=shutil.which("kubectl"), applied=applied))
    (tools / "kubectl").chmod(0o755)
    done = run(tools, "start", IMAGE=image, NODE1="alpha", NODE2="beta", HOME=os.environ.get("HOME", "/"))
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(applied.read_text()) if one]
    found = deployment.containers(objects, node="beta")
    assert {one.image for one in found.values()} == {expected}
    topology = yaml.safe_load(deployment.one(objects, "ConfigMap")["data"]["topology.yaml"])
    assert {name: node["host"] for name, node in topology["nodes"].items()} == {"node1": "alpha", "node2": "beta"}


@needs_kubectl
def test_start_takes_a_topology_components_and_paths(tools: Path, tmp_path: Path) -> None:
    applied, topology = tmp_path / "applied.yaml", tmp_path / "mine.yaml"
    topology.write_text("nodes: {any: {classes: {gpu: {count: 8, resource: nvidia.com/gpu}}}}\n")
    (tools / "kubectl").write_text(KUBECTL.format(kubectl=shutil.which("kubectl"), applied=applied))
    (tools / "kubectl").chmod(0o755)
    given = {"COMPONENTS": "gke monitoring", "TREE": "/var/lib/fakehw", "TOPOLOGY": str(topology)}
    done = run(tools, "start", HOME=os.environ.get("HOME", "/"), **given)
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(applied.read_text()) if one]
    assert deployment.one(objects, "ConfigMap", "fakehw-topology")["data"]["topology.yaml"] == topology.read_text()
    assert {"ResourceQuota", "PodMonitor"} <= {one["kind"] for one in objects}
    mounts = {mount.host_path for mount in deployment.containers(objects, node="any")["plugin"].mounts}
    assert {"/var/lib/fakehw", "/var/lib/kubelet/pod-resources"} <= mounts


def test_a_component_that_there_is_not_is_said(tools: Path) -> None:
    (tools / "kubectl").write_text("#!/bin/sh\n")
    (tools / "kubectl").chmod(0o755)
    done = run(tools, "start", COMPONENTS="gkee")
    assert done.returncode == 1
    assert done.stderr == "make start: COMPONENTS=gkee: there is no deploy/components/gkee\n"


def test_break_asks_which_device(tools: Path, tmp_path: Path) -> None:
    (tools / "kubectl").write_text(KUBECTL.format(kubectl="true", applied=tmp_path / "applied"))
    (tools / "kubectl").chmod(0o755)
    assert run(tools, "break").stderr == "make break: which device? DEV=node2/dev3/2, or a pattern\n"


def test_kind_gets_two_workers_and_their_trees_on_the_host_where_asked(tmp_path: Path) -> None:
    plain = yaml.safe_load(kind_config.config("kind", ""))
    assert [node["role"] for node in plain["nodes"]] == ["control-plane", "worker", "worker"]
    assert not any("extraMounts" in node for node in plain["nodes"])
    nodes = yaml.safe_load(kind_config.config("other", str(tmp_path)))["nodes"][1:]
    assert [node["extraMounts"] for node in nodes] == [
        [{"hostPath": f"{tmp_path}/other-{worker}", "containerPath": "/fakehw"}] for worker in ("worker", "worker2")
    ]


def test_the_table_shows_extended_resources_only() -> None:
    status = {"capacity": {"cpu": "2", "myplugin.io/mydevice-3": "3"}, "allocatable": {"myplugin.io/mydevice-3": "2"}}
    nodes = {"items": [{"metadata": {"name": "kind-worker2"}, "status": status}]}
    lines = node_table.table(node_table.rows(json.loads(json.dumps(nodes)))).splitlines()
    assert [line.split() for line in lines] == [
        ["NODE", "RESOURCE", "CAPACITY", "ALLOCATABLE"],
        ["kind-worker2", "myplugin.io/mydevice-3", "3", "2"],
    ]


def test_the_table_counts_what_is_served_by_dra_from_slices_and_claims() -> None:
    def a_slice(generation: int, *devices: dict[str, object], count: int = 1) -> dict[str, object]:
        pool = {"name": "worker", "generation": generation, "resourceSliceCount": count}
        spec = {"driver": "myplugin.io", "nodeName": "worker", "pool": pool, "devices": list(devices)}
        return {"kind": "ResourceSlice", "spec": spec}

    def device(number: int, *effects: str) -> dict[str, object]:
        taints = [{"key": "k", "effect": effect} for effect in effects]
        return {"name": f"d{number}", "attributes": {"class": {"string": "dev3"}}, "taints": taints}

    results = [{"driver": "myplugin.io", "pool": "worker", "device": "d1"}]
    results += [{"driver": "myplugin.io", "pool": "worker", "device": "d4", "adminAccess": True}]
    claim = {"kind": "ResourceClaim", "status": {"allocation": {"devices": {"results": results}}}}
    node = {"kind": "Node", "metadata": {"name": "worker"}, "status": {"capacity": {"cpu": "1", "x.io/y": "2"}}}
    devices = [device(1), device(2, "NoSchedule"), device(3, "NoExecute"), device(4, "None")]
    items = [node, a_slice(1, device(9)), a_slice(2, *devices), claim]

    lines = node_table.table(node_table.rows({"items": items})).splitlines()

    assert lines[1].split()[0] == "worker"
    assert [line.split()[1:] for line in lines[1:]] == [
        ["myplugin.io/dev3", "(DRA)", "4", "2", "1"],
        ["x.io/y", "2", "-", "-"],
    ]
    assert node_table.rows({"items": [a_slice(3, device(1), count=2)]}) == [], "an incomplete pool has nothing to give"
