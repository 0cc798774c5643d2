"""The plugin as a command: signals, exit codes, and a world that is not ready."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fakehw_plugin import cli
from fakekubelet import FakeKubelet
from tests import running
from tests.running import DEADLINE_S, devices_are, listed, running_plugin

if TYPE_CHECKING:
    from pathlib import Path

RESOURCES = [f"myplugin.io/mydevice-{number}" for number in (1, 2, 3)]


async def line_with(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """Read the JSON log until a line has this event."""
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        async for line in process.stderr:
            entry: dict[str, Any] = json.loads(line)
            if entry["event"] == event:
                return entry
    raise AssertionError(f"the log ended without {event}")


def arguments(root: Path, plugin_dir: Path, *more: str) -> list[str]:
    return ["--root", str(root), "--plugin-dir", str(plugin_dir), "--pod-resources", "", *more]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_its_sockets_gone(
    number: signal.Signals, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with running_plugin(*arguments(root, plugin_dir)) as process:
        await listed(kubelet, RESOURCES)
        process.send_signal(number)

        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    assert [path.name for path in plugin_dir.glob("fakehw-*")] == []


async def test_a_plugin_that_was_killed_comes_back_with_the_same_devices(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    """Contract RS-1, RS-3: same IDs, and the sockets of the dead one are cleared away."""
    async with running_plugin(*arguments(root, plugin_dir)) as first:
        await listed(kubelet, RESOURCES)
        before = kubelet.devices(RESOURCES[2])
        first.kill()
        await first.wait()
    await kubelet.wait_for(lambda: kubelet.allocatable[RESOURCES[2]] == 0, timeout=DEADLINE_S)

    async with running_plugin(*arguments(root, plugin_dir)):
        await devices_are(kubelet, RESOURCES[2], before)
        await kubelet.wait_for(lambda: len(list(plugin_dir.glob("fakehw-*"))) == 3, timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--http", "nowhere"], "fakehw-plugin: 'nowhere': must be IP:PORT, [IPv6]:PORT or :PORT, or empty for none (--http)"),
        (["--plugin-dir", "/dev/null"], "fakehw-plugin: '/dev/null': must be a directory (--plugin-dir)"),
        (["--colour"], "fakehw-plugin: '--colour': is not an argument of fakehw-plugin: see fakehw-plugin --help"),
    ],
)  # fmt: skip  # one row a mistake
def test_a_bad_flag_is_one_line_and_exit_code_2(
    flags: list[str], line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")

    assert cli.main(flags) == 2
    assert capsys.readouterr().err == f"{line}\n"


async def test_a_process_of_its_own_ends_with_that_code() -> None:
    async with running_plugin("--colour") as process:
        _, stderr = await process.communicate()

    assert process.returncode == 2
    assert stderr.count(b"\n") == 1


async def test_a_missing_tree_is_waited_for_and_said_once(
    tmp_path: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    root = tmp_path / "not-yet"
    async with running_plugin(*arguments(root, plugin_dir)) as process:
        entry = await line_with(process, "tree_not_ready")
        assert (entry["path"], entry["reason"]) == (str(root), "No such file or directory")

        (root / "node1/dev1/1").mkdir(parents=True)
        (root / "node1/dev1/1/health").write_text("healthy\n")

        await devices_are(kubelet, RESOURCES[0], {"node1-dev1-1": "Healthy"})


async def test_a_missing_plugin_directory_is_waited_for(root: Path, short_dir: Path) -> None:
    plugin_dir = short_dir / "later"
    async with running_plugin(*arguments(root, plugin_dir)) as process:
        await line_with(process, "plugin_dir_not_ready")
        plugin_dir.mkdir()
        async with FakeKubelet(plugin_dir) as kubelet:
            await listed(kubelet, RESOURCES)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory to another user needs root")
async def test_a_plugin_directory_that_may_not_be_written_is_logged_and_tried_again(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    os.chown(plugin_dir, 65534, 65534)
    plugin_dir.chmod(0o755)
    (plugin_dir / "kubelet.sock").chmod(0o777)
    command = running.command_heeding_modes(sys.executable, "-m", "fakehw_plugin", *arguments(root, plugin_dir))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        entry = await line_with(process, "registration_failed")
        assert entry["error"].endswith("the directory is not writable")
        plugin_dir.chmod(0o777)
        await listed(kubelet, RESOURCES)
    finally:
        process.kill()
        await process.communicate()


async def test_a_port_that_is_taken_does_not_keep_devices_from_being_served(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running_plugin(*arguments(root, plugin_dir, "--http", f"127.0.0.1:{port}")) as process:
            await line_with(process, "web_not_serving")
            await listed(kubelet, RESOURCES)


async def test_only_the_devices_of_the_named_host_are_served(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    (root / "node1/dev1/1").mkdir(parents=True)
    (root / "node1/dev1/1/health").write_text("healthy\n")
    (root / "node1/host").write_text("kind-worker\n")
    async with running_plugin(*arguments(root, plugin_dir), NODE_NAME="kind-worker"):
        await listed(kubelet, RESOURCES[:1])

        assert kubelet.devices(RESOURCES[0]) == {"node1-dev1-1": "Healthy"}
        assert {registration.resource_name for registration in kubelet.registrations} == {RESOURCES[0]}


async def test_logs_are_json_where_there_is_no_terminal_and_tell_the_story(
    root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with running_plugin(*arguments(root, plugin_dir)) as process:
        await listed(kubelet, RESOURCES)
        (root / "node2/dev3/2/health").write_text("unhealthy over temperature\n")
        entry = await line_with(process, "device_changed")

    assert {key: entry[key] for key in ("device_id", "health", "was", "reason", "level")} == {
        "device_id": "node2-dev3-2", "health": "Unhealthy", "was": "Healthy", "reason": "over temperature", "level": "info",
    }  # fmt: skip  # one value a field
