"""Commands that lead a session: nothing of them is left where their starting is given up."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from fakekubelet import session
from tests.running import DEADLINE_S


async def test_a_command_leads_a_session_with_the_streams_that_were_given():
    process = await session.start("/bin/sh", "-c", "ps -o sid= -p $$; echo $$", stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()

    assert output.split() == [str(process.pid).encode()] * 2
    assert process.returncode == 0


async def test_what_cannot_be_run_is_an_error():
    with pytest.raises(FileNotFoundError):
        await session.start("/no/such/command")
    with pytest.raises(ValueError, match="null byte"):
        await session.start("/bin/sh", "\0")


@pytest.fixture
def slow(monkeypatch):
    """Let a process run for a while before whoever starts it is told."""
    started, go_on, real, found = asyncio.Event(), asyncio.Event(), asyncio.create_subprocess_exec, []

    async def start(*command, **named):
        try:
            found.append(await real(*command, **named))
        finally:
            started.set()
        await go_on.wait()
        return found[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    return started, go_on, found


async def test_a_start_that_is_given_up_leaves_nothing_behind(slow):
    started, go_on, found = slow
    starting = asyncio.create_task(session.start("sleep", "600"))
    await asyncio.wait_for(started.wait(), DEADLINE_S)
    starting.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([starting], timeout=DEADLINE_S)

    assert starting.cancelled()
    assert found[0].returncode == -signal.SIGKILL, "and it has been waited for"


async def test_a_start_that_is_given_up_and_fails_is_given_up(slow):
    starting = asyncio.create_task(session.start("/no/such/command"))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting], timeout=DEADLINE_S)

    assert starting.cancelled()


async def test_a_session_is_killed_with_all_in_it_once_and_again(tmp_path):
    script = f"trap '' TERM; sleep 600 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait"
    process = await session.start("/bin/sh", "-c", script)
    async with asyncio.timeout(DEADLINE_S):
        while not (tmp_path / "pid").exists():
            await asyncio.sleep(0.002)

    session.kill(process)

    assert await process.wait() == -signal.SIGKILL
    async with asyncio.timeout(DEADLINE_S):
        while _is_alive(int((tmp_path / "pid").read_text())):
            await asyncio.sleep(0.002)
    session.kill(process)


def _is_alive(pid):
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
