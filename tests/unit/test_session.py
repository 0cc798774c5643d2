"""One resource and its kubelet, state by state, with a kubelet that does as it is told; in no time."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import endpoint, errors, logs
from fakehw_plugin.deviceplugin import session
from fakehw_plugin.deviceplugin.session import Session, State
from fakehw_plugin.devices.inventory import Inventory
from fakehw_plugin.devices.telemetry import Telemetry
from tests.factories import make_device
from tests.timeless import elapsed, running, settled, timeless, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

R = "myplugin.io/mydevice-3"
KUBELET, NEXT = (1, 2, 3), (1, 2, 4)


class Scene:
    """A session, and all that it talks to: the kubelet's directory, its Register call, our sockets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, before_register: Any = None) -> None:
        self.now: Any = KUBELET
        self.is_listening = True
        self.path, self.socket_path = Path("/plugins"), Path("/plugins/kubelet.sock")
        self.newcomers = SimpleNamespace(claim=lambda name: self.steps.append(("claim", name)))
        self.steps: list[Any] = []
        """What happened, in order."""
        self.wakes: list[Callable[[], None]] = []
        self.endpoints: list[Endpoint] = []
        self.telemetry, self.lives = Telemetry(), 0
        self.refusals: list[errors.RegistrationError] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.opens_stream = True
        self.on_streams: Callable[[], None] = lambda: None
        inventory = Inventory(R)
        inventory.apply({device.id: device for device in (make_device(1), make_device(2))})
        monkeypatch.setattr(endpoint, "Endpoint", lambda *how: Endpoint(self, *how))
        monkeypatch.setattr(session.registration, "register", self.register)
        monkeypatch.setattr(session.os, "urandom", lambda count: b"\xff" * count)
        self.session = Session(
            inventory,
            self,  # type: ignore[arg-type]  # it is the directory too
            make_servicer=self.make_servicer,  # type: ignore[arg-type]  # as much of one as is needed
            before_register=before_register,
            telemetry=self.telemetry,
            on_live=self.note_live,
            log=logs.get_logger(resource=R),
        )

    # The directory.

    def identity(self) -> Any:
        return self.now

    async def wait_listening(self) -> Any:
        self.steps.append(("wait", self.session.state))
        while self.now is None or not self.is_listening:
            await asyncio.sleep(0.01)
        return self.now

    def subscribe(self, wake: Callable[[], None]) -> None:
        self.wakes.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        self.wakes.remove(wake)

    def wake(self) -> None:
        for wake in self.wakes:
            wake()

    # The kubelet.

    async def register(self, kubelet_socket: Path, **more: Any) -> None:
        self.steps.append(("register", self.session.state, kubelet_socket, more))
        try:
            await self.answering.wait()
        except asyncio.CancelledError:
            self.steps.append("register given up")
            raise
        if self.refusals:
            raise self.refusals.pop(0)
        if self.opens_stream:
            self.stream(1)

    def stream(self, count: int) -> None:
        """Have so many streams open."""
        self.endpoints[-1].servicer.live_streams = count
        self.on_streams()

    # Ours.

    def make_servicer(self, *, on_streams: Callable[[], None]) -> Any:
        self.on_streams = on_streams
        return SimpleNamespace(live_streams=0, options=b"options")

    def note_live(self) -> None:
        self.lives += 1

    @property
    def attempts(self) -> int:
        return len([step for step in self.steps if step[0] == "register"])

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        async with running(self.session.run()):
            await until(lambda: self.session.state is State.LIVE)
            yield


class Endpoint:
    """A socket of ours that says when it is served and when it has stopped."""

    error: errors.EndpointError | None = None

    def __init__(self, scene: Scene, directory: Path, purpose: str, servicer: Any) -> None:
        assert (directory, purpose) == (scene.path, R)
        self.scene, self.servicer = scene, servicer
        self.name, self.in_place, self.stop_grace_s = f"socket-{len(scene.endpoints)}", True, endpoint.STOP_GRACE_S
        scene.endpoints.append(self)

    async def __aenter__(self) -> Endpoint:
        self.scene.steps.append(("serve", self.scene.session.state))
        if self.error is not None:
            raise self.error
        return self

    async def __aexit__(self, *_: object) -> None:
        self.scene.steps.append(("stop", self.stop_grace_s))

    def is_in_place(self) -> bool:
        return self.in_place


def said(lines: list[Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "resource"} for line in lines]


@timeless
async def test_a_resource_is_served_then_registered_and_live_once_the_kubelet_streams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch)
    scene.opens_stream = False
    with capture_logs() as lines:
        async with running(scene.session.run()):
            await settled()
            assert scene.session.state is State.AWAIT_STREAM
            assert not scene.session.is_ready
            assert (scene.session.live_since, scene.lives) == (None, 0)
            await asyncio.sleep(4.9)
            scene.stream(1)
            await settled()
            assert scene.session.state is State.LIVE
            assert scene.session.is_ready
            assert (scene.session.asked_at, scene.session.live_since, scene.lives) == (1000.0, 1004.9, 1)
            scene.stream(0)
            assert not scene.session.is_ready

    how = {"endpoint": "socket-0", "resource_name": R, "options": b"options"}
    assert scene.steps == [
        ("wait", "wait"),
        ("claim", "socket-0"),
        ("serve", "serve"),
        ("register", "register", scene.socket_path, how),
        ("stop", 0.2),
    ]
    assert scene.telemetry.registrations == {(R, "ok"): 1}
    assert said(lines) == [{"event": "registered", "log_level": "info", "endpoint": "socket-0", "devices": 2}]
    assert all(line["resource"] == R for line in lines)
    assert (scene.session.state, scene.session.live_since, scene.wakes) == (State.WAIT, None, [])
    assert not scene.session.is_ready


@timeless
async def test_what_is_to_be_done_before_a_registration_is_done_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scene: Scene

    async def before() -> None:
        scene.steps.append("before")

    scene = Scene(monkeypatch, before_register=before)
    async with scene.live():
        pass

    assert [step if isinstance(step, str) else step[0] for step in scene.steps] == [
        "wait", "claim", "serve", "before", "register", "stop",
    ]  # fmt: skip  # in one line


@timeless
async def test_a_refusal_is_answered_ever_more_slowly_up_to_half_a_minute_and_the_delays_begin_anew_after_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch)
    scene.refusals = [errors.RegistrationError(f"no {number}") for number in range(7)]
    with capture_logs() as lines:
        async with scene.live():
            assert scene.telemetry.registrations == {(R, "failed"): 7, (R, "ok"): 1}
            scene.refusals = [errors.RegistrationError("no")]
            scene.endpoints[-1].in_place = False
            scene.wake()
            await until(lambda: scene.session.state is State.LIVE and scene.attempts == 10)

    failed = [line for line in said(lines) if line["event"] == "registration_failed"]
    nearly = 0.5 + 255 / 512
    assert [line["retry_in_s"] for line in failed] == [
        round(whole * nearly, 2) for whole in (1, 2, 4, 8, 16, 30, 30, 1)
    ]
    assert failed[0] == {"event": "registration_failed", "log_level": "warning", "error": "no 0", "retry_in_s": 1.0}
    assert elapsed() == pytest.approx((1 + 2 + 4 + 8 + 16 + 30 + 30 + 1) * nearly)
    assert [step for step in scene.steps if step[0] == "wait"] == [("wait", "wait")] * 10


@timeless
async def test_the_delay_is_at_least_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    monkeypatch.setattr(session.os, "urandom", lambda count: b"\0" * count)
    scene.refusals = [errors.RegistrationError("no")]
    async with scene.live():
        assert elapsed() == 0.5


@timeless
async def test_a_socket_that_cannot_be_served_is_tried_again_too(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    monkeypatch.setattr(Endpoint, "error", errors.EndpointError("no room"))
    with capture_logs() as lines:
        async with running(scene.session.run()):
            await settled()
            assert scene.session.state is State.WAIT
            monkeypatch.setattr(Endpoint, "error", None)
            await until(lambda: scene.session.state is State.LIVE)
            assert elapsed() == pytest.approx(0.5 + 255 / 512)

    assert [line["error"] for line in lines if line["event"] == "registration_failed"] == ["no room"]


@timeless
async def test_a_kubelet_that_comes_while_we_wait_to_try_again_is_registered_with_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch)
    scene.refusals = [errors.RegistrationError("no")]
    async with running(scene.session.run()):
        await asyncio.sleep(0.1)
        scene.wake()
        await settled()
        assert scene.attempts == 1, "nothing has changed"
        scene.now = NEXT
        scene.wake()
        await settled()
        assert scene.session.state is State.LIVE
        assert elapsed() == pytest.approx(0.1)


@timeless
async def test_a_refusal_of_a_kubelet_that_is_leaving_is_no_reason_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)

    async def refused(kubelet_socket: Path, **more: Any) -> None:
        monkeypatch.setattr(session.registration, "register", scene.register)
        scene.now = NEXT
        raise errors.RegistrationError("UNAVAILABLE: gone")

    monkeypatch.setattr(session.registration, "register", refused)
    with capture_logs() as lines:
        async with scene.live():
            assert elapsed() == 0

    assert said(lines)[0] == {
        "event": "kubelet_left_during_registration", "log_level": "info", "error": "UNAVAILABLE: gone",
    }  # fmt: skip  # one line of the log
    assert scene.telemetry.registrations == {(R, "failed"): 1, (R, "ok"): 1}


@timeless
async def test_a_kubelet_without_a_stream_has_five_seconds_and_then_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.opens_stream = False
    with capture_logs() as lines:
        async with running(scene.session.run()):
            await until(lambda: scene.telemetry.registrations[R, "failed"] == 1)
            assert elapsed() == 5
            assert scene.steps[-1] == ("stop", 0.2), "before the next one is served"
    assert said(lines)[0]["error"] == "the kubelet opened no ListAndWatch within 5 s"


@pytest.mark.parametrize("is_answered", [False, True], ids=["the call hangs", "no stream"])
@timeless
async def test_a_registration_that_is_of_no_use_any_more_is_given_up_at_once(
    monkeypatch: pytest.MonkeyPatch, is_answered: bool
) -> None:
    scene = Scene(monkeypatch)
    scene.opens_stream = False
    if not is_answered:
        scene.answering.clear()
    with capture_logs() as lines:
        async with running(scene.session.run()):
            await asyncio.sleep(1)
            scene.now, scene.opens_stream = NEXT, True
            scene.answering.set() if is_answered else None
            scene.wake()
            await settled()
            scene.answering.set()
            await until(lambda: scene.session.state is State.LIVE)
            assert elapsed() == 1

    assert said(lines)[0] == {
        "event": "registration_interrupted", "log_level": "info", "reason": "kubelet_replaced", "endpoint": "socket-0",
    }  # fmt: skip  # one line of the log
    assert scene.telemetry.registrations == {(R, "interrupted"): 1, (R, "ok"): 1}
    assert ("register given up" in scene.steps) is not is_answered
    assert not scene.telemetry.registrations_ended


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        pytest.param(lambda scene: setattr(scene, "now", NEXT), "kubelet_replaced", id="replaced"),
        pytest.param(lambda scene: setattr(scene.endpoints[-1], "in_place", False), "socket_removed", id="removed"),
        pytest.param(lambda scene: scene.session.drop("displaced"), "displaced", id="displaced"),
    ],
)
@timeless
async def test_what_ends_a_registration_has_another_made_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[Scene], None], reason: str
) -> None:
    scene = Scene(monkeypatch)
    with capture_logs() as lines:
        async with scene.live():
            await asyncio.sleep(60)
            scene.wake()
            await settled()
            assert scene.attempts == 1, "all is well"
            end(scene)
            scene.wake() if reason != "displaced" else None
            await until(lambda: scene.attempts == 2 and scene.session.state is State.LIVE)
            assert elapsed() == 60
            assert scene.session.live_since == 1060

    assert said(lines)[1] == {
        "event": "registration_ended", "log_level": "info", "reason": reason, "endpoint": "socket-0",
    }  # fmt: skip  # one line of the log
    assert scene.telemetry.registrations_ended == {(R, reason): 1}
    assert scene.telemetry.registrations == {(R, "ok"): 2}


@timeless
async def test_a_stream_that_ends_has_two_seconds_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    with capture_logs() as lines:
        async with scene.live():
            scene.stream(0)
            await asyncio.sleep(1.9)
            assert scene.lives == 2, "whoever waits for a registration waits no more"
            scene.stream(1)
            await asyncio.sleep(100)
            assert scene.attempts == 1

            scene.stream(0)
            began = elapsed()
            await until(lambda: scene.attempts == 2)
            assert elapsed() - began == 2

    assert [line.get("reason") for line in said(lines)] == [None, "stream_lost", None]
    assert scene.telemetry.registrations_ended == {(R, "stream_lost"): 1}


@timeless
async def test_a_kubelet_that_goes_with_its_stream_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    async with scene.live():
        scene.stream(0)
        scene.now = None
        scene.wake()
        await settled()
        assert (scene.session.state, scene.session.live_since) == (State.WAIT, None)
        assert scene.steps[-2:] == [("stop", 0.2), ("wait", "wait")]
        assert scene.telemetry.registrations_ended == {(R, "kubelet_gone"): 1}


@timeless
async def test_two_seconds_without_a_stream_end_early_when_it_is_known_why(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    async with scene.live():
        scene.stream(0)
        await asyncio.sleep(0.5)
        scene.endpoints[-1].in_place = False
        scene.wake()
        await until(lambda: scene.attempts == 2)
        assert elapsed() == 0.5
    assert scene.telemetry.registrations_ended == {(R, "socket_removed"): 1}


@timeless
async def test_a_resource_that_leaves_the_tree_has_time_for_its_last_list(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    async with scene.live():
        scene.session.leave()
    assert scene.steps[-1] == ("stop", 2.0)


@timeless
async def test_before_anything_is_served_there_is_nothing_to_leave_or_to_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    assert scene.session.state is State.WAIT

    scene.session.leave()
    scene.session.drop("displaced")

    assert not scene.session.is_ready
    assert scene.session.live_since is None
    assert scene.session.asked_at == 0


@timeless
async def test_a_session_that_ends_while_it_registers_takes_the_call_and_the_socket_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch)
    scene.answering.clear()
    async with running(scene.session.run()):
        await settled()
        assert scene.session.state is State.REGISTER

    assert scene.steps[-2:] == ["register given up", ("stop", 0.2)]
    assert not scene.telemetry.registrations
    assert scene.wakes == []
