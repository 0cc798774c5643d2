"""What a driver says of its devices' health, and how it comes to the status of pods (contract section 13)."""

from __future__ import annotations

from typing import Any

from tests.fidelity_dra.looks import PREPARE, Make, healths, noted, streams
from tests.fidelity_dra.node import Node


async def test_hl_2_health_and_its_message_reach_the_pods_status_and_go(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    driver.say(gem_1=(1, ""))
    claim = await node.claim(drivers=(driver.name,))
    pod = await node.pod(claim)
    await node.runs(pod)
    await node.until(healths(node, pod, ("Healthy", "")))
    (entry,) = await node.health(pod)
    assert entry["name"] == "claim:c0"
    assert entry["resources"][0]["resourceID"] == f"{driver.name}/gem={claim['metadata']['uid']}-gem-1"

    driver.say(gem_1=(2, "over temperature"))
    await node.until(healths(node, pod, ("Unhealthy", "over temperature")))
    driver.say(gem_1=(1, ""))
    await node.until(healths(node, pod, ("Healthy", "")))


async def test_hl_3_health_is_unknown_when_the_driver_has_gone_and_known_again_when_it_is_back(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    driver.say(gem_1=(1, ""))
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.runs(pod)
    await node.until(healths(node, pod, ("Healthy", "")))
    await driver.stop()
    await node.until(healths(node, pod, ("Unknown", "")))

    again = await make_driver(same=driver)
    again.say(gem_1=(2, "cold"))
    await node.until(healths(node, pod, ("Unhealthy", "cold")))


async def test_dra_health_3_a_driver_is_asked_for_health_again_when_its_service_is_back(
    node: Node, make_driver: Make
) -> None:
    driver = await make_driver()
    driver.say(gem_1=(1, ""))
    await node.until(streams(driver, 1))
    await driver.stop_serving()
    await driver.serve()

    await node.until(streams(driver, 2))


async def test_dra_health_4_what_is_not_said_again_in_its_time_is_unknown(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    driver.say(gem_1=(1, "", 5))
    pod = await node.pod(await node.claim(drivers=(driver.name,)))
    await node.runs(pod)
    await node.until(healths(node, pod, ("Healthy", "")))

    await node.until(healths(node, pod, ("Unknown", "")))


async def test_hl_1_a_driver_without_health_serves_claims_all_the_same(node: Node, make_driver: Make) -> None:
    driver = await make_driver(has_health=False)
    pod = await node.pod(await node.claim(drivers=(driver.name,)))

    await node.runs(pod)
    await node.until(healths(node, pod, ("Unknown", "")))


async def test_dra_prep_9_the_share_of_a_device_is_noted(node: Node, make_driver: Make) -> None:
    driver = await make_driver()
    share = "0a1b2c3d-4e5f-4071-8293-a4b5c6d7e8f9"

    async def with_share(request: Any) -> Any:
        answer = driver.prepared(request)
        for entry in answer.claims.values():
            entry.devices[0].share_id = share
        return answer

    driver.behaviors[PREPARE] = with_share
    driver.say(gem_1=(2, "shared and broken"))
    claim = await node.claim(drivers=(driver.name,))
    pod = await node.pod(claim)
    await node.runs(pod)

    entry = noted(node, claim)
    assert entry is not None
    assert entry["DriverState"][driver.name]["Devices"][0]["ShareID"] == share
    await node.until(healths(node, pod, ("Unhealthy", "shared and broken")))
