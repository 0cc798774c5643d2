"""The socket by which other commands reach a running fleet: a line of JSON asks, a line of JSON answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Final

from fakehw.errors import FakehwError, InputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

SOCKET: Final = "control.sock"
_MAX_BYTES: Final = 65_536
_TIMEOUT_S: Final = 60.0

Answer = dict[str, Any]


@contextlib.asynccontextmanager
async def serving(state: Path, answer: Callable[[Answer], Awaitable[Answer]]) -> AsyncIterator[None]:
    """Answer what is asked at the socket in `state` while this context is open."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                question = json.loads(await reader.readline())
                try:
                    reply = await answer(question)
                except FakehwError as error:
                    reply = {"error": str(error)}
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            pass  # whoever asked has gone, or asked in another language
        finally:
            writer.close()

    path = state / SOCKET
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(converse, path, limit=_MAX_BYTES)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def ask(state: Path, question: Answer) -> Answer:
    """Ask the fleet that runs on `state`; FakehwError with its answer if it refuses, InputError if there is none."""
    try:
        reader, writer = await asyncio.open_unix_connection(state / SOCKET, limit=_MAX_BYTES)
    except OSError:
        raise InputError(f"{state}: no fleet runs here (--name, --state)") from None
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        async with asyncio.timeout(_TIMEOUT_S):
            line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise FakehwError(f"{state}: the fleet ended before it answered")
    reply: Answer = json.loads(line)
    if "error" in reply:
        raise FakehwError(reply["error"])
    return reply
