"""One connection to a hand: `fakehw hand`, in a pod of a node or, for a tree on this machine, as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from fakehw.errors import TreeError
from fakehw.hand import requests
from kubeapi import errors, pod_exec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from kubeapi.client import Client
    from kubectl_fakehw.places import Place

    Reach = Callable[[Place], contextlib.AbstractAsyncContextManager["Hand"]]
    """The way to the hand of a place."""

COMMAND: Final = ("fakehw", "hand")
_LIMIT: Final = 256 << 20
"""Bytes of one answer: a list of a million devices."""


class _Pipes(Protocol):
    async def write(self, data: bytes) -> None: ...

    async def read_line(self) -> bytes: ...


class Hand:
    """Asks, and returns what is answered. TreeError says what the hand said, or that nobody is there."""

    def __init__(self, pipes: _Pipes) -> None:
        self._pipes = pipes

    async def ask(self, what: str, **rest: Any) -> Any:
        """Return what was done."""
        async for answer in self.told(what, **rest):
            if "done" in answer:
                return answer["done"]
        raise TreeError("the hand did not answer")

    async def told(self, what: str, **rest: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield all that is answered: events and receipts as they come, and then what was done."""
        await self._send({"do": what, **rest})
        while True:
            answer = await self._answer()
            if "error" in answer:
                raise TreeError(answer["error"])
            yield answer
            if "done" in answer:
                return

    async def greet(self) -> None:
        """Hear the first words; TreeError for a hand of another language."""
        greeting = await self._answer()
        if greeting.get("hand") != requests.VERSION:
            raise TreeError(f"its hand speaks another language: {str(greeting)[:80]}: is its image another version?")

    async def _send(self, request: dict[str, Any]) -> None:
        try:
            await self._pipes.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")
        except (pod_exec.EndedError, ConnectionError) as error:
            raise TreeError(str(error)) from error

    async def _answer(self) -> dict[str, Any]:
        try:
            line = await self._pipes.read_line()
            answer = json.loads(line)
        except (errors.ApiError, ConnectionError) as error:
            raise TreeError(_explained(str(error))) from error
        except ValueError as error:
            raise TreeError(f"its hand printed what is no answer: {line[:80]!r}") from error
        if not isinstance(answer, dict):
            raise TreeError(f"its hand printed what is no answer: {line[:80]!r}")
        return answer


@contextlib.asynccontextmanager
async def reached(client: Client, namespace: str, place: Place) -> AsyncIterator[Hand]:
    """Reach the hand of a place; TreeError says why it cannot be."""
    if not place.hand:
        raise TreeError(place.problem)
    try:
        async with pod_exec.start(client, namespace, place.hand, COMMAND) as process:
            hand = Hand(process)
            await hand.greet()
            yield hand
    except errors.ForbiddenError as error:
        raise TreeError(f"you may not exec into pods of the namespace {namespace} (403)") from error
    except errors.NotFoundError as error:
        raise TreeError(f"its hand {place.hand} is gone (404)") from error
    except errors.UnavailableError as error:
        # A refusal of exec has no words of its own; behind these codes there is a kubelet, or nobody.
        said = str(error) if error.code is None else f"its kubelet does not answer ({error.code})"
        raise TreeError(f"{said}; {place.problem}" if place.problem else said) from error
    except errors.ApiError as error:
        why = f"; {place.problem}" if place.problem else ""
        raise TreeError(f"{error}{why}") from error


class _Local:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        await self._process.stdin.drain()

    async def read_line(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise ConnectionError("the hand ended")
        return line.removesuffix(b"\n")


@contextlib.asynccontextmanager
async def here(root: Path) -> AsyncIterator[Hand]:
    """Start a hand on a tree of this machine."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fakehw", "hand", "--root", str(root),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LIMIT,
    )  # fmt: skip  # the command stays on one line
    try:
        hand = Hand(_Local(process))
        await hand.greet()
        yield hand
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def _explained(message: str) -> str:
    if "executable file not found" in message or "invalid choice" in message or "must be one of build" in message:
        return f"its image has no `fakehw hand`: build and load a newer one ({message[:120]})"
    return message
