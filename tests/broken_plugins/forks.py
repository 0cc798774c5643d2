"""Broken plugins as processes forked from one that has loaded grpc, which none of them has to load again.

`serve` listens on a socket. A request is one packet, NAME DIRECTORY STATE, with the descriptor of where the plugin
writes; the answers are its process number and, once it has ended, its status. Whoever hangs up kills it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

PACKET_BYTES = 4096


class Server:
    """Forks on request, and knows what it has forked by either descriptor that tells of an end."""

    def __init__(self, path: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(f"{path}.new")
        self.listener.listen(64)
        Path(f"{path}.new").rename(path)  # who finds it can connect
        self.poll = select.poll()
        self.poll.register(self.listener, select.POLLIN)
        self.poll.register(0, select.POLLIN)
        self.running: dict[int, tuple[socket.socket, int, int]] = {}

    def serve(self) -> tuple[str, str, str]:
        """Fork a process for each request until standard input ends; return the request in that process."""
        while True:
            ready = {number for number, _ in self.poll.poll()}
            for number in ready & self.running.keys():
                self.end(number)
            if 0 in ready:
                for number in list(self.running):
                    self.end(number)
                sys.exit()
            if self.listener.fileno() in ready and (request := self.start()):
                return request

    def end(self, number: int) -> None:
        """Bury a process that has ended, or that nobody wants any more, and tell its status."""
        if number not in self.running:
            return  # by its other descriptor
        asking, process, ended = self.running[number]
        for one in (asking.fileno(), ended):
            del self.running[one]
            self.poll.unregister(one)
        os.close(ended)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
        with contextlib.suppress(ConnectionError):
            asking.send(b"%d" % status)
        asking.close()

    def start(self) -> tuple[str, str, str] | None:
        """Fork for whoever asks next; return the request in the new process."""
        asking, _ = self.listener.accept()
        request, (output,), _, _ = socket.recv_fds(asking, PACKET_BYTES, 1)
        process = os.fork()
        if process == 0:  # grpc is unused: its threads do not survive a fork (contract PIT-11)
            os.setsid()
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.closerange(3, 1 << 16)
            name, directory, state = request.decode().split("\0")
            return name, directory, state
        os.close(output)
        ended = os.pidfd_open(process)
        for one in (asking.fileno(), ended):
            self.running[one] = asking, process, ended
            self.poll.register(one, select.POLLIN)
        with contextlib.suppress(ConnectionError):
            asking.send(b"%d" % process)
        return None


def serve(path: str) -> tuple[str, str, str]:
    """Fork a process for each request until standard input ends; return the request in that process."""
    gc.freeze()  # what all of them share need not be looked at, and so not copied, in any
    return Server(path).serve()


@contextlib.asynccontextmanager
async def serving(path: Path, module: str = "tests.broken_plugins") -> AsyncIterator[None]:
    """Run a process that serves; it ends what it forked when it ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, "--serve", str(path),
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip  # the command stays on one line
    assert process.stdin is not None
    try:
        while not path.exists():
            assert process.returncode is None, "it ended"
            await asyncio.sleep(0.01)
        yield
    finally:
        process.stdin.close()
        await process.wait()


class Process:
    """A forked plugin, as far as the kit makes use of an asyncio.subprocess.Process."""

    def __init__(self, server: socket.socket, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    async def wait(self) -> int:
        status = await asyncio.get_running_loop().sock_recv(self._server, 64)
        self._server.close()
        self.returncode = os.waitstatus_to_exitcode(int(status))
        return self.returncode


def _ask(path: str, name: str, directory: str, state: str, output: IO[bytes]) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.connect(path)
    socket.send_fds(server, ["\0".join((name, directory, state)).encode()], [output.fileno()])
    return server


async def execute(command: Sequence[str], environ: dict[str, str], output: IO[bytes]) -> Process:
    """Stand in for the kit's `subject.execute`; a command is the server's socket, a plugin's name and its state file."""
    path, name, state = command
    directory = environ.get("PLUGIN_DIR") or str(Path(environ["PLUGINS_DIR"]).parent)  # a DRA driver has a root
    server = _ask(path, name, directory, state, output)
    server.setblocking(False)
    return Process(server, int(await asyncio.get_running_loop().sock_recv(server, 64)))


@contextlib.contextmanager
def running(path: Path, name: str, directory: Path, state: Path) -> Iterator[None]:
    """Run a plugin that nobody has to start or signal, and kill it at the end."""
    with Path(os.devnull).open("wb") as out, _ask(str(path), name, str(directory), str(state), out):
        yield
