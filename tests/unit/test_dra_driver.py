"""One DRA driver: when it takes a socket, minds others of its name, and what it says; in no time."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import endpoint, errors
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.dra import driver as driver_module
from fakehw_plugin.dra.checkpoint import Prepared, PreparedDevice, encode
from fakehw_plugin.dra.claim import ClaimError, Reference
from fakehw_plugin.dra.driver import Driver
from kubeapi import errors as api_errors
from kubeapi.resources import RESOURCE_CLAIMS
from tests.factories import make_device
from tests.timeless import elapsed, running, settled, timeless, until

if TYPE_CHECKING:
    from collections.abc import Callable

NAME, NODE = "myplugin.io", "kind-worker2"


class Publisher:
    """What stands in for the one writer of slices."""

    def __init__(self, scene: Scene, *values: Any, **more: Any) -> None:
        scene.made_publisher = (values, more)
        self.is_published = False
        self.has_looked, self.name_is_free = asyncio.Event(), asyncio.Event()
        if scene.looks_at_once:
            self.has_looked.set()
        if scene.name_is_free:
            self.name_is_free.set()
        self.looks = self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        await asyncio.Event().wait()

    def look(self) -> None:
        self.looks += 1


class Endpoint:
    """A socket of the driver's, which is there until somebody takes it away."""

    def __init__(self, scene: Scene, directory: Path, purpose: str, servicer: Any) -> None:
        assert (directory, purpose) == (scene.registry, NAME)
        self.scene, self.in_place, self.name = scene, True, f"fakehw-myplugin-io-0000000{len(scene.endpoints)}.sock"
        scene.endpoints.append(self)
        self.servicer = servicer
        servicer.resend = lambda: scene.resent_at.append(elapsed())

    async def __aenter__(self) -> Endpoint:
        self.scene.served_at.append(elapsed())
        if self.scene.refusals:
            raise errors.EndpointError(self.scene.refusals.pop(0))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.scene.stopped += 1

    def is_in_place(self) -> bool:
        return self.in_place


class Scene:
    """A driver whose publisher and sockets a test plays."""

    looks_at_once = name_is_free = True

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
        self.registry, self.state, self.cdi = path / "registry", path / "state", path / "cdi"
        self.registry.mkdir()
        self.state.mkdir()
        self.endpoints: list[Endpoint] = []
        self.served_at: list[float] = []
        self.resent_at: list[float] = []
        self.refusals: list[str] = []
        self.stopped = self.held = 0
        self.made_publisher: Any = None
        monkeypatch.setattr(driver_module, "Publisher", lambda *values, **more: Publisher(self, *values, **more))
        monkeypatch.setattr(endpoint, "Endpoint", lambda *values: Endpoint(self, *values))
        monkeypatch.setattr(driver_module.random, "uniform", lambda low, high: (low, high) == (0.5, 1.0) and 0.96)
        self.telemetry = Telemetry()
        self.driver = Driver(
            NAME,
            node=NODE,
            registry_dir=self.registry,
            state_dir=self.state,
            cdi_dir=self.cdi,
            root=path / "tree",
            host_root=Path("/host"),
            telemetry=self.telemetry,
            on_held=self.note_held,
            follow=print,  # type: ignore[arg-type]  # only handed on
            **more,
        )

    def note_held(self) -> None:
        self.held += 1

    @property
    def publisher(self) -> Any:
        return self.driver.publisher

    def run(self, client: Any = "client") -> Any:
        self.driver.preparation.open()
        return running(self.driver.run(client))


def said(lines: list[Any]) -> list[dict[str, Any]]:
    assert all(line["driver"] == NAME for line in lines)
    return [{key: value for key, value in line.items() if key != "driver"} for line in lines]


@timeless
async def test_a_driver_is_ready_once_a_kubelet_has_it_and_the_server_has_its_slices(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(short_dir, monkeypatch)
    driver = scene.driver
    assert (driver.is_ready, driver.state) == (False, "not registered by a kubelet, slices not published")
    assert not driver.left.is_set()
    driver.pool.put(make_device(1))
    with capture_logs() as lines:
        async with scene.run():
            (values, more) = scene.made_publisher
            assert values == ("client", driver.pool)
            assert (more["telemetry"], more["follow"]) == (scene.telemetry, print)
            assert scene.publisher.runs == 1

            driver._note_registered(True, "")
            assert scene.publisher.looks == 1
            assert (driver.is_ready, driver.state) == (False, "registered, slices not published")
            scene.publisher.is_published = True
            assert (driver.is_ready, driver.state) == (True, "registered, published")
            driver._note_registered(False, "no such version")
            assert (driver.is_ready, driver.state) == (False, "not registered by a kubelet, published")
            assert scene.publisher.looks == 1

    assert said(lines) == [
        {"event": "driver_serving", "log_level": "info", "endpoint": "fakehw-myplugin-io-00000000.sock"},
        {"event": "registered", "log_level": "info", "devices": 1},
        {"event": "registration_failed", "log_level": "warning", "error": "no such version"},
    ]
    assert scene.stopped == 1
    assert (driver.pool.driver, driver.pool.node) == (NAME, NODE)


@timeless
async def test_before_it_runs_a_registration_wakes_nobody(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(short_dir, monkeypatch)
    scene.driver._note_registered(True, "")
    assert scene.driver.is_registered
    assert not scene.driver.is_ready


@timeless
async def test_a_socket_that_is_lost_is_made_anew_within_a_second_and_is_registered_anew(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(short_dir, monkeypatch)
    with capture_logs() as lines:
        async with scene.run():
            scene.driver._note_registered(True, "")
            await asyncio.sleep(10.5)
            scene.endpoints[0].in_place = False
            await until(lambda: len(scene.endpoints) == 2)
            assert elapsed() == 11
            assert scene.stopped == 1
            assert not scene.driver.is_registered
            await asyncio.sleep(100)
            assert len(scene.endpoints) == 2

    assert said(lines)[2] == {
        "event": "socket_lost", "log_level": "warning", "endpoint": "fakehw-myplugin-io-00000000.sock",
    }  # fmt: skip  # one line of the log


@timeless
async def test_a_socket_that_cannot_be_served_is_tried_ever_less_often(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(short_dir, monkeypatch)
    scene.refusals = [f"no {number}" for number in range(11)]
    with capture_logs() as lines:
        async with scene.run():
            await until(lambda: len(scene.endpoints) == 12)
            scene.refusals = ["again"]
            scene.endpoints[-1].in_place = False
            await until(lambda: len(scene.endpoints) == 14)

    delays = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 0.1]
    failed = [line for line in said(lines) if line["event"] == "driver_not_serving"]
    assert [line["retry_in_s"] for line in failed] == [round(0.96 * delay, 2) for delay in delays]
    assert failed[0] == {"event": "driver_not_serving", "log_level": "warning", "error": "no 0", "retry_in_s": 0.1}
    at = scene.served_at
    assert [round(b - a, 3) for a, b in itertools.pairwise(at)][:11] == [
        round(0.96 * delay, 3) for delay in delays[:11]
    ]
    assert round(at[13] - at[12], 3) == 0.096


@timeless
async def test_a_state_that_cannot_be_read_is_tried_ever_less_often_and_nothing_is_served_before(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(short_dir, monkeypatch)
    (scene.state / NAME).write_text("no directory")
    with capture_logs() as lines:
        async with scene.run():
            await asyncio.sleep(100)
            assert scene.endpoints == []
            assert scene.publisher.runs == 0
            assert scene.held == 0
            (scene.state / NAME).unlink()
            await until(lambda: scene.endpoints)

    waited = [line for line in said(lines) if line["event"] == "state_not_ready"]
    assert waited[0] == {
        "event": "state_not_ready", "log_level": "warning", "path": str(scene.state / NAME), "retry_in_s": 0.1,
    }  # fmt: skip  # one line of the log
    assert [line["retry_in_s"] for line in waited] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30]
    )
    assert elapsed() == pytest.approx(111.1)
    assert scene.held == 1


@pytest.mark.parametrize(("looks", "waits_s"), [(True, 0), (False, 1)])
@timeless
async def test_a_socket_waits_a_second_at_most_to_know_which_slices_there_are(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, looks: bool, waits_s: float
) -> None:
    monkeypatch.setattr(Scene, "looks_at_once", looks)
    scene = Scene(short_dir, monkeypatch)
    async with scene.run():
        await until(lambda: scene.endpoints)
        assert elapsed() == waits_s


@timeless
async def test_a_socket_waits_for_as_long_as_somebody_else_serves_the_name(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scene, "name_is_free", False)
    scene = Scene(short_dir, monkeypatch)
    async with scene.run():
        await asyncio.sleep(1000)
        assert scene.endpoints == []
        scene.publisher.name_is_free.set()
        await settled()
        assert len(scene.endpoints) == 1


@timeless
async def test_a_driver_with_prepared_claims_has_served_the_name_before_and_waits_for_nobody(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scene, "name_is_free", False)
    scene = Scene(short_dir, monkeypatch)
    claims = scene.state / NAME / "claims"
    claims.mkdir(parents=True)
    device = PreparedDevice("r", "node2-dev3-1", "node2-dev3-1", "/node2/dev3/1", "DEV_3_ID_0")
    (claims / "uid.json").write_bytes(encode(Prepared(Reference("ns", "c", "uid"), NODE, (device,))))
    async with scene.run():
        assert len(scene.endpoints) == 1


@timeless
async def test_when_another_instance_goes_the_health_is_told_again_three_times(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(short_dir, monkeypatch)
    other = scene.registry / "fakehw-myplugin-io-89abcdef.sock"
    stranger = scene.registry / "fakehw-other-io-89abcdef.sock"
    for path in (other, stranger):
        path.touch()
    async with scene.run():
        (scene.registry / scene.endpoints[0].name).touch()
        await asyncio.sleep(10.5)
        stranger.unlink()
        await asyncio.sleep(10)
        assert scene.resent_at == []
        other.unlink()
        await asyncio.sleep(100)
        assert scene.resent_at == [21, 21.2, 22.2]
        other.touch()
        await asyncio.sleep(100)
        assert len(scene.resent_at) == 3, "one that comes is no reason"


@timeless
async def test_a_registry_that_cannot_be_read_has_nobody_in_it(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(short_dir, monkeypatch)

    def denied(*_: object) -> set[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(endpoint, "names", denied)
    async with scene.run():
        await asyncio.sleep(10)
    assert scene.resent_at == []


@pytest.mark.parametrize("plays", [True, False])
@timeless
async def test_faults_are_played_where_the_classes_are_known(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, plays: bool
) -> None:
    asked: list[str] = []

    def class_paths(name: str) -> list[str]:
        asked.append(name)
        return []

    scene = Scene(short_dir, monkeypatch, class_paths=class_paths if plays else None)
    made: list[Any] = []
    monkeypatch.setattr(driver_module, "DraServicer", lambda *values, **more: made.append((values, more)) or made[-1])
    monkeypatch.setattr(Endpoint, "__init__", lambda self, scene, *_: scene.endpoints.append(self))
    monkeypatch.setattr(Endpoint, "name", "x", raising=False)
    monkeypatch.setattr(Endpoint, "scene", scene, raising=False)
    monkeypatch.setattr(Endpoint, "in_place", True, raising=False)
    monkeypatch.setattr(Endpoint, "servicer", None, raising=False)
    async with scene.run():
        (values, more) = made[0]
        assert values == (scene.driver.pool, scene.driver.preparation)
        assert more["telemetry"] is scene.telemetry
        assert more["on_registered"] == scene.driver._note_registered
        assert (more["faults"] is not None) is plays
        if plays:
            assert more["faults"].look("get_info") is None
            assert asked == [NAME]


class Client:
    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer
        self.calls: list[Any] = []

    async def get(self, *values: Any, **more: Any) -> Any:
        self.calls.append((values, more))
        return self.answer()


def fails(error: Exception) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


@timeless
async def test_a_claim_is_read_for_fifteen_seconds_and_what_fails_is_said_with_its_name(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(short_dir, monkeypatch)
    reference = Reference("ns", "c", "uid")
    client = Client(lambda: {"kind": "ResourceClaim"})
    async with scene.run(client):
        assert await scene.driver._read_claim(reference) == {"kind": "ResourceClaim"}
        assert client.calls == [((RESOURCE_CLAIMS, "c"), {"namespace": "ns", "retry_for_s": 15.0})]
        client.answer = fails(api_errors.NotFoundError(404, "NotFound", "there is none"))
        assert await scene.driver._read_claim(reference) is None
        for error in (api_errors.ForbiddenError(403, "", "not you"), ValueError("not you (403)")):
            client.answer = fails(error)
            with pytest.raises(ClaimError, match=r"^claim ns/c cannot be read: not you \(403\)$"):
                await scene.driver._read_claim(reference)
