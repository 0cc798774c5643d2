"""Faults of the protocol by file, as a kubelet sees them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fakekubelet import FakeKubelet, pod
from tests.factories import make_config
from tests.running import DEADLINE_S, devices_are, listed, running_daemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fakehw_plugin.daemon import Daemon

R3 = "myplugin.io/mydevice-3"
THREE = {f"node2-dev3-{number}": "Healthy" for number in (1, 2, 3)}


@pytest.fixture
def rpc(root: Path) -> Path:
    (root / "node2/dev3/rpc").mkdir()
    return root / "node2/dev3/rpc"


@contextlib.asynccontextmanager
async def faulty(root: Path, plugin_dir: Path, **changes: Any) -> AsyncIterator[Daemon]:
    async with running_daemon(make_config(root, plugin_dir, rpc_faults=True, **changes)) as daemon:
        yield daemon


async def test_they_are_off_unless_they_are_asked_for(
    rpc: Path, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    (rpc / "allocate").write_text("error INTERNAL no\n")
    (rpc / "list_and_watch").write_text("hang\n")
    with capture_logs() as lines:
        async with running_daemon(make_config(root, plugin_dir)):
            await devices_are(kubelet, R3, THREE)
            assert (await kubelet.admit(pod.simple("p", {R3: 1}))).phase == "Pending"
    assert not [line for line in lines if line["event"] in ("rpc_fault", "device_passed_over", "rpc_faults_enabled")]


async def test_an_error_of_allocate_fails_the_pod_with_its_words_and_is_told_loudly(
    rpc: Path, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    (rpc / "allocate").write_text("error UNAVAILABLE the bus is gone\n")
    with capture_logs() as lines:
        async with faulty(root, plugin_dir) as daemon:
            await devices_are(kubelet, R3, THREE)
            failed = await kubelet.admit(pod.simple("first", {R3: 1}))
            (rpc / "allocate").unlink()
            admitted = await kubelet.admit(pod.simple("second", {R3: 1}))
            assert daemon.telemetry.rpc_faults == {(R3, "allocate"): 1}

    assert (failed.phase, failed.reason) == ("Failed", "UnexpectedAdmissionError")
    assert "the bus is gone" in failed.message
    assert admitted.phase == "Pending"
    assert [(line["event"], line["log_level"]) for line in lines if line["event"].startswith("rpc_fault")] == [
        ("rpc_faults_enabled", "warning"),
        ("rpc_fault", "warning"),
    ]


async def test_a_delay_is_waited_for(rpc: Path, root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    (rpc / "get_preferred_allocation").write_text("delay 300ms\n")
    async with faulty(root, plugin_dir):
        await devices_are(kubelet, R3, THREE)
        began = time.monotonic()
        assert (await kubelet.admit(pod.simple("p", {R3: 1}))).phase == "Pending"
        assert time.monotonic() - began >= 0.3


async def test_a_call_hangs_until_the_file_is_gone(
    rpc: Path, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    (rpc / "allocate").write_text("hang\n")
    async with faulty(root, plugin_dir) as daemon:
        await devices_are(kubelet, R3, THREE)
        admission = asyncio.create_task(kubelet.admit(pod.simple("p", {R3: 1})))
        async with asyncio.timeout(DEADLINE_S):
            while not daemon.telemetry.rpc_faults:
                await asyncio.sleep(0)
        assert not admission.done()
        (rpc / "allocate").unlink()
        assert (await admission).phase == "Pending"


async def test_pre_start_and_options_can_fail_too(
    rpc: Path, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    (rpc / "pre_start_container").write_text("error ABORTED not today\n")
    (rpc / "get_device_plugin_options").write_text("delay 1ms\n")
    async with faulty(root, plugin_dir, pre_start_check=True):
        await devices_are(kubelet, R3, THREE)
        admitted = await kubelet.admit(pod.simple("p", {R3: 1}))
        error: Any = None
        try:
            await kubelet.start_container(admitted, "main")
        except Exception as refusal:  # whatever way the fake says it: the words count
            error = refusal
        calls = [call for call in kubelet.calls if call.method == "PreStartContainer"]
    assert calls
    assert "not today" in str(calls[0].error) or "not today" in str(error)


async def test_lists_hang_and_come_when_they_may(rpc: Path, root: Path, plugin_dir: Path, kubelet: FakeKubelet) -> None:
    async with faulty(root, plugin_dir) as daemon:
        await devices_are(kubelet, R3, THREE)
        (rpc / "list_and_watch").write_text("hang\n")
        (root / "node2/dev3/1/health").write_text("unhealthy\n")
        async with asyncio.timeout(DEADLINE_S):
            while not daemon.telemetry.rpc_faults[R3, "list_and_watch"]:
                await asyncio.sleep(0)
        assert kubelet.devices(R3) == THREE
        (rpc / "list_and_watch").unlink()
        await devices_are(kubelet, R3, THREE | {"node2-dev3-1": "Unhealthy"})


@pytest.mark.parametrize("text", ["drop\n", "error UNAVAILABLE gone\n"])
async def test_a_stream_that_ends_is_a_new_registration_and_the_others_do_not_notice(
    text: str, rpc: Path, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    async with faulty(root, plugin_dir):
        await listed(kubelet, ["myplugin.io/mydevice-2"])
        await devices_are(kubelet, R3, THREE)
        (rpc / "list_and_watch").write_text(text)
        await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 0, timeout=DEADLINE_S)
        (rpc / "list_and_watch").unlink()
        await kubelet.wait_for(lambda: kubelet.allocatable[R3] == 3, timeout=DEADLINE_S)
        assert kubelet.allocatable["myplugin.io/mydevice-2"] == 1
        assert [registration.resource_name for registration in kubelet.registrations].count(
            "myplugin.io/mydevice-2"
        ) == 1


async def test_a_registration_fails_and_is_tried_again(
    rpc: Path, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    (rpc / "register").write_text("error UNAVAILABLE no bus\n")
    async with faulty(root, plugin_dir) as daemon:
        async with asyncio.timeout(DEADLINE_S):
            while not daemon.telemetry.registrations[R3, "failed"]:
                await asyncio.sleep(0)
        assert R3 not in kubelet.capacity
        (rpc / "register").unlink()
        await devices_are(kubelet, R3, THREE)


async def test_a_file_that_breaks_the_rules_is_ignored_and_said_once(
    rpc: Path, root: Path, plugin_dir: Path, kubelet: FakeKubelet
) -> None:
    (rpc / "allocate").write_text("explode\n")
    with capture_logs() as lines:
        async with faulty(root, plugin_dir):
            await devices_are(kubelet, R3, THREE)
            for name in ("one", "two"):
                assert (await kubelet.admit(pod.simple(name, {R3: 1}))).phase == "Pending"
    (line,) = [line for line in lines if line["event"] == "rpc_fault_ignored"]
    assert (line["value"], line["reason"]) == ("explode", "must be delay 2s (ms, s or m), error CODE text, hang")
