"""Pods as far as devices, processes and the scheduler are concerned, and reading them from Kubernetes YAML.

What a fake node cannot honor (volumes, probes, networks, CPU and memory) is ignored; what would make it lie, such as a
fraction of a device, is refused by name.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import itertools
import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from fakekubelet import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

DEFAULT_GRACE_PERIOD_S: Final = 30.0
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_LENGTH: Final = 63
_SUBDOMAIN: Final = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_SUBDOMAIN_LENGTH: Final = 253
_LIST_DEPTH: Final = 10
_SHOWN: Final = 60
"""How much of a wrong value an error repeats."""

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
    grace_period_s: float = DEFAULT_GRACE_PERIOD_S
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
        names = sorted(running.keys() | peak.keys())
        return {name: max(running.get(name, 0), peak.get(name, 0)) for name in names}


def _add(total: dict[str, int], limits: Mapping[str, int]) -> None:
    for resource, count in limits.items():
        total[resource] = total.get(resource, 0) + count


def simple(name: str, limits: Mapping[str, int] | None = None, **fields: Any) -> Pod:
    """Return a pod with one container named `main`; *fields* go to the container."""
    return Pod(name, (Container("main", limits or {}, **fields),))


def read(manifest: str | Path) -> list[Pod]:
    """Return the pods of a YAML text, or of the file at a path; raise PodSpecError, or OSError for no such file."""
    if isinstance(manifest, str):
        return parse(manifest)
    try:
        return parse(manifest.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise PodSpecError(f"{manifest}: not UTF-8: {error}") from error


def parse(text: str) -> list[Pod]:
    """Return the pods of a YAML text, in order; anything but pods (and lists of them) is refused."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise PodSpecError(f"not YAML: {error}") from error
    except RecursionError:
        raise PodSpecError("not YAML that can be read: too deeply nested") from None
    except ValueError as error:  # a date that is none, a number that is too long
        raise PodSpecError(f"not YAML: {error}") from error
    return [_pod(document) for document in _flat(documents, _LIST_DEPTH)]


def _flat(documents: Iterable[Any], depth: int) -> Iterable[dict[str, Any]]:
    for document in documents:
        if not isinstance(document, dict):
            raise PodSpecError(f"a manifest must be a mapping, not {_shown(document)}")
        kind = document.get("kind")
        if kind == "List":
            if not depth:
                raise PodSpecError(f"a List must not hold lists over more than {_LIST_DEPTH} levels")
            yield from _flat(_list("List", document, "items"), depth - 1)
        elif kind != "Pod":
            raise PodSpecError(f"kind {_shown(kind)} is not played here; only Pod is")
        else:
            yield document


def _pod(document: dict[str, Any]) -> Pod:
    metadata = _mapping("pod", document, "metadata")
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        raise PodSpecError("a pod needs metadata.name")
    where = f"pod {_checked('pod', 'metadata.name', name, _SUBDOMAIN, _SUBDOMAIN_LENGTH)}"
    spec = _mapping(where, document, "spec")
    init_containers = tuple(_container(where, part) for part in _list(where, spec, "initContainers", "spec."))
    containers = tuple(_container(where, part) for part in _list(where, spec, "containers", "spec."))
    if not containers:
        raise PodSpecError(f"{where}: spec.containers is empty")
    names = collections.Counter(container.name for container in (*init_containers, *containers))
    for twice in (name for name, count in names.items() if count > 1):
        raise PodSpecError(f"{where}: two containers are called {twice}")
    return Pod(
        name=name,
        containers=containers,
        init_containers=init_containers,
        namespace=_text(where, metadata, "namespace", "metadata.") or "default",
        node_name=_text(where, spec, "nodeName", "spec.") or None,
        grace_period_s=_seconds(where, spec, "terminationGracePeriodSeconds"),
        restart_policy=_policy(where, spec, "restartPolicy"),
    )


def _container(where: str, spec: Any) -> Container:
    if not isinstance(spec, dict):
        raise PodSpecError(f"{where}: a container must be a mapping, not {_shown(spec)}")
    name = spec.get("name")
    if not isinstance(name, str) or not name:
        raise PodSpecError(f"{where}: a container needs a name, not {_shown(name)}")
    where = f"{where}: container {_checked(where, 'a container', name, _LABEL, _LABEL_LENGTH)}"
    resources = _mapping(where, spec, "resources")
    limits = _extended(where, _mapping(where, resources, "limits", "resources."))
    for resource, count in _extended(where, _mapping(where, resources, "requests", "resources.")).items():
        if limits.get(resource) != count:
            raise PodSpecError(f"{where}: the request of {resource} must equal its limit")
    return Container(
        name=name,
        limits=limits,
        image=str(spec.get("image") or ""),
        command=_words(where, spec, "command"),
        args=_words(where, spec, "args"),
        env=tuple(_variable(where, entry) for entry in _list(where, spec, "env")),
        is_sidecar=spec.get("restartPolicy") == "Always",
    )


def _variable(where: str, entry: Any) -> tuple[str, str]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"]:
        raise PodSpecError(f"{where}: an env entry needs a name, not {_shown(entry)}")
    name = entry["name"]
    if "valueFrom" in entry:
        raise PodSpecError(f"{where}: env {name}: valueFrom is not played here")
    if "=" in name or "\0" in name:
        raise PodSpecError(f"{where}: env {name!r}: a name has no '=' and no NUL in it")
    return name, _scalar(f"{where}: env {name}", entry.get("value", ""))


def _words(where: str, spec: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(_scalar(f"{where}: {key}", word) for word in _list(where, spec, key))


def _scalar(where: str, value: Any) -> str:
    if value is None or isinstance(value, (dict, list)):
        raise PodSpecError(f"{where}: must be text, not {_shown(value)}")
    text = str(value)
    if "\0" in text:
        raise PodSpecError(f"{where}: a process cannot be given a NUL: {text!r}")
    return text


def _extended(where: str, quantities: Mapping[Any, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for resource, given in quantities.items():
        if not isinstance(resource, str):
            raise PodSpecError(f"{where}: a resource must have a name, not {_shown(resource)}")
        if "/" not in resource:
            continue  # cpu, memory and the like are not emulated
        try:
            counts[resource] = quantity.whole(given)
        except quantity.QuantityError as error:
            raise PodSpecError(f"{where}: {resource}: {error}") from error
    return counts


def _mapping(where: str, parent: Mapping[str, Any], key: str, prefix: str = "") -> dict[str, Any]:
    value = parent.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PodSpecError(f"{where}: {prefix}{key} must be a mapping, not {_shown(value)}")
    return value


def _list(where: str, parent: Mapping[str, Any], key: str, prefix: str = "") -> list[Any]:
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise PodSpecError(f"{where}: {prefix}{key} must be a list, not {_shown(value)}")
    return value


def _text(where: str, parent: Mapping[str, Any], key: str, prefix: str) -> str:
    value = parent.get(key)
    if value is not None and not isinstance(value, str):
        raise PodSpecError(f"{where}: {prefix}{key} must be text, not {_shown(value)}")
    return value or ""


def _seconds(where: str, spec: Mapping[str, Any], key: str) -> float:
    value = spec.get(key, DEFAULT_GRACE_PERIOD_S)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= quantity.LARGEST:
        raise PodSpecError(f"{where}: spec.{key} must be a number of seconds, not {_shown(value)}")
    return float(value)


def _policy(where: str, spec: Mapping[str, Any], key: str) -> RestartPolicy:
    value = spec.get(key) or RestartPolicy.ALWAYS
    try:
        return RestartPolicy(value)
    except ValueError:
        known = ", ".join(RestartPolicy)
        raise PodSpecError(f"{where}: spec.{key} must be one of {known}, not {_shown(value)}") from None


def _checked(where: str, what: str, name: str, rule: re.Pattern[str], length: int) -> str:
    if len(name) > length or not rule.fullmatch(name):
        raise PodSpecError(
            f"{where}: {what} {_shown(name)} must be lower case letters, digits and '-', at most {length}, "
            "with a letter or digit at both ends"
        )
    return name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
