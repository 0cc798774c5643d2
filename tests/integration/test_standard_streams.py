"""What is only for people to read never decides over the service: logs that nobody takes, signals, colors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from fakekubelet import FakeKubelet
from tests.running import DEADLINE_S, listed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RESOURCES = [f"myplugin.io/mydevice-{number}" for number in (1, 2, 3)]


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def plugin(
    root: Path, plugin_dir: Path, *more: str, redirect: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "fakehw_plugin", "--root", str(root), "--plugin-dir", str(plugin_dir), *more]
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f'exec "$@" {redirect}', "sh", *command, "--pod-resources", "",
        stdout=subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip  # a flag beside its value
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            await process.communicate()


async def lost(port: int) -> float:
    def ask() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line for line in lines if line.startswith("fakehw_log_lines_lost_total ")).split()[1])

    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(OSError):
                return await asyncio.to_thread(ask)
            await asyncio.sleep(0.01)  # until it listens


@pytest.mark.parametrize(
    "redirect",
    [
        pytest.param("2>/dev/full", id="its disk is full"),
        pytest.param("2>&-", id="it was closed"),
        pytest.param("<&- >&- 2>&-", id="all three were closed"),
    ],
)
async def test_the_service_goes_on_where_standard_error_takes_nothing(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, redirect: str
) -> None:
    port = free_port()
    async with plugin(root, plugin_dir, "--http", f"127.0.0.1:{port}", redirect=redirect) as process:
        await listed(kubelet, RESOURCES)
        await kubelet.restart()
        await listed(kubelet, RESOURCES)
        assert await lost(port) >= 4, "started and three times registered"
        process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    assert not list(plugin_dir.glob("fakehw-*.sock"))


async def test_the_service_goes_on_when_the_reader_of_its_log_goes(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    port = free_port()
    read, write = os.pipe()
    command = [sys.executable, "-m", "fakehw_plugin", "--root", str(root), "--plugin-dir", str(plugin_dir)]
    process = await asyncio.create_subprocess_exec(
        *command, "--pod-resources", "", "--http", f"127.0.0.1:{port}", stderr=write
    )
    os.close(write)
    try:
        await listed(kubelet, RESOURCES)
        os.close(read)
        await kubelet.restart()
        await listed(kubelet, RESOURCES)
        assert await lost(port) > 0
    finally:
        process.terminate()
        assert await process.wait() == 0


async def test_a_reader_that_does_not_read_holds_up_nobody(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    """64 KiB fit into the pipe; a flapping device writes more."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "fakehw_plugin", "--root", str(root), "--plugin-dir", str(plugin_dir)]
    process = await asyncio.create_subprocess_exec(
        *command, "--pod-resources", "", "--log-level", "debug", stderr=write
    )
    os.close(write)
    health = root / "node2/dev3/2/health"
    try:
        await listed(kubelet, RESOURCES)
        for number in range(400):
            health.write_text(f"unhealthy {number} {'x' * 200}\n")
            word = "healthy" if number % 2 else "unhealthy"
            health.write_text(f"{word} {number} {'x' * 200}\n")
            await kubelet.wait_for(
                lambda word=word: kubelet.devices(RESOURCES[2])["node2-dev3-2"] == word.capitalize(), timeout=DEADLINE_S
            )
    finally:
        process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
        os.close(read)


async def test_a_hang_up_ends_the_plugin_and_leaves_no_socket(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with plugin(root, plugin_dir) as process:
        await listed(kubelet, RESOURCES)
        process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    assert not list(plugin_dir.glob("fakehw-*.sock"))


async def test_under_nohup_a_hang_up_is_no_matter(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    command = [sys.executable, "-m", "fakehw_plugin", "--root", str(root), "--plugin-dir", str(plugin_dir)]
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command, "--pod-resources", "", stderr=subprocess.DEVNULL
    )
    try:
        await listed(kubelet, RESOURCES)
        process.send_signal(signal.SIGHUP)
        await kubelet.restart()
        await listed(kubelet, RESOURCES)
        assert process.returncode is None
    finally:
        process.terminate()
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "redirect", "code"),
    [
        pytest.param(["--help"], ">/dev/full", 1, id="help to a full disk"),
        pytest.param(["--version"], ">&-", 1, id="version to nowhere"),
        pytest.param(["--version"], "", 0, id="version"),
        pytest.param(["--reconcile", "x"], "2>/dev/full", 2, id="a bad flag, a full disk"),
        pytest.param(["--reconcile", "x"], "2>&-", 2, id="a bad flag, no standard error"),
        pytest.param(["--root", "\udcff"], "", 2, id="a root that is not UTF-8"),
    ],
)
def test_exit_codes_do_not_depend_on_who_reads(arguments: list[str], redirect: str, code: int) -> None:
    command = ["sh", "-c", f'"$@" {redirect}', "sh", sys.executable, "-m", "fakehw_plugin", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)

    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    if code == 2 and not redirect:
        assert done.stderr.count(b"\n") == 1
