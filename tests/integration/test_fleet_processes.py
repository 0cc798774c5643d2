"""A fleet by several processes: nodes are dealt, a process that dies is started again, and none is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakehw import FakehwError, FakeTree
from fakehw_fleet import metrics, plugin_log
from fakehw_fleet import state as states
from fakehw_fleet.cluster import control, shards
from fakehw_fleet.cluster.options import Options
from fakehw_fleet.cluster.part import Part
from fakehw_fleet.cluster.report import Report, total
from fakehw_fleet.cluster.shard import Assignment
from fakehw_fleet.members import Member
from fakehw_fleet.summary import ResourceSum, Summary
from fakekubelet.apiserver.server import ApiServer
from kubeapi import kubeconfig
from tests.integration.test_fleet_cluster import GPU, allocated, extended, pod, running, topology, until
from tests.running import DEADLINE_S, commands_with, has_ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.lengthy


@contextlib.asynccontextmanager
async def sharded(
    api: ApiServer, home: Path, *, nodes: int = 4, keeps: bool = False, told: list[str]
) -> AsyncIterator[shards.ShardedFleet]:
    """A fleet of two processes."""
    api.write_kubeconfig(home / "kc")
    with states.opened(home / "s") as state:
        plugin_log.begin(state.path)
        async with shards.ShardedFleet(
            topology(nodes), home / "tree", state.path, kubeconfig.load([home / "kc"]), processes=2,
            kubeconfig=str(home / "kc"), context="", domain="myplugin.io",
            options=Options(status_every_s=None, keeps=keeps), lock=state.lock, tell=told.append,
        ) as fleet:  # fmt: skip  # where, whose, how
            await until(api, lambda: fleet.summary().ready == nodes)
            yield fleet


def pids(home: Path) -> list[int]:
    """Return the processes that have a lock of this fleet open, ours aside."""
    lock, found = str(home / "s/lock"), []
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if str(path.readlink()) == lock and int(path.parts[2]) != os.getpid():
                found.append(int(path.parts[2]))
    return sorted(set(found))


async def test_nodes_are_dealt_to_processes_which_are_one_fleet_to_whoever_asks(api: ApiServer, home: Path) -> None:
    told: list[str] = []
    async with sharded(api, home, told=told) as fleet:
        assert len(pids(home)) == 2
        api.create(pod("p", 3, node="w-1"))
        api.create(pod("q", 2, node="w-2"))
        await running(api, "p")
        await running(api, "q")
        FakeTree(home / "tree").set_health("n4/gpu/1", "unhealthy")
        await until(api, lambda: extended(api, "w-4") == (4, 3))

        await until(api, lambda: fleet.summary().resources[GPU] == ResourceSum(4, 16, 15, 5))
        assert fleet.summary().pods == {"Running": 2}
        page = metrics.pages(fleet)["/metrics"]().body.decode()
        assert 'fakehw_fleet_nodes{state="ready"} 4.0' in page
        assert 'fakehw_fleet_allocations_total{outcome="ok",resource="a.b/gpu"} 2.0' in page
        assert 'fakehw_fleet_api_requests_total{resource="nodes",verb="POST"} 4.0' in page
        watches = Counter(one.resource for one in api.requests if one.verb == "watch")
        assert watches["pods"] == 2, "one for each process"
        assert (home / "s/plugin.log").read_text().count('"event": "registered"') == 4

        async with control.serving(home / "s", fleet.answer):
            asked = {"order": "restart", "nodes": ["w-1", "w-2"]}
            assert await control.ask(home / "s", asked) == {"nodes": ["w-1", "w-2"]}
            with pytest.raises(FakehwError, match="w-9: is no node of this fleet"):
                await control.ask(home / "s", {"order": "silence", "nodes": ["w-9"]})
            with pytest.raises(FakehwError, match="'dance': is no order"):
                await control.ask(home / "s", {"order": "dance"})
        await until(api, lambda: fleet.summary().ready == 4)
    assert pids(home) == []
    assert api.all("nodes") == []
    assert fleet.has_left
    assert told == []


async def test_a_process_that_dies_is_started_again_and_its_pods_keep_their_devices(api: ApiServer, home: Path) -> None:
    told: list[str] = []
    async with sharded(api, home, nodes=2, told=told) as fleet:
        for number in (1, 2):
            api.create(pod(f"p{number}", 2, node=f"w-{number}"))
            await running(api, f"p{number}")
        before = {name: allocated(api, name) for name in ("p1", "p2")}
        uids = [node["metadata"]["uid"] for node in api.all("nodes")]
        counted = fleet.requests["POST", "nodes"]
        os.kill(pids(home)[0], signal.SIGKILL)
        await until(api, lambda: told)
        assert "of 2 ended (SIGKILL): its 1 nodes are started again" in told[0]
        await until(api, lambda: fleet.summary().ready == 2)

        assert {name: allocated(api, name) for name in ("p1", "p2")} == before
        assert [node["metadata"]["uid"] for node in api.all("nodes")] == uids
        assert fleet.requests["POST", "nodes"] == counted, "what has been counted stays counted"
        os.kill(pids(home)[0], signal.SIGKILL)
    assert api.all("nodes") == [], "those of a process that is not there go too"


async def test_no_process_outlives_a_fleet_that_is_killed_and_another_number_of_them_takes_over(
    api: ApiServer, home: Path
) -> None:
    api.write_kubeconfig(home / "kc")

    async def up(*more: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fakehw_fleet", "up", "inference-card", "--nodes", "3", "--plain", "--run",
            "--kubeconfig", str(home / "kc"), "--state", str(home / "s"), *more,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip  # a flag beside its value
        assert process.stdout is not None
        async with asyncio.timeout(3 * DEADLINE_S):
            while b"ready after" not in (line := await process.stdout.readline()):
                assert line
        return process

    killed = await up("--processes", "3")
    sleeping = f"echo $$$$; sleep 1000; : {home}"
    body = pod("p", 0, node="infer-1", terminationGracePeriodSeconds=0)
    body["spec"]["containers"][0]["command"] = ["sh", "-c", sleeping]
    api.create(body)
    await running(api, "p")
    output = home / f"s/pods/default_p_{api.find('pods', 'p')['metadata']['uid']}/main.log"
    pid = int(await until(api, lambda: output.exists() and output.read_text()))
    assert len(pids(home)) == 5, "three, whoever has the whole, and a guard"
    uids = [node["metadata"]["uid"] for node in api.all("nodes")]
    killed.kill()
    await killed.communicate()
    again = await up()
    try:
        assert has_ended(pid)
        await until(api, lambda: output.read_text().count("\n") == 2)
        assert [node["metadata"]["uid"] for node in api.all("nodes")] == uids
    finally:
        again.send_signal(signal.SIGINT)
        await again.communicate()
    assert again.returncode == 0
    assert pids(home) == []
    assert api.all("nodes") == []
    assert not commands_with(f"sleep 1000; : {home}")


async def test_a_process_that_dies_in_the_middle_of_a_report_ends_no_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "dies").write_text("#!/bin/sh\nprintf '{\"nodes\": 1'\n")
    (home / "dies").chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(home / "dies"))
    with states.opened(home / "s") as state:
        given = Assignment({}, "/t", "/s", "", "", "d.io", Options(), state.lock, Part(0, 2))
        shard = shards.Shard(given, 3, tell=print)
        assert await asyncio.wait_for(shard._live(), DEADLINE_S) == 0
        assert (shard.is_up, shard.last.summary) == (False, Summary(3, 0, {}))


# What it is made of.


def test_parts_have_every_node_once_and_are_as_much_alike_as_can_be() -> None:
    members = [Member(f"n{number}") for number in range(10)]
    parts = [Part(number, 3).of(members) for number in range(3)]
    assert sorted(member.name for part in parts for member in part) == [member.name for member in members]
    assert [len(part) for part in parts] == [4, 3, 3]
    assert (Part(0, 1).is_whole, Part(0, 3).is_whole, str(Part(0, 3))) == (True, False, "process 1 of 3")


def report(**more: Any) -> Report:
    summary = Summary(3, 2, {GPU: ResourceSum(3, 8, 7, 1)}, Counter(Running=4))
    requests = Counter({("PUT", "leases"): 5})
    counts: metrics.Counts = {"rescans": Counter({("start",): 1}), "allocations": Counter({(GPU, "ok"): 2})}
    return Report(summary, Counter(up=2, silent=1), 6, requests, counts, **more)


def test_a_report_arrives_as_it_was_sent_and_reports_add_up() -> None:
    assert Report.read(report().written()) == report()
    whole = total([report(), report(), report().without_nodes()])
    assert whole.summary == Summary(6, 4, {GPU: ResourceSum(6, 16, 14, 2)}, Counter(Running=8))
    assert whole.requests == {("PUT", "leases"): 15}
    assert whole.counts["allocations"] == {(GPU, "ok"): 6}
    assert whole.whole_summary.notes == ["2 silent", "15 requests to the API server, 12 things to do"]


def test_an_assignment_arrives_as_it_was_sent() -> None:
    sent = Assignment(
        {"nodes": {}}, "/t", "/s", "", "c", "d.io", Options(runs=True, status_every_s=None), 7, Part(1, 2)
    )
    assert Assignment.read(sent.written()) == sent
    assert sent.directory == Path("/s/p1")


@pytest.mark.parametrize(("code", "expected"), [(3, "exit code 3"), (-9, "SIGKILL"), (-63, "signal 63")])
def test_the_end_of_a_process_is_said_as_people_know_it(code: int, expected: str) -> None:
    assert shards._shown(code) == expected
