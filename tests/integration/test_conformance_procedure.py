"""What the kit does to a plugin, in order, and what of it goes into the evidence."""

from __future__ import annotations

import socket
import time
from types import SimpleNamespace

import pytest

from fakekubelet.conformance import evidence, procedure
from fakekubelet.conformance.evidence import Recovery, Stop
from fakekubelet.conformance.settings import Limits, Settings
from tests.kit_evidence import Kubelet, X, Y, listed, registration

LIMITS = Limits(start_s=7.5, list_s=2.5, recovery_s=3.5, stop_s=4.5, absent_s=0.001, quiet_s=0.001)


class World(Kubelet):
    """A kubelet and a plugin that are not there: what is done to them, and how they answer to it.

    The plugin registers *resources* when it meets a kubelet, unless what has just happened is in `deaf`.
    """

    def __init__(self, directory):
        super().__init__()
        self.directory = directory
        self.log, self.deaf, self.refused = [], set(), None
        self.resources = [X]
        self.is_up = self.is_running = False
        self.exit_code, self.output, self.stops_with, self.dies_of = None, "its last words", 0, {}
        self.changes = SimpleNamespace(ring=lambda: None)
        self.socket_names = iter("abcdefgh")
        self.leaves = self.sends_empty = False
        self.was_dead_socket = None
        self.sockets = []
        self.is_ours = True

    def comes(self, why):
        """Let the plugin do what it does when *why* has happened."""
        if why in self.dies_of:
            self.is_running, self.exit_code = False, self.dies_of[why]
            self.streams.clear()
        if not (self.is_up and self.is_running) or why in self.deaf:
            return
        name = self.bind()
        for resource in self.resources:
            now = time.monotonic()
            self.registrations.append(registration(resource, endpoint=name, time=now, error=self.refused))
            if self.refused is None:
                self.lists.setdefault(resource, []).append(listed("a", at=time.monotonic(), is_first=True))
                self.streams[resource] = 1

    def bind(self):
        name = f"{next(self.socket_names)}.sock"
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(self.directory / name))
        made.listen()
        self.sockets.append(made)
        return name

    def unlink(self):
        for path in self.directory.glob("?.sock"):
            path.unlink()

    # -- the kubelet --------------------------------------------------------------------------------------------------

    async def start(self, *, keep_sockets=False):
        self.log.append("kubelet starts" + " and keeps sockets" * keep_sockets)
        if self.was_dead_socket is None:
            with socket.socket(socket.AF_UNIX) as probe:
                self.was_dead_socket = probe.connect_ex(str(self.directory / "kubelet.sock")) == 111
        self.is_up = True
        self.comes(f"start {self.log.count('kubelet starts')}" + " keeping" * keep_sockets)

    async def stop(self, *, remove_sockets=False):
        self.log.append("kubelet stops" + " and removes sockets" * remove_sockets)
        self.is_up = False
        self.streams.clear()

    async def restart(self):
        self.log.append("kubelet restarts")
        self.streams.clear()
        self.comes("restart")

    async def drop(self, resource):
        self.log.append(f"kubelet drops {resource}")
        self.streams.pop(resource, None)
        if resource == self.resources[-1]:
            self.comes("drop")


class Plugin:
    """The plugin's process."""

    def __init__(self, world):
        self.world = world

    is_ours = property(lambda self: self.world.is_ours)
    is_running = property(lambda self: self.world.is_running)
    exit_code = property(lambda self: self.world.exit_code)
    output = property(lambda self: self.world.output)

    async def start(self):
        if not self.is_ours:
            self.world.is_running = True
            return
        self.world.log.append("plugin starts")
        self.world.is_running, self.world.exit_code = True, None
        self.world.comes(f"life {self.world.log.count('plugin starts')}")

    def ends(self, code):
        world = self.world
        world.is_running, world.exit_code = False, code
        world.streams.clear()
        for made in world.sockets:
            made.close()

    async def terminate(self, timeout_s):
        self.world.log.append(f"SIGTERM, {timeout_s:g} s")
        if self.world.sends_empty:
            self.world.lists[X].append(listed(at=time.monotonic()))
        self.ends(self.world.stops_with if self.world.stops_with is not None else -9)
        if not self.world.leaves:
            self.world.unlink()
        return self.world.stops_with is not None

    async def kill(self):
        self.world.log.append("SIGKILL")
        self.ends(-9)

    async def close(self):
        self.world.log.append("plugin closed")
        self.world.is_running = False


@pytest.fixture
def world(short_dir, monkeypatch):
    directory = short_dir / "dp"
    made = World(directory)

    def kubelet_of(plugin_dir, **named):
        made.kubelet_settings = (plugin_dir, named)
        return made

    def subject_of(settings):
        made.plugin = Plugin(made)
        return made.plugin

    async def ask(seen, looking, running, plugin):
        made.log.append("ask")
        assert (looking.resources, running, plugin) == (seen.resources or looking.resources, made, made.plugin)
        seen.survived_unknown = made.survives

    made.survives = True
    monkeypatch.setattr(procedure.kubelet, "FakeKubelet", kubelet_of)
    monkeypatch.setattr(procedure.subject, "Subject", subject_of)
    monkeypatch.setattr(procedure.calls, "ask_and_change", ask)
    yield made
    for one in made.sockets:
        one.close()


async def examine(world, **settings) -> evidence.Evidence:
    given = Settings(**{"command": ("plugin",), "plugin_dir": world.directory, "limits": LIMITS, **settings})
    return await procedure.run(given, lambda what: world.log.append(f"- {what}"))


ARRIVAL = ["plugin starts", "- the plugin is started beside a dead kubelet.sock", "kubelet starts"]
LISTENING = ["- 1 resource(s) registered; doing nothing for a while"]
ASKING = ["- asking for allocations and preferences", "ask"]
STOPPING = ["- SIGTERM", "SIGTERM, 4.5 s"]
DISTURBING = [
    "- restarted", "kubelet restarts", "- replaced", "kubelet stops", "kubelet starts and keeps sockets",
    "- dropped", f"kubelet drops {X}", "- absent", "kubelet stops", "kubelet starts",
]  # fmt: skip  # one line each
KILLING = ["- SIGKILL, and a new start", "SIGKILL", "plugin starts"]
END = ["plugin closed", "kubelet stops and removes sockets"]


def rounded(recovery):
    """Return a recovery without the fractions of a second that a test takes."""
    return recovery if recovery is None or recovery.seconds is None else Recovery(
        recovery.seconds // 60, recovery.missing, recovery.exit_code
    )  # fmt: skip


def recoveries(seen):
    return {name: rounded(recovery) for name, recovery in seen.recoveries.items()}


BACK = Recovery(0.0)


async def test_a_plugin_that_does_all_it_should_lives_three_lives(world):
    seen = await examine(world)

    assert world.log == [
        *ARRIVAL, *LISTENING, *ASKING, *STOPPING, "plugin starts", *DISTURBING, *KILLING, *END,
    ]  # fmt: skip  # in order
    assert world.was_dead_socket is True
    assert recoveries(seen) == dict.fromkeys(["waiting", "restarted", "replaced", "dropped", "absent"], BACK)
    assert (seen.resources, seen.output, seen.files, seen.idle_repeats) == ([X], "its last words", (), {X: 0.0})
    assert seen.stop is not None
    assert (seen.stop.exit_code, seen.stop.sockets_left, seen.stop.empty_lists) == (0, (), ())
    assert 0 <= seen.stop.seconds < 60
    assert (rounded(seen.revival), seen.stale_sockets) == (BACK, ("b.sock", "c.sock", "d.sock", "e.sock", "f.sock"))
    assert seen.list_sizes.keys() == {X}
    assert [[one.endpoint for one in life.registrations] for life in seen.instances] == [
        ["a.sock"], ["b.sock", "c.sock", "d.sock", "e.sock", "f.sock"], ["g.sock"],
    ]  # fmt: skip  # life by life
    assert [len(life.lists[X]) for life in seen.instances] == [1, 5, 1]
    assert [life.arrived_s.keys() for life in seen.instances] == [{X}, set(), set()]
    assert 0 <= seen.instances[0].arrived_s[X] < 60
    first, second, third = seen.instances
    assert first.started < seen.waited_until <= first.ended <= second.started < second.ended <= third.started


async def test_the_kubelet_is_the_one_that_was_asked_for(world, short_dir):
    world.directory = short_dir / "device-plugins"

    await examine(world, mode="1.34", is_brief=True)

    assert world.kubelet_settings == (
        short_dir / "device-plugins",
        {
            "pod_resources_socket": short_dir / "pod-resources" / "kubelet.sock",
            "plugins_registry": short_dir / "plugins_registry",
            "mode": "1.34",
            "node_name": "conformance",
        },
    )


async def test_being_brief_it_ends_with_the_first_life(world):
    seen = await examine(world, is_brief=True)

    assert world.log == [*ARRIVAL, *LISTENING, *ASKING, *STOPPING, *END]
    assert recoveries(seen) == {"waiting": BACK}
    assert (seen.revival, seen.stale_sockets) == (None, None)
    assert seen.stop is not None


async def test_a_plugin_that_runs_already_is_never_signalled(world):
    world.is_ours = False

    seen = await examine(world, command=())

    assert world.log == ["- a kubelet comes", "kubelet starts", *LISTENING, *ASKING, *DISTURBING, *END]
    assert recoveries(seen) == dict.fromkeys(["waiting", "restarted", "replaced", "dropped", "absent"], BACK)
    assert (seen.stop, seen.revival, len(seen.instances)) == (None, None, 1)


async def test_nothing_is_left_of_it(world):
    world.leaves = True
    checkpoint = world.directory / "kubelet_internal_checkpoint"
    world.directory.mkdir()
    checkpoint.touch()
    (world.directory / "pid").touch()

    seen = await examine(world)

    assert not checkpoint.exists()
    assert seen.files == ("pid",)


async def test_what_fails_in_the_middle_ends_it_all_the_same(world, monkeypatch):
    async def breaks(*_):
        raise RuntimeError("a hook")

    monkeypatch.setattr(procedure.calls, "ask_and_change", breaks)

    with pytest.raises(RuntimeError, match="a hook"):
        await examine(world)
    assert world.log == [*ARRIVAL, *LISTENING, ASKING[0], *END]


# -- a plugin that does not come --------------------------------------------------------------------------------------


async def test_one_that_does_not_wait_for_the_kubelet_is_started_again_beside_it(world):
    world.dies_of = {"life 1": 3}

    seen = await examine(world, is_brief=True)

    assert world.log[:5] == [*ARRIVAL, "SIGKILL", "plugin starts"]
    assert world.log[5:] == [*LISTENING, *ASKING, *STOPPING, *END]
    assert seen.recoveries == {"waiting": Recovery(None, ("nothing came",), 3)}
    assert len(seen.instances) == 2
    assert [len(life.registrations) for life in seen.instances] == [0, 1]


async def test_one_that_waits_for_ever_is_started_again_too(world):
    world.deaf = {"start 1"}

    seen = await examine(world, is_brief=True, resources=(X,))

    assert world.log[:5] == [*ARRIVAL, "SIGKILL", "plugin starts"]
    assert seen.recoveries == {"waiting": Recovery(None, (X,), None)}
    assert seen.waited_until < seen.instances[1].started
    assert seen.instances[0].ended < seen.instances[1].started


async def test_one_that_never_registers_is_given_up(world):
    world.deaf = {"start 1", "life 2"}

    seen = await examine(world, resources=(X, Y))

    assert world.log == [*ARRIVAL, "SIGKILL", "plugin starts", *END]
    assert (seen.resources, seen.recoveries, seen.stop) == ([X, Y], {}, None)
    assert world.waited[-1] == 7.5
    assert len(seen.instances) == 2


async def test_one_that_runs_already_and_never_registers_is_waited_for(world):
    world.is_ours, world.deaf = False, {"start 1"}

    seen = await examine(world, command=())

    assert world.log == ["- a kubelet comes", "kubelet starts", *END]
    assert world.waited == [3.5, 7.5]
    assert (seen.recoveries, len(seen.instances)) == ({}, 1)


async def test_one_that_no_kubelet_accepts_is_not_started_again(world):
    world.resources, world.refused = ["x"], "no such name"

    seen = await examine(world)

    assert world.log == [*ARRIVAL, *END]
    assert world.waited == [0.001, 3.5, 0.001]
    assert [one.error for one in seen.registrations] == ["no such name"]
    assert seen.recoveries == {}


async def test_another_resource_that_is_in_order_may_come_after_one_that_is_refused(world):
    world.resources, world.refused = ["x"], "no such name"

    def in_order(_):
        world.resources, world.refused = [X], None
        world.comes("late")

    world.script = [lambda _: None, in_order]

    seen = await examine(world, is_brief=True)

    assert recoveries(seen) == {"waiting": BACK}
    assert world.log == [*ARRIVAL, *LISTENING, *ASKING, *STOPPING, *END]


async def test_it_is_waited_for_as_long_as_was_given(world):
    await examine(world)

    absent, recovery, quiet, listing, start = 0.001, 3.5, 0.001, 2.5, 7.5
    assert world.waited == [
        absent, recovery, quiet, listing,  # it arrives
        quiet,  # its streams end
        start,  # its second life
        recovery, recovery, recovery, recovery,
        start,
    ]  # fmt: skip  # in order


# -- a plugin that does not come back ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("happens", "name"),
    [("restart", "restarted"), ("start 1 keeping", "replaced"), ("drop", "dropped"), ("start 2", "absent")],
)
@pytest.mark.parametrize("exit_code", [None, 4])
async def test_one_that_does_not_come_back_is_started_again_and_the_rest_is_tried(world, happens, name, exit_code):
    if exit_code is None:
        world.deaf = {happens}
    else:
        world.dies_of = {happens: exit_code}

    seen = await examine(world)

    assert recoveries(seen) == {
        **dict.fromkeys(["waiting", "restarted", "replaced", "dropped", "absent"], BACK),
        name: Recovery(None, (X,), exit_code),
    }
    assert world.log.count("plugin starts") == 4
    begun = world.log.index(f"- {name}")
    assert world.log[begun:].index("SIGKILL") < 4
    assert world.log[begun:][world.log[begun:].index("SIGKILL") + 1] == "plugin starts"
    assert rounded(seen.revival) == BACK


async def test_one_that_runs_already_and_does_not_come_back_is_not_disturbed_further(world):
    world.is_ours, world.deaf = False, {"restart"}

    seen = await examine(world, command=())

    assert world.log == ["- a kubelet comes", "kubelet starts", *LISTENING, *ASKING, *DISTURBING[:2], *END]
    assert recoveries(seen) == {"waiting": BACK, "restarted": Recovery(None, (X,), None)}


async def test_one_that_died_of_a_question_is_started_again_before_it_is_stopped(world):
    world.survives = False

    seen = await examine(world, is_brief=True)

    assert world.log == [*ARRIVAL, *LISTENING, *ASKING, "SIGKILL", "plugin starts", *STOPPING, *END]
    assert (len(seen.instances), seen.stop.exit_code) == (2, 0)


async def test_one_that_is_not_up_any_more_is_neither_stopped_nor_killed(world):
    world.survives, world.deaf = False, {"life 2"}

    seen = await examine(world)

    assert world.log == [*ARRIVAL, *LISTENING, *ASKING, "SIGKILL", "plugin starts", *END]
    assert (seen.stop, seen.revival, recoveries(seen)) == (None, None, {"waiting": BACK})


@pytest.mark.parametrize("exit_code", [None, 5])
async def test_one_that_does_not_come_back_from_a_kill_says_why(world, exit_code):
    if exit_code is None:
        world.deaf = {"life 3"}
    else:
        world.dies_of = {"life 3": exit_code}

    seen = await examine(world)

    assert (seen.revival, seen.stale_sockets) == (Recovery(None, (X,), exit_code), None)


# -- how it ends ------------------------------------------------------------------------------------------------------


async def test_what_it_leaves_and_sends_at_its_end_is_kept_and_cleared_away(world):
    world.leaves, world.sends_empty, world.stops_with = True, True, 6

    seen = await examine(world, is_brief=True)

    assert seen.stop == Stop(seen.stop.seconds, 6, ("a.sock",), (X,))
    assert list(world.directory.glob("?.sock")) == []


async def test_one_that_has_to_be_killed_has_no_time(world):
    world.stops_with = None

    assert (await examine(world, is_brief=True)).stop == Stop(None, -9, (), ())


async def test_a_list_that_was_empty_before_is_no_end(world, monkeypatch):
    async def ask(*_):
        world.lists[X].append(listed(at=time.monotonic()))

    world.sends_empty = True
    monkeypatch.setattr(procedure.calls, "ask_and_change", ask)

    assert (await examine(world, is_brief=True)).stop.empty_lists == ()


async def test_lists_that_say_nothing_new_while_nothing_happens_are_counted(world, monkeypatch):
    async def sleep(seconds):
        assert seconds == 0.001
        world.lists[X] += [
            listed("a", at=time.monotonic()), listed("a", at=time.monotonic(), is_first=True),
            listed("a", "b", at=time.monotonic()), listed("a", "b", at=time.monotonic()),
        ]  # fmt: skip  # a repeat, a new stream, news, a repeat

    monkeypatch.setattr(procedure, "asyncio", SimpleNamespace(sleep=sleep))

    assert (await examine(world, is_brief=True)).idle_repeats == {X: pytest.approx(2000.0)}


async def test_sockets_that_a_killed_process_left_may_be_cleared_a_moment_later(world, monkeypatch):
    real, world.waits = procedure.asyncio.sleep, []

    async def sleep(seconds):
        world.waits.append(seconds)
        if world.log[-1] == "plugin starts" and len(world.waits) > 2:
            (world.directory / "b.sock").unlink()
        await real(0)

    monkeypatch.setattr(procedure, "asyncio", SimpleNamespace(sleep=sleep))

    seen = await examine(world)

    assert seen.stale_sockets == ("c.sock", "d.sock", "e.sock", "f.sock")
    assert world.waits == [0.001] * 3


async def test_progress_may_be_left_unsaid(world):
    settings = Settings(command=("plugin",), plugin_dir=world.directory, is_brief=True, limits=LIMITS)

    await procedure.run(settings)

    assert [what for what in world.log if what.startswith("-")] == []
