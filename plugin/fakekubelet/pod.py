"""Pods as far as devices, processes and the scheduler are concerned, and reading them from Kubernetes YAML.

What a fake node cannot honor (volumes, probes, networks, CPU and memory) is ignored; what would make it lie, such as a
fraction of a device, is refused by name.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_uids = itertools.count(1)


def _next_uid() -> str:
    return f"00000000-0000-4000-8000-{next(_uids):012d}"


class RestartPolicy(enum.StrEnum):
    """`spec.restartPolicy`."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class PodSpecError(ValueError):
    """A manifest cannot be played; the text names the pod, the field and the rule."""


@dataclasses.dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod, init containers included."""

    name: str
    limits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Extended resources only; requests equal limits (contract SCH-2)."""
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    is_sidecar: bool = False
    """An init container with `restartPolicy: Always`: it keeps its devices (contract AL-4)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """A pod's specification; `uid` differs for every object made."""

    name: str
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    namespace: str = "default"
    node_name: str | None = None
    """Set by a manifest to bypass the scheduler."""
    grace_period_s: float = 30.0
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    uid: str = dataclasses.field(default_factory=_next_uid)

    def requests(self) -> dict[str, int]:
        """Return what the scheduler counts: sidecars and app containers together, or a larger init container."""
        running: dict[str, int] = {}
        peak: dict[str, int] = {}
        for container in self.init_containers:
            for resource, count in container.limits.items():
                peak[resource] = max(peak.get(resource, 0), running.get(resource, 0) + count)
            if container.is_sidecar:
                _add(running, container.limits)
        for container in self.containers:
            _add(running, container.limits)
        return {one: max(running.get(one, 0), peak.get(one, 0)) for one in sorted(running.keys() | peak.keys())}


def _add(total: dict[str, int], limits: Mapping[str, int]) -> None:
    for resource, count in limits.items():
        total[resource] = total.get(resource, 0) + count


def simple(name: str, limits: Mapping[str, int] | None = None, **fields: Any) -> Pod:
    """Return a pod with one container named `main`; *fields* go to the container."""
    return Pod(name, (Container("main", limits or {}, **fields),))


def parse(text: str) -> list[Pod]:
    """Return the pods of a YAML text, in order; anything but pods (and lists of them) is refused."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise PodSpecError(f"not YAML: {error}") from error
    return [_pod(document) for document in _flat(documents)]


def _flat(documents: Iterable[Any]) -> Iterable[dict[str, Any]]:
    for document in documents:
        if not isinstance(document, dict):
            raise PodSpecError(f"a manifest must be a mapping, not {document!r}")
        if document.get("kind") == "List":
            yield from _flat(document.get("items") or [])
        elif document.get("kind") != "Pod":
            raise PodSpecError(f"kind {document.get('kind')!r} is not played here; only Pod is")
        else:
            yield document


def _pod(document: dict[str, Any]) -> Pod:
    metadata = document.get("metadata") or {}
    spec = document.get("spec") or {}
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        raise PodSpecError("a pod needs metadata.name")
    containers = tuple(_container(name, one) for one in spec.get("containers") or [])
    if not containers:
        raise PodSpecError(f"pod {name}: spec.containers is empty")
    return Pod(
        name=name,
        containers=containers,
        init_containers=tuple(_container(name, one) for one in spec.get("initContainers") or []),
        namespace=metadata.get("namespace") or "default",
        node_name=spec.get("nodeName"),
        grace_period_s=float(spec.get("terminationGracePeriodSeconds", 30)),
        restart_policy=RestartPolicy(spec.get("restartPolicy", "Always")),
    )


def _container(pod_name: str, spec: dict[str, Any]) -> Container:
    where = f"pod {pod_name}: container {spec.get('name')}"
    resources = spec.get("resources") or {}
    limits = _extended(where, resources.get("limits") or {})
    for resource, count in _extended(where, resources.get("requests") or {}).items():
        if limits.get(resource) != count:
            raise PodSpecError(f"{where}: the request of {resource} must equal its limit")
    for entry in spec.get("env") or []:
        if "valueFrom" in entry:
            raise PodSpecError(f"{where}: env {entry.get('name')}: valueFrom is not played here")
    return Container(
        name=str(spec.get("name")),
        limits=limits,
        image=str(spec.get("image", "")),
        command=tuple(map(str, spec.get("command") or [])),
        args=tuple(map(str, spec.get("args") or [])),
        env=tuple((str(entry["name"]), str(entry.get("value", ""))) for entry in spec.get("env") or []),
        is_sidecar=spec.get("restartPolicy") == "Always",
    )


def _extended(where: str, quantities: Mapping[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for resource, quantity in quantities.items():
        if "/" not in resource:
            continue  # cpu, memory and the like are not emulated
        text = str(quantity)
        if not text.isdecimal():
            raise PodSpecError(f"{where}: {resource}: {text!r} must be a whole number")
        counts[resource] = int(text)
    return counts
