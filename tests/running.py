"""Things that run while a test looks at them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import struct
import sys
import tempfile
import types
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fakehw_plugin.daemon import Daemon
from fakekubelet import FakeKubelet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, MutableMapping

    from fakehw_plugin.config import Config

DEADLINE_S = 20.0
"""For things that take milliseconds: a loaded machine must not fail a test, a broken plugin must."""


@contextlib.asynccontextmanager
async def soon(what: str) -> AsyncIterator[None]:
    """Have what a block waits for come within the deadline; what did not come fails the test by its name."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield
    except TimeoutError:
        pytest.fail(f"{what} did not come in {DEADLINE_S:.0f} s")


def roomy_place() -> str:
    """Return where many small files cost little and find room."""
    memory = "/dev/shm"
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1 << 30:
        return memory
    return "/tmp"


@contextlib.contextmanager
def fresh_directory(place: str) -> Iterator[Path]:
    """Make a directory with a short path in `place`, and remove it at the end."""
    path = Path(tempfile.mkdtemp(prefix="fhw-", dir=place))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


_READ_AND_WRITE_ALL = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which modes concern root no more."""


@contextlib.contextmanager
def heeding_modes() -> Iterator[None]:
    """Let modes concern this thread even if it is root's: of what another user owns it may do what others may.

    It stays root, so that what lies in a directory of root's own can still be imported.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    held = ctypes.create_string_buffer(24)
    assert libc.capget(header, held) == 0
    effective, *others = struct.unpack("=6I", held)
    fewer = effective & ~sum(1 << number for number in _READ_AND_WRITE_ALL)
    assert libc.capset(header, ctypes.create_string_buffer(struct.pack("=6I", fewer, *others))) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0


def command_heeding_modes(*command: str) -> list[str]:
    """Return *command* as it is run by somebody whom modes concern; see `heeding_modes`."""
    code = (
        f"import ctypes, os, sys\nfor number in {_READ_AND_WRITE_ALL}: ctypes.CDLL(None).prctl(24, number, 0, 0, 0)\n"
    )
    return [sys.executable, "-c", f"{code}os.execv(sys.argv[1], sys.argv[1:])", *command]


SETTINGS = ("NODE_NAME", "FAKEHW_", "NO_COLOR", "FORCE_COLOR", "PLUGIN_DIR", "POD_RESOURCES")
"""How the names of variables begin that our commands read; some of them are anybody's."""


def forget_settings(environ: MutableMapping[str, str]) -> None:
    """Take out what a shell or a CI system has set for the commands: the tests are not about it."""
    for name in [name for name in environ if name.startswith(SETTINGS)]:
        del environ[name]


@contextlib.asynccontextmanager
async def running_daemon(config: Config) -> AsyncIterator[Daemon]:
    """Run the plugin in this process."""
    daemon = Daemon(config)
    task = asyncio.create_task(daemon.run(), name="daemon under test")
    try:
        yield daemon
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def running_plugin(*arguments: str, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the plugin as a command, as users do."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fakehw_plugin", *arguments,
        env={"PATH": os.environ["PATH"], **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip  # the command stays on one line
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def running_fakehw(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `fakehw` as a command, as users do."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fakehw", *arguments, env={"PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip  # the command stays on one line
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def commands_with(text: str) -> list[str]:
    """Return the command lines on this machine, of whoever, that have `text` in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # ended meanwhile
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [command for command in found if text in command]


async def listed(kubelet: FakeKubelet, resources: Iterable[str]) -> None:
    """Wait until the kubelet has a list of every resource."""
    await kubelet.wait_for(lambda: all(kubelet.history(resource) for resource in resources), timeout=DEADLINE_S)


async def devices_are(kubelet: FakeKubelet, resource: str, expected: dict[str, str]) -> None:
    """Wait until the kubelet's view of `resource` is `expected`."""
    await kubelet.wait_for(lambda: kubelet.devices(resource) == expected, timeout=DEADLINE_S)


async def shell(command: str, cwd: Path) -> None:
    """Run a shell command as a person would, from the root of the tree."""
    process = await asyncio.create_subprocess_exec("sh", "-ec", command, cwd=cwd)
    assert await process.wait() == 0, command


async def grpc_ended(before: Iterable[asyncio.Task[object]]) -> None:
    """Wait for grpcio's own tasks, which end by themselves a moment after their call was cut, for a second at most.

    Ours have names and are written in Python; grpcio's have none or are not.
    """
    others = asyncio.all_tasks() - {*before, asyncio.current_task()}
    own = {task for task in others if _is_python(task) and not task.get_name().startswith("Task-")}
    if others - own:
        await asyncio.wait(others - own, timeout=1.0)


def _is_python(task: asyncio.Task[object]) -> bool:
    return isinstance(task.get_coro(), types.CoroutineType)


def has_ended(pid: int) -> bool:
    """Tell whether a process has ended, be it that nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
