"""Ends the processes of pods that we left running, for when we are killed nobody of us is left to do it.

A small process of its own waits at a pipe, which is closed when we end, however that comes about. Whatever group of
processes it was told of and not told to forget by then is killed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Self

from fakekubelet.cluster import guard_process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


class Guard:
    """The guard of this process, as an async context manager; it is started when something is to be guarded.

    `keep_open` are descriptors that it holds too: a lock in one of them is free once the last process has ended.
    """

    def __init__(self, *, keep_open: Sequence[int] = ()) -> None:
        self._keep_open = tuple(keep_open)
        self._process: asyncio.subprocess.Process | None = None
        self._groups: set[int] = set()
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()

    async def start(self) -> None:
        """Start it, if it does not run or was killed; before `watch`."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", "-S", guard_process.__file__,
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
                    pass_fds=self._keep_open, start_new_session=True, cwd="/",
                )  # fmt: skip  # what, then how
                for group in self._groups:
                    self._tell(f"+{group}\n")

    def watch(self, group: int) -> None:
        """Guard a group of processes from now on."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """Guard it no more: it has ended, and its number may be another's."""
        if group in self._groups:
            self._groups.remove(group)
            self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
