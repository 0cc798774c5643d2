"""The kit breaks and mends a DRA driver's device, takes it away and puts it back: what goes into the evidence."""

from __future__ import annotations

import pytest

from fakekubelet.conformance.dra import changes
from fakekubelet.conformance.dra.evidence import Change, Hotplug
from tests.kit_bench import Bench, taint

A, B = ("p", "a"), ("p", "b")
LOOK = "look on with a broken device"


def bench_with(monkeypatch, *, devices=None, health=True, **settings):
    bench = Bench(
        **{
            "break_command": "break",
            "mend_command": "mend",
            "unplug_command": "unplug",
            "plug_command": "plug",
            **settings,
        }
    )
    bench.slices.now = {A: {}, B: {}} if devices is None else devices
    if health:
        bench.health.said = [(1.0, {A: 1, B: 1})]
    monkeypatch.setattr(changes, "time", bench.time())
    monkeypatch.setattr(changes.subject, "run_hook", bench.run_hook)
    return bench


@pytest.fixture
def make(monkeypatch):
    return lambda **named: bench_with(monkeypatch, **named)


def slices(bench, **devices):
    def happen():
        bench.slices.now = {("p", name): device for name, device in devices.items()}
        bench.now += 0.125

    return happen


def health(bench, **states):
    def happen():
        bench.now += 0.5
        bench.health.said.append((bench.now, {("p", name): state for name, state in states.items()}))

    return happen


async def test_a_break_is_seen_in_slices_and_in_health_and_so_is_its_mending(make):
    bench = make()
    bench.slices.wrong = "one is missing"
    bench.script = [
        slices(bench, a={}, b=taint("broken")),
        health(bench, a=1, b=2),
        slices(bench, a={}, b={}),
        health(bench, a=1, b=1),
    ]

    await changes.break_and_mend(bench)

    assert bench.seen.change == Change(B, 0.375, "broken:NoExecute", 0.875, 0.375, 0.875, True)
    assert bench.seen.slice_problems == {"after a mended device": "one is missing"}
    assert bench.log == ["break", "until 3.5", "until 3.125", LOOK, "mend", "until 3.5", "until 3.125"]


async def test_a_device_may_break_by_going(make):
    bench = make(health=False)
    bench.script = [slices(bench, b={}), slices(bench, a={}, b={})]

    await changes.break_and_mend(bench)

    assert bench.seen.change == Change(A, 0.375, "it is gone", None, 0.375, None, False)
    assert bench.log == ["break", "until 3.5", LOOK, "mend", "until 3.5"]


async def test_what_only_health_says_is_a_break_too(make):
    bench = make()

    bench.hooks["break"] = health(bench, a=2, b=1)
    bench.hooks["mend"] = health(bench, a=1, b=1)

    await changes.break_and_mend(bench)

    assert bench.seen.change == Change(A, None, "", 0.75, None, 0.75, True)
    assert bench.log == ["break", "until 3.5", "until 2.75", LOOK, "mend", "until 2.75"]


async def test_nothing_seen_is_nothing_mended(make):
    bench = make()
    bench.hooks["break"] = lambda: setattr(bench, "now", bench.now + 9)

    await changes.break_and_mend(bench)

    assert bench.seen.change == Change(has_health=True)
    assert bench.log == ["break", "until 3.5", "until 0.1", LOOK]
    assert bench.seen.slice_problems == {}


async def test_what_is_not_taken_back_has_no_time(make):
    bench = make()
    bench.hooks["break"] = lambda: (slices(bench, a=taint(), b={})(), health(bench, a=2, b=1)())
    bench.hooks["mend"] = lambda: setattr(bench, "now", bench.now + 9)

    await changes.break_and_mend(bench)

    assert bench.seen.change == Change(A, 0.875, "sick:NoExecute", 0.875, None, None, True)
    assert bench.log == ["break", "until 3.5", "until 2.625", LOOK, "mend", "until 3.5", "until 0.1"]


async def test_without_a_command_nothing_is_mended(make):
    bench = make(mend_command=None)
    bench.hooks["break"] = slices(bench, a=taint(), b={})

    await changes.break_and_mend(bench)

    assert bench.seen.change == Change(A, 0.375, "sick:NoExecute", None, None, None, True)
    assert bench.log[-1] == LOOK
    assert bench.seen.slice_problems == {}


async def test_a_taint_that_was_there_before_is_no_break_and_another_one_of_it_neither(make):
    bench = make(devices={A: taint("old"), B: {}}, health=False)
    bench.hooks["break"] = slices(bench, a=taint("new"), b={})

    await changes.break_and_mend(bench)

    assert bench.seen.change == Change()


async def test_health_of_before_the_break_and_other_states_are_no_break(make):
    bench = make()
    bench.health.said = [(99.0, {A: 2, B: 2})]
    bench.hooks["break"] = health(bench, a=0, b=1)

    await changes.break_and_mend(bench)

    assert bench.seen.change == Change(has_health=True)


async def test_a_mended_device_has_the_taints_of_before(make):
    bench = make(devices={A: taint("old"), B: {}}, health=False)
    bench.script = [slices(bench, b={}), slices(bench, a={}, b={}), slices(bench, a=taint("old"), b={})]

    await changes.break_and_mend(bench)

    assert bench.seen.change == Change(A, 0.375, "it is gone", None, 0.5, None, False)


# -- plugging ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [{"b": {}}, {"a": taint(), "b": {}}, {"a": taint("x", "NoSchedule"), "b": {}}])
async def test_a_device_that_is_unplugged_goes_or_is_tainted_and_comes_back(make, gone):
    bench = make()
    bench.slices.wrong = "one is missing"
    bench.script = [slices(bench, **gone), slices(bench, a={}, b={})]

    await changes.unplug_and_plug(bench)

    assert bench.seen.hotplug == Hotplug(A, 0.375, 0.375)
    assert bench.log == ["unplug", "until 3.5", "plug", "until 3.5"]
    assert bench.seen.slice_problems == {"after a device was plugged in": "one is missing"}


async def test_slices_that_are_gone_for_a_moment_are_no_answer(make):
    bench = make()
    bench.script = [slices(bench), slices(bench, b={}), slices(bench, a={}, b={})]

    await changes.unplug_and_plug(bench)

    assert bench.seen.hotplug == Hotplug(A, 0.5, 0.375)


async def test_a_device_that_was_kept_away_before_is_not_the_one(make):
    bench = make(devices={A: taint(), B: {}})
    bench.hooks["unplug"] = slices(bench, a=taint())

    await changes.unplug_and_plug(bench)

    assert bench.seen.hotplug == Hotplug(B, 0.375, None)


async def test_a_harmless_taint_takes_no_device_away(make):
    bench = make()
    bench.hooks["unplug"] = slices(bench, a=taint("x", "None"), b={})

    await changes.unplug_and_plug(bench)

    assert bench.seen.hotplug == Hotplug()
    assert bench.log == ["unplug", "until 3.5", "plug"]
    assert bench.seen.slice_problems == {"after a device was plugged in": ""}


async def test_without_a_command_nothing_is_plugged_in(make):
    bench = make(plug_command=None)
    bench.hooks["unplug"] = slices(bench, a={})

    await changes.unplug_and_plug(bench)

    assert (bench.seen.hotplug, bench.seen.slice_problems) == (Hotplug(B, 0.375), {})
    assert bench.log == ["unplug", "until 3.5"]
