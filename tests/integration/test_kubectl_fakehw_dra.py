"""kubectl fakehw where classes are served by DRA: a change lands in slices, in the status of pods, and in evictions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fakekubelet.apiserver.server import ApiServer
from kubeapi.access import Access
from kubeapi.client import Client
from kubectl_fakehw import landing, receipts
from kubectl_fakehw.receipts import ABSENT, Goal, Level, Receipt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NODE, RESOURCE = "worker-1", "example.com/gpu"
ONE, TWO = "n-gpu-1", "n-gpu-2"
UID = "8a0b2a3e-1f1c-4a5b-9a52-0123456789ab"


def goal(**health: str) -> Goal:
    changed = {f"n-gpu-{name[-1]}": said for name, said in health.items()}
    there = {device_id: RESOURCE for device_id in (ONE, TWO) if changed.get(device_id) != ABSENT}
    healthy = sum(changed.get(device_id, "Healthy") == "Healthy" for device_id in there)
    return Goal({RESOURCE: healthy}, changed, there)


@pytest.mark.parametrize(
    ("wanted", "allocatable", "slices", "said"),
    [
        (goal(gpu1="Unhealthy"), {}, {ONE: "Unhealthy", TWO: "Healthy"}, ""),
        (goal(gpu1="Unhealthy"), {}, {ONE: "Healthy", TWO: "Healthy"}, f"{ONE} is Healthy in its slice, not Unhealthy"),
        (goal(gpu1="Unhealthy"), {RESOURCE: "1"}, None, ""),
        (goal(gpu1="Unhealthy"), {RESOURCE: "2"}, {"another-dev1-1": "Healthy"}, f"allocatable of {RESOURCE} is 2, not 1"),
        (goal(gpu1=ABSENT), {}, {TWO: "Healthy"}, ""),
        (goal(gpu1=ABSENT), {}, {ONE: "Healthy", TWO: "Healthy"}, f"{ONE} is Healthy in its slice, not absent"),
        (goal(gpu1=ABSENT), {}, {ONE: "Unhealthy", TWO: "Healthy"}, ""),  # a claim holds it
        (goal(gpu1="Healthy"), {}, {TWO: "Healthy"}, f"{ONE} is absent in its slice, not Healthy"),
        (goal(gpu1=ABSENT, gpu2=ABSENT), {}, {}, ""),
        (goal(gpu1=ABSENT, gpu2=ABSENT), {RESOURCE: "1"}, {}, ""),
        (goal(gpu1="Healthy"), None, None, "there is no such node"),
    ],
)  # fmt: skip
def test_a_node_differs_where_the_api_that_serves_a_class_says_otherwise(
    wanted: Goal, allocatable: dict[str, str] | None, slices: dict[str, str] | None, said: str
) -> None:
    if not wanted.resource:
        wanted = Goal({RESOURCE: int((allocatable or {}).get(RESOURCE, 0))}, wanted.health, {})
    assert receipts.unlike(wanted, allocatable, slices) == said


def test_pods_are_told_of_a_claim_s_device_by_its_name_in_the_slice() -> None:
    told = landing.told([pod_with("Unhealthy")])
    assert told == {ONE: "Unhealthy"}
    assert receipts.told_otherwise(goal(gpu1="Healthy"), told)
    assert not receipts.told_otherwise(goal(gpu1="Unhealthy"), told)


def pod_with(health: str, **metadata: Any) -> dict[str, Any]:
    device = {"resourceID": f"k8s.example.com/claim={UID}-{ONE}", "health": health}
    resource = {"name": "claim:devices", "resources": [device]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", **metadata},
        "spec": {"nodeName": NODE},
        "status": {"containerStatuses": [{"name": "main", "allocatedResourcesStatus": [resource]}]},
    }


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer() as running:
        running.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        running.create(slice_of("healthy"))
        yield running


def slice_of(first: str) -> dict[str, Any]:
    taints = [{"key": "example.com/unhealthy", "effect": "NoExecute"}] if first == "unhealthy" else []
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "s"},
        "spec": {
            "driver": "example.com",
            "nodeName": NODE,
            "pool": {"name": NODE, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": ONE, **({"taints": taints} if taints else {})}, {"name": TWO}],
        },
    }


async def test_a_broken_device_lands_as_a_taint_in_its_slice(api: ApiServer) -> None:
    receipt, loop = Receipt(NODE), asyncio.get_running_loop()
    async with Client(Access(api.url), user_agent="test") as client, asyncio.timeout(20):
        look = landing.Landing(client, "fakehw", until=Level.NODE)
        async with look.looking():
            waiting = asyncio.create_task(look.wait(receipt, goal(gpu1="Unhealthy"), began=loop.time(), plugin=""))
            while not look.shortfall(NODE, goal(gpu1="Unhealthy")).startswith(ONE):
                await asyncio.sleep(0.01)
            assert not waiting.done()
            api.update(slice_of("unhealthy"))
            await waiting
    assert Level.NODE in receipt.at
