"""Small parts of the fake kubelet, whole: its package, releases, devices, checkpoint, time, waiting, paths."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fakekubelet
from fakekubelet import changes, clock, socket_path
from fakekubelet.kubelet import checkpoint, container_options, device, resource_name
from fakekubelet.kubelet.container_options import ContainerOptions, DeviceNode, Mount
from fakekubelet.kubelet.mode import Mode
from fakekubelet.kubelet.pod_devices import Held, PodDevices
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi

X, Y = "example.com/x", "example.com/y"


def test_the_package_has_what_it_says_loaded_when_it_is_asked_for():
    homes = {
        "Blocking": "fakekubelet.blocking", "FakeDraNode": "fakekubelet.fake_dra_node", "FakeKubelet": "fakekubelet.kubelet.kubelet",
        "FakeNode": "fakekubelet.fake_node", "LocalCluster": "fakekubelet.cluster.cluster", "ManualClock": "fakekubelet.clock",
        "Mode": "fakekubelet.kubelet.mode", "RealClock": "fakekubelet.clock", "StubPlugin": "fakekubelet.stub_plugin",
    }  # fmt: skip  # name to module

    assert {name: getattr(fakekubelet, name).__module__ for name in homes} == homes
    assert fakekubelet.pod.__name__ == "fakekubelet.pod"
    assert sorted(fakekubelet.__all__) == sorted([*homes, "pod"])
    assert {*fakekubelet.__all__, "__doc__"} <= set(dir(fakekubelet))
    assert dir(fakekubelet) == sorted(dir(fakekubelet))
    with pytest.raises(AttributeError, match=r"^module 'fakekubelet' has no attribute 'None'$"):
        fakekubelet.__getattr__("None")


SINCE = {
    "cleans_sockets_only": "1.33", "may_die_of_vanished_devices": "1.34", "serves_get": "1.34", "sees_every_container": "1.34",
    "dials_within_the_call": "1.35", "combines_bearing_nodes_only": "1.35", "takes_failed_registrations_back": "1.36",
    "tells_device_health": "1.36", "knows_clients_by_path": "1.37",
}  # fmt: skip  # a table


@pytest.mark.parametrize("name", SINCE)
def test_what_a_release_brought_is_so_from_then_on(name):
    assert [str(mode) for mode in Mode if getattr(mode, name)] == [
        str(mode) for mode in Mode if float(mode) >= float(SINCE[name])
    ]


def test_messages_were_shown_as_go_values_up_to_1_33():
    assert [str(mode) for mode in Mode if mode.shows_messages_as_go_values] == ["1.31", "1.32", "1.33"]
    assert [str(mode) for mode in Mode] == [f"1.{minor}" for minor in range(31, 38)]


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("a/b", True), ("a.b-c.d/E_f-g.h", True), ("0/0", True), ("a" * 63 + "/b", True), ("a/" + "b" * 63, True),
        ("a/", False), ("/b", False), ("ab", False), ("a/b/c", False), ("A/b", False), ("a_b/c", False), ("-a/b", False), ("a-/b", False), ("a./b", False), (".a/b", False), ("a..b/c", False),
        ("a/-b", False), ("a/b-", False), ("a/_b", False), ("a/b.", False), ("a/b c", False), ("a/" + "b" * 64, False), ("a/b\n", False), ("a\n/b", False),
        ("kubernetes.io/b", False), ("a.kubernetes.io/b", False), ("akubernetes.io/b", False), ("kubernetes.io.a/b", True), ("requests.a/b", False), ("requests/b", True), ("a.requests.b/c", True),
        ("a/kubernetes.io", True), (".".join(["a" * 60] * 4) + "/b", True), (".".join(["a" * 60] * 4) + "a/b", True), (".".join(["a" * 60] * 4) + "aa/b", False),
    ],
)  # fmt: skip  # a table
def test_a_resource_name_is_a_domain_and_a_name(name, accepted):
    assert resource_name.is_extended(name) is accepted


# -- devices ----------------------------------------------------------------------------------------------------------


def test_devices_are_read_as_they_were_sent():
    node = pluginapi.NUMANode
    messages = [
        pluginapi.Device(ID="a", health="Healthy", topology=pluginapi.TopologyInfo(nodes=[node(ID=1), node(ID=0)])),
        pluginapi.Device(ID="b", health="sick", topology=pluginapi.TopologyInfo()),
        pluginapi.Device(ID="a", health=""),
    ]

    listed = device.of_messages(iter(messages))

    assert listed == [
        device.Device("a", "Healthy", (1, 0), False),
        device.Device("b", "sick", (), True),
        device.Device("a", ""),
    ]
    assert [one.has_topology for one in listed] == [True, True, False]
    assert [one.is_healthy for one in listed] == [True, False, False]
    assert device.DeviceList(1.0, {"a": ("Healthy", ()), "b": ("healthy", ()), "c": ("Healthy", (1,))}).healthy == 2
    assert (device.DeviceList(1.0, {}).repeated_ids, device.DeviceList(1.0, {}).is_first) == ((), False)


RESPONSE = pluginapi.ContainerAllocateResponse(envs={"A": "ü"})


@pytest.fixture
def held():
    made = PodDevices()
    made.insert("p", "main", X, Held({-1: ["a"], 0: ["b", "c"], 1: ["b"]}, RESPONSE))
    made.insert("p", "main", Y, Held({-1: ["a"]}, RESPONSE))
    made.insert("p", "side", X, Held({2: ["d"]}, RESPONSE))
    made.insert("q", "main", X, Held({}, RESPONSE))
    return made


def test_who_holds_what_is_known_by_pod_container_and_resource(held):
    assert held.pod_uids() == {"p", "q"}
    assert held.of_container("p", "main").keys() == {X, Y}
    assert (held.of_container("p", "none"), held.of_container("none", "main")) == ({}, {})
    assert held.device_ids("p", "main", X) == {"a", "b", "c"}
    assert held.device_ids("q", "main", X) == set()
    assert held.device_ids("q", "main", Y) is None
    assert held.of_container("p", "main")[X].numa_nodes == {"a": [], "b": [0, 1], "c": [0]}
    assert held.allocated() == {X: {"a", "b", "c", "d"}, Y: {"a"}}
    assert (held.holder_of("a"), held.holder_of("d"), held.holder_of("z")) == ("p", "p", None)
    assert [(uid, container, resource) for uid, container, resource, _ in held] == [
        ("p", "main", X), ("p", "main", Y), ("p", "side", X), ("q", "main", X),
    ]  # fmt: skip  # in order
    held.insert("p", "main", X, Held({-1: ["z"]}, RESPONSE))
    assert held.device_ids("p", "main", X) == {"z"}
    held.delete(iter(["p", "none"]))
    assert held.pod_uids() == {"q"}


def test_a_checkpoint_has_the_shape_of_the_kubelets(held, tmp_path):
    checkpoint.write(tmp_path, held, {Y: {"b", "a"}, X: set()})

    content = json.loads((tmp_path / "kubelet_internal_checkpoint").read_text())
    answer = base64.b64encode(RESPONSE.SerializeToString()).decode()

    def entry(uid, container, resource, ids):
        return {
            "PodUID": uid,
            "ContainerName": container,
            "ResourceName": resource,
            "DeviceIDs": ids,
            "AllocResp": answer,
        }

    data = {
        "PodDeviceEntries": [
            entry("p", "main", X, {"-1": ["a"], "0": ["b", "c"], "1": ["b"]}), entry("p", "main", Y, {"-1": ["a"]}),
            entry("p", "side", X, {"2": ["d"]}), entry("q", "main", X, {}),
        ],
        "RegisteredDevices": {X: [], Y: ["a", "b"]},
    }  # fmt: skip  # as the file has it
    assert content == {"Data": data, "Checksum": zlib.crc32(json.dumps(data, sort_keys=True).encode())}
    assert [path.name for path in tmp_path.iterdir()] == ["kubelet_internal_checkpoint"]
    saved = checkpoint.read(tmp_path)
    assert (list(saved.pod_devices), saved.resources) == (list(held), (X, Y))
    checkpoint.remove(tmp_path)
    checkpoint.remove(tmp_path)
    assert checkpoint.read(tmp_path) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["PodDeviceEntries"][0].pop("PodUID"), lambda data: data["PodDeviceEntries"][0].update(AllocResp="A"),
        lambda data: data["PodDeviceEntries"][0].update(AllocResp="/w=="), lambda data: data["PodDeviceEntries"][0].update(DeviceIDs={"x": []}),
        lambda data: data["PodDeviceEntries"][0].update(DeviceIDs=[]), lambda data: data["PodDeviceEntries"].append(7), lambda data: data.pop("RegisteredDevices"),
    ],
)  # fmt: skip  # a table
def test_a_checkpoint_that_is_wrong_inside_is_ignored(held, tmp_path, change):
    checkpoint.write(tmp_path, held, {})
    path = tmp_path / checkpoint.FILE_NAME
    data = json.loads(path.read_text())["Data"]
    change(data)
    path.write_text(json.dumps({"Data": data, "Checksum": zlib.crc32(json.dumps(data, sort_keys=True).encode())}))

    assert checkpoint.read(tmp_path) is None


def test_of_what_plugins_say_the_first_one_counts_and_what_differs_is_noted():
    def response(number, **fields):
        return pluginapi.ContainerAllocateResponse(
            envs={"B": number, "A": number, **fields.get("envs", {})}, annotations={"k": number, "j": number},
            mounts=[pluginapi.Mount(container_path="/m", host_path=f"/{number}", read_only=number == "1")],
            devices=[pluginapi.DeviceSpec(container_path="/d", host_path=f"/{number}", permissions=f"r{number}")],
            cdi_devices=[pluginapi.CDIDevice(name=name) for name in ("v/c=b", "v/c=a", f"v/c={number}")],
        )  # fmt: skip  # all there is

    same = response("1")
    same.mounts[0].read_only = False
    same.devices[0].permissions = "other"
    first = ContainerOptions(
        {"A": "1", "B": "1"}, {"/m": Mount("/m", "/1", True)}, {"/d": DeviceNode("/d", "/1", "r1")},
        {"j": "1", "k": "1"}, ("v/c=b", "v/c=a", "v/c=1"),
    )  # fmt: skip  # what the first one says

    assert container_options.merge([]) == ContainerOptions({}, {}, {}, {}, (), ())
    assert container_options.merge([response("1")]) == first
    assert container_options.merge([response("1"), same]) == first, "another mode of the same is no conflict"
    both = container_options.merge([response("1"), response("2", envs={"C": "3"})])
    assert both == ContainerOptions(
        {"A": "1", "B": "1", "C": "3"}, first.mounts, first.devices, first.annotations, ("v/c=b", "v/c=a", "v/c=1", "v/c=2"),
        ("env A", "env B", "device /d", "mount /m", "annotation j", "annotation k"),
    )  # fmt: skip  # the second one adds


# -- time and waiting -------------------------------------------------------------------------------------------------


async def test_a_manual_clock_begins_at_a_thousand_and_goes_where_it_is_moved():
    manual = clock.ManualClock()
    assert manual.time() == 1000.0
    await manual.advance(0)
    await manual.advance(2.5)
    assert manual.time() == 1002.5


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=8),
    st.lists(st.integers(0, 9), min_size=1, max_size=5),
)
def test_timers_fire_in_order_once_at_their_moments_unless_they_are_cancelled(timers, steps):
    async def run():
        manual, fired = clock.ManualClock(start=0), []
        for number, (delay, is_cancelled) in enumerate(timers):
            timer = manual.call_later(delay, lambda number=number: fired.append((manual.time(), number)))
            if is_cancelled:
                timer.cancel()
        for step in steps:
            await manual.advance(step)
        return fired, manual.time()

    fired, now = asyncio.run(run())
    due = [(delay, number) for number, (delay, cancelled) in enumerate(timers) if not cancelled and delay <= sum(steps)]

    assert fired == sorted(due)
    assert now == sum(steps)


async def test_a_timer_that_is_set_for_the_past_does_not_turn_the_clock_back():
    manual, fired = clock.ManualClock(start=10), []
    manual.call_later(-5, lambda: fired.append(manual.time()))
    await manual.advance(1)

    assert fired == [10]


async def test_a_sleeper_and_a_time_limit_leave_no_timer_behind():
    class Timers:
        def __init__(self):
            self.cancelled = []

        def call_later(self, delay_s, callback):
            asyncio.get_running_loop().call_soon(callback)
            return self

        def cancel(self):
            self.cancelled.append(1)

    timers = Timers()
    await clock.sleep(timers, 5)
    with pytest.raises(TimeoutError):
        async with clock.timeout(timers, 5):
            await asyncio.sleep(5)
    assert timers.cancelled == [1, 1]
    task = asyncio.create_task(clock.sleep(clock.ManualClock(), 5))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_the_real_clock_is_the_machines():
    real, called = clock.RealClock(), asyncio.Event()
    before = clock.time.monotonic()
    assert before <= real.time() <= clock.time.monotonic()

    cancelled = real.call_later(0, lambda: pytest.fail("it was cancelled"))
    cancelled.cancel()
    real.call_later(0.001, called.set)
    await asyncio.wait_for(called.wait(), 20)


async def test_who_waits_is_told_by_the_ringer_and_who_listens_always():
    bell, heard, values = changes.Changes(), [], []
    bell.subscribe(lambda: heard.append("one"))
    bell.subscribe(lambda: heard.append("two"))

    def predicate():
        values.append(len(heard))
        return "enough" if len(heard) >= 4 else ""

    waiting = asyncio.create_task(bell.wait_for(predicate, timeout_s=None, describe=str))
    await asyncio.sleep(0)
    for _ in range(4):
        bell.ring()

    assert await waiting == "enough"
    assert heard == ["one", "two"] * 4
    assert values == [0, 0, 2, 4], "not asked again once it was so"
    assert await bell.wait_for(lambda: 7, timeout_s=0, describe=str) == 7
    bell.ring()
    assert values == [0, 0, 2, 4], "forgotten"


async def test_a_wait_that_is_over_says_how_long_it_was_and_what_is_so_now():
    with pytest.raises(TimeoutError) as caught:
        await changes.Changes().wait_for(lambda: None, timeout_s=0.01, describe=lambda: "all\nis quiet")

    assert str(caught.value) == "not so after 0.01 s; the state is now:\nall\nis quiet"


async def test_a_predicate_that_raises_spares_the_others():
    bell, rings = changes.Changes(), []

    def broken():
        if rings:
            raise KeyError("one")
        return

    first = asyncio.create_task(bell.wait_for(broken, timeout_s=None, describe=str))
    second = asyncio.create_task(bell.wait_for(lambda: rings, timeout_s=None, describe=str))
    await asyncio.sleep(0)
    rings.append(1)
    bell.ring()

    assert await second == [1]
    with pytest.raises(KeyError, match="one"):
        await first


# -- paths of sockets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "target"),
    [("/a b/c", "unix:/a%20b/c"), ("/a%2F#?", "unix:/a%252F%23%3F"), ("/\udcff", "unix:/%FF"), ("/a:b", "unix:/a%3Ab")],
)
def test_a_path_is_a_target_as_a_uri(path, target):
    assert socket_path.target(Path(path)) == target
    with socket_path.dialed(Path(path)) as dialed:
        assert dialed == target


def test_a_path_with_a_comma_is_dialed_by_a_link_that_goes_with_the_call(tmp_path):
    with socket_path.dialed(tmp_path / "a,b") as target:
        link = Path(target.removeprefix("unix:"))
        assert (link.parent.parent, link.name, link.parent.name[:3]) == (Path("/tmp"), "s", "fk-")
        assert link.readlink() == tmp_path / "a,b"

    assert not link.parent.exists()


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("/d%/x", "/d%/x"), ("/d%/a#b?c", "/d%/a"), ("/d%/a?b#c", "/d%/a"), ("/d%/%41", "/d%/A"), ("/d%/%ff", "/d%/\udcff"), ("/d%/%2e%2E/y", "/d%/../y"),
        ("/e/%41#x", "/e/A"), ("/d%x/y", None), ("/e/%", None), ("/d%/%4", None), ("/d%/%zz1", None),
    ],
)  # fmt: skip  # a table
def test_a_kubelet_reads_a_name_as_part_of_a_uri(path, read):
    if read is not None:
        assert socket_path.as_a_kubelet_reads(Path(path), Path("/d%")) == Path(read)
        return
    with pytest.raises(socket_path.UnreadablePathError) as caught:
        socket_path.as_a_kubelet_reads(Path(path), Path("/d%"))
    wrong = path[path.rindex("%") :][:3]
    assert str(caught.value) == f'parse "passthrough:///{path}": invalid URL escape "{wrong}"'
