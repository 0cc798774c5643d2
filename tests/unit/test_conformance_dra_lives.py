"""What the kit does to a DRA driver, in order: its first life, disturbances, a rolling update."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from fakekubelet.conformance.dra import bench as bench_of
from fakekubelet.conformance.dra import disturbances, first_life, procedure, rolling_update
from fakekubelet.conformance.dra.evidence import Comeback, Exchange, Rollover, Stop
from fakekubelet.conformance.dra.settings import Settings
from fakekubelet.kubelet import call_log
from kubeletapi.drahealth.v1 import api_pb2 as healthapi
from tests.kit_bench import DRIVER, LIMITS, Bench, Driver, answered, taint

A, B = ("p", "a"), ("p", "b")


@pytest.fixture
def make(monkeypatch):
    def made(**settings):
        bench = Bench(**settings)
        bench.slices.now = {A: {}, B: {}}
        for module in (first_life, disturbances, rolling_update):
            monkeypatch.setattr(module, "time", bench.time())
            monkeypatch.setattr(module.claims, "prepare", calling(bench, "prepare"))
            monkeypatch.setattr(module.claims, "unprepare", calling(bench, "unprepare"))
        monkeypatch.setattr(first_life.claims, "try_all", noting(bench, "try all"))
        monkeypatch.setattr(first_life.changes, "break_and_mend", noting(bench, "break and mend"))
        monkeypatch.setattr(first_life.changes, "unplug_and_plug", noting(bench, "unplug and plug"))
        monkeypatch.setattr(
            disturbances.claims, "look_for_left_files", lambda of, uids: bench.log.append(("left", uids))
        )
        bench.sockets = set()
        monkeypatch.setattr(first_life.observed, "sockets", lambda settings: set(bench.sockets))

        async def sleep(seconds):
            bench.log.append(f"sleep {seconds:g}")

        for module in (first_life, rolling_update):
            monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
        bench.answers = {}
        return bench

    return made


def calling(bench, method):
    async def call(of, purpose, claims, **named):
        assert of is bench
        bench.log.append((method, purpose, [claim.name for claim in claims], *named))
        return bench.answers.get(purpose, answered(purpose, A))

    return call


def noting(bench, what):
    async def note(of):
        assert of is bench
        bench.log.append(what)

    return note


# -- the first life ---------------------------------------------------------------------------------------------------


def registered_with(bench, *versions):
    for reply in (
        SimpleNamespace(supported_versions=["old"]),
        SimpleNamespace(supported_versions=list(versions)),
        None,
    ):
        call = bench.kubelet.calls.open("x.sock", "GetInfo", None)
        bench.kubelet.calls.close(call, reply=reply)


ARRIVAL = ["sleep 0.25", "becomes usable", f"- {DRIVER} is registered; waiting for its slices", "until 2.5"]
CLAIMS = ["- claims: prepared, refused, unprepared", "try all"]
END = ["- SIGTERM", "driver terminated within 4.5"]


async def test_a_first_life_goes_from_the_registration_to_sigterm(make):
    bench = make(break_command="b", unplug_command="u", is_brief=True)
    registered_with(bench)
    bench.slices.wrong, bench.slices.deleted = "one is missing", ["s9"]

    await first_life.live(bench)

    assert bench.log == [
        *ARRIVAL, "look on at rest", *CLAIMS, "- a device is broken and mended", "break and mend",
        "- a device is unplugged and plugged in", "unplug and plug", *END,
    ]  # fmt: skip  # in order
    seen = bench.seen
    assert seen.info.supported_versions == []
    assert (seen.published_s, seen.slices, seen.own_deletions) == (0.0, bench.slices.all(), ["s9"])
    assert (seen.slice_problems, seen.services) == ({"at rest": "one is missing"}, {})
    assert seen.stop == Stop(0.75, None, ())


async def test_a_driver_without_devices_is_only_ended(make):
    bench = make(break_command="b", unplug_command="u")
    registered_with(bench)
    bench.slices.now = {}
    bench.script = [lambda: setattr(bench, "now", 103)]

    await first_life.live(bench)

    assert bench.log == [*ARRIVAL, "look on at rest", *END]
    assert bench.seen.published_s is None


async def test_without_commands_nothing_is_broken_and_one_that_ended_is_not_ended_again(make):
    bench = make()
    registered_with(bench)
    bench.driver.is_running = False
    bench.slices.now = {}

    def published():
        bench.now += 1.5
        bench.slices.now = {A: {}}

    bench.script = [published]

    await first_life.live(bench)

    assert bench.log == [*ARRIVAL, "look on at rest", *CLAIMS]
    assert (bench.seen.published_s, bench.seen.stop) == (1.5, None)


async def test_every_service_that_it_lists_is_asked(make):
    bench = make()
    asked = []

    async def ask(service):
        asked.append(service)
        return f"{service}: no"

    bench.client = SimpleNamespace(ask=ask)
    registered_with(bench, "v1.DRAPlugin", "v1beta1.DRAPlugin", "v1alpha1.Other")

    await first_life.live(bench)

    assert asked == ["v1.DRAPlugin", "v1beta1.DRAPlugin"]
    assert bench.seen.services == {name: f"{name}: no" for name in asked}


@pytest.mark.parametrize(
    ("code", "has_messages", "said"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, False, "rpc error: code = Unimplemented desc = second"), (grpc.StatusCode.UNIMPLEMENTED, True, ""),
        (grpc.StatusCode.UNAVAILABLE, False, ""), (None, False, ""),
    ],
)  # fmt: skip  # a table
async def test_health_that_it_lists_is_served_if_any_came_or_nothing_says_otherwise(make, code, has_messages, said):
    bench = make()
    registered_with(bench, "v1.DRAResourceHealth")
    for resource, details in ((DRIVER, "first"), (DRIVER, "second"), ("other", "third")):
        call = bench.kubelet.calls.open(resource, "NodeWatchResources", None)
        bench.kubelet.calls.close(call, error=call_log.RpcError(code, details) if code else None)
    if has_messages:
        bench.health.said = [(1.0, message())]

    await first_life.live(bench)

    assert bench.seen.services == {"DRAResourceHealth": said}


async def test_where_nobody_is_registered_no_service_is_asked(make):
    bench = make()
    bench.client = None
    registered_with(bench, "v1.DRAPlugin", "v1.DRAResourceHealth")

    await first_life.live(bench)

    assert bench.seen.services == {}


def message(*names, timeouts=()):
    seconds = [*timeouts, *[0] * (len(names) - len(timeouts))]
    return healthapi.NodeWatchResourcesResponse(devices=[
        healthapi.DeviceHealth(
            device=healthapi.DeviceIdentifier(pool_name="p", device_name=name), health_check_timeout_seconds=limit
        )
        for name, limit in zip(names, seconds, strict=True)
    ])  # fmt: skip  # one message


@pytest.mark.parametrize(
    ("newest", "missing", "timeout_s"),
    [(message("a", "b"), [], 30.0), (message("b", timeouts=[40]), ["p/a"], 40.0), (message("a", "b", "c", timeouts=[40, 0, 20]), [], 20.0)],
)  # fmt: skip
async def test_the_newest_health_message_has_every_device_and_says_how_long_it_is_believed(
    make, newest, missing, timeout_s
):
    bench = make(is_brief=True)
    registered_with(bench)
    bench.health.said = [(1.0, message()), (2.0, newest)]

    await first_life.live(bench)

    seen = bench.seen
    assert (seen.has_health, seen.health_missing, seen.health_timeout_s, seen.health_gap_s) == (
        True,
        missing,
        timeout_s,
        None,
    )


async def test_health_is_waited_for_as_long_as_the_last_is_believed(make):
    bench = make()
    registered_with(bench)
    bench.health.said = [(90.0, message()), (95.0, message("a", "b", timeouts=[20, 20]))]
    bench.script = [lambda: bench.health.said.append((107.5, message("a"))), lambda: pytest.fail("once is enough")]

    await first_life.live(bench)

    assert bench.log[-4:-2] == ["- waiting up to 20 s for health to be said again", "until 15"]
    assert bench.seen.health_gap_s == 12.5


async def test_health_that_is_late_already_is_given_a_moment(make):
    bench = make()
    registered_with(bench)
    bench.health.said = [(5.0, message())]

    await first_life.live(bench)

    assert "until 0.1" in bench.log
    assert bench.seen.health_gap_s is None


@pytest.mark.parametrize("in_time", [True, False])
async def test_what_it_leaves_at_its_end_is_noted_and_cleared_away(make, short_dir, in_time):
    bench = make()
    registered_with(bench)
    paths = [short_dir / name for name in ("b.sock", "a.sock", "gone.sock", "new.sock")]
    for path in paths[:3]:
        bind(path)
    bench.sockets = set(paths[:3])
    bench.driver.ends_in_time = in_time

    def ends():
        bench.driver.exit_code = 3
        bind(paths[3])
        bench.sockets = {paths[0], paths[1], paths[3]}

    bench.hooks["driver terminated"] = ends

    await first_life.live(bench)

    assert bench.seen.stop == Stop(0.75 if in_time else None, 3, ("a.sock", "b.sock"))
    assert [path.name for path in short_dir.iterdir()] == ["gone.sock"]


def bind(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


# -- disturbances -----------------------------------------------------------------------------------------------------


RESTART = [
    "- the kubelet restarts and wipes the slices",
    "kubelet stops",
    "kubelet starts",
    "until 6.5",
    "registered since 100 within 6.5",
]
WIPE = ["- the slices are wiped while the driver's watch is lost", "wipe", "forget history", "cut watches", "until 8.5"]


def wiping(bench):
    def starts():
        assert bench.slices.is_wiping
        bench.slices.now, bench.now = {}, bench.now + 1

    bench.hooks["kubelet starts"] = starts
    bench.script = [
        lambda: bench.dra.drivers.wiped.append(DRIVER),
        lambda: (setattr(bench.slices, "now", {A: {}}), setattr(bench, "now", bench.now + 2)),
        lambda: (
            setattr(bench.slices, "now", {A: {}}),
            bench.slices.names.append("s2"),
            setattr(bench, "now", bench.now + 4),
        ),
    ]


async def test_a_restart_wipes_the_slices_and_they_are_wiped_again_without_a_watch(make):
    bench = make()
    bench.slices.wrong = "one is missing"
    wiping(bench)

    await disturbances.restart_and_wipe(bench)

    assert bench.log == [*RESTART, "until 8.5", *WIPE]
    assert bench.seen.comebacks == {
        "kubelet restart": Comeback(1.0), "slices after the restart": Comeback(3.0), "slices wiped, watch lost": Comeback(4.0),
    }  # fmt: skip  # by name
    assert bench.seen.slice_problems == {"after they were wiped": "one is missing"}
    assert bench.slices.is_wiping is False


async def test_health_is_waited_for_only_where_there_was_some_and_it_is_registered_again(make):
    bench = make()
    wiping(bench)
    bench.health.said = [(99.0, "before")]
    bench.script.insert(
        2, lambda: (bench.health.said.append((bench.now, "after")), setattr(bench, "now", bench.now + 5))
    )

    await disturbances.restart_and_wipe(bench)

    assert bench.seen.comebacks["health after the restart"] == Comeback(8.0)
    assert bench.log == [*RESTART, "until 8.5", "until 6.5", *WIPE]

    bench = make()
    bench.health.said, bench.script = [(99.0, "before")], []
    bench.comes["registered"] = False
    await disturbances.restart_and_wipe(bench)
    assert "health after the restart" not in bench.seen.comebacks


@pytest.mark.parametrize("revived", [True, False])
async def test_one_that_does_not_come_back_is_started_again(make, revived):
    bench = make()
    bench.comes.update(registered=False, revived=revived)
    bench.hooks["kubelet starts"] = lambda: (setattr(bench.slices, "now", {}), bench.slices.names.clear())

    await disturbances.restart_and_wipe(bench)

    assert bench.log == [*RESTART, "until 8.5", "revive", *(WIPE if revived else [])]
    missing = Comeback(None, None, "no slices with devices")
    assert bench.seen.comebacks == {
        "kubelet restart": Comeback(None, None, "no registration"), "slices after the restart": missing,
        **({"slices wiped, watch lost": missing} if revived else {}),
    }  # fmt: skip  # by name
    assert bench.seen.slice_problems == ({"after they were wiped": ""} if revived else {})


async def test_one_that_ends_over_it_has_a_status(make):
    bench = make()

    def ends():
        bench.driver.is_running, bench.driver.exit_code, bench.slices.now = False, 3, {}

    bench.hooks["kubelet starts"] = ends
    bench.comes.update(registered=False, revived=False)

    await disturbances.restart_and_wipe(bench)

    assert bench.seen.comebacks == {
        "kubelet restart": Comeback(None, 3, "no registration"), "slices after the restart": Comeback(None, 3, "no slices with devices"),
    }  # fmt: skip  # by name


@pytest.mark.parametrize(("running", "usable"), [(False, True), (True, False)])
async def test_one_that_is_not_there_is_not_disturbed(make, running, usable):
    bench = make()
    bench.driver.is_running, bench.is_usable = running, usable

    await disturbances.restart_and_wipe(bench)

    assert (bench.log, bench.seen.comebacks) == ([], {})


KILL = [
    "- SIGKILL, with a claim prepared",
    ("make", "c1", [A], {}),
    ("prepare", "before SIGKILL", ["c1"]),
    "driver killed",
    "until 6.5",
    "driver starts",
]
KILLED = [*KILL, "registered since 100 within 7.5", "becomes usable", ("prepare", "after SIGKILL", ["c1"], "runtime")]
REBOOT = [
    "- the machine reboots",
    "driver killed",
    "forget boot",
    "driver starts",
    "registered since 100 within 7.5",
    "becomes usable",
]
REBOOTED = [*REBOOT, ("prepare", "after a reboot", ["c1"], "runtime")]
ROLLED = ["- a second instance is started, and the first one ended", ("roll over", "c1", "after a reboot")]
LAST = [("unprepare", "of a dead process", ["c1"]), ("left", ["uid-c1"])]


@pytest.fixture
def rolling(monkeypatch):
    async def roll_over(bench, claim, before):
        bench.log.append(("roll over", claim["metadata"]["name"], before.purpose))
        bench.happens("roll over")

    monkeypatch.setattr(disturbances.rolling_update, "roll_over", roll_over)
    monkeypatch.setattr(disturbances.reboot, "with_new_boot_id", lambda command, place: None)


@pytest.mark.usefixtures("rolling")
async def test_a_claim_outlives_sigkill_a_reboot_and_an_update(make):
    bench = make()
    bench.slices.now = {("p", "x"): taint(), A: {}, B: {}}
    bench.hooks["driver killed"] = lambda: setattr(bench, "is_usable", False)
    bench.hooks["driver starts"] = lambda: setattr(bench, "is_usable", True)

    await disturbances.kill_and_return(bench)

    assert bench.log == [*KILLED, *REBOOTED, *ROLLED, *LAST]
    assert bench.seen.comebacks == {"SIGKILL": Comeback(0.0)}
    assert bench.seen.has_new_boot_id is False


@pytest.mark.usefixtures("rolling")
async def test_sockets_do_not_outlive_a_reboot(make, short_dir):
    bench = make()
    bind(short_dir / "x.sock")
    bench.sockets = {short_dir / "x.sock"}

    await disturbances.kill_and_return(bench)

    assert list(short_dir.iterdir()) == []


@pytest.mark.usefixtures("rolling")
async def test_without_a_device_to_claim_it_is_only_killed(make):
    bench = make()
    bench.slices.now = {A: taint()}

    await disturbances.kill_and_return(bench)

    assert bench.log == [
        KILL[0],
        "driver killed",
        "until 6.5",
        "driver starts",
        "registered since 100 within 7.5",
        "becomes usable",
    ]
    assert bench.seen.comebacks == {"SIGKILL": Comeback(0.0)}


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize(("fails", "last"), [("registered", KILLED[-3]), ("usable", KILLED[-2])])
async def test_one_that_does_not_come_back_from_a_kill_is_left(make, fails, last):
    bench = make()
    bench.comes[fails] = False

    await disturbances.kill_and_return(bench)

    assert bench.log[-1] == last
    assert bench.seen.comebacks == {"SIGKILL": Comeback(None, None, "no registration")}


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize(("running", "devices"), [(False, {A: {}}), (True, {})])
async def test_one_that_is_not_there_is_not_killed(make, running, devices):
    bench = make()
    bench.driver.is_running, bench.slices.now = running, devices

    await disturbances.kill_and_return(bench)

    assert bench.log == []


@pytest.mark.usefixtures("rolling")
async def test_one_that_does_not_come_back_from_a_reboot_is_asked_nothing_more(make):
    bench = make()
    bench.hooks["driver starts"] = lambda: bench.comes.update(registered=bench.log.count("driver starts") == 1)

    await disturbances.kill_and_return(bench)

    assert bench.log == [*KILLED, *REBOOT[:-1]]


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize(
    "answer", [answered("after a reboot", error="no"), Exchange("after a reboot", "M", ("u",), None, "gone")]
)
async def test_one_that_fails_after_a_reboot_is_not_updated(make, answer):
    bench = make()
    bench.answers["after a reboot"] = answer

    await disturbances.kill_and_return(bench)

    assert bench.log == [*KILLED, *REBOOTED, *LAST]


@pytest.mark.usefixtures("rolling")
@pytest.mark.parametrize("revived", [True, False])
async def test_one_that_is_gone_after_an_update_is_started_again_for_the_rest(make, revived):
    bench = make()
    bench.comes["revived"] = revived
    bench.hooks["roll over"] = lambda: setattr(bench, "is_usable", False)

    await disturbances.kill_and_return(bench)

    assert bench.log == [*KILLED, *REBOOTED, *ROLLED, "revive", *(LAST if revived else [])]


async def test_after_a_reboot_it_runs_with_another_boot_id_where_that_is_to_be_had(make, monkeypatch):
    bench, asked = make(), []

    def with_new_boot_id(command, place):
        asked.append((list(command), place))
        return ("around", *command) if list(command) != ["refused"] else None

    async def roll_over(*_):
        pass

    monkeypatch.setattr(disturbances.reboot, "with_new_boot_id", with_new_boot_id)
    monkeypatch.setattr(disturbances.rolling_update, "roll_over", roll_over)

    await disturbances.kill_and_return(bench)

    assert bench.seen.has_new_boot_id is True
    assert asked == [(["true"], Path("/r"))]
    assert bench.driver.around(["driver", "-x"]) == ("around", "driver", "-x")
    assert bench.driver.around(["refused"]) == ["refused"]
    assert asked[1] == (["driver", "-x"], Path("/r"))


# -- a rolling update -------------------------------------------------------------------------------------------------


CLAIM = {"metadata": {"name": "c1", "namespace": "default", "uid": "uid-c1"}}


class Update:
    """Two instances: the first has a socket at `first`, the second will have one at `second`."""

    def __init__(self, bench, directory, monkeypatch):
        self.bench = bench
        bench.settings = Settings(command=("driver",), root=directory, cdi_dir=directory, limits=LIMITS)
        self.first, self.second = directory / "first.sock", directory / "second.sock"
        bind(self.first)
        bench.sockets = {self.first}
        bench.dra.arrivals = [SimpleNamespace(name=DRIVER, endpoint=Path(f"/{n}")) for n in "ab"]
        self.clients = [SimpleNamespace(endpoint=Path("/older")), SimpleNamespace(endpoint=self.first)]
        bench.dra.drivers.clients = lambda name: list(self.clients) if name == DRIVER else []
        self.old = bench.driver

        def subject_of(settings):
            assert settings is bench.settings
            self.new = Driver(bench, "newcomer")
            self.new.is_running = False
            return self.new

        monkeypatch.setattr(rolling_update.subject, "Subject", subject_of)
        bench.hooks["newcomer starts"] = self.comes
        bench.hooks["driver terminated"] = self.goes

    def comes(self):
        self.clients = [SimpleNamespace(endpoint=self.first), SimpleNamespace(endpoint=self.second)]
        bind(self.second)
        self.bench.sockets.add(self.second)
        self.bench.now += 2

    def goes(self):
        self.clients = [SimpleNamespace(endpoint=self.second)]
        self.bench.sockets.discard(self.first)

    async def run(self, before=None):
        await rolling_update.roll_over(self.bench, CLAIM, before or answered("after a reboot", A))
        return self.bench.seen.rollover


@pytest.fixture
def update(make, short_dir, monkeypatch):
    return Update(make(), short_dir, monkeypatch)


UPDATE = [
    "newcomer starts", "registered since 100 within 7.5", "sleep 0.25", ("prepare", "by a second instance", ["c1"]), "driver terminated within 4.5", "sleep 0.25",
]  # fmt: skip  # in order


async def test_a_second_instance_takes_over_and_stays(update):
    update.old.around = around = lambda command: command

    rollover = await update.run()

    assert rollover == Rollover((str(update.first), "another"), 2.0, None, "", "", True, (), 0.75)
    assert update.bench.log == [*UPDATE, "driver closed"]
    assert update.bench.driver is update.new
    assert (update.new.around, update.new.on_exit) == (around, update.bench.onlooker.wake)


@pytest.mark.parametrize("endpoints", [[], ["/a"], ["/a", "/a"]])
async def test_with_one_socket_for_all_lives_nothing_is_updated(update, endpoints):
    update.bench.dra.arrivals = [SimpleNamespace(name=DRIVER, endpoint=Path(one)) for one in endpoints]
    update.bench.dra.arrivals.append(SimpleNamespace(name="other", endpoint=Path("/b")))

    assert await update.run() == Rollover(tuple(endpoints[:1]))
    assert (update.bench.log, update.bench.driver) == ([], update.old)


async def test_one_that_never_registers_is_ended_and_the_first_one_stays(update):
    update.bench.comes["registered"] = False

    assert await update.run() == Rollover((str(update.first), "another"), None)
    assert update.bench.log == [*UPDATE[:2], "newcomer closed"]
    assert update.bench.driver is update.old


async def test_one_that_registers_the_socket_of_the_first_has_not_come(update):
    update.bench.hooks["newcomer starts"] = lambda: None
    update.clients = update.clients[1:]

    assert await update.run() == Rollover((str(update.first), "another"), None)


async def test_one_that_ends_has_a_status(update):
    def ends():
        update.new.is_running, update.new.exit_code = False, 4

    update.bench.hooks["newcomer starts"] = ends
    update.bench.comes["registered"] = False

    assert await update.run() == Rollover((str(update.first), "another"), None, 4)
    assert update.bench.driver is update.old


@pytest.mark.parametrize("how", ["its connection", "its socket"])
async def test_the_first_one_may_lose_what_it_has_when_the_second_comes(update, how):
    def comes():
        update.comes()
        if how == "its connection":
            update.clients.pop(0)
        else:
            update.first.unlink()

    update.bench.hooks["newcomer starts"] = comes

    assert (await update.run()).old_gone == "the first one's sockets are gone though it still runs"


@pytest.mark.parametrize(
    ("answer", "said", "same"),
    [
        (answered("by a second instance", B), "", False),
        (answered("by a second instance", error="who?"), "who?", False),
        (Exchange("by a second instance", "M", ("u",), None, "gone"), "gone", False),
    ],
)
async def test_another_answer_than_the_first_ones_is_noted(update, answer, said, same):
    update.bench.answers["by a second instance"] = answer

    rollover = await update.run()

    assert (rollover.said, rollover.is_same) == (said, same)


async def test_what_the_first_one_takes_with_it_is_told(update):
    update.bench.slices.names = ["s2", "s1", "s3"]

    def goes():
        update.goes()
        update.bench.sockets.clear()
        update.bench.is_usable = False
        update.bench.slices.names, update.bench.slices.now = ["s3", "s4"], {}

    update.bench.hooks["driver terminated"] = goes
    update.bench.driver.ends_in_time = False

    rollover = await update.run()

    assert rollover.taken == (
        "the newer one's socket second.sock",
        "the connection to the newer one",
        "slice s1",
        "slice s2",
    )
    assert rollover.ended_s is None


async def test_slices_that_were_replaced_are_not_gone(update):
    update.bench.hooks["driver terminated"] = lambda: (update.goes(), setattr(update.bench.slices, "names", ["s9"]))

    assert (await update.run()).taken == ()


async def test_one_that_ends_after_it_took_over_leaves_the_first_one_in_charge(update):
    update.bench.hooks["driver terminated"] = lambda: (update.goes(), setattr(update.new, "is_running", False))

    await update.run()

    assert update.bench.log == [*UPDATE, "newcomer closed"]
    assert update.bench.driver is update.old


# -- all of it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("brief", "registered", "runs", "expected"),
    [
        (False, True, True, ["live", "restart", "kill"]), (False, True, False, ["live", "revive", "restart", "kill"]),
        (True, True, False, ["live"]), (False, False, True, []),
    ],
)  # fmt: skip  # a table
async def test_it_goes_as_far_as_the_driver_lets_it_and_ends_in_any_case(
    monkeypatch, brief, registered, runs, expected
):
    bench = Bench(is_brief=brief)
    bench.comes["registered"], bench.driver.is_running = registered, runs
    made = []

    async def start():
        bench.log.append("start")

    async def close():
        bench.log.append("close")

    bench.start, bench.close = start, close
    monkeypatch.setattr(procedure, "Bench", lambda settings, progress: made.append((settings, progress)) or bench)
    monkeypatch.setattr(procedure.first_life, "live", noting(bench, "live"))
    monkeypatch.setattr(procedure.disturbances, "restart_and_wipe", noting(bench, "restart"))
    monkeypatch.setattr(procedure.disturbances, "kill_and_return", noting(bench, "kill"))

    assert await procedure.run(bench.settings, print) is bench.seen
    assert bench.log == ["start", "- the driver is started", "registered since 0 within 7.5", *expected, "close"]
    assert made == [(bench.settings, print)]

    async def fails():
        raise OSError("no such command")

    bench.start = fails
    bench.log.clear()
    with pytest.raises(OSError, match="no such command"):
        await procedure.run(bench.settings)
    assert bench.log == ["close"]
    assert made[-1][1]("unsaid") is None


def test_what_follows_at_once_is_given_a_quarter_of_a_second():
    assert bench_of.LOOK_S == 0.25
