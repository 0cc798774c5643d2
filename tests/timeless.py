"""Tests of what waits for minutes, in no time: an event loop whose clock jumps to the next timer.

Whoever waits for what can never come fails at once, with a word, instead of by a time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import selectors
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

START_S = 1000.0
"""What the clock says when a test begins."""

MOST_TURNS = 50_000
"""Of the event loop, in one test: more are a circle."""

MOST_FAILURES = 100

MOST_CPU_S = 2.0
"""So long, by the processor's time and not the machine's, may a test take before it counts as caught in a circle."""


class NothingHappensError(AssertionError):
    """Everybody waits, and nobody is there who would wake them."""


@dataclass(eq=False)
class _Wish:
    """What somebody waits for, until when, and how they are told."""

    condition: Callable[[], object]
    end: float
    told: asyncio.Future[None]


class _Selector(selectors.DefaultSelector):
    """Says what is ready at this moment; where nothing is, looks who is content by now, and moves the clock on."""

    now = START_S
    turns = 0

    def __init__(self) -> None:
        super().__init__()
        self.wishes: list[_Wish] = []
        self.failed: list[str] = []
        """What went wrong where nobody sees it: in a callback, in a task that nobody awaits."""

    def note(self, _: object, context: dict[str, Any]) -> None:
        self.failed.append(f"{context['message']}: {context.get('exception')!r}")

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if len(self.failed) > MOST_FAILURES:
            raise NothingHappensError(f"it fails again and again: {self.failed[0]}")
        if self.turns > MOST_TURNS:
            self.turns = 0
            raise NothingHappensError(f"the test did not end in {MOST_TURNS} turns of the event loop")
        ready = super().select(0)
        if ready or timeout == 0 or self._fulfilled():
            return ready
        end = min([wish.end for wish in self.wishes], default=None)
        if timeout is not None and (end is None or self.now + timeout <= end):
            self.now += timeout
        elif end is not None:
            self.now = end
            self._disappoint()
        else:
            raise NothingHappensError(f"at {self.now - START_S:g} s everybody waits, and nothing will ever happen")
        return ready

    def _fulfilled(self) -> bool:
        for wish in tuple(self.wishes):
            if wish.told.done():
                self.wishes.remove(wish)
            elif wish.condition():
                self.wishes.remove(wish)
                wish.told.set_result(None)
                return True
        return False

    def _disappoint(self) -> None:
        for wish in [wish for wish in self.wishes if wish.end <= self.now]:
            self.wishes.remove(wish)
            wanted = inspect.getsource(wish.condition).strip()
            wish.told.set_exception(AssertionError(f"not so at {self.now - START_S:g} s: {wanted}"))


class TimelessLoop(asyncio.SelectorEventLoop):
    """Runs as fast as it can. Real files and sockets of this process work; what other threads do is not waited for."""

    def __init__(self) -> None:
        self.jumping = _Selector()
        super().__init__(self.jumping)
        self.set_exception_handler(self.jumping.note)

    def time(self) -> float:
        return self.jumping.now


def timeless(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in no time, by `time.monotonic` too; it must leave no task behind."""

    @functools.wraps(test)
    def run(*arguments: Any, **more: Any) -> None:
        with asyncio.Runner(loop_factory=TimelessLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, TimelessLoop)

            async def whole() -> None:
                await test(*arguments, **more)
                left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
                assert not left, f"tasks left behind: {left}"
                assert not loop.jumping.failed

            with mock.patch.object(time, "monotonic", loop.time), _no_circle():
                runner.run(whole())

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]  # for the fixtures
    del run.__wrapped__  # type: ignore[attr-defined]  # else it is taken for an async test
    return run


@contextlib.contextmanager
def _no_circle() -> Iterator[None]:
    """Interrupt what runs and never waits."""

    def interrupt(*_: object) -> None:
        raise NothingHappensError(f"the test has computed for {MOST_CPU_S:g} s")

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_S, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _loop() -> TimelessLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimelessLoop)
    return loop


async def until(condition: Callable[[], object], *, within_s: float = 3600.0) -> None:
    """Wait until `condition` holds and nobody has anything left to do; AssertionError if it does not in time."""
    loop = _loop()
    wish = _Wish(condition, loop.time() + within_s, loop.create_future())
    loop.jumping.wishes.append(wish)
    await wish.told


async def settled() -> None:
    """Let everybody run who can, without the clock moving on."""
    await until(lambda: True)


def elapsed() -> float:
    """Return how many seconds have passed since the test began, by the loop's clock."""
    return round(_loop().time() - START_S, 6)


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """Run `work`, which never ends by itself, beside the test; its errors are the test's."""
    task = asyncio.ensure_future(work)
    await settled()
    try:
        yield task
    finally:
        if task.done():
            await task
        task.cancel()
        await asyncio.wait([task])
