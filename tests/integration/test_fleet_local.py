"""A fleet without a cluster: one tree, one pump, a plugin and a kubelet for every node."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fakehw import FakeTree, InputError, make_topology
from fakehw_fleet import cli, metrics, table
from fakehw_fleet.local import LocalFleet
from fakehw_fleet.members import members_of, served_by_dra
from fakehw_fleet.resized import resized
from fakehw_fleet.summary import ResourceSum, Summary
from tests.running import DEADLINE_S

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.lengthy

GPU, NIC = "a.b/gpu", "a.b/nic"


def topology(nodes: int = 3, **more: Any) -> Any:
    classes = {"gpu": {"count": 2, "resource": GPU}, "nic": {"count": 0, "resource": NIC}}
    return make_topology({"nodes": {f"n[1-{nodes}]": {"host": "w-{index}", "classes": classes}, **more}})


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[LocalFleet]:
    extra = {"extra": {"host": "w-2", "classes": {"nic": {"count": 1, "resource": NIC}}}}
    async with LocalFleet(topology(**extra), tmp_path / "tree", domain="myplugin.io", tell=print) as running:
        await until(running, lambda: running.ready == 3)
        yield running


async def until(fleet: LocalFleet, predicate: Any) -> None:
    await fleet.cluster.wait_for(predicate, timeout=DEADLINE_S)


def listed(fleet: LocalFleet, node: str) -> dict[str, int]:
    return dict(fleet.cluster.nodes[node].node_status.allocatable)


async def test_every_node_advertises_its_own_devices_and_only_those(fleet: LocalFleet) -> None:
    assert listed(fleet, "w-1") == {GPU: 2, NIC: 0}
    assert listed(fleet, "w-2") == {GPU: 2, NIC: 1}
    assert set(fleet.cluster.nodes["w-2"].devices(GPU)) == {"n2-gpu-1", "n2-gpu-2"}
    assert set(fleet.cluster.nodes["w-2"].devices(NIC)) == {"extra-nic-1"}
    assert fleet.summary().resources[GPU] == ResourceSum(3, 6, 6, 0)
    assert fleet.plugins.directories.unwatched is None


async def test_a_broken_and_an_unplugged_device_reach_their_node_alone(fleet: LocalFleet) -> None:
    tree = FakeTree(fleet.root)
    tree.set_health("n3/gpu/1", "unhealthy", reason="hot")
    await until(fleet, lambda: listed(fleet, "w-3") == {GPU: 1, NIC: 0})
    tree.unplug("n3/gpu/2")
    await until(fleet, lambda: fleet.cluster.nodes["w-3"].node_status.capacity[GPU] == 1)
    tree.plug("n3/gpu/2")
    tree.set_health("n3/gpu/1", "healthy")
    await until(fleet, lambda: listed(fleet, "w-3") == {GPU: 2, NIC: 0})

    assert listed(fleet, "w-1") == {GPU: 2, NIC: 0}
    assert len(fleet.cluster.nodes["w-1"].history(GPU)) == 1


async def test_a_class_that_leaves_one_node_stays_on_the_others_and_in_their_counts(fleet: LocalFleet) -> None:
    FakeTree(fleet.root).unplug("n1/gpu")
    await until(fleet, lambda: listed(fleet, "w-1").get(GPU) == 0)

    def counted() -> dict[str, Counter[str]]:
        return {node: one for (resource, node), one in fleet.plugins.counts.devices.items() if resource == GPU}

    await until(fleet, lambda: "n1" not in counted() and fleet.plugins.nodes["w-1"].is_ready)
    assert counted()["n2"]["Healthy"] == 2
    assert listed(fleet, "w-2")[GPU] == 2


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [({}, False), ({GPU: 0, NIC: 0}, False), ({GPU: 2}, False), ({GPU: 2, NIC: 0}, True), ({GPU: 3, NIC: 1}, True)],
)
async def test_a_node_has_its_devices_once_its_kubelet_lists_them_and_not_while_it_knows_their_resource_only(
    fleet: LocalFleet, capacity: dict[str, int], expected: bool
) -> None:
    assert fleet.plugins.nodes["w-1"].is_listed_in(capacity) is expected


async def test_a_kubelet_that_restarts_gets_its_plugins_back(fleet: LocalFleet) -> None:
    kubelet = fleet.cluster.nodes["w-2"]
    before = len(kubelet.registrations)
    await kubelet.restart()
    await until(fleet, lambda: len(kubelet.registrations) >= before + 2 and listed(fleet, "w-2") == {GPU: 2, NIC: 1})

    assert len(fleet.cluster.nodes["w-1"].registrations) == 2


async def test_pods_hold_devices_and_the_summary_says_so(fleet: LocalFleet) -> None:
    await fleet.cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n"
        "  - {name: c, image: i, command: [sleep, '60'], resources: {limits: {a.b/gpu: 2}}}\n"
    )
    await until(fleet, lambda: fleet.cluster.pods["p"].phase.value == "Running")

    summary = fleet.summary()
    assert summary.resources[GPU].allocated == 2
    assert summary.pods == {"Running": 1}
    page = metrics.pages(fleet)["/metrics"]().body.decode()
    assert 'fakehw_fleet_allocated{resource="a.b/gpu"} 2.0' in page
    assert 'fakehw_fleet_nodes{state="ready"} 3.0' in page
    assert 'fakehw_fleet_registrations_total{outcome="ok",resource="a.b/gpu"} 3.0' in page


async def test_many_nodes_need_two_inotify_instances(tmp_path: Path) -> None:
    def instances() -> int:
        count = 0
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                count += "inotify" in str(descriptor.readlink())
        return count

    before = instances()
    async with LocalFleet(topology(12), tmp_path / "tree", domain="myplugin.io", tell=print) as running:
        await until(running, lambda: running.ready == 12)
        assert instances() - before <= 2


# What it is made of.


def test_members_are_hosts_and_where_there_is_none_the_nodes_themselves() -> None:
    made = members_of(
        make_topology({"nodes": {"a": {"host": "w"}, "b": {"host": "w"}, "c": {"classes": {"dev1": {"count": 2}}}}})
    )
    assert [(one.name, one.fake_nodes) for one in made] == [("w", ["a", "b"]), ("c", ["c"])]
    assert made[1].resources == {"myplugin.io/mydevice-1": 2}


def test_classes_that_dra_serves_are_said_and_not_counted() -> None:
    classes = {"gpu": {"count": 2, "resource": GPU, "api": "dra"}, "nic": {"count": 1, "resource": NIC}}
    topology = make_topology({"nodes": {"a": {"classes": classes}}})
    assert served_by_dra(topology) == [GPU]
    assert members_of(topology)[0].resources == {NIC: 1}


def test_a_fake_node_that_can_be_no_kubernetes_node_is_refused() -> None:
    with pytest.raises(InputError, match=r"nodes.A_b: 'A_b': must be the name of a Kubernetes node.*: give it a host"):
        members_of(make_topology({"nodes": {"A_b": {}}}))


@pytest.mark.parametrize(
    ("key", "nodes", "names"),
    [
        ("n[1-4]", 2, ["n1", "n2"]),
        ("n[08-09]-x", 3, ["n08-x", "n09-x", "n10-x"]),
        ("n[098-099]", 3, ["n098", "n099", "n100"]),
    ],
)
def test_a_range_can_be_given_another_number_of_nodes(key: str, nodes: int, names: list[str]) -> None:
    assert list(resized(make_topology({"nodes": {key: {}}}), nodes, source="s").nodes) == names


def test_a_spec_without_one_range_has_no_number_to_change() -> None:
    with pytest.raises(InputError, match=r"s: 0 ranges of nodes: must have one.*--nodes"):
        resized(make_topology({"nodes": {"n": {}}}), 3, source="s")


def test_the_table_fits_a_terminal_of_80_columns_whatever_is_in_it() -> None:
    resources = {f"{'x' * 60}.example.com/{n}": ResourceSum(10_000, 1_000_000, 999_999, 123_456) for n in range(3)}
    shown = table.lines(Summary(10_000, 9_999, resources, notes=["y" * 200]), title="t" * 90, width=80)

    assert max(map(len, shown)) <= 80
    assert any("999999" in line for line in shown)


# The command.


async def started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fakehw_fleet", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def test_up_says_when_all_are_ready_and_leaves_nothing_behind_after_ctrl_c() -> None:
    process = await started("up", "inference-card", "--http", "127.0.0.1:0")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(2 * DEADLINE_S):
        text = b""
        while b"ready after" not in text:
            text += await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()

    assert process.returncode == 0, err
    (root,) = re.findall(r"tree: (\S+);", err.decode())
    assert not Path(root).parent.exists()
    assert "/metrics" in err.decode()


async def test_up_keeps_a_tree_that_was_named_and_ends_by_itself_where_told(tmp_path: Path) -> None:
    process = await started("up", "inference-card", "--nodes", "2", "--root", str(tmp_path / "t"), "--for", "3s")
    async with asyncio.timeout(2 * DEADLINE_S):
        out, err = await process.communicate()

    assert (process.returncode, b"ready after" in out) == (0, True), err
    assert (tmp_path / "t/infer-2/gpu/1/health").read_text() == "healthy\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["up", "nope"], "fakehw-fleet: 'nope': No such file or directory: must be", id="spec"),
        pytest.param(["up", "seed", "--nodes", "3"], "0 ranges of nodes", id="no range"),
        pytest.param(["up", "fpga", "--nodes", "0"], "'0': must be a whole number from 1 to", id="nodes"),
        pytest.param(["up", "fpga", "--http", "x"], "'x': must be IP:PORT", id="address"),
        pytest.param(["up", "fpga", "--pods", "/nowhere"], "must be a file of pods (--pods)", id="pods"),
        pytest.param(
            ["up", "fpga", "--processes", "2"], "2: without a cluster one process has all nodes", id="processes"
        ),
        pytest.param(["up", "fpga", "--processes", "65"], "'65': must be a whole number from 1 to 64", id="too many"),
        pytest.param(["dance"], "'dance': must be one of up,", id="command"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = cli.main(arguments)
    except SystemExit as ended:
        code = ended.code
    err = capsys.readouterr().err
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1
