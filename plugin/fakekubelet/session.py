"""Commands in a session of their own, so that all they start can be ended with them.

`asyncio` kills a process whose starting is cancelled, but not what that has started meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Any


async def start(*command: str, **streams: Any) -> asyncio.subprocess.Process:
    """Start a command as the leader of a session; whoever is cancelled meanwhile leaves nothing of it behind.

    The other arguments are those of `asyncio.create_subprocess_exec`; OSError or ValueError if it
    cannot be run.
    """
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(*command, start_new_session=True, **streams), name="start a session"
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError, ValueError):  # it could not be run
            process = await starting
            kill(process)
            await process.wait()
        raise


def kill(process: asyncio.subprocess.Process) -> None:
    """Kill a session by its leader, which may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
