"""Where an API server is and who we are there: one value, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

Pem = Path | bytes
"""A certificate or key: where it stands (it may be renewed there), or itself."""


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A command that prints credentials, as kubectl's `exec` users have it."""

    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    provides_cluster_info: bool = False
    is_interactive: bool = False
    """Lend it the terminal: it may ask for a password."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one API server. `server` is a URL, as a rule https://host:port."""

    server: str
    ca: Pem | None = None
    """None: what the system trusts."""
    is_insecure: bool = False
    """Believe any certificate."""
    tls_server_name: str = ""
    proxy_url: str = ""
    certificate: Pem | None = None
    key: Pem | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    """Read again and again: a pod's token is replaced about every hour."""
    exec_plugin: ExecPlugin | None = None
    namespace: str = "default"
    context: str = ""
    """The kubeconfig's name for all this."""
