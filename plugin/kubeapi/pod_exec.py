"""A command in a container of a pod: its three pipes over one WebSocket, and how it ended.

    async with pod_exec.start(client, "fakehw", "fakehw-hand-x7x2p", ["fakehw", "hand"]) as process:
        await process.write(b"...")
        line = await process.read_line()

The protocol is the API server's v5.channel.k8s.io (Kubernetes 1.30 and later), or v4, which cannot close standard input
alone: each message begins with the number of its channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from kubeapi import errors
from kubeapi.resources import PODS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from kubeapi.client import Client

PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255

MAX_COMPLAINT: Final = 4096
"""Bytes of standard error that are kept: the last ones."""


class EndedError(errors.ApiError):
    """The command ended, or never began; the text says what the server or the command said of it."""

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        """None where there was no command, or nobody knows how it ended."""


class Process:
    """A command that runs. Reading raises EndedError once all is read and it has ended, 0 or not."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._rest = b""
        self._complaint = b""
        self._status: dict[str, Any] | None = None
        self._problem = ""
        self._reading = asyncio.create_task(self._read(), name="exec")

    async def write(self, data: bytes) -> None:
        """Send to standard input; EndedError where nobody is there any more."""
        try:
            await self._socket.send_bytes(bytes([_STDIN]) + data)
        except (ConnectionError, aiohttp.ClientError) as error:
            raise self._end() from error

    async def read_line(self) -> bytes:
        """Return the next whole line of standard output, without its end."""
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
            raise self._end()
        return line

    async def close_input(self) -> None:
        """Close standard input, where the protocol can; the end of the connection does so too."""
        if self._socket.protocol == PROTOCOLS[0]:
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await self._socket.send_bytes(bytes([_CLOSE, _STDIN]))

    async def aclose(self) -> None:
        """Let go: the command loses its pipes."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._socket.close()

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.BINARY and message.data:
                    self._take(message.data[0], message.data[1:])
                elif message.type is aiohttp.WSMsgType.ERROR:
                    self._problem = str(message.data)
        except (aiohttp.ClientError, ConnectionError) as error:
            self._problem = str(error)
        finally:
            if self._rest:
                self._lines.put_nowait(self._rest)
            self._lines.put_nowait(None)

    def _take(self, channel: int, data: bytes) -> None:
        if channel == _STDOUT:
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._lines.put_nowait(line)
        elif channel == _STDERR:
            self._complaint = (self._complaint + data)[-MAX_COMPLAINT:]
        elif channel == _STATUS and data:
            with contextlib.suppress(ValueError):
                self._status = json.loads(data)

    def _end(self) -> EndedError:
        complaint = " ".join(self._complaint.decode("utf-8", "replace").split())
        status = self._status or {}
        if status.get("status") == "Success":
            return EndedError(complaint or "it ended", exit_code=0)
        causes = (status.get("details") or {}).get("causes") or ()
        codes = [cause.get("message") for cause in causes if cause.get("reason") == "ExitCode"]
        code = int(codes[0]) if codes and str(codes[0]).isdigit() else None
        said = str(status.get("message") or self._problem or "the connection ended")
        return EndedError(complaint or said, exit_code=code)


@contextlib.asynccontextmanager
async def start(
    client: Client, namespace: str, pod: str, command: Sequence[str], *, container: str = ""
) -> AsyncIterator[Process]:
    """Run a command in a pod; leaving takes its pipes away. An ApiError says why it could not begin."""
    parameters = [("command", word) for word in command]
    parameters += [("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    parameters += [("container", container)] if container else []
    path = PODS.path(pod, namespace=namespace, subresource="exec")
    async with client.websocket(path, parameters, protocols=PROTOCOLS) as socket:
        process = Process(socket)
        try:
            yield process
        finally:
            await process.aclose()
