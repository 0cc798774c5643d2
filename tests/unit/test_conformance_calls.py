"""The plugin is asked, and a device is broken and mended: what goes into the evidence."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fakekubelet.conformance import calls, observed
from fakekubelet.conformance.evidence import Change, SecondStream
from fakekubelet.conformance.settings import Limits, Settings
from fakekubelet.kubelet import plugin_client
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.kit_evidence import DIED, Kubelet, X, Y, allocate, listed, options, registration, seen

LIMITS = Limits(list_s=2.5, reply_s=1.5)


class Stream:
    """A second stream: what came on it."""

    def __init__(self, world, resource, path, ring):
        self.world, self.resource, self.path, self.ring = world, resource, path, ring
        self.error, self.at, self.health, self.fewest_healthy = "", 0.0, {}, sys.maxsize

    async def __aenter__(self):
        self.world.log.append(f"watch {self.resource} at {self.path}")
        self.world.streams[self.resource] = self
        if (first := self.world.firsts.get(self.resource)) is not None:
            self.send(**dict.fromkeys(first, "Healthy"))
        else:
            self.error = "(the stream ended)"
        return self

    async def __aexit__(self, *_):
        self.world.log.append(f"leave {self.resource}")

    async def first_ids(self, timeout_s):
        assert timeout_s == LIMITS.list_s
        return frozenset(self.health) or None

    def send(self, **health):
        self.at, self.health = self.world.now, health
        self.fewest_healthy = min(self.fewest_healthy, list(health.values()).count("Healthy"))


class World:
    """A plugin of two resources, the kubelet that it registered with, and a clock that hooks move on."""

    def __init__(self, monkeypatch):
        self.now, self.log, self.hooks, self.streams = 100.0, [], {}, {}
        self.firsts = {X: "ab", Y: "c"}
        self.exchanges, self.dead = {}, set()
        self.kubelet = Kubelet(
            registration(), registration(Y, endpoint="y.sock"), x=[listed("a", "b")], y=[listed("c", "d", health={"d": "sick"})],
        )  # fmt: skip  # what it was told
        self.kubelet.streams = {X: 1, Y: 1}
        self.kubelet.changes = SimpleNamespace(ring=lambda: None)
        for resource in (X, Y):
            self.says_options(resource)
        self.plugin = SimpleNamespace(is_running=True)
        monkeypatch.setattr(calls, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(
            calls,
            "direct_client",
            SimpleNamespace(
                connected=self.connected,
                ask_all=self.ask_all,
                Watcher=lambda *given: Stream(self, *given),
            ),
        )
        monkeypatch.setattr(calls.subject, "run_hook", self.run_hook)

    def says_options(self, resource):
        call = self.kubelet.calls.open(resource, "GetDevicePluginOptions", pluginapi.Empty())
        self.kubelet.calls.close(call, reply=pluginapi.DevicePluginOptions())
        call.duration_s = 0.0

    @contextlib.asynccontextmanager
    async def connected(self, resource, path):
        if resource in self.dead:
            raise plugin_client.DialError("nobody")
        self.log.append(f"connect {resource} at {path}")
        yield resource
        self.log.append(f"disconnect {resource}")

    async def ask_all(self, client, healthy, said, limits):
        self.log.append(f"ask {client} about {','.join(healthy)}")
        assert said == options()
        assert limits == LIMITS
        return self.exchanges.get(client, [allocate(resource=client)])

    async def run_hook(self, command, settings):
        self.log.append(command)
        assert settings.places["PLUGIN_DIR"] == "/dp"
        self.now += 0.25
        self.hooks.get(command, lambda: None)()
        self.now += 0.5

    def sends(self, resource, *ids, second=True, first=True, **sick):
        if first:
            self.kubelet.lists[resource].append(listed(*ids, health=sick, at=self.now))
        if second and resource in self.streams:
            self.streams[resource].send(**{key: sick.get(key, "Healthy") for key in ids})

    async def run(self, *resources, break_="break", mend="mend", survived=True):
        settings = Settings(
            command=("p",), plugin_dir=Path("/dp"), break_command=break_, mend_command=mend, limits=LIMITS
        )
        found = seen(*(resources or (X, Y)), settings=settings, survived_unknown=survived)
        looking = observed.Observed(settings, self.kubelet)
        looking.resources = found.resources
        await calls.ask_and_change(found, looking, self.kubelet, self.plugin)
        return found


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


ASKED = [
    f"connect {X} at /dp/x.sock", f"ask {X} about a,b", f"disconnect {X}", f"watch {X} at /dp/x.sock",
    f"connect {Y} at /dp/y.sock", f"ask {Y} about c", f"disconnect {Y}", f"watch {Y} at /dp/y.sock",
]  # fmt: skip  # in order
LEFT = [f"leave {Y}", f"leave {X}"]
BOTH = {X: SecondStream(frozenset("ab")), Y: SecondStream(frozenset("c"))}


async def test_every_resource_is_asked_and_watched_and_a_device_broken_and_mended(world):
    world.hooks["break"] = lambda: world.sends(X, "a", "b", a="Unhealthy")
    world.hooks["mend"] = lambda: world.sends(X, "a", "b")

    found = await world.run()

    assert world.log == [*ASKED, "break", "mend", *LEFT]
    assert found.options == {X: options(), Y: options()}
    assert found.exchanges == [allocate(), allocate(resource=Y)]
    assert found.survived_unknown is True
    assert found.change == Change(X, 0.75, 0.75, frozenset("a"), frozenset({"kubelet", "second"}))
    assert found.second_streams == {**BOTH, X: SecondStream(frozenset("ab"), "", True)}
    assert world.kubelet.waited == [2.5, 2.5, 2.5]


async def test_without_a_command_that_breaks_nothing_is_broken(world):
    found = await world.run(break_=None)

    assert (world.log, found.change, found.second_streams) == ([*ASKED, *LEFT], None, BOTH)


async def test_without_a_healthy_device_none_is_broken(world):
    world.kubelet.lists = {X: [listed("a", health={"a": "sick"})], Y: [listed()]}

    found = await world.run()

    assert found.change is None
    assert "break" not in world.log


async def test_a_command_that_breaks_nothing_leaves_a_change_of_nothing(world):
    found = await world.run()

    assert (found.change, world.log) == (Change(), [*ASKED, "break", *LEFT])
    assert found.second_streams == BOTH


async def test_a_device_that_is_not_mended_is_told_and_one_that_is_not_to_be_is_left(world):
    world.hooks["break"] = lambda: world.sends(Y, "c", "d", c="Unhealthy", d="sick")

    assert (await world.run()).change == Change(Y, 0.75, None, frozenset("c"), frozenset({"kubelet", "second"}))
    world.kubelet.lists[Y] = [listed("c")]
    assert (await world.run(mend=None)).change == Change(
        Y, 0.75, None, frozenset("c"), frozenset({"kubelet", "second"})
    )
    assert world.log.count("mend") == 1


async def test_a_device_may_break_by_being_left_out(world):
    world.hooks["break"] = lambda: world.sends(X, "b")
    world.hooks["mend"] = lambda: world.sends(X, "b", "a")

    assert (await world.run()).change == Change(X, 0.75, 0.75, frozenset("a"), frozenset({"kubelet", "second"}))


@pytest.mark.parametrize("stream", ["kubelet", "second"])
async def test_a_change_that_comes_on_one_stream_only_is_seen_there(world, stream):
    on = {"first": stream == "kubelet", "second": stream == "second"}
    world.hooks["break"] = lambda: world.sends(X, "a", "b", b="Unhealthy", **on)
    world.hooks["mend"] = lambda: world.sends(X, "a", "b", **on)

    found = await world.run()

    assert found.change == Change(X, 0.75, 0.75, frozenset("b"), frozenset({stream}))
    assert found.second_streams[X] == SecondStream(frozenset("ab"), "", False)
    assert found.second_streams[Y] == SecondStream(frozenset("c"))


async def test_what_was_listed_before_the_command_is_no_answer_to_it(world):
    world.kubelet.lists[X] = [listed("a", at=99.9), listed("a", "b", at=99.9)]
    world.hooks["break"] = lambda: world.sends(X, "a", "b")

    assert (await world.run()).change == Change()


async def test_another_device_that_is_healthy_again_does_not_count_as_mended(world):
    world.hooks["break"] = lambda: world.sends(X, "a", "b", a="Unhealthy", b="sick")
    world.hooks["mend"] = lambda: world.sends(X, "a", "b", b="sick")

    found = await world.run()

    assert (found.change.ids, found.change.mended_s) == (frozenset("ab"), None)


async def test_a_resource_that_was_never_listed_or_said_no_options_is_not_asked_and_the_others_are(world):
    world.kubelet.lists[X] = []
    world.kubelet.registrations.append(registration("example.com/w"))
    world.kubelet.lists["example.com/w"] = [listed("w")]

    found = await world.run("example.com/w", "example.com/z", X, Y, break_=None)

    assert world.log == [*ASKED[4:], LEFT[0]]
    assert (found.exchanges, found.second_streams) == ([allocate(resource=Y)], {Y: BOTH[Y]})
    assert found.survived_unknown is True


async def test_where_nobody_can_be_reached_the_others_are_asked(world):
    world.dead = {X}

    found = await world.run(break_=None)

    assert found.exchanges == [allocate(resource=Y)]
    assert world.log == [ASKED[3], *ASKED[4:], *LEFT]


@pytest.mark.parametrize("gone", ["the process", "the stream"])
async def test_a_plugin_that_dies_of_a_question_is_not_watched_and_nothing_is_broken(world, gone):
    world.exchanges[X] = [allocate("unknown", error=DIED)]

    def dies(_):
        if gone == "the process":
            world.plugin.is_running = False
        else:
            world.kubelet.streams[X] = 0

    world.kubelet.script = [lambda _: None, dies]

    found = await world.run(X)

    assert (found.survived_unknown, found.change, found.second_streams) == (False, None, {})
    assert world.log == ASKED[:3]
    assert world.kubelet.waited == [1.5]


async def test_a_plugin_that_only_says_that_it_is_unavailable_goes_on(world):
    world.exchanges[X] = [allocate("unknown", error=DIED)]

    found = await world.run(X, break_=None)

    assert (found.survived_unknown, found.second_streams) == (True, {X: BOTH[X]})
    assert world.kubelet.waited == [1.5]


async def test_one_that_is_gone_though_its_calls_were_answered_is_seen_to_be_gone_and_the_others_are_watched(world):
    world.kubelet.streams[X] = 0

    found = await world.run()

    assert found.survived_unknown is False
    assert world.log == [*ASKED[:3], *ASKED[4:], LEFT[0]]
    assert world.kubelet.waited == []


async def test_a_second_stream_that_brings_no_list_is_told_with_its_reason_and_the_others_go_on(world):
    del world.firsts[Y]
    world.hooks["break"] = lambda: world.sends(X, "a", "b", a="Unhealthy")

    found = await world.run()

    assert found.second_streams == {
        X: SecondStream(frozenset("ab"), "", True),
        Y: SecondStream(None, "(the stream ended)"),
    }


async def test_a_second_stream_that_brings_no_list_is_not_waited_for(world):
    del world.firsts[X]
    world.hooks["break"] = lambda: world.sends(X, "a", "b", second=False, a="Unhealthy")

    found = await world.run(X)

    assert found.change == Change(X, 0.75, None, frozenset("a"), frozenset({"kubelet"}))
    assert found.second_streams == {X: SecondStream(None, "(the stream ended)")}


async def test_errors_of_streams_that_ended_later_are_kept(world):
    def ends():
        world.streams[X].error = "(gone)"

    world.hooks["break"] = ends

    assert (await world.run()).second_streams[X] == SecondStream(frozenset("ab"), "(gone)")
