"""How a demo speaks: lines, titles, commands as a person would type them, and how long it waits for a beat."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BEAT_S = 20.0
"""A beat that takes longer has not happened."""

LATE_POD = """
apiVersion: v1
kind: Pod
metadata: {name: dp-late}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: busybox:1.36
      command: [sh, -c, "trap 'exit 0' TERM; echo 'Device vars:'; env | grep '^DEV_'; sleep 3600 & wait"]
      resources: {limits: {myplugin.io/mydevice-3: 1}}
"""


def say(text: str = "") -> None:
    """Print a line for the reader."""
    print(text, flush=True)


def beat(title: str) -> None:
    """Print the title of the next part."""
    say(f"\n== {title}")


async def run(*command: str) -> None:
    """Run one of the project's commands and show it as a person would type it."""
    shown = shlex.join(command).replace(f"{Path.cwd()}/", "")
    say(f"$ {shown}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", command[0], *command[1:], stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    for line in out.decode().splitlines():
        say(f"  {line}")
    if process.returncode:
        raise RuntimeError(f"{shown} ended with exit code {process.returncode}")


@contextlib.asynccontextmanager
async def running(*command: str, log: Path) -> AsyncIterator[None]:
    """Keep one of the project's commands running beside the story."""
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", *command, stderr=out)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):  # Ctrl-C reaches it too
                process.terminate()
            await process.wait()
