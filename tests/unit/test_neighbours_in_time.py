"""When the kubelet is asked whether it has us still, what counts as lost, and who is told; in no time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin.device import DeviceID, Health
from fakehw_plugin.deviceplugin.neighbours import Neighbours
from fakehw_plugin.deviceplugin.newcomers import Newcomers
from fakehw_plugin.devices.inventory import Inventory
from tests.factories import make_device
from tests.timeless import elapsed, running, settled, timeless, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

R2, R3 = "myplugin.io/mydevice-2", "myplugin.io/mydevice-3"
ALL = {(R2, DeviceID("node2-dev2-1")), (R3, DeviceID("node2-dev3-1"))}
WITHOUT_R3 = {(R2, DeviceID("node2-dev2-1"))}
OTHERS = WITHOUT_R3 | {(R3, DeviceID("other-1"))}


class Scene:
    """Two resources that are registered since long ago, and a kubelet that answers as a test wants."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.newcomers = Newcomers(path)
        self.answers: list[set[tuple[str, DeviceID]] | None] = []
        """The next ones; then it is `answer`."""
        self.answer: set[tuple[str, DeviceID]] | None = ALL
        self.asked_at: list[float] = []
        self.drops: list[tuple[float, str, str]] = []
        self.sessions: dict[str, Any] = {}
        for class_name, resource in (("dev3", R3), ("dev2", R2)):
            self.sessions[resource] = self.session(resource, class_name)
        self.neighbours = Neighbours(self, self.sessions, self)  # type: ignore[arg-type]  # it plays all of them

    def session(self, resource: str, class_name: str) -> Any:
        inventory = Inventory(resource)
        device = make_device(1, class_name=class_name)
        inventory.apply({device.id: device})

        def drop(reason: str) -> None:
            self.drops.append((elapsed(), resource, reason))

        return SimpleNamespace(inventory=inventory, live_since=0.0, asked_at=900.0, drop=drop)

    async def allocatable(self) -> Any:
        self.asked_at.append(elapsed())
        await asyncio.sleep(0)
        return self.answers.pop(0) if self.answers else self.answer

    @contextlib.contextmanager
    def visitor(self, name: str = "other.sock") -> Iterator[None]:
        """Have another plugin listen in the directory; its socket stays when it ends."""
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.path / name))
            server.listen()
            self.newcomers.came(name)
            yield

    def leave(self, name: str = "other.sock") -> None:
        (self.path / name).unlink()
        self.newcomers.went(name)


@pytest.fixture
def scene(short_dir: Path) -> Scene:
    return Scene(short_dir)


@timeless
async def test_the_kubelet_is_asked_a_second_after_the_start_and_then_once_a_minute(scene: Scene) -> None:
    async with running(scene.neighbours.run()):
        await asyncio.sleep(130)

    assert scene.asked_at == [1, 61, 121]
    assert scene.drops == []


@timeless
async def test_after_a_departure_it_is_asked_three_times_about_it_and_then_as_before(scene: Scene) -> None:
    async with running(scene.neighbours.run()):
        with scene.visitor():
            await asyncio.sleep(10)
            scene.leave()
            await asyncio.sleep(70)

    assert scene.asked_at == [1, 10.5, 12, 17, 17, 77]


@timeless
async def test_a_departure_while_one_is_looked_into_is_looked_into_after_it(scene: Scene) -> None:
    async with running(scene.neighbours.run()):
        with scene.visitor("a.sock"), scene.visitor("b.sock"):
            await asyncio.sleep(10)
            scene.leave("a.sock")
            await asyncio.sleep(1)
            scene.leave("b.sock")
            await asyncio.sleep(20)

    assert scene.asked_at == [1, 10.5, 12, 17, 17.5, 19, 24, 24]


@timeless
async def test_what_the_kubelet_lists_nothing_of_twice_is_registered_again(scene: Scene) -> None:
    scene.answer = WITHOUT_R3
    async with running(scene.neighbours.run()):
        await asyncio.sleep(30)

    assert scene.asked_at == [1, 1.25]
    assert scene.drops == [(1.25, R3, "displaced")]


@timeless
async def test_all_that_is_lost_is_registered_again_in_the_order_of_names(scene: Scene) -> None:
    scene.answer = set()
    async with running(scene.neighbours.run()):
        await asyncio.sleep(30)

    assert [drop[1] for drop in scene.drops] == [R2, R3]


@timeless
async def test_what_was_only_on_its_way_is_not_lost(scene: Scene) -> None:
    scene.answers = [WITHOUT_R3, ALL]
    async with running(scene.neighbours.run()):
        await asyncio.sleep(30)

    assert scene.asked_at == [1, 1.25]
    assert scene.drops == []


@timeless
async def test_a_second_answer_that_does_not_come_confirms_nothing(scene: Scene) -> None:
    scene.answers = [WITHOUT_R3, None]
    async with running(scene.neighbours.run()):
        await asyncio.sleep(30)

    assert scene.drops == []


@timeless
async def test_a_session_that_is_gone_meanwhile_is_not_asked_to_register(scene: Scene) -> None:
    scene.answer = WITHOUT_R3
    async with running(scene.neighbours.run()):
        await asyncio.sleep(1.1)
        del scene.sessions[R3]
        await asyncio.sleep(30)

    assert scene.drops == []


@timeless
async def test_that_another_plugin_serves_a_resource_is_said_once_for_as_long_as_it_does(scene: Scene) -> None:
    scene.answers = [OTHERS, OTHERS, OTHERS, ALL, OTHERS]
    with capture_logs() as lines:
        async with running(scene.neighbours.run()):
            await asyncio.sleep(190)
            assert len(lines) == 1
            await asyncio.sleep(60)

    assert scene.drops == []
    reason = "the kubelet lists another plugin's devices"
    assert lines == [{"event": "displaced", "log_level": "warning", "resource": R3, "reason": reason}] * 2


@timeless
async def test_where_nobody_can_be_asked_a_departure_is_enough_and_each_look_has_its_effect(scene: Scene) -> None:
    scene.answer = None
    async with running(scene.neighbours.run()):
        with scene.visitor():
            await asyncio.sleep(20)
            scene.leave()
            await asyncio.sleep(0.6)

    assert scene.drops == [(20.5, R2, "displaced"), (20.5, R3, "displaced")]


@timeless
async def test_where_nobody_can_be_asked_a_newcomer_that_listens_no_more_is_found_within_ten_seconds(
    scene: Scene,
) -> None:
    scene.answer = None
    async with running(scene.neighbours.run()):
        with scene.visitor():
            await asyncio.sleep(35)
            assert scene.drops == []
        await until(lambda: scene.drops)

        assert elapsed() == 41.5, "1 s, four times 10 s, and half a second for its stream"
        assert not scene.newcomers.present
        assert scene.asked_at == [1, 41.5]


@timeless
async def test_where_the_kubelet_answers_no_newcomer_is_knocked_at(scene: Scene) -> None:
    async with running(scene.neighbours.run()):
        with scene.visitor():
            await asyncio.sleep(5)
        await asyncio.sleep(100)
        assert set(scene.newcomers.present) == {"other.sock"}
        assert scene.asked_at == [1, 61]


@timeless
async def test_a_kubelet_that_answers_again_is_asked_again(scene: Scene) -> None:
    scene.answers = [None]
    async with running(scene.neighbours.run()):
        await asyncio.sleep(61)
        with scene.visitor():
            await settled()
        await asyncio.sleep(50)
        assert set(scene.newcomers.present) == {"other.sock"}, "nobody knocked"


@timeless
async def test_what_is_unhealthy_or_not_registered_or_young_is_not_missed(scene: Scene) -> None:
    scene.answer = set()
    ill = make_device(1, class_name="dev2", health=Health.UNHEALTHY)
    scene.sessions[R2].inventory.apply({ill.id: ill})
    scene.sessions[R3].live_since = 1056.1
    async with running(scene.neighbours.run()):
        await asyncio.sleep(61.5)
        assert scene.drops == [], "it is registered for less than 5 s"
        await asyncio.sleep(60)
        assert scene.drops == [(121.25, R3, "displaced")]
        scene.drops.clear()
        scene.sessions[R3].live_since = None
        await asyncio.sleep(200)
        assert scene.drops == []


@pytest.mark.parametrize("live_since", [None, 1001.0])
@timeless
async def test_one_that_is_not_missed_does_not_hide_the_others(scene: Scene, live_since: float | None) -> None:
    scene.answer = set()
    scene.sessions[R3].live_since = live_since
    async with running(scene.neighbours.run()):
        await asyncio.sleep(2)
    assert scene.drops == [(1.25, R2, "displaced")]


@timeless
async def test_one_that_registered_after_a_plugin_went_does_not_hide_the_others(scene: Scene) -> None:
    scene.answer = None
    scene.sessions[R3].asked_at = 1010.2
    async with running(scene.neighbours.run()):
        with scene.visitor():
            await asyncio.sleep(10)
            scene.leave()
            await asyncio.sleep(0.6)
    assert scene.drops == [(10.5, R2, "displaced")]
