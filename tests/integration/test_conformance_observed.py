"""What can be seen of a plugin at a moment, through a kubelet and in its directory."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from fakekubelet.conformance import observed
from fakekubelet.conformance.evidence import Options
from fakekubelet.conformance.settings import Limits, Settings
from fakekubelet.kubelet import call_log
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from tests.kit_evidence import Kubelet, X, Y, listed, registration

LIMITS = Limits(start_s=7.5, quiet_s=1.5)


def watching(kubelet, *resources, directory=None, **settings):
    given = Settings(limits=LIMITS, **({"plugin_dir": directory} if directory else {}), **settings)
    made = observed.Observed(given, kubelet)
    assert made.resources == []
    made.resources = list(resources)
    return made


def comes(*registrations):
    return lambda kubelet: kubelet.registrations.extend(registrations)


async def test_a_condition_is_waited_for_and_it_is_told_whether_it_came_true():
    kubelet = Kubelet(script=[comes(registration())])
    seen = watching(kubelet)

    assert await seen.until(lambda: bool(kubelet.registrations), 3.5) is True
    assert await seen.until(lambda: False, 0.5) is False
    assert kubelet.waited == [3.5, 0.5]


async def test_a_condition_that_comes_true_with_the_end_of_the_time_is_true():
    calls = []

    assert await watching(Kubelet()).until(lambda: calls.append(1) or len(calls) > 1, 0.5) is True


async def test_expected_resources_are_looked_at_whether_they_come_or_not():
    kubelet = Kubelet(script=[comes(registration(Y)), comes(registration("example.com/z")), comes(registration())])
    seen = watching(kubelet, resources=(Y, X))

    await seen.find_resources()

    assert (seen.resources, kubelet.waited, kubelet.script) == ([Y, X], [7.5], [])
    seen = watching(kubelet := Kubelet(), resources=(Y, X))
    await seen.find_resources()
    assert (seen.resources, kubelet.waited) == ([Y, X], [7.5])


async def test_resources_are_found_until_none_comes_for_a_while():
    kubelet = Kubelet(registration(Y), script=[comes(registration(error="no")), comes(registration())])
    seen = watching(kubelet)

    await seen.find_resources()

    assert (seen.resources, kubelet.waited) == ([X, Y], [1.5, 1.5])
    seen = watching(kubelet := Kubelet())
    await seen.find_resources()
    assert (seen.resources, kubelet.waited) == ([], [])


def test_what_was_accepted_is_named_once_and_in_order():
    kubelet = Kubelet(registration(Y), registration(), registration("example.com/z", error="no"), registration(Y))

    assert watching(kubelet).accepted() == [X, Y]


@pytest.mark.parametrize(
    ("sent", "for_good"),
    [
        ([], False),
        ([registration()], False),
        ([registration(error="no")], False),
        ([registration(version="v1", error="no")], True),
        ([registration("x", error="no")], True),
        ([registration("x", error="no"), registration(version="v1", error="no")], True),
        ([registration("x", error="no"), registration(error="no")], False),
    ],
)
def test_what_no_kubelet_accepts_is_refused_for_good(sent, for_good):
    assert watching(Kubelet(*sent)).is_refused_for_good() is for_good


def test_the_last_registration_that_was_accepted_counts():
    first, last = registration(endpoint="a"), registration(endpoint="b")
    kubelet = Kubelet(first, last, registration(endpoint="c", error="no"), registration(Y, endpoint="d"))
    seen = watching(kubelet, directory=Path("/dp"))

    assert seen.registered(X) is last
    assert seen.registered("z") is None
    assert seen.socket_path(X) == Path("/dp/b")
    assert seen.socket_path("z") is None


@pytest.mark.parametrize(
    ("at", "list_at", "streams", "since", "is_up"),
    [
        (5.0, 6.0, 1, 5.0, True),
        (5.0, 5.0, 2, 4.0, True),
        (5.0, 6.0, 1, 5.1, False),
        (5.0, 4.9, 1, 0.0, False),
        (5.0, 6.0, 0, 0.0, False),
        (5.0, None, 1, 0.0, False),
        (None, 6.0, 1, 0.0, False),
    ],
)
def test_a_resource_is_up_once_it_is_registered_listed_and_followed(at, list_at, streams, since, is_up):
    kubelet = Kubelet(
        *([] if at is None else [registration(time=at)]),
        x=[] if list_at is None else [listed(at=9), listed(at=list_at)],
    )
    kubelet.streams = {X: streams}
    seen = watching(kubelet, X)

    assert seen.is_up(since) is is_up
    assert seen.missing(since) == ([] if is_up else [X])


def test_all_of_them_have_to_be_up_and_what_is_missing_is_named():
    kubelet = Kubelet(registration(time=1), registration(Y, time=1), x=[listed(at=2)], y=[listed(at=2)])
    kubelet.streams = {Y: 1}
    seen = watching(kubelet, X, Y, "z")

    assert seen.missing(0.0) == [X, "z"]
    assert not seen.is_up()
    kubelet.streams = {X: 1, Y: 1}
    assert watching(kubelet, X, Y).is_up()


def test_lists_are_those_since_a_moment():
    one, two, three = (listed(at=moment) for moment in (1.0, 2.0, 3.0))
    kubelet = Kubelet(x=[one, two, three], y=[listed(at=7.0), listed(at=2.5)])
    seen = watching(kubelet, X, Y)

    assert seen.lists(X, 2.0) == [two, three]
    assert seen.last_list() == 3.0


def test_the_healthy_devices_are_those_of_the_last_list():
    kubelet = Kubelet(x=[listed("a"), listed("c", "b", "a", "d", health={"a": "Unhealthy", "d": "healthy"})])

    assert watching(kubelet).healthy(X) == ["c", "b"]
    assert watching(kubelet).healthy(Y) == []


def test_a_list_is_awaited_from_the_answer_to_register():
    kubelet = Kubelet(
        registration(time=1.0, duration_s=0.5), registration(Y, time=4.0, duration_s=1.0), registration("example.com/z"),
        x=[listed(at=1.75), listed(at=9.0)], y=[listed(at=4.5)],
    )  # fmt: skip  # what came, and when

    assert watching(kubelet, X, Y, "example.com/z", "w").arrivals() == {X: 0.25, Y: 0.0}


def test_the_options_are_the_last_answer_and_the_slowest():
    kubelet = Kubelet()

    def answer(took, resource=X, *, error=None, **said):
        call = kubelet.calls.open(resource, "GetDevicePluginOptions", pluginapi.Empty())
        reply = None if error else pluginapi.DevicePluginOptions(**said)
        kubelet.calls.close(call, reply=reply, error=error)
        call.duration_s = took

    answer(0.5, pre_start_required=True)
    answer(0.25, get_preferred_allocation_available=True)
    answer(9.0, error=call_log.RpcError.deadline())
    answer(0.125, Y, pre_start_required=True)
    kubelet.calls.open(Y, "GetDevicePluginOptions", pluginapi.Empty())

    assert watching(kubelet).options() == {X: Options(False, True, 0.5), Y: Options(True, False, 0.125)}


def test_a_list_that_cannot_be_received_is_told_by_resource():
    kubelet = Kubelet()

    def ends(resource, details, method="ListAndWatch"):
        call = kubelet.calls.open(resource, method, pluginapi.Empty())
        error = call_log.RpcError(grpc.StatusCode.INTERNAL, details) if details else None
        kubelet.calls.close(call, error=error)

    ends(X, "received message larger than max")
    ends(Y, "failed to unmarshal it")
    ends("a", "gone")
    ends("b", None)
    ends("c", "larger than max", "Allocate")

    assert watching(kubelet).stream_errors() == {
        X: "rpc error: code = Internal desc = received message larger than max",
        Y: "rpc error: code = Internal desc = failed to unmarshal it",
    }


def test_the_size_of_a_list_is_that_of_its_largest_with_all_unhealthy():
    large = listed("abc", "d")
    large.devices["abc"] = ("Healthy", (0, 1))
    kubelet = Kubelet(x=[listed("a"), large, listed("z")], y=[listed("y")])
    topology = pluginapi.TopologyInfo(nodes=[pluginapi.NUMANode(ID=0), pluginapi.NUMANode(ID=1)])
    devices = [
        pluginapi.Device(ID="abc", health="Unhealthy", topology=topology),
        pluginapi.Device(ID="d", health="Unhealthy", topology=pluginapi.TopologyInfo()),
    ]

    sizes = watching(kubelet, X, "z").list_sizes()

    assert sizes == {X: pluginapi.ListAndWatchResponse(devices=devices).ByteSize()}


@pytest.fixture
def directory(short_dir):
    """A kubelet's directory with something of everything in it, and its registry."""
    plugins = short_dir / "device-plugins"
    for path in (plugins / "sub", short_dir / "plugins_registry" / "deep"):
        path.mkdir(parents=True)
    for name in ("lock", "kubelet_internal_checkpoint", "sub/inner"):
        (plugins / name).touch()
    (plugins / "link").symlink_to("nowhere")
    (short_dir / "plugins_registry" / "file").touch()
    bound = []
    for path in (
        "device-plugins/b.sock",
        "device-plugins/a.sock",
        "device-plugins/kubelet.sock",
        "plugins_registry/deep/r.sock",
    ):
        one = socket.socket(socket.AF_UNIX)
        one.bind(str(short_dir / path))
        bound.append(one)
    bound[0].listen()
    yield plugins
    for one in bound:
        one.close()


def test_sockets_are_the_plugins_own_wherever_they_are_and_files_are_what_else_it_made(directory):
    seen = watching(Kubelet(), directory=directory)

    assert seen.sockets() == ["../plugins_registry/deep/r.sock", "a.sock", "b.sock"]
    assert seen.dead_sockets() == ["../plugins_registry/deep/r.sock", "a.sock"]
    assert seen.files() == ["link", "lock"]


def test_sockets_are_removed_and_nothing_else_is(directory):
    seen = watching(Kubelet(), directory=directory)

    seen.remove_sockets()

    assert sorted(path.name for path in directory.iterdir()) == [
        "kubelet.sock", "kubelet_internal_checkpoint", "link", "lock", "sub",
    ]  # fmt: skip  # one list
    assert sorted(path.name for path in (directory.parent / "plugins_registry").rglob("*")) == ["deep", "file"]
    seen.remove_sockets()


def test_a_directory_without_a_registry_beside_it_is_looked_at_alone(short_dir):
    (short_dir / "dp").mkdir()
    (short_dir / "dp" / "pid").touch()
    (short_dir / "device-plugins").mkdir()

    assert watching(Kubelet(), directory=short_dir / "dp").files() == ["pid"]
    assert watching(Kubelet(), directory=short_dir / "device-plugins").sockets() == []


def test_what_vanishes_while_it_is_looked_at_was_not_there(short_dir, monkeypatch):
    class Gone:
        name = "gone"

        def lstat(self):
            raise FileNotFoundError

    plugins = SimpleNamespace(iterdir=lambda: [Gone()])
    registry = SimpleNamespace(is_dir=lambda: True, rglob=lambda pattern: [Gone()] if pattern == "*" else [])
    seen = observed.Observed(SimpleNamespace(plugin_dir=plugins, plugins_registry=registry), Kubelet())

    assert (seen.sockets(), seen.files()) == ([], [])
