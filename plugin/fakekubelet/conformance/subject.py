"""The plugin under test as a process: started, signalled, and what it printed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from typing import IO, TYPE_CHECKING, Protocol

from fakekubelet import session
from fakekubelet.conformance import verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_TAIL_BYTES = 2000
_TOLD = 200


async def execute(command: Sequence[str], environ: dict[str, str], output: IO[bytes]) -> asyncio.subprocess.Process:
    """Start a command in a session of its own, with both its streams to `output`; OSError if it cannot be run."""
    return await session.start(*command, env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output)


class Started(Protocol):
    """What is told of a process that is to be started."""

    @property
    def command(self) -> tuple[str, ...]:
        """Return it word by word; empty if it runs already."""

    @property
    def places(self) -> dict[str, str]:
        """Return what is added to its environment, and put for `{name}` in its words."""


class Subject:
    """At most one process at a time, in a session of its own; or none, for a plugin that runs already."""

    def __init__(self, settings: Started) -> None:
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: asyncio.Task[None] | None = None
        self.around: Callable[[Sequence[str]], Sequence[str]] = lambda command: command
        """Puts something around the command, from the next start on."""
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self.on_exit: Callable[[], None] = lambda: None

    @property
    def is_ours(self) -> bool:
        """Tell whether the kit starts and stops the plugin."""
        return bool(self._settings.command)

    @property
    def exit_code(self) -> int | None:
        """Status of a process that has ended, negative for a signal."""
        return None if self._process is None else self._process.returncode

    @property
    def is_running(self) -> bool:
        """Tell whether it runs, as far as the kit can know."""
        return not self.is_ours or (self._process is not None and self._process.returncode is None)

    @property
    def output(self) -> str:
        """The last lines that it printed, on both streams."""
        number = self._output.fileno()  # read without seeking: the plugin writes at the same offset
        start = max(0, os.fstat(number).st_size - _TAIL_BYTES)
        return os.pread(number, _TAIL_BYTES, start).decode(errors="replace").strip()

    async def start(self) -> None:
        """Start it; OSError if the command cannot be run."""
        if not self.is_ours:
            return
        places = self._settings.places
        command = list(self._settings.command)
        for name, path in places.items():
            command = [word.replace(f"{{{name.lower()}}}", path) for word in command]
        self._process = await execute(self.around(command), {**os.environ, **places}, self._output)
        self._waiting = asyncio.create_task(self._wait(self._process), name=f"plugin {self._process.pid}")

    async def terminate(self, timeout_s: float) -> bool:
        """Send SIGTERM to the process, as a runtime does to the first one; tell whether it ended in time."""
        assert self._process is not None
        assert self._waiting is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self._waiting], timeout=timeout_s)
        if not done:
            await self.kill()
        return bool(done)

    async def kill(self) -> None:
        """Kill it with all its children, if it runs."""
        if self._process is None or self._waiting is None:
            return
        session.kill(self._process)  # be it that it has ended: children may outlive it
        await self._waiting

    async def close(self) -> None:
        """Leave nothing behind."""
        await self.kill()
        self._output.close()

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self.on_exit()


class HookError(Exception):
    """A command that was to break or mend a device failed, so nothing can be said of what follows."""


async def run_hook(command: str, settings: Started) -> None:
    """Run a shell command that breaks or mends a device; raise HookError if it fails."""
    process = await session.start(
        "/bin/sh",
        "-c",
        command,
        env={**os.environ, **settings.places},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, stderr = await process.communicate()
    except asyncio.CancelledError:
        session.kill(process)  # the kit is to end, and its hook with it
        await process.wait()
        raise
    if process.returncode != 0:
        said = verdict.end_of(stderr.decode(errors="replace"), _TOLD)
        raise HookError(f"{command!r} ended with status {process.returncode}: {said}")
