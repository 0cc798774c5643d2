"""What no plugin can beat on this machine: measured in the same run, with the same client.

`python -m hack.bench.floors KIND ...` is the other process of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import sys


def echo(path: str) -> None:
    """Send back what comes in on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        connection, _ = server.accept()
        while data := connection.recv(65536):
            connection.sendall(data)


def hop(path: str, directories: list[str], payload_bytes: int) -> None:
    """Wait for inotify events in `directories` and send that many bytes for each: a plugin without anything else."""
    import inotify_simple

    inotify = inotify_simple.INotify()
    for directory in directories:
        inotify.add_watch(directory, inotify_simple.flags.CLOSE_WRITE)
    payload = b"x" * payload_bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        connection, _ = server.accept()
        poll = select.poll()
        poll.register(inotify, select.POLLIN)
        while True:
            poll.poll()
            if inotify.read(timeout=0):
                connection.sendall(payload)


def read(root: str) -> None:
    """Import grpc, then make the system calls of a first reading of `root`, and nothing of what they say.

    Those of the scanner for each device, found with strace: a look at the directory, a watch, two files.
    """
    import grpc  # noqa: F401  # no plugin on this stack starts without it
    import inotify_simple

    inotify = inotify_simple.INotify()
    flags = inotify_simple.flags
    mask = flags.MODIFY | flags.ATTRIB | flags.CLOSE_WRITE | flags.CREATE | flags.DELETE | flags.DELETE_SELF
    directory_flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY
    file_flags = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    class_path = f"{root}/n/dev1"
    class_fd = os.open(class_path, directory_flags)
    for name in os.listdir(class_fd):  # noqa: PTH208  # as the scanner does
        if not name.isdecimal():
            continue
        os.stat(name, dir_fd=class_fd, follow_symlinks=False)
        inotify.add_watch(f"{class_path}/{name}", mask)
        fd = os.open(name, directory_flags, dir_fd=class_fd)
        for attribute in ("health", "numa_node"):
            os.stat(attribute, dir_fd=fd, follow_symlinks=False)
            file_fd = os.open(attribute, file_flags, dir_fd=fd)
            os.fstat(file_fd)
            os.read(file_fd, 4097)
            os.close(file_fd)
        with contextlib.suppress(FileNotFoundError):
            os.stat("node", dir_fd=fd, follow_symlinks=False)
        os.close(fd)


async def bare(path: str) -> None:
    """Answer Allocate with a constant, by the same gRPC stack that the plugin uses."""
    import grpc

    async def constant(request: bytes, context: object) -> bytes:
        return b"\n\x00"

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handler = grpc.unary_unary_rpc_method_handler(constant)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", {"Allocate": handler}),)
    )
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    kind, path, *rest = sys.argv[1:]
    os.environ["GRPC_VERBOSITY"] = "NONE"
    if kind == "echo":
        echo(path)
    elif kind == "read":
        read(path)
    elif kind == "hop":
        hop(path, rest[1:], int(rest[0]))
    else:
        asyncio.run(bare(path))
