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
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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


class Process:
    """A running command and what it has printed.

    The pipe is read here and not by asyncio, whose `wait` goes on until the pipe is closed by everybody: a child in the
    background would keep its dead parent running.
    """

    def __init__(self, process: asyncio.subprocess.Process, pipe: int, on_output: Callable[[], None]) -> None:
        self._process = process
        self._pipe: int | None = pipe
        self._on_output = on_output
        self._output = bytearray()
        asyncio.get_running_loop().add_reader(pipe, self._read)

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str], *, on_output: Callable[[], None]) -> Self:
        """Start *command*, references expanded; raise OSError if it cannot be."""
        ours, theirs = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(expand(word, env) for word in command),
                env=env,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        os.set_blocking(ours, False)
        return cls(process, ours, on_output)

    @property
    def pid(self) -> int:
        """Its process ID."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has printed so far, on both streams."""
        return self._output.decode(errors="replace")

    async def wait(self) -> int:
        """Wait for the end and return the exit status, negative for a signal."""
        return await self._process.wait()

    async def stop(self, grace_s: float) -> None:
        """End it with SIGTERM, after *grace_s* with SIGKILL, together with whatever it has started."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            self._signal(signal.SIGKILL)
            await self._process.wait()
            self._read()
            self._close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)  # its session is its group; children may outlive their leader

    def _read(self) -> None:
        """Take what there is."""
        while self._pipe is not None:
            try:
                chunk = os.read(self._pipe, 65536)
            except BlockingIOError:
                return
            if not chunk:
                self._close()
                return
            self._output += chunk
            self._on_output()

    def _close(self) -> None:
        if self._pipe is not None:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = None
