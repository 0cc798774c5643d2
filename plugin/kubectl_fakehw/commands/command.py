"""What makes a coroutine a command: a loop of its own, an end at the first signal, one line for what a server says."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from fakehw import parser
from fakehw.errors import TreeError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    Command = Callable[[argparse.Namespace], Awaitable[int]]


def add(commands: parser.Commands, name: str, help_text: str, *, run: Command, examples: str) -> parser.Parser:
    """Add a command that is a coroutine; whoever has a loop of his own finds it as `command`."""
    added = parser.add_command(commands, name, help_text, run=_awaited(run), examples=examples)
    added.set_defaults(command=run)
    return added


def _awaited(command: Command) -> Callable[[argparse.Namespace], int]:
    """Return what runs a command to its end, or to the first signal, which cancels it."""

    async def run(arguments: argparse.Namespace) -> int:
        from kubeapi import errors

        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            return await command(arguments)
        except errors.ApiError as error:
            raise TreeError(str(error)) from error

    return lambda arguments: asyncio.run(run(arguments))
