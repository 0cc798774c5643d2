"""Faults of the protocol, played: which call waits how long, fails with what, and what is told of it; in no time."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import pytest
from structlog.testing import capture_logs

from fakehw_plugin import errors, logs, rpc_faults
from fakehw_plugin.devices.telemetry import Telemetry
from tests.timeless import elapsed, settled, timeless, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

R = "myplugin.io/mydevice-3"


class RefusedError(Exception):
    pass


class Context:
    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise RefusedError(code.name, details)


class Scene:
    """Two classes of one resource, whose rpc directories a test fills."""

    def __init__(self, path: Path) -> None:
        self.classes = [path / "node2/dev3", path / "node9/dev3"]
        for directory in self.classes:
            (directory / "rpc").mkdir(parents=True)
        self.rpc = self.classes[0] / "rpc"
        self.telemetry = Telemetry()
        self.faults = rpc_faults.Faults(
            R,
            class_paths=lambda: map(str, self.classes),
            telemetry=self.telemetry,
            log=logs.get_logger(resource=R),
        )
        self.called_at: list[tuple[float, Any]] = []
        self.lists: list[tuple[float, bytes]] = []
        self.is_closed = False

    async def answer(self, request: Any, context: Any) -> Any:
        self.called_at.append((elapsed(), request))
        return "answer", context

    async def call(self, name: str = "Allocate") -> Any:
        return await self.faults.unary(name, self.answer)("request", Context())

    async def list_and_watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Say a list at once, one after a second, and one after a minute."""
        try:
            for number, wait_s in enumerate((0, 1, 60)):
                await asyncio.sleep(wait_s)
                yield b"%d for %s" % (number, request)
        finally:
            self.is_closed = True

    async def listen(self) -> None:
        async for message in self.faults.stream("ListAndWatch", self.list_and_watch)(b"me", Context()):  # type: ignore[arg-type]
            self.lists.append((elapsed(), message))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def rpc_fault(**values: Any) -> dict[str, Any]:
    return {"event": "rpc_fault", "log_level": "warning", "resource": R, "delay_s": 0.0, "text": "", **values}


@timeless
async def test_without_a_file_a_call_is_answered_at_once(scene: Scene) -> None:
    with capture_logs() as lines:
        answer, context = await scene.call()

    assert (answer, type(context)) == ("answer", Context)
    assert scene.called_at == [(0, "request")]
    assert (lines, scene.telemetry.rpc_faults) == ([], {})


@timeless
async def test_a_delay_comes_before_the_call(scene: Scene) -> None:
    (scene.rpc / "allocate").write_text("delay 1500ms")
    with capture_logs() as lines:
        await scene.call()
        await scene.call("PreStartContainer")

    assert scene.called_at == [(1.5, "request")] * 2
    assert lines == [rpc_fault(method="allocate", fault="delay", delay_s=1.5)]
    assert scene.telemetry.rpc_faults == {(R, "allocate"): 1}


@timeless
async def test_an_error_comes_instead_of_the_call(scene: Scene) -> None:
    (scene.rpc / "allocate").write_text("error UNAVAILABLE the bus is gone")
    with capture_logs() as lines, pytest.raises(RefusedError) as caught:
        await scene.call()

    assert caught.value.args == ("UNAVAILABLE", "the bus is gone")
    assert scene.called_at == []
    assert lines == [rpc_fault(method="allocate", fault="error", text="the bus is gone")]


@timeless
async def test_a_hang_lasts_until_its_file_is_gone_or_says_something_else(scene: Scene) -> None:
    file = scene.rpc / "allocate"
    file.write_text("hang")
    call = asyncio.create_task(scene.call())
    with capture_logs() as lines:
        await asyncio.sleep(100.05)
        assert not call.done()
        file.unlink()
        await call
        assert scene.called_at == [(pytest.approx(100.1), "request")]

        file.write_text("hang")
        call = asyncio.create_task(scene.call())
        await asyncio.sleep(1.05)
        file.write_text("delay 10m")
        await call
        assert scene.called_at[1] == (pytest.approx(101.2), "request"), "the delay is for the next call"
    assert lines == [rpc_fault(method="allocate", fault="hang")] * 2


@timeless
async def test_the_first_class_with_a_file_for_the_call_counts(scene: Scene) -> None:
    (scene.classes[1] / "rpc/allocate").write_text("delay 2s")
    await scene.call()
    (scene.rpc / "allocate").write_text("delay 1s")
    (scene.rpc / "pre_start_container").write_text("hang")
    await scene.call()
    (scene.rpc / "allocate").write_text("")
    await scene.call()

    assert [at for at, _ in scene.called_at] == [2, 3, 5]


@timeless
async def test_a_class_without_such_a_directory_or_that_is_gone_has_no_fault(scene: Scene) -> None:
    scene.classes.insert(0, scene.rpc / "nowhere")
    (scene.classes[1] / "rpc").rmdir()
    (scene.classes[2] / "rpc/allocate").write_text("delay 2s")
    await scene.call()

    assert elapsed() == 2


@timeless
async def test_what_says_no_fault_is_passed_over_and_told_once_for_each_text(scene: Scene) -> None:
    (scene.rpc / "allocate").write_text("slow\n\n" + "x" * 200)
    (scene.classes[1] / "rpc/allocate").write_text("delay 2s")
    with capture_logs() as lines:
        await scene.call()
        await scene.call()
        assert elapsed() == 4, "the next class counts"
        (scene.rpc / "allocate").write_text("slower")
        scene.faults.look("allocate")

    path, reason = f"{scene.rpc}/allocate", "must be delay 2s (ms, s or m), error CODE text, hang"
    ignored = {"event": "rpc_fault_ignored", "log_level": "warning", "resource": R, "path": path, "reason": reason}
    assert [line for line in lines if line["event"] != "rpc_fault"] == [
        {**ignored, "value": f"slow {'x' * 75}"},
        {**ignored, "value": "slower"},
    ]


def test_complaints_about_such_files_have_an_end(scene: Scene) -> None:
    with capture_logs() as lines:
        for number in range(150):
            (scene.rpc / "allocate").write_text(f"rubbish {number}")
            scene.faults.look("allocate")

    assert len(lines) == 100


def test_a_file_that_cannot_be_read_is_told_with_the_reason(scene: Scene) -> None:
    (scene.rpc / "allocate").symlink_to("/etc/hostname")
    with capture_logs() as lines:
        assert scene.faults.look("allocate") is None

    assert lines[0]["value"] == "(is a symbolic link, which is not followed)"


@pytest.mark.parametrize("content", ["hang", "", None])
def test_a_look_leaves_no_file_open(scene: Scene, content: str | None) -> None:
    if content is not None:
        (scene.rpc / "allocate").write_text(content)
    (scene.classes[1] / "rpc").rmdir()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names
    scene.faults.look("allocate")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # names


@timeless
async def test_a_registration_is_delayed_and_fails_by_file_too(scene: Scene) -> None:
    await scene.faults.before_register()
    (scene.rpc / "register").write_text("delay 1m")
    await scene.faults.before_register()
    assert elapsed() == 60
    (scene.rpc / "register").write_text("error INTERNAL not today")

    with pytest.raises(errors.RegistrationError, match=r"^INTERNAL: not today \(rpc fault\)$"):
        await scene.faults.before_register()
    assert scene.telemetry.rpc_faults == {(R, "register"): 2}


@timeless
async def test_a_stream_without_a_file_is_passed_on_as_it_is_and_closed_at_its_end(scene: Scene) -> None:
    with capture_logs() as lines:
        await scene.listen()

    assert scene.lists == [(0, b"0 for me"), (1, b"1 for me"), (pytest.approx(61), b"2 for me")]
    assert scene.is_closed
    assert lines == []


@timeless
async def test_each_list_of_a_stream_is_delayed(scene: Scene) -> None:
    (scene.rpc / "list_and_watch").write_text("delay 5s")
    listening = asyncio.create_task(scene.listen())
    await asyncio.sleep(40)
    (scene.rpc / "list_and_watch").unlink()
    await listening

    assert [at for at, _ in scene.lists] == [5, 11, pytest.approx(71)]
    assert scene.telemetry.rpc_faults == {(R, "list_and_watch"): 2}


@timeless
async def test_a_stream_that_is_dropped_ends_without_an_error_after_its_first_list(scene: Scene) -> None:
    (scene.rpc / "list_and_watch").write_text("drop")
    with capture_logs() as lines:
        await scene.listen()

    assert scene.lists == [(0, b"0 for me")]
    assert elapsed() == 0.1
    assert scene.is_closed
    assert lines == [rpc_fault(method="list_and_watch", fault="drop")]
    assert scene.telemetry.rpc_faults == {(R, "list_and_watch"): 1}


@timeless
async def test_a_stream_that_waits_fails_as_soon_as_a_file_says_so(scene: Scene) -> None:
    listening = asyncio.create_task(scene.listen())
    await asyncio.sleep(50.03)
    (scene.rpc / "list_and_watch").write_text("error ABORTED out")
    with pytest.raises(RefusedError) as caught:
        await listening

    assert caught.value.args == ("ABORTED", "out")
    assert len(scene.lists) == 2
    assert 50.03 < elapsed() < 50.15
    assert scene.is_closed


@timeless
async def test_a_stream_that_hangs_says_its_list_once_the_file_is_gone(scene: Scene) -> None:
    (scene.rpc / "list_and_watch").write_text("hang")
    listening = asyncio.create_task(scene.listen())
    await asyncio.sleep(50)
    assert scene.lists == []
    (scene.rpc / "list_and_watch").unlink()
    await until(lambda: scene.lists)
    assert 50 <= elapsed() <= 50.11
    listening.cancel()
    await asyncio.wait([listening])


@timeless
async def test_who_listens_no_more_leaves_nothing_behind(scene: Scene) -> None:
    listening = asyncio.create_task(scene.listen())
    await asyncio.sleep(10)
    listening.cancel()
    await asyncio.wait([listening])
    await settled()

    assert scene.is_closed
    assert listening.cancelled()


def test_every_call_has_its_file() -> None:
    assert rpc_faults.FILES == {
        "Register": "register",
        "GetDevicePluginOptions": "get_device_plugin_options",
        "ListAndWatch": "list_and_watch",
        "GetPreferredAllocation": "get_preferred_allocation",
        "Allocate": "allocate",
        "PreStartContainer": "pre_start_container",
        "GetInfo": "get_info",
        "NodePrepareResources": "node_prepare_resources",
        "NodeUnprepareResources": "node_unprepare_resources",
        "NodeWatchResources": "node_watch_resources",
    }
    assert rpc_faults.STREAMS == ("list_and_watch", "node_watch_resources")
