"""What the kit sees of a DRA driver: slices, health, files and sockets; and the bench that it is tested on."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from fakekubelet import changes, clock
from fakekubelet.apiserver.server import ApiServer
from fakekubelet.conformance.dra import bench as bench_of
from fakekubelet.conformance.dra import observed
from fakekubelet.conformance.dra.bench import Bench
from fakekubelet.conformance.dra.settings import Limits, Settings
from fakekubelet.kubelet import call_log
from kubeletapi.drahealth.v1 import api_pb2 as healthapi
from tests.kit_bench import DRIVER, taint
from tests.kit_evidence import registration
from tests.running import DEADLINE_S

# -- slices -----------------------------------------------------------------------------------------------------------


class World:
    """An API server with slices, and what is seen of them."""

    def __init__(self):
        self.api = ApiServer("1.36")
        self.slices = observed.Slices(self.api)

    def add(self, name, *devices, driver=DRIVER, pool="p", generation=1, count=1):
        self.api.create({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name},
            "spec": {
                "driver": driver, "nodeName": "n", "pool": {"name": pool, "generation": generation, "resourceSliceCount": count},
                **({"devices": [{"name": device} for device in devices]} if devices else {}),
            },
        })  # fmt: skip  # one object

    def keys(self):
        return list(self.slices.devices())


@pytest.fixture
def world():
    return World()


def test_slices_are_those_of_the_driver_once_it_is_known(world):
    world.add("b", "x")
    world.add("a", "y", driver="other.example.com")

    assert [one["metadata"]["name"] for one in world.slices.all()] == ["a", "b"]
    assert world.slices.writes == 2
    world.slices.driver = DRIVER
    world.add("c", "z", driver="other.example.com")
    assert [one["metadata"]["name"] for one in world.slices.all()] == ["b"]
    assert world.slices.writes == 2
    world.add("d", "w", pool="q")
    assert world.slices.writes == 3


def test_devices_are_those_of_complete_pools_of_the_newest_generation(world):
    world.add("a", "a1", "a2", count=2)
    assert (world.keys(), world.slices.problem()) == ([], "pool p: 1 slice(s) of generation 1, which says there are 2")
    world.add("b", "b1", count=2)
    world.add("empty", pool="q")
    assert world.keys() == [("p", "a1"), ("p", "a2"), ("p", "b1")]
    assert world.slices.devices()["p", "a1"] == {"name": "a1"}
    assert world.slices.problem() == ""
    world.add("c", "c1", generation=2, count=2)
    world.add("d", "d1", generation=2, count=2)
    assert world.keys() == [("p", "c1"), ("p", "d1")]
    assert world.slices.problem() == "2 slice(s) of older generations are left"
    world.add("e", "e1", generation=3, count=2)
    assert world.keys() == []
    assert world.slices.problem() == "pool p: 1 slice(s) of generation 3, which says there are 2"


def test_a_device_that_is_there_twice_is_a_problem(world):
    world.add("a", "x", "y", count=2)
    world.add("b", "y", "x", count=2)

    assert world.slices.problem() == "pool p: device x is there twice"


def test_slices_that_the_driver_deletes_are_told_from_those_that_the_kit_wipes(world):
    world.slices.driver = DRIVER
    for name in ("a", "b", "c"):
        world.add(name, name, pool=name)
    world.add("d", "d", driver="other.example.com")
    world.api.delete("resourceslices", "a")
    world.api.delete("resourceslices", "d")
    assert (world.slices.deleted, world.slices.is_wiping) == (["a"], False)

    world.slices.wipe()

    assert (world.slices.deleted, world.slices.is_wiping, world.slices.all()) == (["a"], False, [])
    assert world.slices.writes == 6


def test_a_wipe_that_fails_is_over_all_the_same(world, monkeypatch):
    world.add("a", "x")
    monkeypatch.setattr(world.api, "delete", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        world.slices.wipe()
    assert world.slices.is_wiping is False


@pytest.mark.parametrize(
    ("device", "kept_away", "claimable"),
    [
        ({}, False, True), ({"taints": []}, False, True), (taint("x", "None"), False, True), (taint("x", "NoSchedule"), True, False),
        (taint(), True, False), ({"taints": [*taint("x", "None")["taints"], *taint()["taints"]]}, True, False),
        ({"allowMultipleAllocations": True}, False, False), ({"allowMultipleAllocations": False}, False, True),
    ],
)  # fmt: skip  # a table
def test_a_device_can_be_claimed_unless_a_taint_keeps_pods_away_or_it_is_shared(device, kept_away, claimable):
    assert observed.keeps_away(device) is kept_away
    assert observed.can_be_claimed(device) is claimable


# -- health -----------------------------------------------------------------------------------------------------------


def message(**states):
    return healthapi.NodeWatchResourcesResponse(devices=[
        healthapi.DeviceHealth(device=healthapi.DeviceIdentifier(pool_name="p", device_name=name), health=state)
        for name, state in states.items()
    ])  # fmt: skip  # one message


def test_the_newest_message_of_the_driver_says_how_a_device_is():
    one, two = message(a=1, b=2), message(a=2)
    said = [(1.0, DRIVER, one), (2.0, "other", message(a=0)), (3.0, DRIVER, None), (4.0, DRIVER, two)]
    health = observed.Health(SimpleNamespace(dra=SimpleNamespace(health_messages=said)))
    health.driver = DRIVER

    assert health.messages() == [(1.0, one), (4.0, two)]
    assert health.messages(4.0) == [(4.0, two)]
    assert health.messages(4.1) == []
    assert (health.of(("p", "a")), health.of(("p", "b")), health.of(("q", "a"))) == (2, None, None)
    assert (health.of(("p", "a"), 4.1), health.of(("p", "a"), 4.0)) == (None, 2)


# -- files ------------------------------------------------------------------------------------------------------------


async def test_files_that_are_written_under_their_own_name_are_told_from_those_that_are_renamed(tmp_path):
    watch = observed.CdiWatch(tmp_path)
    (tmp_path / ".hidden.json").write_text("x")
    (tmp_path / "other.txt").write_text("x")
    (tmp_path / ".a.json").write_text("x")
    (tmp_path / ".a.json").rename(tmp_path / "a.json")
    watch.look()
    assert (watch.in_place, watch.arrived) == ([], 1)
    for text in ("x", "y"):
        (tmp_path / "b.yaml").write_text(text)
    (tmp_path / "a.json").write_text("z")
    watch.look()
    assert (watch.in_place, watch.arrived) == (["b.yaml", "a.json"], 2)
    watch.look()
    (tmp_path / "c.json").touch()
    async with asyncio.timeout(DEADLINE_S):
        while watch.arrived < 3:
            await asyncio.sleep(0.001)

    watch.close()

    (tmp_path / "d.json").touch()
    await asyncio.sleep(0.01)
    assert watch.arrived == 3


def bind(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def test_sockets_are_where_drivers_put_them(short_dir):
    settings = Settings(root=short_dir, cdi_dir=short_dir / "cdi")
    assert observed.sockets(settings) == set()
    paths = {
        short_dir / name
        for name in ("plugins/gpu/dra.sock", "plugins_registry/gpu-reg.sock", "plugins_registry/deep/x.sock")
    }
    for path in paths:
        bind(path)
    bind(short_dir / "cdi/no.sock")
    (short_dir / "plugins/file").touch()
    (short_dir / "plugins/link").symlink_to("nowhere")

    assert observed.sockets(settings) == paths


# -- waiting ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def onlooker():
    kubelet, api = (SimpleNamespace(changes=changes.Changes()) for _ in range(2))
    made = observed.Onlooker(kubelet, api)
    made.bells = {"kubelet": kubelet.changes.ring, "server": api.changes.ring, "somebody": made.wake}
    return made


@pytest.mark.parametrize("who", ["kubelet", "server", "somebody"])
async def test_whoever_changes_something_has_it_looked_at_again(onlooker, who, monkeypatch):
    monkeypatch.setattr(observed, "_FILES_S", 60)
    looks = []

    def condition():
        looks.append(1)
        return len(looks) > 2

    task = asyncio.create_task(onlooker.until(condition, DEADLINE_S))
    for count in (1, 2, 3):
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(looks) == count
        onlooker.bells[who]()

    assert await task is True


async def test_files_change_without_a_word_and_are_looked_at_all_the_same(onlooker, monkeypatch):
    monkeypatch.setattr(observed, "_FILES_S", 0.001)
    looks = []

    assert await onlooker.until(lambda: looks.append(1) or len(looks) > 3, DEADLINE_S) is True


async def test_what_does_not_come_true_is_given_up_and_what_does_at_the_end_is_true(onlooker):
    looks = []

    assert await onlooker.until(lambda: False, 0.01) is False
    assert await onlooker.until(lambda: looks.append(1) or len(looks) > 1, 0.01) is True
    assert await onlooker.until(lambda: True, 0) is True


# -- the bench --------------------------------------------------------------------------------------------------------


LIMITS = Limits(start_s=7.5, publish_s=2.5, recovery_s=6.5, quiet_s=0.5)


@pytest.fixture
async def bench(short_dir):
    made = Bench(
        Settings(command=("driver",), root=short_dir, cdi_dir=short_dir / "cdi", limits=LIMITS, mode="1.35"), print
    )
    made.log, made.script = [], []

    async def until(condition, limit_s):
        made.log.append(f"until {limit_s:g}")
        while not condition():
            if not made.script:
                return False
            made.script.pop(0)()
        return True

    made.onlooker.until = until
    made.process = made.driver
    made.driver = Process(made)
    yield made
    await made.process.close()


class Process:
    """The driver's process."""

    def __init__(self, bench):
        self.bench, self.is_running, self.output = bench, True, "its last words"

    async def start(self):
        self.bench.log.append("driver starts")

    async def kill(self):
        self.bench.log.append("driver killed")

    async def close(self):
        self.bench.log.append("driver closed")


async def test_a_bench_has_a_kubelet_and_a_server_of_the_release_that_was_asked_for(bench, short_dir):
    kubelet = bench.kubelet

    assert (kubelet.plugin_dir, kubelet.node_name, kubelet.mode) == (
        short_dir / "device-plugins",
        "conformance",
        "1.35",
    )
    assert bench.dra is kubelet.dra
    assert (bench.seen.settings, bench.settings.limits, bench.progress) == (bench.settings, bench.limits, print)
    assert bench.process.on_exit == bench.onlooker.wake
    assert (bench.slices.all(), bench.seen.driver) == ([], "")


def taking(bench, names):
    """Have the kubelet take drivers."""
    known = SimpleNamespace(names=names, get=lambda name: f"client of {name}", is_usable=lambda name: name in names)
    bench.kubelet.dra = SimpleNamespace(drivers=known, arrivals=["one"])


async def test_a_driver_is_called_only_while_it_is_registered(bench):
    taking(bench, [DRIVER])
    bench.seen.driver = DRIVER
    assert (bench.client, bench.is_usable) == (f"client of {DRIVER}", True)
    taking(bench, [])
    assert (bench.client, bench.is_usable) == (None, False)


@pytest.mark.parametrize("driver", ["", DRIVER])
async def test_all_that_a_driver_finds_on_a_node_is_there_when_it_starts_and_goes_at_the_end(short_dir, driver):
    settings = Settings(
        command=("sh", "-c", "ls $PLUGINS_DIR; echo done"),
        root=short_dir / "root",
        cdi_dir=short_dir / "cdi",
        driver=driver,
        limits=LIMITS,
    )
    made = Bench(settings, print)
    gone = asyncio.Event()
    made.driver.on_exit = gone.set
    settings.cdi_dir.mkdir()  # as it is in a private mount

    await made.start()

    assert [settings.plugins_dir.is_dir(), settings.registry_dir.is_dir(), settings.cdi_dir.is_dir()] == [True] * 3
    assert [path.name for path in settings.plugins_dir.iterdir()] == ([driver] if driver else [])
    assert settings.kubeconfig.is_file()
    (node,) = made.api.all("nodes")
    assert (node["metadata"]["name"], node["metadata"]["uid"]) == ("conformance", made.seen.node_uid)
    assert (made.kubelet.is_up, made.api.is_up) == (True, True)
    assert made.api.url in settings.kubeconfig.read_text()
    (settings.cdi_dir / "a.json").write_text("x")
    await asyncio.wait_for(gone.wait(), DEADLINE_S)
    await made.close()
    assert made.seen.output.splitlines() == [*([driver] if driver else []), "done"]
    assert (made.seen.cdi_files_seen, made.seen.cdi_written_in_place) == (1, ["a.json"])
    assert (made.kubelet.is_up, made.api.is_up) == (False, False)
    assert not (settings.root / "device-plugins" / "kubelet.sock").exists()
    assert [task.get_name() for task in asyncio.all_tasks() if "plugin-watcher" in task.get_name()] == []


async def test_what_is_known_at_the_end_is_noted_and_everything_ended(bench, monkeypatch):
    calls = call_log.CallLog(clock.RealClock(), lambda: None)

    def called(method, took, error=None):
        call = calls.open("x", method, None)
        if took is not None:
            calls.close(call, error=error)
            call.duration_s = took

    called("GetInfo", 0.25)
    called("GetInfo", None)
    called("NotifyRegistrationStatus", 0.1)
    called("NotifyRegistrationStatus", 0.1, call_log.RpcError(grpc.StatusCode.INTERNAL, "no"))
    bench.kubelet.calls = calls
    by_call, watched = registration(), registration(route="watcher")
    bench.kubelet.registrations = [by_call, watched]
    taking(bench, [])

    def request(code, *, verb="create", resource="resourceslices", error="e"):
        return SimpleNamespace(resource=resource, code=code, verb=verb, error=error)

    bench.api.requests = [
        request(422, error="b"), request(400, error="a"), request(422, error="b"), request(404, error="c"), request(409, error="d"),
        request(400, verb="watch", error="f"), request(422, resource="pods", error="g"), request(201, error=""),
    ]  # fmt: skip  # what was refused, and what was not

    async def stopped(**named):
        bench.log.append(("kubelet stopped", named))

    async def server():
        bench.log.append("server stopped")

    monkeypatch.setattr(bench.kubelet, "stop", stopped)
    monkeypatch.setattr(bench.api, "stop", server)

    await bench.close()

    seen = bench.seen
    assert (seen.registrations, seen.arrivals, seen.output) == ([watched], ["one"], "its last words")
    assert (seen.info_s, seen.notify_errors) == ([0.25], ["rpc error: code = Internal desc = no"])
    assert seen.refused_writes == ["b", "a"]
    assert (seen.cdi_files_seen, seen.cdi_written_in_place) == (0, [])
    assert bench.log == ["driver closed", ("kubelet stopped", {"remove_sockets": True}), "server stopped"]


def comes(bench, *attempts):
    return lambda: bench.kubelet.registrations.extend(attempts)


def attempt(name=DRIVER, at=5.0, **fields):
    return registration(name, time=at, **fields)


async def test_the_first_that_registers_is_looked_at_where_no_name_was_given(bench):
    taking(bench, ["b.example.com"])
    bench.script = [comes(bench, attempt(error="no")), comes(bench, attempt("b.example.com"), attempt("a.example.com"))]

    assert await bench.registered(5.0, 3.5) is True

    assert bench.log == ["until 3.5", "until 6.5"]
    assert {of.driver for of in (bench.seen, bench.slices, bench.health, bench.claims)} == {"b.example.com"}


async def test_the_driver_of_a_name_is_waited_for(bench, short_dir):
    bench.settings = Settings(command=("driver",), root=short_dir, cdi_dir=short_dir, driver=DRIVER)
    taking(bench, [])
    bench.script = [
        comes(bench, attempt("other.example.com")),
        comes(bench, attempt()),
        lambda: taking(bench, [DRIVER]),
    ]

    assert await bench.registered(0.0, 3.5) is True
    assert (bench.seen.driver, bench.slices.driver) == (DRIVER, DRIVER)


async def test_registrations_of_before_and_of_others_do_not_count(bench):
    bench.seen.driver = DRIVER
    bench.kubelet.registrations = [attempt(at=4.9), attempt("other.example.com"), attempt(error="no")]

    assert await bench.registered(5.0, 3.5) is False
    assert bench.log == ["until 3.5"]


async def test_one_that_ends_is_not_waited_for_any_longer(bench):
    bench.script = [lambda: setattr(bench.driver, "is_running", False), lambda: pytest.fail("it waits")]
    assert await bench.registered(0.0, 3.5) is False
    bench.kubelet.registrations = [attempt()]
    taking(bench, [])
    assert await bench.registered(0.0, 3.5) is True, "it was registered, and has ended"


async def test_it_becomes_usable_or_not(bench):
    taking(bench, [])
    bench.seen.driver = DRIVER

    assert await bench.becomes_usable() is False
    bench.script = [lambda: taking(bench, [DRIVER])]
    assert await bench.becomes_usable() is True
    assert bench.log == ["until 6.5"] * 2


@pytest.mark.parametrize(("registered", "publishes"), [(True, True), (True, False), (False, True)])
async def test_it_is_started_once_more_without_what_it_has_left(bench, monkeypatch, registered, publishes):
    asked = []

    async def comes_back(since, limit_s):
        asked.append(limit_s)
        assert time.monotonic() - 5 < since <= time.monotonic()
        bench.log.append("registered")
        return registered

    monkeypatch.setattr(bench, "registered", comes_back)
    monkeypatch.setattr(bench.slices, "wipe", lambda: bench.log.append("wipe"))
    monkeypatch.setattr(bench.slices, "devices", lambda: {("p", "d"): {}} if publishes else {})

    assert await bench.revive() is (registered and publishes)
    assert bench.log == ["driver killed", "wipe", "driver starts", "registered", *(["until 2.5"] if registered else [])]
    assert asked == [7.5]


@pytest.mark.parametrize(
    ("writes", "sleeps", "count"),
    [([0, 0], [0.25, 0.5], 0), ([2, 0, 3], [0.25, 0.25, 0.5], 3), ([1] * 8 + [4], [0.25] * 8 + [0.5], 4)],
)
async def test_what_is_written_while_nothing_is_done_is_counted_once_all_is_quiet(
    bench, monkeypatch, writes, sleeps, count
):
    slept = []

    async def sleep(seconds):
        bench.slices.writes += writes[len(slept)]
        slept.append(seconds)

    monkeypatch.setattr(bench_of, "asyncio", SimpleNamespace(sleep=sleep))

    await bench.look_on("at rest")

    assert (slept, bench.seen.idle_writes) == (sleeps, {"at rest": count})


def test_paths_are_below_the_root():
    settings = Settings(root=Path("/r"), cdi_dir=Path("/c"))

    assert (settings.plugins_dir, settings.registry_dir, settings.kubeconfig) == (
        Path("/r/plugins"), Path("/r/plugins_registry"), Path("/r/kubeconfig"),
    )  # fmt: skip  # three places
