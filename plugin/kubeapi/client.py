"""Requests to an API server: one at a time, tried again where that does no harm, in lanes of connections.

    async with Client(kubeconfig.find()) as client:
        node = await client.get(NODES, "kind-worker")

429, 5xx and lost connections are tried again for `retry_for_s`, with the server's own Retry-After where it gives one. A
request that may have had its effect is sent twice only if twice is as good as once: so `create` of a generated name is
not. A repeated `update` can find its own first try (409), a repeated `create` its own object (AlreadyExists), and a
repeated `delete` nothing (404): the caller reads and sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from kubeapi import backoff, errors
from kubeapi.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from types import TracebackType

    from kubeapi.access import Access
    from kubeapi.credentials import Presented
    from kubeapi.resources import Object, Resource

CONNECTIONS: Final = 8
"""Requests under way at once in a lane; what is more waits its turn."""

TIMEOUT_S: Final = 30.0
RETRY_FOR_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 5.0
KEEP_ALIVE_S: Final = 75.0
"""An API server closes a connection after 90 s without a request; ours are closed first."""

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0


class Patch(StrEnum):
    """How a patch is to be understood; the values are the content types."""

    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    JSON = "application/json-patch+json"


class Client:
    """Talks to the server of `access` while it is entered. A watch does not count among the `connections`."""

    def __init__(
        self,
        access: Access,
        *,
        connections: int = CONNECTIONS,
        timeout_s: float = TIMEOUT_S,
        retry_for_s: float = RETRY_FOR_S,
        user_agent: str = "fakehw",
        credentials: Credentials | None = None,
    ) -> None:
        self.access = access
        self._connections = connections
        self._timeout_s = timeout_s
        self._retry_for_s = retry_for_s
        self._user_agent = user_agent
        self._credentials = credentials or Credentials(access)
        self._requests: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None

    def lane(self, *, connections: int, timeout_s: float | None = None, retry_for_s: float | None = None) -> Client:
        """Return a client of the same server and credentials with connections of its own, to be entered by itself.

        What must not wait behind other requests (leases) goes there.
        """
        return Client(
            self.access,
            connections=connections,
            timeout_s=self._timeout_s if timeout_s is None else timeout_s,
            retry_for_s=self._retry_for_s if retry_for_s is None else retry_for_s,
            user_agent=self._user_agent,
            credentials=self._credentials,
        )

    async def __aenter__(self) -> Client:
        self._requests = self._session(self._connections)
        self._streams = self._session(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        for session in (self._requests, self._streams):
            assert session is not None
            await session.close()

    def _session(self, connections: int) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEP_ALIVE_S),
            headers={"Accept": "application/json", "User-Agent": self._user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    # What there is to ask.

    async def get(
        self, resource: Resource, name: str, *, namespace: str = "", subresource: str = "", **how: Any
    ) -> Object:
        """Return one object; NotFoundError if there is none. `how`: `retry_for_s`, `timeout_s`, as everywhere."""
        return await self.request("GET", resource.path(name, namespace=namespace, subresource=subresource), **how)

    async def list(
        self, resource: Resource, *, namespace: str = "", field_selector: str = "", label_selector: str = "", **how: Any
    ) -> Object:
        """Return the list object: `items`, and `metadata.resourceVersion` to watch from."""
        parameters = selectors(field_selector, label_selector)
        return await self.request("GET", resource.path(namespace=namespace), parameters=parameters, **how)

    async def create(
        self,
        resource: Resource,
        body: Object,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        **how: Any,
    ) -> Object:
        """Create an object, or a subresource such as `eviction` or `binding` of the object `name`."""
        path = resource.path(name, namespace=namespace, subresource=subresource)
        is_repeatable = not subresource and bool(body.get("metadata", {}).get("name"))
        body = body if subresource else resource.complete(body)
        return await self.request("POST", path, body=body, is_repeatable=is_repeatable, **how)

    async def update(self, resource: Resource, body: Object, *, subresource: str = "", **how: Any) -> Object:
        """Replace an object by `body`; ConflictError if its resourceVersion is not the present one."""
        metadata = body["metadata"]
        path = resource.path(metadata["name"], namespace=metadata.get("namespace", ""), subresource=subresource)
        return await self.request("PUT", path, body=resource.complete(body), **how)

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Object | Sequence[Object],
        *,
        kind: Patch = Patch.MERGE,
        namespace: str = "",
        subresource: str = "",
        **how: Any,
    ) -> Object:
        """Change parts of an object."""
        path = resource.path(name, namespace=namespace, subresource=subresource)
        is_repeatable = kind is not Patch.JSON  # which may append
        return await self.request("PATCH", path, body=body, content_type=kind, is_repeatable=is_repeatable, **how)

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        grace_s: int | None = None,
        propagation: str = "",
        **how: Any,
    ) -> Object:
        """Delete an object, with `uid` or `resource_version` only if it is still that one (else ConflictError)."""
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        body = _delete_options({key: value for key, value in preconditions.items() if value}, grace_s, propagation)
        return await self.request("DELETE", resource.path(name, namespace=namespace), body=body, **how)

    async def delete_collection(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        field_selector: str = "",
        label_selector: str = "",
        grace_s: int | None = None,
        **how: Any,
    ) -> Object:
        """Delete all that the selectors name; ValueError without one, for that would be everything."""
        parameters = selectors(field_selector, label_selector)
        if not parameters:
            raise ValueError("a collection is not deleted without a selector")
        body = _delete_options({}, grace_s, "")
        return await self.request("DELETE", resource.path(namespace=namespace), parameters=parameters, body=body, **how)

    async def version(self, **how: Any) -> Object:
        """Return what the server says of itself: `major`, `minor`, `gitVersion`."""
        return await self.request("GET", "/version", **how)

    # How it is asked.

    async def request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        is_repeatable: bool = True,
        retry_for_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Object:
        """Send a request until it is answered; return the answer, or raise an ApiError."""
        deadline = time.monotonic() + (self._retry_for_s if retry_for_s is None else retry_for_s)
        pauses = backoff.pauses(first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S)
        timeout = aiohttp.ClientTimeout(
            total=self._timeout_s if timeout_s is None else timeout_s, sock_connect=CONNECT_TIMEOUT_S
        )
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        was_refused = False
        while True:
            try:
                async with self._sent(
                    self._requests,
                    method,
                    path,
                    parameters=parameters,
                    data=data,
                    content_type=content_type,
                    timeout=timeout,
                ) as response:
                    return _object(await response.read())
            except _TokenRefusedError as refused:
                if was_refused:
                    raise refused.error from None
                was_refused = True
            except errors.UnavailableError as error:
                pause = next(pauses) if error.retry_after_s is None else error.retry_after_s
                if (error.may_have_acted and not is_repeatable) or time.monotonic() + pause > deadline:
                    raise
                await asyncio.sleep(pause)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, parameters: Mapping[str, str], *, silence_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch: yields its lines. UnavailableError once it breaks, or says nothing for `silence_s`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=silence_s)
        try:
            async with self._sent(self._streams, "GET", path, parameters=parameters, timeout=timeout) as response:
                yield _lines(response)
        except _TokenRefusedError as refused:
            raise refused.error from None

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, parameters: Sequence[tuple[str, str]], *, protocols: Sequence[str]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket, as exec and port-forward want one. A refusal is an ApiError, with no words of its own.

        What is wrong later is aiohttp's: a connection that ended says so by its messages.
        """
        assert self._streams is not None, "enter the client first"
        presented = await self._credentials.current()
        try:
            socket = await self._streams.ws_connect(
                self.access.server + path,
                params=list(parameters),
                protocols=protocols,
                headers={**presented.headers, "Accept": "*/*"},  # JSON alone is refused (406)
                ssl=presented.ssl,
                server_hostname=self.access.tls_server_name or None,
                proxy=self.access.proxy_url or None,
                max_msg_size=0,  # what a process prints comes as it is read there
                timeout=aiohttp.ClientWSTimeout(ws_close=CONNECT_TIMEOUT_S),
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == 401:
                self._credentials.refuse(presented)
            raise errors.from_status({}, code=error.status) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.UnavailableError(f"{self.access.server}: {_text(error)}", may_have_acted=False) from error
        async with socket:
            yield socket

    @contextlib.asynccontextmanager
    async def _sent(
        self,
        session: aiohttp.ClientSession | None,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
        data: bytes | None = None,
        content_type: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request and yield its answer if that is a success; everything else is an ApiError."""
        assert session is not None, "enter the client first"
        presented = await self._credentials.current()
        headers = {**presented.headers, "Content-Type": content_type} if data is not None else presented.headers
        try:
            async with session.request(
                method,
                self.access.server + path,
                params=parameters,
                data=data,
                headers=headers,
                ssl=presented.ssl,
                server_hostname=self.access.tls_server_name or None,
                proxy=self.access.proxy_url or None,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    raise await self._failure(response, presented)
                yield response
        except aiohttp.ClientConnectorCertificateError as error:
            raise errors.AccessError(f"{self.access.server}: {error.certificate_error}") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise errors.UnavailableError(f"{self.access.server}: {_text(error)}", may_have_acted=False) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise errors.AccessError(f"{self.access.server}: is no URL of a server") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.UnavailableError(f"{self.access.server}: {_text(error)}") from error

    async def _failure(self, response: aiohttp.ClientResponse, presented: Presented) -> Exception:
        content = await response.read()
        try:
            status = json.loads(content)
        except ValueError:
            status = None
        if not isinstance(status, dict):
            status = {"message": content[:200].decode("utf-8", "replace").strip()}
        error = errors.from_status(status, code=response.status, retry_after=response.headers.get("Retry-After"))
        if isinstance(error, errors.UnauthorizedError):
            self._credentials.refuse(presented)
            return _TokenRefusedError(error)
        return error


class _TokenRefusedError(Exception):
    """401: what we presented may be stale. Never leaves this module."""

    def __init__(self, error: errors.UnauthorizedError) -> None:
        super().__init__(str(error))
        self.error = error


def selectors(field_selector: str, label_selector: str) -> dict[str, str]:
    """Return the parameters for what is to be chosen."""
    chosen = {"fieldSelector": field_selector, "labelSelector": label_selector}
    return {key: value for key, value in chosen.items() if value}


def _delete_options(preconditions: dict[str, str], grace_s: int | None, propagation: str) -> Object | None:
    options: Object = {}
    if preconditions:
        options["preconditions"] = preconditions
    if grace_s is not None:
        options["gracePeriodSeconds"] = grace_s
    if propagation:
        options["propagationPolicy"] = propagation
    return {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None


def _object(content: bytes) -> Object:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise errors.UnavailableError(f"the server answered no object: {content[:80]!r}")
    return found


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of an answer, of any length: a Node object may pass what aiohttp takes for a line."""
    pending: list[bytes] = []
    async for chunk in response.content.iter_any():
        *whole, rest = chunk.split(b"\n")
        for end in whole:
            line = b"".join((*pending, end))
            pending.clear()
            if line:
                yield line
        if rest:
            pending.append(rest)


def _text(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error  # the error's own text names objects of ours
        return cause.strerror or str(cause) or type(cause).__name__
    return str(error).strip() or type(error).__name__
