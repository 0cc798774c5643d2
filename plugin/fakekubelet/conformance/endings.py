"""Ends asked for from outside: Ctrl-C, SIGTERM, SIGHUP. Whatever the kit has started and made goes with it.

A signal raises `EndedError` where the command is at that moment. In the event loop it cancels what runs there instead,
so that the plugin is ended and the kubelet's directory put back by the code that does so anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndedError(Exception):
    """The command is to end because of a signal."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"ended by {signal.Signals(number).name}")

    @property
    def exit_code(self) -> int:
        """The status by which a shell tells it."""
        return 128 + self.number


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Raise EndedError for a signal in the body; one that is ignored stays so, as `nohup` and `&` want it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heed = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for number in heed:
            signal.signal(number, _raise)
        yield
    finally:
        for number in heed:
            signal.signal(number, before[number])


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* in an event loop to its end; at a signal cancel it, let it clear up, and raise EndedError."""
    return asyncio.run(_unless_ended(main))


async def _unless_ended(main: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(main, name="main")
    caught: list[int] = []

    def end(number: int) -> None:
        caught.append(number)
        task.cancel()

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    heed = [number for number, handler in handlers.items() if handler is _raise]
    for number in heed:
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if caught:
            raise EndedError(caught[0]) from None
        raise
    finally:
        for number in heed:
            loop.remove_signal_handler(number)
            signal.signal(number, _raise)


def _raise(number: int, _: object) -> NoReturn:
    raise EndedError(number)
