"""Trees that somebody tampered with: no block, no escape, no crash, and the others are still served."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import grpc
import pytest
from structlog.testing import capture_logs

from kubeletapi.deviceplugin.v1beta1 import api_pb2 as pluginapi
from kubeletapi.deviceplugin.v1beta1 import api_pb2_grpc as pluginapi_grpc
from tests import running
from tests.factories import make_config, make_tree
from tests.running import DEADLINE_S, devices_are, listed, running_daemon, shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fakekubelet import FakeKubelet

R3 = "myplugin.io/mydevice-3"
HEALTHY = {f"node2-dev3-{number}": "Healthy" for number in (1, 2, 3)}


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


IN_PLACE_OF_A_HEALTH_FILE: list[object] = [
    pytest.param(os.mkfifo, "a FIFO", id="FIFO"),
    pytest.param(lambda path: path.mkdir(), "a directory", id="directory"),
    pytest.param(lambda path: path.symlink_to("../1/health"), "a symbolic link", id="relative link to a healthy one"),
    pytest.param(lambda path: path.symlink_to("/etc/hostname"), "a symbolic link", id="absolute link"),
    pytest.param(lambda path: path.symlink_to(path), "a symbolic link", id="link to itself"),
    pytest.param(lambda path: path.symlink_to("/"), "a symbolic link", id="link to the root"),
    pytest.param(bind_socket, "a socket", id="socket"),
    pytest.param(huge, "longer than 4096 bytes", id="a gigabyte"),
    pytest.param(lambda path: path.write_bytes(os.urandom(64) + b"\xff"), "not UTF-8", id="binary"),
    pytest.param(lambda path: path.write_text("maybe\n"), "says 'maybe'", id="unknown word"),
]


@pytest.mark.parametrize("when", ["before the start", "while running"])
@pytest.mark.parametrize(("make", "reason"), IN_PLACE_OF_A_HEALTH_FILE)
async def test_whatever_is_no_health_file_makes_its_device_unhealthy_and_says_so(
    make: Callable[[Path], object],
    reason: str,
    when: str,
    root: Path,
    plugin_dir: Path,
    kubelet: FakeKubelet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    health = root / "node2/dev3/2/health"
    monkeypatch.chdir(health.parent)

    def tamper() -> None:
        health.unlink()
        make(health)

    if when == "before the start":
        tamper()
    async with running_daemon(make_config(root, plugin_dir)) as daemon:
        await listed(kubelet, [R3])
        if when == "while running":
            tamper()
        await devices_are(kubelet, R3, HEALTHY | {"node2-dev3-2": "Unhealthy"})
        assert reason in daemon.inventories.by_offer[R3].get("node2-dev3-2").reason

        if health.is_dir() and not health.is_symlink():
            health.rmdir()
        await shell("echo healthy > new; mv -fT new health", health.parent)
        await devices_are(kubelet, R3, HEALTHY)


@pytest.mark.parametrize("target", ["/", "../1", "/etc"])
async def test_a_link_in_place_of_a_device_is_no_device(
    target: str, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """A link to / must not become a mount of the host in a pod."""
    (root / "node2/dev3/4").symlink_to(target)
    async with running_daemon(make_config(root, plugin_dir)):
        await devices_are(kubelet, R3, HEALTHY)


async def test_a_device_swapped_for_a_link_is_refused_even_before_its_event_is_read(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the swap and its event the list still says Healthy: Allocate must look for itself."""
    from fakehw_plugin import inotify

    monkeypatch.setattr(inotify, "_MASK", inotify.DELETE)  # a kernel that tells nothing of what happens here
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        endpoint = next(
            registration.endpoint for registration in kubelet.registrations if registration.resource_name == R3
        )
        await shell("mv node2/dev3/2 .aside; ln -s / node2/dev3/2", root)
        request = pluginapi.AllocateRequest(
            container_requests=[pluginapi.ContainerAllocateRequest(devices_ids=["node2-dev3-2"])]
        )
        async with grpc.aio.insecure_channel(f"unix:{plugin_dir / endpoint}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await pluginapi_grpc.DevicePluginStub(channel).Allocate(request)

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_class_swapped_for_a_link_takes_its_devices_away(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with running_daemon(make_config(root, plugin_dir)):
        await listed(kubelet, [R3])
        await shell("mv node2/dev3 aside; ln -s ../aside node2/dev3", root)
        await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 0, timeout=DEADLINE_S)


async def test_ten_thousand_files_in_a_device_directory_disturb_nobody(
    roomy_dir: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    root = make_tree(roomy_dir, "node2/dev3/1", "node2/dev3/2", "node2/dev3/3")
    device = root / "node2/dev3/2"
    for number in range(10_000):
        os.close(os.open(device / f"junk{number}", os.O_CREAT | os.O_WRONLY))
    async with running_daemon(make_config(root, plugin_dir)):
        await devices_are(kubelet, R3, HEALTHY)
        await shell("echo unhealthy > node2/dev3/2/health", root)
        await devices_are(kubelet, R3, HEALTHY | {"node2-dev3-2": "Unhealthy"})


async def test_names_that_cannot_be_devices_are_passed_over(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    for name in ("4\n", " 5", "..6", "07", "x" * 255, "\uff18", "-1", "4\udcff"):
        os.mkdir(os.fsencode(root / "node2/dev3" / name))  # noqa: PTH102  # a name of bytes
    async with running_daemon(make_config(root, plugin_dir)):
        await devices_are(kubelet, R3, HEALTHY)


@pytest.fixture
def nobody(root: Path) -> Iterator[None]:
    """Be somebody whom modes concern; root reads what nobody may read."""
    is_root = os.geteuid() == 0
    if is_root:
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534)
    with running.heeding_modes() if is_root else contextlib.nullcontext():
        yield
    for path in (root, root / "node2", root / "node2/dev3"):
        path.chmod(0o755)


@pytest.mark.usefixtures("nobody")
async def test_an_unreadable_health_file_is_unhealthy(root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    (root / "node2/dev3/2/health").chmod(0)
    async with running_daemon(make_config(root, plugin_dir)):
        await devices_are(kubelet, R3, HEALTHY | {"node2-dev3-2": "Unhealthy"})


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("closed", ["node2/dev3", "node2"])
async def test_devices_in_a_directory_that_was_closed_are_unhealthy_until_it_opens(
    closed: str, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Nothing can be known of them, and nothing of them can be given to a pod."""
    with capture_logs() as logs:
        async with running_daemon(make_config(root, plugin_dir)) as daemon:
            await devices_are(kubelet, R3, HEALTHY)
            (root / closed).chmod(0)
            await devices_are(kubelet, R3, dict.fromkeys(HEALTHY, "Unhealthy"))
            device = daemon.inventories.by_offer[R3].get("node2-dev3-1")
            (root / closed).chmod(0o755)
            await devices_are(kubelet, R3, HEALTHY)

    assert device is not None
    assert device.reason == f"{'class' if '/' in closed else 'node'} directory cannot be opened: Permission denied"
    told = [(entry["path"], entry["reason"]) for entry in logs if entry["event"] == "directory_not_opened"]
    assert told == [(str(root / closed), "Permission denied")]


@pytest.mark.usefixtures("nobody")
async def test_a_root_that_may_not_be_read_is_not_ready_and_says_why(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    root.chmod(0)
    with capture_logs() as logs:
        async with running_daemon(make_config(root, plugin_dir)) as daemon:
            await daemon.first_live.wait()
            assert not daemon.is_ready
            root.chmod(0o755)
            await devices_are(kubelet, R3, HEALTHY)

    assert [entry["reason"] for entry in logs if entry["event"] == "tree_not_ready"] == ["Permission denied"]
