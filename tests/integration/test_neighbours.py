"""Other plugins that register what is ours, and end: the kubelet drops us with them and tells us nothing."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakehw_plugin.deviceplugin import neighbours, pod_resources, session
from fakekubelet import FakeKubelet, pod, stub_plugin
from fakekubelet.kubelet.kubelet import Mode
from tests.factories import make_config
from tests.running import DEADLINE_S, listed, running_daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fakehw_plugin.deviceplugin.newcomers import Departure

R2, R3 = (f"myplugin.io/mydevice-{number}" for number in (2, 3))

OTHER = """
import asyncio, sys
from pathlib import Path
from fakekubelet import stub_plugin
async def main():
    async with stub_plugin.StubPlugin(Path(sys.argv[1]), sys.argv[2], stub_plugin.devices("other-1")) as plugin:
        await plugin.register()
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(neighbours, "LOOK_EVERY_S", 0.5)
    monkeypatch.setattr(neighbours, "PROBE_EVERY_S", 0.1)
    monkeypatch.setattr(neighbours, "YOUNG_S", 0.0)
    monkeypatch.setattr(neighbours, "SETTLING_S", (0.1, 0.3, 0.6))


@contextlib.asynccontextmanager
async def other_process(plugin_dir: Path, resource: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", OTHER, str(plugin_dir), resource)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def allocatable(kubelet: FakeKubelet) -> dict[str, int]:
    return {resource: kubelet.allocatable.get(resource, 0) for resource in (R2, R3)}


async def is_served(kubelet: FakeKubelet) -> None:
    """All of ours can be given out again, by a registration that the kubelet has."""
    await kubelet.wait_for(lambda: allocatable(kubelet) == {R2: 1, R3: 3}, timeout=DEADLINE_S)


@pytest.mark.parametrize("can_ask", [True, False], ids=["PodResources answers", "nobody to ask"])
@pytest.mark.parametrize("mode", list(Mode))
async def test_when_another_plugin_of_our_resource_ends_ours_registers_again(
    root: Path, plugin_dir: Path, mode: Mode, can_ask: bool
) -> None:
    """Else allocatable stays 0 for good while the plugin is up and ready."""
    pods = plugin_dir / "pr.sock" if can_ask else None
    config = make_config(root, plugin_dir, pod_resources=pods)
    async with (
        FakeKubelet(plugin_dir, mode=mode, pod_resources_socket=pods) as kubelet,
        running_daemon(config) as daemon,
    ):
        await is_served(kubelet)
        async with stub_plugin.StubPlugin(plugin_dir, R3, stub_plugin.devices("other-1")) as other:
            await other.register()
            await kubelet.wait_for(lambda: "other-1" in kubelet.devices(R3), timeout=DEADLINE_S)
        await kubelet.wait_for(lambda: kubelet.registrations[-1].resource_name == R3 or None, timeout=DEADLINE_S)
        await is_served(kubelet)

        assert daemon.telemetry.registrations_ended[R3, "displaced"] == 1
        if can_ask:
            assert [registration.resource_name for registration in kubelet.registrations].count(R2) == 1, (
                "the kubelet had it still"
            )


@pytest.mark.parametrize("can_ask", [True, False], ids=["PodResources answers", "nobody to ask"])
async def test_one_that_is_killed_and_leaves_its_socket_is_noticed_too(
    root: Path, plugin_dir: Path, can_ask: bool
) -> None:
    pods = plugin_dir / "pr.sock" if can_ask else None
    config = make_config(root, plugin_dir, pod_resources=pods)
    async with FakeKubelet(plugin_dir, pod_resources_socket=pods) as kubelet, running_daemon(config):
        await is_served(kubelet)
        async with other_process(plugin_dir, R3) as other:
            await kubelet.wait_for(lambda: "other-1" in kubelet.devices(R3), timeout=DEADLINE_S)
            other.kill()
            await other.wait()
            await is_served(kubelet)
        assert "other-1" not in kubelet.devices(R3)


async def test_while_the_other_one_serves_it_is_left_to_it_and_said(root: Path, plugin_dir: Path) -> None:
    """Two that take it from each other in turn would serve nobody."""
    pods = plugin_dir / "pr.sock"
    config = make_config(root, plugin_dir, pod_resources=pods)
    with capture_logs() as logs:
        async with FakeKubelet(plugin_dir, pod_resources_socket=pods) as kubelet, running_daemon(config):
            await is_served(kubelet)
            async with stub_plugin.StubPlugin(plugin_dir, R3, stub_plugin.devices("other-1")) as other:
                await other.register()
                before = len(kubelet.registrations)
                async with asyncio.timeout(DEADLINE_S):
                    while not any(entry["event"] == "displaced" for entry in logs):
                        await asyncio.sleep(0.01)
                assert len(kubelet.registrations) == before
                assert kubelet.devices(R3) == {"other-1": "Healthy"}

    assert [entry["resource"] for entry in logs if entry["event"] == "displaced"] == [R3]


async def test_another_plugin_of_another_resource_changes_nothing(
    root: Path, plugin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = plugin_dir / "pr.sock"
    config = make_config(root, plugin_dir, pod_resources=pods)
    looks, look = asyncio.Semaphore(0), neighbours.Neighbours._look

    async def counted(self: neighbours.Neighbours, departure: Departure | None) -> None:
        await look(self, departure)
        if departure is not None:
            looks.release()

    monkeypatch.setattr(neighbours.Neighbours, "_look", counted)
    async with FakeKubelet(plugin_dir, pod_resources_socket=pods) as kubelet, running_daemon(config) as daemon:
        await is_served(kubelet)
        async with stub_plugin.StubPlugin(plugin_dir, "example.org/other", stub_plugin.devices("x")) as other:
            await other.register()
            await listed(kubelet, ["example.org/other"])
        async with asyncio.timeout(DEADLINE_S):
            for _ in neighbours.SETTLING_S:
                await looks.acquire()

        assert daemon.telemetry.registrations_ended.total() == 0


async def test_one_that_was_there_long_before_us_is_none_of_our_business(
    root: Path, plugin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a rolling update: with nobody to ask, registering again would be a gap for nothing."""
    monkeypatch.setattr(neighbours, "TOGETHER_S", 0.0)
    noted: list[Departure | None] = []
    look = neighbours.Neighbours._look

    async def remembered(self: neighbours.Neighbours, departure: Departure | None) -> None:
        noted.append(departure)
        await look(self, departure)

    monkeypatch.setattr(neighbours.Neighbours, "_look", remembered)
    async with FakeKubelet(plugin_dir) as kubelet:
        other = stub_plugin.StubPlugin(plugin_dir, "example.org/other", stub_plugin.devices("x"))
        async with contextlib.AsyncExitStack() as life:
            await life.enter_async_context(other)
            await other.register()
            async with running_daemon(make_config(root, plugin_dir)) as daemon:
                await is_served(kubelet)
                await life.aclose()
                seen = len(noted)
                async with asyncio.timeout(DEADLINE_S):
                    while len(noted) < seen + 2:
                        await asyncio.sleep(0.01)  # it looks again and again

                assert daemon.telemetry.registrations_ended.total() == 0
                assert not any(noted)


async def test_a_kubelet_that_cannot_be_asked_is_said_once_for_each_reason(
    root: Path, plugin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that may not be searched, an answer that is no message: neither may end the plugin."""
    socket = plugin_dir / "pr.sock"
    asked = pod_resources.PodResources(socket)
    with capture_logs() as logs:
        for _ in range(2):
            assert await asked.held() is None
            assert await asked.allocatable() is None
        socket.mkdir()
        assert await asked.held() is None
        socket.rmdir()
        async with FakeKubelet(plugin_dir, pod_resources_socket=socket):
            assert await asked.held() == set()

            def denied(self: Path) -> bool:
                raise PermissionError(13, "Permission denied", str(self))

            with monkeypatch.context() as patch:
                patch.setattr(type(socket), "is_socket", denied)
                assert await asked.held() is None

            async def garbage(socket: Path, method: str) -> bytes:
                return b"\xff\xff\xff"

            with monkeypatch.context() as patch:
                patch.setattr(pod_resources.PodResources, "_call", staticmethod(garbage))
                assert await asked.held() is None
                assert await asked.allocatable() is None
            assert await asked.allocatable() == set()

    told = [(entry["event"], entry.get("reason", "").split(":")[0]) for entry in logs]
    assert told == [
        ("pod_resources_not_known", "there is no socket"),
        ("pod_resources_known_again", ""),
        ("pod_resources_not_known", "Permission denied"),
        ("pod_resources_not_known", "the answer is no ListPodResourcesResponse"),
        ("pod_resources_not_known", "the answer is no AllocatableResourcesResponse"),
        ("pod_resources_known_again", ""),
    ]


async def test_two_plugins_with_the_same_ids_are_told_apart(root: Path, plugin_dir: Path) -> None:
    pods = plugin_dir / "pr.sock"
    listed_by_other = stub_plugin.devices("x", "y")
    async with (
        FakeKubelet(plugin_dir, pod_resources_socket=pods) as kubelet,
        stub_plugin.StubPlugin(plugin_dir, "example.org/other", listed_by_other) as other,
    ):
        await other.register()
        await listed(kubelet, ["example.org/other"])
        await kubelet.admit(pod.simple("mine", {"example.org/other": 1}))
        (held,) = await pod_resources.PodResources(pods).held() or ()
        allocatable = await pod_resources.PodResources(pods).allocatable()

    assert held[0] == "example.org/other"
    assert allocatable == {("example.org/other", "x"), ("example.org/other", "y")}


@pytest.mark.parametrize("can_ask", [True, False], ids=["PodResources answers", "nobody to ask"])
async def test_a_neighbour_that_comes_and_goes_while_we_are_registering_is_no_loss(
    root: Path, plugin_dir: Path, can_ask: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It registers after us, and is gone before our stream is open: its registration was the last."""
    pods = plugin_dir / "pr.sock" if can_ask else None
    register = session.registration.register

    async def register_and_be_followed(*arguments: Any, **more: Any) -> None:
        await register(*arguments, **more)
        if more["resource_name"] != R3:
            return
        monkeypatch.setattr(session.registration, "register", register)
        async with stub_plugin.StubPlugin(plugin_dir, more["resource_name"], stub_plugin.devices("other-1")) as other:
            await other.register()
            await kubelet.wait_for(lambda: "other-1" in kubelet.devices(R3), timeout=DEADLINE_S)
        gone.set()

    gone, kubelet = asyncio.Event(), FakeKubelet(plugin_dir, pod_resources_socket=pods)
    monkeypatch.setattr(session.registration, "register", register_and_be_followed)
    config = make_config(root, plugin_dir, pod_resources=pods)
    async with kubelet, running_daemon(config):
        await asyncio.wait_for(gone.wait(), DEADLINE_S)
        await is_served(kubelet)
