"""What deploy/ says, read from the rendered YAML: the containers as an engine, a test or a person has to start them.

There is no second copy of commands, environment, mounts and permissions anywhere: tests and hack/verify_image.py start
what the manifests say.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
DEPLOY: Final = ROOT / "deploy"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # written in C, where PyYAML has it
_REFERENCE: Final = re.compile(r"\$\(([A-Z_]+)\)")

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume in a container: from a path of the host, or files by name (a ConfigMap)."""

    path: str
    read_only: bool
    host_path: str | None
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class Container:
    """One container of the DaemonSet, all that its pod says for it included."""

    name: str
    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    mounts: tuple[Mount, ...]
    user: int
    group: int
    drop: tuple[str, ...]
    add: tuple[str, ...]
    read_only_root: bool
    privilege_escalation: bool
    seccomp: str
    probes: dict[str, tuple[int, str]]
    """Port and path by the kind of probe."""


def have_kubectl() -> bool:
    """Tell whether overlays can be rendered here."""
    return shutil.which("kubectl") is not None


def _objects(text: str) -> list[Object]:
    return [one for one in yaml.load_all(text, Loader=_LOADER) if one]


def rendered(folder: Path) -> list[Object]:
    """Return the objects of a kustomization, as `kubectl apply -k` sends them."""
    done = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True)
    return _objects(done.stdout)


def plain(folder: Path) -> list[Object]:
    """Return the objects of a kustomization that only lists and generates, where kubectl is missing."""
    (kustomization,) = _objects((folder / "kustomization.yaml").read_text())
    objects = [one for name in kustomization["resources"] for one in _objects((folder / name).read_text())]
    for generator in kustomization.get("configMapGenerator", ()):
        files = {name: (folder / name).read_text() for name in generator["files"]}
        objects.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": files}
        )
    return objects


def one(objects: list[Object], kind: str, name: str = "") -> Object:
    """Return the only object of its kind whose name starts with `name`."""
    found = [each for each in objects if each["kind"] == kind and each["metadata"]["name"].startswith(name)]
    assert len(found) == 1, f"{len(found)} {kind} {name}"
    return found[0]


def containers(objects: list[Object], *, node: str) -> dict[str, Container]:
    """Return the containers of the plugin's DaemonSet by name, as they are started on `node`."""
    pod = one(objects, "DaemonSet", "fakehw-plugin")["spec"]["template"]["spec"]
    volumes = {volume["name"]: _source(volume, objects) for volume in pod["volumes"]}
    return {
        raw["name"]: _container(raw, pod, volumes, node=node) for raw in (*pod["initContainers"], *pod["containers"])
    }


def _source(volume: Object, objects: list[Object]) -> tuple[str | None, dict[str, str]]:
    if "hostPath" in volume:
        return volume["hostPath"]["path"], {}
    return None, one(objects, "ConfigMap", volume["configMap"]["name"])["data"]


def _container(
    raw: Object, pod: Object, volumes: dict[str, tuple[str | None, dict[str, str]]], *, node: str
) -> Container:
    env = {each["name"]: each["value"] if "value" in each else _field(each, node) for each in raw.get("env", ())}
    security = {**pod["securityContext"], **raw["securityContext"]}
    ports = {port["name"]: port["containerPort"] for port in raw.get("ports", ())}
    return Container(
        name=raw["name"],
        image=raw["image"],
        command=tuple(
            _REFERENCE.sub(lambda match: env.get(match[1], match[0]), word)
            for word in (*raw["command"], *raw.get("args", ()))
        ),
        env=env,
        mounts=tuple(
            Mount(mount["mountPath"], mount.get("readOnly", False), *volumes[mount["name"]])
            for mount in raw["volumeMounts"]
        ),
        user=security["runAsUser"],
        group=security["runAsGroup"],
        drop=tuple(security["capabilities"]["drop"]),
        add=tuple(security["capabilities"].get("add", ())),
        read_only_root=security["readOnlyRootFilesystem"],
        privilege_escalation=security["allowPrivilegeEscalation"],
        seccomp=security["seccompProfile"]["type"],
        probes={
            kind: (ports[raw[kind]["httpGet"]["port"]], raw[kind]["httpGet"]["path"])
            for kind in ("startupProbe", "livenessProbe", "readinessProbe")
            if kind in raw
        },
    )


def _field(variable: Object, node: str) -> str:
    assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}, variable
    return node
