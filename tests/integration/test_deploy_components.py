"""The components for clusters of other kinds, as kubectl renders them: on the plugin, on the hand, and on both at once."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

import fakehw
from fakehw_plugin import cli as plugin_cli
from hack import deployment, manifests
from hack.deployment import DEPLOY, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = [one for one in dict.fromkeys(utils.all_versions()) if tuple(map(int, one.split("."))) >= (1, 30)]
COMPONENTS = sorted(path.parent.name for path in DEPLOY.glob("components/*/kustomization.yaml"))
SINCE_1_34 = next(one for one in VERSIONS if tuple(map(int, one.split("."))) >= (1, 34))
FOREIGN = {"SecurityContextConstraints", "PodMonitor", "PrometheusRule"}  # kinds that a cluster has by an operator
PATHS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: fakehw-paths, annotations: {config.kubernetes.io/local-config: "true"}}
data: {tree: /var/lib/fakehw, kubelet: /data/kubelet}
"""

pytestmark = [
    pytest.mark.lengthy,
    pytest.mark.skipif(not deployment.have_kubectl(), reason="kubectl renders overlays, and is missing"),
]


@contextlib.contextmanager
def overlay(resources: list[str], components: list[str]) -> Iterator[Path]:
    """A folder beside deploy/ that lists these, as a user's overlay does."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        folder = Path(name)
        listed = [f"../../deploy/{one}" for one in resources]
        if "paths" in components:
            (folder / "paths.yaml").write_text(PATHS)
            listed.append("paths.yaml")
        parts = [f"../../deploy/components/{one}" for one in components]
        (folder / "kustomization.yaml").write_text(json.dumps({"resources": listed, "components": parts}))
        yield folder


def rendered(resources: list[str], components: list[str]) -> list[deployment.Object]:
    with overlay(resources, components) as folder:
        return deployment.rendered(folder)


def pod_of(objects: list[deployment.Object], name: str) -> dict[str, Any]:
    spec: dict[str, Any] = deployment.one(objects, "DaemonSet", name)["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("resources", [["base"], ["hand"], ["base", "hand"]], ids=" ".join)
def test_each_component_renders_alone_to_valid_objects(component: str, resources: list[str]) -> None:
    for one in rendered(resources, [component]):
        if one["kind"] in FOREIGN:
            continue
        oldest = SINCE_1_34 if one["apiVersion"] == "resource.k8s.io/v1" else VERSIONS[0]
        for version in (oldest, VERSIONS[-1]):
            kubernetes_validate.validate(one, version, strict=True)


def test_all_components_go_together() -> None:
    together = [one for one in COMPONENTS if one != "selinux"]  # which openshift brings along
    objects = rendered(["base", "hand"], together)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))
    for one in objects:
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("components", [["device-nodes"], ["device-nodes", "selinux"], ["openshift", "device-nodes"]])
def test_device_nodes_give_mknod_to_the_container_that_builds_and_to_no_other(components: list[str]) -> None:
    found = deployment.containers(rendered(["base"], components), node="any")
    assert {name: one.add for name, one in found.items() if one.add} == {"fakehw": ("MKNOD",)}
    assert all(one.drop == ("ALL",) for one in found.values())


@pytest.mark.parametrize("others", [[], ["dra"], ["paths"]], ids=" ".join)
def test_host_mounts_are_seen_by_every_container_that_stays(others: list[str]) -> None:
    """An init container has what is mounted when it starts, and is gone before the next."""
    objects, before = (rendered(["base", "hand"], [*more, *others]) for more in (["host-mounts"], []))
    for name, container in (("fakehw-plugin", "plugin"), ("fakehw-hand", "hand")):
        mounts = {mount["name"]: mount for mount in _mounts(objects, name, container)}
        seen = {name for name, mount in mounts.items() if mount.get("mountPropagation") == "HostToContainer"}
        assert seen == ({"tree", "device-plugins", "pod-resources"} if container == "plugin" else {"tree"})
        plain = [{key: mounts[one["name"]][key] for key in one} for one in _mounts(before, name, container)]
        assert plain == _mounts(before, name, container), "nothing else of a mount changes"


def _mounts(objects: list[deployment.Object], name: str, container: str) -> list[dict[str, Any]]:
    (found,) = [one for one in pod_of(objects, name)["containers"] if one["name"] == container]
    mounts: list[dict[str, Any]] = found["volumeMounts"]
    return mounts


def test_paths_move_the_tree_and_what_follows_the_kubelet_and_nothing_else() -> None:
    objects = rendered(["base", "hand"], ["paths"])
    assert "fakehw-paths" not in [one["metadata"]["name"] for one in objects], "it only feeds the component"
    volumes = {one["name"]: one.get("hostPath", {}).get("path") for one in pod_of(objects, "fakehw-plugin")["volumes"]}
    assert volumes == {
        "topology": None,
        "tree": "/var/lib/fakehw",
        "device-plugins": "/var/lib/kubelet/device-plugins",  # does not follow --root-dir (contract PATH-1)
        "pod-resources": "/data/kubelet/pod-resources",  # does (PATH-2)
    }
    (tree,) = pod_of(objects, "fakehw-hand")["volumes"]
    assert tree["hostPath"]["path"] == "/var/lib/fakehw"
    plugin = deployment.containers(objects, node="any")["plugin"]
    assert plugin.env["FAKEHW_HOST_ROOT"] == "/var/lib/fakehw", "what pods get is mounted from where the node has it"
    assert plugin.env["FAKEHW_ROOT"] == "/fakehw"
    before = deployment.containers(rendered(["base", "hand"], []), node="any")["plugin"]
    assert {mount.path for mount in plugin.mounts} == {mount.path for mount in before.mounts}


def test_paths_move_the_directories_of_dra() -> None:
    objects, before = rendered(["base"], ["dra", "paths"]), rendered(["base"], ["dra"])
    volumes = {one["name"]: one.get("hostPath", {}).get("path") for one in pod_of(objects, "fakehw-plugin")["volumes"]}
    assert {name: volumes[name] for name in ("plugins-registry", "claims", "cdi", "device-plugins")} == {
        "plugins-registry": "/data/kubelet/plugins_registry",
        "claims": "/data/kubelet/plugins/fakehw",
        "cdi": "/var/run/cdi",
        "device-plugins": "/var/lib/kubelet/device-plugins",
    }
    assert volumes["pod-resources"] == "/data/kubelet/pod-resources"
    mounts = [
        [mount.path for mount in deployment.containers(one, node="any")["plugin"].mounts] for one in (objects, before)
    ]
    assert mounts[0] == mounts[1], "in the container they stay where the plugin looks for them"


def test_paths_say_what_is_missing_where_nobody_names_them() -> None:
    with overlay(["base"], ["paths"]) as folder:
        (folder / "kustomization.yaml").write_text(
            "resources: [../../deploy/base]\ncomponents: [../../deploy/components/paths]\n"
        )
        done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "fakehw-paths" in done.stderr


def test_gkes_quota_admits_the_priority_that_the_pods_have() -> None:
    objects = rendered(["base"], ["gke"])
    quota = deployment.one(objects, "ResourceQuota")
    (scope,) = quota["spec"]["scopeSelector"]["matchExpressions"]
    assert scope["values"] == [pod_of(objects, "fakehw-plugin")["priorityClassName"]]
    assert quota["metadata"]["namespace"] == "fakehw"


def test_the_constraint_of_openshift_allows_what_the_pods_ask_for_and_no_privilege() -> None:
    objects = rendered(["base", "hand"], ["openshift", "device-nodes"])
    allowed = deployment.one(objects, "SecurityContextConstraints")
    assert not [name for name, value in allowed.items() if name.startswith("allowHost") and value and "Dir" not in name]
    assert not allowed["allowPrivilegedContainer"]
    assert not allowed["allowPrivilegeEscalation"]
    account = deployment.one(objects, "ServiceAccount")["metadata"]["name"]
    binding = deployment.one(objects, "RoleBinding")
    role = deployment.one(objects, "Role")
    bound = [subject["name"] for subject in binding["subjects"]]
    assert bound == [account, "fakehw-plugin"], "the second is that of the component dra"
    with_dra = pod_of(rendered(["base", "hand"], ["openshift", "dra"]), "fakehw-plugin")
    assert with_dra["serviceAccountName"] in bound
    assert (binding["roleRef"]["name"], role["rules"][0]["resourceNames"]) == (role["metadata"]["name"], ["fakehw"])
    for name in ("fakehw-plugin", "fakehw-hand"):
        pod = pod_of(objects, name)
        assert pod["serviceAccountName"] == account
        kinds = {next(key for key in volume if key != "name") for volume in pod["volumes"]}
        assert kinds <= set(allowed["volumes"])
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            added = container["securityContext"]["capabilities"].get("add", [])
            assert set(added) <= set(allowed["allowedCapabilities"])
            assert container["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.parametrize("others", [[], ["device-nodes"], ["paths", "device-nodes"]], ids=" ".join)
@pytest.mark.parametrize("is_first", [True, False])
def test_selinux_labels_the_tree_once_it_is_built_and_leaves_no_category_on_it(
    others: list[str], is_first: bool
) -> None:
    components = ["selinux", *others] if is_first else [*others, "selinux"]
    objects = rendered(["base", "hand"], components)
    pod = pod_of(objects, "fakehw-plugin")
    assert [one["name"] for one in pod["initContainers"]] == ["fakehw", "label"]
    build, label = pod["initContainers"]
    assert "system_u:object_r:container_file_t:s0 /fakehw" in label["command"][-1]
    assert label["volumeMounts"] == [{"name": "tree", "mountPath": "/fakehw"}]
    (plugin,) = pod["containers"]
    hand = pod_of(objects, "fakehw-hand")["securityContext"]
    for one in (label["securityContext"], build["securityContext"], plugin["securityContext"], hand):
        assert one["seLinuxOptions"]["level"] == "s0", "or only containers of the same categories could read it"


def test_the_label_is_left_alone_where_there_is_no_selinux() -> None:
    _, label = pod_of(rendered(["base"], ["selinux"]), "fakehw-plugin")["initContainers"]
    context = Path("/proc/self/attr/current")
    with contextlib.suppress(OSError):
        if context.read_text().count(":") >= 3:
            pytest.skip("this machine has SELinux")
    done = subprocess.run(label["command"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["fakehw-plugin", "fakehw-hand"])
def test_nothing_lands_on_nodes_without_a_kubelet(name: str) -> None:
    pod = pod_of(rendered(["base", "hand"], []), name)
    assert pod["tolerations"] == [{"operator": "Exists"}], "which alone would lead onto KWOK's nodes"
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "type", "operator": "NotIn", "values": ["kwok", "virtual-kubelet", "fakehw"]}
    ]


def test_monitoring_scrapes_the_port_that_the_plugin_has() -> None:
    objects = rendered(["base"], ["monitoring"])
    monitor = deployment.one(objects, "PodMonitor")
    daemon_set = deployment.one(objects, "DaemonSet", "fakehw-plugin")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    assert endpoint["port"] in [port["name"] for port in container["ports"]]
    labels = daemon_set["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    board = deployment.one(objects, "ConfigMap", "fakehw-dashboard")
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(board["data"]["fakehw.json"])["uid"] == "fakehw"


@pytest.mark.parametrize("path", manifests.written(), ids=lambda path: path.name)
def test_what_is_made_of_other_files_is_made_anew(path: Path) -> None:
    assert path.read_text() == manifests.written()[path], "run make manifests"


def test_the_operators_rule_is_the_rule_file() -> None:
    rule = deployment.one(rendered(["base"], ["monitoring"]), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((DEPLOY / "components/monitoring/alerts.yaml").read_text())


def test_dra_gives_the_plugin_an_account_and_no_more_power_on_the_node() -> None:
    objects = rendered(["base"], ["dra"])
    pod, plain = pod_of(objects, "fakehw-plugin"), pod_of(rendered(["base"], []), "fakehw-plugin")
    (plugin,) = [one for one in pod["containers"] if one["name"] == "plugin"]

    assert plugin["securityContext"] == plain["containers"][0]["securityContext"]
    assert "securityContext" not in pod or pod["securityContext"] == plain["securityContext"]
    assert pod["serviceAccountName"] == "fakehw-plugin"
    (role,) = [one for one in objects if one["kind"] == "ClusterRole"]
    granted = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {verb for resource, verb in granted if resource != "resourceslices"} == {"get"}
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in plugin["volumeMounts"]}
    assert {path for path, is_read_only in mounts.items() if not is_read_only} == {
        "/var/lib/kubelet/device-plugins",
        "/var/lib/kubelet/plugins_registry",
        "/var/lib/kubelet/plugins/fakehw",
        "/var/run/cdi",
    }


def test_on_openshift_the_plugin_keeps_the_account_that_dra_gives_it_and_may_use_the_constraint() -> None:
    objects = rendered(["base", "hand"], ["dra", "openshift"])
    plugin, hand = pod_of(objects, "fakehw-plugin"), pod_of(objects, "fakehw-hand")
    assert (plugin["serviceAccountName"], hand["serviceAccountName"]) == ("fakehw-plugin", "fakehw")
    subjects = deployment.one(objects, "RoleBinding", "fakehw-scc")["subjects"]
    assert {one["name"] for one in subjects} == {"fakehw", "fakehw-plugin"}
    assert "projected" in deployment.one(objects, "SecurityContextConstraints")["volumes"], "its token is mounted so"


def test_the_dra_component_says_what_the_plugin_takes_for_granted() -> None:
    (plugin,) = [
        one for one in pod_of(rendered(["base"], ["dra"]), "fakehw-plugin")["containers"] if one["name"] == "plugin"
    ]
    mounts = {mount["mountPath"] for mount in plugin["volumeMounts"]}
    settings = plugin_cli.configure(plugin_cli.read([], {}))

    assert {str(settings.registry_dir), str(settings.state_dir), str(settings.cdi_dir)} <= mounts


def test_there_is_a_device_class_for_each_class_of_the_example() -> None:
    topology = fakehw.load_topology(DEPLOY / "base/topology.yaml")
    wanted = {found.name: found.resource for node in topology.nodes.values() for found in node.classes.values()}
    classes = {
        one["spec"]["extendedResourceName"]: one["spec"]["selectors"][0]["cel"]["expression"]
        for one in rendered(["base"], ["dra"])
        if one["kind"] == "DeviceClass"
    }

    assert set(classes) == set(wanted.values())
    for name, resource in wanted.items():
        domain = topology.document.get("domain", "myplugin.io")
        assert classes[resource] == f'device.driver == "{domain}" && device.attributes["{domain}"].class == "{name}"'


def test_the_claims_of_the_example_ask_for_what_its_pods_ask_for() -> None:
    pods = [one for one in yaml.safe_load_all((DEPLOY / "pods.yaml").read_text()) if one]
    by_claims = [one for one in yaml.safe_load_all((DEPLOY / "claims.yaml").read_text()) if one]
    classes = {
        one["metadata"]["name"]: one["spec"]["extendedResourceName"]
        for one in rendered(["base"], ["dra"])
        if one["kind"] == "DeviceClass"
    }
    templates = {
        one["metadata"]["name"]: {
            classes[request["exactly"]["deviceClassName"]]: request["exactly"].get("count", 1)
            for request in one["spec"]["spec"]["devices"]["requests"]
        }
        for one in by_claims
        if one["kind"] == "ResourceClaimTemplate"
    }
    asked = {
        one["metadata"]["name"]: templates[one["spec"]["resourceClaims"][0]["resourceClaimTemplateName"]]
        for one in by_claims
        if one["kind"] == "Pod"
    }

    assert asked == {one["metadata"]["name"]: one["spec"]["containers"][0]["resources"]["limits"] for one in pods}
    for one in by_claims:
        kubernetes_validate.validate(one, SINCE_1_34, strict=True)
