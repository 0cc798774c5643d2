"""Metrics and probes, asked like a stranger on the network would."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import resource
import select
import socket
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakehw_plugin import errors, metrics, web
from fakekubelet import FakeKubelet
from tests.factories import make_config
from tests.running import DEADLINE_S, listed, running_daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fakehw_plugin.daemon import Daemon

R3 = "myplugin.io/mydevice-3"


async def ask(server: web.WebServer, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            writer.write(request)
            with contextlib.suppress(ConnectionError):  # turned away before the request was read
                await writer.drain()
                return await reader.read()
            return b""
    finally:
        writer.close()


async def get(server: web.WebServer, path: str) -> tuple[int, str]:
    answer = (await ask(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


@contextlib.asynccontextmanager
async def serving(daemon: Daemon) -> AsyncIterator[web.WebServer]:
    async with web.WebServer(("127.0.0.1", 0), metrics.pages(daemon, version="1.2.3")) as server:
        yield server


async def test_ready_means_registered_with_a_live_stream_for_every_resource(root: Path, plugin_dir: Path) -> None:
    async with running_daemon(make_config(root, plugin_dir)) as daemon, serving(daemon) as server:
        while not daemon.device_plugin.sessions:
            await asyncio.sleep(0)
        status, body = await get(server, "/readyz")
        assert status == 503
        assert f"[-] {R3} wait" in body
        assert (await get(server, "/healthz"))[0] == 200

        async with FakeKubelet(plugin_dir) as kubelet:
            await kubelet.wait_for(lambda: daemon.is_ready, timeout=DEADLINE_S)
            status, body = await get(server, "/readyz")
            assert status == 200
            assert f"[+] {R3} live" in body

        async with asyncio.timeout(DEADLINE_S):
            while (await get(server, "/readyz"))[0] != 503:
                pass


@pytest.mark.parametrize("is_gzipped", [False, True])
@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        ("", "text/plain; version=0.0.4", b"\n"),
        ("text/html, */*;q=0.1", "text/plain; version=0.0.4", b"\n"),
        ("application/openmetrics-text; version=1.0.0, text/plain;q=0.5", "application/openmetrics-text", b"# EOF\n"),
    ],
)
async def test_metrics_come_as_the_client_takes_them(
    root: Path, plugin_dir: Path, accept: str, content_type: str, end: bytes, is_gzipped: bool
) -> None:
    encoding = "Accept-Encoding: deflate, gzip\r\n" if is_gzipped else ""
    async with running_daemon(make_config(root, plugin_dir)) as daemon, serving(daemon) as server:
        answer = await ask(server, f"GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n{encoding}\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Type: {content_type}".encode() in head
    assert (b"Content-Encoding: gzip" in head) == is_gzipped
    text = gzip.decompress(body) if is_gzipped else body
    assert b"fakehw_build_info" in text
    assert text.endswith(end)


async def test_metrics_count_what_happened(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    async with running_daemon(make_config(root, plugin_dir)) as daemon, serving(daemon) as server:
        await listed(kubelet, [R3])
        (root / "node2/dev3/2/health").write_text("unhealthy\n")
        await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 2, timeout=DEADLINE_S)
        _, text = await get(server, "/metrics")

    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["fakehw_devices", "Healthy", R3, "node2"] == 2
    assert samples["fakehw_devices", "Unhealthy", R3, "node2"] == 1
    assert samples["fakehw_device_transitions_total", "Unhealthy", R3] == 1
    assert samples["fakehw_registrations_total", R3, "ok"] == 1
    assert samples["fakehw_registered", R3] == 1
    assert samples["fakehw_lists_sent_total", R3] == 2
    assert samples["fakehw_send_latency_seconds_count",] == 1
    assert samples["fakehw_tree_present",] == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 404, id="another path"),
        pytest.param(b"GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n", 404, id="a path that climbs"),
        pytest.param(b"POST /metrics HTTP/1.1\r\n\r\n", 405, id="another method"),
        pytest.param(b"GET /healthz?x=1 HTTP/1.1\r\n\r\n", 200, id="a query is ignored"),
        pytest.param(b"HEAD /healthz HTTP/1.0\r\n\r\n", 200, id="only the head"),
        pytest.param(b"nonsense\r\n\r\n", 400, id="no HTTP"),
        pytest.param(b"GET /\xff\xfe HTTP/1.1\r\n\r\n", 404, id="bytes"),
        pytest.param(b"\x16\x03\x01\r\n\r\n", 400, id="TLS"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 5000 + b"\r\n\r\n", 431, id="5 KB of header"),
    ],
)
async def test_whatever_else_is_asked_gets_a_plain_answer(request_: bytes, status: int) -> None:
    pages = {"/healthz": lambda: web.Answer(200, b"ok\n"), "/metrics": lambda: web.Answer(200, b"")}
    async with web.WebServer(("127.0.0.1", 0), pages) as server:
        answer = await ask(server, request_)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"ok\n" in answer) == (b"GET /healthz" in request_ and status == 200)


async def test_a_client_that_says_nothing_is_dropped_and_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "REQUEST_TIMEOUT_S", 0.05)
    async with web.WebServer(("127.0.0.1", 0), {"/healthz": lambda: web.Answer(200, b"ok\n")}) as server:
        silent = asyncio.create_task(ask(server, b"GET /hea"))
        assert (await get(server, "/healthz"))[0] == 200
        assert await silent == b""


@pytest.mark.parametrize("silent", [100, 300])
async def test_a_probe_is_answered_however_many_connections_say_nothing(silent: int) -> None:
    """Else whoever reaches the port has the kubelet restart the plugin for ever."""
    async with web.WebServer(("127.0.0.1", 0), {"/healthz": lambda: web.Answer(200, b"ok\n")}) as server:
        held = []
        for number in range(silent):
            held.append(await asyncio.open_connection("127.0.0.1", server.port))
            if number % 20 == 0:
                assert (await get(server, "/healthz")) == (200, "ok\n")
        assert (await get(server, "/healthz")) == (200, "ok\n")
        assert len(server._connections) <= 64
        for _, writer in held:
            writer.close()


async def test_the_client_with_the_most_connections_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that floods the port does not push out the others."""
    monkeypatch.setattr(web, "MAX_CONNECTIONS", 5)
    async with web.WebServer(("0.0.0.0", 0), {"/healthz": lambda: web.Answer(200, b"ok\n")}) as server:
        patient_reader, patient = await asyncio.open_connection("127.0.0.1", server.port)
        while len(server._connections) < 1:
            await asyncio.sleep(0)
        flood = [
            await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0)) for _ in range(20)
        ]
        patient.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(DEADLINE_S):
            assert (await patient_reader.read()).startswith(b"HTTP/1.1 200")
        for writer in (patient, *(writer for _, writer in flood)):
            writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 10_000, 431, id="a header without end"),
        pytest.param(b"POST /healthz HTTP/1.1\r\n\r\n", 405, id="a long body"),
    ],
)
async def test_a_refusal_reaches_a_client_that_is_still_sending(request_: bytes, status: int) -> None:
    """What is unread when a connection is closed resets it, and the client never sees why."""

    loop = asyncio.get_running_loop()

    def send_on() -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S) as client:
            client.sendall(request_)
            select.select([client], [], [], DEADLINE_S)  # it is answered already
            for _ in range(20):
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()  # the server has its turn
                client.sendall(b"x" * 10_000)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: client.recv(1 << 16), b""))

    async with web.WebServer(("127.0.0.1", 0), {"/healthz": lambda: web.Answer(200, b"ok\n")}) as server:
        answer = await asyncio.to_thread(send_on)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


def ask_slowly(port: int, request_: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as client:
        client.sendall(request_)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


async def test_a_long_answer_arrives_whole_where_the_client_has_closed_its_side() -> None:
    body = b"x" * (4 << 20)
    async with web.WebServer(("127.0.0.1", 0), {"/metrics": lambda: web.Answer(200, body)}) as server:
        answer = await asyncio.to_thread(ask_slowly, server.port, b"GET /metrics HTTP/1.1\r\n\r\n")

    assert answer.endswith(body)


async def test_closing_ends_every_connection_and_frees_the_port() -> None:
    async with web.WebServer(("127.0.0.1", 0), {"/healthz": lambda: web.Answer(200, b"ok\n")}) as server:
        port = server.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not server._connections:
            await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    assert not server._connections
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_no_descriptor_left_for_the_port_is_the_world_not_being_ready() -> None:
    server = web.WebServer(("127.0.0.1", 0), {})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    asyncio.get_running_loop()  # which has its own by now
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(errors.EndpointError, match="no socket could be made"):
            await server.__aenter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
