"""How clusters on one machine begin and end: a short directory, their nodes, and a look at what has changed.

If their program is killed, the guard ends the processes of their pods.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fakekubelet.cluster.guard import Guard

if TYPE_CHECKING:
    from types import TracebackType


class Life(abc.ABC):
    """What a cluster does from the beginning to the end of its context; it says itself how each step is done."""

    def __init__(self) -> None:
        self._stale = asyncio.Event()
        """To be set when something has happened that is to be looked at."""
        self._guard = Guard()
        self._life = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as life:
            # Under /tmp, because a socket's path has 107 bytes at most (contract PATH-4).
            short = tempfile.TemporaryDirectory(prefix="fk-", dir="/tmp")
            await life.enter_async_context(self._guard)
            await self._bring_up(Path(life.enter_context(short)), life)
            task = asyncio.create_task(self._follow(), name="cluster")
            life.push_async_callback(_cancel_and_wait, task)
            life.push_async_callback(self._end_pods)
            self._life = life.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._life.aclose()

    @abc.abstractmethod
    async def _bring_up(self, root: Path, life: contextlib.AsyncExitStack) -> None:
        """Start the nodes below *root*, and whatever else; *life* ends what was begun, last things first."""

    @abc.abstractmethod
    async def _look(self) -> None:
        """Do what is to be done now that something has happened."""

    @abc.abstractmethod
    async def _end_pods(self) -> None:
        """End the pods while there are still nodes to end them on."""

    async def _follow(self) -> None:
        while True:
            await self._stale.wait()
            self._stale.clear()
            await self._look()


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
