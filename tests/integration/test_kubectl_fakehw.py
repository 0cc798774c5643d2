"""kubectl fakehw against a cluster whose hands are real processes: what lands, what is said, and what ends with it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakehw import output
from fakehw.errors import FakehwError, InputError, TreeError
from hack import deployment
from kubeapi.errors import ApiError
from kubectl_fakehw import cli, completing, installing, showing
from kubectl_fakehw.receipts import Level, Receipt, summed
from tests.fake_hands import FakeCluster, cluster

DEADLINE_S = 60.0

Run = Callable[..., Awaitable[tuple[int, str, str]]]


def kubeconfig(made: FakeCluster) -> Path:
    path = made.folder / "kubeconfig"
    named: dict[str, Any] = {
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": made.url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(named))
    return path


async def start(made: FakeCluster, *arguments: str) -> asyncio.subprocess.Process:
    environ = {"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig(made)), "LANG": "C"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kubectl_fakehw", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environ, limit=2**24,
    )  # fmt: skip  # the command stays on one line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, and return its exit code and what it said."""

    async def run(made: FakeCluster, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(made)))
        output.prepare(cli.NAME)
        try:
            parsed = cli.make_parser().parse_args(arguments)
            async with asyncio.timeout(DEADLINE_S):
                code = await parsed.command(parsed)
        except SystemExit as error:
            code = error.code
        except (FakehwError, ApiError) as error:
            output.remark(str(error))
            code = 2 if isinstance(error, InputError) else 1
        finally:
            output.prepare("fakehw")
        return (code, *capsys.readouterr())

    return run


async def test_a_fault_lands_on_every_node_and_says_so(tmp_path: Path, run: Run) -> None:
    async with cluster(tmp_path, nodes=3) as made:
        code, out, err = await run(made, "break", "*/gpu/2", "--reason", "too hot", "--wait")
        assert (code, err) == (0, "")
        *table, total = out.splitlines()
        assert [line.split()[:3] for line in table] == [
            ["NODE", "DEVICES", "CHANGED"], ["worker-1", "1", "1"], ["worker-2", "1", "1"], ["worker-3", "1", "1"],
        ]  # fmt: skip  # as it is printed
        assert total.startswith("landed on 3 of 3: p50 ")
        assert "slowest worker-" in total
        assert {made.health(node, "any/gpu/2") for node in made.nodes} == {"unhealthy too hot"}

        code, out, _ = await run(made, "break", "*/gpu/2", "--reason", "too hot", "--wait", "-o", "json")
        told = json.loads(out)
        assert code == 0
        assert {receipt["changed"] for receipt in told["receipts"]} == {0}, "it may be said twice"
        assert told["sum"]["landed"] == told["sum"]["asked"] == 3
        assert {"tree_ms", "plugin_ms", "node_ms"} <= told["receipts"][0].keys()

        assert (await run(made, "mend", "any", "--wait"))[0] == 0
        assert {made.health(node, "any/gpu/2") for node in made.nodes} == {"healthy"}


async def test_a_node_that_is_down_is_named_and_the_others_go_on(tmp_path: Path, run: Run) -> None:
    async with cluster(tmp_path, nodes=4) as made:
        made.down.add("worker-3")
        made.without_hand.add("worker-4")
        code, out, _ = await run(made, "break", "*/gpu/*", "--wait")
        lines = out.splitlines()
        assert code == 1
        assert next(line for line in lines if line.startswith("landed")).startswith("landed on 2 of 4: ")
        (down,) = (line for line in lines if line.startswith("missing: worker-3"))
        assert down == (
            "missing: worker-3: its kubelet does not answer (500); the node is not Ready (NodeStatusUnknown)"
        )
        assert "missing: worker-4: it has no hand" in lines
        assert made.health("worker-2", "any/gpu/1").startswith("unhealthy")


async def test_what_stops_on_its_way_says_how_far_it_came(tmp_path: Path, run: Run) -> None:
    async with cluster(tmp_path, nodes=2) as made:
        made.stuck.add("worker-2")
        code, out, _ = await run(made, "break", "any/gpu/1", "--wait", "--timeout", "3s")
        assert code == 1
        assert "landed on 1 of 2" in out
        assert (
            "missing: worker-2: came as far as the plugin within 3 s; allocatable of example.com/gpu is 2, not 1" in out
        )
        code, out, _ = await run(made, "break", "any/gpu/1", "--wait", "--until", "plugin")
        assert (code, "landed on 2 of 2" in out) == (0, True)


async def test_a_class_that_is_pulled_out_whole_is_waited_for(tmp_path: Path, run: Run) -> None:
    """It was not in the list any more, and so nothing was waited for."""
    async with cluster(tmp_path, nodes=1) as made:
        made.stuck = {"worker-1"}
        await run(made, "list", "--summary")
        code, out, _ = await run(made, "unplug", "*/gpu/*", "--wait", "--timeout", "1s")
        assert code == 1
        assert "allocatable of example.com/gpu is 2, not 0" in out
        code, out, _ = await run(made, "list", "--summary")
        assert out.splitlines()[-1].split() == ["worker-1", "example.com/gpu", "0", "0", "0"]


async def test_tab_offers_the_devices_of_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async with cluster(tmp_path, nodes=2) as made:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(made)))
        made.down = {"worker-2"}
        assert await asyncio.to_thread(completing.main, ["break", "any/gpu/1", "any/gpu/"]) == 0
        assert capfd.readouterr() == ("any/gpu/1\nany/gpu/2\n:4\n", ""), "and nothing of a node that is down"


async def test_nodes_are_chosen_by_name_pattern_and_label(tmp_path: Path, run: Run) -> None:
    async with cluster(tmp_path, nodes=3) as made:
        assert (await run(made, "break", "any/gpu/1", "--node", "worker-[12]"))[0] == 0
        assert (await run(made, "break", "any/gpu/2", "-l", "zone=3"))[0] == 0
        broken = {(node, path) for node in made.nodes for path in ("any/gpu/1", "any/gpu/2")
                  if made.health(node, path) != "healthy"}  # fmt: skip
        assert broken == {("worker-1", "any/gpu/1"), ("worker-2", "any/gpu/1"), ("worker-3", "any/gpu/2")}
        code, _, err = await run(made, "list", "--node", "worker-9")
        assert (code, err) == (2, "kubectl fakehw: 'worker-9': fits no node with fake devices (--node)\n")


async def test_devices_are_listed_pulled_out_put_back_and_set(tmp_path: Path, run: Run) -> None:
    async with cluster(tmp_path, nodes=2) as made:
        code, out, _ = await run(made, "list", "--summary")
        assert code == 0
        assert [line.split() for line in out.splitlines()[1:]] == [
            ["worker-1", "example.com/gpu", "2", "2", "0"],
            ["worker-2", "example.com/gpu", "2", "2", "0"],
        ]
        assert (await run(made, "unplug", "any/gpu/2", "--wait"))[0] == 0
        assert made.allocatable("worker-1") == {"example.com/gpu": "1"}
        assert (await run(made, "unplug", "any/gpu/2", "--wait"))[0] == 0, "gone already"
        assert (await run(made, "plug", "any/gpu/2", "--wait"))[0] == 0
        assert made.allocatable("worker-2") == {"example.com/gpu": "2"}
        assert (await run(made, "set", "*/*/1", "temperature", "91"))[0] == 0
        assert made.nodes["worker-2"].root.joinpath("any/gpu/1/temperature").read_text() == "91\n"
        code, _, err = await run(made, "break", "any/gpu/7")
        assert (code, err) == (2, "kubectl fakehw: 'any/gpu/7': fits no device of any node that was reached (PATH)\n")


async def test_no_more_hands_are_held_at_once_than_were_asked_for(tmp_path: Path, run: Run) -> None:
    async with cluster(tmp_path, nodes=6) as made:
        code, out, _ = await run(made, "break", "*/gpu/*", "--wait", "--parallel", "2")
        assert code == 0
        assert "landed on 6 of 6" in out
        assert made.most_execs <= 2


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
async def test_a_scenario_is_played_by_all_hands_and_put_back_after_ctrl_c(tmp_path: Path, protocol: str) -> None:
    (tmp_path / "long.yaml").write_text("for: 1h\nsteps:\n  - break: {devices: '*/gpu/1', reason: a long day}\n")
    async with cluster(tmp_path / "c", nodes=2) as made:
        made.protocol = protocol
        process = await start(made, "scenario", "run", str(tmp_path / "long.yaml"))
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            said = {(await process.stdout.readline()).decode().split()[1] for _ in range(2)}
        assert said == {"worker-1", "worker-2"}
        assert made.health("worker-2", "any/gpu/1") == "unhealthy a long day"
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(DEADLINE_S):
            _, err = await process.communicate()
            assert process.returncode == 130, err
            while {made.health(node, "any/gpu/1") for node in made.nodes} != {"healthy"}:
                await asyncio.sleep(0.02)


async def test_a_tree_of_this_machine_has_receipts_of_what_can_be_seen_and_of_nothing_else(
    tmp_path: Path, run: Run
) -> None:
    async with cluster(tmp_path, nodes=1) as made:
        (made.nodes["worker-1"].root / "any/host").write_text("worker-1\n")
        root = str(made.nodes["worker-1"].root)
        code, out, _ = await run(made, "break", "any/gpu/1", "--root", root, "--wait", "-o", "json")
        (receipt,) = json.loads(out)["receipts"]
        assert (code, receipt["node"]) == (0, "worker-1")
        assert "node_ms" in receipt
        assert "plugin_ms" not in receipt, "nobody asked the plugin"
        code, _, err = await run(made, "mend", "any/gpu/1", "--root", root, "--wait", "--until", "plugin")
        assert (code, "(--until)" in err) == (2, True)


def test_of_many_receipts_the_missing_and_the_slowest_are_shown() -> None:
    receipts = [Receipt(f"n{number}", 1, 1, {Level.TREE: number / 10}) for number in range(1, 31)]
    receipts[4].problem = "it is down"
    lines = showing.receipts_text(receipts, Level.TREE).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["n5", "n30", "n29"]
    assert lines[-1] == "... and 20 more"
    total = summed(receipts, Level.TREE)
    assert (total.landed, total.asked, total.p50_s, total.p99_s) == (29, 30, 1.6, 3.0)
    assert showing.sum_text(total, Level.TREE).splitlines() == [
        "landed on 29 of 30: p50 1.6 s, p99 3.0 s, slowest n30 3.0 s",
        "missing: n5: it is down",
    ]


async def test_events_of_all_nodes_come_as_they_happen(tmp_path: Path, run: Run) -> None:
    async with cluster(tmp_path, nodes=2) as made:
        made.nodes["worker-1"].set_health("any/gpu/1", "unhealthy", reason="before")
        assert "worker-1  /any/gpu/1  unhealthy: before" in (await run(made, "events"))[1]
        process = await start(made, "events", "--follow", "-o", "json")
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert json.loads(await process.stdout.readline())["host"] == "worker-1"
            while made.execs < 2:
                await asyncio.sleep(0.02)
            made.nodes["worker-2"].set_health("any/gpu/2", "unhealthy")
            event = json.loads(await process.stdout.readline())
        assert (event["host"], event["path"], event["health"]) == ("worker-2", "/any/gpu/2", "unhealthy")
        process.send_signal(signal.SIGINT)
        await process.communicate()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["break"], "required: PATH"),
        (["break", "a/b/c/d"], "must be NODE, NODE/CLASS or NODE/CLASS/NUMBER"),
        (["brek", "x"], "did you mean break?"),
        (["set", "x", "y"], "PATH, ATTRIBUTE and VALUE must follow"),
        (["list", "--parallel", "0"], "must be a whole number from 1 to 1000"),
        (["scenario", "run", "strom"], "did you mean storm?"),
        (["list", "--nod", "x"], "did you mean --node?"),
    ],
)
async def test_what_a_person_gets_wrong_is_one_line(tmp_path: Path, run: Run, arguments: list[str], said: str) -> None:
    async with cluster(tmp_path, nodes=1) as made:
        code, _, err = await run(made, *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("kubectl fakehw: ")
    assert said in err


async def test_a_cluster_that_does_not_answer_is_one_line(tmp_path: Path, run: Run) -> None:
    made = FakeCluster(tmp_path, {}, url="http://127.0.0.1:1")
    code, out, err = await run(made, "list")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "127.0.0.1:1" in err


@pytest.mark.parametrize("components", [[], ["openshift"], ["paths"]])
def test_a_hand_fits_the_plugin_as_the_manifests_have_it(components: list[str]) -> None:
    if not deployment.have_kubectl():
        pytest.skip("kubectl renders overlays, and is missing")
    from tests.integration import test_deploy_components

    objects = test_deploy_components.rendered(["base", "hand"], components)
    wanted = deployment.one(objects, "DaemonSet", "fakehw-hand")
    made = installing.hand_like(deployment.one(objects, "DaemonSet", "fakehw-plugin"))
    assert made["spec"] == wanted["spec"]
    assert made["metadata"] == wanted["metadata"]


async def test_a_hand_needs_a_plugin_to_be_like(tmp_path: Path) -> None:
    from kubeapi.client import Client

    async with cluster(tmp_path, nodes=1) as made, Client(made.access) as client:
        with pytest.raises(TreeError, match="no DaemonSet fakehw-plugin is in the namespace fakehw"):
            await installing.install(client, "fakehw", timeout_s=1)
