"""Waiting for a state without polling for it.

Whoever changes something the outside can see rings; waiting predicates are evaluated at that very moment, in the
ringer's own call, so that a state which lasts for one message only is not missed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Changes:
    """The bell that everything in one emulator rings."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[Any], Callable[[], Any]] = {}
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call *listener* after every change, for as long as this object lives."""
        self._listeners.append(listener)

    def ring(self) -> None:
        """Evaluate what others wait for; call it after the state is consistent again."""
        for future, predicate in list(self._waiting.items()):
            if future.done():
                continue
            try:
                value = predicate()
            except Exception as error:  # a predicate's bug belongs to the test that waits on it, not to whoever rings
                future.set_exception(error)
                continue
            if value:
                future.set_result(value)
        for listener in self._listeners:
            listener()

    async def wait_for(self, predicate: Callable[[], T], *, timeout_s: float | None, describe: Callable[[], str]) -> T:
        """Return the first true value of *predicate*.

        After *timeout_s* real seconds raise TimeoutError with what *describe* says; None is for ever.
        """
        value = predicate()
        if value:
            return value
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[future] = predicate
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise TimeoutError(f"not so after {timeout_s:g} s; the state is now:\n{describe()}") from None
        finally:
            del self._waiting[future]
