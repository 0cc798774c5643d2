"""The demo as a user runs it, and the README's transcript of it."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import running

REPOSITORY = Path(__file__).parents[2]
DEMO = [sys.executable, str(REPOSITORY / "hack" / "demo.py")]
ENVIRON = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def normalized(transcript: str) -> list[str]:
    """Return the lines without what differs from run to run: measured times and the scratch directory."""
    text = re.sub(r"/tmp/fakehw-\w+", "/tmp/fakehw-x", transcript)
    text = re.sub(r"\d+(\.\d+)? ms", "N ms", text)
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.fixture(scope="module")
def transcript() -> str:
    result = subprocess.run(DEMO, capture_output=True, text=True, timeout=60, env=ENVIRON, cwd=REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.fixture(scope="module")
def transcript_by_dra() -> str:
    command = [sys.executable, str(REPOSITORY / "hack" / "demo_dra.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=90, env=ENVIRON, cwd=REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_page_shows_what_the_demo_by_dra_prints(transcript_by_dra: str) -> None:
    page = (REPOSITORY / "docs" / "dra.md").read_text()
    shown = re.search(r"```console\n\$ make demo API=dra\n\.\.\.\n(.*?)```", page, re.DOTALL)
    assert shown, "the page has no transcript of make demo API=dra"

    assert normalized(transcript_by_dra.replace("/tmp/fakehw-demo-", "/tmp/fakehw-"))[
        -len(normalized(shown[1])) :
    ] == normalized(shown[1].replace("/tmp/fakehw-demo-", "/tmp/fakehw-"))


def test_the_demo_by_dra_tells_the_same_story(transcript_by_dra: str) -> None:
    lines = [" ".join(line.split()) for line in transcript_by_dra.splitlines()]
    for line in (
        "dp1-1 Running kind-worker",
        "dp1-2 Running kind-worker2",
        "dp1-3: 0/2 nodes are available: 2 cannot allocate all claims.",
        "DEV_1_ID_0='/node1/dev1/1'",
        "DEV_3_ID_1='/node2/dev3/2'",
        "claim dp1-1-extended-resources-*: node1-dev1-1",
        "dp-late runs: DEV_3_ID_0=/node2/dev3/3",
        "all of it happened.",
    ):
        assert line in lines, line
    assert lines.count("DEV_2_ID_0='/node2/dev2/1'") == 2
    assert any("taint myplugin.io/unhealthy=over-temperature:NoSchedule" in line for line in lines)


@pytest.mark.lengthy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_demo_by_dra_that_is_ended_in_the_middle_leaves_nothing_behind(number: signal.Signals) -> None:
    command = [sys.executable, str(REPOSITORY / "hack" / "demo_dra.py")]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRON, cwd=REPOSITORY, start_new_session=True
    )
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(90):
        while "dp1-2    Running" not in said:
            line = await process.stdout.readline()
            assert line, said
            said += line.decode()
        process.send_signal(number)
        out, errors = await process.communicate()

    assert process.returncode != 0
    assert "Traceback" not in errors.decode()
    scratch = re.search(r"/tmp/fakehw-demo-\w+", said)
    assert scratch
    assert not Path(scratch[0]).exists()
    assert not running.commands_with(scratch[0])
    assert "all of it happened" not in said + out.decode()


def test_the_demo_tells_the_seeds_story(transcript: str) -> None:
    lines = [line.strip() for line in transcript.splitlines()]

    assert "kind-worker    myplugin.io/mydevice-1   1          1" in lines
    assert "kind-worker    myplugin.io/mydevice-2   0          0" in lines
    assert "kind-worker2   myplugin.io/mydevice-3   3          3" in lines
    assert "dp1-1   Running   kind-worker" in lines
    assert "dp1-2   Running   kind-worker2" in lines
    assert "dp1-3   Pending   <none>" in lines
    assert "DEV_1_ID_0='/node1/dev1/1'" in lines
    assert lines.count("DEV_2_ID_0='/node2/dev2/1'") == 2
    assert any("Insufficient myplugin.io/mydevice-2" in line for line in lines)
    assert "dp1-3   Running   kind-worker2" in lines
    assert any(line.startswith("DEV_3_ID_1='/node2/dev3/") for line in lines)


def test_the_demo_leaves_nothing_behind(transcript: str) -> None:
    scratch = re.search(r"/tmp/fakehw-\w+", transcript)
    assert scratch

    assert not Path(scratch[0]).exists()
    assert not running.commands_with(scratch[0])


def test_the_readme_shows_what_the_demo_prints(transcript: str) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    shown = re.search(r"```console\n\$ make demo\n(.*?)```", readme, re.DOTALL)
    assert shown, "the README has no transcript of make demo"

    printed = "\n".join(normalized(transcript))
    for part in shown[1].split("\n...\n"):  # between two ellipses every line is there, in this order
        excerpt = "\n".join(normalized(part))
        assert excerpt in printed
        printed = printed.partition(excerpt)[2]


async def test_a_demo_kept_up_follows_a_persons_hand_and_cleans_up_when_terminated() -> None:
    """In a terminal: the live table changes when somebody else writes to the tree. (Ctrl-C: the tutorial's test.)"""
    main, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *DEMO, "--play", stdout=terminal, stderr=terminal, stdin=subprocess.DEVNULL, env=ENVIRON, start_new_session=True
    )
    os.close(terminal)
    screen = Screen(main)
    try:
        await screen.shows("Ctrl-C ends it and cleans up.")
        found = re.search(r"echo unhealthy > (\S+)/node2/dev3/1/health", screen.text)
        assert found
        root = Path(found[1])
        (root / "node2/dev3/1/health").write_text("unhealthy\n")
        await screen.shows("myplugin.io/mydevice-3   3          2")

        process.send_signal(signal.SIGTERM)

        await screen.shows("Everything is cleaned up.")
        async with asyncio.timeout(15):
            assert await process.wait() == 0
        assert not root.exists()
        assert not running.commands_with(str(root))
    finally:
        screen.close()
        if process.returncode is None:
            process.kill()
            await process.wait()


class Screen:
    """What a terminal has received."""

    def __init__(self, fd: int) -> None:
        self.text = ""
        self._fd = fd
        self._more = asyncio.Event()
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            self.text += os.read(self._fd, 65536).decode(errors="replace")
        except OSError:  # the other end is closed
            asyncio.get_running_loop().remove_reader(self._fd)
        self._more.set()

    async def shows(self, text: str) -> None:
        try:
            async with asyncio.timeout(60):
                while text not in self.text:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            pytest.fail(f"no {text!r} on the screen:\n{self.text}")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
