"""Pods of a cluster whose devices come by DRA, as far as they need no driver."""

from __future__ import annotations

import pytest

from fakekubelet.cluster.dra_cluster import DraCluster
from fakekubelet.dra.dynamic_resources import DynamicResources

POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  %s
  containers: [{name: main, image: none, %s}]
"""


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("command: [no-such-command]", "[Errno 2] No such file or directory: 'no-such-command'"),
        ("command: ['a\\0b']", "embedded null byte"),
        ("args: [word]", "container main needs a command: no image is run here"),
    ],
)
async def test_a_pod_whose_command_cannot_be_run_says_why_once_and_can_be_deleted(
    command: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[str] = []
    prepare = DynamicResources.prepare

    async def count(self: DynamicResources, pod: dict) -> None:
        prepared.append(pod["metadata"]["name"])
        await prepare(self, pod)

    monkeypatch.setattr(DynamicResources, "prepare", count)
    async with DraCluster(["kind-worker"]) as cluster:
        cluster.apply(POD % ("bad", "", command.replace("\\0", "\\u0000").replace("'", '"')))
        await cluster.wait_for(lambda: len(cluster.events.get("bad", ())) > 1)
        cluster.apply(POD % ("good", "", "command: [sleep, '60']"))
        await cluster.wait_for(lambda: cluster.phase("good") == "Running")

        assert cluster.events["bad"] == ["Successfully assigned default/bad to kind-worker", why]
        assert cluster.phase("bad") == "Pending"
        assert prepared == ["bad", "good"]
        cluster.delete("bad")
        await cluster.wait_for(lambda: cluster.pod("bad") is None)


async def test_a_pod_that_is_bound_to_a_node_that_is_not_there_waits_and_disturbs_no_other() -> None:
    async with DraCluster(["kind-worker"]) as cluster:
        cluster.apply(POD % ("elsewhere", "nodeName: nowhere", "command: [sleep, '60']"))
        cluster.apply(POD % ("good", "", "command: [sh, -c, 'echo here; exec sleep 60']"))
        await cluster.wait_for(lambda: cluster.logs("good") == "here\n")

        assert (cluster.phase("elsewhere"), cluster.logs("elsewhere")) == ("Pending", "")
