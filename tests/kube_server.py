"""An API server of a few lines that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from kubeapi.access import Access

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class KubeServer:
    """Takes its answers in turn; the last one stands for all that follow."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    @property
    def access(self) -> Access:
        return Access(self.url)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        body = json.loads(content) if content else None
        self.asked.append(Asked(request.method, request.path, dict(request.query), dict(request.headers), body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)


def says(status: int = 200, body: Any = None, **headers: str) -> Answer:
    """Answer with JSON."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({} if body is None else body, status=status, headers=headers)

    return answer


def fails(status: int, message: str = "no", reason: str = "", **headers: str) -> Answer:
    return says(status, {"kind": "Status", "code": status, "message": message, "reason": reason}, **headers)


async def breaks_off(request: web.Request) -> web.Response:
    """Close the connection in the middle of the answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def hangs_until(event: asyncio.Event) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        await event.wait()
        return web.json_response({})

    return answer


def watch(*events: dict[str, Any], until: asyncio.Event | None = None, breaks: bool = False) -> Answer:
    """Answer with the lines of a watch; it stays open until the event, or ends, or breaks off."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(json.dumps(event).encode() + b"\n")
        if until is not None:
            await until.wait()
        if breaks:
            assert request.transport is not None
            request.transport.abort()
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    return answer


@contextlib.asynccontextmanager
async def kube_server(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[KubeServer]:
    server = KubeServer()
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()
