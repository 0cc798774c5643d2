"""The chart renders to what kustomize renders, and refuses values that it does not know.

Where helm is missing, the last test still finds what was changed on one side alone, as far as words go.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from fakehw import load_topology
from fakehw.spec import check
from hack import deployment
from hack.deployment import DEPLOY
from tests.integration.test_deploy_components import FOREIGN, VERSIONS, rendered

if TYPE_CHECKING:
    from collections.abc import Iterable

CHART = DEPLOY / "helm/fakehw"
HELM = os.environ.get("HELM") or shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="helm renders the chart, and is missing (PATH, or HELM=)")
needs_kubectl = pytest.mark.skipif(not deployment.have_kubectl(), reason="kubectl renders overlays, and is missing")

PATHS = ("treePath=/var/lib/fakehw", "kubeletDir=/data/kubelet")
EVERYTHING = (
    "hand.enabled=true",
    "deviceNodes=true",
    "hostMounts=true",
    "openshift=true",
    "criticalPodsQuota=true",
    *PATHS,
)
SAME = {  # values of the chart: resources and components of a kustomization
    "nothing": ((), ["base"], []),
    "the hand": (("hand.enabled=true",), ["base", "hand"], []),
    "device nodes": (("deviceNodes=true",), ["base"], ["device-nodes"]),
    "mounts of the node": (("hostMounts=true", "hand.enabled=true"), ["base", "hand"], ["host-mounts"]),
    "a quota": (("criticalPodsQuota=true",), ["base"], ["gke"]),
    "SELinux": (("selinux=true", "hand.enabled=true"), ["base", "hand"], ["selinux"]),
    "OpenShift": (("openshift=true", "hand.enabled=true"), ["base", "hand"], ["openshift"]),
    "other paths": ((*PATHS, "hand.enabled=true"), ["base", "hand"], ["paths"]),
    "DRA": (("dra.enabled=true",), ["base"], ["dra"]),
    "DRA on OpenShift, elsewhere": (
        ("dra.enabled=true", "openshift=true", "hand.enabled=true", *PATHS),
        ["base", "hand"],
        ["dra", "openshift", "paths"],
    ),
    "monitoring": (("monitoring.enabled=true",), ["base"], ["monitoring"]),
    "everything": (
        (*EVERYTHING, "monitoring.enabled=true"),
        ["base", "hand"],
        ["openshift", "gke", "device-nodes", "host-mounts", "paths", "monitoring"],
    ),
}


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert HELM
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=60, check=False)


@functools.cache
def templated(*values: str) -> list[deployment.Object]:
    flags = [flag for value in ("createNamespace=true", *values) for flag in ("--set", value)]
    done = helm("template", "any-release", str(CHART), "--namespace", "fakehw", *flags)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def by_name(objects: Iterable[deployment.Object]) -> dict[tuple[str, str], deployment.Object]:
    """Return objects by kind and name, without the hash that a ConfigMap's content adds to its name."""
    text = re.sub(r"fakehw-topology-[a-z0-9]{10}", "fakehw-topology", json.dumps(list(objects)))
    return {(one["kind"], one["metadata"]["name"]): one for one in json.loads(text)}


@needs_helm
@needs_kubectl
@pytest.mark.parametrize("what", SAME)
def test_the_chart_and_kustomize_render_to_the_same_objects(what: str) -> None:
    values, resources, components = SAME[what]
    chart, kustomize = by_name(templated(*values)), by_name(rendered(resources, components))
    assert chart.keys() == kustomize.keys()
    for key, expected in kustomize.items():
        assert chart[key] == expected, key


@needs_helm
@needs_kubectl
def test_a_topology_given_as_values_is_the_one_that_is_built() -> None:
    topology = yaml.safe_load((DEPLOY / "overlays/nvidia/topology.yaml").read_text())
    done = helm("template", "any-release", str(CHART), "--set-json", f"topology={json.dumps(topology)}")
    made = deployment.one([one for one in yaml.safe_load_all(done.stdout) if one], "ConfigMap", "fakehw-topology")
    text = io.BytesIO(made["data"]["topology.yaml"].encode())  # in which helm has made text of the devices' numbers
    built = check.read_topology(text, source="chart")
    assert built.nodes == load_topology(DEPLOY / "overlays/nvidia/topology.yaml").nodes


@needs_helm
def test_another_topology_has_another_name_so_that_it_rolls_the_daemon_set() -> None:
    one, other = (
        deployment.one(templated(*values), "ConfigMap", "fakehw-topology")["metadata"]["name"]
        for values in ((), ("topology.domain=other.example",))
    )
    assert one != other


@needs_helm
@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_what_the_chart_renders_is_valid_with_no_unknown_field(version: str) -> None:
    for one in templated(*EVERYTHING, "monitoring.enabled=true"):
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, version, strict=True)


@needs_helm
def test_helm_finds_no_fault_with_the_chart() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("treepath=/x", "treepath"),
        ("treePath=relative", "treePath"),
        ("hand=true", "hand"),
        ("env.PATH=/x", "PATH"),
        ("image.tag=", "tag"),
        ("dra.enable=true", "enable"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_by_name(value: str, named: str) -> None:
    done = helm("template", "any-release", str(CHART), "--set", value)
    assert done.returncode != 0
    assert named in done.stderr


def test_the_values_that_are_shipped_keep_the_schema_and_each_is_in_it() -> None:
    schema: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    assert set(values) == set(schema["properties"]) - {"global"}
    assert set(values) <= set(re.findall(r"\.Values\.(\w+)", templates())), "a value that nothing reads"


def templates() -> str:
    return "".join(path.read_text() for path in sorted(Path(CHART / "templates").iterdir()))


def test_no_word_of_the_manifests_is_missing_in_the_chart() -> None:
    """A rough guard where there is no helm: each word of base, hand and DRA stands somewhere in templates or values."""
    chart = templates() + (CHART / "values.yaml").read_text()
    mirrored = [
        DEPLOY / "base/daemonset.yaml",
        DEPLOY / "hand/daemonset.yaml",
        *(DEPLOY / "components/dra").glob("*.yaml"),
    ]
    manifests = "".join(path.read_text() for path in mirrored if path.name != "kustomization.yaml")
    code = "\n".join(line.partition("#")[0] for line in manifests.splitlines())
    words = set(re.findall(r"[A-Za-z0-9_./:$()-]+", code)) - {"fakehw:dev", "confined", "modest"}
    words.discard("system:serviceaccount:fakehw:fakehw-plugin")  # with the namespace of the release
    assert sorted(word for word in words if word not in chart) == []
