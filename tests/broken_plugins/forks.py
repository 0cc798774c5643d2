"""Broken plugins as processes forked from one that has loaded grpc, which is a tenth of the work of starting each.

`serve` listens on a socket. A request is one packet, NAME DIRECTORY STATE, with the descriptor of where the plugin
writes; the answers are its process number and, once it has ended, its status. Whoever hangs up kills it. The command
of one such plugin, for the kit to start and to signal, is `command`.
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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

STAND_IN = Path(__file__).with_name("stand_in.py")
PACKET_BYTES = 4096


def serve(path: str) -> tuple[str, str, str]:
    """Fork a process for each request, until killed; return the request in that process."""
    gc.freeze()  # what all of them share need not be looked at, and so not copied, in any
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    children: dict[int, tuple[socket.socket, int, int]] = {}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ready = {number for number, _ in poll.poll()}
        # Ends come before starts, so that none is forked while one that was killed before still lives.
        for number in ready - {listener.fileno()}:
            if number in children:
                asking, process, ended = children.pop(number)
                children.pop(ended if number == asking.fileno() else asking.fileno())
                poll.unregister(asking)
                poll.unregister(ended)
                if number == asking.fileno():
                    os.kill(process, signal.SIGKILL)
                status = os.waitpid(process, 0)[1]
                with contextlib.suppress(ConnectionError):
                    asking.send(b"%d" % status)
                asking.close()
                os.close(ended)
        if listener.fileno() in ready:
            asking, _ = listener.accept()
            request, descriptors, _, _ = socket.recv_fds(asking, PACKET_BYTES, 1)
            if not request:  # killed before it could ask
                asking.close()
                continue
            if (process := os.fork()) == 0:  # grpc is unused: its threads do not survive a fork (contract PIT-11)
                os.dup2(descriptors[0], 1)
                os.dup2(descriptors[0], 2)
                os.closerange(3, 1 << 16)
                name, directory, state = request.decode().split("\0")
                return name, directory, state
            os.close(descriptors[0])
            ended = os.pidfd_open(process)
            children[asking.fileno()] = children[ended] = asking, process, ended
            poll.register(asking, select.POLLIN)
            poll.register(ended, select.POLLIN)
            with contextlib.suppress(ConnectionError):
                asking.send(b"%d" % process)


@contextlib.asynccontextmanager
async def serving(path: Path) -> AsyncIterator[None]:
    """Run a process that serves; end it, and all that it forked, at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.broken_plugins", "--serve", str(path), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip  # the command stays on one line
    try:
        while not path.exists():
            assert process.returncode is None, "it ended"
            await asyncio.sleep(0.01)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def command(path: Path, name: str, state: Path) -> list[str]:
    """Return the command that stands for a plugin; its directory comes in PLUGIN_DIR, as to any subject of the kit."""
    return [sys.executable, "-I", "-S", str(STAND_IN), str(path), name, str(state)]


@contextlib.contextmanager
def running(path: Path, name: str, directory: Path, state: Path) -> Iterator[None]:
    """Run a plugin that nobody has to start or signal, and kill it at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server, Path(os.devnull).open("wb") as out:
        server.connect(str(path))
        socket.send_fds(server, ["\0".join((name, str(directory), str(state))).encode()], [out.fileno()])
        yield
