"""A container as a local process: its command, its environment, its output, its end.

No file system, mounts, user or limits of its own: what a plugin mounts is not there, only what it sets in the
environment. Each process leads a session, so that its children go with it. Nothing is run between fork and exec (no
`preexec_fn`), because grpc's threads do not survive that (contract PIT-11).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from typing import TYPE_CHECKING, Final, Self

from fakekubelet import session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fakekubelet.cluster.guard import Guard

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CHUNK: Final = 65_536
"""As much as a pipe holds: one reading takes all there was."""
_PAUSE_S: Final = 0.01
"""After such a chunk: a process that prints without end must not keep everybody else from being served."""
MOST_KEPT: Final = 10 << 20
"""Bytes of output that are kept, as the kubelet's `containerLogMaxSize` has it."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable where there is one, and `$$` by `$`, as Kubernetes does in commands."""
    return _REFERENCE.sub(
        lambda found: "$" if found[1] == "$" else env.get(found[2], found[0]),
        text,
    )


def environment(hostname: str, plugins: Mapping[str, str], own: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the whole environment: a minimal one, what plugins say, what the pod says; later wins (contract AL-13)."""
    env = {"PATH": _PATH, "HOSTNAME": hostname, **plugins}
    for name, value in own:
        env[name] = expand(value, env)
    return env


class Printed:
    """What a container has printed, over all its runs; of very much the end. `on_output` hears that there is more."""

    def __init__(self, on_output: Callable[[], None] = lambda: None) -> None:
        self._on_output = on_output
        self._bytes = bytearray()

    def add(self, chunk: bytes) -> None:
        """Take in what was printed."""
        self._bytes += chunk
        if len(self._bytes) > 2 * MOST_KEPT:
            del self._bytes[:-MOST_KEPT]
        self._on_output()

    @property
    def text(self) -> str:
        """All of it."""
        return self._bytes.decode(errors="replace")


class Process:
    """A running command, whose output on both streams goes to `output`.

    The pipe is read here and not by asyncio, whose `wait` goes on until the pipe is closed by everybody: a child in the
    background would keep its dead parent running.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, pipe: int, output: Callable[[bytes], None], guard: Guard | None
    ) -> None:
        self._process = process
        self._pipe: int | None = pipe
        self._output = output
        self._guard = guard
        self._pause: asyncio.TimerHandle | None = None
        self._go_on()

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        output: Callable[[bytes], None],
        guard: Guard | None = None,
    ) -> Self:
        """Start *command*, references expanded; raise OSError or ValueError if it cannot be."""
        if guard is not None:
            await guard.start()
        ours, theirs = os.pipe()
        try:
            process = await session.start(
                *(expand(word, env) for word in command),
                env=env,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        if guard is not None:
            guard.watch(process.pid)
        os.set_blocking(ours, False)
        return cls(process, ours, output, guard)

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end and return the exit status, negative for a signal."""
        return await self._process.wait()

    async def stop(self, grace_s: float) -> int:
        """End it with SIGTERM, after *grace_s* with SIGKILL, together with whatever it has started; return its status.

        While it is being stopped it can be stopped with less grace.
        """
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            self._signal(signal.SIGKILL)
            await self._process.wait()
            if self._guard is not None:
                self._guard.forget(self._process.pid)
            self._read()
            self._close()
        return await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)  # its session is its group; children may outlive their leader

    def _go_on(self) -> None:
        self._pause = None
        if self._pipe is not None:
            asyncio.get_running_loop().add_reader(self._pipe, self._read)

    def _read(self) -> None:
        """Take what there is."""
        if self._pipe is None:
            return
        try:
            chunk = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self._close()
            return
        if len(chunk) == _CHUNK and self._pause is None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._pipe)
            self._pause = loop.call_later(_PAUSE_S, self._go_on)
        self._output(chunk)

    def _close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        if self._pipe is not None:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = None
