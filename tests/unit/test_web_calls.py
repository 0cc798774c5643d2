"""HTTP for three pages: the whole of every answer, the bounds of every wait, who makes room; in no time."""

from __future__ import annotations

import asyncio
import errno
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import errors, web
from tests.timeless import elapsed, settled, timeless, until

if TYPE_CHECKING:
    from collections.abc import Callable

HEALTHZ = b"GET /healthz HTTP/1.1\r\n\r\n"


def whole(status: str, body: bytes, *, length: int | None = None, more: str = "", kind: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind or 'text/plain; charset=utf-8'}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n{more}"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    ).encode() + body


def negotiated(accept: str, is_gzipped: bool) -> web.Answer:
    body = f"{accept!r} {is_gzipped}".encode()
    return web.Answer(200, body, "text/x", "gzip") if is_gzipped else web.Answer(200, body, "text/x")


PAGES: dict[str, Callable[[], web.Answer]] = {
    "/healthz": lambda: web.Answer(200, b"ok\n"),
    "/readyz": lambda: web.Answer(503, b"[-] tree\n"),
    "/metrics": web.Negotiated(negotiated),
}


@pytest.fixture
def pages() -> dict[str, Callable[[], web.Answer]]:
    return PAGES


class Client:
    """One connection of one client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, server: web.WebServer, address: str = "127.0.0.1") -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", server.port, local_addr=(address, 0)))

    def say(self, text: bytes) -> None:
        self.writer.write(text)

    async def hear(self) -> bytes:
        """Return all that comes until the server is done, be it cut off."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def close(self) -> None:
        self.writer.close()


def serving(**more: Any) -> web.WebServer:
    return web.WebServer(("127.0.0.1", 0), PAGES, **more)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        pytest.param(HEALTHZ, whole("200 OK", b"ok\n"), id="a page"),
        pytest.param(b"GET /readyz HTTP/1.1\r\n\r\n", whole("503 Service Unavailable", b"[-] tree\n"), id="not ready"),
        pytest.param(b"HEAD /healthz HTTP/1.0\r\n\r\n", whole("200 OK", b"", length=3), id="its head"),
        pytest.param(b"GET /healthz?x=1 HTTP/1.1\r\n\r\n", whole("200 OK", b"ok\n"), id="with a query"),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\n\r\n", whole("200 OK", b"'' False", kind="text/x"), id="no word of what it takes"
        ),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: x\r\nACCEPT :  a, b;q=1 \r\nAccept-Encoding: deflate, gzip\r\n\r\n",
            whole("200 OK", b"'a, b;q=1' True", kind="text/x", more="Content-Encoding: gzip\r\n"),
            id="what it takes",
        ),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nAccept: a\r\n\r\n",
            whole("200 OK", b"'a' False", kind="text/x"),
            id="only what it takes",
        ),
        pytest.param(
            b"HEAD /metrics HTTP/1.1\r\n\r\n", whole("200 OK", b"", length=8, kind="text/x"), id="the head of a choice"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\n\r\n",
            whole("404 Not Found", b"/metrics, /healthz and /readyz are all there is\n"),
            id="another page",
        ),
        pytest.param(
            b"HEAD / HTTP/1.1\r\n\r\n",
            whole("404 Not Found", b"/metrics, /healthz and /readyz are all there is\n"),
            id="its head",
        ),
        pytest.param(
            b"DELETE /healthz HTTP/1.1\r\n\r\n", whole("405 Method Not Allowed", b"GET or HEAD\n"), id="another method"
        ),
        pytest.param(
            b"GET /healthz HTTP/2\r\n\r\n", whole("400 Bad Request", b"not an HTTP/1 request\n"), id="another HTTP"
        ),
        pytest.param(b"hello\r\n\r\n", whole("400 Bad Request", b"not an HTTP/1 request\n"), id="no HTTP"),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 4096 + b"\r\n\r\n",
            whole("431 Request Header Fields Too Large", b"the request is too large\n"),
            id="too much",
        ),
    ],
)
@timeless
async def test_the_whole_of_every_answer(request_: bytes, answer: bytes) -> None:
    async with serving() as server:
        client = await Client.of(server)
        client.say(request_)
        await settled()
        client.writer.write_eof()
        assert await client.hear() == answer
        assert elapsed() == 0
        client.close()


@timeless
async def test_a_request_of_four_kibibytes_is_read() -> None:
    async with serving() as server:
        client = await Client.of(server)
        start = b"GET /healthz HTTP/1.1\r\nX: "
        client.say(start + b"x" * (4096 - len(start)) + b"\r\n\r\n")
        client.writer.write_eof()
        assert (await client.hear()).startswith(b"HTTP/1.1 200 OK\r\n")
        client.close()


@timeless
async def test_a_request_has_five_seconds() -> None:
    async with serving() as server:
        slow, slower = await Client.of(server), await Client.of(server)
        slow.say(b"GET /healthz HT")
        slower.say(b"GET /healthz HT")
        await asyncio.sleep(4.9)
        slow.say(b"TP/1.1\r\n\r\n")
        slow.writer.write_eof()
        assert (await slow.hear()).startswith(b"HTTP/1.1 200 OK")
        assert await slower.hear() == b""
        assert elapsed() == 5
        for client in (slow, slower):
            client.close()


@timeless
async def test_an_answer_ends_without_the_client_having_to() -> None:
    async with serving() as server:
        client = await Client.of(server)
        client.say(HEALTHZ)
        assert (await client.hear()).endswith(b"ok\n")
        assert elapsed() == 0
        client.close()


@timeless
async def test_a_long_answer_arrives_whole_where_the_client_has_closed_its_side() -> None:
    body = b"x" * (1 << 22)
    async with web.WebServer(("127.0.0.1", 0), {"/metrics": lambda: web.Answer(200, body)}) as server:
        client = await Client.of(server)
        client.say(b"GET /metrics HTTP/1.1\r\n\r\n")
        client.writer.write_eof()
        assert (await client.hear()).endswith(body)
        client.close()


@timeless
async def test_a_client_that_is_answered_and_sends_on_has_one_second() -> None:
    async with serving() as server:
        client = await Client.of(server)
        client.say(HEALTHZ)
        await settled()
        assert len(server._connections) == 1
        await asyncio.sleep(0.9)
        assert len(server._connections) == 1, "it may still be sending"
        await until(lambda: not server._connections)
        assert elapsed() == 1
        client.close()


@timeless
async def test_what_a_client_sends_after_its_request_is_thrown_away_up_to_a_mebibyte() -> None:
    async with serving() as server:
        client = await Client.of(server)
        client.say(HEALTHZ)
        await settled()
        for _ in range(15):
            client.say(b"x" * (1 << 16))
            await settled()
        assert len(server._connections) == 1
        client.say(b"x" * (1 << 16))
        await until(lambda: not server._connections)
        assert elapsed() == 0
        client.close()


@timeless
async def test_a_client_that_does_not_take_its_answer_has_one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"/metrics": lambda: web.Answer(200, b"x" * (1 << 24))}
    async with web.WebServer(("127.0.0.1", 0), pages) as server:
        client = await Client.of(server)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a socket's
        client.say(b"GET /metrics HTTP/1.1\r\n\r\n")
        await until(lambda: not server._connections)
        assert elapsed() == 1
        client.close()


@timeless
async def test_one_that_goes_before_it_has_asked_is_forgotten() -> None:
    async with serving() as server:
        client = await Client.of(server)
        client.say(b"GET")
        await settled()
        client.close()
        await settled()
        assert not server._connections


@timeless
async def test_the_oldest_of_whoever_has_most_makes_room_for_the_sixty_fifth() -> None:
    async with web.WebServer(("0.0.0.0", 0), PAGES) as server:
        patient = [await Client.of(server) for _ in range(10)]
        flood = [await Client.of(server, "127.0.0.2") for _ in range(54)]
        await settled()
        assert len(server._connections) == 64
        assert sorted(set(server._connections.values())) == ["127.0.0.1", "127.0.0.2"]

        flood += [await Client.of(server, "127.0.0.2") for _ in range(3)]
        await settled()

        assert len(server._connections) == 64
        assert [await client.hear() for client in flood[:3]] == [b""] * 3
        for client in (patient[0], flood[3], flood[-1]):
            client.say(HEALTHZ)
            client.writer.write_eof()
            assert (await client.hear()).startswith(b"HTTP/1.1 200 OK")
        assert elapsed() == 0
        for client in (*patient, *flood):
            client.close()


@timeless
async def test_closing_ends_the_port_and_whoever_is_connected() -> None:
    async with serving() as server:
        client = await Client.of(server)
        await settled()
        port = server.port
    assert not server._connections
    assert elapsed() == 0, "nobody is waited for"
    assert await client.hear() == b""
    client.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("", "*")])
async def test_where_it_serves_is_said(host: str, shown: str) -> None:
    with capture_logs() as lines:
        async with web.WebServer((host, 0), PAGES) as server:
            port = server.port
    assert lines == [{"event": "web_serving", "log_level": "info", "address": shown, "port": port}]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EADDRINUSE, "Address already in use"), "Address already in use"),
        (OSError("could not bind on any address out of [...]"), "no socket could be made"),
    ],
)
@timeless
async def test_a_port_that_cannot_be_served_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    asked: list[Any] = []

    async def start_server(call: Any, *where: Any, **more: Any) -> Any:
        asked.append((where, more))
        raise error

    monkeypatch.setattr(asyncio, "start_server", start_server)
    with pytest.raises(errors.EndpointError) as caught:
        await web.WebServer(("127.0.0.1", 9115), PAGES).__aenter__()

    assert str(caught.value) == f"cannot serve HTTP on 127.0.0.1:9115: {reason}"
    assert asked == [(("127.0.0.1", 9115), {"limit": 4096})]


@timeless
async def test_a_server_without_a_socket_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    async def start_server(call: Any, *where: Any, **more: Any) -> Any:
        assert where == (None, 0)
        return SimpleNamespace(sockets=[], close=lambda: closed.append(True))

    monkeypatch.setattr(asyncio, "start_server", start_server)
    with pytest.raises(errors.EndpointError, match=r"^cannot serve HTTP on :0: no socket could be made$"):
        await web.WebServer(("", 0), PAGES).__aenter__()
    assert closed == [True]


def test_a_page_that_depends_on_the_client_can_be_asked_for_without_one() -> None:
    assert PAGES["/metrics"]() == web.Answer(200, b"'' False", "text/x")
