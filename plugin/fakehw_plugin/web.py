"""/metrics, /healthz and /readyz over HTTP/1.1, and nothing else.

Three constant paths need no framework, and in the one event loop they need no locks. A request has 4 KiB and 5 s, and
its answer 1 s more to be read. Whoever says nothing makes room for the next one, so that nobody who reaches the port
keeps a probe out. Nothing that a client sends is stored or echoed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fakehw_plugin import errors, logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_NO_SOCKET: Final = "no socket could be made"
MAX_REQUEST_BYTES: Final = 4096
REQUEST_TIMEOUT_S: Final = 5.0
FLUSH_TIMEOUT_S: Final = 1.0
MAX_CONNECTIONS: Final = 64
_MAX_DISCARDED: Final = 1 << 20
"""Bytes of a request that are read and thrown away after its answer: unread, they would cut the answer off."""

_END: Final = "\r\n"

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path answers."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    encoding: str = ""
    """How the body is compressed; empty: it is not."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """A page that depends on what a client accepts: `make` is given its Accept, and whether it takes gzip."""

    make: Callable[[str, bool], Answer]

    def __call__(self) -> Answer:
        """Return the page for a client that says nothing of this."""
        return self.make("", False)


class WebServer:
    """Serves `pages` on `address` while it is entered; EndpointError if that cannot be bound."""

    def __init__(self, address: tuple[str, int], pages: dict[str, Callable[[], Answer]]) -> None:
        self._address = address
        self._pages = pages
        self._connections: dict[asyncio.Task[None], str] = {}
        """Who is connected, by the address of the client; the longest first."""
        self._server: asyncio.Server | None = None
        self._log = logs.get_logger()

    @property
    def port(self) -> int:
        """Return the port that is served, also where 0 was asked for."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> WebServer:
        host, port = self._address
        try:
            self._server = await asyncio.start_server(self._accept, host or None, port, limit=MAX_REQUEST_BYTES)
        except OSError as error:
            # Where asyncio can make a socket for no address, it says so in words of its own from Python 3.13 on.
            reason = error.strerror or _NO_SOCKET
            raise errors.EndpointError(f"cannot serve HTTP on {host}:{port}: {reason}") from error
        if not self._server.sockets:  # before, it passed over such an address
            self._server.close()
            raise errors.EndpointError(f"cannot serve HTTP on {host}:{port}: {_NO_SOCKET}")
        self._log.info("web_serving", address=host or "*", port=self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        peer = writer.get_extra_info("peername")
        self._make_room()
        self._connections[task] = str(peer[0]) if peer else ""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                answer, with_body = await self._answer(reader)
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._send(writer, answer, with_body=with_body)
                await self._discard(reader)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # a client that is slow or gone gets nothing, and is not worth a log line
        except asyncio.CancelledError:
            pass  # room for others, or the end; asyncio would log it as an unhandled error of this callback
        finally:
            self._connections.pop(task, None)
            # What a client does not take would keep the connection for ever.
            writer.transport.abort()

    def _make_room(self) -> None:
        """Drop the oldest connection of the client that has the most, if there are too many."""
        if len(self._connections) < MAX_CONNECTIONS:
            return
        ((client, _),) = Counter(self._connections.values()).most_common(1)
        oldest = next(task for task, of_client in self._connections.items() if of_client == client)
        del self._connections[oldest]
        oldest.cancel()

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, answer: Answer, *, with_body: bool) -> None:
        head = (
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
            f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
            f"{f'Content-Encoding: {answer.encoding}{_END}' if answer.encoding else ''}"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits until all of it is sent
        writer.write(head.encode() + (answer.body if with_body else b""))
        await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    @staticmethod
    async def _discard(reader: asyncio.StreamReader) -> None:
        """Read to the end of what the client sends, within bounds: closed earlier, its answer would be lost."""
        discarded = 0
        while discarded < _MAX_DISCARDED and (piece := await reader.read(1 << 16)):
            discarded += len(piece)

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[Answer, bool]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Answer(431, b"the request is too large\n"), True
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        target, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return Answer(400, b"not an HTTP/1 request\n"), True
        page = self._pages.get(target.partition(b"?")[0].decode("ascii", "replace"))
        if page is None:
            return Answer(404, b"/metrics, /healthz and /readyz are all there is\n"), True
        if method not in (b"GET", b"HEAD"):
            return Answer(405, b"GET or HEAD\n"), True
        if isinstance(page, Negotiated):
            return page.make(_header(head, b"accept"), "gzip" in _header(head, b"accept-encoding")), method == b"GET"
        return page(), method == b"GET"


def _header(head: bytes, name: bytes) -> str:
    """Return the value of a header of a request; "" where there is none."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("ascii", "replace")
    return ""
