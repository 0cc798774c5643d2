"""Access from kubeconfig files, merged as kubectl merges them: the first file that says something wins."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubeapi import errors, incluster
from kubeapi.access import Access, ExecPlugin, Pem

if TYPE_CHECKING:
    from collections.abc import Mapping

Section = dict[str, Any]


def find(kubeconfig: str = "", *, context: str = "", environ: Mapping[str, str] = os.environ) -> Access:
    """Return the access that kubectl would take: a file that was named, KUBECONFIG, ~/.kube/config, the pod's own.

    AccessError says what is missing or wrong.
    """
    if kubeconfig:
        return load([Path(kubeconfig).expanduser()], context=context)
    if listed := [Path(part) for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]:
        present = [path for path in listed if path.exists()]
        if not present:
            raise errors.AccessError(f"KUBECONFIG={environ['KUBECONFIG']}: no such file")
        return load(present, context=context)
    default = Path(environ.get("HOME") or "~").expanduser() / ".kube" / "config"
    if default.exists():
        return load([default], context=context)
    if incluster.is_available(environ):
        if context:
            raise errors.AccessError(f"context {context!r}: a pod's service account has no contexts")
        return incluster.load(environ)
    raise errors.AccessError(f"no way to a cluster: no KUBECONFIG, no {default}, and no service account of a pod")


def load(paths: list[Path], *, context: str = "") -> Access:
    """Return the access of `context` (none: the current one) in `paths`; AccessError names the file and the fault."""
    merged: dict[str, dict[str, tuple[Section, Path]]] = {"clusters": {}, "users": {}, "contexts": {}}
    current = ""
    for path in paths:
        document = _read(path)
        current = current or str(document.get("current-context") or "")
        for kind, found in merged.items():
            for name, section in _named(document, kind, path):
                found.setdefault(name, (section, path))
    where = ", ".join(str(path) for path in paths)
    name = context or current
    if not name:
        raise errors.AccessError(f"{where}: has no current-context; name one")
    if name not in merged["contexts"]:
        known = ", ".join(sorted(merged["contexts"])) or "none"
        raise errors.AccessError(f"{where}: has no context {name!r}; it has {known}")
    chosen, _ = merged["contexts"][name]
    cluster, cluster_path = _lookup(merged, "clusters", str(chosen.get("cluster") or ""), name, where)
    user: Section = {}
    user_path = paths[0]
    if chosen.get("user"):
        user, user_path = _lookup(merged, "users", str(chosen["user"]), name, where)
    return _access(cluster, cluster_path, user, user_path, namespace=chosen.get("namespace"), context=name)


def _read(path: Path) -> Section:
    import yaml  # not in the time of a start that needs no kubeconfig

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise errors.AccessError(f"{path}: cannot be read: {said}") from error
    except yaml.YAMLError as error:
        raise errors.AccessError(f"{path}: is no YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise errors.AccessError(f"{path}: is no kubeconfig")
    return document


def _named(document: Section, kind: str, path: Path) -> list[tuple[str, Section]]:
    entries = document.get(kind) or []
    singular = kind.removesuffix("s")
    try:
        return [(str(entry["name"]), dict(entry.get(singular) or {})) for entry in entries]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise errors.AccessError(f"{path}: {kind} must be a list of a name and a {singular} each") from error


def _lookup(
    merged: dict[str, dict[str, tuple[Section, Path]]], kind: str, name: str, context: str, where: str
) -> tuple[Section, Path]:
    if name not in merged[kind]:
        raise errors.AccessError(
            f"{where}: context {context!r} wants {kind.removesuffix('s')} {name!r}, which is missing"
        )
    return merged[kind][name]


def _access(
    cluster: Section, cluster_path: Path, user: Section, user_path: Path, *, namespace: object, context: str
) -> Access:
    server = str(cluster.get("server") or "")
    if not server.startswith(("https://", "http://")):
        raise errors.AccessError(f"{cluster_path}: server {server!r} must be an http or https URL")
    for key in ("auth-provider", "username"):
        if user.get(key):
            raise errors.AccessError(f"{user_path}: {key} is no longer supported by Kubernetes; use exec or a token")
    token_file = user.get("tokenFile")
    return Access(
        server.rstrip("/"),
        ca=_pem(cluster, "certificate-authority", cluster_path),
        is_insecure=cluster.get("insecure-skip-tls-verify") is True,
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy_url=str(cluster.get("proxy-url") or ""),
        certificate=_pem(user, "client-certificate", user_path),
        key=_pem(user, "client-key", user_path),
        token=str(user.get("token") or ""),
        token_file=_beside(user_path, token_file) if token_file else None,
        exec_plugin=_exec_plugin(user["exec"], user_path) if user.get("exec") else None,
        namespace=str(namespace or "default"),
        context=context,
    )


def _pem(section: Section, key: str, path: Path) -> Pem | None:
    """Return the data if they are there, else the file; relative to the kubeconfig that names it."""
    if data := section.get(f"{key}-data"):
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error as error:
            raise errors.AccessError(f"{path}: {key}-data is no base64") from error
    return _beside(path, section[key]) if section.get(key) else None


def _beside(path: Path, name: object) -> Path:
    return path.parent / str(name)


def _exec_plugin(section: object, path: Path) -> ExecPlugin:
    if not isinstance(section, dict) or not section.get("command"):
        raise errors.AccessError(f"{path}: exec has no command")
    command = str(section["command"])
    if "/" in command:
        command = str(_beside(path, command))
    try:
        env = tuple((str(entry["name"]), str(entry["value"])) for entry in section.get("env") or [])
        args = tuple(str(argument) for argument in section.get("args") or [])
    except (TypeError, KeyError) as error:
        raise errors.AccessError(f"{path}: env of exec must be a list of a name and a value each") from error
    return ExecPlugin(
        command,
        args,
        env,
        api_version=str(section.get("apiVersion") or ""),
        install_hint=str(section.get("installHint") or ""),
        provides_cluster_info=section.get("provideClusterInfo") is True,
        is_interactive=section.get("interactiveMode", "IfAvailable") != "Never",
    )
