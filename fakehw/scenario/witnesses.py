"""Where receipts come from: the plugin's JSON log, followed as it grows, and a kubelet's PodResources socket."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from fakehw import inotify, layout, output
from fakehw.errors import InputError
from fakehw.scenario.receipts import REMOVED, State
from fakehw.view import pod_resources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from fakehw.scenario.receipts import Ledger

ASK_EVERY_S: Final = 0.02
"""Half the rate that a kubelet allows (contract PR-7); only asked while a change is on its way."""

_CHUNK: Final = 1 << 16
_WORDS: Final = {"healthy": "Healthy", "unhealthy": "Unhealthy", "removed": REMOVED}


class PluginLog:
    """The JSON log of a plugin, from now on: a file that grows, or `-` for standard input."""

    def __init__(self, path: str, *, resources: Mapping[str, str | None]) -> None:
        self._path = path
        self._resources = resources
        self._ids = {layout.slice_name(device_id): device_id for device_id in resources}
        self._fd: int | None = None

    def open(self) -> None:
        """Go to the end of the log; what comes from now on counts."""
        if self._path == "-":
            output.given("--plugin-log -")
            return
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}: must be the plugin's log (--plugin-log)") from None
        with contextlib.suppress(OSError):  # a pipe has no end to go to
            os.lseek(self._fd, 0, os.SEEK_END)

    async def run(self, ledger: Ledger) -> None:
        """Carry what the plugin says to `ledger`, until cancelled."""
        rest = b""
        async for chunk in self._chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line, ledger)

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._path == "-":
            reader = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            while chunk := await reader.read(_CHUNK):
                yield chunk
            return
        assert self._fd is not None
        with inotify.Watch[None]() as watch:
            watch.add(self._path, None, inotify.MODIFY)
            while True:
                while chunk := os.read(self._fd, _CHUNK):
                    yield chunk
                await watch.wait()
                watch.events()

    def _take(self, line: bytes, ledger: Ledger) -> None:
        try:
            entry: dict[str, Any] = json.loads(line[line.index(b"{") :])  # kubectl logs --prefix puts a name before it
            at = datetime.datetime.fromisoformat(entry["timestamp"]).timestamp()
            ledger.hear_plugin(at)
            if entry["event"] == "device_changed":
                ledger.observe_plugin(at, entry["device_id"], State(entry["health"], entry["reason"]))
            elif entry["event"] == "more_devices_changed":
                resource = entry["resource"]
                its = frozenset(known for known, of in self._resources.items() if of == resource)
                ledger.observe_unnamed(at, entry["devices"], its.__contains__)
            elif entry["event"] == "slice_written":
                for word, health in _WORDS.items():
                    for name in filter(None, entry.get(word, "").split(", ")):
                        ledger.observe_slice(at, self._ids.get(name, name), health)
        except (ValueError, KeyError, TypeError):
            return  # another program's line, or one for people

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)


class Kubelets:
    """What kubelets say is allocatable; all of them together, because a scenario may touch several nodes."""

    def __init__(self, sockets: Iterable[Path]) -> None:
        self._sockets = tuple(sockets)

    async def run(self, ledger: Ledger) -> None:
        """Ask while a change is on its way, until cancelled. A kubelet that does not answer is asked again."""
        while True:
            if ledger.is_waiting_to_land:
                asked_at = time.time()
                answers = await asyncio.gather(*map(pod_resources.allocatable, self._sockets), return_exceptions=True)
                known = [answer for answer in answers if not isinstance(answer, BaseException)]
                for answer in answers:
                    if isinstance(answer, BaseException) and not isinstance(answer, pod_resources.UnknownError):
                        raise answer
                ledger.observe_kubelet(
                    asked_at, time.time(), frozenset().union(*known), is_whole=len(known) == len(answers)
                )
            await asyncio.sleep(ASK_EVERY_S)


@contextlib.asynccontextmanager
async def listening(
    ledger: Ledger,
    plugin_logs: Iterable[str],
    sockets: Sequence[Path],
    *,
    resources: Mapping[str, str | None],
    tell: Callable[[str], None],
) -> AsyncIterator[bool]:
    """Carry what all witnesses say to `ledger` for a block; gives whether there are any.

    One that ends is told of: what it would have said will be missing from the receipts.
    """
    logs = {f"plugin log {path}": PluginLog(path, resources=resources) for path in plugin_logs}

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            tell(f"{task.get_name()}: is not listened to any more: {error}")

    with contextlib.ExitStack() as stack:
        for log in logs.values():
            log.open()
            stack.callback(log.close)
        tasks = [asyncio.create_task(log.run(ledger), name=name) for name, log in logs.items()]
        if sockets:
            tasks.append(asyncio.create_task(Kubelets(sockets).run(ledger), name="PodResources"))
        for task in tasks:
            task.add_done_callback(ended)
        try:
            yield bool(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
