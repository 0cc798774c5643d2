"""Tokens and certificates while they are used: files read again as they are renewed, commands asked again in time.

A pod's token is replaced on disk before it expires, and a server that does not take one (401) may take the one that
stands there now. So files are looked at every REREAD_S, and at once after a 401.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from kubeapi import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubeapi.access import Access, ExecPlugin, Pem

REREAD_S: Final = 10.0
"""How old what was read from a file may be."""

EXEC_TIMEOUT_S: Final = 60.0
EXPIRY_MARGIN_S: Final = 10.0
"""A command is asked again this long before what it said expires."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What a command printed."""

    token: str = field(default="", repr=False)
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    expires_at: float | None = None
    """Seconds since 1970; None: it is good until the server says 401."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What one request carries: a header for the token, and TLS with or without a certificate."""

    headers: dict[str, str] = field(repr=False)
    ssl: ssl.SSLContext | bool


class Credentials:
    """Says what to present to the server of `access` now. AccessError where that cannot be had."""

    def __init__(self, access: Access, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._access = access
        self._clock = clock
        self._presented: Presented | None = None
        self._read_at = 0.0
        self._tls: tuple[tuple[bytes | None, ...], ssl.SSLContext] | None = None
        self._issued: Issued | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> Presented:
        """Return what to present; reads files again when their time is over, and commands when theirs is."""
        presented = self._presented
        if presented is not None and not self._is_old():
            return presented
        async with self._lock:
            if self._presented is None or self._is_old():
                self._presented = await self._read()
                self._read_at = self._clock()
            return self._presented

    def refuse(self, presented: Presented) -> None:
        """Take note that the server did not know us by `presented`: the next one is read anew."""
        if presented is self._presented:
            self._presented, self._issued = None, None

    def _is_old(self) -> bool:
        if self._issued is not None:
            expires_at = self._issued.expires_at
            return expires_at is not None and time.time() > expires_at - EXPIRY_MARGIN_S
        return self._clock() - self._read_at > REREAD_S

    async def _read(self) -> Presented:
        access = self._access
        token, certificate, key = access.token, access.certificate, access.key
        if access.exec_plugin is not None:
            self._issued = await issue(access.exec_plugin, access)
            token = self._issued.token or token
            certificate, key = self._issued.certificate or certificate, self._issued.key or key
        if access.token_file is not None:
            token = _content(access.token_file).decode("utf-8", "replace").strip()
            if not token:
                raise errors.AccessError(f"{access.token_file}: is empty")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if not access.server.startswith("https://"):
            return Presented(headers, ssl=False)
        return Presented(headers, self._context(access.ca, certificate, key))

    def _context(self, ca: Pem | None, certificate: Pem | None, key: Pem | None) -> ssl.SSLContext:
        """Return a TLS context; the same one as before while the files say the same, so that connections are kept."""
        content = tuple(None if pem is None else _content(pem) for pem in (ca, certificate, key))
        if self._tls is None or self._tls[0] != content:
            self._tls = content, tls_context(*content, is_insecure=self._access.is_insecure)
        return self._tls[1]


def tls_context(
    ca: bytes | None, certificate: bytes | None, key: bytes | None, *, is_insecure: bool = False
) -> ssl.SSLContext:
    """Return a context that trusts `ca` (None: what the system trusts) and shows `certificate`; AccessError if bad."""
    try:
        context = ssl.create_default_context(cadata=None if ca is None else ca.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError, ValueError) as error:
        raise errors.AccessError(f"the certificate authority cannot be used: {error}") from error
    # Kubernetes' own authorities often lack what this asks of one.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if is_insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        # Python loads them from a file alone; this one is ours to read, and gone again at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + (key or b""))
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except (ssl.SSLError, OSError) as error:
                raise errors.AccessError(f"the client certificate cannot be used: {error}") from error
    return context


def _content(pem: Pem) -> bytes:
    if isinstance(pem, bytes):
        return pem
    try:
        return pem.read_bytes()
    except OSError as error:
        raise errors.AccessError(f"{pem}: cannot be read: {error.strerror}") from error


async def issue(plugin: ExecPlugin, access: Access) -> Issued:
    """Run `plugin` and return what it prints; AccessError says what it said."""
    spec: dict[str, Any] = {"interactive": plugin.is_interactive and sys.stdin is not None and sys.stdin.isatty()}
    if plugin.provides_cluster_info:
        spec["cluster"] = _cluster_info(access)
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            env={**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=None if spec["interactive"] else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if spec["interactive"] else asyncio.subprocess.PIPE,
        )
    except OSError as error:
        hint = f"; {plugin.install_hint}" if plugin.install_hint else ""
        raise errors.AccessError(f"{plugin.command}: cannot be run: {error.strerror}{hint}") from error
    try:
        async with asyncio.timeout(EXEC_TIMEOUT_S):
            printed, complaint = await process.communicate()
    except TimeoutError as error:
        raise errors.AccessError(f"{plugin.command}: no credentials within {EXEC_TIMEOUT_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = (complaint or b"").decode("utf-8", "replace").strip()
        raise errors.AccessError(f"{plugin.command}: ended with {process.returncode}{': ' if said else ''}{said}")
    return parse_issued(printed, command=plugin.command)


def _cluster_info(access: Access) -> dict[str, Any]:
    cluster: dict[str, Any] = {"server": access.server}
    if access.ca is not None:
        cluster["certificate-authority-data"] = base64.b64encode(_content(access.ca)).decode()
    if access.is_insecure:
        cluster["insecure-skip-tls-verify"] = True
    if access.tls_server_name:
        cluster["tls-server-name"] = access.tls_server_name
    return cluster


def parse_issued(printed: bytes, *, command: str) -> Issued:
    """Return what an ExecCredential says; AccessError for anything else."""
    try:
        status = json.loads(printed)["status"]
        token = status.get("token") or ""
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        expires = status.get("expirationTimestamp")
        expires_at = _timestamp(expires) if expires else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.AccessError(f"{command}: printed no ExecCredential with a status") from error
    if not token and not (certificate and key):
        raise errors.AccessError(f"{command}: printed neither a token nor a certificate with its key")
    return Issued(str(token), certificate and certificate.encode(), key and key.encode(), expires_at)


def _timestamp(text: str) -> float:
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
