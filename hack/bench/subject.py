"""What is measured: a plugin's command, its tree and its process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = (
    f"{sys.executable} -m fakehw_plugin --root {{root}} --plugin-dir {{plugin_dir}} --pod-resources ''"
    " --http 127.0.0.1:0"
)
RESOURCE = "bench.example/device"


@dataclass(frozen=True)
class Stage:
    """A tree of `count` devices and a directory for a kubelet."""

    base: Path
    count: int

    @property
    def root(self) -> Path:
        """Return the root of the tree."""
        return self.base / "tree"

    @property
    def plugin_dir(self) -> Path:
        """Return where the kubelet listens."""
        return self.base / "p"

    def health(self, number: int) -> Path:
        """Return the health file of a device."""
        return self.root / "n" / "dev1" / str(number) / "health"

    def last_words(self) -> str:
        """Return the last line that the plugin wrote, for an error."""
        lines = (self.base / "log").read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it wrote nothing"


@contextlib.contextmanager
def stage(count: int) -> Iterator[Stage]:
    """Make a stage in memory (/dev/shm) where there is one, so that no disk is measured."""
    memory = os.access("/dev/shm", os.W_OK)  # noqa: S108  # mkdtemp makes a name of its own in it
    base = Path(tempfile.mkdtemp(prefix="fb-", dir="/dev/shm" if memory else "/tmp"))  # noqa: S108  # short, for sockets
    one = Stage(base, count)
    one.plugin_dir.mkdir()
    class_dir = one.root / "n" / "dev1"
    class_dir.mkdir(parents=True)
    (class_dir / "resource").write_text(f"{RESOURCE}\n")
    for number in range(1, count + 1):
        directory = class_dir / str(number)
        directory.mkdir()
        (directory / "health").write_text("healthy\n")
        (directory / "numa_node").write_text("1\n")
    try:
        yield one
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextlib.contextmanager
def running(command: str, one: Stage) -> Iterator[subprocess.Popen[bytes]]:
    """Run a plugin's command; `{root}`, `{plugin_dir}`, `{count}` and `{resource}` are filled in."""
    text = command.format(root=one.root, plugin_dir=one.plugin_dir, count=one.count, resource=RESOURCE)
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    log = (one.base / "log").open("wb")
    process = subprocess.Popen(["sh", "-c", f"exec {text}"], stdout=log, stderr=log, env=environ)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def rss_kib(pid: int) -> int:
    """Return the resident memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def cpu_and_slices(pid: int) -> tuple[float, int]:
    """Return CPU milliseconds and time slices (wake-ups) of all threads so far."""
    nanoseconds = slices = 0
    for path in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            run, _, count = (path / "schedstat").read_text().split()
            nanoseconds += int(run)
            slices += int(count)
    return nanoseconds / 1e6, slices


def now() -> float:
    """Return the clock that everything is measured with."""
    return time.perf_counter()
