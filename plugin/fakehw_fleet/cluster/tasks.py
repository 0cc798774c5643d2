"""Tasks that run for ever, and end with a context."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType


class Tasks:
    """Tasks that are started while this context is open, and cancelled when it is left."""

    def __init__(self) -> None:
        self.group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Tasks:
        await self.group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        # Any other error is its own, and no part of a group.
        await self.group.__aexit__(*((kind, error, tb) if is_cancelled else (None, None, None)))

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Begin one."""
        self._tasks.append(self.group.create_task(work, name=name))
