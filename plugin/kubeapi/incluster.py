"""Access from within a pod, by its service account."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kubeapi import errors
from kubeapi.access import Access

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def is_available(environ: Mapping[str, str] = os.environ, service_account: Path = SERVICE_ACCOUNT) -> bool:
    """Tell whether this is a pod with a service account."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (service_account / "token").exists()


def load(environ: Mapping[str, str] = os.environ, service_account: Path = SERVICE_ACCOUNT) -> Access:
    """Return the access of this pod; AccessError where there is none."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise errors.AccessError("KUBERNETES_SERVICE_HOST is not set: this is no pod")
    token_file = service_account / "token"
    if not token_file.exists():
        raise errors.AccessError(f"{token_file} is missing: this pod has no service account's token")
    try:
        namespace = (service_account / "namespace").read_text().strip()
    except OSError:
        namespace = ""
    host = f"[{host}]" if ":" in host else host
    return Access(
        f"https://{host}:{port}",
        ca=service_account / "ca.crt",
        token_file=token_file,
        namespace=namespace or "default",
        context="in-cluster",
    )
