"""The plugin as a process: what is loaded when, what a signal ends, what is tried again; in no time."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import daemon as daemon_module
from fakehw_plugin import deviceplugin, errors, logs, metrics, process, web
from tests.timeless import elapsed, running, settled, timeless, until


class Daemon:
    """A daemon that a test lets become live."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.first_live = asyncio.Event()
        self.pump = SimpleNamespace(is_reading=False)
        self.ended = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


class Scene:
    """A process of which what it loads and configures is only noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, http: Any = None) -> None:
        self.noted: list[Any] = []
        self.daemon: Any = None
        self.config: Any = SimpleNamespace(http=http, pod_resources=None)
        self.failing: list[Exception] = []
        monkeypatch.setattr(daemon_module, "Daemon", self.make_daemon)
        monkeypatch.setattr(process, "_load_patiently", self.load)
        monkeypatch.setattr(logs, "load", lambda: self.note("logs"))
        monkeypatch.setattr(process, "gc", SimpleNamespace(
            freeze=lambda: self.note("freeze"), enable=lambda: self.note("enable"), disable=lambda: self.note("disable")
        ))  # fmt: skip  # in three lines
        monkeypatch.setattr(sys, "setswitchinterval", lambda seconds: self.note("switch", seconds))
        monkeypatch.setattr(sys, "getswitchinterval", lambda: 0.005)
        monkeypatch.setattr(web, "WebServer", self.make_web)
        monkeypatch.setattr(metrics, "pages", lambda daemon, *, version: ("pages of", daemon, version))
        self.daemon = Daemon(self.config)

    def note(self, *what: Any) -> None:
        self.noted.append((elapsed(), *what))

    def make_daemon(self, config: Any) -> Any:
        assert config is self.config
        return self.daemon

    async def load(self, config: Any) -> str:
        assert config is self.config
        self.note("load")
        if self.failing:
            raise self.failing[0]
        return "1.2.3"

    def make_web(self, address: Any, pages: Any) -> Any:
        self.note("web", address, pages[0], pages[2])
        assert pages[1] is self.daemon
        scene = self

        class Server:
            async def __aenter__(self) -> None:
                if scene.failing:
                    raise scene.failing.pop()

            async def __aexit__(self, *_: object) -> None:
                scene.note("web ended")

        return Server()


LOADED = ["switch", "load", "switch", "logs", "freeze", "enable"]


@timeless
async def test_the_rest_is_loaded_once_the_first_resource_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, http=("", 9115))
    async with running(process._run(scene.daemon)):
        await asyncio.sleep(0.3)
        assert scene.noted == []
        scene.daemon.first_live.set()
        await settled()
        assert scene.noted == [
            (0.3, "switch", 0.0005),
            (0.3, "load"),
            (0.3, "switch", 0.005),
            (0.3, "logs"),
            (0.3, "freeze"),
            (0.3, "enable"),
            (0.3, "web", ("", 9115), "pages of", "1.2.3"),
        ]
    assert scene.noted[-1] == (0.3, "web ended")
    assert scene.daemon.ended


@pytest.mark.parametrize(("reading_s", "loaded_at"), [(0.0, 0.5), (2.2, 2.5), (60.0, 5.5)])
@timeless
async def test_it_is_loaded_without_a_registration_after_half_a_second_or_while_the_tree_is_read_after_some(
    monkeypatch: pytest.MonkeyPatch, reading_s: float, loaded_at: float
) -> None:
    scene = Scene(monkeypatch)
    scene.daemon.pump.is_reading = reading_s > 0
    async with running(process._run(scene.daemon)):
        await asyncio.sleep(reading_s)
        scene.daemon.pump.is_reading = False
        await asyncio.sleep(100)
    assert [what[1] for what in scene.noted] == LOADED
    assert scene.noted[1] == (loaded_at, "load")


@timeless
async def test_what_cannot_be_loaded_ends_all_and_leaves_the_switch_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.failing = [ImportError("a bug")]
    work = asyncio.create_task(process._run(scene.daemon))
    await settled()
    scene.daemon.first_live.set()
    with pytest.raises(ExceptionGroup) as caught:
        await work
    assert [str(error) for error in caught.value.exceptions] == ["a bug"]
    assert scene.noted == [(0, "switch", 0.0005), (0, "load"), (0, "switch", 0.005)]
    assert scene.daemon.ended


@timeless
async def test_a_port_that_is_taken_is_tried_again_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.failing = [errors.EndpointError("cannot serve HTTP on :1: Address already in use")] * 2
    with capture_logs() as lines:
        async with running(process._serve_web(scene.daemon, ("", 1), "1.2.3")):
            await asyncio.sleep(100)
    assert [what[0] for what in scene.noted if what[1] == "web"] == [0, 5, 10]
    error = "cannot serve HTTP on :1: Address already in use"
    assert lines == [
        {"event": "web_not_serving", "log_level": "warning", "error": error, "retry_in_s": 5.0},
    ] * 2  # fmt: skip  # one line of the log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@timeless
async def test_a_signal_ends_it_without_an_error(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    scene = Scene(monkeypatch)
    serving = asyncio.create_task(process._serve(scene.config))
    await settled()
    os.kill(os.getpid(), number)
    await serving
    assert scene.daemon.ended
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.remove_signal_handler(one)


@timeless
async def test_a_hangup_that_is_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with running(process._serve(scene.config)):
            os.kill(os.getpid(), signal.SIGHUP)
            await settled()
            assert not scene.daemon.ended
    finally:
        signal.signal(signal.SIGHUP, before)


@timeless
async def test_being_cancelled_otherwise_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    serving = asyncio.create_task(process._serve(scene.config))
    await settled()
    (plugin,) = [task for task in asyncio.all_tasks() if task.get_name() == "plugin"]
    serving.cancel()
    await asyncio.wait([serving, plugin])
    assert serving.cancelled() or plugin.cancelled()


def test_a_process_is_set_up_before_it_serves_and_its_lines_are_written_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted: list[Any] = []
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    monkeypatch.delenv("GRPC_EXPERIMENTS", raising=False)
    monkeypatch.setattr(process, "raise_open_files", lambda: noted.append("files"))
    monkeypatch.setattr(logs, "defer", lambda **how: noted.append(how))
    monkeypatch.setattr(logs, "load", lambda: noted.append("logs"))
    collector = SimpleNamespace(disable=lambda: noted.append("disable"), enable=lambda: noted.append("enable"))
    monkeypatch.setattr(process, "gc", collector)

    async def serve(config: Any) -> None:
        noted.append(config)
        raise RuntimeError("a bug")

    monkeypatch.setattr(process, "_serve", serve)
    with pytest.raises(RuntimeError, match="a bug"):
        process.run("config", log_level="debug", log_format="json")  # type: ignore[arg-type]  # only handed on
    assert noted == ["files", {"level": "debug", "format_": "json"}, "disable", "config", "enable", "logs"]
    assert os.environ["GRPC_VERBOSITY"] == "NONE"
    assert os.environ["GRPC_EXPERIMENTS"] == "-event_engine_listener"
    assert gc.isenabled()


@pytest.mark.parametrize(("hard", "error"), [(4096, None), (4096, ValueError), (4096, OSError)])
def test_a_limit_that_cannot_be_raised_stays(
    monkeypatch: pytest.MonkeyPatch, hard: int, error: type[Exception] | None
) -> None:
    asked: list[Any] = []

    def setrlimit(*values: Any) -> None:
        asked.append(values)
        if error is not None:
            raise error

    module = SimpleNamespace(RLIMIT_NOFILE=7, getrlimit=lambda what: (what, hard), setrlimit=setrlimit)
    monkeypatch.setattr(process, "resource", module)
    process.raise_open_files()
    assert asked == [(7, (hard, hard))]


def test_only_what_stands_below_three_is_occupied(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    closed: list[int] = []
    given = iter([0, 2, 7])
    monkeypatch.setattr(process.os, "open", lambda path, flags: opened.append((path, flags)) or next(given))  # type: ignore[func-returns-value,arg-type]
    monkeypatch.setattr(process.os, "close", closed.append)
    process.occupy_standard_streams()
    monkeypatch.undo()
    assert opened == [("/dev/null", os.O_RDWR)] * 3  # type: ignore[comparison-overlap]
    assert closed == [7]


@pytest.mark.parametrize("http", [None, ("", 0)])
@pytest.mark.parametrize("pod_resources", [None, "socket"])
def test_what_is_needed_later_is_loaded_by_what_is_configured(
    monkeypatch: pytest.MonkeyPatch, http: Any, pod_resources: Any
) -> None:
    noted: list[Any] = []
    monkeypatch.setattr(logs, "preload", lambda: noted.append("preload"))
    monkeypatch.setattr(deviceplugin, "load", lambda **how: noted.append(how))
    version = process._load_the_rest(SimpleNamespace(http=http, pod_resources=pod_resources))  # type: ignore[arg-type]
    assert noted == ["preload", {"pod_resources": pod_resources is not None}]
    assert (version != "") is (http is not None)


@timeless
async def test_loading_is_tried_again_half_a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Any] = [OSError(), ImportError(), OSError(), OSError(), "1.2.3"]
    has_none = iter([False, False, True, False])

    async def to_thread(call: Any, config: Any) -> Any:
        assert (call, config) == (process._load_the_rest, "config")
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(process.asyncio, "to_thread", to_thread)
    monkeypatch.setattr(process, "_has_no_descriptor", lambda: next(has_none))
    assert await process._load_patiently("config") == "1.2.3"  # type: ignore[arg-type]
    assert elapsed() == 2

    outcomes += [OSError()] * 2 + [ImportError("third")]
    has_none = iter([False] * 3)
    with pytest.raises(ImportError, match="third"):
        await process._load_patiently("config")  # type: ignore[arg-type]
    assert elapsed() == 3


def test_whether_there_is_a_descriptor_is_found_out_by_taking_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names
    assert not process._has_no_descriptor()
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # names

    def none_left(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(process.os, "open", none_left)
    assert process._has_no_descriptor()


@timeless
async def test_until_the_first_registration_nothing_is_waited_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.daemon.pump.is_reading = True
    waiting = asyncio.create_task(process._wait_for_registration(scene.daemon))
    await asyncio.sleep(1.7)
    scene.daemon.first_live.set()
    await until(waiting.done)
    assert elapsed() == 1.7
