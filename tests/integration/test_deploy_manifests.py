"""The manifests: what every Kubernetes since 1.30 takes, and what each of them promises."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from fakehw_plugin import cli, metrics
from fakehw_plugin.daemon import Daemon
from hack import deployment
from hack.deployment import DEPLOY
from tests import factories

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = [one for one in dict.fromkeys(utils.all_versions()) if tuple(map(int, one.split("."))) >= (1, 30)]
KUSTOMIZATIONS = ["base", "hand", "overlays/kind", "overlays/nvidia", "overlays/read-only-root"]
needs_kubectl = pytest.mark.skipif(not deployment.have_kubectl(), reason="kubectl renders overlays, and is missing")


@functools.cache
def rendered(folder: str) -> list[deployment.Object]:
    return deployment.rendered(DEPLOY / folder)


@functools.cache
def everything_plain() -> list[deployment.Object]:
    pods = [one for one in yaml.safe_load_all((DEPLOY / "pods.yaml").read_text()) if one]
    return [*deployment.plain(DEPLOY / "base"), *deployment.plain(DEPLOY / "hand"), *pods]


def test_the_schemas_reach_from_1_30_to_1_36_at_least() -> None:
    assert {f"1.{minor}.0" for minor in range(30, 37)} <= {".".join([*one.split(".")[:2], "0"]) for one in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_with_no_unknown_field(version: str) -> None:
    for one in everything_plain():
        kubernetes_validate.validate(one, version, strict=True)


@needs_kubectl
@pytest.mark.parametrize("folder", KUSTOMIZATIONS)
def test_every_kustomization_renders_to_valid_objects(folder: str) -> None:
    objects = rendered(folder)
    for version in (VERSIONS[0], VERSIONS[-1]):  # what they are rendered from is tried with all
        for one in objects:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("field", ["automountServiceAccountTokens", "tolerationz"])
def test_a_misspelt_field_would_be_found(field: str) -> None:
    broken = copy.deepcopy(deployment.one(deployment.plain(DEPLOY / "base"), "DaemonSet"))
    broken["spec"]["template"]["spec"][field] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@needs_kubectl
def test_reading_without_kubectl_finds_the_same_containers() -> None:
    found = deployment.containers(rendered("base"), node="kind-worker")
    assert found == deployment.containers(deployment.plain(DEPLOY / "base"), node="kind-worker")


@needs_kubectl
def test_another_vendors_name_takes_an_overlay_with_a_topology_and_nothing_else() -> None:
    base, other = rendered("base"), rendered("overlays/nvidia")
    topology = yaml.safe_load(deployment.one(other, "ConfigMap")["data"]["topology.yaml"])
    assert topology["nodes"]["any"]["classes"]["gpu"]["resource"] == "nvidia.com/gpu"
    spec = deployment.one(other, "DaemonSet")["spec"]["template"]["spec"]
    name = deployment.one(other, "ConfigMap")["metadata"]["name"]
    assert {"name": "topology", "configMap": {"name": name}} in spec["volumes"]
    assert name != deployment.one(base, "ConfigMap")["metadata"]["name"], "so that a new topology rolls the DaemonSet"


@pytest.mark.parametrize("name", ["fakehw", "plugin"])
def test_containers_are_confined(name: str) -> None:
    one = deployment.containers(deployment.plain(DEPLOY / "base"), node="any")[name]
    assert one.drop == ("ALL",)
    assert one.add == ()
    assert not one.privilege_escalation
    assert one.read_only_root
    assert one.seccomp == "RuntimeDefault"


def test_the_pod_has_no_token_is_not_evicted_first_and_runs_on_tainted_nodes() -> None:
    spec = deployment.one(deployment.plain(DEPLOY / "base"), "DaemonSet")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["tolerations"] == [{"operator": "Exists"}]
    for one in (*spec["initContainers"], *spec["containers"]):
        assert {"requests", "limits"} == one["resources"].keys()
        assert one["imagePullPolicy"] == "IfNotPresent", "a cluster without a registry has it already"


def test_the_plugin_sees_the_tree_read_only_and_directories_not_sockets() -> None:
    plugin = deployment.containers(deployment.plain(DEPLOY / "base"), node="any")["plugin"]
    mounts = {mount.host_path: mount.read_only for mount in plugin.mounts}
    assert mounts == {
        "/fakehw": True,
        "/var/lib/kubelet/device-plugins": False,
        "/var/lib/kubelet/pod-resources": True,
    }
    assert plugin.env["FAKEHW_HOST_ROOT"] in mounts, "what pods get is mounted from where the node has it"


def test_a_rolling_update_takes_the_old_plugin_down_first() -> None:
    strategy = deployment.one(deployment.plain(DEPLOY / "base"), "DaemonSet")["spec"]["updateStrategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}


def test_every_variable_is_one_that_the_plugin_reads() -> None:
    plugin = deployment.containers(deployment.plain(DEPLOY / "base"), node="any")["plugin"]
    assert plugin.env.keys() <= {flag.env for flag in cli.FLAGS}


def test_probes_and_prometheus_ask_for_pages_that_are_served(tmp_path: Path) -> None:
    objects = deployment.plain(DEPLOY / "base")
    plugin = deployment.containers(objects, node="any")["plugin"]
    daemon = Daemon(factories.make_config(tmp_path, tmp_path))
    pages = metrics.pages(daemon, version="0")
    port = int(plugin.env["FAKEHW_HTTP"].rpartition(":")[2])
    assert plugin.probes == {
        "startupProbe": (port, "/healthz"),
        "livenessProbe": (port, "/healthz"),
        "readinessProbe": (port, "/readyz"),
    }
    said = deployment.one(objects, "DaemonSet")["spec"]["template"]["metadata"]["annotations"]
    assert (said["prometheus.io/port"], said["prometheus.io/scrape"]) == (str(port), "true")
    assert {said["prometheus.io/path"], *(path for _, path in plugin.probes.values())} <= pages.keys()
