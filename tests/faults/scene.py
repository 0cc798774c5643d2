"""A tree, a fake kubelet and the plugin as a process of its own: what every fault is played on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from fakekubelet import FakeKubelet
from tests.factories import make_tree
from tests.faults import reading
from tests.running import roomy_place

DEADLINE_S = 20.0
"""For what takes milliseconds; a loaded machine must not fail a fault, a broken plugin must."""

R1, R2, R3 = RESOURCES = tuple(f"myplugin.io/mydevice-{number}" for number in (1, 2, 3))
SEED = ("node2/dev1/", "node2/dev2/1", "node2/dev3/1", "node2/dev3/2", "node2/dev3/3")
REPOSITORY = Path(__file__).parents[2]


def has_namespaces() -> bool:
    """Whether we may make user and mount namespaces, where limits and mounts are nobody else's."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return False
    script = "mount -t tmpfs none /mnt && test -w /proc/sys/user/max_inotify_watches"
    return subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, check=False).returncode == 0


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@dataclasses.dataclass(frozen=True)
class Gauge:
    """The plugin at one moment."""

    turn_s: float
    turn_cpu_s: float
    tasks: tuple[str, ...]
    fds: int
    rss_mib: float
    cpu_s: float


class Plugin:
    """The plugin's process, its log and its gauge."""

    def __init__(
        self, process: asyncio.subprocess.Process, reports: asyncio.StreamReader, http_port: int | None
    ) -> None:
        self.process = process
        self.http_port = http_port
        """Of a plugin whose log, which tells the port, goes elsewhere."""
        self.log: list[dict[str, Any]] = []
        self._reports = reports
        self._news = asyncio.Condition()

    @property
    def pid(self) -> int:
        return self.process.pid

    async def read_log(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            with contextlib.suppress(json.JSONDecodeError):
                async with self._news:
                    self.log.append(json.loads(line))
                    self._news.notify_all()
                continue
            async with self._news:
                self.log.append({"event": "not_json", "line": line.decode(errors="replace")})

    async def logged(self, event: str, *, since: int = 0) -> dict[str, Any]:
        """Wait for a log line."""

        def found() -> dict[str, Any] | None:
            return next((entry for entry in self.log[since:] if entry["event"] == event), None)

        try:
            async with asyncio.timeout(DEADLINE_S), self._news:
                await self._news.wait_for(lambda: found() is not None)
        except TimeoutError:
            raise AssertionError(f"no {event} in the log since line {since}, but {self.log[-5:]}") from None
        entry = found()
        assert entry is not None
        return entry

    async def gauge(self) -> Gauge:
        """Ask the plugin for its figures; the longest turn is that since the last time."""
        self.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(DEADLINE_S):
            figures = json.loads(await self._reports.readline())
        proc = Path(f"/proc/{self.pid}")
        pages = int((proc / "statm").read_text().split()[1])
        times = (proc / "stat").read_text().rpartition(")")[2].split()
        return Gauge(
            figures["turn_s"],
            figures["turn_cpu_s"],
            tuple(figures["tasks"]),
            len(list((proc / "fd").iterdir())),
            pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
        )

    async def metric(self, name: str) -> float:
        """The value of a metric without labels, or with those in `name`."""
        url = f"http://127.0.0.1:{self.http_port or (await self.logged('web_serving'))['port']}/metrics"
        async with asyncio.timeout(DEADLINE_S):
            while True:
                with contextlib.suppress(urllib.error.URLError):  # not yet
                    text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
                    break
                await asyncio.sleep(0.01)
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} "))


class Scene:
    """Where a fault is played. `expect` waits; `check` also asks whether anybody else suffered."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "tree"
        self.plugin_dir = directory / "dp"
        self.plugin_dir.mkdir()
        self.kubelet = FakeKubelet(self.plugin_dir, node_name="node")
        self.longest_turn_s = self.longest_turn_cpu_s = 0.0
        self._plugin: Plugin | None = None

    @property
    def plugin(self) -> Plugin:
        assert self._plugin is not None, "the plugin does not run"
        return self._plugin

    def path(self, name: str) -> Path:
        return self.root / name

    def write(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)

    async def shell(self, command: str, *, inside: bool = False) -> None:
        """Run a command in the root; `inside` the plugin's namespaces if told so."""
        enter = ["nsenter", "-t", str(self.plugin.pid), "-U", "-m", "--preserve-credentials"] if inside else []
        process = await asyncio.create_subprocess_exec(
            *enter, "sh", "-ec", f"cd {self.directory}; {command}", stderr=asyncio.subprocess.PIPE
        )
        _, stderr = await process.communicate()
        assert process.returncode == 0, (command, stderr.decode())

    @contextlib.asynccontextmanager
    async def running(
        self, *flags: str, before: str = "", redirect: str = "", namespaces: bool = False
    ) -> AsyncIterator[Plugin]:
        """Run the plugin; `before` is shell that runs in its place first, in namespaces of its own.

        With `redirect`, as a shell has it, its log goes elsewhere, and nothing is `logged` that a fault could wait for.
        """
        receive, send = os.pipe()
        http_port = free_port() if redirect else None
        command = [
            sys.executable, "-m", "tests.faults.probe", str(send), "--",
            "--root", str(self.root), "--plugin-dir", str(self.plugin_dir), "--log-format", "json",
            *(("--pod-resources", "") if "--pod-resources" not in flags else ()),
            *(("--reconcile", "0") if "--reconcile" not in flags else ()),
            *(("--vanished-grace", "0") if "--vanished-grace" not in flags else ()),
            *(("--http", f"127.0.0.1:{http_port}") if http_port else ()),
            *flags,
        ]  # fmt: skip  # a flag beside its value
        if namespaces:
            command = ["unshare", "-Urm", "sh", "-ec", f'{before or ":"}; exec "$@"', "sh", *command]
        if redirect:
            command = ["sh", "-ec", f'exec "$@" {redirect}', "sh", *command]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=REPOSITORY, pass_fds=[send], stderr=asyncio.subprocess.PIPE, limit=1 << 22
        )
        os.close(send)
        assert process.stderr is not None
        # We may be busy with a list of 50,000 for a second, and a log that nobody reads holds up who writes it.
        pipe = process.stderr._transport.get_extra_info("pipe")  # type: ignore[attr-defined]
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)
        reports = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reports), os.fdopen(receive, "rb", 0)
        )
        plugin = self._plugin = Plugin(process, reports, http_port)
        reader = asyncio.create_task(plugin.read_log(), name="log of the plugin")
        try:
            yield plugin
        finally:
            self._plugin = None
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                    process.terminate()
                try:
                    async with asyncio.timeout(DEADLINE_S):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()
                    raise AssertionError("the plugin did not end by SIGTERM") from None
            await reader
            transport.close()
        crashes = [entry for entry in plugin.log if entry["event"] == "not_json"]
        assert process.returncode in (0, -signal.SIGKILL), (process.returncode, crashes)

    async def until(self, predicate: Callable[[], Any], *, timeout_s: float = DEADLINE_S) -> None:
        await self.kubelet.wait_for(predicate, timeout=timeout_s)

    def told(self) -> dict[str, dict[str, tuple[str, tuple[int, ...]]]]:
        """What the kubelet was told last, of each resource that a plugin serves now."""
        return {
            resource: dict(self.kubelet.history(resource)[-1].devices)
            for resource in tuple(self.kubelet._history)
            if self.kubelet.live_streams(resource) and self.kubelet.history(resource)
        }

    async def converged(self, *, timeout_s: float = DEADLINE_S, root: Path | None = None) -> None:
        """Wait until what the kubelet was told is what the tree says, read independently."""
        wanted = reading.read(root or self.root)
        await self.until(lambda: self.told() == wanted, timeout_s=timeout_s)

    async def serves_others(self, device: str = "node2/dev3/1", *, root: Path | None = None) -> None:
        """Flip a device there and back, and see both in the kubelet's list."""
        at, device_id = root or self.root, device.replace("/", "-")
        for word in ("unhealthy", "healthy"):
            (at / device / "health").write_text(f"{word}\n")
            await self.until(lambda word=word: self.kubelet.devices(R3).get(device_id) == word.capitalize())

    async def gauge(self) -> Gauge:
        gauge = await self.plugin.gauge()
        self.longest_turn_s = max(self.longest_turn_s, gauge.turn_s)
        self.longest_turn_cpu_s = max(self.longest_turn_cpu_s, gauge.turn_cpu_s)
        return gauge

    async def warm(self) -> None:
        """Get over what happens once: registration, first flip, late imports."""
        await self.converged()
        await self.serves_others()
        if self.plugin.http_port is None:  # else its log is not ours to read
            await self.plugin.logged("started")  # written once what can wait is loaded
        await self.plugin.gauge()


@contextlib.asynccontextmanager
async def scene(*paths: str) -> AsyncIterator[Scene]:
    """Set up a tree (the seed's second node unless told otherwise) and a kubelet."""
    directory = Path(tempfile.mkdtemp(prefix="fhw-", dir=roomy_place() if len(paths) > 50 else "/tmp"))
    try:
        one = Scene(directory)
        make_tree(one.root, *(paths or SEED))
        async with one.kubelet:
            yield one
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def playing(*flags: str, paths: Sequence[str] = (), **more: Any) -> AsyncIterator[Scene]:
    """A scene with the plugin on it, warmed up."""
    async with scene(*paths) as one, one.running(*flags, **more):
        await one.warm()
        yield one
