"""The fleet's process, and what it and others cost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
PORT: Final = 19_120


@dataclass(frozen=True)
class Cost:
    """What a process has used by a moment."""

    at: float
    cpu_s: float
    rss_mib: float

    @classmethod
    def of(cls, *pids: int) -> Cost:
        """Read it from /proc, for all of them together."""
        costs = [cls._of(pid) for pid in pids]
        return cls(costs[0].at, sum(cost.cpu_s for cost in costs), sum(cost.rss_mib for cost in costs))

    @classmethod
    def _of(cls, pid: int) -> Cost:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
        return cls(time.monotonic(), cpu_s, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    def percent_since(self, before: Cost) -> float:
        """Return which part of a core was used since then, in percent."""
        return 100 * (self.cpu_s - before.cpu_s) / (self.at - before.at)


@dataclass
class FleetProcess:
    """`fakehw-fleet up` as a user runs it."""

    spec: Path
    nodes: int
    home: Path
    status_every: str = "10s"
    processes: int = 1
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process's number."""
        assert self.process is not None
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """Return it, and those of the processes that it has started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def start(self) -> None:
        """Begin; the cluster is that of KUBECONFIG."""
        command = [
            sys.executable, "-m", "fakehw_fleet", "up", str(self.spec), "--nodes", str(self.nodes), "--plain",
            "--kubeconfig", "--name", "figures", "--state", str(self.home / "s"), "--root", str(self.home / "tree"),
            "--processes", str(self.processes), "--status-every", self.status_every, "--http", f"127.0.0.1:{PORT}",
        ]  # fmt: skip  # a flag beside its value
        with (self.home / "fleet.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)  # our own command

    def kill(self) -> None:
        """End it as the machine would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it as Ctrl-C does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(300)
            self.process.kill()
            self.process.wait()

    def requests(self) -> Counter[str]:
        """Return what it has asked the API server for, by verb and resource."""
        found: Counter[str] = Counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=60) as answer:  # our own
            for line in answer.read().decode().splitlines():
                if line.startswith("fakehw_fleet_api_requests_total{"):
                    labels, _, value = line.partition("{")[2].partition("} ")
                    _, resource, _, verb, _ = labels.split('"')
                    found[f"{verb} {resource}"] = int(float(value))
        return found


@dataclass
class ServerProcess:
    """An API server of this machine, that is stopped and started again as it was."""

    pid: int

    async def away(self, seconds: float) -> None:
        """Stop it for so long, and start it again with the command that it was started with."""
        command = Path(f"/proc/{self.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        directory = Path(f"/proc/{self.pid}/cwd").readlink()
        os.kill(self.pid, signal.SIGTERM)
        try:
            while self._is_there():  # noqa: ASYNC110  # a process of another rings no bell
                await asyncio.sleep(0.1)
            await asyncio.sleep(seconds)
        finally:
            with (directory / "api-again.log").open("wb") as log:
                self.pid = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, start_new_session=True).pid  # noqa: ASYNC220  # it stays

    def _is_there(self) -> bool:
        try:
            Path(f"/proc/{self.pid}/exe").readlink()  # a zombie has none
        except OSError:
            return False
        return True
