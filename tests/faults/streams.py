"""Logs that nobody takes: what is only for people to read never decides over the service."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import AsyncIterator

from tests.faults.catalogue import fault
from tests.faults.scene import R3, Scene, playing, scene

LOGS = "Logs that nobody takes"
GOES_ON = "Lines are lost and counted; the service goes on"


async def served_and_counted(one: Scene) -> None:
    await one.kubelet.restart()
    await one.converged()
    await one.serves_others()
    assert await one.plugin.metric("fakehw_log_lines_lost_total") > 0


for name, redirect in (
    ("the disk of its log is full", "2>/dev/full"),
    ("its standard error is closed", "2>&-"),
):
    fault(LOGS, name, GOES_ON, tries=5, set_up=functools.partial(playing, redirect=redirect))(served_and_counted)


@contextlib.asynccontextmanager
async def read_by_nobody() -> AsyncIterator[Scene]:
    async with scene() as one:
        os.mkfifo(one.directory / "log")
        async with one.running(redirect=f"2<>{one.directory}/log"):
            await one.warm()
            yield one


@fault(LOGS, "nobody reads its log, and the pipe is full", GOES_ON, tries=5, set_up=read_by_nobody)
async def pipe_full(one: Scene) -> None:
    for number in range(250):
        word = "unhealthy" if number % 2 == 0 else "healthy"
        one.write("node2/dev3/2/health", f"{word} {'x' * 240}\n")
        await one.until(lambda word=word: one.kubelet.devices(R3)["node2-dev3-2"] == word.capitalize())
    await served_and_counted(one)
