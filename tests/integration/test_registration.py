"""Kubelets that restart, vanish, refuse, hang or lie; the plugin must be registered with the present one, once."""

from __future__ import annotations

import asyncio
import socket
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import grpc
import pytest
from structlog.testing import capture_logs

from fakehw_plugin import endpoint, errors, socket_path
from fakehw_plugin.deviceplugin import directory, session
from fakekubelet import FakeKubelet, stub_plugin
from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from tests.factories import make_config, make_tree
from tests.running import DEADLINE_S, listed, running_daemon

if TYPE_CHECKING:
    from pathlib import Path

R1, R2, R3 = RESOURCES = [f"myplugin.io/mydevice-{number}" for number in (1, 2, 3)]
FULL = {R1: 0, R2: 1, R3: 3}


def is_full(kubelet: FakeKubelet) -> bool:
    return dict(kubelet.allocatable) == FULL and all(kubelet.live_streams(resource) == 1 for resource in RESOURCES)


def own_sockets(plugin_dir: Path) -> list[str]:
    return sorted(path.name for path in plugin_dir.glob("fakehw-*.sock"))


async def test_a_kubelet_that_restarts_twenty_times_gets_one_registration_each_time(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Contract RS-4, REG-13: again each time, and never twice at once."""
    async with running_daemon(make_config(root, plugin_dir)):
        await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)
        for restarts in range(1, 21):
            await kubelet.restart()
            await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)
            assert len(kubelet.registrations) == 3 * (restarts + 1)
            assert len(own_sockets(plugin_dir)) == 3


async def test_a_kubelet_socket_replaced_under_a_living_connection_is_noticed(root: Path, plugin_dir: Path) -> None:
    """Only the file changes: the stream to the old kubelet is still alive, so that only its identity tells."""
    async with running_daemon(make_config(root, plugin_dir)), FakeKubelet(plugin_dir) as old:
        await old.wait_for(lambda: is_full(old), timeout=DEADLINE_S)
        old_sockets = own_sockets(plugin_dir)
        (plugin_dir / "kubelet.sock").rename(plugin_dir / "aside")

        async with FakeKubelet(plugin_dir) as new:
            await new.wait_for(lambda: is_full(new), timeout=DEADLINE_S)

            assert not set(own_sockets(plugin_dir)) & set(old_sockets)
            assert len(new.registrations) == 3


def test_a_socket_with_the_inode_of_the_one_before_has_another_identity(plugin_dir: Path) -> None:
    """Contract PIT-2: a file system gives a number out again at once, so that only the time tells."""
    watched = directory.KubeletDirectory(plugin_dir)
    seen: dict[int, list[directory.Identity]] = {}
    for _ in range(100):  # another process may take the number that was given back
        watched.socket_path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(watched.socket_path))
        identity = watched.identity()
        assert identity is not None
        seen.setdefault(identity[1], []).append(identity)
    of_one_inode = max(seen.values(), key=len)
    if len(of_one_inode) == 1:
        pytest.skip("the file system here gives no inode number out again")

    assert len(set(of_one_inode)) == len(of_one_inode)


async def test_the_plugin_started_first_registers_as_soon_as_a_kubelet_listens(root: Path, plugin_dir: Path) -> None:
    async with running_daemon(make_config(root, plugin_dir)), FakeKubelet(plugin_dir) as kubelet:
        await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)


async def test_a_stale_socket_that_nobody_listens_on_is_waited_out(root: Path, plugin_dir: Path) -> None:
    """Contract RS-8: after a reboot kubelet.sock is there before the kubelet."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(plugin_dir / "kubelet.sock"))
    async with running_daemon(make_config(root, plugin_dir)) as daemon:
        while not daemon.device_plugin.sessions:
            await asyncio.sleep(0)
        async with FakeKubelet(plugin_dir) as kubelet:
            await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)


async def test_a_plugin_directory_that_appears_later_is_taken_up(root: Path, short_dir: Path) -> None:
    plugin_dir = short_dir / "kubelet" / "device-plugins"
    async with running_daemon(make_config(root, plugin_dir)) as daemon:
        while not daemon.device_plugin.sessions:
            await asyncio.sleep(0)
        plugin_dir.mkdir(parents=True)
        async with FakeKubelet(plugin_dir) as kubelet:
            await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)


async def test_a_plugin_socket_that_somebody_deletes_is_replaced(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Contract RS-5: the second of the three signals, alone."""
    async with running_daemon(make_config(root, plugin_dir)):
        await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)
        gone = next(registration.endpoint for registration in kubelet.registrations if registration.resource_name == R3)
        (plugin_dir / gone).unlink()

        await kubelet.wait_for(lambda: len(kubelet.registrations) == 4 and is_full(kubelet), timeout=DEADLINE_S)

        assert kubelet.registrations[-1].resource_name == R3
        assert gone not in own_sockets(plugin_dir)


async def test_a_stream_that_the_kubelet_drops_is_registered_again(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contract REG-13, PIT-3: when the plugin before us leaves, a kubelet up to 1.36 drops us, without a word."""
    monkeypatch.setattr(session, "STREAM_LOSS_S", 0.05)
    async with stub_plugin.StubPlugin(plugin_dir, R3, stub_plugin.devices("other")) as other:
        await other.register()
        await kubelet.wait_for(lambda: "other" in kubelet.devices(R3), timeout=DEADLINE_S)
        async with running_daemon(make_config(root, plugin_dir)):
            await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 3, timeout=DEADLINE_S)
            await other.stop()
            await kubelet.wait_for(lambda: len(kubelet.registrations) == 5 and is_full(kubelet), timeout=DEADLINE_S)

            assert [registration.resource_name for registration in kubelet.registrations].count(R3) == 3


class Registry(pluginapi_grpc.RegistrationServicer):
    """A kubelet's registry that behaves as a test wants, and remembers."""

    def __init__(self, refusal: str | None = None) -> None:
        self.refusal = refusal
        self.requests: list[tuple[float, pluginapi.RegisterRequest]] = []
        self.arrived = asyncio.Event()

    async def Register(self, request: pluginapi.RegisterRequest, context: grpc.aio.ServicerContext) -> pluginapi.Empty:
        self.requests.append((time.monotonic(), request))
        self.arrived.set()
        if self.refusal:
            await context.abort(grpc.StatusCode.UNKNOWN, self.refusal)
        return pluginapi.Empty()


async def serve(registry: Registry, plugin_dir: Path) -> grpc.aio.Server:
    server = grpc.aio.server()
    pluginapi_grpc.add_RegistrationServicer_to_server(registry, server)
    server.add_insecure_port(socket_path.target(plugin_dir / "kubelet.sock"))
    await server.start()
    return server


async def test_the_registration_is_served_complete_and_says_the_same_as_the_options_call(
    tmp_path: Path, plugin_dir: Path
) -> None:
    """Contract REG-5, REG-8."""
    root = make_tree(tmp_path / "one", "node1/dev1/1")
    registry = Registry()
    server = await serve(registry, plugin_dir)
    async with running_daemon(make_config(root, plugin_dir, pre_start_check=True)), asyncio.timeout(DEADLINE_S):
        await registry.arrived.wait()
        request = registry.requests[0][1]

        assert (request.version, request.resource_name) == ("v1beta1", R1)
        assert (plugin_dir / request.endpoint).is_socket()
        async with grpc.aio.insecure_channel(f"unix:{plugin_dir / request.endpoint}") as channel:
            options = await pluginapi_grpc.DevicePluginStub(channel).GetDevicePluginOptions(pluginapi.Empty())
        assert options == request.options
        assert options.pre_start_required
        assert options.get_preferred_allocation_available
    await server.stop(None)


async def test_a_kubelet_that_refuses_is_asked_again_and_its_words_are_logged(
    tmp_path: Path, plugin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "FIRST_BACKOFF_S", 0.01)
    root = make_tree(tmp_path / "one", "node1/dev1/1")
    registry = Registry(refusal='the ResourceName "myplugin.io/mydevice-1" is invalid')
    server = await serve(registry, plugin_dir)
    with capture_logs() as logs:
        async with running_daemon(make_config(root, plugin_dir)), asyncio.timeout(DEADLINE_S):
            while len(registry.requests) < 3:
                registry.arrived.clear()
                await registry.arrived.wait()
            assert len(own_sockets(plugin_dir)) <= 1
    await server.stop(None)

    refusals = [entry for entry in logs if entry["event"] == "registration_failed"]
    assert refusals
    assert "is invalid" in refusals[0]["error"]
    assert len({request.endpoint for _, request in registry.requests}) == len(registry.requests)


async def test_a_kubelet_that_never_opens_the_stream_is_registered_with_again(
    tmp_path: Path, plugin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STREAM_TIMEOUT_S", 0.02)
    monkeypatch.setattr(session, "FIRST_BACKOFF_S", 0.01)
    root = make_tree(tmp_path / "one", "node1/dev1/1")
    registry = Registry()
    server = await serve(registry, plugin_dir)
    async with running_daemon(make_config(root, plugin_dir)) as daemon, asyncio.timeout(DEADLINE_S):
        while len(registry.requests) < 2:
            registry.arrived.clear()
            await registry.arrived.wait()
        assert not daemon.is_ready
        assert daemon.telemetry.registrations == {(R1, "failed"): 1}, "one attempt, counted once"
    await server.stop(None)


async def test_one_resource_that_is_refused_does_not_take_the_others_down(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fakehw_plugin.deviceplugin import registration

    genuine = registration.register

    async def refuse_one(kubelet_socket: Path, **arguments: object) -> None:
        if arguments["resource_name"] == R2:
            arguments["resource_name"] = "refused"
        await genuine(kubelet_socket, **arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(registration, "register", refuse_one)
    async with running_daemon(make_config(root, plugin_dir)) as daemon:
        await listed(kubelet, [R1, R3])
        await kubelet.wait_for(
            lambda: any(registration.error for registration in kubelet.registrations), timeout=DEADLINE_S
        )

        assert daemon.device_plugin.sessions[R3].is_ready
        assert not daemon.is_ready


async def test_sockets_left_by_a_killed_plugin_are_removed_and_living_ones_are_not(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as alive:
        dead.bind(str(plugin_dir / "fakehw-x-0123abcd.sock"))
        dead.close()
        alive.bind(str(plugin_dir / "fakehw-x-89abcdef.sock"))
        alive.listen()
        (plugin_dir / "fakehw-other.sock").write_text("not a socket of ours")
        async with running_daemon(make_config(root, plugin_dir)):
            await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)
            names = own_sockets(plugin_dir)

    assert "fakehw-x-0123abcd.sock" not in names
    assert "fakehw-x-89abcdef.sock" in names
    assert "fakehw-other.sock" in names


async def test_stopping_removes_the_sockets_and_sends_no_empty_list(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Contract RS-2: an empty list at the end would turn capacity to 0 as well."""
    async with running_daemon(make_config(root, plugin_dir)):
        await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)
    await kubelet.wait_for(
        lambda: not any(kubelet.live_streams(resource) for resource in RESOURCES), timeout=DEADLINE_S
    )

    assert own_sockets(plugin_dir) == []
    assert kubelet.capacity[R3] == 3
    assert kubelet.allocatable[R3] == 0


async def test_a_kubelet_whose_socket_is_a_link_is_registered_with(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    (plugin_dir / "kubelet.sock").rename(plugin_dir / "elsewhere")
    (plugin_dir / "kubelet.sock").symlink_to("elsewhere")
    async with running_daemon(make_config(root, plugin_dir)):
        await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)


async def test_a_link_that_leads_to_a_kubelet_only_later_is_followed_when_it_does(
    root: Path, plugin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing happens in the directory then, so that there is no event."""
    monkeypatch.setattr(directory, "_LAST_RETRY_S", 0.02)
    elsewhere = tmp_path / "e"
    elsewhere.mkdir()
    (plugin_dir / "kubelet.sock").symlink_to(elsewhere / "kubelet.sock")
    registry = Registry()
    with capture_logs() as logs:
        async with running_daemon(make_config(root, plugin_dir)), asyncio.timeout(DEADLINE_S):
            while not any(entry["event"] == "waiting_for_kubelet" for entry in logs):
                await asyncio.sleep(0)
            server = await serve(registry, elsewhere)
            await registry.arrived.wait()
        await server.stop(None)


async def test_that_there_is_no_kubelet_is_said_once_for_all_resources_and_again_for_another_reason(
    root: Path, plugin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_LAST_RETRY_S", 0.004)
    with capture_logs() as logs:
        async with running_daemon(make_config(root, plugin_dir)), asyncio.timeout(DEADLINE_S):
            while not any(entry["event"] == "waiting_for_kubelet" for entry in logs):
                await asyncio.sleep(0)
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(str(plugin_dir / "kubelet.sock"))
            while sum(entry["event"] == "waiting_for_kubelet" for entry in logs) < 2:
                await asyncio.sleep(0)

    said = [entry["reason"] for entry in logs if entry["event"] == "waiting_for_kubelet"]
    assert said == ["no socket is there", "nobody listens on the socket"]


@pytest.mark.parametrize("name", ["a%2Fb", "x#y", "x?y", "x,y", "a b", "\u00fc"])
async def test_a_directory_may_be_called_what_a_uri_has_a_meaning_for(root: Path, short_dir: Path, name: str) -> None:
    plugin_dir = short_dir / name
    plugin_dir.mkdir()
    registry = Registry()
    server = await serve(registry, plugin_dir)
    async with running_daemon(make_config(root, plugin_dir)), asyncio.timeout(DEADLINE_S):
        await registry.arrived.wait()
        assert (plugin_dir / registry.requests[0][1].endpoint).is_socket()
    await server.stop(None)
    assert own_sockets(plugin_dir) == []


async def test_a_registration_that_is_cut_short_is_interrupted_and_not_registered(
    tmp_path: Path, plugin_dir: Path
) -> None:
    """The kubelet is replaced while its Register call hangs: neither a success nor a failure of ours."""
    root = make_tree(tmp_path / "one", "node1/dev1/1")

    class Hanging(Registry):
        async def Register(
            self, request: pluginapi.RegisterRequest, context: grpc.aio.ServicerContext
        ) -> pluginapi.Empty:
            self.arrived.set()
            await asyncio.Event().wait()
            raise AssertionError

    hanging, answering = Hanging(), Registry()
    server = await serve(hanging, plugin_dir)
    with capture_logs() as logs:
        async with running_daemon(make_config(root, plugin_dir)) as daemon, asyncio.timeout(DEADLINE_S):
            await hanging.arrived.wait()
            (plugin_dir / "kubelet.sock").rename(plugin_dir / "aside")
            other = await serve(answering, plugin_dir)
            await answering.arrived.wait()

            assert daemon.telemetry.registrations == {(R1, "interrupted"): 1}
            assert not daemon.telemetry.registrations_ended
            assert daemon.device_plugin.sessions[R1].live_since is None
        await other.stop(None)
    await server.stop(None)

    assert [entry["reason"] for entry in logs if entry["event"] == "registration_interrupted"][:1] == [
        "kubelet_replaced"
    ]
    assert not [entry for entry in logs if entry["event"] == "registered"]


async def test_every_registration_that_ends_is_counted_with_its_reason(
    tmp_path: Path, plugin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "STREAM_LOSS_S", 0.05)
    root = make_tree(tmp_path / "one", "node1/dev1/1")
    async with FakeKubelet(plugin_dir) as kubelet, running_daemon(make_config(root, plugin_dir)) as daemon:

        async def registered(times: int) -> None:
            await kubelet.wait_for(
                lambda: len(kubelet.registrations) == times and kubelet.live_streams(R1) == 1, timeout=DEADLINE_S
            )
            async with asyncio.timeout(DEADLINE_S):
                while not daemon.is_ready:
                    await asyncio.sleep(0)

        await registered(1)
        await kubelet.drop(R1)
        await registered(2)
        (plugin_dir / kubelet.registrations[-1].endpoint).unlink()
        await registered(3)
        await kubelet.restart()
        await registered(4)

        ended = {reason: count for (_, reason), count in daemon.telemetry.registrations_ended.items()}
        assert ended.pop("stream_lost") == 1
        assert ended.pop("socket_removed", 0) + ended.pop("kubelet_replaced", 0) + ended.pop("kubelet_gone", 0) == 2
        assert not ended
        assert daemon.telemetry.registrations[R1, "ok"] == 4


def test_only_dead_sockets_of_our_own_names_are_removed(plugin_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(plugin_dir / "fakehw-x-89abcdef.sock"))
        alive.listen()
        for name in ("fakehw-x-0123abcd.sock", "fakehw-0123abcd.sock", "fakehw-x-0123ABCD.sock", "other-0123abcd.sock"):
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(plugin_dir / name))
        (plugin_dir / "fakehw-y-0123abcd.sock").write_text("a regular file of a socket's name")
        (plugin_dir / "fakehw-z-0123abcd.sock").symlink_to("fakehw-x-0123ABCD.sock")
        (plugin_dir / "fakehw-d-0123abcd.sock").mkdir()

        removed = endpoint.remove_stale(plugin_dir)

    assert sorted(removed) == ["fakehw-0123abcd.sock", "fakehw-x-0123abcd.sock"]
    assert sorted(path.name for path in plugin_dir.glob("*0123abcd.sock")) == [
        "fakehw-d-0123abcd.sock", "fakehw-y-0123abcd.sock", "fakehw-z-0123abcd.sock", "other-0123abcd.sock",
    ]  # fmt: skip  # in one line


async def test_a_missing_plugin_directory_is_said_once_and_again_after_it_was_there(
    root: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_LOOK_EVERY_S", 0.01)
    plugin_dir = short_dir / "dp"
    looks = 0
    real = directory.KubeletDirectory.wake_all

    def counted(self: directory.KubeletDirectory) -> None:
        nonlocal looks
        looks += 1
        real(self)

    async def seen(more: int) -> None:
        at = looks
        while looks < at + more:
            await asyncio.sleep(0)

    monkeypatch.setattr(directory.KubeletDirectory, "wake_all", counted)
    with capture_logs() as logs:
        async with running_daemon(make_config(root, plugin_dir)), asyncio.timeout(DEADLINE_S):
            await seen(5)
            async with FakeKubelet(plugin_dir) as kubelet:
                await kubelet.wait_for(lambda: is_full(kubelet), timeout=DEADLINE_S)
            for path in plugin_dir.iterdir():
                path.unlink()
            plugin_dir.rmdir()
            await seen(5)

    said = [entry["reason"] for entry in logs if entry["event"] == "plugin_dir_not_ready"]
    assert said == ["no such directory"] * 2


async def test_a_socket_that_nobody_listens_on_is_tried_less_and_less_often(
    plugin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first within milliseconds, since a kubelet listens a moment after its socket is there; in the end once a second."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(plugin_dir / "kubelet.sock"))
    delays: list[float | None] = []
    enough = asyncio.Event()
    real = asyncio.timeout

    def noted(delay: float | None) -> asyncio.Timeout:
        delays.append(delay)
        if len(delays) == 14:
            enough.set()
        return real(0)

    monkeypatch.setattr(directory, "asyncio", SimpleNamespace(timeout=noted, Event=asyncio.Event))
    waiting = asyncio.create_task(directory.KubeletDirectory(plugin_dir).wait_listening())
    await enough.wait()
    waiting.cancel()

    assert delays[:3] == [0.001, 0.002, 0.004]
    assert delays[9:14] == [0.512, 1.0, 1.0, 1.0, 1.0]


async def test_a_registration_that_fails_in_the_turn_in_which_its_session_ends_is_no_forgotten_error(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, fails = asyncio.Event(), asyncio.Event()

    async def refused(*_: object, **__: object) -> None:
        called.set()
        await fails.wait()
        raise errors.RegistrationError("refused")

    monkeypatch.setattr(session.registration, "register", refused)
    async with running_daemon(make_config(root, plugin_dir)):
        await asyncio.wait_for(called.wait(), DEADLINE_S)
        tasks = asyncio.all_tasks()
        registering = [task for task in tasks if task.get_name().startswith("register ")]
        fails.set()
        await asyncio.sleep(0)
        for task in tasks:
            if task.get_name().startswith("session "):
                task.cancel()
    assert [task.done() for task in registering] == [True] * len(registering)
    assert not any(task._log_traceback for task in registering), "asyncio would say that nobody looked"  # type: ignore[attr-defined]
