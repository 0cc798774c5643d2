"""What is to be done: each thing once, however often it is asked for, and again until it succeeds."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Key = TypeVar("Key")

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 15.0


class WorkQueue(Generic[Key]):
    """Calls `do` for each key that is added, with so many `workers` at once, never twice at once for one key.

    A key that is added while it is being done is done once more. Where `do` raises one of `errors`, `on_error` hears of
    it and the key is tried again later, later each time.
    """

    def __init__(
        self,
        do: Callable[[Key], Awaitable[None]],
        *,
        workers: int,
        errors: tuple[type[Exception], ...],
        on_error: Callable[[Key, Exception], None],
    ) -> None:
        self._do = do
        self._workers = workers
        self._errors = errors
        self._on_error = on_error
        self._waiting: dict[Key, None] = {}
        """In the order in which they were added."""
        self._first: dict[Key, None] = {}
        """Likewise, and before the others."""
        self._busy: set[Key] = set()
        self._again: dict[Key, bool] = {}
        """To be done once more, and whether first."""
        self._failures: dict[Key, int] = {}
        self._more = asyncio.Event()

    def add(self, key: Key, *, first: bool = False) -> None:
        """Have something done, `first` of what is not: a thousand nodes that say anew that they are well can wait."""
        if key in self._busy:
            self._again[key] = first or self._again.get(key, False)
            return
        if first:
            self._waiting.pop(key, None)
            self._first[key] = None
        elif key not in self._first:
            self._waiting[key] = None
        self._more.set()

    def add_later(self, key: Key, delay_s: float) -> None:
        """Have something done after a while."""
        asyncio.get_running_loop().call_later(delay_s, self.add, key)

    def __len__(self) -> int:
        return len(self._first) + len(self._waiting) + len(self._busy)

    async def run(self) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"worker {number}")

    async def _work(self) -> None:
        while True:
            while not self._first and not self._waiting:
                self._more.clear()
                await self._more.wait()
            waiting = self._first or self._waiting
            key = next(iter(waiting))
            del waiting[key]
            self._busy.add(key)
            try:
                await self._do(key)
                self._failures.pop(key, None)
            except self._errors as error:
                self._on_error(key, error)
                self.add_later(key, self._pause(key))
            finally:
                self._busy.discard(key)
                if key in self._again:
                    self.add(key, first=self._again.pop(key))

    def _pause(self, key: Key) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause: float = min(FIRST_PAUSE_S * 2 ** min(failures - 1, 10), LONGEST_PAUSE_S)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, guards nothing
