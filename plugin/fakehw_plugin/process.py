"""The plugin as a process: what it does on signals, and in which order it loads what it needs.

It should be registered as soon as it can. All that is done for that is named here:

- `cli` imports nothing but the configuration, so that `--help` and a bad flag are answered at once;
- structlog loads after the first registration: the lines wait, with their times (`logs.defer`);
- so do metrics, the web server, protobuf, the kubelet's messages and all that answers its calls (`deviceplugin.load`),
  in a thread that gives way to the loop at once (`LOADING_SWITCH_S`) and after each module (`LOADING_PAUSE_S`);
- Register and the list of devices are encoded by hand (`deviceplugin.wire`), so that protobuf can wait;
- the garbage collector is off until all is loaded: it would look through the same modules again and again. What is
  there then is frozen, because it stays;
- libc is looked for in this process and not by ldconfig (`inotify`), and structlog loads without rich (`logs`);
- what is loaded before the registration has no dataclasses: making one takes as long as making three named tuples.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from fakehw_plugin import errors, logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fakehw_plugin.config import Config
    from fakehw_plugin.daemon import Daemon

PATIENCE_S: Final = 0.5
"""How long logs, metrics and protobuf wait for the first registration before they are loaded all the same."""

WEB_RETRY_S: Final = 5.0
READING_PATIENCE_S: Final = 5.0
"""How long they wait at the most while the tree is read for the first time, which a list needs as well."""

LOAD_RETRY_S: Final = 0.5
LOADING_SWITCH_S: Final = 0.0005
"""How long the thread that loads may keep the interpreter while the loop wants it; Python's own is ten times that."""

LOADING_PAUSE_S: Final = 0.001
"""How long that thread sleeps before each module: while it runs, every system call of the loop can cost it a turn."""

MAX_LOADING_FAILURES: Final = 3
"""In a row, each with descriptors to be had right after it."""

GRPC_EXPERIMENTS: Final = "-event_engine_listener"
"""gRPC's older way of listening, unless the environment has a word of its own: it hands a call from thread to thread
less often, which saves a seventh of the processor's time (docs/speed.md). Must be said before gRPC is loaded; a release
that does not know it any more would write two lines about that, and our tests of what is logged would fail."""

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


def occupy_standard_streams() -> None:
    """Put /dev/null where standard input, output or error was closed: else the next file or socket would be it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one: it is low for programs that use select, and we do not.

    A resource takes three, and six while it registers.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # a hard limit above what the kernel allows now
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(config: Config, *, log_level: str, log_format: str) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP."""
    # gRPC's own lines, about sockets that went away as they should, would stand between ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_EXPERIMENTS", GRPC_EXPERIMENTS)
    raise_open_files()
    logs.defer(level=log_level, format_=log_format)
    gc.disable()
    try:
        import fakehw_plugin.daemon  # noqa: F401  # before there is a loop, for which it would be one long turn

        asyncio.run(_serve(config))
    finally:
        gc.enable()
        logs.load()


async def _serve(config: Config) -> None:
    """Run the plugin until a signal ends it."""
    from fakehw_plugin.daemon import Daemon

    running = asyncio.create_task(_run(Daemon(config)), name="plugin")
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, running.cancel)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        loop.add_signal_handler(signal.SIGHUP, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        if not running.cancelled():
            raise  # not by a signal


async def _run(daemon: Daemon) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(daemon.run(), name="daemon")
        await _wait_for_registration(daemon)
        switch = sys.getswitchinterval()
        sys.setswitchinterval(LOADING_SWITCH_S)
        try:
            version = await _load_patiently(daemon.config)
        finally:
            sys.setswitchinterval(switch)
        logs.load()
        gc.freeze()
        gc.enable()
        if daemon.config.http is not None:
            await _serve_web(daemon, daemon.config.http, version)


async def _wait_for_registration(daemon: Daemon) -> None:
    """Wait for the first registration, and no longer than it is likely to come soon."""
    give_up = time.monotonic() + READING_PATIENCE_S
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await daemon.first_live.wait()
                return
        if not daemon.pump.is_reading or time.monotonic() > give_up:
            return


async def _load_patiently(config: Config) -> str:
    """Load the rest, in a thread: it takes longer than anybody in the loop should have to wait.

    For want of descriptors it is tried again: that is the world not being ready. Any other failure is a bug.
    """
    failures = 0
    while True:
        try:
            return await asyncio.to_thread(_load_the_rest, config)
        except (OSError, ImportError):
            failures = 0 if _has_no_descriptor() else failures + 1
            if failures == MAX_LOADING_FAILURES:
                raise
            await asyncio.sleep(LOAD_RETRY_S)


def _has_no_descriptor() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False


def _load_the_rest(config: Config) -> str:
    """Import what is needed from now on; return the version of the distribution, which is read from files."""
    with _pausing():
        from importlib import metadata

        from fakehw_plugin import deviceplugin

        logs.preload()
        deviceplugin.load(pod_resources=config.pod_resources is not None)
        if config.http is None:
            return ""
        from fakehw_plugin import metrics, web  # noqa: F401  # what _serve_web takes

        return metadata.version("fakehw")


class _Pauses:
    """A finder of modules that finds none, and lets a thread sleep before the others look."""

    def __init__(self, thread: int) -> None:
        self._thread = thread

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Sleep, if it is this thread's module."""
        if threading.get_ident() == self._thread:
            time.sleep(LOADING_PAUSE_S)


@contextlib.contextmanager
def _pausing() -> Iterator[None]:
    """Have this thread sleep before each module that it loads."""
    pauses = _Pauses(threading.get_ident())
    sys.meta_path.insert(0, pauses)
    try:
        yield
    finally:
        sys.meta_path.remove(pauses)


async def _serve_web(daemon: Daemon, address: tuple[str, int], version: str) -> None:
    """Serve metrics and probes; a port that is taken is the world not being ready."""
    from fakehw_plugin import metrics, web

    pages, log = metrics.pages(daemon, version=version), logs.get_logger()
    while True:
        try:
            async with web.WebServer(address, pages):
                await asyncio.Event().wait()
        except errors.EndpointError as error:
            log.warning("web_not_serving", error=str(error), retry_in_s=WEB_RETRY_S)
            await asyncio.sleep(WEB_RETRY_S)
