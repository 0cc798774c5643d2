"""The one writer of slices: what it sends, in which order, when again, and what it says of it; in no time."""

from __future__ import annotations

import asyncio
import copy
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin import logs
from fakehw_plugin.device import Health
from fakehw_plugin.devices.telemetry import Telemetry
from fakehw_plugin.dra import following, publisher, stored_slices
from fakehw_plugin.dra.pool import DevicePool
from kubeapi import errors
from kubeapi.follow import Event, EventType, Follow
from kubeapi.resources import NODES, RESOURCE_SLICES
from tests.factories import make_device
from tests.timeless import elapsed, running, settled, timeless, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from fakehw_plugin.device import Device

NODE, DRIVER = "kind-worker2", "myplugin.io"
FIRST, SECOND = (f"0000{index}-{DRIVER}-{NODE}" for index in (0, 1))
RIVAL = f"{NODE}-{DRIVER}-x7k2p"


@pytest.fixture(autouse=True)
def _nobody_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at many devices as soon as at few, but where a test is about that."""
    monkeypatch.setattr(publisher, "GIVE_WAY_S", 0)


def conflict() -> errors.ConflictError:
    return errors.ConflictError(409, "Conflict", "it has changed")


def not_found() -> errors.NotFoundError:
    return errors.NotFoundError(404, "NotFound", "there is none")


class Server:
    """An API server of a node and its slices: a client and a watch that says what happens, at once, or when told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.failing: list[Exception] = []
        """Raised by the next calls, one each."""
        self.slices: dict[str, dict[str, Any]] = {}
        self.node_uid = "node-uid"
        self.is_synced = True
        self.keeps_silent = False
        self.drops: set[str] = set()
        """Fields of a device that it does not know."""
        self.on_event: Callable[[Event], None]
        self.on_error: Callable[[errors.ApiError], None]
        self.followed: tuple[Any, ...] = ()
        self.runs = 0
        self._version = itertools.count(1)

    def follow(self, client: Any, driver: str, node: str, *, on_event: Any, on_error: Any) -> Server:
        self.followed = client, driver, node
        self.on_event, self.on_error = on_event, on_error
        return self

    async def run(self) -> None:
        self.runs += 1
        for found in list(self.slices.values()):
            self.tell(EventType.ADDED, found)
        if self.is_synced:
            self.on_event(Event(EventType.SYNCED, {}))
        await asyncio.Event().wait()

    def tell(self, kind: EventType, found: dict[str, Any]) -> None:
        self.on_event(Event(kind, copy.deepcopy(found)))

    def put(self, name: str, devices: list[dict[str, Any]], *, quietly: bool = False, **spec: Any) -> dict[str, Any]:
        """Have somebody else write a slice."""
        is_new = name not in self.slices
        pool = {"name": NODE, "generation": 1, "resourceSliceCount": 1}
        self.slices[name] = {
            "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": str(next(self._version))},
            "spec": {"driver": DRIVER, "nodeName": NODE, "pool": pool, "devices": devices, **spec},
        }
        if not quietly:
            self.tell(EventType.ADDED if is_new else EventType.MODIFIED, self.slices[name])
        return self.slices[name]

    def drop(self, name: str) -> None:
        """Have somebody else delete a slice; as the watch has it, it carries the version of its deletion."""
        found = self.slices.pop(name)
        found["metadata"]["resourceVersion"] = str(next(self._version))
        self.tell(EventType.DELETED, found)

    def _note(self, *call: Any, **more: Any) -> None:
        self.calls.append((*call, more))
        if self.failing:
            raise self.failing.pop(0)

    async def get(self, resource: Any, name: str, **more: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        self._note("get", resource.plural, name, **more)
        if resource is NODES:
            return {"metadata": {"uid": self.node_uid}}
        if name not in self.slices:
            raise not_found()
        return copy.deepcopy(self.slices[name])

    async def create(self, resource: Any, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        return await self._write("create", resource, body, **more)

    async def update(self, resource: Any, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        return await self._write("update", resource, body, **more)

    async def _write(self, verb: str, resource: Any, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        assert resource is RESOURCE_SLICES
        name = body["metadata"]["name"]
        self._note(verb, name, [device["name"] for device in body["spec"]["devices"]], **more)
        was = self.slices.get(name)
        if verb == "update" and was is None:
            raise not_found()
        if (was or {"metadata": {}})["metadata"].get("resourceVersion") != body["metadata"].get("resourceVersion"):
            raise conflict()
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"], body["metadata"]["uid"] = str(next(self._version)), f"uid-{name}"
        for device in body["spec"]["devices"]:
            for field in self.drops & device.keys():
                del device[field]
            for taint in device.get("taints") or []:
                taint.setdefault("timeAdded", f"at {elapsed():g} s")
        self.slices[name] = body
        if not self.keeps_silent:
            self.tell(EventType.ADDED if was is None else EventType.MODIFIED, body)
        await asyncio.sleep(0)  # the event of a write comes before its answer
        return copy.deepcopy(body)

    async def delete(self, resource: Any, name: str, **more: Any) -> None:
        assert resource is RESOURCE_SLICES
        self._note("delete", name, **more)
        if name not in self.slices:
            raise not_found()
        self.drop(name)

    async def delete_collection(self, resource: Any, **more: Any) -> None:
        self._note("delete_collection", resource.plural, **more)

    def taken_calls(self) -> list[tuple[Any, ...]]:
        """Return verb and name of what was asked since this was last asked."""
        calls, self.calls = self.calls, []
        return [(call[0], call[2] if call[0] == "get" else call[1]) for call in calls]

    def taken_calls_but_devices(self) -> list[tuple[Any, ...]]:
        calls, self.calls = self.calls, []
        return [(*call[:2], call[-1]) for call in calls]


class Scene:
    """A pool of some devices, published to a server."""

    def __init__(self, devices: int = 2) -> None:
        self.server = Server()
        self.pool = DevicePool(driver=DRIVER, node=NODE)
        self.telemetry = Telemetry()
        for number in range(1, devices + 1):
            self.pool.put(make_device(number))
        self.pool.publish()
        self.publisher = publisher.Publisher(
            self.server,  # type: ignore[arg-type]  # as much of one as is needed
            self.pool,
            telemetry=self.telemetry,
            log=logs.get_logger(driver=DRIVER),
            follow=self.server.follow,
        )

    def put(self, *devices: Device) -> None:
        for device in devices:
            self.pool.put(device)
        self.pool.publish()

    def flip(self, number: int = 1, reason: str = "") -> None:
        self.put(make_device(number, health=Health.UNHEALTHY, reason=reason))

    def mend(self, number: int = 1) -> None:
        self.put(make_device(number))

    async def published(self) -> None:
        await until(lambda: self.publisher.is_published)
        self.server.calls.clear()


def told(lines: list[Any], *events: str) -> list[dict[str, Any]]:
    return [{**line} for line in lines if line["event"] in events]


@timeless
async def test_a_pool_is_published_once_the_node_is_known_and_that_is_said() -> None:
    scene = Scene()
    assert scene.publisher.name_is_free.is_set()
    assert not scene.publisher.is_published
    await asyncio.sleep(0.25)
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await until(lambda: scene.publisher.is_published)
            await asyncio.sleep(3600)

    assert scene.server.followed == (scene.server, DRIVER, NODE)
    assert scene.server.calls == [
        ("get", "nodes", NODE, {"retry_for_s": 0}),
        ("create", FIRST, ["node2-dev3-1", "node2-dev3-2"], {"retry_for_s": 0}),
    ]
    assert scene.telemetry.slice_writes == {(DRIVER, "create"): 1}
    assert sum(scene.telemetry.publish_latency.counts) == 1
    assert scene.telemetry.publish_latency.total_s == pytest.approx(0.25)
    assert lines == [
        {
            "event": "slice_written", "log_level": "info", "driver": DRIVER, "slice": FIRST, "generation": 1,
            "healthy": "node2-dev3-1, node2-dev3-2",
        },
        {"event": "slices_published", "log_level": "debug", "driver": DRIVER, "slices": 1, "devices": 2},
    ]  # fmt: skip  # one line of the log after the other


@timeless
async def test_nothing_is_written_before_it_is_known_what_is_there() -> None:
    scene = Scene()
    scene.server.is_synced = False
    async with running(scene.publisher.run()):
        scene.publisher.look()
        await settled()
        assert scene.server.calls == []
        assert not scene.publisher.has_looked.is_set()

        scene.server.on_event(Event(EventType.SYNCED, {}))
        await settled()
        assert scene.server.calls == []
        scene.server.is_synced = True
        await asyncio.sleep(100)
        assert scene.server.calls == []
        scene.publisher.look()
        await scene.published()
        assert scene.publisher.has_looked.is_set()
        assert scene.publisher.name_is_free.is_set()


@timeless
async def test_a_change_of_a_device_is_one_update_that_says_which_way_it_went() -> None:
    scene = Scene(3)
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await scene.published()
            lines.clear()
            scene.flip(1)
            scene.pool.remove(make_device(3).id)
            scene.pool.publish()
            await settled()
            scene.mend(1)
            await settled()
            await asyncio.sleep(100)

    assert scene.server.taken_calls() == [("update", FIRST)] * 2
    assert scene.telemetry.slice_writes == {(DRIVER, "create"): 1, (DRIVER, "update"): 2}
    base = {"event": "slice_written", "log_level": "info", "driver": DRIVER, "slice": FIRST, "generation": 1}
    assert told(lines, "slice_written") == [
        {**base, "unhealthy": "node2-dev3-1", "removed": "node2-dev3-3"},
        {**base, "healthy": "node2-dev3-1"},
    ]
    assert sum(scene.telemetry.publish_latency.counts) == 3


@timeless
async def test_it_is_published_only_while_all_is_written() -> None:
    scene = Scene()
    async with running(scene.publisher.run()):
        await scene.published()
        scene.server.failing = [errors.UnavailableError("no answer")]
        scene.flip()
        await settled()
        assert not scene.publisher.is_published
        await until(lambda: scene.publisher.is_published)
        assert elapsed() == pytest.approx(0.0375, abs=0.0126), "the half to the whole of 50 ms later"


@timeless
async def test_a_server_that_is_away_is_tried_ever_less_often_and_complained_of_once() -> None:
    scene = Scene()
    scene.server.failing = [errors.UnavailableError("no answer") for _ in range(12)]
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            at = []
            for count in range(1, 14):
                await until(lambda count=count: len(scene.server.calls) >= count)  # type: ignore[misc]
                at.append(elapsed())
            await scene.published()
            scene.server.failing = [errors.UnavailableError("another")]
            scene.flip()
            again = elapsed()
            await until(lambda: len(scene.server.calls) == 2)
            assert 0.025 <= elapsed() - again <= 0.05, "the pauses begin anew"
            await scene.published()

    pauses = [b - a for a, b in itertools.pairwise(at)]
    whole = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert all(pause / 2 <= taken <= pause for pause, taken in zip(whole, pauses, strict=True))
    assert scene.telemetry.api_errors == {"unavailable": 13}
    failed, again_, failed_again, at_last = told(lines, "api_server_failed", "slices_written_again")
    assert failed == {
        "event": "api_server_failed", "log_level": "warning", "driver": DRIVER, "error": "no answer",
        "retry_in_s": round(failed["retry_in_s"], 2),
    }  # fmt: skip  # one line of the log
    assert 0.02 <= failed["retry_in_s"] <= 0.05
    assert again_ == {"event": "slices_written_again", "log_level": "info", "driver": DRIVER} == at_last
    assert failed_again["error"] == "another"


@timeless
async def test_a_server_that_says_when_to_come_again_is_asked_then() -> None:
    scene = Scene()
    scene.server.failing = [errors.UnavailableError("busy", code=429, retry_after_s=7.0)]
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await until(lambda: scene.publisher.is_published)
            assert elapsed() == 7.0

    assert scene.telemetry.api_errors == {"429": 1}
    assert told(lines, "api_server_failed")[0]["retry_in_s"] == 7.0


@timeless
async def test_what_is_refused_is_sent_again_after_half_a_minute_or_when_the_pool_has_changed() -> None:
    scene = Scene()
    refusal = errors.BadRequestError(422, "Invalid", "no")
    scene.server.failing = [refusal, refusal]
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await until(lambda: len(scene.server.calls) == 2)
            assert elapsed() == 30.0
            await asyncio.sleep(1)
            scene.flip()
            await until(lambda: scene.publisher.is_published)
            assert elapsed() == 31.0

    assert scene.telemetry.api_errors == {"422": 2}
    assert [(line["error"], line["retry_in_s"]) for line in told(lines, "api_server_failed")] == [
        ("no (422 Invalid)", 30.0)
    ]


@timeless
async def test_a_slice_that_changed_under_our_hands_is_read_and_written_again_at_once() -> None:
    scene = Scene()
    async with running(scene.publisher.run()):
        await scene.published()
        scene.server.put(FIRST, [{"name": "stranger"}], quietly=True)
        scene.flip()
        await until(lambda: scene.publisher.is_published)
        assert elapsed() == 0
        await asyncio.sleep(100)

    assert scene.server.calls == [
        ("update", FIRST, ["node2-dev3-1", "node2-dev3-2"], {"retry_for_s": 0}),
        ("get", "resourceslices", FIRST, {"retry_for_s": 0}),
        ("update", FIRST, ["node2-dev3-1", "node2-dev3-2"], {"retry_for_s": 0}),
    ]
    assert not scene.telemetry.api_errors


@timeless
async def test_a_slice_that_is_gone_when_it_is_written_is_made_anew_at_once() -> None:
    scene = Scene()
    async with running(scene.publisher.run()):
        await scene.published()
        del scene.server.slices[FIRST]
        scene.flip()
        await until(lambda: scene.publisher.is_published)
        assert elapsed() == 0

    assert scene.server.taken_calls() == [("update", FIRST), ("create", FIRST)]
    assert not scene.telemetry.api_errors


@timeless
async def test_a_name_that_is_taken_and_free_again_when_it_is_looked_at_is_taken_by_us() -> None:
    scene = Scene()
    async with running(scene.publisher.run()):
        await scene.published()
        scene.server.failing = [conflict()]
        del scene.server.slices[FIRST]
        scene.flip()
        await until(lambda: scene.publisher.is_published)

    assert scene.server.taken_calls() == [("update", FIRST), ("get", FIRST), ("create", FIRST)]


@timeless
async def test_a_slice_that_is_deleted_by_others_is_back_at_once_with_the_times_of_its_taints_and_its_node() -> None:
    scene = Scene()
    scene.flip(2)
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await scene.published()
            await asyncio.sleep(60)
            scene.server.node_uid = "another node"
            scene.server.drop(FIRST)
            await until(lambda: scene.publisher.is_published and FIRST in scene.server.slices)
            assert elapsed() == 60

    assert scene.server.taken_calls() == [("get", NODE), ("create", FIRST)]
    (made,) = scene.server.slices.values()
    assert made["metadata"]["ownerReferences"][0]["uid"] == "another node"
    assert made["spec"]["devices"][1]["taints"][0]["timeAdded"] == "at 0 s"
    assert told(lines, "slice_deleted_by_others") == [
        {"event": "slice_deleted_by_others", "log_level": "info", "driver": DRIVER, "slice": FIRST}
    ]
    assert len(told(lines, "slices_published")) == 1, "it is the same that is published"


@timeless
async def test_the_watch_telling_of_our_own_writes_is_no_news() -> None:
    scene = Scene()
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await scene.published()
            scene.server.tell(EventType.MODIFIED, scene.server.slices[FIRST])
            old = copy.deepcopy(scene.server.slices[FIRST])
            old["metadata"]["resourceVersion"] = "0"
            scene.server.tell(EventType.DELETED, old)
            for number in (1, 2):
                scene.flip(number)
                await asyncio.sleep(1)

    assert scene.server.taken_calls() == [("update", FIRST)] * 2
    assert elapsed() == 2, "and there was no quarrel, which would slow us down"
    assert not told(lines, "slice_deleted_by_others")


@timeless
async def test_a_deletion_that_comes_while_a_slice_is_written_is_heeded_after_it() -> None:
    """And it asks for its owner again before it is made: a slice without one would outlive its node."""
    scene = Scene()
    async with running(scene.publisher.run()):
        await scene.published()
        write = scene.server.update

        async def written_and_deleted(resource: Any, body: dict[str, Any], **more: Any) -> dict[str, Any]:
            scene.server.update = write  # type: ignore[method-assign]
            found = await write(resource, body, **more)
            scene.server.drop(FIRST)
            return found

        scene.server.update = written_and_deleted  # type: ignore[method-assign]
        scene.flip()
        await until(lambda: FIRST in scene.server.slices and scene.publisher.is_published)
        await asyncio.sleep(100)

    assert scene.server.taken_calls() == [("update", FIRST), ("get", NODE), ("create", FIRST)]
    assert scene.server.slices[FIRST]["metadata"]["ownerReferences"][0]["uid"] == "node-uid"


@timeless
async def test_who_changes_a_slice_again_and_again_is_answered_ever_more_slowly() -> None:
    scene = Scene()
    taken = []
    async with running(scene.publisher.run()):
        await scene.published()
        for count in range(1, 7):
            scene.server.put(FIRST, [{"name": "stranger"}])
            began, writes = elapsed(), count
            await until(lambda writes=writes: scene.telemetry.slice_writes[DRIVER, "update"] == writes)  # type: ignore[misc]
            taken.append(round(elapsed() - began, 3))
        await asyncio.sleep(60.001)
        scene.server.put(FIRST, [{"name": "stranger"}])
        began = elapsed()
        await until(lambda: scene.telemetry.slice_writes[DRIVER, "update"] == 7)
        taken.append(round(elapsed() - began, 3))

    assert taken == [0.1, 0.5, 2.0, 10.0, 30.0, 30.0, 0.1]


@timeless
async def test_slices_of_a_pool_that_shrank_are_deleted_as_what_they_were() -> None:
    scene = Scene(65)
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await scene.published()
            assert set(scene.server.slices) == {FIRST, SECOND}
            scene.pool.remove(make_device(65).id)
            scene.pool.publish()
            await until(lambda: SECOND not in scene.server.slices and scene.publisher.is_published)

    assert scene.server.taken_calls_but_devices() == [
        ("update", FIRST, {"retry_for_s": 0}),
        ("delete", SECOND, {"uid": f"uid-{SECOND}", "retry_for_s": 0}),
    ], "the first is the whole of a pool of one slice"
    assert not told(lines, "slice_deleted_by_others"), "it was us"
    assert scene.telemetry.slice_writes[DRIVER, "delete"] == 1


@timeless
async def test_a_device_that_comes_back_after_its_slice_was_deleted_has_its_taint_since_then() -> None:
    scene = Scene(64)
    scene.flip(65)
    async with running(scene.publisher.run()):
        await scene.published()
        await asyncio.sleep(100)
        scene.pool.remove(make_device(65).id)
        scene.pool.publish()
        await until(lambda: SECOND not in scene.server.slices)
        await asyncio.sleep(100)
        scene.flip(65)
        await until(lambda: SECOND in scene.server.slices)
        (device,) = scene.server.slices[SECOND]["spec"]["devices"]
        assert device["taints"][0]["timeAdded"] == "at 200 s"


@pytest.mark.parametrize("error", [not_found(), conflict()])
@timeless
async def test_a_slice_that_others_have_deleted_already_or_made_anew_is_no_failure(error: errors.ApiError) -> None:
    scene = Scene(65)
    async with running(scene.publisher.run()):
        await scene.published()
        delete = scene.server.delete

        async def faster(resource: Any, name: str, **more: Any) -> None:
            del scene.server.slices[name]
            await delete(resource, name, **more) if isinstance(error, errors.NotFoundError) else None
            raise error

        scene.server.delete = faster  # type: ignore[method-assign]
        scene.pool.remove(make_device(65).id)
        scene.pool.publish()
        await until(lambda: scene.publisher.is_published)

    assert not scene.telemetry.api_errors
    assert scene.telemetry.slice_writes[DRIVER, "delete"] == 1


@timeless
async def test_devices_stay_in_the_slices_in_which_an_earlier_process_has_published_them() -> None:
    before = Scene(66)
    async with running(before.publisher.run()):
        await before.published()
    scene = Scene(0)
    scene.server.slices = before.server.slices
    scene.put(*(make_device(number) for number in range(2, 67)))
    async with running(scene.publisher.run()):
        await scene.published()
        scene.flip(66)
        await settled()

        assert [len(found["spec"]["devices"]) for found in scene.server.slices.values()] == [63, 2]
        assert scene.server.taken_calls() == [("update", SECOND)]

        scene.server.drop(SECOND)
        await until(lambda: SECOND in scene.server.slices)
        assert [len(found["spec"]["devices"]) for found in scene.server.slices.values()] == [63, 2]


@timeless
async def test_whoever_tells_the_kubelet_of_health_comes_before_the_slices() -> None:
    scene = Scene()
    wakes = [asyncio.Event() for _ in range(20)]

    async def stream(wake: asyncio.Event) -> None:
        await wake.wait()
        scene.server.calls.append(("health", ""))

    async with running(scene.publisher.run()):
        await scene.published()
        streams = []
        for wake in wakes:
            scene.pool.subscribe(wake.set)
            streams.append(asyncio.create_task(stream(wake)))
        await settled()
        scene.flip()
        await settled()
        await asyncio.wait(streams)

    assert [call[0] for call in scene.server.calls] == ["health"] * 20 + ["update"]


@pytest.mark.parametrize(("devices", "waited_s"), [(16, 0.0), (17, 0.001)])
@timeless
async def test_a_look_at_many_devices_gives_health_streams_a_millisecond(
    monkeypatch: pytest.MonkeyPatch, devices: int, waited_s: float
) -> None:
    monkeypatch.setattr(publisher, "GIVE_WAY_S", 0.001)
    scene = Scene(devices)
    async with running(scene.publisher.run()):
        await scene.published()
        began = elapsed()
        scene.flip()
        await until(lambda: bool(scene.server.calls))

    assert round(elapsed() - began, 6) == waited_s


@timeless
async def test_a_name_that_others_serve_is_left_to_them_and_taken_once_it_is_free() -> None:
    scene = Scene()
    rival = scene.server.put(RIVAL, [{"name": "gpu-0"}], quietly=True)
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await asyncio.sleep(100)
            assert scene.server.calls == []
            assert scene.publisher.has_looked.is_set()
            assert not scene.publisher.name_is_free.is_set()
            assert not scene.publisher.is_published
            scene.publisher.look()
            await settled()

            scene.server.drop(RIVAL)
            await scene.published()
            assert scene.publisher.name_is_free.is_set()

    remark = "another driver has this name, or had: give the class a file `driver` of its own, or delete them"
    assert told(lines, "driver_name_taken") == [
        {"event": "driver_name_taken", "log_level": "error", "driver": DRIVER, "slices": RIVAL, "remark": remark}
    ]
    assert rival["spec"]["devices"] == [{"name": "gpu-0"}]


@timeless
async def test_a_name_that_others_have_alone_by_now_is_theirs() -> None:
    scene = Scene()
    async with running(scene.publisher.run()):
        await scene.published()
        scene.server.put(RIVAL, [{"name": "gpu-0"}])
        await settled()
        assert scene.publisher.name_is_free.is_set()
        scene.server.drop(FIRST)
        await asyncio.sleep(100)
        assert not scene.publisher.name_is_free.is_set()
        assert not scene.publisher.is_published
        assert list(scene.server.slices) == [RIVAL]

        scene.server.drop(RIVAL)
        await until(lambda: scene.publisher.is_published)
        assert list(scene.server.slices) == [FIRST]
        assert scene.publisher.name_is_free.is_set()


@timeless
async def test_that_a_name_is_taken_is_known_as_soon_as_it_is_known_what_is_there() -> None:
    scene = Scene()
    scene.server.put(RIVAL, [], quietly=True)
    scene.server.follow(scene.server, DRIVER, NODE, on_event=scene.server.on_event, on_error=scene.server.on_error)
    scene.server.tell(EventType.ADDED, scene.server.slices[RIVAL])

    scene.server.on_event(Event(EventType.SYNCED, {}))

    assert not scene.publisher.name_is_free.is_set()


@timeless
async def test_rivals_beside_our_own_slices_are_told_of_and_let_be_and_told_of_again_when_they_change() -> None:
    scene = Scene()
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await scene.published()
            for number in range(6):
                scene.server.put(f"rival-{number}", [])
            await settled()
            scene.flip()
            await settled()
            for number in range(5):
                scene.server.drop(f"rival-{number}")
            await settled()
            scene.server.drop("rival-5")
            await settled()
            scene.server.put("rival-5", [])
            await settled()
            assert scene.publisher.name_is_free.is_set()

    assert [line["slices"] for line in told(lines, "driver_name_taken")] == [
        "rival-0, rival-1, rival-2, rival-3",
        "rival-5",
        "rival-5",
    ]
    assert {verb for verb, _ in scene.server.taken_calls()} <= {"update", "get"}


@timeless
async def test_a_field_that_the_server_drops_is_said_once_with_the_gate_and_not_sent_again() -> None:
    scene = Scene()
    scene.server.drops = {"taints", "attributes"}
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await scene.published()
            scene.flip(1)
            await until(lambda: scene.publisher.is_published)
            scene.flip(2)
            await until(lambda: scene.publisher.is_published)
            await asyncio.sleep(100)
            scene.publisher.look()
            await settled()

    assert scene.server.taken_calls() == [("update", FIRST)] * 2
    base = {"event": "slice_field_dropped", "log_level": "warning", "driver": DRIVER}
    assert told(lines, "slice_field_dropped") == [
        {**base, "field": "attributes", "reason": "the API server does not know it"},
        {**base, "field": "taints", "reason": "feature gate DRADeviceTaints is off"},
    ]


@timeless
async def test_what_goes_wrong_with_the_watch_is_a_failure_unless_it_only_has_to_begin_anew() -> None:
    scene = Scene()
    with capture_logs() as lines:
        async with running(scene.publisher.run()):
            await scene.published()
            scene.server.on_error(errors.GoneError(410, "Expired", "too old"))
            assert not scene.telemetry.api_errors
            scene.server.on_error(errors.ForbiddenError(403, "", "not you"))
            scene.server.on_error(errors.ForbiddenError(403, "", "not you"))
            scene.server.on_error(errors.AccessError("no certificate"))
            scene.flip()
            await settled()

    assert scene.telemetry.api_errors == {"403": 2, "access": 1}
    base = {"log_level": "warning", "driver": DRIVER, "retry_in_s": None}
    assert told(lines, "api_server_failed", "slices_written_again") == [
        {**base, "event": "api_server_failed", "error": "not you (403)"},
        {**base, "event": "api_server_failed", "error": "no certificate"},
        {"event": "slices_written_again", "log_level": "info", "driver": DRIVER},
    ]


@timeless
async def test_withdrawing_deletes_the_slices_of_this_driver_on_this_node() -> None:
    scene = Scene()
    await scene.publisher.withdraw()

    assert scene.server.calls == [
        ("delete_collection", "resourceslices", {"field_selector": f"spec.nodeName={NODE},spec.driver={DRIVER}"})
    ]


@timeless
async def test_when_it_ends_the_pool_wakes_it_no_more() -> None:
    scene = Scene()
    async with running(scene.publisher.run()):
        await scene.published()
        assert len(scene.pool._subscribers) == 1

    assert not scene.pool._subscribers
    assert scene.server.runs == 1


@timeless
async def test_a_watch_of_its_own_is_of_this_driver_on_this_node(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(following, "Follow", lambda *values, **more: asked.append((values, more)))
    following.follow_slices("client", DRIVER, NODE, on_event=print, on_error=repr)  # type: ignore[arg-type]

    assert asked == [
        (
            ("client", RESOURCE_SLICES),
            {
                "field_selector": f"spec.nodeName={NODE},spec.driver={DRIVER}",
                "on_event": print,
                "on_error": repr,
                "longest_pause_s": 2.0,
            },
        )
    ]
    assert Follow.__name__ == "Follow"


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("", 0), ("x7", 0), ("10", 10)])
def test_a_version_that_is_no_number_is_older_than_any(text: str, number: int) -> None:
    assert stored_slices.version({"metadata": {"resourceVersion": text}}) == number
    assert stored_slices.version({"metadata": {}}) == 0
